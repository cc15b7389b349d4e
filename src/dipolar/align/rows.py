"""The offset of every single row: what the row itself says, and what its neighbours and the frame make likely.

Each row is compared with the average of the other frames by its slopes (Gauss-Newton). Its offset is the sum of drift,
which walks from row to row, and of jitter, new in each row; the size of both is learned from the rows of all frames,
and the likeliest offsets follow from a banded linear system (Jones et al., Adv. Struct. Chem. Imaging 1 (2015) 8
and Ophus, Ciston and Nelson, Ultramicroscopy 162 (2016) 1 align rows likewise, with a filter in place of the learned
sizes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import solveh_banded
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
LAGS = 12
"""Differences of rows up to this far apart tell jitter from drift."""
OUTLIER = 4.0
"""Rows farther than so many standard errors from what is expected of them are given a larger error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How rows move: learned from the series, one value each for y and x."""

    jitter_px: tuple[float, float]
    """Standard deviation of the shift of single rows."""
    walk_px: tuple[float, float]
    """Standard deviation of the step of the drift from row to row."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowShifts:
    """What the rows of one scan say by themselves."""

    offset_px: Float[np.ndarray, "row 2"]
    """Where each row fits best; 0 where it says nothing."""
    information: Float[np.ndarray, "row 2 2"]
    """Inverse covariance of `offset_px`, in 1/px²; 0 where it says nothing."""
    contrast: float
    """Contrast of the frame over that of the reference."""


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
    sums = np.zeros((len(scan.data), 10))
    start = scan.start(reference.value.shape)
    compare_rows(
        scan.data,
        start,
        scan.slow,
        scan.fast,
        scan.offset_px,
        reference.value,
        reference.slope_y,
        reference.slope_x,
        gain if gain > 0 else 1.0,
        bias,
        sums,
    )
    count = np.maximum(sums[:, 0], 1.0)
    enough = sums[:, 0] > 0.1 * scan.data.shape[1]
    # The mean of a row is left out: the emission of the gun flickers from row to row.
    slopes = sums[:, 1:3]
    normal = np.empty((len(sums), 2, 2))
    normal[:, 0, 0], normal[:, 0, 1] = sums[:, 3], sums[:, 4]
    normal[:, 1, 0], normal[:, 1, 1] = sums[:, 4], sums[:, 5]
    normal -= slopes[:, :, None] * slopes[:, None, :] / count[:, None, None]
    right = sums[:, 7:9] - sums[:, 6:7] * slopes / count[:, None]
    variance = float(np.sum((sums[:, 9] - sums[:, 6] ** 2 / count)[enough]) / max(np.sum(count[enough]), 1.0))
    usual = np.median(np.trace(normal[enough], axis1=1, axis2=2)) if enough.any() else 0.0
    ridge = 1e-3 * max(float(usual), 1e-12) * np.eye(2)
    step = np.linalg.solve(normal + ridge, right[:, :, None])[:, :, 0]
    farthest = MOST_STEP_CELLS * cell_px
    step *= np.minimum(1.0, farthest / np.maximum(np.linalg.norm(step, axis=1), 1e-12))[:, None]
    information = np.where(enough[:, None, None], normal / max(variance, 1e-12), 0.0)
    return RowShifts(
        offset_px=scan.offset_px + np.where(enough[:, None], step, 0.0), information=information, contrast=gain
    )


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


def learn_motion(rows: list[RowShifts]) -> Motion:
    """Return jitter and walk, from how much rows differ that are 1, 2, … apart, less what noise explains.

    The expected square of the difference of two rows k apart is ``2 jitter² + k walk²`` once the straight drift of each
    frame and the variance of the measurement are taken off.
    """
    jitter, walk = [], []
    for axis in (0, 1):
        excess, weight = np.zeros(LAGS), np.zeros(LAGS)
        for row in rows:
            variance = _variance(row)[:, axis]
            good = np.isfinite(variance)
            if np.count_nonzero(good) < 2 * LAGS:
                continue
            place = np.arange(len(variance), dtype=np.float64)
            usual = float(np.median(variance[good]))
            w = np.where(good, 1.0 / (np.where(good, variance, 1.0) + usual), 0.0)
            line = np.polynomial.Polynomial.fit(place[good], row.offset_px[good, axis], 1, w=np.sqrt(w[good]))
            away = np.where(good, row.offset_px[:, axis] - line(place), 0.0)
            noise = np.where(good, variance, 0.0)
            for lag in range(1, LAGS + 1):
                both = w[lag:] * w[:-lag]
                square = (away[lag:] - away[:-lag]) ** 2 - noise[lag:] - noise[:-lag]
                limit = 9.0 * (2.0 * usual + float(np.median((away[lag:] - away[:-lag]) ** 2)))
                excess[lag - 1] += float(np.sum(both * np.minimum(square, limit)))
                weight[lag - 1] += float(np.sum(both))
        if not weight.all():
            jitter.append(0.0)
            walk.append(0.02)
            continue
        slope, level = np.polyfit(np.arange(1, LAGS + 1), excess / weight, 1)
        if slope < 0:
            slope, level = 0.0, float(np.mean(excess / weight))
        jitter.append(float(np.sqrt(max(level, 0.0) / 2.0)))
        walk.append(float(np.sqrt(max(slope, 0.0))))
    return Motion(jitter_px=(jitter[0], jitter[1]), walk_px=(max(walk[0], 0.003), max(walk[1], 0.003)))


