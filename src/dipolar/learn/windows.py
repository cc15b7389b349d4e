"""Windows cut from an image, centred on unit cells (C patches) or sliding over it (NC patches), with their targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64
from numpy.lib.stride_tricks import sliding_window_view

from dipolar.core.errors import SettingsError
from dipolar.core.learning import Patches
from dipolar.core.nouns import Cells, Image
from dipolar.learn.blocks import AbstractSplit, block_of, check_parts
from dipolar.learn.targets import cell_targets, sliding_targets

SMALLEST_PX, LARGEST_PX = 10, 160
"""Edges of a window."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """The windows cut from an image, and what became of those that could not be."""

    patches: Patches
    """The windows."""
    cell: Int32[np.ndarray, " patch"]
    """Row of the cell that each stands on; -1 for sliding windows."""
    remainder_px: Float[np.ndarray, "patch 2"]
    """Position of that cell minus the middle of the window, at most half a pixel; 0 for sliding windows."""
    outside: int
    """Number of windows left out because they would leave the image."""
    invalid: int
    """Number left out because they hold pixels where nothing was measured."""


def centered_patches(
    image: Image, cells: Cells, *, window_px: int, scale: float = 1.0, split: AbstractSplit | None = None
) -> Cut:
    """Return one window around every cell, with the cell's targets.

    The middle of a window of odd width is the centre of a pixel, that of even width lies between four. Windows stand on
    whole pixels, as near to the cell as that allows: nothing is interpolated. What remains is in `Cut.remainder_px`.
    The targets do not suffer: displacement is of one column against others, wherever the window stands.

    Cells with a doubtful geometry keep their window and have nan for targets.

    Parameters
    ----------
    image
        The image; windows hold its intensities as they are.
    cells
        Its cells, in px of this image.
    window_px
        Edge of the window, 10 to 160 px.
    scale
        Network px per image px, for the targets.
    split
        How the image is cut into regions for training and test; None: all is one region.

    Raises
    ------
    SettingsError
        If the window is too small or too large.
    DataError
        If the split leaves a part with too few windows.
    """
    corners = first_pixels(cells.positions_px, window_px=window_px)
    targets, sigma = cell_targets(cells, scale=scale)
    inside, whole = _fit(image.data, corners, window_px)
    kept = np.flatnonzero(whole).astype(np.int32)
    middle = middles(corners[kept], window_px=window_px)
    patches = _patches(image.data, corners[kept], targets[kept], sigma[kept], window_px=window_px, split=split)
    return Cut(
        patches=patches,
        cell=kept,
        remainder_px=cells.positions_px[kept] - middle,
        outside=int(np.sum(~inside)),
        invalid=int(np.sum(inside & ~whole)),
    )


def sliding_patches(
    image: Image,
    cells: Cells,
    *,
    window_px: int,
    stride_px: int,
    scale: float = 1.0,
    split: AbstractSplit | None = None,
) -> Cut:
    """Return windows at every `stride_px`-th pixel, wherever columns are, with the mean of the nearest cells to learn.

    The first one stands in the upper-left corner. Where no usable cell is near, the targets are nan. Memory is that of
    all windows, 4 · `window_px`² bytes each: 26 kB at 80 px, so that a stride of 8 px makes 0.4 GB of a 1024² image.

    Parameters
    ----------
    image
        The image; windows hold its intensities as they are.
    cells
        Its cells, in px of this image; see `dipolar.learn.targets.sliding_targets`.
    window_px
        Edge of the window, 10 to 160 px.
    stride_px
        Pixels from one window to the next.
    scale
        Network px per image px, for the targets.
    split
        How the image is cut into regions for training and test; None: all is one region.

    Raises
    ------
    SettingsError
        If the window is too small or too large, or the stride less than 1.
    DataError
        If the split leaves a part with too few windows.
    """
    _check(window_px)
    if stride_px < 1:
        raise SettingsError("windows slide by whole pixels.", got=f"stride_px={stride_px}", do="stride_px=8")
    corners = grid_of_windows(image.data.shape, window_px=window_px, stride_px=stride_px)
    _, whole = _fit(image.data, corners, window_px)
    corners = corners[whole]
    targets, sigma = sliding_targets(middles(corners, window_px=window_px), cells, scale=scale)
    return Cut(
        patches=_patches(image.data, corners, targets, sigma, window_px=window_px, split=split),
        cell=np.full(len(corners), -1, dtype=np.int32),
        remainder_px=np.zeros((len(corners), 2)),
        outside=0,
        invalid=int(np.sum(~whole)),
    )


def first_pixels(positions_px: Float[np.ndarray, "window 2"], *, window_px: int) -> Int64[np.ndarray, "window 2"]:
    """Return the first pixel (y, x) of the window whose middle is nearest to each position.

    The middle lies (window_px - 1) / 2 from the first pixel. Half way between two, it is the later one.
    """
    _check(window_px)
    return np.floor(positions_px - (window_px - 1) / 2.0 + 0.5).astype(np.int64)


def middles(corners_px: Int64[np.ndarray, "window 2"], *, window_px: int) -> Float[np.ndarray, "window 2"]:
    """Return the middle (y, x) of windows, from their first pixels."""
    return corners_px + (window_px - 1) / 2.0


def grid_of_windows(shape_px: tuple[int, ...], *, window_px: int, stride_px: int) -> Int64[np.ndarray, "window 2"]:
    """Return the first pixels of all windows of a grid, row by row; none where the image is smaller than a window."""
    y, x = (np.arange(0, size - window_px + 1, stride_px, dtype=np.int64) for size in shape_px)
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)


def cut_windows(
    data: Float32[np.ndarray, "y x"], corners_px: Int64[np.ndarray, "window 2"], *, window_px: int
) -> Float32[np.ndarray, "window edge edge"]:
    """Return copies of the windows that begin at these pixels; all of them must lie in the image."""
    if not len(corners_px):
        return np.zeros((0, window_px, window_px), dtype=np.float32)
    views = sliding_window_view(data, (window_px, window_px))
    return views[corners_px[:, 0], corners_px[:, 1]]


def inside_image(
    corners_px: Int64[np.ndarray, "window 2"], shape_px: tuple[int, ...], *, window_px: int
) -> Bool[np.ndarray, " window"]:
    """Return which windows lie in the image with all their pixels."""
    return np.all((corners_px >= 0) & (corners_px + window_px <= np.array(shape_px)), axis=1)


def _check(window_px: int) -> None:
    if not SMALLEST_PX <= window_px <= LARGEST_PX:
        raise SettingsError(
            f"windows are {SMALLEST_PX} to {LARGEST_PX} px wide.", got=f"window_px={window_px}", do="window_px=80"
        )


def _fit(
    data: Float32[np.ndarray, "y x"], corners: Int64[np.ndarray, "window 2"], window_px: int
) -> tuple[Bool[np.ndarray, " window"], Bool[np.ndarray, " window"]]:
    """Return which windows lie in the image, and which of them hold measured pixels only."""
    inside = inside_image(corners, data.shape, window_px=window_px)
    if np.isfinite(data).all():
        return inside, inside.copy()
    unmeasured = np.zeros((data.shape[0] + 1, data.shape[1] + 1), dtype=np.int64)  # number above and to the left of
    unmeasured[1:, 1:] = np.cumsum(np.cumsum(~np.isfinite(data), axis=0), axis=1)
    y, x = np.where(inside[:, None], corners, 0).T
    low, right = np.minimum(y + window_px, data.shape[0]), np.minimum(x + window_px, data.shape[1])
    count = unmeasured[low, right] - unmeasured[y, right] - unmeasured[low, x] + unmeasured[y, x]
    return inside, inside & (count == 0)


def _patches(
    data: Float32[np.ndarray, "y x"],
    corners: Int64[np.ndarray, "patch 2"],
    targets: Float[np.ndarray, "patch target"],
    sigma: Float[np.ndarray, "patch target"],
    *,
    window_px: int,
    split: AbstractSplit | None,
) -> Patches:
    """Return the windows with what is to be learned from each, and the region of each."""
    block = np.zeros(len(corners), dtype=np.int32)
    if split is not None:
        block = block_of(corners, window_px=window_px, split=split, shape_px=(data.shape[0], data.shape[1]))
        check_parts(block, targets, split=split)
    return Patches(
        images=cut_windows(data, corners, window_px=window_px),
        positions_px=middles(corners, window_px=window_px),
        targets=targets,
        sigma=sigma,
        block=block,
    )
