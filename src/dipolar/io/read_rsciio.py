"""Files that RosettaSciIO reads: DigitalMicrograph, TIA, HyperSpy, MRC. Only headers until asked for more."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.errors import FormatError
from dipolar.core.nouns import Fact
from dipolar.io.entry import Entry, Frame, Scale
from dipolar.io.facts import collect


def read_dm(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return the arrays of a DigitalMicrograph file (dm3, dm4)."""
    return read_signals(path, "digitalmicrograph")


def read_hspy(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return the signals of a HyperSpy file in HDF5, legacy `.hdf5` included."""
    return read_signals(path, "hspy")


def read_zspy(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return the signals of a HyperSpy file in zarr."""
    if path.is_dir() and not any(path.iterdir()):
        raise FormatError("the folder must hold a zarr store", got=f"{path.name} is empty", do="copy it again")
    return read_signals(path, "zspy")


def read_mrc(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return the image or stack of an MRC file."""
    header = np.fromfile(path, dtype="<i4", count=4)
    if len(header) < 4 or path.stat().st_size < 1024:
        raise FormatError(
            "an MRC file begins with a header of 1024 bytes", got=f"{path.name}: shorter", do="copy it again"
        )
    nx, ny, nz, mode = (int(number) for number in header)
    bytes_per_pixel = {0: 1, 1: 2, 2: 4, 4: 8, 6: 2, 12: 2}.get(mode)
    if bytes_per_pixel is None or min(nx, ny, nz) < 1:
        raise FormatError(
            "an MRC header gives sizes and a known data mode",
            got=f"{path.name}: {nx} × {ny} × {nz}, mode {mode}",
            do="export it again; it is damaged, or in big-endian order, which is not read",
        )
    if nx * ny * nz * bytes_per_pixel > path.stat().st_size - 1024:
        raise FormatError(
            "the file is shorter than its header promises",
            got=f"{path.name}: {nz} × {ny} × {nx} pixels of {bytes_per_pixel} bytes in {path.stat().st_size:,} bytes",
            do="copy or export the file again; it is truncated or damaged",
        )
    return read_signals(path, "mrc")


def read_tia(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return the images of a TIA series (`.ser`), or of every series that belongs to an `.emi`."""
    if path.suffix.lower() == ".emi" and not list(path.parent.glob(f"{path.stem}_[0-9].ser")):
        raise FormatError(
            "an .emi file describes images that lie in .ser files beside it",
            got=f"no {path.stem}_1.ser beside {path.name}",
            do="copy the .ser file into the same folder",
        )
    return read_signals(path, "tia")


def read_signals(path: Path, plugin: str, **options: Any) -> list[Entry]:
    """Return the signals that RosettaSciIO's `plugin` finds, none of them read yet."""
    reader = importlib.import_module(f"rsciio.{plugin}").file_reader
    return [_entry(signal, number) for number, signal in enumerate(reader(str(path), lazy=True, **options))]


def _entry(signal: dict[str, Any], number: int) -> Entry:
    data, axes = signal["data"], signal["axes"]
    kept = [place for place, size in enumerate(data.shape) if size != 1] if data.ndim > 2 else list(range(data.ndim))
    shape = tuple(int(data.shape[place]) for place in kept)
    metadata = signal.get("metadata") or {}

    def read(frame: Frame) -> np.ndarray:
        lazy = data.reshape(shape)
        return np.asarray(lazy if frame is None else lazy[frame])

    own = signal.get("original_metadata")
    facts = collect(metadata, own if isinstance(own, dict) else {})
    return Entry(
        name=_name(metadata.get("General", {}), facts) or f"signal {number}",
        shape=shape,
        dtype=np.dtype(data.dtype),
        read=read,
        is_image=_is_image(metadata, [axes[place] for place in kept if place < len(axes)]),
        scale=_scale([axes[place] for place in kept if place < len(axes)]),
        facts=facts,
    )


def _name(general: dict[str, Any], facts: tuple[Fact, ...]) -> str:
    """Return a signal's title; its detector where RosettaSciIO found none in a Velox file, and says so in the title."""
    title = str(general.get("title") or "")
    if title and not title.startswith("Unrecognized"):
        return title
    detector = next((str(fact.value) for fact in facts if fact.name == "detector"), "")
    return detector or str(general.get("original_filename") or "")


def _is_image(metadata: dict[str, Any], axes: list[dict[str, Any]]) -> bool:
    """Tell an image or a stack of images from spectra; legacy files leave the role of their axes open."""
    navigate = [axis.get("navigate") for axis in axes]
    if any(role is None for role in navigate):
        return bool(metadata.get("Signal", {}).get("record_by", "image") == "image")
    signal_axes = navigate.count(False)
    return signal_axes == 2 or (signal_axes == 0 and len(axes) == 2)


def _scale(axes: list[dict[str, Any]]) -> Scale | None:
    if len(axes) < 2 or any(not isinstance(axis.get("scale"), (int, float, np.number)) for axis in axes[-2:]):
        return None
    y, x = axes[-2:]
    return Scale(
        y=abs(float(y["scale"])),
        x=abs(float(x["scale"])),
        unit_y=_unit(y.get("units")),
        unit_x=_unit(x.get("units")),
        source=f"scale of the axes {y.get('name') or 0}, {x.get('name') or 1}",
    )


def _unit(unit: object) -> str:
    text = str(unit or "").strip()
    return "" if text.lower() in ("<undefined>", "undefined", "none", "t.undefined") else text
