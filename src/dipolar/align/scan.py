"""Where the pixels of a scan lie on the specimen, and the scan resampled there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32

from dipolar.align.kernels import local_linear, spread

LEAST_DENSITY = 0.05
"""A grid point with less of the scan's weight around it than this share of a full grid is not covered. Between rows
that lie far apart the weight is small, but some of it remains."""
RIDGE = 0.01
"""Variance in px² added to that of the pixels around a grid point: keeps the straight line tame where rows bunch up."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """One frame and where its rows lie."""

    data: Float32[np.ndarray, "row column"]
    """Its pixels; nan where unknown."""
    angle_deg: float
    """Direction of the fast scan axis, counter-clockwise on the screen."""
    offset_px: Float[np.ndarray, "row 2"]
    """(dy, dx) of every row from its place in an undrifted, undistorted scan about the middle of the grid."""

    @property
    def slow(self) -> Float[np.ndarray, "2"]:
        """Step (y, x) on the specimen from row to row."""
        return axes(self.angle_deg)[0]

    @property
    def fast(self) -> Float[np.ndarray, "2"]:
        """Step (y, x) on the specimen from pixel to pixel."""
        return axes(self.angle_deg)[1]

    def start(self, shape: tuple[int, int]) -> Float[np.ndarray, "2"]:
        """Return where pixel (0, 0) lies on a grid of that shape, without its row's offset."""
        rows, columns = self.data.shape
        middle = (np.array(shape) - 1.0) / 2.0
        start: Float[np.ndarray, "2"] = middle - (rows - 1) / 2.0 * self.slow - (columns - 1) / 2.0 * self.fast
        return start

    def row_at(self, points_px: Float[np.ndarray, "point 2"], shape: tuple[int, int]) -> Float[np.ndarray, " point"]:
        """Return which row, fractional, sees points of the grid: exact to the first order in the drift per row."""
        place = np.arange(len(self.data), dtype=np.float64)
        row: Float[np.ndarray, " point"] = (points_px - self.start(shape)) @ self.slow
        along = self.offset_px @ self.slow
        smooth = np.convolve(np.pad(along, 8, mode="edge"), np.full(17, 1 / 17), mode="valid")
        for _ in range(3):
            row_now = np.clip(row, 0.0, len(place) - 1.0)
            row = (points_px - self.start(shape)) @ self.slow - np.interp(row_now, place, smooth)
        return row

    def moved(self, by_px: Float[np.ndarray, "*row 2"]) -> Scan:
        """Return the scan with its rows moved by so much more."""
        return replace(self, offset_px=self.offset_px + by_px)


def axes(angle_deg: float) -> Float[np.ndarray, "2 2"]:
    """Return the steps (y, x) on the specimen from row to row and from pixel to pixel; exact for quarter turns.

    Parameters
    ----------
    angle_deg
        Direction of the fast scan axis, counter-clockwise on the screen.
    """
    quarter = angle_deg / 90.0
    if quarter == round(quarter):
        cos, sin = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][round(quarter) % 4]
    else:
        cos, sin = float(np.cos(np.radians(angle_deg))), float(np.sin(np.radians(angle_deg)))
    return np.array([[cos, sin], [-sin, cos]])


def grid_shape(scans: list[Scan]) -> tuple[int, int]:
    """Return the shape of a grid about the middle that holds every pixel of every scan, with a little to spare."""
    reach = np.zeros(2)
    for scan in scans:
        rows, columns = scan.data.shape
        half = (rows - 1) / 2.0 * np.abs(scan.slow) + (columns - 1) / 2.0 * np.abs(scan.fast)
        reach = np.maximum(reach, half + np.abs(scan.offset_px).max(axis=0))
    first = scans[0].data.shape  # the same parity, so that pixels of an undrifted scan fall on grid points
    tall, wide = (2 * (int(np.ceil(size)) + 6) + size_px % 2 for size, size_px in zip(reach, first, strict=True))
    return tall, wide


def resample(scan: Scan, shape: tuple[int, int]) -> tuple[Float32[np.ndarray, "y x"], Float32[np.ndarray, "y x"]]:
    """Return the scan on the grid, and how densely its pixels lie there (1 for an undistorted scan).

    At every grid point a straight line is fitted to the pixels around it, weighted by a cubic B-spline: unlike a
    weighted mean this is not biased where rows lie closer on one side than on the other (local linear regression;
    Fan, J. Am. Stat. Assoc. 87 (1992) 998). The blur of that spline, a variance of 1/3 px², is then taken off to the
    third order with ``1 - ∇²/6``, so that columns keep their widths.

    Parameters
    ----------
    scan
        What to resample.
    shape
        Rows and columns of the grid, whose middle is that of an undrifted scan.
    """
    moments = np.zeros((*shape, 9), dtype=np.float32)
    spread(scan.data, scan.start(shape), scan.slow, scan.fast, scan.offset_px, moments)
    value, density = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    local_linear(moments, LEAST_DENSITY, RIDGE, value, density)
    return _sharpened(value), np.where(np.isfinite(value), density, np.float32(0.0))


def _sharpened(value: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
    """Take off the blur of the cubic B-spline; points at the rim lack a neighbour and become nan."""
    sharp = np.full_like(value, np.nan)
    inner = value[1:-1, 1:-1]
    around = value[:-2, 1:-1] + value[2:, 1:-1] + value[1:-1, :-2] + value[1:-1, 2:]
    sharp[1:-1, 1:-1] = inner + (4.0 * inner - around) / np.float32(6.0)
    return sharp
