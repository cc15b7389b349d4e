"""Multinomial logistic regression for few labels: Newton's steps, and a ridge that the labels themselves ask for.

With tens of labels and tens of features everything is small matrices, and a fit takes milliseconds. The strength of the
ridge is that of the greatest evidence in Laplace's approximation (D. J. C. MacKay, Neural Computation 4, 720 (1992)),
so that no label has to be held out for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg.lapack import dposv

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
    width, classes = start.shape
    penalty = np.full(width, ridge)
    weights = start
    loss = _loss(design, target, counts, prior, penalty, weights)
    for _ in range(STEPS):
        chance = chances(prior + design @ weights)
        slope = design.T @ (counts[:, None] * (chance - target)) + penalty[:, None] * weights
        # straight to LAPACK: for matrices as small as these, what SciPy checks before takes longer than the work
        factor, step, failed = dposv(_hessian(design, chance, counts, penalty), slope.ravel(), lower=1)
        if failed:
            raise np.linalg.LinAlgError(f"the curvature of the loss is not positive in direction {failed}")
        step = step.reshape(width, classes)
        size = 1.0
        while size > 1e-4 and (lower := _loss(design, target, counts, prior, penalty, weights - size * step)) > loss:
            size *= 0.5
        if size <= 1e-4:
            break
        weights = weights - size * step
        gained, loss = loss - lower, lower
        if gained < 1e-9 * (1.0 + abs(loss)):
            break
    # the last step was so short that the curvature before it is that at the end
    volume = 0.5 * classes * float(np.sum(np.log(penalty))) - float(np.sum(np.log(np.diag(factor))))
    return Logistic(weights=weights, ridge=ridge, evidence=volume - loss)


def _loss(
    design: Float[np.ndarray, "row feature_1"],
    target: Float[np.ndarray, "row class"],
    counts: Float[np.ndarray, " row"],
    prior: Float[np.ndarray, "row class"],
    penalty: Float[np.ndarray, " feature_1"],
    weights: Float[np.ndarray, "feature_1 class"],
) -> float:
    """Return minus the logarithm of likelihood and prior, up to a constant."""
    logits = prior + design @ weights
    largest = logits.max(axis=1)
    unlikely = np.log(np.exp(logits - largest[:, None]).sum(axis=1)) + largest - np.sum(logits * target, axis=1)
    return float(counts @ unlikely) + 0.5 * float(np.sum(penalty[:, None] * weights**2))


@lru_cache(maxsize=8)
def _pairs(classes: int) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Return all pairs of classes, each once; kept, since every step asks for them."""
    first, second = np.triu_indices(classes)
    return first, second


def _hessian(
    design: Float[np.ndarray, "row feature_1"],
    chance: Float[np.ndarray, "row class"],
    counts: Float[np.ndarray, " row"],
    penalty: Float[np.ndarray, " feature_1"],
) -> Float[np.ndarray, "weight weight"]:
    """Return the second derivatives of the loss, classes within features."""
    width, classes = design.shape[1], chance.shape[1]
    first, second = _pairs(classes)
    curve = (counts * chance.T[first]) * ((first == second)[:, None] - chance.T[second])
    block = design.T @ (curve[:, :, None] * design)
    hessian = np.empty((width, classes, width, classes))
    hessian[:, first, :, second] = block
    hessian[:, second, :, first] = block
    flat = hessian.reshape(width * classes, width * classes)
    flat.ravel()[:: width * classes + 1] += np.repeat(penalty, classes)  # its diagonal
    return flat
