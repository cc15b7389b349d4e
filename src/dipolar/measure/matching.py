"""A polar structure and its parent → pairs of atoms: how far each atom is displaced, the strain kept apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int64

from dipolar.core.elements import symbols_of
from dipolar.core.errors import StructureError
from dipolar.core.structure import Structure, select, supercell

REACH_PM = 80.0
"""No atom of a ferroelectric is displaced further from its place in the parent."""
DOUBTFUL = 0.7
"""A second atom of the parent must be further off than the nearest by this factor, the smaller over the larger."""
STRAINED = 0.1
"""Cells that differ by more are no pair."""
AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """A polar structure and its parent, atom by atom."""

    polar: Structure
    """As it was given."""
    parent: Structure
    """Its atoms in the order of the polar ones, on the polar lattice: strain is no displacement."""
    displacement_pm: Float[np.ndarray, "atom 3"]
    """Polar minus parent, in the frame of the two, the mean over all atoms taken off: the origin of a polar crystal is
    free along its axis."""
    strain: Float[np.ndarray, "3 3"]
    """What takes the vectors of the parent's lattice to those of the polar one, minus 1; it may contain a turn."""


def match_structures(polar: Structure, parent: Structure, *, reach_pm: float = REACH_PM) -> Pair:
    """Return the two atom by atom, each paired with the nearest like atom of the other, periodic images included.

    Parameters
    ----------
    polar, parent
        Along the same axes, in the same frame, on the same origin or nearly. The parent's cell may be a whole part of
        the polar one along each edge.
    reach_pm
        Largest displacement; atoms further from all like atoms of the parent have no partner.

    Raises
    ------
    StructureError
        If the two are not such a pair, or it is not plain which atom belongs to which.
    """
    parent, strain = _on_lattice(polar, parent)
    rows = np.full(len(polar.numbers), -1, dtype=np.int64)
    step = np.zeros((len(rows), 3))
    problems = []
    for number in np.unique(polar.numbers):
        mine, its = np.flatnonzero(polar.numbers == number), np.flatnonzero(parent.numbers == number)
        nearest, apart, doubt = _nearest(polar.fractional[mine], parent.fractional[its], polar.lattice_pm)
        rows[mine], step[mine] = its[nearest], apart
        distance = np.linalg.norm(apart @ polar.lattice_pm, axis=1)
        symbol = symbols_of(np.array([number]))[0]
        if distance.max() > reach_pm:
            problems.append(f"{symbol} {distance.max():.0f} pm from the nearest {symbol} of the parent")
        elif doubt.any() or len(set(nearest.tolist())) < len(nearest):
            problems.append(f"{max(int(doubt.sum()), 1)} {symbol} that could be either of two of the parent")
    if problems:
        raise StructureError(
            f"{polar.name} and {parent.name} are no pair: every atom needs one partner, nearer than {reach_pm:g} pm.",
            got="; ".join(problems),
            do="give both on the same origin and axes (shifted(parent, by) moves one), or a parent nearer to it",
        )
    displacement = step @ polar.lattice_pm
    return Pair(
        polar=polar,
        parent=select(parent, rows),
        displacement_pm=displacement - displacement.mean(axis=0),
        strain=strain,
    )


def _on_lattice(polar: Structure, parent: Structure) -> tuple[Structure, Float[np.ndarray, "3 3"]]:
    """Return the parent in the polar cell, on the polar lattice, and the strain between the two.

    Raises
    ------
    StructureError
        If their frames, cells or atoms differ.
    """
    if polar.frame != parent.frame:
        raise StructureError(
            "a structure and its parent must lie in the same frame.",
            got=f"{polar.name}: {polar.frame}; {parent.name}: {parent.frame}",
            do="orient both with the same zone axis and the same direction up",
        )
    edges = [np.linalg.norm(structure.lattice_pm, axis=1) for structure in (polar, parent)]
    first, second, third = np.maximum(np.rint(edges[0] / edges[1]), 1.0).astype(int).tolist()
    parent = supercell(parent, (first, second, third))
    strain = np.linalg.solve(parent.lattice_pm, polar.lattice_pm) - np.eye(3)
    kinds = [sorted(structure.numbers.tolist()) for structure in (polar, parent)]
    if np.abs(strain).max() > STRAINED or kinds[0] != kinds[1]:
        raise StructureError(
            f"{polar.name} and {parent.name} are no pair: a parent has the same atoms in nearly the same cell.",
            got=f"{len(kinds[0])} atoms in {_edges(polar)}, {len(kinds[1])} atoms in {_edges(parent)}",
            do="give both along the same axes, in cells that are multiples of each other",
        )
    return replace(parent, lattice_pm=polar.lattice_pm), strain


def _edges(structure: Structure) -> str:
    return f"{' × '.join(f'{edge:.4g}' for edge in np.linalg.norm(structure.lattice_pm, axis=1))} pm"


def _nearest(
    places: Float[np.ndarray, "row 3"], others: Float[np.ndarray, "other 3"], lattice_pm: Float[np.ndarray, "3 3"]
) -> tuple[Int64[np.ndarray, " row"], Float[np.ndarray, "row 3"], np.ndarray]:
    """Return the row of the nearest of the others, the step from it in shares of the cell, and whether it is in doubt.

    That is where a second one is nearly as near.
    """
    nearest, steps, doubt = [], [], []
    for start in range(0, len(places), AT_ONCE):
        apart = (places[start : start + AT_ONCE, None] - others[None] + 0.5) % 1.0 - 0.5
        distance = np.linalg.norm(apart @ lattice_pm, axis=2)
        best = distance.argmin(axis=1)
        line = np.arange(len(best))
        nearest.append(best)
        steps.append(apart[line, best])
        second = np.partition(distance, 1, axis=1)[:, 1] if len(others) > 1 else np.full(len(best), np.inf)
        doubt.append(distance[line, best] > DOUBTFUL * second)
    return np.concatenate(nearest).astype(np.int64), np.concatenate(steps), np.concatenate(doubt)
