"""Probabilities that hold: a temperature from labels held out, beside the share of labels that are slips.

People who label the same pattern twice disagree with themselves in some percent. A slip far from any wall would make
every probability less certain, though the pattern leaves no doubt; so slips are counted apart, as a share of labels
that say nothing, after which the temperature tells how sure one can be of the pattern itself.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dipolar.learn.pattern_logistic import chances

TEMPERATURES = np.exp(np.linspace(np.log(0.08), np.log(8.0), 81))
"""Among which calibration chooses."""
SLIPS = np.array([0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.3])
"""Shares of labels that are slips, among which it chooses."""
DOUBT = 2.0
"""How strongly calibration keeps to the temperature expected, where held-out labels say little."""
TRUST = 10.0
"""How strongly it keeps to labels without slips: as if so many had been checked."""


def calibrate_logits(
    logits: Float[np.ndarray, "label class"],
    label: Int[np.ndarray, " label"],
    *,
    expected: float = 1.0,
    slips: Float[np.ndarray, " share"] = SLIPS,
) -> tuple[float, float]:
    """Return the temperature that logits have to be divided by, and the share of labels that are slips.

    Both are those of the greatest probability of the labels (C. Guo et al., *On calibration of modern neural networks*,
    ICML 2017, for the temperature). With few labels, all of them right, certainty would have no end: hence a prior
    around the temperature that is expected.

    Parameters
    ----------
    logits
        Of labels that the classifier did not learn from; rows with nan are left out.
    label
        What people said.
    expected
        Temperature without any label.
    slips
        Shares among which to choose.
    """
    known = np.isfinite(logits).all(axis=1)
    if not known.any():
        return expected, 0.0
    rows, said = logits[known], label[known]
    chosen = rows[np.arange(len(said)), said]
    above = rows - rows.max(axis=1, keepdims=True)
    scale = 1.0 / TEMPERATURES[:, None]
    total = np.log(np.exp(above[None] * scale[:, :, None]).sum(axis=2))
    right = np.exp((chosen - rows.max(axis=1))[None] * scale - total)
    share = slips[:, None, None]
    probability = (1.0 - share) * right + share * (1.0 - right) / max(rows.shape[1] - 1, 1)
    gain = np.log(np.maximum(probability, 1e-300)).sum(axis=2)
    gain -= 0.5 * DOUBT * np.log(TEMPERATURES / expected) ** 2
    gain += TRUST * np.log1p(-slips)[:, None]
    best_share, best = np.unravel_index(int(np.argmax(gain)), gain.shape)
    return float(TEMPERATURES[best]), float(slips[best_share])


def meant(
    logits: Float[np.ndarray, "label class"], label: Int[np.ndarray, " label"], slips: float
) -> Float[np.ndarray, " label"]:
    """Return the probability of each label to be meant and no slip, where so large a share of them are slips."""
    right = chances(logits)[np.arange(len(label)), label]
    by_chance = slips * (1.0 - right) / max(logits.shape[1] - 1, 1)
    return (1.0 - slips) * right / np.maximum((1.0 - slips) * right + by_chance, 1e-300)
