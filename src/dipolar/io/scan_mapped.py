"""Patterns that lie uncompressed in a file: each read maps the bytes it needs, and views of them cost nothing."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dipolar.core.errors import FormatError
from dipolar.core.scanning import AbstractFrames

FETCH = getattr(mmap, "MADV_WILLNEED", None)
"""Tells Linux and macOS to fetch what was mapped at once: from a disk, a third faster than page by page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedFrames(AbstractFrames):
    """Patterns at regular places in one file.

    Each read opens the file, maps what it needs and closes the file; the mapping goes with the last view of it. So
    there is no handle to share between threads or processes, and memory stays that of the patterns in use.
    """

    path: Path
    """The file."""
    first: int
    """Byte at which the first pixel of the first pattern lies."""
    step: int
    """Bytes from a pattern to the next."""
    stored: np.dtype[Any]
    """Type of a pixel in the file, in the byte order of the file."""
    shape_px: tuple[int, int]
    """(k_y, k_x) of one pattern."""
    promised: int
    """Patterns that the file holds, or will hold."""
    pixel_steps: tuple[int, int] | None = None
    """Bytes from a row of pixels to the next, and from a pixel to the next; None where they lie side by side."""
    line: tuple[int, int] | None = None
    """Patterns in a line of the scan and bytes from a line to the next; None where lines follow each other."""
    growing: bool = False
    """Whether `count` is what has been written by now."""
    chunk: int = 1
    """Patterns that are read best together."""

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Type of the counts, in the byte order of this machine."""
        return self.stored.newbyteorder("=")

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of patterns that can be read now."""
        if not self.growing:
            return self.promised
        written = self.path.stat().st_size - self.first - self._extent
        return min(self.promised, max(0, written // self.step + 1))

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "pattern k_y k_x"]:
        """Return patterns `start` to `stop` (excluded); read-only views where the byte order is that of the machine."""
        check_range(self, start, stop, path=self.path)
        parts = [self._map(number, size) for number, size in self._spans(start, stop)]
        data = parts[0] if len(parts) == 1 else np.concatenate(parts)
        data = data.astype(self.dtype, copy=False)
        return data if self.pixel_steps is None else np.ascontiguousarray(data)

    @property
    def _steps(self) -> tuple[int, int]:
        return self.pixel_steps or (self.shape_px[1] * self.stored.itemsize, self.stored.itemsize)

    @property
    def _extent(self) -> int:
        """Bytes from the first pixel of a pattern to the end of its last."""
        return sum((n - 1) * step for n, step in zip(self.shape_px, self._steps, strict=True)) + self.stored.itemsize

    def _spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield (first pattern, number of patterns) of pieces at equal distances in the file."""
        width = self.line[0] if self.line else max(1, self.promised)
        while True:
            size = min(stop, (start // width + 1) * width) - start
            yield start, size
            start += size
            if start >= stop:
                return

    def _byte(self, number: int) -> int:
        if self.line is None:
            return self.first + number * self.step
        row, column = divmod(number, self.line[0])
        return self.first + row * self.line[1] + column * self.step

    def _map(self, number: int, size: int) -> np.ndarray:
        shape = (size, *self.shape_px)
        if size == 0:
            return np.empty(shape, self.stored)
        begin = self._byte(number)
        end = begin + (size - 1) * self.step + self._extent
        base = begin // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        with opened(self.path) as handle:
            here = os.fstat(handle).st_size
            if end > here:
                ends = number + max(0, (here - begin - self._extent) // self.step + 1)
                raise file_ends(self.path, number=ends, promised=self.promised)
            held = mapping(handle, end - base, base, all_of_it=self.pixel_steps is None)
        return np.ndarray(shape, self.stored, buffer=held, offset=begin - base, strides=(self.step, *self._steps))


class opened:
    """The file descriptor of a file, open for the length of a block."""

    def __init__(self, path: Path) -> None:
        """Take the path."""
        self.path = path

    def __enter__(self) -> int:
        """Open the file."""
        try:
            self.handle = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise FormatError(
                "the file of the scan must stay where it was opened",
                got=f"{self.path}: {error.strerror}",
                do="put it back, or open the scan again",
            ) from error
        return self.handle

    def __exit__(self, *_: object) -> None:
        """Close it."""
        os.close(self.handle)


def mapping(handle: int, size: int, offset: int, *, all_of_it: bool = True) -> mmap.mmap:
    """Return a read-only map of a part of a file; `all_of_it` where every page of it will be read, and at once."""
    held = mmap.mmap(handle, size, access=mmap.ACCESS_READ, offset=offset)
    if FETCH is not None and all_of_it:
        held.madvise(FETCH)
    return held


def check_range(frames: AbstractFrames, start: int, stop: int, *, path: Path | None = None) -> None:
    """Refuse patterns that are not there.

    Raises
    ------
    FormatError
        Naming the first that is not.
    """
    count = frames.count
    if 0 <= start <= stop <= count:
        return
    raise FormatError(
        f"patterns are read from 0 to {count} (excluded)",
        got=f"{path.name + ': ' if path else ''}patterns {start} to {stop} were asked for",
        do="wait until they are written" if getattr(frames, "growing", False) else "ask for patterns of the scan",
    )


def file_ends(path: Path, *, number: int, promised: int) -> FormatError:
    """Return the error for a file that ends before its last pattern.

    Parameters
    ----------
    number
        The first pattern that is not whole.
    promised
        How many there should be.
    """
    return FormatError(
        f"the file must hold {promised:,} patterns",
        got=f"{path.name} ends in pattern {number:,} ({path.stat().st_size:,} bytes)",
        do="copy or export the file again; it is truncated",
    )
