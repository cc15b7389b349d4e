"""Fitting all columns of an image together: passes of neighbour subtraction around the batched kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Float32, Int8, Int32, Int64
from scipy.spatial import cKDTree

from dipolar.core.contracts import Progress, silent
from dipolar.locate import kernels
from dipolar.locate.kernels import AMPLITUDE, BACKGROUND, PXX, PYX, PYY, X, Y
from dipolar.locate.noise import (
    RowShifts,
    Variance,
    correlation_factors,
    first_variance,
    fit_variance,
    row_shifts,
)
from dipolar.locate.patch import PER_COLUMN, PLANE, Reduced, patch_normals, reduce_to_profile
from dipolar.locate.profile import Profile, gaussian_profile, solve_profile

FIRST_WIDTH = 0.17
"""Width of a HAADF column over the A-B distance, before anything is known."""
BINS = 12
MAX_FOR_NOISE = 6000
MAX_FOR_SHAPES = 1000
MAX_PATCHES = 3
PATCH_STEPS = 9.0
"""Edge of a patch in A-B distances, where that makes no more than `MAX_PATCH_PX` pixels."""
MAX_PATCH_PX = 40_000
MAX_FOR_CORRELATION = 400
LEARNING_PASSES = 2
LEARNING_ROUNDS = 3
STRIPS = 4
"""Independent sums over columns, so that threads do not meet."""
BACKGROUND_GRID = 6.0
"""Spacing, in A-B distances, of the grid on which the background's slope is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractFit:
    """How columns are fitted. Subclass to fit another profile; see `SharedProfileFit`."""

    radius_widths: float = 3.0
    """Radius of the fitting window in column widths: at 3, less than half a per cent of the information is outside."""
    passes: int = 3
    """Passes over all columns after the first, each with the neighbours of the pass before subtracted."""

    @property
    def learns_profile(self) -> bool:
        """Whether the profile of each sublattice is learned from the image."""
        raise TypeError(f"{type(self).__name__} does not say whether it learns its profile")


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianFit(AbstractFit):
    """Elliptical Gaussians, as in the published work; biased where columns have tails."""

    @property
    def learns_profile(self) -> bool:
        """Return False: the profile is a Gaussian."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedProfileFit(AbstractFit):
    """Elliptical columns whose radial profile is shared by the sublattice and learned from the image (default)."""

    component_widths: tuple[float, ...] = (0.65, 0.8, 1.0, 1.25, 1.6, 2.1, 2.8)
    """Widths of the Gaussians in the mixture, relative to the first fit."""

    @property
    def learns_profile(self) -> bool:
        """Return True: a mixture of Gaussians, learned."""
        return True


@dataclass(slots=True, kw_only=True, eq=False)
class Work:
    """The state of a fit between passes. Arrays are per column unless said otherwise."""

    image: Float32[np.ndarray, "y x"]
    kind: Int8[np.ndarray, " column"]
    theta: Float[np.ndarray, "column 7"]
    tilt: Float[np.ndarray, "column 2"]
    step_px: float
    choice: AbstractFit
    profile: Profile = field(default_factory=gaussian_profile)
    variance: Variance = field(default_factory=lambda: Variance(floor=1.0, gain=0.0, least=1.0))
    priors: Float[np.ndarray, "kind 3"] = field(default_factory=lambda: np.zeros((2, 3)))
    strengths: Float[np.ndarray, " kind"] = field(default_factory=lambda: np.zeros(2))
    converged: Bool[np.ndarray, " column"] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    starts: Int64[np.ndarray, " start"] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    neighbours: Int32[np.ndarray, " neighbour"] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))

    @property
    def radius(self) -> Float[np.ndarray, " kind"]:
        """Radius of the fitting window per kind, in px."""
        radius = self.choice.radius_widths * np.array([self.width(0), self.width(1)])
        return np.clip(radius, min(2.6, 0.8 * self.step_px), 0.85 * self.step_px)

    def width(self, kind: int) -> float:
        """Return the typical core width of a kind, in px."""
        shape = self.priors[kind]
        return float((shape[0] * shape[2] - shape[1] ** 2) ** -0.25)

    def tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return tables, slopes and scale of the profiles, as the kernels take them."""
        return self.profile.tables, self.profile.slopes, self.profile.per_q


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examined:
    """What the windows of the examined columns say at the present parameters."""

    covariance: Float[np.ndarray, "column 7 7"]
    """Inverse of the information on the seven parameters."""
    chi2: Float[np.ndarray, " column"]
    """Residual variance over the noise."""
    pixels: Int32[np.ndarray, " column"]
    """Valid pixels of the window."""
    lost: Int32[np.ndarray, " column"]
    """Pixels outside the image or invalid."""
    saturated: Int32[np.ndarray, " column"]
    """Pixels at the ceiling."""
    reach_rows: Float[np.ndarray, " column"]
    """Width in rows of the scan rows' shares in the position."""


