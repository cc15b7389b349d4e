"""The table of a measurement: counts, flags, lattice, calibration, reference, noise, gain check and what made it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt32

from dipolar.core.flags import MEANING, has
from dipolar.core.geometry import cell_area_px2, cell_gamma_deg
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import UNASSIGNED, A, B
from dipolar.core.units import magnitude

from . import scene
from .displacement import full_radius
from .wording import UNKNOWN, basis_words, name_and_unit, number, reference_words, with_sigma

SOURCES = {
    "file": "from the file",
    "option": "given as an option",
    "lattice": "from the measured lattice and the lattice parameter given",
    "structure": "from the measured lattice and the projected cell of the structure file",
    "none": "not known: every length is in px",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, ready to be read."""

    section: str
    """Which part of the table it belongs to."""
    name: str
    """What it is."""
    value: str
    """The value with its unit."""
    note: str = ""
    """What one should know about it."""


def table_rows(measurement: Measurement, *, radius: float | None = None) -> list[Row]:
    """Return the whole table, section by section; `radius` is that of the wheel where it is not `full_radius`."""
    parts = (
        _counts(measurement),
        _flags(measurement),
        _displacement(measurement, full_radius(measurement) if radius is None else radius),
        _lattice(measurement),
        _calibration(measurement),
        _noise(measurement),
        _gain(measurement),
        _findings(measurement),
        _summary(measurement),
        _origin(measurement),
    )
    return [row for part in parts for row in part]


def _counts(measurement: Measurement) -> Iterator[Row]:
    columns, cells = measurement.columns, measurement.cells
    for code, name in ((A, "A columns"), (B, "B columns"), (UNASSIGNED, "columns without sublattice")):
        count = int((columns.sublattice == code).sum())
        if count or code != UNASSIGNED:
            yield Row("Counts", name, number(count))
    yield Row("Counts", "unit cells", number(cells.flags.size), basis_words(cells.basis))
    yield Row("Counts", "unit cells used in maps and medians", number(int(scene.trusted_cells(cells).sum())))
    yield Row("Counts", "connected crystals", number(np.unique(cells.grain).size))


def _flags(measurement: Measurement) -> Iterator[Row]:
    def share(flags: UInt32[np.ndarray, " row"], count: int) -> str:
        return f"{number(count)} ({number(100 * count / flags.size, 2)} %)" if flags.size else "0"

    for kind, flags in (("columns", measurement.columns.flags), ("cells", measurement.cells.flags)):
        yield Row("Flags", f"{kind} without any flag", share(flags, int((flags == 0).sum())))
        for flag, meaning in MEANING.items():
            count = int(has(flags, flag).sum())
            if count:
                yield Row("Flags", f"{kind}: {str(flag.name).lower()}", share(flags, count), meaning)


def _displacement(measurement: Measurement, radius: float) -> Iterator[Row]:
    cells, unit = measurement.cells, scene.unit_of(measurement)
    trusted = scene.trusted_cells(cells)
    vectors = unit.scale * cells.displacement_px[trusted]
    sigma = unit.scale * scene.component_sigma(cells.covariance_px2[trusted])
    yield Row("Polar displacement", "median length", _measure(scene.median(magnitude(vectors)), unit.name, 3))
    for axis, name in enumerate(("dy", "dx")):
        spread = f"spread {_measure(robust_spread(vectors[:, axis]), unit.name, 3)}"
        yield Row(
            "Polar displacement", f"median {name}", _measure(scene.median(vectors[:, axis]), unit.name, 3), spread
        )
    yield Row("Polar displacement", "median sigma per component", _measure(scene.median(sigma), unit.name, 3))
    yield Row("Polar displacement", "full radius of the colour wheel", _measure(radius, unit.name))
    yield Row("Polar displacement", "reference", reference_words(measurement))


def _lattice(measurement: Measurement) -> Iterator[Row]:
    cells, unit = measurement.cells, scene.unit_of(measurement)
    trusted = scene.trusted_cells(cells)
    for name, symbol, scale, values, sigma in (
        ("a", unit.name, unit.scale, magnitude(cells.a_px), cells.a_sigma_px),
        ("b", unit.name, unit.scale, magnitude(cells.b_px), cells.b_sigma_px),
        ("gamma", "°", 1.0, cell_gamma_deg(cells), cells.gamma_sigma_deg),
        ("area", f"{unit.name}²", unit.scale**2, cell_area_px2(cells), cells.area_sigma_px2),
    ):
        middle = scale * scene.median(values[trusted])
        spread, one = scale * robust_spread(values[trusted]), scale * scene.median(sigma[trusted])
        note = f"spread {_measure(spread, symbol, 3)}; median sigma of one cell {_measure(one, symbol, 2)}"
        yield Row("Lattice", f"median {name}", _measure(middle, symbol, 5), note)


