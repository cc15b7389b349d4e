"""Crystal structures: one cell with its atoms, and what can be done to it with arithmetic alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int64

from dipolar.core.elements import SYMBOLS, symbols_of
from dipolar.core.errors import SettingsError, StructureError

Frame = Literal["crystal", "image"]
SMALLEST_EDGE_PM = 100.0
"""No crystal has a cell whose planes are closer than this; units were mixed up."""
SAME_PLACE_PM = 50.0
"""Atoms closer than this share one place: each other's substitutes, or a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structure:
    """One cell of a crystal with its atoms."""

    name: str
    """What it is, for titles and messages: "BiFeO3", "CONTCAR"."""
    lattice_pm: Float[np.ndarray, "3 3"]
    """Cell vectors as rows, their components in the order that `frame` says."""
    fractional: Float[np.ndarray, "atom 3"]
    """Where the atoms are, in shares of the three cell vectors."""
    numbers: Int64[np.ndarray, " atom"]
    """Atomic number of each atom."""
    occupancy: Float[np.ndarray, " atom"]
    """Share of the cells in which that atom is there; 1 but for mixed crystals, whose atoms share a place."""
    rms_pm: Float[np.ndarray, " atom"]
    """Root mean square thermal displacement along one axis, √U = √(B / 8π²)."""
    source: str
    """Where it is from, and what was done to it since."""
    frame: Frame = "crystal"
    """How components are counted. "crystal": Cartesian (x, y, z), right-handed, whichever way the crystal lies.
    "image": (y, x, z) as the microscope sees it, y down and x to the right on the screen, z along the beam **into** the
    specimen. (x, y, z) is right-handed there too; the order (y, x, z) is that of all positions in this project."""

    def __post_init__(self) -> None:
        """Refuse what is no crystal."""
        wrong = _wrong(self)
        if wrong:
            raise StructureError(
                f"{self.name}: a cell with atoms was expected.",
                got="; ".join(wrong),
                do="check the file, and that lengths are in pm",
            )


def _wrong(structure: Structure) -> list[str]:
    """Return what keeps it from being a crystal, in words."""
    lattice, count = structure.lattice_pm, len(structure.fractional)
    wrong = []
    if not np.isfinite(lattice).all() or np.linalg.det(lattice) == 0:
        return [f"no cell: vectors {lattice.tolist()}"]
    spacing = plane_spacings_pm(lattice)
    if spacing.min() < SMALLEST_EDGE_PM:
        wrong.append(f"no cell: planes {spacing.min():.3g} pm apart")
    if not count:
        wrong.append("no atoms")
    if not np.isfinite(structure.fractional).all():
        wrong.append("positions that are no numbers")
    if ((structure.numbers < 1) | (structure.numbers > len(SYMBOLS))).any():
        wrong.append(f"atomic numbers outside 1 to {len(SYMBOLS)}")
    if not ((structure.occupancy > 0) & (structure.occupancy <= 1)).all():
        wrong.append("occupancies outside 0 to 1")
    if not (structure.rms_pm >= 0).all():
        wrong.append("thermal displacements below 0, or unknown")
    return wrong


