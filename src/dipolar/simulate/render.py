"""Columns → image: a fast sum of elliptical column profiles."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32, Int8
from numba import get_num_threads, njit, prange

from dipolar.core.errors import DataError

CUTOFF = 1e-5
"""A component of a profile is drawn down to this fraction of the column's peak."""

BAND_ROWS = 32
"""Rows per unit of parallel work; each band is written by one thread only, so there are no races."""


def precision_matrices(
    widths_px: Float[np.ndarray, "column 2"], angle_deg: Float[np.ndarray, " column"]
) -> Float[np.ndarray, "column 2 2"]:
    """Return the inverse of each column's width matrix in (y, x), in 1/px².

    The major axis lies along ``(-sin, cos)`` in (y, x): counter-clockwise on the screen, where y points down.

    Parameters
    ----------
    widths_px
        Standard deviation along the major and the minor axis, shape (column, 2).
    angle_deg
        Direction of the major axis.
    """
    angle = np.radians(angle_deg)
    cos, sin = np.cos(angle), np.sin(angle)
    major, minor = np.stack([-sin, cos], axis=-1), np.stack([cos, sin], axis=-1)
    precision: Float[np.ndarray, "column 2 2"] = (
        np.einsum("ni,nj->nij", major, major) / widths_px[:, 0, None, None] ** 2
        + np.einsum("ni,nj->nij", minor, minor) / widths_px[:, 1, None, None] ** 2
    )
    return precision


def render_columns(
    shape: tuple[int, int],
    positions_px: Float[np.ndarray, "column 2"],
    amplitude: Float[np.ndarray, " column"],
    widths_px: Float[np.ndarray, "column 2"],
    angle_deg: Float[np.ndarray, " column"],
    sublattice: Int8[np.ndarray, " column"],
    profile: Float[np.ndarray, "sublattice component 2"],
    *,
    row_shift_px: Float[np.ndarray, "y 2"] | None = None,
) -> Float32[np.ndarray, "y x"]:
    """Return the image of all columns, sampled at pixel centres, without a background.

    A column is ``amplitude * Σ_m w_m exp(-q / (2 κ_m²))`` with q the squared Mahalanobis distance from its centre in
    units of its widths. With ``Σ w = 1`` the amplitude is the peak height.

    Parameters
    ----------
    shape
        Rows and columns of the image.
    positions_px
        Centres (y, x), shape (column, 2); they may lie outside the image.
    amplitude
        Peak heights, in the image's units.
    widths_px
        Standard deviation of the core along the major and the minor axis.
    angle_deg
        Direction of the major axis, counter-clockwise on the screen.
    sublattice
        0 for A, 1 for B; which profile a column has. -1 (unassigned) takes that of A.
    profile
        (weight, width relative to the core) of each component, shape (2, component, 2).
    row_shift_px
        Pixel (y, x) sees the specimen at ``(y + shift[y, 0], x + shift[y, 1])``: row jitter and drift. None: no shift.

    Raises
    ------
    DataError
        Where a column has a position, amplitude, width or angle that is not finite, or a width that is not positive.
    """
    finite = np.isfinite(positions_px).all(axis=1) & np.isfinite(amplitude) & np.isfinite(angle_deg)
    good = finite & np.isfinite(widths_px).all(axis=1) & (widths_px > 0).all(axis=1)
    if not good.all():
        raise DataError(
            "Every column to be drawn needs a finite position, amplitude and angle, and positive widths.",
            got=f"{np.count_nonzero(~good)} of {len(good)} columns without",
            do="leave them out: dipolar.core.nouns.take(columns, mask)",
        )
    order = np.argsort(positions_px[:, 0], kind="stable")
    precision = precision_matrices(widths_px, angle_deg)[order]
    shift = np.zeros((shape[0], 2)) if row_shift_px is None else np.ascontiguousarray(row_shift_px, dtype=np.float64)
    out = np.empty(shape, dtype=np.float32)
    if out.size == 0:
        return out
    components = np.ascontiguousarray(profile, dtype=np.float64)
    widest = np.where(components[..., 0] == 0.0, 0.0, components[..., 1]).max()
    covariance_yy = precision[:, 1, 1] / (precision[:, 0, 0] * precision[:, 1, 1] - precision[:, 0, 1] ** 2)
    # No weight exceeds 1 by much, so this bounds the reach of every component; the kernel cuts each one exactly.
    weight = max(1.0, float(np.abs(components[..., 0]).max()))
    reach = widest * math.sqrt(2.0 * math.log(weight / CUTOFF)) * np.sqrt(covariance_yy) + np.abs(shift[:, 0]).max()
    kernel = _bands_parallel if get_num_threads() > 1 else _bands_serial
    kernel(
        out,
        positions_px[order].astype(np.float64),
        amplitude[order].astype(np.float64),
        precision,
        np.maximum(sublattice[order], 0).astype(np.int64),
        components,
        reach,
        float(reach.max(initial=0.0)),
        shift,
    )
    return out


