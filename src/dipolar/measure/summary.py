"""The figures that describe a measurement in one table."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dipolar.core.flags import POSITION_FLAGS, Flag, has
from dipolar.core.geometry import cell_gamma_deg
from dipolar.core.nouns import Cells, Columns
from dipolar.core.units import magnitude
from dipolar.measure.reference import TO_SIGMA, trusted
from dipolar.measure.uniformity import rms_deviation_px


def summarize(columns: Columns, cells: Cells) -> dict[str, float | int | str | None]:
    """Return counts, medians and spreads by name; lengths in pm where the cells are calibrated, else in px.

    Medians run over cells without flags. Unknown values are None.
    """
    scale, unit = (1.0, "px") if cells.pixel_size_pm is None else (cells.pixel_size_pm, "pm")
    good = trusted(cells)
    length_a, length_b = (scale * magnitude(edge[good]) for edge in (cells.a_px, cells.b_px))
    gamma = cell_gamma_deg(cells)[good]
    displacement = scale * cells.displacement_px[good]
    variance = np.diagonal(cells.covariance_px2[good], axis1=1, axis2=2)
    sigma = scale * np.sqrt(np.mean(variance, axis=1))
    result: dict[str, float | int | str | None] = {
        "columns": len(columns.flags),
        "columns_a": int(np.count_nonzero(columns.sublattice == 0)),
        "columns_b": int(np.count_nonzero(columns.sublattice == 1)),
        "columns_flagged": int(np.count_nonzero(has(columns.flags, POSITION_FLAGS))),
        "cells": len(cells.flags),
        "cells_flagged": int(np.count_nonzero(~good)),
        "cells_ambiguous": int(np.count_nonzero(has(cells.flags, Flag.AMBIGUOUS_SUBLATTICE))),
        "crystals": len(np.unique(columns.grain)),
        "length_unit": unit,
        f"displacement_median_{unit}": _median(magnitude(displacement)),
        f"displacement_mean_dy_{unit}": _mean(displacement[:, 0]),
        f"displacement_mean_dx_{unit}": _mean(displacement[:, 1]),
        f"displacement_spread_dy_{unit}": _spread(displacement[:, 0]),
        f"displacement_spread_dx_{unit}": _spread(displacement[:, 1]),
        f"displacement_sigma_median_{unit}": _median(sigma),
        f"a_median_{unit}": _median(length_a),
        f"a_spread_{unit}": _spread(length_a),
        f"b_median_{unit}": _median(length_b),
        f"b_spread_{unit}": _spread(length_b),
        "gamma_median_deg": _median(gamma),
        "gamma_spread_deg": _spread(gamma),
        "noise_gain": columns.noise.gain,
        "row_jitter_y_px": columns.noise.row_jitter_px[0],
        "row_jitter_x_px": columns.noise.row_jitter_px[1],
    }
    for name, sublattice in (("a", 0), ("b", 1)):
        y, x = rms_deviation_px(columns, sublattice)
        result[f"rms_deviation_{name}_y_{unit}"] = _known(scale * y)
        result[f"rms_deviation_{name}_x_{unit}"] = _known(scale * x)
        mine = scale * np.sqrt(np.diagonal(columns.covariance_px2, axis1=1, axis2=2))[columns.sublattice == sublattice]
        result[f"column_sigma_median_{name}_{unit}"] = _median(mine[np.isfinite(mine).all(axis=1)].ravel())
    return result


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _median(values: Float[np.ndarray, " value"]) -> float | None:
    return float(np.median(values)) if len(values) else None


def _mean(values: Float[np.ndarray, " value"]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _spread(values: Float[np.ndarray, " value"]) -> float | None:
    """Return the robust standard deviation of the values."""
    return TO_SIGMA * float(np.median(np.abs(values - np.median(values)))) if len(values) else None
