"""What frames must have in common before they are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from dipolar.core.errors import DataError
from dipolar.core.nouns import Image

SAME_PIXEL = 1e-3
"""Largest relative difference of pixel sizes that is taken for rounding."""


def check_frames(frames: Sequence[Image], angles: Sequence[float]) -> None:
    """Refuse frames that cannot be aligned with each other.

    Raises
    ------
    DataError
        Where there are fewer than two, or they differ in shape or pixel size, or the angles are not one for each.
    """
    if len(frames) < 2:
        raise DataError(
            "alignment needs at least two frames.",
            got="one frame" if frames else "none",
            do="name all frames, or a file with a stack of them; a single image needs no alignment",
        )
    if len(angles) != len(frames) or not np.isfinite(np.array(angles, dtype=np.float64)).all():
        raise DataError(
            "scan angles must be one finite angle in degrees for each frame.",
            got=f"{len(angles)} angles for {len(frames)} frames: {', '.join(f'{angle:g}' for angle in angles)}",
            do="give one for each, in their order: --scan-angles 0,90",
        )
    shapes = {frame.data.shape for frame in frames}
    if len(shapes) > 1:
        raise DataError(
            "all frames must have the same number of rows and columns.",
            got=_each(frames, [f"{f.data.shape[0]} × {f.data.shape[1]}" for f in frames]),
            do="leave out the frames of another size",
        )
    sizes = [frame.pixel_size_pm for frame in frames]
    known = [size for size in sizes if size is not None]
    if known and max(known) - min(known) > SAME_PIXEL * max(known):
        raise DataError(
            "all frames must have the same pixel size.",
            got=_each(frames, ["unknown" if size is None else f"{size:.5g} pm" for size in sizes]),
            do="leave out the frames of another magnification",
        )


def _each(frames: Sequence[Image], values: list[str]) -> str:
    """Return values with the names of the frames that have them, the values in order of first use."""
    named: dict[str, list[str]] = {}
    for number, (frame, value) in enumerate(zip(frames, values, strict=True)):
        named.setdefault(value, []).append(frame.name or f"frame {number}")
    return "; ".join(
        f"{value}: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}" for value, names in named.items()
    )


def blank(frame: Image) -> str:
    """Return why a frame cannot be compared at all; empty where it can."""
    known = np.isfinite(frame.data)
    if np.count_nonzero(known) < 0.25 * frame.data.size:
        return f"is blank: {100 * np.mean(~known):.0f} % of its pixels are nan"
    if float(np.std(frame.data[known], dtype=np.float64)) == 0.0:
        return "is blank: every pixel is the same"
    return ""


def repeated(frames: Sequence[Image], numbers: Sequence[int]) -> dict[int, str]:
    """Return which of these frames hold the same pixels as an earlier one, and which: they know nothing new.

    Raises
    ------
    DataError
        Where all of them, two or more, are the same.
    """
    first: dict[bytes, int] = {}
    found: dict[int, str] = {}
    for n in numbers:
        one = first.setdefault(hashlib.sha256(np.ascontiguousarray(frames[n].data).tobytes()).digest(), n)
        if one != n:
            found[n] = f"holds the same pixels as {frames[one].name or f'frame {one}'}"
    if found and len(first) == 1:
        names = [frames[n].name or f"frame {n}" for n in numbers]
        raise DataError(
            "alignment needs at least two different frames.",
            got=f"the same pixels in {', '.join(names[:8])}{' …' if len(names) > 8 else ''}",
            do="name each frame once",
        )
    return found
