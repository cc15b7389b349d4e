"""Which tilts and displacements of a perovskite show the same thing turned or mirrored: its symmetry, 4mm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Complex64, Int64

from dipolar.core.tilt_library import STATES, turned_terms

TURNS = tuple(
    np.array(matrix, dtype=np.int64)
    for matrix in (
        ((1, 0), (0, 1)), ((-1, 0), (0, 1)), ((1, 0), (0, -1)), ((-1, 0), (0, -1)),
        ((0, 1), (1, 0)), ((0, -1), (1, 0)), ((0, 1), (-1, 0)), ((0, -1), (-1, 0)),
    )
)  # fmt: skip
"""The symmetry of the parent across the beam, 4mm, as matrices on (y, x)."""


@dataclass(frozen=True, slots=True)
class Lean:
    """What one run of multislice is about."""

    tilt: tuple[int, int]
    """Numbers of the nodes of tilt (y, x), counted from no tilt."""
    state: tuple[int, int]
    """Displacement (y, x), one of `STATES`."""

    def turned(self, matrix: Int64[np.ndarray, "2 2"]) -> Lean:
        """Return the same thing turned or mirrored."""
        (y, x), (dy, dx) = ((matrix @ np.array(vector)).tolist() for vector in (self.tilt, self.state))
        return Lean((y, x), (dy, dx))


def alike(lean: Lean) -> tuple[Lean, Int64[np.ndarray, "2 2"]]:
    """Return which run shows the same thing turned or mirrored, and the matrix that makes this one of it."""
    choices = [(lean.turned(matrix), matrix) for matrix in TURNS]
    first, matrix = max(choices, key=lambda one: (one[0].tilt, one[0].state))
    return first, matrix.T


def leans(nodes: int, *, polar: bool) -> list[Lean]:
    """Return all runs that a library of so many nodes on each side of no tilt takes: none shows what another does."""
    grid = range(-nodes, nodes + 1)
    states = STATES if polar else STATES[:1]
    every = {alike(Lean((y, x), state))[0] for y, x, state in product(grid, grid, states)}
    return sorted(every, key=lambda lean: (lean.tilt, lean.state))


def folded(
    stamps: Complex64[np.ndarray, "tilt tilt state thickness focus 2 term"],
) -> dict[Lean, Complex64[np.ndarray, "thickness focus 2 term"]]:
    """Return the stamps of a library that no other ones show turned or mirrored.

    Parameters
    ----------
    stamps
        As in `TiltLibrary`, no tilt in their middle.
    """
    nodes = len(stamps) // 2
    return {
        lean: stamps[nodes + lean.tilt[0], nodes + lean.tilt[1], STATES.index(lean.state)]
        for lean in leans(nodes, polar=stamps.shape[2] > 1)
    }


def unfolded(
    runs: Mapping[Lean, Complex64[np.ndarray, "thickness focus 2 term"]],
    orders: Int64[np.ndarray, "term 2"],
    *,
    nodes: int,
    polar: bool,
) -> Complex64[np.ndarray, "tilt tilt state thickness focus 2 term"]:
    """Return the stamps of a whole library, of which only those were made that no other ones show.

    Parameters
    ----------
    runs
        Stamps of all of `leans`.
    orders
        Frequencies of their terms.
    nodes
        Nodes on each side of no tilt.
    polar
        Whether there are displacements.
    """
    grid = range(-nodes, nodes + 1)
    states = STATES if polar else STATES[:1]
    shape = next(iter(runs.values())).shape
    stamps = np.empty((len(grid), len(grid), len(states), *shape), dtype=np.complex64)
    for y, x, state in product(grid, grid, states):
        run, matrix = alike(Lean((y, x), state))
        stamps[nodes + y, nodes + x, states.index(state)] = turned_terms(runs[run], orders, matrix)
    return stamps
