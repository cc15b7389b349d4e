"""A regressor on top of a finder: it need not learn what a column is, only what columns mean.

Trained on images of one kind, a network learns displacement straight from pixels in seconds. Over all magnifications,
rotations, contrasts and doses together it finds no slope to follow, and says zero everywhere. Where columns are,
however, is learned at once (`dipolar.learn.networks.Finder`); told that, the rest is geometry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dipolar.core.learning import TARGETS
from dipolar.learn.equivariant import AXIAL, SCALAR, TURNS, VECTOR, Head, Turn
from dipolar.learn.networks import Finder, told

POOL = 2
"""Finder grid points, along either axis, that become one point of the regressor's grid."""


class StackedRegressor(nn.Module):
    """Image → at every fourth pixel: displacement (dy, dx), log sigma of both, and the cell's parameters if asked for.

    A finder with weights of its own, which training leaves alone, tells probability and place of A and B columns; their
    mean over two by two points, as mass and first moment, is what the rest sees: dilated convolutions at stride 8, with
    a skip at stride 4.
    """

    stride = 4

    def __init__(
        self,
        *,
        finder: Mapping[str, Any],
        middle: int = 12,
        coarse: int = 16,
        dilations: Sequence[int] = (1, 2, 1),
        cell_parameters: bool = True,
    ) -> None:
        """Make it with so many channels per orientation at strides 4 and 8; the finder gets its weights later."""
        super().__init__()
        self.outputs = ("dy", "dx", "log_sigma_y", "log_sigma_x", *(TARGETS[2:] if cell_parameters else ()))
        self.finder = Finder(**finder).requires_grad_(False)
        self.enter = Turn(FIELDS, middle, 3)
        self.down = Turn(middle, coarse, 2, stride=2, padding=0)
        self.trunk = nn.ModuleList(Turn(coarse, coarse, dilation=d) for d in dilations)
        self.up = Turn(coarse, middle, 1)
        self.join = Turn(middle, middle, 1)
        kinds = (VECTOR, SCALAR, AXIAL) + ((SCALAR, AXIAL, AXIAL, SCALAR) if cell_parameters else ())
        self.head = Head(middle, kinds)

    def found(self, x: Float[Tensor, "batch 1 y x"]) -> Float[Tensor, "batch field h w"]:
        """Return the fields of columns that the finder sees, at every fourth pixel."""
        # a training needs no slope through the finder; whoever looks inside asks for that to the image
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            return moments(self.finder(x))

    def understood(self, found: Float[Tensor, "batch field h w"]) -> Float[Tensor, "batch channel h w"]:
        """Return what the last layer makes of the fields of columns."""
        middle = functional.relu(self.enter(found))
        inner = functional.relu(self.down(middle))
        for layer in self.trunk:
            inner = inner + functional.relu(layer(inner))
        inner = functional.interpolate(self.up(inner), scale_factor=2, mode="nearest")
        return functional.relu(self.join(functional.relu(inner + middle)))

    def features(self, x: Float[Tensor, "batch 1 y x"]) -> Float[Tensor, "batch channel h w"]:
        """Return what the last layer sees, at every fourth pixel."""
        return self.understood(self.found(x))

    def forward(self, x: Float[Tensor, "batch 1 y x"]) -> Float[Tensor, "batch output h w"]:
        """Return `outputs` at every fourth pixel."""
        return told(self.head(self.features(x)))


def share_finder(networks: Sequence[nn.Module]) -> bool:
    """Return whether all stand on one and the same finder, so that it need not run for each of them."""
    if not all(isinstance(network, StackedRegressor) for network in networks):
        return False
    first, *others = (network.get_submodule("finder").state_dict() for network in networks)
    return all(torch.equal(first[name], other[name]) for other in others for name in first)


FIELDS = 6
"""Regular fields that `moments` gives: masses of A and B, their first moments, sigma weighted with mass for each."""


def moments(said: Float[Tensor, "batch 6 h w"]) -> Float[Tensor, "batch field h2 w2"]:
    """Return mass and first moment of the columns of either species around every fourth pixel, as regular fields.

    Each point of the finder's grid says with which probability it belongs to a column, and where that column stands.
    The moment is the mean of probability × (place - middle of the block), in units of 4 px. A vector becomes a regular
    field of its components along the four directions; a scalar is the same in all.
    """
    chance = torch.softmax(said[:, :3], dim=1)
    half = torch.tensor([-1.0, 1.0], device=said.device, dtype=said.dtype)  # of the finder's stride, in px
    y = half.repeat(said.shape[2] // POOL)[None, :, None]
    x = half.repeat(said.shape[3] // POOL)[None, None, :]
    place_y, place_x, log_sigma = said[:, 3] + y, said[:, 4] + x, said[:, 5].clamp(-5.0, 2.0)
    scalars, vectors = [], []
    for species in (0, 1):
        mass = chance[:, species]
        scalars += [mass, mass * log_sigma]
        vectors.append((mass * place_y / 4.0, mass * place_x / 4.0))
    orientations = []
    for turn in range(TURNS):
        parts = list(scalars)
        for dy, dx in vectors:
            parts.append((dy, dx, -dy, -dx)[turn])  # down, right, up, left: a quarter turn each
        orientations.append(torch.stack(parts, dim=1))
    return functional.avg_pool2d(torch.cat(orientations, dim=1), POOL)
