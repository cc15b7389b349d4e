"""Figures and sentences on whether sigma explains how neighbouring cells and layers differ."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.spatial import cKDTree

from dipolar.core.geometry import cell_edge_px
from dipolar.core.measurement import Findings, Measurement
from dipolar.core.nouns import Cells, Columns
from dipolar.measure import layer_scatter, neighbour_scatter
from dipolar.recipes.settings import MeasureSettings

FEWEST_PAIRS = 100
"""Pairs of cells below which a width is chance."""
WIDE, WIDE_LAYERS = 1.25, 1.6
"""Width from which the reader should know, of cells and of layers, which are fewer."""
FAR_CELLS = 3.0
"""Distance from walls, in cells, within which cells differ because the displacement turns."""


def scatter_of(cells: Cells, columns: Columns | None, findings: Findings) -> dict[str, float | None]:
    """Return how far neighbouring cells and layers differ over their sigma, by name; None where too few tell.

    Parameters
    ----------
    cells
        Measured cells.
    columns
        The columns they were built from; None where sigma came from a network.
    findings
        For the walls, near which cells do not count, and the layers.
    """
    points = [] if findings.maps is None else [wall.points_px for wall in findings.maps.walls]
    used = None
    if points and len(cells.flags):
        distance, _ = cKDTree(np.concatenate(points)).query(cells.positions_px)
        used = distance > FAR_CELLS * cell_edge_px(cells)
    found = neighbour_scatter(cells, columns, used=used)
    enough = found.pairs >= FEWEST_PAIRS
    spread, over = (math.nan, math.nan) if findings.layers is None else layer_scatter(findings.layers)
    return {
        "neighbour_scatter_over_sigma_dy": _known(found.width[0]) if enough else None,
        "neighbour_scatter_over_sigma_dx": _known(found.width[1]) if enough else None,
        "layer_scatter_c_over_a": _known(spread),
        "layer_scatter_over_sigma": _known(over),
    }


def scatter_notes(settings: MeasureSettings, measurement: Measurement) -> Iterator[str]:
    """Yield a sentence where cells or layers differ by clearly more than their sigma."""
    dy, dx, spread, over = (
        measurement.summary.get(name)
        for name in (
            "neighbour_scatter_over_sigma_dy",
            "neighbour_scatter_over_sigma_dx",
            "layer_scatter_c_over_a",
            "layer_scatter_over_sigma",
        )
    )
    if isinstance(dy, float) and isinstance(dx, float) and max(dy, dx) > WIDE:
        rows = "" if settings.scan in ("rows", "both") else " (--scan rows may take them off)"
        yield (
            f"Neighbouring cells scatter {dy:.1f} (dy) and {dx:.1f} (dx) × their sigma. Sigma leaves out shifts of "
            f"scan rows that the residuals do not show{rows}, overlap and contamination, and the crystal may differ "
            "from cell to cell by itself. Multiply sigma of single cells by these figures to be on the safe side."
        )
    if isinstance(spread, float) and isinstance(over, float) and over > WIDE_LAYERS:
        yield (
            f"c/a scatters by {spread:.2g} from layer to layer, {over:.1f} × the sigma of a layer, which does not know "
            "slow shifts of scan rows: do not tell neighbouring layers apart by it, unless the crystal alternates."
        )


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
