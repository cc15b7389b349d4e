"""Sigmas of networks become honest on held-out errors, and places unlike the training images are told."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dipolar.core.errors import DataError, FormatError, SettingsError
from dipolar.core.nouns import same
from dipolar.learn.calibration import (
    Calibration,
    calibrate,
    calibrate_with_floor,
    combine_members,
    coverage,
    reliability,
)
from dipolar.learn.exam import honest_calibration
from dipolar.learn.familiarity import Familiarity, auroc, flag_rates, learn_familiarity, shrunk_covariance

LEVELS = (0.5, 0.68, 0.9)


def drawn(seed: int, count: int = 4000, *, factor: float = 1.0, tails: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return errors of (dy, dx) and a sigma that is too small by `factor`."""
    rng = np.random.default_rng(seed)
    sigma = np.exp(rng.normal(-2.0, 0.7, (count, 2)))
    z = rng.standard_t(3.0, (count, 2)) if tails else rng.normal(size=(count, 2))
    return factor * sigma * z, sigma


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_scale_is_the_factor_by_which_sigma_is_too_small(factor):
    assert calibrate(*drawn(0, factor=factor)).scale == pytest.approx(factor, rel=0.03)


def test_scaling_sigma_divides_the_scale_and_leaves_the_quantiles():
    error, sigma = drawn(1)
    one, two = calibrate(error, sigma), calibrate(error, 5.0 * sigma)
    assert two.scale == pytest.approx(one.scale / 5.0)
    assert two.quantiles == pytest.approx(one.quantiles)


def test_after_calibration_two_thirds_lie_within_one_sigma():
    error, sigma = drawn(2, factor=2.3, tails=True)
    z = np.abs(error / (calibrate(error, sigma).scale * sigma))
    assert np.mean(z <= 1.0) == pytest.approx(0.6827, abs=2e-4)


@pytest.mark.parametrize("tails", [False, True])
def test_conformal_intervals_cover_new_errors_whatever_their_distribution(tails):
    made = calibrate(*drawn(3, factor=2.0, tails=tails))
    error, sigma = drawn(4, factor=2.0, tails=tails)
    found = coverage(error, made.scale * sigma, LEVELS, made.quantiles)
    assert [found[level] for level in LEVELS] == pytest.approx(LEVELS, abs=0.015)
    gaussian = coverage(error, made.scale * sigma, LEVELS)
    assert (gaussian[0.9] < 0.89) == tails


def test_few_values_cover_on_average_as_promised():
    """The correction for finite samples: the mean over many calibrations of 19 values each is 90 %, not 86 %."""
    rng = np.random.default_rng(5)
    ones, covered = np.ones(19), []
    for _ in range(600):
        made = calibrate(rng.normal(size=19), ones)
        covered.append(coverage(rng.normal(size=200), np.full(200, made.scale), (0.9,), made.quantiles)[0.9])
    assert np.mean(covered) == pytest.approx(0.90, abs=0.01)


def test_the_quantile_is_the_value_of_that_rank():
    made = calibrate(np.arange(1.0, 20.0), np.ones(19), levels=(0.5, 0.9))
    assert made.quantiles[0.9] * made.scale == pytest.approx(18.0)  # the 18th of 19
    assert made.quantiles[0.5] * made.scale == pytest.approx(10.0)


def test_the_card_gives_the_calibration_back():
    made = calibrate(*drawn(6))
    card = json.loads(json.dumps(made.to_card()))
    assert list(card) == ["scale", "floor", "quantile_50", "quantile_68", "quantile_90", "count"]
    assert Calibration.from_card(card) == made
    with pytest.raises(DataError, match=r"(?s)factor on its sigma.*got:  an empty calibration.*train the model again"):
        Calibration.from_card({})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": "large"}, "scale = 'large'"),
        ({"scale": 0.0}, "scale = 0.0"),
        ({"floor": None, "count": [3]}, r"count = \[3\], floor = None"),
        ({"quantile_90": float("nan")}, "90 = nan"),
        ({"quantile_most": 1.0}, "quantile_most"),
    ],
)
def test_a_card_that_holds_something_else_is_refused(changes, words):
    with pytest.raises(FormatError, match=rf"(?s)finite numbers, with a factor above zero.*{words}"):
        Calibration.from_card({**calibrate(*drawn(6)).to_card(), **changes})
    assert Calibration.from_card({**calibrate(*drawn(6)).to_card(), "made_by": "another"}) == calibrate(*drawn(6))


