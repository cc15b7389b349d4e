"""Findings in words and as plain values: a few lines for the terminal, a dictionary for ``--json`` and run.json."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from dipolar.core.domains import Maps
from dipolar.core.findings import Order
from dipolar.core.flags import DOUBTFUL_CELL, has
from dipolar.core.measurement import Findings, Measurement
from dipolar.locate.contrast import Contrast, both_signs
from dipolar.report.wording import number, with_sigma


def findings_headline(measurement: Measurement) -> list[str]:
    """Return what follows from columns and cells, one line each."""
    found, cells = measurement.findings, measurement.cells
    scale, unit = (1.0, "px") if cells.pixel_size_pm is None else (cells.pixel_size_pm, "pm")
    lines = _network_lines(measurement, scale, unit)
    if (kind := contrast_of(measurement)) != "bright":
        lines.insert(0, {"dark": "dark columns, as in ABF", "signed": "a signed image, as iDPC and DPC"}[kind])
    if found.polarization is not None:
        good = ~has(cells.flags, DOUBTFUL_CELL) & np.isfinite(cells.displacement_px).all(axis=1)
        size = np.hypot(*found.polarization.vectors_uc_per_cm2[good].T)
        sigma = np.sqrt(np.trace(found.polarization.covariance_uc2_per_cm4[good], axis1=1, axis2=2) / 2)
        share = found.polarization.systematic_fraction
        factor = f"± {100 * share:.0f} %" if math.isfinite(share) else "of unknown error"
        lines.append(
            f"polarization ({found.polarization.material.name}): median {number(_median(size), 3)} µC/cm², sigma "
            f"{number(_median(sigma), 2)} µC/cm² per component, factor "
            f"{factor}"
        )
    if found.order is not None:
        though = ", though no domain is: see the note" if differ(found) else ""
        lines.append(f"order: {_order_words(found.order, scale, unit)}{though}")
    if found.maps is not None:
        lines += _maps_lines(found.maps, scale, unit, what="" if found.polarization else " (displacement)")
    return lines


def contrast_of(measurement: Measurement) -> Contrast:
    """Return how columns stand out in this image: as settings say, or as was found where they leave it open."""
    image, heights = measurement.image.data, measurement.columns.amplitude
    chosen: Contrast = measurement.record.settings.get("contrast", "auto")
    if chosen != "auto":
        return chosen
    if both_signs(image, np.isfinite(image)):
        return "signed"
    return "dark" if _median(heights) < 0 else "bright"


def _order_words(order: Order, scale: float, unit: str) -> str:
    wave, told = order.modulation, str(order.verdict)
    if wave is None:
        return told
    size = with_sigma(scale * wave.amplitude_px, scale * wave.amplitude_sigma_px, unit)
    period = f"{number(scale * wave.period_px, 3)} {unit}"
    if wave.slow:
        return f"{told}; a slow wave of {size} over {period}, as scan distortion makes"
    return f"{told}, wave of {size}, period {period}"


def differ(found: Findings) -> bool:
    """Return whether the displacement of all cells is called polar, and that of no domain."""
    polar = found.order is not None and found.order.verdict == "polar"
    return polar and found.maps is not None and len(found.maps.domains.polar) > 0 and not found.maps.domains.polar.any()


def unlike_lines(measurement: Measurement) -> list[str]:
    """Return what comes before all else of a prediction: that most cells are of a kind which its network never saw."""
    said = measurement.findings.prediction
    if said is None or 2 * np.count_nonzero(said.flagged) <= len(said.flagged):
        return []
    return [
        f"{np.count_nonzero(said.flagged)} of {len(said.flagged)} cells are unlike all that {said.model} was trained "
        "on: it cannot tell their displacement, and no median is given. Measure this image by fitting."
    ]


def _network_lines(measurement: Measurement, scale: float, unit: str) -> list[str]:
    found = measurement.findings
    if found.prediction is None:
        return []
    strange, every = np.count_nonzero(found.prediction.flagged), len(found.prediction.flagged)
    known = np.isfinite(found.prediction.cell_unfamiliar).any()
    told = f"{strange} of {every} cells unlike its training images" if known else "it cannot tell what is unlike it"
    lines = [f"told by the network {found.prediction.model}: {told}"]
    if found.comparison is not None:
        dy, dx = (scale * part.rmse_px for part in (found.comparison.dy, found.comparison.dx))
        count = np.count_nonzero(found.comparison.counted)
        lines.append(f"RMS difference from the fit: dy {number(dy, 3)}, dx {number(dx, 3)} {unit}, of {count} cells")
    return lines


def _median(values: np.ndarray) -> float:
    """Return the median of the finite values, nan where there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _maps_lines(maps: Maps, scale: float, unit: str, *, what: str) -> list[str]:
    polar = int(np.count_nonzero(maps.domains.polar))
    lines = [f"domains: {polar} polar, {len(maps.domains.polar) - polar} not polar; walls: {len(maps.walls)}"]
    for place, wall in enumerate(maps.walls[:3]):  # numbered as in walls.csv and the figures
        low, middle, high = (number(scale * width, 3) for width in wall.profile.width_px)
        width = f"width {middle} ({low} to {high}) {unit}"
        if not math.isfinite(wall.profile.width_px[1]):
            width = "too few cells for a width"
        elif not wall.profile.resolved:
            width = f"width below {high} {unit}"
        lines.append(f"  wall {place}: {wall.kind}, {wall.charge}{what if wall.charge != 'neutral' else ''}, {width}")
    if len(maps.walls) > 3:
        lines.append(f"  and {len(maps.walls) - 3} more in walls.csv")
    return lines


def findings_overview(measurement: Measurement) -> dict[str, Any]:
    """Return the findings as plain values, arrays left out."""
    found = measurement.findings
    told: dict[str, Any] = {
        name: None if value is None else asdict(value)
        for name, value in (
            ("proposal", found.proposal),
            ("mistilt", found.mistilt),
            ("order", found.order),
            ("shape", found.shape),
        )
    }
    told["contrast"] = contrast_of(measurement)
    if found.edits is not None:
        told["edits"] = {name: getattr(found.edits, name) for name in ("removed", "ignored", "added", "reassigned")}
    if found.polarization is not None:
        told["material"] = asdict(found.polarization.material)
    if found.maps is not None:
        told["domains"] = int(np.count_nonzero(found.maps.domains.polar))
        told["walls"] = [
            {"kind": wall.kind, "width_px": wall.profile.width_px, "resolved": wall.profile.resolved}
            for wall in found.maps.walls
        ]
        told["vortices"] = len(found.maps.defects.winding)
        told["anomalies"] = len(found.maps.anomalies.cell)
    if found.prediction is not None:
        said = found.prediction
        told["prediction"] = {name: getattr(said, name) for name in ("model", "sha256", "scale", "against_fit")}
        told["prediction"]["unfamiliar_cells"] = int(np.count_nonzero(said.flagged))
    if found.tilt is not None:
        told["tilt"] = {
            "material": found.tilt.material,
            "removed": found.tilt_removed,
            "regions": len(found.tilt.cells),
            "tilt_mrad": found.tilt.tilt_mrad.mean(axis=0).tolist(),
            "tilt_sigma_mrad": found.tilt.tilt_sigma_mrad.mean(axis=0).tolist(),
            "false_px": found.tilt.cell_false_px.mean(axis=0).tolist(),
            "false_sigma_px": np.sqrt(np.diagonal(found.tilt.cell_covariance_px2.mean(axis=0))).tolist(),
        }
    if found.places is not None:
        told["places"] = len(found.places.reason)
    return told
