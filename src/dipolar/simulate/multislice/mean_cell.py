"""The mean cell of a crystal whose cells differ a little: an eighth or a quarter of the work, where it is enough."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from jaxtyping import Float, Int

from dipolar.core.structure import Structure, select
from dipolar.simulate.multislice.plane import SAME_PM


def mean_cell(structure: Structure, parts: tuple[int, int, int]) -> Structure:
    """Return the mean of the parts of a cell, laid over one another, every atom with its share of the occupancy.

    Reflections that only the whole cell has are lost, and what makes them scatters diffusely, as chance would: of a
    perovskite, turned octahedra become oxygen that is on each of its places in some of the cells. Columns of cations
    that are alike in all parts stay what they are.

    Parameters
    ----------
    structure
        The whole cell.
    parts
        How many parts it has along each of its vectors.
    """
    count = np.array(parts)
    many = int(np.prod(count))
    lattice = structure.lattice_pm / count[:, None]
    fractional = (structure.fractional * count) % 1.0
    kinds = np.stack([structure.numbers, structure.rms_pm], axis=1)
    first: list[int] = []
    shares: list[float] = []
    for atom in range(len(fractional)):
        near = _near(fractional[first], fractional[atom], lattice) & (kinds[first] == kinds[atom]).all(axis=1)
        if near.any():
            shares[int(np.argmax(near))] += float(structure.occupancy[atom]) / many
        else:
            first.append(atom)
            shares.append(float(structure.occupancy[atom]) / many)
    rows: Int[np.ndarray, " kept"] = np.array(first, dtype=np.int64)
    return replace(
        select(structure, rows),
        lattice_pm=lattice,
        fractional=fractional[rows],
        occupancy=np.minimum(np.array(shares), 1.0),
        source=f"{structure.source}; mean of {many} parts of the cell",
    )


def _near(
    places: Float[np.ndarray, "kept 3"], place: Float[np.ndarray, " 3"], lattice: Float[np.ndarray, "3 3"]
) -> np.ndarray:
    gap = places - place
    return np.linalg.norm((gap - np.rint(gap)) @ lattice, axis=1) < SAME_PM


def formula_cell_parts(structure: Structure, number: int) -> tuple[int, int, int]:
    """Return into how many parts a perovskite's cell is cut so that each holds one atom of an element.

    Edges of the parts are as alike as can be.
    """
    atoms = int(np.count_nonzero(structure.numbers == number))
    edges = np.linalg.norm(structure.lattice_pm, axis=1)
    steps = range(1, atoms + 1)
    choices = [(i, j, k) for i, j, k in product(steps, steps, steps) if i * j * k == atoms]
    return min(choices, key=lambda parts: float(np.std(np.log(edges / np.array(parts)))))
