"""A reference region proposed, never applied: the largest rectangle of constant small displacement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float
from scipy.ndimage import uniform_filter

from dipolar.core.findings import ReferenceProposal
from dipolar.core.geometry import cell_edge_px
from dipolar.core.nouns import Cells, Columns
from dipolar.measure.linear import covariance_of, displacement_weights, mean_displacement
from dipolar.measure.reference import TO_SIGMA, Region, inside, trusted

BLOCK_CELLS = 3
"""Displacements are averaged over squares of so many cells."""
SMALL = 0.025
"""Largest offset, in cells, that mistilt and scan distortion usually make (10 pm of 400)."""
FLOOR = 0.003
"""Change of the offset, in cells, that counts as none (1.2 pm of 400)."""
EVEN = 0.003
"""Change of the cell's edges, relative to them, that a scan makes within one crystal."""
WIDE = 4.0
"""Sigmas that blocks of a constant region may lie apart."""
LEAST_CELLS = 60
LEAST_SHARE = 0.08
"""A reference has so many cells at least, and this share of all."""
DIFFERENT = 0.008
"""Squares are different where they are off by so much, in cells, and by four standard errors."""
BENT = 0.5
"""Largest change across the region, over the root mean square difference of all squares from it."""
STARTS = 48


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """Mean displacements in squares of the image."""

    mean_px: Float[np.ndarray, "v u 2"]
    """(dy, dx); nan where there are too few cells."""
    sigma_px: Float[np.ndarray, "v u"]
    """Standard error per component."""
    edges_px: Float[np.ndarray, "v u 2"]
    """Mean lengths of a and b."""
    edge_px: float
    """Edge of a square."""
    corner_px: Float[np.ndarray, "2"]
    """Upper left corner (y, x) of the first square."""

    @property
    def known(self) -> Bool[np.ndarray, "v u"]:
        """Which squares have a mean."""
        return np.isfinite(self.mean_px).all(axis=-1)


def propose_reference(cells: Cells, columns: Columns) -> ReferenceProposal:
    """Return the largest rectangle in which the displacement is small and the same everywhere, if there is one.

    Displacements are averaged over squares of three cells. From each of many of them, squares that agree with it, in
    displacement and in the edges of the cell, within
    four standard errors (those propagated, or those of the scatter from square to square where larger) are gathered;
    the largest rectangle full of them is refined with its own mean, and of several the one that is larger and less
    displaced wins. A region counts where its offset is below 2.5 % of a cell, which mistilt and scan distortion reach,
    and where the rest of the image is different. A crystal that is the same everywhere, or a film of one weakly polar
    domain, gives no region: nothing in the image tells an offset from a polarization. A substrate is for the user to
    name; this only points.

    Parameters
    ----------
    cells
        Measured cells, no reference taken off.
    columns
        The columns they were built from.

    Returns
    -------
    A proposal; its region is None, with the reason in `why`, where none can be made.
    """
    good = trusted(cells) & np.isfinite(cells.covariance_px2).all(axis=(1, 2))
    if np.count_nonzero(good) < 2 * LEAST_CELLS:
        return _none(f"only {np.count_nonzero(good)} cells can be trusted")
    cell_px = cell_edge_px(cells, good)
    blocks = block_means(cells, columns, good, BLOCK_CELLS * cell_px)
    best = _largest(blocks, cell_px)
    if best is None:
        return _none("nowhere is the displacement constant and below 2.5 % of a cell over a larger region")
    region = _region(best, blocks, cells.positions_px[good].max(axis=0))
    count = int(np.count_nonzero(inside(cells, region) & good))
    if count < max(LEAST_CELLS, LEAST_SHARE * np.count_nonzero(good)):
        return _none(f"the largest region of constant small displacement holds {count} cells, too few")
    offset, offset_sigma = mean_displacement(cells, columns, inside(cells, region) & good)
    outside = blocks.known.copy()
    outside[best[0] : best[1], best[2] : best[3]] = False
    off = np.linalg.norm(blocks.mean_px[outside] - np.array(offset), axis=-1)
    rest = float(np.sqrt(np.mean(off**2))) if off.size else 0.0
    size = float(np.hypot(*offset))
    noise = np.maximum(blocks.sigma_px, _scatter(blocks.mean_px))[outside]
    unlike = np.count_nonzero(off > np.hypot(WIDE * noise, DIFFERENT * cell_px))
    if unlike < max(3, 0.5 * LEAST_SHARE * np.count_nonzero(blocks.known)):
        return _none(
            f"the displacement is the same everywhere, {100 * size / cell_px:.1f} % of a cell: nothing in the image "
            "tells an offset of the instrument from one of the crystal"
        )
    y0, y1, x0, x1 = region
    return ReferenceProposal(
        region_px=region,
        cells=count,
        offset_px=offset,
        offset_sigma_px=offset_sigma,
        rest_px=rest,
        why=(
            f"{count} cells are displaced alike, by {100 * size / cell_px:.1f} % of a cell; elsewhere the displacement "
            f"is off by {100 * rest / cell_px:.1f} %. Use it only if the crystal there is centrosymmetric: a "
            "weakly polar domain looks the same"
        ),
        option=f"--reference {y0}:{y1},{x0}:{x1}",
    )


