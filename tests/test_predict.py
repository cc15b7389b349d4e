"""Prediction from image to result: laws of the journey, with a finder made by hand and regressors of random weights."""

from __future__ import annotations

import csv
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import dipolar
import films
import handmade
from dipolar.cli.main import main
from dipolar.core.errors import FormatError, ImageError, SettingsError
from dipolar.core.flags import Flag, has
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Image, same
from dipolar.io.finding_tables import cell_findings_table
from dipolar.io.places_table import places_table
from dipolar.learn.familiarity import learn_familiarity
from dipolar.learn.networks import Finder
from dipolar.learn.predictor import Model, predict
from dipolar.learn.store import write_model
from dipolar.recipes.models import open_model
from dipolar.recipes.network_says import network_notes
from dipolar.recipes.networks import Networks, look
from dipolar.recipes.predict import predict_image
from dipolar.recipes.predict_settings import PredictSettings
from dipolar.recipes.results import headline, write_result
from dipolar.recipes.settings import MeasureSettings
from dipolar.recipes.train_sources import source_of
from dipolar.report import citations, notices, repeat_lines, table_rows
from dipolar.report.dense import dense_figure
from dipolar.simulate import Domains, FilmSettings, Simulated

SETTINGS = FilmSettings(
    shape_px=(256, 256),
    layers=(films.layer("BiFeO3"),),
    domains=Domains(directions_deg=(45.0,), walls=()),
    intensity_scatter=0.05,
)


@pytest.fixture(scope="module")
def film() -> Simulated:
    """A film of one domain, displaced up and to the right, 23 px per cell."""
    return films.film(SETTINGS, seed=3)


def predicted(image: Image, *, model: Model | None = None, **options: object) -> Measurement:
    """Predict with the networks of these tests, without maps unless they are asked for."""
    chosen = {"maps": False, "gain_check": False, "finder": handmade.finder(), **options}
    return predict_image(image, model=model or handmade.regressor(), **chosen)


@pytest.fixture(scope="module")
def plain(film: Simulated) -> Measurement:
    return predicted(film.image)


@pytest.fixture(scope="module")
def whole(film: Simulated) -> Measurement:
    """All that can be asked for."""
    return predict_image(
        film.image, model=handmade.regressor(), finder=handmade.finder(), refine=True, compare=True, lattice_pm=396.0,
        reference="150:256,0:256", material="bfo",
    )  # fmt: skip


# --- what is predicted, and where


def test_columns_and_cells_are_those_of_the_film(film, plain):
    distance, row = films.nearest(plain.columns.positions_px, film.truth_columns.positions_px)
    assert len(plain.cells.flags) == len(film.truth_cells.flags) and distance.max() < 3.0
    np.testing.assert_array_equal(plain.columns.sublattice, film.truth_columns.sublattice[row])
    assert not has(plain.columns.flags, Flag.AMBIGUOUS_SUBLATTICE).any()


def test_cells_have_the_values_of_the_dense_field(plain):
    said = plain.findings.prediction
    y, x, step = said.grid_px
    assert (y, x, step) == (1.5, 1.5, 4.0) and said.displacement_px.shape == (64, 64, 2)
    row, col = np.floor((plain.cells.positions_px - (y, x)) / step).astype(int).T
    for field, values in (
        (said.displacement_px, plain.cells.displacement_px),
        (said.sigma_px, films.sigmas(plain.cells.covariance_px2)),
    ):
        around = np.stack([field[row + i, col + j] for i in (0, 1) for j in (0, 1)])
        assert (values > around.min(axis=0) - 1e-6).all() and (values < around.max(axis=0) + 1e-6).all()
    np.testing.assert_array_equal(plain.cells.covariance_px2[:, 0, 1], 0.0)
    assert said.columns.shape == (3, 128, 128) and said.columns_grid_px == (0.5, 0.5, 2.0)
    np.testing.assert_allclose(said.columns.sum(axis=0), 1.0, atol=1e-5)


