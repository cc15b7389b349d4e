"""How right a classifier of patterns is: accuracy, by class and near walls, and whether its probabilities hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from dipolar.core.scanning import ScanValidation
from dipolar.learn.blocks import SplitByBlocks, block_of

BINS = 15
"""Into which positions are sorted by confidence (C. Guo et al., ICML 2017)."""
NEAR_WALL_STEPS = 2.0
"""Distance to a wall, in probe steps, within which a position is near it."""


def validate(
    probability: Float[np.ndarray, "pattern class"] | Float32[np.ndarray, "pattern class"],
    label: Int[np.ndarray, " pattern"],
    names: Sequence[str],
    *,
    near_wall: Bool[np.ndarray, " pattern"] | None = None,
    source: str = "held-out labels",
) -> ScanValidation:
    """Return how right a classifier is on patterns that it did not learn from.

    Parameters
    ----------
    probability
        What it says; patterns with nan are left out.
    label
        What is right; -1 where nothing is known.
    names
        Classes.
    near_wall
        Which patterns are near a wall; None: not known, and not told.
    source
        What is held to be right.
    """
    known = np.isfinite(probability).all(axis=1) & (label >= 0)
    p, truth = probability[known].astype(np.float64), label[known]
    said = np.argmax(p, axis=1) if len(p) else np.zeros(0, dtype=np.int64)
    right = said == truth
    recall = {name: _share(right[truth == number]) for number, name in enumerate(names)}
    figures = {
        "accuracy": _share(right),
        "balanced accuracy": _mean([value for value in recall.values() if np.isfinite(value)]),
    }
    if near_wall is not None:
        figures["near walls"] = _share(right[near_wall[known]])
    confidence, correct, count = reliability_of(p, truth)
    figures["expected calibration error"] = calibration_error(confidence, correct, count)
    figures |= {f"recall of {name}": value for name, value in recall.items()}
    return ScanValidation(figures=figures, confidence=confidence, correct=correct, count=count, source=source)


def metrics_of(told: ScanValidation, **more: float) -> dict[str, Any]:
    """Return figures by name, and under "reliability" the bins that they were told from, as a card keeps them."""
    curve = {name: getattr(told, name).tolist() for name in ("confidence", "correct", "count")}
    return {**told.figures, **more, "reliability": curve}


def reliability_of(
    probability: Float[np.ndarray, "pattern class"], label: Int[np.ndarray, " pattern"], *, bins: int = BINS
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"], Int[np.ndarray, " bin"]]:
    """Return mean confidence, share of the right ones, and number of patterns, in bins of equal width of confidence."""
    if not len(label):
        return np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64)
    top = probability.max(axis=1)
    right = np.argmax(probability, axis=1) == label
    place = np.minimum((top * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = count > 0
    confidence = np.bincount(place, weights=top, minlength=bins)[filled] / count[filled]
    correct = np.bincount(place, weights=right, minlength=bins)[filled] / count[filled]
    return confidence, correct, count[filled]


def calibration_error(
    confidence: Float[np.ndarray, " bin"], correct: Float[np.ndarray, " bin"], count: Int[np.ndarray, " bin"]
) -> float:
    """Return the expected calibration error: the mean difference of confidence and share of the right ones."""
    if not len(count):
        return float("nan")
    return float(np.sum(count * np.abs(confidence - correct)) / count.sum())


def folds_of(
    positions: Int32[np.ndarray, "label 2"], shape: tuple[int, int], *, folds: int = 4
) -> Int32[np.ndarray, " label"]:
    """Return the fold of every label, by blocks of the scan: neighbours share a domain, so whole regions are held out.

    Parameters
    ----------
    positions
        (scan_y, scan_x) of each label.
    shape
        (scan_y, scan_x) of the scan.
    folds
        How many.
    """
    blocks = tuple(max(1, min(4, size)) for size in shape)
    split = SplitByBlocks(blocks=(blocks[0], blocks[1]), folds=min(folds, blocks[0] * blocks[1]))
    return block_of(positions.astype(np.int64), window_px=1, split=split, shape_px=shape)


def stratified_folds(
    label: Int[np.ndarray, " label"], *, folds: int = 4, rng: np.random.Generator
) -> Int32[np.ndarray, " label"]:
    """Return folds in which every class is as frequent as in the whole, for labels whose place is not known."""
    fold = np.zeros(len(label), dtype=np.int32)
    begin = 0
    for number in np.unique(label):
        rows = rng.permutation(np.flatnonzero(label == number))
        fold[rows] = (np.arange(len(rows)) + begin) % folds
        begin += len(rows)
    return fold


def _share(right: Bool[np.ndarray, " pattern"]) -> float:
    return float(right.mean()) if len(right) else float("nan")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
