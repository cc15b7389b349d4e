"""Which tilt, and which true displacement, the mean cell of a region tells.

A tilted beam makes columns longer along the tilt, lopsided, dims B against A, and moves both sublattices apart. How it
does so depends on thickness and focus, which a library knows for every tilt. Here each node of such a library (tilt,
thickness, focus) is fitted to a measured mean cell: where it is, how bright, how blurred, and how far B is truly
displaced are free, as nobody knows them. Nodes are weighted by how well they fit, and by what was known before; the
mean over them is the answer, the scatter over them its uncertainty. A tilt and its opposite have the same elongation
and the same contrast, and differ only in how lopsided columns are: where the image does not tell, both stay in the
mean and sigma says so.

The evidence of a node is Laplace's approximation: D. J. C. MacKay, Neural Computation 4, 415 (1992).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex128, Float, Int64

from dipolar.core.tilt_library import state_weights
from dipolar.measure.tilt_nodes import Nodes

ROUNDS = 8
"""Steps of the fit of each node."""
HOPELESS = (1e9, 400.0, 250.0, 150.0, 60.0, 30.0, 20.0, 18.0)
"""Logarithm of the probability, against the best node's, below which a node is not fitted further, after each step."""
FARTHEST = 1.5
"""Displacement, in units of the library's, up to which its quadratic may go on."""
RELATIVE, WORSE, FLOOR = 0.06, 3.0, 0.004
"""How wrong terms of the library may be: relative to each, doubled at a frequency of `WORSE` inverse cells and growing
with its square; and relative to the largest one. Absorption instead of frozen phonons makes such errors."""
SHIFT_PM, DISPLACEMENT_PM = 30.0, 40.0
"""Standard deviations, known before, of where A is (a fit of Gaussians finds it elsewhere), and of the displacement."""
UNROUND = 0.15
"""Standard deviation, known before, of how unround the blur is, over its variance."""
WIDEST_PM = 60.0
"""Standard deviation of the widest blur that is usual."""
STARTS_PM = (25.0, 40.0, 60.0)
"""Standard deviations of the blur that fits begin with."""
WRONG_PM, WRONG_PM_PER_MRAD = (0.7, 2.0), (0.1, 0.3)
"""How far false displacements of the library are off, as frozen phonons have them, and what every mrad of tilt adds: in
a crystal that is never polar, and in a polar one."""
CONTRAST = 0.15
"""Standard deviation, known before, of the logarithm of B's brightness against A's, over that of the library: detector,
composition and multiple scattering by vibrations change it by so much."""
FREE = 10
"""What is free in a fit: log brightness, place (2), displacement (2), blur yy, yx, xx, nm of focus beside the node, log
brightness of B."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanCell:
    """The mean image of the cells of a region, as Fourier terms, the corner of the cell being the mean place of A."""

    terms: Complex128[np.ndarray, " term"]
    """At `orders` of the library that it is compared with."""
    variance: Float[np.ndarray, " term"]
    """Of each term's real and imaginary part, from the scatter of the cells."""
    spread: Complex128[np.ndarray, " term"]
    """What the scatter of the displacement in the region makes of terms of B: the mean of exp(-2πi g·(d - mean d))."""
    displacement: Float[np.ndarray, " 2"]
    """Mean of the measured displacements (y, x), in shares of the cell."""
    cells: int
    """Number of cells."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fits:
    """Every node fitted to one mean cell."""

    misfit: Float[np.ndarray, " node"]
    """Sum of squares over variances, what was known of free values included; infinite where not fitted."""
    volume: Float[np.ndarray, " node"]
    """Logarithm of the determinant of its second derivatives."""
    displacement_pm: Float[np.ndarray, "node 2"]
    """True displacement (y, x) of B at each."""
    covariance_pm2: Float[np.ndarray, "node 2 2"]
    """Its covariance at each."""
    chi2: Float[np.ndarray, " node"]
    """Misfit over the number of values."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posterior:
    """What one region tells."""

    tilt_mrad: Float[np.ndarray, " 2"]
    """Mean tilt (y, x) in the frame of the cell."""
    tilt_covariance_mrad2: Float[np.ndarray, "2 2"]
    """Its covariance."""
    displacement_pm: Float[np.ndarray, " 2"]
    """Mean true displacement."""
    covariance_pm2: Float[np.ndarray, "2 2"]
    """Its covariance."""
    thickness_nm: float
    """Mean thickness."""
    focus_nm: float
    """Mean focus."""
    chi2: float
    """Misfit of the best node over the number of values."""


