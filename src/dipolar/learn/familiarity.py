"""How familiar a place is: whether a network saw its like in training, told from its features and its ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from dipolar.core.errors import DataError

USUAL_PERCENT = 98
"""Percentage of held-out cells of the training images whose score is below 1."""
LEAST_VARIANCE = 1e-5
"""Variance below which no direction of the standardised features is trusted to lie: features that never moved in
training would otherwise make any movement infinitely strange."""
FEWEST = 50
"""Held-out cells below which a quantile of 98 % is not known."""
CLEAR_ERROR = 3.0
"""Errors beyond as many sigmas are bad ones, which a flag should tell."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Familiarity:
    """What is usual among the training images: of the features inside a network, and of its members' disagreement."""

    mean: Float[np.ndarray, " feature"]
    """Mean of each feature over the training cells."""
    whitening: Float[np.ndarray, "feature feature"]
    """Matrix W after which ``(features - mean) @ W`` is uncorrelated with variance 1."""
    distance_quantiles: Float[np.ndarray, " percent"]
    """Mahalanobis distance of held-out cells: its quantiles at 0, 1, ... 100 %."""
    spread_quantiles: Float[np.ndarray, " percent"]
    """Spread of the ensemble over sigma of held-out cells: the same quantiles; all 0 for a single network."""
    joint: float
    """The 98 % quantile of the greater of the two, each over its own 98 % quantile."""

    def score(
        self, features: Float[np.ndarray, "cell feature"], spread_over_sigma: Float[np.ndarray, " cell"]
    ) -> Float[np.ndarray, " cell"]:
        """Return how unfamiliar each cell is: above 1 it is stranger than 98 % of the cells of the training images.

        Parameters
        ----------
        features
            Of the trunk of the network, at each cell.
        spread_over_sigma
            Standard deviation of the members' means over the network's own sigma; 0 for a single network.

        Raises
        ------
        DataError
            If these are not the features that it was learned from.
        """
        if features.shape[1] != len(self.mean):
            raise DataError(
                "what is unfamiliar is told from the features that were kept in training.",
                got=f"{features.shape[1]} features, and a model that knows {len(self.mean)}",
                do="train the model again with this version",
            )
        away = _distance(features, self.mean, self.whitening)
        limits = (self.distance_quantiles[USUAL_PERCENT], self.spread_quantiles[USUAL_PERCENT])
        return _greater(away, spread_over_sigma, limits) / self.joint

    def to_card(self) -> dict[str, float]:
        """Return the thresholds as plain numbers by name, for the card of a model."""
        return {
            "distance": float(self.distance_quantiles[USUAL_PERCENT]),
            "spread_over_sigma": float(self.spread_quantiles[USUAL_PERCENT]),
            "joint": self.joint,
            "percent": float(USUAL_PERCENT),
        }

    def to_tensors(self) -> dict[str, Float[np.ndarray, "..."]]:
        """Return the arrays by name, for the file of tensors."""
        return {
            "mean": self.mean,
            "whitening": self.whitening,
            "distance_quantiles": self.distance_quantiles,
            "spread_quantiles": self.spread_quantiles,
        }

    @staticmethod
    def from_parts(tensors: Mapping[str, Float[np.ndarray, "..."]], card: Mapping[str, float]) -> Familiarity:
        """Return what `to_tensors` and `to_card` wrote.

        Raises
        ------
        DataError
            A part is missing.
        """
        names = ("mean", "whitening", "distance_quantiles", "spread_quantiles")
        missing = [name for name in names if name not in tensors] + [name for name in ("joint",) if name not in card]
        if missing:
            raise DataError(
                "A model that tells what is unfamiliar keeps what was usual in training.",
                got=f"nothing named {', '.join(missing)}",
                do="train the model again",
            )
        return Familiarity(**{name: tensors[name] for name in names}, joint=float(card["joint"]))


def learn_familiarity(
    training: Float[np.ndarray, "training feature"],
    held_out: Float[np.ndarray, "cell feature"],
    held_out_spread_over_sigma: Float[np.ndarray, " cell"],
) -> Familiarity:
    """Return what is usual: where the features of the training cells lie, and how far held-out ones stray from there.

    The distance is Mahalanobis' (Lee et al., arXiv:1807.03888) with the covariance of the standardised features, shrunk
    towards the identity after Ledoit & Wolf (J. Multivar. Anal. 88, 365 (2004)). It does not change with the unit or
    the zero of a feature, nor, up to that shrinkage, with mixing features.

    Parameters
    ----------
    training
        Features at the cells trained on.
    held_out
        Features at cells of the same images in regions held out, which set the thresholds: features at cells trained on
        lie too close.
    held_out_spread_over_sigma
        Disagreement of the ensemble at these.

    Raises
    ------
    DataError
        Too few cells.
    """
    for name, rows, needed in (("trained on", training, 2), ("held out", held_out, FEWEST)):
        if len(rows) < needed:
            raise DataError(
                f"At least {needed} cells {name} are needed to tell what is usual.",
                got=f"{len(rows)}",
                do="train on more images, or hold out larger blocks",
            )
    mean, whitening = _whitening(training.astype(np.float64))
    away, spread = _distance(held_out, mean, whitening), held_out_spread_over_sigma.astype(np.float64)
    percent = np.linspace(0.0, 1.0, 101)
    of_distance, of_spread = np.quantile(away, percent), np.quantile(spread, percent)
    both = _greater(away, spread, (of_distance[USUAL_PERCENT], of_spread[USUAL_PERCENT]))
    return Familiarity(
        mean=mean,
        whitening=whitening,
        distance_quantiles=of_distance,
        spread_quantiles=of_spread,
        joint=float(np.quantile(both, percent[USUAL_PERCENT])),
    )


