"""The Cramér–Rao limit: how well any unbiased method can place a column, given its counts."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numba import get_num_threads, njit, prange

from dipolar.core.nouns import Cells, Columns
from dipolar.simulate.render import precision_matrices

WINDOW = 1e-3
"""The information is summed over the pixels in which the column is brighter than this fraction of its peak."""


def cramer_rao(columns: Columns, expected: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "column 2 2"]:
    """Return the Cramér–Rao covariance of each column's (y, x), shape (column, 2, 2), in px².

    Fisher information of Poisson counts, ``Σ ∂μ_i ∂μ_j / variance`` over the pixels of the column, for its position,
    its amplitude and a constant local background, inverted; the position's block is returned. The variance is that
    of the whole expected image, so the light of the neighbours counts as noise. Widths are left out of the
    nuisances: their derivatives are even about the centre where those of the position are odd, so they cost the
    position nothing by symmetry. Source: S. M. Kay, *Fundamentals of Statistical Signal Processing I* (1993), ch. 3.

    Parameters
    ----------
    columns
        The true columns, in the image's units; their noise gives the variance, ``gain * expected + floor``.
    expected
        The noiseless image in the image's units, all columns and the background in it.
    """
    precision = precision_matrices(columns.widths_px, columns.angle_deg)
    variance = columns.noise.gain * np.asarray(expected, dtype=np.float64) + columns.noise.floor
    kernel = _information_parallel if get_num_threads() > 1 else _information_serial
    information = np.zeros((len(columns.flags), 4, 4))
    kernel(
        information,
        variance,
        columns.positions_px.astype(np.float64),
        columns.amplitude.astype(np.float64),
        precision,
        np.maximum(columns.sublattice, 0).astype(np.int64),
        np.ascontiguousarray(columns.profile, dtype=np.float64),
    )
    return _position_block(information)


def displacement_limit(
    cells: Cells, covariance_px2: Float[np.ndarray, "column 2 2"]
) -> tuple[Float[np.ndarray, "cell 2 2"], float]:
    """Return each cell's limiting covariance of the displacement in px², and its RMS per component in px.

    The displacement is centre minus the mean of four corners, so ``C_centre + Σ C_corner / 16``.

    Parameters
    ----------
    cells
        Cells that know the rows of their columns.
    covariance_px2
        What `cramer_rao` returned for these columns.
    """
    covariance = covariance_px2[cells.center] + covariance_px2[cells.corners].sum(axis=1) / 16.0
    return covariance, rms_per_component(covariance)


def rms_per_component(covariance_px2: Float[np.ndarray, "row 2 2"]) -> float:
    """Return the root of the mean variance per component, over all rows that are known; nan for none."""
    variances = np.einsum("nii->ni", covariance_px2)
    known = variances[np.isfinite(variances).all(axis=1)]
    return math.sqrt(float(known.mean())) if len(known) else math.nan


def _position_block(information: Float[np.ndarray, "column 4 4"]) -> Float[np.ndarray, "column 2 2"]:
    """Invert each information matrix and return the block of (y, x); nan where it has no inverse."""
    scale = np.sqrt(np.einsum("nii->ni", information))
    known = np.isfinite(scale).all(axis=1) & (scale > 0).all(axis=1)
    correlation = np.full_like(information, np.nan)
    correlation[known] = information[known] / (scale[known, :, None] * scale[known, None, :])
    known[known] = np.linalg.eigvalsh(correlation[known])[:, 0] > 1e-10
    covariance = np.full((len(information), 2, 2), np.nan)
    inverse = np.linalg.inv(correlation[known]) / (scale[known, :, None] * scale[known, None, :])
    covariance[known] = inverse[:, :2, :2]
    return covariance


@njit(cache=True, nogil=True)
def _add_information(total, variance, py, px, amplitude, precision, profile):  # type: ignore[no-untyped-def]
    """Sum one column's information on (y, x, amplitude, background) over its window."""
    p_yy, p_yx, p_xx = precision[0, 0], precision[0, 1], precision[1, 1]
    q_max = 0.0
    for m in range(profile.shape[0]):
        if profile[m, 0] > WINDOW:
            q_max = max(q_max, 2.0 * profile[m, 1] ** 2 * math.log(profile[m, 0] / WINDOW))
    determinant = p_yy * p_xx - p_yx * p_yx
    half_y, half_x = math.sqrt(q_max * p_xx / determinant), math.sqrt(q_max * p_yy / determinant)
    derivative = np.empty(4)
    for y in range(max(0, math.ceil(py - half_y)), min(variance.shape[0], math.floor(py + half_y) + 1)):
        for x in range(max(0, math.ceil(px - half_x)), min(variance.shape[1], math.floor(px + half_x) + 1)):
            dy, dx = y - py, x - px
            q = p_yy * dy * dy + 2.0 * p_yx * dy * dx + p_xx * dx * dx
            if q > q_max or not variance[y, x] > 0:
                continue
            height, slope = 0.0, 0.0
            for m in range(profile.shape[0]):
                part = profile[m, 0] * math.exp(-0.5 * q / profile[m, 1] ** 2)
                height += part
                slope += part / profile[m, 1] ** 2
            derivative[0] = amplitude * slope * (p_yy * dy + p_yx * dx)
            derivative[1] = amplitude * slope * (p_yx * dy + p_xx * dx)
            derivative[2] = height
            derivative[3] = 1.0
            for i in range(4):
                for j in range(4):
                    total[i, j] += derivative[i] * derivative[j] / variance[y, x]


@njit(cache=True, nogil=True)
def _information_serial(out, variance, positions, amplitude, precision, kind, profile):  # type: ignore[no-untyped-def]
    for n in range(out.shape[0]):
        _add_information(
            out[n], variance, positions[n, 0], positions[n, 1], amplitude[n], precision[n], profile[kind[n]]
        )


@njit(cache=True, nogil=True, parallel=True)
def _information_parallel(out, variance, positions, amplitude, precision, kind, profile):  # type: ignore[no-untyped-def]
    for n in prange(out.shape[0]):
        _add_information(
            out[n], variance, positions[n, 0], positions[n, 1], amplitude[n], precision[n], profile[kind[n]]
        )