def test_unknown_values_do_not_count():
    error, sigma = drawn(7)
    error[::3], sigma[1::3] = np.nan, 0.0
    assert calibrate(error, sigma) == calibrate(error[2::3], sigma[2::3])
    assert np.isnan(coverage(np.array([np.nan]), np.array([1.0]), (0.5,))[0.5])


def test_calibration_refuses_what_it_cannot_tell():
    with pytest.raises(DataError, match=r"(?s)to 90 % needs 10 values.*got:  4 with an error.*hold out more"):
        calibrate(np.ones(4), np.ones(4))
    with pytest.raises(DataError, match=r"to 99 % needs 99 values"):
        calibrate(np.ones(40), np.ones(40), levels=(0.99,))
    with pytest.raises(DataError, match="errors of 0"):
        calibrate(np.zeros(40), np.ones(40))
    with pytest.raises(SettingsError, match=r"(?s)levels with a quantile.*got:  0.95.*levels=\(0.5,\)"):
        coverage(np.ones(4), np.ones(4), (0.95,), {0.5: 1.0})


def test_reliability_is_the_diagonal_for_honest_sigmas():
    error, sigma = drawn(8, 20_000)
    found = reliability(error, sigma, bins=12)
    assert found.count.sum() == error.size and (np.diff(found.sigma) > 0).all()
    pull = (found.rms_error - found.sigma) / found.rms_error_sigma
    assert np.abs(pull).max() < 4 and 0.4 < pull.std() < 1.8
    np.testing.assert_allclose(reliability(3 * error, sigma, bins=12).rms_error, 3 * found.rms_error)
    assert len(reliability(error[:2, 0], sigma[:2, 0], bins=12).sigma) == 2
    assert not len(reliability(error[:0], sigma[:0]).sigma)


def test_an_ensemble_adds_the_variance_of_its_members_means():
    values, sigma = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 0.5], [2.0, 0.5]])
    mean, combined, spread = combine_members(values, sigma)
    np.testing.assert_allclose([mean, spread], [[2.0, 5.0], [1.0, 0.0]])
    np.testing.assert_allclose(combined, [np.sqrt(5.0), 0.5])
    alone = combine_members(values[:1], sigma[:1])
    np.testing.assert_array_equal(np.stack(alone), [values[0], sigma[0], [0.0, 0.0]])


def test_the_sigma_of_an_ensemble_is_that_of_its_mixture():
    rng = np.random.default_rng(9)
    values, sigma = rng.normal(size=5), rng.uniform(0.2, 1.0, 5)
    member = rng.integers(0, 5, 400_000)
    draws = rng.normal(values[member], sigma[member])
    mean, combined, _ = combine_members(values[:, None], sigma[:, None])
    np.testing.assert_allclose([draws.mean(), draws.std()], [mean[0], combined[0]], rtol=0.01, atol=0.005)


