"""A measurement on disk and in words: the result folder, whole or not at all, and the few lines people read first."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import OutputError
from dipolar.core.measurement import Measurement
from dipolar.core.scanning import ScanResult
from dipolar.core.unmixing import Unmixed
from dipolar.io import result_folder, save, sha256_of, write_cells_csv, write_columns_csv, write_run_json
from dipolar.io.finding_tables import (
    anomalies_table,
    cell_findings_table,
    domains_table,
    layers_table,
    sites_table,
    tilt_table,
    wall_points_table,
    walls_table,
)
from dipolar.io.folder import check_target
from dipolar.io.places_table import places_table
from dipolar.io.result_file import NAMES
from dipolar.io.tables import Table, write_table
from dipolar.recipes.overview import findings_headline, findings_overview, unlike_lines
from dipolar.report import render_figures, write_figures, write_report
from dipolar.report.scan_page import write_scan_report
from dipolar.report.unmix_page import write_unmix_report


def check_out(out: str | Path, *, kind: str = "a measurement", source: Path | None = None) -> Path:
    """Return the folder a result shall go to, if it can; so that a long run does not fail on its last line.

    Parameters
    ----------
    out
        The folder.
    kind
        What shall be written there, in the words of `dipolar.io.folder.kind_of`.
    source
        What is read; None: anything.

    Raises
    ------
    OutputError
        If something that is not a result of dipolar has that name, a result of another kind, or of another image than
        `source`, or the folder above cannot be written to.
    """
    out = Path(out)
    check_target(out, kind=kind)
    if source is not None:
        _check_same_image(out, source)
    above = next(parent for parent in out.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise OutputError(
            "the result must be writable.",
            got=f"{out}: {error.strerror or error}",
            do="choose another place with --out, or check permissions and free space",
        ) from error
    return out


def _check_same_image(out: Path, source: Path) -> None:
    """Keep the result of another image: replacing it would lose it without a word."""
    inputs, read = _inputs_of(out), _read_from(source)
    if inputs and read and not read & set(inputs.values()):
        raise OutputError(
            "only a result of the same image is replaced.",
            got=f"{out}, which holds the result of {', '.join(inputs)} (another content, or changed since)",
            do=f"choose another folder: --out {out.with_name(out.stem + '-2.dipolar')}",
        )


def _read_from(source: Path) -> set[str]:
    """Return sha256 of an image; of a result, of itself and of the image that it was made from."""
    file = next((source / name for name in NAMES if (source / name).is_file()), source)
    made_from = _inputs_of(file.parent) if file.name in NAMES else {}
    images = {
        digest
        for name, digest in made_from.items()
        if not name.endswith(".safetensors") and not name.startswith("tilt/")
    }
    return images | ({sha256_of(file)} if file.is_file() else set())


def _inputs_of(folder: Path) -> dict[str, str]:
    """Return file name → sha256 of what a result was made from; nothing where that cannot be read."""
    try:
        inputs: dict[str, str] = json.loads((folder / "run.json").read_text(encoding="utf-8"))["inputs"]
    except (OSError, ValueError, KeyError):
        return {}
    return inputs


def write_result(
    measurement: Measurement,
    out: str | Path,
    *,
    formats: tuple[str, ...] = ("png",),
    extra: Mapping[str, Any] | None = None,
    beside: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Path:
    """Write the result folder, whole or not at all, and return its path.

    Parameters
    ----------
    measurement
        What `dipolar.measure_image` or `dipolar.predict_image` returned.
    out
        The folder; an earlier result there is replaced at the very end.
    formats
        Formats of the figures: any of svg and pdf, beside png, which is always written.
    extra
        More entries for run.json.
    beside
        More files, by name: each a function that writes to the path it is given.
    progress
        Told how far the writing has come.

    Raises
    ------
    OutputError
        If it cannot be written; nothing is left behind then.
    """
    out = check_out(out, kind="a demonstration" if "truth_cells.csv" in (beside or {}) else "a measurement")
    with result_folder(out) as folder:
        progress("writing the result", 0.0)
        save(measurement, folder / "result.h5")
        write_columns_csv(measurement.columns, folder / "columns.csv")
        write_cells_csv(
            measurement.cells, folder / "cells.csv", more=cell_findings_table(measurement.findings, measurement.cells)
        )
        for name, table in _tables(measurement).items():
            write_table(table, folder / name)
        for name, write in (beside or {}).items():
            write(folder / name)
        progress("writing the result", 0.2)
        drawn = render_figures(measurement, formats=tuple(dict.fromkeys(("png", *formats))))
        write_figures(measurement, folder, rendered=drawn)
        progress("writing the result", 0.7)
        write_report(measurement, folder / "report.html", rendered=drawn)
        write_run_json(folder, measurement.record, extra={"summary": overview(measurement), **(extra or {})})
        progress("writing the result", 1.0)
    return out


def _tables(measurement: Measurement) -> dict[str, Table]:
    """Return the tables of what was looked for besides columns and cells, by file name."""
    found, pixel_size_pm = measurement.findings, measurement.cells.pixel_size_pm
    tables: dict[str, Table] = {}
    if found.maps is not None:
        tables["domains.csv"] = domains_table(found.maps.domains)
        tables["walls.csv"] = walls_table(found.maps.walls, pixel_size_pm=pixel_size_pm)
        tables["wall_points.csv"] = wall_points_table(found.maps.walls)
        tables["anomalies.csv"] = anomalies_table(found.maps.anomalies)
    if found.tilt is not None:
        tables["tilt.csv"] = tilt_table(found.tilt, pixel_size_pm=pixel_size_pm)
    if found.layers is not None:
        tables["layers.csv"] = layers_table(found.layers, pixel_size_pm=pixel_size_pm)
    if found.sites is not None:
        tables["sites.csv"] = sites_table(found.sites.columns)
    if found.places is not None:
        tables["places.csv"] = places_table(found.places)
    return tables


def report(measurement: Measurement | Unmixed | ScanResult, path: str | Path) -> Path:
    """Write the report of a measurement, of unmixing or of a mapped scan as one HTML file; return its path.

    Parameters
    ----------
    measurement
        What `dipolar.measure_image`, `unmix_image`, `map_scan` or `load` returned.
    path
        The file, or an existing folder in which it is called report.html.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = Path(path)
    path = path / "report.html" if path.is_dir() else path
    if isinstance(measurement, Unmixed):
        return write_unmix_report(measurement, path)
    if isinstance(measurement, ScanResult):
        return write_scan_report(measurement, path)
    return write_report(measurement, path)


