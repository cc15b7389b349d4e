"""Training of the bank classifier: labels in, a calibrated classifier out, in tens of milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int32, Shaped
from scipy.special import chdtri

from dipolar.core.errors import LabelError
from dipolar.core.scanning import Bank
from dipolar.learn.pattern_bank import BankClassifier, BankMember, regressors
from dipolar.learn.pattern_basis import ROUNDS, Basis, learn_basis
from dipolar.learn.pattern_calibration import calibrate_logits, meant
from dipolar.learn.pattern_classes import SLOPE, learn_classes
from dipolar.learn.pattern_logistic import chances, fit_logistic
from dipolar.learn.pattern_scores import metrics_of, stratified_folds, validate
from dipolar.learn.patterns import check_labels, class_weights

UNLABELLED = 1000
"""Patterns without a label that are looked at in a fit: more say nothing new, and a refit is to take milliseconds."""
FOLDS = 4
"""Parts of the labels of which each is held out once."""
USUAL, MARGIN = 0.95, 1.25
"""Quantile of the distances of labels held out, and the factor on it, from which a pattern is of no known class."""
STRAY = 1.25
"""How far beyond what their median lets one expect that quantile may be: without a bound, labels that hold some of a
class nobody named put the limit so far out that all of that class lay within."""
ELSEWHERE = 1.35
"""Factor on the limit of distances from mixtures besides: another scan of the same crystal has other thicknesses and
tilts. On simulated ones 9 to 15 % of right patterns lay beyond the limit of the training, and 1 % beyond 1.3 of it;
patterns of classes that were never labelled lay beyond 1.8. (``benchmarks/scan.py transfer unknown``)"""
SUSPECT = 0.05
"""Share of labels that may be slips before anything is known: one of them must not turn the whole regression."""
OTHER_DOSE = 4.0
"""Factor on the counts of the training from which the dose is another one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Survey:
    """What all patterns of a scan say before anything is labelled."""

    basis: Basis
    """What moves in the features."""
    scores: Float[np.ndarray, "pattern axis"]
    """Where some of the patterns lie, evenly taken from the scan."""
    counts: tuple[float, float]
    """Least and greatest counts of a pattern, but for one in a hundred."""


def survey(
    features: Shaped[np.ndarray, "pattern feature"], counts: Shaped[np.ndarray, " pattern"], *, rounds: int = ROUNDS
) -> Survey:
    """Return what patterns say without labels: all of the scan, or an even sample of it.

    Parameters
    ----------
    features
        Of the bank; nan where a detector is dead.
    counts
        Sum of each pattern.
    rounds
        As for `dipolar.learn.pattern_basis.learn_basis`.

    Raises
    ------
    LabelError
        If there are too few patterns, or all are the same.
    """
    basis = learn_basis(features, counts.astype(np.float64), rounds=rounds)
    some = np.unique(np.linspace(0, len(features) - 1, UNLABELLED).round().astype(np.int64))
    scores, _ = basis.scores(features[some])
    low, high = np.nanquantile(counts, [0.01, 0.99])
    return Survey(basis=basis, scores=scores[np.isfinite(scores).all(axis=1)], counts=(float(low), float(high)))


def train_bank(
    surveyed: Survey,
    features: Shaped[np.ndarray, "label feature"],
    label: Int[np.ndarray, " label"],
    names: Sequence[str],
    *,
    fold: Int32[np.ndarray, " label"] | None = None,
    bank: Bank | None = None,
    key: str = "",
    members: int = 1,
    seed: int = 0,
) -> BankClassifier:
    """Return a classifier of the labelled patterns.

    Parameters
    ----------
    surveyed
        What `survey` found in the scan.
    features
        Of the labelled patterns.
    label
        Which of `names` each is.
    names
        Classes.
    fold
        Part of each label; each part is held out once (`dipolar.learn.pattern_scores.folds_of`). None: at random.
    bank
        The virtual detectors, to be written on the model.
    key
        `Scan.key` of the scan.
    members
        Number of regressions: the first one of all labels, each other one of labels drawn with replacement.
    seed
        Of what is drawn.

    Raises
    ------
    LabelError
        If nothing can be learned from the labels.
    """
    scores, over = surveyed.basis.scores(features)
    if not np.isfinite(scores).all():
        lost = int(np.sum(~np.isfinite(scores).all(axis=1)))
        raise LabelError(
            "a labelled pattern has something to see.",
            got=f"{lost} of {len(label)} labelled patterns are blank, or most of their detectors are dead",
            do="undo these labels",
        )
    notes = check_labels(label, names)
    rng = np.random.default_rng(seed)
    parts = stratified_folds(label, folds=FOLDS, rng=rng) if fold is None else fold
    first, ridge = _member(surveyed, scores, label, len(names))
    drawn = [_drawn(label, rng) for _ in range(members - 1)]
    others = [_member(surveyed, scores[rows], label[rows], len(names), ridge=ridge)[0] for rows in drawn]
    logits, away = held_out(surveyed, scores, label, len(names), parts)
    temperature, slips = calibrate_logits(logits, label, expected=1.0 / first.softness)
    told = validate(chances(logits / temperature), label, names)
    low, high = surveyed.counts
    seen = first.classes.within_simplex(scores, first.classes.weighing())[1]
    middle, width = surveyed.basis.rest
    return BankClassifier(
        names=tuple(names),
        dose=(low / OTHER_DOSE, high * OTHER_DOSE),
        bank=bank,
        key=key,
        notes=notes,
        metrics=metrics_of(told, labels=float(len(label)), slips=slips, ridge=ridge),
        basis=surveyed.basis,
        ensemble=(first, *others),
        temperature=temperature,
        limits=(
            _limit_of(away, seen, scores.shape[1]),
            max(middle + 6.0 * width, MARGIN * float(np.quantile(over, USUAL))),
        ),
    )


