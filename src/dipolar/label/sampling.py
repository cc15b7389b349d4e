"""Strategies that look at no pattern: random, a grid, and the published search for walls in two steps.

Each takes the labels so far and returns positions to label next, as many as are asked for; fewer only where the scan
has no more.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Int32

from dipolar.core.scanning import Labels
from dipolar.label.consensus import consensus
from dipolar.label.positions import (
    Free,
    Positions,
    check_count,
    check_step,
    grid_mask,
    open_positions,
    positions_of,
    spread,
)


def random(labels: Labels, n: int, *, rng: np.random.Generator, free: Free | None = None) -> Positions:
    """Return positions drawn from all that are not labelled, each as likely as any other.

    Parameters
    ----------
    labels
        Answers so far.
    n
        How many positions.
    rng
        Draws.
    free
        Which positions may be asked; None: all.

    Raises
    ------
    SettingsError
        Fewer than one.
    """
    numbers = np.flatnonzero(open_positions(labels, free))
    return positions_of(rng.permutation(numbers)[: check_count(n)], labels.shape)


def grid(
    labels: Labels, n: int, *, rng: np.random.Generator, step: int | None = None, free: Free | None = None
) -> Positions:
    """Return positions of a square grid, those far from all that are labelled first.

    When the grid is labelled, it goes on with half the step.

    Parameters
    ----------
    labels, n, rng, free
        As for `random`.
    step
        Distance of its positions in probe steps; None: about 25 of them on the scan.

    Raises
    ------
    SettingsError
        Fewer than one position, or a step below 1.
    """
    step, left = check_step(step, labels.shape), open_positions(labels, free)
    beside, found = labels.positions, np.zeros((0, 2), dtype=np.int32)
    check_count(n)
    while len(found) < n and left.any():
        here = np.argwhere(left & grid_mask(labels.shape, step)).astype(np.int32)
        more = spread(here, np.concatenate([beside, found]), n - len(found), rng=rng)
        left[more[:, 0], more[:, 1]] = False
        found = np.concatenate([found, more])
        if step == 1:
            break
        step = max(1, step // 2)
    return found


def adaptive(
    labels: Labels, n: int, *, rng: np.random.Generator, step: int | None = None, free: Free | None = None
) -> Positions:
    """Return positions of a coarse grid and, once that is labelled, halfway to the nearest one with another label.

    The published search [Hardy et al., Polarization domain mapping from 4D-STEM using deep learning (2025)]: every
    labelled position looks for the nearest one that has another label, no farther than its eight neighbours on the
    grid, and the middle between the two is asked; again and again, so that every wall is halved in until it is known
    to one step. In one respect it differs: wide gaps come before narrow ones, and equal ones in an order that is drawn
    (published: row by row), so that labels that run out in the middle are spread over the scan. Where every wall is
    known to one step, positions beside walls follow, and last a finer grid.

    Parameters
    ----------
    labels, n, rng, free
        As for `random`.
    step
        Step of the coarse grid in probe positions; None: about 25 of them on the scan.

    Raises
    ------
    SettingsError
        Fewer than one position, or a step below 1.
    """
    step, left = check_step(step, labels.shape), open_positions(labels, free)
    coarse = np.argwhere(left & grid_mask(labels.shape, step)).astype(np.int32)
    found = spread(coarse, labels.positions, check_count(n), rng=rng)
    left[found[:, 0], found[:, 1]] = False
    agreed = consensus(labels).labels
    for middles in (between_nearest, between_others):
        here = middles(agreed.positions, agreed.label, np.sqrt(2.0) * step, rng)
        here = here[left[here[:, 0], here[:, 1]]][: n - len(found)]
        left[here[:, 0], here[:, 1]] = False
        found = np.concatenate([found, here])
    if len(found) < n and left.any():
        found = np.concatenate([found, grid(labels, n - len(found), rng=rng, step=max(1, step // 2), free=left)])
    return found


def between_nearest(
    positions: Int32[np.ndarray, "labelled 2"], label: Int[np.ndarray, " labelled"], reach: float,
    rng: np.random.Generator,
) -> Positions:  # fmt: skip
    """Return the middles between each position and the nearest with another label, the widest gaps first.

    Only where no labelled position lies between them: there the wall is not, or a narrower gap knows it better.

    Parameters
    ----------
    positions, label
        Labelled positions, each once, and their classes.
    reach
        Greatest distance in probe steps.
    rng
        Draws the order of equal gaps.
    """
    from scipy.spatial import KDTree

    pairs, gap = pairs_of_two_labels(positions, label, reach, rng)
    if not len(pairs):
        return middles_of(positions, pairs)
    nearest = np.zeros(len(pairs), dtype=bool)
    seen: set[int] = set()
    for row in np.argsort(gap, kind="stable"):
        mine = set(pairs[row].tolist())
        nearest[row] = not mine <= seen
        seen |= mine
    middle = 0.5 * (positions[pairs[:, 0]] + positions[pairs[:, 1]])
    nearest &= KDTree(positions).query(middle)[0] > 0.5 * gap - 1e-9
    kept = np.flatnonzero(nearest)
    return middles_of(positions, pairs[kept[np.argsort(-gap[kept], kind="stable")]])


def between_others(
    positions: Int32[np.ndarray, "labelled 2"], label: Int[np.ndarray, " labelled"], reach: float,
    rng: np.random.Generator,
) -> Positions:  # fmt: skip
    """Return the middles between all positions of two labels, the narrowest gaps, which are beside walls, first."""
    pairs, gap = pairs_of_two_labels(positions, label, reach, rng)
    return middles_of(positions, pairs[np.argsort(gap, kind="stable")])


def pairs_of_two_labels(
    positions: Int32[np.ndarray, "labelled 2"], label: Int[np.ndarray, " labelled"], reach: float,
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "pair 2"], Float[np.ndarray, " pair"]]:  # fmt: skip
    """Return all pairs of another label within reach, in an order that is drawn, and how far apart they are."""
    from scipy.spatial import KDTree

    if len(positions) < 2:
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0)
    pairs = KDTree(positions).query_pairs(reach + 1e-9, output_type="ndarray")
    pairs = rng.permutation(pairs[label[pairs[:, 0]] != label[pairs[:, 1]]], axis=0)
    return pairs, np.linalg.norm((positions[pairs[:, 0]] - positions[pairs[:, 1]]).astype(np.float64), axis=1)


def middles_of(positions: Int32[np.ndarray, "labelled 2"], pairs: Int[np.ndarray, "pair 2"]) -> Positions:
    """Return the position in the middle of each pair, each once, in the order of the pairs."""
    middle = (positions[pairs[:, 0]] + positions[pairs[:, 1]]) // 2
    _, first = np.unique(middle, axis=0, return_index=True)
    return middle[np.sort(first)].astype(np.int32)
