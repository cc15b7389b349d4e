"""``dipolar scan label``: answers into the journal of a scan, and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from dipolar.cli import show
from dipolar.cli.options import chosen
from dipolar.core.errors import SettingsError
from dipolar.recipes.scan_label_settings import LabelSettings


def label(
    scan: Path,
    /,
    *,
    labels: Path,
    import_: Annotated[Path | None, Parameter(name="--import")] = None,
    asked: Annotated[bool, Parameter(negative="")] = False,
    export: Path | None = None,
    undo: int | None = None,
    options: Annotated[LabelSettings | None, Parameter(name="*")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Take labels of a 4D-STEM scan into its journal, or write them out; and tell what is labelled.

    Labels are kept by probe position and scan. Every answer is kept, two of one position too: the class that most of
    them name counts. A table is taken in whole or not at all, and one that was read before adds what is new in it.

    Parameters
    ----------
    scan
        The scan, as for `dipolar scan info`.
    labels
        Journal of the labels of this scan; it is made where there is none.
    import_
        Table to take in: CSV with the columns scan_y,scan_x,label and perhaps who, counted from 0, others being left
        alone; the published CSV, x,y,label; or the published YAML, whose file names begin with x_y_.
    asked
        Of that table, take in only what was suggested and waits for a label: as of truth_domains.csv, which has the
        class of every position of a simulated scan.
    export
        Table to write: all answers, as CSV, or in the published layout where its name ends in .yaml.
    undo
        Take back the last answers, so many; of --who alone, where that is given. It happens before anything else.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(LabelSettings(), None, options)
    if asked and import_ is None:
        raise SettingsError("asked says something only with --import.", got="--asked", do="--import TABLE --asked")

    from dipolar.io.scans import open_scan
    from dipolar.recipes.scan_label import hand_out, journal_of, lines_of, session_of, take_in, told_of

    journal = journal_of(open_scan(scan, **wanted.opening), labels, table=import_)
    told: dict[str, Any] = {}
    if undo is not None:
        gone = journal.undo(undo, who=wanted.who)
        told["undone"] = [{"scan_y": item.position[0], "scan_x": item.position[1], "label": item.said} for item in gone]
        show.note(f"{len(gone)} answers taken back")
    if import_ is not None:
        came = take_in(journal, import_, who=wanted.who, asked=asked)
        told |= {"imported": came.new, "known": came.known, "unanswered": came.unanswered}
        told |= {"not_asked": came.passed_over, "columns_ignored": list(came.ignored)}
        known = f", {came.known} were known" if came.known else ""
        without = f", {came.unanswered} have no label yet" if came.unanswered else ""
        others = f", {came.passed_over} are of positions that were not asked" if came.passed_over else ""
        show.note(f"{came.new} answers taken in{known}{without}{others}")
        if came.ignored:
            show.note(f"columns that were not read: {', '.join(came.ignored)}")
    if export is not None:
        told |= {"exported": hand_out(journal, export), "out": str(export.resolve())}
        show.note(f"{told['exported']} answers written: {export}")
    session = session_of(journal)
    if json:
        show.as_json({"status": "done", **told, **told_of(session), "journal": str(labels.resolve())})
        return
    for text in lines_of(session):
        show.line(text)