def _limit_of(held_out: Float[np.ndarray, " label"], seen: Float[np.ndarray, " label"], axes: int) -> float:
    """Return the distance from all mixtures from which a pattern is of no known class.

    Of patterns with a label, some hold a class that nobody named, and fits without some labels may miss a corner: hence
    a quantile and not the greatest, and no more than the median lets one expect of distances over so many axes.

    Parameters
    ----------
    held_out
        Distances of labels by fits that did not see them; nan where there is none.
    seen
        Distances of the same labels by the fit to all of them.
    axes
        Over how many axes distances are the root mean square.
    """
    spread = np.sqrt(chdtri(axes, 1.0 - USUAL) / chdtri(axes, 0.5))
    limit = STRAY * float(np.median(seen) * spread)
    known = np.isfinite(held_out)
    if known.any():
        limit = min(limit, float(np.quantile(held_out[known], USUAL)))
    return ELSEWHERE * MARGIN * limit


def _member(
    surveyed: Survey,
    scores: Float[np.ndarray, "label axis"],
    label: Int[np.ndarray, " label"],
    classes: int,
    *,
    ridge: float | None = None,
) -> tuple[BankMember, float]:
    """Return one regression, and the ridge that the labels asked for."""
    lie = learn_classes(scores, label, classes, surveyed.scores)
    weighing = lie.weighing()
    shares = lie.shares(scores, weighing)
    prior = SLOPE * weighing.separation * shares
    # Labels that follow another rule than the greatest share make it softer, and the regression finds their rule.
    softness, _ = calibrate_logits(prior, label, slips=np.zeros(1))
    prior = prior / softness
    found = fit_logistic(
        regressors(shares, scores, float(surveyed.basis.spread[0])),
        label,
        classes,
        prior=prior,
        weight=class_weights(label, classes) * meant(prior, label, SUSPECT),
        ridge=ridge,
    )
    return BankMember(classes=lie, weights=found.weights, softness=softness), found.ridge


def held_out(
    surveyed: Survey,
    scores: Float[np.ndarray, "label axis"],
    label: Int[np.ndarray, " label"],
    classes: int,
    fold: Int32[np.ndarray, " label"],
) -> tuple[Float[np.ndarray, "label class"], Float[np.ndarray, " label"]]:
    """Return logits of each label, and its distance from all mixtures, by a fit that did not see it; nan without one.

    A part that holds all labels of a class cannot be held out. Nothing of the fit to all labels is taken over, neither
    its ridge nor a place to begin at: where classes lie would remember the labels that it saw.

    Parameters
    ----------
    surveyed
        What all patterns say.
    scores
        Where the labelled ones lie.
    label
        Which class each is.
    classes
        How many there are.
    fold
        Part of each label, held out together; -1 is never held out.
    """
    logits, away = np.full((len(label), classes), np.nan), np.full(len(label), np.nan)
    largest = float(surveyed.basis.spread[0])
    for part in np.unique(fold[fold >= 0]):
        rest, out = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        if len(np.unique(label[rest])) < classes:
            continue
        member, _ = _member(surveyed, scores[rest], label[rest], classes)
        weighing = member.classes.weighing()
        logits[out] = member.logits(scores[out], weighing, largest)
        away[out] = member.classes.within_simplex(scores[out], weighing)[1]
    return logits, away


def _drawn(label: Int[np.ndarray, " label"], rng: np.random.Generator) -> Int[np.ndarray, " label"]:
    """Return rows drawn with replacement, within each class."""
    rows = [
        rng.choice(np.flatnonzero(label == number), size=int(np.sum(label == number))) for number in np.unique(label)
    ]
    return np.concatenate(rows)
