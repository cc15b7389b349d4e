"""Scans resampled on one grid, their average, and the average without one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.ndimage import gaussian_filter, uniform_filter

from dipolar.align.correlate import Map
from dipolar.align.scan import Scan, grid_shape, resample

MOST_DENSITY = 1.5
"""Where rows bunch up a scan saw a place longer, but not more truly: its weight ends here."""
LEAST_WEIGHT = 0.3
"""Less than this of one scan is no value: it would be carried over from a distant row."""
GAP_PX = 5
"""Gaps between rows are judged over so many pixels: they are no border of what was seen."""
SPREAD_BLUR_PX = 1.0
"""The variance between few frames is itself uncertain; it is averaged over so wide a neighbourhood."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """All scans on one grid, and their weighted sum."""

    scans: list[Scan]
    """The scans."""
    values: list[Float32[np.ndarray, "y x"]]
    """Each resampled; nan where it saw nothing."""
    weights: list[Float32[np.ndarray, "y x"]]
    """How densely its pixels lie; 0 where it saw nothing."""
    total: Float[np.ndarray, "y x"]
    """Sum of weight times value."""
    weight: Float[np.ndarray, "y x"]
    """Sum of weights."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return self.total.shape

    def average(self) -> Map:
        """Return the weighted average; nan where no scan saw anything."""
        seen = self.weight > LEAST_WEIGHT
        return np.where(seen, self.total / np.where(seen, self.weight, 1.0), np.nan)

    def seen_by(self, count: float) -> Bool[np.ndarray, "y x"]:
        """Return where at least so many scans looked, gaps between their rows bridged, and there is a value."""
        around = uniform_filter(self.weight, GAP_PX, mode="constant")
        return (around >= count) & (self.weight > LEAST_WEIGHT)

    def without(self, number: int) -> Map:
        """Return the weighted average of all scans but one; nan where no other saw anything."""
        own = self.weights[number]
        weight = self.weight - own
        total = self.total - own * np.nan_to_num(self.values[number])
        seen = weight > LEAST_WEIGHT
        return np.where(seen, total / np.where(seen, weight, 1.0), np.nan)

    def of(self, numbers: Sequence[int]) -> Map:
        """Return the weighted average of some scans; nan where none of them saw anything."""
        weight = np.sum([self.weights[n] for n in numbers], axis=0)
        total = np.sum([self.weights[n] * np.nan_to_num(self.values[n]) for n in numbers], axis=0)
        seen = weight > LEAST_WEIGHT
        return np.where(seen, total / np.where(seen, weight, 1.0), np.nan)

    def company(self, number: int) -> Float[np.ndarray, " row"]:
        """Return for every row of a scan how many others saw what it saw, on average."""
        scan = self.scans[number]
        columns = np.arange(0, scan.data.shape[1], 4)
        start = scan.start(self.shape) + scan.offset_px + np.arange(len(scan.data))[:, None] * scan.slow
        points = start[:, None] + columns[:, None] * scan.fast
        j, i = (np.clip(np.rint(points[..., k]).astype(int), 0, self.shape[k] - 1) for k in (0, 1))
        others = (self.weight - self.weights[number])[j, i]
        met = others > LEAST_WEIGHT
        mean: Float[np.ndarray, " row"] = np.where(met, others, 0.0).sum(axis=1) / np.maximum(met.sum(axis=1), 1)
        return mean


def stack(scans: list[Scan]) -> Stack:
    """Return all scans resampled on a grid that holds them all."""
    shape = grid_shape(scans)
    values, weights = [], []
    total, weight = np.zeros(shape), np.zeros(shape)
    for scan in scans:
        value, density = resample(scan, shape)
        share = np.minimum(np.where(np.isfinite(value), density, 0.0), MOST_DENSITY).astype(np.float32)
        values.append(value)
        weights.append(share)
        total += share * np.nan_to_num(value)
        weight += share
    return Stack(scans, values, weights, total, weight)


def standard_error(made: Stack) -> Float32[np.ndarray, "y x"]:
    """Return one standard error of the average from the spread between the scans; nan where fewer than two saw it.

    For weights w and deviations d of n scans: ``n/(n-1) Σ w² d² / (Σ w)²``, averaged over a neighbourhood of
    `SPREAD_BLUR_PX` because the spread of few scans is uncertain itself.

    Parameters
    ----------
    made
        The scans and their sum.
    """
    average = made.average()
    squares, count = np.zeros(made.shape), np.zeros(made.shape)
    for value, weight in zip(made.values, made.weights, strict=True):
        squares += np.square(weight * np.nan_to_num(value - average))
        count += weight > 0.15
    enough = (count > 1.5) & np.isfinite(average)
    safe = np.maximum(count, 2.0)
    variance = np.where(enough, safe / (safe - 1.0) * squares / np.maximum(made.weight, 1e-6) ** 2, 0.0)
    share = gaussian_filter(enough.astype(np.float64), SPREAD_BLUR_PX)
    blurred = gaussian_filter(variance, SPREAD_BLUR_PX) / np.maximum(share, 1e-6)
    return np.where(enough, np.sqrt(blurred), np.nan).astype(np.float32)
