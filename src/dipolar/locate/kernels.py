"""The fitting kernels: batched Levenberg-Marquardt for columns, neighbours subtracted, compiled and parallel.

The functions here carry no type annotations: they are compiled by numba from plain arrays.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np

from dipolar.locate.light import (
    BACKGROUND,
    FAST,
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

CHUNK = 32
"""Columns that share one set of scratch arrays."""
ROUNDING = 1e-6
"""Sums in single precision are no better than this."""


@numba.njit(cache=True, fastmath=FAST)
def normals(count, own, hessian, gradient):
    """Fill J'WJ and J'Wr, and return the weighted sum of squares."""
    weight, residual, weighted, jac = own.weight, own.residual, own.spare, own.jac
    cost = ZERO
    for i in range(count):
        cost += weight[i] * residual[i] * residual[i]
    for m in range(PARAMETERS):
        mine, total = jac[m], ZERO
        for i in range(count):
            weighted[i] = mine[i] * weight[i]
        for i in range(count):
            total += weighted[i] * residual[i]
        gradient[m] = total
        for n in range(m + 1):
            other, total = jac[n], ZERO
            for i in range(count):
                total += weighted[i] * other[i]
            hessian[m, n] = total
            hessian[n, m] = total
    return float(cost)


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
def add_prior(state, k, p, hessian, gradient):
    """Add Gaussian priors that hold shape and background to those of the columns around; return their cost.

    Their strengths are learned from the scatter within the sublattice: where columns stand apart they decide nothing,
    where columns overlap they keep amplitude, width and background from trading places.
    """
    strength, firmness = state.strengths[state.kind[k]], state.firmness[state.kind[k]]
    cost = 0.0
    for m in range(3):
        off = p[PYY + m] - state.shapes[k, m]
        cost += strength * off * off
        gradient[PYY + m] -= strength * off
        hessian[PYY + m, PYY + m] += strength
    off = p[BACKGROUND] - state.grounds[k]
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
def _improve(state, k, p, cy, cx, count, iterations, tolerance, reach, own):
    """Levenberg-Marquardt from `p` in place; return whether the last step was negligible."""
    s = state.kind[k]
    weights, rates = state.weights[s], state.rates[s]
    hessian, gradient, step, trial = own.hessian, own.gradient, own.step, own.trial
    next_hessian, next_gradient = own.inverse, own.next_gradient
    start_y, start_x = p[Y], p[X]
    derivatives(p, cy, cx, count, weights, rates, own)
    weigh(p, count, state.variance, own)
    cost = normals(count, own, hessian, gradient)
    cost += add_prior(state, k, p, hessian, gradient)
    damping, promise = 1e-3, np.inf
    for _ in range(iterations):
        if not factorise(hessian, damping, own.factor):
            damping = max(10.0 * damping, 1e-3)
            continue
        substitute(own.factor, gradient, step)
        share = _proper_share(p, step)
        gain = 0.0
        for m in range(PARAMETERS):
            trial[m] = p[m] + share * step[m]
            gain += share * step[m] * gradient[m]
        shift = (trial[Y] - start_y) ** 2 + (trial[X] - start_x) ** 2
        if share <= 0.0 or shift > reach * reach or not np.isfinite(gain):
            damping = max(10.0 * damping, 1e-2)
            continue
        if share == 1.0 and gain < tolerance * max(cost, 1e-30) / count:
            # at 0.01, a tenth of a standard error: what is left after this step is far shorter still
            p[:] = trial
            return True
        derivatives(trial, cy, cx, count, weights, rates, own)
        next_cost = normals(count, own, next_hessian, next_gradient)
        next_cost += add_prior(state, k, trial, next_hessian, next_gradient)
        if next_cost > cost * (1.0 + ROUNDING):
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
def fit_pass(state, out, active, reach, iterations, tolerance, converged, moved):
    """Fit every active column once with its neighbours held where the state has them; results go to `out`.

    `moved` is how far each centre went.
    """
    total = len(out)
    chunks = (total + CHUNK - 1) // CHUNK
    for chunk in numba.prange(chunks):
        own = scratch(state.radius)
        for k in range(chunk * CHUNK, min(total, (chunk + 1) * CHUNK)):
            before = state.theta[k]
            out[k] = before
            if not active[k]:
                continue
            count, _, cy, cx = gather(state, k, own)
            if count < 2 * PARAMETERS:
                converged[k] = False
                continue
            converged[k] = _improve(state, k, out[k], cy, cx, count, iterations, tolerance, reach, own)
            moved[k] = np.hypot(out[k, Y] - before[Y], out[k, X] - before[X])