def test_a_reference_is_taken_off_the_map_as_off_the_cells(film, plain):
    found = predicted(film.image, reference="150:256,0:256")
    offset, sigma = (np.array(part) for part in (found.reference.offset_px, found.reference.offset_sigma_px))
    one, two = plain.findings.prediction, found.findings.prediction
    assert np.abs(offset).max() > 1e-3
    np.testing.assert_allclose(two.displacement_px, one.displacement_px - offset, atol=1e-6)
    np.testing.assert_allclose(two.sigma_px, np.hypot(one.sigma_px, sigma), rtol=1e-5)
    np.testing.assert_allclose(found.cells.displacement_px, plain.cells.displacement_px - offset)


def test_a_quarter_turn_of_the_image_turns_what_is_predicted(film, plain):
    turned = predicted(replace(film.image, data=np.ascontiguousarray(np.rot90(film.image.data))))
    one, two = plain.findings.prediction, turned.findings.prediction
    dy, dx = np.moveaxis(np.rot90(one.displacement_px), -1, 0)
    expected = np.stack([-dx, dy], axis=-1)  # right becomes up
    assert np.abs(one.displacement_px).max() > 1e-3
    np.testing.assert_allclose(two.displacement_px, expected, atol=1e-5)
    np.testing.assert_allclose(two.sigma_px, np.rot90(one.sigma_px)[..., ::-1], rtol=1e-4)
    np.testing.assert_allclose(two.columns, np.rot90(one.columns, axes=(1, 2)), atol=1e-5)
    places = plain.cells.positions_px
    distance, row = films.nearest(np.stack([255.0 - places[:, 1], places[:, 0]], axis=1), turned.cells.positions_px)
    assert distance.max() < 1e-2
    vectors = np.stack([-plain.cells.displacement_px[:, 1], plain.cells.displacement_px[:, 0]], axis=1)
    np.testing.assert_allclose(turned.cells.displacement_px[row], vectors, atol=1e-4)


def test_lengths_do_not_depend_on_the_magnification():
    # a cell of 24 px is taken as it is, one of 48 px is resampled
    fields, sigmas, parameters = [], [], []
    for pixel_size_pm, size in ((16.5, 240), (8.25, 480)):
        settings = replace(SETTINGS, shape_px=(size, size), pixel_size_pm=pixel_size_pm, dose=200.0)
        found = predicted(films.film(settings, seed=3).image, finder=None)  # the scale is that of its columns
        said = found.findings.prediction
        assert said.scale == pytest.approx(pixel_size_pm / 16.5, rel=0.01)
        assert any("resampled" in words for words in found.record.notes) == (size == 480)
        fields.append(pixel_size_pm * said.displacement_px[4:56, 4:56])  # on the same grid of the specimen
        sigmas.append(pixel_size_pm * np.median(np.sqrt(found.cells.covariance_px2[:, 0, 0])))
        parameters.append([np.median(field.values) for field in said.fields])
    assert np.corrcoef(fields[0].ravel(), fields[1].ravel())[0, 1] > 0.98
    assert fields[0].std() == pytest.approx(fields[1].std(), rel=0.2)
    assert sigmas[0] == pytest.approx(sigmas[1], rel=0.06)
    assert parameters[0] == pytest.approx(parameters[1], rel=0.03)


def test_the_scale_is_that_of_training_on_the_same_film():
    large = films.film(replace(SETTINGS, shape_px=(360, 360), pixel_size_pm=10.7, dose=200.0), seed=4)
    learned = source_of(large.image, large.truth_columns, large.truth_cells)
    rough = look(large.image)
    assert abs(rough.seen.scale / learned.seen.scale - 1.0) > 1e-3
    said = predicted(large.image, finder=None).findings.prediction
    np.testing.assert_allclose(said.scale, learned.seen.scale, rtol=5e-4)
    np.testing.assert_allclose(said.columns_grid_px[2], Finder.stride / rough.seen.scale, rtol=1e-9)


def test_parameters_of_the_cell_are_told_in_pm_or_in_px(film, plain):
    fields = {field.name: field for field in plain.findings.prediction.fields}
    assert list(fields) == ["a_pm", "b_pm", "gamma_deg", "area_pm2"]
    bare = predicted(replace(film.image, pixel_size_pm=None))
    in_px = {field.name: field for field in bare.findings.prediction.fields}
    np.testing.assert_allclose(fields["a_pm"].values, in_px["a_px"].values * 17.25)
    np.testing.assert_allclose(fields["area_pm2"].values, in_px["area_px2"].values * 17.25**2)
    np.testing.assert_array_equal(fields["gamma_deg"].values, in_px["gamma_deg"].values)
    assert all(np.isnan(field.sigma).all() for field in fields.values())


