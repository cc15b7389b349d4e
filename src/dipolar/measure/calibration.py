"""Pixel sizes and shear of a scan, calibrated on a crystal whose cell is known; cells as a true scan shows them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse
from jaxtyping import Float

from dipolar.core.errors import CalibrationError
from dipolar.core.findings import ScanCalibration
from dipolar.core.nouns import Cells, Columns
from dipolar.measure.linear import covariance_of
from dipolar.measure.propagate import EDGE_A, EDGE_B, cell_covariance, cell_sigmas
from dipolar.measure.reference import Region, inside, trusted


def calibrate_scan(
    cells: Cells,
    columns: Columns,
    *,
    lattice_pm: float | tuple[float, float],
    region: Region | None = None,
) -> ScanCalibration:
    """Return pixel sizes along y and x, and the shear, that make the cell of a region what it is known to be.

    The fast scan direction is taken as true and straight, drift as even: then y_true = s_y y and x_true = s_x x +
    shear · s_y y, three numbers for the two edges and the right angle. With M the mean edges (columns b, a; rows y, x)
    over the known lengths, the lower triangular matrix T with T M Mᵀ Tᵀ = 1 is unique: the inverse of the Cholesky
    factor of M Mᵀ. The rotation of the crystal stays free.

    Parameters
    ----------
    cells
        Measured cells, in pixels of the image.
    columns
        The columns they were built from.
    lattice_pm
        Edge of the square cell, or the edges (b, a) of a rectangular one.
    region
        Where the crystal is known, usually substrate; the whole image unless given.

    Raises
    ------
    CalibrationError
        If there are no cells to measure.
    """
    edges = (float(lattice_pm), float(lattice_pm)) if isinstance(lattice_pm, (int, float)) else lattice_pm
    used = inside(cells, region) & trusted(cells)
    if not used.any() or min(edges) <= 0:
        where = "the image" if region is None else "{}:{},{}:{}".format(*region)
        raise CalibrationError(
            "the scan is calibrated on unit cells without flags, whose edges are known and more than 0 pm.",
            got=f"{np.count_nonzero(used)} cells in {where}; edges of {edges[0]:g} and {edges[1]:g} pm",
            do="choose a larger region of a crystal whose lattice parameter is known",
        )
    mean = np.stack([cells.b_px[used].mean(axis=0), cells.a_px[used].mean(axis=0)], axis=1)
    covariance = _edge_covariance(cells, columns, used)
    values = _triangle(mean, edges)
    slopes = np.zeros((3, 4))
    for k in range(4):  # the step is far above rounding and far below what bends
        step = np.zeros(4)
        step[k] = 1e-4
        ahead, behind = (_triangle(mean + sign * step.reshape(2, 2), edges) for sign in (1.0, -1.0))
        slopes[:, k] = (ahead - behind) / 2e-4
    sigma = np.sqrt(np.diag(slopes @ covariance @ slopes.T))
    return ScanCalibration(
        pixel_size_y_pm=float(values[0]),
        pixel_size_x_pm=float(values[1]),
        shear=float(values[2]),
        pixel_size_y_sigma_pm=float(sigma[0]),
        pixel_size_x_sigma_pm=float(sigma[1]),
        shear_sigma=float(sigma[2]),
        lattice_pm=(float(edges[0]), float(edges[1])),
        region_px=region,
        cells=int(np.count_nonzero(used)),
    )


def _triangle(mean_px: Float[np.ndarray, "2 2"], edges_pm: tuple[float, float]) -> Float[np.ndarray, "3"]:
    """Return (size_y, size_x, shear) from the mean edges (rows y, x; columns b, a)."""
    known = mean_px / np.array(edges_pm)
    true = np.linalg.inv(np.linalg.cholesky(known @ known.T))
    return np.array([true[0, 0], true[1, 1], true[1, 0] / true[0, 0]])


def _edge_covariance(cells: Cells, columns: Columns, used: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """Return the covariance of the mean edges, in the order (b_y, a_y, b_x, a_x)."""
    rows = np.flatnonzero(used)
    total = np.zeros((2, len(columns.flags)))
    for k in range(4):
        for edge, weights in enumerate((EDGE_B, EDGE_A)):
            total[edge] += np.bincount(cells.corners[rows, k], minlength=total.shape[1]) * weights[k] / len(rows)
    weights = scipy.sparse.csr_matrix(np.vstack([total, total.sum(axis=0)]))
    blocks = covariance_of(weights, columns)
    result = np.zeros((4, 4))
    for i in (0, 1):
        for j in (0, 1):
            # from the variances of b, a and b + a follows the covariance of b and a
            between = 0.5 * (blocks[2] - blocks[0] - blocks[1])[i, j]
            result[2 * i, 2 * j], result[2 * i + 1, 2 * j + 1] = blocks[0][i, j], blocks[1][i, j]
            result[2 * i, 2 * j + 1] = result[2 * i + 1, 2 * j] = between
    return result


def straighten(cells: Cells, columns: Columns, calibration: ScanCalibration) -> Cells:
    """Return the cells with displacement, edges and their sigma as a true scan would show them.

    Lengths are in pixels of the fast direction, whose size becomes that of the cells. Positions stay where the cells
    are in the image, so that maps still lie on it; the offset of a reference, if taken off before, is turned with the
    displacement.

    Parameters
    ----------
    cells
        Measured cells, in pixels of the image.
    columns
        The columns they were built from.
    calibration
        From `calibrate_scan`.
    """
    true = calibration.straighten
    joint = cell_covariance(columns, cells.corners, cells.center)
    joint = np.einsum("ik,npkql,jl->npiqj", true, joint, true, optimize=True)
    a, b = cells.a_px @ true.T, cells.b_px @ true.T
    sigmas = cell_sigmas(a, b, joint)
    return replace(
        cells,
        displacement_px=cells.displacement_px @ true.T,
        covariance_px2=true @ cells.covariance_px2 @ true.T,
        a_px=a,
        b_px=b,
        a_sigma_px=sigmas.a_px,
        b_sigma_px=sigmas.b_px,
        gamma_sigma_deg=sigmas.gamma_deg,
        area_sigma_px2=sigmas.area_px2,
        pixel_size_pm=calibration.pixel_size_x_pm,
    )