def cells(seed: int, count: int = 5000, features: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return correlated features of one distribution, and spreads over sigma."""
    mixing = np.random.default_rng(0).normal(size=(features, features))
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, features)) @ mixing + 3.0, rng.gamma(4.0, 0.1, count)


@pytest.fixture(scope="module")
def usual() -> Familiarity:
    return learn_familiarity(cells(1)[0], *cells(2))


def test_two_in_a_hundred_familiar_cells_are_flagged(usual):
    assert np.mean(usual.score(*cells(2)) > 1.0) == pytest.approx(0.02, abs=2e-4)
    assert np.mean(usual.score(*cells(3)) > 1.0) == pytest.approx(0.02, abs=0.006)


@pytest.mark.parametrize("feature", [0, 7])
def test_the_further_from_training_the_less_familiar(usual, feature):
    features, spread = cells(4)
    shifts = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0]
    width = features[:, feature].std() * (np.arange(12) == feature)
    scores = [usual.score(features + shift * width, spread) for shift in shifts]
    assert (np.diff([np.median(score) for score in scores]) > 0).all()
    assert (np.diff([np.mean(score > 1.0) for score in scores]) >= 0).all()
    assert np.mean(scores[-1] > 1.0) > 0.9


def test_an_ensemble_in_doubt_is_enough(usual):
    features, spread = cells(4)
    assert (usual.score(features, spread + 5.0) > 1.0).all()
    assert (usual.score(features, spread * 3.0) >= usual.score(features, spread)).all()


def test_units_and_zeros_of_features_do_not_matter(usual):
    scale, zero = np.exp(np.linspace(-6, 6, 12)), np.linspace(-50, 50, 12)

    def changed(seed: int) -> tuple[np.ndarray, np.ndarray]:
        features, spread = cells(seed)
        return features * scale + zero, spread

    other = learn_familiarity(changed(1)[0], *changed(2))
    np.testing.assert_allclose(other.score(*changed(3)), usual.score(*cells(3)), rtol=1e-6)


def test_mixing_features_does_not_matter_beyond_the_shrinkage():
    """No shrunk covariance follows every mixture of features exactly; the difference goes as the shrinkage does."""
    matrix = np.linalg.qr(np.random.default_rng(5).normal(size=(12, 12)))[0] * np.linspace(1.0, 3.0, 12)
    asked = cells(3, 1000)

    def difference(count: int) -> float:
        (training, _), (held_out, spread) = cells(1, count), cells(2)
        one = learn_familiarity(training, held_out, spread).score(*asked)
        two = learn_familiarity(training @ matrix, held_out @ matrix, spread).score(asked[0] @ matrix, asked[1])
        return float(np.abs(two / one - 1.0).max())

    assert difference(1000) < 0.2
    assert difference(100_000) < 0.01


def test_a_feature_silent_in_training_tells_when_it_speaks():
    (training, _), (held_out, spread) = cells(1), cells(2)
    training[:, 3] = held_out[:, 3] = 0.0
    found = learn_familiarity(training, held_out, spread)
    new, spread = cells(3)
    new[:, 3] = 0.0
    assert np.mean(found.score(new, spread) > 1.0) == pytest.approx(0.02, abs=0.006)
    new[:, 3] = 2.0
    assert (found.score(new, spread) > 1.0).all() and (found.score(new, spread) < 1000.0).all()


def test_a_single_network_is_judged_by_its_features(usual):
    (training, _), (held_out, _) = cells(1), cells(2)
    none = np.zeros(len(held_out))
    alone = learn_familiarity(training, held_out, none)
    assert alone.joint == pytest.approx(1.0)
    assert np.mean(alone.score(cells(3)[0], none) > 1.0) == pytest.approx(0.02, abs=0.006)


def test_unknown_features_are_not_familiar_but_unknown(usual):
    features, spread = cells(3, 4)
    features[0, 2] = np.nan
    assert np.isnan(usual.score(features, spread)).tolist() == [True, False, False, False]


def test_save_and_load_is_identity(usual):
    card = json.loads(json.dumps(usual.to_card()))
    again = Familiarity.from_parts(usual.to_tensors(), card)
    assert same(again, usual)
    assert set(card) == {"distance", "spread_over_sigma", "joint", "percent"}
    with pytest.raises(DataError, match=r"(?s)what was usual in training.*got:  nothing named whitening, joint"):
        Familiarity.from_parts({k: v for k, v in usual.to_tensors().items() if k != "whitening"}, {})


def test_too_few_cells_are_refused():
    features, spread = cells(1, 60)
    with pytest.raises(DataError, match=r"(?s)At least 50 cells held out.*got:  9.*larger blocks"):
        learn_familiarity(features, features[:9], spread[:9])


def test_shrinkage_agrees_with_scikit_learn():
    covariance = pytest.importorskip("sklearn.covariance")
    for count in (10, 40, 4000):
        features = cells(1, count)[0]
        features -= features.mean(axis=0)
        np.testing.assert_allclose(shrunk_covariance(features), covariance.ledoit_wolf(features)[0], rtol=1e-9)


def test_shrinkage_keeps_the_trace_and_vanishes_with_many_cells():
    few, many = cells(1, 15)[0] - 3.0, cells(1, 200_000)[0] - 3.0
    assert np.trace(shrunk_covariance(few)) == pytest.approx(np.trace(few.T @ few / 15))
    assert np.linalg.cond(shrunk_covariance(few)) < np.linalg.cond(few.T @ few / 15)
    np.testing.assert_allclose(shrunk_covariance(many), many.T @ many / 200_000, rtol=0.01, atol=0.01)


def test_auroc_counts_pairs():
    rng = np.random.default_rng(6)
    score, bad = rng.integers(0, 5, 80).astype(np.float64), rng.random(80) < 0.3
    pairs = score[bad][:, None] - score[~bad][None]
    assert auroc(score, bad) == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    assert auroc(np.exp(score), bad) == pytest.approx(auroc(score, bad))
    assert auroc(-score, bad) == pytest.approx(1.0 - auroc(score, bad))
    assert np.isnan(auroc(score, np.zeros(80, dtype=bool)))


def test_flag_rates_are_shares_of_bad_and_of_good_cells():
    error = np.array([[4.0, 0.0], [0.0, -3.5], [2.9, 0.0], [0.0, 0.0], [np.nan, np.nan], [np.nan, 9.0]])
    rates = flag_rates(np.array([1.2, 0.9, 1.1, 0.5, 9.0, 2.0]), error, np.ones((6, 2)))
    assert (rates.bad_flagged, rates.good_flagged) == (pytest.approx(2 / 3), 0.5)
    assert (rates.bad, rates.good) == (3, 2)
    assert np.isnan(flag_rates(np.array([0.1]), np.zeros((1, 2)), np.ones((1, 2))).bad_flagged)


def test_a_network_that_blames_all_on_the_measurement_gets_a_floor() -> None:
    rng = np.random.default_rng(5)
    own = np.full(4000, 0.01)
    error = rng.normal(0.0, 0.8, 4000)
    found = calibrate_with_floor(error, own)
    assert float(np.mean(found.honest(own))) == pytest.approx(0.8, rel=0.1)
    assert float(np.mean(np.abs(error) <= found.honest(own))) == pytest.approx(0.6827, abs=0.005)


@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_the_floor_is_found_beside_the_factor(floor) -> None:
    rng = np.random.default_rng(8)
    own = np.exp(rng.normal(-1.0, 1.0, 20_000))
    found = calibrate_with_floor(rng.normal(0.0, 2.0 * np.hypot(own, floor)), own)
    assert found.floor == pytest.approx(floor, abs=0.05) and found.scale == pytest.approx(2.0, rel=0.05)


def test_against_the_truth_an_honest_sigma_stays_as_it_is() -> None:
    rng = np.random.default_rng(6)
    own = rng.uniform(0.5, 2.0, 6000)
    found = calibrate_with_floor(rng.normal(0.0, own), own)
    np.testing.assert_allclose(found.honest(own), own, rtol=0.08)
    assert Calibration.from_card(found.to_card()) == found


def test_a_floor_does_not_run_away_where_sigma_says_nothing() -> None:
    rng = np.random.default_rng(7)
    own = np.full(3000, 1e-3) * rng.uniform(0.999, 1.001, 3000)
    found = calibrate_with_floor(rng.normal(0.0, 0.5, 3000), own)
    np.testing.assert_allclose(found.honest(own), 0.5, rtol=0.05)


def test_too_few_are_values_not_what_may_be_true_of_each() -> None:
    rng = np.random.default_rng(9)
    error, ones = rng.normal(size=9), np.ones(9)
    with pytest.raises(DataError, match=r"(?s)needs 10 values.*got:  9 with"):
        honest_calibration(error, ones, ones)  # of nine possibilities each
    more = rng.normal(size=40)
    more[::4] = np.nan
    assert honest_calibration(more, np.ones(40), np.ones(40)).count == 30
    with pytest.raises(DataError, match="needs 10 values"):
        calibrate_with_floor(np.zeros(0), np.zeros(0))