def test_a_dark_image_gives_what_its_negative_gives(film, plain):
    dark = predicted(replace(film.image, data=np.float32(500.0) - film.image.data))
    np.testing.assert_allclose(dark.cells.displacement_px, plain.cells.displacement_px, atol=1e-4)
    assert np.median(dark.columns.amplitude) == pytest.approx(-np.median(plain.columns.amplitude), rel=1e-3)
    assert any("upside down" in words for words in dark.record.notes)


def test_what_was_not_measured_is_flagged(film):
    data = film.image.data.copy()
    data[:, 150:], data[150:] = np.nan, np.nan
    found = predicted(replace(film.image, data=data), model=knowing(film))
    flagged = has(found.cells.flags, Flag.NEAR_INVALID)
    assert flagged.any() and found.cells.positions_px[flagged].min() > 128
    said = found.findings.prediction
    at = np.arange(64) * 4 + 2
    told = np.isfinite(said.displacement_px).all(axis=-1)
    assert not told[np.isnan(data)[np.ix_(at, at)]].any()
    row, col = np.nonzero(told)  # windows of 40 px: no more than a quarter of theirs is missing
    assert told[:34, :34].all() and row.max() <= 36 and col.max() <= 36
    assert not told[36, 36]  # half a pixel from the corner of what was measured, most of the window is missing
    np.testing.assert_array_equal(np.isfinite(said.sigma_px).all(axis=-1), told)
    np.testing.assert_array_equal(np.isfinite(said.unfamiliar), told)
    assert np.isfinite(found.cells.displacement_px).all()
    assert isinstance(dense_figure(found.image, said), Figure)


# --- what is unfamiliar


def knowing(film: Simulated) -> Model:
    """Return a regressor that knows what this film looks like."""
    model = handmade.regressor()
    said = predict(model, look(film.image).seen)
    flat = said.features.reshape(-1, said.features.shape[-1])
    known = learn_familiarity(flat[::2], flat[1::2], said.disagreement.ravel()[1::2])
    return replace(model, familiarity=known)


def test_cells_unlike_the_training_images_are_flagged_and_do_not_count(film):
    model = knowing(film)
    usual = predicted(film.image, model=model)
    assert np.mean(usual.findings.prediction.flagged) < 0.1
    noisy = film.image.data.copy()
    noisy[:, 128:] += np.random.default_rng(0).normal(scale=60.0, size=(256, 128)).astype(np.float32)
    found = predicted(replace(film.image, data=noisy), model=model)
    said, right = found.findings.prediction, found.cells.positions_px[:, 1] > 140
    assert said.flagged[right].mean() > 0.9 and said.flagged[found.cells.positions_px[:, 1] < 100].mean() < 0.1
    np.testing.assert_array_equal(said.flagged, has(found.cells.flags, Flag.UNFAMILIAR))
    np.testing.assert_array_equal(said.flagged, said.cell_unfamiliar > 1.0)
    assert found.summary["cells_flagged"] >= found.summary["cells_unfamiliar"] == said.flagged.sum()
    assert any("trained on" in words for words in notices(found))
    places = found.findings.places
    assert places.reason[0].startswith("unlike the training images")
    assert places.positions_px[0, 1] > 128 and (np.diff(places.score) <= 0).all()
    table = places_table(places)
    assert list(table) == ["y_px", "x_px", "y_nm", "x_nm", "reason", "score"]
    np.testing.assert_allclose(table["x_nm"], places.positions_px[:, 1] * 0.01725)
    more = cell_findings_table(found.findings, found.cells)
    np.testing.assert_array_equal(more["ood"] > 1.0, said.flagged)
    np.testing.assert_array_equal(more["predicted_a_pm"], said.fields[0].values)


