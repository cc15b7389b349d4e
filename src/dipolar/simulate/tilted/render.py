"""Stamps → image: columns anywhere, each under its own tilt, set down on pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from numba import njit

from dipolar.core.errors import DataError
from dipolar.simulate.tilted.tables import POINTS, StampTables

FLAT = 0.3
"""Distance from a site, along each edge of the cell and in cells, up to which its stamp is whole."""
END = 1.0 - FLAT
"""Distance at which nothing of it is left; what is taken away is what its neighbour begins with."""
BLOCK = 2048
"""Points of a stamp that are summed at a time: they stay in the nearest cache."""
FARTHEST = 0.25
"""Distance between a column and its site, in cells; sites of columns that are farther go with them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stamped:
    """Columns of one sublattice in one crystal."""

    positions_px: Float[np.ndarray, "column 2"]
    """Their true places (y, x); they may lie outside the image."""
    sites_px: Float[np.ndarray, "column 2"]
    """Where they would stand in the perfect lattice: around these stamps end."""
    factor: Float[np.ndarray, " column"]
    """Factor on the stamp: what makes counts of shares of the beam."""
    stamps: StampTables
    """What they look like."""
    cell_px: Float[np.ndarray, "2 2"]
    """Matrix from cells to px, acting on (y, x): its columns are the edges of the cell."""


def render_stamps(
    shape: tuple[int, int],
    columns: tuple[Stamped, ...],
    *,
    row_shift_px: Float[np.ndarray, "y 2"] | None = None,
) -> Float32[np.ndarray, "y x"]:
    """Return the expected image of all columns, background between them included, sampled at pixel centres.

    Stamps are periodic. Each is cut down to one column by ``b(y) b(x)`` along the edges of the cell, where b is 1 up to
    `FLAT` from the column's site and falls smoothly to 0 at `END`, and ``Σ b(x - n) = 1``. A perfect crystal is thus
    the image of the library; and as sites stay where columns are displaced, the background between them stays too.

    Parameters
    ----------
    shape
        Rows and columns of the image.
    columns
        A and B of every crystal in it.
    row_shift_px
        Pixel (y, x) sees the specimen at ``(y + shift[y, 0], x + shift[y, 1])``: row jitter and drift. None: no shift.

    Raises
    ------
    DataError
        Where a column has a position or a factor that is not finite, or a cell has no area.
    """
    shift = np.zeros((shape[0], 2)) if row_shift_px is None else np.ascontiguousarray(row_shift_px, dtype=np.float64)
    out = np.zeros(shape, dtype=np.float32)
    for kind in columns:
        _check(kind)
        if out.size and len(kind.factor):
            inverse = np.linalg.inv(kind.cell_px)
            offset = np.clip((kind.sites_px - kind.positions_px) @ inverse.T, -FARTHEST, FARTHEST)
            tables, weights = kind.stamps.tables, kind.stamps.weights * kind.factor[:, None]
            _set_down(
                out,
                (kind.positions_px + offset @ kind.cell_px.T).astype(np.float64),
                offset,
                weights.astype(np.float32),
                tables.reshape(len(tables), -1),
                inverse,
                END * float(np.abs(kind.cell_px[0]).sum()) + float(np.abs(shift[:, 0]).max()),
                shift,
            )
    return out


def _check(kind: Stamped) -> None:
    """Refuse what cannot be drawn."""
    good = np.isfinite(kind.positions_px).all(axis=1) & np.isfinite(kind.sites_px).all(axis=1)
    good &= np.isfinite(kind.factor)
    if not good.all() or not abs(np.linalg.det(kind.cell_px)) > 1.0:
        raise DataError(
            "Every column to be drawn needs a finite place, site and factor, and its cell an area of more than 1 px².",
            got=f"{np.count_nonzero(~good)} of {len(good)} columns without; cell {kind.cell_px.tolist()} px",
            do="leave them out, or give the edges of the cell in px as the columns of a matrix",
        )


