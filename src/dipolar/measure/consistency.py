"""Whether sigma explains how much neighbours differ: a check that needs no truth and no simulation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int64

from dipolar.core.findings import Profile
from dipolar.core.nouns import Cells, Columns
from dipolar.measure.linear import covariance_of, displacement_weights
from dipolar.measure.reference import TO_SIGMA, trusted

APART = 2
"""Cells so many steps apart share no column, and are near enough to be displaced alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """How much neighbours differ, over what their sigma says."""

    width: tuple[float, float]
    """Robust standard deviation of difference / sigma for (dy, dx): 1 where sigma is all; nan without pairs."""
    pairs: int
    """How many pairs it is of."""


def neighbour_scatter(
    cells: Cells, columns: Columns | None, *, used: Bool[np.ndarray, " cell"] | None = None
) -> Scatter:
    """Return the width of (difference / its sigma) of the displacements of cells two steps apart.

    They share no column, and what they share of scan rows is taken out of the sigma of the difference. Slow variation
    hardly counts, and the width is that of the median absolute deviation, which passes over few pairs across a wall;
    where walls are dense or noise is low, leave them out by `used`. What is left above 1 is in the image and not in
    sigma: shifts and warps of the scan that the residuals do not show, overlap with neighbours, contamination; or the
    crystal itself differs from cell to cell, by disorder or a short wave.

    Parameters
    ----------
    cells
        Measured cells.
    columns
        The columns they were built from; None where sigma of the cells came from elsewhere: their own covariances are
        then added.
    used
        Which cells to compare; all that are trusted unless given.
    """
    one, two = _pairs(cells, trusted(cells) if used is None else trusted(cells) & used)
    if not len(one):
        return Scatter(width=(float("nan"), float("nan")), pairs=0)
    off = cells.displacement_px[two] - cells.displacement_px[one]
    if columns is None:
        variance = np.diagonal(cells.covariance_px2[one] + cells.covariance_px2[two], axis1=1, axis2=2)
    else:
        made = displacement_weights(cells, columns)
        variance = np.diagonal(covariance_of(scipy.sparse.csr_matrix(made[two] - made[one]), columns), axis1=1, axis2=2)
    good = np.isfinite(off).all(axis=1) & np.isfinite(variance).all(axis=1) & (variance > 0).all(axis=1)
    if not good.any():
        return Scatter(width=(float("nan"), float("nan")), pairs=0)
    width = _spread(off[good] / np.sqrt(variance[good]))
    return Scatter(width=(float(width[0]), float(width[1])), pairs=int(np.count_nonzero(good)))


def layer_scatter(layers: Profile) -> tuple[float, float]:
    """Return how much the means of layers differ from those beside them, and that over their sigma; nan for few layers.

    Of three layers in a row (m₋ - 2m + m₊)/√6 has the scatter of one mean, whatever the slope across them; its median
    absolute deviation passes over the few steps between materials.
    """
    if len(layers.layer) < 8:
        return float("nan"), float("nan")
    inner = (np.diff(layers.layer[:-1]) == 1) & (np.diff(layers.layer[1:]) == 1)
    bent = (layers.mean[:-2] - 2.0 * layers.mean[1:-1] + layers.mean[2:]) / np.sqrt(6.0)
    variance = (layers.sigma[:-2] ** 2 + 4.0 * layers.sigma[1:-1] ** 2 + layers.sigma[2:] ** 2) / 6.0
    inner &= np.isfinite(bent) & (variance > 0)
    if np.count_nonzero(inner) < 6:
        return float("nan"), float("nan")
    spread = TO_SIGMA * float(np.median(np.abs(bent[inner])))
    return spread, TO_SIGMA * float(np.median(np.abs(bent[inner]) / np.sqrt(variance[inner])))


def _pairs(
    cells: Cells, used: Bool[np.ndarray, " cell"]
) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]:
    """Return rows of used cells that stand `APART` steps apart along a or along b."""
    good = np.flatnonzero(used)
    index = np.stack([cells.grain[good], cells.row[good], cells.col[good]], axis=1).astype(np.int64)
    if not len(good):
        return good, good
    index -= index.min(axis=0)
    size = index.max(axis=0) + 1 + APART
    code = np.ravel_multi_index(tuple(index.T), tuple(size.tolist()))
    order = np.argsort(code)
    one, two = [], []
    for step in (APART * int(size[2]), APART):
        at = np.minimum(np.searchsorted(code[order], code + step), len(code) - 1)
        met = code[order][at] == code + step
        one.append(good[met])
        two.append(good[order][at[met]])
    return np.concatenate(one), np.concatenate(two)


def _spread(values: Float[np.ndarray, "pair 2"]) -> Float[np.ndarray, "2"]:
    """Return the robust standard deviation of each component about its median."""
    spread: Float[np.ndarray, "2"] = TO_SIGMA * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
    return spread
