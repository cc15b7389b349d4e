"""Patterns as they could have been taken as well: with fewer electrons, shifted, turned by half, or across a wall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Variations:
    """How a pattern may vary without changing its class."""

    thinning: tuple[float, float] = (0.08, 1.0)
    """Least and greatest share of the electrons that are kept; even over its logarithm."""
    shift_px: int = 1
    """Greatest shift along each axis: what centring leaves over."""
    half_turns: bool = True
    """Whether a pattern turned by 180° is of the same class: for ghosts of an antipolar axis it is."""
    mixed: float = 0.3
    """Share of patterns that are made of two, as the probe sees them at a wall."""


def thinned(
    patterns: Float[np.ndarray, "pattern y x"], kept: Float[np.ndarray, " pattern"], rng: np.random.Generator
) -> Float32[np.ndarray, "pattern y x"]:
    """Return patterns of which each electron was kept with the probability `kept`: as with so much less dose.

    Of whole counts it is exact, a binomial draw of each. Of values in between, as after interpolation, what is beyond
    the whole number stays in proportion.
    """
    whole = np.floor(np.maximum(patterns, 0.0))
    left = np.asarray(patterns) - whole
    drawn = rng.binomial(whole.astype(np.int64), kept[:, None, None])
    return (drawn + left * kept[:, None, None]).astype(np.float32)


def shifted(
    patterns: Float32[np.ndarray, "pattern y x"], by_px: np.ndarray, half_turn: np.ndarray
) -> Float32[np.ndarray, "pattern y x"]:
    """Return patterns moved by whole pixels, the rim repeated, and turned by 180° where asked for."""
    height, width = patterns.shape[1:]
    rows = np.clip(np.arange(height) - by_px[:, :1], 0, height - 1)
    columns = np.clip(np.arange(width) - by_px[:, 1:], 0, width - 1)
    moved = patterns[np.arange(len(patterns))[:, None, None], rows[:, :, None], columns[:, None, :]]
    moved[half_turn] = moved[half_turn, ::-1, ::-1]
    return moved


def diluted(
    patterns: Float32[np.ndarray, "pattern y x"], variations: Variations, rng: np.random.Generator
) -> Float32[np.ndarray, "pattern y x"]:
    """Return the patterns, each with a dose of its own."""
    low, high = variations.thinning
    return thinned(patterns, np.exp(rng.uniform(np.log(low), np.log(high), len(patterns))), rng)


def varied(
    patterns: Float32[np.ndarray, "pattern y x"],
    target: Float32[np.ndarray, "pattern class"],
    variations: Variations,
    rng: np.random.Generator,
) -> tuple[Float32[np.ndarray, "pattern y x"], Float32[np.ndarray, "pattern class"]]:
    """Return the patterns, each shifted, turned and mixed at random, and what is then true of them.

    A pattern made of two is the sum of their counts in shares that are even between 0 and 1, and so is its target.
    """
    count = len(patterns)
    moves = rng.integers(-variations.shift_px, variations.shift_px + 1, (count, 2))
    turns = (rng.random(count) < 0.5) & variations.half_turns
    patterns = shifted(patterns, moves, turns)
    rows = np.flatnonzero(rng.random(count) < variations.mixed)
    if len(rows):
        other = rng.integers(0, count, len(rows))
        share = rng.random(len(rows)).astype(np.float32)
        # shares of what each side would give alone, whatever their doses were
        sums = np.maximum(patterns.sum(axis=(1, 2)), 1e-6)
        factor = (share * 1.0)[:, None, None], ((1.0 - share) * sums[rows] / sums[other])[:, None, None]
        mixed = factor[0] * patterns[rows] + factor[1].astype(np.float32) * patterns[other]
        blended = share[:, None] * target[rows] + (1.0 - share)[:, None] * target[other]
        patterns, target = patterns.copy(), target.copy()
        patterns[rows], target[rows] = mixed, blended
    return patterns, target
