"""Predicted cells beside measured ones, and the places of a prediction that deserve a look."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int32
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dipolar.core.comparison import Agreement, Comparison, Places
from dipolar.core.domains import Anomalies
from dipolar.core.errors import DataError, SettingsError
from dipolar.core.flags import DOUBTFUL_CELL, has
from dipolar.core.geometry import cell_edge_px
from dipolar.core.nouns import Cells
from dipolar.maps.neighbours import neighbours

SAME_CELL = 0.5
"""Cells of two tables nearer than this share of the cell's edge are the same one."""
FEWEST_PAIRS = 3
"""Pairs below which nothing is said about agreement."""
FEWEST_BINS, MOST_BINS = 21, 81
"""Bins of each histogram, more for more pairs; odd, so that zero is the middle of one."""
BESIDE_CELLS = 1.5
"""An anomaly this near to a cluster of unfamiliar cells is part of it: the diagonal neighbour still is."""
USUAL = 0.98
"""Share of the cells of an image whose anomaly score counts as usual: what a score of 1 means for familiarity, too."""


def compare(measured: Cells, predicted: Cells) -> Comparison:
    """Return what was predicted beside what was measured, cell by cell.

    Two cells are the same one where each is the other's nearest and they lie within half a cell's edge.

    Parameters
    ----------
    measured
        Cells from fitted columns, or the truth of a simulation.
    predicted
        Cells of the same image, in the same basis.

    Raises
    ------
    SettingsError
        The two tables are in different bases: their displacements are of different columns.
    """
    if measured.basis != predicted.basis:
        raise SettingsError(
            "Displacements can only be compared in the same basis.",
            got=f"basis {measured.basis} measured, basis {predicted.basis} predicted",
            do=f"measure again with --basis {predicted.basis}",
        )
    pairs = match(measured, predicted)
    one, two = pairs.T
    found, said = measured.displacement_px[one], predicted.displacement_px[two]
    counted = _trusted(measured)[one] & _trusted(predicted)[two]
    variance = np.diagonal(measured.covariance_px2[one] + predicted.covariance_px2[two], axis1=1, axis2=2)
    dy, dx = (agreement(found[counted, c], said[counted, c], variance[counted, c]) for c in (0, 1))
    edges = _edges(np.concatenate([found[counted], said[counted]]))
    return Comparison(
        measured=one,
        predicted=two,
        positions_px=measured.positions_px[one],
        measured_px=found,
        predicted_px=said,
        error_px=said - found,
        counted=counted,
        only_measured=len(measured.flags) - len(pairs),
        only_predicted=len(predicted.flags) - len(pairs),
        dy=dy,
        dx=dx,
        edges_px=edges,
        dy_counts=_counts(found[counted, 0], said[counted, 0], edges),
        dx_counts=_counts(found[counted, 1], said[counted, 1], edges),
        measured_counts=_counts(found[counted, 0], found[counted, 1], edges),
        predicted_counts=_counts(said[counted, 0], said[counted, 1], edges),
        basis=measured.basis,
        pixel_size_pm=measured.pixel_size_pm,
    )


def match(measured: Cells, predicted: Cells) -> Int32[np.ndarray, "pair 2"]:
    """Return rows (measured, predicted) of the cells that are the same one, in the order of the measured table."""
    if not len(measured.flags) or not len(predicted.flags):
        return np.zeros((0, 2), dtype=np.int32)
    reach = SAME_CELL * cell_edge_px(measured)
    rows = np.arange(len(measured.flags))
    distance, there = cKDTree(predicted.positions_px).query(measured.positions_px)
    _, back = cKDTree(measured.positions_px).query(predicted.positions_px)
    same = (distance < reach) & (back[there] == rows)
    return np.stack([rows[same], there[same]], axis=1).astype(np.int32)


def _trusted(cells: Cells) -> Bool[np.ndarray, " cell"]:
    """Return the cells with a displacement and no flag on it; not all networks tell a sigma."""
    return np.isfinite(cells.displacement_px).all(axis=1) & ~has(cells.flags, DOUBTFUL_CELL)


