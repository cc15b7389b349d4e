"""Colours of classes, told apart by people with any colour vision, and of their mixtures."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int64

from . import colour
from .unmix_parts import category, rgb_of

NOTHING = {"none", "na", "n/a", "no", "unpolarized", "unpolarised", "vacuum", "background"}
"""Names of classes that are the absence of the others: they are light grey, whatever their number."""
GREY = "#D9D9D9"
NO_CLASS = (1.0, 1.0, 1.0)
"""sRGB colour of positions without a class; a pattern of lines lies over them."""
HATCHES = ("////", "\\\\\\\\", "xxxx", "....", "----", "||||")
"""Patterns of lines for flags, in the order of the flags that are met."""


def class_codes(names: tuple[str, ...]) -> list[str]:
    """Return the colour of each class as matplotlib writes it: the first ones of Okabe and Ito, grey for "none"."""
    found, place = [], 0
    for name in names:
        if name.strip().lower() in NOTHING:
            found.append(GREY)
        else:
            found.append(category(place))
            place += 1
    return found


def class_rgb(names: tuple[str, ...]) -> Float[np.ndarray, "class 3"]:
    """Return the colour of each class in 0..1."""
    return np.array([rgb_of(code) for code in class_codes(names)], dtype=np.float64).reshape(len(names), 3)


def label_colours(label: Int64[np.ndarray, "y x"], names: tuple[str, ...]) -> Float[np.ndarray, "y x 3"]:
    """Return the colour of every position's class; white where it has none (-1)."""
    return np.concatenate([class_rgb(names), np.array([NO_CLASS])])[label]


def mixture_colours(
    share: Float32[np.ndarray, "*rows class"] | Float[np.ndarray, "*rows class"], names: tuple[str, ...]
) -> Float[np.ndarray, "*rows 3"]:
    """Return the colours of classes mixed by their shares, in OKLab, where equal steps look equal; white if unknown."""
    known = np.isfinite(share).all(axis=-1)
    part = np.clip(np.where(known[..., None], share, 0.0), 0.0, None).astype(np.float64)
    total = part.sum(axis=-1, keepdims=True)
    known &= total[..., 0] > 0
    mixed = (part / np.where(total > 0, total, 1.0)) @ colour.to_oklab(class_rgb(names))
    return np.where(known[..., None], colour.from_oklab(mixed), np.array(NO_CLASS))
