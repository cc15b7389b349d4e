"""Domains: laws of turning and sign, honest sigma, and what has no vote."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
from dipolar.core.errors import SettingsError
from dipolar.core.flags import Flag
from dipolar.core.nouns import Cells, take
from dipolar.maps import FoundDirections, GivenDirections, find_domains, find_walls
from dipolar.maps.neighbours import local_planes, neighbours
from dipolar.measure import build_cells
from dipolar.simulate import Dislocation, FilmSettings
from maps_cells import EDGE_PX, PIXEL_SIZE_PM, crystal, even, turned, two


def wrapped(angle_deg: np.ndarray) -> np.ndarray:
    return (angle_deg + 180.0) % 360.0 - 180.0


@pytest.mark.parametrize("turn", [37.0, 90.0, -130.0])
def test_turning_the_cells_turns_the_domains(turn):
    cells = crystal(two())
    still, moved = find_domains(cells), find_domains(turned(cells, turn))
    assert len(still.state) == 2
    np.testing.assert_array_equal(moved.label, still.label)
    np.testing.assert_allclose(wrapped(moved.angle_deg - still.angle_deg - turn), 0.0, atol=1e-6)
    for name in ("area_px2", "area_sigma_px2", "angle_sigma_deg", "cells_sigma"):
        np.testing.assert_allclose(getattr(moved, name), getattr(still, name), rtol=1e-6)


def test_the_opposite_displacement_has_the_same_domains_with_opposite_directions():
    cells = crystal(two())
    there, back = find_domains(cells), find_domains(replace(cells, displacement_px=-cells.displacement_px))
    np.testing.assert_array_equal(back.label, there.label)
    np.testing.assert_allclose(back.mean_px, -there.mean_px, atol=1e-9)


@pytest.mark.parametrize("sigma_pm", [1.0, 2.4, 8.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_film_without_displacement_is_one_domain_that_is_not_polar_and_has_no_walls(sigma_pm, seed):
    cells = crystal(even(0.0, 0.0), sigma_pm=sigma_pm, seed=seed)
    found = find_domains(cells)
    assert found.polar.tolist() == [False]
    assert found.cells.tolist() == [len(cells.flags)]
    assert (found.probability == 1.0).all()
    assert find_walls(cells, found, rng=np.random.default_rng(0)) == ()


def test_what_mistilt_makes_is_not_called_polar_and_more_is():
    assert find_domains(crystal(even(4.0, 5.0))).polar.tolist() == [False]  # 6.4 pm
    assert find_domains(crystal(even(4.0, 5.0)), directions=FoundDirections(floor=0.01)).polar.tolist() == [True]
    assert find_domains(crystal(even(10.0, 5.0))).polar.tolist() == [True]


def layers(row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Return two domains above a substrate without displacement."""
    return np.where((row < 14)[:, None], two()(row, col), 0.0)


@pytest.mark.parametrize("directions", [FoundDirections(), GivenDirections()])
@pytest.mark.parametrize("turn", [0.0, 20.0])
def test_a_film_on_its_substrate_is_three_domains(directions, turn):
    found = find_domains(crystal(layers, turn_deg=turn), directions=directions)
    assert sorted(found.polar.tolist()) == [False, True, True]
    polar = np.flatnonzero(found.polar)
    np.testing.assert_allclose(np.sort(wrapped(found.angle_deg[polar] - turn)), [-45.0, 45.0], atol=2.0)
    truth = np.where(np.arange(24)[:, None] < 14, np.where(np.arange(30)[None] < 15, 1, 2), 0).ravel()
    pairs = {(t, int(label)) for t, label in zip(truth.tolist(), found.label, strict=True)}
    wrong = sum(int(np.sum(truth == t)) - int(np.max(np.bincount(found.label[truth == t]))) for t in (0, 1, 2))
    assert len(pairs) >= 3 and wrong <= 15  # of 720; the wall is 3 cells wide


