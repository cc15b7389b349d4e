"""Peaks: exact where the fields are the truth, turned with the image, and not fooled by plateaus."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

import handmade
from dipolar.learn.calibration import Calibration
from dipolar.learn.find import peaks, probabilities
from dipolar.learn.lessons import finder_lesson
from dipolar.learn.networks import Finder
from dipolar.learn.predictor import find_columns
from dipolar.learn.scale import Seen

STRIDE = Finder.stride


def seen_of(shape, *, scale=1.0):
    return Seen(pixels=torch.zeros(1, 1, *shape), scale=scale, shape=shape, cell_px=24.0 / scale)


def perovskite(shape, *, cell_px=24.0, seed=0, outside_px=20.0):
    """Places and species of A and B columns, each shifted a little, also just outside."""
    rng = np.random.default_rng(seed)
    count = int(max(shape) / cell_px) + 4
    grid = np.stack(np.meshgrid(*[np.arange(-2, count)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    places = np.concatenate([grid, grid + 0.5]) * cell_px + [5.2, 7.9]
    places += rng.normal(scale=0.03 * cell_px, size=places.shape)
    species = np.repeat(np.array([0, 1], dtype=np.int8), len(grid))
    near = np.all((places > -outside_px) & (places < np.array(shape) + outside_px), axis=1)
    return places[near], species[near]


def perfect(seen, places, species, *, log_sigma=-2.0):
    """What a finder would say that knows the truth."""
    truth = finder_lesson(seen, places, species).truth.numpy()
    said = np.full((6, *truth.shape[1:]), log_sigma, dtype=np.float32)
    said[:3] = np.log(np.maximum(truth[:3], 1e-9))
    said[3:5] = truth[3:]
    return said


@pytest.mark.parametrize("shape", [(96, 96), (120, 208)])
def test_perfect_fields_give_the_places_back(shape):
    seen = seen_of(shape)
    places, species = perovskite(shape)
    found = peaks(perfect(seen, places, species), stride=STRIDE, cell_px=24.0)
    whole = np.all((places > 4.0) & (places < np.array(shape) - 5.0), axis=1)
    distance, row = cKDTree(found.positions).query(places[whole])
    assert distance.max() < 1e-3
    np.testing.assert_array_equal(found.species[row], species[whole])
    np.testing.assert_allclose(found.sigma, np.exp(-2.0), rtol=1e-6)
    assert found.probability[row].min() > 0.8
    assert np.abs(found.share_of_a[row] - (species[whole] == 0)).max() < 0.01
    # and nothing else: what was found stands where there is a column
    assert cKDTree(places).query(found.positions)[0].max() < 1.0


def test_places_in_the_image_are_given_back_through_the_scale():
    seen = seen_of((160, 160), scale=24.0 / 37.0)
    places, species = perovskite((246, 246), cell_px=37.0)
    found = peaks(perfect(seen, places, species), stride=STRIDE, cell_px=24.0)
    whole = np.all((places > 8.0) & (places < 238.0), axis=1)
    assert cKDTree(seen.to_image(found.positions)).query(places[whole])[0].max() < 2e-3


def test_sigma_is_what_the_calibration_makes_of_it_floor_included():
    y, x = np.mgrid[:96, :96]
    blobs = (np.cos(2 * np.pi * y / 24) * np.cos(2 * np.pi * x / 24)).astype(np.float32)
    seen = replace(seen_of((96, 96), scale=0.5), pixels=torch.from_numpy(blobs)[None, None])
    model = replace(handmade.finder(), calibration=Calibration(scale=2.0, floor=0.3, quantiles={}, count=100))
    found, _ = find_columns(model, seen)
    assert len(found.sigma) > 20
    np.testing.assert_allclose(found.sigma, 2.0 * np.hypot(np.exp(-1.5), 0.3) / 0.5, rtol=1e-5)


@pytest.mark.parametrize(("told", "meant"), [(-60.0, -5.0), (90.0, 2.0), (-1.0, -1.0)])
def test_sigma_stays_within_what_the_loss_knows(told, meant):
    places, species = perovskite((96, 96))
    said = perfect(seen_of((96, 96)), places, species, log_sigma=told)
    np.testing.assert_allclose(peaks(said, stride=STRIDE, cell_px=24.0).sigma, np.exp(meant), rtol=1e-6)


def test_quarter_turns_turn_the_columns():
    places, species = perovskite((96, 96))
    said = perfect(seen_of((96, 96)), places, species)
    turned = np.rot90(said, axes=(1, 2)).copy()
    turned[3], turned[4] = -np.rot90(said[4]), np.rot90(said[3])
    one = peaks(said, stride=STRIDE, cell_px=24.0)
    other = peaks(turned, stride=STRIDE, cell_px=24.0)
    wanted = np.stack([95.0 - one.positions[:, 1], one.positions[:, 0]], axis=1)
    distance, row = cKDTree(other.positions).query(wanted)
    assert len(one.positions) == len(other.positions)
    assert distance.max() < 1e-4
    np.testing.assert_array_equal(other.species[row], one.species)


def test_a_plateau_is_one_column():
    said = np.zeros((6, 24, 24), dtype=np.float32)
    said[2] = 5.0
    said[0, 10:12, 10:13] = 10.0  # six pixels alike
    found = peaks(said, stride=STRIDE, cell_px=24.0)
    assert len(found.positions) == 1
    assert np.all(np.abs(found.positions[0] - [21.5, 22.5]) < 2.1)


def test_of_two_that_are_too_near_the_likelier_stays():
    said = np.zeros((6, 24, 24), dtype=np.float32)
    said[2] = 5.0
    said[0, 10, 10], said[1, 10, 12] = 7.0, 6.0
    found = peaks(said, stride=STRIDE, cell_px=24.0)
    np.testing.assert_array_equal(found.species, [0])
    assert found.probability[0] == pytest.approx(probabilities(said)[:2, 10, 10].sum(), rel=1e-6)


def test_nothing_found_is_an_empty_table():
    said = np.zeros((6, 16, 16), dtype=np.float32)
    said[2] = 9.0
    found = peaks(said, stride=STRIDE, cell_px=24.0)
    assert found.positions.shape == (0, 2)
    assert len(found.sigma) == len(found.species) == len(found.probability) == len(found.share_of_a) == 0
    np.testing.assert_allclose(probabilities(said).sum(axis=0), 1.0, rtol=1e-6)
