"""`write_scan`: patterns into a file as they come, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.atomic import atomic_file, beside, cannot_write
from dipolar.core.errors import OutputError, ScanError, SettingsError
from dipolar.io.careful import CarefulFile

COMPRESSIONS = ("bitshuffle",)
"""Compressions of HDF5 and Zarr that are written: bitshuffle-lz4, which reads faster than most disks."""

CHUNK_BYTES = 8 << 20
"""Most bytes in a chunk of a Zarr array, but for a single pattern that has more."""

Put = Callable[[int, np.ndarray], None]


def write_scan(
    path: str | Path,
    *,
    shape: tuple[int, int],
    pattern_px: tuple[int, int],
    dtype: np.dtype[Any] | str | type,
    blocks: Iterable[np.ndarray],
    compression: str | None = None,
    step_nm: float | None = None,
    pixel_mrad: float | None = None,
) -> Path:
    """Write a scan piece by piece and return its path; `open_scan` reads it back, with the same key in every format.

    Parameters
    ----------
    path
        Ends in .h5, .hdf5, .npy or .zarr. What was there is replaced when the last pattern is written, not before.
    shape
        (scan_y, scan_x).
    pattern_px
        (k_y, k_x) of one pattern.
    dtype
        Type of the counts.
    blocks
        Pieces (pattern, k_y, k_x) of any length, in order. None is kept after it is written.
    compression
        "bitshuffle" for bitshuffle-LZ4; None for counts as they are, which HDF5 and NumPy files are mapped from.
    step_nm, pixel_mrad
        Distance between probe positions and angle per px; None where unknown. Beside a `.npy`, which has no room for
        them, they go into NAME.npy.json.

    Raises
    ------
    OutputError
        Where the disk is full or refuses; nothing is left of the file then.
    ScanError
        Where `blocks` hold more or fewer patterns than `shape`, or patterns of another size.
    SettingsError
        Where the format or the compression is not known.
    """
    path, dtype = Path(path), np.dtype(dtype)
    start = WRITERS.get(path.suffix.lower())
    if start is None:
        raise SettingsError(
            "a scan is written as one of a few formats",
            got=f"{path.name}",
            do=f"choose a name that ends in {', '.join(WRITERS)}",
        )
    if compression is not None and (compression not in COMPRESSIONS or path.suffix.lower() == ".npy"):
        raise SettingsError(
            "only HDF5 and Zarr are compressed, by bitshuffle",
            got=f"{compression!r} for {path.name}",
            do="leave the compression out, or write scan.h5 with compression='bitshuffle'",
        )
    told = {name: value for name, value in (("step_nm", step_nm), ("pixel_mrad", pixel_mrad)) if value is not None}
    whole = atomic_folder if path.suffix.lower() == ".zarr" else atomic_file
    try:
        with whole(path) as part, ExitStack() as stack:
            put = start(part, (*shape, *pattern_px), dtype, compression, told, stack)
            _fill(put, blocks, shape=shape, pattern_px=pattern_px, dtype=dtype)
        _tell_beside(path, told)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def _fill(
    put: Put, blocks: Iterable[np.ndarray], *, shape: tuple[int, int], pattern_px: tuple[int, int], dtype: np.dtype[Any]
) -> None:
    """Put one piece after the other, and check that they are what was promised."""
    wanted, done = shape[0] * shape[1], 0
    for block in blocks:
        if block.shape[1:] != pattern_px or done + len(block) > wanted:
            raise ScanError(
                f"the scan has {wanted} patterns of {pattern_px[0]} × {pattern_px[1]} px",
                got=f"after {done} patterns, a piece of {' × '.join(map(str, block.shape))}",
                do="give pieces (pattern, k_y, k_x) that add up to the scan",
            )
        if len(block):
            put(done, np.ascontiguousarray(block, dtype=dtype))
        done += len(block)
    if done != wanted:
        raise ScanError(
            f"the scan has {wanted} patterns", got=f"pieces that add up to {done}", do="give the others too"
        )


def _start_npy(
    part: Path, shape: tuple[int, ...], dtype: np.dtype[Any], compression: str | None, told: Any, stack: ExitStack
) -> Put:
    """Begin an array on disk. It is appended to, not mapped: a full disk then is an error and not a crash."""
    stream = stack.enter_context(part.open("wb"))
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)

    def put(_: int, block: np.ndarray) -> None:
        stream.write(block.data)

    return put


def _start_hdf5(
    part: Path, shape: tuple[int, ...], dtype: np.dtype[Any], compression: str | None, told: Any, stack: ExitStack
) -> Put:
    """Begin a dataset `scan` with the axes (scan_y, scan_x, k_y, k_x) in an HDF5 file."""
    import h5py
    import hdf5plugin

    from dipolar.io.scan_hdf5_frames import pieces

    stream = stack.enter_context(CarefulFile(part, "w+b"))
    stack.callback(stream.check)
    file = stack.enter_context(h5py.File(stream, "w"))
    more = {} if compression is None else {"chunks": (1, 1, *shape[2:]), **hdf5plugin.Bitshuffle(cname="lz4")}
    dataset = file.create_dataset("scan", shape=shape, dtype=dtype, **more)
    dataset.attrs.update({"axes": "scan_y,scan_x,k_y,k_x", **told})

    def put(start: int, block: np.ndarray) -> None:
        for index, first, last in pieces(start, start + len(block), shape[:2]):
            rows, columns = index
            width = shape[1] if columns.start is None else last - first
            dataset[rows, columns] = block[first - start : last - start].reshape(-1, width, *shape[2:])
            stream.check()

    return put


def _start_zarr(
    part: Path, shape: tuple[int, ...], dtype: np.dtype[Any], compression: str | None, told: Any, stack: ExitStack
) -> Put:
    """Begin a Zarr array whose chunks are whole patterns, some megabytes each; a chunk is written when it is full."""
    import numcodecs
    import zarr

    pattern = int(np.prod(shape[2:])) * dtype.itemsize
    width = max(n for n in range(1, shape[1] + 1) if shape[1] % n == 0 and (n == 1 or n * pattern <= CHUNK_BYTES))
    codec = None if compression is None else numcodecs.Blosc(cname="lz4", shuffle=numcodecs.Blosc.BITSHUFFLE)
    array = zarr.open(
        str(part), mode="w", shape=shape, dtype=dtype, chunks=(1, width, *shape[2:]), compressor=codec, fill_value=0
    )
    array.attrs.update({"axes": "scan_y,scan_x,k_y,k_x", **told})
    full = np.empty((width, *shape[2:]), dtype)

    def put(start: int, block: np.ndarray) -> None:
        for number, pattern in enumerate(block, start=start):
            row, column = divmod(number, shape[1])
            full[column % width] = pattern
            if (column + 1) % width == 0:
                array[row, column + 1 - width : column + 1] = full

    return put


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield the name of a folder to write to; it becomes `path` on success, and is removed on any exception.

    Raises
    ------
    OutputError
        Where `path` is there already and no Zarr store.
    """
    if path.exists() and not any((path / name).is_file() for name in (".zarray", ".zgroup", "zarr.json")):
        raise OutputError(
            "only a Zarr store is replaced by one", got=f"{path} is something else", do="choose another name"
        )
    part, old = beside(path), beside(path)
    try:
        yield part
        if path.exists():
            path.rename(old)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _tell_beside(path: Path, told: dict[str, float]) -> None:
    told_in = path.with_name(path.name + ".json")
    if path.suffix.lower() != ".npy":
        return
    if told:
        with atomic_file(told_in) as part:
            part.write_text(json.dumps(told), encoding="utf-8")
    else:
        told_in.unlink(missing_ok=True)


WRITERS: dict[str, Callable[..., Put]] = {
    ".h5": _start_hdf5,
    ".hdf5": _start_hdf5,
    ".npy": _start_npy,
    ".zarr": _start_zarr,
}
"""Suffix → what begins such a file."""
