"""Width of a wall: a tanh fitted to the share of the class beyond it, against the distance from its curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import log_ndtr

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
ROUNDS = 6
"""Repetitions in which the profile, the noise about it and what was clipped off it are found in turn."""
TOLD = 2.0
"""Log-likelihood by which a width must be better than none."""
LEAST_NOISE = 0.01
ROUNDING = 1e-6
"""Of shares that add up to 1."""


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
    low: float = 0.0
    """Share far before the wall, as clipped noise lets one tell it."""
    high: float = 1.0
    """Share far after it."""

    @property
    def row_error(self) -> float:
        """How far noise moves the middle of the wall in one row of positions across it, in probe steps.

        ``noise / sqrt(Σ g'²)``, and the sum over a row is 1/(3ξ).
        """
        return self.noise * float(np.sqrt(1.5 * self.likely))


UNKNOWN = Width(width=float("nan"), sigma=float("nan"), likely=0.0, noise=0.0)


def width_of(
    distance: Float[np.ndarray, " position"],
    share: Float[np.ndarray, " position"],
    *,
    blur: float,
    clipped: bool = False,
) -> Width:
    """Return the width of a wall.

    ``share = low + (high - low) · (1 + tanh((x - x0)/ξ))/2`` with Gaussian noise whose size is that of the residuals;
    low and high are integrated over, x0 too; all ξ are equally likely before.

    Noise beyond 0 and 1 is not seen where shares are clipped. The means of what is left lie inside, and a profile
    between them would be too narrow, by as many parts of it as the noise has of one. So what was clipped is put at
    its expectation beyond (J. Tobin, Econometrica 26, 24 (1958), by the repetitions of A. P. Dempster et al., J. R.
    Stat. Soc. B 39, 1 (1977)).

    Parameters
    ----------
    distance
        Distance of each position to the right of the curve, in probe steps.
    share
        Share that the class after the wall has there, of that and the one before.
    blur
        One standard error of the place of the curve: it widens profiles, and is taken off in the square.
    clipped
        Whether shares below 0 may have been set to 0, and those above 1 to 1: they were not where one lies beyond.
    """
    if len(distance) < FEWEST or not ((distance > 0).any() and (distance < 0).any()):
        return UNKNOWN
    clipped = clipped and float(share.min()) >= -ROUNDING and float(share.max()) <= 1.0 + ROUNDING
    below, above = (share <= 0.0, share >= 1.0) if clipped else (np.zeros(len(share), dtype=bool),) * 2
    seen = ~(below | above)
    if seen.sum() < FEWEST:
        below, above, seen = np.zeros_like(seen), np.zeros_like(seen), np.ones_like(seen)
    widths, places = np.geomspace(NARROWEST, WIDEST, 28), np.linspace(-FARTHEST, FARTHEST, 21)
    noise, whole = 0.1, share.astype(np.float64)
    for _ in range(ROUNDS):
        binned = _binned(distance, whole)
        log_density, best = _evaluate(binned, noise, widths, places)
        model = best.at(distance)
        rms = float(np.sqrt(np.sum((share - model)[seen] ** 2) / max(int(seen.sum()) - 4, 1)))
        noise = max(rms, LEAST_NOISE)
        whole[below] = model[below] - rms * _beyond(model[below] / max(rms, 1e-9))
        whole[above] = model[above] + rms * _beyond((1.0 - model[above]) / max(rms, 1e-9))
    binned = _binned(distance, whole)
    log_density, _ = _evaluate(binned, noise, widths, places)
    above_none = float(log_density.max() - log_density[0].max())
    # once more, only where the density is not negligible
    rows, columns = (np.flatnonzero((log_density > log_density.max() - 9.0).any(axis=axis)) for axis in (1, 0))
    widths = np.geomspace(widths[max(rows[0] - 1, 0)], widths[min(rows[-1] + 1, len(widths) - 1)], 31)
    places = np.linspace(places[max(columns[0] - 1, 0)], places[min(columns[-1] + 1, len(places) - 1)], 17)
    log_density, best = _evaluate(binned, noise, widths, places)
    density = np.exp(log_density - log_density.max()).sum(axis=1) * widths  # per log ξ
    spread = np.cumsum(0.5 * (density + np.concatenate([[0.0], density[:-1]])))
    low, middle, high, bound = (
        float(np.exp(np.interp(q * spread[-1], spread, np.log(widths)))) for q in (0.16, 0.5, 0.84, 0.95)
    )
    # tanh has the variance (πξ)²/12 about its middle, which that of the curve's place adds to
    free = float(np.sqrt(max(middle**2 - 12.0 / np.pi**2 * blur**2, 0.0)))
    if above_none < TOLD or free < 0.3 * middle:
        return Width(width=2.0 * bound, sigma=float("nan"), likely=2.0 * free, noise=noise)
    return Width(
        width=2.0 * free,
        sigma=(high - low) * middle / free,
        likely=2.0 * free,
        noise=noise,
        low=best.low,
        high=best.high,
    )


def _beyond(limit: Float[np.ndarray, " position"]) -> Float[np.ndarray, " position"]:
    """Return the mean of what lies beyond a limit, of a normal distribution, in standard deviations."""
    return np.exp(-0.5 * limit**2 - 0.5 * np.log(2.0 * np.pi) - log_ndtr(-limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Profile:
    """A tanh between two plateaus."""

    half_width: float
    """ξ."""
    place: float
    """x0."""
    low: float
    """Share far before it."""
    high: float
    """Share far after it."""

    def at(self, distance: Float[np.ndarray, " position"]) -> Float[np.ndarray, " position"]:
        """Return it at some distances."""
        return self.low + (self.high - self.low) * 0.5 * (1.0 + np.tanh((distance - self.place) / self.half_width))


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
) -> tuple[Float[np.ndarray, "width place"], _Profile]:
    """Return the log-density over (ξ, x0), low and high integrated out, and the profile at its highest point."""
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
    return found, _Profile(
        half_width=float(widths[best[0]]), place=float(places[best[1]]), low=float(low[best]), high=float(high[best])
    )


def raster_error(width: float) -> float:
    """Return the RMS error with which a straight line between two positions finds the middle of a tanh of that width.

    It is 0.29 probe steps where the wall is sharp, and vanishes where it is wide.
    """
    place = (np.arange(50) + 0.5) / 50
    half = max(0.5 * width, 1e-3)
    before, after = np.tanh(place / half), np.tanh((1.0 - place) / half)
    return float(np.sqrt(np.mean((before / (before + after) - place) ** 2)))
