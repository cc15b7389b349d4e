"""The eight symmetries of the square, applied to windows together with what is to be learned from them.

A crystal seen in a mirror, or turned by a quarter, is a crystal again: every window serves eight times. Numbers are
drawn first; the plain transform that they name is then applied, and can be repeated or undone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from dipolar.core.learning import TARGETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Symmetry:
    """A mirror, or none, and then quarter turns."""

    quarter_turns: int = 0
    """Turns by 90° counter-clockwise on the screen, 0 to 3."""
    mirrored: bool = False
    """Whether left and right are exchanged before the turns."""

    @property
    def number(self) -> int:
        """Its place in `SYMMETRIES`."""
        return self.quarter_turns + 4 * self.mirrored

    @property
    def inverse(self) -> Symmetry:
        """What undoes it: a mirror undoes itself, turned or not."""
        turns = self.quarter_turns if self.mirrored else -self.quarter_turns % 4
        return Symmetry(quarter_turns=turns, mirrored=self.mirrored)

    def after(self, first: Symmetry) -> Symmetry:
        """Return the symmetry that does `first` and then this one: a mirror turns the turns before it round."""
        turns = -first.quarter_turns if self.mirrored else first.quarter_turns
        return Symmetry(
            quarter_turns=(self.quarter_turns + turns) % 4, mirrored=bool(self.mirrored) != bool(first.mirrored)
        )


SYMMETRIES = tuple(Symmetry(quarter_turns=turns, mirrored=mirrored) for mirrored in (False, True) for turns in range(4))
"""All eight, the identity first."""


def draw_symmetries(count: int, *, rng: np.random.Generator) -> Int8[np.ndarray, " window"]:
    """Return the number in `SYMMETRIES` of a random symmetry for each window."""
    return rng.integers(len(SYMMETRIES), size=count, dtype=np.int8)


def transform_images(
    images: Float[Tensor, "window channel edge edge"], numbers: Int8[np.ndarray, " window"]
) -> Float[Tensor, "window channel edge edge"]:
    """Return the windows, each transformed by the symmetry of that number."""
    return _each(images, numbers, _image)


def transform_targets(
    targets: Float[Tensor, "window target"], numbers: Int8[np.ndarray, " window"]
) -> Float[Tensor, "window target"]:
    """Return targets of the transformed windows, in the order of `TARGETS`: all six, or the first two.

    (dy, dx) turn as vectors. After an odd number of turns, the edge that runs from left to right was the one that ran
    from top to bottom: a and b change places, and the angle between them becomes 180° - gamma, as it does in a mirror.
    The area stays.
    """
    return _each(targets, numbers, _target)


def target_rule(symmetry: Symmetry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return where each of `TARGETS` comes from under a symmetry, and with which sign."""
    places, signs = {name: name for name in TARGETS}, dict.fromkeys(TARGETS, 1)
    if symmetry.mirrored:
        signs["dx"] = signs["gamma"] = -1
    for _ in range(symmetry.quarter_turns):  # right becomes up: the new dy is -dx, the new dx is dy
        for one, other in (("dy", "dx"), ("a", "b")):
            places[one], places[other] = places[other], places[one]
            signs[one], signs[other] = signs[other], signs[one]
        signs["dy"], signs["gamma"] = -signs["dy"], -signs["gamma"]
    return tuple(TARGETS.index(places[name]) for name in TARGETS), tuple(signs[name] for name in TARGETS)


def _each(
    values: Tensor, numbers: Int8[np.ndarray, " window"], transform: Callable[[Tensor, Symmetry], Tensor]
) -> Tensor:
    out = torch.empty_like(values)
    for number in np.unique(numbers):
        mine = torch.from_numpy(np.flatnonzero(numbers == number)).to(values.device)
        out[mine] = transform(values[mine], SYMMETRIES[number])
    return out


def _image(images: Tensor, symmetry: Symmetry) -> Tensor:
    if symmetry.mirrored:
        images = torch.flip(images, (-1,))
    return torch.rot90(images, symmetry.quarter_turns, (-2, -1))


def _target(values: Tensor, symmetry: Symmetry) -> Tensor:
    places, signs = target_rule(symmetry)
    count = values.shape[1]
    turned = values[:, list(places[:count])]
    return turned * torch.tensor(signs[:count], dtype=values.dtype, device=values.device)
