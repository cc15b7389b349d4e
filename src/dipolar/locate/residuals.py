"""Kernels that look at the residuals of a fit: covariance, noise, shifts of rows.

Compiled by numba from plain arrays, hence without annotations; they read the same `State` as the fit.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np

from dipolar.locate.kernels import CHUNK, add_prior, factorise, normals, substitute
from dipolar.locate.light import (
    AMPLITUDE,
    BACKGROUND,
    FAST,
    ONE,
    PARAMETERS,
    PXX,
    PYX,
    PYY,
    ZERO,
    X,
    Y,
    derivatives,
    gather,
    scratch,
    weigh,
)

LEAST_FREE = np.float32(0.1)
"""Least share of a pixel's noise that is believed to be left in its residual."""


@numba.njit(cache=True)
def _linearise(state, k, own):
    """Fill pixels, residuals, derivatives and information of column k at its present parameters.

    Return how many pixels there are and how many are missing, and the rounded centre.
    """
    s, p = state.kind[k], state.theta[k]
    count, missing, cy, cx = gather(state, k, own)
    if count >= 2 * PARAMETERS:
        derivatives(p, cy, cx, count, state.weights[s], state.rates[s], own)
        weigh(p, count, state.variance, own)
        normals(count, own, own.hessian, own.gradient)
        add_prior(state, k, p, own.hessian, own.gradient)
    return count, missing, cy, cx


@numba.njit(cache=True)
def _invert(own):
    """Invert the information; nan and False where it is not positive."""
    if not factorise(own.hessian, 0.0, own.factor):
        own.inverse[:] = np.nan
        return False
    unit = own.trial
    for m in range(PARAMETERS):
        unit[:] = 0.0
        unit[m] = 1.0
        substitute(own.factor, unit, own.step)
        own.inverse[m] = own.step
    return True


@numba.njit(cache=True)
def _take_out(own, count, cy, row_shift):
    """Take known shifts of scan rows out of the residuals; `row_shift` is (row, 2), without rows if there are none."""
    if len(row_shift) == 0:
        return
    for i in range(count):
        y = cy + int(own.dy[i])
        own.residual[i] -= row_shift[y, 0] * own.jac[Y, i] + row_shift[y, 1] * own.jac[X, i]


@numba.njit(cache=True, fastmath=FAST)
def _weighted_squares(own, count):
    """Sum of the squared residuals over their noise."""
    weight, residual, total = own.weight, own.residual, ZERO
    for i in range(count):
        total += weight[i] * residual[i] * residual[i]
    return float(total)


@numba.njit(cache=True)
def _row_shares(own, count, rows):
    """Fill what each scan row tells of y and of x; pixels come row by row."""
    rows[:] = ZERO
    middle, i = rows.shape[1] // 2, 0
    while i < count:
        v, y, x = own.dy[i], ZERO, ZERO
        while i < count and own.dy[i] == v:
            y += own.jac[Y, i] * own.jac[Y, i] * own.weight[i]
            x += own.jac[X, i] * own.jac[X, i] * own.weight[i]
            i += 1
        rows[0, middle + int(v)], rows[1, middle + int(v)] = y, x


@numba.njit(cache=True, fastmath=FAST)
def _leverage(own, count):
    """Fill `spare` with what each pixel itself decides of the light fitted to it."""
    weight, spare, jac = own.weight, own.spare, own.jac
    spare[:count] = ZERO
    for m in range(PARAMETERS):
        for j in range(m + 1):
            share = np.float32(own.inverse[m, j] * (1.0 if m == j else 2.0))
            one, other = jac[m], jac[j]
            for i in range(count):
                spare[i] += share * one[i] * other[i]
    for i in range(count):
        spare[i] *= weight[i]


@numba.njit(cache=True, parallel=True, error_model="numpy")
def examine(state, chosen, row_shift, ceiling, covariance, chi2, pixels, lost, saturated, reach_rows):
    """At the present parameters of the chosen columns: covariance of all seven, reduced chi², window statistics.

    `reach_rows` is the width in rows of the Gaussian with the same sum of squares as the shares that scan rows have in
    y and in x. Known shifts of rows are taken out of chi²: the covariance accounts for them by itself. What the priors
    decide does not count as fitted.
    """
    chunks = (len(chosen) + CHUNK - 1) // CHUNK
    for chunk in numba.prange(chunks):
        own = scratch(state.radius)
        side = 2 * int(state.radius.max() + 0.5) + 1
        rows = np.zeros((2, side), np.float32)
        for n in range(chunk * CHUNK, min(len(chosen), (chunk + 1) * CHUNK)):
            k = chosen[n]
            count, missing, cy, cx = _linearise(state, k, own)
            pixels[n], lost[n] = count, missing
            covariance[n], chi2[n], reach_rows[n] = np.nan, np.nan, np.nan
            if count < 2 * PARAMETERS or not _invert(own):
                continue
            covariance[n] = own.inverse
            if np.isfinite(ceiling):
                for i in range(count):
                    saturated[n] += state.image[cy + int(own.dy[i]), cx + int(own.dx[i])] >= ceiling
            _row_shares(own, count, rows)
            _take_out(own, count, cy, row_shift)
            s, inverse = state.kind[k], own.inverse
            decided = state.strengths[s] * (inverse[PYY, PYY] + inverse[PYX, PYX] + inverse[PXX, PXX])
            decided += state.firmness[s] * inverse[BACKGROUND, BACKGROUND]
            chi2[n] = _weighted_squares(own, count) / max(count - PARAMETERS + decided, 1.0)
            for axis in range(2):
                squares = np.sum((rows[axis] / rows[axis].sum()) ** 2)
                reach_rows[n, axis] = 1.0 / (2.0 * np.sqrt(np.pi) * squares)