@njit(cache=True, nogil=True)
def _add_to_row(line, dy, px, amplitude, p_yy, p_yx, p_xx, weight, kappa):  # type: ignore[no-untyped-def]
    """Add one component of one column to one row, cut where it falls below CUTOFF of the peak."""
    if abs(weight) <= CUTOFF:
        return
    q_max = 2.0 * kappa * kappa * math.log(abs(weight) / CUTOFF)
    middle = -p_yx * dy / p_xx
    q_row = (p_yy - p_yx * p_yx / p_xx) * dy * dy
    if q_row >= q_max:
        return
    half = math.sqrt((q_max - q_row) / p_xx)
    first = max(0, math.ceil(px + middle - half))
    last = min(line.size - 1, math.floor(px + middle + half))
    if last < first:
        return
    # Along a row a Gaussian is a product of a product: two multiplications per pixel instead of one exponential.
    scale = 0.5 / (kappa * kappa)
    dx = first - px
    value = amplitude * weight * math.exp(-scale * (p_yy * dy * dy + 2.0 * p_yx * dy * dx + p_xx * dx * dx))
    ratio = math.exp(-scale * (2.0 * p_yx * dy + p_xx * (2.0 * dx + 1.0)))
    bend = math.exp(-scale * 2.0 * p_xx)
    for x in range(first, last + 1):
        line[x] += value
        value *= ratio
        ratio *= bend


@njit(cache=True, nogil=True)
def _band(out, top, positions, amplitude, precision, kind, profile, reach, far, shift):  # type: ignore[no-untyped-def]
    """Draw the rows top … top + BAND_ROWS from every column that reaches them; columns are sorted by y."""
    bottom = min(out.shape[0], top + BAND_ROWS)
    band = np.zeros((bottom - top, out.shape[1]))
    start = np.searchsorted(positions[:, 0], top - far)
    for n in range(start, positions.shape[0]):
        py = positions[n, 0]
        if py > bottom + far:
            break
        for y in range(max(top, math.floor(py - reach[n])), min(bottom, math.ceil(py + reach[n]) + 1)):
            for m in range(profile.shape[1]):
                _add_to_row(
                    band[y - top],
                    y + shift[y, 0] - py,
                    positions[n, 1] - shift[y, 1],
                    amplitude[n],
                    precision[n, 0, 0],
                    precision[n, 0, 1],
                    precision[n, 1, 1],
                    profile[kind[n], m, 0],
                    profile[kind[n], m, 1],
                )
    out[top:bottom] = band


@njit(cache=True, nogil=True)
def _bands_serial(out, positions, amplitude, precision, kind, profile, reach, far, shift):  # type: ignore[no-untyped-def]
    for band in range((out.shape[0] + BAND_ROWS - 1) // BAND_ROWS):
        _band(out, band * BAND_ROWS, positions, amplitude, precision, kind, profile, reach, far, shift)


@njit(cache=True, nogil=True, parallel=True)
def _bands_parallel(out, positions, amplitude, precision, kind, profile, reach, far, shift):  # type: ignore[no-untyped-def]
    for band in prange((out.shape[0] + BAND_ROWS - 1) // BAND_ROWS):
        _band(out, band * BAND_ROWS, positions, amplitude, precision, kind, profile, reach, far, shift)
