"""The study of tilt on disk and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dipolar.core.contracts import Progress, silent
from dipolar.core.nouns import Record
from dipolar.io import result_folder, write_run_json
from dipolar.io.scan_tables import write_csv
from dipolar.recipes.record import Clock, now, versions
from dipolar.recipes.study_results import checked, in_progress, table_of
from dipolar.recipes.study_tilt import SCAN_PM, SCAN_STEP_PM, SURFACES, rows_of, shifts_of, study_tilt
from dipolar.recipes.study_tilt_crystal import crystal_of
from dipolar.recipes.study_tilt_settings import TiltSettings
from dipolar.report.figures import write_bytes
from dipolar.report.study_tilt import TiltCurve, TiltShot, tilt_study_figure
from dipolar.report.style import encode

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltStudy:
    """What the study found."""

    rows: Sequence[Row]
    """One for every thickness and tilt."""
    names: tuple[str, str]
    """Elements of the sublattices A and B."""
    out: Path
    """Its folder."""


def write_tilt_study(
    out: str | Path, *, settings: TiltSettings | None = None, progress: Progress = silent
) -> TiltStudy:
    """Write the study of tilt into a folder, whole or not at all; one that was stopped goes on.

    Parameters
    ----------
    out
        The folder: tilt.csv, figure.png (figure_30nm.png and so on, where there are several thicknesses), run.json.
        Until they are whole, work lies in ``OUT.work`` beside it.
    settings
        What to study; None takes the defaults.
    progress
        Told how far it has come.

    Raises
    ------
    OutputError
        If it cannot be written, or something else than such a study has that name.
    """
    settings = settings or TiltSettings()
    out, clock = checked(out, "tilt"), Clock(progress)
    with in_progress(out, "tilt") as work:
        crystal = crystal_of(settings)
        with clock("multislice", announce=False):
            found = study_tilt(settings, work=work, progress=progress)
        study = TiltStudy(rows=rows_of(found, settings), names=crystal.names, out=out)
        with result_folder(out) as folder, clock("writing the study"):
            write_csv(table_of(study.rows), folder / "tilt.csv")
            for name, drawn in figures_of(found, settings, crystal.names, crystal.structure.name).items():
                for file_format in settings.figure_formats:
                    write_bytes(folder / f"{name}.{file_format}", encode(drawn, file_format))
            record = Record(
                settings=settings.model_dump(),
                versions=versions(networks=True),
                inputs={"structure": crystal.structure.source},
                seeds={},
                timings_s=clock.seconds,
                created=now(),
            )
            write_run_json(folder, record, extra={"study": "tilt", "summary": overview(study)})
    return study


def figures_of(
    found: Sequence[Mapping[str, Any]], settings: TiltSettings, names: tuple[str, str], crystal: str
) -> dict[str, Figure]:
    """Return the figure of every thickness by the name of its file."""
    shifts = shifts_of(found, settings)
    rows = rows_of(found, settings)
    drawn = {}
    for deep, thickness in enumerate(found[0]["thicknesses_nm"]):
        mine = [row for row in rows if row["thickness_nm"] == thickness]
        moved = shifts[:, :, :, deep]
        curve = TiltCurve(
            thickness_nm=thickness,
            tilts_mrad=np.array(settings.tilts_mrad),
            shift_pm=moved.mean(axis=(0, 1)),
            sigma_pm=0.5 * np.abs(np.diff(moved.mean(axis=1), axis=0)[0]),
            difference_pm=np.array([[row["difference_pm"], row["difference_across_pm"]] for row in mine]),
            difference_sigma_pm=np.array(
                [[row["difference_sigma_pm"], row["difference_across_sigma_pm"]] for row in mine]
            ),
        )
        name = "figure" if len(settings.thicknesses) == 1 else f"figure_{settings.thicknesses[deep]:g}nm"
        drawn[name] = tilt_study_figure(
            [_shot(found, tilt, deep) for tilt in settings.tilts_mrad],
            curve,
            names=names,
            direction=settings.direction,
            name=f"{crystal}, {settings.voltage_kv:g} kV, {settings.convergence_mrad:g} mrad, "
            f"{settings.inner_mrad:g}–{settings.outer_mrad:g} mrad",
        )
    return drawn


def _shot(found: Sequence[Mapping[str, Any]], tilt: float, deep: int) -> TiltShot:
    """Return the mean image of one tilt over all its simulations."""
    mine = [result for result in found if result["tilt_mrad"] == tilt]
    place = np.arange(round(2 * SCAN_PM / SCAN_STEP_PM) + 1) * SCAN_STEP_PM - SCAN_PM
    return TiltShot(
        tilt_mrad=tilt,
        image=np.mean([result["images"][deep] for result in mine], axis=0),
        pixel_size_pm=(mine[0]["pixel_size_pm"][0], mine[0]["pixel_size_pm"][1]),
        scans=[(place, np.mean([result["scans"][name][deep] for result in mine], axis=0)) for name in SURFACES],
    )


def overview(study: TiltStudy) -> dict[str, Any]:
    """Return what was found as plain values, for ``--json`` and run.json."""
    return {"a": study.names[0], "b": study.names[1], "table": [dict(row) for row in study.rows]}


def headline(study: TiltStudy) -> list[str]:
    """Return the table in a few lines."""
    a, b = study.names
    lines = [f"nm      mrad   {a:>4s} (pm)  {b:>4s} (pm)   {b} − {a} (pm)"]
    for row in study.rows:
        lines.append(
            f"{row['thickness_nm']:6.1f} {row['tilt_mrad']:5g} {row['a_shift_pm']:+10.2f} {row['b_shift_pm']:+10.2f} "
            f"  {row['difference_pm']:+.2f} ± {row['difference_sigma_pm']:.2f}"
        )
    return lines
