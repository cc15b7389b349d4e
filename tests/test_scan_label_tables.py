"""Tables of labels, in and out; and the two commands that use them, from the first question to an export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dipolar.cli.main import BAD_DATA, DONE, WRONG_USAGE, main
from dipolar.core.errors import FormatError, LabelError
from dipolar.core.scanning import Labels, Scan
from dipolar.io.label_tables import read_labels, write_labels
from dipolar.io.scan_tables import write_csv
from dipolar.io.scan_writer import write_scan
from dipolar.io.scans import open_scan
from dipolar.label.positions import no_labels
from dipolar.recipes.scan_label import journal_of, labels_for
from dipolar.recipes.scan_label_settings import SuggestSettings
from dipolar.recipes.scan_pool import pool_of, spans_of
from dipolar.recipes.scan_suggest import strategy_for, suggest
from dipolar.recipes.simulate_scan import domains_table
from dipolar.simulate.scan import simulate_scan
from dipolar.simulate.scan_settings import SimulatedScanSettings

SHAPE = (16, 12)
SIMULATED = simulate_scan(SimulatedScanSettings(shape=SHAPE, pattern_px=(96, 96), domain_steps=6.0), seed=3)
TRUTH = SIMULATED.truth.label
NAMES = SIMULATED.truth.names


def some_labels() -> Labels:
    return Labels(
        key="k", shape=SHAPE, names=("in plane, x", "ü·none", 'say "b"'),
        positions=np.array([[0, 11], [15, 0], [0, 11], [7, 7]], dtype=np.int32),
        label=np.array([0, 1, 2, 1], dtype=np.int32), who=("ann", "", "Bob, jr.", "ann"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "film.h5"
    frames = SIMULATED.scan.frames
    blocks = (frames.read(start, start + 48) for start in range(0, SHAPE[0] * SHAPE[1], 48))
    write_scan(path, shape=SHAPE, pattern_px=frames.shape_px, dtype=frames.dtype, blocks=blocks)
    return path


@pytest.fixture(scope="module")
def scan(stored: Path) -> Scan:
    return open_scan(stored)


@pytest.mark.parametrize("name", ["labels.csv", "labels.yaml"])
def test_what_is_written_is_read_again(tmp_path, name):
    labels = some_labels()
    write_labels(labels, tmp_path / name)
    rows = read_labels(tmp_path / name).rows
    assert [row.position for row in rows] == [tuple(place) for place in labels.positions.tolist()]
    assert [row.label for row in rows] == [labels.names[number] for number in labels.label]
    if name.endswith("csv"):
        assert [row.who for row in rows] == list(labels.who)
    write_labels(no_labels("k", SHAPE), tmp_path / name)
    assert read_labels(tmp_path / name).rows == ()


def test_the_published_layouts_are_read(tmp_path):
    (tmp_path / "p.csv").write_text("x,y,label\n205,3,na\n\n0,33,vertical\n")
    (tmp_path / "p.yml").write_text(
        "labels:\n- file: 205_3_boxsize_5.png\n  label: na\n- {label: vertical, file: scan/0_33_x.png}\n"
    )
    for name in ("p.csv", "p.yml"):
        assert [(row.position, row.label) for row in read_labels(tmp_path / name).rows] == [
            ((3, 205), "na"), ((33, 0), "vertical"),
        ]  # fmt: skip
    assert [row.where for row in read_labels(tmp_path / "p.csv").rows] == ["p.csv, line 2", "p.csv, line 4"]
    assert [row.where for row in read_labels(tmp_path / "p.yml").rows] == ["p.yml, line 2", "p.yml, line 4"]


def test_a_table_of_questions_may_be_half_answered(tmp_path):
    (tmp_path / "t.csv").write_text("\ufeffwho,scan_x,scan_y,label\r\nann,1,2,a\r\n,3,4,\r\nbob, 5 , 6 , b \r\n")
    table = read_labels(tmp_path / "t.csv")
    assert [(row.position, row.label, row.who) for row in table.rows] == [((2, 1), "a", "ann"), ((6, 5), "b", "bob")]
    assert table.unanswered == 1


def test_other_columns_of_our_tables_are_left_alone_and_told(tmp_path):
    (tmp_path / "t.csv").write_text("x,label,who,scan_x,p_a,scan_y,y\n7,a,ann,1,0.5,2,8\n")
    table = read_labels(tmp_path / "t.csv")
    assert [(row.position, row.label, row.who) for row in table.rows] == [((2, 1), "a", "ann")]
    assert table.ignored == ("x", "p_a", "y")
    (tmp_path / "t.csv").write_text("scan_y,scan_x,label,who\n2,1,a,ann\n")
    assert read_labels(tmp_path / "t.csv").ignored == ()


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("t.csv", "", "it is empty"),
        ("t.csv", " \n\n", "it is empty"),
        ("t.csv", "a\0b", "no text"),
        ("t.csv", "row,col,class\n1,2,a\n", r"columns scan_y,scan_x,label(.|\n)*unknown: row, col, class"),
        ("t.csv", "x,y,label,p_a\n1,2,a,0.5\n", r"unknown: p_a(.|\n)*leave out all others"),
        ("t.csv", "scan_y,scan_x,label,probability\n1,2,a,0.5\n", r"a map is what a model says(.|\n)*domains.csv"),
        ("t.csv", "scan_y,scan_x,label,kind,kind\n1,2,a,b,c\n", r"columns scan_y,scan_x,label"),
        ("t.csv", "scan_y,scan_x\n1,2\n", r"columns scan_y,scan_x,label"),
        ("t.csv", "scan_y,scan_x,label,label\n1,2,a,b\n", r"columns scan_y,scan_x,label"),
        ("t.csv", "scan_y,scan_x,label\n1,2,a\n1,2\n", "line 3 has 2 fields, its head 3"),
        ("t.csv", "scan_y,scan_x,label\n1,2,a\n\n1.5,2,a\n", 'line 4: "1.5" is no whole number for y'),
        ("t.csv", "scan_y,scan_x,label\n1,2,a\n1,nan,a\n", 'line 3: "nan" is no whole number for x'),
        ("t.csv", 'scan_y,scan_x,label\n1,2,"a\n', "line 2"),
        ("t.yaml", "labels: 3\n", "no list of labels"),
        ("t.yaml", "- a\n- b\n", "no list of labels"),
        ("t.yaml", "labels: [1, {file: 1_2_.png}]\n", "line 1: an entry has one file and one label"),
        ("t.yaml", "labels:\n- file: 1_2_.png\n  label: [a]\n", "line 2: an entry"),
        ("t.yaml", "labels:\n- file: pattern.png\n  label: a\n", r'line 2: "pattern.png" does not begin'),
        ("t.yaml", "labels: [", "while parsing"),
        ("t.yaml", "!!python/object/apply:os.system ['touch pwned']\n", "no list of labels"),
        ("t.yaml", "[" * 1100, "t.yaml"),
    ],
)
def test_bad_tables_are_refused_by_their_line(tmp_path, monkeypatch, name, text, match):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    with pytest.raises(FormatError, match=match):
        read_labels(name)
    assert not Path("pwned").exists()


def test_a_table_serves_as_labels_as_a_journal_does(scan, tmp_path):
    (tmp_path / "t.csv").write_text("scan_y,scan_x,label\n1,2,a\n3,4,b\n")
    journal = journal_of(scan, tmp_path / "film.labels")
    from dipolar.recipes.scan_label import take_in

    take_in(journal, tmp_path / "t.csv")
    for path in (tmp_path / "t.csv", journal.path):
        labels = labels_for(scan, path)
        assert labels.key == scan.key and labels.names == ("a", "b")
        assert labels.positions.tolist() == [[1, 2], [3, 4]]
    (tmp_path / "t.csv").write_text("scan_y,scan_x,label\n1,2,a\n3,14,b\n")
    with pytest.raises(LabelError, match=r"t.csv, line 3: scan_y 3, scan_x 14"):
        labels_for(scan, tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("scan_y,scan_x,label\n1,2,a\n3,1,A\n")
    with pytest.raises(LabelError, match=r'"a" \(t.csv, line 2\) and "A" \(t.csv, line 3\)'):
        labels_for(scan, tmp_path / "t.csv")
    with pytest.raises(FormatError, match="no such file"):
        labels_for(scan, tmp_path / "none.csv")


def test_every_pattern_of_a_pool_is_read_once_and_little_besides():
    rng = np.random.default_rng(0)
    for share in (0.02, 0.5, 1.0):
        numbers = np.flatnonzero(rng.random(1000) < share)
        read = list(spans_of(numbers, 64))
        np.testing.assert_array_equal(np.concatenate([part for _, _, part in read]), numbers)
        assert all(start <= part[0] and part[-1] < stop <= start + 64 for start, stop, part in read)
        assert sum(stop - start for start, stop, _ in read) <= 4 * len(numbers)


def test_a_pool_holds_the_labelled_and_a_draw_of_the_others():
    labels = Labels(
        key="k", shape=SHAPE, names=("a",), positions=np.array([[3, 3]], dtype=np.int32),
        label=np.zeros(1, dtype=np.int32),
    )  # fmt: skip
    free = np.zeros(SHAPE, dtype=bool)
    free[8:] = True
    pool = pool_of(labels, free, 20, np.random.default_rng(0))
    assert len(pool) == 21 and 3 * SHAPE[1] + 3 in pool and (np.diff(pool) > 0).all()
    assert (pool[1:] >= 8 * SHAPE[1]).all()
    assert len(pool_of(labels, free, 1000, np.random.default_rng(0))) == 1 + 8 * SHAPE[1]


def label_from_truth(asked: list[list[int]], path: Path, who: str = "") -> None:
    path.write_text("scan_y,scan_x,label,who\n" + "".join(f"{y},{x},{NAMES[TRUTH[y, x]]},{who}\n" for y, x in asked))


def test_questions_wait_until_they_are_answered_and_go_to_one_person_alone(scan, tmp_path):
    journal = journal_of(scan, tmp_path / "film.labels")
    settings = SuggestSettings(strategy="grid", who="ann")
    first = suggest(scan, journal, 6, settings).positions
    np.testing.assert_array_equal(suggest(scan, journal, 6, settings).positions, first)
    other = suggest(scan, journal, 6, SuggestSettings(strategy="grid", who="bob")).positions
    assert not {tuple(place) for place in other.tolist()} & {tuple(place) for place in first.tolist()}
    label_from_truth(first[:4].tolist(), tmp_path / "t.csv", "ann")
    assert main(["scan", "label", str(tmp_path / "no.h5"), "--labels", str(journal.path)]) == BAD_DATA
    from dipolar.recipes.scan_label import take_in

    take_in(journal, tmp_path / "t.csv")
    more = suggest(scan, journal, 6, settings)
    np.testing.assert_array_equal(more.positions[:2], first[4:])
    assert more.waited == 2 and more.left == SHAPE[0] * SHAPE[1] - 4 - 6


def test_repeats_are_labelled_positions_and_nothing_gives_them_away(scan, tmp_path):
    journal = journal_of(scan, tmp_path / "film.labels")
    from dipolar.recipes.scan_label import session_of, take_in

    settings = SuggestSettings(strategy="random", who="ann", repeats=3)
    with pytest.raises(LabelError, match="labelled once"):
        suggest(scan, journal, 6, settings)
    first = suggest(scan, journal, 6, SuggestSettings(strategy="random", who="ann")).positions
    label_from_truth(first.tolist(), tmp_path / "one.csv", "ann")
    take_in(journal, tmp_path / "one.csv")
    second = suggest(scan, journal, 8, settings).positions
    known = [tuple(place) in {tuple(place) for place in first.tolist()} for place in second.tolist()]
    assert sum(known) == 3 and len(second) == 8
    assert sorted(map(tuple, suggest(scan, journal, 8, settings).positions)) == sorted(map(tuple, second))
    label_from_truth(second.tolist(), tmp_path / "two.csv", "ann")
    assert take_in(journal, tmp_path / "two.csv").new == 8
    (own,) = session_of(journal).consistency
    assert own.pairs == 3 and own.share == 1.0


def test_unlike_patterns_first_and_then_doubtful_ones(scan, tmp_path):
    journal = journal_of(scan, tmp_path / "film.labels")
    from dipolar.recipes.scan_label import take_in

    assert strategy_for(journal.labels()) == "kmeans"
    asked = suggest(scan, journal, 24, SuggestSettings(patterns=64)).positions
    classes = {int(TRUTH[y, x]) for y, x in asked}
    assert classes == set(np.unique(TRUTH).tolist())
    label_from_truth(asked.tolist(), tmp_path / "t.csv")
    take_in(journal, tmp_path / "t.csv")
    assert strategy_for(journal.labels()) == "margin"
    for strategy in ("margin", "disagreement"):
        more = suggest(scan, journal, 5, SuggestSettings(patterns=64, strategy=strategy)).positions
        assert len(more) == 5 and not {tuple(p) for p in more.tolist()} & {tuple(p) for p in asked.tolist()}


def test_a_table_of_the_truth_answers_what_was_asked_and_no_more(stored, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(domains_table(SIMULATED.truth), "truth_domains.csv")
    session = [str(stored), "--labels", "film.labels"]
    for asked, total in ((6, 6), (4, 10)):
        assert main(["scan", "suggest", *session, "-n", str(asked), "--strategy", "random"]) == DONE
        assert main(["scan", "label", *session, "--import", "truth_domains.csv", "--asked"]) == DONE
        err = capsys.readouterr().err
        assert f"{asked} answers taken in, {SHAPE[0] * SHAPE[1] - asked} are of positions that were not asked" in err
        assert "columns that were not read: kind, p_horizontal, p_vertical, p_none" in err
        labels = labels_for(open_scan(stored), "film.labels")
        assert len(labels.label) == total
        said = [labels.names[number] for number in labels.label]
        assert said == [NAMES[TRUTH[y, x]] for y, x in labels.positions.tolist()]
    assert main(["scan", "label", *session, "--import", "truth_domains.csv"]) == DONE
    assert len(labels_for(open_scan(stored), "film.labels").label) == SHAPE[0] * SHAPE[1]
    assert main(["scan", "label", *session, "--asked"]) == BAD_DATA
    assert "only with --import" in capsys.readouterr().err


def test_what_was_called_by_two_names_equally_often_is_asked_again_where_a_class_has_nothing_else(scan, tmp_path):
    journal = journal_of(scan, tmp_path / "film.labels")
    from dipolar.recipes.scan_label import take_in

    rng = np.random.default_rng(0)
    kinds = [np.argwhere(number == TRUTH) for number in range(3)]
    here = np.concatenate([rng.permutation(kinds[0])[:11], rng.permutation(kinds[1])[:11]])
    tied = rng.permutation(kinds[2])[:3]
    label_from_truth([*here.tolist(), *tied.tolist()], tmp_path / "ann.csv", "ann")
    take_in(journal, tmp_path / "ann.csv")
    rows = "".join(f"{y},{x},{NAMES[0]},bob\n" for y, x in tied)
    (tmp_path / "bob.csv").write_text("scan_y,scan_x,label,who\n" + rows)
    take_in(journal, tmp_path / "bob.csv")
    assert strategy_for(journal.labels()) == "kmeans"  # nobody knows that class any more
    settings = SuggestSettings(patterns=64, strategy="margin", who="eve")
    asked = suggest(scan, journal, 8, settings).positions
    assert sorted(map(tuple, asked[:3].tolist())) == sorted(map(tuple, tied.tolist())) and len(asked) == 8
    np.testing.assert_array_equal(suggest(scan, journal, 8, settings).positions, asked)
    label_from_truth(asked.tolist(), tmp_path / "eve.csv", "eve")
    take_in(journal, tmp_path / "eve.csv")
    assert strategy_for(journal.labels()) == "margin"
    more = suggest(scan, journal, 8, settings).positions
    assert not {tuple(place) for place in more.tolist()} & {tuple(place) for place in tied.tolist()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scan_y,scan_x,label\n3,3,none\n99,3,none\n", "belongs to a position of the scan"),
        ("scan_y,scan_x,label\n3,3,none\n4,3,None\n", "differ"),
        ("scan_y,scan_x\n3,3\n", "label"),
        (None, "no.csv"),
    ],
)
def test_a_table_that_is_refused_leaves_no_journal(stored, tmp_path, capsys, monkeypatch, text, says):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("no.csv").write_text(text)
    before = sorted(tmp_path.iterdir())
    words = ["scan", "label", str(stored), "--labels", "new.labels", "--import", "no.csv"]
    assert main(words) == BAD_DATA
    assert says in capsys.readouterr().err and sorted(tmp_path.iterdir()) == before


def test_from_the_first_question_to_an_export(stored, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session = [str(stored), "--labels", "film.labels"]

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["scan", *words])
        told = capsys.readouterr()
        return status, told.out, told.err

    status, out, err = run("suggest", *session, "-n", "9", "--strategy", "adaptive", "--step", "5")
    lines = out.splitlines()
    assert status == DONE and lines[0] == "scan_y,scan_x" and len(lines) == 10 and "9 positions by adaptive" in err
    asked = [[int(part) for part in line.split(",")] for line in lines[1:]]
    status, out, _ = run("suggest", *session, "-n", "9", "--strategy", "adaptive", "--step", "5", "--json")
    told = json.loads(out)
    assert [[place["scan_y"], place["scan_x"]] for place in told["positions"]] == asked and told["status"] == "done"

    label_from_truth(asked, tmp_path / "a.csv")
    status, out, err = run("label", *session, "--import", "a.csv", "--who", "ann")
    assert status == DONE and "9 answers taken in" in err and out.startswith("9 positions labelled: ")
    status, out, err = run("label", *session, "--import", "a.csv", "--who", "ann")
    assert "0 answers taken in, 9 were known" in err
    y, x = asked[0]
    wrong = NAMES[(TRUTH[y, x] + 1) % 3]
    Path("b.csv").write_text(f"scan_y,scan_x,label\n{y},{x},{wrong}\n")
    status, out, _ = run("label", *session, "--import", "b.csv", "--who", "bob")
    assert status == DONE and f"contradiction at scan_y {y}, scan_x {x}: " in out and f"{wrong} (bob)" in out
    assert "ann and bob agree in 0.0 ± " in out
    status, out, _ = run("label", *session, "--undo", "1", "--json", "--export", "out.csv")
    told = json.loads(out)
    assert told["undone"] == [{"scan_y": y, "scan_x": x, "label": wrong}] and told["contradictions"] == []
    assert told["exported"] == 9 and told["labels"] == told["positions"] == 9 and sum(told["classes"].values()) == 9
    status, out, _ = run("label", str(stored), "--labels", "again.labels", "--import", "out.csv")
    assert status == DONE and out.startswith("9 positions labelled: ")

    Path("c.csv").write_text("scan_y,scan_x,label\n0,0,none\n99,0,none\n")
    status, _, err = run("label", *session, "--import", "c.csv")
    assert status == BAD_DATA and "c.csv, line 3" in err and "Traceback" not in err
    status, _, err = run("suggest", str(stored), "--labels", "c.csv")
    assert status == BAD_DATA and "--import FILE" in err
    assert Path("c.csv").read_text().startswith("scan_y,scan_x,label")
    status, _, err = run("suggest", *session, "-n", "0")
    assert status == BAD_DATA and "one position at least" in err
    status, _, err = run("suggest", *session, "--strategy", "guess")
    assert status == WRONG_USAGE and "--help" in err
    status, out, _ = run("label", *session, "--json")
    assert json.loads(out)["labels"] == 9
    assert main(["verify", "film.labels"]) == DONE
    journal = Path("film.labels")
    journal.write_bytes(journal.read_bytes().replace(b"adaptive", b"adoptive"))
    assert main(["verify", "film.labels"]) == BAD_DATA
    assert "is not what was written" in capsys.readouterr().err
