"""Laws of walls whose shares are noisy and clipped: widths without bias, and sigma that covers what it says."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from jaxtyping import Float
from scipy.spatial import cKDTree

import scan_maps_handmade as handmade
from dipolar.learn.pattern_kernels import shares_on_simplex
from dipolar.maps.scan_domains import domains_of
from dipolar.maps.scan_profile import width_of
from dipolar.simulate.scan import simulate_scan
from dipolar.simulate.scan_settings import SimulatedScanSettings

WIDTHS = (0.8, 1.2, 1.5, 2.0, 3.0)


def noisy(share: Float[np.ndarray, "y x class"], noise: float, rng: np.random.Generator) -> np.ndarray:
    """Return shares as a classifier tells them: with noise, the nearest ones that are between 0 and 1 and add up."""
    off = share + noise * rng.normal(size=share.shape)
    count = share.shape[2]
    flat = off.reshape(-1, count)
    return shares_on_simplex(np.eye(count), flat).reshape(share.shape)


@cache
def straight(width: float) -> list:
    """Return the wall found in each of some scans with one straight wall of this width."""
    rng = np.random.default_rng(round(100 * width))
    found = []
    for number in range(24):
        share, _ = handmade.line((26, 30), rng.uniform(0.0, 180.0), width, tuple(rng.uniform([11, 13], [15, 17])))
        mapped = handmade.scan_map(noisy(share, (0.05, 0.1)[number % 2], rng), mixture=True)
        found.append(domains_of(mapped).walls[0])
    return found


@pytest.mark.parametrize("width", WIDTHS)
def test_the_width_of_a_wall_is_that_of_its_tanh(width):
    walls = straight(width)
    weight = np.array([wall.width_sigma**-2 for wall in walls])
    mean = np.sum(weight * [wall.width for wall in walls]) / weight.sum()
    assert abs(mean - width) < 3.0 * weight.sum() ** -0.5 + 0.02 * width


def test_widths_lie_within_their_sigma_as_often_as_they_should():
    off = np.array([(wall.width - width) / wall.width_sigma for width in WIDTHS for wall in straight(width)])
    assert 0.58 <= np.mean(np.abs(off) < 1.0) <= 0.78
    assert np.mean(np.abs(off) < 2.0) >= 0.9


def test_what_is_clipped_is_expected_beyond_and_nothing_changes_where_nothing_is():
    rng = np.random.default_rng(5)
    distance = rng.uniform(-6.0, 6.0, 2000)
    share = 0.5 * (1.0 + np.tanh(distance / 0.75)) + rng.normal(scale=0.1, size=2000)
    free = width_of(distance, share, blur=0.0)
    clipped = width_of(distance, np.clip(share, 0.0, 1.0), blur=0.0, clipped=True)
    assert free.width == pytest.approx(1.5, abs=0.1)
    assert clipped.width == pytest.approx(free.width, abs=2.0 * free.sigma)
    assert width_of(distance, np.clip(share, 0.0, 1.0), blur=0.0).width < 1.4
    clear = 0.25 + 0.5 * share.clip(0.0, 1.0)
    assert width_of(distance, clear, blur=0.0, clipped=True) == width_of(distance, clear, blur=0.0)
    sharp = 0.5 * (1.0 + np.tanh(distance / 0.75))
    assert width_of(distance, np.clip(np.round(sharp, 6), 0, 1), blur=0.0, clipped=True).width == pytest.approx(
        1.5, rel=0.02
    )


def test_a_wall_is_half_way_between_what_its_classes_seem_to_hold():
    """Where a classifier has the corner of one class wrong, shares are too large by as much on its side."""
    off = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        through = (13.0 + rng.uniform(-2.0, 2.0), 15.0 + rng.uniform(-2.0, 2.0))
        share, normal = handmade.line((26, 30), rng.uniform(20.0, 70.0), 1.5, through)
        wrong = np.stack([0.9 * share[..., 0], 0.1 + 0.9 * share[..., 1]], axis=2)
        wall = domains_of(handmade.scan_map(noisy(wrong, 0.05, rng), mixture=True)).walls[0]
        off.append(np.mean((wall.points - through) @ normal) * (1.0 if wall.after == "vertical" else -1.0))
    assert abs(np.mean(off)) < 0.03  # equal shares are 0.085 steps away


@pytest.mark.parametrize("width", [1.5, 3.0])
def test_points_of_walls_lie_within_their_sigma_beside_the_class_none_too(width):
    far: dict[str, list[np.ndarray]] = {"none": [], "other": []}
    settings = SimulatedScanSettings(shape=(34, 120), pattern_px=(64, 64), wall_width=width)
    for seed in range(3):
        truth, rng = simulate_scan(settings, seed=seed).truth, np.random.default_rng(seed)
        mapped = handmade.scan_map(noisy(truth.mixture, 0.05, rng), truth.names, mixture=True)
        pieces = [(wall.points[:-1], np.diff(wall.points, axis=0)) for wall in truth.walls]
        real = np.concatenate([start + part * step for start, step in pieces for part in (0.0, 0.25, 0.5, 0.75)])
        for wall in domains_of(mapped).walls:
            away = cKDTree(real).query(wall.points)[0]
            kind = "none" if "none" in (wall.before, wall.after) else "other"
            # walls that are only noise have no true place; loops as small as they are wide have none that can be told
            far[kind].append((away / wall.points_sigma)[(away < 2.0) & (wall.length > 15.0)])
    for off in map(np.concatenate, far.values()):
        assert np.sqrt(np.mean(off**2)) < 2.0 and np.mean(off < 1.0) > 0.53
