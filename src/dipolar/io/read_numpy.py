"""NumPy, MATLAB and PNG files: arrays with little or nothing said about them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from dipolar.core.errors import FormatError
from dipolar.io.entry import Entry, Frame, check_promise
from dipolar.io.read_hdf5 import read_matlab_73, statstem_scale


def read_npy(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return the array of an `.npy` file; of a trusted pickle, one entry per specimen of a composition library."""
    with path.open("rb") as stream:
        shape, dtype = _header(stream)
        stored = path.stat().st_size - stream.tell()
    if dtype.hasobject:
        return _library(path, trust_pickle=trust_pickle)
    check_promise(shape, dtype, stored_bytes=stored)

    def read(frame: Frame) -> np.ndarray:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.array(data if frame is None else data[frame])

    return [_array_entry("array", shape, dtype, read)]


def read_npz(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return the numeric arrays of an `.npz` file."""
    entries = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                continue
            with archive.open(member) as stream:
                shape, dtype = _header(stream)
                if dtype.hasobject:
                    continue
                check_promise(shape, dtype, stored_bytes=member.file_size)
            entries.append(_member_entry(path, member.filename.removesuffix(".npy"), shape, dtype))
    return entries


def _member_entry(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Entry:
    def read(frame: Frame) -> np.ndarray:
        with np.load(path, allow_pickle=False) as arrays:
            data = np.asarray(arrays[name])
        return data if frame is None else data[frame]

    return _array_entry(name, shape, dtype, read)


def _array_entry(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], read: Any) -> Entry:
    if len(shape) == 3 and shape[-1] in (3, 4) and min(shape[:2]) >= 16:  # colours, as image libraries lay them out
        shape = shape[:2]
    return Entry(name=name, shape=shape, dtype=dtype, read=read)


def _header(stream: IO[bytes] | zipfile.ZipExtFile) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    else:  # 3.0 differs from 2.0 only in the encoding of field names
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    return tuple(int(size) for size in shape), dtype


def _library(path: Path, *, trust_pickle: bool) -> list[Entry]:
    if not trust_pickle:
        raise FormatError(
            "the file holds pickled Python objects, and reading those runs whatever code is in them",
            got=path.name,
            do="if you trust whoever made it, add --trust-pickle (in Python: trust_pickle=True); otherwise export "
            "the image as .npy or .tif",
        )
    content = np.load(path, allow_pickle=True)
    content = content.item() if content.shape == () else content
    entries = []
    if isinstance(content, dict):
        content = {"main_image": content} if "main_image" in content else content
        for name, specimen in content.items():
            image = np.asarray(specimen["main_image"] if isinstance(specimen, dict) else specimen)
            if image.dtype != object:
                entries.append(Entry(name=str(name), shape=image.shape, dtype=image.dtype, read=_from_memory(image)))
    if not entries:
        raise FormatError(
            "a pickled library is a dict of specimens, each with a `main_image`",
            got=f"{path.name} holds {type(content).__name__}",
            do="export the image as .npy or .tif",
        )
    return entries


def _from_memory(data: np.ndarray) -> Any:
    def read(frame: Frame) -> np.ndarray:
        return data if frame is None else data[frame]

    return read


def read_mat(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return the matrices of a MATLAB file; of StatSTEM's, the observation `input.obs` with its pixel size `dx`."""
    import scipy.io

    with path.open("rb") as stream:
        start = stream.read(128)
    if start.startswith(b"MATLAB 7.3") or start.startswith(b"\x89HDF"):
        return read_matlab_73(path)
    found = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
    if found.get("input", ((), ""))[1] == "struct":
        structure = scipy.io.loadmat(path, variable_names=["input"])["input"]
        if structure.size == 1 and structure.dtype.names and "obs" in structure.dtype.names:
            image = np.asarray(structure[0, 0]["obs"])
            edge = structure[0, 0]["dx"] if "dx" in structure.dtype.names else np.empty(0)
            scale = statstem_scale(float(edge.item()) if edge.size == 1 else None)
            return [
                Entry(name="input.obs", shape=image.shape, dtype=image.dtype, read=_from_memory(image), scale=scale)
            ]
    entries = []
    for name, (shape, kind) in found.items():
        dtype = np.dtype({"single": "f4", "double": "f8", "logical": "u1"}.get(kind, kind if "int" in kind else "V1"))
        if dtype.kind in "uif" and len(shape) > 1:
            check_promise(tuple(shape), dtype)
            entries.append(Entry(name=name, shape=tuple(shape), dtype=dtype, read=_from_matlab(path, name)))
    return entries


def _from_matlab(path: Path, name: str) -> Any:
    def read(frame: Frame) -> np.ndarray:
        import scipy.io

        data = np.asarray(scipy.io.loadmat(path, variable_names=[name])[name])
        return data if frame is None else data[frame]

    return read


def read_png(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return the picture in a PNG file, palettes resolved to colours."""
    from PIL import Image as Picture

    with Picture.open(path, formats=["PNG"]) as picture:
        columns, rows = picture.size
        mode = picture.mode
    dtype = np.dtype({"I": "u2", "I;16": "u2", "I;16B": "u2"}.get(mode, "u1"))
    check_promise((rows, columns), dtype)

    def read(frame: Frame) -> np.ndarray:
        with Picture.open(path, formats=["PNG"]) as picture:
            wanted = {"P": "RGBA", "1": "L", "LA": "RGBA", "PA": "RGBA"}.get(mode)
            data = np.asarray(picture.convert(wanted) if wanted else picture)
        return data.astype(dtype, copy=False)

    return [Entry(name="picture", shape=(rows, columns), dtype=dtype, read=read)]
