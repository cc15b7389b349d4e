"""HDF5 files: HyperSpy's, composition libraries, MATLAB v7.3, and plain ones with an image in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dipolar.core.errors import FormatError
from dipolar.io.entry import Entry, Frame, Scale, check_promise
from dipolar.io.units import unit_pm


def holds(path: Path, name: str) -> bool:
    """Return whether the HDF5 file has an object of this name at its root."""
    with h5py.File(path, "r") as file:
        return name in file


def read_h5(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return the images of an HDF5 file, after looking at who wrote it."""
    if holds(path, "Experiments"):
        from dipolar.io.read_rsciio import read_hspy

        return read_hspy(path, trust_pickle=trust_pickle)
    if holds(path, "MainImage"):
        return [_library_image(path)]
    return read_plain(path)


def read_plain(path: Path) -> list[Entry]:
    """Return every numeric dataset with at least two axes."""
    entries: list[Entry] = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.dtype.kind in "buifc" and len(node.shape or ()) > 0:
            entries.append(_entry(path, node))

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return entries


def _entry(path: Path, dataset: Any, *, scale: Scale | None = None, transpose: bool = False) -> Entry:
    name = dataset.name
    order = [place for place, size in enumerate(dataset.shape) if size != 1] if len(dataset.shape) > 2 else None
    squeezed = tuple(int(dataset.shape[place]) for place in order) if order else tuple(map(int, dataset.shape))

    def read(frame: Frame) -> np.ndarray:
        with h5py.File(path, "r") as file:
            node = file[name]
            check_storage(path, node)
            if frame is None:
                data = node[()].reshape(squeezed)
            else:  # one frame only: the slice goes to the axis of frames among axes of length one
                index = [0 if size == 1 else slice(None) for size in node.shape]
                index[order[0] if order else 0] = frame
                data = node[tuple(index)]
            return np.asarray(data.T if transpose else data)

    return Entry(
        name=name.lstrip("/"),
        shape=squeezed[::-1] if transpose else squeezed,
        dtype=dataset.dtype,
        read=read,
        scale=scale,
    )


def check_storage(path: Path, dataset: Any) -> None:
    """Refuse a dataset that stores nothing of what it promises, or more than the file has."""
    stored = int(dataset.id.get_storage_size())
    if stored == 0 and not dataset.is_virtual:
        raise FormatError(
            "the dataset must hold data",
            got=f"{path.name}: {dataset.name} promises {dataset.size:,} values and stores none",
            do="export the file again; it is damaged, or was never filled",
        )
    if stored > path.stat().st_size:
        check_promise(dataset.shape, dataset.dtype, stored_bytes=path.stat().st_size)


def _library_image(path: Path) -> Entry:
    """Return the image of a composition library: `MainImage`, `Scale` and `Units(m)`, orientation as stored."""
    with h5py.File(path, "r") as file:
        scale = _number(file, "Scale")
        metres = _number(file, "Units(m)")
        text = _text(file, "Units(m)")
        factor = metres * 1e12 if metres is not None else unit_pm(text)
        found = None
        if scale is not None:
            size, unit = (scale * factor, "pm") if factor is not None else (scale, text)
            found = Scale(y=size, x=size, unit_y=unit, unit_x=unit, source="Scale × Units(m)")
        return _entry(path, file["MainImage"], scale=found)


def read_matlab_73(path: Path) -> list[Entry]:
    """Return the matrices of a MATLAB v7.3 file, StatSTEM's `input.obs` with its `dx` (Å) before all.

    MATLAB stores columns first, hence the transposition.
    """
    with h5py.File(path, "r") as file:
        if "input/obs" in file:
            edge = _number(file, "input/dx")
            scale = statstem_scale(edge)
            return [_entry(path, file["input/obs"], scale=scale, transpose=True)]
        entries = [
            _entry(path, node, transpose=True)
            for name, node in file.items()
            if isinstance(node, h5py.Dataset) and node.dtype.kind in "uif" and node.ndim == 2
        ]
    if not entries:
        raise FormatError(
            "the MATLAB file must hold a matrix, or StatSTEM's structure `input` with `obs` and `dx`",
            got=f"{path.name} holds neither",
            do="save the image with save('image.mat', 'image')",
        )
    return entries


def statstem_scale(edge_angstrom: float | None) -> Scale | None:
    """Return StatSTEM's pixel size, which it keeps in Å."""
    if edge_angstrom is None:
        return None
    return Scale(y=edge_angstrom, x=edge_angstrom, unit_y="Å", unit_x="Å", source="input.dx")


def _number(file: Any, name: str) -> float | None:
    if name not in file or file[name].dtype.kind not in "uif" or file[name].size != 1:
        return None
    return float(np.asarray(file[name][()]).item())


def _text(file: Any, name: str) -> str:
    if name not in file or file[name].size != 1:
        return ""
    value = np.asarray(file[name][()]).item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
