"""Networks for tests: a finder made by hand, which needs no training, and small regressors of random weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dipolar.core.learning import TARGETS, Card
from dipolar.learn.networks import build
from dipolar.learn.predictor import Model

TINY = {"window_px": 40, "fine": 2, "middle": 2, "coarse": 2, "cell_parameters": True}


class HandmadeFinder(nn.Module):
    """Calls a bright blob a column, and the brighter ones A."""

    def __init__(self, *, bright: float = 1.4) -> None:
        super().__init__()
        line = torch.exp(-0.5 * ((torch.arange(13) - 6.0) / 2.2) ** 2)
        self.blob = nn.Parameter((line[:, None] * line / line.sum() ** 2)[None, None])
        self.bright = bright

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of A, B and background, no offset, and log sigma."""
        smooth = functional.avg_pool2d(functional.conv2d(x, self.blob, padding=6), 2)
        height = smooth.clamp_min(0.0)
        chance, a = height / (height + 0.2), torch.sigmoid(4.0 * (smooth - self.bright))
        nothing = torch.zeros_like(smooth)
        species = [torch.log(chance * a + 1e-6), torch.log(chance * (1.0 - a) + 1e-6), torch.log(1.0 - chance + 1e-6)]
        return torch.cat([*species, nothing, nothing, nothing - 1.5], dim=1)


def finder() -> Model:
    """Return the finder made by hand."""
    card = Card(kind="finder", architecture={}, members=1, targets=(), window_px=80, windows="sliding")
    return Model(name="by-hand", card=card, networks=(HandmadeFinder(),))


def regressor(*, members: int = 2, **changes: object) -> Model:
    """Return regressors of random weights."""
    networks = tuple(build("regressor", TINY, seed=seed) for seed in range(members))
    card = Card(
        kind="regressor",
        architecture=TINY,
        members=members,
        targets=TARGETS,
        window_px=40,
        windows="centered",
        training={"films": 3, "seed": 7},
        metrics={"cells": 800.0, "rms_network_px": 0.12, "rms_px": 0.12, "r2": 0.99, "coverage_68": 0.67},
    )
    return Model(name="random", card=card, networks=networks, **changes)  # type: ignore[arg-type]
