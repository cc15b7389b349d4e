"""Patterns in an HDF5 dataset: mapped where they lie uncompressed, through HDF5 in whole chunks elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dipolar.core.errors import DipolarError, FormatError
from dipolar.core.scanning import AbstractFrames
from dipolar.io.scan_chunks import chunk_frames, places_of
from dipolar.io.scan_mapped import MappedFrames, check_range, file_ends
from dipolar.io.scan_parts import LaterFrames

CACHE_BYTES = 64 << 20
"""Most memory that HDF5 may hold chunks in while one piece is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HdfFrames(AbstractFrames):
    """Patterns of a dataset with one or two scan axes, read through HDF5 in pieces of its chunks."""

    path: Path
    """The file."""
    dataset: str
    """Name of the dataset."""
    scan: tuple[int, ...]
    """Sizes of the scan axes, one or two; other axes before the detector have the size one."""
    axes: tuple[int, ...]
    """Which axes of the dataset they are."""
    ndim: int
    """Number of axes of the dataset."""
    shape_px: tuple[int, int]
    """(k_y, k_x) of one pattern."""
    dtype: np.dtype[Any]
    """Type of the counts, in the byte order of this machine."""
    chunk: int
    """Patterns stored together: whole rows of the scan where chunks reach over several rows."""
    growing: bool = False
    """Whether another process still appends along the first axis (HDF5's single writer, multiple readers)."""

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of patterns that can be read now."""
        if not self.growing:
            return int(np.prod(self.scan))
        with open_hdf5(self.path, growing=True) as file:
            return int(file[self.dataset].shape[self.axes[0]]) * int(np.prod(self.scan[1:]))

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "pattern k_y k_x"]:
        """Return patterns `start` to `stop` (excluded), a copy."""
        check_range(self, start, stop, path=self.path)
        with open_hdf5(self.path, growing=self.growing) as file:
            dataset = file[self.dataset]
            return read_pieces(lambda part: dataset[self._index(part)], self, start, stop, self.scan, path=self.path)

    def _index(self, part: tuple[slice, ...]) -> tuple[Any, ...]:
        index: list[Any] = [0] * (self.ndim - 2) + [slice(None)] * 2
        for axis, span in zip(self.axes, part, strict=True):
            index[axis] = span
        return tuple(index)


def read_pieces(
    read: Callable[[tuple[slice, ...]], np.ndarray],
    frames: AbstractFrames,
    start: int,
    stop: int,
    scan: tuple[int, ...],
    *,
    path: Path,
) -> np.ndarray:
    """Return patterns `start` to `stop` of an array with one or two scan axes, in as few reads as there can be.

    Raises
    ------
    FormatError
        Naming the patterns, where a library cannot read them.
    """
    out = np.empty((stop - start, *frames.shape_px), frames.dtype)
    for part, first, last in pieces(start, stop, scan):
        try:
            out[first - start : last - start] = read(part).reshape(last - first, *frames.shape_px)
        except DipolarError:
            raise
        except Exception as error:  # every library and filter has its own kinds
            raise FormatError(
                "the patterns must be readable",
                got=f"{path.name}: patterns {first} to {last - 1}: {str(error).strip()[:200]}",
                do="copy or export the file again; it is truncated or damaged there",
            ) from error
    return out


def pieces(start: int, stop: int, scan: tuple[int, ...]) -> Iterator[tuple[tuple[slice, ...], int, int]]:
    """Yield (slices of the scan axes, first pattern, last pattern excluded): part of a row, whole rows, part of one."""
    if len(scan) == 1:
        if stop > start:
            yield (slice(start, stop),), start, stop
        return
    width = scan[1]
    while start < stop:
        row, column = divmod(start, width)
        if column == 0 and stop - start >= width:
            rows = (stop - start) // width
            yield (slice(row, row + rows), slice(None)), start, start + rows * width
            start += rows * width
        else:
            last = min(stop, (row + 1) * width)
            yield (slice(row, row + 1), slice(column, column + last - start)), start, last
            start = last


def open_hdf5(path: Path, *, growing: bool = False) -> Any:
    """Return the open HDF5 file, with every compression that hdf5plugin knows.

    Raises
    ------
    FormatError
        Where it cannot be opened.
    """
    import h5py
    import hdf5plugin  # noqa: F401  # registers its compressions with HDF5

    try:
        if growing:
            return h5py.File(path, "r", libver="latest", swmr=True, rdcc_nbytes=CACHE_BYTES)
        return h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES)
    except OSError as error:
        raise FormatError(
            "the content must be that of an HDF5 file",
            got=f"{path.name}: {str(error).strip()[:200]}",
            do="--follow while it is still written (growing=True in Python); else copy or export it again: "
            "it is truncated or damaged",
        ) from error


def stored_together(chunks: tuple[int, ...] | None, scan: tuple[int, ...]) -> int:
    """Return how many successive patterns make whole chunks.

    Parameters
    ----------
    chunks
        Size of a chunk along the scan axes; None where there are none.
    scan
        Sizes of the scan axes.
    """
    if chunks is None:
        return 1
    if len(scan) == 1:
        return min(chunks[0], scan[0])
    if chunks[0] > 1:
        return min(chunks[0], scan[0]) * scan[1]
    return chunks[1] if scan[1] % chunks[1] == 0 or chunks[1] == 1 else scan[1]


def hdf5_frames(path: Path, dataset: Any, axes: tuple[int, ...], *, growing: bool) -> tuple[AbstractFrames, str, str]:
    """Return the patterns of a dataset, how they are stored, and what is wrong with their number, both in words.

    Parameters
    ----------
    dataset
        Open h5py dataset; its last two axes are the detector.
    axes
        Its scan axes, one or two.

    Raises
    ------
    FormatError
        Where the file is shorter than the dataset.
    """
    scan = tuple(int(dataset.shape[axis]) for axis in axes)
    shape_px = (int(dataset.shape[-2]), int(dataset.shape[-1]))
    first = dataset.id.get_offset() if dataset.chunks is None and not dataset.is_virtual else None
    if first is not None and not growing:
        pattern = shape_px[0] * shape_px[1] * dataset.dtype.itemsize
        count = int(np.prod(scan))
        if path.stat().st_size < first + count * pattern:
            raise file_ends(path, number=max(0, path.stat().st_size - first) // pattern, promised=count)
        mapped = MappedFrames(
            path=path, first=first, step=pattern, stored=dataset.dtype, shape_px=shape_px, promised=count
        )
        return mapped, "contiguous, memory map", ""
    if growing and (dataset.maxshape[axes[0]] is not None or any(n == 0 for n in scan[1:])):
        raise FormatError(
            "a dataset that grows has a first axis without an end",
            got=f"{path.name}: {dataset.name} has {scan[0]} of {dataset.maxshape[axes[0]]}",
            do="open it without growing when it is written, or let it be written with maxshape=(None, …) in SWMR mode",
        )
    places, missing = (None, None) if growing else places_of(dataset)
    by_place = chunk_frames(path, dataset, axes, places)
    if by_place is not None:
        return by_place, _words(dataset), ""
    frames: AbstractFrames = HdfFrames(
        path=path,
        dataset=dataset.name,
        scan=scan,
        axes=axes,
        ndim=dataset.ndim,
        shape_px=shape_px,
        dtype=dataset.dtype.newbyteorder("="),
        chunk=stored_together(tuple(dataset.chunks[axis] for axis in axes) if dataset.chunks else None, scan),
        growing=growing,
    )
    if missing is None:
        return frames, _words(dataset), ""
    written = _first_pattern(dataset, axes, scan, missing)
    return LaterFrames(whole=frames, skip=0, most=written), _words(dataset), "the others were never written"


def _first_pattern(dataset: Any, axes: tuple[int, ...], scan: tuple[int, ...], chunk: int) -> int:
    """Return the first pattern in a chunk that is given by its number."""
    grid = [-(-size // along) for size, along in zip(dataset.shape, dataset.chunks, strict=True)]
    place = np.unravel_index(chunk, grid)
    return int(np.ravel_multi_index([int(place[axis]) * int(dataset.chunks[axis]) for axis in axes], scan))


def _words(dataset: Any) -> str:
    if dataset.chunks is None:
        return "virtual dataset" if dataset.is_virtual else "external files"
    plist = dataset.id.get_create_plist()
    names = {
        1: "gzip",
        2: "shuffle",
        3: "checksum",
        32000: "lzf",
        32001: "blosc",
        32004: "lz4",
        32008: "bitshuffle",
        32015: "zstd",
    }
    codes = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    filters = " + ".join(names.get(code, f"filter {code}") for code in codes) or "uncompressed"
    return f"chunks of {' × '.join(map(str, dataset.chunks))}, {filters}"
