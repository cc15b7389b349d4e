"""The mean unit cell: all cells of the image laid over each other, and the columns that show in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Float32

from dipolar.core.motif import PEROVSKITE_100, PEROVSKITE_110, Motif, Site
from dipolar.locate.index import Indexed

GRID = 64
"""Samples along each edge of the mean cell."""
MOST_CELLS = 1500
FAINTEST = 0.04
"""Least height of a column over that of the strongest, above the lowest point of the mean cell."""
LEAST_Z = 8.0
"""Least height over the standard error of the mean cell."""
APART = 0.22
"""Least distance between two columns over the short edge: oxygen stands 0.5 from B along [110]."""
SAME_PLACE = 0.12
"""Distance, in cells, within which a column found is that of a known motif."""
SAME_RATIO = 0.15
"""Difference of the edge ratio (its logarithm) from that of a known motif that distortion may make."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanCell:
    """The mean of all cells."""

    values: Float[np.ndarray, "v u"]
    """Mean intensity at (along b, along a), from 0 up to 1."""
    error: float
    """Standard error of the mean."""


def mean_cell(filtered: Float32[np.ndarray, "y x"], found: Indexed) -> MeanCell:
    """Return the mean of the cells that start at the indexed points, sampled in each cell's own axes.

    Parameters
    ----------
    filtered
        The image without its slow background, columns bright.
    found
        The points of one sublattice; their steps are the cell vectors a and b.
    """
    rows = np.unique(np.linspace(0, len(found.points_px) - 1, min(MOST_CELLS, len(found.points_px))).astype(int))
    ticks = np.arange(GRID) / GRID
    v, u = np.meshgrid(ticks, ticks, indexing="ij")
    local = np.stack([u.ravel(), v.ravel()], axis=1)
    total, square, count = np.zeros(GRID * GRID), np.zeros(GRID * GRID), np.zeros(GRID * GRID)
    limit = np.array(filtered.shape) - 1
    for k in rows:
        points = found.points_px[k] + local @ found.steps_px[k]
        inside = np.all((points >= 0) & (points <= limit), axis=1)
        values = scipy.ndimage.map_coordinates(filtered, points[inside].T, order=1)
        total[inside] += values
        square[inside] += values.astype(np.float64) ** 2
        count[inside] += 1
    count = np.maximum(count, 1)
    mean = total / count
    spread = np.sqrt(np.maximum(square / count - mean**2, 0.0))
    return MeanCell(values=mean.reshape(GRID, GRID), error=float(np.median(spread / np.sqrt(count))))


def find_motif(mean: MeanCell, cell_px: Float[np.ndarray, "2 2"], *, oxygen: bool) -> Motif:
    """Return the columns that show in the mean cell, named where they are those of a perovskite along [100] or [110].

    Parameters
    ----------
    mean
        The mean cell, its strongest column at (0, 0).
    cell_px
        Cell vectors a and b as rows (y, x).
    oxygen
        Whether this contrast can show oxygen: then all its sites are named, whether they show in the mean cell or not,
        as they do where at least one of them shows.
    """
    places, heights = _maxima(mean, cell_px)
    strongest = heights.max(initial=1e-30)
    lengths = np.linalg.norm(cell_px, axis=1)
    for known, ratio in ((PEROVSKITE_100, 1.0), (PEROVSKITE_110, np.sqrt(2.0))):
        named = _matched(known, places, heights / strongest, oxygen=oxygen)
        if named is not None and abs(np.log(lengths[1] / lengths[0] / ratio)) < SAME_RATIO:
            return named
    order = np.argsort(-heights, kind="stable")
    sites = tuple(
        Site(
            name=f"S{n + 1}",
            role="other",
            place=(float(places[k, 0]), float(places[k, 1])),
            intensity=float(heights[k] / strongest),
        )
        for n, k in enumerate(order)
    )
    return Motif(name="cell found in the image", sites=sites)


def heights_at(mean: MeanCell, places: Float[np.ndarray, "site 2"]) -> Float[np.ndarray, " site"]:
    """Return the height of the mean cell at fractional positions (along a, along b)."""
    return scipy.ndimage.map_coordinates(mean.values, places[:, ::-1].T * GRID, order=1, mode="grid-wrap")


def _maxima(
    mean: MeanCell, cell_px: Float[np.ndarray, "2 2"]
) -> tuple[Float[np.ndarray, "site 2"], Float[np.ndarray, " site"]]:
    """Return fractional positions and heights of the maxima, the one nearest to (0, 0) moved there."""
    values = scipy.ndimage.gaussian_filter(mean.values, 1.0, mode="wrap")
    lengths = np.linalg.norm(cell_px, axis=1)
    size = [max(3, round(2 * APART * lengths.min() / length * GRID / 2)) | 1 for length in lengths[::-1]]
    peaks = np.argwhere(scipy.ndimage.maximum_filter(values, size=size, mode="wrap") == values)
    heights = values[tuple(peaks.T)] - values.min()
    strong = (heights > FAINTEST * heights.max()) & (heights > LEAST_Z * mean.error)
    places = peaks[strong, ::-1] / GRID
    off = np.abs((places + 0.5) % 1.0 - 0.5)
    at_origin = int(np.argmin(off @ lengths)) if len(places) else 0
    if len(places):
        places = (places - places[at_origin]) % 1.0
    return places, heights[strong]


def _matched(
    known: Motif, places: Float[np.ndarray, "site 2"], heights: Float[np.ndarray, " site"], *, oxygen: bool
) -> Motif | None:
    """Return the known motif with the heights found; None where A or B is missing or another column shows."""
    between = (places[:, None, :] - known.places()[None, :, :] + 0.5) % 1.0 - 0.5
    distance = np.linalg.norm(between, axis=2)
    nearest = distance.argmin(axis=1)
    if not len(places) or distance.min(axis=1).max() > SAME_PLACE or len(set(nearest.tolist())) < len(places):
        return None
    shown = {int(site): float(height) for site, height in zip(nearest, heights, strict=True)}
    if not {0, 1} <= shown.keys():
        return None
    oxygen = oxygen or len(shown) > 2
    sites = tuple(
        replace(site, intensity=shown.get(number, 0.0))
        for number, site in enumerate(known.sites)
        if number in shown or (oxygen and site.role == "O")
    )
    return replace(known, sites=sites)
