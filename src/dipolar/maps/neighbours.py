"""Which cells are neighbours, and the plane through the displacements around each cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int32

from dipolar.core.flags import DOUBTFUL_CELL, has
from dipolar.core.geometry import cell_edge_px
from dipolar.core.nouns import Cells

RIGHT, LEFT, DOWN, UP, DOWN_RIGHT, UP_LEFT, DOWN_LEFT, UP_RIGHT = range(8)
"""Columns of the table of neighbours: +a, -a, +b, -b, then the diagonals."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planes:
    """The displacement around every cell as ``u(r) = value + slope · (r - position)``."""

    value_px: Float[np.ndarray, "cell 2"]
    """(dy, dx) of the plane at the cell's position; nan with fewer than four cells around."""
    value_covariance_px2: Float[np.ndarray, "cell 2 2"]
    """Its covariance."""
    slope: Float[np.ndarray, "cell 2 2"]
    """``slope[c, s]`` is the change of component c per px along axis s; components and axes in the order y, x."""
    slope_covariance: Float[np.ndarray, "cell 4 4"]
    """Covariance of ``slope`` read row by row."""


def neighbours(cells: Cells) -> Int32[np.ndarray, "cell 8"]:
    """Return the rows of the cells around each cell, -1 where there is none.

    Neighbours share columns: the cell to the right begins at the second corner. This holds around dislocations, where
    row and column do not tell. Cells without links to columns are compared by row and column.
    """
    count = len(cells.flags)
    table = np.full((count + 1, 8), -1, dtype=np.int32)  # the last row serves neighbours of -1
    if count == 0:
        return table[:0]
    linked = bool((cells.corners >= 0).all())
    right, down = _by_corner(cells) if linked else _by_index(cells)
    for there, back, found in ((RIGHT, LEFT, right), (DOWN, UP, down)):
        table[:count, there] = found
        table[found[found >= 0], back] = np.flatnonzero(found >= 0)
    for diagonal, (one, two) in {
        DOWN_RIGHT: (DOWN, RIGHT),
        UP_LEFT: (UP, LEFT),
        DOWN_LEFT: (DOWN, LEFT),
        UP_RIGHT: (UP, RIGHT),
    }.items():
        first, second = table[table[:, one], two], table[table[:, two], one]
        table[:, diagonal] = np.where(first >= 0, first, second)
    table[count] = -1
    return table[:count]


def _by_corner(cells: Cells) -> tuple[Int32[np.ndarray, " cell"], Int32[np.ndarray, " cell"]]:
    begins = np.full(int(cells.corners.max()) + 1, -1, dtype=np.int32)
    begins[cells.corners[:, 0]] = np.arange(len(cells.flags), dtype=np.int32)
    return begins[cells.corners[:, 1]], begins[cells.corners[:, 2]]


def _by_index(cells: Cells) -> tuple[Int32[np.ndarray, " cell"], Int32[np.ndarray, " cell"]]:
    key = np.stack([cells.grain, cells.row - cells.row.min(), cells.col - cells.col.min()], axis=1).astype(np.int64)
    rows, cols = (int(key[:, axis].max()) + 2 for axis in (1, 2))

    def number(at: np.ndarray) -> np.ndarray:
        return (at[:, 0] * rows + at[:, 1]) * cols + at[:, 2]

    order = np.argsort(number(key), kind="stable")
    known = number(key)[order]
    found = []
    for step in ((0, 0, 1), (0, 1, 0)):
        wanted = number(key + step)
        place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        found.append(np.where(known[place] == wanted, order[place], -1).astype(np.int32))
    return found[0], found[1]


def voters(cells: Cells) -> Bool[np.ndarray, " cell"]:
    """Return the cells that count: no flag on their geometry, displacement and sigma known, sigma above zero."""
    variance = np.diagonal(cells.covariance_px2, axis1=1, axis2=2)
    known = np.isfinite(cells.displacement_px).all(axis=1) & np.isfinite(cells.covariance_px2).all(axis=(1, 2))
    return known & (variance > 0).all(axis=1) & ~has(cells.flags, DOUBTFUL_CELL)


def local_planes(cells: Cells, around: Int32[np.ndarray, "cell 8"], *, without_self: bool = False) -> Planes:
    """Return the plane through the displacements of each cell and its eight neighbours, with its covariance.

    Least squares weighted by 1/sigma²; flagged cells have no weight. The covariance follows from that of every cell, as
    the plane is linear in the displacements.

    Parameters
    ----------
    cells
        Measured cells.
    around
        What `neighbours` returned.
    without_self
        Leave the cell itself out, to predict it from the others.
    """
    count = len(cells.flags)
    use = np.append(voters(cells), False)
    rows = np.concatenate([np.arange(count, dtype=np.int32)[:, None], around], axis=1)
    counts = use[rows]
    if without_self:
        counts[:, 0] = False
    counts &= (rows >= 0) | (np.arange(9) == 0)
    displacement = np.nan_to_num(cells.displacement_px)[rows]
    covariance = np.nan_to_num(cells.covariance_px2)[rows]
    weight = np.where(counts, 1.0 / np.maximum(np.trace(covariance, axis1=2, axis2=3) / 2.0, 1e-30), 0.0)
    weight /= np.maximum(weight.max(axis=1, keepdims=True), 1e-300)
    scale = cell_edge_px(cells) if count else 1.0
    away = (cells.positions_px[rows] - cells.positions_px[:, None]) / scale
    design = np.concatenate([np.ones((count, 9, 1)), away], axis=2)
    normal = np.einsum("nk,nki,nkj->nij", weight, design, design)
    good = (counts.sum(axis=1) >= 4) & (np.linalg.det(normal) > 1e-6)
    safe = np.where(good[:, None, None], normal, np.eye(3))
    hat = np.einsum("nij,nkj,nk->nik", np.linalg.inv(safe), design, weight)  # (cell, coefficient, neighbour)
    hat[~good] = np.nan
    plane = np.einsum("nik,nkc->nic", hat, displacement)
    spread = np.einsum("nik,njk,nkcd->nicjd", hat, hat, covariance)
    slope_covariance = spread[:, 1:, :, 1:, :].transpose(0, 2, 1, 4, 3).reshape(count, 4, 4)
    return Planes(
        value_px=plane[:, 0],
        value_covariance_px2=spread[:, 0, :, 0, :],
        slope=plane[:, 1:].transpose(0, 2, 1) / scale,
        slope_covariance=slope_covariance / scale**2,
    )
