"""The offset of every single row, as the row itself says.

Each row is compared with the average of the other frames by its slopes (Gauss-Newton). What its neighbours and the
frame make likely is in `dipolar.align.motion`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from dipolar.align.correlate import Map, smooth
from dipolar.align.kernels import compare_rows
from dipolar.align.scan import Scan

SLOPE_BLUR_CELLS = 0.07
"""Blur of the slopes, which keeps noise out of them; values are not blurred, or rows would move to mend the blur."""
LEVEL_BLUR_CELLS = 0.1
"""Blur before the contrast of a frame is compared with that of the others."""
MOST_STEP_CELLS = 0.12
"""Largest change of a row's offset in one round: slopes hold no farther."""
BLOCK_CELLS = 1.5
"""Length of the blocks in which a row is shared out to its two halves, longer than noise is correlated."""
LEAST_SEEN = 0.1
"""Share of a row that must have something to be compared with."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowShifts:
    """What the rows of one scan say by themselves."""

    offset_px: Float[np.ndarray, "row 2"]
    """Where each row fits best; its present place where it says nothing."""
    information: Float[np.ndarray, "row 2 2"]
    """Inverse covariance of `offset_px` were the noise white, in 1/px²; 0 where it says nothing."""
    halves_px: Float[np.ndarray, "2 row 2"]
    """The same offsets from either half of the row alone, taken in turn; nan where a half says nothing."""
    halves_variance: Float[np.ndarray, "2 row 2"]
    """Variance of `halves_px` were the noise white."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """The average of other frames, with its slopes."""

    value: np.ndarray
    """Not blurred; nan where unknown."""
    slope_y: np.ndarray
    """Slope along y of the blurred average."""
    slope_x: np.ndarray
    """The same along x."""


def reference_of(average: Map, *, cell_px: float) -> Reference:
    """Return the average of other frames with slopes of its blurred self."""
    known = np.isfinite(average)
    filled = np.where(known, average, np.mean(average, where=known) if known.any() else 0.0)
    blurred = gaussian_filter(filled.astype(np.float64), max(SLOPE_BLUR_CELLS * cell_px, 0.8))
    slope_y, slope_x = np.gradient(blurred)
    return Reference(value=np.ascontiguousarray(average, dtype=np.float64), slope_y=slope_y, slope_x=slope_x)


def row_shifts(scan: Scan, reference: Reference, own: Map, *, cell_px: float) -> RowShifts:
    """Return where every row of a scan fits best.

    Parameters
    ----------
    scan
        As it is placed now.
    reference
        The average of the other frames.
    own
        The scan, resampled on the grid of the reference: it tells gain and bias.
    cell_px
        Length of the shortest lattice vector; no row moves farther than a share of it at once.
    """
    gain, bias = match_levels(own, reference.value, blur_px=LEVEL_BLUR_CELLS * cell_px)
    sums = np.zeros((len(scan.data), 2, 10))
    compare_rows(
        scan.data,
        scan.start(reference.value.shape),
        scan.slow,
        scan.fast,
        scan.offset_px,
        reference.value,
        reference.slope_y,
        reference.slope_x,
        gain if gain > 0 else 1.0,
        bias,
        max(1, round(BLOCK_CELLS * cell_px)),
        sums,
    )
    whole = sums.sum(axis=1)
    enough = whole[:, 0] > LEAST_SEEN * scan.data.shape[1]
    variance = _residual_variance(whole[enough])
    step, information = _solve(whole, variance)
    farthest = MOST_STEP_CELLS * cell_px
    step *= np.minimum(1.0, farthest / np.maximum(np.linalg.norm(step, axis=1), 1e-12))[:, None]
    halves, spread = np.full((2, len(sums), 2), np.nan), np.full((2, len(sums), 2), np.nan)
    for half in (0, 1):
        seen = sums[:, half, 0] > 0.5 * LEAST_SEEN * scan.data.shape[1]
        part, known = _solve(sums[:, half], variance)
        halves[half, seen] = (scan.offset_px + part)[seen]
        spread[half, seen] = _variance(known)[seen]
    return RowShifts(
        offset_px=scan.offset_px + np.where(enough[:, None], step, 0.0),
        information=np.where(enough[:, None, None], information, 0.0),
        halves_px=np.where(np.isfinite(spread), halves, np.nan),
        halves_variance=spread,
    )


def _solve(
    sums: Float[np.ndarray, "row 10"], variance: float
) -> tuple[Float[np.ndarray, "row 2"], Float[np.ndarray, "row 2 2"]]:
    """Return by how much rows should move, and the inverse covariance of that, from their sums.

    The mean of a row is left out: the emission of the gun flickers from row to row.
    """
    count = np.maximum(sums[:, 0], 1.0)
    slopes = sums[:, 1:3]
    normal = np.stack([sums[:, [3, 4]], sums[:, [4, 5]]], axis=1)
    normal -= slopes[:, :, None] * slopes[:, None, :] / count[:, None, None]
    right = sums[:, 7:9] - sums[:, 6:7] * slopes / count[:, None]
    seen = sums[:, 0] > 0
    usual = float(np.median(np.trace(normal[seen], axis1=1, axis2=2))) if seen.any() else 0.0
    ridge = 1e-3 * max(usual, 1e-12) * np.eye(2)
    step: Float[np.ndarray, "row 2"] = np.linalg.solve(normal + ridge, right[:, :, None])[:, :, 0]
    return step, normal / max(variance, 1e-12)


def _residual_variance(sums: Float[np.ndarray, "row 10"]) -> float:
    """Return the variance of the differences about the mean of their row."""
    count = np.maximum(sums[:, 0], 1.0)
    return float(np.sum(sums[:, 9] - sums[:, 6] ** 2 / count) / max(float(np.sum(count)), 1.0))


def match_levels(image: Map, reference: Map, *, blur_px: float) -> tuple[float, float]:
    """Return gain and bias that take the reference to the image; (1, 0) where too little is known.

    Both are blurred first: noise in the reference would make the gain too small.
    """
    both = np.isfinite(image) & np.isfinite(reference)
    if np.count_nonzero(both) < 64:
        return 1.0, 0.0
    a, b = (smooth(np.where(both, part, np.nan), blur_px)[both] for part in (image, reference))
    variance = float(np.var(b))
    gain = float(np.mean((a - a.mean()) * (b - b.mean()))) / variance if variance > 0 else 1.0
    return gain, float(a.mean() - gain * b.mean())


def _variance(information: Float[np.ndarray, "row 2 2"]) -> Float[np.ndarray, "row 2"]:
    """Return the variances that belong to inverse covariances; nan where there is nothing to go by."""
    det = np.linalg.det(information)
    good = det > 1e-12
    inverse = np.linalg.inv(np.where(good[:, None, None], information, np.eye(2)))
    variance: Float[np.ndarray, "row 2"] = np.where(good[:, None], np.einsum("nii->ni", inverse), np.nan)
    return variance
