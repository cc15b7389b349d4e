"""Gain check: is a displacement of this image measured in full? The image is simulated anew and measured again.

A fit that leaves out the light of the neighbours, the tails of the columns or the background shrinks or stretches what
it measures, by an amount that depends on the image. So the image is drawn from its own fit, with its own noise, and
measured with the same settings; the slope of what is found on what was put in is the gain. What the fit cannot draw, as
tails that a plain Gaussian lacks, is not in the simulated image either: such a bias shows in the residuals, not here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Float32, Int
from scipy.spatial import cKDTree

from dipolar.core.errors import DipolarError
from dipolar.core.flags import Flag, has
from dipolar.core.nouns import Cells, Columns, GainCheck, Image, take
from dipolar.simulate import render_columns

MOST_COLUMNS = 4000
FEWEST_CELLS = 8
SAME_CELL = 0.25
"""Cells are the same one where their centres lie within this fraction of the cell's edge."""

Measure = Callable[[Image], tuple[Columns, Cells]]


def check_gain(
    image: Image, columns: Columns, cells: Cells, measure: Measure, *, rng: np.random.Generator
) -> GainCheck | None:
    """Return gain, bias and honesty of sigma on this image, or None where fewer than eight cells could be compared.

    Parameters
    ----------
    image
        The image that was measured. At most `MOST_COLUMNS` columns of it are used, in one window.
    columns, cells
        What was found in it; cells before any reference was subtracted.
    measure
        Measures an image with the very settings that `columns` and `cells` were found with.
    rng
        Where the noise of the simulated image comes from.
    """
    window = choose_window(columns, image.data.shape)
    twin = resimulate(image, columns, window, rng=rng)
    try:
        _, found = measure(twin)
    except (DipolarError, np.linalg.LinAlgError):
        return None
    return compare(_within(cells, window), found)


