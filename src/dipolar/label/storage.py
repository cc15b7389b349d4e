"""The SQLite file of a journal: made, read, and added to, with one clear message for whatever goes wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dipolar.core.errors import DipolarError, FormatError, OutputError
from dipolar.label.entries import Entry, checksum

APPLICATION = 0x64_70_6C_62
"""Stands in the file's header, "dplb": says that an SQLite file is a journal of labels."""
VERSION = 1
HEADER = b"SQLite format 3\x00"
WAIT_S = 30.0
"""How long a process waits for another one that is writing."""
COLUMNS = "number, kind, scan_y, scan_x, said, who, at, source, about, again, checksum"
SCHEMA = (
    """CREATE TABLE scan (
    one INTEGER PRIMARY KEY CHECK (one = 1), key TEXT NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL,
    name TEXT NOT NULL)""",
    """CREATE TABLE entry (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('question', 'answer', 'undo')),
    scan_y INTEGER NOT NULL, scan_x INTEGER NOT NULL, said TEXT NOT NULL, who TEXT NOT NULL, at TEXT NOT NULL,
    source TEXT NOT NULL, about INTEGER NOT NULL, again INTEGER NOT NULL, checksum TEXT NOT NULL)""",
    "CREATE TRIGGER stays BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'a journal is only added to'); END",
    "CREATE TRIGGER remains BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'a journal is only added to'); END",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The scan that a journal belongs to."""

    key: str
    """`Scan.key`."""
    shape: tuple[int, int]
    """(scan_y, scan_x)."""
    name: str
    """File name of the scan when the journal was begun."""


def is_journal(path: Path) -> bool:
    """Return whether a file begins as an SQLite file does."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(HEADER)) == HEADER
    except OSError:
        return False


@contextmanager
def opened(path: Path, *, new: Owner | None = None) -> Iterator[sqlite3.Connection]:
    """Open a journal for a moment; make it first for `new`, where there is none.

    Every commit is on the disk when it returns. When the last process closes the file, all of it is in that one file.

    Raises
    ------
    FormatError
        Another kind of file, a damaged one, or one of a later version.
    OutputError
        The file cannot be made, opened or written; what was committed before stays.
    """
    exists = path.is_file() and path.stat().st_size > 0
    if exists and not is_journal(path):
        raise not_a_journal(path, "it is no SQLite file")
    if not exists and (new is None or path.with_name(f"{path.name}-wal").exists()):
        raise not_a_journal(path, "no such file, or an empty one")
    with told(path), closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as database:
        database.text_factory = lambda text: text.decode(
            errors="surrogateescape"
        )  # damaged text is told by its checksum
        database.execute("PRAGMA synchronous = FULL")
        if new is not None and is_empty(database):
            begin(database, new)
        check(database, path)
        yield database


def is_empty(database: sqlite3.Connection) -> bool:
    """Return whether nothing was ever laid out in the file, as when a process died while it was made."""
    return database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0


def begin(database: sqlite3.Connection, owner: Owner) -> None:
    """Lay out an empty journal, unless another process was faster."""
    database.execute("PRAGMA journal_mode = WAL")
    with transaction(database):
        if is_empty(database):
            for statement in SCHEMA:
                database.execute(statement)
            database.execute("INSERT INTO scan VALUES (1, ?, ?, ?, ?)", (owner.key, *owner.shape, owner.name))


def check(database: sqlite3.Connection, path: Path) -> None:
    """Refuse what is no journal of this version."""
    application = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise not_a_journal(path, "an SQLite file of another program")
    if version > VERSION:
        raise FormatError(
            f"this dipolar reads journals of labels up to version {VERSION}.",
            got=f"{path}: version {version}",
            do="install the dipolar that wrote it, or a later one",
        )


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Do everything in the block or nothing; other processes wait meanwhile."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # a full disk has rolled back by itself
            database.execute("ROLLBACK")
        raise


def owner_of(database: sqlite3.Connection, path: Path) -> Owner:
    """Return the scan that the journal belongs to.

    Raises
    ------
    FormatError
        The file does not say it any more.
    """
    found = database.execute("SELECT key, height, width, name FROM scan").fetchall()
    if len(found) != 1 or [type(value) for value in found[0]] != [str, int, int, str]:
        raise damaged(path, "it does not say of which scan it is")
    key, height, width, name = found[0]
    return Owner(key=key, shape=(height, width), name=name)


def read(database: sqlite3.Connection, path: Path) -> tuple[list[Entry], str]:
    """Return all rows, and the checksum of the last one; that of the scan where there is none.

    Raises
    ------
    FormatError
        A row that is not what was written; the message tells its number.
    """
    owner = owner_of(database, path)
    last = checksum((owner.key, *owner.shape, owner.name), "")
    entries = []
    for place, (*values, written) in enumerate(database.execute(f"SELECT {COLUMNS} FROM entry ORDER BY number"), 1):
        last = checksum(values, last)
        if values[0] != place or last != written:
            raise damaged(path, f"entry {place} is not what was written")
        number, kind, y, x, said, who, at, source, about, again = values
        entries.append(
            Entry(
                number=number, kind=kind, position=(y, x), said=said, who=who, at=at, source=source, about=about,
                repeat=bool(again),
            )
        )  # fmt: skip
    return entries, last


def add(database: sqlite3.Connection, entries: Sequence[Entry], last: str) -> None:
    """Write rows behind the last one, inside a transaction."""
    for entry in entries:
        values = (entry.number, entry.kind, *entry.position, entry.said, entry.who, entry.at, entry.source, entry.about,
                  int(entry.repeat))  # fmt: skip
        last = checksum(values, last)
        database.execute(f"INSERT INTO entry ({COLUMNS}) VALUES ({', '.join('?' * 11)})", (*values, last))


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite says into one message of ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if not getattr(error, "sqlite_errorcode", 0):  # not SQLite's, but a mistake of ours
            raise
        raise what_happened(path, error) from error


def what_happened(path: Path, error: sqlite3.Error) -> DipolarError:
    """Return the error to raise for one of SQLite's."""
    code = error.sqlite_errorcode & 0xFF  # the first byte is the kind of error
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return damaged(path, str(error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return OutputError(
            "the journal of labels is written by one process at a time.",
            got=f"{path}: another process has kept it for {WAIT_S:.0f} s",
            do="close the other program that has it open, and repeat",
        )
    return OutputError(
        "an answer counts once it is on the disk; what was in the journal before is intact.",
        got=f"{path}: {error}",
        do="free some space, or check permissions and the folder; then repeat",
    )


def damaged(path: Path, why: str) -> FormatError:
    """Return the error to raise for a damaged journal."""
    return FormatError(
        "the journal of labels is damaged, and none of it is used.",
        got=f"{path}: {why}",
        do="take a copy from before; what SQLite can still read is printed by: sqlite3 FILE .recover",
    )


def not_a_journal(path: Path, why: str) -> FormatError:
    """Return the error to raise for a file that is none."""
    return FormatError(
        "labels are kept in a journal, a file that `dipolar scan suggest` and `dipolar scan label` write.",
        got=f"{path}: {why}",
        do="dipolar scan label SCAN --labels NEW.labels --import FILE reads a table of labels into a journal",
    )
