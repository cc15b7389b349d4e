"""Networks at work on patterns: probabilities, shares, and whether they have seen the like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from scipy.special import softmax

from dipolar.core.errors import LabelError
from dipolar.learn.pattern_bank import BankClassifier
from dipolar.learn.pattern_networks import PatternNetwork
from dipolar.learn.patterns import AbstractPatternClassifier, Answers, Kind, Wants, answers_of

COARSE_PX = 32
"""Edge of the coarse patterns in which it is judged what is familiar."""
BATCH, BATCH_PX = 64, 1 << 20
"""Patterns that a network sees at a time, always as many: what it says must not depend on how a scan is cut; and pixels
of them, since what is between the layers of 64 patterns of 256 px takes half a gigabyte."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AbstractNetworkClassifier(AbstractPatternClassifier):
    """An ensemble of networks, each of which sees a centred and binned pattern."""

    wants: ClassVar[Wants] = "patch"

    networks: tuple[PatternNetwork, ...]
    """The members, in evaluation mode."""
    temperature: float
    """What logits are divided by, so that probabilities hold on labels held out."""
    familiar: BankClassifier
    """What was familiar in the training, and where classes lie: coarse pixels instead of virtual detectors."""

    @property
    def size_px(self) -> int:
        """Edge of the patches that the networks see."""
        return self.networks[0].size_px

    def answers(self, inputs: Shaped[np.ndarray, "pattern *seen"], counts: Shaped[np.ndarray, " pattern"]) -> Answers:
        """Return everything it says of patterns.

        Parameters
        ----------
        inputs
            Patches, shape (pattern, y, x): counts, centred and binned.
        counts
            Sum of each pattern.
        """
        probability = softmax(self._logits(inputs) / self.temperature, axis=2).mean(axis=0)
        inner = self.familiar.answers(coarse(inputs), counts)
        sigma = self.familiar.share_sigma(counts)
        return answers_of(probability, inner.mixture, sigma, inner.unfamiliar, counts, self.dose)

    def members(
        self, inputs: Shaped[np.ndarray, "pattern *seen"], counts: Shaped[np.ndarray, " pattern"]
    ) -> Float32[np.ndarray, "member pattern class"]:
        """Return the probabilities of each member."""
        return softmax(self._logits(inputs) / self.temperature, axis=2).astype(np.float32)

    def _logits(self, patches: Shaped[np.ndarray, "pattern *seen"]) -> Float[np.ndarray, "member pattern class"]:
        """Return logits of every member."""
        if patches.shape[1:] != (self.size_px, self.size_px):
            raise LabelError(
                "a network sees patches of the size that it was trained on.",
                got=f"{' x '.join(map(str, patches.shape[1:]))} px, and a network of {self.size_px} px",
                do=f"bin the patterns to {self.size_px} px",
            )
        return np.stack([look(network, patches) for network in self.networks])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SmallClassifier(AbstractNetworkClassifier):
    """Small networks of ours."""

    kind: ClassVar[Kind] = "small"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PublishedClassifier(AbstractNetworkClassifier):
    """The published network."""

    kind: ClassVar[Kind] = "published"


def look(network: PatternNetwork, patches: Shaped[np.ndarray, "pattern y x"]) -> Float[np.ndarray, "pattern class"]:
    """Return logits; nan for patterns that are empty or hold nan.

    Parameters
    ----------
    network
        In evaluation mode, on the CPU.
    patches
        Counts, centred and binned.
    """
    count, batch = len(patches), min(BATCH, max(1, BATCH_PX // int(np.prod(patches.shape[1:]))))
    logits: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, max(count, 1), batch):
            part = np.asarray(patches[start : start + batch], dtype=np.float32)
            if len(part) < batch:
                part = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), dtype=np.float32)])
            x = network.prepared(part)
            logits.append(network(x.contiguous(memory_format=torch.channels_last)).numpy())
    told = np.concatenate(logits)[:count].astype(np.float64)
    sums = patches.reshape(count, -1).sum(axis=1, dtype=np.float64)
    told[~(np.isfinite(sums) & (sums > 0))] = np.nan
    return told


def coarse(patches: Shaped[np.ndarray, "pattern y x"]) -> Float32[np.ndarray, "pattern pixel"]:
    """Return patches in coarse pixels, each over the sum of its pattern; nan for patterns that are empty."""
    count, size = patches.shape[:2]
    factor = max(1, size // COARSE_PX)
    edge = size // factor
    cut = np.asarray(patches[:, : edge * factor, : edge * factor], dtype=np.float32)
    # slices added up are several times faster than a sum over the short axes
    rows = cut[:, ::factor].copy()
    for start in range(1, factor):
        rows += cut[:, start::factor]
    pixels = rows[:, :, ::factor].copy()
    for start in range(1, factor):
        pixels += rows[:, :, start::factor]
    sums = pixels.reshape(count, edge * edge)
    total = sums.sum(axis=1, keepdims=True)
    return np.divide(sums, total, out=np.full(sums.shape, np.nan, dtype=np.float32), where=total > 0)


def ready(networks: Sequence[PatternNetwork]) -> tuple[PatternNetwork, ...]:
    """Return the networks as they are used: no slopes, and channels beside one another, which is faster."""
    for network in networks:
        network.eval().requires_grad_(False)
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return tuple(networks)
