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
FAST = {"reassoc", "contract", "arcp", "nsz"}
"""Sums may be reordered, which lets them use vector units; nan must stay nan, so not all of fastmath."""
SCRATCH = 6
"""Arrays of one number per pixel: dy, dx, target, weight, residual, one to work in."""
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


@numba.njit(cache=True)
def least_around(image, theta, reach):
    """Return the lowest pixel within `reach` of each column, shape (column,)."""
    height, width = image.shape
    lowest = np.empty(len(theta))
    for k in range(len(theta)):
        cy, cx = int(np.rint(theta[k, Y])), int(np.rint(theta[k, X]))
        least = np.inf
        for y in range(max(0, cy - reach), min(height, cy + reach + 1)):
            for x in range(max(0, cx - reach), min(width, cx + reach + 1)):
                value = float(image[y, x])
                if value < least and (y - cy) ** 2 + (x - cx) ** 2 <= reach * reach:
                    least = value
        lowest[k] = least
    return lowest


@numba.njit(cache=True, fastmath=FAST)
def gather(k, image, theta, tilt, kind, tables, per_q, starts, neighbours, radius, dy, dx, target, others):
    """Fill pixel offsets, intensity less the neighbours' light and the background's slope, and the neighbours' light.

    Return how many pixels there are and how many are missing, and the rounded centre, from which offsets count.
    """
    cy, cx = int(np.rint(theta[k, Y])), int(np.rint(theta[k, X]))
    reach = int(radius + 0.5)
    height, width = image.shape
    count, lost = 0, 0
    limit = radius * radius
    off_y, off_x = theta[k, Y] - cy, theta[k, X] - cx
    for v in range(-reach, reach + 1):
        span = limit - v * v
        if span < 0.0:
            continue
        half = int(np.sqrt(span))
        y = cy + v
        if y < 0 or y >= height:
            lost += 2 * half + 1
            continue
        low, high = max(-half, -cx), min(half, width - 1 - cx)
        lost += 2 * half + 1 - max(0, high - low + 1)
        for u in range(low, high + 1):
            value = float(image[y, cx + u])
            if not np.isfinite(value):
                lost += 1
                continue
            dy[count], dx[count] = v, u
            target[count] = value - tilt[k, 0] * (v - off_y) - tilt[k, 1] * (u - off_x)
            others[count] = 0.0
            count += 1
    for n in range(starts[k], starts[k + 1]):
        j = neighbours[n]
        ny, nx, amplitude = theta[j, Y] - cy, theta[j, X] - cx, theta[j, AMPLITUDE]
        scale = per_q[kind[j]]
        yy, yx, xx = theta[j, PYY] * scale, 2.0 * theta[j, PYX] * scale, theta[j, PXX] * scale
        table = tables[kind[j]]
        for i in range(count):
            a, b = dy[i] - ny, dx[i] - nx
            t = yy * a * a + yx * a * b + xx * b * b
            if t < TABLE:
                m = int(t)
                # linear interpolation is exact enough for a neighbour's tail
                others[i] += amplitude * (table[m] + (t - m) * (table[m + 1] - table[m]))
    for i in range(count):
        target[i] -= others[i]
    return count, lost, cy, cx


@numba.njit(cache=True, fastmath=FAST)
def derivatives(p, cy, cx, count, dy, dx, target, table, slope, scale, jac, residual):
    """Fill the derivatives of the column's light with respect to its parameters, and the residuals."""
    y0, x0, amplitude, background = p[Y] - cy, p[X] - cx, p[AMPLITUDE], p[BACKGROUND]
    yy, yx, xx = p[PYY], p[PYX], p[PXX]
    for i in range(count):
        a, b = dy[i] - y0, dx[i] - x0
        f, d = profile_at(table, slope, scale, yy * a * a + 2.0 * yx * a * b + xx * b * b)
        jac[AMPLITUDE, i] = f
        jac[PYY, i] = d * amplitude
    for i in range(count):
        a, b = dy[i] - y0, dx[i] - x0
        d = jac[PYY, i]
        residual[i] = target[i] - background - amplitude * jac[AMPLITUDE, i]
        jac[Y, i] = -2.0 * d * (yy * a + yx * b)
        jac[X, i] = -2.0 * d * (yx * a + xx * b)
        jac[BACKGROUND, i] = 1.0
        jac[PYY, i] = d * a * a
        jac[PYX, i] = 2.0 * d * a * b
        jac[PXX, i] = d * b * b