def block_means(cells: Cells, columns: Columns, good: Bool[np.ndarray, " cell"], edge_px: float) -> Blocks:
    """Return the mean displacement of the good cells in each square of the image that is at least half full."""
    rows = np.flatnonzero(good)
    corner = cells.positions_px[rows].min(axis=0) - 0.5
    at = ((cells.positions_px[rows] - corner) / edge_px).astype(int)
    shape = at.max(axis=0) + 1
    where = at[:, 0] * shape[1] + at[:, 1]
    count = np.bincount(where, minlength=int(shape.prod()))
    average = scipy.sparse.csr_matrix((1.0 / count[where], (where, rows)), shape=(len(count), len(good)))
    mean = average @ cells.displacement_px
    variance = covariance_of(scipy.sparse.csr_matrix(average @ displacement_weights(cells, columns)), columns)
    edges = average @ np.column_stack([np.linalg.norm(cells.a_px, axis=1), np.linalg.norm(cells.b_px, axis=1)])
    few = count < 0.5 * BLOCK_CELLS**2
    mean[few] = np.nan
    sigma = np.sqrt(0.5 * np.trace(variance, axis1=1, axis2=2))
    sigma[few] = np.nan
    return Blocks(
        mean_px=mean.reshape(*shape, 2),
        sigma_px=sigma.reshape(*shape),
        edges_px=edges.reshape(*shape, 2),
        edge_px=edge_px,
        corner_px=corner,
    )


def largest_rectangle(mask: Bool[np.ndarray, "v u"]) -> tuple[int, int, int, int]:
    """Return (v0, v1, u0, u1), half open, of the largest rectangle that is True throughout; empty where none is.

    The classic sweep over histograms: each row holds how far True reaches up, and a stack of rising heights finds the
    largest rectangle under them.
    """
    best, found = 0, (0, 0, 0, 0)
    heights = np.zeros(mask.shape[1] + 1, dtype=int)
    for row in range(mask.shape[0]):
        heights[:-1] = np.where(mask[row], heights[:-1] + 1, 0)
        stack: list[tuple[int, int]] = []  # (where it starts, height)
        for col, height in enumerate(heights.tolist()):
            start = col
            while stack and stack[-1][1] >= height:
                start, tall = stack.pop()
                if tall * (col - start) > best:
                    best, found = tall * (col - start), (row + 1 - tall, row + 1, start, col)
            stack.append((start, height))
    return found


