"""``dipolar scan map``: domains of a whole scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dipolar.cli import show
from dipolar.cli.options import chosen, show_settings
from dipolar.recipes.scan_settings import ScanMapSettings


def map_(
    scan: Path,
    /,
    *,
    model: Path | None = None,
    labels: Path | None = None,
    out: Path | None = None,
    settings: Path | None = None,
    options: Annotated[ScanMapSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Map domains: the class of every diffraction pattern with its probability, walls, and conventional images.

    With Ctrl-C it stops, and the same command goes on from there.

    Parameters
    ----------
    scan
        A scan, as for `dipolar scan info`.
    model
        What `dipolar scan train` wrote. Not given: no label is used, and ghosts alone tell horizontal, vertical and
        none.
    labels
        Labels to be shown on the map: a journal, or a CSV or YAML table.
    out
        Folder for the result, written whole or not at all; until then, finished blocks lie in OUT.work. Default:
        NAME.dipolar in the current folder.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(ScanMapSettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.scan_map_result import blocks_kept, headline_of, overview_of, target_of, work_folder, write_map

    folder = target_of(out, scan)
    work = work_folder(folder)
    early: list[str] = []

    def tell(sentence: str) -> None:
        early.append(sentence)
        show.note(f"note: {sentence}")

    try:
        with show.progress_bars() as progress:
            result = write_map(scan, model, folder, labels=labels, settings=wanted, progress=progress, tell=tell)
    except KeyboardInterrupt:
        kept = f"what was finished is kept in {work}, and the same command goes on from there"
        raise KeyboardInterrupt(f"interrupted; {kept}" if blocks_kept(folder) else "") from None
    if json:
        show.as_json({"status": "done", **overview_of(result), "out": str(folder.resolve())})
        return
    for text in headline_of(result):
        show.line(text)
    show.line(str(folder / "report.html"))
    for sentence in (note for note in result.record.notes if note not in early):
        show.note(f"note: {sentence}")
