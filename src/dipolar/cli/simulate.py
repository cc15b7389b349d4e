"""``dipolar simulate``: data with its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from dipolar.cli import show
from dipolar.cli.options import chosen, going_on, show_settings
from dipolar.recipes.scan_settings_simulate import SimulateScanSettings
from dipolar.recipes.settings import SimulateSettings
from dipolar.recipes.tilt_library_settings import TiltLibrarySettings

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


@app.command
def tilt(
    *,
    out: Path,
    settings: Path | None = None,
    options: Annotated[TiltLibrarySettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Simulate a perovskite by multislice under tilted beams, at many thicknesses and foci: a library of its columns.

    With Ctrl-C it stops, and the same command goes on from there.

    Parameters
    ----------
    out
        Folder for library.npz, bias.csv and run.json, written whole or not at all; until then, work lies in OUT.work.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(TiltLibrarySettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.tilt_library_result import headline, overview, write_tilt_library_folder
    from dipolar.recipes.tilt_library_shipped import LIBRARY

    with going_on(out), show.progress_bars() as progress:
        result = write_tilt_library_folder(out, settings=wanted, progress=progress)
    path = result.out / LIBRARY
    if json:
        show.as_json({"status": "done", **overview(result), "library": str(path)})
        return
    for text in headline(result):
        show.line(text)
    show.line(str(path))
