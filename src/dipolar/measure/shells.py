"""Which atoms surround which: shells of neighbours in a crystal, and columns in its projection."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Bool, Float, Int64

from dipolar.core.elements import symbols_of
from dipolar.core.errors import StructureError
from dipolar.core.structure import Structure, cartesian_pm

GAP = 1.04
"""The neighbours of an atom end where the next one is further off by this factor."""
FAR_PM = 600.0
"""Neighbours are looked for up to this distance."""
ITSELF_PM = 1.0
SAME_COLUMN_PM = 40.0
"""Atoms of the parent that project closer than this are one column."""


def neighbours(
    structure: Structure, centre: str, ligand: str, count: int
) -> tuple[Int64[np.ndarray, " row"], Int64[np.ndarray, "row member"], Float[np.ndarray, "row member 3"]]:
    """Return the atoms of an element, for each the rows of its nearest atoms of another, and the cells those are in.

    Raises
    ------
    StructureError
        If there are no such atoms, or the next ones are as near as the last.
    """
    symbols = np.array(symbols_of(structure.numbers))
    rows, others = np.flatnonzero(symbols == centre), np.flatnonzero(symbols == ligand)
    for symbol, found in ((centre, rows), (ligand, others)):
        if not len(found):
            raise no_such(structure, symbol)
    places = cartesian_pm(structure)
    what = f"{centre} in {structure.name}"
    members, images = nearest_rows(places[rows], places[others], structure.lattice_pm, count, what)
    return rows, others[members], images


def no_such(structure: Structure, symbol: str) -> StructureError:
    """Return the error that a structure lacks an element."""
    has = ", ".join(dict.fromkeys(symbols_of(structure.numbers)))
    return StructureError(f"{structure.name} should have {symbol}.", got=has, do="name elements that it has")


def nearest_rows(
    points: Float[np.ndarray, "row axis"],
    others: Float[np.ndarray, "other axis"],
    cell: Float[np.ndarray, "axis axis"],
    count: int,
    what: str,
) -> tuple[Int64[np.ndarray, "row member"], Float[np.ndarray, "row member axis"]]:
    """Return for every point the rows of the nearest others in a periodic cell, and the cells these are in.

    Others on the point itself do not count: an atom is no neighbour of its own, its images are.

    Raises
    ------
    StructureError
        If the next ones are as near as the last.
    """
    from scipy.spatial import cKDTree

    inverse = np.linalg.inv(cell)
    base, home = np.floor(points @ inverse), np.floor(others @ inverse)
    reach = FAR_PM * np.linalg.norm(inverse, axis=0)
    spans = [range(-int(np.ceil(far)), int(np.ceil(far)) + 1) for far in reach]
    steps = np.array(list(itertools.product(*spans)), dtype=np.float64)
    ghosts = ((others @ inverse - home)[None] + steps[:, None]).reshape(-1, len(reach))
    inside = ((ghosts >= -reach) & (ghosts <= 1.0 + reach)).all(axis=1)
    tree = cKDTree(ghosts[inside] @ cell)
    distance, found = tree.query((points @ inverse - base) @ cell, k=count + 2)
    itself = distance[:, 0] < ITSELF_PM
    distance = np.where(itself[:, None], np.roll(distance, -1, axis=1), distance)
    found = np.where(itself[:, None], np.roll(found, -1, axis=1), found)
    # fewer than wanted within reach are at infinity
    unclear = ~np.isfinite(distance[:, count - 1]) | (distance[:, count] < GAP * distance[:, count - 1])
    if unclear.any():
        shown = distance[int(np.argmax(unclear)), : count + 1]
        raise StructureError(
            f"{count} nearest neighbours were expected of {what}.",
            got=f"neighbours at {', '.join(f'{one:.0f}' for one in shown)} pm",
            do="ask for as many as a shell has, that is as many as are nearer than the next by 4 % or more",
        )
    rows = np.flatnonzero(inside)[found[:, :count]]
    number = rows % len(others)
    images = np.repeat(steps, len(others), axis=0)[rows] - home[number] + base[:, None]
    return number.astype(np.int64), images


def columns_of(
    parent_pm: Float[np.ndarray, "atom 2"],
    polar_pm: Float[np.ndarray, "atom 2"],
    cell: Float[np.ndarray, "2 2"],
    chosen: Bool[np.ndarray, " atom"],
) -> tuple[Float[np.ndarray, "column 2"], Float[np.ndarray, "column 2"]]:
    """Return the places (y, x) of columns in the parent and in the polar structure, each the mean of its atoms.

    Atoms are one column where they project onto each other in the parent.
    """
    inverse = np.linalg.inv(cell)
    left = np.flatnonzero(chosen)
    places: list[tuple[np.ndarray, np.ndarray]] = []
    while len(left):
        seed = parent_pm[left[0]]
        apart = ((parent_pm[left] - seed) @ inverse + 0.5) % 1.0 - 0.5
        near = np.linalg.norm(apart @ cell, axis=1) < SAME_COLUMN_PM
        place = seed + (apart[near] @ cell).mean(axis=0)
        members = left[near]
        places.append((place, place + (polar_pm[members] - parent_pm[members]).mean(axis=0)))
        left = left[~near]
    both = np.array(places).reshape(-1, 2, 2)
    return both[:, 0], both[:, 1]
