"""Patterns in chunks of an HDF5 file, read from their places in the file without HDF5: threads do not wait for it."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from dipolar.core.errors import FormatError
from dipolar.core.scanning import AbstractFrames
from dipolar.io.bitshuffle import available, undo
from dipolar.io.scan_mapped import MappedFrames, check_range, mapping, opened

MOST_CHUNKS = 1 << 18
"""Places of more chunks are not kept: they would travel with every piece of work."""
BITSHUFFLE, LZ4 = 32008, 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChunkFrames(AbstractFrames):
    """Whole patterns in chunks that are known by their place in the file."""

    path: Path
    """The file."""
    places: Int64[np.ndarray, "chunk 2"]
    """Byte and length of each chunk, in the order of the scan."""
    packed: bool
    """Whether chunks are compressed with bitshuffle-LZ4; else they are as they are."""
    stored: np.dtype[Any]
    """Type of a pixel in the file."""
    shape_px: tuple[int, int]
    """(k_y, k_x) of one pattern."""
    chunk: int
    """Patterns in a chunk."""
    count: int
    """Number of patterns."""

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Type of the counts, in the byte order of this machine."""
        return self.stored.newbyteorder("=")

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "pattern k_y k_x"]:
        """Return patterns `start` to `stop` (excluded), a copy."""
        check_range(self, start, stop, path=self.path)
        first, last = start // self.chunk, -(-stop // self.chunk)
        out = np.empty((max(0, last - first) * self.chunk, *self.shape_px), self.stored)
        if len(out):
            self._fill(out, first, last)
        kept = out[start - first * self.chunk : stop - first * self.chunk]
        return kept.astype(self.dtype, copy=False)

    def _fill(self, out: np.ndarray, first: int, last: int) -> None:
        """Put whole chunks into `out`."""
        places = self.places[first:last]
        begin, end = int(places[:, 0].min()), int(places.sum(axis=1).max())
        base = begin // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        with opened(self.path) as handle:
            here = os.fstat(handle).st_size
            if end > here:
                raise self._damaged(first + int(np.argmax(places.sum(axis=1) > here)), "the file ends before them")
            held = mapping(handle, end - base, base)
        raw = np.frombuffer(held, "u1")
        for number, (byte, length) in enumerate((places - [base, 0]).tolist()):
            part = out[number * self.chunk : (number + 1) * self.chunk]
            chunk = raw[byte : byte + length]
            if not self.packed:
                part[...] = chunk.view(self.stored).reshape(part.shape)
            elif not undo(chunk, part):
                raise self._damaged(first + number, "their compressed chunk is damaged")

    def _damaged(self, chunk: int, why: str) -> FormatError:
        start = chunk * self.chunk
        return FormatError(
            "the patterns must be readable",
            got=f"{self.path.name}: patterns {start} to {min(self.count, start + self.chunk) - 1}: {why}",
            do="copy or export the file again; it is truncated or damaged there",
        )


def chunk_frames(
    path: Path, dataset: Any, axes: tuple[int, ...], places: Int64[np.ndarray, "chunk 2"] | None
) -> AbstractFrames | None:
    """Return the patterns of a chunked dataset by their places; None where HDF5 has to read them.

    That is where chunks split the detector or reach over a part of several rows, where they are compressed otherwise,
    and where places are not known.

    Parameters
    ----------
    dataset
        Open h5py dataset.
    axes
        Its scan axes.
    places
        What `places_of` returned.
    """
    scan = tuple(int(dataset.shape[axis]) for axis in axes)
    together = _whole_patterns(dataset, axes, scan)
    packed = _is_packed(dataset)
    if places is None or together == 0 or packed is None or (packed and not available()):
        return None
    if packed and not dataset.dtype.isnative:
        return None
    shape_px = (int(dataset.shape[-2]), int(dataset.shape[-1]))
    size = together * shape_px[0] * shape_px[1] * dataset.dtype.itemsize
    if not packed and (places[:, 1] != size).any():
        return None
    steps = np.diff(places[:, 0])
    if not packed and (together == 1 or (steps == size).all()) and (len(steps) == 0 or (steps == steps[0]).all()):
        return MappedFrames(
            path=path,
            first=int(places[0, 0]),
            step=int(steps[0]) // together if len(steps) else size // together,
            stored=dataset.dtype,
            shape_px=shape_px,
            promised=int(np.prod(scan)),
            chunk=together,
        )
    return ChunkFrames(
        path=path,
        places=places,
        packed=packed,
        stored=dataset.dtype,
        shape_px=shape_px,
        chunk=together,
        count=int(np.prod(scan)),
    )


def _whole_patterns(dataset: Any, axes: tuple[int, ...], scan: tuple[int, ...]) -> int:
    """Return how many successive whole patterns a chunk holds; 0 where it holds no such thing."""
    chunks = dataset.chunks
    if chunks is None or tuple(chunks[-2:]) != tuple(dataset.shape[-2:]):
        return 0
    along = [int(chunks[axis]) for axis in axes]
    if int(np.prod(chunks[:-2])) != int(np.prod(along)):
        return 0
    if len(scan) == 1:
        return along[0]
    if along[0] == 1 and scan[1] % along[1] == 0:
        return along[1]
    return along[0] * along[1] if along[1] == scan[1] else 0


def _is_packed(dataset: Any) -> bool | None:
    """Tell whether chunks are compressed with bitshuffle-LZ4 (True) or not at all (False); None for all else."""
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number) for number in range(plist.get_nfilters())]
    if not filters:
        return False
    code, _, values, _ = filters[0]
    known = len(filters) == 1 and code == BITSHUFFLE and len(values) > 4 and values[4] == LZ4
    return True if known else None


def places_of(dataset: Any) -> tuple[Int64[np.ndarray, "chunk 2"] | None, int | None]:
    """Return byte and length of every chunk in order, and the number of the first chunk that was never written.

    Both are None where there is nothing to tell: too many chunks, no chunks, or chunks that were stored unfiltered in a
    filtered dataset; the second where all were written.
    """
    if dataset.chunks is None or dataset.is_virtual:
        return None, None
    grid = [-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    total = int(np.prod(grid))
    if total > MOST_CHUNKS:
        return None, None
    places = np.zeros((total, 2), np.int64)
    odd = []

    def take(info: Any) -> None:
        number = 0
        for start, chunk, across in zip(info.chunk_offset, dataset.chunks, grid, strict=True):
            number = number * across + start // chunk
        places[number] = info.byte_offset, info.size
        odd.append(info.filter_mask)

    dataset.id.chunk_iter(take)
    missing = np.flatnonzero(places[:, 1] == 0)
    if len(missing):
        return None, int(missing[0])
    return (None if any(odd) else places), None
