"""The published network that tells displacement from windows, exactly; and the same weights in one pass.

Nine convolutions of 3 × 3 with one max pooling, and a dense layer over all that is left; with windows of 80 px and two
outputs it has 724,034 parameters. Source: C. T. Nelson et al., npj Computational Materials 7, 149 (2021).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from dipolar.core.errors import ImageError, SettingsError
from dipolar.learn.inside import evaluating
from dipolar.learn.windows import cut_windows, first_pixels, inside_image

BEFORE_POOLING = (32, 32, 32, 32, 32, 64, 64)
"""Channels of the convolutions at full resolution."""
AFTER_POOLING = (128, 128)
"""Channels of those at half the resolution."""
SLOPE = 0.1
"""Of the leaky ReLU, for negative values."""
POOLED = 2
"""Edge of the max pooling."""

Padding = Literal["same", "valid"]


class PublishedDCNN(nn.Module):
    """Window → displacement: seven convolutions, max pooling, two convolutions, dropout, batch norm, a dense layer.

    With ``padding="same"``, as published, a window is continued with zeros at every convolution: near its rim the
    network sees where the window ends. With ``padding="valid"`` only what lies in the window is seen, maps shrink by
    2 px with each convolution, and one pass over an image equals window by window exactly; see `as_one_pass`. The dense
    layer is smaller then.
    """

    def __init__(
        self, *, window_px: int = 80, outputs: int = 2, padding: Padding = "same", dropout: float = 0.5
    ) -> None:
        """Make it for windows of that edge.

        Parameters
        ----------
        window_px
            Edge of the windows; at least 2 px, or 24 px without padding.
        outputs
            How many numbers it tells.
        padding
            Whether convolutions keep the size of the map.
        dropout
            Probability with which a value of the last maps is left out in training. The weights do not depend on it.

        Raises
        ------
        SettingsError
            If nothing is left of a window for the dense layer.
        """
        super().__init__()
        self.window_px, self.outputs, self.padding = window_px, outputs, padding
        lost = 0 if padding == "same" else 2
        self.seen = (window_px - lost * len(BEFORE_POOLING)) // POOLED - lost * len(AFTER_POOLING)
        """Edge of the maps that the dense layer sees."""
        if self.seen < 1:
            smallest = POOLED * (1 + lost * len(AFTER_POOLING)) + lost * len(BEFORE_POOLING)
            raise SettingsError(
                f"the published network needs windows of at least {smallest} px with padding {padding!r}.",
                got=f"window_px={window_px}",
                do="window_px=80",
            )
        self.features = nn.Sequential(_layers(padding, dropout))
        self.dense = nn.Linear(AFTER_POOLING[-1] * self.seen**2, outputs)

    def forward(self, x: Float[Tensor, "window 1 y x"]) -> Float[Tensor, "window output"]:
        """Return what it says of each window."""
        return self.dense(self.features(x).flatten(1))


class OnePass(nn.Module):
    """The published network as a fully convolutional one, with the very same weights: image → map of outputs.

    The dense layer is a convolution as large as the maps that it saw. Output (0, 0) belongs to the window in the
    upper-left corner, and the next one to the window `step_px` further. With ``step_px=1`` pooling takes a step of one
    pixel, and what follows is dilated by 2, so that windows at odd places are met as well (the trick "à trous"). With
    more than 2, the dense layer alone takes longer steps.
    """

    def __init__(self, network: PublishedDCNN, *, step_px: int) -> None:
        """Share the weights of `network`."""
        super().__init__()
        if step_px < 1 or (step_px > 1 and step_px % POOLED):
            raise SettingsError("steps are of 1 px or of an even number.", got=f"step_px={step_px}", do="step_px=8")
        self.network, self.step_px = network, step_px

    @property
    def grid_px(self) -> tuple[float, float, float]:
        """y and x of the middle of the first window, and the spacing, in px."""
        middle = (self.network.window_px - 1) / 2.0
        return middle, middle, float(self.step_px)

    def forward(self, x: Float[Tensor, "image 1 y x"]) -> Float[Tensor, "image output h w"]:
        """Return what it says at every place where a window fits."""
        network, dilation = self.network, 1
        if min(x.shape[2:]) < network.window_px:
            raise ImageError(
                f"the image must hold at least one window of {network.window_px} px.",
                got=f"{x.shape[2]} x {x.shape[3]} px",
                do="take a larger image, or a network with smaller windows",
            )
        fits = [(size - network.window_px) // self.step_px + 1 for size in x.shape[2:]]
        for layer in network.features:
            if isinstance(layer, nn.MaxPool2d):
                x = functional.max_pool2d(x, POOLED, stride=min(self.step_px, POOLED))
                dilation = POOLED // min(self.step_px, POOLED)
            elif isinstance(layer, nn.Conv2d):
                padding = dilation if network.padding == "same" else 0
                x = functional.conv2d(x, layer.weight, layer.bias, padding=padding, dilation=dilation)
            else:
                x = layer(x)
        weight = network.dense.weight.reshape(network.outputs, -1, network.seen, network.seen)
        stride = max(self.step_px // POOLED, 1)
        said = functional.conv2d(x, weight, network.dense.bias, dilation=dilation, stride=stride)
        return said[:, :, : fits[0], : fits[1]]  # windows of odd width have a last row that pooling never saw


def as_one_pass(network: PublishedDCNN, *, step_px: int = 2) -> OnePass:
    """Return the network as one pass over a whole image, with the same weights, shared and not copied.

    Without padding it says exactly what the network says of each window. With padding it does not: a window ends in
    zeros, and the same place within an image does not. Before training the outputs differ by several times their
    spread over an image, mostly by an offset; after a short training on windows of 32 px, by a tenth of it: 0.2 px
    where displacements were 2.5 px. Where the published numbers are wanted, `predict_windows` gives them.

    Parameters
    ----------
    network
        The network of windows.
    step_px
        Pixels from one output to the next: 1, or an even number.
    """
    return OnePass(network, step_px=step_px)


def predict_windows(
    network: nn.Module,
    image: Float32[np.ndarray, "y x"],
    positions_px: Float[np.ndarray, "point 2"],
    *,
    window_px: int,
    batch: int = 64,
) -> Float32[np.ndarray, "point output"]:
    """Return what a network of windows says around each point, one window after the other, as published.

    Windows stand on whole pixels, as near to the point as that allows. Where a window would leave the image, or holds
    nan, the outputs are nan.

    Parameters
    ----------
    network
        Takes windows of shape (window, 1, y, x) and returns numbers of shape (window, output).
    image
        What it sees, prepared as in training.
    positions_px
        Points (y, x) in px of this image.
    window_px
        Edge of the windows.
    batch
        Windows that are in memory together.
    """
    corners = first_pixels(positions_px, window_px=window_px)
    inside = np.flatnonzero(inside_image(corners, image.shape, window_px=window_px))
    device = next(network.parameters()).device
    blank = torch.zeros((1, 1, window_px, window_px), device=device)
    with evaluating(network), torch.inference_mode():
        said = np.full((len(corners), network(blank).shape[1]), np.nan, dtype=np.float32)
        for start in range(0, len(inside), batch):
            rows = inside[start : start + batch]
            windows = torch.from_numpy(cut_windows(image, corners[rows], window_px=window_px))[:, None]
            said[rows] = network(windows.to(device)).float().cpu().numpy()
    return said


def _layers(padding: Padding, dropout: float) -> OrderedDict[str, nn.Module]:
    """Return all layers before the dense one, by name."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 1
    for number, following in enumerate(BEFORE_POOLING + AFTER_POOLING, start=1):
        if number == len(BEFORE_POOLING) + 1:
            layers["pooling"] = nn.MaxPool2d(POOLED)
        layers[f"conv{number}"] = nn.Conv2d(channels, following, 3, padding=padding)
        layers[f"relu{number}"] = nn.LeakyReLU(SLOPE)
        channels = following
    layers["dropout"] = nn.Dropout(dropout)
    layers["norm"] = nn.BatchNorm2d(channels)
    return layers
