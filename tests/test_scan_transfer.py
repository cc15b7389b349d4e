"""A model on another scan of its crystal: what it knows is known there too, and what it does not know still is not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dipolar.core.flags import Flag
from dipolar.learn.pattern_bank_training import survey, train_bank
from dipolar.locate.beam import look_at
from dipolar.measure.bank import bank_for
from dipolar.recipes.scan_look import Look, look_over
from dipolar.simulate.scan import simulate_scan
from dipolar.simulate.scan_settings import SimulatedScanSettings

SETTINGS = SimulatedScanSettings(shape=(24, 70), pattern_px=(64, 64), electrons=3e4)
EVERY = np.arange(24 * 70)


@cache
def scans(seed: int):
    """Return what one bank sees of two scans of a crystal, and their truths."""
    one, other = simulate_scan(SETTINGS, seed=seed), simulate_scan(SETTINGS, seed=seed + 100)
    view = look_at(one.scan, patterns=128)
    bank = bank_for(view)
    seen = [
        look_over(made.scan, Look(view=found, bank=bank), EVERY)
        for made, found in ((one, view), (other, look_at(other.scan, patterns=128)))
    ]
    return seen, [made.truth for made in (one, other)]


def trained(seed: int, kept: list[int]):
    """Return a bank that learned from forty random labels of these classes of the first scan."""
    (seen, _), (truth, _) = scans(seed)
    there = np.flatnonzero(np.isin(truth.label.ravel(), kept))
    rows = np.sort(np.random.default_rng(seed).choice(there, 40, replace=False))
    label = np.searchsorted(kept, truth.label.ravel()[rows])
    names = [truth.names[number] for number in kept]
    return train_bank(survey(seen.seen, seen.counts), seen.seen[rows], label, names)


def unknown(classifier, seen) -> np.ndarray:
    return classifier.flags(seen.seen, seen.counts) & np.uint32(Flag.UNKNOWN_CLASS) != 0


@pytest.mark.parametrize("seed", [1, 2])
def test_right_patterns_of_another_scan_are_not_called_unknown(seed):
    (_, seen), (_, truth) = scans(seed)
    classifier = trained(seed, [0, 1, 2])
    right = np.argmax(classifier.probabilities(seen.seen, seen.counts), axis=1) == truth.label.ravel()
    assert right.mean() > 0.96
    assert unknown(classifier, seen).mean() < 0.05


@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize("place", [0, 1])
def test_what_was_never_labelled_is_called_unknown_on_either_scan(missing, place):
    seen, truths = scans(1)
    kept = [number for number in range(3) if number != missing]
    flagged = unknown(trained(1, kept), seen[place])
    share = truths[place].mixture.reshape(-1, 3)[:, missing]
    assert flagged[share > 0.9].mean() > 0.9
    assert flagged[share < 0.02].mean() < 0.05
