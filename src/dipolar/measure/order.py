"""Order parameters of single patterns, without a label: whether there are ghosts, and along which axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

from dipolar.core.scanning import Bank
from dipolar.measure.bank import kinds_of, ratio_sigma, ratios

CLASSES = ("horizontal", "vertical", "none")
"""What is told without labels: ghosts half way along the first lattice vector, along the second, or nowhere."""
ENOUGH = 64
"""Patterns from which it is learned which ghosts vary; with fewer, the weights of the bank are taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OrderParameters:
    """Ghosts of each pattern, relative to main disks."""

    strength: Float[np.ndarray, " pattern"]
    """Amplitude of any ghosts."""
    strength_sigma: Float[np.ndarray, " pattern"]
    """One standard error of it."""
    difference: Float[np.ndarray, " pattern"]
    """Amplitude of those half way along the first lattice vector minus of those along the second."""
    difference_sigma: Float[np.ndarray, " pattern"]
    """One standard error of it."""


def site_weights(
    counts: Float32[np.ndarray, "pattern site"], sigma: Float32[np.ndarray, "pattern site"], bank: Bank
) -> Float[np.ndarray, " site"]:
    """Return how much each ghost tells: how far it varies from pattern to pattern beyond its noise, over its variance.

    Constant light at a site, such as the rim of the direct disk, tells nothing and has no weight.
    """
    ghosts = ~bank.main
    singles = int(ghosts.sum())
    values, noise = ratios(counts, bank)[:, -singles:], ratio_sigma(counts, sigma, bank)[:, -singles:]
    known = np.isfinite(values).all(axis=1)
    values, noise = values[known].astype(np.float64), noise[known].astype(np.float64)
    variance = (noise**2).mean(axis=0)
    kind = kinds_of(bank)[ghosts]
    score = np.zeros(singles)
    for which in range(3):
        mine = np.flatnonzero(kind == which)
        if not len(mine):
            continue
        scaled = (values[:, mine] - values[:, mine].mean(axis=0)) / np.sqrt(np.maximum(variance[mine], 1e-30))
        score[mine] = _common(scaled)
    weight = np.zeros(len(bank.sites))
    weight[ghosts] = score / np.sqrt(np.maximum(variance, 1e-30))
    return weight


def _common(scaled: Float[np.ndarray, "pattern site"]) -> Float[np.ndarray, " site"]:
    """Return the amplitude with which sites rise and fall together, in units of their noise; 0 where they do not.

    The first principal component of what exceeds the noise: ghosts of one domain come and go together.
    """
    covariance = scaled.T @ scaled / max(1, len(scaled) - 1)
    values, vectors = np.linalg.eigh(covariance)
    # Pure noise has its largest eigenvalue at (1 + √(sites / patterns))² (Marchenko and Pastur 1967).
    edge = (1.0 + np.sqrt(scaled.shape[1] / max(1, len(scaled)))) ** 2
    if values[-1] < 1.1 * edge:
        return np.zeros(scaled.shape[1])
    first = vectors[:, -1] * np.sign(vectors[:, -1].sum())
    amplitude: Float[np.ndarray, " site"] = np.maximum(first, 0.0) * np.sqrt(values[-1])
    return amplitude


def order_parameters(
    counts: Float32[np.ndarray, "pattern site"], sigma: Float32[np.ndarray, "pattern site"], bank: Bank
) -> OrderParameters:
    """Return order parameters of all patterns of a scan, without labels.

    Ghosts of each kind are summed, each by how much it tells (`site_weights`), and divided by main disks. Horizontal and
    vertical are half way along the first and the second lattice vector; in a lattice whose ghosts lie half way along
    one of them and half way along both, the latter take the place of the missing one.

    Parameters
    ----------
    counts, sigma
        From `dipolar.measure.bank.counted`: the whole scan, or much of it.
    bank
        Whose they are.
    """
    ghosts = ~bank.main
    singles = int(ghosts.sum())
    values = ratios(counts, bank)[:, -singles:].astype(np.float64)
    noise = ratio_sigma(counts, sigma, bank)[:, -singles:].astype(np.float64)
    told = np.zeros(len(bank.sites))
    if len(counts) >= ENOUGH:
        told = site_weights(counts, sigma, bank)
    if not told.any():
        told = np.ones(len(bank.sites)) if bank.weight is None else bank.weight.astype(np.float64)
    kind, weight = kinds_of(bank)[ghosts], told[ghosts]
    amplitude, variance, clear = np.zeros((len(counts), 3)), np.zeros((len(counts), 3)), np.zeros(3)
    for which in range(3):
        mine = kind == which
        if weight[mine].sum() > 0:
            share = weight[mine] / weight[mine].sum()
            amplitude[:, which], variance[:, which] = values[:, mine] @ share, noise[:, mine] ** 2 @ share**2
            known = np.isfinite(amplitude[:, which])
            clear[which] = amplitude[known, which].var() / max(float(variance[known, which].mean()), 1e-30)
    # Three kinds of half positions, two kinds of domains: those that vary most against their noise.
    first, second = sorted(np.argsort(-clear, kind="stable")[:2])
    if second == 2 and first == 1:
        first, second = 2, 1
    return OrderParameters(
        strength=amplitude[:, first] + amplitude[:, second],
        strength_sigma=np.sqrt(variance[:, first] + variance[:, second]),
        difference=amplitude[:, first] - amplitude[:, second],
        difference_sigma=np.sqrt(variance[:, first] + variance[:, second]),
    )


def classes_without_labels(found: OrderParameters) -> Int64[np.ndarray, " pattern"]:
    """Return the class of each pattern, an index into `CLASSES`; -1 where nothing is known.

    Otsu's threshold on the stronger of both amplitudes tells none from the rest, the sign of the difference horizontal
    from vertical. Source: N. Otsu, IEEE Trans. Syst. Man Cybern. 9 (1979) 62.
    """
    stronger = (found.strength + np.abs(found.difference)) / 2.0
    known = np.isfinite(stronger)
    label = np.full(len(stronger), -1, dtype=np.int64)
    if not known.any():
        return label
    limit = otsu(stronger[known])
    label[known] = np.where(stronger[known] < limit, 2, np.where(found.difference[known] > 0, 0, 1))
    return label


def otsu(values: Float[np.ndarray, " value"]) -> float:
    """Return the threshold that parts values into two groups with the least scatter within them, exactly."""
    ordered = np.sort(values)
    count = len(ordered)
    if count < 2:
        return float(ordered[0])
    below = np.cumsum(ordered)[:-1]
    number = np.arange(1, count)
    between = number * (count - number) * (below / number - (ordered.sum() - below) / (count - number)) ** 2
    best = int(np.argmax(between))
    return float((ordered[best] + ordered[best + 1]) / 2.0)
