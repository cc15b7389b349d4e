"""Lessons: what a network sees of an image, and what is true at every point of its grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8
from scipy.spatial import cKDTree
from torch import Tensor

from dipolar.core.learning import Windows
from dipolar.core.nouns import Cells
from dipolar.learn.networks import Finder, Regressor
from dipolar.learn.scale import Seen
from dipolar.learn.targets import cell_targets, sliding_targets, usable

HEAT_PX = 2.6
"""Standard deviation of the peak of probability around a column, in network px."""
REACH_CELLS = 1.0
"""Between cells the targets of centred windows are known this far from the nearest one, in cell edges."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """One image, or a part of one, to learn from."""

    pixels: Float32[Tensor, "1 y x"]
    """What the network sees; sides are multiples of 8."""
    truth: Float32[Tensor, "layer h w"]
    """What it shall say at every point of its grid; nan where nobody knows."""


def to_arrays(lesson: Lesson) -> tuple[Float32[np.ndarray, "1 y x"], Float32[np.ndarray, "layer h w"]]:
    """Return pixels and truth as arrays, which travel between processes with less ado than tensors."""
    return lesson.pixels.numpy(), lesson.truth.numpy()


def from_arrays(pixels: Float32[np.ndarray, "1 y x"], truth: Float32[np.ndarray, "layer h w"]) -> Lesson:
    """Return the lesson that `to_arrays` took apart."""
    return Lesson(pixels=torch.from_numpy(pixels), truth=torch.from_numpy(truth))


def finder_lesson(
    seen: Seen, positions_px: Float[np.ndarray, "column 2"], sublattice: Int8[np.ndarray, " column"]
) -> Lesson:
    """Return a lesson in finding columns: probabilities of A, B and background, and the offset to the nearest column.

    Around a column the probability of its species is ``exp(-d²/2s²)``; what is left is background.

    Parameters
    ----------
    seen
        The image as the network sees it.
    positions_px
        Columns (y, x) in image px, also those just outside.
    sublattice
        0 for A, 1 for B; others are left out.
    """
    grid, shape = _grid(seen, Finder.stride)
    places = seen.to_network(positions_px)
    truth = np.full((5, len(grid)), np.nan, dtype=np.float32)
    truth[:2] = 0.0
    nearest = np.full(len(grid), np.inf)
    for species in (0, 1):
        points = places[sublattice == species]
        if not len(points):
            continue
        distance, row = cKDTree(points).query(grid)
        truth[species] = np.exp(-0.5 * (distance / HEAT_PX) ** 2)
        closer = distance < nearest
        nearest[closer] = distance[closer]
        truth[3:, closer] = (points[row] - grid)[closer].T
    truth[2] = 1.0 - np.minimum(truth[0] + truth[1], 1.0)
    truth[:3] /= truth[:3].sum(axis=0)
    truth[3:] = np.nan_to_num(truth[3:])
    return Lesson(pixels=seen.pixels[0], truth=torch.from_numpy(truth.reshape(5, *shape)))


def regressor_lesson(seen: Seen, cells: Cells, *, windows: Windows, more: int = 4) -> Lesson:
    """Return a lesson in telling displacement: the targets, and the standard errors of dy and dx, at every grid point.

    Parameters
    ----------
    seen
        The image as the network sees it.
    cells
        Its cells, true or measured.
    windows
        "centered": a point on a cell's centre has that cell's values, points between go from one to the next.
        "sliding": the mean over the nearest four cells, as in the published work.
    more
        Targets beyond dy and dx: 4, or 0.
    """
    grid, shape = _grid(seen, Regressor.stride)
    points_px = seen.to_image(grid)
    if windows == "sliding":
        values, sigma = sliding_targets(points_px, cells, scale=seen.scale)
    else:
        values, sigma = _between(points_px, cells, seen.scale)
    inside = np.all(grid <= np.array(seen.shape) - 1, axis=1)  # not where the image was continued
    values[~inside] = np.nan
    sigma = np.where(np.isfinite(sigma[:, :2]), sigma[:, :2], 0.0)
    layers = np.concatenate([values[:, : 2 + more], sigma], axis=1).astype(np.float32)
    return Lesson(pixels=seen.pixels[0], truth=torch.from_numpy(layers.T.reshape(-1, *shape).copy()))


def rectangle(lesson: Lesson, region: tuple[int, int, int, int], *, stride: int) -> Lesson:
    """Return the part of a lesson in (y0, y1, x0, x1), in network px: what lies outside is neither seen nor told.

    The borders are moved inwards to multiples of 8.
    """
    y0, x0 = -(-region[0] // 8) * 8, -(-region[2] // 8) * 8
    y1, x1 = region[1] // 8 * 8, region[3] // 8 * 8
    return Lesson(
        pixels=lesson.pixels[:, y0:y1, x0:x1],
        truth=lesson.truth[:, y0 // stride : y1 // stride, x0 // stride : x1 // stride],
    )


def _grid(seen: Seen, stride: int) -> tuple[Float[np.ndarray, "point 2"], tuple[int, int]]:
    """Return the places of the grid's points in network px, and the rows and columns of the grid."""
    shape = (seen.pixels.shape[2] // stride, seen.pixels.shape[3] // stride)
    y, x = (np.arange(count) * stride + (stride - 1) / 2.0 for count in shape)
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2), shape


def _between(
    points_px: Float[np.ndarray, "point 2"], cells: Cells, scale: float
) -> tuple[Float[np.ndarray, "point target"], Float[np.ndarray, "point target"]]:
    """Return targets at points between cells: the mean of the nearest four, weighted with 1/distance⁴."""
    values, sigma = cell_targets(cells, scale=scale)
    rows = np.flatnonzero(usable(cells))
    nothing = np.full((len(points_px), values.shape[1]), np.nan)
    if len(rows) < 4:
        return nothing, nothing.copy()
    a, b = cells.a_px[rows], cells.b_px[rows]
    edge_px = float(np.sqrt(np.median(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]))))
    distance, near = cKDTree(cells.positions_px[rows]).query(points_px, k=4)
    weight = 1.0 / np.maximum(distance / edge_px, 1e-3) ** 4
    weight /= weight.sum(axis=1, keepdims=True)
    mean = np.einsum("pk,pkt->pt", weight, values[rows][near])
    spread = np.sqrt(np.einsum("pk,pkt->pt", weight**2, sigma[rows][near] ** 2))
    far = distance[:, 0] > REACH_CELLS * edge_px
    mean[far], spread[far] = np.nan, np.nan
    return mean, spread
