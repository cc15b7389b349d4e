"""``dipolar scan suggest``: which positions of a scan to label next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dipolar.cli import show
from dipolar.cli.options import chosen, show_settings
from dipolar.recipes.scan_label_settings import SuggestSettings


def suggest(
    scan: Path,
    /,
    *,
    labels: Path,
    number: Annotated[int, Parameter(name=("--number", "-n"))] = 10,
    pictures: Path | None = None,
    settings: Path | None = None,
    options: Annotated[SuggestSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Say which positions of a 4D-STEM scan to label next, as CSV: scan_y,scan_x.

    The journal remembers what was asked: until they are labelled, the same positions are suggested. Add a column label
    to the table, and hand it to `dipolar scan label --import`.

    Parameters
    ----------
    scan
        The scan, as for `dipolar scan info`.
    labels
        Journal of the labels of this scan; it is made where there is none.
    number
        How many positions; fewer where the scan has no more.
    pictures
        Folder for a picture of each of these patterns, y03_x120.png for scan_y 3 and scan_x 120, and all of them on one
        sheet, sheet.png.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, on standard error.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(SuggestSettings(), settings, options)
    if show_:
        show_settings(wanted, json=True)  # standard output is the table

    from dipolar.io.scans import open_scan
    from dipolar.recipes.scan_label import journal_of
    from dipolar.recipes.scan_suggest import suggest as ask

    opened = open_scan(scan, **wanted.opening)
    journal = journal_of(opened, labels)
    drawn: list[Path] = []
    with show.progress_bars() as progress:
        found = ask(opened, journal, number, wanted, progress=progress)
        if pictures is not None:
            from dipolar.recipes.scan_pictures import write_pictures

            drawn = write_pictures(opened, found.positions, pictures, progress=progress)
    places = found.positions.tolist()
    if json:
        asked = [{"scan_y": y, "scan_x": x} for y, x in places]
        show.as_json(
            {
                "status": "done",
                "positions": asked,
                "strategy": found.strategy,
                "left": found.left,
                "labels": str(labels.resolve()),
                "pictures": [str(path.resolve()) for path in drawn],
            }
        )
        return
    show.line("scan_y,scan_x")
    for y, x in places:
        show.line(f"{y},{x}")
    waited = f", {found.waited} of them suggested before and not labelled yet" if found.waited else ""
    show.note(f"{len(places)} positions by {found.strategy}{waited}; {found.left} others are not labelled")
    if drawn:
        show.note(f"look at them: {drawn[0]}")
