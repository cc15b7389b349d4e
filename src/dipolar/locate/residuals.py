"""Kernels that look at the residuals of a fit: covariance, noise, shifts of rows.

Compiled by numba from plain arrays, hence without annotations; the arguments are those of `kernels.fit_pass`.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np

from dipolar.locate.kernels import (
    AMPLITUDE,
    BACKGROUND,
    CHUNK,
    PARAMETERS,
    PXX,
    PYX,
    PYY,
    SCRATCH,
    X,
    Y,
    add_prior,
    derivatives,
    factorise,
    gather,
    normals,
    substitute,
    weigh,
)


@numba.njit(cache=True)
def _linearise(
    k,
    image,
    theta,
    tilt,
    kind,
    tables,
    slopes,
    per_q,
    starts,
    neighbours,
    radius,
    variance,
    shapes,
    strengths,
    grounds,
    firmness,
    work,
    jac,
    hessian,
    gradient,
):
    """Fill pixels, residuals, derivatives and information of column k at its present parameters."""
    s = kind[k]
    count, missing, cy, cx = gather(
        k, image, theta, tilt, kind, tables, per_q, starts, neighbours, radius[s], work[0], work[1], work[2], work[5]
    )
    if count >= 2 * PARAMETERS:
        derivatives(theta[k], cy, cx, count, work[0], work[1], work[2], tables[s], slopes[s], per_q[s], jac, work[4])
        weigh(theta[k], count, jac, work[5], variance, work[3])
        normals(count, work[3], jac, work[4], work[5], hessian, gradient)
        add_prior(theta[k], shapes[k], strengths[s], grounds[k], firmness[s], hessian, gradient)
    return count, missing, cy, cx


@numba.njit(cache=True)
def _invert(hessian, factor, unit, step, inverse):
    """Fill `inverse`; nan and False where the matrix is not positive."""
    if not factorise(hessian, 0.0, factor):
        inverse[:] = np.nan
        return False
    for m in range(PARAMETERS):
        unit[:] = 0.0
        unit[m] = 1.0
        substitute(factor, unit, step)
        inverse[m] = step
    return True


@numba.njit(cache=True, parallel=True, error_model="numpy")
def examine(
    image,
    theta,
    tilt,
    chosen,
    kind,
    tables,
    slopes,
    per_q,
    starts,
    neighbours,
    radius,
    variance,
    shapes,
    strengths,
    grounds,
    firmness,
    row_shift,
    ceiling,
    covariance,
    chi2,
    pixels,
    lost,
    saturated,
    reach_rows,
):
    """At the present parameters of the chosen columns: covariance of all seven, reduced chi², window statistics.

    `reach_rows` is the width in rows of the Gaussian with the same sum of squares as the shares that scan rows have in
    y and in x. Known shifts of rows are taken out of chi²: the
    covariance accounts for them by itself. What the priors decide does not count as fitted.
    """
    chunks = (len(chosen) + CHUNK - 1) // CHUNK
    for chunk in numba.prange(chunks):
        side = 2 * int(radius.max() + 0.5) + 1
        work = np.empty((SCRATCH, side * side))
        jac = np.empty((PARAMETERS, side * side))
        hessian, factor = np.zeros((PARAMETERS, PARAMETERS)), np.zeros((PARAMETERS, PARAMETERS))
        inverse = np.zeros((PARAMETERS, PARAMETERS))
        gradient, unit, step = np.zeros(PARAMETERS), np.zeros(PARAMETERS), np.zeros(PARAMETERS)
        rows = np.zeros((2, side))
        for n in range(chunk * CHUNK, min(len(chosen), (chunk + 1) * CHUNK)):
            k = chosen[n]
            count, missing, cy, cx = _linearise(
                k,
                image,
                theta,
                tilt,
                kind,
                tables,
                slopes,
                per_q,
                starts,
                neighbours,
                radius,
                variance,
                shapes,
                strengths,
                grounds,
                firmness,
                work,
                jac,
                hessian,
                gradient,
            )
            pixels[n], lost[n] = count, missing
            covariance[n], chi2[n], reach_rows[n] = np.nan, np.nan, np.nan
            if count < 2 * PARAMETERS or not _invert(hessian, factor, unit, step, inverse):
                continue
            covariance[n] = inverse
            cost = 0.0
            rows[:] = 0.0
            for i in range(count):
                scan_row = cy + int(work[0, i])
                rest = work[4, i] - row_shift[scan_row, 0] * jac[Y, i] - row_shift[scan_row, 1] * jac[X, i]
                cost += work[3, i] * rest * rest
                row = int(work[0, i]) + side // 2
                rows[0, row] += jac[Y, i] * jac[Y, i] * work[3, i]
                rows[1, row] += jac[X, i] * jac[X, i] * work[3, i]
                if image[cy + int(work[0, i]), cx + int(work[1, i])] >= ceiling:
                    saturated[n] += 1
            decided = strengths[kind[k]] * (inverse[PYY, PYY] + inverse[PYX, PYX] + inverse[PXX, PXX])
            decided += firmness[kind[k]] * inverse[BACKGROUND, BACKGROUND]
            chi2[n] = cost / max(count - PARAMETERS + decided, 1.0)
            for axis in range(2):
                squares = np.sum((rows[axis] / rows[axis].sum()) ** 2)
                reach_rows[n, axis] = 1.0 / (2.0 * np.sqrt(np.pi) * squares)


@numba.njit(cache=True, parallel=True, error_model="numpy")
def bin_residuals(
    image,
    theta,
    tilt,
    chosen,
    kind,
    tables,
    slopes,
    per_q,
    starts,
    neighbours,
    radius,
    variance,
    shapes,
    strengths,
    grounds,
    firmness,
    row_shift,
    level,
    square,
):
    """Bin, per chosen column, the model's light (count and sum) and the squared residuals, corrected for leverage.

    A pixel's residual is smaller than its noise by what the pixel itself decides in the fit: a lot at the peak of a
    small column. `row_shift` is taken out of the residuals first.
    """
    chunks = (len(chosen) + CHUNK - 1) // CHUNK
    bins, height = level.shape[1], row_shift.shape[0]
    for chunk in numba.prange(chunks):
        side = 2 * int(radius.max() + 0.5) + 1
        work = np.empty((SCRATCH, side * side))
        jac = np.empty((PARAMETERS, side * side))
        hessian, factor = np.zeros((PARAMETERS, PARAMETERS)), np.zeros((PARAMETERS, PARAMETERS))
        inverse = np.zeros((PARAMETERS, PARAMETERS))
        gradient, unit, step = np.zeros(PARAMETERS), np.zeros(PARAMETERS), np.zeros(PARAMETERS)
        for n in range(chunk * CHUNK, min(len(chosen), (chunk + 1) * CHUNK)):
            k = chosen[n]
            count, _, cy, cx = _linearise(
                k,
                image,
                theta,
                tilt,
                kind,
                tables,
                slopes,
                per_q,
                starts,
                neighbours,
                radius,
                variance,
                shapes,
                strengths,
                grounds,
                firmness,
                work,
                jac,
                hessian,
                gradient,
            )
            if count < 2 * PARAMETERS or not _invert(hessian, factor, unit, step, inverse):
                continue
            for i in range(count):
                leverage = 0.0
                for m in range(PARAMETERS):
                    for j in range(PARAMETERS):
                        leverage += jac[m, i] * inverse[m, j] * jac[j, i]
                leverage *= work[3, i]
                # bins follow the height of the profile: light grows with it whatever the amplitude is
                b = int(bins * min(0.999, max(0.0, jac[AMPLITUDE, i])))
                y = cy + int(work[0, i])
                row = min(height - 1, max(0, y))
                rest = work[4, i] - row_shift[row, 0] * jac[Y, i] - row_shift[row, 1] * jac[X, i]
                level[n, b, 0] += 1.0
                level[n, b, 1] += image[y, cx + int(work[1, i])] - work[4, i]
                square[n, b] += rest * rest / max(1.0 - leverage, 0.1)


@numba.njit(cache=True, parallel=True, error_model="numpy")
def row_statistics(
    image,
    theta,
    tilt,
    chosen,
    kind,
    tables,
    slopes,
    per_q,
    starts,
    neighbours,
    radius,
    variance,
    shapes,
    strengths,
    grounds,
    firmness,
    total,
    pull,
    band,
):
    """Sum over the chosen columns, per axis and scan row: information on a shift of that row, and the residuals' pull.

    `band` holds M = Σ J'W(1 - H)J between neighbouring rows, H the projection on the column's own parameters: what the
    fits leave of a shift of one row in the residuals of another. The first axis of all three are independent strips,
    so that threads do not meet; their sum counts.
    """
    strips, height = total.shape[0], image.shape[0]
    for strip in numba.prange(strips):
        side = 2 * int(radius.max() + 0.5) + 1
        work = np.empty((SCRATCH, side * side))
        jac = np.empty((PARAMETERS, side * side))
        hessian, factor = np.zeros((PARAMETERS, PARAMETERS)), np.zeros((PARAMETERS, PARAMETERS))
        inverse = np.zeros((PARAMETERS, PARAMETERS))
        gradient, unit, step = np.zeros(PARAMETERS), np.zeros(PARAMETERS), np.zeros(PARAMETERS)
        mixed, solved = np.zeros((side, PARAMETERS)), np.zeros((side, PARAMETERS))
        for n in range(strip, len(chosen), strips):
            k = chosen[n]
            count, _, cy, _ = _linearise(
                k,
                image,
                theta,
                tilt,
                kind,
                tables,
                slopes,
                per_q,
                starts,
                neighbours,
                radius,
                variance,
                shapes,
                strengths,
                grounds,
                firmness,
                work,
                jac,
                hessian,
                gradient,
            )
            if count < 2 * PARAMETERS or not _invert(hessian, factor, unit, step, inverse):
                continue
            first, last = max(0, side // 2 - cy), min(side, height - cy + side // 2)
            for axis in range(2):
                mixed[:] = 0.0
                for i in range(count):
                    v = int(work[0, i])
                    pulled = jac[axis, i] * work[3, i]
                    pull[strip, axis, cy + v] += pulled * work[4, i]
                    for m in range(PARAMETERS):
                        mixed[v + side // 2, m] += pulled * jac[m, i]
                for r in range(first, last):
                    for m in range(PARAMETERS):
                        solved[r, m] = 0.0
                        for j in range(PARAMETERS):
                            solved[r, m] += mixed[r, j] * inverse[j, m]
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
def residual_windows(
    image,
    theta,
    tilt,
    chosen,
    kind,
    tables,
    slopes,
    per_q,
    starts,
    neighbours,
    radius,
    variance,
    shapes,
    strengths,
    grounds,
    firmness,
    row_shift,
    windows,
):
    """Fill `windows` with the residuals around the chosen columns in units of their noise; nan outside the window."""
    height, middle = row_shift.shape[0], windows.shape[1] // 2
    for n in numba.prange(len(chosen)):
        k = chosen[n]
        side = 2 * int(radius.max() + 0.5) + 1
        work = np.empty((SCRATCH, side * side))
        jac = np.empty((PARAMETERS, side * side))
        hessian, gradient = np.zeros((PARAMETERS, PARAMETERS)), np.zeros(PARAMETERS)
        count, _, cy, _ = _linearise(
            k,
            image,
            theta,
            tilt,
            kind,
            tables,
            slopes,
            per_q,
            starts,
            neighbours,
            radius,
            variance,
            shapes,
            strengths,
            grounds,
            firmness,
            work,
            jac,
            hessian,
            gradient,
        )
        for i in range(count):
            v, u = int(work[0, i]), int(work[1, i])
            row = min(height - 1, max(0, cy + v))
            rest = work[4, i] - row_shift[row, 0] * jac[Y, i] - row_shift[row, 1] * jac[X, i]
            windows[n, middle + v, middle + u] = rest * np.sqrt(work[3, i])
