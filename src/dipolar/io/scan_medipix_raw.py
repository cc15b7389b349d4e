"""Raw patterns of Medipix3 chips: pixels in the order in which the chip sends them, put in order as they are read.

A row is words of 64 bit with the most significant byte first, and the pixels of a word begin at its least significant
end: 64 pixels of 1 bit, 8 of 6 bit (in a byte each) or 4 of 12 bit (in two bytes each). 24 bit are two patterns of 12
bit, the upper half first; their header gives twice the width. Of four chips in a square each row holds that of the
fourth, third, second and first chip; the third and the fourth, the lower two, stand on their heads. (Merlin user
manual; the same as LiberTEM reads.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from dipolar.core.errors import FormatError
from dipolar.core.scanning import AbstractFrames
from dipolar.io.scan_mapped import MappedFrames

if TYPE_CHECKING:
    from dipolar.io.scan_mib import Header

CHIP_PX = 256
BYTES_PER_PIXEL = {1: 0.125, 6: 1.0, 12: 2.0, 24: 4.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawLayout:
    """How the bytes of a raw pattern become pixels."""

    bits: int
    """Depth of the counter."""
    rows: int
    """Rows of one chip."""
    columns: int
    """Pixels of all chips side by side in a row."""
    quad: bool
    """Whether four chips make a square."""

    @property
    def bytes(self) -> int:
        """Bytes of one pattern."""
        return int(self.rows * self.columns * BYTES_PER_PIXEL[self.bits])

    @property
    def shape_bytes(self) -> tuple[int, int]:
        """The pattern as rows of bytes; 24 bit have those of the upper half, then those of the lower."""
        rows = self.rows * (2 if self.bits == 24 else 1)
        return rows, self.bytes // rows

    @property
    def shape_px(self) -> tuple[int, int]:
        """(k_y, k_x) of the pattern in order."""
        return (2 * self.rows, self.columns // 2) if self.quad else (self.rows, self.columns)


def raw_layout(header: Header, *, path: Path) -> RawLayout:
    """Return the layout of raw patterns.

    Raises
    ------
    FormatError
        Where this mode is none that is known.
    """
    quad = header.chips == 4 and header.layout.upper().startswith("2X2")
    columns = header.width // 2 if header.bits == 24 else header.width
    known = header.kind == "R64" and header.bits in BYTES_PER_PIXEL and (header.chips == 1 or quad)
    if not known or (quad and header.bits == 24) or columns % 64 or (quad and columns != 4 * CHIP_PX):
        raise FormatError(
            "raw patterns are read of one chip (1, 6, 12 or 24 bit), or of four in a square (1, 6 or 12 bit)",
            got=f"{path.name}: {header.kind}, {header.bits} bit, {header.chips} chips {header.layout}, "
            f"{header.width} × {header.height} px",
            do="convert the file with the detector's own program, or record it without RAW",
        )
    return RawLayout(bits=header.bits, rows=header.height, columns=columns, quad=quad)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMedipixFrames(AbstractFrames):
    """Raw patterns of a `.mib`, put in order as they are read."""

    packed: MappedFrames
    """The patterns as bytes."""
    layout: RawLayout
    """How they become pixels."""

    @property
    def shape_px(self) -> tuple[int, int]:  # type: ignore[override]
        """(k_y, k_x) of one pattern."""
        return self.layout.shape_px

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Type of the counts."""
        return np.dtype({1: "u1", 6: "u1", 12: "u2", 24: "u4"}[self.layout.bits])

    @property
    def chunk(self) -> int:  # type: ignore[override]
        """Patterns that are read best together."""
        return self.packed.chunk

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of patterns that can be read now."""
        return self.packed.count

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "pattern k_y k_x"]:
        """Return patterns `start` to `stop` (excluded), in order."""
        return in_order(self.packed.read(start, stop), self.layout)


def in_order(
    packed: Shaped[np.ndarray, "pattern row byte"], layout: RawLayout
) -> Shaped[np.ndarray, "pattern k_y k_x"]:
    """Return the pixels of raw patterns in order."""
    pixels = _unpacked(packed, layout)
    if layout.bits == 24:
        upper, lower = pixels[:, : layout.rows].astype("u4"), pixels[:, layout.rows :]
        pixels = (upper << 12) | lower
    if not layout.quad:
        return pixels
    fourth, third, second, first = np.split(pixels, 4, axis=2)
    above = np.concatenate([first, second], axis=2)
    below = np.concatenate([third, fourth], axis=2)
    # Each of the lower chips is turned by 180° in its own place.
    half = below.reshape(*below.shape[:2], 2, CHIP_PX)[:, ::-1, :, ::-1].reshape(below.shape)
    return np.concatenate([above, half], axis=1)


def _unpacked(packed: np.ndarray, layout: RawLayout) -> np.ndarray:
    """Return rows of pixels from rows of words of 64 bit."""
    count, rows, width = packed.shape
    words = packed.reshape(count, rows, width // 8, 8)[..., ::-1]
    if layout.bits == 1:
        return np.unpackbits(words, axis=-1, bitorder="little").reshape(count, rows, width * 8)
    if layout.bits == 6:
        return words.reshape(count, rows, width)
    return np.ascontiguousarray(words).view("<u2").reshape(count, rows, width // 2).astype("u2", copy=False)
