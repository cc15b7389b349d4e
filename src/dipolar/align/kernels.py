"""The compiled loops of alignment: rows of a scan spread onto the specimen's grid, and compared with a reference there.

A scan is a straight line of pixels per row: pixel (r, c) lies at ``start + r slow + c fast + offset[r]`` on the grid.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _spline(f, out):  # type: ignore[no-untyped-def]
    """Weights of the cubic B-spline for the four grid lines around a point that lies f beyond the second."""
    g = 1.0 - f
    out[0] = g * g * g / 6.0
    out[1] = 2.0 / 3.0 - 0.5 * f * f * (2.0 - f)
    out[2] = 2.0 / 3.0 - 0.5 * g * g * (2.0 - g)
    out[3] = f * f * f / 6.0


@njit(cache=True, nogil=True)
def _cubic(f, out):  # type: ignore[no-untyped-def]
    """Weights of cubic convolution (Keys 1981, a = -1/2) for the four grid lines around a point."""
    out[0] = ((-0.5 * f + 1.0) * f - 0.5) * f
    out[1] = (1.5 * f - 2.5) * f * f + 1.0
    out[2] = ((-1.5 * f + 2.0) * f + 0.5) * f
    out[3] = (0.5 * f - 0.5) * f * f


@njit(cache=True, nogil=True)
def spread(data, start, slow, fast, offset, moments):  # type: ignore[no-untyped-def]
    """Add the moments 1, uy, ux, uy², uy ux, ux², v, v uy, v ux of every pixel v to the 4 × 4 grid points around it."""
    rows, columns = data.shape
    tall, wide = moments.shape[0], moments.shape[1]
    wy, wx = np.empty(4), np.empty(4)
    for r in range(rows):
        y0 = start[0] + r * slow[0] + offset[r, 0]
        x0 = start[1] + r * slow[1] + offset[r, 1]
        if not (math.isfinite(y0) and math.isfinite(x0)):
            continue
        for c in range(columns):
            value = data[r, c]
            if not math.isfinite(value):
                continue
            y, x = y0 + c * fast[0], x0 + c * fast[1]
            j, i = math.floor(y), math.floor(x)
            if j < -2 or i < -2 or j > tall or i > wide:
                continue
            _spline(y - j, wy)
            _spline(x - i, wx)
            for k in range(4):
                gy = j - 1 + k
                if gy < 0 or gy >= tall:
                    continue
                uy = y - gy
                for m in range(4):
                    gx = i - 1 + m
                    if gx < 0 or gx >= wide:
                        continue
                    ux = x - gx
                    w = wy[k] * wx[m]
                    cell = moments[gy, gx]
                    cell[0] += w
                    cell[1] += w * uy
                    cell[2] += w * ux
                    cell[3] += w * uy * uy
                    cell[4] += w * uy * ux
                    cell[5] += w * ux * ux
                    w *= value
                    cell[6] += w
                    cell[7] += w * uy
                    cell[8] += w * ux


@njit(cache=True, nogil=True)
def local_linear(moments, least, ridge, value, density):  # type: ignore[no-untyped-def]
    """Solve the weighted straight-line fit at every grid point; nan where the density is below `least`."""
    for y in range(moments.shape[0]):
        for x in range(moments.shape[1]):
            s = moments[y, x]
            density[y, x] = s[0]
            if s[0] < least:
                value[y, x] = math.nan
                continue
            my, mx, mv = s[1] / s[0], s[2] / s[0], s[6] / s[0]
            cyy = s[3] / s[0] - my * my + ridge
            cyx = s[4] / s[0] - my * mx
            cxx = s[5] / s[0] - mx * mx + ridge
            vy, vx = s[7] / s[0] - my * mv, s[8] / s[0] - mx * mv
            det = cyy * cxx - cyx * cyx
            value[y, x] = mv - (my * (cxx * vy - cyx * vx) + mx * (cyy * vx - cyx * vy)) / det


@njit(cache=True, nogil=True)
def compare_rows(data, start, slow, fast, offset, reference, slope_y, slope_x, gain, bias, block, out):  # type: ignore[no-untyped-def]
    """Sum, row by row, what the normal equations of its shift need; pixels without a reference are left out.

    Blocks of pixels along the row are summed in turn into the one and the other half of ``out[row, half]``, whose
    columns are n, Σzy, Σzx, Σzy², Σzy zx, Σzx², Σd, Σd zy, Σd zx, Σd² with z the slopes and d the difference.
    """
    rows, columns = data.shape
    tall, wide = reference.shape
    wy, wx = np.empty(4), np.empty(4)
    for r in range(rows):
        y0 = start[0] + r * slow[0] + offset[r, 0]
        x0 = start[1] + r * slow[1] + offset[r, 1]
        for c in range(columns):
            value = data[r, c]
            y, x = y0 + c * fast[0], x0 + c * fast[1]
            if not math.isfinite(value) or not (1.0 <= y < tall - 2.0 and 1.0 <= x < wide - 2.0):
                continue
            j, i = math.floor(y), math.floor(x)
            fy, fx = y - j, x - i
            _cubic(fy, wy)
            _cubic(fx, wx)
            seen = 0.0
            for k in range(4):
                line = 0.0
                for m in range(4):
                    line += wx[m] * reference[j - 1 + k, i - 1 + m]
                seen += wy[k] * line
            if not math.isfinite(seen):
                continue
            a, b, p, q = (1.0 - fy) * (1.0 - fx), (1.0 - fy) * fx, fy * (1.0 - fx), fy * fx
            zy = a * slope_y[j, i] + b * slope_y[j, i + 1] + p * slope_y[j + 1, i] + q * slope_y[j + 1, i + 1]
            zx = a * slope_x[j, i] + b * slope_x[j, i + 1] + p * slope_x[j + 1, i] + q * slope_x[j + 1, i + 1]
            d = (value - bias) / gain - seen
            sums = out[r, (c // block) % 2]
            sums[0] += 1.0
            sums[1] += zy
            sums[2] += zx
            sums[3] += zy * zy
            sums[4] += zy * zx
            sums[5] += zx * zx
            sums[6] += d
            sums[7] += d * zy
            sums[8] += d * zx
            sums[9] += d * d
