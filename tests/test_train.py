"""From images to a model: nothing learned is tested, nothing finished is lost, and what is wrong is said."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from PIL import Image as Picture
from scipy.spatial import cKDTree

import dipolar
from dipolar.cli import show
from dipolar.cli.main import main
from dipolar.core.atomic import sha256_of
from dipolar.core.errors import DataError, FormatError, MissingExtraError, OutputError, SettingsError
from dipolar.core.learning import TARGETS, Card
from dipolar.learn import onnx_export
from dipolar.learn.calibration import Calibration
from dipolar.learn.checkpoint import METRICS, NAME
from dipolar.learn.exam import examine
from dipolar.learn.networks import build
from dipolar.learn.predictor import Model, hear, predict
from dipolar.learn.scale import Seen
from dipolar.learn.store import read_model
from dipolar.recipes import train_result
from dipolar.recipes.models import by_name
from dipolar.recipes.networks import Networks, look
from dipolar.recipes.simulate import write_image
from dipolar.recipes.train import learned_little, source_of, train_on_image, train_on_sources
from dipolar.recipes.train_result import check_target, onnx_paths, work_folder, write_trained
from dipolar.recipes.train_settings import TrainSettings
from dipolar.recipes.train_sources import check_parts, in_px, inside, open_source, strips
from dipolar.recipes.train_words import headline_of, training_notes
from dipolar.report.training_sheet import agreement_figure, training_sheet

FILM = {"height_px": 256, "width_px": 256, "pixel_size_pm": 44.0, "layers": "BiFeO3", "dose": 20.0, "seed": 5}
SMALL = {"window_px": 40, "crop_px": 96, "split": "y", "ensemble": 1, "device": "cpu"}
TINY = TrainSettings(steps=100, **SMALL)
QUICK = TrainSettings(steps=10, batch=2, **{**SMALL, "crop_px": 48})


@pytest.fixture(scope="module")
def film():
    return dipolar.simulate_image(intensity_scatter=0.0, **FILM)


@pytest.fixture(scope="module")
def measured(film):
    return dipolar.measure_image(film.image, gain_check=False, maps=False, mistilt="off")


@pytest.fixture(scope="module")
def source(measured):
    image = replace(measured.image, name="film.tif")
    return source_of(image, measured.columns, measured.cells, sha256="0" * 64)


@pytest.fixture(scope="module")
def trained(source):
    return train_on_sources([source], TINY)


@pytest.fixture(scope="module")
def film_file(tmp_path_factory, film):
    """The same film on disk."""
    path = tmp_path_factory.mktemp("film") / "film.tif"
    write_image(film.image, path)
    return path


@pytest.fixture(scope="module")
def result_file(tmp_path_factory, measured):
    """What was measured in it, on disk."""
    path = tmp_path_factory.mktemp("result") / "film.h5"
    dipolar.save(measured, path)
    return path


@pytest.fixture
def no_picture(monkeypatch):
    """Drawing takes longer than these trainings."""
    monkeypatch.setattr(train_result, "training_sheet", lambda *_, **__: b"a picture")


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir())


def stop_when(step, fraction):
    """A progress that presses Ctrl-C once, when a step has come so far."""
    pressed = []

    def progress(name, done):
        if name == step and done >= fraction - 1e-9 and not pressed:
            pressed.append(True)
            raise KeyboardInterrupt

    return progress


# --- it learns


def test_a_short_training_learns_much_more_than_the_mean(trained):
    result = trained
    truth = result.answers.truth[:, :2]
    of_the_mean = np.sqrt(np.mean((truth - truth.mean(axis=0)) ** 2))
    assert result.marks["rms_network_px"] < 0.5 * of_the_mean
    assert result.marks["r2"] > 0.75
    assert 0.3 < result.marks["coverage_68"] < 0.98
    assert not result.interrupted
    assert result.trained[0].stopped == "done"
    assert result.marks["rms_pm"] == pytest.approx(result.marks["rms_px"] * 44.0, rel=1e-3)


def test_sigma_holds_against_the_truth_not_only_against_the_fit(trained, film):
    """Network and fit look at the same pixels and are wrong alike: what the fit does not know, the network cannot."""
    answers, true = trained.answers, film.truth_cells
    _, row = cKDTree(true.positions_px).query(answers.positions_px)
    truth = true.displacement_px[row] * answers.scale
    error, of_the_fit = answers.values[:, :2] - truth, answers.truth[:, :2] - truth
    assert np.corrcoef(error.ravel(), of_the_fit.ravel())[0, 1] > 0.1
    width = trained.model.calibration.quantiles[0.68] * answers.sigma
    assert 0.6 < np.mean(np.abs(error) < width) < 0.95
    assert 0.6 < np.sqrt(np.mean((error / answers.sigma) ** 2)) < 1.25
    fit_sigma = np.sqrt(np.mean(answers.truth_sigma**2))
    assert np.sqrt(np.mean(answers.sigma**2)) > fit_sigma


def test_one_in_fifty_cells_of_the_part_held_out_is_unfamiliar(trained, source):
    answers = examine(trained.model, source.seen, source.cells, inside(source, TINY, 1))
    strange = np.count_nonzero(answers.unfamiliar > 1.0)
    assert 1 <= strange <= np.ceil(0.02 * len(answers.unfamiliar))


def test_the_same_seed_gives_the_same_model(source):
    one, other = (train_on_sources([source], QUICK) for _ in range(2))
    for a, b in zip(one.model.networks[0].parameters(), other.model.networks[0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert dict(one.marks) == dict(other.marks)


def test_a_finder_is_trained_and_judged(source):
    result = train_on_sources([source], TINY.model_copy(update={"target": "columns", "steps": 60}))
    assert result.marks["recall"] > 0.9
    assert result.marks["spurious_share"] < 0.1
    assert result.marks["rms_network_px"] < 1.0
    assert 0.4 < result.marks["coverage_68"] < 0.95
    assert result.model.calibration is not None
    assert result.model.card.calibration["scale"] == result.model.calibration.scale
    assert result.model.card.window_px == 80  # what a finder sees, whatever window was asked for
    assert "found" in " ".join(headline_of(result))


def test_the_card_tells_how_it_was_made(trained):
    card = trained.model.card
    assert (card.kind, card.members, card.targets) == ("regressor", 1, TARGETS[:2])
    assert dict(card.training["images"]) == {"film.tif": "0" * 64}
    assert card.training["settings"]["steps"] == 100
    assert card.versions["torch"] == torch.__version__
    assert card.metrics["rms_pm"] == trained.marks["rms_pm"]
    assert set(card.calibration) >= {"scale", "quantile_68"}


def test_the_floor_of_sigma_is_told_in_the_unit_of_the_errors(trained):
    made = Calibration(scale=2.0, floor=0.1, quantiles={}, count=100)
    lines = headline_of(replace(trained, model=replace(trained.model, calibration=made)))
    least = 2.0 * 0.1 / trained.answers.scale * 44.0
    assert f"sigma, recalibrated by 2.00 and never below {least:.2g} pm:" in lines[-1]
    bare = replace(made, floor=0.0)
    assert "never below" not in headline_of(replace(trained, model=replace(trained.model, calibration=bare)))[-1]


def test_cell_parameters_and_sliding_windows(source):
    settings = QUICK.model_copy(update={"target": "cell", "windows": "sliding"})
    result = train_on_sources([source], settings)
    assert result.model.card.targets == TARGETS
    assert result.answers.values.shape[1] == len(TARGETS)
    assert result.model.card.windows == "sliding"


# --- nothing that is learned is tested


@pytest.mark.parametrize("split", ["x", "y"])
@pytest.mark.parametrize("shape", [(300, 517), (1023, 640)])
def test_parts_share_no_pixel_and_leave_none_out(split, shape):
    seen = Seen(pixels=torch.zeros(1, 1, 8, 8), scale=1.0, shape=shape, cell_px=24.0)
    covered = np.zeros(shape, dtype=int)
    for y0, y1, x0, x1 in strips(seen, TrainSettings(split=split)):
        covered[y0:y1, x0:x1] += 1
    assert (covered == 1).all()


def test_parts_that_are_too_narrow_are_refused():
    seen = Seen(pixels=torch.zeros(1, 1, 8, 8), scale=1.0, shape=(900, 120), cell_px=24.0)
    with pytest.raises(DataError, match="at least 32 px wide") as caught:
        strips(seen, TrainSettings(split="x"))
    assert "--split y" in caught.value.do


@pytest.mark.parametrize("windows", ["centered", "sliding"])
@pytest.mark.parametrize("window_px", [20, 40])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_what_is_said_in_a_part_depends_on_no_pixel_of_another(source, windows, window_px, part):
    settings = QUICK.model_copy(update={"windows": windows, "window_px": window_px})
    options = {"window_px": window_px, "fine": 2, "middle": 3, "coarse": 3, "cell_parameters": False}
    card = Card(
        kind="regressor", architecture=options, members=1, targets=TARGETS[:2], window_px=window_px, windows=windows
    )
    model = Model(name="", card=card, networks=(build("regressor", options, seed=1),))
    y0, y1, x0, x1 = strips(source.seen, settings)[part]
    x1 += 8  # the image in the mirror, beyond its rim, is its own
    y1 += 8 if y1 == source.seen.shape[0] else 0
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=source.seen.pixels.shape).astype(np.float32))
    noise[:, :, y0:y1, x0:x1] = source.seen.pixels[:, :, y0:y1, x0:x1]
    rows = inside(source, settings, part)
    assert rows.sum() > 20
    one, other = (
        examine(model, seen, source.cells, rows) for seen in (source.seen, replace(source.seen, pixels=noise))
    )
    np.testing.assert_allclose(other.values, one.values, atol=1e-5)
    np.testing.assert_allclose(other.sigma, one.sigma, atol=1e-5)
    everywhere = examine(model, replace(source.seen, pixels=noise), source.cells, np.ones_like(rows))
    before = examine(model, source.seen, source.cells, np.ones_like(rows))
    assert np.abs(everywhere.values - before.values).max() > 1e-3  # elsewhere it does


def test_cells_are_those_that_the_image_shows(film, measured):
    """A network cannot see the offset of a reference, nor that a scan was made straight."""
    changed = dipolar.measure_image(
        film.image, gain_check=False, maps=False, mistilt="off", reference="0:100,0:256", basis="B"
    )
    assert np.abs(changed.reference.offset_px).max() > 0.1
    one, other = (open_source(part, QUICK, progress=lambda *_: None) for part in (measured, changed))
    np.testing.assert_array_equal(one.cells.displacement_px, other.cells.displacement_px)
    np.testing.assert_array_equal(one.cells.displacement_px, measured.cells.displacement_px)
    assert other.cells.basis == "A"
    assert other.cells.pixel_size_pm == pytest.approx(44.0, rel=1e-3)


def test_the_pixel_size_can_be_given_for_results_too(measured):
    def size(**options):
        return open_source(measured, TrainSettings(**options), progress=lambda *_: None).cells.pixel_size_pm

    assert size() == pytest.approx(44.0, rel=1e-3)
    assert size(pixel_size_pm=20.0) == 20.0
    assert size(lattice_pm=200.0) == pytest.approx(200.0 / measured.calibration.measured_lattice_px)


def test_an_image_can_be_a_folder(measured, tmp_path, monkeypatch):
    monkeypatch.setattr("dipolar.recipes.train_sources._measure", lambda *_: measured)
    folder = tmp_path / "film.zspy"
    folder.mkdir()
    (folder / ".zattrs").write_text("{}")
    assert open_source(folder, QUICK, progress=lambda *_: None).sha256 == sha256_of(folder)


def test_dark_images_are_turned_upside_down_as_in_a_prediction(film, source):
    dark = replace(film.image, data=film.image.data.max() - film.image.data)
    measured = dipolar.measure_image(dark, gain_check=False, maps=False, mistilt="off")
    seen = open_source(measured, QUICK, progress=lambda *_: None).seen
    np.testing.assert_allclose(seen.pixels, source.seen.pixels, atol=1e-3)
    np.testing.assert_allclose(look(dark).seen.pixels, look(film.image).seen.pixels, atol=1e-3)
    signed = replace(measured, record=replace(measured.record, settings={"contrast": "signed"}))
    with pytest.raises(DataError, match="a signed image") as caught:
        open_source(signed, QUICK, progress=lambda *_: None)
    assert "--contrast bright" in caught.value.do


def test_an_hdf5_file_of_another_program_is_an_image(result_file, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "dipolar.recipes.train_sources.load_measurement", lambda path: pytest.fail(f"{path} is no result")
    )
    monkeypatch.setattr("dipolar.recipes.train_sources._measure", lambda *_: STOP)
    for name, value in (("theirs", "another format"), ("number", 3), ("bare", None)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.attrs.update({} if value is None else {"format": value})
        with pytest.raises(AttributeError, match="findings"):
            open_source(tmp_path / f"{name}.h5", QUICK, progress=lambda *_: None)
    with pytest.raises(pytest.fail.Exception, match="is no result"):
        open_source(result_file, QUICK, progress=lambda *_: None)


STOP = object()


def test_images_of_one_name_are_all_on_the_card(source):
    assert by_name([("a.tif", "1"), ("b.tif", "2"), ("a.tif", "3"), ("a.tif", "4")]) == {
        "a.tif": "1", "b.tif": "2", "a.tif (2)": "3", "a.tif (3)": "4",
    }  # fmt: skip
    result = train_on_sources([source, replace(source, sha256="1" * 64)], QUICK)
    assert dict(result.model.card.training["images"]) == {"film.tif": "0" * 64, "film.tif (2)": "1" * 64}


def test_networks_of_one_name_both_keep_their_sum():
    finder, regressor = (
        Model(name="net", card=Card(kind=kind, architecture={}, members=1, targets=(), window_px=80,
              windows="centered", sha256=digit * 64), networks=())
        for kind, digit in (("finder", "1"), ("regressor", "2"))
    )  # fmt: skip
    sums = Networks(finder=finder, regressor=regressor).sums
    assert sums == {"net.safetensors": "2" * 64, "net.safetensors (2)": "1" * 64}


def test_the_networks_run_once_over_each_image(source, monkeypatch):
    heard = []
    monkeypatch.setattr("dipolar.recipes.train.hear", lambda model, seen: heard.append(seen) or hear(model, seen))
    monkeypatch.setattr("dipolar.learn.exam.hear", None)  # examine must not run them again
    result = train_on_sources([source, source], QUICK)
    assert len(heard) == 2 and len(result.answers.values) > 100


# --- what is too little is said before the training


def test_windows_that_leave_too_few_cells_are_refused_with_one_that_does_not(source, monkeypatch):
    monkeypatch.setattr("dipolar.recipes.train.fit", None)  # must not get this far
    with pytest.raises(DataError, match="to validate with must hold 50 usable cells") as caught:
        train_on_sources([source], QUICK.model_copy(update={"window_px": 80}))
    advised = int(caught.value.do.split()[1].rstrip(","))
    assert caught.value.do.startswith("--window-px")
    check_parts([source], QUICK.model_copy(update={"window_px": advised}))


def test_no_window_of_less_than_a_cell_is_advised(source, monkeypatch):
    def enough(sources, settings, part):
        return 100 if settings.window_px < 24 else 0

    monkeypatch.setattr("dipolar.recipes.train_sources._count", enough)
    with pytest.raises(DataError, match="usable cells") as caught:
        check_parts([source], QUICK)
    assert caught.value.do == "take a larger image, or several"


def test_a_finder_that_could_not_be_judged_is_not_trained(source, monkeypatch):
    monkeypatch.setattr("dipolar.recipes.train.fit", None)  # must not get this far
    narrow = QUICK.model_copy(update={"target": "columns", "share": 0.5})  # a strip of 86 px, 80 of them at its borders
    with pytest.raises(DataError, match="to validate with must hold 20 columns") as caught:
        train_on_sources([source], narrow)
    assert "several" in caught.value.do


def test_an_image_with_few_cells_is_refused():
    small = dipolar.simulate_image(**{**FILM, "height_px": 60, "width_px": 60})
    with pytest.raises(DataError, match="at least 60 cells"):
        source_of(small.image, small.truth_columns, small.truth_cells)


def test_no_image_at_all_is_refused():
    with pytest.raises(DataError, match="at least one image"):
        train_on_image([])


def test_what_another_network_said_is_not_learned_from(measured):
    said = replace(measured, findings=replace(measured.findings, prediction=PREDICTION))
    with pytest.raises(DataError, match="not from what another network said"):
        open_source(said, QUICK, progress=lambda *_: None)


PREDICTION = dipolar.Prediction(
    model="net",
    sha256="",
    scale=1.0,
    grid_px=(1.5, 1.5, 4.0),
    displacement_px=np.zeros((1, 1, 2), dtype=np.float32),
    sigma_px=np.zeros((1, 1, 2), dtype=np.float32),
    unfamiliar=np.zeros((1, 1), dtype=np.float32),
    columns=None,
    columns_grid_px=(0.5, 0.5, 2.0),
    cell_unfamiliar=np.zeros(0),
)


def test_windows_in_pm(source):
    settings = in_px(TrainSettings(window_pm="0.8nm"), [source])
    assert settings.window_px == round(800 / 44 * source.seen.scale)
    assert settings.window_pm is None
    with pytest.raises(SettingsError, match="window_px"):
        in_px(TrainSettings(window_pm=9000.0), [source])
    blind = replace(source, cells=replace(source.cells, pixel_size_pm=None))
    with pytest.raises(SettingsError, match="needs the size of a pixel") as caught:
        in_px(TrainSettings(window_pm=900.0), [blind])
    assert "--lattice-pm" in caught.value.do


# --- interrupted, and gone on with


def test_an_interrupted_training_goes_on_bit_by_bit(source, tmp_path):
    settings = QUICK.model_copy(update={"ensemble": 2})
    whole = train_on_sources([source], settings)
    part = train_on_sources([source], settings, work=tmp_path, progress=stop_when("training 2 of 2", 0.7))
    assert part.interrupted
    assert [one.stopped for one in part.trained] == ["done", "interrupted"]
    assert part.model.card.members == 2
    again = train_on_sources([source], settings, work=tmp_path)
    assert not again.interrupted
    assert dict(again.marks) == dict(whole.marks)
    for one, other in zip(whole.model.networks, again.model.networks, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_members_that_were_not_reached_are_left_out(source):
    settings = QUICK.model_copy(update={"ensemble": 3})
    part = train_on_sources([source], settings, progress=stop_when("training 2 of 3", 1 / 10))
    # one step of the second was done and not validated
    assert part.interrupted
    assert part.model.card.members == len(part.trained) >= 1
    assert all(one.best_step for one in part.trained)


def test_before_the_first_validation_there_is_no_model(source):
    settings = QUICK.model_copy(update={"steps": 400})  # validated every 20 steps
    with pytest.raises(KeyboardInterrupt):
        train_on_sources([source], settings, progress=stop_when("training", 3 / 400))


# --- on disk


def test_what_is_read_says_what_was_written(trained, source, tmp_path):
    path = write_trained(trained, tmp_path / "deep" / "bfo_0.5")
    assert path == tmp_path / "deep" / "bfo_0.5.safetensors"
    names = ["bfo_0.5.json", "bfo_0.5.metrics.jsonl", "bfo_0.5.png", "bfo_0.5.safetensors"]
    assert left_behind(path.parent) == names
    read = read_model(path)
    assert read.name == "bfo_0.5"
    one, other = (predict(model, source.seen) for model in (trained.model, read))
    for name in ("values", "sigma", "disagreement", "features", "unfamiliar"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert read.card.metrics == dict(trained.marks)
    rows = [json.loads(line) for line in (path.parent / names[1]).read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(trained.trained[0].history) == 20
    assert rows[-1]["step"] == 100 and rows[0]["member"] == 0
    with Picture.open(path.parent / names[2]) as picture:
        assert picture.width > 1000 and picture.height > 1000
    assert main(["verify", str(path)]) == 0
    assert main(["verify", str(path.with_name("bfo_0.5"))]) == 0


def test_what_was_trained_can_be_saved_and_put_to_an_image(trained, measured, tmp_path, no_picture):
    dipolar.save(trained, tmp_path / "net.safetensors")
    dipolar.save(trained.model, str(tmp_path / "bare"))
    quick = {"maps": False, "gain_check": False}
    from_file, bare, at_once = (
        dipolar.predict_image(measured.image, model=model, **quick)
        for model in (tmp_path / "net", tmp_path / "bare.safetensors", trained)
    )
    for other in (bare, at_once):
        np.testing.assert_array_equal(from_file.cells.displacement_px, other.cells.displacement_px)
    assert at_once.findings.prediction.model == "just-trained"
    with pytest.raises(OutputError, match="writes no other kind"):
        dipolar.save(trained.model, tmp_path / "net.pt")


def test_a_model_is_replaced_and_nothing_else(trained, tmp_path, no_picture):
    path = write_trained(trained, tmp_path / "net")
    before = path.read_bytes()
    write_trained(trained, path)
    assert path.read_bytes() == before
    (tmp_path / "mine.png").write_bytes(b"mine")
    (tmp_path / "other.json").write_text('{"format": "dipolar alignment"}', encoding="utf-8")
    for name in ("mine", "other"):
        with pytest.raises(OutputError, match="only a model that dipolar trained is replaced"):
            write_trained(trained, tmp_path / name)
    assert (tmp_path / "mine.png").read_bytes() == b"mine"


@pytest.mark.parametrize("ending", [".pt", ".pth", ".h5", ".onnx", ".PKL"])
def test_models_of_other_programs_are_not_written(tmp_path, ending):
    with pytest.raises(OutputError, match=r"NAME\.safetensors and NAME\.json; it writes no other kind") as caught:
        check_target(tmp_path / f"model{ending}")
    assert caught.value.do == f"--out {tmp_path / 'model.safetensors'}"


def test_places_where_no_model_can_go(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.training").touch()
    (tmp_path / "wall").touch()
    (tmp_path / "film.png").touch()
    with pytest.raises(OutputError, match="written as files"):
        check_target(tmp_path / "folder")
    with pytest.raises(OutputError, match="checkpoints go into a folder"):
        check_target(tmp_path / "file")
    with pytest.raises(OutputError, match="must be writable"):
        check_target(tmp_path / "wall" / "net")
    with pytest.raises(OutputError, match="what is read is not written over"):
        check_target(tmp_path / "film", images=[tmp_path / "film.png"])
    assert check_target(tmp_path / "net.json") == tmp_path / "net.safetensors"
    assert check_target(tmp_path / "new" / "net") == tmp_path / "new" / "net.safetensors"
    assert not (tmp_path / "new").exists()


def test_a_failure_leaves_nothing_and_an_earlier_model_whole(trained, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    path = write_trained(trained, tmp_path / "net")
    before = {part.name: part.read_bytes() for part in tmp_path.iterdir()}
    monkeypatch.setattr(train_result, "training_sheet", fail)
    with pytest.raises(OutputError, match="must be writable"):
        write_trained(trained, path)
    assert {part.name: part.read_bytes() for part in tmp_path.iterdir()} == before


# --- ONNX


def fake_export(network, path):
    assert {type(layer).__name__ for layer in network.modules()} & {"Lift", "Turn", "Head"} == set()
    path.write_bytes(str(path).encode())
    return 1e-6


def test_onnx_files_follow_the_members(trained, tmp_path, monkeypatch, no_picture):
    monkeypatch.setattr(train_result, "export_onnx", fake_export)
    two = replace(
        trained, model=replace(trained.model, networks=trained.model.networks * 2), trained=trained.trained * 2
    )
    path = write_trained(two, tmp_path / "net", onnx=True)
    assert {part.name for part in tmp_path.glob("*.onnx")} == {"net-0.onnx", "net-1.onnx"}
    card = read_model(path).card
    assert card.training["onnx"]["net-1.onnx"]["largest_difference"] == 1e-6
    (tmp_path / "net-7.onnx").touch()  # another model's
    write_trained(trained, path, onnx=True)
    assert {part.name for part in tmp_path.glob("*.onnx")} == {"net.onnx", "net-7.onnx"}
    (tmp_path / "net-0.onnx").touch()
    with pytest.raises(OutputError, match=r"net-0\.onnx: there already"):
        check_target(path, onnx=True, members=2)
    assert check_target(path, onnx=False, members=2) == path
    assert [part.name for part in onnx_paths(path, 3)] == ["net-0.onnx", "net-1.onnx", "net-2.onnx"]


def test_a_missing_exporter_is_said_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(train_result, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="ONNX") as caught:
        check_target(tmp_path / "net", onnx=True)
    assert caught.value.do == "pip install dipolar[onnx]"


def test_the_onnx_file_says_what_the_network_says(trained, tmp_path, no_picture):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = write_trained(trained, tmp_path / "net", onnx=True)
    difference = read_model(path).card.training["onnx"]["net.onnx"]["largest_difference"]
    assert 0 <= difference < onnx_export.TOLERANCE
    pixels = np.random.default_rng(5).normal(size=(1, 1, 72, 40)).astype(np.float32)
    session = runtime.InferenceSession((tmp_path / "net.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        wanted = trained.model.networks[0](torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(session.run(None, {"image": pixels})[0], wanted, atol=1e-4)


# --- the picture


def test_the_picture_tells_the_error_of_both_components():
    rng = np.random.default_rng(0)
    measured = rng.normal(scale=20.0, size=(900, 2))
    predicted = measured + np.array([1.5, -3.0])
    drawn = agreement_figure(predicted, measured, unit="pm")
    titles = [axes.get_title(loc="left") for axes in drawn.axes]
    assert titles == ["dx (pm): RMS error 3 pm", "dy (pm): RMS error 1.50 pm"]
    assert agreement_figure(np.zeros((0, 2)), np.zeros((0, 2))).texts[-1].get_text() == "no cell was tested"


def test_the_picture_is_the_same_every_time_and_works_with_little():
    rows = [{"step": 10, "loss": None, "training_loss": 2.0, "learning_rate": 1e-3, "member": 0}]
    one, other = (training_sheet(rows, name="$net") for _ in range(2))
    assert one == other
    assert Picture.open(io.BytesIO(one)).text["Software"] == "dipolar"


# --- the command


def command(film_file, out, *more):
    options = [
        "--window-px",
        "40",
        "--split",
        "y",
        "--crop-px",
        "48",
        "--batch",
        "2",
        "--steps",
        "8",
        "--device",
        "cpu",
    ]
    return ["image", "train", str(film_file), "--out", str(out), *options, *more]


def test_from_a_file_to_a_model(film_file, tmp_path, capsys):
    assert main(command(film_file, tmp_path / "net", "--ensemble", "2", "--lattice-pm", "396")) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0].startswith("2 networks that tell displacement, trained on film.tif: centered windows of 40 px")
    assert "RMS error" in lines[1] and " pm " in lines[1] and "R²" in lines[1]
    assert "column fit's own sigma" in lines[2]
    assert "68 %" in lines[3]
    assert lines[-1] == str(tmp_path / "net.safetensors")
    assert left_behind(tmp_path) == ["net.json", "net.metrics.jsonl", "net.png", "net.safetensors"]
    card = read_model(tmp_path / "net").card
    assert card.members == 2
    assert len(card.training["images"]["film.tif"]) == 64


@pytest.mark.parametrize(
    ("r2", "rms_px", "sigma_px", "little"),
    [
        (0.1, 1.0, 0.5, "learned little"),
        (0.1, 0.5, 0.5, ""),  # nothing varies but noise
        (0.9, 1.6, 0.5, "learned less than the fit knows"),
        (0.9, 1.0, 0.5, ""),
        (0.9, 1.0, 0.0, ""),  # the truth has no sigma
        (-3.0, 1.0, 0.0, "learned little"),
    ],
)
def test_a_network_that_learned_little_says_so(trained, r2, rms_px, sigma_px, little):
    found = {**trained.marks, "r2": r2, "rms_px": rms_px, "fit_median_sigma_px": sigma_px}
    told = training_notes(replace(trained, marks={**found, "learned_little": float(learned_little(found))}))
    assert len(told) == bool(little) and all(little in note and "--steps" in note for note in told)


def test_settings_file_json_and_show(result_file, tmp_path, capsys, no_picture):
    (tmp_path / "run.toml").write_text('ensemble = 1\nsteps = 99\ntarget = "cell"\n', encoding="utf-8")
    arguments = command(result_file, tmp_path / "net", "--settings", str(tmp_path / "run.toml"), "--json", "--show")
    assert main(arguments) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert told["status"] == "done"
    assert told["model"] == str(tmp_path / "net.safetensors")
    assert told["targets"] == list(TARGETS)
    assert told["marks"]["cells"] > 60
    assert "steps = 8  # changed" in shown.err and 'target = "cell"  # changed' in shown.err


def test_ctrl_c_keeps_the_best_and_the_same_command_goes_on(result_file, tmp_path, capsys, monkeypatch, no_picture):
    arguments = command(result_file, tmp_path / "net", "--ensemble", "2")
    with monkeypatch.context() as patch:
        patch.setattr(show, "progress_bars", lambda: contextlib.nullcontext(stop_when("training 2 of 2", 0.5)))
        assert main(arguments) == 130
    shown = capsys.readouterr()
    work = work_folder(tmp_path / "net.safetensors")
    assert shown.out.splitlines()[-1] == str(tmp_path / "net.safetensors")
    model = tmp_path / "net.safetensors"
    go_on = f"the same command goes on with the training from {work}"
    assert shown.err.splitlines()[-1] == f"interrupted; {model} holds the best so far, {go_on}"
    assert left_behind(work / "member-0") == sorted([NAME, METRICS])
    assert read_model(tmp_path / "net").card.members == 2
    started = []
    monkeypatch.setattr(show, "progress_bars", lambda: contextlib.nullcontext(lambda *told: started.append(told)))
    assert main(arguments) == 0
    assert not any(name == "training 1 of 2" for name, _ in started)  # it was done
    assert left_behind(tmp_path) == ["net.json", "net.metrics.jsonl", "net.png", "net.safetensors"]


def test_ctrl_c_before_there_is_anything(film_file, tmp_path, capsys, monkeypatch):
    patch = stop_when("opening the image", 0.0)
    monkeypatch.setattr(show, "progress_bars", lambda: contextlib.nullcontext(patch))
    assert main(command(film_file, tmp_path / "net")) == 130
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "interrupted, no model was written; nothing was trained yet\n"
    assert left_behind(tmp_path) == []


def test_other_settings_do_not_go_on_with_a_training(result_file, tmp_path, capsys, monkeypatch, no_picture):
    with monkeypatch.context() as patch:
        patch.setattr(show, "progress_bars", lambda: contextlib.nullcontext(stop_when("training", 0.5)))
        assert main(command(result_file, tmp_path / "net", "--ensemble", "1")) == 130
    capsys.readouterr()
    assert main(command(result_file, tmp_path / "net", "--ensemble", "1", "--learning-rate", "0.001")) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("SettingsError: a training goes on only with the data and settings")
    assert "learning_rate: 0.004 there, 0.001 here" in shown.err


def bad_npy(path):
    np.save(path, np.array([{"main_image": 1}], dtype=object))


def small_film(path):
    np.save(path, dipolar.simulate_image(**{**FILM, "height_px": 200, "width_px": 120}).image.data)


def text_h5(path):
    path.write_text("no HDF5", encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("absent.tif", None, ["FormatError", "absent.tif"]),
        ("pickled.npy", bad_npy, ["pickled.npy", "pickle"]),
        ("small.npy", small_film, ["DataError", "usable cells", "larger image"]),
        ("text.h5", text_h5, ["FormatError", "text.h5"]),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(tmp_path, capsys, name, make, words):
    if make is not None:
        make(tmp_path / name)
    out = tmp_path / "out"
    out.mkdir()
    assert main(["image", "train", str(tmp_path / name), "--out", str(out / "net"), "--json"]) == 1
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert all(word in shown.err for word in words), shown.err
    assert json.loads(shown.out)["status"] == "error"
    assert left_behind(out) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["image", "train", "--out", "net"], ["IMAGES", "dipolar image train --help"]),
        (["image", "train", "film.tif"], ["--out"]),
        (["image", "train", "film.tif", "--out", "net", "--ensemble", "0"], ["--ensemble = '0'"]),
        (["image", "train", "film.tif", "--out", "net", "--target", "phase"], ["--target", "displacement"]),
        (["image", "train", "film.tif", "--out", "net", "--window-px", "9"], ["--window-px = '9'"]),
    ],
)
def test_wrong_usage_is_two_and_names_the_option(capsys, arguments, words):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(word in shown.err for word in words), shown.err


def test_a_name_of_another_program_and_a_wrong_setting_are_said_at_once(result_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dipolar.recipes.train.train_on_image", None)  # must not get this far
    assert main(["image", "train", str(result_file), "--out", str(tmp_path / "model.pt")]) == 1
    assert "model.safetensors" in capsys.readouterr().err
    (tmp_path / "run.toml").write_text("ensembel = 3\n", encoding="utf-8")
    out = ["--out", str(tmp_path / "net"), "--settings", str(tmp_path / "run.toml")]
    assert main(["image", "train", str(result_file), *out]) == 1
    shown = capsys.readouterr()
    assert '"ensembel"' in shown.err and 'did you mean "ensemble"?' in shown.err


def test_a_pickle_is_no_model(tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "net.safetensors")
    (tmp_path / "net.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FormatError, match="a pickle can run any code"):
        read_model(tmp_path / "net")
