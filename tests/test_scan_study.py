"""The study of labels in miniature: its table, its figure, and that it goes on where it was stopped."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dipolar.cli.main import main
from dipolar.label.positions import no_labels
from dipolar.recipes import study_labels
from dipolar.recipes.study_labels import LabelsJob, asked, question_of
from dipolar.recipes.study_labels_result import means_of
from dipolar.recipes.study_settings import LabelsSettings

TINY = ["--scan-shape", "16,24", "--pattern-px", "64", "--labels", "20,10", "--strategies", "random,margin",
        "--classifiers", "bank", "--seeds", "2"]  # fmt: skip


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A finished study; it was interrupted after its first scan, and the same command went on."""
    out = tmp_path_factory.mktemp("study") / "labels"
    rows, seeds = study_labels._rows, []

    def interrupted(job):
        seeds.append(job.seed)
        if seeds == [0, 1]:
            raise KeyboardInterrupt
        return rows(job)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(study_labels, "_rows", interrupted)
        assert main(["study", "labels", "--out", str(out), *TINY]) == 130
        assert not out.exists() and out.with_name("labels.work").is_dir()
        assert main(["study", "labels", "--out", str(out), *TINY]) == 0
    assert seeds == [0, 1, 1]  # the first scan was not worked on again
    return out


def test_the_folder_holds_table_and_figure(study):
    assert sorted(path.name for path in study.iterdir()) == ["figure.png", "labels.csv", "labels_seeds.csv", "run.json"]
    assert not study.with_name("labels.work").exists()
    assert main(["verify", str(study)]) == 0


def test_the_table_has_every_case_and_the_means_of_the_seeds(study):
    means, seeds = table(study / "labels.csv"), table(study / "labels_seeds.csv")
    cases = {(row["classifier"], row["strategy"], row["budget"]) for row in means}
    assert len(means) == len(cases) == 2 * 2 * 2 and len(seeds) == 2 * len(means)
    for row in means:
        mine = [one for one in seeds if all(one[name] == row[name] for name in ("classifier", "strategy", "budget"))]
        values = np.array([float(one["accuracy"]) for one in mine])
        assert float(row["accuracy"]) == pytest.approx(values.mean(), rel=1e-6)
        assert float(row["accuracy_sd"]) == pytest.approx(values.std(ddof=1), abs=1e-6)  # tables have six digits
        assert {one["seed"] for one in mine} == {"0", "1"}


def test_who_sees_patterns_is_more_right_than_who_sees_places(study):
    found = {(row["classifier"], row["strategy"], row["budget"]): row for row in table(study / "labels.csv")}
    for strategy in ("random", "margin"):
        bank, position = (float(found[kind, strategy, "20"]["accuracy"]) for kind in ("bank", "position only"))
        assert bank > 0.9 > position
        assert float(found["bank", strategy, "20"]["calibration_error"]) < 0.1


def test_json_tells_the_same(study, tmp_path, capsys, monkeypatch):
    rows = [{**row, **{name: float(row[name]) for name in row if name not in ("classifier", "strategy")}}
            for row in table(study / "labels_seeds.csv")]  # fmt: skip
    monkeypatch.setattr("dipolar.recipes.study_labels_result.study_labels", lambda *_, **__: rows)
    assert main(["study", "labels", "--out", str(tmp_path / "s"), *TINY, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "done" and len(told["table"]) == 8
    again = {(row["classifier"], row["strategy"], int(float(row["budget"]))): row for row in told["table"]}
    for row in table(study / "labels.csv"):
        one = again[row["classifier"], row["strategy"], int(row["budget"])]
        assert one["near_walls"] == pytest.approx(float(row["near_walls"]), rel=1e-6)


def test_what_is_held_out_is_never_labelled(tmp_path):
    settings = LabelsSettings(scan_shape="16,24", pattern_px=64, classifiers="bank")
    question = question_of(LabelsJob(seed=3, settings=settings, work=tmp_path))
    assert 0.2 < question.test.mean() < 0.5
    for strategy in ("random", "adaptive", "kmeans"):
        empty = no_labels(question.simulated.scan.key, question.simulated.scan.shape)
        labels = asked(question, empty, 24, strategy, np.random.default_rng(1), 3)
        numbers = np.ravel_multi_index(tuple(labels.positions.T), labels.shape)
        assert len(np.unique(numbers)) == len(numbers) >= 24 and not question.test[numbers].any()
        assert np.array_equal(labels.label, question.simulated.truth.label.ravel()[numbers])
        assert np.bincount(labels.label, minlength=3).min() >= 2


def test_one_seed_has_no_spread():
    row = {"classifier": "bank", "strategy": "random", "budget": 10, "labels": 12, "accuracy": 0.9}
    row |= dict.fromkeys(("balanced_accuracy", "recall_none", "near_walls", "calibration_error"), 0.5)
    (mean,) = means_of([row])
    assert mean["accuracy"] == 0.9 and np.isnan(mean["accuracy_sd"]) and mean["labels"] == 12


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--strategies", "grid"], "random, adaptive, kmeans, margin"),
        (["--classifiers", "tree"], "bank, small, published"),
        (["--labels", "3"], "4 at least"),
    ],
)
def test_wrong_words_are_status_two(tmp_path, capsys, words, expected):
    assert main(["study", "labels", "--out", str(tmp_path / "s"), *words]) == 2
    assert expected in capsys.readouterr().err and list(tmp_path.iterdir()) == []
