"""The command line: exit statuses, messages, JSON, and results that are whole or not there."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

import dipolar
from dipolar.cli.main import main

FILM = ["--height-px", "240", "--width-px", "260", "--wall", "none", "--intensity-scatter", "0", "--seed", "5"]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A small simulated film, written by the command line; the path of its image."""
    out = tmp_path_factory.mktemp("cli") / "film"
    assert main(["simulate", "image", "--out", str(out), "--layers", "BiFeO3", *FILM]) == 0
    return out / "film.tif"


@pytest.fixture(scope="module")
def result(film, tmp_path_factory):
    """The result folder of that film."""
    out = tmp_path_factory.mktemp("results") / "film.dipolar"
    assert main(["image", "measure", str(film), "--lattice-pm", "396", "--no-gain-check", "--out", str(out)]) == 0
    return out


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir())


# --- usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["image", "measure"], ["IMAGE", "dipolar image measure --help"]),
        (["image", "measur", "f"], ['"measur"', '"measure"']),
        (["image", "measure", "f", "--lattice", "3"], ["--lattice"]),
        (
            ["image", "measure", "f", "--basis", "C", "--pixel-size-pm", "-3"],
            ["--basis = 'C'", "--pixel-size-pm = '-3'"],
        ),
        (["image", "measure", "f", "--reference", "3:4"], ["--reference", "y0:y1,x0:x1"]),
        (["image", "measure", "f", "--figures", "gif"], ["--figures", "png, svg and pdf"]),
        (["simulate", "image"], ["--out"]),
        (["simulate", "image", "--out", "x", "--layers", "Unobtainium"], ["--layers", "Unobtainium", "BiFeO3"]),
    ],
)
def test_wrong_usage_is_two_and_names_the_option(capsys, arguments, words):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(word in shown.err for word in words), shown.err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["image", "measure", "--help"], ["demo", "-h"]])
def test_help_is_zero(capsys, arguments):
    assert main(arguments) == 0
    assert "dipolar" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == dipolar.__version__


# --- what goes right


def test_the_result_folder_is_complete(result):
    whole = ["cells.csv", "columns.csv", "domains.csv", "figures", "layers.csv", "map.png", "report.html"]
    whole += ["result.h5", "run.json"]
    whole += ["anomalies.csv", "walls.csv", "wall_points.csv"]
    assert left_behind(result) == sorted(whole)
    assert left_behind(result.parent) == ["film.dipolar"]
    run = json.loads((result / "run.json").read_text(encoding="utf-8"))
    assert run["settings"]["lattice_pm"] == 396.0
    assert run["versions"]["dipolar"] == dipolar.__version__
    assert len(run["inputs"]["film.tif"]) == 64


