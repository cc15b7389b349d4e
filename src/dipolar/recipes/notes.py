"""The sentences that a reader of a result should know."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dipolar.core.flags import DOUBTFUL_CELL, has
from dipolar.core.limits import limits
from dipolar.core.measurement import Measurement
from dipolar.core.units import angle_deg
from dipolar.recipes.consistency import scatter_notes
from dipolar.recipes.findings import INSTRUMENT, LEAST
from dipolar.recipes.overview import differ
from dipolar.recipes.settings import MeasureSettings

POOR = 2.0
"""Misfit of the library from which its answer is doubted."""
FAR_DEG = 25.0
"""Angle between the mean of a domain and the nearest direction given from which that is told."""


def notes(settings: MeasureSettings, measurement: Measurement) -> Iterator[str]:
    """Yield the sentences that a reader of this result should know: its limits, what was asked for, what was found."""
    yield from limits(measurement)
    if settings.fit == "gaussian":
        yield (
            "Columns were fitted with plain Gaussians. Where columns have tails, displacements come out too long, and "
            "the gain check cannot see that: it draws Gaussians too."
        )
    if measurement.calibration.source == "structure":
        yield (
            "The pixel size is the one at which the measured cell has the area of the structure's: where the crystal's "
            "lattice differs from the file's, lengths are wrong by as much. lattice_pm (--lattice-pm) sets the scale."
        )
    yield from scatter_notes(settings, measurement)
    yield from _unused(settings, measurement)
    if settings.gain_check and measurement.gain_check is None:
        yield from _unchecked(measurement)
    yield from _found(measurement)
    yield from _off_directions(settings, measurement)


def _unused(settings: MeasureSettings, measurement: Measurement) -> Iterator[str]:
    """Yield which settings were given and not used."""
    if settings.zone_axis != "1,0,0" and settings.structure is None:
        yield "zone_axis was given without a structure, so it was not used."
    if settings.mistilt != "off" and settings.thickness_nm is not None and measurement.findings.tilt is None:
        if settings.mistilt == "report":
            yield "thickness_nm was given without a material of which a library of tilt is there: it was not used."
    elif settings.thickness_nm is not None and settings.mistilt == "off":
        yield "thickness_nm was given, but mistilt is off, so it was not used."
    if settings.directions is not None and not settings.maps:
        yield "directions were given, but no maps were asked for, so they were not used."


def _unchecked(measurement: Measurement) -> Iterator[str]:
    """Yield why the gain was not checked."""
    if measurement.findings.sites is not None:
        yield "The gain was not checked: the image simulated anew would lack the columns besides A and B."
    elif len(measurement.cells.flags):
        yield "The gain could not be checked: too few cells were found again in the simulated image."


def _found(measurement: Measurement) -> Iterator[str]:
    """Yield the sentences about findings that a reader should not miss."""
    findings, reference = measurement.findings, measurement.reference
    order, proposal, mistilt = findings.order, findings.proposal, findings.mistilt
    if order is not None and order.verdict in ("antipolar", "modulated"):
        yield f"This crystal is {order.verdict}, not simply polar: {order.why}."
    if order is not None and order.verdict == "null" and reference is None and math.isfinite(order.polar_spread_px):
        yield f"Nothing polar beyond a common offset: {order.why}."
    if order is not None and differ(findings):
        floor = LEAST if reference is not None else INSTRUMENT
        yield (
            f"Order is polar and no domain is, as they ask different things: order takes the mean and the slow "
            f"variation of all cells together against noise ({order.why}); a domain is polar where its own mean is "
            f"longer than {100 * floor:g} % of a cell and than 2 sigma. What varies slowly and has no such domain may "
            "be the scan."
        )
    if proposal is not None and proposal.region_px is not None:
        yield f"A reference region is proposed, and not applied: {proposal.option} ({proposal.why})."
    if mistilt is not None and mistilt.verdict == "suspected":
        yield f"A tilt of the crystal is suspected: {mistilt.why}."
    yield from _tilt(measurement)
    if findings.polarization is not None:
        material = findings.polarization.material
        yield f"Polarization of {material.name}: {material.formula}. {material.assumption}"


def _tilt(measurement: Measurement) -> Iterator[str]:
    """Yield what the comparison with tilted crystals told, and whether it can be believed."""
    tilt, removed = measurement.findings.tilt, measurement.findings.tilt_removed
    if tilt is None:
        if measurement.record.settings.get("mistilt") == "correct":
            yield "The tilt could not be told and nothing was corrected: nowhere are there enough nearly square cells."
        return
    pm = measurement.calibration.pixel_size_pm
    scale, unit = (1.0, "px") if pm is None else (pm, "pm")
    size = scale * float(np.linalg.norm(tilt.cell_false_px, axis=1).mean())
    sigma = scale * float(np.sqrt(0.5 * np.trace(tilt.cell_covariance_px2.mean(axis=0))))
    mrad, mrad_sigma = float(np.linalg.norm(tilt.tilt_mrad.mean(axis=0))), float(tilt.tilt_sigma_mrad.mean())
    told = "was taken off, and its uncertainty added" if removed else "was not taken off (--mistilt correct does)"
    yield (
        f"Columns look like those of {tilt.material} under a tilt of {mrad:.1f} ± {mrad_sigma:.1f} mrad, which fakes "
        f"a displacement of {size:.3g} ± {sigma:.2g} {unit} in the mean; it {told}. All cells of a region share that "
        "error."
    )
    if np.isfinite(tilt.misfit).any() and float(np.nanmedian(tilt.misfit)) > POOR:
        yield (
            f"No tilt makes columns look as they do here (misfit {float(np.nanmedian(tilt.misfit)):.1f}): material, "
            "thickness or microscope may be other than was assumed. Sigma was widened by as much, and the correction "
            "may be wrong all the same."
        )


def _off_directions(settings: MeasureSettings, measurement: Measurement) -> Iterator[str]:
    """Yield which domains point elsewhere than the directions that were given."""
    maps, given = measurement.findings.maps, settings.directions_deg
    if maps is None or given is None or not maps.domains.polar.any():
        return
    domains, cells = maps.domains, measurement.cells
    good = ~has(cells.flags, DOUBTFUL_CELL)
    along_a = float(angle_deg(np.median(cells.a_px[good if good.any() else slice(None)], axis=0)[None])[0])
    turn = domains.angle_deg[:, None] - along_a - np.array(given)
    off = np.abs((turn + 180.0) % 360.0 - 180.0).min(axis=1)
    rows = np.flatnonzero(domains.polar & (off > FAR_DEG) & (off > 2.0 * domains.angle_sigma_deg))
    if not len(rows):
        return
    told = ", ".join(f"{domains.angle_deg[k]:.0f}° (domain {k}, {off[k]:.0f}° off)" for k in rows[:4])
    more = f" and {len(rows) - 4} more" if len(rows) > 4 else ""
    yield (
        f"The directions given ({settings.directions}) are not those of the image: the displacement points to "
        f"{told}{more} on the screen, where the a axis of the cells points to {along_a:.0f}°. Domains and walls follow "
        "the directions given; leave directions out to find them in the image."
    )
