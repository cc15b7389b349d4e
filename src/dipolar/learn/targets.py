"""What regressors are to tell, of cells and between them: displacement and cell parameters in network units."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int32, Int64
from scipy.spatial import cKDTree

from dipolar.core.errors import SettingsError
from dipolar.core.flags import DOUBTFUL_CELL, has
from dipolar.core.learning import NETWORK_CELL_PX, TARGETS
from dipolar.core.nouns import Cells

GAMMA_UNIT_DEG = 10.0
"""Degrees per unit of the target `gamma`: all targets are then of like size."""
CORNER = -0.25
"""Weight of a corner column in the displacement; the central column has 1."""
EDGE_A, EDGE_B = np.array([-0.5, 0.5, -0.5, 0.5]), np.array([-0.5, -0.5, 0.5, 0.5])
"""Weights of the corners (origin, +a, +b, +a+b) in the mean edges a and b."""


def cell_targets(
    cells: Cells, *, scale: float
) -> tuple[Float[np.ndarray, "cell target"], Float[np.ndarray, "cell target"]]:
    """Return what is to be learned of every cell, and one standard error of each, in the order of `TARGETS`.

    Displacement in network px; lengths of the edges a and b over `NETWORK_CELL_PX` minus 1; the angle between them
    minus 90°, in units of 10°; area over `NETWORK_CELL_PX`² minus 1. Cells whose geometry is doubtful are nan: nobody
    should learn from a bad fit.

    Parameters
    ----------
    cells
        Measured or true cells, in image px. The displacement is in their basis.
    scale
        Network px per image px.
    """
    a, b = cells.a_px, cells.b_px
    along = np.sum(a * b, axis=1)
    area = _area_px2(cells)
    unit, unit_area = scale / NETWORK_CELL_PX, (scale / NETWORK_CELL_PX) ** 2
    values = [
        *(cells.displacement_px * scale).T,
        np.linalg.norm(a, axis=1) * unit - 1.0,
        np.linalg.norm(b, axis=1) * unit - 1.0,
        (np.degrees(np.arctan2(area, along)) - 90.0) / GAMMA_UNIT_DEG,
        area * unit_area - 1.0,
    ]
    sigma = [
        *(np.sqrt(np.einsum("nii->ni", cells.covariance_px2)) * scale).T,
        cells.a_sigma_px * unit,
        cells.b_sigma_px * unit,
        cells.gamma_sigma_deg / GAMMA_UNIT_DEG,
        cells.area_sigma_px2 * unit_area,
    ]
    known = usable(cells)[:, None]
    return np.where(known, np.stack(values, axis=1), np.nan), np.where(known, np.stack(sigma, axis=1), np.nan)


def usable(cells: Cells) -> Bool[np.ndarray, " cell"]:
    """Return the cells to learn from: no flag on their geometry, displacement and edges known."""
    known = [np.isfinite(part).all(axis=1) for part in (cells.displacement_px, cells.a_px, cells.b_px)]
    return np.logical_and.reduce(known) & ~has(cells.flags, DOUBTFUL_CELL)


def sliding_targets(
    points_px: Float[np.ndarray, "point 2"],
    cells: Cells,
    *,
    scale: float,
    nearest: int = 4,
    maximal_cells: float = 1.5,
) -> tuple[Float[np.ndarray, "point target"], Float[np.ndarray, "point target"]]:
    """Return what is to be learned at any point, and one standard error of each, in the order of `TARGETS`.

    The mean over the nearest usable cells, as in the published work, and of these only over those within a maximal
    distance: over fewer of them at the rim of a crystal, nan where there are none.

    Neighbouring cells share corner columns. An error of a shared corner goes into both displacements alike, so that
    the mean is worse than that of independent cells; in edges that continue one another it cancels. Sigma takes
    account of it, as if all columns of a cell were known equally well and the cell were nearly square.

    Parameters
    ----------
    points_px
        Where, (y, x) in image px.
    cells
        Measured or true cells, in image px.
    scale
        Network px per image px.
    nearest
        Number of cells in the mean.
    maximal_cells
        How far away they may be, in edges of a cell.

    Raises
    ------
    SettingsError
        If `nearest` or `maximal_cells` leaves no cell to average.
    """
    if nearest < 1 or maximal_cells <= 0:
        raise SettingsError(
            "targets between cells need at least one cell and a distance above 0.",
            got=f"nearest={nearest}, maximal_cells={maximal_cells:g}",
            do="nearest=4, maximal_cells=1.5",
        )
    values, sigma = cell_targets(cells, scale=scale)
    chosen = _nearest(points_px, cells, count=nearest, maximal_cells=maximal_cells)
    there = (chosen >= 0)[:, :, None]
    number = there.sum(axis=1).astype(float)
    number[number == 0] = np.nan
    if not len(cells.flags):
        nothing = np.full((len(points_px), len(TARGETS)), np.nan)
        return nothing, nothing.copy()
    mean = np.where(there, values[chosen], 0.0).sum(axis=1) / number
    return mean, _sigma_of_mean(np.where(there, sigma[chosen], 0.0), cells.corners[chosen]) / number


def _area_px2(cells: Cells) -> Float[np.ndarray, " cell"]:
    return np.abs(cells.a_px[:, 0] * cells.b_px[:, 1] - cells.a_px[:, 1] * cells.b_px[:, 0])


def _nearest(
    points_px: Float[np.ndarray, "point 2"], cells: Cells, *, count: int, maximal_cells: float
) -> Int64[np.ndarray, "point nearest"]:
    """Return the rows of the nearest usable cells; -1 where there are not so many within the distance."""
    rows = np.flatnonzero(usable(cells))
    if not len(rows) or not len(points_px):
        return np.full((len(points_px), count), -1)
    reach_px = maximal_cells * float(np.median(np.sqrt(_area_px2(cells)[rows])))
    tree = cKDTree(cells.positions_px[rows])
    _, found = tree.query(points_px, k=range(1, count + 1), distance_upper_bound=reach_px)
    return np.append(rows, -1)[found]  # what is not found has the number after the last


def _sigma_of_mean(
    sigma: Float[np.ndarray, "point nearest target"], corners: Int32[np.ndarray, "point nearest 4"]
) -> Float[np.ndarray, "point target"]:
    """Return the standard error of the sum of correlated targets."""
    variance = np.sum(sigma**2, axis=1)
    for one, other in combinations(range(sigma.shape[1]), 2):
        first, second = corners[:, one, :, None], corners[:, other, None, :]
        shared = ((first == second) & (first >= 0)).astype(float)
        displacement = np.einsum("pkm->p", shared) * CORNER**2 / (1.0 + 4.0 * CORNER**2)
        a, b = (np.einsum("pkm,k,m->p", shared, edge, edge) / np.sum(edge**2) for edge in (EDGE_A, EDGE_B))
        both = 0.5 * (a + b)  # in a nearly square cell, angle and area know both edges equally
        correlation = np.stack([displacement, displacement, a, b, both, both], axis=1)
        variance += 2.0 * correlation * sigma[:, one] * sigma[:, other]
    return np.sqrt(np.maximum(variance, 0.0))
