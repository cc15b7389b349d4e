"""Networks put to the test on cells whose values are known: errors, coverage, and what these teach about sigma."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtri

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import DataError
from dipolar.core.nouns import Cells
from dipolar.learn.calibration import LEVELS, Calibration, calibrate_with_floor, check_count, coverage
from dipolar.learn.familiarity import FEWEST, learn_familiarity
from dipolar.learn.predictor import FEATURE_STRIDE, Heard, Model, at_points, hear, judged, nearest_to
from dipolar.learn.scale import Seen
from dipolar.learn.targets import cell_targets, sliding_targets

POSSIBLE = ndtri((np.arange(9) + 0.5) / 9)
POSSIBLE /= np.sqrt(np.mean(POSSIBLE**2))
"""Values of a standard normal distribution, evenly likely."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What a model says of cells, beside what is true of them; lengths in network px."""

    positions_px: Float[np.ndarray, "cell 2"]
    """Where it was asked, (y, x) in image px."""
    values: Float[np.ndarray, "cell target"]
    """Predicted, in the order of the card's targets."""
    truth: Float[np.ndarray, "cell target"]
    """True, or measured."""
    truth_sigma: Float[np.ndarray, "cell 2"]
    """One standard error of the measured dy and dx; 0 where they are true."""
    sigma: Float[np.ndarray, "cell 2"]
    """One standard error of the predicted dy and dx, as the model tells it."""
    disagreement: Float[np.ndarray, " cell"]
    """Spread of the members over their own sigma."""
    features: Float[np.ndarray, "cell feature"]
    """What the network sees there, blind to turns."""
    unfamiliar: Float[np.ndarray, " cell"]
    """Score of familiarity."""
    scale: float
    """Network px per image px."""

    @property
    def error(self) -> Float[np.ndarray, "cell 2"]:
        """Predicted minus true displacement, in network px."""
        return self.values[:, :2] - self.truth[:, :2]


def possible_errors(
    error: Float[np.ndarray, "*rows"], measured_sigma: Float[np.ndarray, "*rows"]
) -> Float[np.ndarray, "*rows possible"]:
    """Return predicted minus true values, evenly likely, from predicted minus measured ones.

    A network and a fit look at the same pixels, so that their errors are much alike (correlated by 0.6 to 0.8 on
    simulated films): the difference between them says nothing of what they share. It is therefore not the sigma of
    the measurement that explains a part of the difference; the truth lies as far beyond. Where what the network adds
    of its own is independent of what the fit is wrong by, this is exact; where the network smoothes, on the safe side.

    Parameters
    ----------
    error
        Predicted minus measured.
    measured_sigma
        One standard error of what was measured; where all are 0, it is the truth, and there is one possibility.
    """
    steps = POSSIBLE if measured_sigma.any() else np.zeros(1)
    return error[..., None] + measured_sigma[..., None] * steps


def honest_calibration(
    error: Float[np.ndarray, "*rows"],
    sigma: Float[np.ndarray, "*rows"],
    measured_sigma: Float[np.ndarray, "*rows"],
) -> Calibration:
    """Return the calibration of a network's sigma that held-out errors against measured values ask for.

    Parameters
    ----------
    error
        Predicted minus measured, from regions held out.
    sigma
        The network's own sigma.
    measured_sigma
        One standard error of what was measured; 0 where it is the truth.

    Raises
    ------
    DataError
        If there are too few.
    """
    count = int(np.count_nonzero(np.isfinite(error + measured_sigma) & np.isfinite(sigma) & (sigma > 0)))
    check_count(count)  # values: the possibilities of each are no further ones
    possible = possible_errors(error, measured_sigma)
    told = np.broadcast_to(sigma[..., None], possible.shape)
    return replace(calibrate_with_floor(possible, told), count=count)


