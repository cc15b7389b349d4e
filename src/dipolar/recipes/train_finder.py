"""A finder put to the test: which of the columns that were fitted it finds, where, and what its sigma is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from dipolar.core.contracts import Progress
from dipolar.core.errors import DataError
from dipolar.core.flags import POSITION_FLAGS, has
from dipolar.core.nouns import A, B
from dipolar.learn.calibration import FEWEST, coverage
from dipolar.learn.exam import honest_calibration, possible_errors
from dipolar.learn.predictor import FINDER_REACH, Model, find_columns
from dipolar.recipes.train_settings import TrainSettings
from dipolar.recipes.train_sources import PARTS, Source, strips

NEAR_CELLS = 0.25
"""A column is found where another one stands nearer than so many cell edges; A and B are 0.7 apart."""
FEWEST_COLUMNS = 2 * FEWEST
"""Columns that the parts to validate with and to be tested on must hold, so that half of them found are enough."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Met:
    """Columns that were fitted beside those that the finder found, in one part of the images, in network px."""

    error: Float[np.ndarray, " value"]
    """Found minus fitted, y and x one after the other."""
    sigma: Float[np.ndarray, " value"]
    """One standard error of each, as the finder tells it."""
    fit_sigma: Float[np.ndarray, " value"]
    """One standard error of the fitted coordinate."""
    right: Bool[np.ndarray, " column"]
    """Whether a column that was found is of the right species."""
    fitted: int
    """Columns that were fitted there, and are of no doubt."""
    spurious: int
    """Columns found where none was fitted."""
    pm: float
    """pm per network px of the first image; nan where it has no pixel size."""


def judged_finder(
    model: Model, sources: Sequence[Source], settings: TrainSettings, progress: Progress
) -> tuple[Model, dict[str, float]]:
    """Return the finder with a factor on its sigma from the part to validate with, and its figures on the test part.

    Raises
    ------
    DataError
        If a part holds too few columns.
    """
    progress("testing", 0.0)
    held_out = _meet(model, sources, settings, 1)
    calibration = honest_calibration(held_out.error, held_out.sigma, held_out.fit_sigma)
    model = replace(model, calibration=calibration, card=replace(model.card, calibration=calibration.to_card()))
    progress("testing", 0.5)
    test = _meet(model, sources, settings, 2)
    rms, quantiles = float(np.sqrt(np.mean(test.error**2))), dict(calibration.quantiles)
    possible = possible_errors(test.error, test.fit_sigma)
    told = np.broadcast_to(test.sigma[:, None], possible.shape)
    found = {
        "columns": float(test.fitted),
        "recall": len(test.right) / test.fitted,
        "spurious_share": test.spurious / test.fitted,
        "species_right": float(np.mean(test.right)),
        "rms_network_px": rms,
        "rms_px": rms / sources[0].seen.scale,
        "zscore_width": float(np.sqrt(np.mean((possible / told) ** 2))),
        **{
            f"coverage_{100 * level:.0f}": share
            for level, share in coverage(possible, told, quantiles=quantiles).items()
        },
        "fit_sigma_px": float(np.median(test.fit_sigma)) / sources[0].seen.scale,
    }
    if np.isfinite(test.pm):
        found["rms_pm"] = rms * test.pm
    progress("testing", 1.0)
    return model, found


def check_columns(sources: Sequence[Source], settings: TrainSettings) -> None:
    """Check that the parts that a finder is judged on hold enough columns, before anything is learned.

    Raises
    ------
    DataError
        If one does not.
    """
    for part in (1, 2):
        count = sum(len(_asked(source, settings, part)) for source in sources)
        if count < FEWEST_COLUMNS:
            raise DataError(
                f"the part {PARTS[part]} must hold {FEWEST_COLUMNS} columns of no doubt, as far from its borders as a "
                f"finder looks ({FINDER_REACH} px at 24 px per cell).",
                got=f"{count}",
                do="take a larger image, or several",
            )


def _asked(source: Source, settings: TrainSettings, part: int) -> np.ndarray:
    """Return the rows of the fitted columns in a part that are of no doubt."""
    seen, columns = source.seen, source.columns
    doubtful = has(columns.flags, POSITION_FLAGS) | ~np.isin(columns.sublattice, (A, B))
    inside = _within(seen.to_network(columns.positions_px), strips(seen, settings)[part], seen.shape)
    return np.flatnonzero(inside & ~doubtful)


def _meet(model: Model, sources: Sequence[Source], settings: TrainSettings, part: int) -> Met:
    every = [_meet_one(model, source, settings, part) for source in sources]
    met = Met(
        error=np.concatenate([one.error for one in every]),
        sigma=np.concatenate([one.sigma for one in every]),
        fit_sigma=np.concatenate([one.fit_sigma for one in every]),
        right=np.concatenate([one.right for one in every]),
        fitted=sum(one.fitted for one in every),
        spurious=sum(one.spurious for one in every),
        pm=every[0].pm,
    )
    if len(met.error) < 2 * FEWEST:
        raise DataError(
            "a finder is judged on columns that it finds in parts that it did not learn from.",
            got=f"{len(met.right)} of {met.fitted} columns there",
            do="train longer (--steps), or take a larger image, or several",
        )
    return met


def _meet_one(model: Model, source: Source, settings: TrainSettings, part: int) -> Met:
    seen, columns = source.seen, source.columns
    found, _ = find_columns(model, seen)
    fitted, places = seen.to_network(columns.positions_px), seen.to_network(found.positions)
    asked, region = _asked(source, settings, part), strips(seen, settings)[part]
    near = NEAR_CELLS * seen.cell_px * seen.scale
    distance, row = _nearest(fitted[asked], places)
    met = distance < near
    asked, row = asked[met], row[met]
    fit_sigma = np.sqrt(np.einsum("nii->ni", columns.covariance_px2[asked])) * seen.scale
    alone = _nearest(places[_within(places, region, seen.shape)], fitted)[0] > near
    pixel_size_pm = source.cells.pixel_size_pm
    return Met(
        error=(places[row] - fitted[asked]).ravel(),
        sigma=np.repeat(found.sigma[row] * seen.scale, 2),
        fit_sigma=np.nan_to_num(fit_sigma).ravel(),
        right=found.species[row] == columns.sublattice[asked],
        fitted=len(met),
        spurious=int(np.sum(alone)),
        pm=float("nan") if pixel_size_pm is None else pixel_size_pm / seen.scale,
    )


def _nearest(
    points: Float[np.ndarray, "point 2"], others: Float[np.ndarray, "other 2"]
) -> tuple[Float[np.ndarray, " point"], np.ndarray]:
    """Return the distance to the nearest of others, and its row."""
    if not len(others):
        return np.full(len(points), np.inf), np.zeros(len(points), dtype=np.int64)
    return cKDTree(others).query(points)


def _within(
    points: Float[np.ndarray, "point 2"], region: tuple[int, int, int, int], shape: tuple[int, int]
) -> Bool[np.ndarray, " point"]:
    """Return the points whose surroundings, as far as the finder sees, lie in a region or beyond the image."""
    y0, y1, x0, x1 = region
    (tall, wide), (y, x) = shape, points.T
    there = (y >= (y0 + FINDER_REACH if y0 > 0 else 0)) & (y < (y1 - FINDER_REACH if y1 < tall else tall))
    return there & (x >= (x0 + FINDER_REACH if x0 > 0 else 0)) & (x < (x1 - FINDER_REACH if x1 < wide else wide))
