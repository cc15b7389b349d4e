"""Scans of DECTRIS detectors (ARINA, QUADRO …): NAME_master.h5 and the data files that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.errors import FormatError
from dipolar.core.nouns import Fact
from dipolar.core.scanning import AbstractFrames
from dipolar.io.scan_found import Found, how_stored
from dipolar.io.scan_hdf5_frames import hdf5_frames, open_hdf5
from dipolar.io.scan_parts import joined

DETECTOR = "entry/instrument/detector"


def is_master(file: Any) -> bool:
    """Tell whether an open HDF5 file is the master file of a DECTRIS detector: its data are links to other files."""
    if "entry/data" not in file or DETECTOR not in file:
        return False
    return any(_link(file, key) is not None for key in file["entry/data"])


def read_master(path: Path, file: Any, *, growing: bool) -> Found:
    """Return the patterns of all data files in their order, and the mask of dead pixels.

    Raises
    ------
    FormatError
        Where a data file is missing.
    """
    links = [(key, link) for key in sorted(file["entry/data"]) if (link := _link(file, key)) is not None]
    parts: list[AbstractFrames] = []
    names, stored, remark = [], "", ""
    for number, (_, (name, inside)) in enumerate(links):
        source = path.with_name(name)
        if not source.is_file():
            if growing and number:  # named beforehand, not written yet
                break
            raise FormatError(
                "the patterns lie in the files that the master names, in the same folder",
                got=f"no {name} beside {path.name} ({number} of {len(links)} are there)",
                do="copy it into the same folder",
            )
        with open_hdf5(source, growing=growing) as data:
            frames, stored, said = hdf5_frames(source, data[inside], (0,), growing=growing and number == len(links) - 1)
            remark = remark or said
        parts.append(frames)
        names.append(name)
    frames = joined(parts, names)
    promised = _number(file, "detectorSpecific/nimages", 1.0) * _number(file, "detectorSpecific/ntrigger", 1.0)
    missing = promised != frames.count and not growing
    return Found(
        frames=frames,
        step_nm=_step_nm(path),
        defective=_mask(file, frames.shape_px),
        facts=(
            *how_stored("DECTRIS master", f"{len(parts)} data file{'s' if len(parts) > 1 else ''}, {stored}"),
            *_facts(file),
        ),
        remark=remark or (f"the master file promises {promised:,.0f}" if missing else ""),
    )


def _link(file: Any, key: str) -> tuple[str, str] | None:
    """Return file and dataset of an external link to patterns."""
    link = file["entry/data"].get(key, getlink=True)
    return (Path(link.filename).name, link.path) if hasattr(link, "filename") and key.startswith("data") else None


def _mask(file: Any, shape_px: tuple[int, int]) -> np.ndarray | None:
    """Return the pixels whose bits in the mask say dead, hot or in a gap."""
    for name in (f"{DETECTOR}/detectorSpecific/pixel_mask", f"{DETECTOR}/pixel_mask"):
        if name in file and file[name].shape == shape_px:
            return np.asarray(file[name][()] != 0)
    return None


def _facts(file: Any) -> list[Fact]:
    wanted = (
        ("count_time", "exposure_ms", 1e3),
        ("frame_time", "dwell_us", 1e6),
        ("detector_distance", "camera_length_mm", 1e3),
        ("beam_center_x", "beam_centre_x_px", 1.0),
        ("beam_center_y", "beam_centre_y_px", 1.0),
    )
    facts = [
        Fact(name=name, value=round(value * factor, 9), source=f"{DETECTOR}/{key}")
        for key, name, factor in wanted
        if (value := _number(file, key, 0.0))
    ]
    if f"{DETECTOR}/description" in file:
        value = file[f"{DETECTOR}/description"][()]
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        facts.append(Fact(name="detector", value=text, source=f"{DETECTOR}/description"))
    return facts


def _number(file: Any, key: str, missing: float) -> float:
    name = f"{DETECTOR}/{key}"
    if name not in file or file[name].size != 1 or file[name].dtype.kind not in "uif":
        return missing
    return float(np.asarray(file[name][()]).item())


def _step_nm(master: Path) -> float | None:
    """Return the step in nm from NAME.h5, which NOVENA puts beside NAME_master.h5."""
    beside = master.with_name(master.name.replace("_master", ""))
    if beside == master or not beside.is_file():
        return None
    with open_hdf5(beside) as file:
        told = file["STEM Metadata"].attrs.get("Pixel Size") if "STEM Metadata" in file else None
    if told is None:
        return None
    step = float(np.asarray(told).reshape(-1)[0])
    return step if np.isfinite(step) and step > 0 else None
