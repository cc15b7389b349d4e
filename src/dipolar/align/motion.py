"""How rows move, learned from what they say by themselves, and the likeliest offset of each.

The offset of a row is the sum of drift, which walks from row to row, and of jitter, new in each row; the size of both
is learned from the rows of all frames, and the likeliest offsets follow from a banded linear system (Jones et al., Adv.
Struct. Chem. Imaging 1 (2015) 8 and Ophus, Ciston and Nelson, Ultramicroscopy 162 (2016) 1 align rows likewise, with a
filter in place of the learned sizes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import solveh_banded

from dipolar.align.rows import RowShifts

LAGS = 12
"""Differences of rows up to this far apart tell jitter from drift."""
LEAST_WALK_PX = 0.003
"""Drift is never taken to be steadier than this from row to row."""
OUTLIER = 4.0
"""Rows farther than so many standard errors from what is expected of them are given a larger error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How rows move, and how far their word can be trusted: learned from the series, one value each for y and x."""

    jitter_px: tuple[float, float]
    """Standard deviation of the shift of single rows."""
    walk_px: tuple[float, float]
    """Standard deviation of the step of the drift from row to row."""
    widening: tuple[float, float] = (1.0, 1.0)
    """Factor on the variance of what a row says, over that of white noise: correlation along and across rows."""


def learn_motion(rows: list[RowShifts]) -> Motion:
    """Return jitter, walk, and how far the rows can be trusted, from the two halves of every row.

    Both halves of a row move alike, but their noise is not the same. With m and n what they say, the mean of
    ``(m[r + k] - m[r]) (n[r + k] - n[r])`` is therefore ``2 jitter² + k walk²``, whatever the noise and its
    correlation from row to row; and ``m - n`` holds nothing but noise, and says how wide and how correlated it is.

    Parameters
    ----------
    rows
        Of all scans.
    """
    found = [_learn_axis(rows, axis) for axis in (0, 1)]
    (jitter_y, walk_y, wide_y), (jitter_x, walk_x, wide_x) = found
    return Motion(jitter_px=(jitter_y, jitter_x), walk_px=(walk_y, walk_x), widening=(wide_y, wide_x))


def _learn_axis(rows: list[RowShifts], axis: int) -> tuple[float, float, float]:
    product, weight = np.zeros(LAGS), np.zeros(LAGS)
    noise, pairs = np.zeros(LAGS + 1), np.zeros(LAGS + 1)
    for row in rows:
        variance = row.halves_variance[:, :, axis].sum(axis=0)
        good = np.isfinite(variance)
        if np.count_nonzero(good) < 4 * LAGS:
            continue
        usual = float(np.median(variance[good]))
        w = np.where(good, 1.0 / (np.where(good, variance, 1.0) + usual), 0.0)
        place = np.arange(len(w), dtype=np.float64)
        middle = row.halves_px[:, :, axis].mean(axis=0)
        line = np.polynomial.Polynomial.fit(place[good], middle[good], 1, w=np.sqrt(w[good]))
        one, other = (np.where(good, half - line(place), 0.0) for half in row.halves_px[:, :, axis])
        strange = good & (np.maximum(np.abs(one), np.abs(other)) > 6.0 * _width(np.stack([one, other])[:, good]))
        w[strange] = 0.0
        apart = np.where(w > 0, (one - other) / np.sqrt(np.where(good, variance, 1.0)), 0.0)
        for lag in range(LAGS + 1):
            both = w[lag:] * w[: len(w) - lag]
            far, near = np.s_[lag:], np.s_[: len(w) - lag]
            noise[lag] += float(np.sum(both * apart[far] * apart[near]))
            pairs[lag] += float(np.sum(both))
            if lag:
                product[lag - 1] += float(np.sum(both * (one[far] - one[near]) * (other[far] - other[near])))
                weight[lag - 1] += float(np.sum(both))
    if not weight.all():
        return 0.0, LEAST_WALK_PX, 1.0
    slope, level = np.polyfit(np.arange(1, LAGS + 1), product / weight, 1)
    if level < 0:  # smooth drift bends the line; then there is no jitter to be seen
        level, slope = 0.0, float(np.mean(product / weight) / np.mean(np.arange(1, LAGS + 1)))
    correlated = noise / np.maximum(pairs, 1e-300)
    ends = np.flatnonzero(correlated < 0.05 * correlated[0])
    reach = int(ends[0]) if len(ends) else LAGS + 1
    wide = float(correlated[0] + 2.0 * correlated[1:reach].sum())
    walk = float(np.sqrt(max(slope, LEAST_WALK_PX**2)))
    return float(np.sqrt(max(level, 0.0) / 2.0)), walk, max(wide, 1.0)


def _width(values: Float[np.ndarray, "half row"]) -> float:
    """Return the standard deviation of most values, whatever the rest does."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) + 1e-9


def likeliest(row: RowShifts, motion: Motion) -> tuple[Float[np.ndarray, "row 2"], Float[np.ndarray, "row 2"]]:
    """Return the likeliest offset of every row, and its standard error, given drift that walks and rows that jitter.

    Parameters
    ----------
    row
        What the rows say by themselves.
    motion
        How rows move.
    """
    trust = 1.0 / np.sqrt(np.array(motion.widening))
    said = row.information * trust[:, None] * trust
    information = said
    line = _line(row.offset_px, said)
    measured = row.offset_px - line  # even drift is free: the walk was learned without it
    drift = np.zeros_like(measured)
    noisy = np.diag(np.square(motion.jitter_px))
    for _ in range(2):
        # What a row says about the drift is blurred by its jitter: (H⁻¹ + J)⁻¹ = (1 + H J)⁻¹ H.
        blurred = np.linalg.solve(np.eye(2) + information @ noisy, information)
        drift = _walk(blurred, measured, motion)
        surprise = np.einsum("ni,nij,nj->n", measured - drift, blurred, measured - drift)
        tamed = np.minimum(1.0, 2.0 * OUTLIER**2 / np.maximum(surprise, 1e-12))
        information = said * tamed[:, None, None]
    share = np.linalg.solve(np.eye(2) + noisy @ information, noisy @ information)
    offset = line + drift + np.einsum("nij,nj->ni", share, measured - drift)
    return offset, _sigma(information, motion)


def _line(
    offset_px: Float[np.ndarray, "row 2"], information: Float[np.ndarray, "row 2 2"]
) -> Float[np.ndarray, "row 2"]:
    """Return the straight line through the offsets, each row weighed by what it says; 0 where nothing does."""
    place = np.linspace(-1.0, 1.0, len(offset_px))
    line = np.zeros_like(offset_px)
    for axis in (0, 1):
        weight = np.sqrt(np.maximum(information[:, axis, axis], 0.0))
        if np.count_nonzero(weight) > 8:
            line[:, axis] = np.polyval(np.polyfit(place, offset_px[:, axis], 1, w=weight), place)
    return line


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
