"""A study on disk and in words: the folder of its result, whole or not at all, and the few lines people read first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dipolar.core.atomic import atomic_file, cannot_write
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import OutputError
from dipolar.core.nouns import Record
from dipolar.io import result_folder, write_run_json
from dipolar.io.result_file import read_run_json
from dipolar.io.tables import Table, write_table
from dipolar.learn.model_file import model_paths
from dipolar.recipes.record import Clock, now, versions
from dipolar.recipes.results import check_out
from dipolar.recipes.study_cross import jobs_of, percent, study_cross
from dipolar.recipes.study_noise import study_noise
from dipolar.recipes.study_settings import CrossSettings, NoiseSettings, StudySettings
from dipolar.recipes.study_transfer import transfers
from dipolar.recipes.study_trends import Row, Trend, cross_trends, grid, modes_of, noise_trends
from dipolar.report.figures import write_bytes
from dipolar.report.study_figures import cross_study_figure, noise_study_figure
from dipolar.report.style import encode
from dipolar.report.transfer import transfer_figure

MARK = "study.json"
"""File by which a folder of work in progress is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What a study found."""

    kind: str
    """noise or cross."""
    rows: Sequence[Row]
    """Its table."""
    trends: Sequence[Trend]
    """What the table says."""
    out: Path
    """Its folder."""


def write_noise_study(out: str | Path, *, settings: NoiseSettings | None = None, progress: Progress = silent) -> Study:
    """Write the study of noise into a folder, whole or not at all; one that was stopped goes on.

    Parameters
    ----------
    out
        The folder: noise.csv, figure.png, run.json. Until they are whole, work lies in ``OUT.work`` beside it.
    settings
        What to study; None takes the defaults.
    progress
        Told how far it has come.

    Raises
    ------
    SettingsError
        If a window is too large for the film.
    OutputError
        If it cannot be written, or something else than such a study has that name.
    """
    settings = settings or NoiseSettings()
    out, clock = checked(out, "noise"), Clock(progress)
    with in_progress(out, "noise") as work:
        with clock("training networks", announce=False):
            rows = study_noise(settings, work=work, progress=progress)
        study = Study(kind="noise", rows=rows, trends=noise_trends(rows), out=out)
        with result_folder(out) as folder, clock("writing the study"):
            _write(study, {"figure": noise_figure(rows)}, folder, settings, clock)
    return study


def write_cross_study(out: str | Path, *, settings: CrossSettings | None = None, progress: Progress = silent) -> Study:
    """Write the cross study into a folder, whole or not at all; one that was stopped goes on.

    Parameters
    ----------
    out
        The folder: cross.csv, figure.png, transfers.png where the films of the published transfers are among those of
        the study, models/, run.json. Until they are whole, work lies in ``OUT.work`` beside it.
    settings
        What to study; None takes the defaults.
    progress
        Told how far it has come.

    Raises
    ------
    SettingsError
        If the window is too large for the films.
    OutputError
        If it cannot be written, or something else than such a study has that name.
    """
    settings = settings or CrossSettings()
    out, clock = checked(out, "cross"), Clock(progress)
    with in_progress(out, "cross") as work:
        with clock("training networks", announce=False):
            rows = study_cross(settings, work=work, progress=progress)
        study = Study(kind="cross", rows=rows, trends=cross_trends(rows), out=out)
        with result_folder(out) as folder, clock("writing the study"):
            figures = {"figure": cross_figure(rows)}
            if shown := transfers(settings, work=work):
                figures["transfers"] = transfer_figure(shown)
            _copy_models(settings, work, folder / "models")
            _write(study, figures, folder, settings, clock)
    return study


def _copy_models(settings: CrossSettings, work: Path, folder: Path) -> None:
    """Put every network of the study into a folder, under a name for people: NC-7 learned from 7 %."""
    folder.mkdir()
    for job in jobs_of(settings, work):
        name = f"{job.mode}-{100 * job.composition:g}.safetensors"
        for kept, copy in zip(model_paths(job.model), model_paths(folder / name), strict=True):
            shutil.copyfile(kept, copy)


def _write(study: Study, figures: Mapping[str, Figure], folder: Path, settings: StudySettings, clock: Clock) -> None:
    write_table(table_of(study.rows), folder / f"{study.kind}.csv")
    for name, drawn in figures.items():
        for file_format in settings.figure_formats:
            write_bytes(folder / f"{name}.{file_format}", encode(drawn, file_format))
    record = Record(
        settings=settings.model_dump(),
        versions=versions(networks=True),
        inputs={},
        seeds={"study": settings.seed},
        timings_s=clock.seconds,
        created=now(),
    )
    write_run_json(folder, record, extra={"study": study.kind, "summary": overview(study)})


def table_of(rows: Sequence[Row]) -> Table:
    """Return rows as columns."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def noise_figure(rows: Sequence[Row]) -> Figure:
    """Return the figure of the study of noise."""
    levels, edges = (sorted({row[name] for row in rows}) for name in ("variance", "window_px"))
    return noise_study_figure(
        {mode: grid(rows, mode, ("window_px", "variance"), "mse_px2") for mode in modes_of(rows)},
        noise=levels,
        windows_px=edges,
        noise_name="variance of the noise, image scaled to [0, 1]",
    )


