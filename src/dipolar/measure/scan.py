"""Shifts of single scan rows, told from the crystal and removed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from jaxtyping import Float

from dipolar.core.findings import ScanCorrection
from dipolar.core.flags import POSITION_FLAGS, has
from dipolar.core.nouns import Columns
from dipolar.measure.linear import covariance_of, own_covariance, row_pull, row_span

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
    """What columns say about the shifts of scan rows, summed up per row: banded, as columns reach few rows."""

    pull: Float[np.ndarray, " row"]
    """Xᵀ W d, with d how far each column is from the mean of its like neighbours and X how rows move that."""
    information: scipy.sparse.csr_matrix
    """Xᵀ W X; W is the inverse variance of each vote, from the columns' own errors."""
    noise: scipy.sparse.csr_matrix
    """Xᵀ W C W X; C is the covariance of the votes, which share columns."""
    reach_rows: int
    """How many rows one vote reaches over."""


def _votes(columns: Columns, axis: int, differences: scipy.sparse.csr_matrix, pull: scipy.sparse.csr_matrix) -> Votes:
    """Return the votes of the columns on the rows' shifts along one axis; those far off have none."""
    off = differences @ columns.positions_px[:, axis]
    own = own_covariance(columns)[:, axis, axis]
    own = np.where(np.isfinite(own), own, 0.0)
    variance = np.asarray(differences.multiply(differences) @ own).ravel()
    usual = variance > 0
    usual &= np.abs(off) < WILD * np.sqrt(covariance_of(differences, columns)[:, axis, axis])
    mine = differences[usual]
    design = scipy.sparse.csr_matrix(mine @ pull)
    weighted = scipy.sparse.csr_matrix(scipy.sparse.diags(1.0 / variance[usual]) @ design)
    by_column = scipy.sparse.csr_matrix(scipy.sparse.diags(np.sqrt(own)) @ (mine.T @ weighted))
    design = design.sorted_indices()
    ends = design.indices[design.indptr[1:] - 1] - design.indices[design.indptr[:-1]]
    return Votes(
        pull=np.asarray(weighted.T @ off[usual]).ravel(),
        information=scipy.sparse.csr_matrix(design.T @ weighted),
        noise=scipy.sparse.csr_matrix(by_column.T @ by_column),
        reach_rows=int(np.max(ends, initial=0)) + 1,
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
    count = len(votes.pull)
    gram = scipy.sparse.csr_matrix(seen.T @ seen)
    shift, sigma = np.zeros(count), np.zeros(count)
    left = 0.0
    for start in range(0, count, WINDOW_ROWS):
        stop = min(start + WINDOW_ROWS, count)
        first, last = max(0, start - 2 * votes.reach_rows), min(count, stop + 2 * votes.reach_rows)
        inner = slice(start - first, stop - first)
        information, noise, used = (
            matrix[first:last, first:last].toarray() for matrix in (votes.information, votes.noise, gram)
        )
        solve = np.linalg.inv(information + np.eye(last - first) / jitter_px**2)
        kept = solve / jitter_px  # (1 - K X) j
        errors = kept @ kept.T + solve @ noise @ solve
        shift[start:stop] = (solve @ votes.pull[first:last])[inner]
        sigma[start:stop] = np.sqrt(np.diag(errors))[inner]
        left += float(np.sum(errors[inner] * used[inner]))
    white = jitter_px**2 * float(gram.trace())
    return shift, sigma, float(np.sqrt(min(left / white, 1.0))) if white > 0 else 1.0


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
