"""Results of scan after scan of one place → domains and walls against time, as tables and a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import FormatError, SettingsError
from dipolar.core.nouns import Record
from dipolar.core.scanning import ScanResult, ScanSeries, WallTrack
from dipolar.io import load, result_folder, save, write_run_json
from dipolar.io.scan_tables import write_series_tables
from dipolar.maps.scan_series import series_of
from dipolar.recipes.record import Clock, now, versions
from dipolar.recipes.results import check_out
from dipolar.recipes.scan_settings import ScanSeriesSettings
from dipolar.recipes.settings import change
from dipolar.report.figures import write_bytes
from dipolar.report.scan_series import series_figure
from dipolar.report.style import encode

KIND = "a series of scans"
"""What these folders hold; see `dipolar.io.folder.kind_of`."""
SHOWN = 4
"""Walls that are told in words, those seen longest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FollowedScans:
    """A series, and what made it."""

    series: ScanSeries
    """Domains and walls against time."""
    record: Record
    """What made it."""


def follow_scans(
    results: Sequence[str | Path | ScanResult],
    *,
    settings: ScanSeriesSettings | None = None,
    progress: Progress = silent,
    **changes: Any,
) -> FollowedScans:
    """Return the share of each class, and how far walls have moved, over scans of one place.

    Parameters
    ----------
    results
        What `dipolar scan map` wrote, or `dipolar.map_scan` returned, in the order the scans were taken.
    settings
        When they were taken; None counts them.
    progress
        Told how far it has come.
    **changes
        Settings to change by name, for example ``times=(0, 30, 60)``.

    Raises
    ------
    FormatError
        If one is no map of a scan.
    ScanError
        If maps differ in classes or shape, or times do not fit.
    SettingsError
        If there are fewer than two, or times do not increase.
    """
    settings, clock = change(settings or ScanSeriesSettings(), changes), Clock(progress)
    if len(results) < 2:
        raise SettingsError(
            "a series is of two scans or more.",
            got=f"{len(results)}",
            do="dipolar scan series FIRST.dipolar SECOND.dipolar ... --out DIR",
        )
    times = settings.times_s
    if times is not None and np.any(np.diff(times) <= 0):
        raise SettingsError(
            "scans come in the order they were taken.", got=f"times = {settings.times}", do="sort both alike"
        )
    scans, inputs = [], {}
    with clock("reading results", announce=False):
        for number, given in enumerate(results):
            found = given if isinstance(given, ScanResult) else _read(given)
            scans.append(found.domains)
            name = found.map.name if isinstance(given, ScanResult) else str(given)
            inputs[f"{number}: {name}"] = f"key {found.map.key}"
            progress("reading results", (number + 1) / len(results))
    with clock("following walls"):
        series = series_of(scans, time=times)
    record = Record(
        settings=settings.model_dump(),
        versions=versions(),
        inputs=inputs,
        timings_s=clock.seconds,
        created=now(),
        notes=("Where the specimen drifted from scan to scan, that is in the distances that walls have moved.",),
    )
    return FollowedScans(series=series, record=record)


def _read(path: str | Path) -> ScanResult:
    found = load(path)
    if not isinstance(found, ScanResult):
        raise FormatError(
            "a series is made of maps of scans.",
            got=f"{path}, another kind of result",
            do="give the folders that dipolar scan map wrote",
        )
    return found


def target_of(out: Path) -> Path:
    """Return the folder that the result shall go to, if it can.

    Raises
    ------
    OutputError
        If something else is there, or it cannot be written to.
    """
    return check_out(out, kind=KIND)


def write_series(
    followed: FollowedScans, folder: Path, *, formats: tuple[str, ...] = ("png",), progress: Progress = silent
) -> None:
    """Write the result folder, whole or not at all: fractions.csv, tracks.csv, series.png, result.h5, run.json.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with result_folder(folder) as part:
        progress("writing the result", 0.0)
        save(followed.series, part / "result.h5")
        write_series_tables(followed.series, part)
        drawn = series_figure(followed.series, name=f"{len(followed.series.time)} scans")
        for file_format in dict.fromkeys(("png", *formats)):
            write_bytes(part / f"series.{file_format}", encode(drawn, file_format))
        write_run_json(part, followed.record, extra={"summary": overview_of(followed)})
        progress("writing the result", 1.0)


def overview_of(followed: FollowedScans) -> dict[str, Any]:
    """Return the series in plain values, for ``--json`` and run.json; None where something is unknown."""
    series = followed.series
    return {
        "scans": len(series.time),
        "time": [float(time) for time in series.time],
        "unit": series.unit,
        "step_nm": series.step_nm,
        "classes": {
            name: {
                "fraction": _plain(series.fraction[:, place]),
                "fraction_sigma": _plain(series.fraction_sigma[:, place]),
            }
            for place, name in enumerate(series.names)
        },
        "walls": [
            {
                "before": track.before,
                "after": track.after,
                "moved_steps": _plain(track.moved),
                "moved_sigma_steps": _plain(track.moved_sigma),
            }
            for track in series.tracks
        ],
        "notes": list(followed.record.notes),
    }


def headline_of(followed: FollowedScans) -> list[str]:
    """Return the series in a few lines for people."""
    series = followed.series
    shares = ", ".join(
        f"{name} {100 * first:.1f} → {100 * last:.1f} %"
        for name, first, last in zip(series.names, series.fraction[0], series.fraction[-1], strict=True)
    )
    seen = [track for track in series.tracks if np.isfinite(track.moved).sum() > 1]
    lines = [
        f"{len(series.time)} scans: {shares}",
        f"{len(series.tracks)} walls, {len(seen)} of them seen twice or more",
    ]
    return lines + [_track_line(track, series) for track in seen[:SHOWN]]


def _track_line(track: WallTrack, series: ScanSeries) -> str:
    """Return how far a wall had moved when it was seen last."""
    last = int(np.flatnonzero(np.isfinite(track.moved))[-1])
    scale, unit = (1.0, "probe steps") if series.step_nm is None else (series.step_nm, "nm")
    when = f"scan {last}" if series.unit == "scan" else f"{series.time[last]:g} {series.unit}"
    moved, sigma = scale * track.moved[last], scale * track.moved_sigma[last]
    side = track.after if moved > 0 else track.before
    return (
        f"wall of {track.before} and {track.after}, until {when}: {abs(moved):.2g} ± {sigma:.1g} {unit} towards {side}"
    )


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values.tolist()]