def choose_window(columns: Columns, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return (y0, y1, x0, x1) with at most `MOST_COLUMNS` columns, of the image's aspect, around their median."""
    height, width = int(shape[0]), int(shape[1])
    if len(columns.flags) <= MOST_COLUMNS:
        return 0, height, 0, width
    middle = np.median(columns.positions_px, axis=0)
    # Each column asks for a window scaled just so far that it is inside; the MOST_COLUMNS smallest are granted.
    needed = np.max(np.abs(columns.positions_px - middle) / (height / 2, width / 2), axis=1)
    scale = float(np.partition(needed, MOST_COLUMNS - 1)[MOST_COLUMNS - 1])
    half_y, half_x = scale * height / 2, scale * width / 2
    y0, x0 = max(0, int(middle[0] - half_y)), max(0, int(middle[1] - half_x))
    return y0, min(height, int(middle[0] + half_y) + 1), x0, min(width, int(middle[1] + half_x) + 1)


def resimulate(image: Image, columns: Columns, window: tuple[int, int, int, int], *, rng: np.random.Generator) -> Image:
    """Return the window of the image as its own fit describes it, with fresh white noise of the fitted variance.

    Parameters
    ----------
    image
        Gives the ceiling, the invalid pixels, and the background where there is no column.
    columns
        The fit; rows whose shape is unknown are left out.
    window
        (y0, y1, x0, x1).
    rng
        Where the noise comes from.
    """
    y0, y1, x0, x1 = window
    drawable = np.isfinite(columns.positions_px).all(axis=1) & np.isfinite(columns.amplitude)
    drawable &= np.isfinite(columns.widths_px).all(axis=1) & (columns.widths_px > 0).all(axis=1)
    drawable &= np.isfinite(columns.angle_deg) & np.isfinite(columns.background)
    drawn = take(columns, drawable)
    corner = np.array([y0, x0], dtype=np.float64)
    positions = drawn.positions_px - corner
    seen = image.data[y0:y1, x0:x1]
    size = (y1 - y0, x1 - x0)
    light = render_columns(
        size,
        positions,
        drawn.amplitude,
        drawn.widths_px,
        drawn.angle_deg,
        drawn.sublattice,
        drawn.profile,
    )
    reach = float(np.mean(np.hypot(*columns.steps_px.T)))
    clean = light + smooth_background(positions, drawn.background, seen, reach_px=reach)
    variance = np.maximum(columns.noise.floor + columns.noise.gain * clean, 0.0)
    data = (clean + np.sqrt(variance) * rng.standard_normal(clean.shape)).astype(np.float32)
    data[~np.isfinite(seen)] = np.nan
    if image.ceiling is not None:
        data = np.minimum(data, np.float32(image.ceiling))
    return replace(image, data=data, name=f"{image.name}, simulated anew")


def smooth_background(
    positions_px: Float[np.ndarray, "column 2"],
    background: Float[np.ndarray, " column"],
    seen: Float32[np.ndarray, "y x"],
    *,
    reach_px: float,
) -> Float[np.ndarray, "y x"]:
    """Return the columns' backgrounds as one smooth surface; far from any column, the image itself, smoothed.

    Parameters
    ----------
    positions_px
        Where the backgrounds are known; those outside the image are left out.
    background
        Their values.
    seen
        The image.
    reach_px
        Standard deviation of the smoothing, about the distance from column to column.
    """
    rows, cols = np.rint(positions_px).astype(int).T
    inside = (rows >= 0) & (rows < seen.shape[0]) & (cols >= 0) & (cols < seen.shape[1])
    impulses = np.zeros((2, *seen.shape))
    np.add.at(impulses[0], (rows[inside], cols[inside]), background[inside])
    np.add.at(impulses[1], (rows[inside], cols[inside]), 1.0)
    area = 2.0 * np.pi * reach_px**2  # makes the weight of a lone column 1 at its centre
    total = area * scipy.ndimage.gaussian_filter(impulses[0], reach_px, mode="constant")
    weight = area * scipy.ndimage.gaussian_filter(impulses[1], reach_px, mode="constant")
    faint = 1e-6  # weight of the image itself, which counts only where there is no column
    return np.asarray((total + faint * _smooth_image(seen, reach_px)) / (weight + faint), dtype=np.float64)


def _smooth_image(seen: Float32[np.ndarray, "y x"], reach_px: float) -> Float[np.ndarray, "y x"]:
    valid: Bool[np.ndarray, "y x"] = np.isfinite(seen)
    filled = np.where(valid, seen, 0.0).astype(np.float64)
    total = scipy.ndimage.gaussian_filter(filled, reach_px)
    share = scipy.ndimage.gaussian_filter(valid.astype(np.float64), reach_px)
    return np.asarray(total / np.maximum(share, 1e-12), dtype=np.float64)


def _within(cells: Cells, window: tuple[int, int, int, int]) -> Cells:
    y0, y1, x0, x1 = window
    y, x = cells.positions_px.T
    inside = take(cells, (y >= y0) & (y < y1) & (x >= x0) & (x < x1))
    return replace(inside, positions_px=inside.positions_px - np.array([y0, x0], dtype=np.float64))


def compare(put_in: Cells, found: Cells) -> GainCheck | None:
    """Return slope, bias and z-score width of displacements found against those put in; None below eight cells.

    Each component is regressed by itself, weighted with 1/sigma². Flagged cells are left out on both sides.

    Parameters
    ----------
    put_in
        The truth of the simulated image.
    found
        What was measured in it, with sigma.
    """
    pairs = pair(put_in, found)
    if len(pairs) < FEWEST_CELLS:
        return None
    truth, measured = put_in.displacement_px[pairs[:, 0]], found.displacement_px[pairs[:, 1]]
    variance = np.einsum("nii->ni", found.covariance_px2)[pairs[:, 1]]
    y, x = (regress(truth[:, axis], measured[:, axis], variance[:, axis]) for axis in (0, 1))
    return GainCheck(
        gain=(y.slope, x.slope),
        gain_sigma=(y.slope_sigma, x.slope_sigma),
        bias_px=(y.bias, x.bias),
        zscore_width=(y.zscore_width, x.zscore_width),
        cells=len(pairs),
    )


def pair(put_in: Cells, found: Cells) -> Int[np.ndarray, "pair 2"]:
    """Return rows (put in, found) of the cells that are the same one in both, by position; flagged ones left out."""
    known = np.isfinite(put_in.displacement_px).all(axis=1) & ~_suspect(put_in)
    variance = np.einsum("nii->ni", found.covariance_px2)
    trusted = np.isfinite(found.displacement_px).all(axis=1) & (variance > 0).all(axis=1) & ~_suspect(found)
    rows, candidates = np.flatnonzero(known), np.flatnonzero(trusted)
    if not len(rows) or not len(candidates):
        return np.zeros((0, 2), dtype=np.int64)
    edge = float(np.median(np.hypot(*put_in.a_px[rows].T)))
    distance, nearest = cKDTree(put_in.positions_px[rows]).query(found.positions_px[candidates])
    near = distance < SAME_CELL * edge
    return np.stack([rows[nearest[near]], candidates[near]], axis=-1)


def _suspect(cells: Cells) -> Bool[np.ndarray, " cell"]:
    return has(cells.flags, Flag.FLAGGED_COLUMN | Flag.ODD_CELL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """One component of what was found against what was put in."""

    slope: float
    """Change found per change put in; nan where nothing changed."""
    slope_sigma: float
    """One standard error of it, widened where the scatter about the line exceeds what sigma says."""
    bias: float
    """Weighted mean of found minus put in."""
    zscore_width: float
    """Standard deviation of (found - put in) / sigma."""


def regress(
    truth: Float[np.ndarray, " cell"], measured: Float[np.ndarray, " cell"], variance: Float[np.ndarray, " cell"]
) -> Regression:
    """Return the weighted straight line of `measured` on `truth`, which is exact; `variance` is that of `measured`."""
    weight = 1.0 / variance
    centered = truth - np.average(truth, weights=weight)
    spread = float(np.sum(weight * centered**2))
    slope = slope_sigma = float("nan")
    if spread > 0:
        slope = float(np.sum(weight * centered * measured)) / spread
        residual = measured - np.average(measured, weights=weight) - slope * centered
        excess = float(np.sqrt(np.sum(weight * residual**2) / max(len(truth) - 2, 1)))
        slope_sigma = max(1.0, excess) / float(np.sqrt(spread))
    return Regression(
        slope=slope,
        slope_sigma=slope_sigma,
        bias=float(np.average(measured - truth, weights=weight)),
        zscore_width=float(np.std((measured - truth) / np.sqrt(variance))),
    )
