"""How long classifiers of patterns take to learn one more label, the patterns having been looked at before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dipolar.io.scans import open_scan
from dipolar.learn.pattern_bank_training import survey, train_bank
from dipolar.learn.pattern_network_training import train_small
from dipolar.learn.pattern_scores import folds_of
from dipolar.learn.pattern_training import SmallTraining
from dipolar.recipes.scan_look import look_over
from dipolar.recipes.scan_settings import ScanTrainSettings
from dipolar.recipes.scan_train import look_for
from dipolar.simulate.scan import SimulatedScan
from harness.process import cost
from harness.scan_files import examples_of, some_labels


def refit_bank(made: SimulatedScan, path: Path, *, repeats: int) -> tuple[float, float]:
    """Return wall and CPU seconds of the fastest refit of the bank; the survey of all patterns, once before, apart."""
    scan, labels = open_scan(path), some_labels(made)
    seen = look_over(scan, look_for(scan, ScanTrainSettings()), np.arange(scan.count))
    rows = np.ravel_multi_index(tuple(labels.positions.T), labels.shape)
    surveyed = survey(seen.seen, seen.counts)
    fold = folds_of(labels.positions, labels.shape)
    return _best(
        lambda: train_bank(surveyed, seen.seen[rows], labels.label, labels.names, fold=fold, key=scan.key), repeats
    )


def refit_small(made: SimulatedScan, path: Path, *, repeats: int) -> tuple[float, float]:
    """Return the same of the small network, which goes on from its weights before the label."""
    examples = examples_of(made, path, "small")
    fewer = replace(examples, patches=examples.patches[:-1], counts=examples.counts[:-1], label=examples.label[:-1])
    start = train_small(fewer, choices=SmallTraining(steps=10))  # as good as any: the steps after it are counted
    return _best(lambda: train_small(examples, start=start), min(repeats, 3))


def _best(learn: Callable[[], object], repeats: int) -> tuple[float, float]:
    costs = []
    for _ in range(1 + repeats):  # the first compiles
        with cost() as spent:
            learn()
        costs.append(spent)
    return min(each.wall_s for each in costs), min(each.cpu_s for each in costs)
