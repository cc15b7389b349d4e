"""The gain check finds the gain, the bias and the sigma that were put in."""

from __future__ import annotations

import numpy as np
import pytest

from dipolar.core.flags import Flag
from dipolar.core.nouns import Cells
from dipolar.recipes.gain_check import compare, regress, smooth_background


def cells_with(displacement_px: np.ndarray, *, sigma_px: float = 0.1) -> Cells:
    count = len(displacement_px)
    row, col = np.divmod(np.arange(count), 40)
    unknown = np.full(count, np.nan)
    return Cells(
        row=row.astype(np.int32),
        col=col.astype(np.int32),
        grain=np.zeros(count, dtype=np.int32),
        positions_px=np.stack([row, col], axis=1) * 20.0,
        displacement_px=displacement_px,
        covariance_px2=np.broadcast_to(np.eye(2) * sigma_px**2, (count, 2, 2)).copy(),
        a_px=np.tile([0.0, 20.0], (count, 1)),
        b_px=np.tile([20.0, 0.0], (count, 1)),
        a_sigma_px=unknown,
        b_sigma_px=unknown,
        gamma_sigma_deg=unknown,
        area_sigma_px2=unknown,
        corners=np.full((count, 4), -1, dtype=np.int32),
        center=np.full(count, -1, dtype=np.int32),
        flags=np.zeros(count, dtype=np.uint32),
        basis="A",
        pixel_size_pm=None,
    )


def test_gain_bias_and_width_are_those_put_in():
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(1600, 2))
    measured = truth * (0.8, 1.1) + (0.3, -0.2) + rng.normal(scale=0.1, size=truth.shape)
    check = compare(cells_with(truth), cells_with(measured, sigma_px=0.1))
    assert np.abs(np.array(check.gain) - (0.8, 1.1)).max() < 4 * max(check.gain_sigma)
    assert np.array(check.bias_px) - (0.3, -0.2) == pytest.approx((0, 0), abs=0.03)
    assert check.cells == 1600
    honest = compare(cells_with(truth), cells_with(truth + rng.normal(scale=0.1, size=truth.shape), sigma_px=0.1))
    assert honest.zscore_width == pytest.approx((1.0, 1.0), abs=0.08)
    assert honest.gain == pytest.approx((1.0, 1.0), abs=0.01)


def test_sigma_of_the_slope_is_that_of_repeated_experiments():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=50)
    variance = np.full(50, 0.04)
    lines = [regress(truth, truth + rng.normal(scale=0.2, size=50), variance) for _ in range(300)]
    assert np.std([line.slope for line in lines]) == pytest.approx(
        np.mean([line.slope_sigma for line in lines]), rel=0.2
    )


def test_cells_in_another_order_and_flagged_ones_change_nothing():
    rng = np.random.default_rng(7)
    truth = cells_with(rng.normal(size=(400, 2)))
    from dipolar.core.nouns import take

    shuffled = take(truth, rng.permutation(400))
    bad = shuffled.displacement_px.copy()
    bad[:20] += 5.0
    shuffled.flags[:20] = Flag.FLAGGED_COLUMN
    from dataclasses import replace

    check = compare(truth, replace(shuffled, displacement_px=bad))
    assert check.cells == 380
    assert check.gain == pytest.approx((1.0, 1.0), abs=1e-12)
    assert check.bias_px == pytest.approx((0.0, 0.0), abs=1e-12)


def test_too_few_cells_give_no_check():
    few = cells_with(np.zeros((7, 2)))
    assert compare(few, few) is None


def test_the_background_between_columns_is_that_under_them():
    y, x = np.mgrid[0:120:10, 0:120:10].reshape(2, -1).astype(float) + 3.0
    level = 50.0 + 0.2 * x - 0.1 * y
    surface = smooth_background(np.stack([y, x], axis=1), level, np.full((120, 120), 9.0, np.float32), reach_px=7.0)
    rows, cols = np.mgrid[30:90, 30:90]
    assert surface[30:90, 30:90] == pytest.approx(50.0 + 0.2 * cols - 0.1 * rows, rel=0.02)
    lone = smooth_background(
        np.array([[10.0, 10.0]]), np.array([50.0]), np.full((120, 120), 9.0, np.float32), reach_px=5.0
    )
    assert lone[10, 10] == pytest.approx(50.0, abs=0.01)
    assert lone[110, 110] == pytest.approx(9.0, abs=0.01)
