"""What unmixing found, on disk and in words: the result folder, whole or not at all, and the first few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import TrainingError
from dipolar.core.unmixing import Angles, Unmixed
from dipolar.io import result_folder, save, write_run_json
from dipolar.io.components_export import pictures_of, write_modes
from dipolar.io.components_table import components_table
from dipolar.io.tables import write_table
from dipolar.recipes.results import check_out
from dipolar.recipes.unmix_settings import UnmixSettings
from dipolar.report.figures import write_bytes
from dipolar.report.unmix import render_sheet
from dipolar.report.unmix_angle_parts import WRONG
from dipolar.report.unmix_page import write_unmix_report
from dipolar.report.unmix_table import NAMES
from dipolar.report.wording import number

RESULT = "components.h5"
KIND = "a result of unmixing"
"""What these folders hold; see `dipolar.io.folder.kind_of`."""


def targets(out: Path | None, source: Path, settings: UnmixSettings) -> dict[str, Path]:
    """Return the folder that the result of each method shall go to, if it can.

    Parameters
    ----------
    out
        The folder; of several methods, that above theirs. None: NAME.METHOD.dipolar in the current folder.
    source
        The image, or the result, that is read.
    settings
        With the methods.

    Raises
    ------
    OutputError
        If something is there that is not a result of unmixing the same image, or it cannot be written to.
    """
    found = {}
    for method in settings.methods:
        folder = Path(f"{_stem(source)}.{method}.dipolar")
        if out is not None:
            folder = out if len(settings.methods) == 1 else out / f"{method}.dipolar"
        check_out(folder, kind=KIND, source=source)
        found[method] = folder
    return found


def _stem(source: Path) -> str:
    """Return the name of an image without its ending; of a result, that of its folder."""
    if source.name in ("result.h5", RESULT):
        source = source.resolve().parent
    return source.stem.removesuffix(".predicted")


def write_unmixed(
    unmixed: Unmixed, out: str | Path, *, formats: tuple[str, ...] = ("png",), progress: Progress = silent
) -> Path:
    """Write the result folder, whole or not at all, and return its path.

    Parameters
    ----------
    unmixed
        What `dipolar.unmix_image` returned.
    out
        The folder; an earlier result there is replaced at the very end.
    formats
        Formats of the sheet: any of svg and pdf, beside png, which is always written.
    progress
        Told how far the writing has come.

    Raises
    ------
    OutputError
        If it cannot be written; nothing is left behind then.
    """
    out = check_out(out, kind=KIND)
    with result_folder(out) as folder:
        progress("writing the result", 0.0)
        save(unmixed, folder / RESULT)
        write_table(components_table(unmixed), folder / "components.csv")
        if pictures_of(unmixed):
            write_modes(unmixed, folder / "modes.hspy")
        progress("writing the result", 0.3)
        drawn = render_sheet(unmixed, formats=tuple(dict.fromkeys(("png", *formats))))
        for file_format, content in drawn.items():
            write_bytes(folder / f"sheet.{file_format}", content)
        progress("writing the result", 0.8)
        write_unmix_report(unmixed, folder / "report.html", rendered=drawn)
        write_run_json(folder, unmixed.record, extra={"summary": overview_of(unmixed)})
        progress("writing the result", 1.0)
    return out


def overview_of(unmixed: Unmixed) -> dict[str, Any]:
    """Return what was found as plain values, for ``--json`` and run.json."""
    found = unmixed.components
    told: dict[str, Any] = {
        "image": unmixed.image.name,
        "method": found.method,
        "patches": len(unmixed.site),
        "dropped": dict(unmixed.dropped),
        "window_px": unmixed.window_px,
        "step_px": unmixed.step_px,
        "components": list(found.names),
        "strength": None if found.strength is None else [float(share) for share in found.strength],
        "clusters": None if found.cluster is None else _shares(found.cluster),
        "settings": dict(found.settings),
        "facts": dict(found.facts),
        "angle": None if found.angles is None else _angle_overview(found.angles, unmixed.pixel_size_pm),
        "notes": list(unmixed.record.notes),
    }
    return told


def _shares(groups: np.ndarray) -> list[float]:
    placed = groups[groups >= 0]
    return [float(np.mean(placed == place)) for place in range(int(placed.max(initial=-1)) + 1)]


def _angle_overview(found: Angles, pixel_size_pm: float | None) -> dict[str, Any]:
    good = found.mapped
    lengths = np.hypot(*found.dipole_px.T)
    known = lengths[np.isfinite(lengths)]
    length = float(np.median(known)) if len(known) and good else None
    return {
        "verdict": found.verdict,
        "remedy": found.remedy,
        "registered": found.registered,
        "variants_deg": [float(one) for one in found.variant_deg] if good else [],
        "variant_shares": [float(np.mean(found.variant == place)) for place in range(len(found.variant_deg))]
        if good
        else [],
        "between_variants": float(found.between.mean()) if good else None,
        "dipole_median_px": length,
        "dipole_median_pm": None if length is None or pixel_size_pm is None else length * pixel_size_pm,
        "diagnosis": dict(found.diagnosis),
    }


def headline_of(unmixed: Unmixed) -> list[str]:
    """Return what was found, in a few lines."""
    found = unmixed.components
    lost = ", ".join(f"{count} {reason}" for reason, count in unmixed.dropped.items() if count)
    lines = [
        f"{NAMES[found.method]} of {len(unmixed.site)} patches of {unmixed.window_px} px in {unmixed.image.name}"
        + (f" (without one: {lost})" if lost else "")
    ]
    if found.angles is not None:
        lines += _angle_lines(found.angles, unmixed.pixel_size_pm)
    elif found.method == "nmf":
        explained = number(100 * float(found.facts["explained"]), 3)
        lines.append(f"{len(found.names)} modes explain {explained} % of the variance together")
    elif found.strength is not None and found.cluster is None:
        explained = ", ".join(f"{number(100 * float(share), 2)}" for share in found.strength[:8])
        lines.append(f"variance explained by the first {len(found.strength[:8])}: {explained} %")
    if found.cluster is not None:
        shares = _shares(found.cluster)
        told = ", ".join(f"{number(100 * share, 2)}" for share in shares[:12])
        lines.append(f"{len(shares)} cluster{'' if len(shares) == 1 else 's'}, {told} % of the patches")
    return lines


def was_interrupted(unmixed: Unmixed) -> bool:
    """Return whether a training was ended by Ctrl-C, so that this is what was learned until then."""
    return bool(unmixed.components.facts.get("interrupted", False))


def _angle_lines(found: Angles, pixel_size_pm: float | None) -> list[str]:
    if not found.mapped:
        return []
    lengths = np.hypot(*found.dipole_px.T)
    known = lengths[np.isfinite(lengths)]
    scale, unit = (1.0, "px") if pixel_size_pm is None else (pixel_size_pm, "pm")
    lines = [] if found.verdict == "good" else [WRONG["doubtful"]]
    if len(found.variant_deg):
        told = ", ".join(
            f"{number(float(one), 3)}° ({number(100 * float(np.mean(found.variant == place)), 2)} %)"
            for place, one in enumerate(found.variant_deg)
        )
        lines.append(f"variants at {told}")
    else:
        lines.append("no variants: the histogram of the angle has no peaks that cannot be chance")
    if len(known):
        told = f"decoded dipole: median {scale * float(np.median(known)):.3g} {unit}"
        if found.polar.any():
            sigma = max(float(np.nanmedian(found.sigma_deg[found.polar])), 0.01)
            told += f"; sigma of the angle {sigma:.2g}° in the median"
        lines.append(told)
    if not found.polar.all():
        lines.append(f"not told from zero, so of no variant: {number(100 * float(np.mean(~found.polar)), 3)} %")
    if found.between.any():
        lines.append(f"between variants, as in walls, so of none: {number(100 * float(found.between.mean()), 2)} %")
    return lines


def check_angle(unmixed: Unmixed, folder: Path) -> None:
    """End a run whose angle means nothing with the remedy.

    Raises
    ------
    TrainingError
        Where the diagnosis says so; the folder holds what it rests on.
    """
    angles = unmixed.components.angles
    if angles is None or angles.mapped:
        return
    figures = ", ".join(f"{name} {number(float(value), 3)}" for name, value in angles.diagnosis.items())
    raise TrainingError(
        f"{WRONG[angles.verdict]} There is no map of it.",
        got=f"{figures}; see {folder / 'report.html'}",
        do=angles.remedy,
    )
