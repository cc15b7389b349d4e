"""The autocorrelation of an image, its peaks, and its height anywhere.

The autocorrelation of an atomically resolved image peaks at every vector that leads from column to column, whatever the
intensities of the columns are. Averaged over tiles it does not care about domains, layers or a slow background.
"""

from __future__ import annotations

import itertools

import numpy as np
import scipy.fft
import scipy.ndimage
from jaxtyping import Bool, Float, Float32

TILE_PX = 512
MAX_TILES = 9
BACKGROUND_PX = 40.0  # slower variations are background; passes lattices of up to ~120 px per cell
FAINTEST_PEAK = 0.12  # of the highest; an A-B peak at B/A = 0.1 still stands at 0.2
SMALLEST_STEP_PX = 3.0  # peaks nearer to lag 0 belong to it


def mean_autocorrelation(
    data: Float32[np.ndarray, "y x"], valid: Bool[np.ndarray, "y x"]
) -> Float[np.ndarray, "lag_y lag_x"]:
    """Return the autocorrelation of the image without its slow background, averaged over tiles, lag 0 in the middle.

    Each tile is normalised by its own variance, so that bright layers do not outvote dark ones, and the sum by the
    shrinking overlap of the tapered tiles.
    """
    tile = min(TILE_PX, data.shape[0]), min(TILE_PX, data.shape[1])
    padded = tuple(scipy.fft.next_fast_len(2 * n, real=True) for n in tile)
    taper = np.outer(np.hanning(tile[0] + 2)[1:-1], np.hanning(tile[1] + 2)[1:-1]).astype(np.float32)
    passes = _high_pass(padded, min(BACKGROUND_PX, min(tile) / 4))
    power = np.zeros_like(passes)
    for y, x in _tile_corners(data.shape, tile):
        mask = valid[y : y + tile[0], x : x + tile[1]]
        if mask.mean() < 0.2:
            continue
        values = data[y : y + tile[0], x : x + tile[1]]
        flat = np.where(mask, values - values[mask].mean(), np.float32(0.0)) * taper
        spectrum = passes * np.abs(scipy.fft.rfft2(flat, padded, workers=-1)) ** 2
        total = float(spectrum.sum())
        if total > 0:
            power += spectrum / total
    overlap = _centered(scipy.fft.irfft2(np.abs(scipy.fft.rfft2(taper, padded)) ** 2, padded), tile)
    lags = _centered(scipy.fft.irfft2(power, padded), tile)
    safe = overlap > 0.02 * overlap.max()
    result = np.where(safe, lags / np.where(safe, overlap, 1.0), 0.0)
    middle = result[tile[0] // 2, tile[1] // 2]
    return (result / middle if middle > 0 else result).astype(np.float64)


def correlation_peaks(correlation: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "peak 2"]:
    """Return the lags of the local maxima in one half-plane, shortest first."""
    center = np.array(correlation.shape) // 2
    smooth = scipy.ndimage.gaussian_filter(correlation, 0.7)
    is_peak = (scipy.ndimage.maximum_filter(smooth, 3) == smooth) & (smooth > 0)
    found = np.argwhere(is_peak)
    lags = found - center
    radius = np.hypot(lags[:, 0], lags[:, 1])
    upper = (lags[:, 0] > 0) | ((lags[:, 0] == 0) & (lags[:, 1] > 0))
    inside = np.all(np.abs(lags) <= 0.35 * np.array(correlation.shape), axis=1)
    keep = upper & inside & (radius >= SMALLEST_STEP_PX)
    found, radius = found[keep], radius[keep]
    heights = smooth[tuple(found.T)]
    if not len(heights):
        return np.zeros((0, 2))
    strong = heights > FAINTEST_PEAK * heights.max()
    order = np.argsort(radius[strong])
    found = found[strong][order]
    fine = np.array([_summit(smooth, y, x) for y, x in found.tolist()])
    return fine - center


class Sampler:
    """Heights of the autocorrelation at any lag inside it, the highest within a pixel or so for lattice points."""

    def __init__(self, correlation: Float[np.ndarray, "y x"]) -> None:
        """Take the autocorrelation, lag 0 in the middle."""
        self.center = np.array(correlation.shape) // 2
        self.at_most = scipy.ndimage.maximum_filter(correlation, 3)
        self.exact = correlation

    def __call__(self, lags: Float[np.ndarray, "lag 2"], *, summit: bool) -> Float[np.ndarray, " inside"]:
        """Return the heights at those lags that are inside."""
        array = self.at_most if summit else self.exact
        at = np.rint(lags + self.center).astype(int)
        inside = np.all((at >= 0) & (at < array.shape), axis=1)
        return array[tuple(at[inside].T)]


def _tile_corners(shape: tuple[int, ...], tile: tuple[int, int]) -> list[tuple[int, int]]:
    per_axis = int(np.sqrt(MAX_TILES))
    ys, xs = (
        np.unique(np.linspace(0, size - edge, min(per_axis, -(-size // edge))).astype(int))
        for size, edge in zip(shape, tile, strict=True)
    )
    return list(itertools.product(ys.tolist(), xs.tolist()))


def _high_pass(padded: tuple[int, ...], sigma_px: float) -> Float32[np.ndarray, "y x"]:
    """Return the power that passes when a Gaussian blur of `sigma_px` is subtracted, per frequency."""
    fy, fx = np.fft.fftfreq(padded[0])[:, None], np.fft.rfftfreq(padded[1])[None, :]
    return ((1.0 - np.exp(-2.0 * (np.pi * sigma_px) ** 2 * (fy**2 + fx**2))) ** 2).astype(np.float32)


def _centered(array: Float32[np.ndarray, "y x"], tile: tuple[int, int]) -> Float32[np.ndarray, "lag_y lag_x"]:
    shifted = scipy.fft.fftshift(array)
    y, x = shifted.shape[0] // 2 - tile[0] // 2, shifted.shape[1] // 2 - tile[1] // 2
    return shifted[y : y + tile[0], x : x + tile[1]]


def _summit(array: Float[np.ndarray, "y x"], y: int, x: int) -> tuple[float, float]:
    """Refine a maximum by a parabola along each axis."""
    if not (0 < y < array.shape[0] - 1 and 0 < x < array.shape[1] - 1):
        return float(y), float(x)

    def offset(low: float, mid: float, high: float) -> float:
        bend = low - 2 * mid + high
        return 0.0 if bend >= 0 else float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5))

    return (
        y + offset(array[y - 1, x], array[y, x], array[y + 1, x]),
        x + offset(array[y, x - 1], array[y, x], array[y, x + 1]),
    )
