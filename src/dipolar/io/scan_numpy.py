"""Scans in NumPy's `.npy` files, memory-mapped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.errors import FormatError, ScanError
from dipolar.io.entry import describe
from dipolar.io.scan_found import MIN_EDGE_PX, Found, how_stored
from dipolar.io.scan_mapped import MappedFrames, file_ends


def read_npy(path: Path, *, select: str | None, growing: bool) -> Found:
    """Return the patterns of an array (scan_y, scan_x, k_y, k_x) or (pattern, k_y, k_x).

    `step_nm` and `pixel_mrad` are those in NAME.npy.json, where there is such a file.
    """
    shape, fortran, dtype, first = _header(path)
    check_array(shape, dtype, path=path)
    scan = shape[:2] if len(shape) == 4 else None
    count = int(np.prod(shape[:-2]))
    frames = _frames(path, shape, dtype, first, fortran=fortran, growing=growing)
    if not growing and path.stat().st_size < first + count * shape[-2] * shape[-1] * dtype.itemsize:
        written = (path.stat().st_size - first) // (shape[-2] * shape[-1] * dtype.itemsize)
        raise file_ends(path, number=max(0, written), promised=count)
    step_nm, pixel_mrad = _beside(path)
    return Found(
        frames=frames,
        shape=None if scan is None else (scan[0], scan[1]),
        shape_source="shape of the array",
        step_nm=step_nm,
        pixel_mrad=pixel_mrad,
        facts=how_stored("NumPy"),
    )


def check_array(shape: tuple[int, ...], dtype: np.dtype[Any], *, path: Path) -> None:
    """Refuse an array that holds no diffraction patterns.

    Raises
    ------
    FormatError
        Where its values are no real numbers.
    ScanError
        Where it has not three or four axes, or its patterns are too small.
    """
    if dtype.kind not in "uif":
        raise FormatError(
            "counts are integers or real numbers",
            got=f"{path.name}: {describe(shape)} of {dtype}",
            do="store them as uint16 or float32; pickled Python objects are not read",
        )
    if len(shape) not in (3, 4) or min(shape[-2:], default=0) < MIN_EDGE_PX or 0 in shape:
        raise ScanError(
            "a scan has the axes (scan_y, scan_x, k_y, k_x), or (pattern, k_y, k_x) with --scan-shape, and patterns "
            f"of at least {MIN_EDGE_PX} × {MIN_EDGE_PX} px",
            got=f"{path.name}: {describe(shape)}",
            do="check that this is the scan and not an image made from it",
        )


def _header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, whether the first axis is the fastest, type, and the byte at which the data begin."""
    with path.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        return tuple(int(size) for size in shape), bool(fortran), dtype, stream.tell()


def _frames(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], first: int, *, fortran: bool, growing: bool
) -> MappedFrames:
    height, width = shape[-2:]
    common: dict[str, Any] = {
        "path": path,
        "first": first,
        "stored": dtype,
        "shape_px": (height, width),
        "promised": int(np.prod(shape[:-2])),
        "growing": growing,
    }
    if not fortran:
        return MappedFrames(step=height * width * dtype.itemsize, **common)
    steps = [dtype.itemsize * int(np.prod(shape[:axis])) for axis in range(len(shape))]
    line = (shape[1], steps[0]) if len(shape) == 4 else None
    return MappedFrames(step=steps[-3], pixel_steps=(steps[-2], steps[-1]), line=line, **common)


def _beside(path: Path) -> tuple[float | None, float | None]:
    """Return step_nm and pixel_mrad from the file that the writer puts beside an array."""
    told = path.with_name(path.name + ".json")
    if not told.is_file():
        return None, None
    values = json.loads(told.read_text(encoding="utf-8"))
    step, pixel = values.get("step_nm"), values.get("pixel_mrad")
    return None if step is None else float(step), None if pixel is None else float(pixel)