def _whitening(
    features: Float[np.ndarray, "cell feature"],
) -> tuple[Float[np.ndarray, " feature"], Float[np.ndarray, "feature feature"]]:
    """Return mean and whitening matrix of the features."""
    mean, width = features.mean(axis=0), features.std(axis=0)
    moving = width > 1e-6 * max(float(width.max()), 1e-30)
    width = np.where(moving, width, np.median(width[moving]) if moving.any() else 1.0)  # silent ones have no width
    variance, axes = np.linalg.eigh(shrunk_covariance((features - mean) / width))
    return mean, axes / np.sqrt(np.maximum(variance, LEAST_VARIANCE)) / width[:, None]


def shrunk_covariance(centred: Float[np.ndarray, "cell feature"]) -> Float[np.ndarray, "feature feature"]:
    """Return the covariance of features with mean 0, shrunk towards a multiple of the identity.

    The weight of the identity is the one of least expected squared error: the variance of the entries of the sample
    covariance over their squared distance from that identity (Ledoit & Wolf 2004, section 3).
    """
    cells, count = centred.shape
    sample = centred.T @ centred / cells
    target = np.trace(sample) / count * np.eye(count)
    apart = float(np.sum((sample - target) ** 2))
    noise = (float(np.mean(np.sum(centred**2, axis=1) ** 2)) - float(np.sum(sample**2))) / cells
    weight = min(noise / apart, 1.0) if apart > 0 else 0.0
    shrunk: Float[np.ndarray, "feature feature"] = weight * target + (1.0 - weight) * sample
    return shrunk


def _distance(
    features: Float[np.ndarray, "cell feature"],
    mean: Float[np.ndarray, " feature"],
    whitening: Float[np.ndarray, "feature feature"],
) -> Float[np.ndarray, " cell"]:
    """Return the Mahalanobis distance of every cell."""
    away: Float[np.ndarray, " cell"] = np.linalg.norm((features.astype(np.float64) - mean) @ whitening, axis=1)
    return away


def _greater(
    away: Float[np.ndarray, " cell"], spread: Float[np.ndarray, " cell"], limits: tuple[float, float]
) -> Float[np.ndarray, " cell"]:
    """Return the greater of both over its limit; a limit of 0, as of a single network, says nothing."""
    ratios = [part / limit for part, limit in zip((away, spread), limits, strict=True) if limit > 0]
    return np.maximum.reduce(ratios) if ratios else np.zeros(len(away))


def auroc(score: Float[np.ndarray, " cell"], bad: Bool[np.ndarray, " cell"]) -> float:
    """Return the probability that a bad cell scores higher than a good one, ties counted half; nan without either.

    This is the area under the curve of hits against false alarms (Hanley & McNeil 1982), from the ranks of the scores.
    """
    known = np.isfinite(score)
    ranks, positive = rankdata(score[known]), bad[known]
    many, few = int((~positive).sum()), int(positive.sum())
    if not many or not few:
        return float("nan")
    return (float(ranks[positive].sum()) - few * (few + 1) / 2.0) / (few * many)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRates:
    """How well a flag tells the cells with clear errors; nan where there are none of the kind."""

    bad_flagged: float
    """Share of the cells with an error beyond 3 sigma that are flagged."""
    good_flagged: float
    """Share of the others that are flagged."""
    bad: int
    """Cells with an error beyond 3 sigma."""
    good: int
    """The others."""


def flag_rates(
    score: Float[np.ndarray, " cell"], error: Float[np.ndarray, "cell target"], sigma: Float[np.ndarray, "cell target"]
) -> FlagRates:
    """Return which share of bad and of good cells is flagged.

    Parameters
    ----------
    score
        How unfamiliar each cell is; above 1 it is flagged.
    error, sigma
        Predicted minus true and the sigma told, per target; a cell is bad where any of them is beyond 3 sigma. Cells
        in which none is known are left out.
    """
    beyond = np.abs(error) > CLEAR_ERROR * sigma  # False where either is nan
    known = np.isfinite(error * sigma).any(axis=1) & np.isfinite(score)
    bad, flagged = beyond.any(axis=1)[known], score[known] > 1.0

    def share(rows: Bool[np.ndarray, " cell"]) -> float:
        return float(flagged[rows].mean()) if rows.any() else float("nan")

    return FlagRates(bad_flagged=share(bad), good_flagged=share(~bad), bad=int(bad.sum()), good=int((~bad).sum()))
