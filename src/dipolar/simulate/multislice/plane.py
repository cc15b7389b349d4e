"""The smallest period of a crystal under the beam: its lattice across the beam, and a grid on it.

Only lattice vectors across the beam matter to a wave whose offset in the Brillouin zone is given; a cell that repeats
itself inside is cut down to the smallest one, which may be skew.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float, Int

from dipolar.core.errors import StructureError
from dipolar.core.structure import Structure

SAME_PM = 0.5
"""Atoms that are so near to one another are on the same site."""
SQUARE = 1e-6
"""Largest cosine between two vectors that are called perpendicular."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Period:
    """One period of a crystal, with the beam along z."""

    vectors_pm: Float[np.ndarray, "2 2"]
    """The two shortest lattice vectors across the beam, as rows (y, x)."""
    depth_pm: float
    """Period along the beam."""
    positions_pm: Float[np.ndarray, "atom 3"]
    """Atoms at (y, x, z)."""
    numbers: Int[np.ndarray, " atom"]
    """Their atomic numbers."""
    occupancy: Float[np.ndarray, " atom"]
    """Share of the sites that each is on."""
    rms_pm: Float[np.ndarray, " atom"]
    """Their root mean square thermal displacements along one axis."""

    @property
    def area_pm2(self) -> float:
        """Area of the period across the beam."""
        return abs(float(np.linalg.det(self.vectors_pm)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Pixels of one period, and their spatial frequencies."""

    vectors_pm: Float[np.ndarray, "2 2"]
    """Edges of the period as rows (y, x)."""
    shape: tuple[int, int]
    """Pixels along each of them."""

    @property
    def reciprocal_per_pm(self) -> Float[np.ndarray, "2 2"]:
        """Reciprocal lattice vectors as rows (y, x), without 2π."""
        return np.linalg.inv(self.vectors_pm).T

    @property
    def indices(self) -> Int[np.ndarray, "i j 2"]:
        """Indices of the reflections, in the order of a Fourier transform."""
        one, two = (np.rint(np.fft.fftfreq(size) * size).astype(np.int64) for size in self.shape)
        return np.stack(np.meshgrid(one, two, indexing="ij"), axis=-1)

    @property
    def frequencies_per_pm(self) -> Float[np.ndarray, "i j 2"]:
        """Spatial frequencies (y, x) of the reflections."""
        return self.indices @ self.reciprocal_per_pm

    @property
    def band_per_pm(self) -> float:
        """Spatial frequency up to which products of waves and potentials do not fold: a third of the pixels' own."""
        return float(min(np.array(self.shape) / (3.0 * np.linalg.norm(self.vectors_pm, axis=1))))


def grid_of(period: Period, pixel_pm: float) -> Grid:
    """Return pixels that are no larger than wanted, in numbers that a Fourier transform is fast with."""
    edges = np.linalg.norm(period.vectors_pm, axis=1)
    one, two = (_fast(int(np.ceil(edge / pixel_pm - 1e-9))) for edge in edges)
    return Grid(vectors_pm=period.vectors_pm, shape=(one, two))


def _fast(least: int) -> int:
    """Return the next even number without prime factors above 5."""
    number = max(least + least % 2, 4)
    while True:
        rest = number
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return number
        number += 2


def period_of(structure: Structure) -> Period:
    """Return the smallest period of an oriented structure.

    Parameters
    ----------
    structure
        In the frame of an image, its third lattice vector along the beam, the others across it.

    Raises
    ------
    StructureError
        If it does not lie like this.
    """
    lattice = np.asarray(structure.lattice_pm, dtype=np.float64)
    lean = np.abs(np.concatenate([lattice[:2, 2], lattice[2, :2]])).max()
    if structure.frame != "image" or lean > SAME_PM or lattice[2, 2] <= 0:
        raise StructureError(
            f"{structure.name}: a cell was expected that lies as the microscope sees it, its third vector along the "
            "beam, the others across it.",
            got=f'frame "{structure.frame}", cell vectors {np.round(lattice, 1).tolist()} pm',
            do="oriented(structure, zone, up) first",
        )
    kinds = np.stack([structure.numbers, structure.occupancy, structure.rms_pm], axis=1)
    positions = structure.fractional @ lattice
    moves = _translations(positions, kinds, lattice)
    vectors = _shortest(moves @ lattice[:2, :2], lattice[:2, :2], len(moves))
    kept = _one_of_each(positions, kinds, vectors, float(lattice[2, 2]))
    if len(kept) * len(moves) != len(positions):  # translations within tolerance that together are not
        vectors, kept = lattice[:2, :2], np.arange(len(positions))
    return Period(
        vectors_pm=vectors,
        depth_pm=float(lattice[2, 2]),
        positions_pm=positions[kept],
        numbers=np.asarray(structure.numbers)[kept].astype(np.int64),
        occupancy=np.asarray(structure.occupancy, dtype=np.float64)[kept],
        rms_pm=np.asarray(structure.rms_pm, dtype=np.float64)[kept],
    )


def _translations(
    positions: Float[np.ndarray, "atom 3"], kinds: Float[np.ndarray, "atom 3"], lattice: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "move 2"]:
    """Return the moves across the beam, in the cell's own edges, that leave the crystal as it is; (0, 0) first."""
    _, which, count = np.unique(np.round(kinds, 6), axis=0, return_inverse=True, return_counts=True)
    rare = np.flatnonzero(which.ravel() == np.argmin(count))
    fractional = positions @ np.linalg.inv(lattice)
    found = [np.zeros(2)]
    for atom in rare[1:]:
        step = fractional[atom] - fractional[rare[0]]
        if abs(step[2] - np.rint(step[2])) * lattice[2, 2] > SAME_PM:
            continue
        move = np.array([step[0], step[1], 0.0])
        gap = fractional[None] - (fractional + move)[:, None]
        gap = (gap - np.rint(gap)) @ lattice
        alike = which.ravel()[None] == which.ravel()[:, None]
        if ((np.linalg.norm(gap, axis=2) < SAME_PM) & alike).any(axis=1).all():
            found.append(move[:2] % 1.0)
    return np.array(found)


def _shortest(
    moves: Float[np.ndarray, "move 2"], edges: Float[np.ndarray, "2 2"], many: int
) -> Float[np.ndarray, "2 2"]:
    """Return the two shortest vectors that span the lattice of the moves, the second one to the right of the first."""
    steps = np.array(list(product((-1, 0, 1), repeat=2)), dtype=np.float64) @ edges
    every = (moves[:, None] + steps[None]).reshape(-1, 2)
    every = np.concatenate([every, edges])
    length = np.linalg.norm(every, axis=1)
    every = every[length > SAME_PM]
    # of vectors of the same length, those along the edges of the cell first: nothing is turned without need
    order = np.lexsort((-np.round(every @ edges[1], 3), -np.round(every @ edges[0], 3), np.round(_norm(every), 3)))
    every = every[order]
    area = abs(np.linalg.det(edges)) / many
    for second in every[1:]:
        spanned = float(np.linalg.det(np.stack([every[0], second])))
        if abs(abs(spanned) / area - 1.0) < 1e-3:
            both = np.stack([every[0], second]) if spanned > 0 else np.stack([second, every[0]])
            return both
    return edges


def _norm(vectors: Float[np.ndarray, "row 2"]) -> Float[np.ndarray, " row"]:
    return np.linalg.norm(vectors, axis=1)


def _one_of_each(
    positions: Float[np.ndarray, "atom 3"],
    kinds: Float[np.ndarray, "atom 3"],
    vectors: Float[np.ndarray, "2 2"],
    depth_pm: float,
) -> Int[np.ndarray, " kept"]:
    """Return one atom of each that the vectors make alike."""
    lattice = np.zeros((3, 3))
    lattice[:2, :2], lattice[2, 2] = vectors, depth_pm
    fractional = positions @ np.linalg.inv(lattice)
    kept: list[int] = []
    for atom in range(len(positions)):
        gap = fractional[kept] - fractional[atom]
        near = np.linalg.norm((gap - np.rint(gap)) @ lattice, axis=1) < SAME_PM
        if not (near & (kinds[kept] == kinds[atom]).all(axis=1)).any():
            kept.append(atom)
    return np.array(kept, dtype=np.int64)
