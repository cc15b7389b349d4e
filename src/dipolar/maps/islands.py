"""Connected regions, and the small ones that the displacements hardly support."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int32
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dipolar.maps.neighbours import DOWN, RIGHT

ROUNDS = 20
LEANING = 0.25
"""Least difference across an arm, over that of the domains beside it, at which it is the middle of a wall."""
REACH = 2
"""Half the width in cells below which a part of a region is an arm."""
THIN = 0.5
"""Share of cells with all their neighbours in the same region, below which it is no more than a seam."""


def connected(state: Int32[np.ndarray, " cell"], around: Int32[np.ndarray, "cell 8"]) -> Int32[np.ndarray, " cell"]:
    """Return the number of the connected region of equal state that each cell is in; cells connect along a and b."""
    rows, others = links(around, (RIGHT, DOWN))
    same = state[rows] == state[others]
    count = len(state)
    graph = coo_array((np.ones(int(same.sum()), dtype=np.int8), (rows[same], others[same])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int32)


def links(
    around: Int32[np.ndarray, "cell 8"], steps: tuple[int, ...]
) -> tuple[Int32[np.ndarray, " link"], Int32[np.ndarray, " link"]]:
    """Return the cells at both ends of every link along these steps."""
    rows = [np.flatnonzero(around[:, step] >= 0).astype(np.int32) for step in steps]
    others = [around[row, step] for row, step in zip(rows, steps, strict=True)]
    return np.concatenate(rows), np.concatenate(others)


def within(label: Int32[np.ndarray, " cell"], around: Int32[np.ndarray, "cell 8"]) -> Bool[np.ndarray, " cell"]:
    """Return the cells whose neighbours, as far as there are any, all have their label."""
    return np.all((around < 0) | (label[around] == label[:, None]), axis=1)


def _contacts(label: Int32[np.ndarray, " cell"], around: Int32[np.ndarray, "cell 8"]) -> dict[int, dict[int, int]]:
    """Return, for every region, how many links it shares with each of the others."""
    rows, others = links(around, (RIGHT, DOWN))
    cross = label[rows] != label[others]
    pairs = np.stack([label[rows[cross]], label[others[cross]]], axis=1)
    pairs, counts = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0, return_counts=True)
    found: dict[int, dict[int, int]] = {}
    for (one, other), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(one, {})[other] = count
    return found


def _members(label: Int32[np.ndarray, " cell"]) -> list[Int32[np.ndarray, " member"]]:
    order = np.argsort(label, kind="stable").astype(np.int32)
    return np.split(order, np.cumsum(np.bincount(label))[:-1])


def without_seams(
    state: Int32[np.ndarray, " cell"],
    evidence: Float[np.ndarray, "cell state"],
    around: Int32[np.ndarray, "cell 8"],
    means_px: Float[np.ndarray, "state 2"],
    displacement_px: Float[np.ndarray, "cell 2"],
) -> Int32[np.ndarray, " cell"]:
    """Return the states with thin regions shared out that lie between two others and are halfway between them.

    Inside a wall the displacement passes through what may be a state elsewhere: through zero between opposite domains.
    A seam may hang on a region of its kind, as the middle of a wall does that ends at a substrate without displacement:
    the thin parts of regions are looked at by themselves.

    Parameters
    ----------
    state
        State of every cell.
    evidence
        Log-likelihood of each state.
    around
        What `neighbours` returned.
    means_px
        Displacement of every state.
    displacement_px
        Displacement of every cell.
    """
    before, state = state, state.copy()
    thin = _thin(connected(state, around), around)
    label = connected(2 * state + thin, around)
    contacts, members = _contacts(label, around), _members(label)
    inner = np.bincount(label, weights=within(label, around), minlength=len(members))
    for region, cells in enumerate(members):
        beside = sorted(contacts.get(region, {}).items(), key=lambda item: -item[1])
        mine = int(state[cells[0]])
        arm = thin[cells[0]] and any(int(before[members[other][0]]) == mine for other in contacts.get(region, {}))
        beside = [item for item in beside if int(before[members[item[0]][0]]) != mine][:2]
        if len(beside) < 2 or (inner[region] >= THIN * len(cells) and not arm):
            continue
        if not _turning(cells, label, around, displacement_px, [members[other] for other, _ in beside]):
            continue
        one, two = (int(state[members[other][0]]) for other, _ in beside)
        enough = beside[1][1] >= 0.25 * sum(contacts[region].values())
        if enough and one != two and _between(means_px[int(state[cells[0]])], means_px[one], means_px[two]):
            state[cells] = np.where(evidence[cells, one] >= evidence[cells, two], one, two)
    return state


def _thin(label: Int32[np.ndarray, " cell"], around: Int32[np.ndarray, "cell 8"]) -> Bool[np.ndarray, " cell"]:
    """Return the cells of arms narrower than twice `REACH` cells: what erosion takes away and dilation does not
    bring back."""
    core = np.ones(len(label), dtype=bool)
    alike = (around < 0) | (label[around] == label[:, None])
    for _ in range(REACH):
        core = core & np.all(alike & (core[around] | (around < 0)), axis=1)
    for _ in range(REACH):
        core = core | np.any((around >= 0) & alike & core[around], axis=1)
    return ~core


def _turning(
    arm: Int32[np.ndarray, " member"],
    label: Int32[np.ndarray, " cell"],
    around: Int32[np.ndarray, "cell 8"],
    displacement_px: Float[np.ndarray, "cell 2"],
    sides: list[Int32[np.ndarray, " _"]],
) -> bool:
    """Return whether an arm leans to the domain on either side, as the middle of a wall does and a layer does not."""
    middles = [np.nanmedian(displacement_px[side], axis=0) for side in sides]
    apart = middles[0] - middles[1]
    lean = (displacement_px - middles[1]) @ apart / max(float(apart @ apart), 1e-300)
    touching = [np.any((around[arm] >= 0) & (label[around[arm]] == label[side[0]]), axis=1) for side in sides]
    if np.any(touching[0] & touching[1]) or not (touching[0].any() and touching[1].any()):
        return True  # one cell across: nothing to tell them apart
    first, second = (lean[arm[where]] for where in touching)
    return bool(np.nanmean(first) - np.nanmean(second) > LEANING)


def _between(middle: Float[np.ndarray, "2"], one: Float[np.ndarray, "2"], two: Float[np.ndarray, "2"]) -> bool:
    """Return whether a displacement lies about halfway on the straight line between two others."""
    apart = two - one
    square = float(apart @ apart)
    if square == 0.0:
        return False
    share = float((middle - one) @ apart) / square
    aside = float(np.linalg.norm(middle - one - share * apart)) / np.sqrt(square)
    return bool(0.15 < share < 0.85 and aside < 0.3)


def without_islands(
    state: Int32[np.ndarray, " cell"],
    evidence: Float[np.ndarray, "cell state"],
    around: Int32[np.ndarray, "cell 8"],
    *,
    least_cells: int,
) -> Int32[np.ndarray, " cell"]:
    """Return the states with weak islands joined to what surrounds them.

    An island stays where it has enough cells, and its displacements are more probable with its own state than with that
    of a neighbour by more than two times the log of the number of cells: what it costs to say where it is and how far
    it reaches.

    Parameters
    ----------
    state
        State of every cell.
    evidence
        Log-likelihood of each state.
    around
        What `neighbours` returned.
    least_cells
        Fewest cells of a region that has neighbours.
    """
    state = state.copy()
    cost = 2.0 * np.log(max(len(state), 2))
    for _ in range(ROUNDS):
        label = connected(state, around)
        contacts, members = _contacts(label, around), _members(label)
        changed = False
        touched: set[int] = set()
        for region in np.argsort([len(cells) for cells in members], kind="stable").tolist():
            beside = contacts.get(region, {})
            if not beside or region in touched:
                continue
            cells = members[region]
            mine = int(state[cells[0]])
            total = evidence[cells].sum(axis=0)
            # where the evidence is alike (no vote at all), the longer border decides
            others = {int(state[members[other][0]]): 0.0 for other in beside}
            for other, count in beside.items():
                others[int(state[members[other][0]])] += 1e-3 * count
            best = max(others, key=lambda other: total[other] + others[other])
            if len(cells) < least_cells or total[mine] - total[best] < cost:
                state[cells] = best
                changed = True
                touched.update(beside)
        if not changed:
            break
    return state
