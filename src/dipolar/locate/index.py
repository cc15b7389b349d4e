"""Lattice indices, grown from neighbour to neighbour, so that curvature, strain and a dislocation do no harm."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int32
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from dipolar.core.nouns import LINK_STEPS

TOLERANCE = 0.28  # of the A-B distance: displacement 0.1, strain 0.05, noise
OPPOSITE = np.array([1, 0, 3, 2, 5, 4, 7, 6])
NEAR = 16
"""Points looked at around each one: eight of them are its neighbours, the rest may be noise."""
FEWEST_LINKS = 3  # the corner column of a crystal has three
SMALLEST_GRAIN = 12
FEWEST_BONDS = 3.3
"""Least mean number of links in a crystal: 8 inside, 4 where only one sublattice shows as maxima, less at its rim."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Indexed:
    """Points of a crystal with their links and indices."""

    points_px: Float[np.ndarray, "point 2"]
    """The points that belong to a crystal."""
    source: Int32[np.ndarray, " point"]
    """Their rows in the table that came in."""
    links: Int32[np.ndarray, "point 8"]
    """Neighbour in each of `LINK_STEPS`; -1 where there is none."""
    index: Int32[np.ndarray, "point 2"]
    """Lattice index in A-B steps."""
    grain: Int32[np.ndarray, " point"]
    """Number of the connected crystal, the largest first."""
    steps_px: Float[np.ndarray, "point 2 2"]
    """The two A-B steps around each point."""


def index_points(
    points_px: Float[np.ndarray, "point 2"],
    steps_px: Float[np.ndarray, "2 2"] | Float[np.ndarray, "point 2 2"],
    *,
    rounds: int = 3,
) -> Indexed:
    """Return the points that lie on a lattice, with links and indices.

    Every point looks for a neighbour in eight directions: the four A-B steps, whose ends scatter with the displacement,
    and the four A-A steps, whose ends do not. Links must be mutual. The local steps are averaged over linked points and
    the search is repeated with them, so that a curved lattice is followed. Indices are then handed on along the best
    links first (a minimum spanning tree), which leaves the seam that a dislocation enforces in the worst place.

    Parameters
    ----------
    points_px
        Candidates, (y, x).
    steps_px
        Mean A-B steps as rows, or those around each point.
    rounds
        How often the local steps are refined; 1 is enough where they are known.
    """
    local = np.broadcast_to(steps_px, (len(points_px), 2, 2)).copy()
    if len(points_px) < SMALLEST_GRAIN:
        links = np.full((len(points_px), 8), -1, dtype=np.int32)
        return _subset(points_px, links, local, np.zeros(len(points_px), dtype=bool))
    around = _surroundings(points_px, local)
    links = _core(find_links(points_px, local, around))
    for _ in range(rounds):
        local = local_steps(points_px, links, local)
        before, links = links, _core(find_links(points_px, local, around))
        if np.array_equal(before, links):
            break
    return _subset(points_px, links, local, np.any(links >= 0, axis=1))


def restrict(found: Indexed, rows: Bool[np.ndarray, " point"], points_px: Float[np.ndarray, "kept 2"]) -> Indexed:
    """Return the kept points at their refined places, with the links and indices that they have."""
    where = np.full(len(rows) + 1, -1, dtype=np.int32)
    where[:-1][rows] = np.arange(np.count_nonzero(rows), dtype=np.int32)
    return Indexed(
        points_px=points_px,
        source=np.flatnonzero(rows).astype(np.int32),
        links=where[found.links[rows]],
        index=found.index[rows],
        grain=found.grain[rows],
        steps_px=found.steps_px[rows],
    )


def _surroundings(
    points_px: Float[np.ndarray, "point 2"], steps_px: Float[np.ndarray, "point 2 2"]
) -> Int32[np.ndarray, "point near"]:
    """Return the nearest points of each point; the row number past the end where there are fewer."""
    longest = np.abs(np.einsum("ks,psd->pkd", LINK_STEPS[[4, 6]].astype(float), steps_px))
    reach = 1.35 * float(np.sqrt(np.max(np.sum(longest**2, axis=2))))
    _, near = cKDTree(points_px).query(points_px, k=NEAR + 1, distance_upper_bound=reach, workers=-1)
    return near[:, 1:].astype(np.int32)


