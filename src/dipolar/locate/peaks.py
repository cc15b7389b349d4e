"""First guesses: intensity maxima at the scale of the lattice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Float32

SMOOTH = 0.12  # of the A-B distance; a HAADF column has a standard deviation of about 0.17
SURROUND = 0.45  # subtracted blur: removes the background and the shoulders of bright neighbours
APART = 0.45  # two columns cannot be closer: displacements are below 0.15


def column_scales(
    data: Float32[np.ndarray, "y x"], *, step_px: float
) -> tuple[Float32[np.ndarray, "y x"], Float32[np.ndarray, "y x"]]:
    """Return the image blurred at the scale of a column, and that less its blur at the scale of the lattice.

    Parameters
    ----------
    data
        The image; invalid pixels hold anything finite.
    step_px
        Distance from a column to its nearest neighbour.
    """

    def blur(sigma: float) -> Float32[np.ndarray, "y x"]:
        return scipy.ndimage.gaussian_filter(data, sigma, mode="nearest", truncate=3.0)

    with ThreadPoolExecutor(2) as pool:  # SciPy's filters use one core each
        narrow, wide = pool.map(blur, (max(0.6, SMOOTH * step_px), SURROUND * step_px))
    return narrow, np.subtract(narrow, wide, out=wide)


def find_maxima(
    filtered: Float32[np.ndarray, "y x"], valid: Bool[np.ndarray, "y x"], *, step_px: float
) -> Float[np.ndarray, "peak 2"]:
    """Return positions (y, x) of the maxima of the filtered image, at most one per column.

    Parameters
    ----------
    filtered
        The second of `column_scales`.
    valid
        Where the image was measured.
    step_px
        Distance from a column to its nearest neighbour.
    """
    inside = filtered if valid.all() else np.where(valid, filtered, np.float32(-np.inf))
    return _summits(inside, _maxima(inside, max(1.0, APART * step_px)))


@numba.njit(cache=True, parallel=True)
def _maxima(image, radius):  # type: ignore[no-untyped-def]
    """Pixels that no other within `radius` exceeds."""
    height, width = image.shape
    reach = int(radius)
    found = np.zeros((height, width), dtype=np.bool_)
    for y in numba.prange(1, height - 1):
        for x in range(1, width - 1):
            value = image[y, x]
            if (
                value == -np.inf
                or value < image[y, x - 1]
                or value <= image[y, x + 1]
                or value < image[y - 1, x]
                or value <= image[y + 1, x]
            ):
                continue
            highest = True
            for v in range(max(0, y - reach), min(height, y + reach + 1)):
                for u in range(max(0, x - reach), min(width, x + reach + 1)):
                    if image[v, u] > value and (v - y) ** 2 + (u - x) ** 2 <= radius * radius:
                        highest = False
                        break
                if not highest:
                    break
            found[y, x] = highest
    return np.argwhere(found)


@numba.njit(cache=True)
def _summits(image, positions):  # type: ignore[no-untyped-def]
    """Refine each maximum by a parabola along each axis."""
    fine = positions.astype(np.float64)
    for k in range(len(positions)):
        y, x = positions[k]
        bend = image[y - 1, x] - 2.0 * image[y, x] + image[y + 1, x]
        if np.isfinite(bend) and bend < 0:
            fine[k, 0] += min(0.5, max(-0.5, 0.5 * (image[y - 1, x] - image[y + 1, x]) / bend))
        bend = image[y, x - 1] - 2.0 * image[y, x] + image[y, x + 1]
        if np.isfinite(bend) and bend < 0:
            fine[k, 1] += min(0.5, max(-0.5, 0.5 * (image[y, x - 1] - image[y, x + 1]) / bend))
    return fine
