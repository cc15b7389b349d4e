"""Size and shape of measured unit cells."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from dipolar.core.nouns import Cells


def cell_area_px2(cells: Cells) -> Float[np.ndarray, " cell"]:
    """Return the area spanned by the mean edges a and b of each cell."""
    return np.abs(cells.a_px[:, 0] * cells.b_px[:, 1] - cells.a_px[:, 1] * cells.b_px[:, 0])


def cell_gamma_deg(cells: Cells) -> Float[np.ndarray, " cell"]:
    """Return the angle between the mean edges a and b of each cell, 0 to 180."""
    return np.degrees(np.arctan2(cell_area_px2(cells), np.sum(cells.a_px * cells.b_px, axis=1)))


def cell_edge_px(cells: Cells, rows: Bool[np.ndarray, " cell"] | None = None) -> float:
    """Return the median square root of the area, of all cells or of those in `rows`; nan without any."""
    area = cell_area_px2(cells)
    area = area if rows is None else area[rows]
    known = area[np.isfinite(area)]
    return float(np.median(np.sqrt(known))) if len(known) else float("nan")
