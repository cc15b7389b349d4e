"""Correlation of images with unknown pixels, normalised in the overlap, so that no shift is favoured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter, maximum_filter, uniform_filter

Map = Float[np.ndarray, "y x"]
AnyMap = Float[np.ndarray, "_ _"]
"""A map of another shape than the others in the same function."""

WIDE_PX = 4.0
"""From this width on, three box filters are a Gaussian to within a per cent or so."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """The transforms of one image that every correlation with it needs."""

    image: np.ndarray
    """Of the image, unknown pixels 0."""
    square: np.ndarray
    """Of its square."""
    known: np.ndarray
    """Of 1 where a pixel is known."""
    padded: tuple[int, int]
    """Shape of the transforms before they were taken."""


def prepare(image: Map, *, reach: tuple[int, int]) -> Prepared:
    """Return the transforms of an image for shifts up to `reach` (y, x)."""
    known = np.isfinite(image)
    filled = np.where(known, image - np.mean(image, where=known), 0.0) if known.any() else np.zeros(image.shape)
    tall, wide = (next_fast_len(size + far, real=True) for size, far in zip(image.shape, reach, strict=True))
    padded = (tall, wide)
    image_t, square_t, known_t = (rfft2(part, padded) for part in (filled, filled**2, known.astype(np.float64)))
    return Prepared(image=image_t, square=square_t, known=known_t, padded=padded)


def correlation(one: Prepared, other: Prepared, *, reach: tuple[int, int], least: float) -> tuple[Map, Map]:
    """Return Pearson's correlation in the overlap for every shift, and the number of pixels in the overlap.

    Entry ``[reach_y + dy, reach_x + dx]`` compares ``one[y + dy, x + dx]`` with ``other[y, x]``: where `other` shows
    the same as `one`, only (dy, dx) nearer to the origin. Masked normalised correlation after Padfield, IEEE Trans.
    Image Process. 21 (2012) 2706.

    Parameters
    ----------
    one, other
        Prepared with at least this reach.
    reach
        Largest shift (y, x).
    least
        Shifts with fewer pixels in the overlap have correlation 0.
    """

    def lagged(a: np.ndarray, b: np.ndarray) -> Map:
        full = irfft2(a * np.conj(b), one.padded)
        rows = np.arange(-reach[0], reach[0] + 1)
        columns = np.arange(-reach[1], reach[1] + 1)
        return full[np.ix_(rows, columns)]

    count = lagged(one.known, other.known)
    safe = np.maximum(count, 1.0)
    mean_one, mean_other = lagged(one.image, other.known) / safe, lagged(one.known, other.image) / safe
    covariance = lagged(one.image, other.image) / safe - mean_one * mean_other
    variance_one = lagged(one.square, other.known) / safe - mean_one**2
    variance_other = lagged(one.known, other.square) / safe - mean_other**2
    product = variance_one * variance_other
    good = (count > max(least, 1.0)) & (product > 1e-12 * max(float(product.max(initial=0.0)), 1e-300))
    pearson = np.where(good, covariance / np.sqrt(np.where(good, product, 1.0)), 0.0)
    return np.clip(pearson, -1.0, 1.0), np.where(good, count, 0.0)


def pearson_at(one: Map, other: Map) -> float:
    """Return Pearson's correlation of two images where both are known; nan where fewer than 16 pixels are."""
    both = np.isfinite(one) & np.isfinite(other)
    if np.count_nonzero(both) < 16:
        return float("nan")
    a, b = one[both] - one[both].mean(), other[both] - other[both].mean()
    norm = float(np.sqrt(np.sum(a * a, dtype=np.float64) * np.sum(b * b, dtype=np.float64)))
    return float(np.sum(a * b, dtype=np.float64)) / norm if norm > 0 else float("nan")


def smooth(image: Map, sigma_px: float) -> Map:
    """Return the image blurred by a Gaussian, unknown pixels taking no part; nan stays nan.

    Wide blurs are three box filters, whose cost does not grow with their width.
    """
    known = np.isfinite(image)
    weight, total = (_blur(part, sigma_px) for part in (known.astype(np.float64), np.where(known, image, 0.0)))
    return np.where(known, total / np.maximum(weight, 1e-6), np.nan)


def _blur(image: Map, sigma_px: float) -> Map:
    if sigma_px < WIDE_PX:
        return gaussian_filter(image, sigma_px, mode="constant", truncate=3.0)
    width = 2 * round((np.sqrt(4.0 * sigma_px**2 + 1.0) - 1.0) / 2.0) + 1
    for _ in range(3):
        image = uniform_filter(image, width, mode="constant")
    return image


def without_shading(image: Map, sigma_px: float) -> Map:
    """Return the image less a fitted paraboloid and less its own wide blur: what is left does not hang on the scan."""
    known = np.isfinite(image)
    y, x = (np.linspace(-1.0, 1.0, size) for size in image.shape)
    terms = np.stack(np.broadcast_arrays(1.0, y[:, None], x[None, :], y[:, None] ** 2, y[:, None] * x, x[None, :] ** 2))
    design = terms[:, known].T
    step = max(1, len(design) // 50_000)
    weights = np.linalg.lstsq(design[::step], image[known][::step], rcond=None)[0]
    flat = image - np.tensordot(weights, terms, axes=1)
    return flat - smooth(flat, sigma_px)


def binned(image: Map, factor: int) -> AnyMap:
    """Return the image with `factor`² pixels averaged into one; nan where half of them or more are unknown."""
    if factor == 1:
        return image.astype(np.float64)
    tall, wide = (size // factor for size in image.shape)
    blocks = image[: tall * factor, : wide * factor].reshape(tall, factor, wide, factor).astype(np.float64)
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0.0).sum(axis=(1, 3))
    return np.where(2 * count > factor**2, total / np.maximum(count, 1), np.nan)


def peaks(field: Map, *, above: float, apart: int) -> Int[np.ndarray, "peak 2"]:
    """Return the places (row, column) of local maxima above a value, the highest first."""
    top: Bool[np.ndarray, "y x"] = (field == maximum_filter(field, size=2 * apart + 1)) & (field > above)
    top[[0, -1], :] = top[:, [0, -1]] = False
    found = np.argwhere(top)
    order: Int[np.ndarray, "peak 2"] = found[np.argsort(-field[top], kind="stable")]
    return order


def refine_peak(field: Map, place: Int[np.ndarray, "2"]) -> Float[np.ndarray, "2"]:
    """Return a maximum to a fraction of a step, from a parabola through its neighbours along each axis."""
    j, i = int(place[0]), int(place[1])
    middle = float(field[j, i])
    shift = np.zeros(2)
    for axis, (low, high) in enumerate(((field[j - 1, i], field[j + 1, i]), (field[j, i - 1], field[j, i + 1]))):
        bend = float(low) - 2.0 * middle + float(high)
        if bend < 0:
            shift[axis] = np.clip(0.5 * (float(low) - float(high)) / bend, -0.5, 0.5)
    return np.array([j, i], dtype=np.float64) + shift
