"""What an image looks like around a place, whatever is in it: noise, blur, contrast, clipping, jitter of rows.

Networks learn to disregard all this, so that their own features hardly tell of it; numbers made by hand do. They are
blind to quarter turns, as the networks are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

STRIDE = 8
"""Network px between points."""
BLOCKS = 5
"""Blocks of so many pixels, along either axis, that make a neighbourhood."""
AROUND = BLOCKS * STRIDE
"""Edge of the neighbourhood, in network px: not quite two cells."""
BANDS = 3
"""Octaves in which the image's roughness is taken."""
FEATURES = BANDS + 6
"""How many numbers `texture` gives."""
FLAT = 0.1
"""Pixels within this share of a standard deviation from the darkest around are as dark."""


def texture(pixels: Float[Tensor, "batch 1 y x"]) -> Float[Tensor, "batch feature h w"]:
    """Return, at every eighth pixel: roughness in three octaves, spread, skewness, extremes, flatness, one-sidedness.

    Roughness is the mean square of ``x00 - x01 - x10 + x11`` in blocks of four pixels, then of the same in images of
    half and of a quarter of the size: noise, blur and resampling change their ratios first. Skewness and the distance
    of mean and extremes tell which way columns stand out and whether they are cut off; the share of pixels as dark as
    the darkest tells of clipping; the ratio of square steps from row to row and from column to column, of rows shifted
    against each other.

    Parameters
    ----------
    pixels
        Images as networks see them, their sides multiples of 8.
    """
    mean, square, cube = (_around(pixels**power) for power in (1, 2, 3))
    variance = (square - mean**2).clamp_min(1e-6)
    sigma = variance.sqrt()
    skew = (cube - 3 * mean * square + 2 * mean**3) / (variance * sigma)
    darkest, brightest = -_greatest(-pixels), _greatest(pixels)
    near = functional.interpolate(darkest + FLAT * sigma, scale_factor=STRIDE, mode="nearest")
    flat = _around((pixels < near).to(pixels.dtype))
    bands, image = [], pixels
    for octave in range(BANDS):
        bands.append(torch.log(_around(_corners(image) ** 2, shrunk=2 ** (octave + 1)) + 1e-4))
        image = functional.avg_pool2d(image, 2)
    halves = functional.avg_pool2d(pixels, (1, 2)), functional.avg_pool2d(pixels, (2, 1))
    down, across = halves[0][:, :, ::2] - halves[0][:, :, 1::2], halves[1][..., ::2] - halves[1][..., 1::2]
    lopsided = torch.log((_around(down**2, shrunk=2) + 1e-4) / (_around(across**2, shrunk=2) + 1e-4)).abs()
    others = (torch.log(sigma), skew, (mean - darkest) / sigma, (brightest - mean) / sigma, flat, lopsided)
    return torch.cat([*bands, *others], dim=1)


def _corners(image: Float[Tensor, "batch 1 y x"]) -> Float[Tensor, "batch 1 h w"]:
    """Return ``x00 - x01 - x10 + x11`` in blocks of four pixels; a quarter turn changes at most its sign."""
    top, bottom = image[:, :, ::2], image[:, :, 1::2]
    return top[..., ::2] - top[..., 1::2] - bottom[..., ::2] + bottom[..., 1::2]


def _around(values: Float[Tensor, "batch 1 y x"], *, shrunk: int = 1) -> Float[Tensor, "batch 1 h w"]:
    """Return the mean over the neighbourhood of every eighth pixel of an image that is `shrunk` so many times."""
    blocks = functional.avg_pool2d(values, STRIDE // shrunk) if shrunk < STRIDE else values
    return functional.avg_pool2d(blocks, BLOCKS, stride=1, padding=BLOCKS // 2, count_include_pad=False)


def _greatest(values: Float[Tensor, "batch 1 y x"]) -> Float[Tensor, "batch 1 h w"]:
    """Return the greatest value in the neighbourhood of every eighth pixel."""
    blocks = functional.max_pool2d(values, STRIDE)
    return functional.max_pool2d(blocks, BLOCKS, stride=1, padding=BLOCKS // 2)
