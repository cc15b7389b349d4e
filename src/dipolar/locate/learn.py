"""What a fit learns from the image between its passes: surroundings, noise and shifts of rows."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Int64

from dipolar.locate import residuals
from dipolar.locate.light import AMPLITUDE, BACKGROUND, PXX, PYX, PYY, X, Y
from dipolar.locate.noise import (
    LONG,
    RowShifts,
    correlation_factors,
    fit_variance,
    long_correlation_factors,
    row_shifts,
)
from dipolar.locate.work import Work, examine, spread

BINS = 12
MAX_FOR_NOISE = 1500
MAX_FOR_SHAPES = 500
MAX_FOR_ROWS = 8_000
MAX_FOR_CORRELATION = 250
STRIPS = 4
"""Independent sums over columns, so that threads do not meet."""
MAP_GRID = 6.0
"""Spacing, in A-B distances, of the grid of smooth maps over the image."""
SHAPE_LOOSE = 0.6
SHAPE_SCATTER = (0.02, 0.15)
"""Least and largest scatter of shapes that is believed, relative to the shape."""
CROWDED_SHAPE_SCATTER = (0.02, 0.05)
"""The same where oxygen overlaps its neighbours: what looks like a stretched column is mostly another one beside it."""
GROUND_SCATTER = 0.05
"""How far, in amplitudes of the brighter kind, a background may stray from the valleys between the columns. A column
that stands apart knows its background ten times better; overlapping ones can trade it for width without end."""
CROWDED_GROUND_SCATTER = 0.02
"""The same where oxygen fills what would be background."""


def learn_surroundings(work: Work, *, loose: bool) -> None:
    """Set, for every column, what its surroundings say of its shape and its background, and how firmly.

    Smooth maps of each over the image, and the scatter about them beyond what noise explains (empirical Bayes). The
    slope of the background map is taken out of every window: a slope that the fit does not know pulls a column uphill,
    and fitted per column it would cost accuracy.

    Parameters
    ----------
    work
        The state to change.
    loose
        Before noise and shapes are known: only medians, and hardly a hold.
    """
    good = work.converged & (work.theta[:, AMPLITUDE] > 0)
    levels = work.theta[:, BACKGROUND].copy()
    for kind in range(work.kinds):
        mine = work.kind == kind
        rows = np.flatnonzero(mine & good) if np.count_nonzero(mine & good) >= 12 else np.flatnonzero(mine)
        if not len(rows):
            continue
        middle = np.median(work.theta[rows, PYY:], axis=0)
        if middle[0] > 0 and middle[2] > 0 and middle[0] * middle[2] > 1.05 * middle[1] ** 2:
            work.typical[kind] = middle
        noise = None if loose else examine(work, spread(rows, MAX_FOR_SHAPES)).covariance
        _learn_shapes(work, kind, rows, noise)
        _learn_ground(work, kind, rows, noise)
        levels[mine] -= np.median(levels[rows])
    if good.any():
        smooth = _Map(work, np.flatnonzero(good), levels[good])
        work.tilt = smooth.slope(work.theta[:, :2])


def _learn_shapes(
    work: Work, kind: int, rows: Int64[np.ndarray, " chosen"], noise: Float[np.ndarray, "sample 7 7"] | None
) -> None:
    mine, shape = work.kind == kind, work.theta[rows, PYY:]
    typical = 0.5 * (work.typical[kind, 0] + work.typical[kind, 2])
    if noise is None:
        work.shapes[mine] = work.typical[kind]
        work.strengths[kind] = (SHAPE_LOOSE * typical) ** -2
        return
    maps = [_Map(work, rows, shape[:, m]) for m in range(3)]
    work.shapes[mine] = np.column_stack([m(work.theta[mine, :2]) for m in maps])
    scatter = np.mean((1.4826 * np.median(np.abs(shape - work.shapes[rows]), axis=0)) ** 2)
    own = float(np.nanmean(np.nanmedian(noise[:, (PYY, PYX, PXX), (PYY, PYX, PXX)], axis=0)))
    limits = CROWDED_SHAPE_SCATTER if work.crowded else SHAPE_SCATTER
    variance = 1.0 / _strength(float(scatter), own, work.strengths[kind], typical, limits)
    work.strengths[kind] = work.correlation / variance


def _learn_ground(
    work: Work, kind: int, rows: Int64[np.ndarray, " chosen"], noise: Float[np.ndarray, "sample 7 7"] | None
) -> None:
    mine = work.kind == kind
    work.ground[mine] = _Map(work, rows, work.valley[rows])(work.theta[mine, :2])
    work.firmness[kind] = 0.0 if noise is None else work.correlation * ground_scatter(work) ** -2


def ground_scatter(work: Work) -> float:
    """Return how far a background may stray from the valleys between the columns."""
    brightest = max(float(np.median(np.abs(work.theta[work.kind == k, AMPLITUDE]))) for k in np.unique(work.kind))
    return (CROWDED_GROUND_SCATTER if work.crowded else GROUND_SCATTER) * brightest


def _strength(scatter: float, own: float, before: float, typical: float, limits: tuple[float, float]) -> float:
    """Return 1 / variance of the true values about their map.

    Values fitted freely scatter by the truth plus their noise; values fitted under a prior scatter by less than the
    truth, by their posterior variance (the step of an expectation-maximisation).
    """
    variance = scatter - own if before * own < 0.1 else scatter + own
    low, high = (typical * limit for limit in limits)
    return 1.0 / float(np.clip(variance, low**2, high**2))


class _Map:
    """A smooth map over the image of values known at columns: a plane, and on a coarse grid what it leaves over.

    The plane keeps the slope where the grid, smoothed, would flatten it: towards the rim and in small images.
    """

    def __init__(self, work: Work, rows: Int64[np.ndarray, " chosen"], values: Float[np.ndarray, " chosen"]) -> None:
        points = work.theta[rows, :2]
        self.middle = points.mean(axis=0)
        base = np.column_stack([np.ones(len(points)), points - self.middle])
        near = np.abs(values - np.median(values)) <= 3.0 * np.percentile(np.abs(values - np.median(values)), 75)
        self.plane = np.linalg.lstsq(base[near], values[near], rcond=None)[0]
        points, left = points[near], (values - base @ self.plane)[near]
        self.spacing = MAP_GRID * work.step_px
        self.shape = tuple(int(np.ceil(n / self.spacing)) + 1 for n in work.image.shape)
        index = np.clip(np.rint(points / self.spacing).astype(int), 0, np.array(self.shape) - 1)
        flat, size = np.ravel_multi_index(tuple(index.T), self.shape), self.shape[0] * self.shape[1]
        clipped = np.clip(left, *np.percentile(left, [2, 98]))
        sums = (np.bincount(flat, weights=w, minlength=size).reshape(self.shape) for w in (np.ones(len(left)), clipped))
        count, total = (scipy.ndimage.gaussian_filter(v, 1.5, mode="constant", truncate=3.0) for v in sums)
        self.grid = np.divide(total, count, out=np.zeros(self.shape), where=count > 0.02 * count.max())

    def __call__(self, points_px: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, " point"]:
        return self.plane[0] + (points_px - self.middle) @ self.plane[1:] + self._at(self.grid, points_px)

    def slope(self, points_px: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, "point 2"]:
        """Return the slope of the map per px."""
        slopes = np.tile(self.plane[1:], (len(points_px), 1))
        for axis in (0, 1):
            if self.shape[axis] >= 4:
                slopes[:, axis] += self._at(np.gradient(self.grid, self.spacing, axis=axis), points_px)
        return slopes

    def _at(
        self, grid: Float[np.ndarray, "row col"], points_px: Float[np.ndarray, "point 2"]
    ) -> Float[np.ndarray, " point"]:
        return scipy.ndimage.map_coordinates(grid, points_px.T / self.spacing, order=1, mode="nearest")


def usable_for_noise(work: Work) -> Int64[np.ndarray, " column"]:
    """Return at most `MAX_FOR_NOISE` well-behaved columns with complete windows, spread over the image."""
    rows = spread(np.flatnonzero(work.converged & (work.theta[:, AMPLITUDE] > 0)), MAX_FOR_NOISE)
    found = examine(work, rows)
    if not len(rows):
        return rows
    # four standard deviations of chi²; correlated noise has fewer independent pixels
    limit = 1.0 + 4.0 * np.sqrt(2.0 * work.correlation / max(float(np.median(found.pixels)), 1.0))
    return rows[(found.chi2 < limit * np.nanmedian(found.chi2)) & (found.lost == 0)]


def learn_noise(work: Work, *, shift_px: Float[np.ndarray, "row 2"] | None = None) -> None:
    """Set the variance line from the residuals of good columns, the given shifts of rows taken out."""
    rows = usable_for_noise(work)
    if len(rows) < 5:
        return
    level, square = np.zeros((len(rows), BINS, 2)), np.zeros((len(rows), BINS))
    shift_px = np.zeros((0, 2)) if shift_px is None else shift_px
    residuals.bin_residuals(work.state(), rows, shift_px, level, square)
    work.variance = fit_variance(level, square, slope=work.slope)
    work.factors = correlation(work, shift_px, rows)


def learn_row_shifts(work: Work) -> RowShifts:
    """Return the shifts of rows and the jitter behind them, from the residuals of all good columns."""
    rows = spread(np.flatnonzero(work.converged & (work.theta[:, AMPLITUDE] > 0)), MAX_FOR_ROWS)
    side = 2 * int(work.radius.max() + 0.5) + 1
    height = work.image.shape[0]
    total, pull = np.zeros((STRIPS, 2, height)), np.zeros((STRIPS, 2, height))
    band = np.zeros((STRIPS, 2, height, 2 * side - 1))
    residuals.row_statistics(work.state(), rows, total, pull, band)
    return row_shifts(total.sum(axis=0), pull.sum(axis=0), band.sum(axis=0))


def correlation(
    work: Work, shift_px: Float[np.ndarray, "row 2"], good: Int64[np.ndarray, " column"]
) -> tuple[float, float]:
    """Return by how much the correlation of the noise widens the variance of y and of x."""
    factors = []
    for kind in range(work.kinds):
        chosen = spread(good[work.kind[good] == kind], MAX_FOR_CORRELATION)
        if len(chosen) < 10:
            continue
        side = 2 * int(work.radius.max() + 0.5) + 1
        windows = np.full((len(chosen), side, side), np.nan)
        residuals.residual_windows(work.state(), chosen, shift_px, windows)
        jacobian, inside = _typical_jacobian(work, kind, side)
        prior = np.array([0.0, 0.0, 0.0, work.firmness[kind], *(work.strengths[kind],) * 3])
        found = correlation_factors(windows, jacobian, inside, prior)
        factors.append(found if max(found) < LONG else long_correlation_factors(windows, jacobian, inside, prior))
    y, x = np.mean(factors, axis=0).tolist() if factors else (1.0, 1.0)
    return y, x


def _typical_jacobian(
    work: Work, kind: int, side: int
) -> tuple[Float[np.ndarray, "pixel 7"], Bool[np.ndarray, "side side"]]:
    """Return the derivatives of the median column of a kind in units of the noise, and its window."""
    mine = work.theta[work.kind == kind]
    light = np.median(mine[:, (AMPLITUDE, BACKGROUND)], axis=0)
    shape = work.typical[kind]
    v, u = np.mgrid[:side, :side] - side // 2
    inside = v**2 + u**2 <= work.radius[kind] ** 2
    a, b = v[inside].astype(float), u[inside].astype(float)
    q = shape[0] * a * a + 2 * shape[1] * a * b + shape[2] * b * b
    weights, rates = work.profile.weights[kind], work.profile.rates[kind]
    fading = np.exp(-np.outer(q, rates))
    f, d = fading @ weights, -light[0] * fading @ (weights * rates)
    columns = np.empty((len(a), 7))
    columns[:, Y], columns[:, X] = -2 * d * (shape[0] * a + shape[1] * b), -2 * d * (shape[1] * a + shape[2] * b)
    columns[:, AMPLITUDE], columns[:, BACKGROUND] = f, 1.0
    columns[:, PYY], columns[:, PYX], columns[:, PXX] = d * a * a, 2 * d * a * b, d * b * b
    line = np.maximum(work.variance.floor + work.variance.gain * (light[1] + light[0] * f), work.variance.least)
    return columns / np.sqrt(line)[:, None], inside
