"""The unit cell in the plane: its lattice from the image, its conventional vectors, and how a motif lies in it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Float32

from dipolar.core.errors import ImageError
from dipolar.core.motif import Motif
from dipolar.locate.fold import MeanCell, heights_at
from dipolar.locate.lattice import find_cell, reduce_basis

SQUARE = 1.15
"""Edges whose lengths differ by less than this factor are taken for equal."""
WORST_FIT = 0.12
"""Difference of edge ratio or cosine that scan distortion may make."""


def unit_cell(data: Float32[np.ndarray, "y x"], valid: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, "2 2"]:
    """Return the shortest, most orthogonal vectors (y, x) after which the whole image repeats, as rows a and b.

    a points right and b down where the edges are alike; of an oblong cell a is the short edge.

    Raises
    ------
    NoLatticeError
        Where nothing repeats.
    """
    return conventional(*find_cell(data, valid))


def conventional(first: Float[np.ndarray, "2"], second: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2 2"]:
    """Return the reduced basis as rows a and b: the short edge first unless both are alike, right-handed on screen.

    With a to the right, b points down; the sense of rotation from a to b is always that from right to down.
    """
    a, b = reduce_basis(first, second)
    if np.linalg.norm(b) < SQUARE * np.linalg.norm(a) and abs(a[0]) > abs(a[1]):
        a, b = b, a
    if a[1] < 0 or (a[1] == 0 and a[0] < 0):
        a = -a
    if a[1] * b[0] - a[0] * b[1] < 0:
        b = -b
    return np.stack([a, b])


def orientations() -> list[Float[np.ndarray, "2 2"]]:
    """Return the integer matrices of determinant ±1 that turn, mirror or shear one basis of a lattice into another.

    Rows are the new vectors in terms of the old ones; the eight that only turn and mirror come first.
    """
    found = [
        np.array([[p, q], [r, s]], dtype=float)
        for p, q, r, s in itertools.product((-1, 0, 1), repeat=4)
        if abs(p * s - q * r) == 1
    ]
    return sorted(found, key=lambda m: float(np.abs(m).sum()))


def fit_motif(motif: Motif, cell_px: Float[np.ndarray, "2 2"], mean: MeanCell) -> Motif:
    """Return the motif with its sites in terms of the cell found in the image.

    The projected cell is turned, mirrored or sheared by whole lattice vectors so that its edges have the ratio and the
    angle of those found, to within what scan distortion does to them; of the ways left, the one whose sites lie where
    the mean cell is highest. How high each should be is not asked: that depends on the contrast.

    Parameters
    ----------
    motif
        The unit cell as a structure file has it.
    cell_px
        The cell found, a and b as rows (y, x).
    mean
        The mean of all cells of the image.

    Raises
    ------
    ImageError
        If no way of laying the motif into the cell fits its edges and angle.
    """
    ideal = vectors_pm(motif)
    best, best_score = None, -np.inf
    for turn in orientations():
        if np.isfinite(ideal).all() and _mismatch(turn @ ideal, cell_px) > WORST_FIT:
            continue
        # a position p in the old basis is p @ turn^-1 in the new one
        places = np.round((motif.places() @ np.linalg.inv(turn)) % 1.0, 9) % 1.0
        score = float(heights_at(mean, places).sum())
        if score > best_score + 1e-6:
            best, best_score = (turn, places), score
    if best is None:
        found = np.linalg.norm(cell_px, axis=1)
        raise ImageError(
            f"the cell of {motif.name} was expected in the image.",
            got=f"a cell of {found[0]:.1f} × {found[1]:.1f} px (ratio {found[1] / found[0]:.3f}), where the structure "
            f"has {motif.a_pm:.0f} × {motif.b_pm:.0f} pm at {motif.gamma_deg:.1f}°",
            do="check the zone axis, or give the structure in its smallest (pseudocubic) cell",
        )
    turn, places = best
    sites = tuple(replace(site, place=(float(u), float(v))) for site, (u, v) in zip(motif.sites, places, strict=True))
    a, b = turn @ ideal
    cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
    return replace(
        motif,
        sites=sites,
        a_pm=float(np.hypot(*a)),
        b_pm=float(np.hypot(*b)),
        gamma_deg=float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))),
    )


def vectors_pm(motif: Motif) -> Float[np.ndarray, "2 2"]:
    """Return the cell vectors of a motif as rows (y, x), a to the right and b down; nan where lengths are unknown."""
    angle = np.radians(motif.gamma_deg)
    return np.array([[0.0, motif.a_pm], [motif.b_pm * np.sin(angle), motif.b_pm * np.cos(angle)]])


def _mismatch(ideal: Float[np.ndarray, "2 2"], cell_px: Float[np.ndarray, "2 2"]) -> float:
    """Return the relative difference of edge ratio and of the angle between two cells of any scale."""

    def shape(cell: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "2"]:
        lengths = np.linalg.norm(cell, axis=1)
        return np.array([np.log(lengths[1] / lengths[0]), cell[0] @ cell[1] / (lengths[0] * lengths[1])])

    return float(np.abs(shape(ideal) - shape(cell_px)).max())
