"""What maps are drawn on: cells as quadrilaterals or, where they are very many, as one raster, over the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int32
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Cells, Columns, Image

MOST_PATCHES = 60_000
"""Above this many cells a map is rasterised instead of drawn polygon by polygon."""
MAP_RASTER = 1600


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """Geometry that all maps of one figure share, made once."""

    shape: tuple[int, int]
    """Rows and columns of the image."""
    grey: Float[np.ndarray, "y x"]
    """The image in 0..1, averaged in blocks; nan where it was not measured."""
    block: int
    """Edge in px of those blocks."""
    quads: Float[np.ndarray, "cell 4 2"]
    """Corners (y, x) of every cell, in order around it."""
    single: Int32[np.ndarray, " patch"]
    """Cells drawn as polygons."""
    raster: Int32[np.ndarray, "rows cols"] | None
    """Cell at each point of a raster over the image, -1 where none is; None where all cells are polygons."""


def ground(measurement: Measurement, *, most_patches: int = MOST_PATCHES, longest: int = MAP_RASTER) -> Ground:
    """Return what maps of this measurement are drawn on.

    Parameters
    ----------
    measurement
        Whose image, columns and cells are drawn.
    most_patches
        Above this many cells they become one raster; the few far larger than the rest stay polygons.
    longest
        Points along the longer side of that raster and, at most, of the image behind.
    """
    shape = measurement.image.data.shape
    grey, block = backdrop(measurement.image, longest=longest)
    quads = quadrilaterals(measurement.cells, measurement.columns)
    single, raster = np.flatnonzero(np.isfinite(quads).all(axis=(1, 2))).astype(np.int32), None
    if single.size > most_patches:
        size = np.ptp(quads[single], axis=1).max(axis=1)
        large = size > 4 * np.median(size)
        small = single[~large]
        labels = label_raster(quads[small], (shape[0], shape[1]), longest=longest)
        raster = np.where(labels >= 0, small[labels], np.int32(-1))
        single = single[large]
    return Ground(shape=(shape[0], shape[1]), grey=grey, block=block, quads=quads, single=single, raster=raster)


def quadrilaterals(cells: Cells, columns: Columns) -> Float[np.ndarray, "cell 4 2"]:
    """Return each cell's four corners as (y, x), in order around it.

    Corners linked to a table of columns are those columns, so that neighbours share edges without gaps; otherwise
    the parallelogram of the mean edges stands around the cell's position.
    """
    half_a, half_b = cells.a_px[:, None] / 2, cells.b_px[:, None] / 2
    around = np.concatenate([-half_a - half_b, half_a - half_b, half_a + half_b, -half_a + half_b], axis=1)
    quads: Float[np.ndarray, "cell 4 2"] = cells.positions_px[:, None] + around
    linked = (cells.corners >= 0).all(axis=1) & (cells.corners < len(columns.flags)).all(axis=1)
    quads[linked] = columns.positions_px[cells.corners[linked][:, [0, 1, 3, 2]]]
    return quads


def backdrop(image: Image, *, longest: int) -> tuple[Float[np.ndarray, "y x"], int]:
    """Return the image in 0..1 for display and the edge in px of the blocks it was averaged in.

    Blocks are as large as needed for no side to exceed `longest` of them. Blocks with pixels that were not measured
    are nan.
    """
    data = image.data
    step = min(-(-max(data.shape) // longest), *data.shape)
    rows, cols = data.shape[0] // step, data.shape[1] // step
    blocks = data[: rows * step, : cols * step].reshape(rows, step, cols, step)
    return stretch(blocks.mean(axis=(1, 3), dtype=np.float64)), step


def stretch(data: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """Return `data` scaled from its 0.5th percentile (black) to its 99.7th (white), clipped to 0..1."""
    finite = data[np.isfinite(data)]
    if finite.size == 0:
        return np.full(data.shape, np.nan)
    low, high = np.percentile(finite, [0.5, 99.7])
    scaled: Float[np.ndarray, "y x"] = (data.astype(np.float64) - low) / (high - low if high > low else 1.0)
    return scaled.clip(0.0, 1.0)


def label_raster(
    quads: Float[np.ndarray, "cell 4 2"], shape: tuple[int, int], *, longest: int
) -> Int32[np.ndarray, "y x"]:
    """Return which cell covers each point of a raster over the image, -1 where none does.

    The raster has `longest` points along the longer side. Every cell stamps the points of its bounding box that lie
    inside all four edges; the loop runs over offsets in the box, so its length does not grow with the cells.
    """
    step = max(shape) / longest
    rows, cols = (max(1, round(size / step)) for size in shape)
    labels = np.full((rows, cols), -1, dtype=np.int32)
    points = (quads + 0.5) / step - 0.5
    low = np.floor(points.min(axis=1)).astype(int)
    extent = np.ceil(points.max(axis=1)).astype(int) - low + 1
    edges = np.roll(points, -1, axis=1) - points
    area = np.sum(edges[:, 0] * np.stack([edges[:, 1, 1], -edges[:, 1, 0]], axis=1), axis=1)
    orientation = np.where(area >= 0, 1.0, -1.0)[:, None]
    slack = -0.02 * np.abs(area)[:, None]  # a hair more than the cell, so that rounding leaves no seams
    for dy in range(int(extent[:, 0].max())):
        for dx in range(int(extent[:, 1].max())):
            fits = np.flatnonzero((dy < extent[:, 0]) & (dx < extent[:, 1]))
            at = low[fits] + (dy, dx)
            to = at[:, None] - points[fits]
            side = orientation[fits] * (edges[fits, :, 0] * to[..., 1] - edges[fits, :, 1] * to[..., 0])
            inside = (side >= slack[fits]).all(axis=1) & (at >= 0).all(axis=1) & (at < (rows, cols)).all(axis=1)
            labels[at[inside, 0], at[inside, 1]] = fits[inside]
    return labels


def show_image(axes: Axes, under: Ground, *, dim: float) -> None:
    """Show the image in grey, faded towards white by `dim` (0 not, 1 all), in pixel coordinates with y down."""
    grey, shape = dim + (1.0 - dim) * under.grey, under.shape
    extent = (-0.5, grey.shape[1] * under.block - 0.5, grey.shape[0] * under.block - 0.5, -0.5)
    axes.imshow(grey, cmap="gray", vmin=0.0, vmax=1.0, extent=extent, interpolation="auto", rasterized=True)
    axes.set_xlim(-0.5, shape[1] - 0.5)
    axes.set_ylim(shape[0] - 0.5, -0.5)


def paint(
    axes: Axes,
    under: Ground,
    colours: Float[np.ndarray, "cell 3"],
    *,
    hatched: Bool[np.ndarray, " cell"] | None = None,
) -> None:
    """Fill every cell with its sRGB colour; hatch those in `hatched` where cells are drawn one by one."""
    if under.raster is not None:
        rgba = np.zeros((len(colours) + 1, 4), dtype=np.float32)  # the last one, for no cell, is clear
        rgba[:-1, :3], rgba[:-1, 3] = colours, 1.0
        extent = (-0.5, under.shape[1] - 0.5, under.shape[0] - 0.5, -0.5)
        axes.imshow(rgba[under.raster], extent=extent, interpolation="auto", rasterized=True, zorder=1.5)
    if under.single.size:
        fill = colours[under.single]
        corners = list(under.quads[under.single][..., ::-1])
        patches = PolyCollection(corners, facecolors=fill, edgecolors=fill, linewidths=0.25, rasterized=True, zorder=2)
        axes.add_collection(patches, autolim=False)
    if hatched is not None and hatched[under.single].any():
        corners = list(under.quads[under.single[hatched[under.single]]][..., ::-1])
        lines = PolyCollection(corners, facecolors="none", linewidths=0.0, hatch="///////", rasterized=True, zorder=2.1)
        axes.add_collection(lines, autolim=False)
