"""Width of a wall: a tanh fitted to the share of the class beyond it, against the distance from its curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FEWEST = 10
"""Positions beside a wall below which nothing can be said about its width."""
BIN = 0.05
"""Positions within so many probe steps across a wall are taken together."""
NARROWEST, WIDEST = 0.05, 12.0
"""Half widths ξ that are compared, in probe steps."""
FARTHEST = 1.5
"""How far from the curve the middle may be, in probe steps."""
PLATEAU = 0.05
"""How far the share deep in a domain may be from 0 or 1: one standard error."""
TOLD = 2.0
"""Log-likelihood by which a width must be better than none."""
LEAST_NOISE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """Full width 2ξ of a wall."""

    width: float
    """Median, or the 95 % quantile where the width is not told from zero, in probe steps; nan where unknown."""
    sigma: float
    """One standard error; nan where `width` is an upper bound or unknown."""
    likely: float
    """The median in any case: what the grid of positions makes of the wall depends on it."""
    noise: float
    """RMS residual of the share of a position."""

    @property
    def row_error(self) -> float:
        """How far noise moves the middle of the wall in one row of positions across it, in probe steps.

        ``noise / sqrt(Σ g'²)``, and the sum over a row is 1/(3ξ).
        """
        return self.noise * float(np.sqrt(1.5 * self.likely))


UNKNOWN = Width(width=float("nan"), sigma=float("nan"), likely=0.0, noise=0.0)


def width_of(distance: Float[np.ndarray, " position"], share: Float[np.ndarray, " position"], *, blur: float) -> Width:
    """Return the width of a wall.

    ``share = low + (high - low) · (1 + tanh((x - x0)/ξ))/2`` with Gaussian noise whose size is that of the residuals;
    low and high are integrated over, x0 too; all ξ are equally likely before.

    Parameters
    ----------
    distance
        Distance of each position to the right of the curve, in probe steps.
    share
        Share that the class after the wall has there, of that and the one before.
    blur
        One standard error of the place of the curve: it widens profiles, and is taken off in the square.
    """
    if len(distance) < FEWEST or not ((distance > 0).any() and (distance < 0).any()):
        return UNKNOWN
    binned = _binned(distance, share)
    widths, places = np.geomspace(NARROWEST, WIDEST, 28), np.linspace(-FARTHEST, FARTHEST, 21)
    noise = 0.1
    for _ in range(3):
        log_density, rms = _evaluate(binned, noise, widths, places)
        noise = max(rms, LEAST_NOISE)
    log_density, _ = _evaluate(binned, noise, widths, places)
    above_none = float(log_density.max() - log_density[0].max())
    # once more, only where the density is not negligible
    rows, columns = (np.flatnonzero((log_density > log_density.max() - 9.0).any(axis=axis)) for axis in (1, 0))
    widths = np.geomspace(widths[max(rows[0] - 1, 0)], widths[min(rows[-1] + 1, len(widths) - 1)], 31)
    places = np.linspace(places[max(columns[0] - 1, 0)], places[min(columns[-1] + 1, len(places) - 1)], 17)
    log_density, _ = _evaluate(binned, noise, widths, places)
    density = np.exp(log_density - log_density.max()).sum(axis=1) * widths  # per log ξ
    spread = np.cumsum(0.5 * (density + np.concatenate([[0.0], density[:-1]])))
    low, middle, high, bound = (
        float(np.exp(np.interp(q * spread[-1], spread, np.log(widths)))) for q in (0.16, 0.5, 0.84, 0.95)
    )
    # tanh has the variance (πξ)²/12 about its middle, which that of the curve's place adds to
    free = float(np.sqrt(max(middle**2 - 12.0 / np.pi**2 * blur**2, 0.0)))
    if above_none < TOLD or free < 0.3 * middle:
        return Width(width=2.0 * bound, sigma=float("nan"), likely=2.0 * free, noise=noise)
    return Width(width=2.0 * free, sigma=(high - low) * middle / free, likely=2.0 * free, noise=noise)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Binned:
    """Positions in narrow bins of their distance."""

    count: Float[np.ndarray, " bin"]
    """Positions in each."""
    distance: Float[np.ndarray, " bin"]
    """Their mean distance."""
    share: Float[np.ndarray, " bin"]
    """Sum of their shares."""
    squares: float
    """Sum of the squares of all shares."""


def _binned(distance: Float[np.ndarray, " position"], share: Float[np.ndarray, " position"]) -> _Binned:
    _, place = np.unique(np.floor(distance / BIN), return_inverse=True)
    count = np.bincount(place).astype(np.float64)
    return _Binned(
        count=count,
        distance=np.bincount(place, weights=distance) / count,
        share=np.bincount(place, weights=share),
        squares=float(share @ share),
    )


def _evaluate(
    binned: _Binned, noise: float, widths: Float[np.ndarray, " width"], places: Float[np.ndarray, " place"]
) -> tuple[Float[np.ndarray, "width place"], float]:
    """Return the log-density over (ξ, x0), low and high integrated out, and the RMS residual at its highest point."""
    prior = 1.0 / PLATEAU**2
    after = 0.5 * (1.0 + np.tanh((binned.distance - places[:, None]) / widths[:, None, None]))
    total, shared = float(binned.count.sum()), float(binned.share.sum())
    one, two = after @ binned.count, np.square(after) @ binned.count
    s11, s12, s22 = total - 2.0 * one + two, one - two, two  # sums over before², before · after, after²
    t2 = after @ binned.share
    t1 = shared - t2
    precision = 1.0 / noise**2
    a11, a12, a22 = precision * s11 + prior, precision * s12, precision * s22 + prior
    b1, b2 = precision * t1, precision * t2 + prior
    volume = a11 * a22 - a12**2
    low, high = (a22 * b1 - a12 * b2) / volume, (a11 * b2 - a12 * b1) / volume
    found = -0.5 * (precision * binned.squares + prior - low * b1 - high * b2) - 0.5 * np.log(volume)
    best = np.unravel_index(int(np.argmax(found)), found.shape)
    left = binned.squares - 2 * (low * t1 + high * t2) + low**2 * s11 + 2 * low * high * s12 + high**2 * s22
    return found, float(np.sqrt(max(float(left[best]), 0.0) / max(total - 4.0, 1.0)))


def raster_error(width: float) -> float:
    """Return the RMS error with which a straight line between two positions finds the middle of a tanh of that width.

    It is 0.29 probe steps where the wall is sharp, and vanishes where it is wide.
    """
    place = (np.arange(50) + 0.5) / 50
    half = max(0.5 * width, 1e-3)
    before, after = np.tanh(place / half), np.tanh((1.0 - place) / half)
    return float(np.sqrt(np.mean((before / (before + after) - place) ** 2)))
