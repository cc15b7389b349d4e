"""Sigma of a cell's quantities from the covariance of its five columns, scan noise that they share included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32

from dipolar.core.nouns import Columns

# Columns of a cell in this order: the corners origin, +a, +b, +a+b, then the centre.
CENTER = np.array([-0.25, -0.25, -0.25, -0.25, 1.0])
"""Weights of the columns in the displacement."""
EDGE_A = np.array([-0.5, 0.5, -0.5, 0.5, 0.0])
"""Weights in the mean edge a."""
EDGE_B = np.array([-0.5, -0.5, 0.5, 0.5, 0.0])
"""Weights in the mean edge b."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellSigmas:
    """One standard error of each cell parameter."""

    a_px: Float[np.ndarray, " cell"]
    b_px: Float[np.ndarray, " cell"]
    gamma_deg: Float[np.ndarray, " cell"]
    area_px2: Float[np.ndarray, " cell"]


def cell_covariance(
    columns: Columns, corners: Int32[np.ndarray, "cell 4"], center: Int32[np.ndarray, " cell"]
) -> Float[np.ndarray, "cell 5 2 5 2"]:
    """Return the joint covariance of the five columns' (y, x).

    Counting noise is each column's own. A scan row shifted by jitter σ moves every column in it by the row's share in
    its position, a Gaussian of width ω in y; two columns therefore share σ² N(y1 - y2; sqrt(ω1² + ω2²)).
    """
    rows = np.column_stack([corners, center])
    count = len(rows)
    joint = np.zeros((count, 5, 2, 5, 2))
    for k in range(5):
        joint[:, k, :, k, :] = columns.covariance_px2[rows[:, k]]
    jitter = np.array(columns.noise.row_jitter_px) ** 2
    if not np.any(jitter > 0):
        return joint
    y, reach = columns.positions_px[rows, 0], columns.row_reach_px[rows]
    for k in range(5):
        for m in range(5):
            if k == m:
                continue
            for axis in (0, 1):
                spread = reach[:, k, axis] ** 2 + reach[:, m, axis] ** 2
                shared = np.exp(-0.5 * (y[:, k] - y[:, m]) ** 2 / spread) / np.sqrt(2.0 * np.pi * spread)
                joint[:, k, axis, m, axis] = jitter[axis] * shared
    return joint


def cell_sigmas(
    a: Float[np.ndarray, "cell 2"], b: Float[np.ndarray, "cell 2"], joint: Float[np.ndarray, "cell 5 2 5 2"]
) -> CellSigmas:
    """Return the standard errors of |a|, |b|, the angle between them and the area |a × b|, to first order."""
    length_a, length_b = np.linalg.norm(a, axis=1, keepdims=True), np.linalg.norm(b, axis=1, keepdims=True)
    unit_a, unit_b = a / length_a, b / length_b
    turn_a = np.column_stack([unit_a[:, 1], -unit_a[:, 0]]) / length_a  # change of direction per change of a
    turn_b = np.column_stack([unit_b[:, 1], -unit_b[:, 0]]) / length_b
    across_a, across_b = np.column_stack([b[:, 1], -b[:, 0]]), np.column_stack([-a[:, 1], a[:, 0]])

    def sigma(by_a: Float[np.ndarray, "cell 2"], by_b: Float[np.ndarray, "cell 2"]) -> Float[np.ndarray, " cell"]:
        weights = EDGE_A[None, :, None] * by_a[:, None, :] + EDGE_B[None, :, None] * by_b[:, None, :]
        variance = np.einsum("npi,npiqj,nqj->n", weights, joint, weights, optimize=True)
        return np.sqrt(np.maximum(variance, 0.0))

    nothing = np.zeros_like(a)
    return CellSigmas(
        a_px=sigma(unit_a, nothing),
        b_px=sigma(nothing, unit_b),
        gamma_deg=np.degrees(sigma(-turn_a, turn_b)),
        area_px2=sigma(across_a, across_b),
    )
