"""Laws of the renderer and of the detector."""

from __future__ import annotations

import numpy as np
import pytest

from dipolar.core.errors import DataError, SettingsError
from dipolar.simulate import count, render_columns

SHAPE = (90, 70)
PROFILE = np.array([[[0.7, 1.0], [0.3, 2.0]], [[1.0, 1.0], [0.0, 1.0]]])


def some_columns(*, seed: int = 0, number: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "positions_px": rng.uniform(-5, 80, size=(number, 2)),
        "amplitude": rng.uniform(20, 100, size=number),
        "widths_px": np.stack([rng.uniform(3, 4, number), rng.uniform(2, 3, number)], axis=-1),
        "angle_deg": rng.uniform(-90, 90, number),
        "sublattice": rng.integers(0, 2, number).astype(np.int8),
    }


def draw(columns: dict[str, np.ndarray], shape: tuple[int, int] = SHAPE, **options: np.ndarray) -> np.ndarray:
    return render_columns(shape, **columns, profile=PROFILE, **options)


def test_equals_the_formula_written_out():
    columns = some_columns(number=6)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    total = np.zeros(SHAPE)
    for (py, px), height, (major, minor), angle, kind in zip(*columns.values(), strict=True):
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        up, right = py - y, x - px
        q = ((right * cos + up * sin) / major) ** 2 + ((up * cos - right * sin) / minor) ** 2
        total += height * sum(w * np.exp(-q / (2 * k**2)) for w, k in PROFILE[kind])
    # each of the two components of a column is cut where it falls below 1e-5 of the peak
    np.testing.assert_allclose(draw(columns), total, atol=6 * 2e-5 * 100)


def test_linear_in_the_columns():
    columns = some_columns()
    first, second = ({k: v[part] for k, v in columns.items()} for part in (slice(0, 15), slice(15, None)))
    np.testing.assert_allclose(draw(columns), draw(first) + draw(second), rtol=1e-6, atol=1e-5)
    brighter = columns | {"amplitude": 3 * columns["amplitude"]}
    np.testing.assert_allclose(draw(brighter), 3 * draw(columns), rtol=1e-6)


def test_quarter_turn_turns_the_image():
    columns = some_columns()
    y, x = columns["positions_px"].T
    turned = columns | {
        "positions_px": np.stack([SHAPE[1] - 1 - x, y], axis=-1),
        "angle_deg": columns["angle_deg"] + 90.0,
    }
    np.testing.assert_allclose(draw(turned, SHAPE[::-1]), np.rot90(draw(columns)), rtol=1e-5, atol=3e-3)


def test_shift_by_whole_pixels_shifts_the_image():
    columns = some_columns()
    moved = columns | {"positions_px": columns["positions_px"] + [3, -5]}
    np.testing.assert_allclose(draw(moved)[3:, :-5], draw(columns)[:-3, 5:], rtol=1e-6, atol=3e-3)


def test_one_row_shift_for_all_is_a_shift_of_the_specimen_and_none_is_identity():
    columns = some_columns()
    still = np.zeros((SHAPE[0], 2))
    assert np.array_equal(draw(columns, row_shift_px=still), draw(columns))
    moved = columns | {"positions_px": columns["positions_px"] - [0.3, -0.4]}
    np.testing.assert_allclose(
        draw(columns, row_shift_px=still + np.array([0.3, -0.4])), draw(moved), rtol=1e-6, atol=3e-3
    )


def test_each_row_sees_the_specimen_at_its_own_shift():
    columns = some_columns()
    shift = np.random.default_rng(1).normal(0, 2, size=(SHAPE[0], 2))
    image = draw(columns, row_shift_px=shift)
    for row in (0, 31, 32, 89):
        moved = columns | {"positions_px": columns["positions_px"] - shift[row]}
        np.testing.assert_allclose(image[row], draw(moved)[row], rtol=1e-6, atol=3e-3)


def test_columns_that_cannot_be_drawn_are_counted_in_the_message():
    columns = some_columns()
    columns["positions_px"][3] = np.nan
    columns["widths_px"][7, 1] = 0.0
    with pytest.raises(DataError, match="2 of 40 columns"):
        draw(columns)


def test_no_columns_give_an_empty_image():
    nothing = {name: values[:0] for name, values in some_columns().items()}
    assert not draw(nothing).any()


def test_counts_have_the_mean_and_variance_of_poisson_gain_offset_and_readout():
    expected = np.full((500, 500), 20.0)
    expected[0, 0] = np.nan
    data = count(expected, rng=np.random.default_rng(3), gain=2.5, offset=100.0, readout=3.0)
    assert np.isnan(data[0, 0])
    known = data.ravel()[1:].astype(float)
    variance = 2.5**2 * 20 + 3.0**2
    assert known.mean() == pytest.approx(150.0, abs=5 * np.sqrt(variance / known.size))
    assert known.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / known.size) + 0.002)


def test_negative_counts_are_refused():
    with pytest.raises(SettingsError, match="cannot be negative"):
        count(np.full((4, 4), -1.0), rng=np.random.default_rng(0))
