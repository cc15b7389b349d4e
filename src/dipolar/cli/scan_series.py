"""``dipolar scan series``: domains and walls against time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dipolar.cli import show
from dipolar.cli.options import chosen, show_settings
from dipolar.recipes.scan_settings import ScanSeriesSettings


def series(
    results: list[Path],
    /,
    *,
    out: Path,
    settings: Path | None = None,
    options: Annotated[ScanSeriesSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Follow domains over scans of one place: the share of each class, and how far every wall has moved.

    Parameters
    ----------
    results
        Results of `dipolar scan map`, two or more, in the order the scans were taken, all with the same model.
    out
        Folder for fractions.csv, tracks.csv, series.png, result.h5 and run.json, written whole or not at all.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(ScanSeriesSettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.scan_series import follow_scans, headline_of, overview_of, target_of, write_series

    folder = target_of(out)
    with show.progress_bars() as progress:
        found = follow_scans(results, settings=wanted, progress=progress)
        write_series(found, folder, formats=wanted.figure_formats, progress=progress)
    if json:
        show.as_json({"status": "done", **overview_of(found), "out": str(folder.resolve())})
        return
    for text in headline_of(found):
        show.line(text)
    show.line(str(folder / "series.png"))
    for sentence in found.record.notes:
        show.note(f"note: {sentence}")
