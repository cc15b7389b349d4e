"""Where columns are in simulated images: a Gaussian fitted to each, as to those of a real image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import least_squares

from dipolar.core.errors import StructureError
from dipolar.core.structure import Structure
from dipolar.simulate.multislice.plane import period_of
from dipolar.simulate.multislice.terms import AnnularImages

STEP_PM = 8.0
"""Distance of the points that are fitted."""
NEAR = 0.4
"""Radius of the fitted disk, over the distance to the nearest column of the fitted ones."""
ROUNDS = 4
"""How often the disk is centred anew."""
TOGETHER_PM = 100.0
"""Atoms of one element that are nearer than this across the beam are in one column."""


def sites_of(structure: Structure, number: int) -> Float[np.ndarray, "column 2"]:
    """Return the places (y, x) of the columns of one element in the smallest period of an oriented structure.

    Raises
    ------
    StructureError
        If the element is not in it.
    """
    period = period_of(structure)
    back = np.linalg.inv(period.vectors_pm)
    atoms = period.positions_pm[period.numbers == number][:, :2]
    if not len(atoms):
        raise StructureError(
            f"the structure must hold the element that is looked for, {number}.",
            got=f"atomic numbers {sorted(set(period.numbers.tolist()))}",
            do="name an element of the structure",
        )
    columns: list[list[Float[np.ndarray, " 2"]]] = []
    for atom in atoms:
        for column in columns:
            gap = (atom - column[0]) @ back
            near = (gap - np.rint(gap)) @ period.vectors_pm
            if np.linalg.norm(near) < TOGETHER_PM:
                column.append(column[0] + near)
                break
        else:
            columns.append([atom])
    return np.array([np.mean(column, axis=0) for column in columns])


def fit_columns(
    images: AnnularImages, places_pm: Float[np.ndarray, "column 2"], *, radius_pm: float
) -> Float[np.ndarray, "thickness column 2"]:
    """Return the centres (y, x) of columns in every image, nan where there is none.

    A Gaussian with two widths and an angle, on a constant, is fitted to a disk that follows its centre.

    Parameters
    ----------
    images
        Of a periodic crystal.
    places_pm
        Where to begin: places (y, x) of columns.
    radius_pm
        Of the disk: 0.4 of the distance to the nearest column is usual.
    """
    axis = np.arange(-np.ceil(radius_pm / STEP_PM), np.ceil(radius_pm / STEP_PM) + 1) * STEP_PM
    disk = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    disk = disk[np.linalg.norm(disk, axis=1) <= radius_pm]
    found = np.full((len(images.thicknesses_nm), len(places_pm), 2), np.nan)
    for column, start in enumerate(places_pm):
        for number in range(len(found)):
            found[number, column] = _fit(images, number, start, disk, radius_pm)
    return found


def _fit(
    images: AnnularImages,
    number: int,
    start: Float[np.ndarray, " 2"],
    disk: Float[np.ndarray, "point 2"],
    radius_pm: float,
) -> Float[np.ndarray, " 2"]:
    """Return the centre of one column in one image."""
    centre = np.array(start, dtype=np.float64)
    guess: Float[np.ndarray, " 7"] | None = None
    for _ in range(ROUNDS):
        values = images.at_one(number, centre + disk)
        low, high = float(values.min()), float(values.max())
        if not high > low:
            return np.full(2, np.nan)
        scaled = (values - low) / (high - low)
        first = guess if guess is not None else np.array([0.0, 0.0, 1.0, 0.0, 0.0, -np.log(0.35), -np.log(0.35)])
        fitted = least_squares(_misfit, first, args=(disk / radius_pm, scaled), method="lm")
        move = fitted.x[:2] * radius_pm
        if not np.isfinite(move).all() or np.linalg.norm(move) > radius_pm:
            return np.full(2, np.nan)
        centre = centre + move
        guess = np.concatenate([np.zeros(2), fitted.x[2:]])
    return centre


def _misfit(
    values: Float[np.ndarray, " 7"], points: Float[np.ndarray, "point 2"], wanted: Float[np.ndarray, " point"]
) -> Float[np.ndarray, " point"]:
    """Return how far a Gaussian is from what was seen: centre, height, ground, and a triangular matrix of widths."""
    y, x = (points - values[:2]).T
    along = np.exp(values[5]) * y + values[4] * x
    across = np.exp(values[6]) * x
    return values[2] * np.exp(-0.5 * (along**2 + across**2)) + values[3] - wanted


def nearest_distance_pm(structure: Structure, places_pm: Float[np.ndarray, "column 2"]) -> float:
    """Return the least distance between any two of the columns, in the crystal that goes on periodically."""
    vectors = period_of(structure).vectors_pm
    steps: Int[np.ndarray, "step 2"] = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    apart = places_pm[None, :, None] - places_pm[:, None, None] + steps @ vectors
    length = np.linalg.norm(apart, axis=-1)
    return float(length[length > 1.0].min())
