"""Classifiers of diffraction patterns: what every one of them takes and says, and how it is opened from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped, UInt32

from dipolar.core.errors import LabelError
from dipolar.core.flags import Flag
from dipolar.core.scanning import Bank

Kind = Literal["bank", "small", "published"]
"""Logistic regression on virtual detectors; a small network; the published network."""
Wants = Literal["bank", "patch"]
"""Features of virtual detectors, shape (pattern, feature); or centred and binned patterns, shape (pattern, y, x)."""
FEWEST_EACH = 2
"""Labels that every class needs: one to learn from while the other one is held out."""
FEW = 0.1
"""Share of an equal share of the labels below which a class is rare, and a note is due."""
SECOND = 0.25
"""Share of a second class from which a pattern is called mixed, where the noise lets one see it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What a classifier says of patterns; nan where a pattern has nothing to see."""

    probability: Float32[np.ndarray, "pattern class"]
    """Calibrated probability of each class; they add up to 1."""
    mixture: Float32[np.ndarray, "pattern class"]
    """Share that each class has in the pattern, as where the probe covers a wall; they add up to 1."""
    unfamiliar: Float32[np.ndarray, " pattern"]
    """How unlike all mixtures of the classes it is; above 1 it is flagged."""
    flags: UInt32[np.ndarray, " pattern"]
    """Flag.UNKNOWN_CLASS, Flag.OTHER_DOSE and Flag.MIXED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractPatternClassifier:
    """Says of diffraction patterns which class they are of. Subclass it, and say how in `answers` and `members`.

    What it says of a pattern does not depend on the others that it is asked of at the same time, so that a scan may be
    cut in any way.
    """

    kind: ClassVar[Kind]
    """How it does it."""
    wants: ClassVar[Wants]
    """What it sees."""

    names: tuple[str, ...]
    """Classes."""
    dose: tuple[float, float]
    """Least and greatest counts of a pattern that it is trusted with; beyond them, patterns are flagged."""
    bank: Bank | None = None
    """Virtual detectors whose features it wants; None where it wants patches."""
    key: str = ""
    """`Scan.key` of the scan that it learned from."""
    notes: tuple[str, ...] = ()
    """What was odd in the training."""
    metrics: Mapping[str, Any]
    """How right it was on labels held out, by blocks of the scan where places are known."""

    @property
    def size_px(self) -> int:
        """Edge of the patches that it wants; 0 where it wants features."""
        return 0

    def answers(self, inputs: Shaped[np.ndarray, "pattern *seen"], counts: Shaped[np.ndarray, " pattern"]) -> Answers:
        """Return everything it says of patterns, looking at each of them once.

        Parameters
        ----------
        inputs
            What it `wants`.
        counts
            Sum of each pattern.
        """
        raise TypeError(f"{type(self).__name__} does not say what patterns are")

    def members(
        self, inputs: Shaped[np.ndarray, "pattern *seen"], counts: Shaped[np.ndarray, " pattern"]
    ) -> Float32[np.ndarray, "member pattern class"]:
        """Return the probabilities that each member of its ensemble gives: where they differ, a label is worth most."""
        raise TypeError(f"{type(self).__name__} does not say what its members think")

    def probabilities(
        self, inputs: Shaped[np.ndarray, "pattern *seen"], counts: Shaped[np.ndarray, " pattern"]
    ) -> Float32[np.ndarray, "pattern class"]:
        """Return the calibrated probability of each class."""
        return self.answers(inputs, counts).probability

    def flags(
        self, inputs: Shaped[np.ndarray, "pattern *seen"], counts: Shaped[np.ndarray, " pattern"]
    ) -> UInt32[np.ndarray, " pattern"]:
        """Return what is to be known of each pattern, as bits of `dipolar.core.flags.Flag`."""
        return self.answers(inputs, counts).flags

    def mixture(
        self, inputs: Shaped[np.ndarray, "pattern *seen"], counts: Shaped[np.ndarray, " pattern"]
    ) -> Float32[np.ndarray, "pattern class"]:
        """Return the share of each class in each pattern."""
        return self.answers(inputs, counts).mixture


def answers_of(
    probability: Float[np.ndarray, "pattern class"],
    mixture: Float[np.ndarray, "pattern class"],
    mixture_sigma: Float[np.ndarray, " pattern"],
    unfamiliar: Float[np.ndarray, " pattern"],
    counts: Shaped[np.ndarray, " pattern"],
    dose: tuple[float, float],
) -> Answers:
    """Return answers with the flags that follow from them.

    Parameters
    ----------
    probability, mixture, unfamiliar
        As in `Answers`.
    mixture_sigma
        One standard error of the shares: a second class below three of them is noise.
    counts
        Sum of each pattern.
    dose
        Least and greatest counts that are usual.
    """
    flags = np.zeros(len(probability), dtype=np.uint32)
    second = np.sort(mixture, axis=1)[:, -2] if mixture.shape[1] > 1 else np.zeros(len(mixture))
    for cause, flag in (
        (unfamiliar > 1.0, Flag.UNKNOWN_CLASS),
        ((counts < dose[0]) | (counts > dose[1]), Flag.OTHER_DOSE),
        (second > np.maximum(SECOND, 3.0 * mixture_sigma), Flag.MIXED),
    ):
        flags[cause] |= np.uint32(flag)
    return Answers(
        probability=probability.astype(np.float32),
        mixture=mixture.astype(np.float32),
        unfamiliar=unfamiliar.astype(np.float32),
        flags=flags,
    )


def check_labels(label: Int[np.ndarray, " label"], names: Sequence[str]) -> tuple[str, ...]:
    """Return what is odd in the labels, as notes in words.

    Raises
    ------
    LabelError
        If nothing can be learned from them: fewer than two classes, or a class with fewer than `FEWEST_EACH`.
    """
    count = np.bincount(label, minlength=len(names)) if len(label) else np.zeros(len(names), dtype=np.int64)
    told = ", ".join(f"{name} {number}" for name, number in zip(names, count, strict=True)) or "no labels"
    if len(names) != len(set(names)):
        raise LabelError("every class has a name of its own.", got=", ".join(names))
    if len(names) < 2 or np.count_nonzero(count) < 2:
        raise LabelError(
            "a classifier tells at least two classes apart.",
            got=told,
            do="label patterns of another class too: `dipolar scan suggest` proposes some",
        )
    lacking = [name for name, number in zip(names, count, strict=True) if number < FEWEST_EACH]
    if lacking:
        raise LabelError(
            f"every class needs at least {FEWEST_EACH} labels.",
            got=told,
            do=f"label more of {', '.join(lacking)}, or leave the class out",
        )
    fair = len(label) / len(names)
    return tuple(
        f"the class {name} has {number} of {len(label)} labels: what is said of it rests on few"
        for name, number in zip(names, count, strict=True)
        if number < FEW * fair
    )


def class_weights(label: Int[np.ndarray, " label"], classes: int) -> Float[np.ndarray, " label"]:
    """Return how much each label counts: a rare class as much as a tenth of an equal share, all others by number."""
    count = np.maximum(np.bincount(label, minlength=classes), 1)
    weight: Float[np.ndarray, " label"] = np.maximum(1.0, FEW * len(label) / classes / count)[label]
    return weight
