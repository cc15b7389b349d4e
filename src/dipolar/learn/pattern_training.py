"""Training loops of the networks for patterns: ours on varied patterns in seconds, the published one as published."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import nn
from torch.nn import functional

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import TrainingError
from dipolar.learn.pattern_augment import Variations, diluted, varied
from dipolar.learn.pattern_network import look, ready
from dipolar.learn.pattern_networks import PatternNetwork

Batch = Callable[[int], tuple[Float32[np.ndarray, "pattern y x"], Float32[np.ndarray, "pattern class"]]]
"""Patterns and what is true of them, for step n."""

COPIES = 500
"""Thinned copies of patterns that are made for a training, all together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallTraining:
    """How the small network is trained: AdamW with one cycle of the learning rate (L. N. Smith, arXiv:1803.09820)."""

    steps: int = 260
    """Steps from fresh weights."""
    steps_more: int = 40
    """Steps from weights that were trained on nearly the same labels."""
    batch: int = 36
    """Patterns in each."""
    rate: float = 2e-2
    """Greatest learning rate."""
    decay: float = 2e-2
    """Weight decay."""
    variations: Variations = field(default_factory=Variations)
    """What each pattern goes through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTraining:
    """How the published network is trained.

    AdamW and the weights of the lowest validation loss are as published. The learning rate, that it is halved when the
    validation loss has not fallen for some epochs, sizes of batches and the share for validation are not told, and are
    assumed.
    """

    epochs: int = 60
    """Times that every pattern is seen."""
    batch: int = 16
    """Patterns in a step."""
    rate: float = 1e-3
    """Learning rate at the start."""
    decay: float = 1e-2
    """Weight decay; that which PyTorch takes."""
    patience: int = 5
    """Epochs without a lower validation loss after which the learning rate is halved."""
    validation: float = 0.2
    """Share of the labels that the validation loss is told from."""


def train_small_network(
    network: PatternNetwork,
    batch: Batch,
    choices: SmallTraining,
    *,
    steps: int,
    progress: Progress = silent,
) -> PatternNetwork:
    """Train a small network in place, and return it ready for use.

    Parameters
    ----------
    network
        Fresh, or trained on nearly the same labels.
    batch
        Gives patterns and targets.
    choices
        How.
    steps
        How many.
    progress
        Told how far it is.

    Raises
    ------
    TrainingError
        If the loss is no finite number.
    """
    network.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=choices.rate, weight_decay=choices.decay)
    for step in range(steps):
        share = (step + 0.5) / steps
        for group in optimizer.param_groups:
            group["lr"] = choices.rate * min(1.0, share / 0.25) * 0.5 * (1.0 + math.cos(math.pi * max(0.0, share)))
        patterns, target = batch(step)
        _step(network, optimizer, patterns, target)
        progress("training the network", (step + 1) / steps)
    return ready([network])[0]


def train_published_network(
    network: PatternNetwork,
    patterns: Float32[np.ndarray, "label y x"],
    label: Int[np.ndarray, " label"],
    held_out: np.ndarray,
    choices: PublishedTraining,
    *,
    rng: np.random.Generator,
    progress: Progress = silent,
) -> PatternNetwork:
    """Train the published network in place, and return it with the weights of the lowest validation loss.

    Parameters
    ----------
    network
        Fresh.
    patterns
        Counts of the labelled patterns.
    label
        Their classes.
    held_out
        Which of them are for validation.
    choices
        How.
    rng
        Deals patterns to steps.
    progress
        Told how far it is.

    Raises
    ------
    TrainingError
        If the loss is no finite number.
    """
    target = np.eye(network.classes, dtype=np.float32)[label]
    learned, kept = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    optimizer = torch.optim.AdamW(network.parameters(), lr=choices.rate, weight_decay=choices.decay)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=choices.patience)
    best, least = copy.deepcopy(network.state_dict()), math.inf
    for epoch in range(choices.epochs):
        network.train()
        order = rng.permutation(learned)
        for start in range(0, len(order), choices.batch):
            rows = order[start : start + choices.batch]
            _step(network, optimizer, patterns[rows], target[rows])
        network.eval()
        logits = look(network, patterns[kept])
        loss = float(functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(label[kept].astype(np.int64))))
        schedule.step(loss)
        if loss < least:
            best, least = copy.deepcopy(network.state_dict()), loss
        progress("training the published network", (epoch + 1) / choices.epochs)
    network.load_state_dict(best)
    return ready([network])[0]


def _step(
    network: PatternNetwork,
    optimizer: torch.optim.Optimizer,
    patterns: Float32[np.ndarray, "pattern y x"],
    target: Float32[np.ndarray, "pattern class"],
) -> None:
    """Make one step down the cross entropy."""
    logits = network(network.prepared(patterns))
    loss = functional.cross_entropy(logits, torch.from_numpy(target))
    if not bool(loss.isfinite()):
        raise TrainingError(
            "a training needs a finite loss.",
            got=f"a loss of {float(loss.detach())}",
            do="train with a lower learning rate, and check that no labelled pattern holds nan",
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()


def batches(
    patterns: Float32[np.ndarray, "label y x"],
    target: Float32[np.ndarray, "label class"],
    weight: Float[np.ndarray, " label"],
    choices: SmallTraining,
    *,
    seed: int,
) -> Batch:
    """Return what gives the patterns of a step: drawn by weight, and varied; the same for the same seed and step."""
    # thinning takes as long as a step, so that it is done once for a number of copies
    copies = max(1, COPIES // len(patterns))
    rng = np.random.default_rng([seed, 0])
    fewer = np.concatenate([diluted(patterns, choices.variations, rng) for _ in range(copies)])
    chance = np.tile(weight / weight.sum() / copies, copies)

    def of(step: int) -> tuple[Float32[np.ndarray, "pattern y x"], Float32[np.ndarray, "pattern class"]]:
        rng = np.random.default_rng([seed, step + 1])
        rows = rng.choice(len(fewer), size=choices.batch, p=chance)
        return varied(fewer[rows], target[rows % len(patterns)], choices.variations, rng)

    return of