def cross_figure(rows: Sequence[Row]) -> Figure:
    """Return the figure of the cross study."""
    return cross_study_figure(
        {mode: grid(rows, mode, ("trained_on", "tested_on"), "rms_pm") for mode in modes_of(rows)},
        images=[percent(share) for share in sorted({row["trained_on"] for row in rows})],
        error_name="RMS error (pm)",
    )


def overview(study: Study) -> dict[str, Any]:
    """Return what was found as plain values, for ``--json`` and run.json."""
    best, worst = _ends(study.rows)
    widths = [row["zscore_width"] for row in study.rows]
    return {
        "networks": len({_network(study.kind, row) for row in study.rows}),
        "best": dict(best),
        "worst": dict(worst),
        "median_zscore_width": float(np.median(widths)),
        "trends": [asdict(trend) for trend in study.trends],
    }


def headline(study: Study) -> list[str]:
    """Return what was found in a few lines."""
    best, worst = _ends(study.rows)
    widths = np.array([row["zscore_width"] for row in study.rows])
    lines = [
        f"best: {_place(study.kind, best)}, RMS error {best['rms_pm']:.2f} pm, R² {best['r2']:.3f}",
        f"worst: {_place(study.kind, worst)}, RMS error {worst['rms_pm']:.2f} pm, R² {worst['r2']:.3f}",
        f"width of error / sigma: {np.median(widths):.2f} (median), {widths.min():.2f} to {widths.max():.2f}",
    ]
    verdicts = {True: "as published", False: "NOT as published", None: "also"}
    return lines + [f"{verdicts[trend.holds]}: {trend.words}" for trend in study.trends]


def _ends(rows: Sequence[Row]) -> tuple[Row, Row]:
    """Return the rows of the least and of the greatest error."""
    ordered = sorted((row for row in rows if np.isfinite(row["rms_pm"])), key=lambda row: row["rms_pm"])
    return (ordered[0], ordered[-1]) if ordered else (rows[0], rows[-1])


def _place(kind: str, row: Row) -> str:
    if kind == "noise":
        return f"{row['windows']}, window {row['window_px']} px, variance {row['variance']:g}"
    return f"{row['windows']}, {percent(row['trained_on'])} put to {percent(row['tested_on'])}"


def _network(kind: str, row: Row) -> tuple[Any, ...]:
    names = ("window_px", "variance") if kind == "noise" else ("trained_on",)
    return (row["windows"], *(row[name] for name in names))


def work_folder(out: str | Path) -> Path:
    """Return the folder of the work in progress."""
    out = Path(out).resolve()
    return out.with_name(f"{out.name}.work")


def checked(out: str | Path, kind: str) -> Path:
    """Return the folder of a study, if it and that of the work in progress can be written.

    Raises
    ------
    OutputError, ChecksumError
        As in `checked_folder`.
    """
    return checked_folder(out, f"a {kind} study")


def checked_folder(out: str | Path, kind: str) -> Path:
    """Return the folder of a result, if it and that of the work in progress can be written.

    Parameters
    ----------
    out
        The folder.
    kind
        What shall be written there, in the words of `dipolar.io.folder.kind_of`.

    Raises
    ------
    OutputError
        If not, or something else has that name.
    ChecksumError
        If a result is there whose run.json is damaged.
    """
    out = Path(out).resolve()
    if (out / "run.json").is_file():
        read_run_json(out)  # a damaged one is said to be that
    out, work = check_out(out, kind=kind), work_folder(out)
    if work.exists() and not (work / MARK).is_file() and (not work.is_dir() or any(work.iterdir())):
        raise OutputError(
            "work in progress is kept beside the result, under its name with .work behind it.",
            got=f"{work} is something else",
            do="choose another folder with --out, or move it away",
        )
    return out


@contextmanager
def in_progress(out: Path, kind: str) -> Iterator[Path]:
    """Yield the folder of the work in progress; it is removed on success, and where nothing was done yet."""
    work = work_folder(out)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(work, error) from error
    with atomic_file(work / MARK) as part:
        part.write_text(json.dumps({"format": "dipolar study in progress", "study": kind}) + "\n", encoding="utf-8")
    try:
        yield work
    except BaseException:
        if {item.name for item in work.iterdir()} == {MARK}:
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
