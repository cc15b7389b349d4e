"""What the compiled pass over patterns needs to know of a view, a bank and virtual images: computed once, kept."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from dipolar.core.scanning import Bank, View
from dipolar.measure.bank_kernels import PHASES, Apertures, Grid, Rings, padded

COARSE_RADIUS_PX = 6.0
"""Disks of this radius are sharp enough in squares of 2 × 2 pixels, which are four times faster to count."""
LEAST = 0.5
"""An aperture of which less than this share counts is unknown."""
FINE = 16
"""Steps, along each axis, by which the share of a pixel that lies in an aperture is found."""


def factor_of(view: View) -> int:
    """Return the edge of the squares of pixels in which patterns are counted."""
    return 2 if view.radius_px >= COARSE_RADIUS_PX else 1


@lru_cache(maxsize=8)
def grid_of(view: View, factor: int) -> Grid:
    """Return the detector in squares of pixels."""
    good = np.ascontiguousarray(~view.defective)
    height, width = good.shape[0] // factor, good.shape[1] // factor
    cut = good[: height * factor, : width * factor]
    whole = cut.reshape(height, factor, width, factor).all(axis=(1, 3))
    bad_y, bad_x = np.nonzero(~good)
    return Grid(factor, height, width, bad_y, bad_x, good, np.ascontiguousarray(whole))


@lru_cache(maxsize=8)
def apertures_of(view: View, bank: Bank, factor: int) -> Apertures:
    """Return the virtual detectors of a bank in a view."""
    grid = grid_of(view, factor)
    half = view.lattice_px / (2.0 * factor)
    radius = view.radius_px / factor
    kinds, depth = _holes(half)
    offsets = _nearest(kinds, half)
    sites = bank.sites.astype(np.float64)
    exact = (sites[:, None, :] + offsets[None, :, :]).reshape(-1, 2)
    places, which = np.unique(np.rint(exact * 1e6).astype(np.int64), axis=0, return_inverse=True)
    # Blurred edges of disks reach into holes: the inner three quarters of one are dark.
    small = max(0.6, 0.75 * (depth - radius))
    disk, disk_left, disk_noise = stencil(bank.radius * radius)
    hole, hole_left, hole_noise = stencil(small)
    return Apertures(
        disks=np.ascontiguousarray(sites @ half),
        holes=np.ascontiguousarray(places / 1e6 @ half),
        around=which.reshape(len(sites), -1).astype(np.int64),
        disk=_filled_up(disk),
        disk_size=disk.shape[1],
        disk_left=disk_left,
        disk_noise=disk_noise,
        hole=_filled_up(hole),
        hole_size=hole.shape[1],
        hole_left=hole_left,
        hole_noise=hole_noise,
        near_disk=_near(grid.whole, disk.shape[1]),
        near_hole=_near(grid.whole, hole.shape[1]),
        units=units_per_electron(view),
        least=LEAST,
    )


def stencil(radius: float) -> tuple[Float32[np.ndarray, "phase size size"], int, float]:
    """Return the weights of a round aperture at every phase, the row of its middle, and the sum of their squares.

    A weight is the share of a pixel that lies inside; their sum is made 1.
    """
    left = int(np.ceil(radius + 0.5)) - 1
    right = int(np.ceil(radius + 0.5 + (PHASES - 1) / PHASES)) - 1
    size = left + right + 1
    fine = (np.arange(size * FINE) + 0.5) / FINE - 0.5
    weights = np.empty((PHASES * PHASES, size, size), dtype=np.float32)
    for phase in range(PHASES * PHASES):
        down, along = fine - left - phase // PHASES / PHASES, fine - left - phase % PHASES / PHASES
        inside = (down[:, None] ** 2 + along**2 <= radius**2).reshape(size, FINE, size, FINE).mean(axis=(1, 3))
        weights[phase] = inside / inside.sum()
    return weights, left, float((weights.astype(np.float64) ** 2).sum(axis=(1, 2)).mean())


def _filled_up(weights: Float32[np.ndarray, "phase size size"]) -> Float32[np.ndarray, " weight"]:
    """Return weights in one row, filled up with zeros as the compiled pass reads them."""
    size = weights.shape[1]
    rows, columns = padded(size)
    return np.ascontiguousarray(np.pad(weights, ((0, 0), (0, rows - size), (0, columns - size)))).ravel()


def _holes(half: Float[np.ndarray, "2 2"]) -> tuple[Float[np.ndarray, "kind 2"], float]:
    """Return where the half lattice is emptiest, in its vectors, and how far from there the nearest site is.

    One place in each cell where that is its middle, or two opposite ones.
    """
    steps = np.arange(49) / 48.0
    inside = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    corners = np.stack(np.meshgrid(np.arange(-1, 3), np.arange(-1, 3), indexing="ij"), axis=-1).reshape(-1, 2)
    distance = np.linalg.norm((inside[:, None, :] - corners) @ half, axis=-1).min(axis=1)
    middle = np.array([0.5, 0.5])
    there = float(np.linalg.norm((middle - corners) @ half, axis=-1).min())
    if there >= 0.93 * distance.max():
        return middle[None], there
    deepest = inside[int(np.argmax(distance))]
    return np.stack([deepest, 1.0 - deepest]), float(distance.max())


def _nearest(kinds: Float[np.ndarray, "kind 2"], half: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "hole 2"]:
    """Return the holes around the site (0, 0), in half lattice vectors."""
    cells = np.stack(np.meshgrid(np.arange(-2, 2), np.arange(-2, 2), indexing="ij"), axis=-1).reshape(-1, 2)
    every = (kinds[:, None, :] + cells).reshape(-1, 2)
    distance = np.linalg.norm(every @ half, axis=1)
    return every[distance <= 1.1 * distance.min()]


def _near(whole: Bool[np.ndarray, "y x"], size: int) -> Bool[np.ndarray, "y x"]:
    """Return the corners from which a square of `size` meets something that does not count."""
    if whole.all():
        return np.zeros(whole.shape, dtype=bool)
    height, width = whole.shape
    sums = np.zeros((height + 1, width + 1), dtype=np.int64)
    sums[1:, 1:] = np.cumsum(np.cumsum(~whole, axis=0), axis=1)
    down, along = np.minimum(np.arange(height) + size, height), np.minimum(np.arange(width) + size, width)
    inside: Int64[np.ndarray, "y x"] = sums[down][:, along] - sums[:height][:, along] - sums[down][:, :width]
    return (inside + sums[:height, :width]) > 0


def rings_of(images: tuple[tuple[float, float, float, float], ...], moment: int, factor: int) -> Rings:
    """Return rings in squares of pixels: (inner radius, outer radius, k_y, k_x of its middle from the beam)."""
    circles = np.array(images, dtype=np.float64).reshape(-1, 4) / factor
    shared = [moment >= 0 and n != moment and images[n][1:] == images[moment][1:] for n in range(len(images))]
    return Rings(circles, moment, np.array(shared, dtype=bool))


@lru_cache(maxsize=8)
def units_per_electron(view: View) -> float:
    """Return how many counts one electron makes: variance against mean of the darkest pixels; 1 where they count.

    What the specimen changes goes with the square of the mean, the noise of electrons with the mean itself, so that the
    darkest pixels tell it best. A slope, so that an offset of the detector does not matter.
    """
    seen = view.variance > 0
    mean, spread = view.mean[seen].astype(np.float64), view.variance[seen].astype(np.float64)
    order = np.argsort(mean, kind="stable")
    groups = np.array_split(order[int(0.02 * len(order)) : int(0.4 * len(order))], 8)
    if min(len(each) for each in groups) < 8:
        return 1.0
    level = np.array([mean[each].mean() for each in groups])
    noise = np.array([spread[each].mean() for each in groups])
    if np.ptp(level) < 1e-6 * level.max():
        slope = float(noise.sum() / level.sum())
    else:
        slope = float(np.polyfit(level - level[0], noise, 1)[0])
    return slope if np.isfinite(slope) and slope > 1.5 else 1.0
