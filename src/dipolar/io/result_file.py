"""The one result file, in HDF5: a `Measurement`, `Unmixed` or a mapped scan; checksummed twice, replaced in one step.

Every dataset carries HDF5's own Fletcher-32 and a SHA-256; one more SHA-256 covers all attributes, the names of
everything included. The nouns are groups, so that any HDF5 program can read the arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dipolar.core.atomic import atomic_file, sha256_of
from dipolar.core.errors import ChecksumError, FormatError
from dipolar.core.measurement import Measurement
from dipolar.core.scanning import ScanResult, ScanSeries
from dipolar.core.unmixing import Unmixed
from dipolar.io.careful import new_hdf5
from dipolar.io.codec import read_noun, write_noun

FORMAT = "dipolar measurement"
Result = Measurement | Unmixed | ScanResult | ScanSeries
FORMATS: dict[str, type[Result]] = {
    FORMAT: Measurement,
    "dipolar components": Unmixed,
    "dipolar scan map": ScanResult,
    "dipolar scan series": ScanSeries,
}
"""What a file says it holds → the noun."""
NAMES = ("result.h5", "components.h5")
"""Result files in result folders."""
VERSION = 1
"""Raised when an older dipolar could not read the file any more."""

_SUM = "sha256"
_SUM_OF_ATTRIBUTES = "sha256_of_attributes"


def save(result: Result, path: str | Path) -> None:
    """Write a measurement, components, or a mapped scan; what was at `path` is replaced once the new file is complete.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    # Metadata of HDF5 1.10 carry checksums; the default, older layout has none.
    with atomic_file(Path(path)) as part, new_hdf5(part, libver=("v110", "v110")) as file:
        file.attrs["format"] = np.bytes_(next(name for name, kind in FORMATS.items() if isinstance(result, kind)))
        file.attrs["format_version"] = VERSION
        write_noun(file, result)
        for _, node in _nodes(file):
            if isinstance(node, h5py.Dataset):
                node.attrs[_SUM] = np.bytes_(_sum_of_data(node))
        file.attrs[_SUM_OF_ATTRIBUTES] = np.bytes_(_sum_of_attributes(file))


def load(path: str | Path) -> Result:
    """Return the measurement, the components, or the mapped scan in a result file; ``load`` after ``save`` is identity.

    Raises
    ------
    FormatError
        Where it is no result file, or one of a newer dipolar.
    ChecksumError
        Where an array cannot be read back as it was written. `verify` checks the rest, too.
    """
    path = Path(path)
    with _opened(path) as file:
        found = read_noun(file, FORMATS[file.attrs["format"].decode()])
    assert isinstance(found, Result)
    return found


def load_measurement(path: str | Path) -> Measurement:
    """Return the measurement in a result file.

    Raises
    ------
    FormatError
        Where it is no result file, one of a newer dipolar, or holds something else.
    ChecksumError
        Where an array cannot be read back as it was written.
    """
    found = load(path)
    if not isinstance(found, Measurement):
        raise FormatError(
            "a result of measuring was expected.",
            got=f"{path}: {_told(found)}",
            do="give the image, or the result of dipolar image measure",
        )
    return found


def _told(found: Result) -> str:
    if isinstance(found, ScanResult):
        return f"the map of {found.map.name or 'a scan'}"
    return f"components of {found.image.name or 'an image'}" if isinstance(found, Unmixed) else "a series of scans"


