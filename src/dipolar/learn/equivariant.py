"""Convolutions that turn with the image: quarter turns of the input turn what comes out, exactly and by construction.

A regular field holds ``4·C`` channels, ``C`` for each orientation ``g`` of the quarter turns, orientation first.
Turning the image by a quarter turn counter-clockwise turns every map and moves orientation ``g`` to ``g + 1``. Source:
T. S. Cohen and M. Welling, "Group equivariant convolutional networks", ICML 2016, section 6 (the group p4).

A layer keeps one set of weights and expands it to the four orientations; `plain` gives the ordinary convolution with
the expanded weights, which costs what any convolution of its size costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

TURNS = 4
"""Quarter turns of the square."""

SCALAR, AXIAL, VECTOR = "scalar", "axial", "vector"
"""How an output behaves under a quarter turn: stays; changes its sign (a against b, shear); turns as (dy, dx)."""


class AbstractTurning(nn.Module):
    """A convolution with weights in one orientation; subclasses say how they are expanded to all four."""

    weight: nn.Parameter
    bias: nn.Parameter
    stride: int
    padding: int
    dilation: int

    def expanded(self) -> tuple[Float[Tensor, "out in y x"], Float[Tensor, " out"]]:
        """Return weights and bias of the ordinary convolution that this layer is."""
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "batch in y x"]) -> Float[Tensor, "batch out h w"]:
        """Return the field of the next layer."""
        weight, bias = self.expanded()
        return functional.conv2d(x, weight, bias, stride=self.stride, padding=self.padding, dilation=self.dilation)

    def plain(self) -> nn.Conv2d:
        """Return the same map as an ordinary convolution, for inference and export."""
        with torch.no_grad():
            weight, bias = self.expanded()
            out, channels, size, _ = weight.shape
            layer = nn.Conv2d(
                channels, out, size, stride=self.stride, padding=self.padding, dilation=self.dilation, device="meta",
                dtype=weight.dtype,
            ).to_empty(device=weight.device)  # fmt: skip
            layer.weight.copy_(weight)
            assert layer.bias is not None
            layer.bias.copy_(bias)
        return layer


class Lift(AbstractTurning):
    """Image → regular field: one filter, seen in four orientations."""

    def __init__(self, channels_in: int, channels_out: int, size: int, *, stride: int = 1, padding: int = 0) -> None:
        """Draw the weights (He initialisation)."""
        super().__init__()
        self.weight = nn.Parameter(_he((channels_out, channels_in, size, size), fan=channels_in * size**2))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.stride, self.padding, self.dilation = stride, padding, 1

    def expanded(self) -> tuple[Float[Tensor, "out in y x"], Float[Tensor, " out"]]:
        """Return the filter in four orientations."""
        turned = [torch.rot90(self.weight, g, (-2, -1)) for g in range(TURNS)]
        return torch.cat(turned), self.bias.repeat(TURNS)


class Turn(AbstractTurning):
    """Regular field → regular field."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        size: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
    ) -> None:
        """Draw the weights (He initialisation); without a padding, odd sizes keep the size of the map."""
        super().__init__()
        shape = (channels_out, channels_in, TURNS, size, size)
        self.weight = nn.Parameter(_he(shape, fan=channels_in * TURNS * size**2))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.padding = dilation * (size - 1) // 2 if padding is None else padding
        self.stride, self.dilation = stride, dilation

    def expanded(self) -> tuple[Float[Tensor, "out in y x"], Float[Tensor, " out"]]:
        """Return the filters in four orientations, each with the orientations it reads from moved along."""
        return torch.cat([_turned(self.weight, g) for g in range(TURNS)]), self.bias.repeat(TURNS)


class Head(AbstractTurning):
    """Regular field → numbers at every point, each of a kind that says how it turns.

    For orientation ``g``, a scalar is the mean of the regular field, an axial number its mean with signs ``(-1)^g``, a
    vector the mean of ``R^g (p_g, q_g)`` with R the quarter turn.
    """

    def __init__(self, channels_in: int, kinds: Sequence[str]) -> None:
        """Draw small weights, so that the first predictions are near zero."""
        super().__init__()
        fields = sum(2 if kind == VECTOR else 1 for kind in kinds)
        self.weight = nn.Parameter(0.1 * _he((fields, channels_in, TURNS, 1, 1), fan=channels_in * TURNS))
        self.bias = nn.Parameter(torch.zeros(fields))
        self.stride, self.padding, self.dilation = 1, 0, 1
        self.register_buffer("mixing", _mixing(kinds), persistent=False)
        self.mixing: Tensor

    def expanded(self) -> tuple[Float[Tensor, "out in y x"], Float[Tensor, " out"]]:
        """Return the mixed weights: one output channel per scalar and axial number, two per vector."""
        regular = torch.cat([_turned(self.weight, g) for g in range(TURNS)])
        weight = torch.einsum("of,fiyx->oiyx", self.mixing, regular)
        return weight, self.mixing @ self.bias.repeat(TURNS)


def _turned(weight: Float[Tensor, "out in 4 y x"], g: int) -> Float[Tensor, "out turned_in y x"]:
    """Return filters turned by g quarter turns; their input channels are ordered orientation first."""
    moved = torch.rot90(torch.roll(weight, g, dims=2), g, (-2, -1))
    return moved.transpose(1, 2).flatten(1, 2)


def _mixing(kinds: Sequence[str]) -> Float[Tensor, "out field"]:
    """Return the matrix from a regular field (orientation first) to outputs of these kinds."""
    fields = sum(2 if kind == VECTOR else 1 for kind in kinds)
    rows: list[Tensor] = []
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # (dy, dx) → (-dx, dy): counter-clockwise on the screen
    first = 0
    for kind in kinds:
        size = 2 if kind == VECTOR else 1
        block = torch.zeros(size, TURNS, fields)
        rotation = torch.eye(2)
        for g in range(TURNS):
            if kind == VECTOR:
                block[:, g, first : first + 2] = rotation
                rotation = turn @ rotation
            else:
                block[0, g, first] = (-1.0) ** g if kind == AXIAL else 1.0
        rows.append(block.flatten(1) / TURNS)
        first += size
    return torch.cat(rows)


def _he(shape: Sequence[int], *, fan: int) -> Tensor:
    return torch.randn(*shape) * math.sqrt(2.0 / fan)
