"""The labelling session: a journal that is only ever added to, and that a crash cannot take an answer from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from dipolar.core.errors import LabelError, SettingsError
from dipolar.core.scan_key import same_scan
from dipolar.core.scanning import Labels
from dipolar.label.entries import Entry, Given, labels_of, not_known_yet, standing, waiting
from dipolar.label.names import check_alike, clean
from dipolar.label.positions import Positions
from dipolar.label.storage import Owner, add, opened, owner_of, read, transaction


@dataclass(frozen=True, slots=True)
class Journal:
    """Questions and answers about one scan, in one SQLite file.

    The file is open only while a method runs, so that any number of threads and processes may share it. An answer is
    on the disk when `answer` returns.
    """

    path: Path
    """The file."""
    owner: Owner
    """The scan that it belongs to."""

    def entries(self) -> list[Entry]:
        """Return all rows, the oldest first.

        Raises
        ------
        FormatError
            The file is damaged.
        """
        with opened(self.path) as database:
            return read(database, self.path)[0]

    def labels(self) -> Labels:
        """Return all answers that stand, one row each, the oldest first."""
        return labels_of(self.entries(), key=self.owner.key, shape=self.owner.shape)

    def waiting(self, who: str = "") -> list[Entry]:
        """Return the questions that are not answered yet, the oldest first: to anybody, and to `who` alone."""
        return waiting(self.entries(), who)

    def ask(self, positions: Positions, *, strategy: str, who: str = "", repeat: bool = False) -> None:
        """Write down which positions are proposed; they wait until they are answered.

        Parameters
        ----------
        positions
            Probe positions (scan_y, scan_x).
        strategy
            How they were chosen.
        who
            Who is asked; "": anybody.
        repeat
            Whether they are labelled already, and asked again to see whether the answer is the same.

        Raises
        ------
        LabelError
            A position outside the scan.
        OutputError
            The journal cannot be written.
        """
        places = [(int(y), int(x)) for y, x in positions]
        for place in places:
            self.check_place(place, "a question")
        with opened(self.path) as database, transaction(database):
            entries, last = read(database, self.path)
            one = Entry(number=0, kind="question", position=(0, 0), said=strategy, who=who, at=now(), repeat=repeat)
            add(database, numbered([replace(one, position=place) for place in places], entries), last)

    def answer(self, given: Sequence[Given], *, source: str = "") -> list[Given]:
        """Write down answers, all of them or none, and return those that are new.

        Parameters
        ----------
        given
            Answers; any number about one position. A person may answer again, and then both stand.
        source
            File that they were read from: read again, it adds what it did not have before; see `not_known_yet`.

        Raises
        ------
        LabelError
            A position outside the scan, a label that is no name, or two names that differ by case or spaces alone.
        OutputError
            The journal cannot be written; none of the answers is kept.
        """
        for item in given:
            self.check_place(item.position, item.where)
        cleaned = [replace(item, label=clean(item.label, where=item.where), who=item.who.strip()) for item in given]
        with opened(self.path) as database, transaction(database):
            entries, last = read(database, self.path)
            there = [(answer.said, "in the journal") for answer in standing(entries)]
            check_alike([*there, *((item.label, item.where or "now") for item in cleaned)])
            new = not_known_yet(cleaned, entries, source=source) if source else cleaned
            add(database, numbered([answered(item, source) for item in new], entries), last)
        return new

    def undo(self, n: int = 1, *, who: str = "") -> list[Entry]:
        """Take back the last n answers that stand, and return them, the latest first.

        What is taken back stays in the journal, but counts no more, and its question waits again. To have it back,
        answer again.

        Parameters
        ----------
        n
            How many; where there are fewer, all of them.
        who
            Whose answers; "": anybody's.

        Raises
        ------
        SettingsError
            Fewer than one.
        OutputError
            The journal cannot be written.
        """
        if n < 1:
            raise SettingsError("one answer at least is taken back.", got=f"{n}", do="--undo 1")
        with opened(self.path) as database, transaction(database):
            entries, last = read(database, self.path)
            mine = [answer for answer in standing(entries) if who in ("", answer.who)]
            gone = mine[::-1][:n]
            rows = [
                Entry(number=0, kind="undo", position=item.position, said="", who=who, at=now(), about=item.number)
                for item in gone
            ]
            add(database, numbered(rows, entries), last)
        return gone

    def check_place(self, position: tuple[int, int], where: str) -> None:
        """Refuse a position outside the scan.

        Raises
        ------
        LabelError
            The message tells where it was written, and whether y and x may be exchanged.
        """
        (y, x), (height, width) = position, self.owner.shape
        if 0 <= y < height and 0 <= x < width:
            return
        exchanged = 0 <= x < height and 0 <= y < width
        raise LabelError(
            f"a label belongs to a position of the scan: scan_y 0 to {height - 1}, scan_x 0 to {width - 1}.",
            got=f"{where + ': ' if where else ''}scan_y {y}, scan_x {x}",
            do="exchange y and x, in the labels or as --scan-shape" if exchanged
            else "check that these are labels of this scan, counted from 0",
        )  # fmt: skip


def open_journal(path: str | Path, *, key: str, shape: tuple[int, int], name: str = "") -> Journal:
    """Open the journal of a scan, and make it where there is none.

    Parameters
    ----------
    path
        The file.
    key, shape, name
        Of the scan, as in `Scan`.

    Raises
    ------
    LabelError
        The journal belongs to another scan; it is left as it is.
    FormatError
        Another kind of file, or a damaged one.
    OutputError
        It cannot be made.
    """
    mine = Owner(key=key, shape=(int(shape[0]), int(shape[1])), name=name)
    found = existing(Path(path), new=mine)
    check_owner(found, mine)
    return found


def existing(path: str | Path, *, new: Owner | None = None) -> Journal:
    """Open a journal without its scan, for instance to look at its labels.

    Raises
    ------
    FormatError
        No such file, another kind of file, or a damaged one.
    """
    path = Path(path)
    with opened(path, new=new) as database:
        read(database, path)
        return Journal(path, owner_of(database, path))


def check_owner(journal: Journal, scan: Owner) -> None:
    """Refuse the journal of another scan.

    Raises
    ------
    LabelError
        The message tells whose it is.
    """
    its = journal.owner
    if its.shape != scan.shape:
        raise LabelError(
            "labels belong to the scan that they were given for, and this one has another shape.",
            got=f"{journal.path}: labels of {its.name or 'a scan'}, {its.shape[0]} × {its.shape[1]}; "
            f"{scan.name or 'this scan'} is {scan.shape[0]} × {scan.shape[1]}",
            do=f"--scan-shape {its.shape[0]},{its.shape[1]} if it is the same scan, or another --labels file",
        )
    if not same_scan(its.key, scan.key):
        raise LabelError(
            "labels belong to the scan that they were given for, and the patterns of this one are others.",
            got=f"{journal.path}: labels of {its.name or 'a scan'} ({its.key}), not of {scan.name or 'this scan'} "
            f"({scan.key})",
            do="open the scan that was labelled, or begin another --labels file",
        )


def positions_waiting(questions: Sequence[Entry]) -> Positions:
    """Return the positions of questions, each once, the oldest first."""
    places = list(dict.fromkeys(question.position for question in questions))
    return np.array(places, dtype=np.int32).reshape(-1, 2)


def answered(given: Given, source: str) -> Entry:
    """Return an answer as a row, yet without its number."""
    return Entry(
        number=0, kind="answer", position=given.position, said=given.label, who=given.who, at=now(), source=source
    )


def numbered(rows: Sequence[Entry], behind: Sequence[Entry]) -> list[Entry]:
    """Return rows with the numbers that follow."""
    return [replace(row, number=number) for number, row in enumerate(rows, start=len(behind) + 1)]


def now() -> str:
    """Return the time, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
