"""What one pass over patterns reads and fills."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Shaped

from dipolar.core.scanning import View
from dipolar.measure.bank_kernels import Apertures, Out, Rings


def no_rings() -> Rings:
    """Return no virtual images."""
    return Rings(np.zeros((0, 4)), -1, np.zeros(0, dtype=bool))


def no_sites() -> Apertures:
    """Return no virtual detectors."""
    nothing, weights = np.zeros((0, 2)), np.zeros(0, dtype=np.float32)
    around, near = np.zeros((0, 1), dtype=np.int64), np.zeros((0, 0), dtype=bool)
    return Apertures(nothing, nothing, around, weights, 0, 0, 0.0, weights, 0, 0, 0.0, near, near, 1.0, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What is wanted of every pattern."""

    sites: int = 0
    """Virtual detectors."""
    rings: Rings = field(default_factory=no_rings)
    """Virtual images."""
    size: int = 0
    """Edge of the small copy, in its pixels."""
    block: int = 1
    """Squares in one of them."""


def outputs(count: int, wanted: Wanted) -> Out:
    """Return empty arrays for `count` patterns."""
    images = len(wanted.rings.circles)
    return Out(
        totals=np.empty(count, dtype=np.float32),
        net=np.empty((count, wanted.sites), dtype=np.float32),
        sigma=np.empty((count, wanted.sites), dtype=np.float32),
        images=np.empty((count, images), dtype=np.float32),
        mass=np.full((count, 2), np.nan, dtype=np.float32),
        patch=np.empty((count, wanted.size, wanted.size), dtype=np.float32),
    )


def inputs(
    patterns: Shaped[np.ndarray, "pattern k_y k_x"], view: View, factor: int
) -> tuple[Shaped[np.ndarray, "pattern k_y k_x"], Shaped[np.ndarray, "_ _ word"], int]:
    """Return patterns as the compiled pass reads them, the same with two pixels a word or none, and bits of a pixel."""
    plain = np.ascontiguousarray(patterns)
    if plain.dtype.kind == "f":
        # What does not count may be no number.
        plain = np.where(view.defective, plain.dtype.type(0), plain)
    bits = 8 * plain.dtype.itemsize
    wide = {"uint8": np.int16, "uint16": np.int32}.get(plain.dtype.name)
    if factor != 2 or wide is None or plain.shape[2] % 2:
        return plain, np.empty((0, 0, 0), dtype=np.int32), 0
    return plain, plain.view(wide), bits
