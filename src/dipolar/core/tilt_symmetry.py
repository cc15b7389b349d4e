"""Which tilts and displacements of a perovskite show the same thing turned or mirrored: its symmetry, 4mm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Complex64, Int64

from dipolar.core.tilt_library import STATES, interpolation, turned_terms

TURNS: tuple[Int64[np.ndarray, "2 2"], ...] = tuple(
    np.array(matrix, dtype=np.int64)
    for matrix in (
        ((1, 0), (0, 1)), ((0, -1), (1, 0)), ((-1, 0), (0, -1)), ((0, 1), (-1, 0)),
        ((1, 0), (0, -1)), ((0, 1), (1, 0)), ((-1, 0), (0, 1)), ((0, -1), (-1, 0)),
    )
)  # fmt: skip
"""The symmetry of the parent across the beam, 4mm, as matrices on (y, x): four turns, and their mirrors."""


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


def leans(nodes: int, *, polar: bool, every: int = 1) -> list[Lean]:
    """Return all runs that a library takes: none shows what another does.

    Parameters
    ----------
    nodes
        Nodes on each side of no tilt.
    polar
        Whether there are displacements.
    every
        At every how manieth node along each axis there are.
    """
    grid, coarse = range(-nodes, nodes + 1), _coarse(nodes, every)
    first = {alike(Lean((y, x), STATES[0]))[0] for y, x in product(grid, grid)}
    if polar:
        first |= {alike(Lean((y, x), state))[0] for y, x, state in product(coarse, coarse, STATES[1:])}
    return sorted(first, key=lambda lean: (lean.tilt, lean.state))


def _coarse(nodes: int, every: int) -> range:
    """Return the nodes at which displaced crystals are computed; no tilt is one of them, and so is the largest."""
    return range(-nodes, nodes + 1, every)


def folded(
    stamps: Complex64[np.ndarray, "tilt tilt state thickness focus 2 term"], *, every: int = 1
) -> dict[Lean, Complex64[np.ndarray, "thickness focus 2 term"]]:
    """Return the stamps of a library that no other ones show turned or mirrored.

    Parameters
    ----------
    stamps
        As in `TiltLibrary`, no tilt in their middle.
    every
        At every how manieth node there are displacements that were computed.
    """
    nodes = len(stamps) // 2
    return {
        lean: stamps[nodes + lean.tilt[0], nodes + lean.tilt[1], STATES.index(lean.state)]
        for lean in leans(nodes, polar=stamps.shape[2] > 1, every=every)
    }


def unfolded(
    runs: Mapping[Lean, Complex64[np.ndarray, "thickness focus 2 term"]],
    orders: Int64[np.ndarray, "term 2"],
    *,
    nodes: int,
    polar: bool,
    every: int = 1,
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
    every
        At every how manieth node along each axis there are; in between, what they change is interpolated.
    """
    grid, coarse = range(-nodes, nodes + 1), _coarse(nodes, every)
    shape = next(iter(runs.values())).shape
    stamps = np.empty((len(grid), len(grid), len(STATES) if polar else 1, *shape), dtype=np.complex64)
    for y, x in product(grid, grid):
        run, matrix = alike(Lean((y, x), STATES[0]))
        stamps[nodes + y, nodes + x, 0] = turned_terms(runs[run], orders, matrix)
    if not polar:
        return stamps
    between = interpolation(np.array(coarse, dtype=np.float64), np.array(grid, dtype=np.float64)).astype(np.float32)
    for number, state in enumerate(STATES[1:], start=1):
        changes = np.empty((len(coarse), len(coarse), *shape), dtype=np.complex64)
        for (i, y), (j, x) in product(enumerate(coarse), enumerate(coarse)):
            run, matrix = alike(Lean((y, x), state))
            changes[i, j] = turned_terms(runs[run], orders, matrix) - stamps[nodes + y, nodes + x, 0]
        fine = np.moveaxis(np.tensordot(between, np.tensordot(between, changes, axes=(1, 0)), axes=(1, 1)), 0, 1)
        stamps[:, :, number] = stamps[:, :, 0] + fine
    return stamps
