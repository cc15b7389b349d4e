"""Statistics of directions: mean and spread on the circle, peaks of a histogram, sense and zero against measurements.

Angles are in degrees, counter-clockwise as seen on the screen, ``arctan2(-dy, dx)``. Source of the statistics: K. V.
Mardia and P. E. Jupp, "Directional Statistics" (Wiley, 2000), chapters 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int32

from dipolar.core import units

BINS = 360
"""Steps of the histogram around the circle."""
KERNEL_DEG = 6.0
"""Standard deviation by which it is smoothed: peaks less than about three of it apart are one."""
SIGNIFICANT = 5.0
"""A peak stands above the valleys beside it by so many standard errors of the counts."""
VALLEY = 0.6
"""The deeper a valley, the surer that it parts two peaks: it holds at most this share of the smaller of them."""
TOLD = 0.9
"""Least probability of a variant for a direction to be told to be of it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variants:
    """Peaks of a histogram of directions, and which direction belongs to which."""

    direction_deg: Float[np.ndarray, " variant"]
    """Mean direction of each, in (-180, 180], counter-clockwise from -180; none where the histogram has no peaks."""
    spread_deg: Float[np.ndarray, " variant"]
    """Circular standard deviation of what belongs to each, beyond the directions' own sigma."""
    share: Float[np.ndarray, " variant"]
    """Share of all directions that belong to each; the rest belongs to none."""
    posterior: Float[np.ndarray, "direction variant"]
    """Probability of each variant for each direction; rows sum to 1, and are nan where the direction is."""
    variant: Int32[np.ndarray, " direction"]
    """The most probable variant; -1 where there is none, or none has the probability `TOLD`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Registration:
    """How angles of unknown sense and zero follow from measured vectors: ``direction = sense · angle + zero``."""

    sense: Literal[1, -1]
    """Sense of rotation; 1 where both do alike."""
    zero_deg: float
    """Added after the sense, in (-180, 180]."""
    agreement: float
    """Length of the mean of ``exp(i (direction - sense · angle - zero))``: 1 where all agree, 0 where none do."""
    other_agreement: float
    """The same for the other sense with the zero that is best for it."""
    count: int
    """Vectors that it rests on."""


def wrap_deg(angle_deg: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return angles in (-180, 180]."""
    return np.asarray(180.0 - np.mod(180.0 - angle_deg, 360.0))


