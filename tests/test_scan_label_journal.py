"""The journal of labels: what was answered stays, whatever dies, fills up or is damaged."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dipolar.core.errors import FormatError, LabelError, OutputError, SettingsError
from dipolar.label.entries import Given
from dipolar.label.journal import Journal, existing, open_journal, positions_waiting

SHAPE = (206, 34)
WRITER = """
import sys
from dipolar.label.entries import Given
from dipolar.label.journal import open_journal
journal = open_journal(sys.argv[1], key="k", shape=(206, 34))
first, count = int(sys.argv[2]), int(sys.argv[3])
for number in range(first, first + count):
    journal.answer([Given(position=divmod(number, 34), label="ab"[number % 2], who=sys.argv[4])])
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""
FULL = """
import resource, signal, sys
from dipolar.core.errors import DipolarError
from dipolar.label.entries import Given
from dipolar.label.journal import existing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    existing(sys.argv[1]).answer([Given(position=(y, x), label="a" * 60) for y in range(100) for x in range(34)])
except DipolarError as error:
    print(type(error).__name__, error)
"""


def journal_at(path: Path) -> Journal:
    return open_journal(path, key="k", shape=SHAPE, name="film.h5")


def say(journal: Journal, *said: tuple[int, int, str], who: str = "") -> None:
    journal.answer([Given(position=(y, x), label=label, who=who) for y, x, label in said])


def rows(journal: Journal) -> list[tuple[int, int, str, str]]:
    labels = journal.labels()
    return [
        (y, x, labels.names[number], who)
        for (y, x), number, who in zip(labels.positions.tolist(), labels.label.tolist(), labels.who, strict=True)
    ]


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def test_answers_come_back_in_order_with_their_names(tmp_path):
    journal = journal_at(tmp_path / "film.labels")
    assert rows(journal) == [] and journal.labels().names == ()
    say(journal, (3, 4, " vertical "), (5, 6, "none"), who="ann")
    say(journal, (3, 4, "none"), who="bob")
    again = journal_at(tmp_path / "film.labels")
    assert rows(again) == [(3, 4, "vertical", "ann"), (5, 6, "none", "ann"), (3, 4, "none", "bob")]
    assert again.labels().key == "k" and again.labels().shape == SHAPE
    assert [path.name for path in tmp_path.iterdir()] == ["film.labels"]  # one file, to copy or to send


def test_the_journal_is_safe_by_its_own_settings(tmp_path):
    journal = journal_at(tmp_path / "film.labels")
    say(journal, (0, 0, "a"))
    database = sqlite3.connect(journal.path)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    for change in ("UPDATE entry SET said = 'b'", "DELETE FROM entry"):
        with pytest.raises(sqlite3.IntegrityError, match="only added to"):
            database.execute(change)
    database.close()


def test_undo_takes_back_the_last_answers_and_their_questions_wait_again(tmp_path):
    journal = journal_at(tmp_path / "film.labels")
    journal.ask(np.array([[1, 1], [2, 2]], dtype=np.int32), strategy="grid")
    say(journal, (1, 1, "a"), (2, 2, "b"), who="ann")
    say(journal, (1, 1, "b"), who="bob")
    assert journal.waiting() == []
    assert [(item.position, item.said) for item in journal.undo(1, who="ann")] == [((2, 2), "b")]
    assert rows(journal) == [(1, 1, "a", "ann"), (1, 1, "b", "bob")]
    assert positions_waiting(journal.waiting()).tolist() == [[2, 2]]
    say(journal, (2, 2, "b"), who="ann")
    assert journal.waiting() == [] and len(journal.undo(99)) == 3 and rows(journal) == []
    assert len(journal.entries()) == 2 + 3 + 1 + 1 + 3  # all of it is still there
    with pytest.raises(SettingsError, match="one answer at least"):
        journal.undo(0)


