"""What networks see of an image: its own scale and contrast taken off.

Resampled to about 24 px per unit cell, where it is far from that; then the local mean and standard deviation, over
about two cells, are taken off, so that background, gain, thickness and dose leave no trace but noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from dipolar.core.errors import ImageError
from dipolar.core.learning import NETWORK_CELL_PX, TAKEN_AS_IT_IS
from dipolar.learn.networks import MULTIPLE

COARSE, BOXES = 8, (5, 3, 3)
"""Mean and variance are taken in blocks of so many pixels, and then over so many blocks: 40 px, and twice 24 px, one
cell. With the first alone the lattice itself would leave a ripple in the local gain, which leans on columns and moves
their centres by up to 0.2 px."""
SMALLEST_CELL_PX, LARGEST_CELL_PX = 6.0, 160.0
"""Edges of a unit cell, in px, that can be resampled with sense."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """An image as a network sees it."""

    pixels: Float32[Tensor, "1 1 y x"]
    """Normalised, its sides multiples of 8; what was added at the right and at the bottom is a mirror image."""
    scale: float
    """Network px per image px."""
    shape: tuple[int, int]
    """Rows and columns, in network px, that belong to the image."""
    cell_px: float
    """Edge of the unit cell in the image, in image px."""

    def to_image(self, points: Float[np.ndarray, "*point 2"]) -> Float[np.ndarray, "*point 2"]:
        """Return points (y, x) in image px, from network px."""
        return (points + 0.5) / self.scale - 0.5

    def to_network(self, points_px: Float[np.ndarray, "*point 2"]) -> Float[np.ndarray, "*point 2"]:
        """Return points (y, x) in network px, from image px."""
        return (points_px + 0.5) * self.scale - 0.5


def scale_of(cell_px: float) -> float:
    """Return network px per image px for a unit cell of this edge: 1 where the networks know its size.

    Raises
    ------
    ImageError
        If the cell is too small or too large for any resampling to make sense.
    """
    if not SMALLEST_CELL_PX <= cell_px <= LARGEST_CELL_PX:
        raise ImageError(
            f"networks see images with {SMALLEST_CELL_PX:g} to {LARGEST_CELL_PX:g} px per unit cell.",
            got=f"{cell_px:.3g} px per cell",
            do="record, or bin, the image at another magnification",
        )
    low, high = TAKEN_AS_IT_IS
    return 1.0 if low <= cell_px <= high else NETWORK_CELL_PX / cell_px


def see(data: Float32[np.ndarray, "y x"], *, cell_px: float) -> Seen:
    """Return an image as networks see it.

    Parameters
    ----------
    data
        Intensities, shape (y, x); nan where nothing was measured, which becomes the local mean.
    cell_px
        Edge of its unit cell in px: the square root of the cell's area.

    Raises
    ------
    ImageError
        If the cell is too small or too large, or nothing was measured.
    """
    scale = scale_of(cell_px)
    pixels = torch.from_numpy(_filled(data))[None, None]
    shape = (pixels.shape[2], pixels.shape[3])
    if scale != 1.0:
        pixels = _resampled(pixels, scale)
        shape = (pixels.shape[2], pixels.shape[3])
    return Seen(pixels=padded(normalise(pixels)), scale=scale, shape=shape, cell_px=cell_px)


def normalise(pixels: Float32[Tensor, "batch 1 y x"]) -> Float32[Tensor, "batch 1 y x"]:
    """Return images less their local mean, over their local standard deviation."""
    middle = pixels.mean(dim=(2, 3), keepdim=True)
    centred = pixels - middle  # squares of what is far from zero lose their digits
    centred = centred / centred.abs().amax(dim=(2, 3), keepdim=True).clamp_min(1e-37)  # detectors count in any unit
    mean, square = (_local(values, pixels.shape) for values in (centred, centred * centred))
    floor = 1e-20 + 1e-4 * square.mean(dim=(2, 3), keepdim=True)
    return (centred - mean) * torch.rsqrt((square - mean * mean).clamp_min(0.0) + floor)


def padded(pixels: Float32[Tensor, "batch 1 y x"]) -> Float32[Tensor, "batch 1 h w"]:
    """Return images with sides that are multiples of `MULTIPLE`, continued to the right and down as in a mirror."""
    tall, wide = (-size % MULTIPLE for size in pixels.shape[2:])
    if not tall and not wide:
        return pixels
    mode = "reflect" if min(pixels.shape[2:]) > MULTIPLE else "replicate"
    return functional.pad(pixels, (0, wide, 0, tall), mode=mode)


def _local(values: Float32[Tensor, "batch 1 y x"], shape: torch.Size) -> Float32[Tensor, "batch 1 y x"]:
    """Return the mean around every pixel, made on a coarse grid."""
    tall, wide = (-size % COARSE for size in shape[2:])
    if tall or wide:
        values = functional.pad(values, (0, wide, 0, tall), mode="replicate")
    coarse = functional.avg_pool2d(values, COARSE)
    for box in BOXES:
        coarse = functional.avg_pool2d(coarse, box, stride=1, padding=box // 2, count_include_pad=False)
    fine = functional.interpolate(coarse, scale_factor=COARSE, mode="bilinear", align_corners=False)
    return fine[:, :, : shape[2], : shape[3]]


def _filled(data: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
    """Return the image with the mean of their surroundings in place of unmeasured pixels."""
    known = np.isfinite(data)
    if known.all():
        return np.ascontiguousarray(data, dtype=np.float32)
    if not known.any():
        raise ImageError("the image holds nothing that was measured.", got="nan in every pixel")
    from scipy.ndimage import gaussian_filter

    there = gaussian_filter(known.astype(np.float32), 12.0)
    around = gaussian_filter(np.where(known, data, np.float32(0.0)), 12.0)
    far = np.float32(np.mean(data[known]))
    return np.where(known, data, np.where(there > 1e-3, around / np.maximum(there, 1e-3), far)).astype(np.float32)


def _resampled(pixels: Float32[Tensor, "1 1 y x"], scale: float) -> Float32[Tensor, "1 1 h w"]:
    """Return the image with `scale` pixels for each; fewer are averages, so that their noise falls as it should."""
    mode = "bilinear" if scale < 1.0 else "bicubic"
    # the factor itself must count, not the ratio of whole numbers of pixels: places would be off by half a pixel
    return functional.interpolate(
        pixels, scale_factor=scale, mode=mode, align_corners=False, recompute_scale_factor=False, antialias=scale < 1.0
    )
