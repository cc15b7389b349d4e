"""c/a of every cell, and what is averaged over the layers of a film."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import scipy.sparse
from jaxtyping import Float

from dipolar.core.errors import DataError
from dipolar.core.findings import Profile, ScanCalibration, Tetragonality
from dipolar.core.nouns import Cells, Columns, Field
from dipolar.core.units import angle_deg
from dipolar.measure.linear import variance_of
from dipolar.measure.propagate import EDGE_A, EDGE_B
from dipolar.measure.reference import Region, inside, trusted

Axis = Literal["a", "b"]
BATCH_CELLS = 8
"""Cells side by side that are averaged before their scatter is looked at: neighbours share columns."""
FEWEST_BATCHES = 4


def tetragonality(
    cells: Cells,
    columns: Columns,
    *,
    c_axis: Literal["a", "b", "polar"] | None = None,
    growth_deg: float = 90.0,
    region: Region | None = None,
) -> Tetragonality:
    """Return the ratio of the edges of every cell, b/a and c/a, with sigma from the five columns they share.

    A scan that moves faster along one axis than the other stretches every cell alike; with a region of a crystal known
    to be cubic, all ratios are divided by the one found there.

    Parameters
    ----------
    cells
        Measured cells.
    columns
        The columns they were built from.
    c_axis
        Which edge is called c: "a", "b", or "polar", the one nearer to the mean displacement; None: the one nearer to
        the growth direction.
    growth_deg
        Growth direction on the screen, counter-clockwise; 90 is upwards.
    region
        Where the crystal is cubic.

    Raises
    ------
    DataError
        If the region holds no cell without flags.
    """
    axis, why = _c_axis(cells, c_axis, growth_deg)
    length = {name: np.linalg.norm(edge, axis=1) for name, edge in (("a", cells.a_px), ("b", cells.b_px))}
    other: Axis = "a" if axis == "b" else "b"
    norm, norm_sigma = _norm(cells, columns, axis, region)
    ratio = {name: length[name] / length[low] for name, low in (("b", "a"), (axis, other))}
    # sigma of a ratio is the same share of it whichever way up it stands
    share = np.sqrt(variance_of(*_log_ratio(cells, columns), columns))

    def field(name: str, values: Float[np.ndarray, " cell"]) -> Field:
        return Field(name=name, unit="", positions_px=cells.positions_px, values=values, sigma=values * share)

    return Tetragonality(
        axis=axis,
        why=why,
        norm=norm,
        norm_sigma=norm_sigma,
        b_over_a=field("b_over_a", ratio["b"] / (norm if axis == "b" else 1.0 / norm)),
        c_over_a=field("c_over_a", ratio[axis] / norm),
    )


def tetragonality_profile(
    cells: Cells, columns: Columns, found: Tetragonality, *, scan: ScanCalibration | None = None
) -> Profile:
    """Return c/a averaged over every layer: lattice rows where c is b, lattice columns where c is a.

    Sigma is propagated from the columns with the scan rows they share, and is never below that of the scatter along
    the layer. That of the reference region, which all layers share, is not in it.

    Parameters
    ----------
    cells, columns
        As in `tetragonality`.
    found
        What it returned.
    scan
        The shape of the scan that the cells were corrected for, if they were: distances are then those of a true scan.
    """
    if scan is not None:
        cells = replace(cells, positions_px=cells.positions_px @ scan.straighten.T)
    return layer_profile(cells, found.c_over_a, across=found.axis, columns=columns, weights=_log_ratio(cells, columns))


def layer_profile(
    cells: Cells,
    field: Field,
    *,
    across: Axis = "b",
    columns: Columns | None = None,
    weights: tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix] | None = None,
) -> Profile:
    """Return the mean of a quantity over every layer of the largest crystal, with its standard error.

    The scatter of batches of eight cells side by side gives sigma, as neighbours share columns; where fewer than four
    batches fit, that of the cells, widened by √2.

    Parameters
    ----------
    cells
        Measured cells.
    field
        One value per cell, in their order; nan is left out.
    across
        The edge that leads from layer to layer: "b" averages lattice rows, "a" lattice columns.

    Other parameters
    ----------------
    columns, weights
        For sigma of what layers share: the columns, and matrices (cell, column) of the relative change of the value
        with y and with x of each column.
    """
    used = trusted(cells) & np.isfinite(field.values)
    if used.any():
        used &= cells.grain == np.bincount(cells.grain[used]).argmax()
    rows = np.flatnonzero(used)
    layer = (cells.row if across == "b" else cells.col)[rows]
    beside = (cells.col if across == "b" else cells.row)[rows]
    numbers, where, count = np.unique(layer, return_inverse=True, return_counts=True)
    where = where.reshape(-1)
    mean = np.bincount(where, weights=field.values[rows], minlength=len(numbers)) / np.maximum(count, 1)
    sigma = np.array([_scatter(field.values[rows][where == k], beside[where == k]) for k in range(len(numbers))])
    if columns is not None and weights is not None and len(rows):
        average = scipy.sparse.csr_matrix((1.0 / count[where], (where, rows)), shape=(len(numbers), len(used)))
        variance = variance_of(average @ weights[0], average @ weights[1], columns)
        sigma = np.fmax(sigma, mean * np.sqrt(variance))
    return Profile(
        name=field.name,
        unit=field.unit,
        layer=numbers.astype(np.int32),
        position_px=_positions(cells, rows, where, len(numbers), across),
        mean=mean,
        sigma=sigma.reshape(-1),
        cells=count.astype(np.int32),
    )


def _scatter(values: Float[np.ndarray, " cell"], beside: np.ndarray) -> float:
    """Return the standard error of the mean of values side by side that are alike with their neighbours."""
    if len(values) < 2:
        return float("nan")
    batches = min(len(values) // BATCH_CELLS, 64)
    if batches < FEWEST_BATCHES:
        return float(np.std(values, ddof=1) * np.sqrt(2.0 / len(values)))
    means = [part.mean() for part in np.array_split(values[np.argsort(beside)], batches)]
    return float(np.std(means, ddof=1) / np.sqrt(batches))


def _positions(
    cells: Cells, rows: np.ndarray, where: np.ndarray, count: int, across: Axis
) -> Float[np.ndarray, " layer"]:
    if not count:
        return np.zeros(0)
    edge = (cells.b_px if across == "b" else cells.a_px)[rows].mean(axis=0)
    # layers reach to both sides differently far, so that the place along them must not count
    along = (cells.a_px if across == "b" else cells.b_px)[rows].mean(axis=0)
    normal = np.array([along[1], -along[0]]) / np.linalg.norm(along)
    normal *= np.sign(normal @ edge)
    distance = np.bincount(where, weights=cells.positions_px[rows] @ normal, minlength=count) / np.bincount(where)
    return distance - distance[0]


def _c_axis(cells: Cells, c_axis: Literal["a", "b", "polar"] | None, growth_deg: float) -> tuple[Axis, str]:
    """Return which edge is called c, and why."""
    if c_axis in ("a", "b"):
        return ("a" if c_axis == "a" else "b"), "as given"
    good = trusted(cells)
    good = good if good.any() else np.ones(len(cells.flags), dtype=bool)
    angle = np.radians(growth_deg)
    towards, why = np.array([-np.sin(angle), np.cos(angle)]), f"nearest to the growth direction, {growth_deg:g}°"
    if c_axis == "polar" and good.any():
        towards, why = cells.displacement_px[good].mean(axis=0), "nearest to the mean displacement"
        why += f", {angle_deg(towards[None])[0]:.0f}°"
    if not good.any():
        return "b", "there are no cells"
    cosines = []
    for edge in (cells.a_px, cells.b_px):
        mean = edge[good].mean(axis=0)
        cosines.append(abs(float(mean @ towards)) / float(np.linalg.norm(mean)))
    return ("a" if cosines[0] > cosines[1] else "b"), why


def _log_ratio(cells: Cells, columns: Columns) -> tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]:
    """Return how the logarithm of b/a of each cell changes with y and x of each column, to first order."""
    count = len(cells.flags)
    rows = np.repeat(np.arange(count), 4)
    parts = []
    for axis in (0, 1):
        by_a = cells.a_px[:, axis] / np.sum(cells.a_px**2, axis=1)
        by_b = cells.b_px[:, axis] / np.sum(cells.b_px**2, axis=1)
        values = by_b[:, None] * EDGE_B[:4] - by_a[:, None] * EDGE_A[:4]
        shape = (count, len(columns.flags))
        parts.append(scipy.sparse.csr_matrix((values.ravel(), (rows, cells.corners.ravel())), shape=shape))
    return parts[0], parts[1]


def _norm(cells: Cells, columns: Columns, axis: Axis, region: Region | None) -> tuple[float, float]:
    """Return c/a of the region and its standard error, (1, 0) where there is none."""
    if region is None:
        return 1.0, 0.0
    used = inside(cells, region) & trusted(cells)
    if not used.any():
        y0, y1, x0, x1 = region
        raise DataError(
            "the cubic region must contain unit cells without flags.",
            got=f"{y0}:{y1},{x0}:{x1} (y0:y1,x0:x1 in px), which holds none",
            do="choose a larger region of the substrate",
        )
    length_a, length_b = (np.linalg.norm(edge[used].mean(axis=0)) for edge in (cells.a_px, cells.b_px))
    ratio = float(length_b / length_a if axis == "b" else length_a / length_b)
    average = scipy.sparse.csr_matrix(used[None].astype(float) / np.count_nonzero(used))
    along_y, along_x = _log_ratio(cells, columns)
    variance = variance_of(average @ along_y, average @ along_x, columns)
    return ratio, ratio * float(np.sqrt(variance[0]))
