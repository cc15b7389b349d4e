"""Which positions to label: strategies never ask twice, cover the scan, find walls, and look where they should."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dipolar.core.errors import DataError, LabelError, SettingsError
from dipolar.core.scanning import Labels
from dipolar.label.agreement import agreement, agreement_between, cohens_kappa, self_consistency
from dipolar.label.consensus import (
    check_classes,
    check_kept,
    consensus,
    lost_classes,
    named_only,
    per_class,
    undecided,
)
from dipolar.label.positions import coarse_step, grid_mask, no_labels, spread
from dipolar.label.querying import disagreement, kmeans, margin, vote_entropy
from dipolar.label.sampling import adaptive, grid, random

SHAPE = (40, 30)
ROWS, COLUMNS = np.indices(SHAPE)
WALL = 17
TRUTH = (ROWS >= WALL).astype(int) + (COLUMNS > 22)
"""Three classes: an upper and a lower domain, and what is to the right."""
FEATURES = np.stack([TRUTH == 0, TRUTH == 1, TRUTH == 2], axis=-1).reshape(-1, 3).astype(np.float64)
PROBABILITIES = np.stack([1 / (1 + np.exp(-(ROWS - WALL) / 2.0)), 1 / (1 + np.exp((ROWS - WALL) / 2.0))], axis=-1)


def labels_at(positions: np.ndarray, truth: np.ndarray = TRUTH) -> Labels:
    return Labels(
        key="k", shape=truth.shape, names=("up", "down", "right"), positions=positions.astype(np.int32),
        label=truth[positions[:, 0], positions[:, 1]].astype(np.int32),
    )  # fmt: skip


def ask_and_answer(strategy: Callable[..., np.ndarray], budget: int, batch: int, truth: np.ndarray = TRUTH) -> Labels:
    labels = no_labels("k", truth.shape)
    while len(labels.label) < budget:
        asked = strategy(labels, batch, rng=np.random.default_rng(len(labels.label)))
        labels = labels_at(np.concatenate([labels.positions, asked]), truth)
    return labels


def by_kmeans(labels: Labels, n: int, *, rng: np.random.Generator, free: np.ndarray | None = None) -> np.ndarray:
    return kmeans(labels, n, FEATURES, rng=rng, free=free)


def by_margin(labels: Labels, n: int, *, rng: np.random.Generator, free: np.ndarray | None = None) -> np.ndarray:
    return margin(labels, n, PROBABILITIES.reshape(1, -1, 2), rng=rng, free=free)


def by_disagreement(labels: Labels, n: int, *, rng: np.random.Generator, free: np.ndarray | None = None) -> np.ndarray:
    members = np.stack([PROBABILITIES, np.roll(PROBABILITIES, 3, axis=0)]).reshape(2, -1, 2)
    return disagreement(labels, n, members, rng=rng, free=free)


EVERY = [random, grid, adaptive, by_kmeans, by_margin, by_disagreement]


@pytest.mark.parametrize("strategy", EVERY)
def test_no_strategy_asks_twice_or_where_it_may_not_and_all_end_with_the_scan(strategy):
    rng = np.random.default_rng(1)
    free = COLUMNS % 3 > 0
    labels = labels_at(np.argwhere(free)[rng.permutation(int(free.sum()))[:750]])
    seen = {tuple(place) for place in labels.positions.tolist()}
    asked = strategy(labels, 30, rng=rng, free=free)
    places = {tuple(place) for place in asked.tolist()}
    assert asked.dtype == np.int32 and len(asked) == len(places) == 30
    assert not places & seen and all(free[place] for place in places)
    rest = strategy(labels, 500, rng=rng, free=free)
    assert {tuple(place) for place in rest.tolist()} | seen == {tuple(place) for place in np.argwhere(free).tolist()}
    assert len(strategy(labels_at(np.argwhere(free)), 5, rng=rng, free=free)) == 0


@pytest.mark.parametrize("strategy", EVERY)
def test_the_same_generator_gives_the_same_positions_and_fewer_than_one_is_refused(strategy):
    labels = labels_at(np.array([[3, 3], [20, 20], [5, 28]]))
    first, second = (strategy(labels, 7, rng=np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    with pytest.raises(SettingsError, match="one position at least"):
        strategy(labels, 0, rng=np.random.default_rng(5))


def test_random_asks_every_position_equally_often():
    rng, count = np.random.default_rng(0), np.zeros((4, 5))
    for _ in range(500):
        for y, x in random(no_labels("k", (4, 5)), 3, rng=rng):
            count[y, x] += 1
    expected = 500 * 3 / 20
    assert np.sum((count - expected) ** 2 / expected) < 43.8  # chi-square, 19 degrees of freedom, 0.1 %


def test_a_grid_covers_the_scan_and_every_beginning_of_it_does():
    labels, step = no_labels("k", SHAPE), 6
    every = grid(labels, int(grid_mask(SHAPE, step).sum()), rng=np.random.default_rng(0), step=step)
    assert set(map(tuple, every.tolist())) == set(map(tuple, np.argwhere(grid_mask(SHAPE, step)).tolist()))
    for n in (4, 9, 16):
        distance = np.sqrt(np.min(
            (ROWS[..., None] - every[:n, 0]) ** 2 + (COLUMNS[..., None] - every[:n, 1]) ** 2, axis=-1
        ))  # fmt: skip
        ideal = np.sqrt(ROWS.size / n / 2)  # half a diagonal of a square cell
        assert distance.max() < 2.5 * ideal
    finer = grid(labels_at(every), 20, rng=np.random.default_rng(0), step=step)
    assert all(grid_mask(SHAPE, 3)[tuple(place)] for place in finer.tolist())


@pytest.mark.parametrize("shape", [(206, 34), (34, 206), (1, 50), (4, 4), (1000, 1000)])
def test_the_coarse_grid_has_about_25_positions_whatever_the_scan(shape):
    count = int(grid_mask(shape, coarse_step(shape)).sum())
    assert 13 <= count <= 40


def test_the_farthest_comes_next():
    line = np.stack([np.zeros(11), np.arange(11)], axis=1).astype(np.int32)
    order = spread(line, line[:1], 3, rng=np.random.default_rng(0))[:, 1].tolist()
    assert order in ([10, 5, 2], [10, 5, 3], [10, 5, 7], [10, 5, 8])


def test_the_published_search_lays_a_grid_and_then_halves_walls_in():
    budget = 2 * int(grid_mask(SHAPE, coarse_step(SHAPE)).sum())
    labels = ask_and_answer(adaptive, budget, 6)
    first = labels.positions[: budget // 2]
    assert all(grid_mask(SHAPE, coarse_step(SHAPE))[tuple(place)] for place in first[: budget // 2].tolist())
    edge = np.zeros(SHAPE, dtype=bool)
    edge[1:] |= TRUTH[1:] != TRUTH[:-1]
    edge[:, 1:] |= TRUTH[:, 1:] != TRUTH[:, :-1]
    where = np.argwhere(edge)
    near = [np.linalg.norm(where - place, axis=1).min() for place in labels.positions]
    later = labels.positions[budget // 2 :]
    assert np.mean(near[budget // 2 :]) < 0.6 * np.mean(near[: budget // 2])
    assert np.mean(near[budget // 2 :]) < 3.0
    assert np.ptp(later[:, 0]) > 0.5 * SHAPE[0] and np.ptp(later[:, 1]) > 0.5 * SHAPE[1]  # all along the walls


def test_one_gap_is_halved_until_the_wall_is_known_to_one_step():
    truth = (np.arange(33)[None] >= 13).astype(int)
    ends = np.array([[0, 0], [0, 32]])
    labels = labels_at(ends, truth)
    asked = []
    for _ in range(5):
        (place,) = adaptive(labels, 1, rng=np.random.default_rng(0), step=32, free=None)
        asked.append(int(place[1]))
        labels = labels_at(np.concatenate([labels.positions, place[None]]), truth)
    assert asked == [16, 8, 12, 14, 13]


def test_without_walls_the_published_search_goes_on_with_a_finer_grid():
    truth = np.zeros(SHAPE, dtype=int)
    labels = ask_and_answer(adaptive, 60, 10, truth)
    step = coarse_step(SHAPE)
    assert all((grid_mask(SHAPE, step) | grid_mask(SHAPE, step // 2))[tuple(place)] for place in labels.positions)


def test_turning_the_scan_turns_the_published_search():
    labels = labels_at(np.argwhere(grid_mask(SHAPE, 6)))
    turned = Labels(
        key="k", shape=SHAPE[::-1], names=labels.names, positions=np.ascontiguousarray(labels.positions[:, ::-1]),
        label=labels.label,
    )  # fmt: skip
    gaps = 10  # fewer than there are along the walls
    straight, there = (adaptive(given, gaps, rng=np.random.default_rng(0), step=6) for given in (labels, turned))
    edge = (np.abs(straight[:, 0] - WALL) <= 3) | (np.abs(straight[:, 1] - 22.5) <= 3.5)
    turned_edge = (np.abs(there[:, 1] - WALL) <= 3) | (np.abs(there[:, 0] - 22.5) <= 3.5)
    assert edge.all() and turned_edge.all()


def test_kmeans_asks_one_of_each_kind_and_then_of_those_without_a_label():
    asked = kmeans(no_labels("k", SHAPE), 3, FEATURES, rng=np.random.default_rng(0))
    assert sorted(TRUTH[tuple(place)] for place in asked.tolist()) == [0, 1, 2]
    labels = labels_at(np.argwhere(TRUTH < 2)[::40])
    (asked,) = kmeans(labels, 1, FEATURES, rng=np.random.default_rng(0))
    assert TRUTH[tuple(asked)] == 2


def test_kmeans_does_not_depend_on_units_and_takes_no_unknown_pattern():
    rng = np.random.default_rng(3)
    features = FEATURES + 0.1 * rng.standard_normal(FEATURES.shape)
    features[: ROWS.size // 2] = np.nan
    plain, scaled = (
        kmeans(no_labels("k", SHAPE), 8, values, rng=np.random.default_rng(0))
        for values in (features, features * np.array([2.0**-20, 1.0, 2.0**20]))
    )
    np.testing.assert_array_equal(plain, scaled)
    assert plain[:, 0].min() >= SHAPE[0] // 2


def test_a_sample_of_the_patterns_is_asked_by_its_own_numbers():
    pool = np.arange(7, ROWS.size, 11)
    asked = kmeans(no_labels("k", SHAPE), 4, FEATURES[pool], rng=np.random.default_rng(0), patterns=pool)
    assert all(place[0] * SHAPE[1] + place[1] in pool for place in asked.tolist())
    with pytest.raises(DataError, match="one row for each pattern"):
        kmeans(no_labels("k", SHAPE), 4, FEATURES[pool], rng=np.random.default_rng(0))


def test_margin_asks_at_the_wall_and_all_along_it():
    asked = by_margin(labels_at(np.array([[0, 0]])), 10, rng=np.random.default_rng(0))
    assert np.abs(asked[:, 0] - WALL).max() <= 3
    apart = np.linalg.norm((asked[:, None] - asked[None]).astype(float), axis=-1)[np.triu_indices(10, 1)]
    assert apart.min() >= 1.5 and np.ptp(asked[:, 1]) > 0.7 * SHAPE[1]


def test_members_that_disagree_are_asked_first():
    votes = np.zeros((4, ROWS.size, 2)) + np.array([0.9, 0.1])
    odd = np.array([5, 333, 800])
    votes[:2, odd] = (0.1, 0.9)
    asked = disagreement(no_labels("k", SHAPE), 3, votes, rng=np.random.default_rng(0))
    assert sorted(asked[:, 0] * SHAPE[1] + asked[:, 1]) == odd.tolist()
    np.testing.assert_allclose(vote_entropy(votes)[odd], np.log(2.0))
    with pytest.raises(SettingsError, match="members of an ensemble"):
        disagreement(no_labels("k", SHAPE), 3, votes[:1], rng=np.random.default_rng(0))


def test_the_majority_counts_and_a_tie_counts_nothing():
    positions = np.array([[1, 1], [2, 2], [1, 1], [3, 3], [1, 1], [2, 2]], dtype=np.int32)
    labels = Labels(
        key="k", shape=(4, 4), names=("a", "b"), positions=positions,
        label=np.array([0, 1, 1, 1, 0, 0], dtype=np.int32), who=("ann", "ann", "bob", "ann", "eve", "bob"),
    )  # fmt: skip
    found = consensus(labels)
    assert found.labels.positions.tolist() == [[1, 1], [3, 3]] and found.labels.label.tolist() == [0, 1]
    np.testing.assert_allclose(found.weight, [2 / 3, 1.0], rtol=1e-6)
    assert [item.position for item in found.contradictions] == [(1, 1), (2, 2)]
    assert found.contradictions[0].settled == "a" and found.contradictions[1].settled == ""
    assert found.contradictions[1].said == (("ann", "b"), ("bob", "a"))
    assert per_class(found.labels) == {"a": 1, "b": 1}
    again = consensus(found.labels)
    assert again.labels.positions.tolist() == found.labels.positions.tolist() and not again.contradictions


def test_a_class_that_is_called_otherwise_as_often_is_lost_and_one_that_is_outvoted_is_gone():
    labels = Labels(
        key="k", shape=(4, 4), names=("a", "b", "slip"),
        positions=np.array([[0, 0], [1, 1], [1, 1], [2, 2], [2, 2], [2, 2]], dtype=np.int32),
        label=np.array([0, 0, 1, 0, 0, 2], dtype=np.int32),
    )  # fmt: skip
    found = consensus(labels)
    assert lost_classes(found) == ("b",) and undecided(found).tolist() == [[1, 1]]
    with pytest.raises(LabelError, match=r"(?s)class b was named.*scan_y 1, scan_x 1.*suggest"):
        check_kept(found)
    again = Labels(
        key="k", shape=(4, 4), names=labels.names,
        positions=np.concatenate([labels.positions, [[1, 1]]]).astype(np.int32),
        label=np.append(labels.label, 1).astype(np.int32),
    )  # fmt: skip
    settled = consensus(again)
    check_kept(settled)
    assert not len(undecided(settled))
    kept = named_only(settled.labels)
    assert kept.names == ("a", "b") and kept.label.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("places", "match"),
    [([], "no labels"), ([[0, 0], [1, 1]], "2 up"), ([[0, 0], [1, 1], [39, 0]], "too few of down")],
)
def test_labels_that_nothing_can_be_learned_from_are_refused(places, match):
    with pytest.raises(LabelError, match=match):
        check_classes(consensus(labels_at(np.array(places, dtype=int).reshape(-1, 2))).labels, each=2)


def test_kappa_is_that_of_the_textbook():
    kappa, sigma = cohens_kappa(np.array([[20, 5], [10, 15]]))
    assert kappa == pytest.approx(0.4)
    assert sigma == pytest.approx(0.1273, abs=2e-3)
    assert np.isnan(cohens_kappa(np.array([[9, 0], [0, 0]]))).all()
    exchanged, _ = cohens_kappa(np.array([[20, 10], [5, 15]]))
    assert exchanged == pytest.approx(kappa)


def test_errors_of_agreement_are_as_large_as_it_scatters():
    rng, pairs = np.random.default_rng(0), 60
    found = []
    for _ in range(400):
        first = rng.choice(3, pairs, p=(0.4, 0.4, 0.2))
        second = np.where(rng.random(pairs) < 0.85, first, rng.choice(3, pairs))
        found.append(agreement(list(zip(first.tolist(), second.tolist(), strict=True)), ("a", "b", "c")))
    for value, sigma in (("share", "share_sigma"), ("kappa", "kappa_sigma")):
        scatter = np.std([getattr(item, value) for item in found])
        assert np.mean([getattr(item, sigma) for item in found]) == pytest.approx(scatter, rel=0.12)


def test_agreement_of_all_has_a_sigma_still_and_grows_less_with_pairs():
    few, many = (agreement([(0, 0), (1, 1)] * half, ("a", "b")) for half in (5, 50))
    assert few.share == many.share == 1.0 and 0.02 < many.share_sigma * 3 < few.share_sigma
    assert np.isnan(few.kappa_sigma) and few.kappa == 1.0


def test_each_person_is_compared_with_himself_and_with_the_others():
    positions = np.array([[0, 0], [0, 0], [0, 1], [0, 1], [0, 0], [0, 1]], dtype=np.int32)
    labels = Labels(
        key="k", shape=(2, 2), names=("a", "b"), positions=positions,
        label=np.array([0, 0, 1, 0, 1, 1], dtype=np.int32), who=("ann", "ann", "ann", "ann", "bob", "bob"),
    )  # fmt: skip
    (own,) = self_consistency(labels)
    assert own.between == ("ann", "ann") and own.pairs == 2 and own.share == 0.5
    (both,) = agreement_between(labels)
    assert both.between == ("ann", "bob") and both.counts.tolist() == [[0, 1], [0, 1]]
