"""Classes as points in the space of what moves: where each lies, how wide it is, and how much of each a pattern holds.

Where the probe covers a wall, the pattern is the sum of those of both domains, so that classes are the corners of a
simplex and walls lie between them. The corners are found from few labels and all that is not labelled: patterns near a
corner that the labels point to say better where it is than the labels alone. What a pattern holds of each class then
follows by least squares, weighted with how patterns of one class differ (A. R. Huete, Remote Sensing of Environment 19,
237 (1986), calls it linear unmixing).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from dipolar.learn.pattern_kernels import shares_on_simplex

ROUNDS = 4
"""Repetitions in which corners and the patterns near them are found in turn."""
PURE = 0.8
"""Share of a class from which a pattern tells where its corner is."""
CLOSE = 1.5
"""How far an unlabelled pattern may be from a corner, against the labelled ones, to tell where it is."""
PER_DOSE = 2.0
"""Steps per factor of 2 in the counts, in which the weights follow the dose."""
SHRINK = 10.0
"""Patterns that the expected width of a class counts as."""
SLOPE = 0.85
"""Of the logit over the share times the separation: with noise of standard deviation s in the share, the probability
that the true share is above a half is that of a normal distribution, which 1.7 (share - 1/2) / s as a logit meets."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weighing:
    """How shares are computed at one dose."""

    gain: Float[np.ndarray, "axis class"]
    """Shares are ``scores @ gain + zero``."""
    zero: Float[np.ndarray, " class"]
    """Their value at the origin."""
    inverse: Float[np.ndarray, "axis axis"]
    """Of the covariance of patterns of one class."""
    separation: float
    """Distance between classes over the spread of the patterns of one, the harmonic mean over pairs."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classes:
    """Where classes lie, in units of the noise at the dose of the training."""

    means: Float[np.ndarray, "class axis"]
    """Corners."""
    within: Float[np.ndarray, "axis axis"]
    """Covariance of patterns of one class, noise included."""

    def weighing(self, dose: float = 1.0) -> Weighing:
        """Return how shares are computed at `dose` times the counts of the training: noise grows as one over it."""
        return _weighing(self, dose)

    def shares(
        self, scores: Float[np.ndarray, "pattern axis"], weighing: Weighing
    ) -> Float[np.ndarray, "pattern class"]:
        """Return how much of each class patterns hold, free to be below 0 or above 1; they add up to 1."""
        return scores @ weighing.gain + weighing.zero

    def within_simplex(
        self, scores: Float[np.ndarray, "pattern axis"], weighing: Weighing
    ) -> tuple[Float[np.ndarray, "pattern class"], Float[np.ndarray, " pattern"]]:
        """Return shares between 0 and 1, and how far patterns are from all mixtures: root mean square over the axes.

        The distance is in units of the spread of one class along each axis, so that it is about 1 for patterns that
        are mixtures of the classes.
        """
        pulled = self.means @ weighing.inverse
        held = shares_on_simplex(pulled @ self.means.T, scores @ pulled.T)
        left = scores - held @ self.means
        away = np.sum(left @ weighing.inverse * left, axis=1) / scores.shape[1]
        return held, np.sqrt(np.maximum(away, 0.0))


@lru_cache(maxsize=256)
def _weighing(classes: Classes, dose: float) -> Weighing:
    """Return how shares are computed; kept, since every block of a scan asks for those of the same few doses."""
    variance, turn = np.linalg.eigh(classes.within)
    variance = np.maximum(variance + (1.0 / dose - 1.0), 0.1 * variance)
    inverse = (turn / variance) @ turn.T
    last = classes.means[-1]
    apart = classes.means[:-1] - last
    pulled = inverse @ apart.T
    gain = pulled @ np.linalg.pinv(apart @ pulled, rcond=1e-9, hermitian=True)
    zero = -last @ gain
    gain = np.concatenate([gain, -gain.sum(axis=1, keepdims=True)], axis=1)
    between = classes.means[:, None, :] - classes.means[None, :, :]
    first, second = np.triu_indices(len(classes.means), 1)
    pairs = between[first, second]
    distance = np.sqrt(np.maximum(np.sum(pairs @ inverse * pairs, axis=1), 1e-6))
    return Weighing(
        gain=gain,
        zero=np.append(zero, 1.0 - zero.sum()),
        inverse=inverse,
        separation=float(len(distance) / np.sum(1.0 / distance)),
    )


def dose_step(counts: Float[np.ndarray, " pattern"], reference: float) -> Float[np.ndarray, " pattern"]:
    """Return the dose of each pattern over the reference, rounded to steps so that few weighings serve a whole scan."""
    ratio = np.maximum(np.nan_to_num(counts, nan=reference), 1e-3 * reference) / reference
    return np.exp2(np.rint(PER_DOSE * np.log2(ratio)) / PER_DOSE)


def learn_classes(
    scores: Float[np.ndarray, "label axis"],
    label: Int[np.ndarray, " label"],
    classes: int,
    unlabelled: Float[np.ndarray, "pattern axis"],
) -> Classes:
    """Return where classes lie, from labelled patterns and those like them that are not labelled.

    Parameters
    ----------
    scores
        Of the labelled patterns.
    label
        Their classes, each at least once.
    classes
        Number of classes.
    unlabelled
        Scores of other patterns; those that are like no labelled one count for nothing. It may be empty.
    """
    found = _from_labels(scores, label, classes)
    everything = np.concatenate([unlabelled, scores])
    for _ in range(ROUNDS):
        weighing = found.weighing()
        held, away = found.within_simplex(everything, weighing)
        own = held[len(unlabelled) :][np.arange(len(label)), label]
        usual = CLOSE * float(np.quantile(away[len(unlabelled) :][own >= np.median(own)], 0.9))
        close = away <= usual
        means = found.means.copy()
        left = []
        for number in range(classes):
            rows = np.flatnonzero(close & (held[:, number] > PURE))
            if len(rows) >= 2:
                means[number] = np.median(everything[rows], axis=0)
                left.append(everything[rows] - means[number])
        within = _covariance(np.concatenate(left) if left else scores[:0])
        if np.array_equal(means, found.means) and np.array_equal(within, found.within):
            break  # the same patterns are near the corners as before: no further round changes anything
        found = Classes(means=means, within=within)
    return found


def _from_labels(scores: Float[np.ndarray, "label axis"], label: Int[np.ndarray, " label"], classes: int) -> Classes:
    """Return corners at the medians of the labelled patterns, alike wide as these are."""
    means = np.stack([np.median(scores[label == number], axis=0) for number in range(classes)])
    # Labelled patterns at walls lie between the corners: the smaller half of the distances tells the width.
    left = scores - means[label]
    size = np.sum(left**2, axis=1)
    return Classes(means=means, within=_covariance(left[size <= np.median(size)]))


def _covariance(left: Float[np.ndarray, "pattern axis"]) -> Float[np.ndarray, "axis axis"]:
    """Return the covariance of what patterns differ from their corner by, pulled towards that of noise, which is 1."""
    square = left.T @ left + SHRINK * np.eye(left.shape[1])
    covariance: Float[np.ndarray, "axis axis"] = square / (len(left) + SHRINK)
    return covariance
