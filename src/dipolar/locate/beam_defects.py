"""Pixels of a detector that cannot be counted: dead, hot, stuck, or behind a beam stop."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Bool, Float, Int64

AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx)
"""The eight neighbours."""
SURE = 12.0
"""Electrons at least that a dead pixel should have counted: of living ones, e^-12 have none of these."""
SIGMAS = 6.0
"""Standard errors by which a pixel has to leave its neighbours."""
ROUNDS = 3
"""Bad pixels hide others that touch them: so often is looked again."""


def bad_pixels(
    mean: Float[np.ndarray, "k_y k_x"], variance: Float[np.ndarray, "k_y k_x"], count: int
) -> Bool[np.ndarray, "k_y k_x"]:
    """Return dead, stuck and hot pixels: those that differ from their neighbours as no edge of a disk does.

    Parameters
    ----------
    mean, variance
        Of each pixel over the sampled patterns, not centred; nan or infinite where the file says so.
    count
        Number of patterns.
    """
    bad = ~(np.isfinite(mean) & np.isfinite(variance))
    for _ in range(ROUNDS):
        neighbours, spread = _neighbours(mean, bad), np.maximum(_neighbours(variance, bad), 0.0)
        middle = np.sort(neighbours, axis=0)
        low, high, like = middle[1], middle[-2], middle[2:-2].mean(axis=0)
        # A pixel without counts seems to have no noise: the noise of its neighbours is what it should have.
        noise = np.sqrt((spread.mean(axis=0) + np.where(bad, 0.0, variance)) / count)
        per_electron = spread.mean(axis=0) / np.maximum(like, 1e-12)
        expected = count * like / np.maximum(per_electron, 1e-12)
        found = (mean > 1.5 * high + SIGMAS * noise) & (mean - high > 0)
        found |= (mean < 0.5 * low - SIGMAS * noise) | ((variance == 0) & (spread.min(axis=0) > 0) & (expected > SURE))
        found &= ~bad
        if not found.any():
            break
        bad |= found
    return bad


def _neighbours(values: Float[np.ndarray, "k_y k_x"], bad: Bool[np.ndarray, "k_y k_x"]) -> Float[np.ndarray, "8 y x"]:
    """Return the eight neighbours of each pixel, bad ones replaced by the median of theirs."""
    filled = fill(values, bad)
    padded = np.pad(filled, 1, mode="reflect")
    height, width = values.shape
    return np.stack([padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in AROUND])


def fill(values: Float[np.ndarray, "k_y k_x"], bad: Bool[np.ndarray, "k_y k_x"]) -> Float[np.ndarray, "k_y k_x"]:
    """Return an image whose bad pixels are the mean of the good ones near them."""
    if not bad.any():
        return values
    plain = np.where(bad, 0.0, values)
    filled = plain.copy()
    empty = bad.copy()
    for width in (3, 5, 9, 33):
        weight = ndi.uniform_filter((~bad).astype(np.float64), width, mode="reflect")
        near = ndi.uniform_filter(plain, width, mode="reflect")
        now = empty & (weight > 0.2)
        filled[now] = near[now] / weight[now]
        empty &= ~now
    return filled


def stopped_pixels(
    mean: Float[np.ndarray, "k_y k_x"],
    bad: Bool[np.ndarray, "k_y k_x"],
    middle: Float[np.ndarray, " 2"],
) -> Bool[np.ndarray, "k_y k_x"]:
    """Return what lies in the shadow of a beam stop: connected regions far darker than what lies between the disks.

    Parameters
    ----------
    mean
        Mean of the patterns, not centred.
    bad
        Pixels that do not count.
    middle
        Where the pattern is centred, roughly: the darkest quarter at each distance from it is what lies between disks.
    """
    wide = 5 if min(mean.shape) >= 200 else 3
    smooth = ndi.uniform_filter(fill(mean, bad), wide, mode="nearest")
    rows, columns = np.indices(mean.shape)
    width = max(4.0, min(mean.shape) / 24)
    ring = (np.hypot(rows - middle[0], columns - middle[1]) / width).astype(np.int64)
    inside = ring < int(ring.max() * 0.75)
    between = np.array([np.percentile(smooth[ring == n], 25) for n in range(int(ring[inside].max()) + 1)])
    # Diffuse scattering falls with the angle, so that what lies between disks is at least as bright as further out.
    between = np.maximum.accumulate(between[::-1])[::-1]
    level = between[np.minimum(ring, len(between) - 1)]
    dark = smooth < 0.3 * level
    regions, count = ndi.label(dark)
    if not count:
        return np.zeros(mean.shape, dtype=bool)
    # Corners of the detector may be dark by themselves: a shadow reaches further in.
    sizes = np.bincount(regions[inside], minlength=count + 1)
    sizes[0] = 0
    large: Int64[np.ndarray, " region"] = np.flatnonzero(sizes > max(16.0, 2e-4 * mean.size))
    # The filter above shrinks the shadow; its penumbra does not count either.
    shadow: Bool[np.ndarray, "k_y k_x"] = ndi.binary_dilation(np.isin(regions, large), iterations=wide // 2)
    return shadow
