"""Reference region and lattice size: what is taken as zero, and as a known length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from dipolar.core.errors import DataError
from dipolar.core.flags import DOUBTFUL_CELL, has
from dipolar.core.nouns import Cells, Columns, Reference

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


def reference_offset(cells: Cells, columns: Columns, region: Region) -> Reference:
    """Return the mean displacement of the cells in a region, which centrosymmetric material should have as zero.

    Mistilt and scan distortion move the sublattices rigidly by some pm; measured in the substrate, this offset can be
    taken off the film. The mean is weighted by 1/sigma². Its standard error is propagated from the columns, which cells
    share as they share scan rows, and is never below that of the scatter of independent cells.

    Parameters
    ----------
    cells
        Measured cells.
    columns
        The columns they were built from.
    region
        Where the displacement should be zero.

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
    share = weight / weight.sum(axis=0)
    scatter = np.sqrt(np.sum((share * (values - mean)) ** 2, axis=0))
    sigma = np.maximum(scatter, _propagated(cells, columns, rows, share))
    return Reference(
        region_px=region,
        cells=int(count),
        offset_px=(float(mean[0]), float(mean[1])),
        offset_sigma_px=(float(sigma[0]), float(sigma[1])),
    )


def _propagated(
    cells: Cells, columns: Columns, rows: Bool[np.ndarray, " cell"], share: Float[np.ndarray, "used 2"]
) -> Float[np.ndarray, "2"]:
    """Return the standard error of a weighted mean of displacements from the columns' own errors and the row jitter.

    The mean is a sum over columns; each counts with the weights of all cells that it belongs to. A scan row moves the
    columns in it by their shares, Gaussians of width `row_reach_px`, all at once.
    """
    variance = np.zeros(2)
    y = columns.positions_px[:, 0]
    lines = np.arange(int(np.floor(y.min())) - 12, int(np.ceil(y.max())) + 13)
    jitter = np.array(columns.noise.row_jitter_px)
    for axis in (0, 1):
        total = np.bincount(cells.center[rows], weights=share[:, axis], minlength=len(y))
        for corner in range(4):
            total -= np.bincount(cells.corners[rows, corner], weights=0.25 * share[:, axis], minlength=len(y))
        used = np.flatnonzero(total)
        reach = columns.row_reach_px[used, axis]
        shared = jitter[axis] ** 2 / (2.0 * np.sqrt(np.pi) * reach)
        own = np.maximum(columns.covariance_px2[used, axis, axis] - np.nan_to_num(shared), 0.0)
        variance[axis] = np.sum(total[used] ** 2 * own)
        if jitter[axis] > 0:
            pull = np.exp(-0.5 * ((lines[:, None] - y[used]) / reach) ** 2) / (np.sqrt(2.0 * np.pi) * reach)
            variance[axis] += jitter[axis] ** 2 * np.sum((pull @ total[used]) ** 2)
    return np.sqrt(variance)


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
    return ~has(cells.flags, DOUBTFUL_CELL)
