"""Where domains meet: chains of links that lead from one domain into another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32, Int64

from dipolar.core.geometry import cell_edge_px
from dipolar.core.nouns import Cells
from dipolar.maps.neighbours import DOWN, DOWN_RIGHT, RIGHT

GAP = 2.5
"""Cells missing in a wall, in edges of the cell, across which it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boundary:
    """One boundary between two domains, as the middles of the links that cross it."""

    before: int
    """Domain on the left of someone walking along the points, as seen on the screen."""
    after: int
    """Domain on the right."""
    points_px: Float[np.ndarray, "point 2"]
    """Middles of the links, in order."""
    closed: bool
    """Whether the last is next to the first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Crossings:
    """Links that cross a boundary."""

    one: Int32[np.ndarray, " crossing"]
    """Cell in the domain of the lower number."""
    two: Int32[np.ndarray, " crossing"]
    """Cell in the other one."""
    pair: Int64[np.ndarray, " crossing"]
    """Number of the pair of domains."""
    beside: list[list[int]]
    """The crossings, two at most, that lie in the same square of four cells."""


def boundaries(
    cells: Cells, around: Int32[np.ndarray, "cell 8"], label: Int32[np.ndarray, " cell"]
) -> tuple[Boundary, ...]:
    """Return every boundary between two domains, from end to end or all around, the longest first.

    Parameters
    ----------
    cells
        The cells.
    around
        What `neighbours` returned.
    label
        Domain of every cell; -1 for none.
    """
    found = _crossings(around, label)
    middle = 0.5 * (cells.positions_px[found.one] + cells.positions_px[found.two])
    into = cells.positions_px[found.two] - cells.positions_px[found.one]
    chains: dict[int, list[list[int]]] = {}
    closed = []
    for chain, ring in _chains(found.beside):
        if ring:
            closed.append(chain)
        else:
            chains.setdefault(int(found.pair[chain[0]]), []).append(chain)
    gap = GAP * cell_edge_px(cells) if len(cells.flags) else 0.0
    whole = [(chain, False) for parts in chains.values() for chain in _joined(parts, middle, gap)]
    result = []
    for chain, ring in whole + [(chain, True) for chain in closed]:
        points = middle[chain]
        ahead = np.gradient(points, axis=0) if len(points) > 1 else np.zeros((1, 2))
        to_right = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
        forward = float(np.sum(to_right * into[chain])) >= 0
        result.append(
            Boundary(
                before=int(label[found.one[chain[0]]]),
                after=int(label[found.two[chain[0]]]),
                points_px=points if forward else points[::-1].copy(),
                closed=ring,
            )
        )
    return tuple(sorted(result, key=lambda boundary: -len(boundary.points_px)))


def _crossings(around: Int32[np.ndarray, "cell 8"], label: Int32[np.ndarray, " cell"]) -> _Crossings:
    number = np.full((2, len(label) + 1), -1, dtype=np.int64)  # the last one serves cells of -1
    one, two, total = [], [], 0
    for kind, step in enumerate((RIGHT, DOWN)):
        other = around[:, step]
        crosses = np.flatnonzero((other >= 0) & (label != label[other]) & (label >= 0) & (label[other] >= 0))
        number[kind, crosses] = total + np.arange(len(crosses))
        total += len(crosses)
        swap = label[crosses] > label[other[crosses]]
        one.append(np.where(swap, other[crosses], crosses))
        two.append(np.where(swap, crosses, other[crosses]))
    first, second = (np.concatenate(part).astype(np.int32) for part in (one, two))
    pair = label[first].astype(np.int64) * (int(label.max(initial=0)) + 1) + label[second]
    cell = np.flatnonzero((around[:, [RIGHT, DOWN, DOWN_RIGHT]] >= 0).all(axis=1))
    right, down = around[cell, RIGHT], around[cell, DOWN]
    # links of a square in order around it: top, right, bottom, left
    square = np.stack([number[0, cell], number[1, right], number[0, down], number[1, cell]], axis=1)
    square = square[(square >= 0).sum(axis=1) >= 2]
    return _Crossings(one=first, two=second, pair=pair, beside=_beside(square, pair, total))


def _beside(square: Int64[np.ndarray, "square 4"], pair: Int64[np.ndarray, " crossing"], total: int) -> list[list[int]]:
    """Return which crossings of the same pair share a square; where four do, the neighbouring two of each side."""
    beside: list[list[int]] = [[] for _ in range(total)]
    for links in square.tolist():
        alike: dict[int, list[int]] = {}
        for link in links:
            if link >= 0:
                alike.setdefault(int(pair[link]), []).append(link)
        for group in alike.values():
            for i in range(0, len(group) - 1, 2):
                beside[group[i]].append(group[i + 1])
                beside[group[i + 1]].append(group[i])
    return beside


def _chains(beside: list[list[int]]) -> list[tuple[list[int], bool]]:
    """Return every chain of crossings in order, with whether it is closed; open ones start at an end."""
    seen = [False] * len(beside)
    found = []
    ends = [crossing for crossing, near in enumerate(beside) if len(near) < 2]
    for start in ends + list(range(len(beside))):
        if seen[start]:
            continue
        chain, here = [], start
        while here >= 0:
            seen[here] = True
            chain.append(here)
            here = next((near for near in beside[here] if not seen[near]), -1)
        found.append((chain, len(beside[start]) == 2 and len(chain) > 2))
    return found


def _joined(parts: list[list[int]], middle: Float[np.ndarray, "crossing 2"], gap_px: float) -> list[list[int]]:
    """Return the chains of one pair with those joined whose ends are nearer than `gap_px`, the nearest first."""
    parts = [list(part) for part in parts]
    while len(parts) > 1:
        ends = np.array([[middle[part[0]], middle[part[-1]]] for part in parts]).reshape(-1, 2)
        distance = np.linalg.norm(ends[:, None] - ends, axis=2)
        same = np.arange(len(ends)) // 2
        distance[same[:, None] == same] = np.inf
        i, j = divmod(int(np.argmin(distance)), len(ends))
        if distance[i, j] > gap_px:
            break
        first, second = parts[i // 2], parts[j // 2]
        first = first if i % 2 else first[::-1]
        second = second[::-1] if j % 2 else second
        parts = [part for k, part in enumerate(parts) if k not in (i // 2, j // 2)] + [first + second]
    return parts