@njit(cache=True, nogil=True)
def _left(cells):  # type: ignore[no-untyped-def]
    """Return b at a distance that is less than `END`."""
    t = max((abs(cells) - np.float32(FLAT)) * np.float32(1.0 / (END - FLAT)), np.float32(0.0))
    return np.float32(1.0) - t * t * t * (np.float32(10.0) + t * (np.float32(6.0) * t - np.float32(15.0)))


@njit(cache=True, nogil=True)
def _ends(start, slope, low, high):  # type: ignore[no-untyped-def]
    """Return between which steps ``|start + slope * step| < END``, within low and high."""
    if abs(slope) < 1e-9:
        return (low, high) if abs(start) < END else (high + 1.0, high)
    one, two = (-END - start) / slope, (END - start) / slope
    return max(low, min(one, two)), min(high, max(one, two))


@njit(cache=True, nogil=True)
def _add_row(line, stamp, u, v, step_u, step_v, offset_u, offset_v, first, last):  # type: ignore[no-untyped-def]
    """Add one stamp to one row, linear between the points of its table.

    (u, v) is the place of pixel 0 in cells from the site, (offset_u, offset_v) the site from the column, a cell added.
    """
    for x in range(first, last + 1):
        from_site_u, from_site_v = np.float32(u + step_u * x), np.float32(v + step_v * x)
        fu, fv = (from_site_u + offset_u) * np.float32(POINTS), (from_site_v + offset_v) * np.float32(POINTS)
        i, j = np.int32(fu), np.int32(fv)
        fu -= np.float32(i)
        fv -= np.float32(j)
        i = i - POINTS if i >= POINTS else i
        j = j - POINTS if j >= POINTS else j
        at = np.int64(i) * (POINTS + 1) + np.int64(j)
        upper = stamp[at] + fv * (stamp[at + 1] - stamp[at])
        lower = stamp[at + POINTS + 1] + fv * (stamp[at + POINTS + 2] - stamp[at + POINTS + 1])
        line[x] += _left(from_site_u) * _left(from_site_v) * (upper + fu * (lower - upper))


@njit(cache=True, nogil=True)
def _add_scaled(block, table, weight, anew):  # type: ignore[no-untyped-def]
    """Add a table times its weight to what is there, or begin anew."""
    if anew:
        for i in range(block.size):
            block[i] = weight * table[i]
    else:
        for i in range(block.size):
            block[i] += weight * table[i]


@njit(cache=True, nogil=True)
def _set_down(out, sites, offset, weights, tables, inverse, reach, shift):  # type: ignore[no-untyped-def]
    """Add every column: first its stamp from the tables, then row by row."""
    stamp = np.empty(tables.shape[1], dtype=np.float32)
    step_u, step_v = inverse[0, 1], inverse[1, 1]
    for n in range(sites.shape[0]):
        py, px = sites[n, 0], sites[n, 1]
        top, bottom = max(0, math.floor(py - reach)), min(out.shape[0] - 1, math.ceil(py + reach))
        if bottom < top:
            continue
        for first in range(0, stamp.size, BLOCK):
            block = stamp[first : first + BLOCK]
            for m in range(tables.shape[0]):
                _add_scaled(block, tables[m, first : first + BLOCK], weights[n, m], m == 0)
        offset_u, offset_v = np.float32(offset[n, 0] + 1.0), np.float32(offset[n, 1] + 1.0)
        for y in range(top, bottom + 1):
            dy, dx = y + shift[y, 0] - py, shift[y, 1] - px
            u, v = inverse[0, 0] * dy + step_u * dx, inverse[1, 0] * dy + step_v * dx
            low, high = _ends(u, step_u, 0.0, out.shape[1] - 1.0)
            low, high = _ends(v, step_v, low, high)
            if low <= high:
                _add_row(
                    out[y], stamp, u, v, step_u, step_v, offset_u, offset_v, math.ceil(low), math.floor(high)
                )  # fmt: skip
