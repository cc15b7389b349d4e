"""Pieces of outline → smooth curves with a sigma for every point, and their length."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int64
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from dipolar.maps.scan_outline import Ending, Piece

SPACING = 0.25
"""Distance of points along a curve, in probe steps."""
OPEN_END = 0.5
"""How far an open end of a wall may be from its true place, in probe steps: one standard error."""
FARTHEST = 1.0
"""Probe steps that a curve is moved by at most, at once."""
TWICE = 1.44
"""Variance left by a Gaussian that runs twice, over that left by one that runs once."""
ROUND = 12.0
"""A loop is smoothed by no more than its length over this, so that a small one stays one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanCurve:
    """A wall as a smooth curve."""

    points: Float[np.ndarray, "point 2"]
    """(scan_y, scan_x)."""
    scatter: Float[np.ndarray, " point"]
    """One standard error of each point across the wall, from how much the raw outline scatters about the curve."""
    averaged: float
    """Length along the curve that each point is a mean over."""
    smoothing: float
    """Standard deviation of the Gaussian that it was smoothed with."""
    ends: tuple[Ending, Ending] | None
    """What its ends are; None for a loop."""
    change: float
    """What smoothing it twice as far would change of its length."""

    @property
    def length(self) -> float:
        """Length of the curve."""
        return length_of(self.points)

    @property
    def length_sigma(self) -> float:
        """One standard error of it: open ends, more or less smoothing, and bends that are only noise.

        Errors of standard deviation σ along a curve that is smoothed over s make it longer by a share of 0.38 σ²/s²,
        and by as much again where the first outline keeps some of its own.
        """
        open_ends = 0 if self.ends is None else 2
        bends = 0.76 * self.length * float(np.mean(self.scatter**2)) / max(self.smoothing, 0.1) ** 2
        return float(np.sqrt(open_ends * OPEN_END**2 + self.change**2 + bends**2))

    @property
    def normal(self) -> Float[np.ndarray, "point 2"]:
        """Unit vector to the right, as seen on the screen: towards the class after the wall."""
        ahead = np.gradient(self.points, axis=0)
        if len(self.points) > 3 and np.array_equal(self.points[0], self.points[-1]):
            ahead[0] = ahead[-1] = self.points[1] - self.points[-2]
        right = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
        return right / np.maximum(np.linalg.norm(right, axis=1), 1e-12)[:, None]


def length_of(points: Float[np.ndarray, "point 2"]) -> float:
    """Return the length of a polyline."""
    return float(np.sum(np.linalg.norm(np.diff(points, axis=0), axis=1)))


def smoothed(piece: Piece, shape: tuple[int, int], smoothing: float) -> ScanCurve:
    """Return the curve of a wall.

    A Gaussian runs along the outline and over what it took away once more (so that bends are not cut short); ends stay
    in place, and those at the edge of the scan are drawn out to the outer side of the last position.

    Parameters
    ----------
    piece
        The outline.
    shape
        (scan_y, scan_x) of the scan.
    smoothing
        Standard deviation of the Gaussian, in probe steps.
    """
    raw = _even(np.concatenate([piece.points, piece.points[:1]]) if piece.closed else piece.points)
    around = length_of(raw)
    width = min(smoothing, around / ROUND)
    points = _twice(raw, width / SPACING, closed=piece.closed)
    wider = _twice(raw, 2.0 * width / SPACING, closed=piece.closed)
    gain = _noise_kept(width)
    scatter = _scatter(piece.points, points, width, gain)
    change = length_of(wider) - length_of(points)
    if not piece.closed:
        points, scatter = _to_edges(points, scatter, piece.ends, shape)
    return ScanCurve(
        points=points,
        scatter=scatter,
        averaged=1.0 / gain,
        smoothing=width,
        ends=None if piece.closed else piece.ends,
        change=change,
    )


def moved(
    curve: ScanCurve,
    nearest: Int64[np.ndarray, " position"],
    distance: Float[np.ndarray, " position"],
    share: Float[np.ndarray, " position"],
    half_width: float,
    plateaus: tuple[float, float] = (0.0, 1.0),
) -> ScanCurve:
    """Return the curve moved to where the positions beside it say, all those within the wall instead of two per row.

    ``s(l) = -Σ K g' (g_i - g(d_i)) / Σ K g'²`` with ``g(d) = (1 + tanh(d/ξ))/2`` and a Gaussian K along the curve, as
    wide as the smoothing: weighted least squares, one step. Sigma is that of the residuals.

    Parameters
    ----------
    curve
        Close to where it should be.
    nearest, distance
        Point of the curve that each position is nearest to, and how far to the right of the curve it is.
    share
        Share of the class after the wall there.
    half_width
        ξ in probe steps.
    plateaus
        Share far before the wall and far after it: the wall is half way between.
    """
    model = np.tanh(distance / half_width)
    low, high = plateaus
    slope = 0.5 * (high - low) * (1.0 - model**2) / half_width
    left = share - low - 0.5 * (high - low) * (1.0 + model)
    count, mode = len(curve.points), "wrap" if curve.ends is None else "nearest"
    width = curve.smoothing / SPACING
    push, pull, noise = (
        np.bincount(nearest, weights=weights, minlength=count)
        for weights in (slope * left, slope**2, slope**2 * left**2)
    )
    weight = gaussian_filter1d(pull, width, mode=mode)
    some = weight > 1e-3 * max(float(weight.max()), 1e-12)
    safe = np.where(some, weight, 1.0)
    shift = np.where(some, -gaussian_filter1d(push, width, mode=mode) / safe, 0.0)
    far = 4.0 * width
    variance = gaussian_filter1d(noise, far, mode=mode) / np.maximum(gaussian_filter1d(pull, far, mode=mode), 1e-12)
    squared = gaussian_filter1d(pull, width / np.sqrt(2.0), mode=mode) / (2.0 * np.sqrt(np.pi) * width)
    # moving twice keeps more of the noise than moving once, as smoothing twice does
    sigma = np.sqrt(TWICE * variance * squared) / safe
    shift = np.clip(shift, -FARTHEST, FARTHEST) * _free(curve)
    points = curve.points + shift[:, None] * curve.normal
    if curve.ends is None:
        points[-1] = points[0]
    return replace(curve, points=points, scatter=np.where(some, sigma, curve.scatter))


