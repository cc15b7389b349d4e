"""The light of columns in the pixels around them: what the compiled kernels of the fit are built of.

A column is seven numbers: centre y and x, amplitude, background, and the precision matrix of its shape
(p_yy, p_yx, p_xx). With q = p_yy dy² + 2 p_yx dy dx + p_xx dx² its light is amplitude·f(q) + background, where f is the
profile of its sublattice; a Gaussian is f = exp(-q/2). A precision matrix, unlike two widths and an angle, has no
degeneracy where the column is round. f is a sum of exponentials in q.

What is kept per pixel has single precision: sixteen numbers at a time instead of eight, and the image has no more
itself. Parameters, and the equations for them, have double precision. Loops over pixels have no branches, so that the
compiler can use vector units.

The functions here carry no type annotations: they are compiled by numba from plain arrays.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

FAST = {"reassoc", "contract", "arcp", "nsz"}
"""Sums may be reordered, which lets them use vector units; nan must stay nan, so not all of fastmath."""
PARAMETERS = 7
Y, X, AMPLITUDE, BACKGROUND, PYY, PYX, PXX = range(7)
FADED = np.float32(14.0)
"""Exponents beyond which there is no light any more."""
ZERO, ONE, TWO = np.float32(0.0), np.float32(1.0), np.float32(2.0)
HALF, THIRD, FOURTH = np.float32(1 / 2), np.float32(1 / 6), np.float32(1 / 24)


class State(NamedTuple):
    """What the kernels know of image and columns; per column unless said otherwise. See `work.Work`."""

    image: Any
    """(y, x), nan where invalid."""
    theta: Any
    """Parameters, (column, 7)."""
    tilt: Any
    """Slope of the background."""
    kind: Any
    weights: Any
    """Weights of the exponentials of which each kind's profile is made, (kind, component)."""
    rates: Any
    """Their rates in q."""
    starts: Any
    """Where the neighbours of each column begin."""
    neighbours: Any
    radius: Any
    """Radius of the window, per kind."""
    variance: Any
    """Variance line of the noise: floor, gain, least."""
    shapes: Any
    """Expected shape."""
    strengths: Any
    """How firmly the shape is expected, per kind."""
    grounds: Any
    """Expected background."""
    firmness: Any
    """How firmly the background is expected, per kind."""


class Scratch(NamedTuple):
    """Arrays to work in, one set per thread: one number per pixel of the window, or per parameter."""

    dy: Any
    dx: Any
    target: Any
    others: Any
    weight: Any
    residual: Any
    spare: Any
    jac: Any
    """Derivatives with respect to the seven parameters, (7, pixel)."""
    hessian: Any
    gradient: Any
    factor: Any
    inverse: Any
    next_gradient: Any
    step: Any
    trial: Any


@numba.njit(cache=True)
def scratch(radius):
    """Return arrays to work in for windows of at most the given radii."""
    side = 2 * int(radius.max() + 0.5) + 1
    size = side * side
    return Scratch(
        np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32),
        np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32),
        np.empty((PARAMETERS, size), np.float32),
        np.zeros((PARAMETERS, PARAMETERS)), np.zeros(PARAMETERS), np.zeros((PARAMETERS, PARAMETERS)),
        np.zeros((PARAMETERS, PARAMETERS)), np.zeros(PARAMETERS), np.zeros(PARAMETERS), np.zeros(PARAMETERS),
    )  # fmt: skip


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
def least_around(image, theta, reach, stride):
    """Return the lowest pixel, of every `stride`-th, within `reach` of each column, shape (column,)."""
    height, width = image.shape
    lowest = np.empty(len(theta))
    for k in range(len(theta)):
        cy, cx = int(np.rint(theta[k, Y])), int(np.rint(theta[k, X]))
        least = np.inf
        for y in range(max(0, cy - reach), min(height, cy + reach + 1), stride):
            for x in range(max(0, cx - reach), min(width, cx + reach + 1), stride):
                value = float(image[y, x])
                if value < least and (y - cy) ** 2 + (x - cx) ** 2 <= reach * reach:
                    least = value
        lowest[k] = least
    return lowest


