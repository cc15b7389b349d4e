"""From labels to a classifier of networks: trained, calibrated on labels held out, with what is familiar to it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int, Int32, Shaped

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import LabelError
from dipolar.learn.pattern_bank_training import survey, train_bank
from dipolar.learn.pattern_calibration import calibrate_logits
from dipolar.learn.pattern_logistic import chances
from dipolar.learn.pattern_network import AbstractNetworkClassifier, PublishedClassifier, SmallClassifier, coarse, look
from dipolar.learn.pattern_networks import PatternNetwork, Reading, SmallNetwork, build_pattern_network
from dipolar.learn.pattern_scores import metrics_of, stratified_folds, validate
from dipolar.learn.pattern_training import (
    PublishedTraining,
    SmallTraining,
    batches,
    train_published_network,
    train_small_network,
)
from dipolar.learn.patterns import check_labels, class_weights

FOLDS = 2
"""Parts of the labels of which each is held out once: each costs a training."""
ROUNDS = 3
"""Repetitions in which what moves in coarse pixels is told from noise."""
OTHER_DOSE = 2.0
"""Factor beyond the doses of the training from which the dose is another one."""

Network = TypeVar("Network", bound=AbstractNetworkClassifier)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """What a network learns from."""

    patches: Shaped[np.ndarray, "label y x"]
    """Labelled patterns: counts, centred and binned."""
    counts: Shaped[np.ndarray, " label"]
    """Sum of each."""
    label: Int[np.ndarray, " label"]
    """Which of `names` each is."""
    names: tuple[str, ...]
    """Classes."""
    fold: Int32[np.ndarray, " label"] | None = None
    """Part of each label, held out in two halves (`dipolar.learn.pattern_scores.folds_of`); None: at random."""
    others: Shaped[np.ndarray, "pattern y x"] | None = None
    """Patterns of the scan without a label, which tell what is familiar."""


def train_small(
    examples: Examples,
    *,
    choices: SmallTraining | None = None,
    start: SmallClassifier | None = None,
    members: int = 1,
    key: str = "",
    seed: int = 0,
    progress: Progress = silent,
) -> SmallClassifier:
    """Return a classifier of small networks.

    Parameters
    ----------
    examples
        What to learn from.
    choices
        How networks are trained; None: as they are by default.
    start
        A classifier of nearly the same labels: its networks are trained on, and its calibration is kept, which takes
        seconds. None: fresh networks, and labels held out for calibration.
    members
        Number of fresh networks.
    key
        `Scan.key` of the scan.
    seed
        Of first weights and of what is drawn.
    progress
        Told how far it is.

    Raises
    ------
    LabelError
        If nothing can be learned from the labels, or `start` knows other classes or patches.
    TrainingError
        If a loss is no finite number.
    """
    choices = choices or SmallTraining()
    notes = check_labels(examples.label, examples.names)
    size = examples.patches.shape[1]
    if start is not None and (start.names != examples.names or start.size_px != size):
        raise LabelError(
            "a network is trained on with the classes and patches that it knows.",
            got=f"{', '.join(examples.names)} at {size} px, after {', '.join(start.names)} at {start.size_px} px",
            do="train it anew",
        )
    rows = np.arange(len(examples.label))
    if start is not None:
        networks = [
            _trained(examples, rows, choices, seed=seed + number, network=copy.deepcopy(network), progress=progress)
            for number, network in enumerate(start.networks)
        ]
        temperature, metrics = start.temperature, dict(start.metrics)
    else:
        networks = [_trained(examples, rows, choices, seed=seed + n, progress=progress) for n in range(members)]
        temperature, metrics = _calibrated(examples, choices, seed=seed, progress=progress)
    least = choices.variations.thinning[0]
    return _classifier(SmallClassifier, networks, examples, temperature, metrics, notes, key, least=least)


def train_published(
    examples: Examples,
    *,
    reading: Reading = "released",
    choices: PublishedTraining | None = None,
    members: int = 1,
    key: str = "",
    seed: int = 0,
    progress: Progress = silent,
) -> PublishedClassifier:
    """Return a classifier of the published network, which learns from the labelled patterns as they are.

    Parameters
    ----------
    examples
        What to learn from.
    reading
        Which of the sizes that code, figure and text tell.
    choices
        How it is trained; None: as published, as far as that is known.
    members, key, seed, progress
        As for `train_small`.

    Raises
    ------
    LabelError
        If nothing can be learned from the labels.
    TrainingError
        If a loss is no finite number.
    """
    choices = choices or PublishedTraining()
    notes = check_labels(examples.label, examples.names)
    patches = np.asarray(examples.patches, dtype=np.float32)
    logits = np.full((len(patches), len(examples.names)), np.nan)
    networks = []
    for number in range(members):
        rng = np.random.default_rng([seed, number])
        parts = max(2, round(1.0 / choices.validation))
        held_out = stratified_folds(examples.label, folds=parts, rng=rng) == 0
        architecture = {"reading": reading, "classes": len(examples.names)}
        fresh = build_pattern_network("published", architecture, seed=seed + number)
        trained = train_published_network(fresh, patches, examples.label, held_out, choices, rng=rng, progress=progress)
        if number == 0:
            logits[held_out] = look(trained, patches[held_out])
        networks.append(trained)
    temperature, slips = calibrate_logits(logits, examples.label)
    told = validate(chances(logits / temperature), examples.label, examples.names)
    metrics = metrics_of(told, slips=slips, labels=float(len(patches)))
    return _classifier(PublishedClassifier, networks, examples, temperature, metrics, notes, key, least=1.0)


def _trained(
    examples: Examples,
    rows: Int[np.ndarray, " row"],
    choices: SmallTraining,
    *,
    seed: int,
    network: PatternNetwork | None = None,
    progress: Progress,
) -> PatternNetwork:
    """Return one small network, trained on these rows of the labels."""
    steps = choices.steps if network is None else choices.steps_more
    classes = len(examples.names)
    patterns = np.asarray(examples.patches[rows], dtype=np.float32)
    target = np.eye(classes, dtype=np.float32)[examples.label[rows]]
    weight = class_weights(examples.label[rows], classes)
    if network is None:
        architecture = {"size_px": patterns.shape[1], "classes": classes}
        network = build_pattern_network("small", architecture, seed=seed)
        assert isinstance(network, SmallNetwork)
        usual = patterns if examples.others is None else np.asarray(examples.others, dtype=np.float32)
        network.settle(usual)
    give = batches(patterns, target, weight, choices, seed=seed)
    return train_small_network(network, give, choices, steps=steps, progress=progress)


def _calibrated(
    examples: Examples, choices: SmallTraining, *, seed: int, progress: Progress
) -> tuple[float, dict[str, Any]]:
    """Return the temperature, and how right networks are on the half of the labels that they did not learn from."""
    label, classes = examples.label, len(examples.names)
    fold = stratified_folds(label, folds=FOLDS, rng=np.random.default_rng(seed))
    if examples.fold is not None:
        fold = (examples.fold % FOLDS).astype(np.int32)
    logits = np.full((len(label), classes), np.nan)
    for part in range(FOLDS):
        rest, out = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        if len(out) and len(np.unique(label[rest])) == classes:
            trained = _trained(examples, rest, choices, seed=seed, progress=progress)
            logits[out] = look(trained, examples.patches[out])
    temperature, slips = calibrate_logits(logits, label)
    told = validate(chances(logits / temperature), label, examples.names)
    return temperature, metrics_of(told, slips=slips, labels=float(len(label)))


def _classifier(
    make: Callable[..., Network],
    networks: Sequence[PatternNetwork],
    examples: Examples,
    temperature: float,
    metrics: dict[str, float],
    notes: tuple[str, ...],
    key: str,
    *,
    least: float,
) -> Network:
    """Return the classifier, with what is familiar to it."""
    seen, counts = coarse(examples.patches), np.asarray(examples.counts, dtype=np.float64)
    every = seen if examples.others is None else np.concatenate([coarse(examples.others), seen])
    surveyed = survey(every, np.full(len(every), float(np.median(counts))), rounds=ROUNDS)
    return make(
        names=examples.names,
        dose=(float(counts.min()) * least / OTHER_DOSE, float(counts.max()) * OTHER_DOSE),
        key=key,
        notes=notes,
        metrics=metrics,
        networks=tuple(networks),
        temperature=temperature,
        familiar=train_bank(surveyed, seen, examples.label, examples.names, fold=examples.fold),
    )
