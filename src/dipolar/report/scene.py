"""What figures and table take from a measurement: its unit, its trusted cells, and a few medians of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt32

from dipolar.core.flags import DOUBTFUL_CELL, has
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one pixel is worth in the figures."""

    scale: float
    """Multiply a length in px by it."""
    name: str
    """ "pm", or "px" where the image is not calibrated."""


def unit_of(measurement: Measurement) -> Unit:
    """Return pm where the measurement is calibrated, px otherwise."""
    pixel_size_pm = measurement.calibration.pixel_size_pm
    return Unit(scale=1.0, name="px") if pixel_size_pm is None else Unit(scale=pixel_size_pm, name="pm")


def suspect(flags: UInt32[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
    """Return where a row's position should not be trusted blindly; such rows are greyed or marked in figures.

    Flags that do not concern its geometry (a guess, an odd shape, A and B by name) do not grey it.
    """
    return has(flags, DOUBTFUL_CELL)


def trusted_cells(cells: Cells) -> Bool[np.ndarray, " cell"]:
    """Return the cells that statistics and colours use: not suspect and with a finite displacement."""
    trusted: Bool[np.ndarray, " cell"] = ~suspect(cells.flags) & np.isfinite(cells.displacement_px).all(axis=1)
    return trusted


def component_sigma(covariance: Float[np.ndarray, "row 2 2"]) -> Float[np.ndarray, " row"]:
    """Return sigma per component: the square root of the mean of the two variances."""
    mean = (covariance[:, 0, 0] + covariance[:, 1, 1]) / 2
    sigma: Float[np.ndarray, " row"] = np.sqrt(np.where(mean >= 0, mean, np.nan))
    return sigma


def median(values: Float[np.ndarray, " row"]) -> float:
    """Return the median of the finite values, nan where there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
