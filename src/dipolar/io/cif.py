"""Structure files (CIF) → the projected unit cell that a microscope sees along a zone axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from dipolar.core.elements import symbols_of
from dipolar.core.errors import SettingsError
from dipolar.core.motif import Motif, Role, Site
from dipolar.io.structure_cif import read_cif_atoms

ANIONS = frozenset({"O", "F", "Cl", "Br", "I", "S", "Se", "Te", "N", "H", "D"})
"""Elements whose columns have the role of oxygen."""
EXPONENT = 1.7
"""Heights of columns in dark field go as the sum of Z to this power (Pennycook; Hartel et al. 1996: 1.6 to 1.9)."""
SAME_COLUMN_PM = 40.0
"""Atoms that project closer than this are one column, at their mean place weighted by intensity."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Atoms:
    """Atoms of one unit cell."""

    lattice_pm: Float[np.ndarray, "3 3"]
    """Cell vectors as rows."""
    fractional: Float[np.ndarray, "atom 3"]
    elements: tuple[str, ...]
    weight: Float[np.ndarray, " atom"]
    """Occupancy × Z to the power of `EXPONENT`."""


def read_motif(path: str | Path, *, zone_axis: tuple[int, int, int] = (1, 0, 0)) -> Motif:
    """Return the projected unit cell of a structure file: its columns along a zone axis, with expected heights.

    The two-dimensional lattice is that of all lattice points seen along the axis; its shortest vectors are the cell.
    Atoms that project onto each other are one column. The strongest stands at (0, 0); columns of cations are A and B by
    their strength, where there are two of them, and those of anions alone have the role of oxygen.

    Parameters
    ----------
    path
        A CIF file of one structure.
    zone_axis
        The direction [u v w] along which the specimen is seen, in the axes of the file.

    Raises
    ------
    FormatError
        If the file cannot be read, or holds no structure.
    SettingsError
        If the zone axis is no direction.
    """
    if not any(zone_axis):
        raise SettingsError("a zone axis needs three whole numbers, not all of them 0.", got=str(zone_axis))
    atoms = _read(Path(path))
    basis = _seen_along(np.array(zone_axis) // math.gcd(*zone_axis))
    flat = _flat(basis @ atoms.lattice_pm)
    places = (atoms.fractional @ np.linalg.inv(basis))[:, :2]
    first, second = flat
    turn = _reduce(first, second)
    cell = turn @ flat
    columns = _columns(atoms, places @ np.linalg.inv(turn), cell)
    axis = " ".join(str(n) for n in zone_axis)
    lengths = np.linalg.norm(cell, axis=1)
    return Motif(
        name=f"{Path(path).name} along [{axis}]",
        sites=_named(columns),
        a_pm=float(lengths[0]),
        b_pm=float(lengths[1]),
        gamma_deg=float(np.degrees(np.arccos(cell[0] @ cell[1] / lengths.prod()))),
    )


def _read(path: Path) -> _Atoms:
    atoms = read_cif_atoms(path)
    return _Atoms(
        lattice_pm=atoms.lattice_pm,
        fractional=atoms.fractional,
        elements=symbols_of(atoms.numbers),
        weight=atoms.occupancy * atoms.numbers**EXPONENT,
    )


def _seen_along(axis: Int64[np.ndarray, "3"]) -> Int64[np.ndarray, "3 3"]:
    """Return a basis of the lattice (rows, determinant ±1) whose last vector is the axis.

    With f the shortest lattice vector along (u, v, 0) = g f, the axis is g f + w c; Euclid's algorithm completes f
    within the plane of a and b, and then the axis within that of f and c.
    """
    u, v, w = axis.tolist()
    if u == v == 0:
        return np.array([[1, 0, 0], [0, 1, 0], [0, 0, w]])
    g, s, t = _euclid(u, v)
    _, p, q = _euclid(g, w)
    return np.array([[-t, s, 0], [-q * (u // g), -q * (v // g), p], [u, v, w]])


def _euclid(a: int, b: int) -> tuple[int, int, int]:
    """Return the greatest common divisor g of two numbers, and s, t with s a + t b = g."""
    if b == 0:
        return abs(a), (1 if a >= 0 else -1), 0
    g, s, t = _euclid(b, a % b)
    return g, t, s - (a // b) * t


def _flat(vectors_pm: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "2 2"]:
    """Return the first two vectors as seen along the third: rows (x, y) in the plane across it."""
    along = vectors_pm[2] / np.linalg.norm(vectors_pm[2])
    across = vectors_pm[:2] - np.outer(vectors_pm[:2] @ along, along)
    x = across[0] / np.linalg.norm(across[0])
    return across @ np.stack([x, np.cross(along, x)], axis=1)


def _reduce(first: Float[np.ndarray, "2"], second: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2 2"]:
    """Return the integer matrix that makes the shortest basis of a lattice, the shorter vector first (Gauss)."""
    basis, turn = np.stack([first, second]), np.eye(2)
    for _ in range(50):
        if basis[0] @ basis[0] > basis[1] @ basis[1] * (1 + 1e-9):
            basis, turn = basis[::-1], turn[::-1]
        times = np.rint(basis[0] @ basis[1] / (basis[0] @ basis[0]))
        if times == 0:
            break
        shear = np.array([[1.0, 0.0], [-times, 1.0]])
        basis, turn = shear @ basis, shear @ turn
    return turn.copy()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    place: tuple[float, float]
    weight: float
    elements: tuple[str, ...]


def _columns(atoms: _Atoms, places: Float[np.ndarray, "atom 2"], cell_pm: Float[np.ndarray, "2 2"]) -> list[_Column]:
    """Return the columns, strongest first, the places of atoms that project onto each other taken together."""
    left = list(np.argsort(-atoms.weight, kind="stable"))
    columns = []
    while left:
        seed = places[left[0]]
        off = (places[left] - seed + 0.5) % 1.0 - 0.5
        near = np.linalg.norm(off @ cell_pm, axis=1) < SAME_COLUMN_PM
        members = [k for k, mine in zip(left, near, strict=True) if mine]
        weight = atoms.weight[members]
        place = (seed + weight @ off[near] / weight.sum()) % 1.0
        columns.append(
            _Column(
                place=(float(place[0]), float(place[1])),
                weight=float(weight.sum()),
                elements=tuple(dict.fromkeys(atoms.elements[k] for k in members)),
            )
        )
        left = [k for k, mine in zip(left, near, strict=True) if not mine]
    return sorted(columns, key=lambda column: -column.weight)


def _named(columns: list[_Column]) -> tuple[Site, ...]:
    """Return the columns as sites, the strongest at (0, 0), with names that are used once."""
    cations = [k for k, column in enumerate(columns) if not ANIONS.issuperset(column.elements)]
    roles: dict[int, Role] = {k: "O" for k in range(len(columns)) if k not in cations}
    if len(cations) == 2:
        roles |= {cations[0]: "A", cations[1]: "B"}
    origin, strongest = np.array(columns[0].place), columns[0].weight
    names = [
        "/".join(e for e in column.elements if k not in cations or e not in ANIONS) for k, column in enumerate(columns)
    ]
    sites = []
    for k, column in enumerate(columns):
        same = [j for j, name in enumerate(names) if name == names[k]]
        u, v = np.round((np.array(column.place) - origin) % 1.0, 6) % 1.0
        sites.append(
            Site(
                name=names[k] if len(same) == 1 else f"{names[k]}{same.index(k) + 1}",
                role=roles.get(k, "other"),
                place=(float(u), float(v)),
                intensity=column.weight / strongest,
            )
        )
    return tuple(sites)
