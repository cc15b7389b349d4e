"""What makes a training repeatable: by what it is recognised, and where its randomness comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dipolar.learn.checkpoint import sum_of_weights
from dipolar.learn.device import on_device
from dipolar.learn.task import AbstractTask, Training


def fingerprint(network: nn.Module, task: AbstractTask, choices: Training) -> dict[str, Any]:
    """Return what makes one training another than the next, by name; where it runs does not."""
    settings = {name: value for name, value in asdict(choices).items() if name not in ("device", "threads")}
    told: dict[str, Any] = getattr(task, "fingerprint", dict)()
    first = task.batch(np.random.default_rng([choices.seed, 0]))
    return {
        "task": type(task).__name__,
        **{f"task.{name}": value for name, value in told.items()},
        **settings,
        "first batch": [_outline(on_device(torch.device("cpu"), part)) for part in first],
        "first weights": sum_of_weights(network),
    }


def _outline(part: Tensor) -> str:
    """Return shape, mean and spread in words; rounded, as processors of different make differ in the last digits."""
    known = part.double()[part.isfinite()]
    mean, spread = (float(known.mean()), float(known.std(correction=0))) if known.numel() else (math.nan, math.nan)
    return f"{'x'.join(str(n) for n in part.shape)}, mean {mean:.3g}, deviation {spread:.3g}"


def seed_torch(device: torch.device, seed: int, step: int) -> None:
    """Seed PyTorch's own generators, from which dropout is drawn, for one step."""
    number = int(np.random.SeedSequence([seed, step, 1]).generate_state(1, np.uint64)[0] >> 1)
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Leave PyTorch's own generators after the block as they were before it."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        yield
