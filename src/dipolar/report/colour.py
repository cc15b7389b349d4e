"""Amplitude-phase colours: the hue says where a displacement points, the distance from white how long it is.

The hues are those of Kovesi's cyclic map CET-C2 (magenta, yellow, green, blue: right, up, left, down). Of the hued
cyclic maps in colorcet it keeps its four main directions furthest apart for deuteranopes and protanopes, because its
lightness changes too; but so much (L* from 33 to 92) that equal lengths look unequally strong. Of that variation only
LIGHTNESS_KEPT is kept, the least that keeps these directions apart, and chroma is raised to what sRGB can show: L* from
44 to 81. Shades are mixed in OKLab (Ottosson 2020), where equal steps look equal.

Sources: P. Kovesi, "Good Colour Maps: How to Design Them", arXiv:1509.03700; B. Ottosson, "A perceptual color space
for image processing" (2020).
"""

from __future__ import annotations

import colorcet
import numpy as np
import scipy.ndimage
from jaxtyping import Float

from dipolar.core.units import angle_deg, magnitude

CYCLIC_MAP = "CET_C2"
"""Name of the cyclic map in colorcet."""
LIGHTNESS_KEPT = 0.64
"""Share of the map's variation in lightness that is kept."""
LIGHTNESS = 0.68
"""Mean lightness of the full hues in OKLab."""
MOST_CHROMA = 0.2
"""Chroma in OKLab that no hue exceeds: few hues reach more, and would outshine the rest."""
ZERO = (1.0, 1.0, 1.0)
"""sRGB colour of no displacement."""
UNKNOWN = (0.72, 0.72, 0.72)
"""sRGB colour of cells that are flagged or have no displacement."""

_RGB_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_OKLAB_TO_LMS = np.linalg.inv(_LMS_TO_OKLAB)
_LMS_TO_RGB = np.linalg.inv(_RGB_TO_LMS)


def to_oklab(srgb: Float[np.ndarray, "*rows 3"]) -> Float[np.ndarray, "*rows 3"]:
    """Return OKLab coordinates of sRGB colours in 0..1."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    oklab: Float[np.ndarray, "*rows 3"] = np.cbrt(linear @ _RGB_TO_LMS.T) @ _LMS_TO_OKLAB.T
    return oklab


def from_oklab(oklab: Float[np.ndarray, "*rows 3"]) -> Float[np.ndarray, "*rows 3"]:
    """Return the sRGB colours, clipped to 0..1, of OKLab coordinates."""
    linear = np.clip((oklab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0.0, 1.0)
    srgb: Float[np.ndarray, "*rows 3"]
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return srgb.clip(0.0, 1.0)


def _hues() -> Float[np.ndarray, "step 3"]:
    codes = colorcet.palette[CYCLIC_MAP]
    return np.array([[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in codes]) / 255.0


def _evened(hues: Float[np.ndarray, "step 3"]) -> Float[np.ndarray, "step 3"]:
    """Return the hues (OKLab) with less variation of lightness, as strong as sRGB can show them smoothly."""
    lightness = LIGHTNESS + LIGHTNESS_KEPT * (hues[:, 0] - hues[:, 0].mean())
    angle = np.arctan2(hues[:, 2], hues[:, 1])
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    chroma = np.linspace(0.0, MOST_CHROMA, 101)
    grid = np.concatenate(
        [np.broadcast_to(lightness[:, None, None], (len(hues), 101, 1)), along[:, None] * chroma[:, None]], axis=2
    )
    linear = (grid @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T
    shown = np.all((linear >= 0.0) & (linear <= 1.0), axis=2)
    most = chroma[np.where(np.all(shown, axis=1), 100, np.argmin(shown, axis=1) - 1)]
    low = scipy.ndimage.minimum_filter1d(most, 17, mode="wrap")
    smooth = scipy.ndimage.uniform_filter1d(low, 17, mode="wrap")  # a mean of minima stays within
    return np.column_stack([lightness, smooth[:, None] * along])


_HUES_OKLAB = _evened(to_oklab(_hues()))
_ZERO_OKLAB = to_oklab(np.array(ZERO))


def displacement_colours(vectors: Float[np.ndarray, "*rows 2"], *, full_radius: float) -> Float[np.ndarray, "*rows 3"]:
    """Return the sRGB colour of each `(dy, dx)` vector.

    The screen angle (counter-clockwise) picks the hue. The colour runs from white at zero to the full hue at
    `full_radius`, given in the unit of the vectors, and stays there beyond. Vectors that are not finite become grey.
    """
    known = np.isfinite(vectors).all(axis=-1)
    safe = np.where(known[..., None], vectors, 0.0).astype(np.float64)
    turn = angle_deg(safe) / 360.0 % 1.0 * len(_HUES_OKLAB)
    before = np.floor(turn).astype(int)
    part = (turn - before)[..., None]
    count = len(_HUES_OKLAB)
    hue = _HUES_OKLAB[before % count] * (1 - part) + _HUES_OKLAB[(before + 1) % count] * part
    strength = np.clip(magnitude(safe) / full_radius, 0.0, 1.0)[..., None]
    colours = from_oklab(_ZERO_OKLAB * (1 - strength) + hue * strength)
    return np.where(known[..., None], colours, np.array(UNKNOWN))


def wheel(size: int = 256) -> Float[np.ndarray, "size size 4"]:
    """Return the colour wheel as RGBA with a soft rim: the colour at a point is that of the vector pointing there."""
    axis = (np.arange(size) - (size - 1) / 2) / (size / 2)
    vectors = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    alpha = np.clip((1.0 - magnitude(vectors)) * size / 2 + 0.5, 0.0, 1.0)
    return np.concatenate([displacement_colours(vectors, full_radius=1.0), alpha[..., None]], axis=-1)


def nice_ceiling(value: float) -> float:
    """Return the next round number that is not below `value`.

    Round are 1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7 and 8 times a power of ten. Where `value` is not a
    positive number, it is 1.

    >>> nice_ceiling(26.4)
    30.0
    """
    if not (np.isfinite(value) and value > 0):
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    for step in (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0):
        if step * power >= value * (1 - 1e-9):
            return float(round(step * power, 12))
    return float(round(10.0 * power, 12))
