"""Vortices and antivortices: loops of cells along which the displacement turns once around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32
from scipy.special import ndtr

from dipolar.core.domains import Defects
from dipolar.core.geometry import cell_edge_px
from dipolar.core.nouns import Cells
from dipolar.maps.neighbours import DOWN, LEFT, RIGHT, UP, neighbours, voters

LOOPS = (2, 4, 6)
"""Edges, in cells, of the square loops tried: in the middle of a vortex the displacement is too short to tell."""
CROWD = 1.5
"""Cells beyond a loop within which no second defect of the same kind is told from it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Loops:
    """All loops of one size: what they wind, how sure that is, and their cells."""

    cells: Int32[np.ndarray, "loop step"]
    winding: Int32[np.ndarray, " loop"]
    p_noise: Float[np.ndarray, " loop"]
    size: int


def find_defects(cells: Cells, *, most_p: float = 0.01) -> Defects:
    """Return the vortices (+1) and antivortices (-1) of the displacement, the most certain first.

    The winding number is the number of turns of the displacement along a loop of neighbouring cells. It changes where
    noise takes the displacement, somewhere between two neighbours, to the other side of zero; the probability of that
    follows from the distance of the straight line between both displacements from zero and from their covariance:
    ``p = 1 - Π (1 - Q(distance / sigma))`` over all links of the loop, Q the tail of the normal distribution. A defect
    is reported on the loop of 2 × 2, 4 × 4 or 6 × 6 cells that shows it best, p times three as three were tried.

    Parameters
    ----------
    cells
        Measured cells; loops through flagged ones are left out.
    most_p
        Greatest probability that noise made it.
    """
    around, voting = neighbours(cells), voters(cells)
    found = [_loops(cells, around, voting, size) for size in LOOPS]
    parts = []
    for loops in found:
        p_noise = np.minimum(loops.p_noise * len(LOOPS), 1.0)
        rows = np.flatnonzero(p_noise <= most_p)
        middle = cells.positions_px[loops.cells[rows]].mean(axis=1)
        size = np.full(len(rows), loops.size)
        parts.append((middle, loops.winding[rows], p_noise[rows], size))
    middle, winding, p_noise, size = (np.concatenate(values) for values in zip(*parts, strict=True))
    # the smallest of loops that are all but certain stands nearest to the core
    order = np.lexsort((size, np.maximum(p_noise, 1e-6)))
    kept: list[int] = []
    edge = cell_edge_px(cells)
    for row in order.tolist():
        near = np.linalg.norm(middle[kept] - middle[row], axis=1) if kept else np.zeros(0)
        room = (np.maximum(size[kept], size[row]) / 2.0 + CROWD) * edge
        if not ((near < room) & (winding[kept] == winding[row])).any():
            kept.append(row)
    rows = np.array(kept, dtype=np.int64)
    return Defects(
        positions_px=_cores(cells, voting, middle[rows], size[rows], edge),
        winding=winding[rows].astype(np.int32),
        p_noise=p_noise[rows],
        loop_cells=size[rows].astype(np.int32),
    )


def _loops(cells: Cells, around: Int32[np.ndarray, "cell 8"], voting: np.ndarray, size: int) -> _Loops:
    """Return the closed loops of voting cells around squares of that edge along which the displacement winds."""
    count = len(cells.flags)
    steps = [DOWN] * (size - 1) + [RIGHT] * (size - 1) + [UP] * (size - 1) + [LEFT] * (size - 1)
    padded = np.concatenate([np.where(voting[:, None], around, -1), np.full((1, 8), -1, dtype=np.int32)])
    padded = np.where(np.append(voting, False)[padded], padded, -1)
    here = np.where(voting, np.arange(count, dtype=np.int32), -1)
    start, path = here, [here]
    for step in steps:
        here = padded[here, step]
        path.append(here)
    loop = np.stack(path[:-1], axis=1)
    good = (loop >= 0).all(axis=1) & (here == start)  # around a dislocation the path does not close
    loop = loop[good].astype(np.int32)
    angle = np.arctan2(-cells.displacement_px[:, 0], cells.displacement_px[:, 1])
    step = np.diff(angle[np.concatenate([loop, loop[:, :1]], axis=1)], axis=1)
    turn = np.rint(np.sum((step + np.pi) % (2.0 * np.pi) - np.pi, axis=1) / (2.0 * np.pi))
    loop, turn = loop[turn != 0], turn[turn != 0]
    values = cells.displacement_px[loop]
    certain = _certain(values, np.roll(values, -1, axis=1), cells.covariance_px2[loop])
    return _Loops(
        cells=loop,
        winding=(turn * np.sign(_area(cells.positions_px[loop]))).astype(np.int32),
        p_noise=1.0 - certain.prod(axis=1),
        size=size,
    )


def _area(points_px: Float[np.ndarray, "loop step 2"]) -> Float[np.ndarray, " loop"]:
    """Return the area of each loop, positive where it runs counter-clockwise on the screen."""
    ahead = np.roll(points_px, -1, axis=1)
    return -0.5 * np.sum(points_px[..., 1] * ahead[..., 0] - points_px[..., 0] * ahead[..., 1], axis=1)


def _certain(
    values: Float[np.ndarray, "loop step 2"],
    ahead: Float[np.ndarray, "loop step 2"],
    covariance: Float[np.ndarray, "loop step 2 2"],
) -> Float[np.ndarray, "loop step"]:
    """Return the probability that the line between two displacements passes zero on the side on which it is seen."""
    apart = ahead - values
    square = np.maximum(np.sum(apart**2, axis=2), 1e-300)
    share = np.clip(-np.sum(values * apart, axis=2) / square, 0.0, 1.0)
    nearest = values + share[..., None] * apart
    distance = np.linalg.norm(nearest, axis=2)
    # where zero lies on the line, it matters how far the line moves across itself
    across = np.stack([-apart[..., 1], apart[..., 0]], axis=2) / np.sqrt(square)[..., None]
    away = np.where((distance > 1e-12)[..., None], nearest / np.maximum(distance, 1e-12)[..., None], across)
    mixed = (1.0 - share)[..., None, None] ** 2 * covariance
    mixed = mixed + share[..., None, None] ** 2 * np.roll(covariance, -1, axis=1)
    sigma = np.sqrt(np.einsum("lsi,lsij,lsj->ls", away, mixed, away))
    return ndtr(distance / np.maximum(sigma, 1e-300))


def _cores(
    cells: Cells,
    voting: np.ndarray,
    middle_px: Float[np.ndarray, "defect 2"],
    size: Int32[np.ndarray, " defect"] | np.ndarray,
    edge: float,
) -> Float[np.ndarray, "defect 2"]:
    """Return where the plane through the displacements in each loop vanishes; its middle where that is outside."""
    cores = middle_px.copy()
    for row, (middle, cells_wide) in enumerate(zip(middle_px, size, strict=True)):
        half = 0.5 * float(cells_wide) * edge
        near = voting & (np.abs(cells.positions_px - middle) <= 1.2 * half + 0.5 * edge).all(axis=1)
        design = np.column_stack([np.ones(int(near.sum())), cells.positions_px[near] - middle])
        weight = 1.0 / np.sqrt(np.trace(cells.covariance_px2[near], axis1=1, axis2=2))
        plane, _, rank, _ = np.linalg.lstsq(design * weight[:, None], cells.displacement_px[near] * weight[:, None])
        if rank == 3 and abs(np.linalg.det(plane[1:])) > 1e-12:
            off = np.linalg.solve(plane[1:].T, -plane[0])
            cores[row] = middle + off if np.abs(off).max() <= half else middle
    return cores
