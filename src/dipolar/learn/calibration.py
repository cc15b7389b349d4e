"""Honest sigmas: the factor and the quantiles that held-out errors ask for, and ensembles as one prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import erf, erfinv
from scipy.stats import t as student

from dipolar.core.comparison import Reliability
from dipolar.core.errors import DataError, FormatError, SettingsError

WITHIN_ONE_SIGMA = float(erf(math.sqrt(0.5)))
"""Share of a Gaussian within one sigma, 68.27 %."""
LEVELS = (0.5, 0.68, 0.9)
"""Coverage for which quantiles are kept."""
FEWEST = 10
"""Held-out values below which no quantile of 90 % exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What makes the sigmas of a network honest, found on regions that it was not trained on."""

    scale: float
    """Factor on the network's sigma, floor included, after which 68.27 % of the errors lie within one sigma."""
    quantiles: Mapping[float, float]
    """Coverage → how many scaled sigmas on either side an interval needs that covers as much."""
    count: int
    """Values that both were found on."""
    floor: float = 0.0
    """Added in squares to the network's sigma before the factor: errors that it knows nothing of."""

    def honest(self, sigma: Float[np.ndarray, "*rows"]) -> Float[np.ndarray, "*rows"]:
        """Return what the network's sigma is worth."""
        return self.scale * np.sqrt(sigma**2 + self.floor**2)

    def to_card(self) -> dict[str, float]:
        """Return the calibration as plain numbers by name, for the card of a model."""
        named = {f"quantile_{_percent(level)}": value for level, value in self.quantiles.items()}
        return {"scale": self.scale, "floor": self.floor, **named, "count": float(self.count)}

    @staticmethod
    def from_card(card: Mapping[str, Any]) -> Calibration:
        """Return the calibration that `to_card` wrote.

        Raises
        ------
        DataError
            The card has no calibration on it.
        FormatError
            What it says is none: the scale must be above zero, and all numbers finite.
        """
        if "scale" not in card or "count" not in card:
            raise DataError(
                "The card of a model holds the factor on its sigma.",
                got=", ".join(card) or "an empty calibration",
                do="train the model again: regions held out give it its calibration",
            )
        start = "quantile_"
        widths = {name.removeprefix(start): value for name, value in card.items() if name.startswith(start)}
        told = {"scale": card["scale"], "count": card["count"], "floor": card.get("floor", 0.0), **widths}
        wrong = [f"{name} = {value!r}" for name, value in told.items() if not _is_width(value)]
        wrong += [f"{start}{name}" for name in widths if not name.replace(".", "", 1).isdecimal()]
        if wrong or not card["scale"] > 0:
            raise FormatError(
                "the calibration of a model is finite numbers, with a factor above zero.",
                got=", ".join(wrong) or f"scale = {card['scale']!r}",
                do="copy the model again, or train it again",
            )
        levels = {round(float(name) / 100, 9): float(value) for name, value in widths.items()}
        floor = float(card.get("floor", 0.0))
        return Calibration(scale=float(card["scale"]), quantiles=levels, count=int(card["count"]), floor=floor)


def _is_width(value: object) -> bool:
    """Return whether something is a finite number, and not below zero."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _percent(level: float) -> str:
    return f"{100 * level:.9g}"


def calibrate(
    error: Float[np.ndarray, "*rows"], sigma: Float[np.ndarray, "*rows"], *, levels: Sequence[float] = LEVELS
) -> Calibration:
    """Return the factor on sigma and the quantiles that these held-out errors ask for.

    The factor is the 68.27 % quantile of |error| / sigma. The quantiles are those of split conformal prediction: of n
    standardised errors the ⌈(n + 1) · level⌉-th smallest, so that an interval covers a new value of the same kind with
    at least that probability, whatever the distribution (Vovk, Gammerman & Shafer 2005; Angelopoulos & Bates,
    arXiv:2107.07511). Neighbouring cells share pixels, so the errors of one image are worth less than their number.

    Parameters
    ----------
    error
        Predicted minus true, from regions held out of the training. All values are pooled: call once per target where
        targets differ in kind.
    sigma
        The network's own sigma of each, in the same unit. Pairs that are not finite, or without a sigma, are left out.
    levels
        Coverage to find quantiles for.

    Raises
    ------
    DataError
        Fewer values than the greatest level needs.
    """
    z = _standardised(error, sigma)
    check_count(len(z), levels)
    scale = float(np.quantile(z, WITHIN_ONE_SIGMA))
    if not scale > 0:
        raise DataError(
            "Errors on regions held out tell the factor on sigma.",
            got="errors of 0 in more than two thirds of the values",
            do="check that truth and prediction are not the same array",
        )
    ordered = np.sort(z)
    ranks = {float(level): math.ceil((len(z) + 1) * level - 1e-9) for level in levels}
    return Calibration(
        scale=scale,
        quantiles={level: float(ordered[rank - 1]) / scale for level, rank in ranks.items()},
        count=len(z),
    )


def check_count(count: int, levels: Sequence[float] = LEVELS) -> None:
    """Refuse fewer values than the greatest level needs.

    Raises
    ------
    DataError
        If there are fewer.
    """
    needed = max(FEWEST, *(math.ceil(level / (1 - level) - 1e-9) for level in levels))
    if count < needed:
        raise DataError(
            f"A calibration to {_percent(max(levels))} % needs {needed} values from regions held out.",
            got=f"{count} with an error and a sigma",
            do="hold out more: larger blocks, or more images",
        )


def _standardised(error: Float[np.ndarray, "*rows"], sigma: Float[np.ndarray, "*rows"]) -> Float[np.ndarray, " value"]:
    """Return |error| / sigma of the values that have both."""
    known = np.isfinite(error) & np.isfinite(sigma) & (sigma > 0)
    return (np.abs(error[known]) / sigma[known]).astype(np.float64)


FACTORS = (math.log(0.1), math.log(10.0))
"""Limits of the logarithm of the factor beside a floor: where the floor says all, the factor is free to run away."""


def calibrate_with_floor(error: Float[np.ndarray, "*rows"], sigma: Float[np.ndarray, "*rows"]) -> Calibration:
    """Return the calibration of ``sqrt(sigma² + f²)`` that held-out errors ask for, with the floor f that fits them.

    A network that was trained on noisy values may think that their noise explains all that is left, and tell a sigma
    near zero that no factor makes honest: hence the floor. Its size beside the factor is that of the greatest
    likelihood under Student's t with five degrees of freedom, which a few wild errors do not move.

    Parameters
    ----------
    error
        Predicted minus true, from regions held out.
    sigma
        The network's own sigma.

    Raises
    ------
    DataError
        As `calibrate`.
    """
    known = np.isfinite(error) & np.isfinite(sigma) & (sigma > 0)
    check_count(int(np.count_nonzero(known)))
    e, own = (part[known].astype(np.float64) for part in (error, sigma))
    floor = _floor(e, own)
    return replace(calibrate(e, np.hypot(own, floor)), floor=floor)


def _floor(error: np.ndarray, own: np.ndarray) -> float:
    """Return the likeliest floor under the network's sigma, its factor free."""
    size = float(np.median(np.abs(error)))

    def unlikely(logs: np.ndarray) -> float:
        spread = np.sqrt(np.exp(2.0 * np.clip(logs[0], *FACTORS)) * own**2 + np.exp(2.0 * logs[1]))
        return -float(np.sum(student.logpdf(error / spread, 5.0) - np.log(spread)))

    starts = [np.array([0.0, np.log(max(size, 1e-9) * share)]) for share in (0.01, 1.0)]
    best = min((minimize(unlikely, start, method="Nelder-Mead") for start in starts), key=lambda found: found.fun)
    floor = float(np.exp(best.x[1] - np.clip(best.x[0], *FACTORS)))
    return floor if floor > 1e-3 * float(np.median(own)) else 0.0


