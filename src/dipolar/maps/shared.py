"""Errors that the cells beside a wall share, by scan rows and by common columns, and how to weigh them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int32
from scipy.linalg import cho_solve_banded, cholesky_banded

from dipolar.core.nouns import Cells, Columns

CENTER = np.array([1.0, -0.25, -0.25, -0.25, -0.25])
"""Weights of the central column and of the corners in the displacement."""
REACH = 4.0
"""A column feels scan rows up to this many standard deviations of its weight away."""
LEAST_OWN = 0.1
"""Share of a cell's variance that is its own at least."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shared:
    """What the errors of cells have in common."""

    pull: scipy.sparse.csr_matrix | None
    """How far each shift that cells share moves them, by its standard deviation: (cell, shift); None: none does."""
    alike: Float[np.ndarray, " cell"]
    """Variance of a mean over many cells side by side, in what their own columns make of it, over that of as many
    independent cells: 1 where cells share no columns, 1.6 where A and B are located equally well."""


def independent(count: int) -> Shared:
    """Return that cells share nothing."""
    return Shared(pull=None, alike=np.ones(count))


def shared_errors(
    cells: Cells, columns: Columns, rows: Int32[np.ndarray, " used"], axis: Float[np.ndarray, "2"]
) -> Shared:
    """Return what cells share of the errors of their displacement along an axis: scan rows, and corner columns.

    A scan row moves every column by its share in the column's position, a Gaussian along y of standard deviation
    `row_reach_px`; the displacement is the central column's against the mean of the corners. Rows are taken together in
    bands as high as that reach, which leaves every product of two Gaussians as it is (to 1e-4), and shifts in y and in
    x as one shift along the axis, with the mean of their reaches.

    Four cells share a corner. One cell has the variance ``C + A/4`` of its columns' own errors, C of the centre and A
    the mean of the corners', but what is slower than a cell sees ``C + A``.

    Cells that are not linked to the columns share nothing that is known.
    """
    five = np.column_stack([cells.center, cells.corners])[rows]
    if not len(rows) or five.min() < 0 or five.max() >= len(columns.flags):
        return independent(len(rows))
    variance = np.einsum("i,nkij,j->nk", axis, columns.covariance_px2[five], axis)
    pull = None
    by_rows = (np.array(columns.noise.row_jitter_px) * axis) ** 2
    if (by_rows > 0).any():
        reaches = np.maximum(np.nan_to_num(columns.row_reach_px[five], nan=1.0), 0.5)
        shared = (1.0 / reaches) @ by_rows / (2.0 * np.sqrt(np.pi))
        pull = _pull(columns.positions_px[five, 0], reaches @ by_rows / by_rows.sum(), np.sqrt(shared))
        variance = np.maximum(variance - shared, LEAST_OWN * variance)
    center, corners = variance[:, 0], variance[:, 1:].mean(axis=1)
    return Shared(pull=pull, alike=(center + corners) / (center + 0.25 * corners))


def _pull(
    y: Float[np.ndarray, "cell 5"], reach: Float[np.ndarray, "cell 5"], size: Float[np.ndarray, "cell 5"]
) -> scipy.sparse.csr_matrix:
    """Return the matrix (cell, band of scan rows) for columns at y that rows move by `size` in all."""
    step = max(1.0, float(np.median(reach)))
    half = int(np.ceil(REACH * reach.max() / step))
    band = np.rint(y / step).astype(int)[..., None] + np.arange(-half, half + 1)
    # the squares of this Gaussian sum up to 1
    share = np.exp(-0.5 * ((band * step - y[..., None]) / reach[..., None]) ** 2)
    share *= np.sqrt(step / (np.sqrt(np.pi) * reach))[..., None]
    values = (CENTER * size)[..., None] * share
    cell = np.repeat(np.arange(len(y)), 5 * (2 * half + 1))
    where = (band - band.min()).ravel()
    return scipy.sparse.csr_matrix((values.ravel(), (cell, where)), shape=(len(y), int(where.max()) + 1))


