"""Scans as a folder of PNG or TIFF patterns, one file per probe position, or as one TIFF with a page for each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dipolar.core.errors import FormatError, ScanError
from dipolar.core.scanning import AbstractFrames
from dipolar.io.entry import describe
from dipolar.io.scan_found import Found, how_stored
from dipolar.io.scan_mapped import MappedFrames, check_range, file_ends
from dipolar.io.scan_numpy import check_array

SUFFIXES = (".png", ".tif", ".tiff")
PLACE = re.compile(r"(\d+)_(\d+)(?:\D.*)?")
"""Names that begin with the probe position: scan_x, then scan_y."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFrames(AbstractFrames):
    """One file per pattern."""

    folder: Path
    """Where they are."""
    names: tuple[str, ...]
    """Names of the files, in the order of the scan."""
    shape_px: tuple[int, int]
    """(k_y, k_x) of one pattern."""
    dtype: np.dtype[Any]
    """Type of the counts."""
    chunk: int = 1
    """Each pattern is a file."""

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of patterns."""
        return len(self.names)

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "pattern k_y k_x"]:
        """Return patterns `start` to `stop` (excluded)."""
        check_range(self, start, stop, path=self.folder)
        out = np.empty((stop - start, *self.shape_px), self.dtype)
        for place, name in enumerate(self.names[start:stop]):
            pattern = read_pattern(self.folder / name)
            if (pattern.shape, pattern.dtype) != (self.shape_px, self.dtype):
                raise FormatError(
                    "all patterns of a folder have one size and type",
                    got=f"{name}: {describe(pattern.shape)} {pattern.dtype}; the first is {describe(self.shape_px)} "
                    f"{self.dtype}",
                    do="move files that are no patterns elsewhere",
                )
            out[place] = pattern
        return out


def read_folder(path: Path, *, select: str | None, growing: bool) -> Found:
    """Return the patterns of a folder, ordered by the probe position in their names, or else by their numbers."""
    names = [file.name for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    if not names:
        raise FormatError(
            "a folder is a scan where it holds PNG or TIFF patterns, one per probe position",
            got=f"no {', '.join(SUFFIXES)} in {path.name}",
            do="name the file of the scan, or the folder with the patterns",
        )
    shape, ordered = _places(names)
    first = read_pattern(path / ordered[0])
    check_array((1, *first.shape), first.dtype, path=path / ordered[0])
    frames = FolderFrames(folder=path, names=tuple(ordered), shape_px=first.shape[:2], dtype=first.dtype)
    return Found(
        frames=frames,
        shape=shape,
        shape_source="scan_x and scan_y in the names",
        facts=how_stored("folder", f"{len(names)} files {Path(ordered[0]).suffix}"),
    )


def _places(names: list[str]) -> tuple[tuple[int, int] | None, list[str]]:
    """Return the shape of the scan and the names in its order, where they tell the probe position.

    Raises
    ------
    ScanError
        Where they tell it, but some positions are missing or occur twice.
    """
    found = [PLACE.fullmatch(Path(name).stem) for name in names]
    if not all(found):
        return None, sorted(names, key=_natural)
    at = sorted((int(place[2]), int(place[1]), name) for place, name in zip(found, names, strict=True) if place)
    y0, x0 = at[0][0], min(x for _, x, _ in at)
    rows, columns = at[-1][0] - y0 + 1, max(x for _, x, _ in at) - x0 + 1
    there = [(y - y0) * columns + x - x0 for y, x, _ in at]
    if there != list(range(rows * columns)):
        wrong = next((n for n, place in enumerate(there) if n != place), len(there))
        twice = wrong < len(there) and there[wrong] < wrong
        raise ScanError(
            "the names of the files, SCANX_SCANY…, tell one pattern for every probe position",
            got=f"{len(names):,} files for {rows} × {columns} positions; scan_x {wrong % columns + x0}, scan_y "
            f"{wrong // columns + y0} is the first that is {'there twice' if twice else 'missing'}",
            do="add the missing patterns, or name the files by one number and give --scan-shape",
        )
    return (rows, columns), [name for _, _, name in at]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which a2 comes before a10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def read_pattern(path: Path) -> Shaped[np.ndarray, "k_y k_x"]:
    """Return the counts of one PNG or TIFF.

    Raises
    ------
    FormatError
        Where it cannot be read, or is coloured: then it is a picture of a pattern and holds no counts.
    """
    try:
        data = _png(path) if path.suffix.lower() == ".png" else _tiff(path)
    except Exception as error:  # both libraries have a dozen kinds for damaged files
        raise FormatError(
            "every file of the folder must be a readable image",
            got=f"{path.name}: {str(error).strip()[:200]}",
            do="copy or export it again; it is truncated or damaged",
        ) from error
    if data.ndim == 3 and data.shape[2] in (3, 4) and all((data[..., 0] == data[..., n]).all() for n in (1, 2)):
        data = np.ascontiguousarray(data[..., 0])
    if data.ndim != 2:
        raise FormatError(
            "a pattern is grey: one count per pixel",
            got=f"{path.name}: {describe(data.shape)}",
            do="export the patterns as 16-bit grey PNG or TIFF; colours hold no counts",
        )
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def _png(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        grey = image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16")
        data = np.asarray(image if grey else image.convert("RGB"))
    return data.astype("u1") if data.dtype.kind == "b" else data


def _tiff(path: Path) -> np.ndarray:
    import tifffile

    return np.asarray(tifffile.imread(path))


def read_tiff_stack(path: Path, *, select: str | None, growing: bool) -> Found:
    """Return the patterns of one TIFF with a page per probe position, memory-mapped."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        shape, dtype, first = tuple(series.shape), series.dtype, series.dataoffset
        order = file.byteorder
    check_array(shape, np.dtype(dtype), path=path)
    if first is None:
        raise FormatError(
            "a stack of patterns in one TIFF is read where it lies uncompressed and in one piece",
            got=f"{path.name}: {describe(shape)} in pieces or compressed",
            do="write it as .npy or .h5, or as a folder with a file per pattern",
        )
    stored = np.dtype(dtype).newbyteorder(order)
    count, pattern = int(np.prod(shape[:-2])), shape[-2] * shape[-1] * stored.itemsize
    if path.stat().st_size < first + count * pattern:
        raise file_ends(path, number=max(0, path.stat().st_size - first) // pattern, promised=count)
    return Found(
        frames=MappedFrames(
            path=path, first=first, step=pattern, stored=stored, shape_px=(shape[-2], shape[-1]), promised=count
        ),
        shape=(shape[0], shape[1]) if len(shape) == 4 else None,
        shape_source="shape of the stack",
        facts=how_stored("TIFF stack"),
    )
