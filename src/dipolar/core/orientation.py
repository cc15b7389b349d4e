"""A crystal as it lies in the microscope: a right-angled cell along the beam, up the screen and to the right."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from jaxtyping import Float

from dipolar.core.errors import SettingsError, StructureError
from dipolar.core.structure import Structure, plane_spacings_pm, volume_pm3

STEPS = 10
"""Cell vectors are looked for up to so many cells away in each direction."""
ALONG_DEG = 0.02
"""The third vector of the cell is along the zone axis to within this."""
SAME_PM = 1.0
"""Translations that bring every atom this close to a like one are of the lattice."""
FINEST = 24
"""Such translations are multiples of 1/2, 1/3 … of the cell, no finer than this."""
MANY_ATOMS = 2000
"""Cells with more atoms are taken as they are: nobody writes down so large a cell that is not primitive by accident."""

Direction = tuple[float | int, float | int, float | int]
"""Components [u v w] along three axes."""


def oriented(
    structure: Structure,
    zone: Direction,
    up: Direction,
    *,
    axes: Float[np.ndarray, "3 3"] | None = None,
    tolerance_deg: float = 1.0,
    longest_pm: float = 10_000.0,
) -> Structure:
    """Return the smallest right-angled cell of a crystal that is seen along a zone axis, another direction upright.

    The electrons travel along `zone`: it is the third vector of the cell and points into the specimen, away from who
    looks at the screen. `up`, or what is left of it across the beam, points up the screen. So y, which points down,
    is along -up, and x, to the right, along zone × up: seen along [001] with [010] upright, [100] points to the
    **left**, as it must for one who looks along +z with +y upwards. Nothing is ever mirrored.

    Lattices that are nearly but not quite right-angled, such as that of rhombohedral BiFeO3 (89.46°), are squared:
    edges keep their lengths, atoms their shares of the edges, and `source` says by how much angles were changed.
    Columns along the beam stay columns.

    Parameters
    ----------
    structure
        In the frame of a crystal; centring of its cell is made use of.
    zone, up
        Lattice directions [u v w].
    axes
        Rows are the vectors that `zone` and `up` count in, in shares of the cell; None: the cell vectors themselves.
    tolerance_deg
        How far the edges of the cell may be from where they should be; within it the shortest are taken.
    longest_pm
        No edge is longer than this.

    Raises
    ------
    SettingsError
        If the directions are none, or no such cell exists.
    """
    if structure.frame != "crystal":
        raise SettingsError(
            f"{structure.name} lies in the microscope already.",
            got='frame "image"',
            do="orient the structure as it came from the file, or turned(structure, quarters)",
        )
    basis = np.eye(3) if axes is None else axes
    z, upright = ((np.array(direction) @ basis) @ structure.lattice_pm for direction in (zone, up))
    across = upright - z * (upright @ z) / max(float(z @ z), 1e-30)
    if not (z.any() and np.linalg.norm(across) > 0.01 * np.linalg.norm(upright) > 0):
        raise SettingsError(
            "the beam and what is upright on the screen must be two different directions.",
            got=f"zone {_written(zone)}, up {_written(up)}",
        )
    vectors = _lattice_vectors(structure, longest_pm)
    which = f"with zone {_written(zone)} and up {_written(up)}"
    found = [
        _shortest(structure, vectors, -across, tolerance_deg, f"down, {which}"),
        _shortest(structure, vectors, np.cross(z, across), tolerance_deg, f"right, {which}"),
        # the zone axis is what was asked for, not one near it
        _shortest(structure, vectors, z, min(tolerance_deg, ALONG_DEG), f"the beam, {which}"),
    ]
    edges, off = zip(*found, strict=True)
    cell = _in_cell(structure, np.stack(edges))
    lengths = np.linalg.norm(cell.lattice_pm, axis=1)
    note = f"; seen along {_written(zone)}, {_written(up)} upright"
    note += f", angles changed by {max(off):.2f}° to be right" if max(off) > 0.005 else ""
    return replace(cell, lattice_pm=np.diag(lengths), frame="image", source=structure.source + note)


def _written(direction: Direction) -> str:
    return f"[{' '.join(f'{n:g}' for n in direction)}]"


def centrings(structure: Structure) -> Float[np.ndarray, "translation 3"]:
    """Return translations, in shares of the cell, that leave the crystal as it is: 0 first, of an F cell four."""
    places, zero = structure.fractional % 1.0, np.zeros((1, 3))
    if len(places) > MANY_ATOMS:
        return zero
    kinds, kind = np.unique(np.column_stack([structure.numbers, structure.occupancy]), axis=0, return_inverse=True)
    rows = [np.flatnonzero(kind.ravel() == k) for k in range(len(kinds))]
    rows.sort(key=len)
    found = [zero[0]]
    for target in rows[0][1:]:
        step = places[target] - places[rows[0][0]]
        exact = np.array([float(Fraction(share).limit_denominator(FINEST)) for share in step.tolist()])
        if np.linalg.norm((exact - step) @ structure.lattice_pm) < SAME_PM and all(
            _maps(places[group], exact, structure.lattice_pm) for group in rows
        ):
            found.append(exact % 1.0)
    return np.array(found)


def _maps(places: np.ndarray, step: np.ndarray, lattice_pm: np.ndarray) -> bool:
    """Return whether a translation brings every place to another; the first few tell most often."""
    for start in range(0, len(places), 64):
        apart = (places[start : start + 64, None] + step - places[None] + 0.5) % 1.0 - 0.5
        if np.linalg.norm(apart @ lattice_pm, axis=2).min(axis=1).max() > SAME_PM:
            return False
    return True


def _lattice_vectors(structure: Structure, longest_pm: float) -> Float[np.ndarray, "vector 3"]:
    """Return lattice vectors up to a length, in shares of the cell, the shortest first, without zero."""
    reach = np.minimum(np.ceil(longest_pm / plane_spacings_pm(structure.lattice_pm)), STEPS).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = (steps[:, None] + centrings(structure)[None]).reshape(-1, 3)
    lengths = np.linalg.norm(vectors @ structure.lattice_pm, axis=1)
    order = np.argsort(lengths, kind="stable")
    return vectors[order[(lengths[order] > SAME_PM) & (lengths[order] <= longest_pm)]]


def _shortest(
    structure: Structure,
    vectors: Float[np.ndarray, "vector 3"],
    direction: Float[np.ndarray, "3"],
    tolerance_deg: float,
    what: str,
) -> tuple[Float[np.ndarray, "3"], float]:
    """Return the shortest lattice vector along a direction, in shares of the cell, and its angle to it in degrees."""
    lines = vectors @ structure.lattice_pm
    along = lines @ direction / np.linalg.norm(direction)
    aside = np.linalg.norm(np.cross(lines, direction), axis=1) / np.linalg.norm(direction)
    angle = np.degrees(np.arctan2(aside, along))
    near = np.flatnonzero(angle <= tolerance_deg)
    if not len(near):
        raise SettingsError(
            f"{structure.name} has no right-angled cell that lies so.",
            got=f"no lattice vector within {tolerance_deg:g}° of {what}; the nearest is {angle.min():.2f}° off",
            do="choose an upright direction that is of the lattice, as the one across it must be; or a larger "
            "tolerance_deg or longest_pm",
        )
    return vectors[near[0]], float(angle[near[0]])


def _in_cell(structure: Structure, edges: Float[np.ndarray, "3 3"]) -> Structure:
    """Return the crystal in another of its cells, whose vectors are given as rows in shares of the present one."""
    corners = np.array(np.meshgrid(*([[0, 1]] * 3), indexing="ij")).reshape(3, -1).T @ edges
    low, high = np.floor(corners.min(axis=0)).astype(int) - 1, np.ceil(corners.max(axis=0)).astype(int) + 1
    steps = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    places = (structure.fractional % 1.0)[:, None] + steps.reshape(1, -1, 3)
    places = places @ np.linalg.inv(edges)
    # atoms on the border of the cell are there once, whatever the last digit
    inside = ((places > -1e-7) & (places < 1.0 - 1e-7)).all(axis=2)
    rows = np.nonzero(inside)[0]
    made = replace(
        structure,
        lattice_pm=edges @ structure.lattice_pm,
        fractional=np.maximum(places[inside], 0.0),
        numbers=structure.numbers[rows],
        occupancy=structure.occupancy[rows],
        rms_pm=structure.rms_pm[rows],
    )
    expected = len(structure.numbers) * volume_pm3(made) / volume_pm3(structure)
    if abs(len(rows) - expected) > 0.01:
        raise StructureError(
            f"{structure.name}: a cell of {expected:.6g} atoms was expected.", got=f"{len(rows)} atoms in it"
        )
    return made
