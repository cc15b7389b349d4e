"""Networks of windows learn: displacement of films, turned as they are turned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dipolar.core.errors import DataError
from dipolar.core.nouns import Image
from dipolar.learn.blocks import SplitByLine, sides
from dipolar.learn.scale import see
from dipolar.learn.task import Training
from dipolar.learn.training import fit
from dipolar.learn.window_task import WindowTask
from dipolar.learn.windows import Cut, centered_patches
from dipolar.simulate import benchmark_film, simulate_film


@pytest.fixture(scope="module")
def cut() -> Cut:
    film = simulate_film(benchmark_film(size_px=400, rotation_deg=0.0), rng=np.random.default_rng(3))
    pixels = see(film.image.data, cell_px=396.0 / 17.25).pixels[0, 0].numpy()
    return centered_patches(Image(data=pixels), film.truth_cells, window_px=24, split=SplitByLine(axis="y", fewest=5))


def small_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))


def test_a_small_network_of_windows_learns_more_than_the_mean(cut):
    learn, test = sides(cut.patches.block)
    network = small_network()
    network(torch.zeros(1, 1, 24, 24))
    trained = fit(
        network, WindowTask(cut.patches, learn, test), Training(steps=150, learning_rate=3e-3, validate_every=50)
    )
    assert trained.history[-1]["loss"] < 0.5  # 1 is what the mean of all targets gives


def test_batches_turn_windows_with_their_targets(cut):
    learn, test = sides(cut.patches.block)
    turned = WindowTask(cut.patches, learn, test, batch_size=512)
    plain = WindowTask(cut.patches, learn, test, batch_size=512, symmetries=False)
    targets = turned.batch(np.random.default_rng(0))[1]
    assert abs(float(targets.mean())) < 0.2 * float(targets.std())  # every direction alike
    before = plain.batch(np.random.default_rng(0))[1]
    torch.testing.assert_close(targets.norm(dim=1), before.norm(dim=1))


def test_half_the_task_is_the_same_task(cut):
    learn, test = sides(cut.patches.block)
    task = WindowTask(cut.patches, learn, test, batch_size=9)
    half = task.halved()
    assert half.batch_size == 4
    np.testing.assert_array_equal(half.learn, task.learn)
    np.testing.assert_array_equal(half.held_out, task.held_out)


def test_nothing_to_learn_from_is_said(cut):
    nothing = np.zeros(len(cut.patches.block), dtype=bool)
    with pytest.raises(DataError, match=r"windows to learn from and to validate with.\n  got:  0 and"):
        WindowTask(cut.patches, nothing, ~nothing)
