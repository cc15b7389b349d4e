"""`open_scan`: from the files of a detector to one scan that is read piece by piece."""

from __future__ import annotations

import importlib
from pathlib import Path

from dipolar.core.errors import FormatError, SettingsError
from dipolar.core.scanning import Scan
from dipolar.io.border import border
from dipolar.io.scan_found import Found, settle

SCAN_READERS: dict[str, str] = {
    ".mib": "scan_mib:read_mib",
    ".hdr": "scan_mib:read_mib",
    ".dm4": "scan_dm:read_dm",
    ".dm3": "scan_dm:read_dm",
    ".blo": "scan_blo:read_blo",
    ".tvips": "scan_tvips:read_tvips",
    ".raw": "scan_empad:read_empad",
    ".xml": "scan_empad:read_empad",
    ".emd": "scan_hdf5:read_hdf5",
    ".h5": "scan_hdf5:read_hdf5",
    ".hdf5": "scan_hdf5:read_hdf5",
    ".hspy": "scan_hdf5:read_hdf5",
    ".zspy": "scan_zarr:read_zarr",
    ".zarr": "scan_zarr:read_zarr",
    ".npy": "scan_numpy:read_npy",
    ".tif": "scan_folder:read_tiff_stack",
    ".tiff": "scan_folder:read_tiff_stack",
}
"""Suffix → module of this package and function; the module is imported when such a file is met."""

SCAN_FOLDERS = (".zspy", ".zarr")
"""Formats that are folders on disk, or zip files; any other folder is one of patterns."""

GROWING = (".mib", ".hdr", ".raw", ".xml", ".npy", ".blo", ".tvips", ".h5", ".hdf5", ".hspy", ".emd")
"""Formats that can be read while they are written."""


def open_scan(
    path: str | Path,
    *,
    scan_shape: tuple[int, int] | None = None,
    skip: int | None = None,
    select: str | None = None,
    growing: bool = False,
) -> Scan:
    """Return a 4D-STEM scan without reading it; its patterns are read from `Scan.frames`, piece by piece.

    Parameters
    ----------
    path
        A file with one of the suffixes in `SCAN_READERS`, or a folder of patterns.
    scan_shape
        (scan_y, scan_x), where the file does not say it, or says it wrong.
    skip
        How many patterns at the start to leave out. Any number, 0 too, says that patterns left over at the end do
        not matter; None insists that every pattern has its probe position.
    select
        Name of the dataset, where a file holds several.
    growing
        Whether the file is still being written: `Scan.frames.count` then says how many patterns there are by now.

    Raises
    ------
    FormatError
        Where the file cannot be read.
    ScanError
        Where it is no scan, or its shape is not known or does not fit the number of patterns.
    SelectionError
        Where it holds several scans and none was named.
    SettingsError
        Where a file of its format cannot be read while it grows.
    """
    path = Path(path)
    module, function = _reader(path)
    if growing and path.suffix.lower() not in GROWING:
        raise SettingsError(
            f"scans that are still written are read as {', '.join(GROWING)}",
            got=path.name,
            do="open it without growing when it is written",
        )
    with border(path):
        read = getattr(importlib.import_module(f"dipolar.io.{module}"), function)
        found: Found = read(path, select=select, growing=growing)
        return settle(found, path=path, scan_shape=scan_shape, skip=skip, growing=growing)


def _reader(path: Path) -> tuple[str, str]:
    """Return module and function for a file, after a look at whether it is there at all."""
    suffix = path.suffix.lower()
    if not path.exists():
        raise FormatError("the file of the scan must exist", got=f"{path}: no such file", do="check the path")
    if path.is_dir() and suffix not in SCAN_FOLDERS:
        return "scan_folder", "read_folder"
    if path.is_file() and path.stat().st_size == 0:
        raise FormatError("the file must hold a scan", got=f"{path.name} is empty (0 bytes)", do="copy it again")
    if suffix not in SCAN_READERS:
        raise FormatError(
            "the format is recognised by the end of the file's name",
            got=f"{path.name} ends in {suffix!r}" if suffix else f"{path.name} has no suffix",
            do=f"scans that can be read end in {', '.join(SCAN_READERS)}, or are a folder of PNG or TIFF patterns",
        )
    module, _, function = SCAN_READERS[suffix].partition(":")
    return module, function
