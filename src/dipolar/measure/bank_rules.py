"""Which disks belong to the parent lattice and which are ghosts: by parity, by a pair of structures, or by clicks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64

from dipolar.core.errors import FormatError, SettingsError
from dipolar.core.scanning import View

MATCH = 0.04
"""Greatest difference of two reciprocal lengths that are the same, relative."""
ALLOWED = 1e-3
"""Structure factors below this share of the greatest are extinct."""


class AbstractRule:
    """Says of positions in half reciprocal lattice vectors what can be there; a subclass does `__call__`."""

    def __call__(
        self, index: Int64[np.ndarray, "site 2"], view: View
    ) -> tuple[Bool[np.ndarray, " site"], Bool[np.ndarray, " site"]]:
        """Return which positions are disks of the parent lattice, and at which ghosts can be."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Parity(AbstractRule):
    """Even and even is a disk of the lattice; a ghost can be wherever one of both is odd."""

    def __call__(
        self, index: Int64[np.ndarray, "site 2"], view: View
    ) -> tuple[Bool[np.ndarray, " site"], Bool[np.ndarray, " site"]]:
        """Return which positions are even, and which are not."""
        main: Bool[np.ndarray, " site"] = (index % 2 == 0).all(axis=1)
        return main, ~main


@dataclass(frozen=True, slots=True)
class Clicked(AbstractRule):
    """Ghosts are where somebody clicked, and opposite."""

    positions: tuple[tuple[float, float], ...]
    """(k_y, k_x) on the detector, px of the mean pattern."""

    def __call__(
        self, index: Int64[np.ndarray, "site 2"], view: View
    ) -> tuple[Bool[np.ndarray, " site"], Bool[np.ndarray, " site"]]:
        """Return which positions are even, and which of the others are nearest to a click or opposite to one.

        Raises
        ------
        SettingsError
            A click far from every half-lattice position, or on a disk of the lattice.
        """
        main: Bool[np.ndarray, " site"] = (index % 2 == 0).all(axis=1)
        ghost = np.zeros(len(index), dtype=bool)
        half = view.lattice_px / 2.0
        for position in self.positions:
            exact = (np.array(position, dtype=np.float64) - np.array(view.centre_px)) @ np.linalg.inv(half)
            nearest = np.rint(exact)
            if np.hypot(*((exact - nearest) @ half)) > 1.2 * view.radius_px or (nearest % 2 == 0).all():
                raise SettingsError(
                    "A click on a ghost lies between the disks of the lattice, half a lattice vector from them.",
                    got=f"({position[0]:.1f}, {position[1]:.1f}), which is {exact[0]:.2f}, {exact[1]:.2f} half vectors",
                    do="click on the middle of a ghost",
                )
            ghost |= (index == nearest).all(axis=1) | (index == -nearest).all(axis=1)
        if not ghost.any():
            raise SettingsError("Ghosts were to be clicked.", got="no click within the bank")
        return main, ghost


@dataclass(frozen=True, slots=True)
class FromCif(AbstractRule):
    """Ghosts are where the child's structure factor is not zero and the parent has no reflection.

    The child may lie in the parent in any orientation in the plane: ghosts of all its variants are taken.
    """

    parent: Path
    """CIF of the parent, whose reflections along the axis are the lattice."""
    child: Path
    """CIF of the child."""
    parent_axis: tuple[int, int, int] = (0, 0, 1)
    """Zone axis [uvw] in the axes of the parent's file."""
    child_axis: tuple[int, int, int] = (0, 0, 1)
    """The same direction in the axes of the child's file."""

    def __call__(
        self, index: Int64[np.ndarray, "site 2"], view: View
    ) -> tuple[Bool[np.ndarray, " site"], Bool[np.ndarray, " site"]]:
        """Return which positions are reflections of the parent, and at which only the child has some.

        Raises
        ------
        FormatError
            A file that cannot be read.
        SettingsError
            An axis that is no direction, or a child that has nothing at half-lattice positions.
        """
        main: Bool[np.ndarray, " site"] = (index % 2 == 0).all(axis=1)
        basis = _shortest(_zone(self.parent, self.parent_axis))
        most = float(np.linalg.norm(basis, axis=1).max()) * (np.abs(index).max() / 2.0 + 1.0)
        child = _zone(self.child, self.child_axis, most=most)
        shared = np.zeros(len(index), dtype=bool)
        for turned in _variants(child, basis):
            exact = turned @ np.linalg.inv(basis / 2.0)
            nearest = np.rint(exact)
            on = np.abs(exact - nearest).max(axis=1) < 0.15
            there = {(int(h), int(k)) for h, k in nearest[on]}
            shared |= np.array([(int(h), int(k)) in there for h, k in index])
        ghost: Bool[np.ndarray, " site"] = shared & ~main
        if not ghost.any():
            raise SettingsError(
                "Ghosts are reflections of the child between those of the parent.",
                got=f"none from {Path(self.child).name} along {self.child_axis}",
                do="give the zone axis in the child's own axes",
            )
        return main, ghost


