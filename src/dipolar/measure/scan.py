"""What the scan did to the crystal, told from the crystal: jitter of rows removed, size and shear calibrated."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from jaxtyping import Float

from dipolar.core.errors import CalibrationError
from dipolar.core.findings import ScanCalibration, ScanCorrection
from dipolar.core.flags import POSITION_FLAGS, has
from dipolar.core.nouns import Cells, Columns
from dipolar.measure.linear import covariance_of, own_covariance, row_pull, row_span
from dipolar.measure.propagate import EDGE_A, EDGE_B, cell_covariance, cell_sigmas
from dipolar.measure.reference import Region, inside, trusted

WILD = 5.0
"""A column this many standard errors off what its neighbours say has its own reason, and no vote."""
WINDOW_ROWS = 512
NOTE = (
    "Shifts that change slowly from row to row look like a bent or strained crystal, and are left in. So is whatever "
    "the jitter seen inside the columns is too small for. A real wave whose crests run along the scan rows cannot be "
    "told from shifted rows, and may be weakened."
)


def remove_row_jitter(columns: Columns) -> tuple[Columns, ScanCorrection]:
    """Return the columns with the shifts of single scan rows taken off, and what was taken.

    A scan row moves all columns on it alike, by the share that it has in each. Every column with four like neighbours
    is compared with their mean; the shifts of the rows that explain these differences are found by least squares,
    weighted with the columns' own errors and held small by the jitter that the fit saw inside the columns (a Wiener
    filter): where the columns cannot tell, nothing is removed. A and B columns vote together, each against its like, so
    that a displacement of B against A does not count.

    The covariance of the columns is reduced to what is left. What is left is not white: it is given as the white
    jitter that displaces a column against its four unlike neighbours as much, so that sigma of displacements is right
    and that of edges on the safe side; the slow part, which moves columns and their neighbours together, is not in it.

    Parameters
    ----------
    columns
        Columns with links, and the jitter of their scan rows.
    """
    before = columns.noise.row_jitter_px
    first, last = row_span(columns)
    shift, sigma = np.zeros((last - first + 1, 2)), np.tile(np.array(before), (last - first + 1, 1))
    moved, after = np.zeros_like(columns.positions_px), list(before)
    like = _differences(columns, 4)
    for axis in (0, 1):
        if not before[axis] > 0 or like.shape[0] < 20:
            continue
        pull = row_pull(columns, axis)
        votes = _votes(columns, axis, like, pull)
        seen = scipy.sparse.csr_matrix(_differences(columns, 0) @ pull)
        shift[:, axis], sigma[:, axis], left = _row_shifts(votes, before[axis], seen)
        moved[:, axis] = pull @ shift[:, axis]
        after[axis] = before[axis] * left
    rms = np.sqrt(np.mean(moved**2, axis=0)) if len(moved) else np.zeros(2)
    return _without(columns, moved, (after[0], after[1])), ScanCorrection(
        first_row=first,
        row_shift_px=shift,
        row_shift_sigma_px=sigma,
        jitter_before_px=before,
        jitter_after_px=(after[0], after[1]),
        removed_px=(float(rms[0]), float(rms[1])),
        note=NOTE,
    )


def _differences(columns: Columns, first_step: int) -> scipy.sparse.csr_matrix:
    """Return the matrix (row, column) that takes the mean of four neighbours from each column that has them.

    The neighbours are those of four steps from `first_step` on; all five columns can be trusted.
    """
    good = ~has(columns.flags, POSITION_FLAGS) & np.isfinite(columns.covariance_px2).all(axis=(1, 2))
    around = columns.links[:, first_step : first_step + 4]
    middle = np.flatnonzero(good & np.all(around >= 0, axis=1))
    middle = middle[np.all(good[around[middle]], axis=1)]
    rows = np.repeat(np.arange(len(middle)), 5)
    cols = np.column_stack([middle, around[middle]]).ravel()
    values = np.tile([1.0, -0.25, -0.25, -0.25, -0.25], len(middle))
    return scipy.sparse.csr_matrix((values, (rows, cols)), shape=(len(middle), len(columns.flags)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Votes:
    """What columns say about the shifts of scan rows."""

    off_px: Float[np.ndarray, " vote"]
    """How far each column is from the mean of its like neighbours."""
    design: scipy.sparse.csr_matrix
    """How each scan row moves that: (vote, row)."""
    weight: Float[np.ndarray, " vote"]
    """Inverse variance of each from the columns' own errors."""
    covariance: scipy.sparse.csr_matrix
    """Covariance of them from the same: votes share columns."""


