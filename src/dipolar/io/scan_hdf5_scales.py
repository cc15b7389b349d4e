"""What stands beside the patterns in HDF5 and Zarr files of known makes: steps, angles, voltage, dwell time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dipolar.core.errors import ScanError
from dipolar.core.nouns import Fact
from dipolar.io.scan_units import is_angle, is_length, pixel_mrad, step_nm

MICROSCOPE = {
    "beam_energy": ("voltage_kv", 1.0),
    "camera_length": ("camera_length_mm", 1.0),
    "convergence_angle": ("convergence_mrad", 1.0),
    "dwell_time": ("dwell_us", 1e6),
}
"""HyperSpy's name in the microscope's metadata → name and factor of the fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Scales of a dataset, and whatever else is known of it."""

    make: str
    """Which program wrote it."""
    step_nm: float | None = None
    """Distance between probe positions."""
    pixel_mrad: float | None = None
    """Angle per px of the detector."""
    facts: tuple[Fact, ...] = field(default=())
    """The rest."""


def scales_of(dataset: Any, root: Any, *, plain: str) -> Scales:
    """Return the scales of a dataset of h5py or zarr.

    Parameters
    ----------
    dataset
        The patterns.
    root
        The file.
    plain
        What a file is called that no known program wrote.
    """
    name = (dataset.name or "").strip("/")  # a Zarr store that is one array has no name
    folder = name.rpartition("/")[0]
    if name.startswith("Experiments/"):
        return _hyperspy(root, folder)
    if name.startswith("4DSTEM_simulation/"):
        return _prismatic(root)
    if folder and any(f"{folder}/dim{number}" in root for number in (0, 1)):
        return _emd(root, folder, dataset)
    return Scales(
        make=plain,
        step_nm=_positive(dataset.attrs.get("step_nm")),
        pixel_mrad=_positive(dataset.attrs.get("pixel_mrad")),
    )


def _hyperspy(root: Any, folder: str) -> Scales:
    """Return what HyperSpy keeps in the attributes of `axis-0` …, and of the microscope in its metadata.

    Raises
    ------
    ScanError
        Where its navigation axes are not the first ones.
    """
    axes = [dict(root[f"{folder}/axis-{number}"].attrs) for number in range(8) if f"{folder}/axis-{number}" in root]
    roles = [bool(axis["navigate"]) for axis in axes if "navigate" in axis]
    if roles and (roles != sorted(roles, reverse=True) or any(roles[-2:])):
        raise ScanError(
            "the axes of a scan are two of navigation, then two of the signal",
            got=f"navigation axes {[place for place, role in enumerate(roles) if role]} of {len(roles)}",
            do="in HyperSpy: s.transpose(signal_axes=2).save('scan.hspy')",
        )
    facts, voltage = [], None
    microscope = f"{folder}/metadata/Acquisition_instrument/TEM"
    told = dict(root[microscope].attrs) if microscope in root else {}
    for key, (name, factor) in MICROSCOPE.items():
        value = _positive(told.get(key))
        if value is not None:
            facts.append(Fact(name=name, value=round(value * factor, 9), source=f"Acquisition_instrument.TEM.{key}"))
            voltage = value if name == "voltage_kv" else voltage
    if len(axes) < 3:
        return Scales(make="HyperSpy", facts=tuple(facts))
    scan, detector = axes[-3], axes[-1]
    return Scales(
        make="HyperSpy",
        step_nm=step_nm(float(scan.get("scale", 0.0)), scan.get("units")),
        pixel_mrad=pixel_mrad(float(detector.get("scale", 0.0)), detector.get("units"), voltage),
        facts=tuple(facts),
    )


def _emd(root: Any, folder: str, dataset: Any) -> Scales:
    """Return what EMD, py4DSTEM and fpd files keep in `dim0` or `dim1` … beside the data: places along each axis."""
    zero = f"{folder}/dim0" in root
    dims = [root.get(f"{folder}/dim{number + (0 if zero else 1)}") for number in range(len(dataset.shape))]
    scales = [(_spacing(dim), dim.attrs.get("units") if dim is not None else None) for dim in dims]
    make = "fpd" if folder.startswith("fpd_expt/") else "py4DSTEM" if zero or "4DSTEM" in folder else "EMD"
    voltage = _voltage(root, folder)
    scan, detector = scales[len(scales) - 3 if len(scales) == 4 else 1 if len(scales) > 4 else 0], scales[-1]
    return Scales(
        make=make,
        step_nm=None if scan[0] is None else step_nm(scan[0], scan[1]),
        pixel_mrad=None if detector[0] is None else pixel_mrad(detector[0], detector[1], voltage),
        facts=(
            *(_raw_fact("scan_scale", scan)),
            *(_raw_fact("detector_scale", detector)),
            *([Fact(name="voltage_kv", value=voltage, source="calibration")] if voltage else []),
        ),
    )


def _raw_fact(name: str, scale: tuple[float | None, object]) -> list[Fact]:
    """Return a scale as it stands in the file: without a voltage, a reciprocal length is no angle."""
    size, unit = scale
    text = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit or "")
    return (
        []
        if size is None or not (is_length(unit) or is_angle(unit))
        else [Fact(name=name, value=f"{size:.6g} {text}", source="dim")]
    )


def _voltage(root: Any, folder: str) -> float | None:
    """Return the voltage in kV, where py4DSTEM's calibration beside the data holds an energy (eV)."""
    top = folder.split("/", maxsplit=1)[0]
    calibration = root.get(f"{top}/metadatabundle/calibration")
    energy = calibration.get("energy") if calibration is not None else None
    value = _positive(energy[()]) if energy is not None and energy.dtype.kind in "uif" else None
    return None if value is None else value / 1000.0


def _prismatic(root: Any) -> Scales:
    """Return what Prismatic keeps of its simulation; it writes "nm" beside lengths in Å, so its own settings count."""
    settings = root.get("4DSTEM_simulation/metadata/metadata_0/original/simulation_parameters")
    told = dict(settings.attrs) if settings is not None else {}
    step, volt = _positive(told.get("rx")), _positive(told.get("E"))
    cell, tiles = told.get("c"), told.get("t")
    angle = None
    if cell is not None and tiles is not None and volt is not None:
        width = float(np.asarray(cell)[0] * np.asarray(tiles)[0])
        angle = pixel_mrad(1.0 / width, "1/Å", volt) if width > 0 else None
    return Scales(
        make="Prismatic",
        step_nm=None if step is None else step / 10.0,
        pixel_mrad=angle,
        facts=(Fact(name="voltage_kv", value=volt, source="simulation_parameters"),) if volt else (),
    )


def _spacing(dim: Any) -> float | None:
    """Return the distance of the first two places on an axis; None for words in place of numbers."""
    if dim is None or dim.dtype.kind not in "uif" or len(dim.shape) != 1 or dim.shape[0] < 2:
        return None
    first = np.asarray(dim[:2], dtype=float)
    return _positive(abs(first[1] - first[0]))


def _positive(value: object) -> float | None:
    """Return a positive, finite number, or None for anything else."""
    try:
        number = float(np.asarray(value, dtype=float).reshape(-1)[0])
    except (TypeError, ValueError, IndexError):
        return None
    return number if np.isfinite(number) and number > 0 else None
