"""The shifts under which an image nearly repeats: by these a frame can be misplaced without looking wrong."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dipolar.align.correlate import Map, correlation, peaks, prepare, refine_peak, without_shading

REPEATS = 0.5
"""A shift competes where the autocorrelation reaches this share of that of the best repeat."""
LEAST = 0.08
"""Less than this correlation is no repeat."""


def repeats(images: list[Map], *, longest_px: float) -> Float[np.ndarray, "vector 2"]:
    """Return the shortest lattice vectors (y, x) of images of one crystal, no vector with its negative; none: empty.

    The autocorrelations, normalised in the overlap, are averaged. What is found are the shifts under which whole cells
    fall on cells: the shorter one from A to B columns correlates less and is no repeat.

    Parameters
    ----------
    images
        Resampled on the same axes; nan where unknown.
    longest_px
        Longest vector looked for.
    """
    reach_px = int(min(longest_px, *(0.45 * size for size in images[0].shape)))
    reach = (reach_px, reach_px)
    total = np.zeros((2 * reach_px + 1, 2 * reach_px + 1))
    for image in images:
        ready = prepare(without_shading(image, longest_px), reach=reach)
        total += correlation(ready, ready, reach=reach, least=0.1 * image.size)[0] / len(images)
    core = _core_radius(total)
    found = peaks(total, above=LEAST, apart=max(1, round(core)))
    radius = np.linalg.norm(found - reach_px, axis=1)
    found = found[radius > max(2.0 * core, 3.0)]
    if not len(found):
        return np.zeros((0, 2))
    height = total[found[:, 0], found[:, 1]]
    vectors = np.array([refine_peak(total, place) for place in found[height >= REPEATS * height.max()]]) - reach_px
    vectors = vectors[np.lexsort((vectors[:, 1], np.round(np.linalg.norm(vectors, axis=1), 1)))]
    return _halved(vectors)


def _core_radius(total: Map) -> float:
    """Return the radius within which the autocorrelation falls from 1 past its first minimum or zero, in px."""
    middle = total.shape[0] // 2
    y, x = np.indices(total.shape) - middle
    ring = np.rint(np.hypot(y, x)).astype(int)
    profile = np.bincount(ring.ravel(), total.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    profile = profile[1 : middle + 1]  # the middle itself holds the noise
    falling = np.flatnonzero((profile < 0) | (profile < 0.3 * profile[0]))
    return float(falling[0] + 1) if len(falling) else float(middle)


def _halved(vectors: Float[np.ndarray, "vector 2"]) -> Float[np.ndarray, "kept 2"]:
    """Return the vectors of the innermost two shells without their negatives: two steps and their diagonals."""
    half = vectors[(vectors[:, 0] > 0.25) | ((np.abs(vectors[:, 0]) <= 0.25) & (vectors[:, 1] > 0))]
    shortest = np.linalg.norm(half, axis=1).min(initial=np.inf)
    kept: Float[np.ndarray, "kept 2"] = half[np.linalg.norm(half, axis=1) < 1.6 * shortest]
    return kept


def period(vectors: Float[np.ndarray, "vector 2"], *, otherwise: float) -> float:
    """Return the length of the shortest vector; `otherwise` where there is none."""
    return float(np.linalg.norm(vectors, axis=1).min()) if len(vectors) else otherwise
