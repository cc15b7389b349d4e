"""Training of an autoencoder by steps of Adam, with what it must survive: Ctrl-C, and a step that is not finite."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from dipolar.core.contracts import Progress
from dipolar.core.errors import TrainingError
from dipolar.learn.rvae_network import Told, TurningRvae

FAILURES = 5
"""Steps in a row that are not finite, after which a training is given up."""
CLIP = 5.0
"""Norm of the gradient is held below so many times its running mean."""
MEMORY = 0.05
"""Weight of a new step in running means: of the norm of the gradient, and of the noise variance."""
LINEAR = 0.1
"""Learning rate of what has a closed-form start, over that of the rest."""


@dataclass(slots=True, kw_only=True, eq=False)
class Course:
    """How a training went."""

    history: list[dict[str, float]] = field(default_factory=list)
    """One row for each epoch."""
    stopped: bool = False
    """Whether Ctrl-C ended it."""
    skipped: int = 0
    """Steps that were not finite and left out."""
    steps: int = 0
    """All that were tried."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loss:
    """Of a batch, in nats per patch."""

    total: Tensor
    """What is made small."""
    reconstruction: float
    """Part of what is left over."""
    divergence: float
    """Part of the posterior's distance from the prior."""


def train(
    network: nn.Module,
    patches: Tensor,
    loss_of: Callable[[Tensor], Loss],
    optimizer: torch.optim.Optimizer,
    *,
    rate: Callable[[float], float],
    epochs: int,
    batch: int,
    rng: np.random.Generator,
    progress: Progress,
) -> Course:
    """Train in place; the learning rate of each group is its own first one times `rate` of the fraction done.

    Raises
    ------
    TrainingError
        If step after step is not finite.
    """
    course, first = Course(), [float(group["lr"]) for group in optimizer.param_groups]
    steps = max(1, len(patches) // batch)
    clock, norm, failures = time.process_time(), math.inf, 0
    try:
        for epoch in range(epochs):
            order = torch.from_numpy(rng.permutation(len(patches)))
            sums = np.zeros(4)
            for step in range(steps):
                done = (epoch + step / steps) / epochs
                for group, lr in zip(optimizer.param_groups, first, strict=True):
                    group["lr"] = lr * rate(done)
                loss = loss_of(patches[order[step * batch : (step + 1) * batch]])
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss.total)
                limit = CLIP * norm if math.isfinite(norm) else math.inf
                length = float(nn.utils.clip_grad_norm_(network.parameters(), limit))
                value = float(loss.total.detach())
                if math.isfinite(length) and math.isfinite(value):
                    optimizer.step()
                    norm = length if math.isinf(norm) else (1 - MEMORY) * norm + MEMORY * min(length, limit)
                    sums += [1.0, value, loss.reconstruction, loss.divergence]
                    failures = 0
                else:
                    course.skipped, failures = course.skipped + 1, failures + 1
                if failures == FAILURES:
                    raise TrainingError(
                        "the loss of the autoencoder must be a finite number.",
                        got=f"{value:g}, gradient {length:g}, {FAILURES} times in a row in epoch {epoch + 1}",
                        do="a lower learning_rate, and check the stack for outliers",
                    )
                course.steps += 1
                progress("training the autoencoder", done)
            mean = sums[1:] / max(sums[0], 1.0)
            course.history.append(
                {
                    "epoch": float(epoch + 1),
                    "loss": float(mean[0]),
                    "reconstruction": float(mean[1]),
                    "divergence": float(mean[2]),
                    "seconds": time.process_time() - clock,
                }
            )
    except KeyboardInterrupt:
        course.stopped = True
    progress("training the autoencoder", 1.0)
    return course


def turning_loss(network: TurningRvae, generator: torch.Generator) -> Callable[[Tensor], Loss]:
    """Return the loss of the equivariant network: minus the evidence lower bound, all directions weighed.

    The noise variance is that of the running mean of what is left over, its maximum-likelihood estimate.
    """

    def loss_of(images: Tensor) -> Loss:
        told, variance = network(network.seen(images), generator), network.variance.clone()
        weight = posterior(told, variance)
        left = float((weight * told.misfit.detach()).sum()) / len(images) / network.pixels
        fit = 0.5 * told.misfit / variance
        total = (weight * (fit + told.divergence)).sum() / len(images)
        entropy = float(torch.special.entr(weight).sum()) / len(images)
        choice = math.log(weight[0].numel()) - entropy
        level = 0.5 * network.pixels * math.log(2 * math.pi * float(variance))
        divergence = float((weight * told.divergence.detach()).sum()) / len(images)
        found = float(total.detach())
        with torch.no_grad():
            network.variance.lerp_(torch.tensor(left), MEMORY)
        return Loss(
            total=total + level + choice,
            reconstruction=found - divergence + level,
            divergence=divergence + choice,
        )

    return loss_of


def posterior(told: Told, variance: Tensor, *, redundancy: float = 1.0) -> Tensor:
    """Return the probability of each direction, (patch, turn, fine), by what is blind to the nuisance; no gradient.

    `redundancy` is by how many times the pixels are more than independent ones.
    """
    with torch.no_grad():
        fits = -0.5 * told.blind / (variance * redundancy) - told.divergence
        return torch.softmax(fits.flatten(1), dim=1).reshape(fits.shape)


def rise_and_fall(done: float) -> float:
    """Return a learning rate that rises for a third of the training and falls to nothing, as half cosines."""
    if done < 0.3:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / 0.3))
    return 0.5 * (1 + math.cos(math.pi * (done - 0.3) / 0.7))


def turning_optimizer(network: TurningRvae, rate: float) -> torch.optim.Optimizer:
    """Return Adam, slower for what has a closed-form start."""
    slow = [network.pictures, network.linear, network.constant, network.log_sigma]
    quick = [p for p in network.parameters() if all(p is not other for other in slow)]
    return torch.optim.Adam(
        [{"params": slow, "lr": LINEAR * rate}, {"params": quick, "lr": rate}], lr=rate, betas=(0.9, 0.99)
    )
