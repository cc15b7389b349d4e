"""``dipolar simulate``: data with its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from dipolar.cli import show
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