def examine(
    model: Model,
    seen: Seen,
    cells: Cells,
    rows: Bool[np.ndarray, " cell"],
    *,
    heard: Heard | None = None,
    progress: Progress = silent,
) -> Answers:
    """Return what a model says of some cells of an image, beside what is known of them.

    A model of centred windows is held against each cell's own values, one of sliding windows against what it was
    trained for, the mean over the nearest four, where the corners of four cells meet.

    Parameters
    ----------
    model
        A regressor.
    seen
        The image as networks see it.
    cells
        Its cells, true or measured.
    rows
        Which of them to ask for.
    heard
        What the members say of the image, where they were run already; see `dipolar.learn.predictor.hear`.
    progress
        Told how far it has come.
    """
    said = judged(model, hear(model, seen, progress=progress) if heard is None else heard)
    points_px = cells.positions_px[rows]
    if model.card.windows == "sliding":  # where four cells meet; around a cell's centre three of the four are any three
        points_px = points_px + 0.5 * (cells.a_px[rows] + cells.b_px[rows])
        truth, sigma = sliding_targets(points_px, cells, scale=seen.scale)
    else:
        truth, sigma = (part[rows] for part in cell_targets(cells, scale=seen.scale))
    known = np.isfinite(truth[:, :2]).all(axis=1)
    points = seen.to_network(points_px[known])
    return Answers(
        positions_px=points_px[known],
        values=at_points(said.values, points),
        truth=truth[known][:, : said.values.shape[2]],
        truth_sigma=np.nan_to_num(sigma[known][:, :2]),
        sigma=at_points(said.sigma, points),
        disagreement=nearest_to(said.disagreement, points, stride=FEATURE_STRIDE),
        features=nearest_to(said.features, points, stride=FEATURE_STRIDE),
        unfamiliar=nearest_to(said.unfamiliar, points),
        scale=seen.scale,
    )


def together(parts: Sequence[Answers]) -> Answers:
    """Return the answers on several images as one."""
    if not parts:
        raise DataError("a model is judged on at least one image.", got="none")
    return Answers(
        positions_px=np.concatenate([part.positions_px for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        truth=np.concatenate([part.truth for part in parts]),
        truth_sigma=np.concatenate([part.truth_sigma for part in parts]),
        sigma=np.concatenate([part.sigma for part in parts]),
        disagreement=np.concatenate([part.disagreement for part in parts]),
        features=np.concatenate([part.features for part in parts]),
        unfamiliar=np.concatenate([part.unfamiliar for part in parts]),
        scale=parts[0].scale,
    )


def taught(model: Model, trained_on: Answers, held_out: Answers) -> Model:
    """Return the model with its sigma recalibrated, and with what was usual in training.

    Parameters
    ----------
    model
        Without calibration.
    trained_on
        Answers on what it was trained on: their features are what it knows.
    held_out
        Answers on regions of the same kind that it was not trained on.

    Raises
    ------
    DataError
        If too few cells were held out.
    """
    calibration = honest_calibration(held_out.error, held_out.sigma, held_out.truth_sigma)
    familiarity = None
    if len(held_out.features) >= FEWEST:
        familiarity = learn_familiarity(trained_on.features, held_out.features, held_out.disagreement)
    card = replace(
        model.card,
        calibration=calibration.to_card(),
        unfamiliar={} if familiarity is None else familiarity.to_card(),
    )
    return replace(model, card=card, calibration=calibration, familiarity=familiarity)


def marks(answers: Answers, *, quantiles: dict[float, float] | None = None) -> dict[str, float]:
    """Return how good answers are: RMS error per component in network px and image px, R², coverage, width of z.

    RMS error and R² are against what was measured; coverage and width against what may be true (`possible_errors`).

    Parameters
    ----------
    answers
        Of a calibrated model.
    quantiles
        Half widths of the intervals in sigmas, for coverage; None takes those of a Gaussian.
    """
    error, possible = answers.error, possible_errors(answers.error, answers.truth_sigma)
    told = np.broadcast_to(answers.sigma[..., None], possible.shape)
    covered = coverage(possible, told, LEVELS, quantiles)
    truth = answers.truth[:, :2]
    scatter = np.sum((truth - truth.mean(axis=0)) ** 2) if len(truth) else np.nan
    rms = float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")
    return {
        "cells": float(len(error)),
        "rms_network_px": rms,
        "rms_px": rms / answers.scale,
        "r2": float(1.0 - np.sum(error**2) / scatter) if scatter > 0 else float("nan"),
        "zscore_width": float(np.sqrt(np.mean((possible / told) ** 2))) if len(error) else float("nan"),
        **{f"coverage_{100 * level:.0f}": share for level, share in covered.items()},
    }
