"""The fitting kernels: batched Levenberg-Marquardt for columns, neighbours subtracted, compiled and parallel.

A column is seven numbers: centre y and x, amplitude, background, and the precision matrix of its shape
(p_yy, p_yx, p_xx). With q = p_yy dy² + 2 p_yx dy dx + p_xx dx² its light is amplitude·f(q) + background, where f is the
profile of its sublattice; a Gaussian is f = exp(-q/2). A precision matrix, unlike two widths and an angle, has no
degeneracy where the column is round. f is read from a table by cubic Hermite interpolation, which costs less than exp.

The functions here carry no type annotations: they are compiled by numba from plain arrays.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np

CHUNK = 32
"""Columns that share one set of scratch arrays."""
TABLE = 512
"""Intervals of a profile table."""
PARAMETERS = 7
Y, X, AMPLITUDE, BACKGROUND, PYY, PYX, PXX = range(7)


@numba.njit(cache=True, inline="always")
def profile_at(table, slope, per_q, q):
    """Value of the profile at q and its derivative with respect to q."""
    t = q * per_q
    i = int(t)
    if i >= TABLE:
        return 0.0, 0.0
    u = t - i
    f0, f1, d0, d1 = table[i], table[i + 1], slope[i], slope[i + 1]
    c2 = 3.0 * (f1 - f0) - 2.0 * d0 - d1
    c3 = 2.0 * (f0 - f1) + d0 + d1
    return f0 + u * (d0 + u * (c2 + u * c3)), (d0 + u * (2.0 * c2 + 3.0 * u * c3)) * per_q


@numba.njit(cache=True)
def first_lights(image, theta, reach):
    """Set amplitude and background of every column from the image: its pixel, and the least one around it."""
    height, width = image.shape
    for k in range(len(theta)):
        cy = min(height - 1, max(0, int(np.rint(theta[k, Y]))))
        cx = min(width - 1, max(0, int(np.rint(theta[k, X]))))
        least, most = np.inf, -np.inf
        for y in range(max(0, cy - reach), min(height, cy + reach + 1)):
            for x in range(max(0, cx - reach), min(width, cx + reach + 1)):
                value = float(image[y, x])
                if np.isfinite(value):
                    least = min(least, value)
                    if abs(y - cy) <= 1 and abs(x - cx) <= 1:
                        most = max(most, value)
        if np.isfinite(most):
            theta[k, BACKGROUND] = least + 0.2 * (most - least)
            theta[k, AMPLITUDE] = 0.8 * (most - least)


@numba.njit(cache=True, fastmath=True)
def _gather(
    k, image, theta, tilt, kind, tables, slopes, per_q, starts, neighbours, radius, variance, dy, dx, target, weight
):
    """Fill pixel offsets, intensity less the neighbours' light and the background's slope, and weights.

    Return how many pixels there are and how many are missing. Offsets are from the rounded centre, which is returned too. Weights are 1 / variance of the light that the model
    of the last pass puts into the pixel, neighbours included: iterated, this maximises the Poisson likelihood.
    """
    cy, cx = int(np.rint(theta[k, Y])), int(np.rint(theta[k, X]))
    reach = int(radius + 0.5)
    height, width = image.shape
    floor, gain, least = variance
    count, lost = 0, 0
    limit = radius * radius
    own, own_slope, own_q = tables[kind[k]], slopes[kind[k]], per_q[kind[k]]
    for v in range(-reach, reach + 1):
        y = cy + v
        for u in range(-reach, reach + 1):
            if v * v + u * u > limit:
                continue
            x = cx + u
            if y < 0 or y >= height or x < 0 or x >= width:
                lost += 1
                continue
            value = float(image[y, x])
            if not np.isfinite(value):
                lost += 1
                continue
            dy[count], dx[count] = v, u
            a, b = y - theta[k, Y], x - theta[k, X]
            target[count] = value - tilt[k, 0] * a - tilt[k, 1] * b
            q = theta[k, PYY] * a * a + 2.0 * theta[k, PYX] * a * b + theta[k, PXX] * b * b
            light, _ = profile_at(own, own_slope, own_q, q)
            weight[count] = theta[k, BACKGROUND] + theta[k, AMPLITUDE] * light
            count += 1
    for n in range(starts[k], starts[k + 1]):
        j = neighbours[n]
        ny, nx, amplitude = theta[j, Y] - cy, theta[j, X] - cx, theta[j, AMPLITUDE]
        yy, yx, xx = theta[j, PYY], 2.0 * theta[j, PYX], theta[j, PXX]
        table, slope, scale = tables[kind[j]], slopes[kind[j]], per_q[kind[j]]
        for i in range(count):
            a, b = dy[i] - ny, dx[i] - nx
            t = (yy * a * a + yx * a * b + xx * b * b) * scale
            if t < TABLE:
                m = int(t)
                u = t - m
                # linear interpolation is exact enough for a neighbour's tail
                light = amplitude * (table[m] + u * (table[m + 1] - table[m]))
                target[i] -= light
                weight[i] += light
    for i in range(count):
        weight[i] = 1.0 / max(floor + gain * weight[i], least)
    return count, lost, cy, cx


@numba.njit(cache=True, fastmath=True)
def _evaluate(p, cy, cx, count, dy, dx, target, weight, table, slope, scale, jac, residual, hessian, gradient):
    """Weighted sum of squares at `p`, with J'WJ and J'Wr filled in."""
    y0, x0, amplitude, background = p[Y] - cy, p[X] - cx, p[AMPLITUDE], p[BACKGROUND]
    yy, yx, xx = p[PYY], p[PYX], p[PXX]
    for i in range(count):
        a, b = dy[i] - y0, dx[i] - x0
        q = yy * a * a + 2.0 * yx * a * b + xx * b * b
        f, d = profile_at(table, slope, scale, q)
        d *= amplitude
        residual[i] = target[i] - background - amplitude * f
        jac[Y, i] = -2.0 * d * (yy * a + yx * b)
        jac[X, i] = -2.0 * d * (yx * a + xx * b)
        jac[AMPLITUDE, i] = f
        jac[BACKGROUND, i] = 1.0
        jac[PYY, i] = d * a * a
        jac[PYX, i] = 2.0 * d * a * b
        jac[PXX, i] = d * b * b
    cost = 0.0
    for i in range(count):
        cost += weight[i] * residual[i] * residual[i]
    for m in range(PARAMETERS):
        total = 0.0
        for i in range(count):
            total += jac[m, i] * weight[i] * residual[i]
        gradient[m] = total
        for n in range(m + 1):
            total = 0.0
            for i in range(count):
                total += jac[m, i] * weight[i] * jac[n, i]
            hessian[m, n] = total
            hessian[n, m] = total
    return cost


@numba.njit(cache=True)
def _solve(hessian, gradient, damping, factor, step):
    """Solve (H + damping·diag H) step = gradient by Cholesky; False where H is not positive."""
    n = hessian.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = hessian[i, j] * (1.0 + damping if i == j else 1.0)
            for m in range(j):
                total -= factor[i, m] * factor[j, m]
            if i == j:
                if total <= 1e-14 * hessian[i, i] or not np.isfinite(total):
                    return False
                factor[i, i] = np.sqrt(total)
            else:
                factor[i, j] = total / factor[j, j]
    for i in range(n):
        total = gradient[i]
        for m in range(i):
            total -= factor[i, m] * step[m]
        step[i] = total / factor[i, i]
    for i in range(n - 1, -1, -1):
        total = step[i]
        for m in range(i + 1, n):
            total -= factor[m, i] * step[m]
        step[i] = total / factor[i, i]
    return True


@numba.njit(cache=True)
def _add_prior(p, mean, strength, hessian, gradient):
    """Add a Gaussian prior on the shape, whose strength was learned from the sublattice; return its cost."""
    cost = 0.0
    for m in range(3):
        off = p[PYY + m] - mean[m]
        cost += strength * off * off
        gradient[PYY + m] -= strength * off
        hessian[PYY + m, PYY + m] += strength
    return cost


@numba.njit(cache=True)
def _improve(p, cy, cx, count, iterations, reach, prior, strength, table, slope, scale, work, jac, hessian, gradient, factor):
    """Levenberg-Marquardt from `p` in place; return whether the last step was negligible."""
    dy, dx, target, weight, residual = work[0], work[1], work[2], work[3], work[4]
    start_y, start_x = p[Y], p[X]
    step, trial = np.zeros(PARAMETERS), np.zeros(PARAMETERS)
    next_hessian, next_gradient = np.zeros((PARAMETERS, PARAMETERS)), np.zeros(PARAMETERS)
    cost = _evaluate(p, cy, cx, count, dy, dx, target, weight, table, slope, scale, jac, residual, hessian, gradient)
    cost += _add_prior(p, prior, strength, hessian, gradient)
    damping = 1e-3
    for _ in range(iterations):
        if not _solve(hessian, gradient, damping, factor, step):
            damping = max(10.0 * damping, 1e-3)
            continue
        gain = 0.0
        for m in range(PARAMETERS):
            trial[m] = p[m] + step[m]
            gain += step[m] * gradient[m]
        shift = (trial[Y] - start_y) ** 2 + (trial[X] - start_x) ** 2
        proper = trial[PYY] > 0.1 * p[PYY] and trial[PXX] > 0.1 * p[PXX]
        proper = proper and trial[PYY] * trial[PXX] > 1.02 * trial[PYX] ** 2
        if not proper or shift > reach * reach or not np.isfinite(gain):
            damping = max(10.0 * damping, 1e-2)
            continue
        next_cost = _evaluate(
            trial, cy, cx, count, dy, dx, target, weight, table, slope, scale, jac, residual, next_hessian, next_gradient
        )
        next_cost += _add_prior(trial, prior, strength, next_hessian, next_gradient)
        if next_cost > cost * (1.0 + 1e-12):
            damping = max(10.0 * damping, 1e-2)
            continue
        p[:] = trial
        hessian[:] = next_hessian
        gradient[:] = next_gradient
        # the step was shorter than a tenth of a standard error, and what is left of it is far shorter still
        if gain < 1e-2 * max(cost, 1e-30) / count:
            return True
        cost = next_cost
        damping *= 0.1
    return False


@numba.njit(cache=True, parallel=True, error_model="numpy")
def fit_pass(
    image, theta, tilt, out, active, kind, tables, slopes, per_q, starts, neighbours, radius, reach, variance, priors, strengths,
    iterations, converged,
):
    """Fit every active column once with its neighbours held where `theta` has them; results go to `out`."""
    total = len(theta)
    chunks = (total + CHUNK - 1) // CHUNK
    for chunk in numba.prange(chunks):
        side = 2 * int(radius.max() + 0.5) + 1
        work = np.empty((5, side * side))
        jac = np.empty((PARAMETERS, side * side))
        hessian, factor = np.zeros((PARAMETERS, PARAMETERS)), np.zeros((PARAMETERS, PARAMETERS))
        gradient, p = np.zeros(PARAMETERS), np.zeros(PARAMETERS)
        for k in range(chunk * CHUNK, min(total, (chunk + 1) * CHUNK)):
            out[k] = theta[k]
            if not active[k]:
                continue
            s = kind[k]
            count, _, cy, cx = _gather(
                k, image, theta, tilt, kind, tables, slopes, per_q, starts, neighbours, radius[s], variance,
                work[0], work[1], work[2], work[3],
            )
            if count < 2 * PARAMETERS:
                converged[k] = False
                continue
            p[:] = theta[k]
            converged[k] = _improve(
                p, cy, cx, count, iterations, reach[k], priors[s], strengths[s], tables[s], slopes[s], per_q[s],
                work, jac, hessian, gradient, factor,
            )
            out[k] = p


@numba.njit(cache=True, inline="always")
def _linearise(
    k, image, theta, tilt, kind, tables, slopes, per_q, starts, neighbours, radius, variance, priors, strengths, work,
    jac, hessian, gradient,
):
    """Fill pixels, residuals, derivatives and information of column k at its present parameters."""
    s = kind[k]
    count, missing, cy, cx = _gather(
        k, image, theta, tilt, kind, tables, slopes, per_q, starts, neighbours, radius[s], variance,
        work[0], work[1], work[2], work[3],
    )
    if count >= 2 * PARAMETERS:
        _evaluate(
            theta[k], cy, cx, count, work[0], work[1], work[2], work[3], tables[s], slopes[s], per_q[s],
            jac, work[4], hessian, gradient,
        )
        _add_prior(theta[k], priors[s], strengths[s], hessian, gradient)
    return count, missing, cy, cx


@numba.njit(cache=True)
def _invert(hessian, factor, unit, step, inverse):
    """Fill `inverse`; nan and False where the matrix is not positive."""
    for m in range(PARAMETERS):
        unit[:] = 0.0
        unit[m] = 1.0
        if not _solve(hessian, unit, 0.0, factor, step):
            inverse[:] = np.nan
            return False
        inverse[m] = step
    return True


@numba.njit(cache=True, parallel=True, error_model="numpy")
def examine(
    image, theta, tilt, chosen, kind, tables, slopes, per_q, starts, neighbours, radius, variance, priors, strengths,
    ceiling, covariance, chi2, pixels, lost, saturated, reach_rows,
):
    """At the present parameters of the chosen columns: covariance of all seven, reduced chi², window statistics.

    `reach_rows` is the width in rows of the Gaussian with the same sum of squares as the shares that scan rows have in
    the position (mean of y and x). The parameters that the prior on the shape decides do not count as fitted.
    """
    chunks = (len(chosen) + CHUNK - 1) // CHUNK
    for chunk in numba.prange(chunks):
        side = 2 * int(radius.max() + 0.5) + 1
        work = np.empty((5, side * side))
        jac = np.empty((PARAMETERS, side * side))
        hessian, factor = np.zeros((PARAMETERS, PARAMETERS)), np.zeros((PARAMETERS, PARAMETERS))
        inverse = np.zeros((PARAMETERS, PARAMETERS))
        gradient, unit, step = np.zeros(PARAMETERS), np.zeros(PARAMETERS), np.zeros(PARAMETERS)
        rows = np.zeros((2, side))
        for n in range(chunk * CHUNK, min(len(chosen), (chunk + 1) * CHUNK)):
            k = chosen[n]
            count, missing, cy, cx = _linearise(
                k, image, theta, tilt, kind, tables, slopes, per_q, starts, neighbours, radius, variance, priors,
                strengths, work, jac, hessian, gradient,
            )
            pixels[n], lost[n] = count, missing
            covariance[n], chi2[n], reach_rows[n] = np.nan, np.nan, np.nan
            if count < 2 * PARAMETERS or not _invert(hessian, factor, unit, step, inverse):
                continue
            covariance[n] = inverse
            cost = 0.0
            rows[:] = 0.0
            for i in range(count):
                cost += work[3, i] * work[4, i] * work[4, i]
                row = int(work[0, i]) + side // 2
                rows[0, row] += jac[Y, i] * jac[Y, i] * work[3, i]
                rows[1, row] += jac[X, i] * jac[X, i] * work[3, i]
                if image[cy + int(work[0, i]), cx + int(work[1, i])] >= ceiling:
                    saturated[n] += 1
            decided = inverse[PYY, PYY] + inverse[PYX, PYX] + inverse[PXX, PXX]
            chi2[n] = cost / max(count - PARAMETERS + strengths[kind[k]] * decided, 1.0)
            squares = 0.5 * np.sum((rows[0] / rows[0].sum()) ** 2) + 0.5 * np.sum((rows[1] / rows[1].sum()) ** 2)
            reach_rows[n] = 1.0 / (2.0 * np.sqrt(np.pi) * squares)


@numba.njit(cache=True, parallel=True, error_model="numpy")
def bin_residuals(
    image, theta, tilt, chosen, kind, tables, slopes, per_q, starts, neighbours, radius, variance, priors, strengths,
    row_shift, level, square,
):
    """Bin, per chosen column, the model's light (count and sum) and the squared residuals, corrected for leverage.

    A pixel's residual is smaller than its noise by what the pixel itself decides in the fit: a lot at the peak of a
    small column. `row_shift` is taken out of the residuals first.
    """
    chunks = (len(chosen) + CHUNK - 1) // CHUNK
    bins, height = level.shape[1], row_shift.shape[0]
    for chunk in numba.prange(chunks):
        side = 2 * int(radius.max() + 0.5) + 1
        work = np.empty((5, side * side))
        jac = np.empty((PARAMETERS, side * side))
        hessian, factor = np.zeros((PARAMETERS, PARAMETERS)), np.zeros((PARAMETERS, PARAMETERS))
        inverse = np.zeros((PARAMETERS, PARAMETERS))
        gradient, unit, step = np.zeros(PARAMETERS), np.zeros(PARAMETERS), np.zeros(PARAMETERS)
        for n in range(chunk * CHUNK, min(len(chosen), (chunk + 1) * CHUNK)):
            k = chosen[n]
            count, missing, cy, cx = _linearise(
                k, image, theta, tilt, kind, tables, slopes, per_q, starts, neighbours, radius, variance, priors,
                strengths, work, jac, hessian, gradient,
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
    image, theta, tilt, chosen, kind, tables, slopes, per_q, starts, neighbours, radius, variance, priors, strengths,
    total, pull, band,
):
    """Sum over the chosen columns, per axis and scan row: information on a shift of that row, and the residuals' pull.

    `band` holds M = Σ J'W(1 - H)J between neighbouring rows, H the projection on the column's own parameters: what the
    fits leave of a shift of one row in the residuals of another. The first axis of all three are independent strips,
    so that threads do not meet; their sum counts.
    """
    strips, height = total.shape[0], image.shape[0]
    for strip in numba.prange(strips):
        side = 2 * int(radius.max() + 0.5) + 1
        work = np.empty((5, side * side))
        jac = np.empty((PARAMETERS, side * side))
        hessian, factor = np.zeros((PARAMETERS, PARAMETERS)), np.zeros((PARAMETERS, PARAMETERS))
        inverse = np.zeros((PARAMETERS, PARAMETERS))
        gradient, unit, step = np.zeros(PARAMETERS), np.zeros(PARAMETERS), np.zeros(PARAMETERS)
        mixed, solved = np.zeros((side, PARAMETERS)), np.zeros((side, PARAMETERS))
        for n in range(strip, len(chosen), strips):
            k = chosen[n]
            count, missing, cy, cx = _linearise(
                k, image, theta, tilt, kind, tables, slopes, per_q, starts, neighbours, radius, variance, priors,
                strengths, work, jac, hessian, gradient,
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
    image, theta, tilt, chosen, kind, tables, slopes, per_q, starts, neighbours, radius, variance, priors, strengths,
    row_shift, windows,
):
    """Fill `windows` with the residuals around the chosen columns in units of their noise; nan outside the window."""
    height, middle = row_shift.shape[0], windows.shape[1] // 2
    for n in numba.prange(len(chosen)):
        k = chosen[n]
        side = 2 * int(radius.max() + 0.5) + 1
        work = np.empty((5, side * side))
        jac = np.empty((PARAMETERS, side * side))
        hessian, gradient = np.zeros((PARAMETERS, PARAMETERS)), np.zeros(PARAMETERS)
        count, _, cy, cx = _linearise(
            k, image, theta, tilt, kind, tables, slopes, per_q, starts, neighbours, radius, variance, priors,
            strengths, work, jac, hessian, gradient,
        )
        for i in range(count):
            v, u = int(work[0, i]), int(work[1, i])
            row = min(height - 1, max(0, cy + v))
            rest = work[4, i] - row_shift[row, 0] * jac[Y, i] - row_shift[row, 1] * jac[X, i]
            windows[n, middle + v, middle + u] = rest * np.sqrt(work[3, i])
