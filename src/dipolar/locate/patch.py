"""The normal equations of the shared profile: patches of crystal, every pixel of them, on a smooth background.

Window by window, the tail of a column is hardly told from its background: each window has a background of its own,
and on a lattice wide tails add up to a constant. Over a whole patch the background is a plane, and what stands above it
between the columns is tail. The light is linear in the profile's weights; the amplitudes, places and shapes are those
of the last pass, whose common errors the weights absorb.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float

from dipolar.locate.light import AMPLITUDE, BACKGROUND, FADED, FAST, PXX, PYX, PYY, X, Y, fade

PLANE = 3
ROW_STRIDE = 2
"""Every other row tells as much of a smooth profile."""
MOST = np.sqrt(2.0 * FADED)
"""Widths at which a Gaussian has faded."""


@numba.njit(cache=True, fastmath=FAST)
def _stamp(plane, y0, x0, column, width, reach):
    """Add the light of a column, with its ellipse `width` times as wide, to every `ROW_STRIDE`-th row of a patch."""
    height, edge = plane.shape
    rate = np.float32(0.5 / (width * width))
    a_max = min(reach, MOST * width / np.sqrt(column[PYY] - column[PYX] ** 2 / column[PXX]))
    b_max = min(reach, MOST * width / np.sqrt(column[PXX] - column[PYX] ** 2 / column[PYY]))
    first = max(0, int(np.ceil((column[Y] - a_max - y0) / ROW_STRIDE)))
    last = min(height, int(np.floor((column[Y] + a_max - y0) / ROW_STRIDE)) + 1)
    low, high = max(0, int(np.ceil(column[X] - b_max - x0))), min(edge, int(np.floor(column[X] + b_max - x0)) + 1)
    amplitude, yx, xx = np.float32(column[AMPLITUDE]), np.float32(2.0 * column[PYX]), np.float32(column[PXX])
    for r in range(first, last):
        a = np.float32(y0 + ROW_STRIDE * r - column[Y])
        along, start = np.float32(column[PYY]) * a * a, np.float32(x0 + low - column[X])
        row = plane[r, low:high]
        for i in range(len(row)):
            b = start + np.float32(i)
            row[i] += amplitude * fade(rate * (along + yx * a * b + xx * b * b))


@numba.njit(cache=True, fastmath=FAST)
def _dot(one, other):
    total = np.float32(0.0)
    for i in range(len(one)):
        total += one[i] * other[i]
    return float(total)


@numba.njit(cache=True, fastmath=FAST)
def _sum_row(row, weighted, matrix, vector):
    """Add a row of pixels to the normal equations: single precision along the row, double from row to row.

    `row` are the lights, the plane, the measured intensity and at last the weight.
    """
    for m in range(len(matrix)):
        weighted[:] = row[m] * row[-1]
        vector[m] += _dot(weighted, row[-2])
        for n in range(m + 1):
            matrix[m, n] += _dot(weighted, row[n])


@numba.njit(cache=True, parallel=True, error_model="numpy")
def patch_normals(
    image, zero, theta, kind, widths, members, starts, corners, edge, reach, variance, matrices, vectors
):  # fmt: skip
    """Fill the normal equations (lower triangle) of every patch, squares with the given upper left corners.

    Unknowns: the profile weights of all sublattices, for each of `widths`, and the plane. `members[starts[n] :
    starts[n + 1]]` are the columns whose light reaches into patch n; it counts up to `reach` from them.
    Intensity counts from `zero`.
    """
    components, size = len(widths), vectors.shape[1] - PLANE
    floor, gain, least = np.float32(variance[0]), np.float32(variance[1]), np.float32(variance[2])
    height = (edge + ROW_STRIDE - 1) // ROW_STRIDE
    for n in numba.prange(len(corners)):
        y0, x0 = corners[n]
        mine = members[starts[n] : starts[n + 1]]
        light, model = np.zeros((size, height, edge), np.float32), np.zeros((height, edge), np.float32)
        for k in mine:
            for c in range(components):
                _stamp(light[kind[k] * components + c], y0, x0, theta[k], widths[c], reach)
            _stamp(model, y0, x0, theta[k], 1.0, reach)
        ground = np.float32(np.median(theta[mine, BACKGROUND]))
        row, weighted = np.ones((size + PLANE + 2, edge), np.float32), np.empty(edge, np.float32)
        row[size + 2] = np.linspace(-0.5, 0.5, edge)
        for r in range(height):
            row[:size] = light[:, r]
            row[size + 1] = r / height - 0.5
            for i in range(edge):
                value = image[y0 + ROW_STRIDE * r, x0 + i]
                valid = np.isfinite(value)
                row[-2, i] = value - np.float32(zero) if valid else np.float32(0.0)
                known = max(floor + gain * (ground + model[r, i]), least)
                row[-1, i] = np.float32(1.0) / known if valid else np.float32(0.0)
            _sum_row(row, weighted, matrices[n], vectors[n])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reduced:
    """The normal equations of the profile weights alone, and the plane that goes with any weights."""

    matrix: Float[np.ndarray, "size size"]
    vector: Float[np.ndarray, " size"]
    back_matrix: Float[np.ndarray, "3 size"]
    back_vector: Float[np.ndarray, "3"]

    def level(self, weights: Float[np.ndarray, " size"]) -> float:
        """Return the background in the middle of the patch."""
        return float((self.back_vector - self.back_matrix @ weights)[0])


def without_plane(
    matrix: Float[np.ndarray, "all all"], vector: Float[np.ndarray, " all"], hold: float, valley: float
) -> Reduced:
    """Eliminate the plane (Schur complement), its level held to that of the valleys with information `hold`."""
    size = len(vector) - PLANE
    full = matrix + np.tril(matrix, -1).T
    full[size, size] += hold
    vector = vector.copy()
    vector[size] += hold * valley
    outer = full[size:, :size]
    solved = np.linalg.solve(full[size:, size:], np.column_stack([outer, vector[size:]]))
    return Reduced(
        matrix=full[:size, :size] - outer.T @ solved[:, :-1],
        vector=vector[:size] - outer.T @ solved[:, -1],
        back_matrix=solved[:, :-1],
        back_vector=solved[:, -1],
    )
