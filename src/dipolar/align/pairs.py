"""Every frame held against every other, at every shift: where a pair may lie, and which frame matches no other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dipolar.align.correlate import Map, Prepared, binned, correlation, prepare, smooth, without_shading

BLUR_CELLS = 0.6
"""Blur in which the lattice vanishes: its first harmonic is damped by exp(-2 pi² 0.36) = 8e-4."""
SHADING_CELLS = 3.0
"""What varies more slowly than this may belong to the scan or the detector, and does not count."""
PIXELS_PER_CELL = 6
"""Frames are binned to this: enough for peaks to a quarter of a cell."""
LEAST_OVERLAP = 0.2
"""Pairs are compared where they share this part of a frame."""
CHANCE = 0.98
"""This share of the shifts of a pair agree by chance at most as well as is discounted."""
MOST_NATS = 200.0
"""No pair counts for more: likelihoods that large only say that the model is not the whole truth."""
STRANGE = 0.25
"""A frame whose best match is worse than this share of the usual best match does not belong to the others."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Evidence for every shift between any two frames, on the binned grid."""

    sharp: Float[np.ndarray, "frame frame y x"]
    """Correlation of all that is in the frames, times the root of their overlap: peaks at the lattice vectors."""
    evidence: Float[np.ndarray, "frame frame y x"]
    """Log-likelihood of the shift from what is not periodic, in nats, 0 where it says nothing."""
    reach: tuple[int, int]
    """Largest shift (y, x), in bins."""
    factor: int
    """Pixels per bin."""


def compare_all(images: list[Map], *, cell_px: float, reach_px: float) -> Pairs:
    """Return the evidence of all pairs of frames.

    Parameters
    ----------
    images
        Frames resampled on the same axes; nan where unknown.
    cell_px
        Length of the shortest lattice vector.
    reach_px
        Largest shift between two frames that is considered.
    """
    factor = max(1, int(cell_px / PIXELS_PER_CELL))
    cell = cell_px / factor
    small = [binned(image, factor) for image in images]
    reach = (
        min(int(np.ceil(reach_px / factor)), small[0].shape[0] - 2),
        min(int(np.ceil(reach_px / factor)), small[0].shape[1] - 2),
    )
    flat = [without_shading(image, SHADING_CELLS * cell) for image in small]
    sharp_ready = [prepare(image, reach=reach) for image in flat]
    blurred_ready = [prepare(smooth(image, BLUR_CELLS * cell), reach=reach) for image in flat]
    count = len(images)
    known = min(int(np.count_nonzero(np.isfinite(image))) for image in small)
    shape = (2 * reach[0] + 1, 2 * reach[1] + 1)
    sharp, evidence = np.zeros((count, count, *shape)), np.zeros((count, count, *shape))
    for f in range(count):
        for g in range(f):
            for field, made in (
                (sharp, _weighed(sharp_ready[f], sharp_ready[g], reach, LEAST_OVERLAP * known, known)),
                (evidence, _evidence(blurred_ready[f], blurred_ready[g], reach, LEAST_OVERLAP * known, cell)),
            ):
                field[f, g] = made
                field[g, f] = made[::-1, ::-1]
    return Pairs(sharp=sharp, evidence=evidence, reach=reach, factor=factor)


def _weighed(one: Prepared, other: Prepared, reach: tuple[int, int], least: float, known: int) -> Map:
    """Return the correlation times the root of the overlap, as a share of a frame: few pixels agree more easily."""
    r, pixels = correlation(one, other, reach=reach, least=least)
    return r * np.sqrt(np.minimum(pixels / known, 1.0))


def _evidence(one: Prepared, other: Prepared, reach: tuple[int, int], least: float, cell: float) -> Map:
    """Return -n/2 ln(1 - r²) for positive r: the gain of a common picture over none, for n independent patches."""
    r, pixels = correlation(one, other, reach=reach, least=least)
    patches = pixels / (4.0 * np.pi * (BLUR_CELLS * cell) ** 2)
    gain = -0.5 * patches * np.log(np.maximum(1.0 - np.maximum(r, 0.0) ** 2, 1e-6))
    # Among so many shifts some agree by chance: only what stands out of a map speaks.
    chance = float(np.quantile(gain[patches > 0], CHANCE)) if (patches > 0).any() else 0.0
    return np.clip(gain - chance, 0.0, MOST_NATS)


def strangers(pairs: Pairs) -> dict[int, str]:
    """Return the frames that match no other at any shift, and why: noise, damage, another specimen.

    A pair is judged by itself, so that one such frame cannot spoil the others. A frame of another place of the same
    crystal does match, by its lattice, and is found later.

    Parameters
    ----------
    pairs
        Of all frames.
    """
    count = len(pairs.sharp)
    best = pairs.sharp.max(axis=(2, 3)) - 2.0 * np.eye(count)
    match = best.max(axis=1)
    usual = float(np.median(match))
    return {
        n: f"does not match any other frame: correlation {match[n]:.2f} at best, where {usual:.2f} is usual "
        "(another place, another orientation, or a damaged frame)"
        for n in np.flatnonzero(match < STRANGE * usual).tolist()
    }
