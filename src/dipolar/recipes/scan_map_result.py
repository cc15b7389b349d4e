"""A mapped scan on disk and in words: the result folder, whole or not at all, and the few lines people read first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.atomic import atomic_file, cannot_write
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import OutputError
from dipolar.core.flags import Flag
from dipolar.core.scanning import ScanResult
from dipolar.io import result_folder, save, write_run_json
from dipolar.io.scan_tables import write_scan_tables
from dipolar.recipes.results import check_out
from dipolar.recipes.scan_map import map_scan
from dipolar.recipes.scan_settings import ScanMapSettings
from dipolar.report.scan_page import render_scan_figures, write_scan_figures, write_scan_report

KIND = "a map of a scan"
"""What these folders hold; see `dipolar.io.folder.kind_of`."""
MARK = "map.json"
"""File by which a folder of work in progress is known."""


def target_of(out: Path | None, scan: Path) -> Path:
    """Return the folder that the result shall go to, if it can.

    Parameters
    ----------
    out
        The folder; None: NAME.dipolar in the current folder.
    scan
        The file of the scan.

    Raises
    ------
    OutputError
        If something else is there, or it cannot be written to.
    """
    folder = check_out(Path(f"{scan.resolve().stem}.dipolar") if out is None else out, kind=KIND)
    work = work_folder(folder)
    empty = work.is_dir() and not any(work.iterdir())  # stopped before it knew what it is
    if work.exists() and not empty and not (work / MARK).is_file():
        raise OutputError(
            "finished blocks are kept beside the result, under its name with .work behind it.",
            got=f"{work} is something else",
            do="choose another folder with --out, or move it away",
        )
    return folder


def blocks_kept(folder: Path) -> bool:
    """Return whether finished blocks of a map that was stopped wait for the same command."""
    blocks = work_folder(folder) / "blocks"
    return blocks.is_file() and blocks.stat().st_size > 0


def work_folder(folder: Path) -> Path:
    """Return the folder of finished blocks."""
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}.work")


@contextmanager
def in_progress(folder: Path) -> Iterator[Path]:
    """Yield the folder of finished blocks; it is removed on success, and where nothing was finished."""
    work = work_folder(folder)
    try:
        try:
            work.mkdir(parents=True, exist_ok=True)
            with atomic_file(work / MARK) as part:
                part.write_text(json.dumps({"format": "dipolar map in progress"}) + "\n", encoding="utf-8")
        except OSError as error:
            raise cannot_write(work, error) from error
        yield work
    except BaseException:
        if not blocks_kept(folder):
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)


def write_map(
    scan: str | Path,
    model: str | Path | None,
    folder: Path,
    *,
    labels: Path | None = None,
    settings: ScanMapSettings | None = None,
    progress: Progress = silent,
    tell: Callable[[str], None] | None = None,
) -> ScanResult:
    """Map a scan into a folder, whole or not at all; what was stopped goes on.

    Parameters
    ----------
    scan, model
        Files; without a model, no label is used.
    folder
        The result: domains.csv, walls.csv, wall_points.csv, areas.csv, map.png, report.html, result.h5, run.json.
    labels
        Journal or table of labels to be shown.
    settings
        How to map.
    progress
        Told how far it has come.
    tell
        As for `map_scan`.

    Raises
    ------
    OutputError
        If it cannot be written; finished blocks stay where they are.
    """
    settings = settings or ScanMapSettings()
    with in_progress(folder) as work:
        result = map_scan(scan, model, settings=settings, labels=labels, work=work, progress=progress, tell=tell)
        write_result(result, folder, formats=settings.figure_formats, progress=progress)
    return result


def write_result(
    result: ScanResult, folder: Path, *, formats: tuple[str, ...] = ("png",), progress: Progress = silent
) -> None:
    """Write the result folder, whole or not at all."""
    with result_folder(folder) as part:
        progress("writing the result", 0.0)
        save(result, part / "result.h5")
        write_scan_tables(result, part)
        progress("writing the result", 0.3)
        drawn = render_scan_figures(result, formats=tuple(dict.fromkeys(("png", *formats))))
        write_scan_figures(result, part, rendered=drawn)
        progress("writing the result", 0.8)
        write_scan_report(result, part / "report.html", rendered=drawn)
        write_run_json(part, result.record, extra={"summary": overview_of(result)})
        progress("writing the result", 1.0)


def overview_of(result: ScanResult) -> dict[str, Any]:
    """Return the map in plain values, for ``--json`` and run.json."""
    found, told = result.domains, result.map
    most = np.max(told.probability[told.label >= 0], axis=1, initial=0.0)
    return {
        "scan": {"name": told.name, "key": told.key, "shape": list(told.label.shape), "step_nm": told.step_nm},
        "classes": {
            name: {"fraction": float(share), "fraction_sigma": float(sigma)}
            for name, share, sigma in zip(found.names, found.fraction, found.fraction_sigma, strict=True)
        },
        "domains": len(found.state),
        "walls": len(found.walls),
        "wall_length_steps": float(sum(wall.length for wall in found.walls)),
        "confidence": float(most.mean()) if len(most) else None,
        "flagged": {
            str(flag.name).lower(): int(np.count_nonzero(told.flags & np.uint32(flag)))
            for flag in (Flag.BLANK, Flag.NO_BEAM, Flag.UNKNOWN_CLASS, Flag.OTHER_DOSE, Flag.MIXED)
        },
        "validation": None if result.validation is None else dict(result.validation.figures),
        "timings_s": dict(result.record.timings_s),
        "notes": list(result.record.notes),
    }


def headline_of(result: ScanResult) -> list[str]:
    """Return the map in a few lines for people."""
    found, told = result.domains, result.map
    shares = ", ".join(
        f"{name} {100 * share:.1f} ± {100 * sigma:.1f} %"
        for name, share, sigma in zip(found.names, found.fraction, found.fraction_sigma, strict=True)
    )
    length = sum(wall.length for wall in found.walls)
    unit = "probe steps" if told.step_nm is None else "nm"
    unsure = int(np.count_nonzero(told.flags & np.uint32(Flag.UNKNOWN_CLASS | Flag.OTHER_DOSE)))
    lines = [
        f"{told.label.size} patterns: {shares}",
        f"{len(found.state)} domains, {len(found.walls)} walls of {length * (told.step_nm or 1.0):.0f} {unit} together",
    ]
    if unsure:
        lines.append(f"{unsure} patterns are unlike those that the model learned from; see flags in domains.csv")
    return lines
