"""Fitting all columns of an image together: passes of neighbour subtraction, learning in between."""

from __future__ import annotations

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.locate.learn import learn_noise, learn_surroundings
from dipolar.locate.learn_profile import learn_profile
from dipolar.locate.work import Work, find_neighbours, one_pass

LEARNING_ROUNDS = (8, 8)
"""Rounds, at most, of learning the profile before the first passes; then with columns that know the first tails."""
LEARNING_PATCHES = (6, 16)
"""Patches to learn from: few for a beginning, more for the profile that stays."""

NEWTON = 0.05
"""A step that gains less chi² than this, a fifth of a standard error, is taken unseen: it leaves far less."""
MOST_EXTRA_PASSES, MOST_CROWDED_PASSES = 12, 30
WHOLE_STEPS = 6
"""Passes after which columns that are crowded take half steps only."""
SETTLED = 0.001
"""Passes end when hardly a column moves further than this, in A-B distances (0.3 pm in a perovskite)."""


def first_fit(work: Work) -> None:
    """Fit roughly: two passes of Gaussians, then the typical shapes and the noise."""
    find_neighbours(work)
    one_pass(work, 8, tolerance=1.0)
    learn_surroundings(work, loose=True)
    learn_noise(work)
    find_neighbours(work)
    one_pass(work, 2, tolerance=0.1)
    learn_surroundings(work, loose=False)


def full_fit(work: Work, *, progress: Progress = silent) -> None:
    """Fit to the end, learning profile, shapes, background and noise on the way."""
    for number in range(work.choice.passes):
        progress("fitting columns", number / work.choice.passes)
        if work.choice.mixture and number < len(LEARNING_ROUNDS):
            learn_profile(work, rounds=LEARNING_ROUNDS[number], patches=LEARNING_PATCHES[number])
        find_neighbours(work)
        one_pass(work, 2, tolerance=NEWTON)
        if number < work.choice.passes - 1:
            learn_surroundings(work, loose=False)
            learn_noise(work)
    _settle(work)
    progress("fitting columns", 1.0)


def _settle(work: Work) -> None:
    """Pass again until columns and their neighbours agree: at once where they hardly overlap, later where they do."""
    most, share = (MOST_CROWDED_PASSES, 0.995) if work.crowded else (MOST_EXTRA_PASSES, 0.95)
    for number in range(most):
        if np.quantile(work.moved, share, method="higher") < SETTLED * work.step_px:
            return
        before = work.theta
        one_pass(work, 2, tolerance=NEWTON)
        if work.crowded and number >= WHOLE_STEPS:
            # a column half way between two pixels goes to and fro with its window, which counts from whole ones
            work.theta = 0.5 * (before + work.theta)
