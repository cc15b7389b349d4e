"""Walls piece by piece: place and width of every stretch by itself, for walls that change along their length."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dipolar.maps.curve import Curve
from dipolar.maps.profile import Across, Prior, posterior, quantiles
from dipolar.maps.shared import some_of

FEWEST_CELLS = 12
"""Cells beside a wall below which nothing can be said about its profile."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pieces:
    """Profiles of the pieces of one wall: quantiles of 16 %, 50 % and 84 %, nan where too few cells are."""

    middle_px: Float[np.ndarray, "piece 2"]
    """Middle of each piece, (y, x)."""
    width_px: Float[np.ndarray, "piece 3"]
    """Its width 2ξ."""
    position_px: Float[np.ndarray, "piece 3"]
    """Its place against the whole wall."""

    @staticmethod
    def none() -> Pieces:
        """Return no pieces."""
        return Pieces(middle_px=np.zeros((0, 2)), width_px=np.zeros((0, 3)), position_px=np.zeros((0, 3)))


def fit_pieces(
    across: Across,
    along_px: Float[np.ndarray, " cell"],
    prior: Prior,
    curve: Curve,
    points_px: Float[np.ndarray, "point 2"],
    *,
    piece_px: float,
) -> Pieces:
    """Return place and width of each stretch of a wall; none where the wall is shorter than two of them.

    Parameters
    ----------
    across
        The cells beside the wall.
    along_px
        How far along the curve each is.
    prior
        What is known before.
    curve, points_px
        The curve, and its points moved to the middle of the profile.
    piece_px
        Least length of a piece.
    """
    length = float(curve.along_px[-1])
    count = int(length / piece_px)
    if count < 2:
        return Pieces.none()
    ends = np.linspace(0.0, length, count + 1)
    piece = np.clip(np.searchsorted(ends, along_px, side="right") - 1, 0, count - 1)
    width, position = np.full((count, 3), np.nan), np.full((count, 3), np.nan)
    for number in range(count):
        mine = piece == number
        if mine.sum() >= FEWEST_CELLS:
            part = replace(
                across,
                distance_px=across.distance_px[mine],
                component_px=across.component_px[mine],
                variance_px2=across.variance_px2[mine],
                corners_px=across.corners_px[mine],
                line=across.line[mine],
                shared=some_of(across.shared, mine),
            )
            found = posterior(part, prior, reach_px=1.5 * prior.edge_px, fine=25)
            width[number] = 2.0 * np.exp(quantiles(np.log(found.width_px), found.density.sum(axis=1)))
            position[number] = quantiles(found.position_px, found.density.sum(axis=0))
    middles = 0.5 * (ends[1:] + ends[:-1])
    at = np.stack([np.interp(middles, curve.along_px, points_px[:, axis]) for axis in (0, 1)], axis=1)
    return Pieces(middle_px=at, width_px=width, position_px=position)
