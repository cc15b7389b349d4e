"""What moves in the features of a scan: the few directions in which patterns differ by more than counting noise.

A bank of virtual detectors gives hundreds of features, and a user labels tens of patterns. But all patterns of the scan
have features, and they need no labels: their covariance is noise of each feature by itself, and a few directions common
to all (domains, thickness, tilt). This is factor analysis (D. B. Rubin and D. T. Thayer, Psychometrika 47, 69 (1982)),
solved by principal factors, with the number of directions from where the eigenvalues of pure noise end (V. A. Marčenko
and L. A. Pastur, Math. USSR-Sbornik 1, 457 (1967)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

from dipolar.core.errors import LabelError

MOST = 12
"""Directions at most: domains, thickness and tilts are fewer, and each one more needs labels to be weighed."""
ROUNDS = 8
"""Repetitions in which noise and directions are told apart."""
BEYOND_EDGE = 1.15
"""How far beyond the edge of pure noise an eigenvalue must lie, as that of a finite sample is not sharp."""
FEWEST = 8
"""Patterns below which no covariance is worth the name."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Basis:
    """Directions in which the features of one scan move, in units of their noise."""

    mean: Float[np.ndarray, " feature"]
    """Mean of every feature."""
    noise: Float[np.ndarray, " feature"]
    """Standard deviation of its noise; infinite where a feature says nothing (dead detector, always the same)."""
    axes: Float[np.ndarray, "feature axis"]
    """Orthonormal directions of the features over their noise, the strongest first."""
    spread: Float[np.ndarray, " axis"]
    """Standard deviation of the patterns along each, noise included; that of noise alone is 1."""
    counts: float
    """Counts of a pattern at which the noise is as told; it goes as one over their root."""
    rest: tuple[float, float]
    """Mean and standard deviation of the mean square of what the directions leave over, in units of noise."""

    def scores(
        self, features: Float[np.ndarray, "pattern feature"]
    ) -> tuple[Float[np.ndarray, "pattern axis"], Float[np.ndarray, " pattern"]]:
        """Return where every pattern lies along the axes, and the mean square of what they leave over.

        Both are in units of the noise, which along the axes has the standard deviation 1. Features that are nan, as of
        detectors on dead pixels, do not count; a pattern with less than half of them is nan.

        Raises
        ------
        LabelError
            If these are not the features that the axes are made of.
        """
        if features.shape[1] != len(self.mean):
            raise LabelError(
                "a classifier sees the features that it learned from.",
                got=f"{features.shape[1]} features, and a classifier of {len(self.mean)}",
                do="take the bank that is written on the model",
            )
        plan = _plan(self)
        known = np.isfinite(features)
        if known.all():
            z = (features.astype(np.float32, copy=False) - plan.mean) * plan.inverse
            full = z @ plan.axes
            return full.astype(np.float64), self._left_over(z, full, int(plan.speaks.sum()))
        found = np.full((len(features), self.axes.shape[1]), np.nan)
        over = np.full(len(features), np.nan)
        z = (np.where(known, features, plan.mean).astype(np.float32) - plan.mean) * plan.inverse
        whole = (known | ~plan.speaks).all(axis=1)
        full = z[whole] @ plan.axes
        found[whole], over[whole] = full, self._left_over(z[whole], full, int(plan.speaks.sum()))
        rows = np.flatnonzero(~whole)
        if len(rows):
            speaking = known[rows] & plan.speaks
            found[rows], over[rows] = self._partly(z[rows].astype(np.float64), speaking, int(plan.speaks.sum()))
        return found, over

    def _left_over(
        self, z: Float32[np.ndarray, "pattern feature"], scores: Float32[np.ndarray, "pattern axis"], features: int
    ) -> Float[np.ndarray, " pattern"]:
        """Return the mean square of what scores leave over of features in units of noise."""
        left = np.einsum("pf,pf->p", z, z) - np.einsum("pa,pa->p", scores, scores)
        return np.maximum(left.astype(np.float64), 0.0) / max(features - self.axes.shape[1], 1)

    def _partly(
        self, z: Float[np.ndarray, "pattern feature"], known: Bool[np.ndarray, "pattern feature"], features: int
    ) -> tuple[Float[np.ndarray, "pattern axis"], Float[np.ndarray, " pattern"]]:
        """Return scores by least squares over the features that are known, each set of them solved once."""
        found = np.full((len(z), self.axes.shape[1]), np.nan)
        over = np.full(len(z), np.nan)
        masks, which = np.unique(known, axis=0, return_inverse=True)
        for number, mask in enumerate(masks):
            if mask.sum() < max(features / 2, 1):
                continue
            rows = np.flatnonzero(which.ravel() == number)
            axes = self.axes[mask]
            # The prior is how patterns spread: without it, axes that are hardly seen any more would run away.
            square = axes.T @ axes + np.diag(1.0 / self.spread**2)
            part = z[np.ix_(rows, np.flatnonzero(mask))]
            found[rows] = np.linalg.solve(square, axes.T @ part.T).T
            left = part - found[rows] @ axes.T
            over[rows] = np.sum(left**2, axis=1) / max(int(mask.sum()) - axes.shape[1], 1)
        return found, over

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, for the file of tensors; noise as its inverse, which is finite."""
        return {"mean": self.mean, "one_over_noise": 1.0 / self.noise, "axes": self.axes, "spread": self.spread}

    def to_card(self) -> dict[str, float]:
        """Return the plain numbers by name, for the card."""
        return {"counts": self.counts, "rest_mean": self.rest[0], "rest_deviation": self.rest[1]}

    @staticmethod
    def from_parts(tensors: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> Basis:
        """Return what `to_tensors` and `to_card` wrote."""
        inverse = tensors["one_over_noise"].astype(np.float64)
        noise = np.full(len(inverse), np.inf)
        np.divide(1.0, inverse, out=noise, where=inverse > 0)
        return Basis(
            mean=tensors["mean"],
            noise=noise,
            axes=tensors["axes"],
            spread=tensors["spread"],
            counts=float(card["counts"]),
            rest=(float(card["rest_mean"]), float(card["rest_deviation"])),
        )


class _Plan(NamedTuple):
    """What scores are computed with. 32-bit numbers hold noise well, and thousands of patterns a second pass."""

    speaks: Bool[np.ndarray, " feature"]
    """Which features say something."""
    mean: Float32[np.ndarray, " feature"]
    inverse: Float32[np.ndarray, " feature"]
    """One over the noise."""
    axes: Float32[np.ndarray, "feature axis"]


@lru_cache(maxsize=8)
def _plan(basis: Basis) -> _Plan:
    """Return it; kept, since every block of a scan asks for it."""
    kinds = (basis.mean, 1.0 / basis.noise, basis.axes)
    return _Plan(np.isfinite(basis.noise), *(np.ascontiguousarray(array, dtype=np.float32) for array in kinds))


def learn_basis(
    features: Float[np.ndarray, "pattern feature"] | Float32[np.ndarray, "pattern feature"],
    counts: Float[np.ndarray, " pattern"] | Float32[np.ndarray, " pattern"],
    *,
    most: int = MOST,
    rounds: int = ROUNDS,
) -> Basis:
    """Return the directions in which the features of a scan move, from all its patterns or a sample, without labels.

    Parameters
    ----------
    features
        Of every pattern; nan where a detector is dead.
    counts
        Sum of every pattern.
    most
        Directions at most.
    rounds
        Repetitions in which noise and directions are told apart; of a thousand features each takes a second.

    Raises
    ------
    LabelError
        If fewer than `FEWEST` patterns have features, or no feature differs between them.
    """
    whole = np.isfinite(features).any(axis=1)
    x = features[whole].astype(np.float64)
    finite = np.isfinite(x)
    speaks = finite.mean(axis=0) > 0.5
    mean = np.where(speaks, np.sum(np.where(finite, x, 0.0), axis=0) / np.maximum(finite.sum(axis=0), 1), 0.0)
    x = np.where(finite & speaks, x - mean, 0.0)
    variance = np.mean(x**2, axis=0)
    speaks &= variance > 1e-12 * max(float(variance.max(initial=0.0)), 1e-30)
    if len(x) < FEWEST or not speaks.any():
        raise LabelError(
            f"at least {FEWEST} patterns with features that differ are needed to learn from.",
            got=f"{len(x)} patterns, {int(speaks.sum())} features that differ",
            do="look at the scan with `dipolar scan info`: patterns may be empty or all the same",
        )
    axes, spread, noise = _factors(x[:, speaks], most, rounds)
    whole_axes = np.zeros((len(mean), axes.shape[1]))
    whole_axes[speaks] = axes
    whole_noise = np.full(len(mean), np.inf)
    whole_noise[speaks] = noise
    basis = Basis(
        mean=mean,
        noise=whole_noise,
        axes=whole_axes,
        spread=spread,
        counts=float(np.nanmedian(counts[whole])),
        rest=(1.0, 1.0),
    )
    _, over = basis.scores(features[whole].astype(np.float64))
    middle = float(np.nanmedian(over))
    width = 1.4826 * float(np.nanmedian(np.abs(over - middle)))
    return Basis(
        mean=mean,
        noise=whole_noise,
        axes=whole_axes,
        spread=spread,
        counts=basis.counts,
        rest=(middle, max(width, 1e-3 * middle, 1e-9)),
    )


def _factors(
    x: Float[np.ndarray, "pattern feature"], most: int, rounds: int
) -> tuple[Float[np.ndarray, "feature axis"], Float[np.ndarray, " axis"], Float[np.ndarray, " feature"]]:
    """Return orthonormal axes, spread along them and the noise of each feature, by repeated principal factors."""
    rows, width = x.shape
    covariance = x.T @ x / rows
    variance = np.diag(covariance).copy()
    edge = (1.0 + np.sqrt(min(width / rows, 1.0))) ** 2 * BEYOND_EDGE
    least = 1e-3 * variance  # a feature that nothing is left of would weigh without end
    noise = variance.copy()
    values, vectors = np.ones(1), np.zeros((width, 1))
    for _ in range(rounds):
        scale = 1.0 / np.sqrt(noise)
        all_values, all_vectors = np.linalg.eigh(scale[:, None] * covariance * scale)
        kept = max(1, min(int(np.sum(all_values > edge)), most, width, rows - 1))
        values, vectors = all_values[::-1][:kept], all_vectors[:, ::-1][:, :kept]
        common = np.sum(vectors**2 * np.maximum(values - 1.0, 0.0), axis=1) * noise
        noise = np.maximum(variance - common, least)
    sign = np.sign(vectors[np.argmax(np.abs(vectors), axis=0), np.arange(vectors.shape[1])])
    return vectors * sign, np.sqrt(np.maximum(values, 1.0)), np.sqrt(noise)
