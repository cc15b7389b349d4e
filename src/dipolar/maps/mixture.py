"""A mixture of normal distributions under every cell's own noise: where displacements rest, and how many places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32
from scipy.spatial import cKDTree

MOST_STEPS = 60
"""Steps of expectation and maximisation; the likelihood rests long before, or components are being split in vain."""
REST = 1e-4
"""Gain of the log-likelihood per cell below which it rests."""
OUTLIERS = 0.02
"""Share of cells that belong to no component: their density is that of the whole cloud, three times as wide."""
MOST_LEFT = 500
"""Cells that no component explains, to look among for another one."""
FEWEST = 12
"""Cells, in share of one component's weight, below which it explains nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """Components in the plane of displacements, without the cells' noise."""

    weight: Float[np.ndarray, " component"]
    """Share of the cells."""
    mean_px: Float[np.ndarray, "component 2"]
    """Centre (dy, dx)."""
    spread_px2: Float[np.ndarray, "component 2 2"]
    """Covariance."""
    outlier_mean_px: Float[np.ndarray, "2"]
    """Centre of the whole cloud."""
    outlier_spread_px2: Float[np.ndarray, "2 2"]
    """Covariance of the density of outliers."""


def densities(
    values: Float[np.ndarray, "cell 2"],
    covariance: Float[np.ndarray, "cell 2 2"],
    mean: Float[np.ndarray, "component 2"],
    spread: Float[np.ndarray, "component 2 2"],
) -> tuple[Float[np.ndarray, "cell component"], Float[np.ndarray, "cell component 2 2"]]:
    """Return the log density of each cell in each component, its own covariance added, and the inverse of the sum."""
    total = covariance[:, None] + spread
    yy, xx, yx = total[..., 0, 0], total[..., 1, 1], total[..., 0, 1]
    determinant = np.maximum(yy * xx - yx**2, 1e-300)
    inverse = np.empty_like(total)
    inverse[..., 0, 0], inverse[..., 1, 1] = xx / determinant, yy / determinant
    inverse[..., 0, 1] = inverse[..., 1, 0] = -yx / determinant
    off = values[:, None] - mean
    distance = inverse[..., 0, 0] * off[..., 0] ** 2 + inverse[..., 1, 1] * off[..., 1] ** 2
    distance += 2.0 * inverse[..., 0, 1] * off[..., 0] * off[..., 1]
    return -0.5 * (distance + np.log(determinant)) - np.log(2.0 * np.pi), inverse


def component_log_density(
    mixture: Mixture, values: Float[np.ndarray, "cell 2"], covariance: Float[np.ndarray, "cell 2 2"]
) -> tuple[Float[np.ndarray, "cell component"], Float[np.ndarray, " cell"]]:
    """Return log (weight · density) of each component, and of the outliers."""
    inside, _ = densities(values, covariance, mixture.mean_px, mixture.spread_px2)
    outside, _ = densities(values, covariance, mixture.outlier_mean_px[None], mixture.outlier_spread_px2[None])
    return inside + np.log(np.maximum(mixture.weight, 1e-300)), outside[:, 0] + np.log(OUTLIERS)


def best_mixture(
    values: Float[np.ndarray, "cell 2"],
    covariance: Float[np.ndarray, "cell 2 2"],
    *,
    most: int,
    directions: Float[np.ndarray, "direction 2"] | None = None,
    worth: float = 1.0,
) -> Mixture:
    """Return the mixture with the best Bayesian information criterion, of one to `most` components.

    Expectation and maximisation with the noise of every cell taken off: J. Bovy, D. W. Hogg, S. T. Roweis,
    Ann. Appl. Stat. 5, 1657 (2011). Each number of components starts from the one before, with its widest component
    split or one more where outliers lie densest. Where directions are given, there is one component along each and one
    at zero.

    Parameters
    ----------
    values
        Displacements (dy, dx); at least one.
    covariance
        Covariance of each.
    most
        Greatest number of components to try.
    directions
        Unit vectors (dy, dx) to which the components are bound.
    worth
        How many independent values each is worth: less than one where they overlap.
    """
    count = worth * len(values)
    centre, cloud = values.mean(axis=0), np.cov(values.T) if len(values) > 2 else np.zeros((2, 2))
    # no component gets narrower than cells can tell, or numbers can hold
    floor = max(5e-4 * float(np.median(np.trace(covariance, axis1=1, axis2=2))), 1e-8 * float(np.trace(cloud)))
    cloud = cloud + floor * np.eye(2)
    start = Mixture(
        weight=np.array([1.0 - OUTLIERS]),
        mean_px=centre[None],
        spread_px2=cloud[None],
        outlier_mean_px=centre,
        outlier_spread_px2=9.0 * (cloud + np.median(covariance, axis=0)),
    )
    if directions is not None:
        return _climb(_along(start, values, directions), values, covariance, floor, directions)[0]
    best, likelihood = _climb(start, values, covariance, floor, None)
    lowest, tried, failed = _criterion(best, worth * likelihood, count), best, 0
    while len(tried.weight) < most and failed < 2 and count >= FEWEST * (len(tried.weight) + 1):
        tried, likelihood = max(
            (
                _climb(start, values, covariance, floor, None)
                for start in [*_splits(tried), *_newcomer(tried, values, covariance)]
            ),
            key=lambda found: found[1],
        )
        criterion = _criterion(tried, worth * likelihood, count)
        failed += 1
        if criterion < lowest and tried.weight.min() * count >= FEWEST:
            best, lowest, failed = tried, criterion, 0
    return best


def _criterion(mixture: Mixture, likelihood: float, count: float) -> float:
    """Return the Bayesian information criterion: each component has a weight, a mean and a covariance."""
    return -2.0 * likelihood + (6 * len(mixture.weight) - 1) * float(np.log(count))


def _splits(mixture: Mixture) -> list[Mixture]:
    """Return the mixture with one component more: the widest, and the heaviest, split along their longer axis."""
    size = np.trace(mixture.spread_px2, axis1=1, axis2=2)
    found = []
    for worst in sorted({int(np.argmax(size)), int(np.argmax(size * mixture.weight)), int(np.argmax(mixture.weight))}):
        values, axes = np.linalg.eigh(mixture.spread_px2[worst])
        step = np.sqrt(2.0 / np.pi * values[1]) * axes[:, 1]  # the means of both halves of a normal distribution
        mean = np.concatenate([mixture.mean_px, mixture.mean_px[worst][None] + step])
        mean[worst] -= step
        spread = np.concatenate([mixture.spread_px2, mixture.spread_px2[worst][None]])
        spread[[worst, -1]] = mixture.spread_px2[worst] - np.outer(step, step)
        weight = np.append(mixture.weight, mixture.weight[worst] / 2.0)
        weight[worst] /= 2.0
        found.append(_with(mixture, weight, mean, spread))
    return found


def _newcomer(
    mixture: Mixture, values: Float[np.ndarray, "cell 2"], covariance: Float[np.ndarray, "cell 2 2"]
) -> list[Mixture]:
    """Return the mixture with one component more where what no component explains lies densest; none where too few."""
    weighted, outside = component_log_density(mixture, values, covariance)
    left = np.flatnonzero(outside > np.logaddexp.reduce(weighted, axis=1))[:MOST_LEFT]
    if len(left) < FEWEST:
        return []
    tree = cKDTree(values[left])
    noise = float(np.sqrt(np.median(np.trace(covariance[left], axis1=1, axis2=2)) / 2.0))
    near = max(tree.query_ball_point(values[left], 3.0 * noise), key=len)
    weight = 0.5 * len(near) / len(values)
    return [
        _with(
            mixture,
            np.append(mixture.weight * (1.0 - weight), weight),
            np.concatenate([mixture.mean_px, values[left[near]].mean(axis=0)[None]]),
            np.concatenate([mixture.spread_px2, (noise**2 * np.eye(2))[None]]),
        )
    ]


def _with(
    mixture: Mixture,
    weight: Float[np.ndarray, " component"],
    mean: Float[np.ndarray, "component 2"],
    spread: Float[np.ndarray, "component 2 2"],
) -> Mixture:
    return Mixture(
        weight=weight,
        mean_px=mean,
        spread_px2=spread,
        outlier_mean_px=mixture.outlier_mean_px,
        outlier_spread_px2=mixture.outlier_spread_px2,
    )


def _along(
    start: Mixture, values: Float[np.ndarray, "cell 2"], directions: Float[np.ndarray, "direction 2"]
) -> Mixture:
    """Return a component at the usual length along every direction, and one at zero."""
    length = float(np.median(np.linalg.norm(values, axis=1)))
    mean = np.concatenate([length * directions, np.zeros((1, 2))])
    count = len(mean)
    spread = np.tile(0.05 * length**2 * np.eye(2) + 1e-12 * np.eye(2), (count, 1, 1))
    return _with(start, np.full(count, (1.0 - OUTLIERS) / count), mean, spread)


def _climb(
    mixture: Mixture,
    values: Float[np.ndarray, "cell 2"],
    covariance: Float[np.ndarray, "cell 2 2"],
    floor: float,
    directions: Float[np.ndarray, "direction 2"] | None,
) -> tuple[Mixture, float]:
    """Return the mixture at rest and its log-likelihood."""
    before = -np.inf
    for _ in range(MOST_STEPS):
        weighted, outside = component_log_density(mixture, values, covariance)
        whole = np.logaddexp(np.logaddexp.reduce(weighted, axis=1), outside)
        likelihood = float(whole.sum())
        if likelihood - before < REST * len(values):
            break
        before = likelihood
        mixture = _step(mixture, values, covariance, np.exp(weighted - whole[:, None]), floor, directions)
    return mixture, likelihood


def _step(
    mixture: Mixture,
    values: Float[np.ndarray, "cell 2"],
    covariance: Float[np.ndarray, "cell 2 2"],
    share: Float[np.ndarray, "cell component"],
    floor: float,
    directions: Float[np.ndarray, "direction 2"] | None,
) -> Mixture:
    """Return weights, means and covariances from the expected displacement of each cell in each component."""
    _, inverse = densities(values, covariance, mixture.mean_px, mixture.spread_px2)
    gain = mixture.spread_px2 @ inverse  # (cell, component, 2, 2)
    expected = mixture.mean_px + np.einsum("nkij,nkj->nki", gain, values[:, None] - mixture.mean_px)
    left = mixture.spread_px2 - gain @ mixture.spread_px2
    total = np.maximum(share.sum(axis=0), 1e-12)
    mean = np.einsum("nk,nki->ki", share, expected) / total[:, None]
    if directions is not None:
        length = np.maximum(np.sum(mean[:-1] * directions, axis=1), 0.0)
        mean = np.concatenate([length[:, None] * directions, np.zeros((1, 2))])
    off = expected - mean
    spread = np.einsum("nk,nki,nkj->kij", share, off, off) + np.einsum("nk,nkij->kij", share, left)
    spread = spread / total[:, None, None] + floor * np.eye(2)
    return _with(mixture, (1.0 - OUTLIERS) * total / total.sum(), mean, spread)


def groups(
    mixture: Mixture,
    *,
    floor_px: float,
    least_turn_deg: float,
    noise_px2: Float[np.ndarray, "2 2"],
) -> Int32[np.ndarray, " component"]:
    """Return which components make up one direction.

    Joined are components that are not polar (shorter than `floor_px`), those that turn by less than `least_turn_deg`,
    and those less than 60° apart with no valley between them: two normal distributions are told apart where their
    means differ by two standard deviations. Source: C. Hennig, Adv. Data Anal. Classif. 4, 3 (2010).

    Parameters
    ----------
    mixture
        The components.
    floor_px
        Displacements up to this length are not told from none.
    least_turn_deg
        Directions nearer than this are alike.
    noise_px2
        Covariance of a cell's displacement where its neighbours help, added to the spread of the components.
    """
    count = len(mixture.weight)
    group = np.arange(count, dtype=np.int32)
    weight, mean = mixture.weight.copy(), mixture.mean_px.copy()
    spread = mixture.spread_px2 + noise_px2
    while True:
        pairs = [(i, j) for i in np.unique(group).tolist() for j in np.unique(group).tolist() if i < j]
        alike = [(i, j) for i, j in pairs if _alike(mean[[i, j]], spread[[i, j]], floor_px, least_turn_deg)]
        if not alike:
            _, joined = np.unique(group, return_inverse=True)
            return joined.reshape(-1).astype(np.int32)
        i, j = min(alike, key=lambda pair: float(np.linalg.norm(mean[pair[0]] - mean[pair[1]])))
        share = weight[j] / (weight[i] + weight[j])
        apart = mean[j] - mean[i]
        spread[i] = (1 - share) * spread[i] + share * spread[j] + share * (1 - share) * np.outer(apart, apart)
        mean[i] = mean[i] + share * apart
        weight[i] += weight[j]
        group[group == j] = i


def _alike(
    mean: Float[np.ndarray, "2 2"], spread: Float[np.ndarray, "2 2 2"], floor_px: float, least_turn_deg: float
) -> bool:
    length = np.linalg.norm(mean, axis=1)
    if (length <= floor_px).any():
        return bool((length <= floor_px).all())
    turn = float(np.degrees(np.arccos(np.clip(mean[0] @ mean[1] / length.prod(), -1.0, 1.0))))
    if turn < least_turn_deg:
        return True
    apart = mean[1] - mean[0]
    along = apart / np.linalg.norm(apart)
    widths = np.sqrt(np.einsum("i,kij,j->k", along, spread, along))
    return turn < 60.0 and bool(np.linalg.norm(apart) < widths.sum())