def fit_nodes(mean: MeanCell, nodes: Nodes, *, only: Int64[np.ndarray, " some"] | None = None) -> Fits:
    """Return nodes fitted to a mean cell; those that turn out hopeless on the way are left where they are.

    Parameters
    ----------
    mean
        Of a region.
    nodes
        A library.
    only
        Which nodes to fit; all unless given.
    """
    g, cell = nodes.orders.astype(np.float64), nodes.library.cell_pm
    unit = nodes.library.displacement_pm / cell
    # how stamps depend on the displacement is slow: the measured one will do
    shift = np.clip(mean.displacement / unit, -FARTHEST, FARTHEST) if unit > 0 else np.zeros(2)
    weights = state_weights(shift[None], nodes.stamps.shape[1])[0].astype(np.float32)
    centre = mean.spread * np.exp(-1j * np.pi * g.sum(axis=1))  # B is in the middle of the cell
    # stamps of A and of B, and what a nm of focus changes in both
    stamps = np.empty((4, len(nodes.stamps), len(g)), dtype=np.complex128)
    for number, kind in enumerate((nodes.stamps, nodes.slopes)):
        both = np.tensordot(weights, kind, axes=(0, 1))
        stamps[2 * number], stamps[2 * number + 1] = both[:, 0], both[:, 1] * centre
    size = np.abs(mean.terms)
    relative = RELATIVE * (1.0 + np.sum(np.square(g), axis=1) / WORSE**2)
    weight = 1.0 / (mean.variance + np.square(relative * size) + np.square(FLOOR * size.max()))
    precision = _prior_precision(cell, nodes.focus_sigma_nm)
    count = len(nodes.stamps)
    alive = np.arange(count) if only is None else only
    values = np.zeros((count, FREE))
    values[alive] = _start(mean, stamps[:, alive], g, weight, cell)
    misfit, hessian = np.full(count, np.inf), np.tile(np.eye(FREE), (count, 1, 1))
    for number in range(ROUNDS + 1):
        model, slopes = _model(values[alive], stamps[:, alive], g)
        off = mean.terms - model
        weighted = slopes.conj() * weight
        hessian[alive] = np.einsum("npk,nqk->npq", weighted, slopes, optimize=True).real + precision
        misfit[alive] = np.sum(np.square(np.abs(off)) * weight, axis=1)
        misfit[alive] += np.einsum("np,pq,nq->n", values[alive], precision, values[alive])
        if number == ROUNDS:
            break
        gradient = np.einsum("npk,nk->np", weighted, off, optimize=True).real - values[alive] @ precision
        values[alive] += _limited(np.linalg.solve(hessian[alive], gradient[..., None])[..., 0], cell)
        # where no node describes the columns well, differences between nodes count less, as they do in the end
        excess = max(1.0, float(misfit[alive].min()) / (2 * len(g)))
        log = nodes.log_prior[alive] - 0.5 * misfit[alive] / excess
        alive = alive[log > log.max() - HOPELESS[number]]
    # brightness and blur may be anything within some range, so that where the image says nothing no node is preferred
    within = np.zeros(FREE)
    within[0], within[5:8] = 1.0, (cell / WIDEST_PM) ** 4
    _, volume = np.linalg.slogdet(hessian + np.diag(within))
    return Fits(
        misfit=misfit,
        volume=volume,
        displacement_pm=values[:, 3:5] * cell,
        covariance_pm2=np.linalg.inv(hessian)[:, 3:5, 3:5] * cell**2,
        chi2=misfit / (2 * len(g)),
    )


def _prior_precision(cell: float, focus_sigma_nm: float) -> Float[np.ndarray, "10 10"]:
    """Return the inverse covariance of what is free, as known before; blur as its trace and what is unround."""
    precision = np.zeros((FREE, FREE))
    precision[1, 1] = precision[2, 2] = (cell / SHIFT_PM) ** 2
    precision[3, 3] = precision[4, 4] = (cell / DISPLACEMENT_PM) ** 2
    unround = (cell**2 / (UNROUND * 40.0**2)) ** 2
    precision[6, 6] = 4.0 * unround  # C_yx; the difference C_yy - C_xx is twice as free
    for row, column, sign in ((5, 5, 1), (7, 7, 1), (5, 7, -1), (7, 5, -1)):
        precision[row, column] = sign * unround
    precision[8, 8] = focus_sigma_nm**-2.0
    precision[9, 9] = CONTRAST**-2.0
    return precision


def _start(
    mean: MeanCell,
    stamps: Complex128[np.ndarray, "4 node term"],
    g: Float[np.ndarray, "term 2"],
    weight: Float[np.ndarray, " term"],
    cell: float,
) -> Float[np.ndarray, "node 10"]:
    """Return where fits begin: the measured displacement, and the best of some blurs."""
    chosen = np.zeros((stamps.shape[1], FREE))
    lowest = np.full(stamps.shape[1], np.inf)
    for sigma in STARTS_PM:
        values = np.zeros((stamps.shape[1], FREE))
        values[:, 3:5] = mean.displacement
        values[:, 5] = values[:, 7] = (sigma / cell) ** 2
        model, _ = _model(values, stamps, g, slopes=False)
        power = np.sum(np.square(np.abs(model)) * weight, axis=1)
        scale = np.sum((model.conj() * mean.terms).real * weight, axis=1) / power
        scale = np.maximum(scale, 1e-3 * np.sqrt(np.sum(np.square(np.abs(mean.terms)) * weight) / power))
        misfit = np.sum(np.square(np.abs(mean.terms - scale[:, None] * model)) * weight, axis=1)
        values[:, 0] = np.log(scale)
        better = misfit < lowest
        chosen[better], lowest = values[better], np.minimum(lowest, misfit)
    return chosen


