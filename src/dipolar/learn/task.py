"""What is learned and how: the task, the choices of the training, and what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from dipolar.core.errors import SettingsError
from dipolar.learn.device import Device

Batch = tuple[np.ndarray | Tensor, ...]
"""Arrays that belong together, batch first: for example images and their targets."""


@runtime_checkable
class AbstractTask(Protocol):
    """What is to be learned: where batches come from and how wrong a network is. Anything with these methods will do.

    ::

        @dataclass(frozen=True)
        class Slope:
            size: int = 64

            def batch(self, rng):
                x = rng.normal(size=(self.size, 1))
                return x, 3 * x

            def loss(self, network, batch):
                x, y = batch
                return (network(x) - y).square().mean()

            def validate(self, network):
                return {"loss": abs(network.weight.item() - 3)}

    Two more are used where they are there. ``halved()`` returns the same task with batches half as large, for when
    memory is short. ``fingerprint()`` returns, as plain values by name, what the data are, by which a checkpoint knows
    its own task; without it, it goes by the first batch alone.
    """

    def batch(self, rng: np.random.Generator) -> Batch:
        """Return the data of one step: a function of `rng` alone, so that a resumed training sees the same."""

    def loss(self, network: nn.Module, batch: Any) -> Float[Tensor, ""]:
        """Return how wrong the network is on a batch, now tensors on its device, 64-bit floats made 32-bit ones."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return ``loss``, by which the best network is chosen, and what else is worth knowing, on data held out.

        The network is in evaluation mode and no gradients are kept.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a network is trained: AdamW, a linear warm-up and then a cosine down to 1 % of the learning rate."""

    steps: int = 2000
    """Batches to learn from, at most."""
    learning_rate: float = 1e-3
    """At its peak."""
    weight_decay: float = 0.01
    """Of AdamW, on weights of two and more dimensions; biases and norms are left free."""
    warm_up: float = 0.05
    """Share of the steps in which the learning rate rises from 0."""
    validate_every: int = 100
    """Steps between validations; each is followed by a checkpoint."""
    patience: int | None = None
    """Validations without gain after which to stop; None trains to the end."""
    clip_norm: float = 1.0
    """Largest norm of a gradient, to which longer ones are cut; `math.inf` cuts none."""
    seed: int = 0
    """Of batches and of the network's own randomness, such as dropout."""
    device: Device = "auto"
    """Where to train."""
    mixed_precision: bool = True
    """Whether a GPU computes with 16-bit numbers where that is safe; a CPU never does."""
    threads: int | None = None
    """Threads of the CPU; None leaves PyTorch's number alone."""

    def __post_init__(self) -> None:
        """Check that the numbers make sense."""
        wrong = [
            f"{name}={getattr(self, name)!r} ({rule})"
            for name, holds, rule in (
                ("steps", self.steps >= 1, "at least 1"),
                ("learning_rate", 0 < self.learning_rate < math.inf, "above 0"),
                ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
                ("warm_up", 0 <= self.warm_up < 1, "0 or more, below 1"),
                ("validate_every", self.validate_every >= 1, "at least 1"),
                ("patience", self.patience is None or self.patience >= 1, "at least 1, or None"),
                ("clip_norm", self.clip_norm > 0, "above 0"),
                ("seed", self.seed >= 0, "0 or more"),
                ("threads", self.threads is None or self.threads >= 1, "at least 1, or None"),
            )
            if not holds
        ]
        if wrong:
            raise SettingsError("the settings of a training must make sense", got=", ".join(wrong))

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rising = self.warm_up * self.steps
        if step < rising:
            return self.learning_rate * (step + 1) / (rising + 1)
        done = (step - rising) / max(self.steps - rising, 1)
        return self.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """What a training gives."""

    network: nn.Module
    """The one that was handed in, with its best weights, in evaluation mode."""
    history: list[dict[str, Any]]
    """One row per validation: ``step``, ``loss`` (of the validation), ``training_loss`` (mean since the row before),
    ``learning_rate``, ``seconds`` so far, and the task's own numbers."""
    best_step: int
    """Steps after which the weights were best; 0 where there was no validation yet: then they are the first ones."""
    seconds: float
    """Time it took, all sittings together."""
    cpu_seconds: float
    """Time of the processor, all threads together."""
    stopped: Literal["done", "early", "interrupted"]
    """Whether it ran to the end, stopped for want of gain, or was interrupted and can go on from its checkpoint."""
