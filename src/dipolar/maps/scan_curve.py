"""Pieces of outline → smooth curves with a sigma for every point, and their length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from dipolar.maps.scan_outline import Ending, Piece

SPACING = 0.25
"""Distance of points along a curve, in probe steps."""
OPEN_END = 0.5
"""How far an open end of a wall may be from its true place, in probe steps: one standard error."""
ROUND = 12.0
"""A loop is smoothed by no more than its length over this, so that a small one stays one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanCurve:
    """A wall as a smooth curve."""

    points: Float[np.ndarray, "point 2"]
    """(scan_y, scan_x)."""
    scatter: Float[np.ndarray, " point"]
    """One standard error of each point across the wall, from how much the raw outline scatters about the curve."""
    length: float
    """Length."""
    length_sigma: float
    """One standard error of it: open ends, and what smoothing twice as far would change."""
    averaged: float
    """Length along the curve that each point is a mean over."""

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
    ends = 0 if piece.closed else 2
    if not piece.closed:
        points, scatter = _to_edges(points, scatter, piece.ends, shape)
    return ScanCurve(
        points=points,
        scatter=scatter,
        length=length_of(points),
        length_sigma=float(np.sqrt(ends * OPEN_END**2 + change**2)),
        averaged=1.0 / gain,
    )


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
