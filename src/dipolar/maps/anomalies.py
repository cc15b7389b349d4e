"""Places to look next: cells that are unlike what surrounds them, and unlike the rest of the image in how much."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from scipy.stats import chi2

from dipolar.core.domains import Anomalies, Domains
from dipolar.core.flags import Flag, has
from dipolar.core.geometry import cell_edge_px
from dipolar.core.nouns import Cells, Columns
from dipolar.maps.features import Features, features
from dipolar.maps.neighbours import neighbours

USUAL = 4.0
"""Deviations, in robust standard deviations, up to which cells tell how features go together."""
LOUD = 3.5
"""Deviation from which a feature is named as a reason."""
APART_CELLS = 3.0
"""Distance within which the strangest cell stands for its neighbours."""
FEWEST = 20
"""Cells below which there is no "usual"."""


def find_anomalies(
    cells: Cells,
    columns: Columns,
    *,
    shape_px: tuple[int, int],
    domains: Domains | None = None,
    most: int = 20,
) -> Anomalies:
    """Return the places whose neighbourhood is unlike the rest, the strangest first.

    Each cell is compared with its neighbours: displacement, edges, angle, brightness of its columns against the like
    columns around them, misfit, and cells missing inside the crystal. Deviations are put in units of what is usual in
    this image (median and median absolute deviation) and joined into a Mahalanobis distance, with the covariance of
    cells that do not stand out. Listed are those beyond what the largest of as many ordinary cells would reach by
    chance, the strangest within three cells of each other only.

    Parameters
    ----------
    cells
        Measured cells.
    columns
        The columns they were built from.
    shape_px
        Rows and columns of the image, for coordinates from its middle.
    domains
        Where given, displacements are compared within a domain, so that walls are not reported.
    most
        Greatest number of places.
    """
    around = neighbours(cells)
    found = features(cells, columns, around, domains)
    score = _distance(found)
    listed = _allowed(cells, columns, found) & np.isfinite(score)
    limit = float(np.sqrt(chi2.isf(0.5 / max(int(listed.sum()), 1), len(found.names))))
    rows = np.flatnonzero(listed & (score > limit))
    rows = _strangest(cells, rows[np.argsort(-score[rows], kind="stable")], most)
    size_nm = float("nan") if cells.pixel_size_pm is None else cells.pixel_size_pm / 1000.0
    positions = cells.positions_px[rows]
    return Anomalies(
        cell=rows.astype(np.int32),
        positions_px=positions,
        score=score[rows],
        reason=tuple(_reason(found, row) for row in rows.tolist()),
        from_centre_nm=(positions - (np.array(shape_px) - 1.0) / 2.0) * size_nm,
        from_origin_nm=positions * size_nm,
        cell_score=score,
    )


def _distance(found: Features) -> Float[np.ndarray, " cell"]:
    """Return the Mahalanobis distance of every cell; unknown features count as usual."""
    z = np.nan_to_num(found.deviation)
    score = np.full(len(z), np.nan)
    known = np.isfinite(found.deviation).any(axis=1)
    if known.sum() < FEWEST:
        return score
    # clipped deviations: what stands out has no say in what is usual
    usual = np.clip(z[known], -USUAL, USUAL)
    covariance = usual.T @ usual / len(usual)
    scale = np.sqrt(np.maximum(np.diagonal(covariance), 1.0))
    likeness = covariance / np.outer(scale, scale)
    np.fill_diagonal(likeness, 1.0)
    inverse = np.linalg.pinv(likeness, rcond=1e-3, hermitian=True)
    scaled = z[known] / scale
    score[known] = np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", scaled, inverse, scaled), 0.0))
    return score


def _allowed(cells: Cells, columns: Columns, found: Features) -> Bool[np.ndarray, " cell"]:
    """Return the cells that may be listed: inside the crystal and off the edge of the image, where all is unlike."""
    allowed = found.neighbours + found.missing >= 7
    linked = (cells.corners >= 0).all(axis=1) & (cells.center >= 0)
    if linked.any():
        edge = has(columns.flags, Flag.EDGE | Flag.NEAR_INVALID)
        rows = np.flatnonzero(linked)
        allowed[rows] &= ~(edge[cells.corners[rows]].any(axis=1) | edge[cells.center[rows]])
    return allowed


def _strangest(cells: Cells, rows: np.ndarray, most: int) -> np.ndarray:
    """Return the first rows that are not too near to one before."""
    if not len(rows):
        return rows
    places = cells.positions_px[rows]
    near = cKDTree(places).query_ball_point(places, APART_CELLS * cell_edge_px(cells))
    taken = np.zeros(len(rows), dtype=bool)
    kept: list[int] = []
    for place in range(len(rows)):
        if len(kept) == most:
            break
        if not taken[place]:
            kept.append(place)
            taken[near[place]] = True
    return rows[kept]


def _reason(found: Features, row: int) -> str:
    deviation = np.nan_to_num(found.deviation[row])
    order = np.argsort(-np.abs(deviation))
    loud = [number for number in order[:4].tolist() if abs(deviation[number]) >= LOUD]
    if not loud:
        return "several small deviations together"
    words = "; ".join(found.words(number, row) for number in loud)
    named = {found.names[number] for number in loud}
    if "missing" in named and named & {"a", "b", "gamma"}:
        return f"{words}; dislocation core?"
    dim = [number for number in loud if "brightness" in found.names[number] and found.value[row, number] < -0.35]
    return f"{words}; vacancy?" if dim else words
