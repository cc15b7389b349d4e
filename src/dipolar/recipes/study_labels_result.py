"""The study of labels on disk and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.nouns import Record
from dipolar.io import result_folder, write_run_json
from dipolar.io.scan_tables import write_csv
from dipolar.recipes.record import Clock, now, versions
from dipolar.recipes.study_labels import study_labels
from dipolar.recipes.study_results import checked, in_progress, table_of
from dipolar.recipes.study_settings import LabelsSettings
from dipolar.report.figures import write_bytes
from dipolar.report.study_labels import LabelsCurve, labels_study_figure
from dipolar.report.style import encode

Row = Mapping[str, Any]
FIGURES = ("accuracy", "balanced_accuracy", "recall_none", "near_walls", "calibration_error")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelsStudy:
    """What the study found."""

    rows: Sequence[Row]
    """One for every seed, classifier, strategy and number of labels."""
    means: Sequence[Row]
    """The same over the seeds: mean and standard deviation of every figure."""
    out: Path
    """Its folder."""


def write_labels_study(
    out: str | Path, *, settings: LabelsSettings | None = None, progress: Progress = silent
) -> LabelsStudy:
    """Write the study of labels into a folder, whole or not at all; one that was stopped goes on.

    Parameters
    ----------
    out
        The folder: labels.csv (mean and standard deviation over the seeds), labels_seeds.csv, figure.png, run.json.
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
    settings = settings or LabelsSettings()
    out, clock = checked(out, "labels"), Clock(progress)
    with in_progress(out, "labels") as work:
        with clock("learning from labels", announce=False):
            rows = study_labels(settings, work=work, progress=progress)
        study = LabelsStudy(rows=rows, means=means_of(rows), out=out)
        with result_folder(out) as folder, clock("writing the study"):
            write_csv(table_of(study.means), folder / "labels.csv")
            write_csv(table_of(study.rows), folder / "labels_seeds.csv")
            drawn = labels_study_figure(curves_of(study.means), name=f"{settings.seeds} simulated scans")
            for file_format in settings.figure_formats:
                write_bytes(folder / f"figure.{file_format}", encode(drawn, file_format))
            record = Record(
                settings=settings.model_dump(),
                versions=versions(networks=True, more=("scikit-learn",)),
                inputs={},
                seeds={"study": settings.seed},
                timings_s=clock.seconds,
                created=now(),
            )
            write_run_json(folder, record, extra={"study": "labels", "summary": overview(study)})
    return study


def means_of(rows: Sequence[Row]) -> list[Row]:
    """Return mean and standard deviation over the seeds of every classifier, strategy and number of labels.

    Numbers of labels are those asked for; where a class was rare, some seeds needed more before it had two.
    """
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["classifier"], row["strategy"], int(row["budget"])), []).append(row)
    return [dict(_mean(key, group)) for key, group in groups.items()]


def _mean(key: tuple[str, str, int], group: Sequence[Row]) -> Iterator[tuple[str, Any]]:
    yield from zip(("classifier", "strategy", "budget"), key, strict=True)
    yield "labels", float(np.mean([row["labels"] for row in group]))
    yield "seeds", len(group)
    for name in FIGURES:
        values = np.array([row[name] for row in group], dtype=np.float64)
        yield name, float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
        yield f"{name}_sd", float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else float("nan")


def curves_of(means: Sequence[Row]) -> list[LabelsCurve]:
    """Return the curves of the figure."""
    found = []
    for kind, strategy in dict.fromkeys((row["classifier"], row["strategy"]) for row in means):
        mine = sorted(
            (row for row in means if (row["classifier"], row["strategy"]) == (kind, strategy)),
            key=lambda row: row["labels"],
        )
        found.append(
            LabelsCurve(
                classifier=kind,
                strategy=strategy,
                labels=np.array([row["labels"] for row in mine], dtype=np.float64),
                mean={name: np.array([row[name] for row in mine], dtype=np.float64) for name in FIGURES},
                spread={name: np.array([row[f"{name}_sd"] for row in mine], dtype=np.float64) for name in FIGURES},
            )
        )
    return found


def overview(study: LabelsStudy) -> dict[str, Any]:
    """Return what was found as plain values, for ``--json`` and run.json."""
    return {"table": [dict(row) for row in study.means]}


def headline(study: LabelsStudy) -> list[str]:
    """Return the table in a few lines: percent right, mean ± standard deviation, and near walls."""
    lines = ["classifier     strategy  labels   right (%)      near walls (%)  none (%)"]
    for row in study.means:
        cells = [_percent(row, name) for name in ("accuracy", "near_walls", "recall_none")]
        lines.append(
            f"{row['classifier']:14s} {row['strategy']:9s} {row['budget']:6d}   "
            f"{cells[0]:14s} {cells[1]:15s} {cells[2]}".rstrip()
        )
    return lines


def _percent(row: Row, name: str) -> str:
    spread = row[f"{name}_sd"]
    return f"{100 * row[name]:.1f}" + ("" if np.isnan(spread) else f" ± {100 * spread:.1f}")