def overview(measurement: Measurement) -> dict[str, Any]:
    """Return counts, calibration, reference, gain check and summary as plain values, for ``--json`` and run.json."""
    return {
        "image": measurement.image.name,
        "columns": len(measurement.columns.flags),
        "cells": len(measurement.cells.flags),
        "calibration": asdict(measurement.calibration),
        "reference": None if measurement.reference is None else asdict(measurement.reference),
        "gain_check": None if measurement.gain_check is None else asdict(measurement.gain_check),
        "summary": dict(measurement.summary),
        "findings": findings_overview(measurement),
        "notes": list(measurement.record.notes),
    }


def headline(measurement: Measurement) -> list[str]:
    """Return what was found, in a few lines."""
    cells, known = measurement.cells, measurement.summary
    scale, unit = (1.0, "px") if cells.pixel_size_pm is None else (cells.pixel_size_pm, "pm")
    usable = len(cells.flags) - int(known["cells_flagged"] or 0)
    lines = unlike_lines(measurement)
    lines.append(
        f"{len(measurement.columns.flags)} columns, {len(cells.flags)} cells, {usable} of them without flags, "
        f"in {measurement.image.name}"
    )
    length, sigma = known[f"displacement_median_{unit}"], known[f"displacement_sigma_median_{unit}"]
    if length is not None and sigma is not None and len(lines) == 1:
        lines.append(f"polar displacement: median {length:.3g} {unit}, sigma {sigma:.2g} {unit} per component")
    lines.append(_calibration(measurement))
    if measurement.reference is not None:
        dy, dx = (scale * value for value in measurement.reference.offset_px)
        sy, sx = (scale * value for value in measurement.reference.offset_sigma_px)
        lines.append(f"offset of the reference, removed: dy {dy:.2f} ± {sy:.2f}, dx {dx:.2f} ± {sx:.2f} {unit}")
    lines += findings_headline(measurement)
    check = measurement.gain_check
    if check is not None:
        (gain_y, gain_x), (sigma_y, sigma_x) = check.gain, check.gain_sigma
        lines.append(f"gain on this image: dy {gain_y:.3f} ± {sigma_y:.3f}, dx {gain_x:.3f} ± {sigma_x:.3f}")
    return lines


def _calibration(measurement: Measurement) -> str:
    calibration = measurement.calibration
    if calibration.pixel_size_pm is None:
        return "pixel size unknown, lengths in px; for pm give --pixel-size-pm or --lattice-pm"
    origin = {
        "file": "from the file; check it with --lattice-pm",
        "option": "as given",
        "lattice": f"from the lattice, {calibration.measured_lattice_px:.3f} px",
        "structure": f"from the cell of the structure, {calibration.measured_lattice_px:.3f} px (root of its area)",
    }[calibration.source]
    return f"pixel size {calibration.pixel_size_pm:.4g} pm, {origin}"
