"""A polar structure and its parent → off-centring of polyhedra, dipoles, and what a microscope sees of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dipolar.core.elements import atomic_number, symbols_of
from dipolar.core.errors import SettingsError, StructureError
from dipolar.core.material import ELEMENTARY_CHARGE_UC, PM2_PER_CM2
from dipolar.core.structure import cartesian_pm, square_edges_pm, volume_pm3
from dipolar.measure.matching import Pair
from dipolar.measure.shells import columns_of, nearest_rows, neighbours, no_such

NEUTRAL_E = 0.05
"""A dipole of more net charge than this depends on the origin; published Born charges add up to zero to within it."""
Charges = Mapping[str, float] | Float[np.ndarray, "atom 3 3"]
"""Charges by element in elementary charges, nominal or Born; or the Born tensors of the atoms of the polar structure,
``charges[atom, i, j]`` for the dipole along i of a displacement along j, in the frame of the pair."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OffCentres:
    """Where atoms stand against their neighbours, one row each."""

    what: str
    """In words: "Fe against 6 O"."""
    positions_pm: Float[np.ndarray, "row axis"]
    """The mean of the neighbours, on the origin of the parent; (y, x, z) or (y, x) in the frame of an image."""
    vectors_pm: Float[np.ndarray, "row axis"]
    """Atom minus that mean, in the same order."""
    parent_pm: Float[np.ndarray, "row axis"]
    """The same in the parent, on the polar lattice; 0 where its symmetry says so."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dipoles:
    """Dipoles of parts of a crystal, one row each."""

    positions_pm: Float[np.ndarray, "row 3"]
    """The atom in the middle, in the parent, in the frame of the structure."""
    vectors_e_pm: Float[np.ndarray, "row 3"]
    """Charge times displacement, in elementary charges times pm, added up over the part."""


def off_centring(pair: Pair, centre: str, ligand: str, *, coordination: int) -> OffCentres:
    """Return how far every atom of an element is from the middle of its polyhedron, for all atoms of the cell.

    Which atoms make the polyhedron is decided in the parent, where it is plain.

    Parameters
    ----------
    pair
        From `dipolar.measure.matching.match_structures`.
    centre, ligand
        Elements: "Fe" and "O".
    coordination
        How many neighbours: 6 for an octahedron, 12 for the cage of A, 8 for that of A about B.

    Raises
    ------
    StructureError
        If the parent's atoms have no such shell of neighbours: the next ones are as near as the last.
    """
    rows, members, images = neighbours(pair.parent, centre, ligand, coordination)
    parent, polar = cartesian_pm(pair.parent), cartesian_pm(pair.parent) + pair.displacement_pm
    shells = [places[members] + images @ pair.parent.lattice_pm for places in (parent, polar)]
    return OffCentres(
        what=f"{centre} against {coordination} {ligand}",
        positions_pm=shells[1].mean(axis=1),
        vectors_pm=polar[rows] - shells[1].mean(axis=1),
        parent_pm=parent[rows] - shells[0].mean(axis=1),
    )


def dipoles(pair: Pair, charges: Charges, *, centre: str, shells: Mapping[str, int]) -> Dipoles:
    """Return the dipole around every atom of an element: Σ Z* u over it and the shells around it.

    An atom that belongs to the shells of several centres counts to each with an equal part of its charge, so that the
    parts add up to the crystal where they cover it: Σ p / V is the polarization.

    Parameters
    ----------
    pair
        From `dipolar.measure.matching.match_structures`.
    charges
        By element, or Born tensors of all atoms.
    centre
        The element in the middle.
    shells
        Number of neighbours by element: ``{"O": 6, "Bi": 8}``.

    Raises
    ------
    StructureError
        If shells are not plain, or the part is not neutral: its dipole would depend on the origin.
    """
    tensors = _tensors(pair, charges)
    rows = np.flatnonzero(pair.parent.numbers == atomic_number(centre))
    moment = np.einsum("nij,nj->ni", tensors[rows], pair.displacement_pm[rows])
    charge = np.trace(tensors[rows], axis1=1, axis2=2) / 3.0
    for ligand, count in shells.items():
        _, members, _ = neighbours(pair.parent, centre, ligand, count)
        shares = np.bincount(members.ravel(), minlength=len(tensors))[members]
        each = np.einsum("nmij,nmj->nmi", tensors[members], pair.displacement_pm[members])
        moment = moment + (each / shares[:, :, None]).sum(axis=1)
        charge = charge + (np.trace(tensors[members], axis1=2, axis2=3) / 3.0 / shares).sum(axis=1)
    if np.abs(charge).max() > NEUTRAL_E:
        raise StructureError(
            "the dipole of a charged part depends on the origin.",
            got=f"{centre} with {_shells(shells)}: {charge[np.abs(charge).argmax()]:+.2f} e",
            do="add the shells that make it neutral, or take polarization_uc_per_cm2 of the whole cell",
        )
    return Dipoles(positions_pm=cartesian_pm(pair.parent)[rows], vectors_e_pm=moment)


def polarization_uc_per_cm2(pair: Pair, charges: Charges) -> Float[np.ndarray, "3"]:
    """Return the polarization Σ Z* u / V of the cell in µC/cm², in the frame of the pair.

    First order in the displacements: R. D. King-Smith, D. Vanderbilt, Phys. Rev. B 47, 1651 (1993). With nominal
    charges it is an estimate: the direction, and the size within a factor of about two.

    Raises
    ------
    SettingsError, StructureError
        If an element has no charge, or the cell is not neutral.
    """
    moment = np.einsum("nij,nj->i", _tensors(pair, charges), pair.displacement_pm)
    return moment * ELEMENTARY_CHARGE_UC * PM2_PER_CM2 / volume_pm3(pair.polar)


def projected_displacements(pair: Pair, centre: str, corners: str) -> OffCentres:
    """Return how far each column of an element is from the mean of its four corner columns, as a microscope sees it.

    A column is what lies behind one another along the beam in the parent; its place is the mean of its atoms. Vectors
    and positions are (y, x), one row per column of the cell.

    Parameters
    ----------
    pair
        Of structures in the frame of an image.
    centre, corners
        Elements: "Fe" and "Bi" for the displacement of B in its A cage.

    Raises
    ------
    StructureError
        If the structures do not lie in the frame of an image, or a column has no four nearest corners.
    """
    square_edges_pm(pair.polar)
    parent = cartesian_pm(pair.parent)[:, :2]
    polar = parent + pair.displacement_pm[:, :2]
    cell = pair.parent.lattice_pm[:2, :2]
    symbols = np.array(symbols_of(pair.parent.numbers))
    middle = columns_of(parent, polar, cell, symbols == centre)
    corner = columns_of(parent, polar, cell, symbols == corners)
    if not len(middle[0]) or not len(corner[0]):
        raise no_such(pair.parent, centre if not len(middle[0]) else corners)
    members, images = nearest_rows(middle[0], corner[0], cell, 4, f"columns of {centre} among columns of {corners}")
    means = [(places[members] + images @ cell).mean(axis=1) for places in corner]
    return OffCentres(
        what=f"columns of {centre} against 4 of {corners}",
        positions_pm=means[1],
        vectors_pm=middle[1] - means[1],
        parent_pm=middle[0] - means[0],
    )


def _tensors(pair: Pair, charges: Charges) -> Float[np.ndarray, "atom 3 3"]:
    """Return the charge tensor of every atom, of mixed places their share.

    Raises
    ------
    SettingsError
        If an element has no charge, or tensors are not one per atom.
    StructureError
        If the cell is not neutral.
    """
    numbers, count = pair.polar.numbers, len(pair.polar.numbers)
    if isinstance(charges, Mapping):
        known = {atomic_number(symbol): float(value) for symbol, value in charges.items()}
        missing = [symbol for symbol in dict.fromkeys(symbols_of(numbers)) if atomic_number(symbol) not in known]
        if missing:
            raise SettingsError(
                "every element needs a charge.", got=f"none for {', '.join(missing)}", do='charges={"O": -2.0, …}'
            )
        values = np.array([known[number] for number in numbers.tolist()])
        tensors = values[:, None, None] * np.eye(3)
    else:
        if charges.shape != (count, 3, 3):
            raise SettingsError(f"{count} tensors of charges were expected.", got=f"an array {charges.shape}")
        tensors = charges
    tensors = tensors * pair.polar.occupancy[:, None, None]
    net = np.trace(tensors.sum(axis=0)) / 3.0
    if abs(net) > NEUTRAL_E / 5.0 * count:
        raise StructureError("charges must add up to nothing.", got=f"{net:+.3g} e in a cell of {count} atoms")
    return tensors


def _shells(shells: Mapping[str, int]) -> str:
    return " and ".join(f"{count} {symbol}" for symbol, count in shells.items())
