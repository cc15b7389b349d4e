"""What names a scan whatever its file is called: by it, labels, models and maps know whose they are."""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Shaped

from dipolar.core.errors import FormatError
from dipolar.core.scanning import AbstractFrames

KEY_PATTERNS, KEY_SPREAD = 16, 8
"""Patterns at the beginning of a scan whose content names it, and patterns spread over all of it."""
KEY_ROWS = 4
"""Of the patterns spread over the scan, every fourth row is looked at, which takes a quarter of the time."""


def key_of(frames: AbstractFrames, shape: tuple[int, int], *, growing: bool = False) -> str:
    """Return the name of a scan: its shape and counts, hashed, as two halves of 16 hexadecimal digits, "-" between.

    The first half is of the first patterns, and there as soon as they are written; the second half is of patterns
    spread over the whole scan, as its beginning may be as blank as that of another one. A scan that still grows, or
    that cannot be read everywhere, has the first half alone, and so has what an earlier dipolar wrote. The same
    patterns have the same key in any format and byte order. Keys are compared by `same_scan`.

    Parameters
    ----------
    frames
        The patterns.
    shape
        (scan_y, scan_x).
    growing
        Whether patterns are still being written.
    """
    told = hashlib.sha256(repr((shape, frames.shape_px)).encode())
    for number in range(min(KEY_PATTERNS, frames.count)):
        told.update(_counts_of(frames, number).tobytes())
    first, count = told.hexdigest()[:16], min(frames.count, shape[0] * shape[1])
    if growing:
        return first
    try:
        for number in range(KEY_SPREAD):
            told.update(_counts_of(frames, (number + 1) * count // KEY_SPREAD - 1, step=KEY_ROWS).tobytes())
    except FormatError:  # damaged there, or never written: all else of the scan can be used
        return first
    return f"{first}-{told.hexdigest()[:16]}"


def _counts_of(frames: AbstractFrames, number: int, *, step: int = 1) -> Shaped[np.ndarray, "k_y k_x"]:
    """Return every `step`-th row of a pattern in a type that does not depend on how it is stored."""
    pattern = frames.read(max(number, 0), max(number, 0) + 1)[0, ::step]
    return np.ascontiguousarray(pattern, dtype="<f8" if pattern.dtype.kind == "f" else "<i8")


def same_scan(key: str, other: str) -> bool:
    """Return whether two keys name the same scan; by their first halves, where one of them has no more."""
    (first, _, spread), (its_first, _, its_spread) = key.partition("-"), other.partition("-")
    return first == its_first and (spread == its_spread or not spread or not its_spread)
