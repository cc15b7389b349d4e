"""Directions on a circle: means that do not see the seam, peaks that are no chance, sense and zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipolar.core.circular import (
    circular_mean_deg,
    circular_sd_deg,
    find_peaks_deg,
    find_variants,
    histogram,
    register,
    resultant,
    unit_vectors,
    wrap_deg,
)
from dipolar.core.units import angle_deg

FOUR = np.array([-135.0, -45.0, 45.0, 135.0])


def drawn(seed: int = 0, *, count: int = 2000, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    variant = rng.choice(4, p=[0.1, 0.2, 0.3, 0.4], size=count)
    return variant, wrap_deg(FOUR[variant] + rng.normal(0.0, 5.0, count) + turn)


@given(st.floats(-1e4, 1e4))
def test_angles_are_wrapped_into_the_open_closed_circle(angle: float) -> None:
    wrapped = float(wrap_deg(np.array(angle)))
    assert -180.0 < wrapped <= 180.0
    assert np.cos(np.radians(wrapped - angle)) == pytest.approx(1.0)


def test_directions_are_counter_clockwise_on_the_screen_and_come_back_as_vectors() -> None:
    up, left = np.array([-2.0, 0.0]), np.array([0.0, -3.0])
    assert angle_deg(np.stack([up, left])) == pytest.approx([90.0, 180.0])
    assert angle_deg(unit_vectors(FOUR)) == pytest.approx(FOUR)


@given(st.floats(-180.0, 180.0))
def test_turning_all_turns_the_mean_and_leaves_the_spread(turn: float) -> None:
    angles = np.array([-8.0, -2.0, 3.0, 9.0])
    turned = wrap_deg(angles + turn)
    assert wrap_deg(np.array(circular_mean_deg(turned) - turn)) == pytest.approx(circular_mean_deg(angles), abs=1e-6)
    assert circular_sd_deg(turned) == pytest.approx(circular_sd_deg(angles), abs=1e-6)


def test_the_spread_of_a_narrow_normal_is_its_sigma_and_nan_does_not_count() -> None:
    angles = np.random.default_rng(1).normal(179.0, 5.0, 20000)
    assert circular_sd_deg(np.append(wrap_deg(angles), np.nan)) == pytest.approx(5.0, rel=0.03)
    assert np.isnan(circular_mean_deg(np.array([np.nan])))
    assert abs(resultant(np.array([0.0, 180.0]))) == pytest.approx(0.0)


def test_the_histogram_counts_each_direction_once_per_kernel() -> None:
    middles, height = histogram(np.full(50, 180.0))
    assert height.max() == pytest.approx(50.0, rel=0.01)
    assert abs(wrap_deg(middles - 180.0)[height.argmax()]) <= 1.0


@pytest.mark.parametrize("turn", [0.0, 40.0, 133.0])
def test_variants_are_found_wherever_they_stand_with_shares_and_probabilities(turn: float) -> None:
    variant, angles = drawn(turn=turn)
    found = find_variants(angles, np.full(len(angles), 2.0))
    assert len(found.direction_deg) == 4
    off = np.abs(wrap_deg(found.direction_deg[:, None] - (FOUR + turn)))
    assert off.min(axis=1).max() < 1.0
    assert found.share.sum() == pytest.approx(1.0, abs=0.03)
    assert found.posterior.sum(axis=1) == pytest.approx(1.0)
    assert np.mean(off.argmin(axis=1)[found.variant] == variant) == 1.0


def test_a_peak_is_as_wide_as_true_directions_are_scattered_and_probabilities_hold() -> None:
    rng = np.random.default_rng(5)
    variant = rng.integers(0, 2, 20000)
    angles = np.array([-40.0, 40.0])[variant] + np.hypot(8.0, 15.0) * rng.standard_normal(20000)
    found = find_variants(angles, np.full(20000, 15.0))
    assert found.spread_deg == pytest.approx(8.0, abs=1.0)
    between = np.abs(angles) < 12.0
    assert found.posterior[between, 1].mean() == pytest.approx(np.mean(variant[between] == 1), abs=0.05)
    doubt = np.abs(found.posterior[:, 1] - 0.75) < 0.2
    assert np.mean(variant[doubt] == 1) == pytest.approx(found.posterior[doubt, 1].mean(), abs=0.06)


@pytest.mark.parametrize("count", [3, 100, 5000])
def test_directions_without_preference_have_no_peaks(count: int) -> None:
    angles = np.random.default_rng(count).uniform(-180.0, 180.0, count)
    assert find_peaks_deg(angles).shape == (0,)
    found = find_variants(angles)
    assert found.posterior.shape == (count, 0)
    assert (found.variant == -1).all()


def test_an_unknown_direction_belongs_to_no_variant_and_a_rare_one_is_found() -> None:
    angles = np.concatenate([np.full(300, 10.0), np.full(40, 100.0), [np.nan]])
    found = find_variants(angles)
    assert found.direction_deg == pytest.approx([10.0, 100.0], abs=1.0)
    assert found.variant[-1] == -1
    assert np.isnan(found.posterior[-1]).all()
    assert find_variants(np.zeros(0)).direction_deg.shape == (0,)


@given(st.sampled_from([1, -1]), st.floats(-170.0, 170.0))
def test_registration_finds_sense_and_zero(sense: int, zero: float) -> None:
    _, measured = drawn(3, count=200)
    own = wrap_deg(sense * (measured - zero))
    found = register(own, 2.0 * unit_vectors(measured), np.full((200, 2), 0.1))
    assert found is not None
    assert found.sense == sense
    assert wrap_deg(np.array(found.zero_deg - zero)) == pytest.approx(0.0, abs=1e-6)
    assert found.agreement == pytest.approx(1.0)
    assert found.other_agreement < 0.9


def test_a_known_sense_is_kept_though_the_other_agrees_more() -> None:
    _, measured = drawn(3, count=200)
    found = register(-measured, unit_vectors(measured), sense_known=True)
    assert found is not None
    assert found.sense == 1
    assert found.agreement < found.other_agreement


def test_registration_passes_over_what_is_unknown_or_too_short_to_have_a_direction() -> None:
    _, measured = drawn(4, count=300)
    vectors = 2.0 * unit_vectors(measured)
    vectors[:50] = np.nan
    vectors[50:100] = 1e-3 * unit_vectors(measured[50:100] + 90.0)
    found = register(measured, vectors, np.full((300, 2), 0.5))
    assert found is not None
    assert found.zero_deg == pytest.approx(0.0, abs=0.1)
    assert register(measured, np.full((300, 2), np.nan)) is None
    assert register(measured, np.zeros((300, 2)), np.ones((300, 2))) is None


def test_sense_is_counter_clockwise_where_it_cannot_be_told() -> None:
    measured = np.array([0.0, 180.0] * 20)
    found = register(measured, unit_vectors(measured))
    assert found is not None
    assert found.sense == 1
