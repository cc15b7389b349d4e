"""Training on stacks of windows, as in the published work: a window in, the displacement at its middle out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from dipolar.core.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Windows with what is true in the middle of each."""

    windows: Float32[np.ndarray, "window y x"]
    """What the network sees."""
    targets: Float[np.ndarray, "window target"]
    """What it shall say; no nan."""


class WindowTask:
    """Mean square error over batches of windows, in units of the targets' scatter."""

    def __init__(self, learn: Stack, held_out: Stack, *, batch_size: int = 32) -> None:
        """Take windows to learn from, and others to validate with."""
        if not len(learn.windows) or not len(held_out.windows):
            raise DataError(
                "there must be windows to learn from and to validate with.",
                got=f"{len(learn.windows)} and {len(held_out.windows)}",
                do="take a larger image, or smaller windows",
            )
        self.learn, self.held_out, self.batch_size = learn, held_out, batch_size
        self.scale = float(np.sqrt(np.mean(np.var(learn.targets, axis=0)))) or 1.0

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return windows drawn at random, and their targets."""
        rows = rng.integers(0, len(self.learn.windows), self.batch_size)
        return _tensors(self.learn, rows)

    def halved(self) -> WindowTask:
        """Return the same with half the batch."""
        return WindowTask(self.learn, self.held_out, batch_size=max(self.batch_size // 2, 1))

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean square error over the variance of the targets."""
        return ((network(batch[0]) - batch[1]) ** 2).mean() / self.scale**2

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the same over the windows held out, and its root in the targets' unit."""
        device = next(network.parameters()).device
        square = 0.0
        with torch.inference_mode():
            for start in range(0, len(self.held_out.windows), 64):
                windows, targets = _tensors(
                    self.held_out, np.arange(start, min(start + 64, len(self.held_out.windows)))
                )
                square += float(((network(windows.to(device)).cpu() - targets) ** 2).sum())
        mean = square / self.held_out.targets.size
        return {"loss": mean / self.scale**2, "rms_px": mean**0.5}


def _tensors(stack: Stack, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    windows = torch.from_numpy(np.ascontiguousarray(stack.windows[rows]))[:, None]
    return windows, torch.from_numpy(stack.targets[rows].astype(np.float32))