def plane_spacings_pm(lattice_pm: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3"]:
    """Return the distance between the lattice planes that each cell vector leads from one to the next of."""
    return 1.0 / np.linalg.norm(np.linalg.inv(lattice_pm), axis=0)


def volume_pm3(structure: Structure) -> float:
    """Return the volume of the cell."""
    return float(abs(np.linalg.det(structure.lattice_pm)))


def cartesian_pm(structure: Structure) -> Float[np.ndarray, "atom 3"]:
    """Return where the atoms are in pm: (x, y, z), or (y, x, z) in the frame of an image."""
    return structure.fractional @ structure.lattice_pm


def formula(structure: Structure) -> str:
    """Return what the cell holds, the elements in the order in which they come first: "Bi6 Fe6 O18"."""
    amounts: dict[str, float] = {}
    for symbol, share in zip(symbols_of(structure.numbers), structure.occupancy.tolist(), strict=True):
        amounts[symbol] = amounts.get(symbol, 0.0) + share
    return " ".join(f"{symbol}{round(amount, 3):g}" for symbol, amount in amounts.items())


def select(structure: Structure, rows: np.ndarray) -> Structure:
    """Return the structure with these atoms only, in this order."""
    return replace(
        structure,
        fractional=structure.fractional[rows],
        numbers=structure.numbers[rows],
        occupancy=structure.occupancy[rows],
        rms_pm=structure.rms_pm[rows],
    )


def supercell(structure: Structure, repeats: tuple[int, int, int]) -> Structure:
    """Return so many cells along each cell vector as one; the atoms of the first cell come first."""
    if min(repeats) < 1:
        raise SettingsError("a supercell has one cell or more along each vector.", got=str(repeats))
    steps = np.stack(np.meshgrid(*(np.arange(n) for n in repeats), indexing="ij"), axis=-1).reshape(-1, 3)
    rows = np.tile(np.arange(len(structure.numbers)), len(steps))
    moved = structure.fractional[rows] + np.repeat(steps, len(structure.numbers), axis=0)
    return replace(
        select(structure, rows),
        fractional=moved / np.array(repeats),
        lattice_pm=structure.lattice_pm * np.array(repeats)[:, None],
    )


def strained(structure: Structure, strain: Float[np.ndarray, "3 3"]) -> Structure:
    """Return the structure under a homogeneous strain: every vector r becomes (1 + strain) r, atoms go along.

    Parameters
    ----------
    structure
        Any.
    strain
        Symmetric tensor, its components in the order of the structure's frame.
    """
    if not np.allclose(strain, strain.T, atol=1e-9):
        raise SettingsError("strain is a symmetric tensor; rotations are no strain.", got=str(strain.tolist()))
    return replace(structure, lattice_pm=structure.lattice_pm @ (np.eye(3) + strain))


def shifted(structure: Structure, by: tuple[float, float, float]) -> Structure:
    """Return the structure with all atoms moved by shares of the cell vectors, and back into the cell."""
    return replace(structure, fractional=(structure.fractional + np.array(by)) % 1.0)


def inverted(structure: Structure) -> Structure:
    """Return the structure inverted through the corner of its cell: every atom at r goes to -r."""
    return replace(structure, fractional=-structure.fractional % 1.0)


def turned(structure: Structure, quarters: int) -> Structure:
    """Return a structure in the frame of an image turned by quarters of a turn, counter-clockwise on the screen.

    What pointed right points up after one quarter: (dy, dx) becomes (-dx, dy). The cell stays one whose first vector
    points down and whose second points to the right.
    """
    if structure.frame != "image":
        raise SettingsError(
            "only a structure that lies as the microscope sees it is turned on the screen.",
            got=f'{structure.name} with frame "{structure.frame}"',
            do="oriented(structure, zone, up) first",
        )
    for _ in range(quarters % 4):
        down, right, into = (np.array([-row[1], row[0], row[2]]) for row in structure.lattice_pm)
        y, x, z = structure.fractional.T
        structure = replace(
            structure, lattice_pm=np.stack([-right, down, into]) + 0.0, fractional=np.stack([-x % 1.0, y, z], axis=1)
        )
    return structure


def near_pairs(structure: Structure, within_pm: float) -> Int64[np.ndarray, "pair 2"]:
    """Return pairs of atoms closer to each other than that, periodic images included, the smaller row first.

    The distance must be less than half of the cell's smallest spacing of planes.
    """
    spacing = plane_spacings_pm(structure.lattice_pm)
    axis = int(np.argmax(spacing))
    places = structure.fractional % 1.0
    order = np.argsort(places[:, axis], kind="stable")
    places, count = places[order], len(order)
    reach = within_pm / spacing[axis]
    found = []
    # neighbours in the order along one axis, nearest first, until no pair of that distance in the order is near enough
    for step in range(1, count):
        other = (np.arange(count) + step) % count
        apart = (places[other] - places + 0.5) % 1.0 - 0.5
        ahead = (places[other, axis] - places[:, axis]) % 1.0
        near = (ahead <= reach) & (np.linalg.norm(apart @ structure.lattice_pm, axis=1) < within_pm)
        found.append(np.stack([order[near], order[other[near]]], axis=1))
        if not (ahead <= reach).any():
            break
    pairs = np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)
    return np.unique(np.sort(pairs, axis=1), axis=0).astype(np.int64)


def check_overlap(structure: Structure) -> None:
    """Refuse atoms on top of each other.

    Atoms of different elements may share a place where their occupancies add up to 1 at most, as in mixed crystals.

    Raises
    ------
    StructureError
        Naming the pairs.
    """
    pairs = near_pairs(structure, SAME_PLACE_PM)
    first, second = pairs.T
    crowded = structure.occupancy[first] + structure.occupancy[second] > 1.0 + 1e-3
    pairs = pairs[crowded | (structure.numbers[first] == structure.numbers[second])]
    if len(pairs):
        symbols = symbols_of(structure.numbers)
        named = [f"{symbols[a]} (atom {a + 1}) and {symbols[b]} (atom {b + 1})" for a, b in pairs[:3].tolist()]
        more = "" if len(pairs) <= 3 else f" and {len(pairs) - 3} pairs more"
        raise StructureError(
            f"{structure.name}: every atom needs a place of its own.",
            got=f"closer than {SAME_PLACE_PM:g} pm: {', '.join(named)}{more}",
            do="check the symmetry and the occupancies in the file",
        )


def square_edges_pm(structure: Structure) -> Float64[np.ndarray, "3"]:
    """Return the edges (y, x, z) of a right-angled cell in the frame of an image.

    Raises
    ------
    StructureError
        Where the structure does not lie so.
    """
    edges = np.diag(structure.lattice_pm)
    if structure.frame != "image" or not np.allclose(structure.lattice_pm, np.diag(edges), atol=1e-6 * edges.max()):
        raise StructureError(
            f"{structure.name}: a right-angled cell that lies as the microscope sees it was expected.",
            got=f'frame "{structure.frame}", cell vectors {np.round(structure.lattice_pm, 1).tolist()} pm',
            do="oriented(structure, zone, up) first",
        )
    return edges.astype(np.float64)