def start_work(
    image: Float32[np.ndarray, "y x"],
    guesses_px: Float[np.ndarray, "column 2"],
    kind: Int8[np.ndarray, " column"],
    *,
    step_px: float,
    choice: AbstractFit,
) -> Work:
    """Return the state before the first pass: round columns, amplitude and background read off the image."""
    theta = np.zeros((len(guesses_px), kernels.PARAMETERS))
    theta[:, :2] = guesses_px
    reach = max(2, round(0.5 * step_px))
    kernels.first_lights(image, theta, reach)
    width = max(FIRST_WIDTH * step_px, 0.8)
    theta[:, PYY] = theta[:, PXX] = width**-2
    work = Work(image=image, kind=kind, theta=theta, tilt=np.zeros((len(theta), 2)), step_px=step_px, choice=choice)
    work.priors = np.tile([width**-2, 0.0, width**-2], (2, 1))
    work.strengths = np.full(2, (1.0 * width**-2) ** -2)
    work.variance = first_variance(image)
    work.converged = np.zeros(len(theta), dtype=bool)
    return work


def first_fit(work: Work) -> None:
    """Fit roughly: two passes of Gaussians, then the typical shapes and the noise."""
    find_neighbours(work)
    one_pass(work, 3)
    learn_shapes(work, loose=True)
    learn_noise(work)
    find_neighbours(work)
    one_pass(work, 2)
    learn_shapes(work, loose=False)


def full_fit(work: Work, *, progress: Progress = silent) -> None:
    """Fit to the end, learning profile, shapes, background and noise on the way."""
    for number in range(work.choice.passes):
        progress("fitting columns", number / work.choice.passes)
        learn_background(work)
        if work.choice.learns_profile and number < LEARNING_PASSES:
            learn_profile(work)
        find_neighbours(work)
        one_pass(work, 2)
        if number < work.choice.passes - 1:
            learn_shapes(work, loose=False)
            learn_noise(work)
    progress("fitting columns", 1.0)


def find_neighbours(work: Work) -> None:
    """List, for every column, the columns whose light reaches its window."""
    support = max(float(work.profile.support[kind]) * work.width(kind) for kind in (0, 1))
    pairs = cKDTree(work.theta[:, :2]).query_pairs(support + float(work.radius.max()), output_type="ndarray")
    both = np.concatenate([pairs, pairs[:, ::-1]])
    order = np.argsort(both[:, 0], kind="stable")
    work.neighbours = both[order, 1].astype(np.int32)
    work.starts = np.concatenate([[0], np.cumsum(np.bincount(both[:, 0], minlength=len(work.theta)))]).astype(np.int64)


def one_pass(work: Work, iterations: int, *, active: Bool[np.ndarray, " column"] | None = None) -> None:
    """Fit every column (or the active ones) once, its neighbours held."""
    active = np.ones(len(work.theta), dtype=np.bool_) if active is None else active
    out = np.empty_like(work.theta)
    kernels.fit_pass(
        work.image, work.theta, work.tilt, out, active, work.kind, *work.tables(), work.starts,
        work.neighbours, work.radius, np.full(len(out), 0.3 * work.step_px), work.variance.as_tuple(), work.priors,
        work.strengths, iterations, work.converged,
    )  # fmt: skip
    work.theta = out


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
            sample = examine(work, _spread(np.flatnonzero(mine), MAX_FOR_SHAPES)).covariance
            scatter -= float(np.nanmean(np.nanmedian(sample[:, (PYY, PYX, PXX), (PYY, PYX, PXX)], axis=0)))
        least = 0.6 if loose else 0.02
        work.strengths[kind] = 1.0 / max(scatter, (least * typical) ** 2)


def usable_for_noise(work: Work) -> Int64[np.ndarray, " column"]:
    """Return at most `MAX_FOR_NOISE` well-behaved columns with complete windows, spread over the image."""
    rows = _spread(np.flatnonzero(work.converged & (work.theta[:, AMPLITUDE] > 0)), MAX_FOR_NOISE)
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
    kernels.bin_residuals(*_arguments(work, rows), shift_px, level, square)
    work.variance = fit_variance(level, square)


