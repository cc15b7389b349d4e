"""What is trained: crops of lessons, and the losses of the finder and of the regressor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dipolar.learn.lessons import Lesson
from dipolar.learn.networks import Finder, Regressor

PARAMETER_SCALE, PARAMETER_WEIGHT = 0.02, 0.1
"""Size of errors of the cell parameters against which they are weighed, and their weight beside displacement."""


class AbstractCrops:
    """Random crops of lessons, half of them in the mirror; turned ones need not be shown to networks that turn."""

    stride: int
    mirrored: tuple[int, ...]

    def __init__(
        self, lessons: Sequence[Lesson], held_out: Sequence[Lesson], *, batch_size: int = 8, crop_px: int = 128
    ) -> None:
        """Take lessons to learn from, and others to validate with."""
        smallest = min(min(lesson.pixels.shape[1:]) for lesson in lessons)
        self.lessons, self.held_out = lessons, held_out
        self.batch_size, self.crop_px = batch_size, min(crop_px, smallest // 8 * 8)
        area = np.array([float(lesson.pixels.shape[1] * lesson.pixels.shape[2]) for lesson in lessons])
        self.share = area / area.sum()

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return pixels and truth of some crops."""
        drawn = [self._crop(rng) for _ in range(self.batch_size)]
        pixels = torch.stack([pair[0] for pair in drawn]).contiguous(memory_format=torch.channels_last)
        return pixels, torch.stack([pair[1] for pair in drawn])

    def halved(self) -> AbstractCrops:
        """Return the same task with half the batch, for devices with less memory."""
        return type(self)(self.lessons, self.held_out, batch_size=max(self.batch_size // 2, 1), crop_px=self.crop_px)

    def _crop(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        lesson = self.lessons[int(rng.choice(len(self.lessons), p=self.share))]
        size, stride = self.crop_px, self.stride
        free = (np.array(lesson.pixels.shape[1:]) - size) // stride
        y, x = (int(rng.integers(0, most + 1)) for most in free)
        pixels = lesson.pixels[:, y * stride : y * stride + size, x * stride : x * stride + size]
        truth = lesson.truth[:, y : y + size // stride, x : x + size // stride]
        return mirror(pixels, truth, self.mirrored) if rng.random() < 0.5 else (pixels, truth)

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of one batch."""
        return self.judge(network(batch[0]), batch[1])["loss"]

    def judge(
        self, said: Float[Tensor, "batch output h w"], truth: Float[Tensor, "batch layer h w"]
    ) -> dict[str, Tensor]:
        """Return the loss and what it is made of."""
        raise NotImplementedError

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the mean loss, and what it is made of, over the lessons held out."""
        device = next(network.parameters()).device
        total: dict[str, float] = {}
        weight = 0.0
        with torch.inference_mode():
            for lesson in self.held_out:
                said = network(lesson.pixels[None].to(device).contiguous(memory_format=torch.channels_last))
                parts = self.judge(said, lesson.truth[None].to(device))
                size = float(lesson.truth.shape[1] * lesson.truth.shape[2])
                weight += size
                for name, value in parts.items():
                    total[name] = total.get(name, 0.0) + float(value) * size
        return {name: value / weight for name, value in total.items()}


class FinderTask(AbstractCrops):
    """Classes by cross entropy against soft truth; offsets, where columns are, by their likelihood with sigma."""

    stride = Finder.stride
    mirrored = (4,)

    def judge(
        self, said: Float[Tensor, "batch output h w"], truth: Float[Tensor, "batch layer h w"]
    ) -> dict[str, Tensor]:
        """Return cross entropy plus likelihood of the offsets, and both."""
        classes = -(truth[:, :3] * torch.log_softmax(said[:, :3], dim=1)).sum(dim=1).mean()
        near = 1.0 - truth[:, 2]
        log_sigma = said[:, 5].clamp(-5.0, 2.0)
        square = ((said[:, 3:5] - truth[:, 3:5]) ** 2).sum(dim=1)
        likely = 0.5 * square * torch.exp(-2.0 * log_sigma) + 2.0 * log_sigma
        offsets = (near * likely).sum() / near.sum()
        rms = ((near * square).sum() / near.sum() / 2.0).sqrt()
        return {"loss": classes + offsets, "cross_entropy": classes, "offset_rms_px": rms}


class RegressorTask(AbstractCrops):
    """Displacement by its Gaussian likelihood with a sigma of its own at every point; cell parameters by square errors.

    Where targets were measured, the truth is known as a Gaussian around them, and the loss is the mean of the
    likelihood over it: their variance is added to the square error. What the network then calls sigma is its error
    against the truth, or a little more. The measurement's variance must not be taken for noise that the network is
    free of: it looks at the same pixels, and its errors are largely those of the fit. Source of the loss: D. A. Nix
    and A. S. Weigend, ICNN 1994; A. Kendall and Y. Gal, NeurIPS 2017.
    """

    stride = Regressor.stride
    mirrored = (1, 4)

    def judge(
        self, said: Float[Tensor, "batch output h w"], truth: Float[Tensor, "batch layer h w"]
    ) -> dict[str, Tensor]:
        """Return the likelihood of the displacement plus errors of the cell parameters, and RMS errors."""
        known = torch.isfinite(truth[:, :2]).all(dim=1)
        count = known.sum().clamp_min(1)
        target = torch.nan_to_num(truth)
        error = said[:, :2] - target[:, :2]
        square = error**2 + target[:, -2:] ** 2
        likely = (0.5 * square * torch.exp(-2.0 * said[:, 2:4]) + said[:, 2:4]).sum(dim=1)
        loss = (likely * known).sum() / count
        found = {"rms_px": ((error**2).sum(dim=1) * known / 2.0).sum().div(count).sqrt()}
        if said.shape[1] > 4:
            off = functional.huber_loss(said[:, 4:], target[:, 2:-2], reduction="none", delta=5.0 * PARAMETER_SCALE)
            parameters = (off.sum(dim=1) * known).sum() / count
            loss = loss + PARAMETER_WEIGHT * parameters / PARAMETER_SCALE**2
            found["parameters"] = parameters
        return {"loss": loss, **found}


def mirror(
    pixels: Float[Tensor, "1 y x"], truth: Float[Tensor, "layer h w"], negated: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Return a crop and its truth with left and right exchanged; the layers named change their sign."""
    signs = torch.ones(truth.shape[0], 1, 1)
    signs[[layer for layer in negated if layer < truth.shape[0]]] = -1.0
    return pixels.flip(-1), truth.flip(-1) * signs
