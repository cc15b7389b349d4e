"""The density over a wall's place and width, against the plain formula with the whole covariance matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from dipolar.maps.profile import Across, Prior, evaluate, posterior, quantiles, scatter_px2, shared_px2, steepness

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
        shared_px2=shared,
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
            found = posterior(cells if told else replace(cells, shared_px2=0.0), PRIOR, reach_px=30.0, fine=25)
            low, _, high = quantiles(found.position_px, found.density.sum(axis=0))
            inside[told] += low <= 4.0 <= high
    assert 0.55 < inside[True] / 120 < 0.81  # 68 %, three standard errors
    assert inside[False] < inside[True] - 10


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