def test_a_prediction_of_the_unknown_says_so_first(plain):
    assert any("displacement: median" in line for line in headline(plain))
    said = plain.findings.prediction
    said = replace(said, flagged=np.ones_like(said.flagged))
    lines = headline(replace(plain, findings=replace(plain.findings, prediction=said)))
    assert f"{len(said.flagged)} of {len(said.flagged)} cells are unlike all" in lines[0]
    assert not any("displacement: median" in line for line in lines)


def test_widths_of_walls_are_upper_limits(film, plain):
    networks = Networks(finder=handmade.finder(), regressor=handmade.regressor())
    view, said = look(film.image), plain.findings.prediction
    without, one = (
        [words for words in network_notes(networks, view, said, refined=False, walls=walls) if "upper limits" in words]
        for walls in (0, 1)
    )
    assert not without and len(one) == 1 and "dipolar image measure" in one[0]


def test_a_network_that_cannot_tell_says_so(plain):
    assert np.isnan(plain.findings.prediction.cell_unfamiliar).all() and not plain.findings.prediction.flagged.any()
    assert any("cannot tell what is unlike" in words for words in plain.record.notes)


# --- everything that can be asked for


def test_fitted_columns_have_widths_and_an_order_and_a_gain(film, plain, whole):
    assert np.isnan(plain.columns.widths_px).all() and plain.findings.order is None and plain.gain_check is None
    assert np.isfinite(whole.columns.widths_px).all() and whole.findings.order is not None
    distance, _ = films.nearest(whole.columns.positions_px, film.truth_columns.positions_px)
    assert np.median(distance) < 0.2
    assert whole.gain_check is not None and whole.gain_check.gain == pytest.approx((0.0, 0.0), abs=0.5)
    assert whole.findings.polarization is not None and whole.calibration.source == "lattice"


def test_the_fit_beside_the_prediction(film, whole):
    comparison, fitted = whole.findings.comparison, whole.findings.fitted
    assert len(comparison.measured) == len(fitted.cells.flags)
    truth = np.median(film.truth_cells.displacement_px, axis=0)
    offset = np.array(whole.reference.offset_px)
    inside = fitted.cells.positions_px[:, 0] > 150
    np.testing.assert_allclose(np.mean(fitted.cells.displacement_px[inside], axis=0), 0.0, atol=0.05)
    assert np.abs(offset).max() < np.abs(truth).max()  # that of the prediction, not of the fit
    against = whole.findings.prediction.against_fit
    assert against["rmse_px_dy"] == comparison.dy.rmse_px and against["cells"] == comparison.counted.sum()


def test_there_and_back_is_identity(whole, tmp_path):
    dipolar.save(whole, tmp_path / "result.h5")
    assert same(dipolar.load(tmp_path / "result.h5"), whole)


def test_the_report_names_the_networks_and_says_how_to_repeat_it(whole, tmp_path):
    folder = write_result(whole, tmp_path / "whole.dipolar")
    assert {"prediction.png", "comparison.png"} <= {path.name for path in (folder / "figures").iterdir()}
    with (folder / "cells.csv").open(encoding="utf-8", newline="") as file:
        assert {"ood", "predicted_gamma_deg"} <= set(next(csv.reader(file)))
    assert (folder / "places.csv").is_file()
    rows = {(row.section, row.name): row.value for row in table_rows(whole)}
    assert rows["Networks", "displacement told by"] == "random"
    told = "Network that tells displacement"
    assert rows[told, "window"] == "40 network px" and rows[told, "trained on"] == "3 films drawn at random"
    assert rows[told, "RMS error on what was held out"].endswith(" pm")
    assert rows[told, "held out"] == "cells 800, R² 0.990, intervals of 68 % cover 67 %"
    assert ("Beside the fit", "RMS difference of dy") in rows
    assert repeat_lines(whole).command.startswith("dipolar image predict ")
    assert "dipolar.predict_image(" in repeat_lines(whole).python
    assert {"nelson2021", "smith2010"} <= {work["key"] for work in citations(whole)}
    assert any("RMS difference from the fit" in line for line in headline(whole))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "not measured by fitting" in page and "Polar displacement predicted by dipolar" in page


def test_a_prediction_without_a_fit_does_not_cite_one(plain):
    keys = {work["key"] for work in citations(plain)}
    assert "nelson2021" in keys and "smith2010" not in keys and "paszke2019" in keys