def coverage(
    error: Float[np.ndarray, "*rows"],
    sigma: Float[np.ndarray, "*rows"],
    levels: Sequence[float] = LEVELS,
    quantiles: Mapping[float, float] | None = None,
) -> dict[float, float]:
    """Return for each level the share of errors inside its interval; equal to the level where sigma is honest.

    Parameters
    ----------
    error
        Predicted minus true.
    sigma
        One standard error of each; scaled already, where it was.
    levels
        Coverage asked for.
    quantiles
        Half width of each interval in sigmas, as in `Calibration.quantiles`; None takes those of a Gaussian.

    Raises
    ------
    SettingsError
        A level is asked for that has no quantile.
    """
    z = _standardised(error, sigma)
    missing = [level for level in levels if quantiles is not None and level not in quantiles]
    if quantiles is not None and missing:
        raise SettingsError(
            "Coverage can be told for levels with a quantile.",
            got=", ".join(f"{level:g}" for level in missing),
            do=f"levels=({', '.join(f'{level:g}' for level in quantiles)},)",
        )
    widths = {level: quantiles[level] if quantiles is not None else _gaussian(level) for level in levels}
    return {float(level): float(np.mean(z <= width)) if len(z) else float("nan") for level, width in widths.items()}


def _gaussian(level: float) -> float:
    return float(math.sqrt(2.0) * erfinv(level))


def reliability(error: Float[np.ndarray, "*rows"], sigma: Float[np.ndarray, "*rows"], bins: int = 10) -> Reliability:
    """Return root mean square errors against sigmas, in bins of sigma that hold equally many values.

    Where sigma is honest both agree in every bin, as the mean of squared errors is the mean of variances (Levi et al.,
    Sensors 22, 5540 (2022)).

    Parameters
    ----------
    error
        Predicted minus true.
    sigma
        One standard error of each, in the same unit.
    bins
        How many; fewer where there are fewer values.
    """
    known = np.isfinite(error) & np.isfinite(sigma) & (sigma > 0)
    order = np.argsort(sigma[known], kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    variance, square = sigma[known].astype(np.float64) ** 2, error[known].astype(np.float64) ** 2
    rms = np.array([np.sqrt(np.mean(square[part])) for part in parts])
    # the standard error of a mean square, through the derivative of its root
    scatter = np.array([np.std(square[part]) / np.sqrt(len(part)) for part in parts])
    return Reliability(
        sigma=np.array([np.sqrt(np.mean(variance[part])) for part in parts]),
        rms_error=rms,
        rms_error_sigma=scatter / (2.0 * np.where(rms > 0, rms, 1.0)),
        count=np.array([len(part) for part in parts], dtype=np.int32),
    )


def combine_members(
    values: Float[np.ndarray, "member *rest"], sigma: Float[np.ndarray, "member *rest"]
) -> tuple[Float[np.ndarray, "*rest"], Float[np.ndarray, "*rest"], Float[np.ndarray, "*rest"]]:
    """Return mean, sigma and spread of an ensemble, taken as a mixture of Gaussians of equal weight.

    The variance of the mixture is the mean of the members' variances plus the variance of their means, whose root is
    the spread (Lakshminarayanan, Pritzel & Blundell, arXiv:1612.01474).

    Parameters
    ----------
    values
        What each member says.
    sigma
        One standard error of each, in the same unit.
    """
    mean = values.mean(axis=0)
    between = values.var(axis=0)
    return mean, np.sqrt(np.mean(sigma**2, axis=0) + between), np.sqrt(between)
