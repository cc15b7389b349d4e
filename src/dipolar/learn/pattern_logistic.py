"""Multinomial logistic regression for few labels: Newton's steps, and a ridge that the labels themselves ask for.

With tens of labels and tens of features everything is small matrices, and a fit takes milliseconds. The strength of the
ridge is that of the greatest evidence in Laplace's approximation (D. J. C. MacKay, Neural Computation 4, 720 (1992)),
so that no label has to be held out for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from dipolar.learn.logistic_kernels import newton

STEPS = 30
"""Newton steps at most; the loss is convex, and from zero ten are enough."""
STRENGTHS = tuple(float(10.0**power) for power in np.arange(-2.0, 4.01))
"""Ridges among which the evidence chooses, for features whose spread is about 1; the strongest leaves the prior logits
as they are."""

HOPELESS = 5.0
"""Loss of evidence after which weaker ridges are not tried."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Logistic:
    """Weights of a multinomial logistic regression, and how well the labels pin them down."""

    weights: Float[np.ndarray, "feature_1 class"]
    """Weight of every feature; the last row are the intercepts."""
    ridge: float
    """Strength of the ridge that was used."""
    evidence: float
    """Logarithm of the evidence of the labels under that ridge."""

    def logits(self, features: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row class"]:
        """Return what is added to the prior logits."""
        return features @ self.weights[:-1] + self.weights[-1]


def fit_logistic(
    features: Float[np.ndarray, "row feature"],
    label: Int[np.ndarray, " row"],
    classes: int,
    *,
    prior: Float[np.ndarray, "row class"] | None = None,
    weight: Float[np.ndarray, " row"] | None = None,
    ridge: float | None = None,
) -> Logistic:
    """Return the regression of greatest posterior probability.

    Parameters
    ----------
    features
        Of the labelled rows, with a spread of about 1.
    label
        Class of each row, 0 to `classes` - 1.
    classes
        Number of classes.
    prior
        Logits that are right if no label speaks against them: the ridge pulls towards them; None: 0.
    weight
        How much each row counts; None: all the same.
    ridge
        Strength of the ridge; None: the one of `STRENGTHS` with the greatest evidence.
    """
    rows, width = features.shape
    given = np.zeros((rows, classes)) if prior is None else prior
    design = np.concatenate([features, np.ones((rows, 1))], axis=1).astype(np.float64)
    counts = np.ones(rows) if weight is None else weight.astype(np.float64)
    target = np.zeros((rows, classes))
    target[np.arange(rows), label] = 1.0
    best: Logistic | None = None
    start = np.zeros((width + 1, classes))
    for strength in sorted(STRENGTHS, reverse=True) if ridge is None else (ridge,):
        found = _newton(design, target, counts, given, strength, start)
        start = found.weights  # from the stronger ridge to the next weaker one it is a short way
        if best is None or found.evidence > best.evidence:
            best = found
        elif best.evidence - found.evidence > HOPELESS:
            break
    assert best is not None
    return best


def chances(logits: Float[np.ndarray, "row class"]) -> Float[np.ndarray, "row class"]:
    """Return the probabilities that logits mean."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability: Float[np.ndarray, "row class"] = odds / odds.sum(axis=1, keepdims=True)
    return probability


def _newton(
    design: Float[np.ndarray, "row feature_1"],
    target: Float[np.ndarray, "row class"],
    counts: Float[np.ndarray, " row"],
    prior: Float[np.ndarray, "row class"],
    ridge: float,
    start: Float[np.ndarray, "feature_1 class"],
) -> Logistic:
    """Return the weights of least loss under one ridge, by damped Newton steps."""
    weights, loss, half_curved = newton(design, target, counts, prior, ridge, start, STEPS)
    volume = 0.5 * weights.size * float(np.log(ridge)) - half_curved
    return Logistic(weights=weights, ridge=ridge, evidence=volume - loss)
