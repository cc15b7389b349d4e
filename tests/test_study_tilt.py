"""The study of tilt in miniature: its table, its figure, its laws, and that it goes on where it was stopped."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dipolar.cli.main import main
from dipolar.core.structure import cartesian_pm
from dipolar.recipes import study_tilt, study_tilt_result
from dipolar.recipes.study_tilt import SURFACES, TiltJob, rows_of, shifts_of, tilt_job, top_of
from dipolar.recipes.study_tilt_crystal import crystal_of
from dipolar.recipes.study_tilt_settings import TiltSettings

TINY = ["--material", "sto", "--thickness-nm", "4,2", "--tilts", "12,6", "--pixel-pm", "7.1", "--field-pm", "600",
        "--convergence-mrad", "20", "--inner-mrad", "45", "--repeats", "2"]  # fmt: skip
COLUMNS = ["thickness_nm", "tilt_mrad", "a_shift_pm", "b_shift_pm", "difference_pm", "difference_sigma_pm"]


def table(path: Path) -> list[dict[str, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A finished study; it was interrupted after five simulations, and the same command went on."""
    out = tmp_path_factory.mktemp("study") / "tilt"
    simulated, jobs = study_tilt._simulated, []

    def interrupted(job):
        jobs.append((job.tilt_mrad, job.surface, job.repeat))
        if len(jobs) == 6:
            raise KeyboardInterrupt
        return simulated(job)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(study_tilt, "_simulated", interrupted)
        assert main(["study", "tilt", "--out", str(out), *TINY]) == 130
        assert not out.exists() and out.with_name("tilt.work").is_dir()
        assert main(["study", "tilt", "--out", str(out), *TINY]) == 0
    assert len(jobs) == 13 and len(set(jobs)) == 12  # only the interrupted one was done again
    return out


def test_the_folder_holds_table_and_figures(study):
    assert sorted(path.name for path in study.iterdir()) == ["figure_2nm.png", "figure_4nm.png", "run.json", "tilt.csv"]
    assert not study.with_name("tilt.work").exists()
    assert main(["verify", str(study)]) == 0
    told = json.loads((study / "run.json").read_text(encoding="utf-8"))
    assert told["study"] == "tilt" and "Abramov" in told["inputs"]["structure"]


def test_the_table_has_every_thickness_and_tilt_and_adds_up(study):
    with (study / "tilt.csv").open(encoding="utf-8") as file:
        assert file.readline().strip().split(",")[:6] == COLUMNS
    rows = table(study / "tilt.csv")
    assert [(round(row["thickness_nm"]), row["tilt_mrad"]) for row in rows] == [
        (2, 0.0), (2, 6.0), (2, 12.0), (4, 0.0), (4, 6.0), (4, 12.0)
    ]  # fmt: skip
    for row in rows:
        assert row["difference_pm"] == pytest.approx(row["b_shift_pm"] - row["a_shift_pm"], abs=1e-3)
        both = 0.5 * (row["a_first_difference_pm"] + row["b_first_difference_pm"])
        assert row["difference_pm"] == pytest.approx(both, abs=1e-3)
        half = 0.5 * abs(row["a_first_difference_pm"] - row["b_first_difference_pm"])
        assert row["difference_sigma_pm"] == pytest.approx(np.hypot(half, row["numerical_sigma_pm"]), abs=1e-3)


def test_nothing_moves_without_tilt_and_nothing_across_it(study):
    for row in table(study / "tilt.csv"):
        assert abs(row["a_across_pm"]) < 0.2 and abs(row["b_across_pm"]) < 0.2  # the crystal has a mirror along x
        if row["tilt_mrad"] == 0:
            assert row["a_shift_pm"] == row["b_shift_pm"] == row["difference_pm"] == row["difference_sigma_pm"] == 0
        else:
            assert row["a_shift_pm"] < -0.5 and row["b_shift_pm"] < -0.5 and row["difference_sigma_pm"] > 0