@numba.njit(cache=True, fastmath=FAST)
def gather(state, k, own):
    """Fill pixel offsets, intensity less the neighbours' light and the background's slope, and the neighbours' light.

    Return how many pixels there are and how many are missing, and the rounded centre, from which offsets count.
    """
    image, theta, radius = state.image, state.theta, state.radius[state.kind[k]]
    cy, cx = int(np.rint(theta[k, Y])), int(np.rint(theta[k, X]))
    reach = int(radius + 0.5)
    height, width = image.shape
    count, lost = 0, 0
    limit = radius * radius
    tilt_y, tilt_x = np.float32(state.tilt[k, 0]), np.float32(state.tilt[k, 1])
    off_y, off_x = np.float32(theta[k, Y] - cy), np.float32(theta[k, X] - cx)
    probe = ZERO  # stays zero unless a pixel is invalid
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
        width_here = max(0, high - low + 1)
        line, end = image[y, cx + low : cx + low + width_here], count + width_here
        dy, dx, target, others = own.dy[count:end], own.dx[count:end], own.target[count:end], own.others[count:end]
        fall = tilt_y * (np.float32(v) - off_y) + tilt_x * (np.float32(low) - off_x)
        for i in range(width_here):
            along = np.float32(i)
            dy[i], dx[i], others[i] = v, np.float32(low) + along, ZERO
            target[i] = line[i] - fall - tilt_x * along
            probe += ZERO * line[i]
        count = end
    if probe != ZERO:
        kept = 0
        for i in range(count):
            if np.isfinite(own.target[i]):
                own.dy[kept], own.dx[kept], own.target[kept] = own.dy[i], own.dx[i], own.target[i]
                kept += 1
        lost += count - kept
        count = kept
    for n in range(state.starts[k], state.starts[k + 1]):
        j = state.neighbours[n]
        _shine(theta[j], cy, cx, count, state.weights[state.kind[j]], state.rates[state.kind[j]], own)
    for i in range(count):
        own.target[i] -= own.others[i]
    return count, lost, cy, cx


@numba.njit(cache=True, inline="always")
def fade(t):
    """exp(-t) to 1e-5 of itself up to t = 10, and below 1e-6 beyond: (1 - x + x²/2 - …)⁶⁴, x = t / 64.

    Unlike a call of exp or a table, it is a dozen operations that vector units can do.
    """
    x = min(t, FADED) * np.float32(1.0 / 64.0)
    e = ONE - x * (ONE - x * (HALF - x * (THIRD - x * FOURTH)))
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    return e * e


@numba.njit(cache=True, fastmath=FAST)
def _shine(other, cy, cx, count, weights, rates, own):
    """Add the light of a neighbour to every pixel of the window."""
    dy, dx, others, q = own.dy, own.dx, own.others, own.spare
    y0, x0 = np.float32(other[Y] - cy), np.float32(other[X] - cx)
    yy, yx, xx = np.float32(other[PYY]), np.float32(2.0 * other[PYX]), np.float32(other[PXX])
    for i in range(count):
        a, b = dy[i] - y0, dx[i] - x0
        q[i] = yy * a * a + yx * a * b + xx * b * b
    for c in range(len(weights)):
        if weights[c] > 0.0:
            height, rate = np.float32(other[AMPLITUDE] * weights[c]), np.float32(rates[c])
            for i in range(count):
                others[i] += height * fade(rate * q[i])


@numba.njit(cache=True, fastmath=FAST)
def derivatives(p, cy, cx, count, weights, rates, own):
    """Fill the derivatives of the column's light with respect to its parameters, and the residuals."""
    dy, dx, target, residual, jac, q = own.dy, own.dx, own.target, own.residual, own.jac, own.spare
    y0, x0 = np.float32(p[Y] - cy), np.float32(p[X] - cx)
    amplitude, background = np.float32(p[AMPLITUDE]), np.float32(p[BACKGROUND])
    yy, yx, xx = np.float32(p[PYY]), np.float32(p[PYX]), np.float32(p[PXX])
    light, slant = jac[AMPLITUDE], jac[PYY]
    for i in range(count):
        a, b = dy[i] - y0, dx[i] - x0
        q[i] = yy * a * a + TWO * yx * a * b + xx * b * b
        light[i] = ZERO
        slant[i] = ZERO
    for c in range(len(weights)):
        if weights[c] > 0.0:
            weight, rate, fall = np.float32(weights[c]), np.float32(rates[c]), np.float32(-p[AMPLITUDE] * rates[c])
            for i in range(count):
                e = weight * fade(rate * q[i])
                light[i] += e
                slant[i] += fall * e
    for i in range(count):
        residual[i] = target[i] - background - amplitude * light[i]
        jac[BACKGROUND, i] = ONE
    for i in range(count):
        a, b, d = dy[i] - y0, dx[i] - x0, slant[i]
        jac[Y, i] = -TWO * d * (yy * a + yx * b)
        jac[X, i] = -TWO * d * (yx * a + xx * b)
    for i in range(count):
        a, b, d = dy[i] - y0, dx[i] - x0, slant[i]
        slant[i] = d * a * a
        jac[PYX, i] = TWO * d * a * b
        jac[PXX, i] = d * b * b


@numba.njit(cache=True, fastmath=FAST)
def weigh(p, count, variance, own):
    """Fill the weights: 1 / variance of the light that the model puts into the pixel, neighbours included.

    Renewed at every pass, they make the least squares a maximum of the Poisson likelihood.
    """
    gain, least = np.float32(variance[1]), np.float32(variance[2])
    floor, slope = np.float32(variance[0] + variance[1] * p[BACKGROUND]), np.float32(variance[1] * p[AMPLITUDE])
    light, others, weight = own.jac[AMPLITUDE], own.others, own.weight
    for i in range(count):
        weight[i] = ONE / max(floor + slope * light[i] + gain * others[i], least)