def _largest(blocks: Blocks, cell_px: float) -> tuple[int, int, int, int] | None:
    """Return the largest rectangle of constant small displacement; a smaller offset outweighs a smaller area."""
    known = blocks.known
    sigma = np.maximum(blocks.sigma_px, _scatter(blocks.mean_px))
    reach = np.where(known, np.hypot(WIDE * sigma, FLOOR * cell_px), 0.0)
    reaches = np.stack([reach, reach, *([np.full(reach.shape, _reach_of_edges(blocks, cell_px))] * 2)], axis=-1)
    values = np.where(known[..., None], np.concatenate([blocks.mean_px, blocks.edges_px], axis=-1), 1e9)

    def agreeing(like: Float[np.ndarray, "4"]) -> Bool[np.ndarray, "v u"]:
        """Squares that agree on their own, and together with those of the eight around them that do."""
        alone = known & np.all(np.abs(values - like) < reaches, axis=-1)
        share = np.maximum(uniform_filter(alone.astype(float), 3, mode="constant"), 1e-9)
        off = [uniform_filter(np.where(alone, values[..., k] - like[k], 0.0), 3, mode="constant") for k in range(4)]
        least = np.hypot(reaches / np.sqrt(9.0 * share)[..., None], FLOOR * cell_px)
        return alone & np.all(np.abs(np.stack(off, axis=-1) / share[..., None]) < least, axis=-1)

    def middle(rectangle: tuple[int, int, int, int]) -> Float[np.ndarray, "4"]:
        v0, v1, u0, u1 = rectangle
        return np.median(values[v0:v1, u0:u1], axis=(0, 1))

    starts = np.argwhere(known & (np.linalg.norm(values[..., :2], axis=-1) < SMALL * cell_px))
    starts = starts[np.linspace(0, len(starts) - 1, min(STARTS, len(starts))).astype(int)] if len(starts) else starts
    best, found = 0.0, None
    for v, u in starts.tolist():
        rectangle = largest_rectangle(agreeing(values[v, u]))
        for _ in range(3):
            v0, v1, u0, u1 = rectangle
            if min(v1 - v0, u1 - u0) < 2:
                break
            rectangle = largest_rectangle(agreeing(middle(rectangle)))
        v0, v1, u0, u1 = rectangle
        if min(v1 - v0, u1 - u0) < 2:
            continue
        size = float(np.hypot(*middle(rectangle)[:2])) / (SMALL * cell_px)
        score = (v1 - v0) * (u1 - u0) * max(1.0 - size, 0.0) ** 2
        if score > best and _flat(blocks, rectangle, sigma, cell_px):
            best, found = score, rectangle
    return found


def _scatter(values: Float[np.ndarray, "v u k"]) -> float:
    """Return the usual difference of neighbouring squares, as the standard error of one of them."""
    off = np.abs(np.concatenate([np.diff(values, axis=axis).ravel() for axis in (0, 1)]))
    off = off[np.isfinite(off)]
    return TO_SIGMA * float(np.median(off)) / float(np.sqrt(2.0)) if off.size else 0.0


def _reach_of_edges(blocks: Blocks, cell_px: float) -> float:
    """Return how far edges may differ within one crystal."""
    known = np.where(blocks.known[..., None], blocks.edges_px, np.nan)
    return float(np.hypot(WIDE * _scatter(known), EVEN * cell_px))


def _flat(blocks: Blocks, rectangle: tuple[int, int, int, int], sigma: np.ndarray, cell_px: float) -> bool:
    """Return whether the displacement changes little across the rectangle: against its error, or against the rest."""
    v0, v1, u0, u1 = rectangle
    v, u = np.mgrid[v0:v1, u0:u1]
    solve = np.linalg.pinv(np.column_stack([np.ones(v.size), (v - v.mean()).ravel(), (u - u.mean()).ravel()]))
    span = np.array([[v1 - v0], [u1 - u0]])
    change = np.abs((solve @ blocks.mean_px[v0:v1, u0:u1].reshape(-1, 2))[1:]) * span
    error = np.sqrt(np.sum(solve[1:] ** 2 * sigma[v0:v1, u0:u1].ravel() ** 2, axis=1))[:, None] * span
    off = blocks.mean_px[blocks.known] - np.median(blocks.mean_px[v0:v1, u0:u1], axis=(0, 1))
    rest = float(np.sqrt(np.mean(off**2)))
    return bool(np.all(change < np.hypot(WIDE * error, max(2.0 * FLOOR * cell_px, BENT * rest))))


def _region(rectangle: tuple[int, int, int, int], blocks: Blocks, last_px: Float[np.ndarray, "2"]) -> Region:
    v0, v1, u0, u1 = rectangle
    low = np.maximum(np.ceil(blocks.corner_px + np.array([v0, u0]) * blocks.edge_px), 0.0)
    high = np.floor(np.minimum(blocks.corner_px + np.array([v1, u1]) * blocks.edge_px, last_px)) + 1.0
    return int(low[0]), int(high[0]), int(low[1]), int(high[1])


def _none(why: str) -> ReferenceProposal:
    unknown = (float("nan"), float("nan"))
    return ReferenceProposal(
        region_px=None, cells=0, offset_px=unknown, offset_sigma_px=unknown, rest_px=float("nan"), why=why, option=""
    )
