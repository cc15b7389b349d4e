"""Our networks, fully convolutional and equivariant to quarter turns: one finds columns, one tells displacement.

Both see one channel, normalised (see `dipolar.learn.scale`), at about 24 px per unit cell. Maps must have sides that
are multiples of `MULTIPLE`, so that strides fall alike from all four sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dipolar.core.errors import SettingsError
from dipolar.core.learning import TARGETS
from dipolar.learn.equivariant import AXIAL, SCALAR, VECTOR, AbstractTurning, Head, Lift, Turn

MULTIPLE = 8
"""Sides of what a network sees are multiples of this."""
LOG_SIGMA = (-6.0, 4.0)
"""Limits of the logarithm of sigma, in network px: beyond them the loss has no useful slope."""


class Finder(nn.Module):
    """Image → at every second pixel: logits of A, B and background, offset to the nearest column, log sigma of it.

    A U-Net of two levels (O. Ronneberger et al., MICCAI 2015) with dilated convolutions in the bottleneck (F. Yu and
    V. Koltun, ICLR 2016), as in AtomNet (M. Ziatdinov et al., ACS Nano 11, 12742 (2017)).
    """

    stride = 2
    outputs = ("a", "b", "background", "dy", "dx", "log_sigma")

    def __init__(self, *, fine: int = 4, coarse: int = 8, dilations: Sequence[int] = (1, 2, 4)) -> None:
        """Make it with `fine` and `coarse` channels per orientation at strides 2 and 4."""
        super().__init__()
        self.lift = Lift(1, fine, 4, stride=2, padding=1)
        self.fine = Turn(fine, fine)
        self.down = Turn(fine, coarse, 2, stride=2, padding=0)
        self.bottleneck = nn.ModuleList(Turn(coarse, coarse, dilation=d) for d in dilations)
        self.up = Turn(coarse, fine, 1)
        self.join = Turn(fine, fine)
        self.head = Head(fine, (SCALAR, SCALAR, SCALAR, VECTOR, SCALAR))

    def features(self, x: Float[Tensor, "batch 1 y x"]) -> Float[Tensor, "batch channel h w"]:
        """Return what the last layer sees, at every second pixel."""
        fine = functional.relu(self.lift(x))
        fine = functional.relu(self.fine(fine))
        coarse = functional.relu(self.down(fine))
        for layer in self.bottleneck:
            coarse = coarse + functional.relu(layer(coarse))
        fine = fine + functional.interpolate(self.up(coarse), scale_factor=2, mode="nearest")
        return functional.relu(self.join(fine))

    def forward(self, x: Float[Tensor, "batch 1 y x"]) -> Float[Tensor, "batch 6 h w"]:
        """Return `outputs` at every second pixel."""
        return self.head(self.features(x))


class Regressor(nn.Module):
    """Image → at every fourth pixel: displacement (dy, dx), log sigma of both, and the cell's parameters if asked for.

    What an output sees is never more than `window_px`: strides and dilations are chosen so. One pass over an image
    therefore gives exactly what windows of that size around every point would give, away from the rim.
    """

    stride = 4

    def __init__(
        self,
        *,
        window_px: int = 80,
        fine: int = 8,
        middle: int = 12,
        coarse: int = 16,
        cell_parameters: bool = True,
    ) -> None:
        """Make it with so many channels per orientation at strides 2, 4 and 8."""
        super().__init__()
        self.outputs = ("dy", "dx", "log_sigma_y", "log_sigma_x", *(TARGETS[2:] if cell_parameters else ()))
        deep, dilations = depth(window_px)
        self.lift = Lift(1, fine, 4, stride=2, padding=1)
        self.down = Turn(fine, middle, 2, stride=2, padding=0)
        self.skip = Turn(middle, middle, 1)
        inner = coarse if deep else middle
        self.deeper = Turn(middle, coarse, 2, stride=2, padding=0) if deep else None
        self.trunk = nn.ModuleList(Turn(inner, inner, dilation=d) for d in dilations)
        self.up = Turn(inner, middle, 1)
        self.join = Turn(middle, middle, 1)
        kinds = (VECTOR, SCALAR, AXIAL) + ((SCALAR, AXIAL, AXIAL, SCALAR) if cell_parameters else ())
        self.head = Head(middle, kinds)

    def features(self, x: Float[Tensor, "batch 1 y x"]) -> Float[Tensor, "batch channel h w"]:
        """Return what the last layer sees, at every fourth pixel."""
        middle = functional.relu(self.down(functional.relu(self.lift(x))))
        skip = self.skip(middle)
        inner = middle if self.deeper is None else functional.relu(self.deeper(middle))
        for layer in self.trunk:
            inner = inner + functional.relu(layer(inner))
        inner = self.up(inner)
        if self.deeper is not None:
            inner = functional.interpolate(inner, scale_factor=2, mode="nearest")
        return functional.relu(self.join(functional.relu(inner + skip)))

    def forward(self, x: Float[Tensor, "batch 1 y x"]) -> Float[Tensor, "batch output h w"]:
        """Return `outputs` at every fourth pixel."""
        return told(self.head(self.features(x)))


def told(raw: Float[Tensor, "batch raw h w"]) -> Float[Tensor, "batch output h w"]:
    """Return outputs from what the head says: sigma along y and x, a and b from numbers that turn simply.

    The head tells mean and half the difference of log sigma along y and x, and of a and b: under a quarter turn the
    mean stays and the difference changes its sign.
    """
    vector, mean, half = raw[:, :2], raw[:, 2:3], raw[:, 3:4]
    parts = [vector, (mean + half).clamp(*LOG_SIGMA), (mean - half).clamp(*LOG_SIGMA)]
    if raw.shape[1] > 4:
        parts += [raw[:, 4:5] + raw[:, 5:6], raw[:, 4:5] - raw[:, 5:6], raw[:, 6:7], raw[:, 7:8]]
    return torch.cat(parts, dim=1)


def depth(window_px: int) -> tuple[bool, tuple[int, ...]]:
    """Return whether the trunk stands at stride 8 (else 4), and its dilations: the widest view within the window.

    A 4 × 4 filter at stride 2 and 2 × 2 filters see 4, 6 and 10 px at strides 2, 4 and 8; a 3 × 3 filter at stride s
    and dilation d adds 2·s·d. Outputs at stride 4 stand 2 px off the middle of what is seen at stride 8, so that a
    window around them must be 4 px larger.
    """
    if window_px < 10:
        raise SettingsError("a window must hold at least 10 px.", got=f"{window_px} px", do="window_px=80")
    deep = window_px >= 34
    stride, seen = (8, 14) if deep else (4, 6)
    dilations: list[int] = []
    for dilation in (1, 2, 4, 1, 2, 4, 1):
        if seen + 2 * stride * dilation <= window_px and len(dilations) < 4:
            dilations.append(dilation)
            seen += 2 * stride * dilation
    return deep, tuple(dilations)


def build(kind: str, architecture: Mapping[str, Any], *, seed: int) -> nn.Module:
    """Return a fresh network; its weights come from `seed`, and torch's own generator is left as it was.

    Raises
    ------
    SettingsError
        If there is no such kind.
    """
    from dipolar.learn.stacked import StackedRegressor  # it is made of these networks

    networks = {"finder": Finder, "regressor": StackedRegressor if "finder" in architecture else Regressor}
    if kind not in networks:
        raise SettingsError("there is no such network.", got=kind, do=", ".join(networks))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return networks[kind](**architecture)


def plain(network: nn.Module) -> nn.Module:
    """Return a copy in which every turning layer is an ordinary convolution: the same map, faster, for inference."""
    copy = deepcopy(network).eval()
    for name, layer in list(copy.named_modules()):
        if isinstance(layer, AbstractTurning):
            parent, _, last = name.rpartition(".")
            copy.get_submodule(parent).register_module(last, layer.plain())
    for parameter in copy.parameters():  # convolutions are faster where channels lie beside one another
        parameter.requires_grad_(False)
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return copy
