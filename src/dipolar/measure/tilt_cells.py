"""The mean cell of each region of an image, as Fourier terms in the frame of the cell.

A region is a square of the image, or of a square with two domains the cells of one of them: in a mean over cells that
are displaced the opposite way nothing of either is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Complex128, Float, Float32, Int64
from skimage.filters import threshold_otsu

from dipolar.core.nouns import Cells
from dipolar.measure.reference import trusted
from dipolar.measure.tilt_posterior import MeanCell

POINTS = 32
"""Points along each edge at which cells are sampled."""
FEWEST = 24
"""Cells of a region below which it says nothing."""
TOGETHER = 512
"""Cells that are sampled at once."""
APART = 4.0
"""Distance of the mean displacements of two groups, over the scatter inside them, from which they are two; halves of an
even distribution are 3.5 apart, those of a normal one 2.6."""
SPLITS = 2
"""How often groups are split: four variants are the most that a projection along ⟨100⟩ shows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regions:
    """Parts of an image, each with its mean cell."""

    members: tuple[Int64[np.ndarray, " _"], ...]
    """Rows of the cells in each."""
    positions_px: Float[np.ndarray, "region 2"]
    """Mean place of the cells in each."""
    mean_cells: tuple[MeanCell, ...]
    """Of each."""
    groups: Int64[np.ndarray, " region"]
    """Group of cells with like displacements that each is part of."""
    group_of_cell: Int64[np.ndarray, " cell"]
    """The same for every cell."""


def regions_of(
    data: Float32[np.ndarray, "y x"], cells: Cells, orders: Int64[np.ndarray, "term 2"], *, edge_cells: float
) -> Regions:
    """Return the mean cell of every square of an image, and every group in it, that holds enough cells.

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
    known = np.isfinite(data)
    filled = data if known.all() else np.where(known, data, np.nanmedian(data))
    smooth = scipy.ndimage.spline_filter(filled, order=3, output=np.float32)
    good = trusted(cells) & _inside(cells, data.shape)
    if not known.all():
        good &= _clear(cells, known)
    group = groups_of(cells, good)
    members, groups = [], []
    for square in _squares(cells, good, edge_cells):
        for one in np.unique(group[square]):
            mine = square[group[square] == one]
            if len(mine) >= FEWEST:
                members.append(mine)
                groups.append(int(one))
    found = [_mean_cell(smooth, cells, rows, orders) for rows in members]
    return Regions(
        members=tuple(members),
        groups=np.array(groups, dtype=np.int64),
        group_of_cell=group,
        positions_px=np.array([cells.positions_px[rows].mean(axis=0) for rows in members]).reshape(-1, 2),
        mean_cells=tuple(found),
    )


def groups_of(cells: Cells, good: Bool[np.ndarray, " cell"]) -> Int64[np.ndarray, " cell"]:
    """Return numbers of groups of cells whose displacements are alike: one group, or one of each domain's kind.

    Cells are divided where the displacement along the direction of its largest scatter has a gap, and once more.
    """
    group = np.zeros(len(cells.flags), dtype=np.int64)
    for _ in range(SPLITS):
        for one in np.unique(group):
            rows = np.flatnonzero((group == one) & good)
            if len(rows) < 2 * FEWEST:
                continue
            values = cells.displacement_px[rows]
            _, axes = np.linalg.eigh(np.cov(values.T))
            along = (cells.displacement_px - values.mean(axis=0)) @ axes[:, 1]
            cut = threshold_otsu(along[rows])  # type: ignore[no-untyped-call]
            halves = [along[rows][part] for part in (along[rows] > cut, along[rows] <= cut)]
            if min(map(len, halves)) < FEWEST:
                continue
            scatter = np.sqrt(np.mean([half.var() for half in halves]))
            if halves[0].mean() - halves[1].mean() > APART * scatter:
                group[(group == one) & (along > cut)] = group.max() + 1
    return group


def _inside(cells: Cells, shape: tuple[int, ...]) -> Bool[np.ndarray, " cell"]:
    """Return which cells lie in the image as a whole."""
    reach = 0.5 * (np.abs(cells.a_px) + np.abs(cells.b_px))
    low, high = cells.positions_px - reach, cells.positions_px + reach
    return (low >= 0).all(axis=1) & (high <= np.array(shape) - 1.0).all(axis=1)


def _clear(cells: Cells, known: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, " cell"]:
    """Return which cells have no unmeasured pixel near."""
    reach = int(np.ceil(np.abs(np.concatenate([cells.a_px, cells.b_px])).max(initial=1.0)))
    clear = scipy.ndimage.minimum_filter(known, size=2 * reach + 1, mode="nearest")
    y, x = np.clip(np.rint(cells.positions_px).astype(np.int64), 0, np.array(known.shape) - 1).T
    return clear[y, x]


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
