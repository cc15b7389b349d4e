"""Features of made-up scans, for tests of classifiers: classes, walls between them, thickness and counting noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NAMES = ("horizontal", "vertical", "none")
COUNTS = 20_000.0


@dataclass(frozen=True)
class Made:
    """What was made and what it is."""

    features: np.ndarray
    counts: np.ndarray
    mixture: np.ndarray

    @property
    def label(self) -> np.ndarray:
        return np.argmax(self.mixture, axis=1)


def made(rng, *, patterns=900, features=80, dose=1.0, walls=0.2, classes=3, strength=0.06, corners=None) -> Made:
    """Patterns of which a share holds two classes; noise goes as one over the root of the counts."""
    corners = ghosts(features, classes, strength) if corners is None else corners
    first = rng.integers(0, classes, patterns)
    second = (first + rng.integers(1, classes, patterns)) % classes
    share = np.where(rng.random(patterns) < walls, rng.random(patterns), 1.0)
    mixture = np.zeros((patterns, classes))
    mixture[np.arange(patterns), first] += share
    mixture[np.arange(patterns), second] += 1.0 - share
    thickness = rng.normal(size=patterns)
    slope = np.sin(np.arange(features)) * strength / 3
    counts = COUNTS * dose * rng.uniform(0.9, 1.1, patterns)
    noise = 4.0 / np.sqrt(counts)[:, None] * rng.normal(size=(patterns, features))
    return Made((mixture @ corners + thickness[:, None] * slope + noise).astype(np.float32), counts, mixture)


def ghosts(features, classes, strength) -> np.ndarray:
    """Every class but the last has ghosts of its own; the last one has none."""
    corners = np.zeros((classes, features))
    for number in range(classes - 1):
        corners[number, number :: classes - 1] = strength
    return corners


def chosen(label, each, rng) -> np.ndarray:
    """Rows of `each` patterns of every class."""
    return np.concatenate([rng.permutation(np.flatnonzero(label == number))[:each] for number in np.unique(label)])
