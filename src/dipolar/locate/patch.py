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

from dipolar.locate.kernels import AMPLITUDE, BACKGROUND, PXX, PYX, PYY, X, Y

PLANE = 3
FADED = 12.0
"""Exponents beyond which a component gives no light any more."""
PER_UNIT = 64


@numba.njit(cache=True, inline="always")
def _exponential(table, t):
    """exp(-t) to 3e-5 of itself, by linear interpolation: a third of the time of exp."""
    i = int(t * PER_UNIT)
    return table[i] + (t * PER_UNIT - i) * (table[i + 1] - table[i])


@numba.njit(cache=True, error_model="numpy", parallel=True)
def patch_normals(image, theta, kind, widths, members, starts, boxes, reach, variance, matrices, vectors):  # fmt: skip
    """Fill the normal equations of every patch (y0, y1, x0, x1) of `boxes`.

    Unknowns: the profile weights of both sublattices, for each of `widths`, and the plane. `members[starts[n] :
    starts[n + 1]]` are the columns whose light reaches into patch n, sorted by y; it counts up to `reach` from them.
    """
    components = len(widths)
    size = 2 * components
    floor, gain, least = variance
    rates = 0.5 / (widths * widths)
    decay = np.exp(-np.arange(int(FADED) * PER_UNIT + 2) / PER_UNIT)
    for n in numba.prange(len(boxes)):
        y0, y1, x0, x1 = boxes[n]
        mine = members[starts[n] : starts[n + 1]]
        middle_y, middle_x = 0.5 * (y0 + y1), 0.5 * (x0 + x1)
        ground = np.median(theta[mine, BACKGROUND])
        first = np.searchsorted(theta[mine, Y], np.arange(y0, y1) - reach)
        row = np.empty(size + PLANE)
        for y in range(y0, y1):
            for x in range(x0 + (y - y0) % 2, x1, 2):  # every other pixel tells as much of a smooth profile
                light = float(image[y, x])
                if not np.isfinite(light):
                    continue
                row[:size] = 0.0
                model = ground
                for m in range(first[y - y0], len(mine)):
                    j = mine[m]
                    a, b = y - theta[j, Y], x - theta[j, X]
                    if a < -reach:
                        break
                    if abs(b) > reach:
                        continue
                    q = theta[j, PYY] * a * a + 2.0 * theta[j, PYX] * a * b + theta[j, PXX] * b * b
                    base = kind[j] * components
                    for c in range(components):
                        t = q * rates[c]
                        if t < FADED:
                            row[base + c] += theta[j, AMPLITUDE] * _exponential(decay, t)
                    if 0.5 * q < FADED:
                        model += theta[j, AMPLITUDE] * _exponential(decay, 0.5 * q)
                row[size], row[size + 1], row[size + 2] = 1.0, (y - middle_y) / (y1 - y0), (x - middle_x) / (x1 - x0)
                weight = 1.0 / max(floor + gain * model, least)
                for i in range(size + PLANE):
                    pulled = weight * row[i]
                    vectors[n, i] += pulled * light
                    for k in range(i + 1):
                        matrices[n, i, k] += pulled * row[k]


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
