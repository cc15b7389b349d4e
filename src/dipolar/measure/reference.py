"""Reference region and lattice size: what is taken as zero, and as a known length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from dipolar.core.errors import DataError
from dipolar.core.flags import POSITION_FLAGS, Flag, has
from dipolar.core.nouns import Cells, Reference

Region = tuple[int, int, int, int]
"""(y0, y1, x0, x1) in px, half open."""
TO_SIGMA = 1.4826
"""Median absolute deviation → standard deviation of a normal distribution."""


def lattice_size_px(cells: Cells, *, region: Region | None = None) -> tuple[float, float]:
    """Return the median square root of the cells' area in px, and its standard error; nan without cells.

    Parameters
    ----------
    cells
        Measured cells.
    region
        Where to measure; everywhere unless given.
    """
    rows = trusted(cells) & inside(cells, region)
    rows = rows if rows.any() else inside(cells, region)
    if not rows.any():
        return float("nan"), float("nan")
    a, b = cells.a_px[rows], cells.b_px[rows]
    size = np.sqrt(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]))
    middle = float(np.median(size))
    if len(size) < 2:
        return middle, float("nan")
    # the standard error of a median is 1.2533 that of a mean
    return middle, 1.2533 * TO_SIGMA * float(np.median(np.abs(size - middle))) / float(np.sqrt(len(size)))


def reference_offset(cells: Cells, region: Region) -> Reference:
    """Return the mean displacement of the cells in a region, which centrosymmetric material should have as zero.

    Mistilt and scan distortion move the sublattices rigidly by some pm; measured in the substrate, this offset can be
    taken off the film. The mean is weighted by 1/sigma², its standard error is that of the scatter found.

    Raises
    ------
    DataError
        Where the region holds no cell.
    """
    rows = inside(cells, region) & trusted(cells)
    if not rows.any():
        y, x = cells.positions_px[:, 0], cells.positions_px[:, 1]
        where, example = "no cells", "a smaller region"
        if len(y):
            where = f"cells lie in y {y.min():.0f}:{y.max():.0f}, x {x.min():.0f}:{x.max():.0f}"
            low = y.min() + 0.8 * (y.max() - y.min())
            example = f"--reference {low:.0f}:{y.max() + 1:.0f},{x.min():.0f}:{x.max() + 1:.0f}"
        y0, y1, x0, x1 = region
        raise DataError(
            "the reference region must contain unit cells, whose mean displacement is taken as zero.",
            got=f"{y0}:{y1},{x0}:{x1} (y0:y1,x0:x1 in px), which holds none without flags; {where}",
            do=f"choose a region of the substrate, for example {example}",
        )
    values = cells.displacement_px[rows]
    variance = np.diagonal(cells.covariance_px2[rows], axis1=1, axis2=2)
    weight = 1.0 / np.where(variance > 0, variance, np.nan)
    weight = np.where(np.isfinite(weight), weight, 0.0)
    weight = np.where(weight.sum(axis=0) > 0, weight, 1.0)
    mean = np.sum(weight * values, axis=0) / weight.sum(axis=0)
    count = len(values)
    sigma = _standard_error(cells, rows, values - mean, weight) if count > 1 else np.sqrt(variance[0])
    return Reference(
        region_px=region,
        cells=int(count),
        offset_px=(float(mean[0]), float(mean[1])),
        offset_sigma_px=(float(sigma[0]), float(sigma[1])),
    )


def _standard_error(
    cells: Cells, rows: Bool[np.ndarray, " cell"], off: Float[np.ndarray, "used 2"], weight: Float[np.ndarray, "used 2"]
) -> Float[np.ndarray, "2"]:
    """Return the standard error of a weighted mean over cells that share columns and scan rows with their neighbours.

    Cells are summed in bands one cell high; what neighbouring bands have in common enters through the covariance
    of bands up to two apart (W. K. Newey, K. D. West, Econometrica 55, 703 (1987)). Never below that of independent
    cells.
    """
    height = float(np.median(np.abs(cells.b_px[rows, 0]) + np.abs(cells.a_px[rows, 0])))
    y = cells.positions_px[rows, 0]
    band = ((y - y.min()) / max(height, 1.0)).astype(int)
    share = weight / weight.sum(axis=0)
    alone = np.sum((share * off) ** 2, axis=0)
    sums = np.column_stack([np.bincount(band, weights=(share * off)[:, k]) for k in (0, 1)])
    together = np.sum(sums**2, axis=0)
    for lag in (1, 2):
        if len(sums) > lag:
            together = together + 2.0 * (1.0 - lag / 3.0) * np.sum(sums[lag:] * sums[:-lag], axis=0)
    return np.sqrt(np.maximum(alone, together))


def subtract_reference(cells: Cells, reference: Reference) -> Cells:
    """Return the cells with the offset of the reference taken off; its uncertainty joins theirs."""
    added = np.diag(np.array(reference.offset_sigma_px) ** 2)
    return replace(
        cells,
        displacement_px=cells.displacement_px - np.array(reference.offset_px),
        covariance_px2=cells.covariance_px2 + added,
    )


def inside(cells: Cells, region: Region | None) -> Bool[np.ndarray, " cell"]:
    """Return which cells have their centre in the region; all where there is none."""
    if region is None:
        return np.ones(len(cells.flags), dtype=bool)
    y0, y1, x0, x1 = region
    y, x = cells.positions_px[:, 0], cells.positions_px[:, 1]
    return (y >= y0) & (y < y1) & (x >= x0) & (x < x1)


def trusted(cells: Cells) -> Bool[np.ndarray, " cell"]:
    """Return which cells carry no flag that concerns their geometry."""
    return ~has(cells.flags, POSITION_FLAGS | Flag.FLAGGED_COLUMN | Flag.ODD_CELL)
