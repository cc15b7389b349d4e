"""Predicted cells beside measured ones: the same cell is found, agreement obeys its laws, places are ranked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import maps_cells
from dipolar.core.domains import Anomalies
from dipolar.core.errors import DataError, SettingsError
from dipolar.core.flags import Flag
from dipolar.core.nouns import Cells, same, take
from dipolar.maps.comparison import compare, match, places
from maps_cells import EDGE_PX, PIXEL_SIZE_PM, crystal, turned

COUNT = (12, 14)
NONE = np.zeros(0, dtype=np.int64)


def film(seed: int | None = 0, **options: object) -> Cells:
    return crystal(maps_cells.two(), COUNT, seed=seed, **options)


def told(truth: Cells, *, slope: float = 1.0, offset_px: float = 0.0, noise_px: float = 0.0, seed: int = 5) -> Cells:
    """Return the cells as a network would tell them, with sigma equal to its noise."""
    noise = noise_px * np.random.default_rng(seed).normal(size=truth.displacement_px.shape)
    covariance = np.tile(max(noise_px, 1e-3) ** 2 * np.eye(2), (len(truth.flags), 1, 1))
    moved = slope * truth.displacement_px + offset_px + noise
    return replace(truth, displacement_px=moved, covariance_px2=covariance)


def test_a_table_agrees_with_itself():
    cells = film()
    found = compare(cells, cells)
    np.testing.assert_array_equal(found.measured, np.arange(len(cells.flags)))
    np.testing.assert_array_equal(found.measured, found.predicted)
    assert not found.error_px.any() and found.counted.all()
    for part in (found.dy, found.dx):
        assert (part.rmse_px, part.bias_px, part.r2, part.zscore_width) == (0.0, 0.0, 1.0, 0.0)
        assert (part.slope, part.correlation) == pytest.approx((1.0, 1.0))
    for counts in (found.dy_counts, found.dx_counts):
        assert not counts[~np.eye(len(counts), dtype=bool)].any()
    np.testing.assert_array_equal(found.measured_counts, found.predicted_counts)
    assert (found.only_measured, found.only_predicted) == (0, 0)


def test_slope_bias_and_error_are_those_put_in():
    cells = film()
    found = compare(cells, told(cells, slope=0.8, offset_px=0.1))
    assert (found.dy.slope, found.dx.slope) == pytest.approx((0.8, 0.8))
    assert (found.dy.correlation, found.dx.correlation) == pytest.approx((1.0, 1.0))
    np.testing.assert_allclose(found.error_px, -0.2 * found.measured_px + 0.1)
    for axis, part in enumerate((found.dy, found.dx)):
        error = found.error_px[:, axis]
        assert part.bias_px == pytest.approx(error.mean())
        assert part.rmse_px == pytest.approx(np.sqrt(np.mean(error**2)))
        assert part.r2 == pytest.approx(1.0 - np.mean(error**2) / np.var(found.measured_px[:, axis]))


def test_predicting_the_mean_tells_nothing():
    cells = film()
    mean = replace(cells, displacement_px=np.tile(cells.displacement_px.mean(axis=0), (len(cells.flags), 1)))
    found = compare(cells, mean)
    assert (found.dy.r2, found.dy.slope) == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.0, abs=1e-12))
    assert np.isnan(found.dy.correlation) or found.dy.correlation == pytest.approx(0.0, abs=1e-6)


def test_honest_sigmas_give_a_width_of_one():
    truth = crystal(maps_cells.two(), (60, 60), seed=None)
    measured, predicted = crystal(maps_cells.two(), (60, 60), seed=1), told(truth, noise_px=0.3)
    found = compare(measured, predicted)
    assert (found.dy.zscore_width, found.dx.zscore_width) == pytest.approx((1.0, 1.0), abs=0.04)
    small = compare(measured, replace(predicted, covariance_px2=predicted.covariance_px2 / 16))
    assert small.dy.zscore_width > 2.0

    untold = compare(measured, replace(predicted, covariance_px2=np.full_like(predicted.covariance_px2, np.nan)))
    assert untold.dy.rmse_px == found.dy.rmse_px and np.isnan(untold.dy.zscore_width)


@pytest.mark.parametrize("turn_deg", [90.0, 180.0])
def test_turning_both_turns_the_errors(turn_deg):
    one, two = film(), told(film(), slope=0.7, noise_px=0.2)
    plain, after = compare(one, two), compare(turned(one, turn_deg), turned(two, turn_deg))
    np.testing.assert_allclose(after.error_px, plain.error_px @ maps_cells.rotation(turn_deg).T, atol=1e-9)
    swapped = turn_deg == 90.0
    assert after.dx.rmse_px == pytest.approx((plain.dy if swapped else plain.dx).rmse_px)


def test_the_order_of_rows_does_not_matter():
    cells, rng = film(), np.random.default_rng(3)
    other = told(cells, noise_px=0.2)
    shuffled = take(other, rng.permutation(len(cells.flags)))
    one, two = compare(cells, other), compare(cells, shuffled)
    np.testing.assert_array_equal(one.predicted_px, two.predicted_px)
    assert same(one.dy, two.dy)


def test_cells_are_matched_within_half_a_cell_and_once():
    cells = film()
    near = replace(cells, positions_px=cells.positions_px + 0.49 * np.array([0.0, EDGE_PX]))
    far = replace(cells, positions_px=cells.positions_px + 0.8 * np.array([EDGE_PX, EDGE_PX]))
    assert len(match(cells, near)) == len(cells.flags)
    pairs = match(cells, far)
    assert len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1])) == len(pairs) == 11 * 13
    double = take(cells, np.repeat(np.arange(len(cells.flags)), 2))
    assert len(match(cells, double)) == len(cells.flags)


def test_cells_without_a_partner_are_counted():
    cells = film()
    found = compare(take(cells, np.arange(5, 168)), take(cells, np.arange(0, 100)))
    assert (len(found.measured), found.only_measured, found.only_predicted) == (95, 68, 5)
    np.testing.assert_array_equal(found.measured + 5, found.predicted)


def test_flagged_and_unknown_cells_have_an_error_and_no_say():
    cells = film()
    flags = cells.flags.copy()
    flags[:10] = np.uint32(Flag.ODD_CELL)
    said = told(cells, noise_px=0.2)
    wild = said.displacement_px.copy()
    wild[:10], wild[20] = 1000.0, np.nan
    found = compare(replace(cells, flags=flags), replace(said, displacement_px=wild))
    assert found.counted.sum() == len(flags) - 11
    assert found.error_px[3, 0] > 900 and np.isnan(found.error_px[20]).all()
    assert found.dy.rmse_px < 0.3
    assert found.edges_px[-1] < 10


def test_histograms_hold_the_counted_pairs_in_place():
    cells = take(crystal(maps_cells.even(-10.0, 20.0), (8, 8), seed=None), np.arange(64))
    found = compare(cells, told(cells, slope=0.5))
    middles = 0.5 * (found.edges_px[1:] + found.edges_px[:-1]) * PIXEL_SIZE_PM
    for counts, rows, columns in (
        (found.dy_counts, -10.0, -5.0),
        (found.dx_counts, 20.0, 10.0),
        (found.measured_counts, -10.0, 20.0),
        (found.predicted_counts, -5.0, 10.0),
    ):
        (row,), (column,) = np.nonzero(counts)
        assert counts[row, column] == 64
        np.testing.assert_allclose([middles[row], middles[column]], [rows, columns], atol=1.1)  # half a bin


@pytest.mark.parametrize("rows", [np.arange(0), np.arange(2)])
def test_next_to_nothing_is_compared_without_a_claim(rows):
    cells = film()
    found = compare(take(cells, rows), cells)
    assert len(found.measured) == len(rows) and found.only_predicted == len(cells.flags) - len(rows)
    assert np.isnan([found.dy.rmse_px, found.dx.r2, found.dx.slope, found.dy.zscore_width]).all()
    assert len(compare(cells, take(cells, NONE)).measured) == 0


def test_bases_are_not_mixed():
    with pytest.raises(SettingsError, match=r"(?s)same basis.*basis A measured, basis B predicted.*--basis B"):
        compare(film(), replace(film(), basis="B"))


def anomalies(cells: Cells, rows: list[int], score: list[float]) -> Anomalies:
    every = np.linspace(0.5, 4.0, len(cells.flags))
    nowhere = np.full((len(rows), 2), np.nan)
    return Anomalies(
        cell=np.array(rows, dtype=np.int32),
        positions_px=cells.positions_px[rows],
        score=np.array(score),
        reason=tuple(f"reason {row}" for row in rows),
        from_centre_nm=nowhere,
        from_origin_nm=nowhere,
        cell_score=every,
    )


def at(row: int, column: int) -> int:
    return row * COUNT[1] + column


def scores(*raised: tuple[int, float]) -> np.ndarray:
    values = np.full(COUNT[0] * COUNT[1], 0.4)
    for cell, score in raised:
        values[cell] = score
    return values


def test_cells_that_touch_are_one_place_at_the_strangest():
    cells = film()
    unfamiliar = scores((at(2, 2), 1.5), (at(2, 3), 2.5), (at(3, 4), 1.1), (at(9, 9), 3.0), (at(2, 8), 0.99))
    found = places(cells, unfamiliar=unfamiliar, pixel_size_pm=PIXEL_SIZE_PM)
    np.testing.assert_array_equal(found.positions_px, cells.positions_px[[at(9, 9), at(2, 3)]])
    np.testing.assert_allclose(found.positions_nm, found.positions_px * PIXEL_SIZE_PM / 1000.0)
    assert found.score.tolist() == [3.0, 2.5]
    assert found.reason == ("unlike the training images (1 cell)", "unlike the training images (3 cells)")


def test_anomalies_join_the_cluster_they_are_in_or_beside():
    cells = film()
    usual = float(np.quantile(np.linspace(0.5, 4.0, len(cells.flags)), 0.98))
    unfamiliar = scores((at(2, 2), 1.5), (at(9, 9), 3.0))
    strange = anomalies(cells, [at(3, 3), at(6, 6), at(9, 9)], [4.0 * usual, 2.0 * usual, 1.2 * usual])
    found = places(cells, unfamiliar=unfamiliar, anomalies=strange)
    assert found.score == pytest.approx([4.0, 3.0, 2.0])
    assert found.reason == (
        f"unlike the training images (1 cell); reason {at(3, 3)}",
        f"unlike the training images (1 cell); reason {at(9, 9)}",
        f"reason {at(6, 6)}",
    )
    np.testing.assert_array_equal(found.positions_px, cells.positions_px[[at(2, 2), at(9, 9), at(6, 6)]])
    assert np.isnan(found.positions_nm).all()


def test_the_list_of_places_is_ranked_and_can_be_short_or_empty():
    cells = film()
    unfamiliar = scores(
        *((at(2 * row, 2 * column), 1.0 + row + 0.1 * column) for row in range(6) for column in range(7))
    )
    found = places(cells, unfamiliar=unfamiliar, most=5)
    assert len(found.reason) == 5
    assert found.score == pytest.approx([6.6, 6.5, 6.4, 6.3, 6.2])
    for nothing in (scores(), np.full(len(cells.flags), np.nan)):
        empty = places(cells, unfamiliar=nothing, anomalies=anomalies(cells, [], []))
        assert not len(empty.score) and empty.positions_px.shape == (0, 2)
    assert places(cells, unfamiliar=scores(), anomalies=anomalies(cells, [7], [9.0])).reason == ("reason 7",)
    assert not len(places(take(cells, NONE), unfamiliar=np.zeros(0)).score)


def test_every_cell_needs_its_score():
    with pytest.raises(DataError, match=r"(?s)one score of familiarity.*got:  3 scores for 168 cells.*this very table"):
        places(film(), unfamiliar=np.ones(3))
