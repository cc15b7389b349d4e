"""Networks that classify diffraction patterns: a small one of ours, and the published one in its three readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from dipolar.core.errors import SettingsError
from dipolar.learn.pattern_kernels import roots_of

MOST_PARAMETERS = 100_000
"""Of the small network."""
SMALLEST_PX, LARGEST_PX = 16, 256
"""Edges of patches that the small network takes."""
Reading = Literal["released", "drawn", "stated"]
READINGS: dict[str, tuple[int, int]] = {"released": (256, 3), "drawn": (256, 2), "stated": (128, 3)}
"""Edge of the pattern in px and number of max poolings. The released code halves the map after every convolution, of a
pattern of 256 px; the figure of the paper shows maps of 64 px before the dense layer, so that one pooling is missing;
and the text starts from 128 px."""
CHANNELS = (16, 32, 64)
"""Of the three convolutions of the published network."""
DENSE = 128
"""Units of its dense layer."""


class SmallNetwork(nn.Module):
    """Pattern → logits: three strided convolutions, global average pooling, one dense layer.

    What a convolution sees carries on where on the detector it is, by a learned offset for every place of the first
    map: a disk between others means another thing near the direct beam than far out. The average over all places comes
    last, so that what was never seen at one place is no stranger than at another.
    """

    usual: Tensor
    """Mean of what it sees, shape (y, x)."""
    spread: Tensor
    """Standard deviation from it, over all places."""

    def __init__(self, *, size_px: int = 64, classes: int = 3, channels: Sequence[int] = (12, 32, 64)) -> None:
        """Make it for patterns of `size_px`, a multiple of 16.

        Raises
        ------
        SettingsError
            If the size is none that it takes, or it would have more than `MOST_PARAMETERS`.
        """
        super().__init__()
        if size_px % 16 or not SMALLEST_PX <= size_px <= LARGEST_PX:
            raise SettingsError(
                f"the small network takes patterns of {SMALLEST_PX} to {LARGEST_PX} px, a multiple of 16.",
                got=f"size_px={size_px}",
                do="size_px=64",
            )
        first, second, third = channels
        self.size_px, self.classes, self.channels = size_px, classes, tuple(channels)
        # A filter of 6 at a stride of 4 costs as much as the other two together; of 3 at 1, ten times as much.
        self.stem = nn.Conv2d(1, first, 6, stride=4, padding=1, bias=False)
        self.place = nn.Parameter(torch.zeros(1, first, size_px // 4, size_px // 4))
        self.middle = nn.Conv2d(first, second, 3, stride=2, padding=1, bias=False)
        self.deep = nn.Conv2d(second, third, 3, stride=2, padding=1, bias=False)
        # Without normalisation a faint class takes hundreds of steps longer to be told.
        self.norms = nn.ModuleList(nn.BatchNorm2d(channel) for channel in channels)
        self.dense = nn.Linear(third, classes)
        self.register_buffer("usual", torch.zeros(size_px, size_px))
        self.register_buffer("spread", torch.ones(()))
        if parameters(self) > MOST_PARAMETERS:
            raise SettingsError(
                f"the small network has at most {MOST_PARAMETERS} parameters.",
                got=f"{parameters(self)} with channels={tuple(channels)} at {size_px} px",
                do="channels=(12, 32, 64)",
            )

    def settle(self, counts: Float32[np.ndarray, "pattern y x"]) -> None:
        """Take the mean of these patterns for what is usual: only what differs from it is then looked at."""
        roots = torch.from_numpy(roots_of(counts, np.zeros(counts.shape[1:], dtype=np.float32), 1.0))
        self.usual.copy_(roots.mean(dim=0))
        self.spread.copy_((roots - self.usual).square().mean().sqrt().clamp(min=1e-6))

    def prepared(self, counts: Float32[np.ndarray, "pattern y x"]) -> Float32[Tensor, "pattern 1 y x"]:
        """Return what it sees: roots of the counts, whose noise is the same everywhere, less those that are usual."""
        return torch.from_numpy(roots_of(counts, self.usual.numpy(), float(self.spread)))[:, None]

    def features(self, x: Float[Tensor, "pattern 1 y x"]) -> Float[Tensor, "pattern feature"]:
        """Return what the dense layer sees."""
        x = functional.relu(self._normed(self.stem, 0, x) + self.place)
        x = functional.relu(self._normed(self.middle, 1, x))
        return functional.relu(self._normed(self.deep, 2, x)).mean(dim=(2, 3))

    def _normed(self, layer: nn.Conv2d, number: int, x: Float[Tensor, "pattern a y x"]) -> Tensor:
        """Return the normalised output of a convolution: in one step where nothing is trained."""
        norm = cast(nn.BatchNorm2d, self.norms[number])
        if self.training or norm.running_mean is None or norm.running_var is None:
            return norm(layer(x))
        factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = layer.weight * factor[:, None, None, None]
        zero = norm.bias - norm.running_mean * factor
        return functional.conv2d(x, weight, zero, stride=layer.stride, padding=cast(tuple[int, int], layer.padding))

    def forward(self, x: Float[Tensor, "pattern 1 y x"]) -> Float[Tensor, "pattern class"]:
        """Return the logits of each class."""
        return self.dense(self.features(x))


class PublishedNetwork(nn.Module):
    """Pattern → logits, as published: three 3 × 3 convolutions with max pooling, a dense layer of 128, one of classes.

    Source: F. G. Hardy et al., *Polarization domain mapping from 4D-STEM using deep learning*, arXiv:2510.00693, whose
    code, figure and text differ in size; see `READINGS`. With three classes it has 8,412,419 parameters as released,
    33,578,243 as drawn and 2,120,963 as stated.
    """

    def __init__(self, *, reading: Reading = "released", classes: int = 3) -> None:
        """Make it in one of the readings."""
        super().__init__()
        if reading not in READINGS:
            raise SettingsError("the published network has three readings.", got=reading, do=", ".join(READINGS))
        self.reading, self.classes = reading, classes
        self.size_px, self.poolings = READINGS[reading]
        inputs = (1, *CHANNELS[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in zip(inputs, CHANNELS, strict=True)
        )
        seen = self.size_px // 2**self.poolings
        self.hidden = nn.Linear(CHANNELS[-1] * seen**2, DENSE)
        self.dense = nn.Linear(DENSE, classes)

    @staticmethod
    def prepared(counts: Float32[np.ndarray, "pattern y x"]) -> Float32[Tensor, "pattern 1 y x"]:
        """Return what it sees: the logarithm of each pattern, stretched from 0 to 1 by itself.

        The published images were stretched so as they were saved; that it was the logarithm is assumed, as beside the
        direct beam nothing else would be left of faint disks.
        """
        logs = torch.from_numpy(np.log1p(np.maximum(counts, 0.0)))
        least = logs.amin(dim=(1, 2), keepdim=True)
        return ((logs - least) / (logs.amax(dim=(1, 2), keepdim=True) - least).clamp(min=1e-6))[:, None]

    def features(self, x: Float[Tensor, "pattern 1 y x"]) -> Float[Tensor, "pattern feature"]:
        """Return what the last layer sees."""
        for number, layer in enumerate(self.convolutions, start=1):
            x = functional.relu(layer(x))
            if number <= self.poolings:
                x = functional.max_pool2d(x, 2)
        return functional.relu(self.hidden(x.flatten(1)))

    def forward(self, x: Float[Tensor, "pattern 1 y x"]) -> Float[Tensor, "pattern class"]:
        """Return the logits of each class."""
        return self.dense(self.features(x))


PatternNetwork = SmallNetwork | PublishedNetwork


def parameters(network: nn.Module) -> int:
    """Return the number of parameters that are learned."""
    return sum(parameter.numel() for parameter in network.parameters())


def build_pattern_network(kind: str, architecture: Mapping[str, Any], *, seed: int = 0) -> PatternNetwork:
    """Return a fresh network; its weights come from `seed`, and torch's own generator is left as it was.

    Raises
    ------
    SettingsError
        If there is no such kind, or the architecture is none.
    """
    networks: dict[str, type[SmallNetwork] | type[PublishedNetwork]] = {
        "small": SmallNetwork,
        "published": PublishedNetwork,
    }
    if kind not in networks:
        raise SettingsError("there is no such network for patterns.", got=kind, do=", ".join(networks))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return networks[kind](**architecture)
