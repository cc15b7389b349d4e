"""Patterns that are a part of others, or others one after another."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dipolar.core.errors import FormatError
from dipolar.core.scanning import AbstractFrames
from dipolar.io.scan_mapped import check_range


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterFrames(AbstractFrames):
    """Patterns without the first few."""

    whole: AbstractFrames
    """All of them."""
    skip: int
    """How many to leave out."""
    most: int
    """Number of patterns after which the rest is left out too."""

    @property
    def shape_px(self) -> tuple[int, int]:  # type: ignore[override]
        """(k_y, k_x) of one pattern."""
        return self.whole.shape_px

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Type of the counts."""
        return self.whole.dtype

    @property
    def chunk(self) -> int:  # type: ignore[override]
        """Patterns stored together; the first of them is no multiple of it any more."""
        return self.whole.chunk

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of patterns that can be read now."""
        return min(self.most, max(0, self.whole.count - self.skip))

    @property
    def growing(self) -> bool:
        """Whether patterns are still added, as far as the whole says."""
        return bool(getattr(self.whole, "growing", False))

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "pattern k_y k_x"]:
        """Return patterns `start` to `stop` (excluded), counted from the first that is kept."""
        check_range(self, start, stop)
        return self.whole.read(start + self.skip, stop + self.skip)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedFrames(AbstractFrames):
    """Patterns of several files, one after another."""

    parts: tuple[AbstractFrames, ...]
    """What each file holds; patterns of one size and type."""

    @property
    def shape_px(self) -> tuple[int, int]:  # type: ignore[override]
        """(k_y, k_x) of one pattern."""
        return self.parts[0].shape_px

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Type of the counts."""
        return self.parts[0].dtype

    @property
    def chunk(self) -> int:  # type: ignore[override]
        """Patterns stored together in the first file."""
        return self.parts[0].chunk

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of patterns that can be read now."""
        return sum(part.count for part in self.parts)

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "pattern k_y k_x"]:
        """Return patterns `start` to `stop` (excluded): a view where they are in one file that allows it."""
        check_range(self, start, stop)
        ends = list(accumulate(part.count for part in self.parts))
        read: list[np.ndarray] = []
        for place in range(min(bisect_right(ends, start), len(ends) - 1), len(ends)):
            first = ends[place - 1] if place else 0
            if first >= stop > start:
                break
            read.append(self.parts[place].read(max(start, first) - first, min(stop, ends[place]) - first))
            if stop <= ends[place]:
                break
        return read[0] if len(read) == 1 else np.concatenate(read)


def joined(parts: list[AbstractFrames], names: list[str]) -> AbstractFrames:
    """Return the patterns of several files as those of one.

    Raises
    ------
    FormatError
        Where they do not belong together.
    """
    first = parts[0]
    for part, name in zip(parts, names, strict=True):
        if (part.shape_px, part.dtype) != (first.shape_px, first.dtype):
            raise FormatError(
                "the files of a scan hold patterns of one size and type",
                got=f"{first.shape_px} {first.dtype} in {names[0]}, {part.shape_px} {part.dtype} in {name}",
                do="move files of other scans elsewhere",
            )
    return first if len(parts) == 1 else JoinedFrames(parts=tuple(parts))