def test_sigma_of_the_mean_is_that_of_repeated_films():
    truth = np.array([[-1.0, 1.0], [1.0, 1.0]]) * 25.0 * np.sqrt(0.5) / PIXEL_SIZE_PM
    z, angle = [], []
    for seed in range(40):
        found = find_domains(crystal(two(width=0.2), (12, 24), seed=seed))
        assert len(found.state) == 2
        for mean, covariance, direction, sigma in zip(
            found.mean_px, found.mean_covariance_px2, found.angle_deg, found.angle_sigma_deg, strict=True
        ):
            true = truth[0] if mean[0] < 0 else truth[1]
            z.extend((mean - true) / np.sqrt(np.diagonal(covariance)))
            angle.append((direction - (45.0 if mean[0] < 0 else -45.0)) / sigma)
    assert 0.85 < np.std(z) < 1.15
    assert 0.8 < np.std(angle) < 1.2


def test_sigma_of_the_area_covers_where_the_wall_really_is():
    z = []
    rng = np.random.default_rng(3)
    for seed in range(40):
        place = rng.uniform(9.0, 16.0)
        found = find_domains(crystal(two(place=place, width=1.0), (14, 26), seed=seed))
        left = int(found.label[0])
        z.append((found.cells[left] - 14 * (place + 0.5)) / found.cells_sigma[left])
        assert found.area_sigma_px2[left] == pytest.approx(found.cells_sigma[left] * EDGE_PX**2, rel=0.05)
    assert 0.75 < np.std(z) < 1.25
    assert abs(np.mean(z)) < 0.4


def test_probabilities_are_the_share_of_cells_that_are_right():
    probability, right = [], []
    for seed in range(8):
        cells = crystal(two(width=0.1, length_pm=14.0), (30, 36), sigma_pm=14.0, seed=seed)
        found = find_domains(cells)
        mean = found.mean_px[found.label]
        probability.append(found.probability)
        right.append((mean[:, 0] < 0) == (cells.col < 14.3))
    chance, hits = np.concatenate(probability), np.concatenate(right)
    assert len(chance) == 8 * 1080
    unsure = (chance > 0.5) & (chance < 0.95)
    assert unsure.sum() > 100
    assert hits[unsure].mean() == pytest.approx(chance[unsure].mean(), abs=0.12)
    assert hits[chance > 0.99].mean() > 0.97


def test_flagged_cells_have_no_vote_and_take_the_label_around_them():
    cells = crystal(two())
    rng = np.random.default_rng(1)
    bad = rng.random(len(cells.flags)) < 0.1
    wild = np.where(bad[:, None], rng.normal(0.0, 3.0, (len(bad), 2)), cells.displacement_px)
    flags = np.where(bad, np.uint32(Flag.FLAGGED_COLUMN), np.uint32(0)).astype(np.uint32)
    found = find_domains(replace(cells, displacement_px=wild, flags=flags))
    without = find_domains(replace(cells, displacement_px=np.where(bad[:, None], np.nan, wild), flags=flags))
    np.testing.assert_array_equal(found.label, without.label)
    np.testing.assert_allclose(found.mean_px, without.mean_px)
    assert len(found.state) == 2
    assert np.mean((found.label == found.label[0]) == (cells.col < 14.5)) > 0.98


def test_an_island_stays_where_displacements_support_it_and_goes_where_they_do_not():
    def island(size: int) -> Cells:
        def field(row: np.ndarray, col: np.ndarray) -> np.ndarray:
            inside = (abs(row - 6) < size) & (abs(col - 6) < size)
            other = np.where(size > 3, 135.0, -45.0)  # a direction of its own, or that of the domain to the right
            there = two(float(other), float(other))(row, col)
            return np.where(inside[:, None], there, two(width=0.1)(row, col))

        return crystal(field)

    assert sorted(find_domains(island(3)).cells.tolist())[0] == 25
    assert sorted(find_domains(island(4)).cells.tolist())[0] == 49
    assert len(find_domains(island(1)).state) == 2  # one cell is no domain
    assert sorted(find_domains(island(2)).cells.tolist())[0] == 9
    assert len(find_domains(island(2), least_cells=10).state) == 2


