"""Walls: laws of turning and sign, kinds and charge, and posteriors that cover the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.domains import Domains, Wall
from dipolar.core.errors import SettingsError
from dipolar.core.flags import Flag
from dipolar.core.nouns import Cells, same, take
from dipolar.maps import WallFit, find_domains, find_walls
from dipolar.measure import load_material
from maps_cells import EDGE_PX, PIXEL_SIZE_PM, crystal, even, turned, two

FIT = WallFit(samples=400)


def walls_of(cells: Cells, *, seed: int = 0, fit: WallFit = FIT, factor: float | None = None) -> tuple[Wall, ...]:
    rng = np.random.default_rng(seed)
    return find_walls(cells, find_domains(cells), rng=rng, fit=fit, uc_per_cm2_per_pm=factor)


def only(walls: tuple[Wall, ...]) -> Wall:
    assert len(walls) == 1
    return walls[0]


def domain_means(domains: Domains, wall: Wall) -> np.ndarray:
    return domains.mean_px[[wall.before, wall.after]]


@pytest.mark.parametrize("turn", [30.0, 90.0, 200.0])
def test_turning_the_cells_turns_the_walls(turn):
    cells = crystal(two())
    still, moved = only(walls_of(cells)), only(walls_of(turned(cells, turn)))
    back = turned(replace(take(cells, np.arange(len(still.points_px))), positions_px=still.points_px), turn)
    np.testing.assert_allclose(moved.points_px, back.positions_px, atol=1e-3 * EDGE_PX)
    for name in ("turn_deg", "charge_px", "length_px"):
        assert getattr(moved, name) == pytest.approx(getattr(still, name), abs=1e-3 * EDGE_PX)
    np.testing.assert_allclose(moved.profile.width_px, still.profile.width_px, rtol=2e-3)
    assert (moved.kind, moved.charge, moved.before, moved.after) == (
        still.kind,
        still.charge,
        still.before,
        still.after,
    )


def test_the_opposite_displacement_has_the_same_walls_with_opposite_charge():
    cells = crystal(two(0.0, 180.0))
    there, back = only(walls_of(cells)), only(walls_of(replace(cells, displacement_px=-cells.displacement_px)))
    np.testing.assert_allclose(back.points_px, there.points_px, atol=1e-6)
    assert back.charge_px == pytest.approx(-there.charge_px)
    assert (there.charge, back.charge) == ("head-to-head", "tail-to-tail")
    assert back.profile.width_px == pytest.approx(there.profile.width_px, rel=1e-6)


def test_the_domain_before_is_on_the_left_of_the_curve_and_sides_follow_distance():
    for field in (two(), two(-45.0, 45.0)):
        cells = crystal(field)
        domains = find_domains(cells)
        wall = only(find_walls(cells, domains, rng=np.random.default_rng(0)))
        ahead = wall.points_px[-1] - wall.points_px[0]
        right = np.array([ahead[1], -ahead[0]])
        middle = wall.points_px.mean(axis=0)
        assert (domains.centre_px[wall.after] - middle) @ right > 0 > (domains.centre_px[wall.before] - middle) @ right
        one, other = domain_means(domains, wall)
        assert wall.component_px[wall.distance_px > 2 * EDGE_PX].mean() == pytest.approx(
            float(other @ (other - one) / np.linalg.norm(other - one)), rel=0.1
        )


@pytest.mark.parametrize(
    ("directions", "kind", "turn"),
    [
        ((45.0, -45.0), "90° in projection", 90.0),
        ((45.0, -135.0), "180° in projection", 180.0),
        ((0.0, 125.0), "125° in projection", 125.0),
    ],
)
def test_kinds_follow_the_turn(directions, kind, turn):
    wall = only(walls_of(crystal(two(*directions))))
    assert abs(wall.turn_deg - turn) < 4.0 * wall.turn_sigma_deg + 0.5
    if turn != 125.0:
        assert wall.kind == kind
    else:
        assert wall.kind.endswith("° in projection")
    assert wall.turn_sigma_deg < 1.5


@pytest.mark.parametrize("turn", [90.0, 180.0])
def test_a_wall_is_what_the_symmetry_of_the_material_allows(turn):
    cells = crystal(two(45.0, 45.0 - turn))

    def kind(name: str) -> str:
        symmetry = load_material(name).symmetry
        return only(find_walls(cells, find_domains(cells), rng=np.random.default_rng(0), symmetry=symmetry)).kind

    for name in ("PbTiO3", "BaTiO3"):
        assert kind(name) == f"{turn:.0f}° in projection (tetragonal: {turn:.0f}°)"
    assert kind("BiFeO3") == f"{turn:.0f}° in projection ({'71° or 109°' if turn == 90.0 else '109° or 180°'})"


def test_the_rim_of_a_film_is_called_so():
    def film(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        return np.where((row < 11)[:, None], even(18.0, 18.0)(row, col), 0.0)

    assert only(walls_of(crystal(film))).kind == "rim of a polar region"


def test_walls_meet_where_three_domains_do():
    def three(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        return np.where((row < 12)[:, None], two(width=1.0)(row, col), even(0.0, -25.0)(row, col))

    walls = walls_of(crystal(three, (26, 30)))
    assert len(walls) == 3
    ends = np.array([wall.points_px[[0, -1]] for wall in walls])
    near = np.linalg.norm(ends - np.array([11.5, 14.3]) * EDGE_PX, axis=2).min(axis=1)
    assert near.max() < 2.0 * EDGE_PX


def test_a_round_domain_has_one_closed_wall_at_its_radius():
    def disc(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        share = np.tanh((np.hypot(row - 15.2, col - 14.7) - 8.0) / 1.2)[:, None]
        return share * np.array([18.0, 18.0])

    wall = only(walls_of(crystal(disc, (32, 32))))
    assert wall.closed and wall.charge == "neutral"
    radius = np.linalg.norm(wall.points_px / EDGE_PX - [15.2, 14.7], axis=1)
    assert abs(radius.mean() - 8.0) < 0.15 and radius.std() < 0.25
    low, middle, high = np.array(wall.profile.width_px) / EDGE_PX
    assert middle == pytest.approx(2.4, rel=0.15) and low < middle < high
    assert len(wall.segment_px) in (3, 4)  # of 12 cells each


def test_missing_and_flagged_cells_leave_a_wall_in_one_piece():
    cells = crystal(two())
    gone = (cells.row == 12) & (abs(cells.col - 14) <= 1)
    assert len(walls_of(take(cells, ~gone))) == 1
    flags = np.where(gone, np.uint32(Flag.ODD_CELL), np.uint32(0)).astype(np.uint32)
    marked = only(walls_of(replace(cells, flags=flags)))
    assert marked.profile.cells < only(walls_of(cells)).profile.cells


@pytest.mark.parametrize(
    ("kind", "directions"), [("head", (0.0, 180.0)), ("tail", (180.0, 0.0)), (None, (90.0, -90.0))]
)
def test_charge_is_that_of_the_jump_across_the_wall(kind, directions):
    cells = crystal(two(*directions))
    wall = only(walls_of(cells))
    expected = {"head": 50.0, "tail": -50.0, None: 0.0}[kind] / PIXEL_SIZE_PM
    assert abs(wall.charge_px - expected) < 4.0 * wall.charge_sigma_px
    assert wall.charge == ("neutral" if kind is None else f"{kind}-to-{kind}")
    assert np.isnan(wall.charge_e_per_nm2)
    material = only(walls_of(cells, factor=-2.5))  # polarization against the displacement
    assert material.charge_px == pytest.approx(wall.charge_px)
    assert material.charge_e_per_nm2 == pytest.approx(-2.5 * 0.0624151 * wall.charge_px * PIXEL_SIZE_PM)
    swapped = {"head": "tail-to-tail", "tail": "head-to-head", None: "neutral"}
    assert material.charge == swapped[kind]


def test_intervals_cover_width_place_and_sides():
    rng = np.random.default_rng(8)
    hits, off, sides = [], [], []
    for seed in range(50):
        place, width = rng.uniform(12.0, 16.0), float(np.exp(rng.uniform(np.log(0.8), np.log(5.0))))
        cells = crystal(two(place=place, width=width), (16, 30), sigma_pm=rng.uniform(1.5, 5.0), seed=seed)
        wall = only(walls_of(cells, seed=seed))
        low, _, high = np.array(wall.profile.width_px) / EDGE_PX
        hits.append(low <= width <= high)
        off.append(np.mean(wall.points_px[:, 1]) / EDGE_PX - place)
        truth = 25.0 * np.sqrt(0.5) / PIXEL_SIZE_PM
        sides.append((wall.profile.before_px + truth) / wall.profile.before_sigma_px)
        sides.append((wall.profile.after_px - truth) / wall.profile.after_sigma_px)
    assert 0.48 < np.mean(hits) < 0.88  # 68 % of 50 walls, three standard errors
    assert np.sqrt(np.mean(np.square(off))) < 0.15
    assert 0.75 < np.std(sides) < 1.25


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_corners_that_carry_the_wall_are_told_from_a_wider_wall(share):
    def averaged(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        corners = [two(place=14.3 + off, width=1.0)(row, col) for off in (-0.5, 0.5)]
        return 0.5 * (corners[0] + corners[1])

    wall = only(walls_of(crystal(averaged, (30, 30), sigma_pm=1.0), fit=replace(FIT, corner_share=share)))
    low, middle, high = np.array(wall.profile.width_px) / EDGE_PX
    if share == 1.0:
        assert low - (high - low) < 1.0 < high + (high - low)
    else:
        assert middle - 2.0 * (high - low) > 1.0  # taken for a point, the cell's own size widens it


def test_a_sharp_wall_is_not_resolved_and_its_width_is_a_bound():
    found = only(walls_of(crystal(two(width=0.05, place=14.5)))).profile
    assert not found.resolved and found.width_px[2] < 1.0 * EDGE_PX
    assert only(walls_of(crystal(two(width=3.0)))).profile.resolved


def test_an_offset_of_all_cells_shows_as_unequal_sides():
    cells = crystal(two(90.0, -90.0), sigma_pm=1.0)
    moved = replace(cells, displacement_px=cells.displacement_px + np.array([4.0, 0.0]) / PIXEL_SIZE_PM)
    for table, expected in ((cells, 0.0), (moved, 8.0)):
        wall = only(walls_of(table))
        down = np.sign(domain_means(find_domains(table), wall)[1, 0])
        found, sigma = wall.profile.asymmetry_px * PIXEL_SIZE_PM, wall.profile.asymmetry_sigma_px * PIXEL_SIZE_PM
        assert abs(found * down - expected) < 4.0 * sigma < 2.0


def test_scatter_beyond_sigma_widens_the_interval():
    cells = crystal(two(), sigma_pm=6.0)
    proud = replace(cells, covariance_px2=cells.covariance_px2 / 9.0)
    honest, told = only(walls_of(cells)).profile, only(walls_of(proud)).profile
    assert told.scatter_px == pytest.approx(np.sqrt(8.0 / 9.0) * 6.0 / PIXEL_SIZE_PM, rel=0.15)
    assert np.ptp(told.width_px) == pytest.approx(np.ptp(honest.width_px), rel=0.25)


def test_pieces_see_a_width_that_changes_along_the_wall():
    def growing(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        share = np.tanh((col - 14.3) / np.where(row < 24, 0.6, 2.0))[:, None]
        return share * np.array([18.0, -18.0])

    wall = only(walls_of(crystal(growing, (48, 30))))
    order = np.argsort(wall.segment_px[:, 0])
    widths = wall.segment_width_px[order, 1] / EDGE_PX
    assert len(widths) == 3 or len(widths) == 4
    assert widths[0] == pytest.approx(1.2, rel=0.25) and widths[-1] == pytest.approx(4.0, rel=0.25)


def test_draws_follow_the_posterior_and_nothing_else_depends_on_the_generator():
    cells = crystal(two())
    one, other = only(walls_of(cells, seed=1)), only(walls_of(cells, seed=2))
    assert same(one.profile, other.profile)
    assert not np.array_equal(one.samples_px, other.samples_px)
    low, middle, high = np.percentile(2.0 * one.samples_px[:, 1], [16, 50, 84])
    width = one.profile.width_px
    assert middle == pytest.approx(width[1], abs=0.3 * (width[2] - width[0]))
    assert high - low == pytest.approx(width[2] - width[0], rel=0.25)
    assert abs(np.median(one.samples_px[:, 0])) < 0.3 * np.ptp(one.profile.position_px)


def test_lengths_in_px_need_no_pixel_size():
    cells = crystal(two(0.0, 180.0))
    bare = only(walls_of(replace(cells, pixel_size_pm=None), factor=2.5))
    assert same(bare.profile, only(walls_of(cells, factor=2.5)).profile)
    assert np.isnan(bare.charge_e_per_nm2)


@pytest.mark.parametrize(("rows", "walls"), [(2, 0), (4, 1)])
def test_few_cells_have_no_profile_and_a_touch_is_no_wall(rows, walls):
    cells = crystal(two())
    domains = find_domains(cells)
    kept = (cells.row < rows) & (abs(cells.col - 14) < 2)  # three cells wide: 6 and 12 cells, and one has a flag
    flags = np.where(np.arange(len(kept)) == 14, np.uint32(Flag.ODD_CELL), np.uint32(0)).astype(np.uint32)
    few = take(replace(cells, flags=flags), kept)
    part = replace(domains, label=domains.label[kept], probability=domains.probability[kept])
    found = find_walls(few, part, rng=np.random.default_rng(0), fit=FIT)
    assert len(found) == walls
    for wall in found:
        assert wall.profile.cells < 12 and np.isnan(wall.profile.width_px).all() and not len(wall.samples_px)
        assert wall.kind == "90° in projection" and np.isfinite(wall.charge_px)


def test_settings_that_mean_nothing_are_refused():
    for wrong in ({"reach_cells": 1.0}, {"segment_cells": 1.0}, {"corner_share": 1.5}, {"samples": 0}):
        with pytest.raises(SettingsError, match="Walls need a reach"):
            WallFit(**wrong)