def learn_row_shifts(work: Work) -> RowShifts:
    """Return the shifts of rows and the jitter behind them, from the residuals of all good columns."""
    rows = np.flatnonzero(work.converged & (work.theta[:, AMPLITUDE] > 0))
    side = 2 * int(work.radius.max() + 0.5) + 1
    height = work.image.shape[0]
    total, pull = np.zeros((STRIPS, 2, height)), np.zeros((STRIPS, 2, height))
    band = np.zeros((STRIPS, 2, height, 2 * side - 1))
    kernels.row_statistics(*_arguments(work, rows), total, pull, band)
    return row_shifts(total.sum(axis=0), pull.sum(axis=0), band.sum(axis=0))


def learn_background(work: Work) -> None:
    """Set the slope of the background under each column from the fitted backgrounds around it.

    A slope that the fit does not know pulls every column uphill. Fitted per column it would cost accuracy; the
    backgrounds of the columns within some cells give it for nothing. The grid is coarse, and the two sublattices are
    taken relative to their own mean, as the tails of one lie under the other.
    """
    light = work.theta[:, BACKGROUND].copy()
    good = work.converged & (work.theta[:, AMPLITUDE] > 0)
    for kind in (0, 1):
        mine = good & (work.kind == kind)
        if mine.any():
            light[work.kind == kind] -= np.median(light[mine])
    if not good.any():
        return
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
    for axis in (0, 1):
        if shape[axis] >= 4:
            slope = np.gradient(smooth, spacing, axis=axis)
            work.tilt[:, axis] = scipy.ndimage.map_coordinates(slope, at.T, order=1, mode="nearest")


def learn_profile(work: Work) -> None:
    """Replace the profile by the one that fits some patches of the crystal best.

    Amplitudes, positions and shapes in the patches go along; some rounds make this a joint fit. The columns outside
    only take over the width that the new profile's core has.
    """
    assert isinstance(work.choice, SharedProfileFit)
    width = max(work.width(0), work.width(1))
    relative = np.array([w for w in work.choice.component_widths if w <= max(1.0, 0.55 * work.step_px / width)])
    reach = min(4.0 * float(relative.max()) * width, 2.5 * work.step_px)
    patches = [(box, _members(work, box, reach)) for box in _patches(work, reach)]
    theta, kind = work.theta.copy(), work.kind
    for _ in range(LEARNING_ROUNDS):
        reduced = [_patch(work, theta, relative, box, rows, reach) for box, rows in patches]
        profile, factors, weights = solve_profile(
            np.sum([r.matrix for r in reduced], axis=0), np.sum([r.vector for r in reduced], axis=0), relative,
            work.profile,
        )  # fmt: skip
        for (_, rows), one in zip(patches, reduced, strict=True):
            _move(theta, rows, one.changes(weights), weights.reshape(2, -1).sum(axis=1)[kind[rows]])
        work.profile = profile
        theta[:, PYY:] /= factors[kind][:, None] ** 2
        work.theta[:, PYY:] /= factors[kind][:, None] ** 2
        work.priors = work.priors / factors[:, None] ** 2
        work.strengths = work.strengths * factors**4


def _patch(
    work: Work,
    theta: Float[np.ndarray, "column 7"],
    relative: Float[np.ndarray, " component"],
    box: tuple[int, int, int, int],
    rows: Int64[np.ndarray, " member"],
    reach: float,
) -> Reduced:
    size = 2 * len(relative)
    unknowns = size + PLANE + PER_COLUMN * len(rows)
    matrix, vector = np.zeros((unknowns, unknowns)), np.zeros(unknowns)
    near = 4.0 * max(work.width(0), work.width(1))
    patch_normals(
        work.image, theta, work.kind, *work.tables(), relative, rows, box, reach, near, work.variance.as_tuple(),
        matrix, vector,
    )  # fmt: skip
    return reduce_to_profile(matrix, vector, theta[rows], size)


