"""The truth as tables: links between columns, and the unit cells that follow from them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int32, Int64

from dipolar.core.nouns import LINK_STEPS, A, B, Basis, Cells, Columns

HALF_STEPS = np.stack([LINK_STEPS[:, 0] - LINK_STEPS[:, 1], LINK_STEPS.sum(axis=1)], axis=-1).astype(np.int64)
"""`LINK_STEPS` as (down, right) in half cells: p1 = (a + b) / 2 and p2 = (a - b) / 2."""


def quarter_turn(half_steps: Int64[np.ndarray, "row 2"], turns: int) -> Int64[np.ndarray, "row 2"]:
    """Return the same lattice coordinates after a and b were renamed: one turn makes b the new a, -a the new b."""
    down, right = half_steps[:, 0], half_steps[:, 1]
    for _ in range(turns % 4):
        down, right = -right, down
    return np.stack([down, right], axis=-1)


def lattice_index(half_steps: Int64[np.ndarray, "row 2"]) -> Int32[np.ndarray, "row 2"]:
    """Return indices in steps p1, p2 from lattice coordinates (down, right) in half cells."""
    down, right = half_steps[:, 0], half_steps[:, 1]
    return np.stack([(right + down) // 2, (right - down) // 2], axis=-1).astype(np.int32)


def lattice_links(
    half_steps: Int64[np.ndarray, "column 2"],
    *,
    turns: int = 0,
    slipped: tuple[Float[np.ndarray, "column 2"], Float[np.ndarray, "2"]] | None = None,
) -> Int32[np.ndarray, "column 8"]:
    """Return the row of every column's neighbour in each of `LINK_STEPS`, -1 where there is none.

    Parameters
    ----------
    half_steps
        Lattice coordinates (down, right) in half cells, in the crystal's axes.
    turns
        Quarter turns by which a and b were renamed (`quarter_turn`).
    slipped
        Ideal positions and the core of a dislocation: left of it, links across the glide plane lead one cell further.
    """
    count = len(half_steps)
    links = np.full((count, 8), -1, dtype=np.int32)
    if count == 0:
        return links
    corner = half_steps.min(axis=0) - 4
    table = np.full(half_steps.max(axis=0) - corner + 5, -1, dtype=np.int32)
    table[tuple((half_steps - corner).T)] = np.arange(count, dtype=np.int32)
    rows = np.arange(count, dtype=np.int32)
    crystal_steps = quarter_turn(HALF_STEPS, -turns)
    for number in range(8):
        step = crystal_steps[number]
        if step[0] < 0 or (step[0] == 0 and step[1] < 0):
            continue  # the way back is filled in with the way there
        target = half_steps + step
        if slipped is not None and step[0] > 0:
            target[:, 1] += 2 * _slips(*slipped, half_steps, step)
        found = table[tuple((target - corner).T)]
        found[np.isin(found, _doubled(found))] = -1  # above the core two columns claim the same one below
        links[:, number] = found
        links[found[found >= 0], number ^ 1] = rows[found >= 0]
    return links


def _doubled(found: Int32[np.ndarray, " column"]) -> Int32[np.ndarray, " twice"]:
    """Return the rows that occur more than once."""
    values, counts = np.unique(found[found >= 0], return_counts=True)
    return values[counts > 1]


def _slips(
    points_pm: Float[np.ndarray, "column 2"],
    core: Float[np.ndarray, "2"],
    half_steps: Int64[np.ndarray, "column 2"],
    step: Int64[np.ndarray, "2"],
) -> Int64[np.ndarray, " column"]:
    """Return 1 where this step leads down across the glide plane to the left of the core, else 0."""
    row_y = dict(zip(half_steps[:, 0].tolist(), points_pm[:, 0].tolist(), strict=True))
    below = np.array([row_y.get(down, -np.inf) for down in (half_steps[:, 0] + step[0]).tolist()])
    half_cell = np.ptp(points_pm[:, 1]) / max(int(np.ptp(half_steps[:, 1])), 1)
    middle = points_pm[:, 1] + step[1] * half_cell / 2.0
    crosses: Bool[np.ndarray, " column"] = (points_pm[:, 0] < core[0]) & (below > core[0]) & (middle < core[1])
    return crosses.astype(np.int64)


def mean_steps(
    positions_px: Float[np.ndarray, "column 2"], links: Int32[np.ndarray, "column 8"]
) -> Float[np.ndarray, "2 2"]:
    """Return the mean A-B steps p1 and p2 as rows (y, x); nan where there are none."""
    steps = np.full((2, 2), np.nan)
    for number, link in enumerate((4, 6)):  # a and b: their means do not know the displacement of B
        there = links[:, link] >= 0
        if there.any():
            steps[number] = (positions_px[links[there, link]] - positions_px[there]).mean(axis=0)
    return np.stack([steps.sum(axis=0) / 2.0, (steps[0] - steps[1]) / 2.0])


def truth_cells(columns: Columns, basis: Basis = "A", *, pixel_size_pm: float | None) -> Cells:
    """Return the complete cells of a table of true columns, with nan for every sigma.

    A cell is complete where the five columns are there and their links close: next to a dislocation's core they do
    not. The displacement is the centre minus the mean of the four corners.

    Parameters
    ----------
    columns
        True columns with links.
    basis
        Which sublattice stands at the corners.
    pixel_size_pm
        The pixel size, which the cells carry with them.
    """
    links = np.concatenate([columns.links, np.full((1, 8), -1, dtype=np.int32)])  # row -1: from nowhere to nowhere
    corner = A if basis == "A" else B
    origin = np.flatnonzero(columns.sublattice == corner).astype(np.int32)
    center, a, b = links[origin, 0], links[origin, 4], links[origin, 6]
    ab = links[a, 6]
    closed = (center >= 0) & (a >= 0) & (b >= 0) & (ab >= 0)
    closed &= (links[b, 4] == ab) & (links[center, 0] == ab) & (links[a, 3] == center) & (links[b, 2] == center)
    corners = np.stack([origin, a, b, ab], axis=-1)[closed]
    center = center[closed]
    p = columns.positions_px[corners]
    middle = p.mean(axis=1)
    index = columns.index[corners[:, 0] if basis == "A" else center]
    unknown = np.full(len(center), np.nan)
    return Cells(
        row=((index[:, 0] - index[:, 1]) // 2).astype(np.int32),
        col=((index[:, 0] + index[:, 1]) // 2).astype(np.int32),
        grain=columns.grain[center],
        positions_px=middle,
        displacement_px=columns.positions_px[center] - middle,
        covariance_px2=np.full((len(center), 2, 2), np.nan),
        a_px=(p[:, 1] - p[:, 0] + p[:, 3] - p[:, 2]) / 2.0,
        b_px=(p[:, 2] - p[:, 0] + p[:, 3] - p[:, 1]) / 2.0,
        a_sigma_px=unknown,
        b_sigma_px=unknown,
        gamma_sigma_deg=unknown,
        area_sigma_px2=unknown,
        corners=corners,
        center=center,
        flags=np.zeros(len(center), dtype=np.uint32),
        basis=basis,
        pixel_size_pm=pixel_size_pm,
    )
