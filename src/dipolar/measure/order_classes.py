"""Classes of single patterns without a label: what a sample of a scan teaches, and how probable each class then is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Shaped

from dipolar.core.scanning import Bank
from dipolar.measure.order import OrderParameters, OrderWeights, order_parameters, order_weights, threshold

DOSE_QUANTILES = (0.01, 0.99)
"""Of the counts of the sample: between them a dose is usual."""
TO_SIGMA = 1.4826
"""Standard deviation of normal errors over the median of their absolute values."""
APART = 2.5
"""Standard deviations between the amplitudes of ghosts that are there and those that are not, at least: Otsu's rule
parts a single group too, into halves 1.7 apart."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearnedOrder:
    """What a sample of a scan teaches about its ghosts; amplitudes as in `OrderParameters`."""

    weights: OrderWeights
    """How ghosts are summed."""
    limit: float
    """Amplitude from which on ghosts are there."""
    absent: Float[np.ndarray, " 2"]
    """Median amplitude of both kinds of ghosts where they are not there."""
    present: Float[np.ndarray, " 2"]
    """Median amplitude where they are; nan for a kind that no pattern has."""
    scatter: Float[np.ndarray, " 2"]
    """Standard deviation between patterns that do not have such ghosts, beyond that of counted electrons."""
    sigma: Float[np.ndarray, " 2"]
    """Median standard error of counted electrons in the sample."""
    counts: tuple[float, float]
    """Least and greatest usual counts of a pattern."""
    patterns: int
    """How many patterns it was learned from."""

    @property
    def apart(self) -> float:
        """How many standard deviations lie between ghosts that are there and ghosts that are not: of the kind that is
        told best; 0 where nothing is told.
        """
        width = np.maximum(np.hypot(self.scatter, self.sigma), 1e-12)
        return float(np.max(np.nan_to_num((self.present - self.absent) / width), initial=0.0))


def learn_order(
    counts: Float32[np.ndarray, "pattern site"],
    sigma: Float32[np.ndarray, "pattern site"],
    totals: Shaped[np.ndarray, " pattern"],
    bank: Bank,
) -> LearnedOrder:
    """Return what an even sample of a scan teaches about its ghosts.

    Parameters
    ----------
    counts, sigma
        From `dipolar.measure.bank.counted`.
    totals
        Sum of each pattern.
    bank
        The virtual detectors.
    """
    weights = order_weights(counts, sigma, bank)
    found = order_parameters(counts, sigma, bank, weights)
    known = np.isfinite(found.amplitude).all(axis=1)
    amplitude, noise = found.amplitude[known], found.amplitude_sigma[known]
    limit = threshold(found)
    there = (amplitude >= limit) & (amplitude == amplitude.max(axis=1, keepdims=True))
    nothing = np.full(2, np.nan)
    absent, present, scatter = nothing.copy(), nothing.copy(), np.zeros(2)
    for kind in range(2):
        have, lack = amplitude[there[:, kind], kind], amplitude[~there[:, kind], kind]
        present[kind] = np.median(have) if len(have) else np.nan
        absent[kind] = np.median(lack) if len(lack) else np.nan
        if len(lack):
            whole = TO_SIGMA * float(np.median(np.abs(lack - absent[kind])))
            scatter[kind] = np.sqrt(max(whole**2 - float(np.mean(noise[~there[:, kind], kind] ** 2)), 0.0))
    low, high = np.quantile(totals[known], DOSE_QUANTILES) if known.any() else (0.0, np.inf)
    return LearnedOrder(
        weights=weights,
        limit=limit,
        absent=absent,
        present=present,
        scatter=scatter,
        sigma=np.median(noise, axis=0) if known.any() else nothing,
        counts=(float(low), float(high)),
        patterns=int(known.sum()),
    )


def chances_without_labels(found: OrderParameters, learned: LearnedOrder) -> Float[np.ndarray, "pattern 3"]:
    """Return how probable each of `CLASSES` is; nan where nothing is known.

    Errors of both amplitudes are taken to be normal and independent, each of counted electrons and of the scatter
    between patterns together. None is probable as both true amplitudes lie below the threshold; the rest falls to
    horizontal as the true difference is above zero. No label has shown whether patterns are right as often: where
    classes differ by more than their ghosts, they are not.

    Parameters
    ----------
    found
        Order parameters of the patterns.
    learned
        From a sample of the same scan.
    """
    width = np.maximum(np.hypot(found.amplitude_sigma, learned.scatter), 1e-12)
    none = _below((found.amplitude - learned.limit) / width).prod(axis=1)
    first = _below(-found.difference / np.hypot(width[:, 0], width[:, 1]))
    return np.stack([(1.0 - none) * first, (1.0 - none) * (1.0 - first), none], axis=1)


def shares_without_labels(
    found: OrderParameters, learned: LearnedOrder
) -> tuple[Float[np.ndarray, "pattern 3"], Float[np.ndarray, " pattern"]]:
    """Return the share of each of `CLASSES` in each pattern, and one standard error; nan where nothing is known.

    The amplitude on the way from where such ghosts are not there to where they are; what is left is none.

    Parameters
    ----------
    found
        Order parameters of the patterns.
    learned
        From a sample of the same scan.
    """
    whole = np.where(learned.present > learned.absent, learned.present - learned.absent, np.inf)
    share = np.clip((found.amplitude - np.nan_to_num(learned.absent)) / whole, 0.0, 1.0)
    share = share / np.maximum(share.sum(axis=1, keepdims=True), 1.0)
    sigma = (np.hypot(found.amplitude_sigma, learned.scatter) / whole).max(axis=1)
    return np.concatenate([share, 1.0 - share.sum(axis=1, keepdims=True)], axis=1), sigma


def _below(deviation: Float[np.ndarray, "*pattern"]) -> Float[np.ndarray, "*pattern"]:
    """Return the probability that what was measured so many standard deviations above a limit is below it."""
    from scipy.special import ndtr

    chance: Float[np.ndarray, "*pattern"] = ndtr(-deviation)
    return chance