def _free(curve: ScanCurve) -> Float[np.ndarray, " point"]:
    """Return how free each point is to move: not at all where walls meet, all the more the further from there."""
    free = np.ones(len(curve.points))
    along = SPACING * np.arange(len(free))
    for end, from_end in zip(curve.ends or (), (along, along[::-1]), strict=False):
        if end == "meeting":
            free *= 1.0 - np.exp(-0.5 * (from_end / max(curve.smoothing, 0.5)) ** 2)
    return free


def _even(points: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, "even 2"]:
    """Return points of equal distance along a polyline, both ends included."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0.0, along[-1], max(4, round(float(along[-1] / SPACING)) + 1))
    return np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1)


def _twice(points: Float[np.ndarray, "point 2"], width: float, *, closed: bool) -> Float[np.ndarray, "point 2"]:
    """Return the points smoothed, plus the smoothed rest: a bend of radius R loses no width² / 2R this way."""
    once = _gaussian(points, width, closed=closed)
    return once + _gaussian(points - once, width, closed=closed)


def _gaussian(points: Float[np.ndarray, "point 2"], width: float, *, closed: bool) -> Float[np.ndarray, "point 2"]:
    if closed:
        inner = gaussian_filter1d(points[:-1], width, axis=0, mode="wrap")
        return np.concatenate([inner, inner[:1]])
    pad = min(len(points) - 1, int(4 * width) + 1)
    long = np.pad(points, ((pad, pad), (0, 0)), mode="reflect", reflect_type="odd")  # keeps the ends where they are
    return gaussian_filter1d(long, width, axis=0)[pad : len(long) - pad]


def _noise_kept(width: float) -> float:
    """Return which share of the variance of one crossing per step is left: the integral of the kernel squared."""
    root = np.sqrt(2.0 * np.pi) * max(width, 0.3)
    return float(min(1.0, (4.0 / np.sqrt(2.0) - 4.0 / np.sqrt(3.0) + 0.5) / root))


def _scatter(
    raw: Float[np.ndarray, "raw 2"], points: Float[np.ndarray, "point 2"], width: float, gain: float
) -> Float[np.ndarray, " point"]:
    """Return one standard error of each point: the local RMS distance of the raw outline, averaged down."""
    distance, nearest = cKDTree(points).query(raw)
    off, count = (
        np.bincount(nearest, weights=weights, minlength=len(points))
        for weights in (distance**2, np.ones(len(distance)))
    )
    reach = max(2.0 * width, 1.0) / SPACING
    local = gaussian_filter1d(off, reach, mode="nearest") / np.maximum(
        gaussian_filter1d(count, reach, mode="nearest"), 1e-9
    )
    return np.sqrt(local * gain / max(1.0 - gain, 0.3))


def _to_edges(
    points: Float[np.ndarray, "point 2"],
    scatter: Float[np.ndarray, " point"],
    ends: tuple[Ending, Ending],
    shape: tuple[int, int],
) -> tuple[Float[np.ndarray, "longer 2"], Float[np.ndarray, " longer"]]:
    """Draw ends at the edge of the scan straight on, to the outer side of the last position, half a step further."""
    for end in (0, -1):
        if ends[end] != "edge":
            continue
        inner = points[min(6, len(points) - 1)] if end == 0 else points[max(-7, -len(points))]
        ahead = points[end] - inner
        last = np.array(shape) - 1.0
        outward = np.where(np.abs(points[end]) <= np.abs(last - points[end]), -1.0, 1.0) * ahead
        gap = np.minimum(np.abs(points[end]), np.abs(last - points[end]))
        axis = int(np.argmin(gap))
        if outward[axis] <= 1e-9:
            continue
        # no more than a whole step, where a wall runs along the edge
        share = min(0.5 / outward[axis], 1.0 / max(float(np.linalg.norm(ahead)), 1e-9))
        more = points[end] + share * ahead
        points = np.concatenate([more[None], points] if end == 0 else [points, more[None]])
        scatter = np.concatenate([scatter[:1], scatter] if end == 0 else [scatter, scatter[-1:]])
    return points, scatter
