"""Reference region and lattice size: what is taken as zero, and as a known length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

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
        where = f"cells lie in y {y.min():.0f}:{y.max():.0f}, x {x.min():.0f}:{x.max():.0f}" if len(y) else "no cells"
        y0, y1, x0, x1 = region
        raise DataError(
            "the reference region must contain unit cells, whose mean displacement is taken as zero.",
            got=f"{y0}:{y1},{x0}:{x1} (y0:y1,x0:x1 in px), which holds none without flags; {where}",
            do="choose a region of the substrate, for example --reference 800:1000,0:1000",
        )
    values = cells.displacement_px[rows]
    variance = np.diagonal(cells.covariance_px2[rows], axis1=1, axis2=2)
    weight = 1.0 / np.where(variance > 0, variance, np.nan)
    weight = np.where(np.isfinite(weight), weight, 0.0)
    weight = np.where(weight.sum(axis=0) > 0, weight, 1.0)
    mean = np.sum(weight * values, axis=0) / weight.sum(axis=0)
    count = len(values)
    scatter = np.sqrt(np.sum(weight * (values - mean) ** 2, axis=0) / weight.sum(axis=0))
    sigma = scatter / np.sqrt(max(count - 1, 1)) if count > 1 else np.sqrt(variance[0])
    return Reference(
        region_px=region,
        cells=int(count),
        offset_px=(float(mean[0]), float(mean[1])),
        offset_sigma_px=(float(sigma[0]), float(sigma[1])),
    )


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
