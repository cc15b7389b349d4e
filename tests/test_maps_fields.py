"""Bound charge and vortices: exact fields, turning, sigma, and noise that makes none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.errors import CalibrationError
from dipolar.core.flags import Flag
from dipolar.core.nouns import take
from dipolar.maps import bound_charge, find_defects, find_domains, find_walls
from maps_cells import EDGE_PX, PIXEL_SIZE_PM, crystal, even, rotation, two, vortex


def saddle(row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Return a displacement that grows by 2 pm per cell down and shrinks by 5 pm per cell to the right."""
    return np.stack([2.0 * row + 3.0 * col, 1.0 * row - 5.0 * col], axis=1)


@pytest.mark.parametrize("turn", [0.0, 33.0, 180.0])
def test_charge_of_a_linear_field_is_exact_and_does_not_turn(turn):
    field = bound_charge(crystal(saddle, seed=None, turn_deg=turn))
    np.testing.assert_allclose(field.values, 3.0 / 396.0, rtol=1e-6)
    assert field.unit == ""
    material = bound_charge(crystal(saddle, seed=None, turn_deg=turn), uc_per_cm2_per_pm=-2.5)
    # 2.5 µC/cm² per pm: 2.5e-2 C/m² per 1e-12 m, in elementary charges per 1e-27 m³
    np.testing.assert_allclose(material.values, -2.5e10 / 1.602176634e-19 * 1e-27 * field.values, rtol=1e-5)
    assert material.unit == "e/nm³" and (material.sigma > 0).all()


def test_sigma_of_the_charge_is_that_of_repeated_films():
    z = []
    for seed in range(6):
        field = bound_charge(crystal(even(10.0, 5.0), seed=seed))
        z.append(field.values / field.sigma)
    assert 0.95 < np.std(z) < 1.05


def test_charge_across_a_wall_sums_to_that_of_the_wall():
    cells = crystal(two(0.0, 180.0, width=2.0), sigma_pm=1.0)
    field = bound_charge(cells)
    rows = (cells.row > 0) & (cells.row < 23)
    per_row = EDGE_PX * np.sum(field.values[rows]) / len(np.unique(cells.row[rows]))
    wall = find_walls(cells, find_domains(cells), rng=np.random.default_rng(0))[0]
    assert per_row == pytest.approx(wall.charge_px, rel=0.02)
    assert per_row == pytest.approx(50.0 / PIXEL_SIZE_PM, rel=0.02)


def test_charge_needs_cells_around_and_votes():
    cells = crystal(saddle)
    lonely = take(cells, (cells.row % 2 == 0) & (cells.col % 2 == 0))
    assert np.isnan(bound_charge(lonely).values).all() and np.isnan(bound_charge(lonely).sigma).all()
    flags = np.where(cells.row == 5, np.uint32(Flag.ODD_CELL), np.uint32(0)).astype(np.uint32)
    wild = np.where((cells.row == 5)[:, None], 99.0, cells.displacement_px)
    field = bound_charge(replace(cells, flags=flags, displacement_px=wild))
    assert np.nanmax(np.abs(field.values - 3.0 / 396.0) / field.sigma) < 6.0
    assert bound_charge(take(cells, np.zeros(len(flags), dtype=bool))).values.shape == (0,)


def test_charge_of_polarization_needs_a_pixel_size():
    bare = replace(crystal(saddle), pixel_size_pm=None)
    np.testing.assert_allclose(bound_charge(bare).values, bound_charge(crystal(saddle)).values)
    with pytest.raises(CalibrationError, match="bound charge of the polarization needs a pixel size"):
        bound_charge(bare, uc_per_cm2_per_pm=2.5)