def find_links(
    points_px: Float[np.ndarray, "point 2"],
    steps_px: Float[np.ndarray, "point 2 2"],
    around: Int32[np.ndarray, "point near"],
) -> Int32[np.ndarray, "point 8"]:
    """Return the mutual nearest neighbour of each point in each of `LINK_STEPS`, -1 where there is none."""
    reach = TOLERANCE * float(np.sqrt(np.mean(np.sum(steps_px**2, axis=2))))
    rows = np.arange(len(points_px))
    return _mutual(candidates(points_px, steps_px, rows, around, LINK_STEPS, reach), OPPOSITE)


@numba.njit(cache=True, parallel=True)
def candidates(points, steps, rows, around, kinds, reach):  # type: ignore[no-untyped-def]
    """For each of `rows` the point nearest to where each step leads, if one is within `reach`; -1 where none is."""
    links = np.full((len(rows), 8), -1, dtype=np.int32)
    for r in numba.prange(len(rows)):
        k = rows[r]
        for s in range(8):
            y = points[k, 0] + kinds[s, 0] * steps[k, 0, 0] + kinds[s, 1] * steps[k, 1, 0]
            x = points[k, 1] + kinds[s, 0] * steps[k, 0, 1] + kinds[s, 1] * steps[k, 1, 1]
            best = reach * reach
            for n in range(around.shape[1]):
                j = around[r, n]
                if j >= len(points):
                    break
                distance = (points[j, 0] - y) ** 2 + (points[j, 1] - x) ** 2
                if distance < best and j != k:
                    best = distance
                    links[r, s] = j
    return links


@numba.njit(cache=True)
def _mutual(links, opposite):  # type: ignore[no-untyped-def]
    """Only the links that lead back to where they come from."""
    both = np.full_like(links, -1)
    for k in range(len(links)):
        for s in range(8):
            j = links[k, s]
            if j >= 0 and links[j, opposite[s]] == k:
                both[k, s] = j
    return both


def local_steps(
    points_px: Float[np.ndarray, "point 2"],
    links: Int32[np.ndarray, "point 8"],
    steps_px: Float[np.ndarray, "point 2 2"],
    *,
    rounds: int = 3,
) -> Float[np.ndarray, "point 2 2"]:
    """Return the two A-B steps around each point, from the A-A links of the point and of its surroundings.

    Only links between like columns count: those between A and B carry the displacement.
    """
    ab = np.stack([steps_px[:, 0] + steps_px[:, 1], steps_px[:, 0] - steps_px[:, 1]], axis=1)
    mean = _mean_edges(points_px, links, LINK_STEPS, ab, rounds)
    return np.stack([(mean[:, 0] + mean[:, 1]) / 2, (mean[:, 0] - mean[:, 1]) / 2], axis=1)


@numba.njit(cache=True)
def _mean_edges(points, links, kinds, fallback, rounds):  # type: ignore[no-untyped-def]
    """Mean vectors along a and b over the links of each point and of the points linked to it, `rounds` links far."""
    count = len(points)
    total, number = np.zeros((count, 2, 2)), np.zeros((count, 2))
    for k in range(count):
        for s in range(4, 8):
            j = links[k, s]
            if j >= 0:
                which = 0 if kinds[s, 0] == kinds[s, 1] else 1
                for axis in range(2):
                    total[k, which, axis] += (points[j, axis] - points[k, axis]) * kinds[s, 0]
                number[k, which] += 1.0
    for _ in range(rounds):
        new_total, new_number = total.copy(), number.copy()
        for k in range(count):
            for s in range(8):
                j = links[k, s]
                if j >= 0:
                    new_total[k] += total[j]
                    new_number[k] += number[j]
        total, number = new_total, new_number
    for k in range(count):
        for which in range(2):
            for axis in range(2):
                if number[k, which] > 0.0:
                    total[k, which, axis] /= number[k, which]
                else:
                    total[k, which, axis] = fallback[k, which, axis]
    return total