# --- settings, models, and what is refused


def test_settings_that_both_share_are_the_same():
    chosen = PredictSettings(lattice_pm="3.96 Å", reference="0:9,0:9", figures="png,svg", maps=False)
    assert chosen.measuring.lattice_pm == 396.0 and chosen.measuring.region_px == (0, 9, 0, 9)
    assert chosen.figure_formats == ("png", "svg") and not chosen.measuring.maps
    assert (chosen.measuring.mistilt, chosen.measuring.gain_check) == ("off", False)
    assert PredictSettings(refine=True).measuring.gain_check
    shared = set(PredictSettings.model_fields) & set(MeasureSettings.model_fields) - {"basis", "contrast", "gain_check"}
    for name in shared:
        assert PredictSettings.model_fields[name].description == MeasureSettings.model_fields[name].description


def test_basis_b_and_signed_images_are_refused(film):
    with pytest.raises(SettingsError, match="B in its cage of A"):
        predicted(film.image, basis="B")
    flat = film.image.data - np.float32(np.mean(film.image.data))
    with pytest.raises(ImageError, match="signed image"):
        predicted(replace(film.image, data=flat))


def test_models_of_another_kind_and_no_models_are_refused(film, tmp_path):
    with pytest.raises(SettingsError, match=r"(?s)--model takes a network that tells.*by-hand, a finder.*--finder"):
        predict_image(film.image, model=handmade.finder(), finder=handmade.finder())
    with pytest.raises(SettingsError, match="--finder takes a network that finds columns"):
        predict_image(film.image, finder=handmade.regressor())
    (tmp_path / "old.pt").write_bytes(pickle.dumps({}))
    with pytest.raises(FormatError, match="pickle can run any code"):
        open_model(tmp_path / "old.pt", "regressor")
    write_model(handmade.regressor(), tmp_path / "mine")
    (tmp_path / "mine.json").unlink()
    with pytest.raises(FormatError, match="no card"):
        open_model(tmp_path / "mine.safetensors", "regressor")


def test_cells_too_large_for_networks_are_refused(film):
    huge = np.repeat(np.repeat(film.image.data[:80, :80], 8, axis=0), 8, axis=1)
    with pytest.raises(ImageError):
        look(replace(film.image, data=huge))


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """A folder with a model in files; a finder cannot be there, so that ``by-hand`` is opened from memory."""
    written = write_model(handmade.regressor(), tmp_path / "mine.safetensors")
    monkeypatch.setattr(
        "dipolar.recipes.models.read_model", lambda path: handmade.finder() if "by-hand" in str(path) else written
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_line_predicts(film, models, capsys):
    np.save(models / "film.npy", film.image.data)
    command = ["image", "predict", "film.npy", "--model", "mine.safetensors", "--finder", "by-hand", "--lattice-pm"]
    assert main([*command, "396", "--no-maps", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["out"] == str(models / "film.predicted.dipolar") and told["cells"] > 80
    assert told["findings"]["prediction"]["model"] == "mine"
    assert any("not measured by fitting" in words for words in told["notes"])
    run = json.loads((models / "film.predicted.dipolar" / "run.json").read_text(encoding="utf-8"))
    assert run["settings"]["model"] == "mine.safetensors" and len(run["inputs"]["mine.safetensors"]) == 64
    assert "torch" in run["versions"]
    assert main(["verify", "film.predicted.dipolar"]) == 0
    assert main(["verify", "mine.safetensors"]) == 0
    (models / "mine.safetensors").write_bytes(b"0" * 80)
    assert main(["verify", "mine.json"]) == 1
    assert "does not match its card" in capsys.readouterr().err


def test_the_networks_that_come_along_tell_the_truth(film):
    found = predict_image(film.image, lattice_pm=396.0, maps=False)
    mine, its = films.pair_cells(found.cells, film.truth_cells)
    assert len(mine) > 0.9 * len(film.truth_cells.flags)
    error = (found.cells.displacement_px[mine] - film.truth_cells.displacement_px[its]) * 17.25
    assert np.sqrt(np.mean(error**2)) < 4.0
    assert np.mean(found.findings.prediction.flagged) < 0.2