@numba.njit(cache=True, parallel=True, error_model="numpy")
def bin_residuals(state, chosen, row_shift, level, square):
    """Bin, per chosen column, the model's light (count and sum) and the squared residuals, corrected for leverage.

    A pixel's residual is smaller than its noise by what the pixel itself decides in the fit: a lot at the peak of a
    small column. `row_shift` is taken out of the residuals first.
    """
    chunks = (len(chosen) + CHUNK - 1) // CHUNK
    bins = level.shape[1]
    for chunk in numba.prange(chunks):
        own = scratch(state.radius)
        for n in range(chunk * CHUNK, min(len(chosen), (chunk + 1) * CHUNK)):
            k = chosen[n]
            count, _, cy, cx = _linearise(state, k, own)
            if count < 2 * PARAMETERS or not _invert(own):
                continue
            _take_out(own, count, cy, row_shift)
            _leverage(own, count)
            for i in range(count):
                # bins follow the height of the profile: light grows with it whatever the amplitude is
                b = int(bins * min(0.999, max(0.0, own.jac[AMPLITUDE, i])))
                level[n, b, 0] += 1.0
                level[n, b, 1] += state.image[cy + int(own.dy[i]), cx + int(own.dx[i])] - own.residual[i]
                square[n, b] += own.residual[i] ** 2 / max(ONE - own.spare[i], LEAST_FREE)


@numba.njit(cache=True, parallel=True, error_model="numpy")
def row_statistics(state, chosen, total, pull, band):
    """Sum over the chosen columns, per axis and scan row: information on a shift of that row, and the residuals' pull.

    `band` holds M = Σ J'W(1 - H)J between neighbouring rows, H the projection on the column's own parameters: what the
    fits leave of a shift of one row in the residuals of another. The first axis of all three are independent strips,
    so that threads do not meet; their sum counts.
    """
    strips, height = total.shape[0], total.shape[2]
    for strip in numba.prange(strips):
        own = scratch(state.radius)
        side = 2 * int(state.radius.max() + 0.5) + 1
        mixed, solved = np.zeros((side, PARAMETERS)), np.zeros((side, PARAMETERS))
        for n in range(strip, len(chosen), strips):
            count, _, cy, _ = _linearise(state, chosen[n], own)
            if count < 2 * PARAMETERS or not _invert(own):
                continue
            first, last = max(0, side // 2 - cy), min(side, height - cy + side // 2)
            for axis in range(2):
                mixed[:] = 0.0
                for i in range(count):
                    v = int(own.dy[i])
                    pulled = own.jac[axis, i] * own.weight[i]
                    pull[strip, axis, cy + v] += pulled * own.residual[i]
                    for m in range(PARAMETERS):
                        mixed[v + side // 2, m] += pulled * own.jac[m, i]
                for r in range(first, last):
                    for m in range(PARAMETERS):
                        solved[r, m] = 0.0
                        for j in range(PARAMETERS):
                            solved[r, m] += mixed[r, j] * own.inverse[j, m]
                for r in range(first, last):
                    row = cy + r - side // 2
                    total[strip, axis, row] += mixed[r, axis]
                    band[strip, axis, row, side - 1] += mixed[r, axis]
                    for q in range(first, last):
                        lost = 0.0
                        for m in range(PARAMETERS):
                            lost += solved[r, m] * mixed[q, m]
                        band[strip, axis, row, q - r + side - 1] -= lost


@numba.njit(cache=True, parallel=True, error_model="numpy")
def residual_windows(state, chosen, row_shift, windows):
    """Fill `windows` with the residuals around the chosen columns in units of their noise; nan outside the window."""
    middle = windows.shape[1] // 2
    for n in numba.prange(len(chosen)):
        own = scratch(state.radius)
        count, _, cy, _ = _linearise(state, chosen[n], own)
        if count < 2 * PARAMETERS:
            continue
        _take_out(own, count, cy, row_shift)
        for i in range(count):
            windows[n, middle + int(own.dy[i]), middle + int(own.dx[i])] = own.residual[i] * np.sqrt(own.weight[i])