def verify(path: str | Path) -> None:
    """Check every checksum of a result file, or of a result folder against its `run.json`.

    Raises
    ------
    ChecksumError
        With the name of everything that is damaged.
    FormatError
        Where it is no result of dipolar.
    """
    path = Path(path)
    damaged = _damaged_files(path) if path.is_dir() else _damaged_nodes(path)
    if damaged:
        raise ChecksumError(
            "every checksum must match what is stored",
            got=f"{path} is damaged in {', '.join(damaged)}",
            do="restore it from a copy, or run the measurement again",
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if path.is_dir():
        path = next((path / name for name in NAMES if (path / name).is_file()), path / NAMES[0])
    if not path.is_file():
        raise FormatError("a result file must exist", got=f"{path}: no such file", do="check the path")
    with path.open("rb") as stream:
        if stream.read(8) != b"\x89HDF\r\n\x1a\n":
            raise FormatError("a result file is HDF5", got=f"{path.name} is not", do="give the result.h5 of a result")
    try:
        with h5py.File(path, "r") as file:
            _check_version(file, path)
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ChecksumError(
            "the result file must be whole",
            got=f"{path}: {cause}",
            do="restore it from a copy, or run the measurement again",
        ) from error


def _check_version(file: Any, path: Path) -> None:
    said = file.attrs.get("format", b"")  # bytes where we wrote it; anything at all in files of others
    if not isinstance(said, bytes) or bytes(said) not in [name.encode() for name in FORMATS]:
        raise FormatError(
            "a result file says that it is one", got=f"{path.name} is another HDF5 file", do="give a result.h5"
        )
    version = int(file.attrs["format_version"])
    if version > VERSION:
        raise FormatError(
            f"this dipolar reads result files up to version {VERSION}",
            got=f"{path.name} has version {version}",
            do="pip install --upgrade dipolar",
        )


def _nodes(file: Any) -> list[tuple[str, Any]]:
    """Return every group and dataset with its path, sorted."""
    found: list[tuple[str, Any]] = []
    file.visititems(lambda name, node: found.append((name, node)))
    return sorted(found, key=lambda pair: pair[0])


def _sum_of_data(dataset: Any) -> str:
    data = np.ascontiguousarray(dataset[()])
    total = hashlib.sha256(f"{data.dtype.str}{data.shape}".encode())
    total.update(data.tobytes())
    return total.hexdigest()


def _sum_of_attributes(file: Any) -> str:
    total = hashlib.sha256()
    for name, node in [("", file), *_nodes(file)]:
        total.update(f"{name}\0".encode())
        for key in sorted(node.attrs):
            if key != _SUM_OF_ATTRIBUTES:
                value = np.asarray(node.attrs[key])
                total.update(f"{key}\0{value.dtype.str}\0".encode() + value.tobytes())
    return total.hexdigest()


def _damaged_nodes(path: Path) -> list[str]:
    with _opened(path) as file:
        damaged = []
        for name, node in _nodes(file):
            if isinstance(node, h5py.Dataset):
                try:
                    whole = _sum_of_data(node).encode() == bytes(node.attrs[_SUM])
                except (OSError, KeyError, RuntimeError):
                    whole = False
                if not whole:
                    damaged.append(name)
        if _sum_of_attributes(file).encode() != bytes(file.attrs.get(_SUM_OF_ATTRIBUTES, b"")):
            damaged.append("attributes")
        return damaged


def _damaged_files(folder: Path) -> list[str]:
    record = read_run_json(folder)
    checksums = record.get("checksums", {})
    damaged = [] if record.get(_SUM) == sum_of_record(record) else ["run.json"]
    for name, expected in checksums.items():
        file = folder / name
        if not file.is_file():
            damaged.append(f"{name} (missing)")
        elif sha256_of(file) != expected:
            try:
                parts = _damaged_nodes(file) if file.suffix == ".h5" else []
            except (ChecksumError, FormatError):
                parts = []
            damaged.append(f"{name} ({', '.join(parts)})" if parts else name)
    return damaged


def read_run_json(folder: Path) -> dict[str, Any]:
    """Return what `run.json` of a result folder says.

    Raises
    ------
    FormatError
        Where there is none.
    ChecksumError
        Where it is no JSON any more.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise FormatError(
            "a result folder holds a run.json", got=f"none in {folder}", do="give the folder that dipolar wrote"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ChecksumError(
            "run.json must be whole", got=f"{path}: {error}", do="restore it from a copy, or run the measurement again"
        ) from error
    return record if isinstance(record, dict) else {}


def sum_of_record(record: dict[str, Any]) -> str:
    """Return the SHA-256 of a run's record, its own entry left out."""
    rest = {key: value for key, value in record.items() if key != _SUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
