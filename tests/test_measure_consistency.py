"""Laws of the check that sigma explains how neighbours differ: 1 where it does, the factor it is short of elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
from dipolar.core.findings import Profile
from dipolar.core.nouns import Columns
from dipolar.measure import build_cells
from dipolar.measure.consistency import layer_scatter, neighbour_scatter
from dipolar.measure.linear import row_pull
from dipolar.simulate import FilmSettings
from maps_cells import crystal

SIGMA_PX = 0.1


@pytest.fixture(scope="module")
def truth() -> Columns:
    settings = FilmSettings(shape_px=(560, 560), layers=(films.layer("BiFeO3"),))
    known = films.film(settings).truth_columns
    count = len(known.flags)
    return replace(
        known,
        covariance_px2=np.tile(np.eye(2) * SIGMA_PX**2, (count, 1, 1)),
        row_reach_px=np.full((count, 2), 2.5),
    )


def noisy(columns: Columns, *, jitter_px: float = 0.0, told: bool = True) -> Columns:
    """Return the columns off by noise and by shifted scan rows, which they know of or not."""
    rng = np.random.default_rng(3)
    positions = columns.positions_px + rng.normal(scale=SIGMA_PX, size=columns.positions_px.shape)
    for axis in (0, 1):
        pull = row_pull(columns, axis)
        positions[:, axis] += pull @ rng.normal(scale=jitter_px, size=pull.shape[1])
    columns = replace(columns, positions_px=positions)
    if not told:
        return columns
    shared = jitter_px**2 / (2.0 * np.sqrt(np.pi) * 2.5)
    return replace(
        columns,
        covariance_px2=columns.covariance_px2 + shared * np.eye(2),
        noise=replace(columns.noise, row_jitter_px=(jitter_px, jitter_px)),
    )


def even(row: np.ndarray, col: np.ndarray) -> np.ndarray:
    return np.tile([10.0, 20.0], (len(row), 1))


@pytest.mark.parametrize("jitter_px", [0.0, 0.4])
def test_the_width_is_one_where_sigma_is_honest_shared_rows_or_not(truth: Columns, jitter_px: float) -> None:
    columns = noisy(truth, jitter_px=jitter_px)
    found = neighbour_scatter(build_cells(columns), columns)
    assert found.pairs > 500
    assert found.width == (pytest.approx(1.0, abs=0.12), pytest.approx(1.0, abs=0.12))


def test_what_sigma_leaves_out_shows(truth: Columns) -> None:
    columns = noisy(truth)
    small = replace(columns, covariance_px2=columns.covariance_px2 / 9.0)
    honest, found = (neighbour_scatter(build_cells(c), c) for c in (columns, small))
    assert found.width == pytest.approx(tuple(3.0 * width for width in honest.width))
    hidden = noisy(truth, jitter_px=0.6, told=False)
    assert min(neighbour_scatter(build_cells(hidden), hidden).width) > 1.25


def test_cells_with_a_sigma_of_their_own_are_compared_by_it() -> None:
    cells = crystal(even, (30, 30))
    assert neighbour_scatter(cells, None).width == pytest.approx((1.0, 1.0), abs=0.12)
    half = replace(cells, covariance_px2=cells.covariance_px2 / 4.0)
    assert neighbour_scatter(half, None).width == pytest.approx((2.0, 2.0), abs=0.25)


def test_cells_left_out_have_no_vote() -> None:
    cells = crystal(even, (30, 30))
    wild = np.where(cells.col[:, None] > 20, 100.0 * cells.displacement_px, cells.displacement_px)
    cells = replace(cells, displacement_px=wild + 9.0 * (cells.col[:, None] > 20) * cells.row[:, None])
    assert max(neighbour_scatter(cells, None, used=cells.col <= 20).width) < 1.15


def layers(mean: np.ndarray, sigma: float) -> Profile:
    count = len(mean)
    return Profile(
        name="c_over_a",
        unit="",
        layer=np.arange(count, dtype=np.int32),
        position_px=23.0 * np.arange(count),
        mean=mean,
        sigma=np.full(count, sigma),
        cells=np.full(count, 40, dtype=np.int32),
    )


def test_the_scatter_of_layers_passes_over_slopes_and_steps_and_shows_what_is_left() -> None:
    rng = np.random.default_rng(0)
    step = 1.0 + 0.06 * (np.arange(80) > 40) + 0.001 * np.arange(80)
    spread, over = layer_scatter(layers(step + rng.normal(0.0, 0.005, 80), 0.005))
    assert spread == pytest.approx(0.005, rel=0.35) and over == pytest.approx(1.0, abs=0.35)
    _, over = layer_scatter(layers(step + rng.normal(0.0, 0.017, 80), 0.005))
    assert over == pytest.approx(3.4, rel=0.35)
    assert np.isnan(layer_scatter(layers(step[:5], 0.005))).all()
