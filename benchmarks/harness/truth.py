"""What was found, held against what is true: which row is which, and which rows are fairly inside the image."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from dipolar.core.nouns import Cells, Columns

WINDOW_WIDTHS = 3.0
"""A column is inside where its window of this many widths does not cross the rim: others lack light."""
SAME_COLUMN = 0.3
"""Two positions are the same column where they are nearer than this, in A-B distances."""


def step_px(columns: Columns) -> float:
    """Return the mean A-B distance in px."""
    return float(np.mean(np.linalg.norm(columns.steps_px, axis=1)))


def inside(columns: Columns, shape: tuple[int, ...], *, widths: float = WINDOW_WIDTHS) -> np.ndarray:
    """Return which columns have their window of so many widths on the image, shape (column,)."""
    margin = widths * columns.widths_px.max(axis=1, keepdims=True)
    last = np.array(shape) - 1.0
    return np.all((columns.positions_px >= margin) & (columns.positions_px <= last - margin), axis=1)


def pair_columns(truth: Columns, found: Columns) -> np.ndarray:
    """Return the row found of every true column, -1 where it was not found; no row serves twice."""
    rows = np.full(len(truth.flags), -1)
    if not len(found.flags) or not len(truth.flags):
        return rows
    distance, nearest = cKDTree(found.positions_px).query(truth.positions_px)
    _, back = cKDTree(truth.positions_px).query(found.positions_px)
    mutual = back[nearest] == np.arange(len(rows))
    good = mutual & (distance < SAME_COLUMN * step_px(truth))
    rows[good] = nearest[good]
    return rows


def pair_cells(truth: Cells, found: Cells, found_of_true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (true, found) of the cells that are made of the same five columns in both tables."""
    true_of_found = np.full(int(found_of_true.max(initial=-1)) + 2, -1)
    known = np.flatnonzero(found_of_true >= 0)
    true_of_found[found_of_true[known]] = known
    rows = np.where(found.center < len(true_of_found) - 1, found.center, -1)
    center = true_of_found[rows]
    corners = true_of_found[np.where(found.corners < len(true_of_found) - 1, found.corners, -1)]
    cell_of_center = np.full(len(found_of_true) + 1, -1)
    cell_of_center[truth.center] = np.arange(len(truth.center))
    candidate = np.where(center >= 0, cell_of_center[center], -1)
    same = candidate >= 0
    same[same] = np.all(np.sort(truth.corners[candidate[same]], axis=1) == np.sort(corners[same], axis=1), axis=1)
    return candidate[same], np.flatnonzero(same)


def complete(cells: Cells, good: np.ndarray) -> np.ndarray:
    """Return the cells whose five columns are all among the good ones, shape (cell,)."""
    return good[cells.corners].all(axis=1) & good[cells.center]
