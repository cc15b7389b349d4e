"""What makes the place of a wall doubtful besides noise: a third class that takes part in it, bends, and its ends."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64
from scipy.ndimage import gaussian_filter1d

from dipolar.maps.scan_curve import SPACING, ScanCurve

REACH = 1.0
"""Standard deviation, in probe steps along and across the wall, of the weights with which positions tell of a third
class."""
ALONE = 0.2
"""Part of a wall along which its two classes are taken to be alone."""
ENDS = {"edge": 0.12, "meeting": 0.25}
"""One standard error of the ends of a wall, in probe steps, as found on simulated scans: at the edge, half a step
beyond the last position that tells of it; and where walls meet in a point, near which no two classes are alone."""
FADES = 1.0
"""Distance from an end over which that fades, in probe steps."""


BENDS = 0.6
"""What is left of the error that smoothing makes in bends, s²κ/2 of a Gaussian s and the curvature κ, as found on
simulated scans. Smoothing what was taken away once more corrects even bends, and not those that change."""


def by_third_class(
    curve: ScanCurve,
    nearest: Int64[np.ndarray, " position"],
    distance: Float[np.ndarray, " position"],
    third: Float[np.ndarray, " position"],
    half_width: float,
) -> Float[np.ndarray, " point"]:
    """Return one standard error of each point of a wall from other classes than its two.

    Where a third class has the share c, two definitions of the wall part: where its two classes have equal shares, and
    where the one has half of all. Of a tanh of half width ξ that is ``ξ artanh c``. What noise alone leaves to a third
    class is what it has where it has least, and is taken off.

    Parameters
    ----------
    curve
        The wall.
    nearest, distance
        Point of the curve that each position is nearest to, and how far it is away.
    third
        Share there of all classes but the two of the wall.
    half_width
        ξ in probe steps.
    """
    weight = np.exp(-0.5 * (distance / REACH) ** 2)
    count, mode = len(curve.points), "wrap" if curve.ends is None else "nearest"
    total, part = (
        gaussian_filter1d(np.bincount(nearest, weights=values, minlength=count), REACH / SPACING, mode=mode)
        for values in (weight, weight * third)
    )
    share = part / np.maximum(total, 1e-9)
    excess = np.clip(share - np.quantile(share, ALONE), 0.0, 0.95)
    return half_width * np.arctanh(excess)


def by_bends(curve: ScanCurve) -> Float[np.ndarray, " point"]:
    """Return one standard error of each point of a wall from smoothing where the wall bends."""
    width, mode = max(curve.smoothing, SPACING), "wrap" if curve.ends is None else "nearest"
    points = curve.points[:-1] if curve.ends is None else curve.points  # of a loop, the last is the first
    if len(points) < 3:
        return np.zeros(len(curve.points))
    step = np.roll(points, -1, axis=0) - points if curve.ends is None else np.gradient(points, axis=0)
    ahead = step / np.maximum(np.linalg.norm(step, axis=1), 1e-12)[:, None]
    even = gaussian_filter1d(ahead, 0.5 * width / SPACING, axis=0, mode=mode)
    turned = np.roll(even, -1, axis=0) - even if curve.ends is None else np.gradient(even, axis=0)
    curvature = np.linalg.norm(turned, axis=1) / SPACING
    error = BENDS * 0.5 * width**2 * gaussian_filter1d(curvature, 0.5 * width / SPACING, mode=mode)
    return np.append(error, error[0]) if curve.ends is None else error


def by_ends(curve: ScanCurve) -> Float[np.ndarray, " point"]:
    """Return one standard error of each point of a wall from where the wall is cut off or meets others."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve.points, axis=0), axis=1))])
    variance = np.zeros(len(along))
    for end, from_end in zip(curve.ends or (), (along, along[-1] - along), strict=False):
        variance += ENDS.get(end, 0.0) ** 2 * np.exp(-((from_end / FADES) ** 2))
    return np.sqrt(variance)
