"""Order parameters of single patterns, without a label: whether there are ghosts, and along which axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

from dipolar.core.scanning import Bank
from dipolar.measure.bank import in_pairs, kinds_of, main_level, ratio_sigma, ratios

CLASSES = ("horizontal", "vertical", "none")
"""What is told without labels: ghosts half way along the first lattice vector, along the second, or nowhere."""
ENOUGH = 64
"""Patterns from which it is learned which ghosts vary; with fewer, the weights of the bank are taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OrderWeights:
    """How ghosts are summed into order parameters; found once from a sample of a scan, then the same for all of it."""

    weight: Float32[np.ndarray, "site 2"]
    """Of each virtual detector in the amplitude of ghosts half way along the first and along the second lattice vector;
    each column adds up to 1, or is 0 where there are no such ghosts."""
    varies: bool
    """Whether ghosts come and go from pattern to pattern beyond their noise; if not, the weights are those of the
    bank."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OrderParameters:
    """Ghosts of each pattern, relative to main disks."""

    amplitude: Float[np.ndarray, "pattern 2"]
    """Of ghosts half way along the first and along the second lattice vector; nan without main disks."""
    amplitude_sigma: Float[np.ndarray, "pattern 2"]
    """One standard error of both, that of counted electrons."""

    @property
    def strength(self) -> Float[np.ndarray, " pattern"]:
        """Amplitude of any ghosts."""
        return self.amplitude.sum(axis=1)

    @property
    def strength_sigma(self) -> Float[np.ndarray, " pattern"]:
        """One standard error of it."""
        return np.hypot(self.amplitude_sigma[:, 0], self.amplitude_sigma[:, 1])

    @property
    def difference(self) -> Float[np.ndarray, " pattern"]:
        """Amplitude of those half way along the first lattice vector minus of those along the second."""
        return self.amplitude[:, 0] - self.amplitude[:, 1]

    @property
    def difference_sigma(self) -> Float[np.ndarray, " pattern"]:
        """One standard error of it."""
        return self.strength_sigma


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


def order_weights(
    counts: Float32[np.ndarray, "pattern site"], sigma: Float32[np.ndarray, "pattern site"], bank: Bank
) -> OrderWeights:
    """Return how ghosts are summed: each by how much it tells (`site_weights`), or as the bank says where none does.

    Horizontal and vertical are half way along the first and second lattice vector; in a lattice whose ghosts lie half
    way along one of them and half way along both, the latter take the place of the missing one.

    Parameters
    ----------
    counts, sigma
        From `dipolar.measure.bank.counted`: the whole scan, or an even sample of it.
    bank
        Whose they are.
    """
    told = site_weights(counts, sigma, bank) if len(counts) >= ENOUGH else np.zeros(len(bank.sites))
    varies = bool(told.any())
    if not varies:
        told = np.ones(len(bank.sites)) if bank.weight is None else bank.weight.astype(np.float64)
    kind, each, clear = kinds_of(bank), np.zeros((len(bank.sites), 3), dtype=np.float32), np.zeros(3)
    for which in range(3):
        mine = kind == which
        if told[mine].sum() > 0:
            each[mine, which] = told[mine] / told[mine].sum()
    amplitude, noise = _summed(counts, sigma, bank, each)
    known = np.isfinite(amplitude).all(axis=1)
    if known.any():
        clear = amplitude[known].var(axis=0) / np.maximum((noise[known] ** 2).mean(axis=0), 1e-30)
    # Three kinds of half positions, two kinds of domains: those that vary most against their noise.
    first, second = sorted(np.argsort(-clear, kind="stable")[:2])
    if second == 2 and first == 1:
        first, second = 2, 1
    return OrderWeights(weight=np.ascontiguousarray(each[:, [first, second]]), varies=varies)


def order_parameters(
    counts: Float32[np.ndarray, "pattern site"],
    sigma: Float32[np.ndarray, "pattern site"],
    bank: Bank,
    weights: OrderWeights | None = None,
) -> OrderParameters:
    """Return order parameters of patterns, without labels: sums of ghosts of each kind, divided by main disks.

    Parameters
    ----------
    counts, sigma
        From `dipolar.measure.bank.counted`.
    bank
        Whose they are.
    weights
        How ghosts are summed; None: as these patterns tell, which should then be the whole scan, or much of it.
    """
    weights = order_weights(counts, sigma, bank) if weights is None else weights
    amplitude, noise = _summed(counts, sigma, bank, weights.weight)
    return OrderParameters(amplitude=amplitude, amplitude_sigma=noise)


def _summed(
    counts: Float32[np.ndarray, "pattern site"],
    sigma: Float32[np.ndarray, "pattern site"],
    bank: Bank,
    weight: Float32[np.ndarray, "site kind"],
) -> tuple[Float[np.ndarray, "pattern kind"], Float[np.ndarray, "pattern kind"]]:
    """Return weighted sums over main disks, and their standard errors; that of the main disks is far smaller."""
    level = main_level(counts, bank)[:, None]
    amplitude = (in_pairs(counts, bank) @ weight) / level
    return amplitude, np.sqrt(in_pairs(sigma, bank) ** 2 @ weight**2) / level


def classes_without_labels(found: OrderParameters) -> Int64[np.ndarray, " pattern"]:
    """Return the class of each pattern, an index into `CLASSES`; -1 where nothing is known.

    Below `threshold` in both amplitudes it is none, else what the stronger one says.
    """
    label = np.full(len(found.amplitude), -1, dtype=np.int64)
    known = np.isfinite(found.amplitude).all(axis=1)
    if known.any():
        amplitude = found.amplitude[known]
        label[known] = np.where(amplitude.max(axis=1) < threshold(found), 2, np.argmax(amplitude, axis=1))
    return label


def threshold(found: OrderParameters) -> float:
    """Return the amplitude that parts ghosts that are there from those that are not, by Otsu's rule.

    Both amplitudes of all patterns are taken together: the ghosts of one domain are missing in the other, so that both
    groups are there even where no pattern is without any. Source: N. Otsu, IEEE Trans. Syst. Man Cybern. 9 (1979) 62.
    """
    values = found.amplitude[np.isfinite(found.amplitude).all(axis=1)]
    used = values[:, values.any(axis=0)]  # a kind that no virtual detector sees is 0 everywhere
    return otsu(used.ravel()) if used.size else 0.0


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