def test_json_tells_the_same(study, tmp_path, capsys, monkeypatch):
    kept = table(study / "tilt.csv")
    monkeypatch.setattr(study_tilt_result, "study_tilt", lambda *_, **__: handmade())
    assert main(["study", "tilt", "--out", str(tmp_path / "s"), *TINY, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["a"], told["b"]) == ("done", "Sr", "Ti") and len(told["table"]) == len(kept)
    assert set(told["table"][0]) == set(kept[0])


def handmade():
    """Results in which A moves by half the tilt and B by all of it, a bit more where B comes first, and so on."""
    found = []
    for tilt in (0.0, 6.0, 12.0):
        for surface in SURFACES:
            for repeat in range(2):
                move = tilt * (1.0 + 0.1 * (surface == "B") + 0.02 * repeat)
                found.append({
                    "tilt_mrad": tilt, "surface": surface, "repeat": repeat, "thicknesses_nm": [1.95, 3.905],
                    "columns_pm": {"A": [[[5.0, 7.0 - 0.5 * tilt]]] * 2, "B": [[[200.0, 190.0 - move]]] * 2},
                    "images": np.arange(32.0).reshape(2, 4, 4).tolist(), "pixel_size_pm": [97.0, 97.0],
                    "scans": {name: np.ones((2, 141)).tolist() for name in SURFACES},
                })  # fmt: skip
    return found


def test_sigma_is_made_of_both_surfaces_and_the_scatter_of_repeats():
    settings = TiltSettings(material="sto", thickness_nm="2,4", tilts="6,12")
    found = handmade()
    assert shifts_of(found, settings).shape == (2, 2, 3, 2, 2, 2)
    row = rows_of(found, settings)[2]
    assert (row["a_shift_pm"], row["b_shift_pm"]) == pytest.approx((-6.0, -12.0 * 1.06))
    surface, numerical = 0.5 * 0.1 * 12, 0.02 * 12 / np.sqrt(2) / np.sqrt(2)
    assert row["numerical_sigma_pm"] == pytest.approx(numerical)
    assert row["difference_sigma_pm"] == pytest.approx(np.hypot(surface, numerical))


def test_one_repeat_does_not_know_its_sigma():
    settings = TiltSettings(material="sto", thickness_nm="2,4", tilts="6,12", repeats=1)
    found = [result for result in handmade() if result["repeat"] == 0]
    assert np.isnan(rows_of(found, settings)[1]["difference_sigma_pm"])


def test_both_planes_can_come_first():
    crystal = crystal_of(TiltSettings(material="bfo"))
    assert crystal.names == ("Bi", "Fe")
    depth = cartesian_pm(crystal.structure)[:, 2]
    for name in SURFACES:
        below = (depth - top_of(crystal, name)) % crystal.step_pm
        heavy = np.isin(crystal.structure.numbers, list(crystal.numbers.values()))
        first = crystal.structure.numbers[heavy][np.argmin(below[heavy])]
        assert first == crystal.numbers[name]


def test_opposite_directions_give_the_same_on_a_square_crystal(tmp_path):
    def moved(direction):
        settings = TiltSettings(material="sto", thickness_nm="2", tilts="10", direction=direction, pixel_pm=7.1,
                                field_pm=600, convergence_mrad=20, inner_mrad=45, repeats=1)  # fmt: skip
        jobs = [TiltJob(tilt_mrad=tilt, surface=surface, repeat=0, settings=settings, work=tmp_path)
                for tilt in (0.0, 10.0) for surface in SURFACES]  # fmt: skip
        return rows_of([tilt_job(job) for job in jobs], settings)[1]

    x, y = moved("x"), moved("y")
    assert x["a_shift_pm"] == pytest.approx(y["a_shift_pm"], rel=0.02)
    assert x["difference_pm"] == pytest.approx(y["difference_pm"], abs=0.1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--material", "gold"], "bfo"),
        (["--tilts", "0,200"], "60 at most"),
        (["--thickness-nm", "0"], "from 0.3 to 1000"),
        (["--direction", "z"], "x"),
    ],
)
def test_wrong_words_are_status_two(tmp_path, capsys, words, expected):
    assert main(["study", "tilt", "--out", str(tmp_path / "s"), *words]) == 2
    assert expected in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_pixels_too_coarse_are_status_one_with_what_to_do(tmp_path, capsys):
    coarse = [word if word != "7.1" else "30" for word in TINY]
    assert main(["study", "tilt", "--out", str(tmp_path / "s"), *coarse]) == 1
    assert "waves must reach" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
