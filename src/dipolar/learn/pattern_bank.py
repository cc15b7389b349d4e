"""Few labels: logistic regression on a bank of virtual detectors, refitted in milliseconds.

All patterns of the scan say what moves at all (`dipolar.learn.pattern_basis`); labelled and unlabelled ones together,
where classes lie in it and how much of each a pattern holds (`pattern_classes`); and the labels, by how much what they
say differs from "the class that the pattern holds most of" (`pattern_logistic`). Ten labels are enough to begin, and
with more of them the regression follows whatever rule the labels obey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float32, Shaped
from scipy.special import softmax

from dipolar.learn.pattern_basis import Basis
from dipolar.learn.pattern_classes import SLOPE, Classes, Weighing, dose_step
from dipolar.learn.patterns import AbstractPatternClassifier, Answers, Kind, Wants, answers_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BankMember:
    """One regression."""

    classes: Classes
    """Where classes lie."""
    weights: Float[np.ndarray, "feature_1 class"]
    """What is added to the logits of the shares: weights of shares and scores, and intercepts."""
    softness: float
    """What the logits of the shares are divided by before."""

    def logits(
        self, scores: Float[np.ndarray, "pattern axis"], weighing: Weighing, largest: float
    ) -> Float[np.ndarray, "pattern class"]:
        """Return logits before they are calibrated.

        Parameters
        ----------
        scores
            Along the axes of the basis.
        weighing
            Of the dose.
        largest
            Spread along the strongest axis, which scores are counted in.
        """
        shares = self.classes.shares(scores, weighing)
        seen = regressors(shares, scores, largest)
        slope = SLOPE * weighing.separation / self.softness
        return slope * shares + seen @ self.weights[:-1] + self.weights[-1]


def regressors(
    shares: Float[np.ndarray, "pattern class"], scores: Float[np.ndarray, "pattern axis"], largest: float
) -> Float[np.ndarray, "pattern regressor"]:
    """Return what the regression sees: shares, and scores over the largest spread, so that both are about 1."""
    return np.concatenate([shares, scores / largest], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BankClassifier(AbstractPatternClassifier):
    """Logistic regression on virtual detectors."""

    kind: ClassVar[Kind] = "bank"
    wants: ClassVar[Wants] = "bank"

    basis: Basis
    """What moves in the features."""
    ensemble: tuple[BankMember, ...]
    """The first is of all labels, the others of labels drawn from them with replacement."""
    temperature: float
    """What logits are divided by, so that probabilities hold on labels held out."""
    limits: tuple[float, float]
    """Distance from all mixtures of the classes, and mean square of what is left over by the axes at the dose of the
    training, from which on a pattern is of no known class."""

    def answers(self, inputs: Shaped[np.ndarray, "pattern *seen"], counts: Shaped[np.ndarray, " pattern"]) -> Answers:
        """Return everything it says of patterns.

        Parameters
        ----------
        inputs
            Features of the bank, shape (pattern, feature).
        counts
            Sum of each pattern.
        """
        scores, over = self.basis.scores(inputs)
        size = (len(scores), len(self.names))
        probability, mixture = np.full(size, np.nan), np.full(size, np.nan)
        unfamiliar = np.full(len(scores), np.nan)
        doses = dose_step(counts.astype(np.float64), self.basis.counts)
        seen = np.isfinite(scores).all(axis=1)
        for dose in np.unique(doses[seen]):
            rows = np.flatnonzero(seen & (doses == dose))
            probability[rows] = self._chances(scores[rows], float(dose)).mean(axis=0)
            first = self.ensemble[0].classes
            weighing = first.weighing(float(dose))
            mixture[rows], away = first.within_simplex(scores[rows], weighing)
            # what noise leaves over grows as one over the dose, what patterns differ by does not
            usual = self.limits[1] * max(1.0 / float(dose), 1.0)
            unfamiliar[rows] = np.maximum(away / self.limits[0], np.sqrt(over[rows] / usual))
        return answers_of(probability, mixture, self.share_sigma(counts), unfamiliar, counts, self.dose)

    def members(
        self, inputs: Shaped[np.ndarray, "pattern *seen"], counts: Shaped[np.ndarray, " pattern"]
    ) -> Float32[np.ndarray, "member pattern class"]:
        """Return the probabilities of each member."""
        scores, _ = self.basis.scores(inputs)
        found = np.full((len(self.ensemble), len(scores), len(self.names)), np.nan, dtype=np.float32)
        doses = dose_step(counts.astype(np.float64), self.basis.counts)
        seen = np.isfinite(scores).all(axis=1)
        for dose in np.unique(doses[seen]):
            rows = np.flatnonzero(seen & (doses == dose))
            found[:, rows] = self._chances(scores[rows], float(dose))
        return found

    def share_sigma(self, counts: Shaped[np.ndarray, " pattern"]) -> Float[np.ndarray, " pattern"]:
        """Return one standard error of the shares of each pattern."""
        doses = dose_step(counts.astype(np.float64), self.basis.counts)
        sigma = np.empty(len(doses))
        for dose in np.unique(doses):
            sigma[doses == dose] = 1.0 / self.ensemble[0].classes.weighing(float(dose)).separation
        return sigma

    def _chances(
        self, scores: Float[np.ndarray, "pattern axis"], dose: float
    ) -> Float[np.ndarray, "member pattern class"]:
        """Return the calibrated probabilities of each member at one dose."""
        largest = float(self.basis.spread[0])
        logits = [m.logits(scores, m.classes.weighing(dose), largest) for m in self.ensemble]
        chances: Float[np.ndarray, "member pattern class"] = softmax(np.stack(logits) / self.temperature, axis=2)
        return chances
