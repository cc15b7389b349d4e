"""Learning the shared profile: a patch of crystal fitted at once, every pixel of it, on a smooth background.

Window by window, the tail of a column is hardly told from its background: each window has a background of its own, and
on a lattice wide tails add up to a constant. Over a whole patch the background is a plane, and what stands above it
between the columns is tail. The profile weights are linear in the light; amplitudes, positions and shapes of all
columns of the patch are let go along to first order and eliminated (Schur complement), so that no bias of theirs is
cast into the profile.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import scipy.linalg
from jaxtyping import Float

from dipolar.locate.kernels import AMPLITUDE, BACKGROUND, PXX, PYX, PYY, X, Y, profile_at

PLANE = 3
PER_COLUMN = 6


@numba.njit(cache=True, error_model="numpy", nogil=True)
def patch_normals(
    image, theta, kind, tables, slopes, per_q, widths, members, box, reach, near, variance, matrix, vector
):  # fmt: skip
    """Add the normal equations of one patch to `matrix` and `vector`.

    Unknowns: the profile weights of both sublattices (for each of `widths`), a plane of background, and for each of
    the `members` the changes of amplitude, y, x and the three numbers of its shape. Light of a member counts up to
    `reach` from it, changes of place and shape up to `near`.
    """
    components = len(widths)
    profile_size = 2 * components
    floor, gain, least = variance
    rates = 0.5 / (widths * widths)
    y0, y1, x0, x1 = box
    middle_y, middle_x = 0.5 * (y0 + y1), 0.5 * (x0 + x1)
    ground = np.median(theta[members, BACKGROUND])
    index = np.empty(len(members) * PER_COLUMN + profile_size + PLANE, dtype=np.int64)
    value = np.empty(len(index))
    profile = np.empty(profile_size)
    starts = np.searchsorted(theta[members, Y], np.arange(y0, y1) - reach)
    for y in range(y0, y1):
        for x in range(x0, x1):
            light = float(image[y, x])
            if not np.isfinite(light):
                continue
            profile[:] = 0.0
            filled = profile_size + PLANE
            model = ground
            for m in range(starts[y - y0], len(members)):
                j = members[m]
                a, b = y - theta[j, Y], x - theta[j, X]
                if a < -reach:
                    break
                if abs(b) > reach:
                    continue
                q = theta[j, PYY] * a * a + 2.0 * theta[j, PYX] * a * b + theta[j, PXX] * b * b
                s = kind[j]
                for c in range(components):
                    if q * rates[c] < 12.0:
                        profile[s * components + c] += theta[j, AMPLITUDE] * np.exp(-q * rates[c])
                f, d = profile_at(tables[s], slopes[s], per_q[s], q)
                model += theta[j, AMPLITUDE] * f
                base = profile_size + PLANE + m * PER_COLUMN
                index[filled], value[filled] = base, f
                filled += 1
                if a * a + b * b < near * near:
                    d *= theta[j, AMPLITUDE]
                    index[filled], value[filled] = base + 1, -2.0 * d * (theta[j, PYY] * a + theta[j, PYX] * b)
                    index[filled + 1], value[filled + 1] = base + 2, -2.0 * d * (theta[j, PYX] * a + theta[j, PXX] * b)
                    index[filled + 2], value[filled + 2] = base + 3, d * a * a
                    index[filled + 3], value[filled + 3] = base + 4, 2.0 * d * a * b
                    index[filled + 4], value[filled + 4] = base + 5, d * b * b
                    filled += 5
            for c in range(profile_size):
                index[c], value[c] = c, profile[c]
            index[profile_size], value[profile_size] = profile_size, 1.0
            index[profile_size + 1], value[profile_size + 1] = profile_size + 1, (y - middle_y) / (y1 - y0)
            index[profile_size + 2], value[profile_size + 2] = profile_size + 2, (x - middle_x) / (x1 - x0)
            weight = 1.0 / max(floor + gain * model, least)
            for i in range(filled):
                pulled = weight * value[i]
                vector[index[i]] += pulled * light
                for k in range(i + 1):
                    matrix[index[i], index[k]] += pulled * value[k]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reduced:
    """The normal equations of the profile weights, with everything else eliminated, and the way back."""

    matrix: Float[np.ndarray, "size size"]
    vector: Float[np.ndarray, " size"]
    back_matrix: Float[np.ndarray, "rest size"]
    back_vector: Float[np.ndarray, " rest"]

    def changes(self, weights: Float[np.ndarray, " size"]) -> Float[np.ndarray, "member 6"]:
        """Return the changes of (amplitude, y, x, p_yy, p_yx, p_xx) of each member that go with these weights."""
        return (self.back_vector - self.back_matrix @ weights)[PLANE:].reshape(-1, PER_COLUMN)


def reduce_to_profile(
    matrix: Float[np.ndarray, "all all"],
    vector: Float[np.ndarray, " all"],
    theta: Float[np.ndarray, "member 7"],
    profile_size: int,
) -> Reduced:
    """Eliminate plane and columns.

    Weak priors (a third of the amplitude, a fifth of the width, a fifth of the shape) keep the columns at the rim of
    the patch, which few pixels see.
    """
    full = matrix + np.tril(matrix, -1).T
    rest = slice(profile_size, None)
    shape = 0.5 * (theta[:, PYY] + theta[:, PXX])
    scale = np.column_stack([0.3 * np.abs(theta[:, AMPLITUDE]) + 1e-12, *(0.2 * shape**-0.5,) * 2, *(0.2 * shape,) * 3])
    prior = np.concatenate([np.zeros(PLANE), (scale**-2).ravel()])
    inner = full[rest, rest] + np.diag(prior + 1e-12 * np.diag(full[rest, rest]))
    outer = full[rest, :profile_size]
    factor = scipy.linalg.cho_factor(inner, overwrite_a=True, check_finite=False)
    solved = scipy.linalg.cho_solve(factor, np.column_stack([outer, vector[rest]]), check_finite=False)
    return Reduced(
        matrix=full[:profile_size, :profile_size] - outer.T @ solved[:, :-1],
        vector=vector[:profile_size] - outer.T @ solved[:, -1],
        back_matrix=solved[:, :-1],
        back_vector=solved[:, -1],
    )