@numba.njit(cache=True, fastmath=FAST)
def weigh(p, count, jac, others, variance, weight):
    """Fill the weights: 1 / variance of the light that the model puts into the pixel, neighbours included.

    Renewed at every pass, they make the least squares a maximum of the Poisson likelihood.
    """
    floor, gain, least = variance
    for i in range(count):
        weight[i] = 1.0 / max(floor + gain * (p[BACKGROUND] + p[AMPLITUDE] * jac[AMPLITUDE, i] + others[i]), least)


@numba.njit(cache=True, fastmath=FAST)
def normals(count, weight, jac, residual, weighted, hessian, gradient):
    """Fill J'WJ and J'Wr, and return the weighted sum of squares."""
    cost = 0.0
    for i in range(count):
        cost += weight[i] * residual[i] * residual[i]
    for m in range(PARAMETERS):
        total = 0.0
        for i in range(count):
            weighted[i] = jac[m, i] * weight[i]
            total += weighted[i] * residual[i]
        gradient[m] = total
        for n in range(m + 1):
            total = 0.0
            for i in range(count):
                total += weighted[i] * jac[n, i]
            hessian[m, n] = total
            hessian[n, m] = total
    return cost


@numba.njit(cache=True)
def factorise(hessian, damping, factor):
    """Fill the Cholesky factor of H + damping·diag H; False where that is not positive."""
    for i in range(PARAMETERS):
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
    return True


@numba.njit(cache=True)
def substitute(factor, right, step):
    """Fill the solution of the factorised equations for one right-hand side."""
    for i in range(PARAMETERS):
        total = right[i]
        for m in range(i):
            total -= factor[i, m] * step[m]
        step[i] = total / factor[i, i]
    for i in range(PARAMETERS - 1, -1, -1):
        total = step[i]
        for m in range(i + 1, PARAMETERS):
            total -= factor[m, i] * step[m]
        step[i] = total / factor[i, i]


@numba.njit(cache=True)
def add_prior(p, mean, strength, ground, firmness, hessian, gradient):
    """Add Gaussian priors that hold shape and background to those of the columns around; return their cost.

    Their strengths are learned from the scatter within the sublattice: where columns stand apart they decide nothing,
    where columns overlap they keep amplitude, width and background from trading places.
    """
    cost = 0.0
    for m in range(3):
        off = p[PYY + m] - mean[m]
        cost += strength * off * off
        gradient[PYY + m] -= strength * off
        hessian[PYY + m, PYY + m] += strength
    off = p[BACKGROUND] - ground
    gradient[BACKGROUND] -= firmness * off
    hessian[BACKGROUND, BACKGROUND] += firmness
    return cost + firmness * off * off


@numba.njit(cache=True)
def _proper_share(p, step):
    """How much of a step keeps the shape an ellipse and the centre within a third of the column's width; 0 if none."""
    share = 1.0
    for m in (PYY, PXX):
        if step[m] < -0.5 * p[m]:
            share = min(share, -0.5 * p[m] / step[m])
    far = np.hypot(step[Y], step[X]) * np.sqrt(max(p[PYY], p[PXX]))
    if far > 0.35:
        share = min(share, 0.35 / far)
    for _ in range(6):
        yy, yx, xx = p[PYY] + share * step[PYY], p[PYX] + share * step[PYX], p[PXX] + share * step[PXX]
        if yy > 0.0 and xx > 0.0 and yy * xx > 1.1 * yx * yx:
            return share
        share *= 0.5
    return 0.0


