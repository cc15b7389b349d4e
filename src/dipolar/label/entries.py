"""What stands in a journal of labels: questions, answers and answers taken back, each chained to the one before."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dipolar.core.scanning import Labels

Kind = Literal["question", "answer", "undo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An answer as somebody gives it, before it is in the journal."""

    position: tuple[int, int]
    """(scan_y, scan_x)."""
    label: str
    """Name of the class."""
    who: str = ""
    """Who says so; "" where nobody says."""
    where: str = ""
    """Line of a file or the like, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the journal, which is never changed."""

    number: int
    """Rows are numbered from 1 in the order they were written."""
    kind: Kind
    """A question, an answer, or an undo, which takes an answer back."""
    position: tuple[int, int]
    """(scan_y, scan_x)."""
    said: str
    """Label of an answer, strategy of a question."""
    who: str
    """Who answered, took back, or is asked; "" for anybody."""
    at: str
    """When: ISO 8601, UTC."""
    source: str = ""
    """File that an answer was read from."""
    about: int = 0
    """Number of the answer that an undo takes back."""
    repeat: bool = False
    """Whether a question is asked again to see whether the answer is the same."""


def checksum(values: Sequence[str | int | float | bytes | None], before: str) -> str:
    """Return the checksum of a row, and of all before it: so that none can change or be missing unseen.

    Parameters
    ----------
    values
        What stands in the row; in a damaged file anything.
    before
        Checksum of the row before.
    """
    return hashlib.sha256(f"{before}{json.dumps(list(values), default=repr)}".encode()).hexdigest()[:32]


def standing(entries: Sequence[Entry]) -> list[Entry]:
    """Return the answers that were not taken back, the oldest first."""
    gone = {entry.about for entry in entries if entry.kind == "undo"}
    return [entry for entry in entries if entry.kind == "answer" and entry.number not in gone]


def waiting(entries: Sequence[Entry], who: str = "") -> list[Entry]:
    """Return the questions that nobody answered yet, the oldest first.

    An answer settles every question about its position that was asked before it, of the one who answers or of anybody;
    one without a name settles all. When it is taken back they wait again.

    Parameters
    ----------
    entries
        The journal.
    who
        Questions to this person and to anybody; "": all.
    """
    last: dict[tuple[int, int], dict[str, int]] = {}
    for answer in standing(entries):
        last.setdefault(answer.position, {})[answer.who] = answer.number
    found = []
    for entry in entries:
        if entry.kind != "question" or (who and entry.who not in ("", who)):
            continue
        answered = last.get(entry.position, {})
        by = answered.values() if not entry.who else (answered.get(entry.who, 0), answered.get("", 0))
        if max(by, default=0) < entry.number:
            found.append(entry)
    return found


def not_known_yet(given: Sequence[Given], entries: Sequence[Entry], *, source: str) -> list[Given]:
    """Return the answers of a file that the journal does not have yet.

    A file that has grown since it was read, and still holds all that came from it, adds what is new in it. Of any other
    file, what a person said of a position already counts again only where a question about it waits; but a file that
    names a position twice says it twice.

    Parameters
    ----------
    given
        Rows of the file, in order.
    entries
        The journal.
    source
        The file.
    """
    answers = standing(entries)
    left = list(given)
    read = Counter((item.position, item.said, item.who) for item in answers if item.source == source)
    if read and read <= Counter((item.position, item.label, item.who) for item in given):
        left = []
        for item in given:
            row = (item.position, item.label, item.who)
            if read[row]:
                read[row] -= 1
            else:
                left.append(item)
        answers = [item for item in answers if item.source != source]
    known = Counter((item.position, item.said, item.who) for item in answers)
    asked = {(item.position, item.who) for item in waiting(entries)}
    new = []
    for item in left:
        row = (item.position, item.label, item.who)
        people = {"", item.who} if item.who else {name for place, name in asked if place == item.position}
        question = {(item.position, name) for name in people} & asked
        if known[row] and not question:
            known[row] -= 1
            continue
        asked -= question
        new.append(item)
    return new


def labels_of(entries: Sequence[Entry], *, key: str, shape: tuple[int, int]) -> Labels:
    """Return the standing answers as labels, classes in the order of their first answer.

    Parameters
    ----------
    entries
        The journal.
    key, shape
        Of the scan.
    """
    answers = standing(entries)
    names = tuple(dict.fromkeys(answer.said for answer in answers))
    return Labels(
        key=key,
        shape=shape,
        names=names,
        positions=np.array([answer.position for answer in answers], dtype=np.int32).reshape(-1, 2),
        label=np.array([names.index(answer.said) for answer in answers], dtype=np.int32),
        who=tuple(answer.who for answer in answers),
    )
