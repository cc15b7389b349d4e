"""Scans in Zarr stores, HyperSpy's `.zspy` among them: a folder of chunks, or all of them in one zip file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dipolar.core.errors import FormatError
from dipolar.core.nouns import Fact
from dipolar.core.scanning import AbstractFrames
from dipolar.io.scan_found import Found, how_stored
from dipolar.io.scan_hdf5 import chosen, is_scan, scan_axes
from dipolar.io.scan_hdf5_frames import read_pieces, stored_together
from dipolar.io.scan_hdf5_scales import scales_of
from dipolar.io.scan_mapped import check_range

MISSING = "chunks_missing"
"""Name of the fact that some chunks are not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrFrames(AbstractFrames):
    """Patterns of a Zarr array, read in pieces of its chunks."""

    path: Path
    """The store."""
    array: str
    """Name of the array in it; "" where the store is the array."""
    scan: tuple[int, ...]
    """Sizes of the scan axes, one or two."""
    axes: tuple[int, ...]
    """Which axes of the array they are."""
    ndim: int
    """Number of axes of the array."""
    shape_px: tuple[int, int]
    """(k_y, k_x) of one pattern."""
    dtype: np.dtype[Any]
    """Type of the counts, in the byte order of this machine."""
    chunk: int
    """Patterns stored together: whole rows of the scan where chunks reach over several rows."""

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of patterns."""
        return int(np.prod(self.scan))

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "pattern k_y k_x"]:
        """Return patterns `start` to `stop` (excluded), a copy."""
        check_range(self, start, stop, path=self.path)
        with open_zarr(self.path) as root:
            array = root[self.array] if self.array else root

            def read(part: tuple[slice, ...]) -> np.ndarray:
                index: list[Any] = [0] * (self.ndim - 2) + [slice(None)] * 2
                for axis, span in zip(self.axes, part, strict=True):
                    index[axis] = span
                return np.asarray(array[tuple(index)])

            return read_pieces(read, self, start, stop, self.scan, path=self.path)


def read_zarr(path: Path, *, select: str | None, growing: bool) -> Found:
    """Return the patterns of the one array that holds a scan, or of the one called `select`."""
    with open_zarr(path) as root:
        array = chosen(_arrays(root), select, path=path)
        missing = _missing_chunks(array, path=path)
        axes = scan_axes(array.shape)
        scan = tuple(int(array.shape[axis]) for axis in axes)
        scales = scales_of(array, root, plain="Zarr")
        frames = ZarrFrames(
            path=path,
            array=(array.name or "").strip("/"),
            scan=scan,
            axes=axes,
            ndim=array.ndim,
            shape_px=(int(array.shape[-2]), int(array.shape[-1])),
            dtype=np.dtype(array.dtype).newbyteorder("="),
            chunk=stored_together(tuple(array.chunks[axis] for axis in axes), scan),
        )
        return Found(
            frames=frames,
            shape=(scan[0], scan[1]) if len(scan) == 2 else None,
            shape_source=f"shape of {array.name or 'the array'}",
            step_nm=scales.step_nm,
            pixel_mrad=scales.pixel_mrad,
            facts=(*how_stored(scales.make, _words(array)), *missing, *scales.facts),
        )


@contextmanager
def open_zarr(path: Path) -> Iterator[Any]:
    """Yield the open store: a group or an array.

    Raises
    ------
    FormatError
        Where it is none.
    """
    import zarr

    store: Any = None
    try:
        store = zarr.storage.ZipStore(str(path), mode="r") if path.is_file() else str(path)
        root = zarr.open(store, mode="r")
    except Exception as error:  # zarr has its own kinds, and they change between its versions
        raise FormatError(
            "the content must be that of a Zarr store",
            got=f"{path.name}: {str(error).strip()[:200] or type(error).__name__}",
            do="name the folder that holds .zgroup, .zarray or zarr.json, or copy it again",
        ) from error
    try:
        yield root
    finally:
        if hasattr(store, "close"):
            store.close()


def _arrays(root: Any) -> list[Any]:
    """Return every array that can be a scan: with two scan axes, or, where none has, with one."""
    found: list[Any] = []

    def visit(node: Any) -> None:
        if not hasattr(node, "groups"):
            found.extend([node] if is_scan(node) else [])
            return
        for _, array in node.arrays():
            visit(array)
        for _, group in node.groups():
            visit(group)

    visit(root)
    return [node for node in found if len(scan_axes(node.shape)) == 2] or found


def _missing_chunks(array: Any, *, path: Path) -> list[Fact]:
    """Return how many chunks are not there, which Zarr reads as zeros: left out because they are, or lost.

    Raises
    ------
    FormatError
        Where there is none at all.
    """
    there, all_of_them = array.nchunks_initialized, array.nchunks
    if there == 0:
        raise FormatError(
            "the array must hold data",
            got=f"{path.name}: {array.name or 'the array'} promises {all_of_them} chunks and stores none",
            do="copy or write it again; it is damaged, or was never filled",
        )
    lost = all_of_them - there
    return [Fact(name=MISSING, value=f"{lost:,} of {all_of_them:,}", source="store")] if lost else []


def _words(array: Any) -> str:
    how = getattr(array, "compressor", None)
    return f"chunks of {' × '.join(map(str, array.chunks))}, {'uncompressed' if how is None else how}"
