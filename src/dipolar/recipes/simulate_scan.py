"""A simulated 4D-STEM scan, or a series, with its truth: settings in, patterns and tables out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import SettingsError
from dipolar.core.nouns import Record
from dipolar.core.scanning import AbstractFrames
from dipolar.io import result_folder, sha256_of, write_run_json
from dipolar.io.folder import check_target
from dipolar.io.scan_writer import COMPRESSIONS, write_scan
from dipolar.io.tables import Table, write_table
from dipolar.recipes.record import Clock, now, versions
from dipolar.recipes.scan_settings_simulate import SimulateScanSettings
from dipolar.recipes.scan_structure import structure_files, structure_of
from dipolar.recipes.settings import change
from dipolar.simulate.scan import KINDS, ScanTruth, SimulatedScan
from dipolar.simulate.scan import simulate_scan as simulated
from dipolar.simulate.scan_series import ScanSeriesSettings, ScanSeriesTruth, simulate_scan_series, truth_of_series
from dipolar.simulate.scan_settings import SimulatedScanSettings

BLOCK_BYTES = 16 << 20
"""Patterns that are made at once; a few such blocks are all that is ever in memory."""
RENAMED = {"shape": "shape", "pattern_px": "detector_px", "wall_width": "wall_width_steps", "lattice_px": "vectors_px"}
"""Field of `SimulatedScanSettings` → setting that is called otherwise, or is parsed first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written."""

    scans: tuple[Path, ...]
    """The files."""
    patterns: int
    """How many they hold together."""
    fractions: dict[str, float]
    """Share of the positions of all scans that each class labels."""


def simulate_scan(settings: SimulateScanSettings | None = None, **changes: Any) -> SimulatedScan:
    """Return a simulated 4D-STEM scan with exact truth; its patterns are made when they are read.

    Parameters
    ----------
    settings
        What to simulate; None takes the defaults.
    **changes
        Settings to change by name, for example ``size="published", electrons=6e3, seed=3``.

    Raises
    ------
    SettingsError
        If a setting is unknown or not allowed.
    """
    settings = change(settings or SimulateScanSettings(), changes)
    if settings.series is not None:
        raise SettingsError(
            "one scan is simulated at a time here.",
            got=f"series={settings.series}",
            do="use dipolar simulate scan --series, which writes them into files",
        )
    return simulated(scan_settings(settings), settings.seed)


def scan_settings(settings: SimulateScanSettings) -> SimulatedScanSettings:
    """Return the scan that these settings describe.

    Raises
    ------
    SettingsError
        If they contradict each other.
    """
    names = {one.name for one in fields(SimulatedScanSettings)}
    same = {name: getattr(settings, name) for name in names & set(type(settings).model_fields)}
    other = {name: getattr(settings, given) for name, given in RENAMED.items()}
    made = SimulatedScanSettings(**{**same, **other, "structure": structure_of(settings)})
    if settings.largest_mrad is None:
        return made
    if settings.lattice_px is not None:
        raise SettingsError(
            "the length of lattice vectors is given, or follows from the angle that the detector reaches.",
            got=f"lattice_px={settings.lattice_px} and largest_mrad={settings.largest_mrad:g}",
            do="leave one of the two out",
        )
    lattice_mrad = made.pixel_mrad * made.lattice_length_px
    return replace(made, lattice_px=0.5 * min(made.pattern_px) * lattice_mrad / settings.largest_mrad)


def write_simulated_scan(
    out: str | Path, *, settings: SimulateScanSettings | None = None, progress: Progress = silent
) -> Written:
    """Write a folder with a simulated scan and its truth, whole or not at all.

    Patterns are made and written piece by piece, so that a scan may be larger than memory.

    Parameters
    ----------
    out
        The folder: scan.h5 (or .npy, .zarr), truth_domains.csv, truth_walls.csv, run.json. Of a series, scan_000.h5 and
        so on, each with its tables, and truth_series.csv.
    settings
        What to simulate; None takes the defaults.
    progress
        Told how far it has come.

    Raises
    ------
    SettingsError
        If settings contradict each other.
    OutputError
        If it cannot be written; nothing is left behind then.
    """
    settings, out = settings or SimulateScanSettings(), Path(out)
    check_target(out, kind="a simulated scan" if settings.series is None else "a simulated series of scans")
    if settings.format == "npy" and settings.compression != "none":
        raise SettingsError(
            "only HDF5 and Zarr are compressed.",
            got=f"format='npy' and compression={settings.compression!r}",
            do="leave one of the two out",
        )
    clock, one = Clock(progress), scan_settings(settings)
    with result_folder(out) as folder:
        if settings.series is None:
            with clock("simulating", announce=False):
                made = simulated(one, settings.seed, progress=progress)
                names, truths = ["scan"], [_write(folder, "scan", made, settings, progress)]
        else:
            with clock("simulating", announce=False):
                names, truths = _write_series(folder, one, settings, progress)
        files = [f"{name}.{settings.format}" for name in names]
        shares = dict(
            zip(truths[0].names, np.mean([truth.fractions for truth in truths], axis=0).tolist(), strict=True)
        )
        progress("checksums", 0.0)
        write_run_json(folder, _record(settings, clock), extra={"scans": files, "fractions": shares})
        progress("checksums", 1.0)
    return Written(
        scans=tuple(out / file for file in files),
        patterns=len(files) * settings.shape[0] * settings.shape[1],
        fractions=shares,
    )


def _write_series(
    folder: Path, one: SimulatedScanSettings, settings: SimulateScanSettings, progress: Progress
) -> tuple[list[str], list[ScanTruth]]:
    """Write the scans of a series; return their names without suffix, and their truth."""
    series = simulate_scan_series(
        ScanSeriesSettings(
            scan=one,
            scans=settings.series or 1,
            drift_steps=(settings.drift_y_steps, settings.drift_x_steps),
            growth=settings.growth,
        ),
        settings.seed,
        progress=progress,
    )
    names, truths = [f"scan_{number:03d}" for number in range(len(series))], []
    for number, (name, made) in enumerate(zip(names, series, strict=True)):

        def told(step: str, fraction: float, number: int = number) -> None:
            progress(f"{step}: scan {number + 1} of {len(series)}", (number + fraction) / len(series))

        truths.append(_write(folder, name, made, settings, told))
    write_table(series_table(truth_of_series(series), truths[0].names), folder / "truth_series.csv")
    return names, truths


def _write(
    folder: Path, name: str, made: SimulatedScan, settings: SimulateScanSettings, progress: Progress
) -> ScanTruth:
    """Write one scan and its tables; return its truth."""
    scan, ending = made.scan, name.removeprefix("scan")
    write_scan(
        folder / f"{name}.{settings.format}",
        shape=scan.shape,
        pattern_px=scan.frames.shape_px,
        dtype=scan.frames.dtype,
        blocks=blocks(scan.frames, progress=lambda fraction: progress("simulating", fraction)),
        compression=None if settings.compression == "none" else COMPRESSIONS[0],
        step_nm=scan.step_nm,
        pixel_mrad=scan.pixel_mrad,
    )
    write_table(domains_table(made.truth), folder / f"truth_domains{ending}.csv")
    write_table(walls_table(made.truth), folder / f"truth_walls{ending}.csv")
    return made.truth


def blocks(
    frames: AbstractFrames, *, progress: Callable[[float], None], workers: int | None = None
) -> Iterator[np.ndarray]:
    """Yield all patterns in pieces, in order; the next ones are made meanwhile.

    Parameters
    ----------
    frames
        The patterns.
    progress
        Told the share of patterns that were taken; raise from it to stop.
    workers
        Threads; None takes one per core, four at most.
    """
    each = max(1, BLOCK_BYTES // (frames.shape_px[0] * frames.shape_px[1] * frames.dtype.itemsize))
    workers = workers or min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Any] = deque()
        try:
            for start in range(0, frames.count, each):
                waiting.append(pool.submit(frames.read, start, min(start + each, frames.count)))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
                    progress(max(0, start + each - workers * each) / frames.count)
            while waiting:
                yield waiting.popleft().result()
            progress(1.0)
        finally:
            for piece in waiting:
                piece.cancel()


def domains_table(truth: ScanTruth) -> Table:
    """Return the truth of each probe position, names as in `truth_domains.csv`.

    Lengths are in probe steps, the centre in px of the detector.
    """
    down, right = np.indices(truth.label.shape)
    flat = {
        "wall_distance": truth.wall_distance,
        "centre_y": truth.centre_px[..., 0],
        "centre_x": truth.centre_px[..., 1],
        "thickness": truth.thickness,
        "counts": truth.counts,
    }
    return {
        "scan_y": down.ravel(),
        "scan_x": right.ravel(),
        "label": np.array(truth.names)[truth.label.ravel()],
        "kind": np.array(KINDS)[truth.none_kind.ravel()],
        **{f"p_{name}": truth.mixture[..., number].ravel() for number, name in enumerate(truth.names)},
        **{name: values.ravel() for name, values in flat.items()},
    }


def walls_table(truth: ScanTruth) -> Table:
    """Return the points of all walls, one row each, names as in `truth_walls.csv`."""
    lengths = [len(wall.points) for wall in truth.walls]
    points = np.concatenate([np.empty((0, 2)), *(wall.points for wall in truth.walls)])
    return {
        "wall": np.repeat(np.arange(len(lengths)), lengths),
        "before": np.repeat(np.array([wall.before for wall in truth.walls], dtype=str), lengths),
        "after": np.repeat(np.array([wall.after for wall in truth.walls], dtype=str), lengths),
        "scan_y": points[:, 0],
        "scan_x": points[:, 1],
    }


def series_table(truth: ScanSeriesTruth, names: tuple[str, ...]) -> Table:
    """Return how a series goes, one row per scan, names as in `truth_series.csv`; lengths in probe steps."""
    return {
        "scan": np.arange(len(truth.fractions)),
        **{f"fraction_{name}": truth.fractions[:, number] for number, name in enumerate(names)},
        "drift_y": truth.drift_steps[:, 0],
        "drift_x": truth.drift_steps[:, 1],
        "wall_shift": truth.wall_shift,
        "wall_length": truth.wall_length,
    }


def _record(settings: SimulateScanSettings, clock: Clock) -> Record:
    """Return the record of a simulation."""
    return Record(
        settings=settings.model_dump(),
        versions=versions(networks=settings.structure is not None),
        inputs={Path(name).name: sha256_of(name) for name in structure_files(settings) if name is not None},
        seeds={"simulate": settings.seed},
        created=now(),
        timings_s=dict(clock.seconds),
    )
