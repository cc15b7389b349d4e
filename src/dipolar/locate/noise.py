"""What the residuals say about the noise: its variance against intensity, its correlation, and the jitter of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from dipolar.locate.contrast import Slope

LAGS = 3
COARSE, RINGS = 12, 7
"""Pixels along the window's radius, and distances in them, that are enough for noise of long correlation."""
LENGTHS = np.geomspace(0.05, 0.6, 12)
"""Lengths of such noise that are tried, over the window's radius."""
LONG = 20.0
"""Factor, of at most 49, from which on the noise is correlated over more than `LAGS` pixels."""
WILDEST = 40.0
"""Squared shift of a row, over the median, beyond which something else moved it; chance: 24 once in 1000 rows."""
LEAST_VARIANCE_SHARE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Variance:
    """Variance of a pixel as a straight line: floor + gain × intensity, never below `least`."""

    floor: float
    """Variance at zero intensity."""
    gain: float
    """Slope: counts of the file per electron."""
    least: float
    """The line is cut off here."""

    def as_tuple(self) -> tuple[float, float, float]:
        """Return (floor, gain, least), as the kernels take it."""
        return self.floor, self.gain, self.least


def first_variance(data: Float[np.ndarray, "y x"]) -> Variance:
    """Return a constant variance from the differences of neighbouring pixels, before anything was fitted."""
    rows = data[:: max(1, data.shape[0] // 512)]
    second = rows[:, 2:] - 2.0 * rows[:, 1:-1] + rows[:, :-2]
    second = second[np.isfinite(second)]
    spread = float(np.median(np.abs(second))) / 0.6745 / np.sqrt(6.0) if second.size else 1.0
    level = max(spread**2, 1e-12 * float(np.nanvar(rows)), 1e-30)
    return Variance(floor=level, gain=0.0, least=level)


def fit_variance(
    level: Float[np.ndarray, "row bin 2"], square: Float[np.ndarray, "row bin"], *, slope: Slope = "rising"
) -> Variance:
    """Return the line through mean squared residual against mean intensity, by least squares weighted 1/variance².

    Parameters
    ----------
    level
        Number of pixels and sum of their model intensity, per column and bin.
    square
        Sum of squared residuals in the same bins, corrected for leverage.
    slope
        "rising": the line does not fall with the intensity; "none": it is flat; "free": as the residuals have it.
    """
    count = level[:, :, 0].ravel()
    good = count > 0
    count = count[good]
    intensity = level[:, :, 1].ravel()[good] / count
    mean_square = square.ravel()[good] / count
    order = np.argsort(intensity)
    edges = np.searchsorted(np.cumsum(count[order]), np.linspace(0, count.sum(), 25)[1:-1])
    groups = [g for g in np.split(order, edges) if len(g)]
    x = np.array([np.average(intensity[g], weights=count[g]) for g in groups])
    y = np.array([np.average(mean_square[g], weights=count[g]) for g in groups])
    n = np.array([count[g].sum() for g in groups])
    overall = float(np.average(y, weights=n))
    guess = np.full(len(x), overall)
    floor, gain = overall, 0.0
    for _ in range(8):
        weight = n / guess**2
        mx, my = np.average(x, weights=weight), np.average(y, weights=weight)
        spread = float(np.sum(weight * (x - mx) ** 2))
        gain = float(np.sum(weight * (x - mx) * (y - my))) / spread if spread > 0 else 0.0
        gain = {"rising": max(0.0, gain), "free": gain, "none": 0.0}[slope]
        floor = float(my - gain * mx)
        guess = np.maximum(floor + gain * x, 0.1 * overall)
    return Variance(floor=floor, gain=gain, least=max(0.1 * float(np.min(guess)), LEAST_VARIANCE_SHARE * overall))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowShifts:
    """How far every scan row seems to be shifted, and the jitter behind it."""

    shift_px: Float[np.ndarray, "row 2"]
    """Apparent shift of the columns in that row (y, x); 0 where no column lies on it."""
    jitter_px: tuple[float, float]
    """Standard deviation of the true shifts of rows."""
    jitter_sigma_px: tuple[float, float]
    """Its standard error."""


def row_shifts(
    total: Float[np.ndarray, "2 row"], pull: Float[np.ndarray, "2 row"], band: Float[np.ndarray, "2 row lag"]
) -> RowShifts:
    """Return the shift of every row from the residuals of all columns on it, and the size of the jitter.

    A row displaced by j leaves J·j in its pixels, of which every fit takes a part for a shift or a change of shape of
    its column. With D the information on each row and M that left by the fits, the estimate pull / D is
    (M / D) j + counting noise of variance M_rr / D_r², so that its mean square gives the jitter.

    Parameters
    ----------
    total
        D, per axis (y, x) and scan row.
    pull
        Weighted residuals along the axis.
    band
        M between rows, lag 0 in the middle.
    """
    rows = total.shape[1]
    shift, jitter, error = np.zeros((rows, 2)), [0.0, 0.0], [0.0, 0.0]
    for axis in (0, 1):
        d = total[axis]
        known = d > 0.05 * np.median(d[d > 0]) if np.any(d > 0) else d > 0
        if np.count_nonzero(known) < 20:
            error[axis] = float("nan")
            continue
        shift[known, axis] = pull[axis, known] / d[known]
        kept = np.sum((band[axis, known] / d[known, None]) ** 2, axis=1)
        noise = band[axis, known, band.shape[2] // 2] / d[known] ** 2
        square = shift[known, axis] ** 2
        usual = square <= WILDEST * np.median(square)  # a surface or an interface is not jitter
        square, kept, noise = square[usual], kept[usual], noise[usual]
        answer = float(np.sum(square - noise)) / float(np.sum(kept))
        spread = float(np.sqrt(2.0 * np.sum((noise + max(answer, 0.0) * kept) ** 2))) / float(np.sum(kept))
        if answer > 3.0 * spread:
            jitter[axis], error[axis] = float(np.sqrt(answer)), spread / (2.0 * float(np.sqrt(answer)))
        else:
            error[axis] = float(np.sqrt(spread))
    return RowShifts(shift_px=shift, jitter_px=(jitter[0], jitter[1]), jitter_sigma_px=(error[0], error[1]))


def correlation_factors(
    windows: Float[np.ndarray, "window y x"],
    jacobians: Float[np.ndarray, "pixel parameter"],
    inside: Bool[np.ndarray, "y x"],
    prior: Float[np.ndarray, " parameter"],
) -> tuple[float, float]:
    """Return by how much correlated noise widens the variance of y and of x, 1 for white noise.

    The autocorrelation of the normalised residuals, corrected for what the fit takes out of them (their projection on
    the parameters), weighted with the autocorrelation of the influence that each pixel has on the position.

    Parameters
    ----------
    windows
        Residuals around typical columns in units of their noise, nan outside the fitting window.
    jacobians
        Derivatives of a typical column's light, already divided by the noise, for the pixels `inside`.
    inside
        Mask of the fitting window.
    prior
        Information on each parameter that the prior adds.
    """
    solved = np.linalg.pinv(jacobians.T @ jacobians + np.diag(prior))
    hat = jacobians @ solved @ jacobians.T
    where = np.argwhere(inside)
    numbers = np.full(np.array(inside.shape) + 2 * LAGS, -1)
    numbers[tuple((where + LAGS).T)] = np.arange(len(where))
    influence = jacobians @ solved[:, :2]
    influence = influence / np.sqrt(np.sum(influence**2, axis=0))
    variance = float(np.nanmean(windows**2)) / (1.0 - np.trace(hat) / len(hat))
    factors = np.ones(2)
    for lag_y in range(0, LAGS + 1):
        for lag_x in range(-LAGS if lag_y else 1, LAGS + 1):
            partner = numbers[tuple((where + LAGS + (lag_y, lag_x)).T)]
            pair = np.flatnonzero(partner >= 0)
            other = partner[pair]
            removed = float(np.mean(hat[pair, other]))
            product = _lagged(windows, lag_y, lag_x)
            rho = float(np.nanmean(product)) / variance + removed
            noise = float(max(int(np.count_nonzero(np.isfinite(product))), 1)) ** -0.5
            if abs(rho) > max(4.0 * noise, 0.01):
                factors += 2.0 * rho * np.sum(influence[pair] * influence[other], axis=0)
    return float(max(factors[0], 0.3)), float(max(factors[1], 0.3))


def long_correlation_factors(
    windows: Float[np.ndarray, "window y x"],
    jacobians: Float[np.ndarray, "pixel 7"],
    inside: Bool[np.ndarray, "y x"],
    prior: Float[np.ndarray, "7"],
) -> tuple[float, float]:
    """Return the same as `correlation_factors` where noise is correlated over many pixels, as it is in iDPC images.

    Such noise looks like columns, and fits take up most of it: what residuals show is C less what the fit projects out,
    (1 - H) C (1 - H). C is taken to be white noise blurred by a Gaussian, its length the one whose residuals fall off
    like those found from pixel to pixel, its size the one that leaves as much. Some pixels of the window, on a coarse
    grid, are enough.
    """
    stride = max(1, inside.shape[0] // 2 // COARSE)
    places = np.argwhere(inside)
    chosen = np.all((places - inside.shape[0] // 2) % stride == 0, axis=1)
    at, jacobian = places[chosen], stride * jacobians[chosen]
    solved = np.linalg.pinv(jacobian.T @ jacobian + np.diag(prior))
    left = np.eye(len(at)) - jacobian @ solved @ jacobian.T
    values = windows[:, at[:, 0], at[:, 1]]
    values = values[np.isfinite(values).all(axis=1)]
    if len(values) < 5:
        return correlation_factors(windows, jacobians, inside, prior)
    apart = np.linalg.norm(at[:, None] - at[None], axis=2)
    rings = [(apart > (k - 0.5) * stride) & (apart < (k + 0.5) * stride) for k in range(RINGS)]
    measured = values.T @ values / len(values)
    found = np.array([measured[ring].mean() for ring in rings])
    best, factors = np.inf, np.ones(2)
    for length in LENGTHS * 0.5 * inside.shape[0]:
        noise = np.exp(-0.25 * (apart / length) ** 2)
        seen = left @ noise @ left
        expected = np.array([seen[ring].mean() for ring in rings])
        size = float(found @ expected) / float(expected @ expected)
        misfit = float(np.sum((found - size * expected) ** 2))
        if misfit < best:
            weights = (solved @ jacobian.T)[:2] * stride
            spread = np.einsum("ap,pq,aq->a", weights, size * noise, weights)
            best, factors = misfit, spread / np.diag(solved)[:2]
    return float(max(factors[0], 1.0)), float(max(factors[1], 1.0))


def _lagged(windows: Float[np.ndarray, "window y x"], lag_y: int, lag_x: int) -> Float[np.ndarray, "window v u"]:
    height, width = windows.shape[1:]
    if lag_x >= 0:
        return windows[:, : height - lag_y, : width - lag_x] * windows[:, lag_y:, lag_x:]
    return windows[:, : height - lag_y, -lag_x:] * windows[:, lag_y:, : width + lag_x]