@pytest.mark.parametrize("sense", [1, -1])
@pytest.mark.parametrize("turn", [0.0, 70.0, 180.0])
@pytest.mark.parametrize("sigma_pm", [0.5, 2.4])
def test_a_vortex_is_found_where_it_is_with_its_sense(sense, turn, sigma_pm):
    found = find_defects(crystal(vortex(sense), turn_deg=turn, sigma_pm=sigma_pm))
    assert found.winding.tolist() == [sense]
    core = rotation(turn) @ np.array([11.7, 14.4]) * EDGE_PX
    assert np.linalg.norm(found.positions_px[0] - core) < 0.4 * EDGE_PX
    assert found.p_noise[0] < 0.01


def test_reversing_the_displacement_keeps_the_winding_and_mirroring_it_turns_it_around():
    cells = crystal(vortex())
    assert find_defects(replace(cells, displacement_px=-cells.displacement_px)).winding.tolist() == [1]
    assert find_defects(replace(cells, displacement_px=cells.displacement_px * [1.0, -1.0])).winding.tolist() == [-1]


def test_a_pair_is_two_defects_and_a_smooth_field_none():
    def pair(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        # the angles of two vortices of opposite sense add up: far away nothing turns
        one = np.arctan2(-(row - 11.6), col - 7.4)
        other = np.arctan2(-(row - 11.4), col - 21.6)
        near = np.minimum(np.hypot(row - 11.6, col - 7.4), np.hypot(row - 11.4, col - 21.6))
        size = 25.0 * np.tanh(near / 3.0)
        return size[:, None] * np.stack([-np.sin(one - other), np.cos(one - other)], axis=1)

    found = find_defects(crystal(pair))
    assert sorted(found.winding.tolist()) == [-1, 1]
    columns = found.positions_px[np.argsort(-found.winding), 1] / EDGE_PX
    np.testing.assert_allclose(columns, [7.4, 21.6], atol=0.6)
    for field in (even(0.0, 25.0), two(), saddle):
        assert not len(find_defects(crystal(field)).winding)


def test_noise_alone_makes_hardly_any_significant_vortex():
    count = sum(len(find_defects(crystal(even(0.0, 0.0), (40, 40), seed=seed)).winding) for seed in range(20))
    assert count <= 2  # in 20 films with some 500 windings each
    assert sum(len(find_defects(crystal(even(0.0, 0.0), seed=seed), most_p=1.0).winding) for seed in range(3)) > 60


def test_the_probability_is_that_of_noise_undoing_the_winding():
    """Add the noise once more, many times: how often does the winding stay?"""
    cells = take(crystal(vortex(), (24, 30), sigma_pm=5.0, seed=3), np.arange(720))
    found = find_defects(cells, most_p=1.0)
    mine = int(np.argmin(np.linalg.norm(found.positions_px - np.array([11.7, 14.4]) * EDGE_PX, axis=1)))
    assert found.winding[mine] == 1
    rng = np.random.default_rng(5)
    sigma = np.sqrt(cells.covariance_px2[:, 0, 0])[:, None]
    middle = found.positions_px[mine] / EDGE_PX
    half = found.loop_cells[mine] / 2.0
    ring = (np.abs(cells.row - middle[0]) < half + 2.0) & (np.abs(cells.col - middle[1]) < half + 2.0)
    patch = take(cells, ring)
    stays = []
    for _ in range(150):
        again = replace(patch, displacement_px=patch.displacement_px + sigma[ring] * rng.normal(size=(ring.sum(), 2)))
        stays.append(1 in find_defects(again, most_p=1.0).winding.tolist())
    # p is that of any one of the loop's links, times three for the loops tried: a bound from above
    assert np.mean(np.logical_not(stays)) <= found.p_noise[mine] + 0.05


def test_flagged_cells_hide_a_vortex_and_empty_tables_have_none():
    cells = crystal(vortex())
    flags = np.where(np.hypot(cells.row - 11.7, cells.col - 14.4) < 6.0, np.uint32(Flag.ODD_CELL), np.uint32(0))
    assert not len(find_defects(replace(cells, flags=flags.astype(np.uint32))).winding)
    nothing = find_defects(take(cells, np.zeros(len(flags), dtype=bool)))
    assert nothing.positions_px.shape == (0, 2) and nothing.winding.shape == (0,)
