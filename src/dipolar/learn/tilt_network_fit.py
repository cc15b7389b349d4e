"""Where Gaussians, fitted to columns, find them: many cells at once, each given as Fourier terms.

A stand-in for the fit of columns in an image, quick enough for a hundred thousand cells: a Gaussian of any roundness on
a constant, within a disk around the place that it finds.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Complex64, Float, Float32, Float64, Int64

RADIUS = 0.2
"""Of the disk, in shares of the cell."""
STEP = 0.04
"""From one point of it to the next; points at its rim count by how much of what is around them lies within."""
FINER = 8
"""Points along each edge by which what lies within is counted."""
ROUNDS = 10
"""Steps of the fit; the disk moves along with each."""
DAMPING = 1e-3
"""Of each step, relative to the curvature."""
LONGEST = 0.3
"""Longest step: in radii for the place, in logarithms for the widths."""
WIDTH = 0.35
"""Standard deviation of the Gaussian that a fit begins with, in radii."""
SETTLED = 3e-3
"""Last step, in radii, up to which a fit has come to rest."""
WIDTHS = (0.1, 1.2)
"""Standard deviations of a Gaussian, in radii, that are those of a column."""
FURTHEST = 0.75
"""From where a fit began, in radii, up to which it is still the same column."""


def fitted_places(
    terms: Complex64[np.ndarray, "cell term"],
    orders: Int64[np.ndarray, "term 2"],
    start: Float[np.ndarray, "cell 2"],
) -> tuple[Float64[np.ndarray, "cell 2"], Bool[np.ndarray, " cell"]]:
    """Return where a Gaussian lies that fits a column best, in shares of the cell, and whether there is a column.

    Parameters
    ----------
    terms
        Of the images of cells; the mean is not among them, and does not matter.
    orders
        Frequencies (y, x) of the terms in units of the inverse cell.
    start
        Where to begin, (y, x) in shares of the cell: well within `RADIUS` of the column.
    """
    disk, counts = _disk()
    waves = np.exp(2j * np.pi * RADIUS * (orders @ disk.T)).astype(np.complex64)
    place = start.astype(np.float64)
    shape = np.tile(np.array([-np.log(WIDTH), 0.0, -np.log(WIDTH)]), (len(terms), 1)).astype(np.float32)
    last = np.full(len(terms), np.inf)
    for _ in range(ROUNDS):
        moved = terms * np.exp(2j * np.pi * (place @ orders.T)).astype(np.complex64)
        step = _step((moved @ waves).real, shape, disk, counts)
        last = np.abs(step[:, :2]).max(axis=1)
        place += RADIUS * step[:, :2]
        shape = np.clip(shape + step[:, 2:], -3.0, 3.0)
    near = np.linalg.norm(place - start, axis=1) < FURTHEST * RADIUS
    widths = np.exp(-shape[:, [0, 2]])
    like = ((widths > WIDTHS[0]) & (widths < WIDTHS[1])).all(axis=1)
    return place, near & like & (last < SETTLED)


def _disk() -> tuple[Float32[np.ndarray, "point 2"], Float32[np.ndarray, " point"]]:
    """Return the points of the disk, in radii, and how much each counts."""
    step = STEP / RADIUS
    reach = int(np.ceil(1.0 / step))
    axis = step * np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    part = step * (np.arange(FINER) + 0.5 - 0.5 * FINER) / FINER
    fine = grid[:, None, None] + np.stack(np.meshgrid(part, part, indexing="ij"), axis=-1)
    inside = (np.linalg.norm(fine, axis=-1) <= 1.0).mean(axis=(1, 2))
    known = inside > 0
    return grid[known].astype(np.float32), (inside[known] / inside.sum()).astype(np.float32)


def _step(
    values: Float32[np.ndarray, "cell point"],
    shape: Float32[np.ndarray, "cell 3"],
    disk: Float32[np.ndarray, "point 2"],
    counts: Float32[np.ndarray, " point"],
) -> Float32[np.ndarray, "cell 5"]:
    """Return the next step of place (2) and of log steepness along y, shear, log steepness along x (3)."""
    y, x = disk.T
    steep_y, steep_x = np.exp(shape[:, :1]), np.exp(shape[:, 2:])
    u, v = steep_y * y + shape[:, 1:2] * x, steep_x * x
    peak = np.exp(-0.5 * (u * u + v * v))
    # height and constant are linear: the best ones at this shape
    above = peak - (peak @ counts)[:, None]
    off = values - (values @ counts)[:, None]
    height = (above * off) @ counts / ((above * above) @ counts)
    height = np.maximum(height, 1e-3 * np.ptp(values, axis=1))[:, None]
    slopes = np.empty((len(values), 6, len(disk)), dtype=np.float32)
    slopes[:, 0] = u * steep_y
    slopes[:, 1] = u * shape[:, 1:2] + v * steep_x
    slopes[:, 2] = -u * steep_y * y
    slopes[:, 3] = -u * x
    slopes[:, 4] = -v * v
    slopes[:, 5] = 1.0
    slopes *= peak[:, None]
    slopes -= (slopes @ counts)[..., None]  # the constant
    weighted = slopes * counts
    curvature = weighted @ np.swapaxes(slopes, 1, 2)
    rows = np.arange(curvature.shape[1])
    curvature[:, rows, rows] = (1.0 + DAMPING) * curvature[:, rows, rows] + 1e-9
    gradient = weighted @ (off / height - above)[..., None]
    step = np.linalg.solve(curvature, gradient)[:, :5, 0]
    return step * np.minimum(1.0, LONGEST / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-9))
