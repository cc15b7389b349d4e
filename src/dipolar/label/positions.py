"""Probe positions that may be asked: those that nobody labelled yet, in an order that covers the scan."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int, Int32

from dipolar.core.errors import SettingsError
from dipolar.core.scanning import Labels

COARSE = 25
"""Positions on the coarse grid where no step is given; the published sets of 50 labels begin with about as many."""

Free = Bool[np.ndarray, "scan_y scan_x"]
"""Positions that may be asked; those that are labelled are left out in any case."""
Positions = Int32[np.ndarray, "_ 2"]
"""Probe positions (scan_y, scan_x), the one to ask first at the top."""


def no_labels(key: str, shape: tuple[int, int]) -> Labels:
    """Return labels of a scan before the first answer.

    Parameters
    ----------
    key, shape
        Of the scan, as in `Scan`.
    """
    return Labels(
        key=key, shape=shape, names=(), positions=np.zeros((0, 2), dtype=np.int32), label=np.zeros(0, dtype=np.int32)
    )


def open_positions(labels: Labels, free: Free | None = None) -> Bool[np.ndarray, "scan_y scan_x"]:
    """Return where nobody has given a label, among those that may be asked; shape (scan_y, scan_x)."""
    here = np.ones(labels.shape, dtype=bool) if free is None else free.copy()
    here[labels.positions[:, 0], labels.positions[:, 1]] = False
    return here


def positions_of(numbers: Int[np.ndarray, " pattern"], shape: tuple[int, int]) -> Positions:
    """Return the probe positions of patterns that are numbered row by row."""
    return np.stack(np.divmod(numbers, shape[1]), axis=1).astype(np.int32)


def coarse_step(shape: tuple[int, int]) -> int:
    """Return the step of the square grid that puts as near to 25 positions on a scan as any; at least 1."""
    steps = np.arange(1, max(shape) + 1)
    count = -(-shape[0] // steps) * -(-shape[1] // steps)
    return int(steps[np.argmin(np.abs(np.log(count / COARSE)))])


def check_step(step: int | None, shape: tuple[int, int]) -> int:
    """Return the step of the grid, `coarse_step` where none is given.

    Raises
    ------
    SettingsError
        Less than 1.
    """
    if step is None:
        return coarse_step(shape)
    if step < 1:
        raise SettingsError("a grid has a step of one probe position at least.", got=f"step = {step}", do="--step 15")
    return step


def check_count(n: int) -> int:
    """Return how many positions are asked for.

    Raises
    ------
    SettingsError
        Less than 1.
    """
    if n < 1:
        raise SettingsError("one position at least is asked for.", got=f"n = {n}", do="-n 10")
    return n


def grid_mask(shape: tuple[int, int], step: int) -> Bool[np.ndarray, "scan_y scan_x"]:
    """Return the positions of a grid with this step, its margins alike on both sides; shape (scan_y, scan_x)."""
    mask = np.zeros(shape, dtype=bool)
    first = [(size - 1) % step // 2 for size in shape]
    mask[first[0] :: step, first[1] :: step] = True
    return mask


def spread(
    candidates: Positions, beside: Int32[np.ndarray, "labelled 2"], n: int, *, rng: np.random.Generator
) -> Positions:
    """Return n candidates, each the farthest from all labelled and chosen before it; fewer where there are fewer.

    So that any number of them from the first on covers the scan evenly [Gonzalez, Theor. Comput. Sci. 38, 293 (1985)].
    What is equally far is drawn.

    Parameters
    ----------
    candidates
        Positions to choose from.
    beside
        Positions that are labelled.
    n
        How many.
    rng
        Draws among those equally far.
    """
    from scipy.spatial import KDTree

    left = rng.permutation(candidates, axis=0).astype(np.float64)
    distance = np.full(len(left), np.inf)
    if len(beside) and len(left):
        distance = KDTree(beside).query(left)[0]
    chosen = []
    for _ in range(min(n, len(left))):
        best = int(np.argmax(distance))
        chosen.append(left[best])
        distance = np.minimum(distance, np.linalg.norm(left - left[best], axis=1))
        distance[best] = -1.0
    return np.array(chosen, dtype=np.int32).reshape(-1, 2)
