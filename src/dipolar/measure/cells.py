"""Unit cells from linked columns: four corners of one sublattice around one column of the other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int32, UInt32

from dipolar.core.flags import POSITION_FLAGS, Flag, has
from dipolar.core.nouns import Basis, Cells, Columns
from dipolar.measure.propagate import CENTER, cell_covariance, cell_sigmas

ALONG_A, ALONG_B = 4, 6
"""Positions of the steps +a and +b in `core.nouns.LINK_STEPS`."""
TO_CENTER = (0, 3, 2, 1)
"""The step from each corner (origin, +a, +b, +a+b) to the central column."""
ODD_EDGE = 0.2
"""An edge this far from the crystal's median, relative to it, makes a cell odd."""


def build_cells(columns: Columns, *, basis: Basis = "A", pixel_size_pm: float | None = None) -> Cells:
    """Return every complete unit cell, with displacement and cell parameters and their sigma.

    Cells follow the links from column to column, not the global index: a cell exists where going along a and then
    along b ends at the same column as going along b and then along a. Around a dislocation the paths that do not close
    give no cell, and all others are right.

    The displacement is the central column minus the mean of the four corners. Sigma includes what the columns of a
    cell share: the jitter of scan rows moves both corners of a row alike, so that it cancels in the edge between them
    and does not average out in the displacement.

    Parameters
    ----------
    columns
        Columns with links.
    basis
        The sublattice at the corners: "A" measures B in the cage of A, "B" the other way round.
    pixel_size_pm
        Calibrated pixel size; None leaves lengths in px.
    """
    corners, center = _complete(columns, 0 if basis == "A" else 1)
    positions = columns.positions_px[corners]
    middle = positions.mean(axis=1)
    a = 0.5 * (positions[:, 1] - positions[:, 0] + positions[:, 3] - positions[:, 2])
    b = 0.5 * (positions[:, 2] - positions[:, 0] + positions[:, 3] - positions[:, 1])
    covariance = cell_covariance(columns, corners, center)
    sigmas = cell_sigmas(a, b, covariance)
    row, col = _row_col(columns.index[corners[:, 0]], columns.grain[corners[:, 0]])
    return Cells(
        row=row,
        col=col,
        grain=columns.grain[corners[:, 0]],
        positions_px=middle,
        displacement_px=columns.positions_px[center] - middle,
        covariance_px2=np.einsum("p,npiqj,q->nij", CENTER, covariance, CENTER),
        a_px=a,
        b_px=b,
        a_sigma_px=sigmas.a_px,
        b_sigma_px=sigmas.b_px,
        gamma_sigma_deg=sigmas.gamma_deg,
        area_sigma_px2=sigmas.area_px2,
        corners=corners,
        center=center,
        flags=_flags(columns, corners, center, a, b),
        basis=basis,
        pixel_size_pm=pixel_size_pm,
    )


def _complete(columns: Columns, sublattice: int) -> tuple[Int32[np.ndarray, "cell 4"], Int32[np.ndarray, " cell"]]:
    """Return corners (origin, +a, +b, +a+b) and centre of every cell whose paths close."""
    links = np.vstack([columns.links, np.full((1, 8), -1, dtype=np.int32)])  # row -1 leads nowhere
    origin = np.flatnonzero(columns.sublattice == sublattice).astype(np.int32)
    right, down = links[origin, ALONG_A], links[origin, ALONG_B]
    across = links[right, ALONG_B]
    closed = (right >= 0) & (down >= 0) & (across >= 0) & (across == links[down, ALONG_A])
    corners = np.column_stack([origin, right, down, across])[closed]
    center = np.full(len(corners), -1, dtype=np.int32)
    for corner, step in enumerate(TO_CENTER):
        center = np.where(center < 0, links[corners[:, corner], step], center)
    kinds = np.append(columns.sublattice, np.int8(-1))  # the last entry serves centres of -1
    found = np.all(kinds[corners] == sublattice, axis=1) & (kinds[center] == 1 - sublattice)
    return corners[found], center[found]


def _row_col(
    index: Int32[np.ndarray, "cell 2"], grain: Int32[np.ndarray, " cell"]
) -> tuple[Int32[np.ndarray, " cell"], Int32[np.ndarray, " cell"]]:
    """Return row and column, from 0 in each crystal: i p1 + j p2 is (i + j)/2 a + (i - j)/2 b."""
    col, row = (index[:, 0] + index[:, 1]) // 2, (index[:, 0] - index[:, 1]) // 2
    for number in np.unique(grain):
        mine = grain == number
        col[mine] -= col[mine].min()
        row[mine] -= row[mine].min()
    return row.astype(np.int32), col.astype(np.int32)


def _flags(
    columns: Columns,
    corners: Int32[np.ndarray, "cell 4"],
    center: Int32[np.ndarray, " cell"],
    a: Float[np.ndarray, "cell 2"],
    b: Float[np.ndarray, "cell 2"],
) -> UInt32[np.ndarray, " cell"]:
    bad = has(columns.flags, POSITION_FLAGS)
    unsure = has(columns.flags, Flag.AMBIGUOUS_SUBLATTICE)
    odd = np.zeros(len(center), dtype=bool)
    for edge in (a, b):
        length = np.linalg.norm(edge, axis=1)
        odd |= np.abs(length / np.median(length) - 1.0) > ODD_EDGE if len(length) else odd
    flags = np.where(bad[corners].any(axis=1) | bad[center], np.uint32(Flag.FLAGGED_COLUMN), np.uint32(0))
    flags |= np.where(unsure[center], np.uint32(Flag.AMBIGUOUS_SUBLATTICE), np.uint32(0))
    flags |= np.where(odd, np.uint32(Flag.ODD_CELL), np.uint32(0))
    return flags.astype(np.uint32)