def test_tables_and_result_file_say_the_same(result):
    loaded = dipolar.load(result / "result.h5")
    with (result / "cells.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(loaded.cells.flags) > 40
    scale = loaded.calibration.pixel_size_pm
    assert np.array([float(row["dy_pm"]) for row in rows]) == pytest.approx(
        loaded.cells.displacement_px[:, 0] * scale, abs=0.01
    )


def test_the_displacement_is_that_which_was_simulated(film, result):
    cells = dipolar.load(result / "result.h5").cells
    with (film.parent / "truth_cells.csv").open(encoding="utf-8", newline="") as file:
        truth = np.array([[float(row["dy_pm"]), float(row["dx_pm"])] for row in csv.DictReader(file)])
    found = np.median(cells.displacement_px, axis=0) * cells.pixel_size_pm
    assert found == pytest.approx(np.median(truth, axis=0), abs=1.5)


def test_stdout_is_a_few_lines_and_the_report(film, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["image", "measure", str(film), "--no-gain-check"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[-1] == "film.dipolar/report.html"
    assert (tmp_path / lines[-1]).is_file()
    assert len(lines) <= 7
    # what limits the result is said beside it, not only in the report
    assert all(line.startswith("note: ") for line in shown.err.splitlines())
    assert "reference region" in shown.err


def test_json_is_one_object_alone(film, tmp_path, capsys):
    out = tmp_path / "result"
    assert (
        main(["image", "measure", str(film), "--out", str(out), "--json", "--show", "--reference", "120:240,0:260"])
        == 0
    )
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert told["status"] == "done"
    assert told["out"] == str(out)
    assert told["cells"] > 40
    assert told["calibration"]["source"] == "file"
    assert told["calibration"]["pixel_size_pm"] == pytest.approx(17.25, rel=1e-4)
    assert told["reference"]["region_px"] == [120, 240, 0, 260]
    for gain, sigma in zip(told["gain_check"]["gain"], told["gain_check"]["gain_sigma"], strict=True):
        assert abs(gain - 1) < 5 * sigma
    assert 'reference = "120:240,0:260"  # changed' in shown.err


def test_options_win_over_the_settings_file(film, tmp_path, capsys):
    (tmp_path / "run.toml").write_text('lattice_pm = 500.0\nbasis = "B"\ngain_check = false\n', encoding="utf-8")
    arguments = [
        "--settings",
        str(tmp_path / "run.toml"),
        "--lattice-pm",
        "396",
        "--out",
        str(tmp_path / "r"),
        "--json",
    ]
    assert main(["image", "measure", str(film), *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["calibration"]["lattice_pm"] == 396.0
    assert told["gain_check"] is None
    assert dipolar.load(tmp_path / "r" / "result.h5").cells.basis == "B"


def test_the_settings_in_python_and_on_the_command_line_are_the_same(film, result):
    found = dipolar.measure_image(film, lattice_pm=396, gain_check=False)
    stored = dipolar.load(result / "result.h5")
    assert dict(found.record.settings) == dict(stored.record.settings)
    np.testing.assert_array_equal(found.cells.displacement_px, stored.cells.displacement_px)


def test_report_in_python(result, tmp_path):
    path = dipolar.report(dipolar.load(result / "result.h5"), tmp_path)
    assert path == tmp_path / "report.html"
    assert "<html" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("format", ["tif", "tif16", "npy"])
def test_a_simulated_image_is_read_back(tmp_path, format):
    out = tmp_path / "film"
    assert main(["simulate", "image", "--out", str(out), "--format", format, *FILM]) == 0
    name = "film.npy" if format == "npy" else "film.tif"
    assert left_behind(out) == sorted([name, "run.json", "truth_cells.csv", "truth_columns.csv", "truth_domains.csv"])
    image = dipolar.open_image(out / name)
    again = dipolar.simulate_image(
        height_px=240, width_px=260, wall="none", intensity_scatter=0.0, seed=5, format=format
    ).image
    np.testing.assert_array_equal(image.data, again.data)  # counts at gain 1 are whole numbers
    if format != "npy":
        assert image.pixel_size_pm == pytest.approx(17.25, rel=1e-4)


# --- verify


def test_verify_passes_a_whole_result(result, capsys):
    assert main(["verify", str(result)]) == 0
    assert main(["verify", str(result / "result.h5"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["status"] == "done"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_damaged_byte_is_named(result, tmp_path, capsys, share):
    damaged = tmp_path / "result.h5"
    content = bytearray((result / "result.h5").read_bytes())
    content[int(share * len(content))] ^= 0xFF
    damaged.write_bytes(content)
    assert main(["verify", str(damaged)]) == 1
    shown = capsys.readouterr()
    assert "result.h5" in shown.err
    assert shown.err.startswith("ChecksumError")
    assert "Traceback" not in shown.err


# --- bad input


def npy(array):
    return lambda path: np.save(path, array)


def promise(path):
    """A NumPy header for 8 TB, and 1 kB of data."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (1000000, 1000000)}
        )
        file.write(b"\0" * 1000)


noise = np.random.default_rng(0).normal(100.0, 10.0, size=(200, 200))
blobs = np.random.default_rng(1).random((200, 200))
for _ in range(6):  # amorphous: a typical distance, but no order
    blobs = (blobs + np.roll(blobs, 1, 0) + np.roll(blobs, -1, 0) + np.roll(blobs, 1, 1) + np.roll(blobs, -1, 1)) / 5

BAD = {
    "text.dm4": lambda path: path.write_text("not a microscope file", encoding="utf-8"),
    "empty.tif": lambda path: path.write_bytes(b""),
    "folder.tif": lambda path: path.mkdir(),
    "words.docx": lambda path: path.write_text("hello", encoding="utf-8"),
    "line.npy": npy(np.arange(100.0)),
    "volume.npy": npy(np.zeros((4, 5, 60, 60))),
    "constant.npy": npy(np.full((100, 100), 7.0)),
    "noise.npy": npy(noise),
    "amorphous.npy": npy(blobs),
    "tiny.npy": npy(noise[:8, :8]),
    "unmeasured.npy": npy(np.full((100, 100), np.nan)),
    "saturated.npy": npy(np.full((100, 100), 255, dtype=np.uint8)),
    "terabytes.npy": promise,
    "words.npy": npy(np.array([["a", "b"], ["c", "d"]])),
    "pickled.npy": npy(np.array([{"main_image": 1}], dtype=object)),
    "absent.tif": lambda path: None,
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_message_and_nothing_is_written(tmp_path, capsys, name):
    path = tmp_path / "in" / name
    path.parent.mkdir()
    BAD[name](path)
    out = tmp_path / "out"
    out.mkdir()
    assert main(["image", "measure", str(path), "--out", str(out / "result"), "--json"]) == 1
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    first = shown.err.splitlines()[0]
    assert first.split(":")[0] in {"FormatError", "ImageError", "NoLatticeError", "SelectionError", "DataError"}, first
    assert name in shown.err or "got:" in shown.err, shown.err
    told = json.loads(shown.out)
    assert (told["status"], told["error"]) == ("error", first.split(":")[0])
    assert left_behind(out) == []


def test_no_calibration_leaves_px_and_says_what_to_type(film, tmp_path, capsys):
    path = tmp_path / "film.npy"
    np.save(path, dipolar.open_image(film).data)
    assert main(["image", "measure", str(path), "--no-gain-check", "--out", str(tmp_path / "r")]) == 0
    assert "--lattice-pm" in capsys.readouterr().out
    with (tmp_path / "r" / "cells.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["dy_pm"] == ""
    assert float(row["dy_px"]) != 0.0


@pytest.mark.parametrize("kind", ["file", "below a file", "device"])
def test_an_output_that_cannot_be_written_is_said_before_the_work(film, tmp_path, capsys, monkeypatch, kind):
    monkeypatch.setattr("dipolar.recipes.measure.measure_image", None)  # must not get this far
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    out = {"file": tmp_path / "taken", "below a file": tmp_path / "taken" / "r", "device": "/proc/nowhere/r"}[kind]
    assert main(["image", "measure", str(film), "--out", str(out)]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("OutputError")
    assert "--out" in shown.err
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("failure", "status"), [(KeyboardInterrupt, 130), (OSError, None)])
def test_nothing_half_written_after_a_failure(film, tmp_path, monkeypatch, failure, status):
    def fail(*_, **__):
        raise failure("in the middle")

    monkeypatch.setattr("dipolar.recipes.results.write_report", fail)
    arguments = ["image", "measure", str(film), "--no-gain-check", "--out", str(tmp_path / "result")]
    if status is None:
        with pytest.raises((OSError, SystemExit)) as caught:
            sys.exit(main(arguments))
        assert caught.value.args == (1,) or "fault in dipolar" in caught.value.__notes__[0]
    else:
        assert main(arguments) == status
    assert left_behind(tmp_path) == []


def test_an_earlier_result_survives_a_failed_run(film, result, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    before = (result / "run.json").read_bytes()
    monkeypatch.setattr("dipolar.recipes.results.write_report", interrupt)
    assert main(["image", "measure", str(film), "--no-gain-check", "--out", str(result)]) == 130
    assert (result / "run.json").read_bytes() == before
    assert main(["verify", str(result)]) == 0


def test_python_dash_m(tmp_path):
    command = [sys.executable, "-m", "dipolar", "image", "measure", str(tmp_path / "absent.tif")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "absent.tif" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_behind(tmp_path) == []
