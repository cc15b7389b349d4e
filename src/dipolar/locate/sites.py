"""Where the sites of a motif lie in a lattice that was found, cell by cell."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int8, Int32
from scipy.spatial import cKDTree

from dipolar.core.motif import Motif, row_of
from dipolar.locate.index import Indexed

LEAST_SHARE = 1e-3
"""Weight of a corner that has none by its distance, so that a missing corner can be told by the others."""
SUPPORTERS = 2
"""Corners of the frame that must stand around a place; the crystal ends where there are fewer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """Where columns are expected, one row per place."""

    points_px: Float[np.ndarray, "place 2"]
    """Where, (y, x)."""
    site: Int8[np.ndarray, " place"]
    """Which site of the motif."""
    cell: Int32[np.ndarray, "place 2"]
    """Lattice index (steps of a, steps of b)."""
    grain: Int32[np.ndarray, " place"]
    """Crystal that `cell` counts in."""

    def take(self, rows: Bool[np.ndarray, " place"]) -> Places:
        """Return some of the places."""
        return Places(
            points_px=self.points_px[rows], site=self.site[rows], cell=self.cell[rows], grain=self.grain[rows]
        )


def predict_places(found: Indexed, motif: Motif, *, shape: tuple[int, int], margin_px: float) -> Places:
    """Return the places of all sites in all cells that have corners in the image.

    Each corner of a cell tells, with the lattice around it, where the sites of that cell are, and those of the cells
    around tell it in case of need; the mean is weighted as in a bilinear interpolation, so that a bent lattice is
    followed.

    Parameters
    ----------
    found
        The columns of the frame, which stand at the corners; steps and index count in a and b.
    motif
        The sites.
    shape, margin_px
        Size of the image, and how far inside it a place must lie.
    """
    points, keys, weights = [], [], []
    around = list(itertools.product((-1, 0, 1), (-1, 0, 1)))
    for (number, site), corner in itertools.product(enumerate(motif.sites), around):
        off = np.array(site.place) - corner
        if np.abs(off).max() > 1.0:
            continue
        points.append(found.points_px + np.einsum("s,nsd->nd", off, found.steps_px))
        cell = found.index - np.array(corner)
        keys.append(np.column_stack([found.grain, cell, np.full(len(cell), number)]))
        share = float(np.prod(np.maximum(1.0 - np.abs(off), 0.0))) + LEAST_SHARE
        weights.append(np.full(len(cell), share))
    key, group, count = np.unique(np.concatenate(keys), axis=0, return_inverse=True, return_counts=True)
    group, weight = group.reshape(-1), np.concatenate(weights)
    total = np.bincount(group, weights=weight)
    where = np.concatenate(points)
    mean = np.column_stack([np.bincount(group, weights=weight * where[:, k]) / total for k in (0, 1)])
    inside = np.all((mean >= margin_px) & (mean <= np.array(shape) - 1 - margin_px), axis=1)
    keep = inside & (count >= SUPPORTERS)
    return Places(
        points_px=mean[keep],
        site=key[keep, 3].astype(np.int8),
        cell=key[keep, 1:3].astype(np.int32),
        grain=key[keep, 0].astype(np.int32),
    )


def like_neighbours_off_px(places: Places, positions_px: Float[np.ndarray, "place 2"]) -> Float[np.ndarray, " place"]:
    """Return the distance of each column from the middle of its like neighbours along a and along b; 0 without."""
    off = np.zeros(len(positions_px))
    for step in (np.array([1, 0]), np.array([0, 1])):
        ahead, behind = (
            row_of(places.grain, places.cell, places.site, (places.grain, places.cell + sign * step, places.site))
            for sign in (1, -1)
        )
        both = (ahead >= 0) & (behind >= 0)
        middle = 0.5 * (positions_px[ahead[both]] + positions_px[behind[both]])
        off[both] = np.maximum(off[both], np.linalg.norm(positions_px[both] - middle, axis=1))
    return off


def hole_px(motif: Motif, cell_px: Float[np.ndarray, "2 2"]) -> float:
    """Return the radius of the largest hole between the columns of a perfect crystal."""
    shifts = np.array(list(itertools.product((-1, 0, 1), (-1, 0, 1))))
    columns = (motif.places()[:, None, :] + shifts[None]).reshape(-1, 2) @ cell_px
    ticks = np.arange(24) / 24
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2) @ cell_px
    return float(np.max(cKDTree(columns).query(grid)[0]))
