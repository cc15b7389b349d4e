"""A trained model in words: the few lines that people read, and the same for programs."""

from __future__ import annotations

import math
from typing import Any

from dipolar.recipes.train import LEAST_R2, TrainedModel

TELLS = {"finder": "finds columns", "regressor": "tells displacement"}


def headline_of(result: TrainedModel) -> list[str]:
    """Return what was trained and how it does on what it never saw, in a few lines."""
    card, found = result.model.card, result.marks
    number = "1 network" if card.members == 1 else f"{card.members} networks"
    names = list(card.training["images"])
    images = ", ".join(names) if len(names) <= 3 else f"{len(names)} images"
    if card.kind == "finder":
        return [f"{number} that {TELLS[card.kind]}, trained on {images}", *_finder_lines(result)]
    verb = "tells" if card.members == 1 else "tell"
    windows = f"{card.windows} windows of {card.window_px} px at {card.cell_px:g} px per cell"
    lines = [f"{number} that {verb} displacement, trained on {images}: {windows}"]
    scale, unit = _unit(result)
    lines.append(
        f"on {found['cells']:.0f} cells that were never seen: RMS error {scale * found['rms_px']:.3g} {unit} per "
        f"component, R² {found['r2']:.3f}"
    )
    if found["fit_sigma_px"] > 0:
        lines.append(f"the column fit's own sigma there: {scale * found['fit_sigma_px']:.3g} {unit} per component")
    lines.append(_coverage(result))
    return lines


def training_notes(result: TrainedModel) -> list[str]:
    """Return what is to be known before a model is used: whether the test says that it learned too little."""
    found = result.marks
    if not found.get("learned_little"):
        return []
    against = found["rms_px"] / found["fit_median_sigma_px"] if found["fit_median_sigma_px"] > 0 else math.inf
    told = f"R² {found['r2']:.2f} on cells that were never seen"
    told += f", RMS error {against:.1f} times the sigma of the fit" if math.isfinite(against) else ""
    what = "little" if found["r2"] <= LEAST_R2 else "less than the fit knows"
    return [f"The network learned {what}: {told}. Train it longer (more --steps), or on a larger image or several."]


def _finder_lines(result: TrainedModel) -> list[str]:
    found = result.marks
    scale, unit = _unit(result)
    return [
        f"of {found['columns']:.0f} columns that were never seen {100 * found['recall']:.1f} % are found, "
        f"{100 * found['species_right']:.1f} % of these on the right sublattice; "
        f"{100 * found['spurious_share']:.1f} % more than there are",
        f"RMS error {scale * found['rms_px']:.3g} {unit} per component, the column fit's own sigma "
        f"{scale * found['fit_sigma_px']:.3g} {unit}",
        _coverage(result),
    ]


def _unit(result: TrainedModel) -> tuple[float, str]:
    return (1.0, "px") if result.pixel_size_pm is None else (result.pixel_size_pm, "pm")


def _coverage(result: TrainedModel) -> str:
    found, calibration = result.marks, result.model.calibration
    factor = 1.0 if calibration is None else calibration.scale
    floor = ""
    if calibration is not None and calibration.floor > 0 and found["rms_network_px"] > 0:
        scale, unit = _unit(result)
        least = scale * factor * calibration.floor * found["rms_px"] / found["rms_network_px"]
        floor = f" and never below {least:.2g} {unit}"
    held = [f"{100 * found[f'coverage_{level}']:.0f} %" for level in (68, 90)]
    return (
        f"sigma, recalibrated by {factor:.2f}{floor}: intervals of 68 % hold {held[0]} of the errors, of 90 % {held[1]}"
    )


def overview_of(result: TrainedModel) -> dict[str, Any]:
    """Return what was trained, on what, and how it does, as plain values for ``--json``."""
    card = result.model.card
    return {
        "kind": card.kind,
        "members": card.members,
        "targets": list(card.targets),
        "windows": card.windows,
        "window_px": card.window_px,
        "images": dict(card.training["images"]),
        "marks": dict(result.marks),
        "notes": training_notes(result),
        "calibration": dict(card.calibration),
        "best_steps": [one.best_step for one in result.trained],
        "stopped": [one.stopped for one in result.trained],
        "cpu_seconds": round(sum(one.cpu_seconds for one in result.trained), 1),
    }
