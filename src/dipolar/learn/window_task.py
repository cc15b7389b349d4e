"""Training on stacks of windows, as in the published work: a window in, the displacement at its middle out."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from dipolar.core.errors import DataError
from dipolar.core.learning import Patches
from dipolar.learn.augment import draw_symmetries, transform_images, transform_targets

VALIDATION_BATCH = 64


class WindowTask:
    """Mean square error over batches of windows, turned and mirrored at random, in units of the targets' scatter."""

    def __init__(
        self,
        patches: Patches,
        learn: Bool[np.ndarray, " patch"],
        held_out: Bool[np.ndarray, " patch"],
        *,
        outputs: int = 2,
        batch_size: int = 32,
        symmetries: bool = True,
    ) -> None:
        """Take windows, and say which to learn from and which to validate with; those of unknown targets are left out.

        Parameters
        ----------
        patches
            Windows with their targets, of which the first `outputs` are learned.
        learn, held_out
            Which of them; see `dipolar.learn.blocks.sides`.
        outputs
            Targets to learn: 2, or 6.
        batch_size
            Windows in a batch.
        symmetries
            Whether windows are turned and mirrored, with their targets.

        Raises
        ------
        DataError
            If there are none to learn from, or to validate with.
        """
        known = np.isfinite(patches.targets[:, :outputs]).all(axis=1)
        self.learn, self.held_out = np.flatnonzero(learn & known), np.flatnonzero(held_out & known)
        if not len(self.learn) or not len(self.held_out):
            raise DataError(
                "there must be windows to learn from and to validate with.",
                got=f"{len(self.learn)} and {len(self.held_out)}",
                do="take a larger image, or smaller windows",
            )
        self.patches, self.outputs, self.batch_size, self.symmetries = patches, outputs, batch_size, symmetries
        self.scale = float(np.sqrt(np.mean(np.var(patches.targets[self.learn, :outputs], axis=0)))) or 1.0

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return windows drawn at random, and their targets."""
        windows, targets = self._tensors(rng.choice(self.learn, self.batch_size))
        if not self.symmetries:
            return windows, targets
        numbers = draw_symmetries(len(windows), rng=rng)
        return transform_images(windows, numbers), transform_targets(targets, numbers)

    def halved(self) -> WindowTask:
        """Return the same with half the batch."""
        masks = [np.isin(np.arange(len(self.patches.images)), rows) for rows in (self.learn, self.held_out)]
        return WindowTask(
            self.patches,
            *masks,
            outputs=self.outputs,
            batch_size=max(self.batch_size // 2, 1),
            symmetries=self.symmetries,
        )

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean square error over the variance of the targets."""
        return ((network(batch[0]) - batch[1]) ** 2).mean() / self.scale**2

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the same over the windows held out, and the root mean square in the targets' unit."""
        device = next(network.parameters()).device
        square = 0.0
        with torch.inference_mode():
            for start in range(0, len(self.held_out), VALIDATION_BATCH):
                windows, targets = self._tensors(self.held_out[start : start + VALIDATION_BATCH])
                square += float(((network(windows.to(device)).cpu() - targets) ** 2).sum())
        mean = square / (len(self.held_out) * self.outputs)
        return {"loss": mean / self.scale**2, "rms_px": mean**0.5}

    def _tensors(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        windows = torch.from_numpy(self.patches.images[rows])[:, None]
        return windows, torch.from_numpy(self.patches.targets[rows, : self.outputs].astype(np.float32))