def _votes(columns: Columns, axis: int, differences: scipy.sparse.csr_matrix, pull: scipy.sparse.csr_matrix) -> Votes:
    """Return the votes of the columns on the rows' shifts along one axis; those far off have none."""
    off = differences @ columns.positions_px[:, axis]
    own = np.where(np.isfinite(own_covariance(columns)[:, axis, axis]), own_covariance(columns)[:, axis, axis], 0.0)
    variance = np.asarray(differences.multiply(differences) @ own).ravel()
    usual = variance > 0
    usual &= np.abs(off) < WILD * np.sqrt(covariance_of(differences, columns)[:, axis, axis])
    mine = differences[usual]
    return Votes(
        off_px=off[usual],
        design=scipy.sparse.csr_matrix(mine @ pull),
        weight=1.0 / variance[usual],
        covariance=scipy.sparse.csr_matrix(mine @ scipy.sparse.diags(own) @ mine.T),
    )


def _row_shifts(
    votes: Votes, jitter_px: float, seen: scipy.sparse.csr_matrix
) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"], float]:
    """Return the shift of each scan row with its standard error, and the jitter left over that before.

    With X the design, W the weights and j the jitter, K = (Xᵀ W X + 1/j²)⁻¹ Xᵀ W takes shifts from votes. W is diagonal
    on purpose: with the inverse of the full covariance, votes would sum up to places against a perfect lattice, and
    shifts to its curvature. The errors of K are those of the full covariance C: (1 - K X) j² (1 - K X)ᵀ + K C Kᵀ. Rows
    further apart than some cells know nothing of each other, so that windows of rows are solved one by one.

    Parameters
    ----------
    votes
        From `_votes`.
    jitter_px
        Standard deviation of the shifts.
    seen
        How each scan row displaces columns against their unlike neighbours: (column, row).
    """
    count = votes.design.shape[1]
    low, high = _reached(votes.design)
    margin = 2 * int(np.max(high - low, initial=1))
    shift, sigma = np.zeros(count), np.full(count, jitter_px)
    left = white = 0.0
    for start in range(0, count, WINDOW_ROWS):
        first, last = max(0, start - margin), min(count, start + WINDOW_ROWS + margin)
        inner = slice(start - first, min(start + WINDOW_ROWS, count) - first)
        inside_window = (low >= first) & (high < last)
        x = votes.design[inside_window][:, first:last]
        weighted = scipy.sparse.csr_matrix(scipy.sparse.diags(votes.weight[inside_window]) @ x)
        information = (x.T @ weighted).toarray()
        solve = np.linalg.inv(information + np.eye(last - first) / jitter_px**2)
        shared = votes.covariance[inside_window][:, inside_window]
        kept = solve / jitter_px  # (1 - K X) j
        errors = kept @ kept.T + solve @ (weighted.T @ shared @ weighted).toarray() @ solve
        shift[first + inner.start : first + inner.stop] = (solve @ (weighted.T @ votes.off_px[inside_window]))[inner]
        sigma[first + inner.start : first + inner.stop] = np.sqrt(np.diag(errors))[inner]
        at_low, at_high = _reached(seen)
        mine = seen[(at_low >= first) & (at_high < last) & (at_low >= start) & (at_low < start + WINDOW_ROWS)]
        mine = mine[:, first:last].toarray()
        left += float(np.sum((mine @ errors) * mine))
        white += jitter_px**2 * float(np.sum(mine**2))
    return shift, sigma, float(np.sqrt(min(left / white, 1.0))) if white > 0 else 1.0


def _reached(matrix: scipy.sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last column that each row of the matrix has an entry in."""
    if not matrix.shape[0]:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    matrix = matrix.sorted_indices()
    return matrix.indices[matrix.indptr[:-1]], matrix.indices[matrix.indptr[1:] - 1]


def _without(columns: Columns, moved: Float[np.ndarray, "column 2"], jitter: tuple[float, float]) -> Columns:
    """Return the columns moved back, with the covariance that the jitter left makes."""
    covariance = own_covariance(columns)
    for axis in (0, 1):
        if jitter[axis] > 0:
            covariance[:, axis, axis] += jitter[axis] ** 2 / (2.0 * np.sqrt(np.pi) * columns.row_reach_px[:, axis])
    return replace(
        columns,
        positions_px=columns.positions_px - moved,
        covariance_px2=covariance,
        noise=replace(columns.noise, row_jitter_px=jitter),
    )


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
    aspect = calibration.aspect
    true = np.array([[aspect, 0.0], [calibration.shear * aspect, 1.0]])
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
