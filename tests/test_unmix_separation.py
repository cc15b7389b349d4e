"""What clusters and components tell of variants and composition is what was put in."""

from __future__ import annotations

import numpy as np
import pytest

from dipolar.core.errors import DataError
from dipolar.core.information import information_bit
from dipolar.core.unmixing import Components
from dipolar.unmix import adjusted_rand, rank_correlation, separation
from dipolar.unmix.separation import slices


def labels(count: int, kinds: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(kinds, size=count)


def result(scores: np.ndarray, cluster: np.ndarray | None = None) -> Components:
    names = tuple(f"pca_{n + 1}" for n in range(scores.shape[1]))
    return Components(
        method="pca", names=names, scores=scores, cluster=None if cluster is None else cluster.astype(np.int32)
    )


def test_a_labelling_tells_all_of_itself_under_any_names():
    one = labels(4000, 4)
    assert adjusted_rand(one, 3 - one) == 1.0
    assert information_bit(one, 3 - one) == pytest.approx(2.0, abs=0.01)


def test_chance_tells_nothing():
    one, other = labels(4000, 4), labels(4000, 12, seed=1)
    assert abs(adjusted_rand(one, other)) < 0.01
    assert information_bit(one, other) < 0.004
    assert np.mean([information_bit(labels(500, 4, s), labels(500, 12, 99 + s)) for s in range(20)]) < 0.02


def test_what_is_left_out_does_not_count():
    one = labels(4000, 4)
    other = one.copy()
    other[:2000] = labels(2000, 4, seed=1)
    left_out = one.copy()
    left_out[:2000] = -1
    assert adjusted_rand(left_out, other) == 1.0 and adjusted_rand(other, left_out) == 1.0
    assert information_bit(left_out, other) == pytest.approx(2.0, abs=0.01)
    assert np.isnan(adjusted_rand(np.full(4000, -1), one)) and np.isnan(information_bit(np.full(4000, -1), one))


def test_slices_hold_as_many_each_and_rise():
    values = np.random.default_rng(0).normal(size=1200) ** 3
    part = slices(values)
    np.testing.assert_array_equal(np.bincount(part), 100)
    assert (np.diff(part[np.argsort(values)]) >= 0).all()
    assert slices(np.array([np.nan, 1.0, 1.0]))[0] == -1


def test_rank_correlation_is_blind_to_sign_and_to_any_rising_scale():
    a = np.random.default_rng(0).normal(size=500)
    assert rank_correlation(a, np.exp(a)) == pytest.approx(1.0)
    assert rank_correlation(a, -(a**3)) == pytest.approx(1.0)
    assert rank_correlation(a, np.random.default_rng(1).normal(size=500)) < 0.15
    assert np.isnan(rank_correlation(a, np.ones(500))) and np.isnan(rank_correlation(a, np.full(500, np.nan)))


def test_the_component_that_follows_composition_is_named_with_what_it_tells_of_variants():
    rng = np.random.default_rng(0)
    variant, layer = labels(3000, 4), labels(3000, 3, seed=1)
    composition = np.array([0.0, 0.5, 1.0])[layer]
    scores = np.stack([variant + 0.1 * rng.normal(size=3000), -composition + 0.1 * rng.normal(size=3000)], axis=1)
    found = separation(result(scores, cluster=4 * layer + variant), variant=variant, composition=composition)
    name, rho, bits = found.best()
    assert name == "pca_2" and rho > 0.9 and bits < 0.02
    assert found.variant_bit["pca_1"] == pytest.approx(1.9, abs=0.1)  # slices straddle variants
    assert found.cluster_variant_bit == pytest.approx(2.0, abs=0.02) and found.cluster_variant_rand < 0.5
    assert found.cluster_layer_bit == pytest.approx(np.log2(3), abs=0.02) and found.cluster_layer_rand < 0.5


def test_what_is_unknown_is_nan():
    found = separation(result(np.zeros((10, 1))))
    assert np.isnan([found.cluster_variant_rand, found.cluster_layer_bit]).all()
    assert found.best()[0] == "" and found.variant_bit == {}
    with pytest.raises(DataError, match=r"9 values of variant, 10 patches"):
        separation(result(np.zeros((10, 1))), variant=np.zeros(9, dtype=int))
