"""Bound charge and vortices: exact fields, turning, sigma, and noise that makes none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
from dipolar.core.errors import CalibrationError
from dipolar.core.findings import ScanCalibration
from dipolar.core.flags import Flag
from dipolar.core.nouns import Cells, take
from dipolar.maps import bound_charge, find_defects, find_domains, find_walls, make_maps
from dipolar.simulate import FilmSettings
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


SCAN = ScanCalibration(
    pixel_size_y_pm=1.04 * PIXEL_SIZE_PM,
    pixel_size_x_pm=PIXEL_SIZE_PM,
    shear=-0.06,
    pixel_size_y_sigma_pm=0.01,
    pixel_size_x_sigma_pm=0.01,
    shear_sigma=0.001,
    lattice_pm=(396.0, 396.0),
    region_px=None,
    cells=720,
)


def scanned(cells: Cells) -> Cells:
    """Return cells of a true scan where an image with 4 % larger steps between rows, and sheared, shows them."""
    return replace(cells, positions_px=cells.positions_px @ np.linalg.inv(SCAN.straighten).T)


@pytest.mark.parametrize("field", [saddle, two(), vortex()])
def test_maps_of_a_corrected_scan_are_those_of_a_true_one(field):
    columns = films.film(FilmSettings(shape_px=(120, 120))).truth_columns  # the cells are not linked to them
    true = crystal(field, turn_deg=8.0, sigma_pm=1.0)
    options = {"shape_px": (700, 800), "uc_per_cm2_per_pm": -2.0}
    plain = make_maps(true, columns, rng=np.random.default_rng(0), **options)
    maps = make_maps(scanned(true), columns, rng=np.random.default_rng(0), scan=SCAN, **options)
    np.testing.assert_allclose(maps.charge.values, plain.charge.values, atol=1e-12)
    np.testing.assert_allclose(maps.charge.sigma, plain.charge.sigma)
    np.testing.assert_array_equal(maps.charge.positions_px, scanned(true).positions_px)
    np.testing.assert_allclose(maps.domains.centre_px @ SCAN.straighten.T, plain.domains.centre_px)
    np.testing.assert_allclose(maps.defects.positions_px @ SCAN.straighten.T, plain.defects.positions_px)
    np.testing.assert_array_equal(maps.anomalies.positions_px, scanned(true).positions_px[maps.anomalies.cell])
    np.testing.assert_allclose(maps.anomalies.from_origin_nm, plain.anomalies.from_origin_nm)
    # the middle of the image is elsewhere in the specimen, at the same distance from all
    apart = maps.anomalies.from_centre_nm - plain.anomalies.from_centre_nm
    np.testing.assert_allclose(apart, np.broadcast_to(apart[:1], apart.shape), atol=1e-9)
    assert len(maps.walls) == len(plain.walls)
    for wall, other in zip(maps.walls, plain.walls, strict=True):
        np.testing.assert_allclose(wall.points_px @ SCAN.straighten.T, other.points_px, atol=1e-4)
        np.testing.assert_allclose(wall.segment_px @ SCAN.straighten.T, other.segment_px, atol=1e-4)
        assert wall.profile.width_px == pytest.approx(other.profile.width_px, rel=1e-4, nan_ok=True)
        assert (wall.length_px, wall.charge_px) == pytest.approx((other.length_px, other.charge_px), rel=1e-4)


def test_slopes_of_a_sheared_scan_are_wrong_until_its_shape_is_told():
    cells = scanned(crystal(saddle, seed=None))
    assert np.abs(bound_charge(cells).values / (3.0 / 396.0) - 1.0).min() > 0.02


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
