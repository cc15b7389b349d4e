"""A scan from end to end on the command line: from a simulated file and a few labels to a folder with domains."""

from __future__ import annotations

import csv
import html
import io
import json
import shutil
from collections.abc import Callable
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import dipolar
from dipolar.cli import show
from dipolar.cli.main import main
from dipolar.core.nouns import same
from dipolar.core.scanning import ScanResult
from dipolar.io import open_scan
from dipolar.io.scan_writer import write_scan
from dipolar.recipes.scan_look import Judge
from dipolar.run import scan_blocks

SHAPE = (16, 24)
SIMULATE = ["simulate", "scan", "--scan-shape", "16,24", "--pattern-px", "64"]
TABLES = ["areas.csv", "domains.csv", "wall_points.csv", "walls.csv"]
Row = dict[str, str]


class Said(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


def dipolar_(*arguments: object) -> Said:
    """Run one command."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return Said(status, out.getvalue(), err.getvalue())


def done(*arguments: object) -> str:
    """Run one command that must end well, and return its standard output."""
    said = dipolar_(*arguments)
    assert said.status == 0, said.err
    return said.out


def table(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def answers(positions: list[Row], truth: dict[tuple[str, str], Row], path: Path) -> Path:
    """Write the true labels of positions, as a person would."""
    lines = [f"{at['scan_y']},{at['scan_x']},{truth[at['scan_y'], at['scan_x']]['label']}" for at in positions]
    path.write_text("\n".join(["scan_y,scan_x,label", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def river(tmp_path_factory) -> Path:
    """A folder with a scan, its labels, a model and the map, all made by the command line."""
    folder = tmp_path_factory.mktemp("river")
    done(*SIMULATE, "--out", folder / "made", "--seed", 3)
    truth = {(row["scan_y"], row["scan_x"]): row for row in table(folder / "made" / "truth_domains.csv")}
    scan, labels = folder / "made" / "scan.h5", folder / "labels.db"
    for number in (20, 10):  # unlike patterns first, then those that are doubtful
        asked = done("scan", "suggest", scan, "--labels", labels, "-n", number)
        file = answers(list(csv.DictReader(io.StringIO(asked))), truth, folder / f"answers{number}.csv")
        done("scan", "label", scan, "--labels", labels, "--import", file)
    done("scan", "train", scan, "--labels", labels, "--out", folder / "model")
    mapped = ["scan", "map", scan, "--model", folder / "model", "--labels", labels, "--out", folder / "map"]
    (folder / "told.json").write_text(done(*mapped, "--json"))
    return folder


def test_the_map_is_the_truth(river):
    truth, found = table(river / "made" / "truth_domains.csv"), table(river / "map" / "domains.csv")
    assert [(row["scan_y"], row["scan_x"]) for row in found] == [(row["scan_y"], row["scan_x"]) for row in truth]
    right = np.array([one["label"] == other["label"] for one, other in zip(found, truth, strict=True)])
    far = np.array([float(row["wall_distance"]) > 1.0 for row in truth])
    assert right[far].mean() >= 0.99 and right.mean() >= 0.95
    centre = np.array([[float(row[f"centre_{axis}_px"]) for axis in "yx"] for row in found])
    true = np.array([[float(row[f"centre_{axis}"]) for axis in "yx"] for row in truth])
    assert np.sqrt(np.mean((centre - true) ** 2)) < 0.1


def test_what_was_asked_is_what_was_labelled(river):
    told = json.loads(done("scan", "label", river / "made" / "scan.h5", "--labels", river / "labels.db", "--json"))
    assert told["labels"] == told["positions"] == 30 and told["waiting"] == 0
    assert sum(told["classes"].values()) == 30 and not told["contradictions"]
    lines = done("scan", "label", river / "made" / "scan.h5", "--labels", river / "labels.db").splitlines()
    assert lines[0].startswith("30 positions labelled: ")


def test_the_folder_is_complete_and_verifies(river, tmp_path):
    names = sorted(path.name for path in (river / "map").iterdir())
    assert names == sorted([*TABLES, "figures", "map.png", "report.html", "result.h5", "run.json"])
    assert sorted(path.name for path in (river / "map" / "figures").iterdir()) == (
        ["confidence.png", "patterns.png", "walls.png"]
    )
    assert not (river / "map.work").exists()
    for path in ("map", "map/result.h5", "model", "made", "labels.db"):
        done("verify", river / path)
    copied = shutil.copytree(river / "map", tmp_path / "copy")
    (copied / "domains.csv").write_text("scan_y,scan_x\n")
    said = dipolar_("verify", copied)
    assert said.status == 1 and "domains.csv" in said.err


def test_the_report_says_how_to_repeat_it(river):
    said = (river / "map" / "report.html").read_text(encoding="utf-8")
    scan, model, labels = river / "made" / "scan.h5", river / "model.safetensors", river / "labels.db"
    assert f"dipolar scan map {scan} --model {model} --labels {labels}" in html.unescape(said)
    assert f"sha256 of {model}" in said and f"sha256 of {labels}" in said and f"sha256 of {scan}" not in said


def test_json_is_one_object_with_what_the_tables_say(river):
    told = json.loads((river / "told.json").read_text())
    assert told["status"] == "done" and told["out"] == str(river / "map")
    rows = table(river / "map" / "domains.csv")
    for name, one in told["classes"].items():
        share = np.mean([row["label"] == name for row in rows])
        assert abs(share - one["fraction"]) < 0.05 and 0 < one["fraction_sigma"] < 0.05
    assert told["walls"] == len(table(river / "map" / "walls.csv"))
    assert told["domains"] == len(table(river / "map" / "areas.csv"))


def test_the_lines_of_the_report_give_what_the_command_wrote(river, tmp_path, monkeypatch):
    written = dipolar.load(river / "map")
    assert isinstance(written, ScanResult) and written.labels is not None and len(written.labels.label) == 30
    page = html.unescape((river / "map" / "report.html").read_text(encoding="utf-8"))
    code = page[page.index("import dipolar\n") :].partition("</")[0]
    for name in ("made/scan.h5", "model.safetensors", "model.json"):
        (tmp_path / Path(name).name).symlink_to(river / name)
    monkeypatch.chdir(tmp_path)
    said: dict = {}
    exec(code, said)
    found = said["result"]
    assert same(found.map, written.map) and same(found.domains, written.domains)
    dipolar.save(found, tmp_path / "map.h5")
    assert same(dipolar.load(tmp_path / "map.h5"), found)
    assert dipolar.report(found, tmp_path / "map.html").read_text(encoding="utf-8").startswith("<!")


def until(fraction: float) -> Callable:
    """Return a terminal at which somebody presses Ctrl-C when so much is mapped."""

    def progress(step: str, done: float) -> None:
        if step.startswith("mapping") and done >= fraction:
            raise KeyboardInterrupt

    @contextmanager
    def bars():
        yield progress

    return bars


def test_who_stops_a_map_goes_on_with_the_same_command(river, tmp_path, monkeypatch):
    begun: list[int] = []
    judge = Judge.__call__

    def counted(self, patterns, start):
        begun.append(start)
        return judge(self, patterns, start)

    monkeypatch.setattr(Judge, "__call__", counted)
    monkeypatch.setattr(scan_blocks, "BLOCK_PATTERNS", 48)
    command = ["scan", "map", river / "made" / "scan.h5", "--model", river / "model", "--out", tmp_path / "map",
               "--labels", river / "labels.db", "--threads", 1]  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(show, "progress_bars", until(0.5))
        said = dipolar_(*command)
    assert said.status == 130 and said.out == "" and said.err.count("\n") == 1
    assert str(tmp_path / "map.work") in said.err and "the same command goes on" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["map.work"]
    kept = begun[:4]
    done(*command)
    assert sorted(set(begun)) == list(range(0, 384, 48))
    assert all(begun.count(start) == 1 for start in kept)  # what was finished was not done again
    assert [path.name for path in tmp_path.iterdir()] == ["map"]
    for name in TABLES:
        once, twice = table(river / "map" / name), table(tmp_path / "map" / name)
        assert len(once) == len(twice) and [row.get("label") for row in once] == [row.get("label") for row in twice]
        assert [row.get("flag_names") for row in once] == [row.get("flag_names") for row in twice]
        words = {"label", "before", "after", "flag_names"}
        for column in once[0].keys() - words:  # blocks of another size add in another order
            values = [[float(row[column] or "nan") for row in rows] for rows in (once, twice)]
            np.testing.assert_allclose(*values, rtol=1e-3, atol=1e-4)


def test_who_stops_before_the_first_block_is_promised_nothing_and_begins_anew(river, tmp_path, monkeypatch):
    command = ["scan", "map", river / "made" / "scan.h5", "--model", river / "model", "--out", tmp_path / "map",
               "--threads", 1]  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(show, "progress_bars", until(0.0))
        said = dipolar_(*command)
    assert said.status == 130 and "is kept" not in said.err
    assert not list(tmp_path.iterdir())
    (tmp_path / "map.work").mkdir()  # killed before it wrote a word
    done(*command)
    assert [path.name for path in tmp_path.iterdir()] == ["map"]


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """Another scan, and one without a lattice."""
    folder = tmp_path_factory.mktemp("other")
    done(*SIMULATE, "--out", folder / "made", "--seed", 4)
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :64]
    radius = np.hypot(y - 32, x - 32)
    halo = 2.0 * np.exp(-((radius / 20.0) ** 2)) + 40.0 * (radius < 5.0)
    blocks = (rng.poisson(halo, (24, 64, 64)).astype(np.uint16) for _ in range(16))
    write_scan(folder / "glass.npy", shape=SHAPE, pattern_px=(64, 64), dtype=np.dtype(np.uint16), blocks=blocks)
    return folder


def test_labels_of_another_scan_are_refused(river, other, tmp_path):
    before = (river / "labels.db").read_bytes()
    for words in (["train", "--out", tmp_path / "m"], ["map", "--model", river / "model", "--out", tmp_path / "o"]):
        said = dipolar_("scan", words[0], other / "made" / "scan.h5", "--labels", river / "labels.db", *words[1:])
        assert said.status == 1 and said.err.startswith(
            "LabelError: labels belong to the scan that they were given for"
        )
    for words in (["suggest"], ["label", "--undo", "1"]):
        said = dipolar_("scan", words[0], other / "made" / "scan.h5", "--labels", river / "labels.db", *words[1:])
        assert said.status == 1 and said.err.startswith("LabelError"), said.err
    assert list(tmp_path.iterdir()) == [] and (river / "labels.db").read_bytes() == before


def test_a_model_put_to_another_scan_says_what_is_not_known(river, other):
    order: list[str] = []
    found = dipolar.map_scan(
        other / "made" / "scan.h5", river / "model", virtual=False, tell=order.append,
        progress=lambda step, part: order.append(step),
    )  # fmt: skip
    # before any pattern is looked at
    assert order[0] in found.record.notes and "learned from another scan" in order[0] and "look" not in order[0]
    assert found.validation is None and not found.map.virtual
    assert any("learned from another scan" in note for note in found.record.notes)
    truth = table(other / "made" / "truth_domains.csv")
    names = [*found.map.names, ""]
    right = np.array([names[label] == row["label"] for label, row in zip(found.map.label.ravel(), truth, strict=True)])
    far = np.array([float(row["wall_distance"]) > 1.0 for row in truth])
    assert right[far].mean() > 0.95


def test_a_scan_without_a_lattice_wants_another_model(river, other, tmp_path):
    scan, labels = other / "glass.npy", tmp_path / "labels.csv"
    said = dipolar_("scan", "map", scan, "--model", river / "model", "--out", tmp_path / "o")
    assert said.status == 1 and "no lattice" in said.err and "--classifier small" in said.err
    labels.write_text("scan_y,scan_x,label\n" + "".join(f"{row},{row},{'ab'[row % 2]}\n" for row in range(8)))
    said = dipolar_("scan", "train", scan, "--labels", labels, "--out", tmp_path / "m")
    assert said.status == 1 and "--classifier small" in said.err
    said = dipolar_("scan", "suggest", scan, "--labels", tmp_path / "l.db", "-n", 3)
    assert said.status == 1 and "--strategy grid" in said.err and said.out == ""
    assert len(done("scan", "suggest", scan, "--labels", tmp_path / "l.db", "-n", 3, "--strategy", "grid").split()) == 4
    assert not (tmp_path / "o").exists() and not (tmp_path / "o.work").exists()


def test_a_model_of_images_is_refused(river, tmp_path):
    model = Path(dipolar.__file__).parent / "learn" / "shipped" / "regressor"
    said = dipolar_("scan", "map", river / "made" / "scan.h5", "--model", model, "--out", tmp_path / "o")
    assert said.status == 1 and "for images" in said.err and "dipolar scan train" in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("0,0,a\n5,5,a\n", ["two at least", "2 a", "scan suggest"]),
        ("0,0,a\n5,5,a\n6,6,b\n", ["2 labels at least", "too few of b"]),
        ("0,0,a\n5,5,b\n5,50,b\n1,1,a\n", ["line 4"]),
        ("0,0,a\n5,5,b\n5,6,B\n1,1,a\n", ['"b"', '"B"', "line 4"]),
        ("", ["no labels"]),
    ],
)
def test_labels_that_teach_nothing_are_one_message(river, tmp_path, labels, words):
    (tmp_path / "labels.csv").write_text("scan_y,scan_x,label\n" + labels)
    said = dipolar_("scan", "train", river / "made" / "scan.h5", "--labels", tmp_path / "labels.csv", "--out",
                    tmp_path / "model", "--json")  # fmt: skip
    assert said.status == 1 and json.loads(said.out)["error"] == "LabelError"
    assert all(word in said.err for word in words), said.err
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_exit_statuses_and_messages_of_wrong_words(river, tmp_path):
    scan = river / "made" / "scan.h5"
    for status, words, expected in (
        (2, ["train", scan, "--labels", "l", "--out", "m", "--classifier", "big"], "--classifier"),
        (2, ["map", scan, "--model", "m", "--figures", "gif"], "--figures"),
        (2, ["info", scan, "--scan-shape", "16"], "--scan-shape"),
        (1, ["info", tmp_path / "none.mib"], "no such file"),
        (1, ["info", scan, "--scan-shape", "5,7"], "--scan-shape"),
        (1, ["map", scan, "--model", tmp_path / "none", "--out", tmp_path / "o"], "none"),
        (1, ["map", scan, "--model", river / "model", "--out", river / "made"], "a simulated scan"),
        (1, ["map", scan, "--model", river / "model", "--out", tmp_path / "o", "--workers", "2", "--threads", "2"],
         "--threads"),
        (1, ["map", scan, "--model", river / "model", "--out", tmp_path / "o", "--workers", "2", "--cluster",
             "tcp://nowhere:1"], "--workers"),
        (1, ["train", scan, "--labels", tmp_path / "none.db", "--out", tmp_path / "m"], "none.db"),
    ):  # fmt: skip
        said = dipolar_("scan", *words)
        assert said.status == status and expected in said.err and said.out == "", (words, said)
    assert list(tmp_path.iterdir()) == []


def test_all_settings_can_be_shown_and_read_again(river, tmp_path):
    scan, out = river / "made" / "scan.h5", tmp_path / "model"
    said = dipolar_("scan", "train", scan, "--labels", river / "labels.db", "--out", out, "--ensemble", 3, "--show",
                    "--json")  # fmt: skip
    assert "ensemble = 3" in said.err and json.loads(said.out)["labels"] == 30
    before = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "run.toml").write_text(said.err[: said.err.index("\n\n") if "\n\n" in said.err else None])
    done("scan", "train", scan, "--labels", river / "labels.db", "--out", out, "--settings", tmp_path / "run.toml")
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_info_says_what_was_read(river):
    told = json.loads(done("scan", "info", river / "made" / "scan.h5", "--json"))
    scan = open_scan(river / "made" / "scan.h5")
    assert told["key"] == scan.key and told["scan_shape"] == [16, 24] and told["pattern_px"] == [64, 64]
    assert told["step_nm"] == pytest.approx(10.0)
