"""The mean cell of each region of an image, as Fourier terms in the frame of the cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Complex128, Float, Float32, Int64

from dipolar.core.nouns import Cells
from dipolar.measure.reference import trusted
from dipolar.measure.tilt_posterior import MeanCell

POINTS = 32
"""Points along each edge at which cells are sampled."""
FEWEST = 24
"""Cells of a region below which it says nothing."""
TOGETHER = 512
"""Cells that are sampled at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regions:
    """Squares of an image, each with its mean cell."""

    members: tuple[Int64[np.ndarray, " _"], ...]
    """Rows of the cells in each."""
    positions_px: Float[np.ndarray, "region 2"]
    """Mean place of the cells in each."""
    mean_cells: tuple[MeanCell, ...]
    """Of each."""


def regions_of(
    data: Float32[np.ndarray, "y x"], cells: Cells, orders: Int64[np.ndarray, "term 2"], *, edge_cells: float
) -> Regions:
    """Return the mean cell of every square of an image that holds enough cells.

    Parameters
    ----------
    data
        The image.
    cells
        With A at the corners, no reference taken off.
    orders
        Of the terms, (along b, along a), in units of the inverse cell.
    edge_cells
        Edge of a square in cells; squares are made a little larger or smaller so that whole ones fit.
    """
    filled = np.where(np.isfinite(data), data, np.nanmedian(data)) if not np.isfinite(data).all() else data
    smooth = scipy.ndimage.spline_filter(filled, order=3, output=np.float32)
    good = trusted(cells) & _inside(cells, data.shape)
    members = list(_squares(cells, good, edge_cells))
    found = [_mean_cell(smooth, cells, rows, orders) for rows in members]
    return Regions(
        members=tuple(members),
        positions_px=np.array([cells.positions_px[rows].mean(axis=0) for rows in members]).reshape(-1, 2),
        mean_cells=tuple(found),
    )


def _inside(cells: Cells, shape: tuple[int, ...]) -> Bool[np.ndarray, " cell"]:
    """Return which cells lie in the image as a whole."""
    reach = 0.5 * (np.abs(cells.a_px) + np.abs(cells.b_px))
    low, high = cells.positions_px - reach, cells.positions_px + reach
    return (low >= 0).all(axis=1) & (high <= np.array(shape) - 1.0).all(axis=1)


def _squares(cells: Cells, good: Bool[np.ndarray, " cell"], edge_cells: float) -> Iterator[Int64[np.ndarray, " _"]]:
    """Yield the good cells of each square."""
    rows = np.flatnonzero(good)
    if len(rows) < FEWEST:
        return
    places = cells.positions_px[rows]
    low, high = places.min(axis=0), places.max(axis=0)
    cell_px = float(np.median(np.linalg.norm(cells.a_px[rows], axis=1)))
    counts = np.maximum(1, np.rint((high - low) / (edge_cells * cell_px))).astype(np.int64)
    at = np.minimum((counts * (places - low) / np.maximum(high - low, 1e-9)).astype(np.int64), counts - 1)
    number = at[:, 0] * counts[1] + at[:, 1]
    for one in np.unique(number):
        mine = rows[number == one]
        if len(mine) >= FEWEST:
            yield mine


def _mean_cell(
    smooth: Float32[np.ndarray, "y x"], cells: Cells, rows: Int64[np.ndarray, " member"],
    orders: Int64[np.ndarray, "term 2"],
) -> MeanCell:  # fmt: skip
    """Return the mean of some cells; the place of A in each is the mean of its corners, half a cell back."""
    terms = np.concatenate([_terms(smooth, cells, some, orders) for some in _pieces(rows)])
    frames = np.stack([cells.b_px[rows], cells.a_px[rows]], axis=1)
    share = np.linalg.solve(np.swapaxes(frames, 1, 2), cells.displacement_px[rows][..., None])[..., 0]
    apart = share - share.mean(axis=0)
    return MeanCell(
        terms=terms.mean(axis=0),
        variance=0.5 * (terms.real.var(axis=0) + terms.imag.var(axis=0)) / (len(rows) - 1),
        spread=np.exp(-2j * np.pi * (apart @ orders.T)).mean(axis=0),
        displacement=share.mean(axis=0),
        cells=len(rows),
    )


def _pieces(rows: Int64[np.ndarray, " member"]) -> list[Int64[np.ndarray, " _"]]:
    return np.array_split(rows, max(1, -(-len(rows) // TOGETHER)))


def _terms(
    smooth: Float32[np.ndarray, "y x"], cells: Cells, rows: Int64[np.ndarray, " member"],
    orders: Int64[np.ndarray, "term 2"],
) -> Complex128[np.ndarray, "member term"]:  # fmt: skip
    """Return the Fourier terms of each cell."""
    axis = np.arange(POINTS) / POINTS - 0.5
    b, a = cells.b_px[rows], cells.a_px[rows]
    places = (
        cells.positions_px[rows][:, None, None]
        + axis[None, :, None, None] * b[:, None, None]
        + axis[None, None, :, None] * a[:, None, None]
    )
    values = scipy.ndimage.map_coordinates(smooth, np.moveaxis(places, -1, 0), order=3, prefilter=False, mode="nearest")
    found = np.fft.fft2(values, norm="forward")[:, orders[:, 0], orders[:, 1]]
    # sampling begins at the corner, where A is
    return found.astype(np.complex128)
