"""The study of labels: how right classifiers of diffraction patterns are against how many were labelled, and which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from dipolar.core.contracts import Progress, silent
from dipolar.core.scanning import Labels
from dipolar.label import querying, sampling
from dipolar.label.positions import no_labels
from dipolar.learn.blocks import SplitByBlocks, block_of
from dipolar.learn.device import threads
from dipolar.learn.pattern_baseline import position_only
from dipolar.learn.pattern_scores import NEAR_WALL_STEPS, validate
from dipolar.recipes.scan_look import Look, Seen, look_over
from dipolar.recipes.scan_settings import ScanTrainSettings, parse_scan_shape
from dipolar.recipes.scan_train import EACH, look_for, taught
from dipolar.recipes.study import remembered, run_jobs, runner
from dipolar.recipes.study_settings import LabelsSettings
from dipolar.simulate.scan import SimulatedScan, simulate_scan
from dipolar.simulate.scan_settings import SimulatedScanSettings

BEGIN = 20
"""Labels of kmeans with which margin begins, and step by which it asks for more."""
STEP = 10
HELD_OUT = 3
"""One of so many parts of the scan, by blocks, is never labelled, and is what everything is tested on."""
POSITION = "position only"
"""Name of the classifier that sees no pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsJob:
    """One scan of the study: all its strategies, numbers of labels and classifiers."""

    seed: int
    """Of scan, labels and networks."""
    settings: LabelsSettings
    """Of the study."""
    work: Path
    """Where results are kept until the study is whole."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """A simulated scan with what is seen of it, and what may be asked."""

    simulated: SimulatedScan
    """The scan and its truth."""
    seen: Mapping[str, tuple[Look, Seen]]
    """Of all patterns, by what a classifier sees: "bank", "small", "published"."""
    test: Bool[np.ndarray, " pattern"]
    """Patterns that are held out."""

    def answer(self, labels: Labels, positions: np.ndarray) -> Labels:
        """Return the labels with the true ones of further positions."""
        truth = self.simulated.truth
        return Labels(
            key=labels.key,
            shape=labels.shape,
            names=truth.names,
            positions=np.concatenate([labels.positions, positions]).astype(np.int32),
            label=np.concatenate([labels.label, truth.label[positions[:, 0], positions[:, 1]]]).astype(np.int32),
        )


def study_labels(settings: LabelsSettings, *, work: Path, progress: Progress = silent) -> list[Mapping[str, Any]]:
    """Return a row for every seed, classifier, strategy and number of labels: how right it is on what was held out.

    Each seed is a scan of its own with exact truth; a third of it, in blocks, is never labelled.

    Parameters
    ----------
    settings
        Scan, labels, strategies, classifiers.
    work
        Folder in which each finished scan leaves its rows, so that a study that was stopped goes on.
    progress
        Told how far it has come.
    """
    jobs = [LabelsJob(seed=settings.seed + number, settings=settings, work=work) for number in range(settings.seeds)]
    told = run_jobs(labels_job, jobs, spread=runner(settings.workers), step="learning from labels", progress=progress)
    return [row for result in told for row in result["rows"]]


def labels_job(job: LabelsJob) -> Mapping[str, Any]:
    """Return the rows of one scan, from disk where they were made before."""
    study = job.settings.model_dump(exclude={"seeds", "seed", "workers", "figures"})
    return remembered(job.work, {"study": "labels", **study, "seed": job.seed}, partial(_rows, job))


def _rows(job: LabelsJob) -> Mapping[str, Any]:
    with threads(1):
        question = question_of(job)
        rows: list[Mapping[str, Any]] = []
        for strategy in job.settings.strategies.split(","):
            labels = no_labels(question.simulated.scan.key, question.simulated.scan.shape)
            rng = np.random.default_rng([job.seed, 7])
            for budget in job.settings.budgets:
                labels = asked(question, labels, budget, strategy, rng, job.seed)
                rows += [
                    judged(question, labels, strategy, budget, kind, job.seed)
                    for kind in (POSITION, *job.settings.classifiers.split(","))
                ]
    return {"rows": rows}


def question_of(job: LabelsJob) -> Question:
    """Return one simulated scan, looked at in every way that its classifiers need."""
    settings = job.settings
    ghosts = settings.ghost_strength
    simulated = simulate_scan(
        SimulatedScanSettings(
            shape=parse_scan_shape(settings.scan_shape),
            pattern_px=(settings.pattern_px, settings.pattern_px),
            electrons=settings.electrons,
            ghost_strength=SimulatedScanSettings().ghost_strength if ghosts is None else ghosts,
        ),
        seed=job.seed,
    )
    scan, every = simulated.scan, np.arange(simulated.scan.count, dtype=np.int64)
    kinds = dict.fromkeys(("bank", *settings.classifiers.split(",")))  # strategies go by the bank
    looks = {kind: look_for(scan, training(kind, job.seed)) for kind in kinds}
    return Question(
        simulated=simulated,
        seen={kind: (look, look_over(scan, look, every)) for kind, look in looks.items()},
        test=held_out(scan.shape),
    )


def held_out(shape: tuple[int, int]) -> Bool[np.ndarray, " pattern"]:
    """Return which patterns of a scan of this shape are never labelled: a third of it, in blocks."""
    places = np.stack(np.divmod(np.arange(shape[0] * shape[1]), shape[1]), axis=1)
    blocks = SplitByBlocks(blocks=(min(4, shape[0]), min(12, shape[1])), folds=HELD_OUT)
    return block_of(places, window_px=1, split=blocks, shape_px=shape) == 0


def training(kind: str, seed: int) -> ScanTrainSettings:
    """Return how a classifier is trained."""
    return ScanTrainSettings(classifier=kind, seed=seed)


def asked(
    question: Question, labels: Labels, budget: int, strategy: str, rng: np.random.Generator, seed: int
) -> Labels:
    """Return labels grown to the budget, and beyond it until every class has its fewest."""
    free = ~question.test.reshape(labels.shape)
    while len(labels.label) < budget or _lacking(question, labels):
        left = max(budget - len(labels.label), 1)
        if strategy == "random":
            new = sampling.random(labels, left, rng=rng, free=free)
        elif strategy == "adaptive":
            new = sampling.adaptive(labels, min(left, STEP), rng=rng, free=free)
        elif strategy == "kmeans" or len(labels.label) < BEGIN or _lacking(question, labels):
            first = left if strategy == "kmeans" else min(left, max(BEGIN - len(labels.label), 1))
            new = querying.kmeans(labels, first, question.seen["bank"][1].seen, rng=rng, free=free)
        else:
            chances = _chances(question, labels, "bank", seed)
            new = querying.margin(labels, min(left, STEP), chances[None], rng=rng, free=free)
        if not len(new):
            break
        labels = question.answer(labels, new)
    return labels


def _lacking(question: Question, labels: Labels) -> bool:
    """Return whether a class has too few labels to learn from."""
    there = np.bincount(question.simulated.truth.label.ravel(), minlength=len(question.simulated.truth.names)) > 0
    return bool((np.bincount(labels.label, minlength=len(there))[there] < EACH).any())


def judged(question: Question, labels: Labels, strategy: str, budget: int, kind: str, seed: int) -> Mapping[str, Any]:
    """Return the row of one classifier: how right it is on the part that was held out."""
    truth, test = question.simulated.truth, question.test
    if kind == POSITION:
        places = np.stack(np.divmod(np.flatnonzero(test), labels.shape[1]), axis=1).astype(np.int32)
        chances = position_only(labels.positions, labels.label, places, len(truth.names))
    else:
        chances = _chances(question, labels, kind, seed)[test]
    near = truth.wall_distance.ravel()[test] <= NEAR_WALL_STEPS
    told = validate(
        chances, truth.label.ravel()[test], truth.names, near_wall=near, source="truth of the simulation"
    ).figures
    return {
        "seed": seed,
        "classifier": kind,
        "strategy": strategy,
        "budget": budget,
        "labels": len(labels.label),
        "accuracy": told["accuracy"],
        "balanced_accuracy": told["balanced accuracy"],
        "recall_none": told.get("recall of none", float("nan")),
        "near_walls": told["near walls"],
        "calibration_error": told["expected calibration error"],
    }


def _chances(question: Question, labels: Labels, kind: str, seed: int) -> Float32[np.ndarray, "pattern class"]:
    """Return what a classifier that learned from the labels says of all patterns."""
    look, seen = question.seen[kind]
    numbers = np.ravel_multi_index(tuple(labels.positions.T), labels.shape).astype(np.int64)
    classifier = taught(question.simulated.scan, labels, look, seen, numbers, training(kind, seed))
    return classifier.probabilities(seen.seen, seen.counts)
