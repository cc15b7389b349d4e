"""What a fit learns from the image between its passes: shapes, noise, background, row shifts and the profile."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Int64

from dipolar.locate import kernels, residuals
from dipolar.locate.kernels import AMPLITUDE, BACKGROUND, PXX, PYX, PYY, X, Y
from dipolar.locate.noise import RowShifts, correlation_factors, fit_variance, row_shifts
from dipolar.locate.work import Work, arguments, examine, spread

BINS = 12
MAX_FOR_NOISE = 2500
MAX_FOR_SHAPES = 1000
MAX_FOR_ROWS = 12_000
MAX_FOR_CORRELATION = 400
STRIPS = 4
"""Independent sums over columns, so that threads do not meet."""
BACKGROUND_GRID = 6.0
"""Spacing, in A-B distances, of the grid on which the background's slope is measured."""


def learn_shapes(work: Work, *, loose: bool) -> None:
    """Set the prior on the shapes: the median of each kind, and their scatter beyond what noise explains.

    A column that carries little light borrows its shape from its sublattice; a bright one keeps its own. Position and
    shape are orthogonal by symmetry, so this costs no accuracy and saves weak columns from absurd ellipses.
    """
    for kind in (0, 1):
        mine = (work.kind == kind) & work.converged & (work.theta[:, AMPLITUDE] > 0)
        if np.count_nonzero(mine) < 12:
            mine = work.kind == kind
        if not mine.any():
            continue
        shape = work.theta[mine, PYY:]
        middle = np.median(shape, axis=0)
        if middle[0] <= 0 or middle[2] <= 0 or middle[0] * middle[2] <= 1.05 * middle[1] ** 2:
            continue
        work.priors[kind] = middle
        typical = 0.5 * (middle[0] + middle[2])
        scatter = np.mean((1.4826 * np.median(np.abs(shape - middle), axis=0)) ** 2)
        if not loose:
            sample = examine(work, spread(np.flatnonzero(mine), MAX_FOR_SHAPES)).covariance
            scatter -= float(np.nanmean(np.nanmedian(sample[:, (PYY, PYX, PXX), (PYY, PYX, PXX)], axis=0)))
        least = 0.6 if loose else 0.02
        work.strengths[kind] = 1.0 / max(scatter, (least * typical) ** 2)


def usable_for_noise(work: Work) -> Int64[np.ndarray, " column"]:
    """Return at most `MAX_FOR_NOISE` well-behaved columns with complete windows, spread over the image."""
    rows = spread(np.flatnonzero(work.converged & (work.theta[:, AMPLITUDE] > 0)), MAX_FOR_NOISE)
    found = examine(work, rows)
    fine = (found.chi2 < 2.5 * np.nanmedian(found.chi2)) & (found.lost == 0) if len(rows) else np.zeros(0, dtype=bool)
    return rows[fine]


def learn_noise(work: Work, *, shift_px: Float[np.ndarray, "row 2"] | None = None) -> None:
    """Set the variance line from the residuals of good columns, the given shifts of rows taken out."""
    rows = usable_for_noise(work)
    if len(rows) < 5:
        return
    level, square = np.zeros((len(rows), BINS, 2)), np.zeros((len(rows), BINS))
    shift_px = np.zeros((work.image.shape[0], 2)) if shift_px is None else shift_px
    residuals.bin_residuals(*arguments(work, rows), shift_px, level, square)
    work.variance = fit_variance(level, square)


def learn_row_shifts(work: Work) -> RowShifts:
    """Return the shifts of rows and the jitter behind them, from the residuals of all good columns."""
    rows = spread(np.flatnonzero(work.converged & (work.theta[:, AMPLITUDE] > 0)), MAX_FOR_ROWS)
    side = 2 * int(work.radius.max() + 0.5) + 1
    height = work.image.shape[0]
    total, pull = np.zeros((STRIPS, 2, height)), np.zeros((STRIPS, 2, height))
    band = np.zeros((STRIPS, 2, height, 2 * side - 1))
    residuals.row_statistics(*arguments(work, rows), total, pull, band)
    return row_shifts(total.sum(axis=0), pull.sum(axis=0), band.sum(axis=0))


