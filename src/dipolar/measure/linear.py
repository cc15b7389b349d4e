"""Sigma of anything linear in the positions of many columns, with what they share: scan rows."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float

from dipolar.core.nouns import Cells, Columns

LOBES = 0.75 * 2.0**0.5
"""Width of the weight along y, t² exp(-(t / (LOBES · reach))²), whose squares sum up to 1 / (2 √π reach)."""
REACH = 4.0
"""A column feels scan rows up to this many standard deviations of its weight away."""


def displacement_weights(cells: Cells, columns: Columns) -> scipy.sparse.csr_matrix:
    """Return the matrix (cell, column) that makes displacements of positions: 1 at the centre, -1/4 at each corner."""
    count = len(cells.flags)
    rows = np.repeat(np.arange(count), 5)
    cols = np.column_stack([cells.center, cells.corners]).ravel()
    values = np.tile([1.0, -0.25, -0.25, -0.25, -0.25], count)
    return scipy.sparse.csr_matrix((values, (rows, cols)), shape=(count, len(columns.flags)))


def row_pull(columns: Columns, axis: int) -> scipy.sparse.csr_matrix:
    """Return the matrix (column, scan row): how far each column moves along `axis` with a shift of each row.

    The fit weighs a shift of each row by the squared slope of the column there. Along x, summed over the row, that is a
    Gaussian of standard deviation `row_reach_px`; along y it is t² times a Gaussian, as the row through the centre
    tells nothing of y, as wide as to have the same sum of squares. The sum is 1: a shift of all rows moves the column
    by as much. Rows run over `row_span`.
    """
    y, reach = columns.positions_px[:, 0], np.maximum(np.nan_to_num(columns.row_reach_px[:, axis], nan=1.0), 0.5)
    first, last = row_span(columns)
    half = int(np.ceil(REACH * reach.max(initial=0.5)))
    lines = np.rint(y).astype(int)[:, None] + np.arange(-half, half + 1)
    off = (lines - y[:, None]) / reach[:, None]
    weight = np.exp(-0.5 * off**2) if axis == 1 else off**2 * np.exp(-((off / LOBES) ** 2))
    weight /= weight.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(y)), lines.shape[1])
    cols = np.clip(lines - first, 0, last - first).ravel()
    return scipy.sparse.csr_matrix((weight.ravel(), (rows, cols)), shape=(len(y), last - first + 1))


def row_span(columns: Columns) -> tuple[int, int]:
    """Return the first and the last scan row that any column feels."""
    y = columns.positions_px[:, 0]
    if not len(y):
        return 0, 0
    half = int(np.ceil(REACH * max(0.5, float(np.nanmax(np.nan_to_num(columns.row_reach_px, nan=1.0))))))
    return int(np.rint(y.min())) - half, int(np.rint(y.max())) + half


def own_covariance(columns: Columns) -> Float[np.ndarray, "column 2 2"]:
    """Return the covariance of each column without the part that it shares with others in its scan rows."""
    own = columns.covariance_px2.copy()
    for axis in (0, 1):
        jitter = columns.noise.row_jitter_px[axis]
        if jitter > 0:
            shared = jitter**2 / (2.0 * np.sqrt(np.pi) * columns.row_reach_px[:, axis])
            own[:, axis, axis] = np.maximum(own[:, axis, axis] - np.nan_to_num(shared), 0.0)
    return own


def covariance_of(weights: scipy.sparse.csr_matrix, columns: Columns) -> Float[np.ndarray, "row 2 2"]:
    """Return the covariance of (y, x) of each weighted sum of column positions; nan where a column's is unknown.

    Parameters
    ----------
    weights
        Matrix (row, column); the same weight serves y and x.
    columns
        The columns, with the jitter of scan rows in their noise.
    """
    weights = scipy.sparse.csr_matrix(weights)
    square = weights.multiply(weights).tocsr()
    result = np.asarray(square @ own_covariance(columns).reshape(-1, 4)).reshape(-1, 2, 2)
    for axis in (0, 1):
        jitter = columns.noise.row_jitter_px[axis]
        if jitter > 0:
            moved = weights @ row_pull(columns, axis)
            result[:, axis, axis] += jitter**2 * np.asarray(moved.multiply(moved).sum(axis=1)).ravel()
    return result


def variance_of(
    along_y: scipy.sparse.csr_matrix, along_x: scipy.sparse.csr_matrix, columns: Columns
) -> Float[np.ndarray, " row"]:
    """Return the variance of each sum of y and x of columns, weighted each on its own; nan where unknown.

    Parameters
    ----------
    along_y, along_x
        Matrices (row, column) of the weights of y and of x.
    columns
        As in `covariance_of`.
    """
    parts = scipy.sparse.csr_matrix(along_y), scipy.sparse.csr_matrix(along_x)
    own = own_covariance(columns)
    variance = 2.0 * np.asarray(parts[0].multiply(parts[1]).tocsr() @ own[:, 0, 1]).ravel()
    for axis, weights in enumerate(parts):
        variance = variance + np.asarray(weights.multiply(weights).tocsr() @ own[:, axis, axis]).ravel()
        jitter = columns.noise.row_jitter_px[axis]
        if jitter > 0:
            moved = weights @ row_pull(columns, axis)
            variance = variance + jitter**2 * np.asarray(moved.multiply(moved).sum(axis=1)).ravel()
    return np.maximum(variance, 0.0)


def mean_displacement(
    cells: Cells, columns: Columns, used: Bool[np.ndarray, " cell"]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the mean displacement (dy, dx) of some cells, weighted by 1/sigma², with one standard error of each.

    The same figures as `reference_offset` gives, on sparse matrices: large images need no table of columns and rows.
    """
    rows = np.flatnonzero(used)
    values = cells.displacement_px[rows]
    variance = np.diagonal(cells.covariance_px2[rows], axis1=1, axis2=2)
    weight = np.where(variance > 0, 1.0 / np.where(variance > 0, variance, 1.0), 0.0)
    weight = np.where(weight.sum(axis=0) > 0, weight, 1.0)
    share = weight / weight.sum(axis=0)
    mean = np.sum(share * values, axis=0)
    scatter = np.sqrt(np.sum((share * (values - mean)) ** 2, axis=0))
    made = displacement_weights(cells, columns)[rows]
    parts = [scipy.sparse.csr_matrix(scipy.sparse.csr_matrix(share[None, :, axis]) @ made) for axis in (0, 1)]
    sigma = [max(scatter[k], np.sqrt(covariance_of(parts[k], columns)[0, k, k])) for k in (0, 1)]
    return (float(mean[0]), float(mean[1])), (float(sigma[0]), float(sigma[1]))
