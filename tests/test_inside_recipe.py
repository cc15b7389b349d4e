"""Looking inside: the right cell, maps without the rim of what was cut out, slopes within the window."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dipolar.cli.main import main
from dipolar.core.errors import OutputError, SettingsError
from dipolar.core.learning import TARGETS, Card, Windows
from dipolar.core.nouns import Image
from dipolar.learn.inside import feature_maps
from dipolar.learn.networks import build, plain
from dipolar.learn.predictor import Model, at_points, predict
from dipolar.learn.published import PublishedDCNN
from dipolar.learn.store import write_model
from dipolar.recipes.inside import Look, check_figure, look_inside
from dipolar.recipes.inside_layers import surroundings
from dipolar.recipes.networks import look
from dipolar.recipes.simulate import write_image
from dipolar.simulate.composition import composition_film
from dipolar.simulate.film import Simulated

REGRESSOR = {"window_px": 40, "fine": 2, "middle": 3, "coarse": 4, "cell_parameters": False}
FINDER = {"fine": 2, "coarse": 3, "dilations": (1,)}
STACKED = {"finder": FINDER, "middle": 2, "coarse": 2, "dilations": (1,), "cell_parameters": False}


def model(kind: str = "regressor", *, windows: Windows = "centered", stacked: bool = False) -> Model:
    architecture = FINDER if kind == "finder" else STACKED if stacked else REGRESSOR
    card = Card(
        kind=kind,  # type: ignore[arg-type]
        architecture=architecture,
        members=1,
        targets=TARGETS[:2] if kind == "regressor" else (),
        window_px=40,
        windows=windows,
    )
    return Model(name="small", card=card, networks=(build(kind, architecture, seed=1),))


@pytest.fixture(scope="module")
def film() -> Simulated:
    return composition_film(0.0, rng=np.random.default_rng(2), shape_px=(300, 330), dose=3.0)


@pytest.fixture(scope="module")
def found(film) -> Look:
    return look_inside(film.image, model=model(), ascent=2, at="160,140")


def test_the_nearest_cell_is_looked_at(film, found):
    middles = film.truth_cells.positions_px
    nearest = middles[np.argmin(np.linalg.norm(middles - [160.0, 140.0], axis=1))]
    assert found.at_px == pytest.approx(nearest, abs=0.5)


def test_sliding_windows_are_asked_where_they_are_told(film):
    seen = look_inside(film.image, model=model(windows="sliding"), ascent=1, at="160,140")
    assert seen.at_px == (160.0, 140.0)


def test_what_it_says_there_is_what_a_prediction_says(film, found):
    view = look(film.image)
    there = view.seen.to_network(np.array([found.at_px]))
    dy, dx = at_points(predict(model(), view.seen).values, there)[0] / view.seen.scale
    assert (found.values["dy_px"], found.values["dx_px"]) == pytest.approx((dy, dx), abs=1e-4)


def test_maps_are_cut_out_of_those_of_the_whole_image(film, found):
    """Each filter once; nothing of the rim that cutting the image itself would leave."""
    seen = look(film.image).seen
    crop, place = surroundings(seen, found.at_px, reach_px=64)
    first = np.rint(seen.to_network(np.array(found.at_px)) - place).astype(int)
    np.testing.assert_array_equal(crop, found.inside.image)
    whole = feature_maps(plain(model().networks[0]), seen.pixels[0, 0].numpy())
    titles = {name: name.replace(".", " ") + ("" if name == "head" else ", 4 turns") for name in whole}
    assert list(found.inside.maps) == list(titles.values())
    for name, title in titles.items():
        stride = seen.pixels.shape[2] // whole[name].shape[1]
        y, x = first // stride
        tall, wide = (size // stride for size in crop.shape)
        own = whole[name] if name == "head" else whole[name][: len(whole[name]) // 4]
        np.testing.assert_allclose(found.inside.maps[title], own[:, y : y + tall, x : x + wide], atol=1e-4)


def test_slopes_stay_within_the_window(found):
    assert list(found.inside.saliency) == ["dy", "dx"]
    for slope in found.inside.saliency.values():
        assert slope.shape == found.inside.image.shape
        y, x = np.nonzero(slope)
        assert 20 < np.ptp(y) <= 40 and 20 < np.ptp(x) <= 40
        assert abs(y.mean() - slope.shape[0] / 2) < 8 and abs(x.mean() - slope.shape[1] / 2) < 8


def test_every_layer_has_inputs_that_it_prefers(found):
    assert list(found.inside.preferred) == list(found.inside.maps)
    for title, inputs in found.inside.preferred.items():
        assert len(inputs) == len(found.inside.maps[title])
        assert np.isfinite(inputs).all() and np.ptp(inputs, axis=(1, 2)).max() > 0
    sizes = [inputs.shape[1] for inputs in found.inside.preferred.values()]
    assert sizes[0] == 24 and max(sizes) <= 64  # as large as what a layer sees asks for


@pytest.mark.parametrize("at", ["0,0", "299,329", "5,320"])
def test_corners_of_an_image_can_be_looked_at(film, at):
    seen = look_inside(film.image, model=model(), ascent=1, at=at)
    assert seen.inside.image.shape == (64, 64)
    assert np.any(seen.inside.saliency["dy"])


def test_a_finder_has_other_outputs(film):
    seen = look_inside(film.image, model=model("finder"), ascent=1)
    assert list(seen.inside.saliency) == ["a", "b", "dy", "dx"]
    assert seen.at_px == (149.5, 164.5) and seen.values == {}


def test_a_regressor_on_top_of_a_finder_is_looked_into_down_to_the_image(film):
    """The kind that dipolar brings along."""
    seen = look_inside(film.image, model=model(stacked=True), ascent=1, at="160,140")
    assert {"finder lift, 4 turns", "enter, 4 turns", "head"} <= set(seen.inside.maps)
    for slope in seen.inside.saliency.values():
        assert np.isfinite(slope).all() and np.any(slope)
    for title in ("finder lift, 4 turns", "head"):
        assert np.ptp(seen.inside.preferred[title], axis=(1, 2)).max() > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"at": "300,10"}, r"300 × 330 px"),
        ({"at": "somewhere"}, "y,x in px"),
        ({"at": "1,2,3"}, "y,x in px"),
        ({"at": "-1,2"}, "y,x in px"),
        ({"where": "1,2"}, "no such setting"),
    ],
)
def test_a_place_that_is_none_is_named(film, changes, words):
    with pytest.raises(SettingsError, match=words):
        look_inside(film.image, model=model(), **changes)


def test_networks_of_single_windows_are_refused(film):
    card = Card(
        kind="published",
        architecture={"window_px": 24},
        members=1,
        targets=TARGETS[:2],
        window_px=24,
        windows="centered",
    )
    published = Model(name="theirs", card=card, networks=(PublishedDCNN(window_px=24),))
    with pytest.raises(SettingsError, match="theirs, a published network"):
        look_inside(film.image, model=published)


def test_only_figures_of_dipolar_are_replaced(tmp_path):
    with pytest.raises(OutputError, match=r"--out look\.png"):
        check_figure(tmp_path / "look.jpg")
    mine, drawn = tmp_path / "mine.png", tmp_path / "drawn.png"
    mine.write_bytes(b"a picture of mine")
    with pytest.raises(OutputError, match="only a figure that dipolar drew"):
        check_figure(mine)
    drawn.write_bytes(b"... Software dipolar ...")
    assert check_figure(drawn) == drawn
    with pytest.raises(OutputError, match="only a figure"):
        check_figure(drawn, read=drawn)


@pytest.mark.slow
def test_the_command_line(film, tmp_path: Path, capsys):
    image, network, out = tmp_path / "film.tif", tmp_path / "small.safetensors", tmp_path / "inside.png"
    write_image(Image(data=film.image.data, pixel_size_pm=17.25), image)
    write_model(model(), network)
    arguments = ["image", "inside", str(image), "--model", str(network), "--out", str(out), "--ascent", "1"]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "done" and told["figure"] == str(out) and told["layers"]["head"] == 4
    assert out.read_bytes().startswith(b"\x89PNG")
    assert main(arguments) == 0  # its own figure is replaced
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    image.with_suffix(".png").write_bytes(b"mine")
    assert main([*arguments[:-4], "--out", str(image.with_suffix(".png"))]) == 1
    assert capsys.readouterr().err.startswith("OutputError")