def learn_background(work: Work) -> None:
    """Set the slope of the background under each column, and its level, from the fitted backgrounds around it.

    A slope that the fit does not know pulls every column uphill. Fitted per column it would cost accuracy; the
    backgrounds of the columns within some cells give it for nothing. The grid is coarse, and the two sublattices are
    taken relative to their own median, as the tails of one lie under the other.
    """
    light = work.theta[:, BACKGROUND].copy()
    good = work.converged & (work.theta[:, AMPLITUDE] > 0)
    if not good.any():
        return
    median = np.array([np.median(light[k]) if (k := good & (work.kind == s)).any() else 0.0 for s in (0, 1)])
    light -= median[work.kind]
    spacing = BACKGROUND_GRID * work.step_px
    at = work.theta[:, :2] / spacing
    shape = tuple(int(np.ceil(n / spacing)) + 1 for n in work.image.shape)
    index = np.clip(np.rint(at).astype(int), 0, np.array(shape) - 1)
    flat = np.ravel_multi_index(tuple(index[good].T), shape)
    clipped = np.clip(light[good], *np.percentile(light[good], [1, 99]))
    size = shape[0] * shape[1]
    count = np.bincount(flat, minlength=size).reshape(shape).astype(float)
    total = np.bincount(flat, weights=clipped, minlength=size).reshape(shape)
    total, count = (scipy.ndimage.gaussian_filter(v, 1.5, mode="constant", truncate=3.0) for v in (total, count))
    smooth = np.divide(total, count, out=np.zeros(shape), where=count > 0.02 * count.max())
    work.ground = median[work.kind] + scipy.ndimage.map_coordinates(smooth, at.T, order=1, mode="nearest")
    for axis in (0, 1):
        if shape[axis] >= 4:
            slope = np.gradient(smooth, spacing, axis=axis)
            work.tilt[:, axis] = scipy.ndimage.map_coordinates(slope, at.T, order=1, mode="nearest")


def correlation(
    work: Work, shift_px: Float[np.ndarray, "row 2"], good: Int64[np.ndarray, " column"]
) -> tuple[float, float]:
    """Return by how much the correlation of the noise widens the variance of y and of x."""
    factors = []
    for kind in (0, 1):
        chosen = spread(good[work.kind[good] == kind], MAX_FOR_CORRELATION)
        if len(chosen) < 10:
            continue
        side = 2 * int(work.radius.max() + 0.5) + 1
        windows = np.full((len(chosen), side, side), np.nan)
        residuals.residual_windows(*arguments(work, chosen), shift_px, windows)
        jacobian, inside = _typical_jacobian(work, kind, side)
        prior = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]) * work.strengths[kind]
        factors.append(correlation_factors(windows, jacobian, inside, prior))
    y, x = np.mean(factors, axis=0).tolist() if factors else (1.0, 1.0)
    return y, x


def _typical_jacobian(
    work: Work, kind: int, side: int
) -> tuple[Float[np.ndarray, "pixel 7"], Bool[np.ndarray, "side side"]]:
    """Return the derivatives of the median column of a kind in units of the noise, and its window."""
    mine = work.theta[work.kind == kind]
    light = np.median(mine[:, (AMPLITUDE, BACKGROUND)], axis=0)
    shape = work.priors[kind]
    v, u = np.mgrid[:side, :side] - side // 2
    inside = v**2 + u**2 <= work.radius[kind] ** 2
    a, b = v[inside].astype(float), u[inside].astype(float)
    q = shape[0] * a * a + 2 * shape[1] * a * b + shape[2] * b * b
    at = q * work.profile.per_q[kind]
    nodes = np.arange(kernels.TABLE + 1)
    f = np.interp(at, nodes, work.profile.tables[kind], right=0.0)
    d = np.interp(at, nodes, work.profile.slopes[kind], right=0.0) * work.profile.per_q[kind] * light[0]
    columns = np.empty((len(a), 7))
    columns[:, Y], columns[:, X] = -2 * d * (shape[0] * a + shape[1] * b), -2 * d * (shape[1] * a + shape[2] * b)
    columns[:, AMPLITUDE], columns[:, BACKGROUND] = f, 1.0
    columns[:, PYY], columns[:, PYX], columns[:, PXX] = d * a * a, 2 * d * a * b, d * b * b
    line = np.maximum(work.variance.floor + work.variance.gain * (light[1] + light[0] * f), work.variance.least)
    return columns / np.sqrt(line)[:, None], inside
