"""One pass, tile by tile, says what one pass over everything says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dipolar.core.learning import TARGETS, Card
from dipolar.learn import predictor
from dipolar.learn.dense import TILE, dense, dense_maps
from dipolar.learn.networks import Finder, Regressor, build, plain
from dipolar.learn.predictor import FINDER_REACH, Model, at_points, predict
from dipolar.learn.scale import Seen

REGRESSORS = {window_px: {"window_px": window_px, "fine": 2, "middle": 3, "coarse": 4} for window_px in (20, 40, 80)}
CASES = [
    ("finder", {"fine": 2, "coarse": 3}, Finder.stride, FINDER_REACH),
    *[("regressor", REGRESSORS[w], Regressor.stride, w // 2 + Regressor.stride) for w in REGRESSORS],
]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("kind", "options", "stride", "reach"), CASES)
@pytest.mark.parametrize(("shape", "tile"), [((168, 248), 64), ((96, 200), 96), ((64, 64), TILE), ((8, 264), 40)])
def test_tiles_make_one_pass(kind, options, stride, reach, shape, tile):
    network = plain(build(kind, options, seed=1))
    pixels = noise(1, 1, *shape)
    with torch.inference_mode():
        wanted = network(pixels)[0].numpy()
    found = dense(network, pixels, stride=stride, reach=reach, tile=tile)
    assert found.shape == (len(network.outputs), shape[0] // stride, shape[1] // stride)
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_a_rim_that_is_too_narrow_would_be_noticed():
    network = plain(build("regressor", REGRESSORS[80], seed=1))
    pixels = noise(1, 1, 168, 168)
    with torch.inference_mode():
        wanted = network(pixels)[0].numpy()
    found = dense(network, pixels, stride=4, reach=8, tile=64)
    assert np.abs(found - wanted).max() > 1e-4


def test_progress_is_told():
    told = []
    network = plain(build("finder", {"fine": 2, "coarse": 3}, seed=1))
    found = dense(
        network,
        noise(1, 1, 64, 128),
        stride=2,
        reach=40,
        tile=64,
        progress=lambda step, fraction: told.append((step, fraction)),
        step="looking",
    )
    assert found.shape == (6, 32, 64)
    assert told == [("looking", 0.5), ("looking", 1.0)]


def ensemble(*, members=2):
    """An ensemble that knows little, but says it decidedly."""
    networks = [build("regressor", {**REGRESSORS[40], "cell_parameters": True}, seed=n) for n in range(members)]
    for network in networks:
        network.head.weight.data *= 3.0
    card = Card(
        kind="regressor",
        architecture=REGRESSORS[40],
        members=members,
        targets=TARGETS,
        window_px=40,
        windows="centered",
    )
    return Model(name="net", card=card, networks=tuple(networks))


def seen_of(pixels):
    return Seen(pixels=pixels, scale=1.0, shape=tuple(pixels.shape[2:]), cell_px=24.0)


def test_what_is_said_and_seen_is_the_same_tile_by_tile(monkeypatch):
    seen, model = seen_of(noise(1, 1, 200, 264)), ensemble()
    one = predict(model, seen)
    monkeypatch.setattr(predictor, "dense_maps", lambda *args, **more: dense_maps(*args, **{**more, "tile": 72}))
    other = predict(model, seen)
    for name in ("values", "sigma", "disagreement", "features", "unfamiliar"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-4, atol=3e-5)


def test_an_ensemble_turns_with_the_image_and_features_are_blind_to_it():
    pixels, model = noise(1, 1, 96, 136), ensemble()
    one, other = (predict(model, seen_of(part)) for part in (pixels, torch.rot90(pixels, 1, (-2, -1))))
    dy, dx, a, b, gamma, area = np.moveaxis(np.rot90(one.values), -1, 0)
    np.testing.assert_allclose(np.moveaxis(other.values, -1, 0), [-dx, dy, b, a, -gamma, area], atol=2e-5)
    np.testing.assert_allclose(other.sigma, np.rot90(one.sigma)[..., ::-1], rtol=1e-3)
    np.testing.assert_allclose(other.disagreement, np.rot90(one.disagreement), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(other.features, np.rot90(one.features), atol=2e-4)
    assert np.abs(one.values).max() > 0.01


def test_where_members_disagree_sigma_grows():
    seen, model = seen_of(noise(1, 1, 96, 96)), ensemble(members=3)
    alone = [predict(Model(name="", card=model.card, networks=(one,)), seen) for one in model.networks]
    said = predict(model, seen)
    np.testing.assert_allclose(said.values, np.mean([one.values for one in alone], axis=0), atol=1e-5)
    own = np.mean([one.sigma**2 for one in alone], axis=0)
    between = np.var([one.values[..., :2] for one in alone], axis=0)
    np.testing.assert_allclose(said.sigma, np.sqrt(own + between), rtol=1e-4)
    assert not alone[0].disagreement.any() and said.disagreement.min() > 0


def test_the_default_tile_is_one_that_strides_divide():
    assert TILE % 8 == 0


def test_values_between_grid_points_are_those_of_a_plane():
    y, x = np.indices((12, 16)) * 4 + 1.5
    maps = np.stack([0.3 * y - 0.2 * x, np.ones_like(y)], axis=-1).astype(np.float32)
    points = np.random.default_rng(0).uniform([2.0, 2.0], [44.0, 60.0], size=(50, 2))
    found = at_points(maps, points)
    np.testing.assert_allclose(found, np.stack([points @ [0.3, -0.2], np.ones(50)], axis=1), atol=1e-5)
    np.testing.assert_allclose(at_points(maps[..., 0], points), found[:, 0])
    assert at_points(maps, np.array([[-50.0, 1.5]]))[0, 0] == pytest.approx(0.3 * 1.5 - 0.2 * 1.5)  # the rim goes on
    assert at_points(maps, np.zeros((0, 2))).shape == (0, 2)