def also_lines(shared: Shared, line: Int32[np.ndarray, " cell"], shared_px2: float) -> Shared:
    """Return the same where nothing is known of scan rows but the variance that the cells of one line share."""
    if shared.pull is not None or not shared_px2 > 0:
        return shared
    values = np.full(len(line), np.sqrt(shared_px2))
    shape = (len(line), int(line.max()) + 1)
    return Shared(pull=scipy.sparse.csr_matrix((values, (np.arange(len(line)), line)), shape=shape), alike=shared.alike)


def some_of(shared: Shared, mine: Bool[np.ndarray, " cell"]) -> Shared:
    """Return what some of the cells share."""
    return Shared(pull=None if shared.pull is None else shared.pull[mine], alike=shared.alike[mine])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Whitening:
    """What makes the errors of cells independent and of one standard deviation.

    With shared shifts s of one standard deviation, errors are P s + e. For any d, the shifts that explain it best are
    ``ŝ = (1 + PᵀWP)⁻¹ PᵀWd``, and the squares of ``[W^½ (d - P ŝ), ŝ]`` sum up to ``dᵀ (W⁻¹ + PPᵀ)⁻¹ d`` (the Woodbury
    formula): these are the whitened values.
    """

    root: Float[np.ndarray, " cell"]
    """One over the standard deviation of what is a cell's own."""
    pull: scipy.sparse.csr_matrix | None
    """P (cell, shift); None where nothing is shared."""
    explain: scipy.sparse.csr_matrix | None
    """PᵀW."""
    factor: Float[np.ndarray, "band shift"] | None
    """Lower Cholesky factor of 1 + PᵀWP, by diagonals."""

    def __call__(self, values: Float[np.ndarray, "set cell"]) -> Float[np.ndarray, "set white"]:
        """Return sets of values, one per cell, whitened."""
        if self.pull is None or self.explain is None or self.factor is None:
            return values * self.root
        shifts = cho_solve_banded((self.factor, True), self.explain @ values.T, check_finite=False)
        return np.concatenate([(values - (self.pull @ shifts).T) * self.root, shifts.T], axis=1)


def whitening(variance_px2: Float[np.ndarray, " cell"], shared: Shared) -> Whitening:
    """Return what whitens the values of cells that have each that variance in all."""
    if shared.pull is None:
        return Whitening(root=1.0 / np.sqrt(shared.alike * variance_px2), pull=None, explain=None, factor=None)
    pull = scipy.sparse.csr_matrix(shared.pull[:, np.unique(shared.pull.indices)])
    of_rows = np.asarray(pull.multiply(pull).sum(axis=1)).ravel()
    own = shared.alike * np.maximum(variance_px2 - of_rows, LEAST_OWN * variance_px2)
    explain = scipy.sparse.csr_matrix(pull.T @ scipy.sparse.diags(1.0 / own))
    normal = scipy.sparse.coo_matrix(explain @ pull)
    below = normal.row >= normal.col
    row, col, data = normal.row[below], normal.col[below], normal.data[below]
    band = np.zeros((int(np.max(row - col, initial=0)) + 1, normal.shape[0]))
    band[row - col, col] = data
    band[0] += 1.0
    factor = cholesky_banded(band, lower=True, check_finite=False)
    return Whitening(root=1.0 / np.sqrt(own), pull=pull, explain=explain, factor=factor)


def shared_px2(
    residual_px: Float[np.ndarray, " cell"],
    variance_px2: Float[np.ndarray, " cell"],
    line: Int32[np.ndarray, " cell"],
) -> float:
    """Return the variance that cells on one scan line share: the mean product of two residuals of the same line.

    0 where it is less than twice what chance makes of it.
    """
    sums, squares, counts = (np.bincount(line, weights=w) for w in (residual_px, residual_px**2, np.ones(len(line))))
    pairs = float(np.sum(counts * (counts - 1.0)))
    if pairs == 0.0:
        return 0.0
    shared = float(np.sum(sums**2 - squares)) / pairs
    chance = float(np.mean(variance_px2)) * np.sqrt(2.0 / pairs)
    return shared if shared > 2.0 * chance else 0.0
