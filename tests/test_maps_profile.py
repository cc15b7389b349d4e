"""The density over a wall's place and width, against the plain formula with the whole covariance matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import films
from dipolar.core.nouns import Columns
from dipolar.maps.profile import Across, Prior, evaluate, posterior, quantiles, scatter_px2, steepness
from dipolar.maps.shared import also_lines, independent, shared_errors, shared_px2, whitening
from dipolar.measure import build_cells
from dipolar.simulate import FilmSettings

JITTER_PX = (0.1, 0.2)
PRIOR = Prior(before_px=-1.0, after_px=1.1, spread_px=1.0, edge_px=20.0)


def across(*, shared: float = 0.0, seed: int = 0) -> Across:
    """Return 60 cells on 12 scan lines beside a wall of ξ = 25 px at 4 px."""
    rng = np.random.default_rng(seed)
    line = np.repeat(np.arange(12), 5).astype(np.int32)
    distance = 20.0 * (line - 5.5) + rng.uniform(-3.0, 3.0, 60)
    variance = rng.uniform(0.02, 0.05, 60) + shared
    noise = np.sqrt(variance - shared) * rng.normal(size=60) + np.sqrt(shared) * rng.normal(size=12)[line]
    return Across(
        distance_px=distance,
        component_px=np.tanh((distance - 4.0) / 25.0) + noise,
        variance_px2=variance,
        corners_px=np.tile([-10.0, -10.0, 10.0, 10.0], (60, 1)),
        line=line,
        shared=also_lines(independent(60), line, shared),
    )


@pytest.mark.parametrize("shared", [0.0, 0.03])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_the_density_is_that_of_all_cells_together(shared, share):
    cells, prior = across(shared=shared), replace(PRIOR, corner_share=share)
    places, widths = np.array([-8.0, 0.0, 6.0]), np.array([4.0, 25.0, 60.0])
    found, mean, covariance = evaluate(cells, prior, places, widths, np.zeros(3))
    noise = np.diag(cells.variance_px2 - shared) + shared * (cells.line[:, None] == cells.line)
    plain = np.empty((3, 3))
    for i, width in enumerate(widths):
        for j, place in enumerate(places):
            t = steepness(cells, prior, np.array([place]), np.array([width]))[0]
            design = np.stack([(1.0 - t) / 2.0, (1.0 + t) / 2.0], axis=1)
            expected = design @ [prior.before_px, prior.after_px]
            whole = noise + prior.spread_px**2 * design @ design.T
            plain[i, j] = multivariate_normal(expected, whole).logpdf(cells.component_px)
            inverse = np.linalg.inv(noise)
            posterior_covariance = np.linalg.inv(design.T @ inverse @ design + np.eye(2) / prior.spread_px**2)
            np.testing.assert_allclose(covariance[i, j], posterior_covariance, rtol=1e-8)
            gain = posterior_covariance @ design.T @ inverse @ (cells.component_px - expected)
            np.testing.assert_allclose(mean[i, j], gain + np.array([prior.before_px, prior.after_px]), rtol=1e-8)
    np.testing.assert_allclose(found - found[0, 0], plain - plain[0, 0], rtol=1e-8, atol=1e-8)


def test_corners_average_the_profile_over_the_cell():
    cells = across()
    sharp = (np.array([0.0]), np.array([1e-3]))
    point = steepness(cells, PRIOR, *sharp)[0]
    mean = steepness(cells, replace(PRIOR, corner_share=1.0), *sharp)[0]
    inside = np.abs(cells.distance_px) < 10.0
    np.testing.assert_allclose(np.abs(point), 1.0)
    np.testing.assert_allclose(mean[inside], 0.0, atol=1e-12)
    np.testing.assert_allclose(mean[~inside], point[~inside])


def test_intervals_are_honest_where_lines_share_their_noise_and_too_small_where_that_is_ignored():
    inside = {True: 0, False: 0}
    for seed in range(120):
        cells = across(shared=0.03, seed=seed)
        for told in inside:
            found = posterior(cells if told else replace(cells, shared=independent(60)), PRIOR, reach_px=30.0, fine=25)
            low, _, high = quantiles(found.position_px, found.density.sum(axis=0))
            inside[told] += low <= 4.0 <= high
    assert 0.55 < inside[True] / 120 < 0.81  # 68 %, three standard errors
    assert inside[False] < inside[True] - 10


def jittery(rng: np.random.Generator | None = None) -> Columns:
    """Return a crystal whose columns have their own errors and those of shifted rows; without a generator, none yet."""
    truth = films.film(FilmSettings(shape_px=(360, 360), layers=(films.layer("SrTiO3"),), rotation_deg=4.0))
    columns, count = truth.truth_columns, len(truth.truth_columns.flags)
    own = np.where(columns.sublattice == 0, 0.05, 0.08)
    told = replace(
        columns,
        row_reach_px=np.full((count, 2), 2.4),
        noise=replace(columns.noise, row_jitter_px=JITTER_PX),
        covariance_px2=own[:, None, None] ** 2 * np.eye(2) + np.diag(JITTER_PX) ** 2 / (2.0 * np.sqrt(np.pi) * 2.4),
    )
    if rng is None:
        return told
    off = own[:, None] * rng.normal(size=(count, 2))
    for axis in (0, 1):
        row = np.arange(-20, 400)
        share = np.exp(-0.5 * ((row - told.positions_px[:, :1]) / 2.4) ** 2) / (np.sqrt(2.0 * np.pi) * 2.4)
        off[:, axis] += share @ rng.normal(0.0, JITTER_PX[axis], len(row))
    return replace(told, positions_px=told.positions_px + off)


@pytest.mark.parametrize("axis", [(0.0, 1.0), (1.0, 0.0), (0.6, -0.8)])
def test_what_cells_share_is_in_their_variance(axis):
    columns, axis = jittery(), np.array(axis)
    cells = build_cells(columns)
    rows = np.arange(len(cells.flags), dtype=np.int32)
    shared = shared_errors(cells, columns, rows, axis)
    by_rows = np.asarray(shared.pull.multiply(shared.pull).sum(axis=1)).ravel()
    own = 0.08**2 + 0.05**2 / 4.0
    expected = np.einsum("i,nij,j->n", axis, cells.covariance_px2, axis)
    np.testing.assert_allclose(by_rows + own, expected, rtol=2e-3)
    np.testing.assert_allclose(shared.alike, (0.08**2 + 0.05**2) / own)
    loose = shared_errors(replace(cells, center=np.full_like(cells.center, -1)), columns, rows, axis)
    assert loose.pull is None and (loose.alike == 1.0).all()


def test_whitened_squares_are_those_of_the_whole_covariance():
    columns, axis = jittery(), np.array([0.6, 0.8])
    cells = build_cells(columns)
    shared = shared_errors(cells, columns, np.arange(len(cells.flags), dtype=np.int32), axis)
    variance = np.einsum("i,nij,j->n", axis, cells.covariance_px2, axis)
    pull = shared.pull.toarray()
    by_rows = np.sum(pull**2, axis=1)
    whole = np.diag(shared.alike * (variance - by_rows)) + pull @ pull.T
    values = np.random.default_rng(0).normal(size=(3, len(variance)))
    white = whitening(variance, shared)(values)
    np.testing.assert_allclose(white @ white.T, values @ np.linalg.inv(whole) @ values.T, rtol=1e-8)


def test_sigma_of_what_is_slower_than_a_cell_is_that_of_repeated_films():
    rng, axis = np.random.default_rng(3), np.array([0.0, 1.0])
    true = jittery()
    cells = build_cells(true)
    rows = np.arange(len(cells.flags), dtype=np.int32)
    variance = np.einsum("i,nij,j->n", axis, cells.covariance_px2, axis)
    white = whitening(variance, shared_errors(cells, true, rows, axis))
    # the mean, and steps from the left to the right and from top to bottom
    middle = cells.positions_px - cells.positions_px.mean(axis=0)
    design = white(np.stack([np.ones(len(rows)), np.tanh(middle[:, 1] / 20.0), np.tanh(middle[:, 0] / 20.0)]))
    solve = np.linalg.inv(design @ design.T)
    z = []
    for _ in range(150):
        again = build_cells(jittery(rng))
        (value,) = white((again.displacement_px @ axis)[None])
        z.append(solve @ design @ value / np.sqrt(np.diag(solve)))
    np.testing.assert_allclose(np.std(z, axis=0), 1.0, atol=0.16)


def test_variance_beyond_sigma_and_in_common_is_found():
    rng = np.random.default_rng(2)
    line = np.repeat(np.arange(40), 8).astype(np.int32)
    own = rng.normal(0.0, 0.3, 320)
    common = rng.normal(0.0, 0.2, 40)[line]
    assert shared_px2(own + common, np.full(320, 0.13), line) == pytest.approx(0.04, rel=0.5)
    assert shared_px2(own, np.full(320, 0.09), line) == 0.0
    assert shared_px2(own[:1], np.full(1, 0.09), line[:1]) == 0.0
    assert scatter_px2(own, np.full(320, 0.05), 5) == pytest.approx(0.04, rel=0.3)
    assert scatter_px2(own, np.full(320, 0.20), 5) == 0.0


def test_quantiles_of_known_densities():
    x = np.linspace(-6.0, 6.0, 401)
    low, middle, high = quantiles(x, np.exp(-0.5 * x**2))
    assert (low, middle, high) == pytest.approx((-0.9945, 0.0, 0.9945), abs=1e-3)
