"""Curves on which a field is zero, and distances from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

FINE = 0.05
"""Distance of points on a curve, in probe steps, from which distances are measured."""


def curves_of(
    field: Float[np.ndarray, "y x"], grid: Sequence[Float[np.ndarray, " _"]]
) -> list[Float[np.ndarray, "_ 2"]]:
    """Return the curves on which a field is zero, what is greater than it on the left with y up, as on the screen.

    Parameters
    ----------
    field
        Values on a grid; infinite ones have no curves.
    grid
        Evenly spaced y of its rows and x of its columns; the curves are in their unit.
    """
    from skimage.measure import find_contours

    if not np.isfinite(field).all():
        return []
    # it walks with what is greater on the right, as seen on the screen
    first, step = np.array([axis[0] for axis in grid]), np.array([axis[1] - axis[0] for axis in grid])
    found = find_contours(field, 0.0)  # type: ignore[no-untyped-call]
    return [points[::-1] * step + first for points in found]


def distance_to(curves: Sequence[Float[np.ndarray, "_ 2"]], shape: tuple[int, int]) -> Float[np.ndarray, "y x"]:
    """Return how far each probe position is from the nearest of the curves; inf where there are none."""
    from scipy.spatial import cKDTree

    if not curves:
        return np.full(shape, np.inf)
    tree = cKDTree(np.concatenate([dense(points) for points in curves]))
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return tree.query(places.reshape(-1, 2))[0].reshape(shape)


def dense(points: Float[np.ndarray, "point 2"], step: float = FINE) -> Float[np.ndarray, "dense 2"]:
    """Return points along the same curve that are at most `step` apart."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    where = np.linspace(0.0, along[-1], max(2, int(np.ceil(along[-1] / step)) + 1))
    return np.stack([np.interp(where, along, points[:, axis]) for axis in (0, 1)], axis=1)


def run_of(
    points: Float[np.ndarray, "point 2"], allowed: Bool[np.ndarray, "y x"], grid: Sequence[Float[np.ndarray, " _"]]
) -> list[Float[np.ndarray, "_ 2"]]:
    """Return the pieces of a curve that run where `allowed`, each of two points or more.

    Parameters
    ----------
    points
        The curve.
    allowed
        On a grid; beyond its rim nothing is allowed.
    grid
        Evenly spaced y of its rows and x of its columns.
    """
    first, step = np.array([axis[0] for axis in grid]), np.array([axis[1] - axis[0] for axis in grid])
    finer = dense(points, 0.2 * float(step.min()))
    at = (finer - first) / step
    within = ((at > -0.5) & (at < np.array(allowed.shape) - 0.5)).all(axis=1)
    row, column = np.clip(np.rint(at), 0, np.array(allowed.shape) - 1).astype(int).T
    good = within & allowed[row, column]
    if good.all():
        return [points]
    change = np.flatnonzero(np.diff(good)) + 1
    pieces = zip(np.split(finer, change), good[np.r_[0, change]], strict=True)
    return [piece for piece, kept in pieces if kept and len(piece) > 1]