@numba.njit(cache=True)
def _improve(
    p,
    cy,
    cx,
    count,
    iterations,
    tolerance,
    reach,
    prior,
    strength,
    ground,
    firmness,
    variance,
    table,
    slope,
    scale,
    work,
    jac,
    hessian,
    gradient,
    factor,
    small,
    square,
):
    """Levenberg-Marquardt from `p` in place; return whether the last step was negligible."""
    dy, dx, target, weight, residual, spare = work[0], work[1], work[2], work[3], work[4], work[5]
    start_y, start_x = p[Y], p[X]
    step, trial, next_gradient, next_hessian = small[0], small[1], small[2], square
    derivatives(p, cy, cx, count, dy, dx, target, table, slope, scale, jac, residual)
    weigh(p, count, jac, spare, variance, weight)
    cost = normals(count, weight, jac, residual, spare, hessian, gradient)
    cost += add_prior(p, prior, strength, ground, firmness, hessian, gradient)
    damping, promise = 1e-3, np.inf
    for _ in range(iterations):
        if not factorise(hessian, damping, factor):
            damping = max(10.0 * damping, 1e-3)
            continue
        substitute(factor, gradient, step)
        scale_step = _proper_share(p, step)
        gain = 0.0
        for m in range(PARAMETERS):
            trial[m] = p[m] + scale_step * step[m]
            gain += scale_step * step[m] * gradient[m]
        shift = (trial[Y] - start_y) ** 2 + (trial[X] - start_x) ** 2
        if scale_step <= 0.0 or shift > reach * reach or not np.isfinite(gain):
            damping = max(10.0 * damping, 1e-2)
            continue
        if scale_step == 1.0 and gain < tolerance * max(cost, 1e-30) / count:
            # at 0.01, a tenth of a standard error: what is left after this step is far shorter still
            p[:] = trial
            return True
        derivatives(trial, cy, cx, count, dy, dx, target, table, slope, scale, jac, residual)
        next_cost = normals(count, weight, jac, residual, spare, next_hessian, next_gradient)
        next_cost += add_prior(trial, prior, strength, ground, firmness, next_hessian, next_gradient)
        if next_cost > cost * (1.0 + 1e-12):
            damping = max(10.0 * damping, 1e-2)
            continue
        p[:] = trial
        hessian[:] = next_hessian
        gradient[:] = next_gradient
        promise = gain
        cost = next_cost
        damping *= 0.1
    # the last step was below a standard error, and Newton steps shrink quadratically
    return promise < max(cost, 1e-30) / count


@numba.njit(cache=True, parallel=True, error_model="numpy")
def fit_pass(
    image,
    theta,
    out,
    tilt,
    active,
    kind,
    tables,
    slopes,
    per_q,
    starts,
    neighbours,
    radius,
    reach,
    variance,
    shapes,
    strengths,
    grounds,
    firmness,
    iterations,
    tolerance,
    converged,
    moved,
):
    """Fit every active column once with its neighbours held where `theta` has them; results go to `out`.

    `moved` is how far each centre went.
    """
    total = len(theta)
    chunks = (total + CHUNK - 1) // CHUNK
    for chunk in numba.prange(chunks):
        side = 2 * int(radius.max() + 0.5) + 1
        work = np.empty((SCRATCH, side * side))
        jac = np.empty((PARAMETERS, side * side))
        hessian, factor = np.zeros((PARAMETERS, PARAMETERS)), np.zeros((PARAMETERS, PARAMETERS))
        gradient, p = np.zeros(PARAMETERS), np.zeros(PARAMETERS)
        small, square = np.zeros((3, PARAMETERS)), np.zeros((PARAMETERS, PARAMETERS))
        for k in range(chunk * CHUNK, min(total, (chunk + 1) * CHUNK)):
            out[k] = theta[k]
            if not active[k]:
                continue
            s = kind[k]
            count, _, cy, cx = gather(
                k,
                image,
                theta,
                tilt,
                kind,
                tables,
                per_q,
                starts,
                neighbours,
                radius[s],
                work[0],
                work[1],
                work[2],
                work[5],
            )
            if count < 2 * PARAMETERS:
                converged[k] = False
                continue
            p[:] = theta[k]
            converged[k] = _improve(
                p,
                cy,
                cx,
                count,
                iterations,
                tolerance,
                reach,
                shapes[k],
                strengths[s],
                grounds[k],
                firmness[s],
                variance,
                tables[s],
                slopes[s],
                per_q[s],
                work,
                jac,
                hessian,
                gradient,
                factor,
                small,
                square,
            )
            out[k] = p
            moved[k] = np.hypot(p[Y] - theta[k, Y], p[X] - theta[k, X])