def test_a_question_to_one_person_is_settled_by_that_person_alone(tmp_path):
    journal = journal_at(tmp_path / "film.labels")
    journal.ask(np.array([[1, 1]], dtype=np.int32), strategy="grid", who="ann")
    journal.ask(np.array([[2, 2]], dtype=np.int32), strategy="grid")
    say(journal, (1, 1, "a"), (2, 2, "a"), who="bob")
    assert (
        positions_waiting(journal.waiting()).tolist() == [[1, 1]] == positions_waiting(journal.waiting("ann")).tolist()
    )
    assert journal.waiting("bob") == []
    say(journal, (1, 1, "a"), who="ann")
    assert journal.waiting() == []


def test_a_blind_repeat_waits_although_the_position_is_labelled(tmp_path):
    journal = journal_at(tmp_path / "film.labels")
    say(journal, (1, 1, "a"), who="ann")
    journal.ask(np.array([[1, 1]], dtype=np.int32), strategy="repeat", who="ann", repeat=True)
    assert positions_waiting(journal.waiting("ann")).tolist() == [[1, 1]]
    new = journal.answer([Given(position=(1, 1), label="a", who="ann")], source="second.csv")
    assert len(new) == 1 and journal.waiting() == [] and len(rows(journal)) == 2


def given(*said: tuple[int, int, str]) -> list[Given]:
    return [Given(position=(y, x), label=label) for y, x, label in said]


def test_a_table_that_is_read_again_adds_what_is_new(tmp_path):
    journal = journal_at(tmp_path / "film.labels")
    first = given((0, 0, "a"), (0, 1, "b"), (0, 0, "a"))  # twice in one table: looked at twice
    assert len(journal.answer(first, source="t.csv")) == 3
    assert len(journal.answer(first, source="t.csv")) == 0
    assert len(journal.answer([*first, *given((0, 0, "a"))], source="t.csv")) == 1  # it has grown
    assert len(journal.answer(given((0, 1, "b"), (0, 2, "a")), source="other.csv")) == 1  # a copy of one row
    assert len(journal.answer(given((0, 1, "a")), source="other.csv")) == 1  # contradicts
    journal.undo(1)
    assert len(journal.answer(given((0, 1, "a")), source="other.csv")) == 1  # and comes back
    assert len(journal.answer(given((0, 1, "a")))) == 1  # said by hand: always new


def test_the_journal_of_another_scan_is_refused_and_stays(tmp_path):
    path = tmp_path / "film.labels"
    say(journal_at(path), (1, 1, "a"))
    before = path.read_bytes()
    with pytest.raises(LabelError, match=r"another shape(.|\n)*206 × 34(.|\n)*--scan-shape 206,34"):
        open_journal(path, key="k", shape=(34, 206))
    with pytest.raises(LabelError, match=r"patterns of this one are others(.|\n)*film.h5"):
        open_journal(path, key="other", shape=SHAPE)
    assert path.read_bytes() == before and len(rows(existing(path))) == 1


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ((206, 0, "a"), r"scan_y 0 to 205(.|\n)*line 7: scan_y 206"),
        ((33, 205, "a"), r"exchange y and x"),
        ((-1, 0, "a"), r"scan_y -1"),
        ((0, 0, "  "), r"one line of 1 to 80(.|\n)*line 7"),
        ((0, 0, "a\nb"), r"one line of 1 to 80"),
        ((0, 0, "Vertical"), r'"vertical" \(in the journal\) and "Vertical" \(line 7\)'),
        ((0, 0, "ver tical"), r"case, spaces or underscores"),
    ],
)
def test_bad_answers_are_refused_by_their_line_and_none_of_the_table_is_kept(tmp_path, said, match):
    journal = journal_at(tmp_path / "film.labels")
    say(journal, (9, 9, "vertical"))
    y, x, label = said
    with pytest.raises(LabelError, match=match):
        journal.answer([Given(position=(1, 1), label="none"), Given(position=(y, x), label=label, where="line 7")])
    assert len(rows(journal)) == 1


def test_a_killed_process_loses_no_answer_that_it_was_told_of(tmp_path):
    path = tmp_path / "film.labels"
    with start(path, 0, 5000, "ann") as process:
        told = [int(process.stdout.readline()) for _ in range(12)]
        os.kill(process.pid, signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().split()]
    kept = [y * 34 + x for y, x, _, _ in rows(journal_at(path))]
    assert kept[: len(told)] == told and len(kept) - len(told) <= 1  # one may be on the disk and not told yet
    say(journal_at(path), (205, 33, "a"))
    assert len(rows(existing(path))) == len(kept) + 1