def _variance(row: RowShifts) -> Float[np.ndarray, "row 2"]:
    """Return the variance of what every row says by itself; nan where it says nothing."""
    det = np.linalg.det(row.information)
    good = det > 1e-12
    inverse = np.linalg.inv(np.where(good[:, None, None], row.information, np.eye(2)))
    variance: Float[np.ndarray, "row 2"] = np.where(good[:, None], np.einsum("nii->ni", inverse), np.nan)
    return variance


def likeliest(row: RowShifts, motion: Motion) -> tuple[Float[np.ndarray, "row 2"], Float[np.ndarray, "row 2"]]:
    """Return the likeliest offset of every row, and its standard error, given drift that walks and rows that jitter.

    Parameters
    ----------
    row
        What the rows say by themselves.
    motion
        How rows move.
    """
    information = row.information.copy()
    drift = np.zeros_like(row.offset_px)
    noisy = np.diag(np.square(motion.jitter_px))
    for _ in range(2):
        # What a row says about the drift is blurred by its jitter: (H⁻¹ + J)⁻¹ = (1 + H J)⁻¹ H.
        blurred = np.linalg.solve(np.eye(2) + information @ noisy, information)
        drift = _walk(blurred, row.offset_px, motion)
        surprise = np.einsum("ni,nij,nj->n", row.offset_px - drift, blurred, row.offset_px - drift)
        tamed = np.minimum(1.0, 2.0 * OUTLIER**2 / np.maximum(surprise, 1e-12))
        information = row.information * tamed[:, None, None]
    share = np.linalg.solve(np.eye(2) + noisy @ information, noisy @ information)
    offset = drift + np.einsum("nij,nj->ni", share, row.offset_px - drift)
    return offset, _sigma(information, motion)


def _walk(
    information: Float[np.ndarray, "row 2 2"], measured: Float[np.ndarray, "row 2"], motion: Motion
) -> Float[np.ndarray, "row 2"]:
    """Return the likeliest walk through measured points: a symmetric banded system in (y0, x0, y1, x1, …)."""
    count = len(measured)
    stiff = 1.0 / np.square(motion.walk_px)
    ends = np.where((np.arange(count) == 0) | (np.arange(count) == count - 1), 1.0, 2.0) if count > 1 else np.zeros(1)
    band = np.zeros((3, 2 * count))
    for axis in (0, 1):
        band[2, axis::2] = information[:, axis, axis] + ends * stiff[axis] + 1e-9
        band[0, 2 + axis :: 2] = -stiff[axis]
    band[1, 1::2] = information[:, 0, 1]
    right = np.einsum("nij,nj->ni", information, measured).ravel()
    answer: Float[np.ndarray, "row 2"] = solveh_banded(band, right).reshape(count, 2)
    return answer


def _sigma(information: Float[np.ndarray, "row 2 2"], motion: Motion) -> Float[np.ndarray, "row 2"]:
    """Return one standard error of the offsets: of the walk where it was, plus what is not known of the jitter.

    The diagonal of the inverse of a tridiagonal matrix, by elimination from both ends; the coupling of y and x, which
    is weak, is left out.
    """
    sigma = np.empty((len(information), 2))
    for axis in (0, 1):
        stiff, noise = 1.0 / motion.walk_px[axis] ** 2, motion.jitter_px[axis] ** 2
        own = information[:, axis, axis]
        seen = own / (1.0 + own * noise)
        down, up = np.zeros(len(own)), np.zeros(len(own))
        for n in range(1, len(own)):
            before, after = down[n - 1] + seen[n - 1], up[-n] + seen[-n]
            down[n] = before * stiff / (before + stiff)
            up[-n - 1] = after * stiff / (after + stiff)
        total = down + up + seen
        walk = np.where(total > 0, 1.0 / np.where(total > 0, total, 1.0), np.nan)
        rest = 1.0 / (1.0 + own * noise)
        sigma[:, axis] = np.sqrt(rest * noise + rest**2 * walk)
    return sigma