def _zone(path: Path, axis: tuple[int, int, int], *, most: float | None = None) -> Float[np.ndarray, "reflection 2"]:
    """Return the reflections of a structure in the plane across an axis, without extinct ones, in 1/Å."""
    import gemmi

    if not any(axis):
        raise SettingsError("a zone axis needs three whole numbers, not all of them 0.", got=str(axis))
    try:
        structure = gemmi.read_small_structure(str(path))
    except (OSError, ValueError, RuntimeError) as error:
        raise FormatError(f"{path} cannot be read as a structure.", got=str(error)) from error
    if not structure.sites or structure.cell.volume <= 1:
        raise FormatError(f"{path} holds no structure.", got=f"{len(structure.sites)} atoms")
    calculator = gemmi.StructureFactorCalculatorX(structure.cell)
    reciprocal = np.array(structure.cell.frac.mat.tolist())
    far = most or 3.0 * max(1.0 / structure.cell.a, 1.0 / structure.cell.b, 1.0 / structure.cell.c)
    edges = (structure.cell.a, structure.cell.b, structure.cell.c)
    ranges = [range(-int(far * edge) - 1, int(far * edge) + 2) for edge in edges]
    found, strength = [], []
    for hkl in itertools.product(*ranges):
        if sum(u * h for u, h in zip(axis, hkl, strict=True)) or not any(hkl):
            continue
        place = np.array(hkl) @ reciprocal
        if np.linalg.norm(place) <= far:
            found.append(place)
            strength.append(abs(calculator.calculate_sf_from_small_structure(structure, list(hkl))))
    if not found:
        raise FormatError(f"{path} has no reflections along {axis}.")
    direction = np.array(structure.cell.orth.mat.tolist()) @ np.array(axis, dtype=np.float64)
    places, height = np.array(found), np.array(strength)
    first = np.cross(direction, [0.3, 0.5, 0.8])
    first /= np.linalg.norm(first)
    second = np.cross(direction / np.linalg.norm(direction), first)
    flat: Float[np.ndarray, "reflection 2"] = places @ np.stack([first, second], axis=1)
    kept: Float[np.ndarray, "reflection 2"] = flat[height > ALLOWED * height.max()]
    return kept


def _shortest(reflections: Float[np.ndarray, "reflection 2"]) -> Float[np.ndarray, "2 2"]:
    """Return the two shortest reflections that are not along each other."""
    order = reflections[np.argsort(np.hypot(*reflections.T), kind="stable")]
    for other in order[1:]:
        if abs(order[0, 0] * other[1] - order[0, 1] * other[0]) > 0.3 * np.hypot(*order[0]) * np.hypot(*other):
            return np.stack([order[0], other])
    raise SettingsError("The parent's reflections span a plane.", got="all along one line")


def _variants(
    child: Float[np.ndarray, "reflection 2"], basis: Float[np.ndarray, "2 2"]
) -> list[Float[np.ndarray, "reflection 2"]]:
    """Return the child turned and mirrored in every way that puts all its strong near reflections on half positions."""
    lengths = np.hypot(*child.T)
    near = child[np.argsort(lengths, kind="stable")][:24]
    found = []
    for start, flip, (h, k) in itertools.product(near[:6], (1.0, -1.0), itertools.product(range(-2, 3), repeat=2)):
        target = np.array([h, k]) @ basis / 2.0
        length = np.hypot(*target)
        if length == 0 or abs(np.hypot(*start) / length - 1.0) > MATCH:
            continue
        mirror = np.array([1.0, flip])
        turn = np.arctan2(target[1], target[0]) - np.arctan2(start[1] * flip, start[0])
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        exact = (near * mirror) @ rotation @ np.linalg.inv(basis / 2.0)
        if (np.abs(exact - np.rint(exact)).max(axis=1) < 0.15).all():
            found.append((child * mirror) @ rotation)
    return found
