"""The labelling session of a scan: which positions to label next, answers in and out, and what they say together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.scanning import Labels, Scan
from dipolar.io.label_tables import LabelTable, read_labels, write_labels
from dipolar.label.agreement import Agreement, agreement_between, self_consistency
from dipolar.label.consensus import Consensus, consensus, per_class
from dipolar.label.entries import Entry, Given, labels_of
from dipolar.label.journal import Journal, check_owner, existing, open_journal, positions_waiting
from dipolar.label.names import check_alike, clean
from dipolar.label.storage import Owner, is_journal

MOST_TOLD = 10
"""Contradictions that are told one by one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Imported:
    """What became of a table of labels."""

    new: int
    """Answers that were written into the journal."""
    known: int
    """Answers that it had already."""
    unanswered: int
    """Rows without a label."""
    passed_over: int
    """Answers to positions that were not asked, where only those that were are wanted."""
    ignored: tuple[str, ...]
    """Columns that were not read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Session:
    """How far the labelling of a scan has come."""

    labels: Labels
    """All answers that stand."""
    agreed: Consensus
    """One label per position."""
    consistency: tuple[Agreement, ...]
    """Of each person with himself."""
    agreement: tuple[Agreement, ...]
    """Of every two people."""
    waiting: int
    """Positions that were suggested and are not labelled yet."""


def journal_of(scan: Scan, path: str | Path, *, table: str | Path | None = None) -> Journal:
    """Open the journal of a scan; make it where there is none.

    Parameters
    ----------
    scan
        The scan.
    path
        The journal.
    table
        What is to be taken in: where it would be refused, no journal is made for it.

    Raises
    ------
    LabelError
        It belongs to another scan, or the table holds labels that are none of this one.
    FormatError
        It is no journal, or a damaged one; or the table cannot be read.
    OutputError
        It cannot be made.
    """
    if table is not None and not is_journal(Path(path)):
        fitting(scan, table)
    return open_journal(path, key=scan.key, shape=scan.shape, name=scan.name)


def labels_for(scan: Scan, path: str | Path) -> Labels:
    """Return the labels of a scan from its journal, or from a table of labels.

    Parameters
    ----------
    scan
        The scan; nothing of its patterns is read.
    path
        A journal, or a CSV or YAML file as for `read_labels`, which cannot say of which scan it is.

    Raises
    ------
    LabelError
        Labels of another scan or outside this one, or names that differ by case or spaces alone.
    FormatError
        The file cannot be read.
    """
    path = Path(path)
    if is_journal(path) or not path.is_file():
        journal = existing(path)
        check_owner(journal, Owner(key=scan.key, shape=scan.shape, name=scan.name))
        return journal.labels()
    rows = [
        Entry(number=place, kind="answer", position=item.position, said=item.label, who=item.who, at="")
        for place, item in enumerate(fitting(scan, path), start=1)
    ]
    return labels_of(rows, key=scan.key, shape=scan.shape)


def fitting(scan: Scan, path: str | Path) -> list[Given]:
    """Return the answers in a table, all of which can be answers about this scan.

    Raises
    ------
    LabelError
        An answer outside the scan, or two names that differ by case or spaces alone; the message names the line.
    FormatError
        The table cannot be read.
    """
    given, mine = given_in(read_labels(path)), Owner(key=scan.key, shape=scan.shape, name=scan.name)
    for item in given:
        Journal(Path(path), mine).check_place(item.position, item.where)
    check_alike((item.label, item.where) for item in given)
    return given


def take_in(journal: Journal, path: str | Path, *, who: str = "", asked: bool = False) -> Imported:
    """Write the answers of a table into the journal, all of them or none; those that it has already are passed over.

    Parameters
    ----------
    journal
        Of the scan.
    path
        CSV or YAML, as for `read_labels`.
    who
        Who gave the answers of which the table does not say it.
    asked
        Whether only answers to positions that were suggested, and wait for one, are wanted.

    Raises
    ------
    FormatError
        The table cannot be read; the message names the line.
    LabelError
        An answer outside the scan, or two names that differ by case or spaces alone; the message names the line.
    OutputError
        The journal cannot be written.
    """
    table = read_labels(path)
    given = given_in(table, who=who)
    wanted = only_asked(given, journal) if asked else given
    new = journal.answer(wanted, source=str(Path(path).resolve()))
    return Imported(
        new=len(new),
        known=len(wanted) - len(new),
        unanswered=table.unanswered,
        passed_over=len(given) - len(wanted),
        ignored=table.ignored,
    )


def only_asked(given: list[Given], journal: Journal) -> list[Given]:
    """Return the answers to positions that wait for one."""
    waits = {entry.position for entry in journal.waiting()}
    return [item for item in given if item.position in waits]


def given_in(table: LabelTable, *, who: str = "") -> list[Given]:
    """Return the answers in a table; `who` gave those that have no name."""
    return [
        Given(
            position=row.position, label=clean(row.label, where=row.where), who=row.who or who.strip(), where=row.where
        )
        for row in table.rows
    ]


def hand_out(journal: Journal, table: str | Path) -> int:
    """Write all answers that stand as a table, and return how many; its ending says which layout.

    Raises
    ------
    OutputError
        The table cannot be written.
    """
    labels = journal.labels()
    write_labels(labels, table)
    return len(labels.label)


def session_of(journal: Journal) -> Session:
    """Return how far the labelling has come: classes, contradictions, agreement."""
    entries = journal.entries()
    labels = labels_of(entries, key=journal.owner.key, shape=journal.owner.shape)
    return Session(
        labels=labels,
        agreed=consensus(labels),
        consistency=self_consistency(labels),
        agreement=agreement_between(labels),
        waiting=len(positions_waiting(journal.waiting())),
    )


def told_of(session: Session) -> dict[str, Any]:
    """Return a session in plain values, for ``--json``."""
    return {
        "labels": len(session.labels.label),
        "positions": len({tuple(place) for place in session.labels.positions.tolist()}),
        "classes": per_class(session.agreed.labels),
        "waiting": session.waiting,
        "contradictions": [
            {
                "scan_y": item.position[0],
                "scan_x": item.position[1],
                "said": [{"who": who, "label": label} for who, label in item.said],
                "label": item.settled or None,
            }
            for item in session.agreed.contradictions
        ],
        "self_consistency": [agreement_told(item) for item in session.consistency],
        "agreement": [agreement_told(item) for item in session.agreement],
    }


def agreement_told(item: Agreement) -> dict[str, Any]:
    """Return an agreement in plain values."""
    return {
        "who": list(dict.fromkeys(item.between)),
        "pairs": item.pairs,
        "share": item.share,
        "share_sigma": item.share_sigma,
        "kappa": item.kappa,
        "kappa_sigma": item.kappa_sigma,
    }


def lines_of(session: Session) -> list[str]:
    """Return a session in a few lines for people."""
    counts = per_class(session.agreed.labels)
    agreed = len(session.agreed.labels.label)
    lines = [f"{agreed} positions labelled: " + ", ".join(f"{count} {name}" for name, count in counts.items())]
    if not agreed:
        lines = ["no position is labelled yet"]
    if session.waiting:
        lines.append(f"{session.waiting} suggested positions wait for a label")
    for item in session.agreed.contradictions[:MOST_TOLD]:
        said = ", ".join(f"{label} ({who})" if who else label for who, label in item.said)
        outcome = f"counts as {item.settled}" if item.settled else "is left out until one of them is said again"
        lines.append(f"contradiction at scan_y {item.position[0]}, scan_x {item.position[1]}: {said}; {outcome}")
    left = len(session.agreed.contradictions) - MOST_TOLD
    if left > 0:
        lines.append(f"and {left} more contradictions; --json tells all of them")
    for found in session.consistency:
        lines.append(f"{found.between[0] or 'labelled twice'}: the same label again {agreement_words(found)}")
    for found in session.agreement:
        lines.append(f"{' and '.join(name or 'unnamed' for name in found.between)} agree {agreement_words(found)}")
    return lines


def agreement_words(found: Agreement) -> str:
    """Return an agreement in words, with its standard error."""
    kappa = "" if np.isnan(found.kappa) else f", kappa {found.kappa:.2f}"
    sigma = "" if np.isnan(found.kappa_sigma) else f" ± {found.kappa_sigma:.2f}"
    return f"in {100 * found.share:.1f} ± {100 * found.share_sigma:.1f} % of {found.pairs} pairs{kappa}{sigma}"
