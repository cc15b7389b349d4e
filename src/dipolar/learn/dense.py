"""One pass of a network over a whole image, tile by tile, so that memory stays small and the result is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from dipolar.core.contracts import Progress, silent
from dipolar.learn.networks import MULTIPLE

TILE = 704
"""Edge of a tile, at most: with its rim, activations stay below 32 MiB, above which the C library gives memory back to
the system after each layer and every page is faulted in again."""


def dense(
    network: nn.Module,
    pixels: Float32[Tensor, "1 1 y x"],
    *,
    stride: int,
    reach: int,
    tile: int = TILE,
    progress: Progress = silent,
    step: str = "running the network",
) -> Float32[np.ndarray, "output h w"]:
    """Return what a fully convolutional network says at every point of its grid.

    Tiles overlap by what the network sees beyond an output, so that the result is that of one pass over everything.

    Parameters
    ----------
    network
        In evaluation mode; `dipolar.learn.networks.plain` makes it fast.
    pixels
        What it sees; sides are multiples of 8.
    stride
        Network px per grid point.
    reach
        How far from an output's place the network looks, in network px.
    tile
        Edge of a tile in network px, at most; a multiple of 8.
    progress
        Told how far it has come.
    """
    device = next(network.parameters()).device
    (maps,) = dense_maps(
        lambda part: (network(part),), pixels, strides=(stride,), reach=reach, device=device, tile=tile,
        progress=progress, step=step,
    )  # fmt: skip
    return maps


def dense_maps(
    run: Callable[[Tensor], Sequence[Tensor]],
    pixels: Float32[Tensor, "1 1 y x"],
    *,
    strides: Sequence[int],
    reach: int,
    device: torch.device,
    tile: int = TILE,
    progress: Progress = silent,
    step: str = "running the network",
) -> list[Float32[np.ndarray, "_ _ _"]]:
    """Return several maps, each with its own stride, that one run over a tile gives; see `dense`.

    Parameters
    ----------
    run
        Takes a tile and gives its maps, shape (1, output, h, w) each.
    pixels
        What it sees; sides are multiples of 8.
    strides
        Network px per grid point of each map: divisors of 8.
    reach, tile, progress, step
        As for `dense`.
    device
        Where to run.
    """
    halo = -(-reach // MULTIPLE) * MULTIPLE
    tall, wide = pixels.shape[2:]
    out: list[np.ndarray] = []
    high, broad = (_even(size, tile) for size in (tall, wide))
    corners = [(y, x) for y in range(0, tall, high) for x in range(0, wide, broad)]
    with torch.inference_mode():
        for done, (y, x) in enumerate(corners):
            top, left = max(y - halo, 0), max(x - halo, 0)
            bottom, right = min(y + high, tall), min(x + broad, wide)
            part = pixels[:, :, top : min(bottom + halo, tall), left : min(right + halo, wide)]
            maps = run(part.to(device).contiguous(memory_format=torch.channels_last))
            out = out or [
                np.empty((m.shape[1], tall // s, wide // s), np.float32) for m, s in zip(maps, strides, strict=True)
            ]
            for whole, said, s in zip(out, maps, strides, strict=True):
                inside = said[0, :, (y - top) // s : (bottom - top) // s, (x - left) // s : (right - left) // s]
                whole[:, y // s : bottom // s, x // s : right // s] = inside.cpu().numpy()
            progress(step, (done + 1) / len(corners))
    return out


def _even(size: int, tile: int) -> int:
    """Return the edge of tiles that divide a side evenly: a narrow last one would be all rim."""
    return -(-size // (-(-size // tile) * MULTIPLE)) * MULTIPLE
