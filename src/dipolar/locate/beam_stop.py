"""Where the direct beam is behind a beam stop: the place around which disks come in pairs."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Bool, Float

from dipolar.locate.disks import MeanPattern, measure_disks, points_inside
from dipolar.locate.reflections import Lattice

LEAST_PAIRS = 4
"""Pairs of disks from which a centre is told."""


def beam_behind_stop(
    pattern: MeanPattern,
    lattice: Lattice,
    shadow: Bool[np.ndarray, "k_y k_x"],
    rough: Float[np.ndarray, " 2"],
) -> Float[np.ndarray, " 2"] | None:
    """Return the direct beam, or None where no lattice point that can be it lies in the shadow.

    Of the lattice points in the shadow, it is the one around which intensities of opposite disks are most alike.
    """
    index, place = points_inside(pattern, lattice.vectors, lattice.origin)
    disks = measure_disks(pattern, index, place, steps=0)
    bright = np.isfinite(disks.amount) & (disks.amount > 3.0 * disks.sigma)
    height = {(int(h), int(k)): float(np.log(a)) for (h, k), a in zip(index[bright], disks.amount[bright], strict=True)}
    covered = ndi.uniform_filter(shadow.astype(np.float64), 2 * int(0.7 * pattern.radius) + 1)
    far = 2.5 * np.linalg.norm(lattice.vectors, axis=1).max()
    best, least = None, np.inf
    for (h, k), where in zip(index, place, strict=True):
        row, column = (int(n) for n in np.rint(where))
        if covered[row, column] < 0.9 or np.hypot(*(where - rough)) > far:
            continue
        unlike = [
            abs(value - height[2 * h - m, 2 * k - n])
            for (m, n), value in height.items()
            if (2 * h - m, 2 * k - n) in height
        ]
        if len(unlike) < LEAST_PAIRS:
            continue
        # Few pairs are alike by chance.
        score = float(np.mean(unlike)) * (1.0 + 4.0 / len(unlike))
        if score < least:
            best, least = where, score
    return best
