"""Where exactly a wall runs: its curve moved to where the displacement is halfway, smoothly along its length."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy.polynomial import legendre
from scipy.optimize import least_squares

from dipolar.maps.profile import NARROWEST, WIDEST, Across, Prior, scatter_px2
from dipolar.maps.shared import shared_px2, whitening

TERMS = (2, 3, 5, 8)
"""Legendre polynomials tried for the shift along the wall: 2 move and turn it, more bend it."""
CELLS_PER_TERM = 5.0
"""Length of wall, in cells, that each of them needs."""
SMOOTH = 0.4
"""ξ in edges of the cell below which the sum over cells is no longer smooth in the wall's place."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """The shift of a wall's curve along its length."""

    coefficients_px: Float[np.ndarray, " term"]
    """Of Legendre polynomials in the place along the wall from -1 to 1."""
    scatter_px2: float
    """Variance of the cells about the profile beyond their own."""
    shared_px2: float
    """Variance that the cells of one scan line share."""
    log_width: Float[np.ndarray, " known"]
    """log ξ at which the volume below is known."""
    log_volume: Float[np.ndarray, " known"]
    """Log of the volume of shifts that the cells leave open at that ξ, x0 apart."""

    def shift_px(self, along: Float[np.ndarray, " place"]) -> Float[np.ndarray, " place"]:
        """Return the shift at places along the wall, from -1 to 1."""
        return legendre.legval(along, self.coefficients_px)


def fit_shape(across: Across, along: Float[np.ndarray, " cell"], prior: Prior, *, length_cells: float) -> Shape:
    """Return the shift that fits best, with as many terms as the Bayesian information criterion allows.

    For every trial the sides d1, d2 follow by linear least squares; ξ is fitted along and thrown away, since its
    posterior is found on a grid later.

    Parameters
    ----------
    across
        The cells beside the wall.
    along
        Place of each along the wall, from -1 to 1.
    prior
        The two sides as the domains have them, and the edge of the cell.
    length_cells
        Length of the wall.
    """
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    start = np.zeros(1)
    for terms in (1, *TERMS):
        if terms > 1 and terms > length_cells / CELLS_PER_TERM:
            break
        start = np.concatenate([start, np.zeros(terms - len(start))])
        coefficients, square, residual = _fit(across, along, prior, start)
        criterion = square + terms * np.log(len(along))
        if best is not None and criterion > best[0]:
            break
        best, start = (criterion, coefficients, residual), coefficients
    assert best is not None
    _, coefficients, residual = best
    scatter = scatter_px2(residual, across.variance_px2, len(coefficients) + 3)
    log_width = np.log(np.geomspace(NARROWEST, WIDEST, 16) * prior.edge_px)
    volume = _log_volume(across, along, prior, coefficients, np.exp(log_width), scatter)
    return Shape(
        coefficients_px=coefficients,
        scatter_px2=scatter,
        shared_px2=shared_px2(residual, across.variance_px2 + scatter, across.line),
        log_width=log_width,
        log_volume=volume,
    )


def _fit(
    across: Across, along: Float[np.ndarray, " cell"], prior: Prior, start: Float[np.ndarray, " term"]
) -> tuple[Float[np.ndarray, " term"], float, Float[np.ndarray, " cell"]]:
    """Return coefficients, chi² and residuals of the best of two starts, a narrow and a wide wall."""
    basis = legendre.legvander(along, len(start) - 1)
    white = whitening(across.variance_px2, across.shared)
    (value,) = white(across.component_px[None])
    low, high = np.log(SMOOTH * prior.edge_px), np.log(WIDEST * prior.edge_px)
    loose = np.eye(2) / prior.spread_px
    expected = loose @ np.array([prior.before_px, prior.after_px])

    def sides(parameters: Float[np.ndarray, " parameter"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shift = basis @ parameters[:-1]
        # as in `steepness`, with a place for every cell
        off, width = across.distance_px - shift, np.exp(np.clip(parameters[-1], low, high))
        share = (1.0 - prior.corner_share) * np.tanh(off / width)
        if prior.corner_share > 0:
            share += prior.corner_share * np.tanh((off[:, None] + across.corners_px) / width).mean(axis=1)
        design = np.stack([0.5 * (1.0 - share), 0.5 * (1.0 + share)])
        whole = np.concatenate([white(design), loose], axis=1).T
        target = np.concatenate([value, expected])
        found = np.linalg.solve(whole.T @ whole, whole.T @ target)
        return found, target - whole @ found, across.component_px - found @ design

    def residuals(parameters: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " residual"]:
        return np.concatenate([sides(parameters)[1], parameters[:-1] / (2.0 * prior.edge_px)])

    found = [
        least_squares(
            residuals,
            np.append(start, np.log(width * prior.edge_px)),
            method="lm",  # bounds would cost a singular value decomposition at every step
            x_scale=np.append(np.full(len(start), 0.2 * prior.edge_px), 0.3),
            max_nfev=30 * (len(start) + 2),
            xtol=1e-5,
            ftol=1e-5,
        )
        for width in ((0.6, 2.0) if len(start) == 1 else (1.0,))
    ]
    best = min(found, key=lambda one: float(one.cost))
    _, scaled, plain = sides(best.x)
    return best.x[:-1], float(np.sum(scaled[: len(value)] ** 2)), plain


def _log_volume(
    across: Across,
    along: Float[np.ndarray, " cell"],
    prior: Prior,
    coefficients: Float[np.ndarray, " term"],
    widths_px: Float[np.ndarray, " known"],
    scatter: float,
) -> Float[np.ndarray, " known"]:
    """Return ½ log |covariance| of the coefficients but the first at every ξ (Laplace's approximation).

    Fitting the shape makes the wall look narrower than it is; wider walls leave more shapes open, and this gives them
    their due weight.
    """
    if len(coefficients) < 2:
        return np.zeros(len(widths_px))
    basis = legendre.legvander(along, len(coefficients) - 1)
    off = across.distance_px - basis @ coefficients
    apart = prior.after_px - prior.before_px
    white = whitening(across.variance_px2 + scatter, across.shared)
    result = np.empty(len(widths_px))
    for row, width in enumerate(np.maximum(widths_px, SMOOTH * prior.edge_px)):
        slope = 0.5 * apart / width / np.cosh(np.minimum(np.abs(off / width), 30.0)) ** 2
        change = white((basis[:, 1:] * slope[:, None]).T)
        normal = change @ change.T
        normal += np.eye(len(coefficients) - 1) / (2.0 * prior.edge_px) ** 2
        result[row] = -0.5 * np.linalg.slogdet(normal)[1]
    return result


def moved(across: Across, shift_px: Float[np.ndarray, " cell"], scatter: float = 0.0) -> Across:
    """Return the cells with distances from the shifted curve and the scatter added to their variance."""
    return replace(across, distance_px=across.distance_px - shift_px, variance_px2=across.variance_px2 + scatter)
