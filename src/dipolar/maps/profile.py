"""The posterior of a wall's width and place, given the displacements of the cells beside it.

The model is ``d(x) = (d2 + d1)/2 + (d2 - d1)/2 · tanh((x - x0)/ξ)``. For every (x0, ξ) on a grid it is linear in d1 and
d2, which are integrated out; what remains is a density over (x0, ξ), from which medians and intervals follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int32
from scipy.optimize import brentq

from dipolar.core.domains import Profile
from dipolar.maps.shared import Shared, whitening

NARROWEST, WIDEST = 0.05, 8.0
"""Range of ξ in edges of the cell. The prior is even in log ξ between them: no scale is preferred."""
OPEN = 0.1
"""ξ in edges of the cell below which cells cannot tell a wall from a step."""
QUANTILES = np.array([0.16, 0.50, 0.84])
DEEP = 12.0
"""Log of the density, below its maximum, at which a finer grid ends."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Across:
    """The cells beside a wall, ready to be fitted."""

    distance_px: Float[np.ndarray, " cell"]
    """Distance from the curve, to the side of the second domain."""
    component_px: Float[np.ndarray, " cell"]
    """Displacement along the difference of the domains."""
    variance_px2: Float[np.ndarray, " cell"]
    """Variance of that."""
    corners_px: Float[np.ndarray, "cell 4"]
    """Distance of the four corners from the curve minus that of the cell."""
    line: Int32[np.ndarray, " cell"]
    """Number of the scan line the cell lies on."""
    shared: Shared
    """What the errors of the cells have in common."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prior:
    """What is known before."""

    before_px: float
    """d1 as the mean of the first domain says."""
    after_px: float
    """d2 as that of the second says."""
    spread_px: float
    """Standard deviation of both about these: half their difference, which is far more than the cells leave open."""
    edge_px: float
    """Edge of the cell."""
    corner_share: float = 0.0
    """Share of the displacement that the corner columns carry through the wall, and not the central one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posterior:
    """Density over place and width, on a grid, and the normal distribution of both sides at each point."""

    position_px: Float[np.ndarray, " place"]
    """Values of x0."""
    width_px: Float[np.ndarray, " width"]
    """Values of ξ, evenly spaced in their logarithm."""
    density: Float[np.ndarray, "width place"]
    """Probability of each grid point; they sum to 1."""
    mean_px: Float[np.ndarray, "width place 2"]
    """Mean of (d1, d2)."""
    covariance_px2: Float[np.ndarray, "width place 2 2"]
    """Their covariance."""


def steepness(
    across: Across, prior: Prior, position_px: Float[np.ndarray, " grid"], width_px: Float[np.ndarray, " grid"]
) -> Float[np.ndarray, "grid cell"]:
    """Return the share, -1 to 1, of the way from d1 to d2 at each cell for pairs of (x0, ξ).

    A cell's displacement is its central column against its four corners. Where only the central column moves, it
    samples the profile at one point; what the corners carry is averaged over the cell.
    """
    share = prior.corner_share
    off = across.distance_px - position_px[:, None]
    found = (1.0 - share) * np.tanh(off / width_px[:, None]) if share < 1 else np.zeros_like(off)
    if share > 0:
        for corner in across.corners_px.T:
            found += 0.25 * share * np.tanh((off + corner) / width_px[:, None])
    return found


def evaluate(
    across: Across,
    prior: Prior,
    position_px: Float[np.ndarray, " place"],
    width_px: Float[np.ndarray, " width"],
    extra: Float[np.ndarray, " width"],
) -> tuple[Float[np.ndarray, "width place"], Float[np.ndarray, "width place 2"], Float[np.ndarray, "width place 2 2"]]:
    """Return the log density over (ξ, x0) with d1 and d2 integrated out, and their mean and covariance at each point.

    With W the inverse covariance of the cells and ``A = [(1 - t)/2, (1 + t)/2]``, ``Λ = AᵀWA + 1/s²`` and
    ``b = AᵀWd + m/s²`` the log density is ``½ bᵀΛ⁻¹b - ½ log|Λ|`` (C. M. Bishop, Pattern Recognition and Machine
    Learning, section 3.3). What cells share is in W: all sums of products are those of whitened values.

    Parameters
    ----------
    across, prior
        The cells and what is known before.
    position_px, width_px
        The grid.
    extra
        Log of what else depends on ξ: the prior, and the shape of the wall where that was fitted.
    """
    centre = 0.5 * (prior.before_px + prior.after_px)
    white = whitening(across.variance_px2, across.shared)
    one, value = white(np.stack([np.ones_like(across.component_px), across.component_px - centre]))
    shape = (len(width_px), len(position_px))
    t, td, tt = np.empty((3, *shape))
    for row, width in enumerate(width_px):
        share = white(steepness(across, prior, position_px, np.full(len(position_px), width)))
        t[row], td[row], tt[row] = share @ one, share @ value, np.sum(share**2, axis=1)
    all_weight, all_value = float(one @ one), float(one @ value)
    loose = 1.0 / prior.spread_px**2
    precision = np.empty((*shape, 2, 2))
    precision[..., 0, 0] = 0.25 * (all_weight - 2.0 * t + tt) + loose
    precision[..., 1, 1] = 0.25 * (all_weight + 2.0 * t + tt) + loose
    precision[..., 0, 1] = precision[..., 1, 0] = 0.25 * (all_weight - tt)
    b = np.stack([0.5 * (all_value - td), 0.5 * (all_value + td)], axis=-1)
    b += loose * (np.array([prior.before_px, prior.after_px]) - centre)
    covariance = np.linalg.inv(precision)
    mean = np.einsum("wpij,wpj->wpi", covariance, b)
    log_density = 0.5 * np.sum(b * mean, axis=-1) + 0.5 * np.log(np.linalg.det(covariance))
    return log_density + extra[:, None], mean + centre, covariance