def test_the_middle_of_a_wall_is_no_domain_though_a_substrate_without_displacement_is():
    def opposite(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        return np.where((row < 16)[:, None], two(45.0, -135.0, width=5.0)(row, col), 0.0)

    found = find_domains(crystal(opposite, (26, 30)))
    assert sorted(found.polar.tolist()) == [False, True, True]


def test_neighbours_are_the_same_by_columns_and_by_index_and_hold_around_a_dislocation():
    cells = build_cells(films.film(FilmSettings(shape_px=(400, 400), layers=(films.layer("BiFeO3"),))).truth_columns)
    plain = replace(cells, corners=np.full_like(cells.corners, -1))
    np.testing.assert_array_equal(neighbours(cells), neighbours(plain))
    slipped = FilmSettings(shape_px=(500, 500), layers=(films.layer("SrTiO3"),), dislocation=Dislocation())
    cells = build_cells(films.film(slipped).truth_columns)
    around = neighbours(cells)
    edge = np.linalg.norm(cells.a_px, axis=1).mean()
    for step in range(4):
        rows = np.flatnonzero(around[:, step] >= 0)
        apart = np.linalg.norm(cells.positions_px[around[rows, step]] - cells.positions_px[rows], axis=1)
        assert apart.max() < 1.4 * edge
    known = replace(cells, covariance_px2=np.tile(0.01 * np.eye(2), (len(cells.flags), 1, 1)))
    assert len(find_domains(known).state) == 1


def test_planes_are_exact_for_linear_displacements_and_their_sigma_is_honest():
    slope = np.array([[0.3, -0.2], [0.1, 0.4]])

    def linear(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        return (np.stack([row, col], axis=1) @ slope.T) * PIXEL_SIZE_PM

    cells = crystal(linear, seed=None)
    planes = local_planes(cells, neighbours(cells))
    known = np.isfinite(planes.slope).all(axis=(1, 2))
    assert known.all()
    np.testing.assert_allclose(planes.slope * EDGE_PX, np.broadcast_to(slope, planes.slope.shape), atol=1e-9)
    np.testing.assert_allclose(planes.value_px, cells.displacement_px, atol=1e-9)
    noisy = crystal(linear, (40, 40), seed=4)
    planes = local_planes(noisy, neighbours(noisy), without_self=True)
    z = (planes.slope * EDGE_PX - slope).reshape(-1, 4) / EDGE_PX
    z /= np.sqrt(np.diagonal(planes.slope_covariance, axis1=1, axis2=2))
    assert np.isnan(z).any(axis=1).sum() == 4  # three cells in a corner are no plane to spare
    assert 0.9 < np.nanstd(z) < 1.1


def test_nothing_gives_nothing():
    cells = crystal(two())
    for none in (take(cells, np.zeros(len(cells.flags), dtype=bool)), replace(cells, flags=cells.flags + np.uint32(1))):
        found = find_domains(none)
        assert len(found.state) == 0 and (found.label == -1).all() and np.isnan(found.probability).all()
        assert find_walls(none, found, rng=np.random.default_rng(0)) == ()
    one = find_domains(take(cells, np.array([0])))
    assert one.cells.tolist() == [1]


def test_no_directions_are_refused():
    with pytest.raises(SettingsError, match="At least one direction"):
        GivenDirections(angles_deg=())


def up_and_down(row: np.ndarray, col: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """Return displacements of 30 pm up and down with that profile across, none below row 16."""
    return np.stack([-30.0 * profile * (row < 16), 0.0 * col], axis=1)


def test_a_wall_that_ends_at_a_substrate_is_one_wall():
    """The middle of a wall looks like the substrate that it ends at, and is no arm of it."""
    cells = crystal(lambda row, col: up_and_down(row, col, np.tanh((col - 14.6) / 1.6)))
    domains = find_domains(cells)
    assert domains.polar.sum() == 2
    kinds = [wall.kind for wall in find_walls(cells, domains, rng=np.random.default_rng(0))]
    assert kinds.count("180° in projection") == 1


@pytest.mark.parametrize("hanging", [False, True])
def test_a_layer_without_displacement_is_no_wall(hanging):
    """Four cells that do not lean to either side are a region, alone or hanging on a larger one."""

    def field(row, col):
        profile = np.where(np.abs(col - 14.5) < 2.0, 0.0, np.sign(col - 14.5))
        return up_and_down(row if hanging else 0 * row, col, profile)

    domains = find_domains(crystal(field))
    assert domains.polar.sum() == 2 and (~domains.polar).any()
    layer = crystal(field).col
    assert not domains.polar[domains.label[(np.abs(layer - 14.5) < 1.0)]].any()
