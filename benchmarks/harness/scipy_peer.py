"""The usual way with SciPy: `curve_fit` with its trust region, column by column, a 2-D Gaussian in a square window.

Five parameters (amplitude, y, x, two widths along the axes of the image, no background) as in published work, or seven
(with angle and constant background). Every fit starts at the pixel nearest to the true position with the right widths,
so the time is not that of bad guesses. The size of the window is the user's to choose, and matters: without a
background the fit is pulled by whatever else is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit

from dipolar.core.nouns import Columns
from harness.process import cost
from harness.truth import step_px


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the fits of some columns found; nan where one failed."""

    positions_px: np.ndarray
    sigma_px: np.ndarray
    cpu_s: float


def five(at: np.ndarray, amplitude: float, y: float, x: float, width_y: float, width_x: float) -> np.ndarray:
    """Return a Gaussian along the axes, without background."""
    height: np.ndarray = amplitude * np.exp(-0.5 * (((at[0] - y) / width_y) ** 2 + ((at[1] - x) / width_x) ** 2))
    return height


def seven(
    at: np.ndarray, amplitude: float, y: float, x: float, width_1: float, width_2: float, angle: float, ground: float
) -> np.ndarray:
    """Return a turned Gaussian on a constant background."""
    dy, dx = at[0] - y, at[1] - x
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    height: np.ndarray = ground + amplitude * np.exp(-0.5 * ((along / width_1) ** 2 + (across / width_2) ** 2))
    return height


MODELS: dict[int, Callable[..., np.ndarray]] = {5: five, 7: seven}


def fit_columns(image: np.ndarray, truth: Columns, rows: np.ndarray, *, parameters: int, reach: float) -> Fitted:
    """Fit the given columns one after the other in windows that reach so many A-B distances to each side."""
    half = round(reach * step_px(truth))
    positions, sigma = np.full((len(rows), 2), np.nan), np.full((len(rows), 2), np.nan)
    with cost() as spent:
        for number, row in enumerate(rows):
            y, x = np.rint(truth.positions_px[row]).astype(int)
            width = float(truth.widths_px[row].mean())
            window = image[y - half : y + half + 1, x - half : x + half + 1].astype(np.float64)
            at = np.mgrid[y - half : y + half + 1, x - half : x + half + 1].reshape(2, -1).astype(np.float64)
            try:
                best, covariance = _fit(parameters, at, window.ravel(), (y, x), width, half)
            except (RuntimeError, OptimizeWarning):
                continue  # the row stays nan
            positions[number], sigma[number] = best[1:3], np.sqrt(np.diag(covariance)[1:3])
    return Fitted(positions_px=positions, sigma_px=sigma, cpu_s=spent.cpu_s)


def _fit(
    parameters: int, at: np.ndarray, values: np.ndarray, guess: tuple[int, int], width: float, half: int
) -> tuple[np.ndarray, np.ndarray]:
    y, x = guess
    low, high = values.min(), values.max()
    start = [high if parameters == 5 else high - low, y, x, width, width]
    bounds = [[0.0, y - half, x - half, 0.3, 0.3], [10.0 * high, y + half, x + half, 10.0 * half, 10.0 * half]]
    if parameters == 7:
        start += [0.0, low]
        bounds[0] += [-np.pi, -high]
        bounds[1] += [np.pi, 2.0 * high]
    best, covariance = curve_fit(MODELS[parameters], at, values, p0=start, bounds=bounds, method="trf")
    return best, covariance