def posterior(
    across: Across,
    prior: Prior,
    *,
    reach_px: float,
    shape: tuple[Float[np.ndarray, " known"], Float[np.ndarray, " known"]] | None = None,
    fine: int = 41,
) -> Posterior:
    """Return the posterior over place and width, on a coarse grid first and then where the density is.

    Parameters
    ----------
    across, prior
        The cells and what is known before.
    reach_px
        How far from the curve x0 may be.
    shape
        log ξ and the log of the volume that the shape of the wall, fitted too, has at that ξ.
    fine
        Points along each axis of the final grid.
    """
    width = np.geomspace(NARROWEST, WIDEST, 22) * prior.edge_px
    position = np.linspace(-reach_px, reach_px, 41)

    def extra(at: Float[np.ndarray, " width"]) -> Float[np.ndarray, " width"]:
        return np.zeros(len(at)) if shape is None else np.interp(np.log(at), *shape)

    for points in (fine // 2, fine):
        log_density, mean, covariance = evaluate(across, prior, position, width, extra(width))
        high = log_density > log_density.max() - DEEP
        rows, places = np.flatnonzero(high.any(axis=1)), np.flatnonzero(high.any(axis=0))
        first, last = max(rows[0] - 1, 0), min(rows[-1] + 1, len(width) - 1)
        width = np.geomspace(width[first], width[last], points)
        first, last = max(places[0] - 1, 0), min(places[-1] + 1, len(position) - 1)
        position = np.linspace(position[first], position[last], points)
    log_density, mean, covariance = evaluate(across, prior, position, width, extra(width))
    density = np.exp(log_density - log_density.max())
    return Posterior(
        position_px=position, width_px=width, density=density / density.sum(), mean_px=mean, covariance_px2=covariance
    )


def quantiles(
    values: Float[np.ndarray, " value"], probability: Float[np.ndarray, " value"]
) -> tuple[float, float, float]:
    """Return the 16 %, 50 % and 84 % quantile of a density given at evenly spaced values."""
    inner = np.concatenate([[0.0], np.cumsum(0.5 * (probability[1:] + probability[:-1]))])
    low, middle, high = np.interp(QUANTILES * inner[-1], inner, values)
    return float(low), float(middle), float(high)


def draws(found: Posterior, count: int, *, rng: np.random.Generator) -> Float[np.ndarray, "draw 4"]:
    """Return draws of (x0, ξ, d1, d2)."""
    width, place = np.divmod(
        rng.choice(found.density.size, size=count, p=found.density.ravel()), len(found.position_px)
    )
    step_place = np.ptp(found.position_px) / max(len(found.position_px) - 1, 1)
    step_width = np.log(found.width_px[-1] / found.width_px[0]) / max(len(found.width_px) - 1, 1)
    position = found.position_px[place] + step_place * rng.uniform(-0.5, 0.5, count)
    xi = found.width_px[width] * np.exp(step_width * rng.uniform(-0.5, 0.5, count))
    root = np.linalg.cholesky(found.covariance_px2[width, place])
    sides = found.mean_px[width, place] + np.einsum("nij,nj->ni", root, rng.normal(size=(count, 2)))
    return np.column_stack([position, xi, sides])


def scatter_px2(
    residual_px: Float[np.ndarray, " cell"], variance_px2: Float[np.ndarray, " cell"], fitted: int
) -> float:
    """Return the variance beyond the cells' own that makes the residuals as large as they are; 0 where there is none.

    The root of ``Σ r²/(v + τ²) = n - fitted`` (R. C. Paule, J. Mandel, J. Res. Natl. Bur. Stand. 87, 377 (1982)).
    """
    freedom = len(residual_px) - fitted
    if freedom < 1 or not np.sum(residual_px**2 / variance_px2) > freedom:
        return 0.0
    most = float(np.sum(residual_px**2)) / freedom
    return float(brentq(lambda more: np.sum(residual_px**2 / (variance_px2 + more)) - freedom, 0.0, most + 1e-30))


def with_offset(profile: Profile, axis: Float[np.ndarray, "2"], covariance_px2: Float[np.ndarray, "2 2"]) -> Profile:
    """Return the profile with the error of the offset that was taken off all cells: both sides move alike."""
    variance = float(axis @ covariance_px2 @ axis)
    return replace(
        profile,
        before_sigma_px=float(np.sqrt(profile.before_sigma_px**2 + variance)),
        after_sigma_px=float(np.sqrt(profile.after_sigma_px**2 + variance)),
        asymmetry_sigma_px=float(np.sqrt(profile.asymmetry_sigma_px**2 + 4.0 * variance)),
    )
