"""``dipolar simulate``: data with its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from dipolar.cli import show
from dipolar.recipes.scan_settings_simulate import SimulateScanSettings
from dipolar.recipes.settings import SimulateSettings

app = App(name="simulate", help="Make data with its truth beside it.", help_format="plaintext")


@app.command
def image(
    *,
    out: Path,
    options: Annotated[SimulateSettings | None, Parameter(name="*")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Simulate the image of a ferroelectric film, and write its true columns and cells beside it.

    Parameters
    ----------
    out
        Folder for the image, truth_columns.csv, truth_cells.csv and run.json, written whole or not at all.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    from dipolar.recipes.simulate import write_simulated

    with show.progress_bars() as progress:
        simulated, path = write_simulated(out, settings=options, progress=progress)
    columns, cells = len(simulated.truth_columns.flags), len(simulated.truth_cells.flags)
    if json:
        show.as_json({"status": "done", "columns": columns, "cells": cells, "image": str(path.resolve())})
        return
    show.line(f"{columns} columns, {cells} cells")
    show.line(str(path))


@app.command
def scan(
    *,
    out: Path,
    options: Annotated[SimulateScanSettings | None, Parameter(name="*")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Simulate a 4D-STEM scan of a crystal with domains, or a series of scans, and write the truth beside it.

    Patterns are written piece by piece: a scan may be larger than memory.

    Parameters
    ----------
    out
        Folder for scan.h5, truth_domains.csv, truth_walls.csv and run.json, written whole or not at all; of a series,
        scan_000.h5 and so on, each with its tables, and truth_series.csv.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    from dipolar.recipes.simulate_scan import write_simulated_scan

    with show.progress_bars() as progress:
        written = write_simulated_scan(out, settings=options, progress=progress)
    if json:
        scans = [str(path.resolve()) for path in written.scans]
        fractions = {name: round(share, 6) for name, share in written.fractions.items()}
        show.as_json({"status": "done", "patterns": written.patterns, "scans": scans, "fractions": fractions})
        return
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in written.fractions.items())
    show.line(f"{written.patterns} patterns: {shares}")
    for path in written.scans:
        show.line(str(path))