def _move(
    theta: Float[np.ndarray, "column 7"],
    rows: Int64[np.ndarray, " member"],
    change: Float[np.ndarray, "member 6"],
    scale: Float[np.ndarray, " member"],
) -> None:
    """Apply the changes of a patch's columns, held to what a linear step may claim (in place)."""
    amplitude = theta[rows, AMPLITUDE]
    theta[rows, AMPLITUDE] = amplitude * np.where(scale > 0.3, scale, 1.0)
    theta[rows, AMPLITUDE] += np.clip(change[:, 0], -0.2 * np.abs(amplitude), 0.2 * np.abs(amplitude))
    width = (0.5 * (theta[rows, PYY] + theta[rows, PXX])) ** -0.5
    theta[rows, :2] += np.clip(change[:, 1:3], -0.15 * width[:, None], 0.15 * width[:, None])
    limit = 0.15 * width[:, None] ** -2
    theta[rows, PYY:] += np.clip(change[:, 3:], -limit, limit)


def _patches(work: Work, reach: float) -> list[tuple[int, int, int, int]]:
    """Return up to `MAX_PATCHES` boxes (y0, y1, x0, x1) full of good columns, spread over the image.

    They keep off the rim where there is room: columns beyond it shine in, and nobody knows them.
    """
    shape = np.array(work.image.shape)
    rim = np.minimum(reach, (shape - 4.5 * work.step_px) / 2).clip(0.0)
    room = float(np.min(shape - 2 * rim))
    edge = int(min(PATCH_STEPS * work.step_px, max(np.sqrt(MAX_PATCH_PX), 4.5 * work.step_px), room))
    good = work.converged & (work.theta[:, AMPLITUDE] > 0)
    low, high = rim + 0.5 * edge, shape - 1 - rim - 0.5 * edge
    inside = np.all((work.theta[:, :2] >= low) & (work.theta[:, :2] <= high), axis=1)
    centres = work.theta[_spread(np.flatnonzero(good & inside), 60), :2]
    if not len(centres):
        centres = 0.5 * (low + high)[None, :]
    counts = np.array([len(n) for n in cKDTree(work.theta[good, :2]).query_ball_point(centres, 0.5 * edge, p=np.inf)])
    full = _spread(np.flatnonzero(counts >= 0.95 * counts.max()), MAX_PATCHES)
    corners = np.clip(np.rint(centres[full] - 0.5 * edge), 0, shape - edge).astype(int)
    return [(int(y), int(y) + edge, int(x), int(x) + edge) for y, x in corners]


def _members(work: Work, box: tuple[int, int, int, int], reach: float) -> Int64[np.ndarray, " member"]:
    """Return the columns whose light reaches into the box, sorted by y."""
    y0, y1, x0, x1 = box
    y, x = work.theta[:, Y], work.theta[:, X]
    rows = np.flatnonzero((y > y0 - reach) & (y < y1 + reach) & (x > x0 - reach) & (x < x1 + reach))
    return rows[np.argsort(y[rows])]


def _spread(rows: Int64[np.ndarray, " row"], most: int) -> Int64[np.ndarray, " chosen"]:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))] if len(rows) else rows


def _arguments(work: Work, rows: Int64[np.ndarray, " chosen"]) -> tuple[Any, ...]:
    """Return what all kernels that look at given columns begin with."""
    return (
        work.image, work.theta, work.tilt, rows, work.kind, *work.tables(), work.starts, work.neighbours, work.radius,
        work.variance.as_tuple(), work.priors, work.strengths,
    )  # fmt: skip


def examine(work: Work, rows: Int64[np.ndarray, " chosen"], *, ceiling: float = np.inf) -> Examined:
    """Return covariance, chi² and window statistics of the given columns at the present parameters."""
    count = len(rows)
    covariance, chi2, reach = np.empty((count, 7, 7)), np.empty(count), np.empty(count)
    pixels, lost, saturated = (np.zeros(count, dtype=np.int32) for _ in range(3))
    kernels.examine(*_arguments(work, rows), ceiling, covariance, chi2, pixels, lost, saturated, reach)
    return Examined(
        covariance=covariance, chi2=chi2, pixels=pixels, lost=lost, saturated=saturated, reach_rows=reach
    )


def correlation(
    work: Work, shift_px: Float[np.ndarray, "row 2"], good: Int64[np.ndarray, " column"]
) -> tuple[float, float]:
    """Return by how much the correlation of the noise widens the variance of y and of x."""
    factors = []
    for kind in (0, 1):
        chosen = _spread(good[work.kind[good] == kind], MAX_FOR_CORRELATION)
        if len(chosen) < 10:
            continue
        side = 2 * int(work.radius.max() + 0.5) + 1
        windows = np.full((len(chosen), side, side), np.nan)
        kernels.residual_windows(*_arguments(work, chosen), shift_px, windows)
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
