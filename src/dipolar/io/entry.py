"""What a reader finds in a file: one entry per array, described before a pixel of it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dipolar.core.errors import FormatError
from dipolar.core.nouns import Fact

MAX_PIXELS = 32_768 * 32_768
"""More than any scan unit writes: a header that promises more is damaged, and is not believed."""

Frame = int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Pixel edges as the file gives them, unit and all."""

    y: float
    """Edge along y, in `unit_y`."""
    x: float
    """Edge along x, in `unit_x`."""
    unit_y: str
    """Unit as written in the file; "" where there is none."""
    unit_x: str
    """The same for x."""
    source: str
    """Key in the file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """One array in a file, with everything known about it before it is read."""

    name: str
    """Name for `--select`."""
    shape: tuple[int, ...]
    """Frames first where there are any, then y and x; colours are not counted."""
    dtype: np.dtype[Any]
    """Data type in the file."""
    read: Callable[[Frame], np.ndarray]
    """Reads the image, or one frame of the stack; the shape is (y, x) or, with colours, (y, x, 3 or 4)."""
    is_image: bool = True
    """False for spectra and diffraction patterns: their last two axes are not those of an image."""
    scale: Scale | None = None
    """Pixel size, where the file says something about it."""
    facts: tuple[Fact, ...] = ()
    """Voltage, detector, dwell time, date."""

    @property
    def image_shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        return self.shape[-2], self.shape[-1]


def check_promise(shape: tuple[int, ...], dtype: np.dtype[Any], *, stored_bytes: int | None = None) -> None:
    """Refuse an array that cannot be what its header promises, before memory is taken for it.

    Parameters
    ----------
    shape, dtype
        What the header promises.
    stored_bytes
        Bytes that the file really has for an array stored plainly; None where it is compressed.

    Raises
    ------
    FormatError
        Where the promise is beyond `MAX_PIXELS` per frame or beyond the file.
    """
    count = 1
    for size in shape:
        count *= int(size)
    promised = count * dtype.itemsize
    frame = int(shape[-1]) * int(shape[-2]) if len(shape) > 1 else count
    if frame > MAX_PIXELS or min(shape, default=1) < 0:
        raise FormatError(
            "the header promises an image larger than any that dipolar reads (32768 × 32768)",
            got=f"{describe(shape)}, {promised / 1e9:,.1f} GB",
            do="export the image again; this file is damaged",
        )
    if stored_bytes is not None and promised > stored_bytes:
        raise FormatError(
            "the file is shorter than its header promises",
            got=f"{describe(shape)} {dtype} need {promised:,} bytes, the file has {stored_bytes:,}",
            do="copy or export the file again; it is truncated or damaged",
        )


def describe(shape: tuple[int, ...]) -> str:
    """Return a shape as text, "1024 × 1024"."""
    return " × ".join(str(size) for size in shape) if shape else "a single number"


def dig(tree: Any, path: str) -> Any:
    """Return the leaf of nested mappings at a dotted path, or None; keys may hold dots themselves."""
    if not isinstance(tree, dict):
        return tree if not path else None
    if path in tree:
        return tree[path]
    for key, value in tree.items():
        if path.startswith(f"{key}."):
            found = dig(value, path[len(key) + 1 :])
            if found is not None:
                return found
    return None
