"""Newton's steps of a multinomial logistic regression, compiled: calls of libraries cost more than these small sums.

The functions here carry no type annotations: they are compiled by numba from plain arrays.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def loss_of(design, target, counts, prior, ridge, weights, chance):
    """Return minus the logarithm of likelihood and prior, up to a constant, and fill the chance of each class."""
    logits = prior + design @ weights
    total = 0.0
    for row in range(len(logits)):
        largest = logits[row].max()
        odds, right = 0.0, 0.0
        for kind in range(logits.shape[1]):
            chance[row, kind] = np.exp(logits[row, kind] - largest)
            odds += chance[row, kind]
            right += logits[row, kind] * target[row, kind]
        total += counts[row] * (np.log(odds) + largest - right)
        for kind in range(logits.shape[1]):
            chance[row, kind] /= odds
    return total + 0.5 * ridge * np.sum(weights**2)


@njit(cache=True, nogil=True)
def curvature(design, chance, counts, ridge):
    """Return the second derivatives of the loss, classes within features."""
    width, classes = design.shape[1], chance.shape[1]
    found = np.zeros((width * classes, width * classes))
    for row in range(len(design)):
        for first in range(classes):
            for second in range(classes):
                bend = (1.0 if first == second else 0.0) - chance[row, second]
                bend *= counts[row] * chance[row, first]
                for m in range(width):
                    part = bend * design[row, m]
                    for n in range(m + 1):
                        found[m * classes + first, n * classes + second] += part * design[row, n]
    for m in range(width * classes):
        for n in range(m):
            found[n, m] = found[m, n]
        found[m, m] += ridge
    return found


@njit(cache=True, nogil=True)
def newton(design, target, counts, prior, ridge, start, steps):
    """Return weights of least loss, the loss, and half the logarithm of the determinant of its curvature there."""
    weights, half = start.copy(), 0.0
    chance = np.empty(prior.shape)
    tried = np.empty(prior.shape)
    loss = loss_of(design, target, counts, prior, ridge, weights, chance)
    for _ in range(steps):
        slope = np.zeros(weights.shape)
        for row in range(len(design)):
            for m in range(weights.shape[0]):
                for kind in range(weights.shape[1]):
                    slope[m, kind] += counts[row] * (chance[row, kind] - target[row, kind]) * design[row, m]
        slope += ridge * weights
        curved = curvature(design, chance, counts, ridge)
        # the last step is so short that the curvature before it is that at the end
        half = np.sum(np.log(np.diag(np.linalg.cholesky(curved))))
        step = np.linalg.solve(curved, slope.ravel()).reshape(weights.shape)
        size, lower = 1.0, loss_of(design, target, counts, prior, ridge, weights - step, tried)
        while lower > loss and size > 1e-4:
            size *= 0.5
            lower = loss_of(design, target, counts, prior, ridge, weights - size * step, tried)
        if size <= 1e-4:
            break
        weights = weights - size * step
        gained, loss = loss - lower, lower
        chance, tried = tried, chance
        if gained < 1e-9 * (1.0 + abs(loss)):
            break
    return weights, loss, half
