"""Smooth curves through the steps of a boundary, and where cells lie beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.polynomial import polynomial
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

STEP = 0.25
"""Distance of points along a curve, in edges of the cell."""
STRAIGHT = 0.6
"""RMS distance of the steps of a boundary from its curve, in edges; a straight wall across the lattice has 0.3."""
SMOOTHING = 3.0
"""Standard deviation, in edges, of the smoothing of boundaries that wind too much for a polynomial."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Points close to each other along a wall, and its directions there."""

    points_px: Float[np.ndarray, "point 2"]
    """(y, x)."""
    tangent: Float[np.ndarray, "point 2"]
    """Unit vector ahead."""
    along_px: Float[np.ndarray, " point"]
    """Length from the first point."""
    closed: bool
    """Whether the last point meets the first."""

    @property
    def normal(self) -> Float[np.ndarray, "point 2"]:
        """Unit vector to the right, as seen on the screen: into the second domain."""
        return np.stack([self.tangent[:, 1], -self.tangent[:, 0]], axis=1)


def smooth_curve(points_px: Float[np.ndarray, "point 2"], *, edge_px: float, closed: bool) -> Curve:
    """Return the curve of a boundary: a polynomial over its chord where one fits, else its points smoothed.

    Parameters
    ----------
    points_px
        Points of the boundary in order, two or more.
    edge_px
        Edge of the cell.
    closed
        Whether the last point is next to the first.
    """
    if not closed:
        fitted = _polynomial(points_px, edge_px)
        if fitted is not None:
            return _curve(fitted, edge_px, closed=False)
    even = _even(np.concatenate([points_px, points_px[:1]]) if closed else points_px, 0.5 * edge_px)
    width = SMOOTHING / 0.5
    if closed:
        smooth = gaussian_filter1d(even[:-1], width, axis=0, mode="wrap")
        return _curve(np.concatenate([smooth, smooth[:1]]), edge_px, closed=True)
    pad = min(len(even) - 1, int(4 * width))
    long = np.pad(even, ((pad, pad), (0, 0)), mode="reflect", reflect_type="odd")  # keeps the ends where they are
    return _curve(gaussian_filter1d(long, width, axis=0)[pad : len(long) - pad], edge_px, closed=False)


def _polynomial(points_px: Float[np.ndarray, "point 2"], edge_px: float) -> Float[np.ndarray, "even 2"] | None:
    middle = points_px.mean(axis=0)
    _, _, axes = np.linalg.svd(points_px - middle, full_matrices=False)
    ahead = axes[0] if (points_px[-1] - points_px[0]) @ axes[0] >= 0 else -axes[0]
    aside = np.array([-ahead[1], ahead[0]])
    s, h = (points_px - middle) @ ahead, (points_px - middle) @ aside
    steps = np.diff(s)
    if np.sum(-steps[steps < 0]) > 0.1 * np.ptp(s) + 0.5 * edge_px:
        return None
    for degree in range(1, min(4, len(s) // 6 + 2)):
        coefficients = polynomial.polyfit(s / edge_px, h, degree)
        if np.sqrt(np.mean((polynomial.polyval(s / edge_px, coefficients) - h) ** 2)) < STRAIGHT * edge_px:
            even = np.linspace(s.min(), s.max(), max(2, int(np.ptp(s) / (STEP * edge_px)) + 1))
            return middle + even[:, None] * ahead + polynomial.polyval(even / edge_px, coefficients)[:, None] * aside
    return None


def _even(points_px: Float[np.ndarray, "point 2"], step_px: float) -> Float[np.ndarray, "even 2"]:
    """Return points of equal distance along a polyline, both ends included."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points_px, axis=0), axis=1))])
    at = np.linspace(0.0, along[-1], max(2, round(float(along[-1] / step_px)) + 1))
    return np.stack([np.interp(at, along, points_px[:, axis]) for axis in (0, 1)], axis=1)


def _curve(points_px: Float[np.ndarray, "smooth 2"], edge_px: float, *, closed: bool) -> Curve:
    points = _even(points_px, STEP * edge_px)
    ahead = np.gradient(points, axis=0)
    if closed and len(points) > 2:
        ahead[0] = ahead[-1] = points[1] - points[-2]
    length = np.linalg.norm(ahead, axis=1)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return Curve(points_px=points, tangent=ahead / np.maximum(length, 1e-12)[:, None], along_px=along, closed=closed)


def beside(
    curve: Curve, positions_px: Float[np.ndarray, "cell 2"]
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"], Float[np.ndarray, "cell 2"]]:
    """Return the distance of each position to the right of the curve, how far along it is, and the normal there.

    Positions beyond an open end get a place along the curve below 0 or above its length.
    """
    _, nearest = cKDTree(curve.points_px).query(positions_px)
    off = positions_px - curve.points_px[nearest]
    normal = curve.normal[nearest]
    distance = np.sum(off * normal, axis=1)
    along = curve.along_px[nearest] + np.sum(off * curve.tangent[nearest], axis=1)
    return distance, along, normal


def shifted(curve: Curve, by_px: Float[np.ndarray, " point"]) -> Float[np.ndarray, "point 2"]:
    """Return the points of the curve moved to the right by so much each."""
    return curve.points_px + by_px[:, None] * curve.normal
