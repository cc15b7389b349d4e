"""A sample of the patterns of a scan, and what is roughly seen in it before its beams are laid onto each other."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Bool, Float, Float32, Shaped

from dipolar.core.contracts import Progress
from dipolar.core.errors import ScanError
from dipolar.core.scanning import Scan
from dipolar.locate.beam_defects import fill
from dipolar.locate.beam_kernels import add_centred
from dipolar.locate.disks import MeanPattern

SAMPLE_BYTES = 160 << 20
"""Patterns that are looked at together take no more memory than this."""


def sample(scan: Scan, patterns: int, progress: Progress) -> Shaped[np.ndarray, "pattern k_y k_x"]:
    """Return patterns spread evenly over the scan, without constant ones."""
    there = min(scan.frames.count, scan.count)
    if there < 1:
        raise ScanError(
            "A scan is looked at by its patterns.",
            got=f"{scan.name} has none yet" if scan.growing else f"{scan.name} has none",
            do="wait until the first are written" if scan.growing else "",
        )
    each = int(np.prod(scan.frames.shape_px)) * scan.frames.dtype.itemsize
    count = max(1, min(patterns, there, max(8, SAMPLE_BYTES // each)))
    numbers = np.unique(np.linspace(0, there - 1, count).round().astype(np.int64))
    stack, kept = np.empty((len(numbers), *scan.frames.shape_px), dtype=scan.frames.dtype), 0
    for done, number in enumerate(numbers):
        pattern = np.asarray(scan.frames.read(int(number), int(number) + 1))[0]
        finite = pattern[np.isfinite(pattern)] if pattern.dtype.kind == "f" else pattern
        if finite.size and finite.min() != finite.max():
            stack[kept] = pattern
            kept += 1
        progress("looking at patterns", 0.6 * (done + 1) / len(numbers))
    if not kept:
        raise ScanError(
            "A diffraction pattern has bright and dark places.",
            got=f"{scan.name}: all {len(numbers)} patterns that were looked at are empty or constant",
            do="look at the file with `dipolar scan info`: is it the right one, and was the shutter open?",
        )
    return stack[:kept]


def moments(
    stack: Shaped[np.ndarray, "pattern k_y k_x"],
) -> tuple[Float[np.ndarray, "k_y k_x"], Float[np.ndarray, "k_y k_x"]]:
    """Return mean and variance of each pixel."""
    total, squares = np.zeros(stack.shape[1:]), np.zeros(stack.shape[1:])
    for pattern in stack:
        counts = pattern.astype(np.float64)
        total += counts
        squares += counts * counts
    mean = total / len(stack)
    return mean, np.maximum(squares / len(stack) - mean**2, 0.0)


def middle_of_light(mean: Float[np.ndarray, "k_y k_x"], bad: Bool[np.ndarray, "k_y k_x"]) -> Float[np.ndarray, " 2"]:
    """Return the centroid of what is brighter than the darker half of the detector."""
    filled = fill(mean, bad)
    light = np.sqrt(np.maximum(ndi.gaussian_filter(filled, 1.0) - np.median(filled), 0.0))
    rows, columns = np.indices(mean.shape)
    total = max(float(light.sum()), 1e-12)
    return np.array([float((rows * light).sum()) / total, float((columns * light).sum()) / total])


def brightest_disk(
    mean: Float[np.ndarray, "k_y k_x"], good: Bool[np.ndarray, "k_y k_x"]
) -> tuple[Float[np.ndarray, " 2"], float]:
    """Return middle and radius of the brightest region of a mean pattern: what is above half its height."""
    smooth = ndi.gaussian_filter(fill(mean, ~good), 0.7)
    top = np.unravel_index(int(np.argmax(np.where(good, smooth, -np.inf))), smooth.shape)
    floor = float(np.median(smooth))
    # The median of the brightest region is not drawn to a single bright place in it.
    level = float(np.median(smooth[smooth > floor + 0.5 * (smooth[top] - floor)]))
    regions, _ = ndi.label(smooth > floor + 0.5 * (level - floor))
    region = regions == regions[top]
    middle = np.array(ndi.center_of_mass(region))
    return middle, float(max(1.0, np.sqrt(region.sum() / np.pi)))


def radius_of(pattern: MeanPattern, guess: float) -> float:
    """Return the radius of the disk at the centre: where its profile falls to half."""
    rows, columns = np.nonzero(pattern.good)
    distance = np.hypot(rows - pattern.centre[0], columns - pattern.centre[1])
    counts = pattern.mean[pattern.good]
    inside, near = distance < 0.6 * guess + 0.3, distance < 2.0 * guess + 2.0
    if not inside.any():
        return guess
    step = 0.5
    ring = (distance[near] / step).astype(np.int64)
    profile = np.bincount(ring, counts[near]) / np.maximum(np.bincount(ring), 1)
    profile = profile[np.bincount(ring) > 0]
    plateau, floor = float(np.mean(counts[inside])), float(profile[int(1.1 * guess / step) :].min(initial=np.inf))
    if not np.isfinite(floor) or plateau <= floor:
        return guess
    # The sum over a blurred disk is that of a sharp one, whatever the blur.
    edge = (int(np.argmin(profile)) + 1) * step if len(profile) else guess
    whole = distance < max(edge, 1.2 * guess)
    area = float((counts[whole] - floor).sum()) / (plateau - floor)
    return float(np.clip(np.sqrt(max(area, 1.0) / np.pi), 0.6 * guess, 1.5 * guess))


def centred(
    stack: Shaped[np.ndarray, "pattern k_y k_x"],
    centres: Float32[np.ndarray, "pattern 2"],
    found: Bool[np.ndarray, " pattern"],
    good: Bool[np.ndarray, "k_y k_x"],
    middle: Float[np.ndarray, " 2"],
    radius: float,
) -> MeanPattern:
    """Return the mean of the patterns, moved by whole pixels so that their beams coincide."""
    target = np.rint(middle)
    shifts = np.rint(centres[found] - target).astype(np.int64)
    total, squares = np.zeros(good.shape), np.zeros(good.shape)
    seen = np.zeros(good.shape, dtype=np.int64)
    add_centred(np.ascontiguousarray(stack), np.flatnonzero(found), shifts, total, squares, seen, good)
    there = seen >= max(1, 0.2 * int(found.sum()))
    count = np.maximum(seen, 1)
    mean = np.where(there, total / count, 0.0)
    spread = np.where(there, np.maximum(squares / count - mean**2, 0.0), 0.0)
    rest = (centres[found] - shifts).mean(axis=0)
    return MeanPattern(mean, spread / count, there, rest.astype(np.float64), radius)