def _calibration(measurement: Measurement) -> Iterator[Row]:
    calibration, section = measurement.calibration, "Calibration"
    used, said = calibration.pixel_size_pm, calibration.file_pixel_size_pm
    yield Row(
        section, "pixel size used", "none" if used is None else f"{number(used, 5)} pm", SOURCES[calibration.source]
    )
    if said is not None:
        note = "" if used is None else f"the one used is {percent(used / said)} of it"
        yield Row(section, "pixel size in the file", f"{number(said, 5)} pm", note)
    if calibration.lattice_pm is not None:
        yield Row(section, "lattice parameter given", f"{number(calibration.lattice_pm, 5)} pm")
    measured = with_sigma(calibration.measured_lattice_px, calibration.measured_lattice_sigma_px, "px")
    yield Row(section, "measured lattice", measured, "median square root of the cell area")


def _noise(measurement: Measurement) -> Iterator[Row]:
    noise, section = measurement.columns.noise, "Noise"
    yield Row(section, "detector gain", number(noise.gain), "slope of the variance against the intensity")
    yield Row(section, "variance at zero intensity", number(noise.floor))
    factors = ", ".join(number(factor, 3) for factor in noise.correlation)
    yield Row(section, "correlation factors of (y, x)", factors, "1 for white noise")
    pairs = zip(("y", "x"), noise.row_jitter_px, noise.row_jitter_sigma_px, strict=True)
    for name, jitter, sigma in pairs:
        yield Row(section, f"row jitter in {name}", with_sigma(jitter, sigma, "px"))


def _gain(measurement: Measurement) -> Iterator[Row]:
    check, section, unit = measurement.gain_check, "Gain check", scene.unit_of(measurement)
    if check is None:
        yield Row(section, "gain check", "not run")
        return
    yield Row(section, "cells compared", number(check.cells), "this image simulated anew from its own fit and measured")
    for axis, name in enumerate(("dy", "dx")):
        yield Row(section, f"gain of {name}", with_sigma(check.gain[axis], check.gain_sigma[axis]), "1 is true")
        yield Row(section, f"bias of {name}", _measure(unit.scale * check.bias_px[axis], unit.name, 2))
        yield Row(section, f"width of z-scores of {name}", number(check.zscore_width[axis], 3), "1 is an honest sigma")


def _findings(measurement: Measurement) -> Iterator[Row]:
    """Yield the rows of everything that follows from columns and cells; each room of the report writes its own."""
    # they import Row from here
    from . import antipolar, domains, layers, network, points, polarization, reference, scan, tilt

    found = measurement.findings
    yield from network.network_rows(measurement)
    if found.polarization is not None:
        yield from polarization.polarization_rows(measurement, found.polarization)
    if found.proposal is not None:
        yield from reference.reference_rows(measurement, found.proposal)
    if found.mistilt is not None:
        yield from reference.mistilt_rows(measurement, found.mistilt)
    if found.tilt is not None:
        yield from tilt.tilt_rows(measurement, found.tilt)
    if found.order is not None:
        yield from antipolar.order_rows(measurement, found.order)
    if found.maps is not None:
        yield from domains.maps_rows(measurement, found.maps)
    if found.tetragonality is not None and found.layers is not None:
        yield from layers.tetragonality_rows(found.tetragonality, found.layers)
    if found.sites is not None:
        yield from points.site_rows(measurement, found.sites)
    yield from scan.scan_rows(found.scan, found.shape, found.edits)


def _summary(measurement: Measurement) -> Iterator[Row]:
    for key, value in measurement.summary.items():
        name, unit = name_and_unit(key)
        yield Row("Summary", name, _measure(value, unit))


def _origin(measurement: Measurement) -> Iterator[Row]:
    image, record = measurement.image, measurement.record
    height, width = image.data.shape
    yield Row("Image", "size (y, x)", f"{height} × {width} px")
    for fact in image.facts:
        name, unit = name_and_unit(fact.name)
        yield Row("Image", name, _measure(fact.value, unit), fact.source)
    for name, digest in record.inputs.items():
        yield Row("Image", f"sha256 of {name}", digest)
    for name, seconds in record.timings_s.items():
        yield Row("Timings", name, f"{number(seconds, 3)} s")
    for name, seed in record.seeds.items():
        yield Row("Seeds", name, str(seed))
    for name, version in record.versions.items():
        yield Row("Versions", name, version)


def robust_spread(values: Float[np.ndarray, " row"]) -> float:
    """Return 1.4826 times the median absolute deviation: the standard deviation where the values are normal."""
    return 1.4826 * scene.median(np.abs(values - scene.median(values)))


def percent(ratio: float) -> str:
    """Return a ratio as a percentage with one decimal and its difference from 100."""
    if not math.isfinite(ratio):
        return UNKNOWN
    return f"{100 * ratio:.1f} % ({100 * (ratio - 1):+.1f} %)".replace("-", "−")


def _measure(value: float | int | str | None, unit: str, digits: int = 4) -> str:
    words = number(value, digits)
    gap = "" if unit == "°" else " "
    return words if not unit or words in (UNKNOWN, "–") else f"{words}{gap}{unit}"
