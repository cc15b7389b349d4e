"""Columns that something else found, a network for instance: put on their lattice, with links, indices, sublattices."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Float32

from dipolar.core.errors import NoLatticeError
from dipolar.core.flags import Flag
from dipolar.core.nouns import Columns, Image, Noise
from dipolar.locate.index import index_points
from dipolar.locate.sublattice import assign_sublattices

CORE, SURROUNDINGS = 0.08, 1.0
"""Blur before a column's height is read off, and the neighbourhood of its background, in edges of a cell."""
SUREST = 0.9
"""A network is never taken to be surer of a species than this: one column must not outvote the crystal."""


def columns_of(
    image: Image,
    points_px: Float[np.ndarray, "point 2"],
    *,
    sigma_px: Float[np.ndarray, " point"],
    share_of_a: Float[np.ndarray, " point"],
    steps_px: Float[np.ndarray, "2 2"],
) -> Columns:
    """Return the table of columns found elsewhere, without a fit: those that lie on a lattice, with links and index.

    The parity of the lattice index decides what is A and what is B, and the probabilities of all columns of a crystal
    together decide which parity is which. Widths, residuals and noise are not known (nan).

    Parameters
    ----------
    image
        Where they were found; their heights are read off it.
    points_px
        Centres (y, x).
    sigma_px
        One standard error of each coordinate.
    share_of_a
        Probability that the column is A rather than B.
    steps_px
        Mean A-B steps, as `find_steps` gives them.

    Raises
    ------
    NoLatticeError
        Where the points form no crystal.
    """
    found = index_points(points_px, steps_px)
    rows = found.source
    if not len(rows):
        raise NoLatticeError(
            "Columns must form a lattice.", got=f"{len(points_px)} columns that form none", do="measure it by fitting"
        )
    share = np.clip(share_of_a[rows], 1.0 - SUREST, SUREST)
    sublattice, unsure = assign_sublattices(found.index, found.grain, found.links, share / (1.0 - share))
    height, ground = _heights(image.data, found.points_px, edge_px=2.0 * float(np.sqrt(np.mean(steps_px**2))))
    unknown = np.full(len(rows), np.nan)
    return Columns(
        positions_px=found.points_px,
        covariance_px2=sigma_px[rows, None, None] ** 2 * np.eye(2),
        amplitude=height,
        amplitude_sigma=unknown,
        background=ground,
        widths_px=np.full((len(rows), 2), np.nan),
        angle_deg=unknown,
        sublattice=sublattice,
        index=found.index,
        grain=found.grain,
        links=found.links,
        row_reach_px=np.full((len(rows), 2), np.nan),
        chi2=unknown,
        flags=np.where(unsure, np.uint32(Flag.AMBIGUOUS_SUBLATTICE), np.uint32(0)).astype(np.uint32),
        noise=Noise(
            gain=float("nan"),
            floor=float("nan"),
            correlation=(1.0, 1.0),
            row_jitter_px=(0.0, 0.0),
            row_jitter_sigma_px=(float("nan"), float("nan")),
        ),
        steps_px=np.median(found.steps_px, axis=0),
        profile=np.full((2, 1, 2), np.nan),
    )


def _heights(
    data: Float32[np.ndarray, "y x"], points_px: Float[np.ndarray, "point 2"], *, edge_px: float
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Return the height of each column over its surroundings, and their level."""
    filled = np.where(np.isfinite(data), data, np.nanmedian(data))
    blurred = scipy.ndimage.gaussian_filter(filled, CORE * edge_px)
    lowest = scipy.ndimage.minimum_filter(blurred, size=max(round(SURROUNDINGS * edge_px), 3))
    at = np.clip(np.rint(points_px).astype(int), 0, np.array(data.shape) - 1)
    ground = lowest[at[:, 0], at[:, 1]].astype(np.float64)
    return blurred[at[:, 0], at[:, 1]].astype(np.float64) - ground, ground