def _model(
    values: Float[np.ndarray, "node 10"],
    stamps: Complex128[np.ndarray, "4 node term"],
    g: Float[np.ndarray, "term 2"],
    *,
    slopes: bool = True,
) -> tuple[Complex128[np.ndarray, "node term"], Complex128[np.ndarray, "node slope term"]]:
    """Return the terms of every node as its values make it, and their slopes with these."""
    gg = np.stack([g[:, 0] ** 2, 2.0 * g[:, 0] * g[:, 1], g[:, 1] ** 2])
    blur = np.exp(values[:, :1] - 2.0 * np.pi**2 * (values[:, 5:8] @ gg) - 2j * np.pi * (values[:, 1:3] @ g.T))
    move = blur * np.exp(-2j * np.pi * (values[:, 3:5] @ g.T))
    move = move * np.exp(values[:, 9:])
    of_b = (stamps[1] + values[:, 8:9] * stamps[3]) * move
    model = (stamps[0] + values[:, 8:9] * stamps[2]) * blur + of_b
    if not slopes:
        return model, np.empty((len(values), 0, len(g)), dtype=np.complex128)
    turn = -2j * np.pi * g.T
    focus = stamps[2] * blur + stamps[3] * move
    parts = [
        model[:, None], model[:, None] * turn, of_b[:, None] * turn, model[:, None] * (-2.0 * np.pi**2 * gg),
        focus[:, None], of_b[:, None],
    ]  # fmt: skip
    return model, np.concatenate(parts, axis=1)


def _limited(step: Float[np.ndarray, "node 10"], cell: float) -> Float[np.ndarray, "node 10"]:
    """Return steps that are not too far: half in brightness, 30 pm in places, (25 pm)² in blur, 1 nm in focus."""
    most = np.array([0.5, *[30.0 / cell] * 4, *[(25.0 / cell) ** 2] * 3, 1.0, 0.3])
    return step * np.minimum(1.0, np.min(most / np.maximum(np.abs(step), 1e-12), axis=1))[:, None]


def log_posterior(fits: Fits, nodes: Nodes) -> Float[np.ndarray, " node"]:
    """Return the logarithm of how probable each node is, what was known before included.

    Where not even the best node describes the columns as well as the library should, all misfits count less, by as
    much as it takes: differences between nodes are then no better known than the best one is.
    """
    return nodes.log_prior - 0.5 * (fits.misfit / _excess(fits) + fits.volume)


def _excess(fits: Fits) -> float:
    return max(1.0, float(fits.chi2.min()))


def posterior(fits: Fits, nodes: Nodes, *, more: Float[np.ndarray, " node"] | None = None) -> Posterior:
    """Return the mean over all nodes, weighted, with its scatter.

    Which plane of atoms comes first under the surface is not known: the library has A first; with B first all of A lies
    half a cell deeper, and seems to move by as much times the tilt further against it. The mean of both is taken, and
    half of what they differ by joins the covariance.

    Parameters
    ----------
    fits
        Of `fit_nodes`.
    nodes
        That were fitted.
    more
        Logarithm of what else is known of each node, such as from regions around.
    """
    log = log_posterior(fits, nodes)
    log = log if more is None else log + more
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    half = 0.25e-3 * nodes.library.depth_pm * nodes.tilts_mrad
    displacement = fits.displacement_pm - half
    tilt, mean = weight @ nodes.tilts_mrad, weight @ displacement
    off, apart = nodes.tilts_mrad - tilt, displacement - mean
    inside = fits.covariance_pm2 * _excess(fits) + half[:, :, None] * half[:, None, :]
    polar = int(nodes.library.displacement_pm > 0)
    wrong = WRONG_PM[polar] ** 2
    wrong += WRONG_PM_PER_MRAD[polar] ** 2 * float(weight @ np.sum(np.square(nodes.tilts_mrad), axis=1))
    return Posterior(
        tilt_mrad=tilt,
        tilt_covariance_mrad2=np.einsum("n,ni,nj->ij", weight, off, off),
        displacement_pm=mean,
        covariance_pm2=np.einsum("n,ni,nj->ij", weight, apart, apart)
        + np.einsum("n,nij->ij", weight, inside)
        + wrong * np.eye(2),
        thickness_nm=float(weight @ nodes.thicknesses_nm),
        focus_nm=float(weight @ nodes.foci_nm),
        chi2=float(fits.chi2[np.argmax(log)]),
    )
