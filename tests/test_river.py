"""The whole way: image → measurement → result on disk, with laws that hold across all stages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dipolar
import films
from dipolar.core.errors import DataError, ImageError, SettingsError
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Image, same
from dipolar.core.units import angle_deg, magnitude
from dipolar.io import load, save
from dipolar.recipes.measure import measure_image
from dipolar.recipes.results import write_result
from dipolar.recipes.settings import MeasureSettings
from dipolar.simulate import Domains, FilmSettings, Simulated, count, render_columns

OFFSET_PX = 0.4
"""Shift of every B column by mistilt, in the film of these tests."""
SUBSTRATE = "230:400,0:400"


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    """A BiFeO3 film on SrTiO3, displaced up and to the right."""
    return films.film(
        FilmSettings(
            shape_px=(400, 400),
            layers=(films.layer("SrTiO3", 0.45), films.layer("BiFeO3", 0.55)),
            domains=Domains(directions_deg=(45.0,), walls=()),
            intensity_scatter=0.05,
        ),
        seed=6,
    )


@pytest.fixture(scope="module")
def measured(simulated: Simulated) -> Measurement:
    image = replace(simulated.image, pixel_size_pm=18.5)  # 7 % off, as files are
    return measure_image(image, lattice_pm=390.5, reference=SUBSTRATE)


# --- the sign, by hand


def drawn(*, up: float, right: float, cell: float = 20.0, size: int = 161, angle: float = 0.0) -> Image:
    """Draw bright corners, and dim centres moved up and to the right by so many px, with nothing but NumPy."""
    y, x = np.mgrid[0:size, 0:size].astype(float)
    picture = np.full((size, size), 20.0)
    turn = np.radians(angle)
    for i in range(-12, 13):
        for j in range(-12, 13):
            row, col = cell * i, cell * j
            at_y = size / 2 + row * np.cos(turn) - col * np.sin(turn)
            at_x = size / 2 + row * np.sin(turn) + col * np.cos(turn)
            picture += 100.0 * np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / (2 * 2.8**2))
            row, col = cell * (i + 0.5), cell * (j + 0.5)
            at_y = size / 2 + row * np.cos(turn) - col * np.sin(turn) - up  # up is to smaller y
            at_x = size / 2 + row * np.sin(turn) + col * np.cos(turn) + right
            picture += 40.0 * np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / (2 * 2.8**2))
    picture += np.random.default_rng(0).normal(scale=0.3, size=picture.shape)
    return Image(data=picture.astype(np.float32), name="drawn")


@pytest.mark.parametrize(
    ("up", "right", "angle"), [(1.5, 0.0, 90.0), (0.0, 1.5, 0.0), (-1.5, 0.0, -90.0), (1.0, -1.0, 135.0)]
)
def test_the_sign_of_the_displacement_is_what_the_eye_sees(up, right, angle):
    cells = measure_image(drawn(up=up, right=right), gain_check=False).cells
    assert len(cells.flags) > 25
    assert np.median(cells.displacement_px, axis=0) == pytest.approx((-up, right), abs=0.02)
    found = angle_deg(cells.displacement_px)
    np.testing.assert_allclose(found, angle, atol=3.0)
    assert (cells.a_px[:, 1] > 19).all() and (cells.b_px[:, 0] > 19).all()  # a to the right, b downwards
    other = measure_image(drawn(up=up, right=right), gain_check=False, basis="B").cells
    assert np.median(other.displacement_px, axis=0) == pytest.approx((up, -right), abs=0.02)


def test_a_crystal_turned_counter_clockwise_on_the_screen_has_edges_turned_alike():
    cells = measure_image(drawn(up=1.5, right=0.0, angle=20.0), gain_check=False).cells
    np.testing.assert_allclose(angle_deg(cells.a_px), 20.0, atol=0.5)
    assert np.median(cells.displacement_px, axis=0) == pytest.approx((-1.5, 0.0), abs=0.02)


# --- calibration, reference, summary


def test_the_lattice_calibrates_the_pixel_size(simulated, measured):
    calibration = measured.calibration
    assert calibration.source == "lattice" and calibration.file_pixel_size_pm == 18.5
    assert calibration.pixel_size_pm == pytest.approx(17.25, rel=2e-3)
    assert calibration.measured_lattice_px == pytest.approx(390.5 / 17.25, rel=2e-3)
    assert abs(calibration.measured_lattice_px - 390.5 / 17.25) < 5 * calibration.measured_lattice_sigma_px
    assert measured.cells.pixel_size_pm == measured.image.pixel_size_pm == calibration.pixel_size_pm
    assert any("18.5" in note and "%" in note for note in measured.record.notes)


def test_displacement_of_film_and_substrate_are_right(simulated, measured):
    cells, true = measured.cells, simulated.truth_cells
    mine, its = films.pair_cells(cells, true)
    z = (cells.displacement_px[mine] - true.displacement_px[its]) / films.sigmas(cells.covariance_px2[mine])
    assert len(mine) > 200 and z.std() == pytest.approx(1.0, abs=0.12)
    upper = cells.positions_px[:, 0] < 190
    found = cells.displacement_px * cells.pixel_size_pm
    assert np.median(magnitude(found[upper])) == pytest.approx(32.6, rel=0.03)
    assert np.median(angle_deg(found[upper])) == pytest.approx(45.0, abs=1.5)
    assert (np.abs(np.median(found[cells.positions_px[:, 0] > 250], axis=0)) < 1.0).all()


def test_a_common_offset_is_found_in_the_reference_and_removed(simulated):
    columns = simulated.truth_columns
    moved = columns.positions_px + np.where(columns.sublattice == 1, OFFSET_PX, 0.0)[:, None] * [1.0, -1.0]
    light = render_columns(
        (400, 400), moved, columns.amplitude, columns.widths_px, columns.angle_deg, columns.sublattice, columns.profile
    )
    image = Image(data=count(light + 57.4, rng=np.random.default_rng(1)), name="mistilted")
    result = measure_image(image, reference=SUBSTRATE, gain_check=False)
    reference = result.reference
    assert reference.region_px == (230, 400, 0, 400) and reference.cells > 60
    error = np.array(reference.offset_px) - (OFFSET_PX, -OFFSET_PX)
    assert (np.abs(error) < 4 * np.array(reference.offset_sigma_px)).all()
    inside = result.cells.positions_px[:, 0] > 250
    assert np.abs(result.cells.displacement_px[inside].mean(axis=0)).max() < 0.05
    plain = measure_image(image, gain_check=False)
    assert plain.reference is None
    np.testing.assert_allclose(
        plain.cells.displacement_px - result.cells.displacement_px, [reference.offset_px] * len(plain.cells.flags)
    )
    assert any("No reference region" in note for note in plain.record.notes)
    assert not any("No reference region" in note for note in result.record.notes)


def test_strain_is_measured_against_the_reference(measured):
    fields = {field.name: field for field in measured.fields}
    assert all(len(field.values) == len(measured.cells.flags) for field in measured.fields)
    upper = measured.cells.positions_px[:, 0] < 190
    # coherent: no strain along the film, and across it that of the film's own lattice
    assert np.median(fields["strain_xx"].values[upper]) == pytest.approx(0.0, abs=1e-3)
    assert np.median(fields["strain_yy"].values[upper]) == pytest.approx(396.0 / 390.5 - 1.0, abs=1e-3)
    assert np.median(fields["strain_yy"].values[~upper]) == pytest.approx(0.0, abs=1e-3)
    assert np.median(fields["rotation_deg"].values) == pytest.approx(0.0, abs=0.05)


def test_without_calibration_lengths_are_in_px(simulated):
    result = measure_image(replace(simulated.image, pixel_size_pm=None), gain_check=False)
    assert result.calibration.source == "none" and result.calibration.pixel_size_pm is None
    assert result.cells.pixel_size_pm is None and result.image.pixel_size_pm is None
    assert result.summary["length_unit"] == "px"
    assert not any(name.endswith("_pm") for name in result.summary)
    assert any("lattice_pm" in note for note in result.record.notes)
    given = measure_image(replace(simulated.image, pixel_size_pm=None), gain_check=False, pixel_size_pm="0.01725 nm")
    assert given.calibration.source == "option" and given.cells.pixel_size_pm == pytest.approx(17.25)


def test_the_gain_of_this_image_is_one(measured):
    check = measured.gain_check
    assert check.cells > 150
    for axis in (0, 1):
        assert abs(check.gain[axis] - 1.0) < 0.05
        assert check.gain_sigma[axis] < 0.03
        assert check.zscore_width[axis] == pytest.approx(1.0, abs=0.15)
        assert abs(check.bias_px[axis]) < 0.03


def test_a_reference_without_cells_and_wrong_settings_are_refused(simulated):
    with pytest.raises(DataError, match="reference region"):
        measure_image(simulated.image, reference="900:1000,0:100", gain_check=False)
    with pytest.raises(SettingsError, match="lattice_pm"):
        measure_image(simulated.image, lattice=390.5)
    with pytest.raises(SettingsError, match="basis"):
        measure_image(simulated.image, basis="C")


# --- record, disk, interruption


def test_the_record_tells_how(measured):
    record = measured.record
    assert record.settings["lattice_pm"] == 390.5 and record.settings["reference"] == SUBSTRATE
    assert record.settings["basis"] == "A" and record.settings["fit"] == "profile"
    assert record.versions["dipolar"] == dipolar.__version__ and "numpy" in record.versions
    assert set(record.inputs) == {"simulated film"} and len(record.inputs["simulated film"]) == 64
    assert record.seeds["gain_check"] > 0
    assert record.timings_s["finding and fitting columns"] > 0
    assert record.created.endswith("+00:00")


def test_the_same_settings_give_the_same_measurement(simulated, measured):
    image = replace(simulated.image, pixel_size_pm=18.5)
    again = measure_image(image, settings=MeasureSettings(**measured.record.settings))
    for name in ("image", "columns", "cells", "fields", "calibration", "reference", "gain_check", "summary"):
        assert same(getattr(again, name), getattr(measured, name)), name


def test_save_and_load_is_identity(measured, tmp_path):
    save(measured, tmp_path / "result.h5")
    assert same(load(tmp_path / "result.h5"), measured)


def test_the_result_folder_is_whole_and_says_the_same(measured, tmp_path):
    out = write_result(measured, tmp_path / "film.dipolar")
    assert {"result.h5", "columns.csv", "cells.csv", "map.png", "report.html", "run.json"} <= {
        path.name for path in out.iterdir()
    }
    assert all(path.stat().st_size > 0 for path in out.rglob("*"))
    assert same(load(out / "result.h5"), measured)
    table = np.genfromtxt(out / "cells.csv", delimiter=",", names=True)
    assert len(table) == len(measured.cells.flags)
    scale = measured.cells.pixel_size_pm
    np.testing.assert_allclose(table["dy_pm"], measured.cells.displacement_px[:, 0] * scale, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(table["angle_deg"], angle_deg(measured.cells.displacement_px), rtol=1e-4, atol=1e-2)
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert run["settings"]["lattice_pm"] == 390.5
    assert run["summary"]["cells"] == len(measured.cells.flags)


def test_progress_goes_forward_and_ends(simulated):
    told: list[tuple[str, float]] = []
    measure_image(simulated.image, progress=lambda step, fraction: told.append((step, fraction)), gain_check=False)
    steps = list(dict.fromkeys(step for step, _ in told))
    assert len(steps) >= 4 and "fitting columns" in steps
    for step in steps:
        fractions = [fraction for name, fraction in told if name == step]
        assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] == 1.0, step
    order = [steps.index(step) for step, _ in told]
    assert order == sorted(order)  # no step comes back


@pytest.mark.parametrize("at", ["finding the lattice", "fitting columns", "calibrating"])
def test_an_interruption_comes_through(simulated, at):
    def interrupt(step: str, fraction: float) -> None:
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_image(simulated.image, progress=interrupt, gain_check=False)


@pytest.mark.parametrize("at", [0.0, 0.2, 0.7])
def test_an_interruption_while_writing_leaves_nothing_behind(measured, tmp_path: Path, at):
    def interrupt(step: str, fraction: float) -> None:
        if fraction >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_result(measured, tmp_path / "film.dipolar", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_infinite_pixels_are_refused_or_left_out(simulated):
    data = simulated.image.data.copy()
    data[100:104, 100:104] = np.inf
    try:
        result = measure_image(replace(simulated.image, data=data), gain_check=False)
    except ImageError:
        return
    assert len(result.cells.flags) > 200


def test_an_image_without_a_name_is_refused_in_a_readable_line():
    with pytest.raises(ImageError) as caught:
        measure_image(Image(data=np.full((50, 50), 3.0, dtype=np.float32)))
    assert not caught.value.got.startswith(":")
