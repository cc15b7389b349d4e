"""EMD files: Velox and Berkeley. RosettaSciIO reads them; where it will not, the images are taken from the HDF5 itself.

RosettaSciIO 0.15 refuses every Velox file with a spectrum image unless the package `sparse` is installed, even when
only the images are asked for; half of the films in this field come with such a spectrum image.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dipolar.core.nouns import Fact
from dipolar.io.entry import Entry, Frame, Scale, dig
from dipolar.io.facts import collect
from dipolar.io.read_hdf5 import check_storage, read_plain
from dipolar.io.read_rsciio import read_signals


def read_emd(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return the images of an EMD file, spectra left aside."""
    with h5py.File(path, "r") as file:
        velox = "Data/Image" in file and "Version" in file
    try:
        return read_signals(path, "emd", **({"select_type": "images"} if velox else {}))
    except Exception as error:
        if velox:
            return _read_velox(path)
        entries = read_plain(path)
        if not any(len(entry.shape) in (2, 3) for entry in entries):
            raise
        # Other programs write HDF5 under this suffix, too. Nobody shall think that such a file says nothing of pixels.
        note = Fact(name="calibration", value="not read", source=f"EMD: {type(error).__name__}: {error}"[:200])
        return [replace(entry, facts=(note,)) for entry in entries]


def _read_velox(path: Path) -> list[Entry]:
    with h5py.File(path, "r") as file:
        return [_entry(path, group) for group in file["Data/Image"].values() if {"Data", "Metadata"} <= set(group)]


def _entry(path: Path, group: Any) -> Entry:
    """Return one Velox image: `Data` is (y, x, frame), `Metadata` JSON text, one column of bytes per frame."""
    key, shape = group.name, tuple(int(size) for size in group["Data"].shape)
    own = json.loads(bytes(group["Metadata"][:, 0]).split(b"\0", 1)[0].decode("utf-8", "replace"))
    detector = dig(own, "BinaryResult.Detector")
    if not detector:  # from version 11 on only its number is given
        detector = dig(own, f"Detectors.Detector-{dig(own, 'BinaryResult.DetectorIndex')}.DetectorName")

    known = (Fact(name="detector", value=str(detector), source="BinaryResult"),) if detector else ()

    def read(frame: Frame) -> np.ndarray:
        with h5py.File(path, "r") as file:
            data = file[key]["Data"]
            check_storage(path, data)
            return np.asarray(data[:, :, frame or 0])

    return Entry(
        name=str(detector or key.rpartition("/")[2]),
        shape=shape[:2] if shape[2] == 1 else (shape[2], *shape[:2]),
        dtype=group["Data"].dtype,
        read=read,
        scale=_scale(own),
        facts=collect({}, own, more=known),
    )


def _scale(own: dict[str, Any]) -> Scale | None:
    edges, where = dig(own, "BinaryResult.PixelSize"), "BinaryResult.PixelSize"
    if not isinstance(edges, dict):
        return None
    units = [str(dig(own, f"BinaryResult.PixelUnit{axis}") or "") for axis in "YX"]
    return Scale(y=float(edges["height"]), x=float(edges["width"]), unit_y=units[0], unit_x=units[1], source=where)
