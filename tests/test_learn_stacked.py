"""A regressor on top of a finder: it turns with the image, and training leaves the finder alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dipolar.learn.lessons import regressor_lesson
from dipolar.learn.networks import build, plain
from dipolar.learn.scale import see
from dipolar.learn.stacked import FIELDS, POOL, StackedRegressor, moments
from dipolar.learn.task import Training
from dipolar.learn.tasks import RegressorTask
from dipolar.learn.training import fit
from dipolar.simulate import random_film

ARCHITECTURE = {"finder": {"fine": 2, "coarse": 2, "dilations": (1, 2)}, "middle": 3, "coarse": 4, "dilations": (1, 2)}


@pytest.fixture
def network() -> StackedRegressor:
    made = build("regressor", ARCHITECTURE, seed=5)
    assert isinstance(made, StackedRegressor)
    return made.eval()


def pixels(seed: int, *, edge: int = 96) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 1, edge, edge)).astype(np.float32))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_what_it_says_turns_with_the_image(network, turns):
    before, after = network(pixels(0)), network(torch.rot90(pixels(0), turns, (-2, -1)))
    for _ in range(turns):
        turned = torch.rot90(before, 1, (-2, -1))
        # up is where right was; sigma, and a and b, change places; the angle becomes its supplement
        before = turned[:, [1, 0, 3, 2, 5, 4, 6, 7]] * torch.tensor([-1.0, 1, 1, 1, 1, 1, -1, 1])[None, :, None, None]
    torch.testing.assert_close(after, before, atol=2e-6, rtol=1e-5)


def test_moments_are_those_of_the_columns():
    said = torch.zeros(1, 6, 8, 8)
    said[:, 2] = 30.0  # background everywhere
    y, x = 3, 4
    said[:, 0, y, x], said[:, 2, y, x] = 30.0, 0.0
    said[:, 3, y, x], said[:, 4, y, x] = 0.5, -0.25  # the column is 0.5 px below, 0.25 px to the left of that point
    found = moments(said).unflatten(1, (4, FIELDS))
    assert found.shape[-2:] == (8 // POOL, 8 // POOL)
    block = found[0, :, :, y // POOL, x // POOL]
    mass, down, right = block[0, 0], block[0, 4], block[1, 4]
    assert float(mass) == pytest.approx(0.25, abs=1e-6)  # one of four points
    assert float(down / mass) * 4.0 == pytest.approx(1.0 + 0.5)  # the odd row is 1 px below the middle of its block
    assert float(right / mass) * 4.0 == pytest.approx(-1.0 - 0.25)
    assert float(found.abs().sum() - block.abs().sum()) == pytest.approx(0.0, abs=1e-6)


def test_plain_layers_say_the_same(network):
    torch.testing.assert_close(plain(network)(pixels(1)), network(pixels(1)), atol=1e-6, rtol=1e-5)


def test_training_leaves_the_finder_as_it_is(network):
    film = random_film(np.random.default_rng(1), shape_px=(128, 128))
    lesson = regressor_lesson(see(film.image, cell_px=film.cell_px), film.cells, windows="centered")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    task = RegressorTask([lesson], [lesson], batch_size=2, crop_px=64)
    fit(network, task, Training(steps=3, learning_rate=1e-2, validate_every=3))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("finder."), name
