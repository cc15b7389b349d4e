"""The card of a model that comes along: what it was drawn from, and figures that hold at any magnification."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import handmade
from dipolar.learn.calibration import calibrate
from dipolar.learn.exam import Answers
from dipolar.learn.json_text import to_json
from dipolar.recipes.shipped import SCATTER, films_in_words, metrics_of
from dipolar.simulate.ranges import FilmRanges


def test_the_card_holds_what_films_are_drawn_from():
    told = json.loads(to_json(films_in_words()))
    ranges = {name: tuple(value) if isinstance(value, list) else value for name, value in told["ranges"].items()}
    assert FilmRanges(**ranges) == FilmRanges(scatter=SCATTER)
    assert len(set(told["exam_seeds"].values())) == 3
    assert (
        told["resampled_cell_px"] == [8.0, 60.0] and 0 < told["resampled_share"] < 1 and 0 < told["orderly_share"] < 1
    )


def test_figures_are_in_network_px_and_intervals_are_those_of_the_calibration():
    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.1, 0.4, (4000, 2))
    error = sigma * rng.standard_t(3.0, sigma.shape)
    model = replace(handmade.regressor(), calibration=calibrate(error, sigma))
    nothing = np.zeros(len(error))
    answers = Answers(
        positions_px=error, values=error, truth=np.zeros_like(error), truth_sigma=np.zeros_like(error),
        sigma=model.calibration.honest(sigma), disagreement=nothing, features=error, unfamiliar=nothing, scale=0.5,
    )  # fmt: skip
    found = metrics_of(model, answers)
    assert "rms_px" not in found and "cells" not in found and found["cells_tested"] == 4000
    assert found["rms_network_px"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert found["coverage_90"] == pytest.approx(0.9, abs=1e-3)  # a Gaussian would cover less: the tails are heavy
