"""Fitting all columns of an image together: passes of neighbour subtraction, learning in between."""

from __future__ import annotations

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.locate.learn import learn_background, learn_noise, learn_shapes
from dipolar.locate.learn_profile import learn_profile
from dipolar.locate.work import Work, find_neighbours, one_pass

LEARNING_ROUNDS = (8, 8)
"""Rounds of learning the profile before the first passes; the second time with columns that know the first tails."""


def first_fit(work: Work) -> None:
    """Fit roughly: two passes of Gaussians, then the typical shapes and the noise."""
    find_neighbours(work)
    one_pass(work, 3)
    learn_shapes(work, loose=True)
    learn_noise(work)
    find_neighbours(work)
    one_pass(work, 2)
    learn_shapes(work, loose=False)


def full_fit(work: Work, *, progress: Progress = silent) -> None:
    """Fit to the end, learning profile, shapes, background and noise on the way."""
    for number in range(work.choice.passes):
        progress("fitting columns", number / work.choice.passes)
        learn_background(work)
        work.firmness = np.zeros(2)
        if work.choice.learns_profile and number < len(LEARNING_ROUNDS):
            learn_profile(work, rounds=LEARNING_ROUNDS[number])
        find_neighbours(work)
        one_pass(work, 2)
        if number < work.choice.passes - 1:
            learn_shapes(work, loose=False)
            learn_noise(work)
    progress("fitting columns", 1.0)
