"""One pass of a network over a whole image, tile by tile, so that memory stays small and the result is the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from dipolar.core.contracts import Progress, silent
from dipolar.learn.networks import MULTIPLE

TILE = 448
"""Edge of a tile: with its rim, activations stay below 32 MiB, above which the C library returns memory to the system
after each layer and every page is faulted in again."""


def dense(
    network: nn.Module,
    pixels: Float32[Tensor, "1 1 y x"],
    *,
    stride: int,
    reach: int,
    run: Callable[[Tensor], Tensor] | None = None,
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
    run
        What to run instead of the network's own call, for example its features.
    tile
        Edge of a tile in network px, a multiple of 8.
    progress
        Told how far it has come.
    """
    run = network if run is None else run
    halo = -(-reach // MULTIPLE) * MULTIPLE
    device = next(network.parameters()).device
    tall, wide = pixels.shape[2:]
    out: np.ndarray | None = None
    corners = [(y, x) for y in range(0, tall, tile) for x in range(0, wide, tile)]
    with torch.inference_mode():
        for done, (y, x) in enumerate(corners):
            top, left = max(y - halo, 0), max(x - halo, 0)
            bottom, right = min(y + tile, tall), min(x + tile, wide)
            part = pixels[:, :, top : min(bottom + halo, tall), left : min(right + halo, wide)]
            said = run(part.to(device).contiguous(memory_format=torch.channels_last))[0]
            inside = said[
                :, (y - top) // stride : (bottom - top) // stride, (x - left) // stride : (right - left) // stride
            ]
            if out is None:
                out = np.empty((said.shape[0], tall // stride, wide // stride), dtype=np.float32)
            out[:, y // stride : bottom // stride, x // stride : right // stride] = inside.cpu().numpy()
            progress(step, (done + 1) / len(corners))
    assert out is not None
    return out
