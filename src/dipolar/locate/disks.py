"""Disks of a mean diffraction pattern: what looks like one, and where and how bright those at given places are."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage as ndi
from jaxtyping import Bool, Float, Int64

from dipolar.locate.beam_defects import fill
from dipolar.locate.beam_kernels import window_sums

SIGMAS = 5.0
"""Standard errors above which a disk is there."""


@dataclass(frozen=True, slots=True, eq=False)
class MeanPattern:
    """The mean of centred patterns, and what was found of its disks so far."""

    mean: Float[np.ndarray, "k_y k_x"]
    variance: Float[np.ndarray, "k_y k_x"]
    """One variance of each pixel of `mean`."""
    good: Bool[np.ndarray, "k_y k_x"]
    """Pixels that were counted."""
    centre: Float[np.ndarray, " 2"]
    """The direct beam, or near it."""
    radius: float
    """Radius of a disk."""


@dataclass(frozen=True, slots=True, eq=False)
class Disks:
    """Disks at the points of a lattice."""

    index: Int64[np.ndarray, "disk 2"]
    place: Float[np.ndarray, "disk 2"]
    """Centroid."""
    amount: Float[np.ndarray, " disk"]
    """Mean counts per px above what surrounds the disk."""
    sigma: Float[np.ndarray, " disk"]
    """One standard error of it."""


def disk_likeness(pattern: MeanPattern) -> Float[np.ndarray, "k_y k_x"]:
    """Return how much each place looks like a disk, 0 to 1, relative to the brightest at the same angle."""
    edge = int(np.ceil(1.7 * pattern.radius)) + 1
    dy, dx = np.mgrid[-edge : edge + 1, -edge : edge + 1]
    distance = np.hypot(dy, dx)
    disk = np.clip(pattern.radius - distance + 0.5, 0.0, 1.0)
    ring = np.clip(1.6 * pattern.radius + 0.7 - distance, 0.0, 1.0) * np.clip(distance - pattern.radius, 0.0, 1.0)
    kernel = disk / disk.sum() - ring / ring.sum()
    filled = fill(pattern.mean, ~pattern.good)
    matched = _convolve(filled, kernel)
    noise = np.sqrt(np.maximum(_convolve(pattern.variance, kernel**2), 0.0))
    matched[ndi.binary_dilation(~pattern.good, iterations=2) & ~_lonely(pattern.good)] = 0.0
    rows, columns = np.indices(matched.shape)
    step = 1.5 * pattern.radius
    ring_of = (np.hypot(rows - pattern.centre[0], columns - pattern.centre[1]) / step).astype(np.int64)
    bright = ndi.maximum(np.where(matched > SIGMAS * noise, matched, 0.0), ring_of, np.arange(ring_of.max() + 1))
    envelope = ndi.gaussian_filter1d(ndi.maximum_filter1d(bright, 5), 1.0)
    least = SIGMAS * noise
    level = np.maximum(envelope[ring_of], np.maximum(least, 1e-12))
    return np.clip(matched / level, 0.0, 1.0)


def _lonely(good: Bool[np.ndarray, "k_y k_x"]) -> Bool[np.ndarray, "k_y k_x"]:
    """Return the surroundings of single bad pixels, which were filled well: all but those of large regions."""
    large: Bool[np.ndarray, "k_y k_x"] = ~ndi.binary_dilation(ndi.binary_opening(~good, np.ones((3, 3))), iterations=4)
    return large


def _convolve(image: Float[np.ndarray, "k_y k_x"], kernel: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "k_y k_x"]:
    """Return an image convolved with a small symmetric kernel, mirrored at its edges."""
    edge = kernel.shape[0] // 2
    padded = np.pad(image, edge, mode="symmetric" if edge <= min(image.shape) else "edge")
    shape = [scipy.fft.next_fast_len(n + 2 * edge, real=True) for n in padded.shape]
    product = scipy.fft.rfft2(padded, shape) * scipy.fft.rfft2(kernel, shape)
    full = scipy.fft.irfft2(product, shape)
    result: Float[np.ndarray, "k_y k_x"] = full[
        2 * edge : 2 * edge + image.shape[0], 2 * edge : 2 * edge + image.shape[1]
    ]
    return result


def measure_disks(
    pattern: MeanPattern,
    index: Int64[np.ndarray, "disk 2"],
    place: Float[np.ndarray, "disk 2"],
    *,
    steps: int = 4,
) -> Disks:
    """Return centroid and amount of the disks near given places; both are nan where too little of one was counted."""
    centroid, amount, sigma = place.copy(), np.full(len(place), np.nan), np.full(len(place), np.nan)
    wide, tight = 1.35 * pattern.radius + 0.5, pattern.radius + min(1.5, 0.3 + 0.25 * pattern.radius)
    height, width = pattern.mean.shape
    disks_alone = pattern.mean - _between_disks(pattern) if steps else pattern.mean
    for n in range(len(place)):
        where = place[n].copy()
        if not (tight <= where[0] < height - tight and tight <= where[1] < width - tight):
            continue
        inner, outer, noise = np.zeros(4), np.zeros(4), np.zeros(4)
        for step in range(steps):
            sums = np.zeros(4)
            window_sums(disks_alone, pattern.good, True, where[0], where[1], wide if step == 0 else tight, sums)
            if sums[0] <= 0 or sums[3] < 0.6 * np.pi * pattern.radius**2:
                break
            moved = where + sums[1:3] / sums[0]
            if np.hypot(*(moved - place[n])) > 0.8 * pattern.radius + 0.5:
                break
            where = moved
        window_sums(pattern.mean, pattern.good, True, place[n, 0], place[n, 1], 0.9 * pattern.radius, inner)
        window_sums(pattern.variance, pattern.good, True, place[n, 0], place[n, 1], 0.9 * pattern.radius, noise)
        window_sums(pattern.mean, pattern.good, True, place[n, 0], place[n, 1], wide, outer)
        if inner[3] < 0.5 * np.pi * (0.9 * pattern.radius) ** 2 or outer[3] - inner[3] < 1e-3:
            continue
        amount[n] = inner[0] / inner[3] - (outer[0] - inner[0]) / (outer[3] - inner[3])
        sigma[n] = np.sqrt(max(noise[0], 0.0)) / inner[3] * 1.3
        centroid[n] = where
    return Disks(index, centroid, amount, sigma)


def _between_disks(pattern: MeanPattern) -> Float[np.ndarray, "k_y k_x"]:
    """Return what lies between disks, at every angle: the darkest quarter there.

    It falls with the angle, and under the disks too, where it would draw all centroids inwards.
    """
    rows, columns = np.indices(pattern.mean.shape)
    distance = np.hypot(rows - pattern.centre[0], columns - pattern.centre[1])
    width = 1.5 * pattern.radius
    ring = np.where(pattern.good, (distance / width).astype(np.int64), -1)
    order = np.argsort(ring, axis=None, kind="stable")
    ends = np.searchsorted(ring.ravel()[order], np.arange(int(ring.max()) + 2))
    counts = pattern.mean.ravel()[order]
    middle, level = [], []
    for n, (start, stop) in enumerate(itertools.pairwise(ends)):
        if stop - start >= 8:
            middle.append((n + 0.5) * width)
            level.append(float(np.mean(np.sort(counts[start:stop])[: (stop - start) // 2])))
    between: Float[np.ndarray, "k_y k_x"] = np.interp(distance, middle, level)
    return between


def points_inside(
    pattern: MeanPattern, vectors: Float[np.ndarray, "2 2"], origin: Float[np.ndarray, " 2"]
) -> tuple[Int64[np.ndarray, "point 2"], Float[np.ndarray, "point 2"]]:
    """Return indices and places of all points of a lattice on the detector."""
    height, width = pattern.mean.shape
    corners = np.array([[0, 0], [0, width], [height, 0], [height, width]]) - origin
    most = int(np.ceil(np.abs(corners @ np.linalg.inv(vectors)).max()))
    grid = np.arange(-most, most + 1)
    index = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    place = origin + index @ vectors
    inside = (place >= 0).all(axis=1) & (place <= np.array([height - 1, width - 1])).all(axis=1)
    return index[inside], place[inside]