def unit_vectors(angle_deg: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 2"]:
    """Return unit vectors (dy, dx) of these angles."""
    angle = np.radians(angle_deg)
    return np.stack([-np.sin(angle), np.cos(angle)], axis=-1)


def resultant(
    angle_deg: Float[np.ndarray, " direction"], weights: Float[np.ndarray, " direction"] | None = None
) -> complex:
    """Return the weighted mean of ``exp(i angle)``; rows that are nan do not count; nan where none count."""
    weight = np.ones(len(angle_deg)) if weights is None else weights
    known = np.isfinite(angle_deg) & np.isfinite(weight) & (weight > 0)
    total = float(weight[known].sum())
    if not total:
        return complex(np.nan, np.nan)
    return complex(np.sum(weight[known] * np.exp(1j * np.radians(angle_deg[known]))) / total)


def circular_mean_deg(
    angle_deg: Float[np.ndarray, " direction"], weights: Float[np.ndarray, " direction"] | None = None
) -> float:
    """Return the mean direction, in (-180, 180]; nan rows do not count."""
    return float(wrap_deg(np.asarray(np.degrees(np.angle(resultant(angle_deg, weights))))))


def circular_sd_deg(
    angle_deg: Float[np.ndarray, " direction"], weights: Float[np.ndarray, " direction"] | None = None
) -> float:
    """Return the circular standard deviation ``sqrt(-2 ln R)``, R the length of the mean; nan rows do not count."""
    return float(spread_deg(np.asarray(abs(resultant(angle_deg, weights)))))


def spread_deg(length: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return the circular standard deviation that belongs to a mean of this length, 0 to 1."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.degrees(np.sqrt(-2.0 * np.log(np.clip(length, 0.0, 1.0)))))


def histogram(
    angle_deg: Float[np.ndarray, " direction"], *, bins: int = BINS, kernel_deg: float = KERNEL_DEG
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """Return middles of bins from -180 on, and a smooth histogram: counts that a kernel of this width sees at each.

    The kernel is a Gaussian of height 1, wound around the circle, so that values are numbers of directions.
    """
    known = angle_deg[np.isfinite(angle_deg)]
    edges = np.linspace(-180.0, 180.0, bins + 1)
    counts, _ = np.histogram(wrap_deg(known), bins=edges)
    middles = 0.5 * (edges[1:] + edges[:-1])
    away = wrap_deg(middles - middles[0])
    kernel = np.exp(-0.5 * (away / kernel_deg) ** 2)
    smooth = np.fft.irfft(np.fft.rfft(counts) * np.fft.rfft(kernel), n=bins)
    return middles, np.maximum(smooth, 0.0)


def find_peaks_deg(
    angle_deg: Float[np.ndarray, " direction"], *, kernel_deg: float = KERNEL_DEG
) -> Float[np.ndarray, " peak"]:
    """Return where the smooth histogram has peaks that cannot be chance, in (-180, 180]; maybe nowhere.

    From the lowest valley upwards, neighbouring peaks are made one while the valley between them is shallow: filled
    to more than `VALLEY` of the smaller, or within `SIGNIFICANT` standard errors of it.
    """
    middles, height = histogram(angle_deg, kernel_deg=kernel_deg)
    before, after = np.roll(height, 1), np.roll(height, -1)
    tops = [int(at) for at in np.flatnonzero((height > before) & (height >= after) & (height > 0))]
    while tops:
        valleys = [_lowest(height, top, tops[(n + 1) % len(tops)]) for n, top in enumerate(tops)]
        weakest, at = min((_standing(height[t], max(valleys[n - 1], valleys[n])), n) for n, t in enumerate(tops))
        if weakest > 0:
            break
        del tops[at]
    return wrap_deg(middles[np.array(tops, dtype=int)])


def _lowest(height: Float[np.ndarray, " bin"], first: int, last: int) -> float:
    """Return the lowest value from one bin on to another, once around where they are the same."""
    steps = (last - first) % len(height) or len(height)
    return float(np.take(height, np.arange(first, first + steps + 1), mode="wrap").min())


def _standing(peak: float, valley: float) -> float:
    """Return by how much a peak passes both tests against the higher of its valleys; at most 0 where it fails one.

    The variance of a count under a kernel of height 1 is about 0.71 of the count.
    """
    error = float(np.sqrt(0.71 * (peak + valley)))
    return min((peak - valley) - SIGNIFICANT * error, VALLEY * peak - valley) / max(peak, 1e-300)


def find_variants(
    angle_deg: Float[np.ndarray, " direction"],
    sigma_deg: Float[np.ndarray, " direction"] | None = None,
    *,
    kernel_deg: float = KERNEL_DEG,
    rounds: int = 30,
) -> Variants:
    """Return the peaks of a histogram of directions, and the probability of each for each direction.

    A mixture of wrapped Gaussians, one for each peak, and a uniform background, fitted by expectation and
    maximisation. Peaks are as wide as true directions are scattered: a direction's own sigma adds to that, and is taken
    out of what was fitted. The background takes outliers out of means and
    widths; it is no variant, and probabilities of variants sum to 1 without it.
    """
    known = np.isfinite(angle_deg)
    angle = angle_deg[known]
    own = np.zeros(len(angle)) if sigma_deg is None else np.where(np.isfinite(sigma_deg[known]), sigma_deg[known], 0.0)
    mean = find_peaks_deg(angle, kernel_deg=kernel_deg)
    count = len(mean)
    width, share = np.full(count, kernel_deg), np.full(count, 0.95 / max(count, 1))
    for _ in range(rounds if count else 0):
        weight = _weights(angle, own, mean, width, share)
        total = weight.sum(axis=0)
        moment = (weight[:, :-1] * np.exp(1j * np.radians(angle))[:, None]).sum(axis=0) / total[:-1]
        mean, share = np.degrees(np.angle(moment)), total[:-1] / len(angle)
        error = (weight[:, :-1] * own[:, None] ** 2).sum(axis=0) / total[:-1]
        width = np.sqrt(np.clip(spread_deg(np.abs(moment)) ** 2 - error, 1.0, 45.0**2))
    order = np.argsort(wrap_deg(mean))
    mean, width, share = wrap_deg(mean[order]), width[order], share[order]
    posterior = np.full((len(angle_deg), count), np.nan)
    if count:
        weight = _weights(angle, own, mean, width, share, floor=True)[:, :-1]
        posterior[known] = weight / weight.sum(axis=1, keepdims=True)
    return Variants(
        direction_deg=mean,
        spread_deg=width,
        share=share,
        posterior=posterior,
        variant=most_probable(posterior),
    )


def _weights(
    angle: Float[np.ndarray, " direction"],
    own: Float[np.ndarray, " direction"],
    mean: Float[np.ndarray, " variant"],
    width: Float[np.ndarray, " variant"],
    share: Float[np.ndarray, " variant"],
    *,
    floor: bool = False,
) -> Float[np.ndarray, "direction variants_and_background"]:
    """Return probabilities of each peak and of the background, last; with a floor, no row is zero in all peaks."""
    variance = width**2 + own[:, None] ** 2
    exponent = -0.5 * wrap_deg(angle[:, None] - mean) ** 2 / variance
    if floor:
        exponent -= exponent.max(axis=1, keepdims=True)
    density = share * np.exp(exponent) / np.sqrt(2 * np.pi * variance)
    background = np.full((len(angle), 1), max(1.0 - float(share.sum()), 1e-3) / 360.0)
    both = np.concatenate([density, background], axis=1)
    return both / both.sum(axis=1, keepdims=True)


def most_probable(posterior: Float[np.ndarray, "direction variant"]) -> Int32[np.ndarray, " direction"]:
    """Return the number of the most probable variant; -1 where there is none, or none is probable enough (`TOLD`)."""
    if not posterior.shape[1]:
        return np.full(len(posterior), -1, dtype=np.int32)
    filled = np.where(np.isfinite(posterior), posterior, -1.0)
    return np.where(filled.max(axis=1) >= TOLD, filled.argmax(axis=1), -1).astype(np.int32)


def register(
    angle_deg: Float[np.ndarray, " direction"],
    vectors: Float[np.ndarray, "direction 2"],
    sigma: Float[np.ndarray, "direction 2"] | None = None,
    *,
    rows: Bool[np.ndarray, " direction"] | None = None,
    sense_known: bool = False,
) -> Registration | None:
    """Return sense and zero by which angles follow the directions of measured vectors (dy, dx) best.

    Where the sense is known to be that on the screen, only the zero is looked for.

    Each vector counts by its length over its length and sigma together, ``d² / (d² + sigma²)``, as far as sigma is
    known (else by its length): the direction of a short one is chance. Rows that are nan on either side do not count.

    Returns
    -------
    Registration | None
        None where nothing finite is on both sides.
    """
    length = np.linalg.norm(vectors, axis=1)
    weight = length / max(float(np.nanmax(length, initial=0.0)), 1e-300)
    if sigma is not None:
        variance = np.mean(sigma**2, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = np.where(np.isfinite(variance), length**2 / (length**2 + variance), weight)
    known = np.isfinite(angle_deg) & np.isfinite(weight) & (weight > 0)
    known = known if rows is None else known & rows
    if not known.any():
        return None
    measured = units.angle_deg(vectors[known])
    moments = {sense: resultant(measured - sense * angle_deg[known], weight[known]) for sense in (1, -1)}
    best: Literal[1, -1] = 1 if sense_known or abs(moments[1]) >= abs(moments[-1]) - 1e-9 else -1
    return Registration(
        sense=best,
        zero_deg=float(wrap_deg(np.asarray(np.degrees(np.angle(moments[best]))))),
        agreement=abs(moments[best]),
        other_agreement=abs(moments[-best]),
        count=int(known.sum()),
    )
