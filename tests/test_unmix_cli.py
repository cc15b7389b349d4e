"""``dipolar image unmix``: exit statuses, messages, JSON, and results that are whole or not there."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import unmix_handmade as handmade
from dipolar.cli.main import main
from dipolar.recipes import unmix

FILM = ["--height-px", "240", "--width-px", "260", "--wall", "none", "--intensity-scatter", "0", "--seed", "5"]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A small simulated film, written by the command line; the path of its image."""
    out = tmp_path_factory.mktemp("unmix") / "film"
    assert main(["simulate", "image", "--out", str(out), "--layers", "BiFeO3", *FILM]) == 0
    return out / "film.tif"


@pytest.fixture(scope="module")
def result(film, tmp_path_factory):
    """The result folder of that film."""
    out = tmp_path_factory.mktemp("unmix-results") / "film.dipolar"
    assert main(["image", "measure", str(film), "--lattice-pm", "396", "--no-gain-check", "--no-maps", "--out",
                 str(out)]) == 0  # fmt: skip
    return out


def test_an_image_becomes_a_folder_that_verifies(film, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["image", "unmix", str(film), "--lattice-pm", "396", "--components", "3", "--figures", "png,pdf"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].startswith("Principal component analysis of ")
    assert shown.out.splitlines()[-1].endswith("film.pca.dipolar/report.html")
    assert sorted(path.name for path in (tmp_path / "film.pca.dipolar").iterdir()) == [
        "components.csv", "components.h5", "modes.hspy", "report.html", "run.json", "sheet.pdf", "sheet.png",
    ]  # fmt: skip
    assert main(["verify", "film.pca.dipolar"]) == 0
    with (tmp_path / "film.pca.dipolar" / "components.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:6] == ["y_px", "x_px", "pca_1", "pca_2", "pca_3", "cluster"]
    assert {row["cluster"] for row in rows} == {"-1"} and rows[0]["dy_pm"]
    assert main(["image", "unmix", str(film), "--lattice-pm", "396", "--components", "2"]) == 0  # replaced


def test_several_methods_are_one_json_object_and_a_folder_each(result, tmp_path, capsys):
    out = tmp_path / "all"
    assert main(["image", "unmix", str(result), "--method", "kmeans,mds", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "done" and [one["method"] for one in told["results"]] == ["kmeans", "mds"]
    assert sorted(path.name for path in out.iterdir()) == ["kmeans.dipolar", "mds.dipolar"]
    assert sum(told["results"][0]["clusters"]) == pytest.approx(1.0)


def test_a_result_of_another_image_with_the_same_name_is_not_replaced(result, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other" / "film"
    assert main(["simulate", "image", "--out", str(other), "--layers", "BiFeO3", *FILM[:-1], "6"]) == 0
    again = tmp_path / "other" / "film.dipolar"
    measure = ["image", "measure", "--no-gain-check", "--no-maps", "--out", str(again)]
    assert main([*measure, str(other / "film.tif"), "--lattice-pm", "396"]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["image", "unmix", str(again), "--components", "2"]) == 0
    assert main(["image", "unmix", str(result), "--components", "2"]) == 1
    assert "only a result of the same image is replaced" in capsys.readouterr().err
    assert main([*measure, str(other / "film.tif"), "--lattice-pm", "395"]) == 0  # another result of the same image
    assert main(["image", "unmix", str(again), "--components", "2"]) == 0


def test_a_result_of_another_kind_is_not_replaced(film, result, tmp_path, capsys):
    held = {path.name: path.read_bytes() for path in film.parent.iterdir()}
    for words in (["unmix", str(result), "--components", "2"], ["measure", str(film), "--lattice-pm", "396"],
                  ["predict", str(film), "--lattice-pm", "396"]):  # fmt: skip
        assert main(["image", *words, "--out", str(film.parent)]) == 1
        assert "holds a simulation" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in film.parent.iterdir()} == held
    for words in (["demo"], ["simulate", "image"], ["study", "noise"]):
        assert main([*words, "--out", str(result)]) == 1
        assert "holds a measurement" in capsys.readouterr().err
    assert main(["verify", str(result)]) == 0


def test_all_settings_can_be_shown(result, tmp_path, capsys):
    arguments = ["image", "unmix", str(result), "--components", "2", "--show", "--json", "--out", str(tmp_path / "o")]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "components = 2" in shown.err and json.loads(shown.out)["method"] == "pca"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--method", "pcb"], 2, ["--method = 'pcb'", "pca, nmf"]),
        (["--window-px", "wide"], 2, ["--window-px = 'wide'", "720pm"]),
        (["--window-px", "2 apples"], 2, ["a bare number", "'2 cells'"]),
        (["--components", "5000"], 2, ["--components = '5000'", "--components 1000"]),
        (["--components", "900"], 1, ["DataError", "--components"]),
        (["--method", "kmeans", "--clusters", "900"], 1, ["DataError", "--clusters"]),
        (["--method", "nmf", "--normalization", "patch"], 1, ["--normalization range"]),
        (["--window-px", "230"], 1, ["SettingsError", "--window-px"]),
        (["--perplexity", "9"], 1, ["perplexity is an option of tsne"]),
        (["--finder", "none.safetensors", "--channels", "both"], 1, ["none.safetensors"]),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(result, tmp_path, capsys, arguments, status, words):
    assert main(["image", "unmix", str(result), *arguments, "--out", str(tmp_path / "o")]) == status
    shown = capsys.readouterr()
    assert all(word in shown.err for word in words), shown.err
    assert shown.out == "" and list(tmp_path.iterdir()) == []


def test_a_missing_extra_says_what_to_type(result, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    assert main(["image", "unmix", str(result), "--method", "umap", "--out", str(tmp_path / "o")]) == 1
    assert "pip install dipolar[umap]" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_finished(result, tmp_path, capsys, monkeypatch):
    def first_only(image, settings, *, progress):
        yield handmade.unmixed("pca")
        raise KeyboardInterrupt

    monkeypatch.setattr(unmix, "unmix_one_by_one", first_only)
    arguments = ["image", "unmix", str(result), "--method", "pca,gmm", "--out", str(tmp_path / "all")]
    assert main(arguments) == 130
    assert "what was finished is in" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["pca.dipolar"]
    assert main(["verify", str(tmp_path / "all" / "pca.dipolar")]) == 0


def test_a_method_that_fails_leaves_and_tells_what_was_finished(result, tmp_path, capsys):
    out = tmp_path / "all"
    arguments = ["--method", "pca,tsne", "--components", "2", "--perplexity", "900", "--out", str(out)]
    assert main(["image", "unmix", str(result), *arguments]) == 1
    shown = capsys.readouterr()
    assert str(out / "pca.dipolar" / "report.html") in shown.out and "perplexity=900" in shown.err
    assert shown.err.splitlines()[0] == f"pca finished: {out / 'pca.dipolar' / 'report.html'}"
    assert [path.name for path in out.iterdir()] == ["pca.dipolar"]
    assert main(["image", "unmix", str(result), *arguments, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["error"] == "SettingsError" and "perplexity" in told["message"]
    assert [one["method"] for one in told["results"]] == ["pca"] and Path(told["results"][0]["out"]).is_dir()


def test_ctrl_c_in_a_training_keeps_what_was_learned(result, tmp_path, capsys, monkeypatch):
    found = handmade.unmixed("rvae")
    stopped = replace(found, components=replace(found.components, facts={"interrupted": True}))
    monkeypatch.setattr(unmix, "unmix_one_by_one", lambda *_, **__: iter([stopped, handmade.unmixed("pca")]))
    arguments = ["image", "unmix", str(result), "--method", "rvae,pca", "--out", str(tmp_path / "all")]
    assert main(arguments) == 130
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["rvae.dipolar"]


@pytest.mark.parametrize("json_too", [False, True])
def test_no_angle_is_status_one_with_the_remedy_and_the_sheet(result, tmp_path, capsys, monkeypatch, json_too):
    monkeypatch.setattr(unmix, "unmix_one_by_one", lambda *_, **__: iter([handmade.unmixed("rvae", verdict="leaked")]))
    out = tmp_path / "o"
    arguments = ["image", "unmix", str(result), "--method", "rvae", "--out", str(out)]
    assert main([*arguments, *(["--json"] if json_too else [])]) == 1
    shown = capsys.readouterr()
    assert "leaked" in shown.err and "use a smaller window" in shown.err
    assert shown.out == "" if not json_too else json.loads(shown.out)["error"] == "TrainingError"
    with (out / "components.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["angle_deg"] for row in rows} == {""} and (out / "sheet.png").is_file()
