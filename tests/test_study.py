"""Studies in miniature: the same table however it was made, results whole or not there, trends told as they are."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from dipolar.cli.main import main
from dipolar.core.errors import ChecksumError, OutputError, SettingsError
from dipolar.learn.store import read_model
from dipolar.learn.tasks import RegressorTask
from dipolar.recipes.settings import build
from dipolar.recipes.study import remembered
from dipolar.recipes.study_cross import film_source
from dipolar.recipes.study_noise import NoiseJob, noise_job, study_noise
from dipolar.recipes.study_results import headline, overview, write_noise_study
from dipolar.recipes.study_settings import CrossSettings, NoiseSettings
from dipolar.recipes.study_trends import Trend, cross_trends, grid, noise_trends, rank_correlation
from dipolar.report.colour import displacement_colours
from dipolar.report.transfer import Transfer, radii_pm, transfer_figure
from dipolar.run import Serial

SMALL = ["--size-px", "512", "--steps", "20"]
NOISE = [*SMALL, "--variances", "0.02,0.0001", "--windows-px", "12,10"]
CROSS = [*SMALL, "--compositions", "0,0.07", "--window-px", "10"]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def timeless(rows: Any) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "cpu_seconds"} for row in rows]


# --- trends, on tables made by hand


def noise_rows(rms_pm: Any, *, modes: str = "C NC") -> list[dict[str, Any]]:
    """Return a table whose errors are a function of kind, window and variance."""
    places = product(modes.split(), (10, 20, 40, 80), (0.001, 0.01, 0.1))
    return [
        {"windows": mode, "window_px": edge, "variance": level, "rms_pm": rms_pm(mode, edge, level)}
        for mode, edge, level in places
    ]


def cross_rows(rms_pm: Any, *, shares: tuple[float, ...] = (0.0, 0.06, 0.12, 0.16, 0.2)) -> list[dict[str, Any]]:
    return [
        {"windows": mode, "trained_on": first, "tested_on": second, "rms_pm": rms_pm(first, second)}
        for mode, first, second in product(("C", "NC"), shares, shares)
    ]


def named(trends: list[Trend]) -> dict[str, Trend]:
    return {trend.name: trend for trend in trends}


def test_trends_as_published_hold():
    def rms_pm(mode: str, edge: int, level: float) -> float:
        return (0.5 if mode == "NC" else 1.0) * (1 + 10 * level) * (1 + 3 * max(40 - edge, 0) / 30)

    found = named(noise_trends(noise_rows(rms_pm)))
    assert set(found) == {"C noise", "C window", "NC noise", "NC window", "NC over C"}
    assert found["C noise"].value == pytest.approx(1.0) and found["C noise"].holds
    assert found["C window"].holds and "from 10 to 40 px, by a factor of 4.00" in found["C window"].words
    assert "level beyond" in found["C window"].words
    assert found["NC over C"].value == pytest.approx(0.5) and found["NC over C"].holds is None


@pytest.mark.parametrize(
    ("name", "rms_pm", "words"),
    [
        ("C noise", lambda mode, edge, level: 1.0 / level, "does not grow steadily with noise (rank correlation −1.00"),
        ("C window", lambda mode, edge, level: level * edge, "does not fall with the window: it is least at 10 px"),
        ("C window", lambda mode, edge, level: level * abs(edge - 38), "grows again to 21.00 times the least at 80 px"),
    ],
)
def test_what_does_not_hold_is_said(name, rms_pm, words):
    trend = named(noise_trends(noise_rows(rms_pm)))[name]
    assert trend.holds is False and words in trend.words


def test_an_error_that_still_falls_is_not_called_level():
    trend = named(noise_trends(noise_rows(lambda mode, edge, level: level / edge)))["C window"]
    assert trend.holds and "by a factor of 8.00, and is not yet level" in trend.words


def test_a_table_of_one_noise_or_one_window_tells_no_trend():
    rows = [row for row in noise_rows(lambda mode, edge, level: 1.0 / edge) if row["variance"] == 0.01]
    assert named(noise_trends(rows))["C noise"].holds is None
    rows = [row for row in noise_rows(lambda mode, edge, level: level, modes="C") if row["window_px"] == 10]
    assert [trend.holds for trend in noise_trends(rows)] == [True, None]


def test_errors_grow_with_distance_and_differ_across_the_boundary():
    def rms_pm(first: float, second: float) -> float:
        return 1.0 + 50.0 * abs(first - second) * (3.0 if first > 0.14 > second else 1.0)

    found = named(cross_trends(cross_rows(rms_pm)))
    assert found["C distance"].value > 0.9 and found["C distance"].holds
    assert found["C diagonal"].value > 3.0 and found["C diagonal"].holds
    assert "1.00 pm on the film learned from" in found["C diagonal"].words
    assert found["NC asymmetry"].value < 0.7 and found["NC asymmetry"].holds
    assert found["NC over C"].value == pytest.approx(1.0)


def test_where_all_films_are_alike_no_trend_is_claimed():
    found = named(cross_trends(cross_rows(lambda first, second: 1.0 + 0.01 * second)))
    assert found["C diagonal"].holds is False and "no clear difference" in found["C diagonal"].words
    assert found["C distance"].holds is False
    assert found["C asymmetry"].holds is False and "no clear asymmetry" in found["C asymmetry"].words
    polar = named(cross_trends(cross_rows(lambda first, second: 1.0 + second, shares=(0.0, 0.04))))
    assert polar["C asymmetry"].holds is None and "one side of the boundary" in polar["C asymmetry"].words


def test_smaller_displacements_on_one_side_are_no_asymmetry():
    """Networks that learned nothing err by what is there, whatever they were trained on."""
    found = named(cross_trends(cross_rows(lambda first, second: 2.0 if second > 0.14 else 20.0)))
    assert found["C asymmetry"].value == pytest.approx(1.0) and found["C asymmetry"].holds is False


def test_rank_correlation_is_that_of_spearman():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, size=(2, 30)).astype(float)
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert rank_correlation(np.arange(5.0), np.exp(np.arange(5.0))) == pytest.approx(1.0)
    assert np.isnan(rank_correlation(np.ones(4), np.arange(4.0)))
    assert np.isnan(rank_correlation(np.array([1.0, np.nan]), np.array([2.0, 3.0])))


def test_a_table_becomes_a_matrix_from_the_least_on():
    rows = noise_rows(lambda mode, edge, level: edge + level)[::-1]
    del rows[-1]  # C, 10 px, 0.001
    matrix = grid(rows, "C", ("window_px", "variance"), "rms_pm")
    np.testing.assert_allclose(matrix[1:], np.array([20, 40, 80])[:, None] + [0.001, 0.01, 0.1])
    assert np.isnan(matrix[0, 0]) and matrix[0, 1] == pytest.approx(10.01)


# --- maps of transfers


def transfer(windows: str = "C") -> Transfer:
    y, x = np.meshgrid(np.arange(10.0, 100.0, 20.0), np.arange(10.0, 140.0, 20.0), indexing="ij")
    positions = np.stack([y.ravel(), x.ravel()], axis=1)
    true = np.where(positions[:, :1] < 50, [[20.0, 0.0]], [[-20.0, 0.0]])
    return Transfer(
        windows=windows,
        trained_on="0 % Sm",
        applied_to="7 % Sm",
        shape_px=(100, 140),
        pixel_size_pm=17.25,
        positions_px=positions,
        true_pm=true,
        predicted_pm=true + np.array([3.0, -3.0]),
    )


def test_transfers_are_drawn_in_the_colours_of_the_wheels():
    drawn = transfer_figure([transfer("C"), transfer("NC")])
    radius, of_errors = radii_pm([transfer()])
    assert (radius, of_errors) == (20.0, 5.0)
    maps = [axes for axes in drawn.axes if axes.images][:6]
    at = transfer().positions_px
    vectors = (transfer().true_pm, transfer().predicted_pm, transfer().error_pm)
    for axes, drawn_pm, full in zip(maps, 2 * vectors, 2 * (radius, radius, of_errors), strict=True):
        rgba = np.asarray(axes.images[0].get_array())
        step = 140 / rgba.shape[1]
        rows, columns = np.rint((at + 0.5) / step - 0.5).astype(int).T
        colours = displacement_colours(drawn_pm, full_radius=full)
        np.testing.assert_allclose(rgba[rows, columns, :3], colours, atol=1e-6)
    said = "\n".join(text.get_text() for text in drawn.texts)
    assert said.count("3 pm") == 2 and "NC" in said and "7 % Sm" in said


def test_no_transfer_is_a_sentence():
    assert isinstance(transfer_figure([]), Figure)


# --- settings


@pytest.mark.parametrize(
    ("model", "values", "words"),
    [
        (NoiseSettings, {"windows_px": "10.5"}, "whole numbers of px, from 10 to 160"),
        (NoiseSettings, {"windows_px": "8,20"}, "whole numbers of px, from 10 to 160"),
        (NoiseSettings, {"variances": "0.1,0.1"}, "each comes once"),
        (NoiseSettings, {"variances": "much"}, "commas between"),
        (CrossSettings, {"compositions": "0.1"}, "two compositions"),
        (CrossSettings, {"compositions": "0,7"}, "7 % is 0.07"),
        (CrossSettings, {"window": 20}, "window_px"),
    ],
)
def test_wrong_settings_are_named(model, values, words):
    with pytest.raises(SettingsError, match=words):
        build(model, values)


def test_a_window_wider_than_a_strip_is_refused_before_any_work(tmp_path, capsys):
    out = tmp_path / "study"
    assert main(["study", "noise", "--out", str(out), *SMALL, "--windows-px", "10,40"]) == 1
    said = capsys.readouterr().err
    assert "wider than a window" in said and "windows of 40 px, and films of 512 px" in said
    assert "windows of 18 px at most" in said and "--size-px 896" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["out", "out.work"])
def test_nothing_of_yours_is_replaced(tmp_path, capsys, place):
    mine = tmp_path / place / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine", encoding="utf-8")
    assert main(["study", "cross", "--out", str(tmp_path / "out"), *CROSS]) == 1
    assert capsys.readouterr().err.startswith("OutputError")
    assert mine.read_text(encoding="utf-8") == "mine"


# --- whole studies


def test_what_was_made_before_is_not_made_again(tmp_path):
    made = []

    def make() -> dict[str, float]:
        made.append(1)
        return {"value": 0.1 + len(made)}

    first = remembered(tmp_path, {"a": 1}, make)
    assert remembered(tmp_path, {"a": 1}, make) == first and len(made) == 1
    assert remembered(tmp_path, {"a": 2}, make) != first and len(made) == 2
    for path in tmp_path.iterdir():
        path.write_text("half a fi", encoding="utf-8")
    assert remembered(tmp_path, {"a": 1}, make)["value"] == pytest.approx(3.1) and len(made) == 3


def test_a_damaged_record_of_a_study_is_said_to_be_that(tmp_path):
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "run.json").write_bytes(b'{"study": "noi\xff')
    with pytest.raises(ChecksumError, match=r"run.json must be whole"):
        write_noise_study(tmp_path / "noise")
    (tmp_path / "noise" / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(OutputError, match="only a result of dipolar is replaced"):
        write_noise_study(tmp_path / "noise")


def test_a_film_is_simulated_once():
    settings = CrossSettings(size_px=256, compositions="0,0.07", window_px=10)
    first = film_source(0.07, settings)
    assert film_source(0.07, settings.model_copy()) is first
    assert film_source(0.07, settings.model_copy(update={"seed": 1})) is not first


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> tuple[Path, str]:
    """A study of noise in miniature: its folder, and what was printed on standard output as JSON."""
    out = tmp_path_factory.mktemp("study") / "noise"
    with pytest.MonkeyPatch.context() as patch:
        told: list[str] = []
        patch.setattr("dipolar.cli.show.line", told.append)
        assert main(["study", "noise", "--out", str(out), "--json", "--figures", "svg", *NOISE]) == 0
    return out, "\n".join(told)


@pytest.mark.slow
def test_a_study_is_a_whole_folder_and_one_object(noise):
    out, told = noise
    assert sorted(item.name for item in out.iterdir()) == ["figure.png", "figure.svg", "noise.csv", "run.json"]
    assert [item.name for item in out.parent.iterdir()] == ["noise"]
    rows = table(out / "noise.csv")
    assert list(rows[0]) == (
        ["windows", "window_px", "variance", "mse_px2", "rms_pm", "r2", "zscore_width", "cells", "cpu_seconds"]
    )
    assert [(row["windows"], row["window_px"], row["variance"]) for row in rows] == [
        (mode, edge, level) for level in ("0.0001", "0.02") for edge in ("10", "12") for mode in ("C", "NC")
    ]
    found = json.loads(told)
    assert found["status"] == "done" and found["networks"] == 8 and found["out"] == str(out)
    assert found["best"]["rms_pm"] == pytest.approx(min(float(row["rms_pm"]) for row in rows), rel=1e-6)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["study"] == "noise" and record["settings"]["windows_px"] == "12,10"
    assert record["summary"]["trends"] == found["trends"]


@pytest.mark.slow
def test_a_study_that_was_interrupted_goes_on_to_the_same_table(noise, tmp_path, capsys, monkeypatch):
    """Once in the middle of a training, which is then taken up from its checkpoint."""
    losses, loss = [], RegressorTask.loss

    def until_interrupted(*arguments: Any) -> Any:
        losses.append(1)
        if len(losses) == 31:  # in the second network, with validations behind it
            raise KeyboardInterrupt
        return loss(*arguments)

    arguments = ["study", "noise", "--out", str(tmp_path / "n"), *SMALL, "--variances", "0.0001", "--windows-px", "10"]
    monkeypatch.setattr(RegressorTask, "loss", until_interrupted)
    assert main(arguments) == 130
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert str(tmp_path / "n.work") in shown.err and "the same command goes on" in shown.err
    assert not (tmp_path / "n").exists()
    assert main(arguments) == 0
    assert len(losses) == 41  # the one that was interrupted, once more, and none of those before it
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path / 'n'}/figure.png"
    assert timeless(table(tmp_path / "n" / "noise.csv")) == timeless(table(noise[0] / "noise.csv")[:2])
    assert [item.name for item in tmp_path.iterdir()] == ["n"]


@pytest.mark.slow
def test_however_jobs_are_spread_the_rows_are_the_same(noise, tmp_path):
    settings = NoiseSettings(size_px=512, steps=20, variances="0.0001", windows_px="10", workers=2)
    found = study_noise(settings, work=tmp_path / "processes")
    written = table(noise[0] / "noise.csv")[:2]
    assert [f"{row['rms_pm']:.9g}" for row in found] == [row["rms_pm"] for row in written]
    job = NoiseJob(
        mode="C", windows="centered", window_px=10, variance=0.0001, settings=settings, work=tmp_path / "serial"
    )
    (alone,) = Serial().each(noise_job, [job])
    assert timeless([alone]) == timeless(found[:1])


@pytest.mark.slow
def test_a_result_is_replaced_by_one_of_its_kind_only(noise, capsys):
    before = (noise[0] / "run.json").read_bytes()
    assert main(["study", "cross", "--out", str(noise[0]), *CROSS]) == 1
    assert "holds a noise study" in capsys.readouterr().err
    assert (noise[0] / "run.json").read_bytes() == before


@pytest.mark.slow
def test_a_cross_study_keeps_its_models_and_draws_the_published_transfers(tmp_path, capsys):
    out = tmp_path / "cross"
    assert main(["study", "cross", "--out", str(out), *CROSS]) == 0
    names = sorted(item.name for item in out.iterdir())
    assert names == ["cross.csv", "figure.png", "models", "run.json", "transfers.png"]
    rows = table(out / "cross.csv")
    assert list(rows[0]) == (
        ["windows", "trained_on", "tested_on", "mse_pm2", "rms_pm", "r2", "zscore_width", "cells", "cpu_seconds"]
    )
    assert len(rows) == 8 and {row["tested_on"] for row in rows} == {"0", "0.07"}
    model = read_model(out / "models" / "NC-7.safetensors")
    assert model.card.windows == "sliding" and model.card.window_px == 10
    assert sorted(item.stem for item in (out / "models").glob("*.json")) == ["C-0", "C-7", "NC-0", "NC-7"]
    # the error of a network on its own film is that of its card, from the same third of the same film
    own = next(row for row in rows if row["windows"] == "NC" and row["trained_on"] == row["tested_on"] == "0.07")
    assert float(own["rms_pm"]) == pytest.approx(model.card.metrics["rms_pm"], rel=1e-5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("best: ") and "% Sm put to" in lines[0]
    assert any("on the film learned from" in line for line in lines)


def test_headlines_say_plainly_what_is_not_as_published(monkeypatch, tmp_path):
    def rows(*_: Any, **__: Any) -> list[dict[str, Any]]:
        more = {"mse_px2": 0.1, "r2": 0.5, "zscore_width": 1.0, "cells": 60, "cpu_seconds": 1.0}
        return [{**row, **more} for row in noise_rows(lambda mode, edge, level: level * edge)]

    monkeypatch.setattr("dipolar.recipes.study_results.study_noise", rows)
    study = write_noise_study(tmp_path / "s", settings=NoiseSettings())
    lines = headline(study)
    assert any(line.startswith("as published: C: the error grows with noise") for line in lines)
    assert any(line.startswith("NOT as published: C: the error does not fall") for line in lines)
    assert lines[0] == "best: C, window 10 px, variance 0.001, RMS error 0.01 pm, R² 0.500"
    assert overview(study)["networks"] == 24
