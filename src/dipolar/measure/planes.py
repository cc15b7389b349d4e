"""How the atomic planes run: direction, rotation and curvature of the rows of one sublattice."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int32

from dipolar.core.findings import ScanCalibration
from dipolar.core.flags import POSITION_FLAGS, has
from dipolar.core.nouns import Columns, Field
from dipolar.core.units import angle_deg
from dipolar.measure.linear import variance_of
from dipolar.measure.reference import Region

STEPS: dict[str, tuple[int, int]] = {"a": (4, 5), "b": (6, 7)}
"""Places of the steps ahead and back along each edge in `core.nouns.LINK_STEPS`."""


def atomic_planes(
    columns: Columns,
    *,
    sublattice: Literal["A", "B"] = "A",
    reach: int = 3,
    pixel_size_pm: float | None = None,
    region: Region | None = None,
    scan: ScanCalibration | None = None,
) -> tuple[Field, ...]:
    """Return direction, rotation and curvature of the rows along a and along b at every column with enough neighbours.

    A parabola p(t) = p0 + p1 t + p2 t² is fitted to the column and `reach` neighbours to each side, along its links.
    The direction is that of p1; the curvature is (p1 × 2 p2) / |p1|³, positive where the row turns counter-clockwise on
    the screen as it is followed to the right (a) or downwards (b). Rotation is the direction against the median, that
    of the region where one is given. A scan that drifts bends planes as well; a shift of single scan rows
    is in sigma.

    Parameters
    ----------
    columns
        Columns with links.
    sublattice
        Whose rows.
    reach
        Neighbours to each side.
    pixel_size_pm
        Gives curvature in 1/nm; in 1/px without.
    region
        Where the rotation is zero.
    scan
        The shape of the scan, where it is to be corrected for.

    Returns
    -------
    For along in (a, b): ``{along}_rows_direction_deg``, ``{along}_rows_rotation_deg``, ``{along}_rows_curvature``.
    """
    code = 0 if sublattice == "A" else 1
    true = np.eye(2) if scan is None else scan.straighten
    fields: list[Field] = []
    for along, steps in STEPS.items():
        rows, chain = _chains(columns, code, steps, reach)
        fields += _geometry(columns, rows, chain, along, pixel_size_pm, region, true)
    return tuple(fields)


def _chains(
    columns: Columns, code: int, steps: tuple[int, int], reach: int
) -> tuple[Int32[np.ndarray, " row"], Int32[np.ndarray, "row point"]]:
    """Return the columns that have `reach` neighbours to each side that can be trusted, and those in order."""
    links = np.vstack([columns.links, np.full((1, 8), -1, dtype=np.int32)])  # row -1 leads nowhere
    good = np.append(~has(columns.flags, POSITION_FLAGS), False)
    start = np.flatnonzero((columns.sublattice == code) & good[:-1]).astype(np.int32)
    sides: list[list[np.ndarray]] = [[], []]
    for side, step in enumerate(steps):
        at = start
        for _ in range(reach):
            at = links[at, step]
            sides[side].append(at)
    chain = np.column_stack([*sides[1][::-1], start, *sides[0]]).astype(np.int32)
    whole = np.flatnonzero(good[chain].all(axis=1))
    return start[whole], chain[whole]


def _geometry(
    columns: Columns,
    rows: Int32[np.ndarray, " row"],
    chain: Int32[np.ndarray, "row point"],
    along: str,
    pixel_size_pm: float | None,
    region: Region | None,
    true: Float[np.ndarray, "2 2"],
) -> list[Field]:
    t = np.arange(chain.shape[1]) - chain.shape[1] // 2
    solve = np.linalg.pinv(np.stack([np.ones_like(t), t, t**2], axis=1).astype(float))
    points = columns.positions_px[chain] @ true.T
    slope, bend = (np.einsum("p,rpk->rk", part, points) for part in solve[1:])
    length = np.linalg.norm(slope, axis=1)
    # along the screen's counter-clockwise normal, (y, x) = (-x, y) of the direction turned by a quarter
    normal = np.stack([-slope[:, 1], slope[:, 0]], axis=1) / length[:, None]
    curvature = 2.0 * np.sum(bend * normal, axis=1) / length**2
    direction = angle_deg(slope)
    towards = normal @ true  # as errors are those of positions on the image
    turn_sigma = np.degrees(_sigma(columns, chain, solve[1], towards / length[:, None]))
    bend_sigma = _sigma(columns, chain, 2.0 * solve[2], towards / length[:, None] ** 2)
    positions = columns.positions_px[rows]
    zero = _median_direction(slope, positions, region)
    rotation = (direction - zero + 180.0) % 360.0 - 180.0
    scale, unit = (1.0, "1/px") if pixel_size_pm is None else (1000.0 / pixel_size_pm, "1/nm")
    described = (
        ("direction_deg", "deg", direction, turn_sigma),
        ("rotation_deg", "deg", rotation, turn_sigma),
        ("curvature", unit, scale * curvature, scale * bend_sigma),
    )
    return [
        Field(name=f"{along}_rows_{name}", unit=symbol, positions_px=positions, values=values, sigma=sigma)
        for name, symbol, values, sigma in described
    ]


def _sigma(
    columns: Columns,
    chain: Int32[np.ndarray, "row point"],
    weights: Float[np.ndarray, " point"],
    towards: Float[np.ndarray, "row 2"],
) -> Float[np.ndarray, " row"]:
    """Return the standard error of Σ weights · position · towards, scan rows that the points share included."""
    where = np.repeat(np.arange(len(chain)), chain.shape[1])
    shape = (len(chain), len(columns.flags))
    parts = [
        scipy.sparse.csr_matrix(((towards[:, [axis]] * weights).ravel(), (where, chain.ravel())), shape=shape)
        for axis in (0, 1)
    ]
    return np.sqrt(variance_of(parts[0], parts[1], columns))


def _median_direction(
    slope: Float[np.ndarray, "row 2"], positions: Float[np.ndarray, "row 2"], region: Region | None
) -> float:
    """Return the direction of the median step, in the region where it holds any row."""
    if not len(slope):
        return 0.0
    used = np.ones(len(slope), dtype=bool)
    if region is not None:
        y0, y1, x0, x1 = region
        y, x = positions.T
        near = (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
        used = near if near.any() else used
    return float(angle_deg(np.median(slope[used], axis=0)[None])[0])
