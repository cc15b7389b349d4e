"""How far angles and drawn dipoles may be trusted: one sigma that holds, and which dipoles are told from zero.

The posterior alone is too sure: it weighs a few directions, and knows neither how dipoles scatter about them nor what
the decoder smooths away. What it leaves out is taken from measured displacements, less their own error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from dipolar.core import units
from dipolar.core.circular import wrap_deg
from dipolar.core.unmixing import UNTOLD_DEG

ENOUGH = 20
"""Fewest measured displacements by which sigma is set."""
ONE_SIGMA = 0.6827
"""Share of normal errors within one standard error."""
TOLD_SIGMA = 3.0
"""A dipole so many sigma long is told from zero: 1 % of those that are none look as long."""
BY_CHANCE = 0.1
"""Most of the patches said to be unlike their drawn dipole that are so by chance, as a share."""
WIDEST_DEG = 100.0
"""Largest sigma of an angle that is one; above it is only `UNTOLD_DEG`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trust:
    """By how much angles and dipoles are off."""

    angle_sigma_deg: Float[np.ndarray, " patch"]
    """One standard error of each angle; `UNTOLD_DEG` where there is no dipole."""
    dipole_sigma: Float[np.ndarray, "patch 2"]
    """One standard error of each drawn dipole, in the unit of the dipoles; nan if unreadable."""
    told: Bool[np.ndarray, " patch"]
    """Whether a dipole is told from zero; everywhere where none can be read."""
    like: Bool[np.ndarray, " patch"]
    """Whether it may be the one that was measured; true where that is not known. Walls are unlike: networks draw one
    of the variants beside them."""


def trust(
    *,
    angle_deg: Float[np.ndarray, " patch"],
    posterior_deg: Float[np.ndarray, " patch"],
    dipole: Float[np.ndarray, "patch 2"],
    dipole_spread: float,
    measured: Float[np.ndarray, "patch 2"],
    measured_sigma: Float[np.ndarray, "patch 2"],
) -> Trust:
    """Return how far each angle and each drawn dipole may be trusted.

    Parameters
    ----------
    angle_deg, posterior_deg
        Angles as they are told, and the circular standard deviation of their posterior.
    dipole
        Drawn by the decoder.
    dipole_spread
        Standard deviation of a drawn dipole, each way, over the posterior of the latents: the least sigma there is.
    measured, measured_sigma
        Dipoles that the decoder did not draw: displacements that were measured, nan where none was; or what is seen in
        the patches themselves, with sigma 0, which makes the outcome too wide by their noise. With fewer than `ENOUGH`
        the spread of drawn dipoles about their angle stands for that of true ones, which is more than it.
    """
    length = np.linalg.norm(dipole, axis=1)
    readable = np.isfinite(length)

    def sigma_of(rows: Bool[np.ndarray, " patch"]) -> float:
        found = excess((dipole - measured)[rows].ravel(), measured_sigma[rows].ravel())
        return max(dipole_spread, 0.0 if np.isnan(found) else found)

    everywhere = sigma_of(readable)
    least = max(everywhere, sigma_of(readable & (length > TOLD_SIGMA * everywhere)))  # polar ones vary more than others
    told = ~readable | (length > TOLD_SIGMA * least)
    sigma = np.where(told, sigma_of(readable & told), everywhere)
    with np.errstate(divide="ignore", invalid="ignore"):
        own_deg = np.where(readable & told, np.degrees(sigma / length), 0.0)
    about = _about_deg(angle_deg, dipole, measured, measured_sigma, told)
    found = np.hypot(posterior_deg, np.maximum(own_deg, about))
    both = np.where(readable[:, None], np.stack([sigma, sigma], axis=1), np.nan)
    other = told & unlike(dipole - measured, np.hypot(both, _known(measured_sigma)), among=told)
    off_deg = np.abs(wrap_deg(units.angle_deg(measured) - angle_deg))
    found = np.where(other, np.minimum(np.maximum(found, off_deg), WIDEST_DEG), np.minimum(found, UNTOLD_DEG))
    return Trust(
        angle_sigma_deg=np.where(told, found, UNTOLD_DEG),
        dipole_sigma=np.where(other[:, None], np.maximum(both, np.abs(dipole - measured)), both),
        told=told,
        like=~other,
    )


def unlike(
    off: Float[np.ndarray, "patch 2"], sigma: Float[np.ndarray, "patch 2"], *, among: Bool[np.ndarray, " patch"]
) -> Bool[np.ndarray, " patch"]:
    """Return which differences are more than their sigma explain; not those that are nan.

    As many as can be, so that at most `BY_CHANCE` of them are so by chance: Y. Benjamini and Y. Hochberg, J. R. Stat.
    Soc. B 57, 289 (1995). Where there are no walls, hardly any are.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = np.exp(-0.5 * np.sum((off / sigma) ** 2, axis=1))
    tried = among & np.isfinite(chance)
    ordered = np.sort(chance[tried])
    passing = np.flatnonzero(ordered <= BY_CHANCE * np.arange(1, len(ordered) + 1) / max(len(ordered), 1))
    return tried & (chance <= (ordered[passing[-1]] if len(passing) else -1.0))


def _known(sigma: Float[np.ndarray, "patch 2"]) -> Float[np.ndarray, "patch 2"]:
    return np.where(np.isfinite(sigma), sigma, 0.0)


def excess(off: Float[np.ndarray, " value"], sigma: Float[np.ndarray, " value"]) -> float:
    """Return what has to be added to known sigma, in quadrature, for one of it to hold 68 %; nan where too few are."""
    with np.errstate(invalid="ignore"):
        beyond = off**2 - np.where(np.isfinite(sigma), sigma, 0.0) ** 2
    known = beyond[np.isfinite(beyond)]
    return float(np.sqrt(max(np.quantile(known, ONE_SIGMA), 0.0))) if len(known) >= ENOUGH else float("nan")


def _about_deg(
    angle_deg: Float[np.ndarray, " patch"],
    dipole: Float[np.ndarray, "patch 2"],
    measured: Float[np.ndarray, "patch 2"],
    measured_sigma: Float[np.ndarray, "patch 2"],
    told: Bool[np.ndarray, " patch"],
) -> float:
    """Return how true directions spread about the angle: as measured ones do less their error, or as drawn ones do."""
    length = np.linalg.norm(measured, axis=1)
    error = np.sqrt(np.mean(measured_sigma**2, axis=1))
    sure = told & (length > TOLD_SIGMA * np.where(np.isfinite(error), error, 0.0))
    off = wrap_deg(units.angle_deg(measured) - angle_deg)[sure]
    about = excess(off, np.degrees(error[sure] / length[sure]))
    if np.isnan(about):
        drawn = wrap_deg(units.angle_deg(dipole) - angle_deg)[told]
        about = excess(drawn, np.zeros(len(drawn)))
    return 0.0 if np.isnan(about) else about
