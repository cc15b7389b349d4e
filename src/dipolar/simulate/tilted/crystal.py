"""A perovskite along ⟨100⟩ whose B columns are displaced as far as one likes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dipolar.core.elements import symbols_of
from dipolar.core.structure import Structure, select
from dipolar.core.tilt_symmetry import TURNS
from dipolar.simulate.multislice import formula_cell_parts, mean_cell
from dipolar.simulate.structures import WITH_PARENT, preset, seen_along

SUBLATTICES: Mapping[str, tuple[int, int]] = {"bfo": (83, 26), "pto": (82, 22), "bto": (56, 22), "sto": (38, 22)}
"""Atomic numbers of A and B by material."""
OXYGEN = 8
SAME = 1e-3
"""Distance, in cells, below which places are the same."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Perovskite:
    """The parent crystal in a cell of one formula unit, A at the origin, and how its atoms go with B."""

    structure: Structure
    """As it lies in the microscope, square across the beam."""
    b_place: Float[np.ndarray, " 2"]
    """Where B is, (y, x), in shares of the cell."""
    follows: float
    """How far oxygen goes for every pm by which B does, both against A; 0 where the crystal is never polar."""
    polar: bool
    """Whether there is a polar crystal."""
    numbers: tuple[int, int]
    """Atomic numbers of A and B."""

    @property
    def elements(self) -> tuple[str, str]:
        """A and B."""
        a, b = symbols_of(np.array(self.numbers))
        return a, b


def perovskite(material: str) -> Perovskite:
    """Return the parent of a preset; octahedra that are turned in turns are the mean over them.

    Parameters
    ----------
    material
        One of `SUBLATTICES`.
    """
    polar = preset(material).name in WITH_PARENT
    a, b = SUBLATTICES[material]
    cell = _formula_cell(seen_along(material, of_parent=polar), a)
    follows = _follows(_formula_cell(seen_along(material), a), cell, (a, b)) if polar else 0.0
    structure = _symmetric(cell)
    place = structure.fractional[structure.numbers == b][0, :2] % 1.0
    return Perovskite(structure=structure, b_place=place, follows=follows, polar=polar, numbers=(a, b))


def displaced(crystal: Perovskite, shift_pm: tuple[float, float]) -> Structure:
    """Return the crystal with B displaced by (dy, dx) against A, and oxygen with it."""
    structure = crystal.structure
    oxygen = np.where(structure.numbers == OXYGEN, crystal.follows, 0.0)
    share = np.where(structure.numbers == crystal.numbers[1], 1.0, oxygen)
    moved = structure.fractional.copy()
    moved[:, :2] += share[:, None] * np.asarray(shift_pm) / np.linalg.norm(structure.lattice_pm, axis=1)[:2]
    return replace(structure, fractional=moved, source=f"{structure.source}; B displaced by {shift_pm} pm")


def _formula_cell(structure: Structure, a: int) -> Structure:
    """Return the mean cell of one formula unit, with A at the origin and square across the beam."""
    if np.count_nonzero(structure.numbers == a) > 1:
        structure = mean_cell(structure, formula_cell_parts(structure, a))
    lattice = np.diag(np.linalg.norm(structure.lattice_pm, axis=1))
    lattice[0, 0] = lattice[1, 1] = np.sqrt(lattice[0, 0] * lattice[1, 1])
    origin = structure.fractional[structure.numbers == a][0]
    return replace(structure, fractional=(structure.fractional - origin) % 1.0, lattice_pm=lattice)


def _symmetric(structure: Structure) -> Structure:
    """Return the mean of a crystal and of what 4mm across the beam makes of it: oxygen is on all places by chance.

    Of turned octahedra the mean over the cells of a domain has fewer of them, and which ones depends on the domain.
    """
    places: list[Float[np.ndarray, " 3"]] = []
    shares: list[float] = []
    rows: list[int] = []
    for row, atom in enumerate(structure.fractional):
        for matrix in TURNS:
            image = np.concatenate([matrix @ atom[:2], atom[2:]]) % 1.0
            near = [number for number, place in enumerate(places) if structure.numbers[rows[number]]
                    == structure.numbers[row] and np.abs((place - image + 0.5) % 1.0 - 0.5).max() < SAME]  # fmt: skip
            if near:
                shares[near[0]] += float(structure.occupancy[row]) / len(TURNS)
            else:
                places.append(image)
                shares.append(float(structure.occupancy[row]) / len(TURNS))
                rows.append(row)
    return replace(
        select(structure, np.array(rows, dtype=np.int64)), fractional=np.array(places),
        occupancy=np.minimum(np.array(shares), 1.0),
    )  # fmt: skip


def _follows(polar: Structure, parent: Structure, numbers: tuple[int, int]) -> float:
    """Return the mean move of oxygen over that of B, from parent to polar crystal, along the latter."""
    moves = {}
    for number in (numbers[1], OXYGEN):
        there, here = (s.fractional[s.numbers == number] for s in (polar, parent))
        share = polar.occupancy[polar.numbers == number]
        gap = there[:, None] - here[None]
        gap -= np.rint(gap)
        near = np.argmin(np.linalg.norm(gap, axis=-1), axis=1)
        moves[number] = np.average(gap[np.arange(len(there)), near], axis=0, weights=share)
    b = moves[numbers[1]][:2]
    return float(moves[OXYGEN][:2] @ b / (b @ b))
