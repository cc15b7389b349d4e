"""How the patterns of a scan are to be looked at, and where the direct beam of each is."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Bool, Float, Float32, Shaped

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import ScanError
from dipolar.core.scanning import Scan, View
from dipolar.locate.beam_defects import bad_pixels, fill, stopped_pixels
from dipolar.locate.beam_kernels import find_centres
from dipolar.locate.beam_sample import brightest_disk, centred, middle_of_light, moments, radius_of, sample
from dipolar.locate.beam_stop import beam_behind_stop
from dipolar.locate.disks import MeanPattern, measure_disks, points_inside
from dipolar.locate.reflections import Lattice, find_reflections

LEAST_CONTRAST = 0.15
"""The beam is found where it stands out by this share of what it does in the mean pattern."""
STEPS = 8
"""Steps of a centroid at most; it moves less than 0.003 px after four."""
PAIRED = 16
"""Disks that stand for the direct beam where it is hidden."""


def look_at(scan: Scan, *, patterns: int = 256, progress: Progress = silent) -> View:
    """Return how the patterns of a scan are looked at, found from some of them, spread evenly over the scan.

    Parameters
    ----------
    scan
        The scan; of one that grows, what is there.
    patterns
        Number of patterns to look at; fewer where they would take more than 160 MB.
    progress
        Told how far the work has come.

    Raises
    ------
    ScanError
        No pattern, constant or empty patterns, or no beam in them.
    """
    stack = sample(scan, patterns, progress)
    mean, variance = moments(stack)
    bad = bad_pixels(mean, variance, len(stack))
    if scan.defective is not None:
        bad |= scan.defective
    progress("looking for the beam", 0.6)
    rough = middle_of_light(mean, bad)
    shadow = stopped_pixels(mean, bad, rough)
    # Neighbours of a shadow look dead or hot beside it.
    good = ~(bad | shadow)
    return _stopped_view(stack, good, shadow, rough) or _open_view(stack, mean, good, progress)


def _open_view(
    stack: Shaped[np.ndarray, "pattern k_y k_x"],
    mean: Float[np.ndarray, "k_y k_x"],
    good: Bool[np.ndarray, "k_y k_x"],
    progress: Progress,
) -> View:
    """Return the view of patterns whose direct beam is seen."""
    start, radius = brightest_disk(mean, good)
    sites = np.zeros((1, 2))
    # The beam moves by less than its diameter between patterns: further away lies the next disk.
    centres, found = _follow(stack, good, sites, start, radius, 2.0 * radius + 1.0, 0.0)
    for _ in range(2):
        start = np.median(centres[found], axis=0) if found.any() else start
        pattern = centred(stack, centres, found, good, start, radius)
        radius = radius_of(pattern, radius)
        contrast = _contrast(pattern, sites, radius)
        # The highest of the places that were tried stands out in pure noise as well, by less than three of its sigmas.
        single = float(np.percentile(pattern.variance, 60)) * int(found.sum())
        if not contrast > 4.0 * np.sqrt(single / (np.pi * radius**2)):
            raise _no_beam(len(stack))
        centres, found = _follow(stack, good, sites, start, radius, 2.0 * radius + 1.0, LEAST_CONTRAST * contrast)
        if not found.any():
            raise _no_beam(len(stack))
    progress("looking for the lattice", 0.8)
    pattern = centred(stack, centres, found, good, np.median(centres[found], axis=0), radius)
    lattice = find_reflections(pattern)
    return _view(stack, pattern, centres[found], good, lattice, stopped=False)


def _stopped_view(
    stack: Shaped[np.ndarray, "pattern k_y k_x"],
    good: Bool[np.ndarray, "k_y k_x"],
    shadow: Bool[np.ndarray, "k_y k_x"],
    rough: Float[np.ndarray, " 2"],
) -> View | None:
    """Return the view of patterns whose direct beam lies behind a beam stop; None where nothing does."""
    if not shadow.any():
        return None
    mean = fill(moments(stack)[0], ~good)
    start, radius = brightest_disk(np.where(good, mean, 0.0), good)
    # One bright disk beside the shadow shows how patterns move; it need not be the direct beam.
    centres, found = _follow(stack, good, np.zeros((1, 2)), start, radius, 1.5 * radius + 1.0, 0.0)
    pattern = centred(stack, centres, found, good, np.median(centres[found], axis=0), radius)
    radius = radius_of(pattern, radius)
    pattern = MeanPattern(pattern.mean, pattern.variance, pattern.good, pattern.centre, radius)
    lattice = find_reflections(pattern)
    if lattice is None:
        return None
    beam = beam_behind_stop(pattern, lattice, shadow, rough)
    if beam is None:
        return None
    near = _near(good, radius)
    for _ in range(2):
        sites = _brightest_sites(pattern, lattice.vectors, beam, near)
        contrast = _contrast(MeanPattern(pattern.mean, pattern.variance, pattern.good, beam, radius), sites, radius)
        centres, found = _follow(stack, good, sites, beam, radius, 1.5 * radius + 1.0, LEAST_CONTRAST * contrast)
        if not found.any():
            return None
        pattern = centred(stack, centres, found, good, np.median(centres[found], axis=0), radius)
        again = find_reflections(pattern)
        lattice = again or lattice
        beam = pattern.centre
    return _view(stack, pattern, centres[found], good, lattice, stopped=True)


def _no_beam(count: int) -> ScanError:
    return ScanError(
        "A diffraction pattern has a direct beam: one disk that stands out in the mean of the patterns.",
        got=f"no disk in the mean of {count} patterns",
        do="look at the patterns with `dipolar scan info`; is the file a 4D-STEM scan, and its order scan_y, scan_x?",
    )


def _follow(
    stack: Shaped[np.ndarray, "pattern k_y k_x"],
    good: Bool[np.ndarray, "k_y k_x"],
    sites: Float[np.ndarray, "site 2"],
    start: Float[np.ndarray, " 2"],
    radius: float,
    reach: float,
    least: float,
) -> tuple[Float32[np.ndarray, "pattern 2"], Bool[np.ndarray, " pattern"]]:
    """Return where the beam of each pattern is, and whether it stands out enough."""
    centres = np.empty((len(stack), 2), dtype=np.float32)
    found = np.zeros(len(stack), dtype=bool)
    near = _near(good, radius)
    find_centres(
        np.ascontiguousarray(stack), good, near, np.ascontiguousarray(sites, dtype=np.float64),
        np.asarray(start, dtype=np.float64), float(radius), float(reach), STEPS, float(least), centres, found,
    )  # fmt: skip
    return centres, found


def _near(good: Bool[np.ndarray, "k_y k_x"], radius: float) -> Bool[np.ndarray, "k_y k_x"]:
    """Return where a window of the disks may hold a pixel that does not count."""
    if good.all():
        return np.zeros(good.shape, dtype=bool)
    edge = 2 * int(np.ceil(radius + max(1.5, 0.5 * radius) + 1.5)) + 1
    near: Bool[np.ndarray, "k_y k_x"] = ndi.maximum_filter((~good).astype(np.uint8), size=edge) > 0
    return near


def _contrast(pattern: MeanPattern, sites: Float[np.ndarray, "site 2"], radius: float) -> float:
    """Return how far the disks stand out in the mean pattern, in mean counts per px."""
    disks = measure_disks(
        MeanPattern(pattern.mean, pattern.variance, pattern.good, pattern.centre, radius),
        np.zeros(sites.shape, dtype=np.int64),
        pattern.centre + sites,
        steps=0,
    )
    return float(np.nanmean(disks.amount)) if np.isfinite(disks.amount).any() else 0.0


def _brightest_sites(
    pattern: MeanPattern,
    lattice: Float[np.ndarray, "2 2"],
    beam: Float[np.ndarray, " 2"],
    near: Bool[np.ndarray, "k_y k_x"],
) -> Float[np.ndarray, "site 2"]:
    """Return the places, from the beam, of the brightest disks that are not in a shadow, in pairs where possible."""
    index, place = points_inside(pattern, lattice, beam)
    row, column = np.rint(place).astype(np.int64).T
    whole = ~near[row, column]
    # Disks without a dead pixel are faster to follow; where a few are left, they are enough.
    if whole.sum() > 2 * PAIRED:
        index, place = index[whole], place[whole]
    disks = measure_disks(pattern, index, place, steps=0)
    amount = {(int(h), int(k)): float(a) for (h, k), a in zip(index, disks.amount, strict=True) if np.isfinite(a)}
    pairs = {key: value + amount[-key[0], -key[1]] for key, value in amount.items() if (-key[0], -key[1]) in amount}
    chosen = sorted(pairs or amount, key=(pairs or amount).__getitem__, reverse=True)[:PAIRED]
    chosen = [key for key in chosen if key != (0, 0)]
    return np.array(chosen, dtype=np.float64).reshape(-1, 2) @ lattice


def _view(
    stack: Shaped[np.ndarray, "pattern k_y k_x"],
    pattern: MeanPattern,
    centres: Float32[np.ndarray, "found 2"],
    good: Bool[np.ndarray, "k_y k_x"],
    lattice: Lattice | None,
    *,
    stopped: bool,
) -> View:
    """Put together what was found."""
    sums = [float(each.sum(dtype=np.float64, where=good)) for each in stack]
    away = np.hypot(*(centres - pattern.centre).T)
    unknown = np.full((2, 2), np.nan)
    return View(
        centre_px=(float(pattern.centre[0]), float(pattern.centre[1])),
        reach_px=float(1.25 * np.percentile(away, 99.5) + max(2.0, 0.3 * pattern.radius)),
        radius_px=pattern.radius,
        lattice_px=unknown if lattice is None else lattice.vectors,
        lattice_sigma_px=unknown if lattice is None else lattice.sigma,
        defective=~good,
        stopped=stopped,
        mean=pattern.mean.astype(np.float32),
        variance=(pattern.variance * len(centres)).astype(np.float32),
        counts_per_pattern=float(np.median(sums)),
    )


def centres(
    patterns: Shaped[np.ndarray, "pattern k_y k_x"], view: View
) -> tuple[Float32[np.ndarray, "pattern 2"], Bool[np.ndarray, " pattern"]]:
    """Return the direct beam (k_y, k_x) of each pattern, and whether it was found.

    The centroid of the beam's disk in a round window that moves with it until it rests: what surrounds the disk evenly
    does not move it, whatever the brightness. Where a beam stop hides the beam, the brightest Friedel pairs of disks
    are followed together. A beam that was not found is put where it is on the average.

    Parameters
    ----------
    patterns
        Some patterns of the scan.
    view
        How they are looked at.
    """
    sites, least = _sites_of(view)
    good, near = _masks_of(view)
    found = np.zeros(len(patterns), dtype=bool)
    places = np.empty((len(patterns), 2), dtype=np.float32)
    find_centres(
        np.ascontiguousarray(patterns), good, near, sites, np.array(view.centre_px), view.radius_px, view.reach_px,
        STEPS, least, places, found,
    )  # fmt: skip
    return places, found


@lru_cache(maxsize=8)
def _masks_of(view: View) -> tuple[Bool[np.ndarray, "k_y k_x"], Bool[np.ndarray, "k_y k_x"]]:
    """Return what counts, and where windows may hold what does not."""
    good = ~view.defective
    return good, _near(good, view.radius_px)


@lru_cache(maxsize=8)
def _sites_of(view: View) -> tuple[Float[np.ndarray, "site 2"], float]:
    """Return the disks that are followed, from the beam, and the contrast below which they are not there."""
    pattern = MeanPattern(
        view.mean.astype(np.float64), view.variance.astype(np.float64), view.mean > 0, np.array(view.centre_px),
        view.radius_px,
    )  # fmt: skip
    sites: Float[np.ndarray, "site 2"] = np.zeros((1, 2))
    if view.stopped:
        sites = _brightest_sites(pattern, view.lattice_px, pattern.centre, _masks_of(view)[1])
    return np.ascontiguousarray(sites), LEAST_CONTRAST * _contrast(pattern, sites, view.radius_px)