def test_two_processes_and_this_one_write_at_once(tmp_path):
    path = tmp_path / "film.labels"
    processes = [start(path, first, 25, who) for first, who in ((0, "ann"), (1000, "bob"))]
    journal, mine = journal_at(path), 0
    while any(process.poll() is None for process in processes):
        say(journal, (200, mine % 34, "a"), who="me")
        mine += 1
        time.sleep(0.01)
    assert [process.wait() for process in processes] == [0, 0]
    for process in processes:
        process.stdout.close()
    found = rows(journal)
    assert len(found) == 50 + mine
    assert [y * 34 + x for y, x, _, who in found if who == "bob"] == list(range(1000, 1025))
    assert [y * 34 + x for y, x, _, who in found if who == "ann"] == list(range(25))


def test_a_full_disk_is_told_once_and_the_journal_is_intact(tmp_path):
    path = tmp_path / "film.labels"
    say(journal_at(path), *((y, 0, "a") for y in range(20)))
    size = path.stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(size + 40_000)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("OutputError an answer counts once it is on the disk")
    assert "intact" in done.stdout and "free some space" in done.stdout
    assert len(rows(existing(path))) == 20
    say(existing(path), (30, 0, "b"))
    assert len(rows(existing(path))) == 21


def test_sqlites_own_word_for_a_full_disk_is_told_too(tmp_path, monkeypatch):
    journal = journal_at(tmp_path / "film.labels")
    say(journal, (0, 0, "a"))
    connect = sqlite3.connect

    def small(*arguments, **options):
        database = connect(*arguments, **options)
        database.execute(f"PRAGMA max_page_count = {database.execute('PRAGMA page_count').fetchone()[0]}")
        return database

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(OutputError, match=r"intact(.|\n)*full"):
        say(journal, *((y, x, "a" * 60) for y in range(20) for x in range(30)))
    monkeypatch.undo()
    assert rows(journal) == [(0, 0, "a", "")]


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(OutputError, match=r"no/film.labels(.|\n)*permissions and the folder"):
        journal_at(tmp_path / "no" / "film.labels")


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_a_flipped_byte_or_a_lost_end_is_found(tmp_path, where):
    path = tmp_path / "film.labels"
    say(journal_at(path), *((y, x, "vertical") for y in range(20) for x in range(10)))
    whole = path.read_bytes()
    content = [place for place in range(len(whole)) if whole[place : place + 8] == b"vertical"]
    place = content[int(where * len(content))]
    path.write_bytes(whole[:place] + b"W" + whole[place + 1 :])
    with pytest.raises(FormatError, match=r"entry \d+ is not what was written"):
        journal_at(path)
    path.write_bytes(whole[: int(where * len(whole))])
    with pytest.raises(FormatError, match=r"damaged"):
        journal_at(path)
    path.write_bytes(whole)
    assert len(rows(journal_at(path))) == 200


def test_what_is_no_journal_is_refused_and_not_touched(tmp_path):
    table, other = tmp_path / "answers.csv", tmp_path / "other.sqlite"
    table.write_text("scan_y,scan_x,label\n")
    with pytest.raises(FormatError, match=r"no SQLite file(.|\n)*--import FILE"):
        journal_at(table)
    assert table.read_text() == "scan_y,scan_x,label\n"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE entry (number INTEGER)")
    database.commit()
    database.close()
    with pytest.raises(FormatError, match=r"another program"):
        journal_at(other)
    with pytest.raises(FormatError, match=r"no such file"):
        existing(tmp_path / "none.labels")
    assert not (tmp_path / "none.labels").exists()


def test_an_empty_file_and_one_that_a_dying_process_left_become_a_journal(tmp_path):
    empty, begun = tmp_path / "empty.labels", tmp_path / "begun.labels"
    empty.touch()
    database = sqlite3.connect(begun)
    database.execute("PRAGMA journal_mode = WAL")
    database.close()
    for path in (empty, begun):
        say(journal_at(path), (0, 0, "a"))
        assert len(rows(existing(path))) == 1
