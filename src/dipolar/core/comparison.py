"""The nouns of judging a prediction: beside a measurement, by its own sigma, and where to look next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int32

from dipolar.core.nouns import Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How one component of what was predicted agrees with what was measured; nan with fewer than three cells."""

    rmse_px: float
    """Root mean square of predicted minus measured."""
    bias_px: float
    """Mean of predicted minus measured."""
    r2: float
    """Share of the variance of what was measured that the prediction tells: 1 - Σ(predicted - measured)² / Σ(measured
    - mean)²; below 0 where the mean alone would be nearer."""
    slope: float
    """Change predicted per change measured, by least squares. Noise of the measurement makes it smaller than true."""
    correlation: float
    """Pearson's correlation coefficient."""
    zscore_width: float
    """Standard deviation of (predicted - measured) / sigma, with the variances of both added; 1 is honest. Less may
    come from noise that both share, as they do where both look at one image."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """What was predicted beside what was measured: one entry per pair of cells that are the same one."""

    measured: Int32[np.ndarray, " pair"]
    """Row in the table of measured cells."""
    predicted: Int32[np.ndarray, " pair"]
    """Row in the table of predicted cells."""
    positions_px: Float[np.ndarray, "pair 2"]
    """Where the measured cell is, (y, x)."""
    measured_px: Float[np.ndarray, "pair 2"]
    """Its displacement (dy, dx)."""
    predicted_px: Float[np.ndarray, "pair 2"]
    """The displacement predicted."""
    error_px: Float[np.ndarray, "pair 2"]
    """Predicted minus measured."""
    counted: Bool[np.ndarray, " pair"]
    """Pairs that the numbers and histograms below are made of: both displacements known, neither cell flagged."""
    only_measured: int
    """Measured cells without a predicted one."""
    only_predicted: int
    """Predicted cells without a measured one."""
    dy: Agreement
    """Agreement of the y component."""
    dx: Agreement
    """Agreement of the x component."""
    edges_px: Float[np.ndarray, " edge"]
    """Edges of the bins of all four histograms, along both axes."""
    dy_counts: Int32[np.ndarray, "bin bin"]
    """Pairs by dy measured (rows) and dy predicted (columns)."""
    dx_counts: Int32[np.ndarray, "bin bin"]
    """Pairs by dx measured (rows) and dx predicted (columns)."""
    measured_counts: Int32[np.ndarray, "bin bin"]
    """Pairs by dy (rows) and dx (columns) as measured."""
    predicted_counts: Int32[np.ndarray, "bin bin"]
    """Pairs by dy (rows) and dx (columns) as predicted."""
    basis: Basis
    """Which sublattice stands at the corners, in both tables."""
    pixel_size_pm: float | None
    """Calibrated pixel size of the measurement; None leaves every length in px."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """Places to look next, the most unusual first: unlike the training images, or unlike the rest of this image."""

    positions_px: Float[np.ndarray, "place 2"]
    """Where, (y, x)."""
    positions_nm: Float[np.ndarray, "place 2"]
    """The same in nm from the upper-left pixel; nan without calibration."""
    reason: tuple[str, ...]
    """What is unusual, in words."""
    score: Float[np.ndarray, " place"]
    """How unusual: 1 is what one ordinary cell in fifty exceeds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """Errors found against the sigma told, in bins of equally many values, from the surest to the least sure."""

    sigma: Float[np.ndarray, " bin"]
    """Root mean square of the sigmas told, in their own unit."""
    rms_error: Float[np.ndarray, " bin"]
    """Root mean square of the errors found; equal to `sigma` where sigma is honest."""
    rms_error_sigma: Float[np.ndarray, " bin"]
    """One standard error of it, from the scatter of the squared errors."""
    count: Int32[np.ndarray, " bin"]
    """Values in each bin."""