def agreement(
    measured_px: Float[np.ndarray, " pair"],
    predicted_px: Float[np.ndarray, " pair"],
    variance_px2: Float[np.ndarray, " pair"],
) -> Agreement:
    """Return how two columns of numbers agree; `variance_px2` is that of their difference, nan unknown."""
    if len(measured_px) < FEWEST_PAIRS:
        nan = float("nan")
        return Agreement(rmse_px=nan, bias_px=nan, r2=nan, slope=nan, correlation=nan, zscore_width=nan)
    error = predicted_px - measured_px
    one, two = measured_px - measured_px.mean(), predicted_px - predicted_px.mean()
    known = variance_px2 > 0
    together, of_one, of_two = float(one @ two), float(one @ one), float(two @ two)
    return Agreement(
        rmse_px=float(np.sqrt(np.mean(error**2))),
        bias_px=float(error.mean()),
        r2=1.0 - _ratio(float(error @ error), of_one),
        slope=_ratio(together, of_one),
        correlation=_ratio(together, float(np.sqrt(of_one * of_two))),
        zscore_width=float(np.std(error[known] / np.sqrt(variance_px2[known]))) if known.any() else float("nan"),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def _edges(vectors_px: Float[np.ndarray, "row 2"]) -> Float[np.ndarray, " edge"]:
    """Return edges symmetric about zero that hold all but one vector in two hundred."""
    reach = 1.1 * float(np.percentile(np.abs(vectors_px).max(axis=1), 99.5)) if len(vectors_px) else 1.0
    bins = int(np.clip(1.2 * np.sqrt(len(vectors_px)), FEWEST_BINS, MOST_BINS)) | 1
    return np.linspace(-1.0, 1.0, bins + 1) * (reach if reach > 0 else 1.0)


def _counts(
    rows: Float[np.ndarray, " pair"], columns: Float[np.ndarray, " pair"], edges: Float[np.ndarray, " edge"]
) -> Int32[np.ndarray, "bin bin"]:
    return np.histogram2d(rows, columns, bins=[edges, edges])[0].astype(np.int32)


def places(
    cells: Cells,
    *,
    unfamiliar: Float[np.ndarray, " cell"],
    anomalies: Anomalies | None = None,
    pixel_size_pm: float | None = None,
    most: int = 50,
) -> Places:
    """Return the places that deserve a look: clusters unlike the training images, and anomalies of the map.

    Cells above 1 that touch are one place, at the cell that is least familiar. An anomaly in such a cluster or beside
    it adds its reason to that place; any other is a place of its own. Scores of anomalies are divided by what 98 % of
    the cells of this image stay below, which is what 1 means for familiarity: so the two can be ranked together.

    Parameters
    ----------
    cells
        Predicted cells.
    unfamiliar
        How unlike the training images the neighbourhood of each is; above 1 it is flagged, nan is unknown.
    anomalies
        Places unlike the rest of the image; None where no map of anomalies was made.
    pixel_size_pm
        For positions in nm; None leaves them nan.
    most
        Greatest number of places.

    Raises
    ------
    DataError
        There is not one score per cell.
    """
    if len(unfamiliar) != len(cells.flags):
        raise DataError(
            "Every cell needs one score of familiarity.",
            got=f"{len(unfamiliar)} scores for {len(cells.flags)} cells",
            do="hand over the scores of this very table: unfamiliar=prediction.cell_unfamiliar",
        )
    label, where, score, reason = _clusters(cells, unfamiliar)
    if anomalies is not None and len(anomalies.cell):
        where, score, reason = _with_anomalies(cells, anomalies, label, where, score, reason)
    order = np.argsort(-score, kind="stable")[:most]
    size_nm = float("nan") if pixel_size_pm is None else pixel_size_pm / 1000.0
    return Places(
        positions_px=where[order],
        positions_nm=where[order] * size_nm,
        reason=tuple(reason[place] for place in order.tolist()),
        score=score[order],
    )


def _clusters(
    cells: Cells, unfamiliar: Float[np.ndarray, " cell"]
) -> tuple[Int32[np.ndarray, " cell"], Float[np.ndarray, "place 2"], Float[np.ndarray, " place"], list[str]]:
    """Return the cluster of every cell (-1: familiar), and position, score and reason of each cluster."""
    strange: Bool[np.ndarray, " cell"] = unfamiliar > 1.0
    label = np.full(len(strange), -1, dtype=np.int32)
    around = neighbours(cells)
    first, step = np.nonzero((around >= 0) & strange[:, None] & strange[around])
    second = around[first, step]
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(len(strange), len(strange)))
    _, part = connected_components(graph, directed=False)
    _, label[strange] = np.unique(part[strange], return_inverse=True)
    rows = np.flatnonzero(strange)
    rows = rows[np.lexsort((-unfamiliar[rows], label[rows]))]
    _, strongest, count = np.unique(label[rows], return_index=True, return_counts=True)
    rows = rows[strongest]
    words = [f"unlike the training images ({n} cell{'' if n == 1 else 's'})" for n in count.tolist()]
    return label, cells.positions_px[rows], unfamiliar[rows].astype(np.float64), words


def _with_anomalies(
    cells: Cells,
    anomalies: Anomalies,
    label: Int32[np.ndarray, " cell"],
    where: Float[np.ndarray, "cluster 2"],
    score: Float[np.ndarray, " cluster"],
    reason: list[str],
) -> tuple[Float[np.ndarray, "place 2"], Float[np.ndarray, " place"], list[str]]:
    usual = np.nanquantile(anomalies.cell_score, USUAL)
    strange = np.flatnonzero(label >= 0)
    cluster = np.full(len(anomalies.cell), -1)
    if len(strange):
        distance, nearest = cKDTree(cells.positions_px[strange]).query(anomalies.positions_px)
        beside = distance < BESIDE_CELLS * cell_edge_px(cells)
        cluster[beside] = label[strange[nearest[beside]]]
    score, reason = score.copy(), list(reason)
    relative = anomalies.score / usual
    for place in np.flatnonzero(cluster >= 0).tolist():
        to = int(cluster[place])
        reason[to] = f"{reason[to]}; {anomalies.reason[place]}"
        score[to] = max(score[to], relative[place])
    own = cluster < 0
    return (
        np.concatenate([where, anomalies.positions_px[own]]),
        np.concatenate([score, relative[own]]),
        reason + [anomalies.reason[place] for place in np.flatnonzero(own).tolist()],
    )