def _core(links: Int32[np.ndarray, "point 8"]) -> Int32[np.ndarray, "point 8"]:
    """Drop, again and again, points with fewer than three links: chance neighbours of an amorphous region."""
    links = links.copy()
    while True:
        weak = np.count_nonzero(links >= 0, axis=1)
        drop = (weak > 0) & (weak < FEWEST_LINKS)
        if not drop.any():
            return links
        links[drop] = -1
        gone = drop[np.maximum(links, 0)] & (links >= 0)
        links[gone] = -1


def _subset(
    points_px: Float[np.ndarray, "point 2"],
    links: Int32[np.ndarray, "point 8"],
    steps_px: Float[np.ndarray, "point 2 2"],
    keep: Bool[np.ndarray, " point"],
) -> Indexed:
    """Index the linked points, dropping crystals too small or too loosely linked to be one."""
    graph, order = _graph(points_px, links, steps_px)
    _, label = connected_components(graph, directed=False)
    members = np.bincount(label[keep], minlength=label.max(initial=-1) + 1)
    bonds = np.bincount(label, weights=np.count_nonzero(links >= 0, axis=1), minlength=len(members))
    good = (members >= SMALLEST_GRAIN) & (bonds >= FEWEST_BONDS * members)
    keep = keep & good[label] if len(members) else keep
    ranks = np.argsort(np.argsort(-np.where(good, members, 0), kind="stable"), kind="stable")
    index = _indices(graph, order, label, keep, points_px)
    rows = np.flatnonzero(keep)
    where = np.full(len(points_px) + 1, -1, dtype=np.int32)
    where[rows] = np.arange(len(rows), dtype=np.int32)
    return Indexed(
        points_px=points_px[rows],
        source=rows.astype(np.int32),
        links=where[links[rows]],
        index=index[rows],
        grain=ranks[label[rows]].astype(np.int32) if len(members) else np.zeros(0, dtype=np.int32),
        steps_px=steps_px[rows],
    )


def _graph(
    points_px: Float[np.ndarray, "point 2"],
    links: Int32[np.ndarray, "point 8"],
    steps_px: Float[np.ndarray, "point 2 2"],
) -> tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]:
    """Return the graph of links weighted by their mismatch, and one that holds the direction of each link plus 1."""
    start, kind = np.nonzero(links >= 0)
    end = links[start, kind]
    expected = np.einsum("ls,lsd->ld", LINK_STEPS[kind].astype(float), steps_px[start])
    mismatch = np.linalg.norm(points_px[end] - points_px[start] - expected, axis=1)
    # A-B links are worse by the displacement itself; both kinds join the tree only where they must
    weight = 1e-3 + mismatch
    shape = (len(points_px), len(points_px))
    return (
        scipy.sparse.csr_matrix((weight, (start, end)), shape=shape),
        scipy.sparse.csr_matrix((kind + 1, (start, end)), shape=shape),
    )


def _indices(
    graph: scipy.sparse.csr_matrix,
    kinds: scipy.sparse.csr_matrix,
    label: Int32[np.ndarray, " point"],
    keep: Bool[np.ndarray, " point"],
    points_px: Float[np.ndarray, "point 2"],
) -> Int32[np.ndarray, "point 2"]:
    """Hand indices on along the best links, starting in the middle of each crystal."""
    index = np.zeros((graph.shape[0], 2), dtype=np.int32)
    tree = minimum_spanning_tree(graph.maximum(graph.T))
    both = tree.maximum(tree.T)
    for grain in np.unique(label[keep]):
        members = np.flatnonzero((label == grain) & keep)
        middle = points_px[members].mean(axis=0)
        seed = members[np.argmin(np.sum((points_px[members] - middle) ** 2, axis=1))]
        order, before = breadth_first_order(both, seed, directed=False)
        steps = np.zeros((len(order), 2), dtype=np.int32)
        kind = np.asarray(kinds[before[order[1:]], order[1:]]).ravel() - 1
        steps[1:] = LINK_STEPS[kind]
        _accumulate(index, order, before, steps)
    return index


@numba.njit(cache=True)
def _accumulate(index, order, before, steps):  # type: ignore[no-untyped-def]
    """Add the step of each visited point to the index of the point before it (in place)."""
    for k in range(1, len(order)):
        for axis in range(2):
            index[order[k], axis] = index[before[order[k]], axis] + steps[k, axis]
