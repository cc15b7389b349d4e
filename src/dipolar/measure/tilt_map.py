"""The tilt over an image, what it does to the displacement, and the displacement without that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.linalg
import scipy.spatial
from jaxtyping import Float, Int64
from scipy.special import logsumexp

from dipolar.core.contracts import Progress, silent
from dipolar.core.findings import TiltCorrection
from dipolar.core.nouns import Cells
from dipolar.core.tilt_library import TiltLibrary
from dipolar.measure.tilt_cells import Regions
from dipolar.measure.tilt_nodes import Nodes
from dipolar.measure.tilt_posterior import Fits, Posterior, fit_nodes, log_posterior, posterior

STEP = "comparing columns with tilted ones"
"""What is told while it goes on."""

UNLIKELY = 150.0
"""Logarithm of the probability below that of the best node, in the first region, from which nodes are not looked at
in the others: tilts, thickness and focus are much the same there."""
CHANGE_MRAD = 4.0
"""Standard deviation, known before, of how tilts differ from region to region, along each axis."""
WITNESSES = 4.0
"""As how many regions all others together count: their errors are alike, being mostly those of the library."""
LENGTH = 0.5
"""Length over which false displacements are alike, over the longest edge of the field of view."""


def told_by_library(regions: Regions, nodes: Nodes, *, progress: Progress = silent) -> list[Posterior]:
    """Return what the mean cell of every region tells, and what the others tell it.

    Parameters
    ----------
    regions
        With mean cells at the orders of `nodes`.
    nodes
        From `nodes_of`.
    progress
        Told how far it has come.
    """
    fits: list[Fits] = []
    likely = None
    for mean in regions.mean_cells:
        fits.append(fit_nodes(mean, nodes, only=likely))
        if likely is None:
            likely = log_posterior(fits[0], nodes)
            likely = np.flatnonzero(likely > likely.max() - UNLIKELY)
        progress(STEP, len(fits) / len(regions.mean_cells))
    more = told_by_others(fits, nodes)
    return [posterior(fit, nodes, more=other) for fit, other in zip(fits, more, strict=True)]


def tilt_correction(
    regions: Regions, found: Sequence[Posterior], cells: Cells, library: TiltLibrary, *, of: Cells | None = None
) -> TiltCorrection:
    """Return tilt and false displacement of every region and every cell, on the screen.

    Parameters
    ----------
    regions
        Squares of the image.
    found
        What each of them tells, in the frame of its cells.
    cells
        That they were made of, with A at the corners.
    library
        That they were compared with.
    of
        Cells that are to be corrected, where these are others: with B at the corners the displacement is the opposite.
    """
    of = cells if of is None else of
    frames = _frames(regions, cells)
    pm = library.cell_pm
    means = np.array([mean.displacement for mean in regions.mean_cells])
    false = means - np.array([one.displacement_pm for one in found]) / pm
    false_px = np.einsum("rij,rj->ri", frames, false)
    turn = frames / np.linalg.norm(frames, axis=1, keepdims=True)
    tilt = np.array([one.tilt_mrad for one in found])
    tilt_covariance = np.array([one.tilt_covariance_mrad2 for one in found])
    covariance = np.array([one.covariance_pm2 for one in found]) / pm**2
    covariance = np.einsum("rij,rjk,rlk->ril", frames, covariance, frames)
    weights = _weights_in_groups(regions, cells, of, covariance)
    near = np.abs(weights) / np.abs(weights).sum(axis=1, keepdims=True)
    sign = 1.0 if of.basis == "A" else -1.0
    return TiltCorrection(
        material=library.material,
        positions_px=regions.positions_px,
        cells=np.array([mean.cells for mean in regions.mean_cells], dtype=np.int64),
        tilt_mrad=np.einsum("rij,rj->ri", turn, tilt),
        tilt_sigma_mrad=_sigma(np.einsum("rij,rjk,rlk->ril", turn, tilt_covariance, turn)),
        false_px=sign * false_px,
        false_sigma_px=_sigma(covariance),
        thickness_nm=np.array([one.thickness_nm for one in found]),
        focus_nm=np.array([one.focus_nm for one in found]),
        misfit=np.array([one.chi2 for one in found]),
        cell_false_px=sign * (weights @ false_px),
        cell_covariance_px2=np.einsum("cr,rij->cij", near, covariance),
    )


def corrected(cells: Cells, found: TiltCorrection) -> Cells:
    """Return the cells with the false displacement taken off; its uncertainty joins theirs."""
    return replace(
        cells,
        displacement_px=cells.displacement_px - found.cell_false_px,
        covariance_px2=cells.covariance_px2 + found.cell_covariance_px2,
    )


def straightened(found: TiltCorrection, matrix: Float[np.ndarray, "2 2"]) -> TiltCorrection:
    """Return what a tilt fakes in the pixels of a true scan; a matrix that hardly turns leaves sigma of regions."""
    return replace(
        found,
        false_px=found.false_px @ matrix.T,
        cell_false_px=found.cell_false_px @ matrix.T,
        cell_covariance_px2=matrix @ found.cell_covariance_px2 @ matrix.T,
    )


def told_by_others(fits: Sequence[Fits], nodes: Nodes) -> list[Float[np.ndarray, " node"]]:
    """Return what the other regions tell each one about its tilt, as a logarithm for every node.

    Tilts of neighbouring regions are alike but for a bend: each other region's tilt, blurred by as much as tilts
    differ, multiplies what is known.
    """
    tilts, index = np.unique(nodes.tilts_mrad, axis=0, return_inverse=True)
    apart = np.sum(np.square(tilts[:, None] - tilts[None]), axis=-1)
    kernel = -0.5 * apart / (2.0 * CHANGE_MRAD**2)
    kernel = kernel - logsumexp(kernel, axis=0)
    tilt_prior = _by_tilt(nodes.log_prior, index, len(tilts))
    messages = []
    for fit in fits:
        alone = _by_tilt(log_posterior(fit, nodes), index, len(tilts)) - tilt_prior
        message = logsumexp(kernel + alone[None], axis=1)
        messages.append(message - message.max())
    total = np.sum(messages, axis=0)
    share = min(1.0, WITNESSES / max(len(messages) - 1, 1))
    return [(share * (total - message))[index] for message in messages]


def _by_tilt(log: Float[np.ndarray, " node"], index: Int64[np.ndarray, " node"], count: int) -> Float[np.ndarray, " _"]:
    """Return the logarithm of the sum over all nodes of each tilt."""
    top = log.max()
    return top + np.log(np.maximum(np.bincount(index, np.exp(log - top), minlength=count), 1e-300))


def _frames(regions: Regions, cells: Cells) -> Float[np.ndarray, "region 2 2"]:
    """Return the mean edges of the cells of each region as columns: b first, which is y of the cell's frame."""
    return np.array(
        [
            np.stack([cells.b_px[rows].mean(axis=0), cells.a_px[rows].mean(axis=0)], axis=1)
            for rows in regions.members
        ]
    ).reshape(-1, 2, 2)  # fmt: skip


def _weights_in_groups(
    regions: Regions, cells: Cells, of: Cells, covariance: Float[np.ndarray, "region 2 2"]
) -> Float[np.ndarray, "cell region"]:
    """Return the weights of regions at cells; those of other groups count only where there is none of the same.

    Fits of overlapping columns find displacements too short, which depends on the displacement, and is taken off with
    the rest.
    """
    group = regions.group_of_cell
    if of is not cells:
        group = group[scipy.spatial.cKDTree(cells.positions_px).query(of.positions_px)[1]]
    weights = np.zeros((len(of.flags), len(regions.groups)))
    for one in np.unique(group):
        here = np.flatnonzero(group == one)
        mine = np.flatnonzero(regions.groups == one)
        mine = mine if len(mine) else np.arange(len(regions.groups))
        part = _weights(regions.positions_px[mine], of.positions_px[here], covariance[mine])
        weights[np.ix_(here, mine)] = part
    return weights


def _weights(
    regions_px: Float[np.ndarray, "region 2"],
    cells_px: Float[np.ndarray, "cell 2"],
    covariance: Float[np.ndarray, "region 2 2"],
) -> Float[np.ndarray, "cell region"]:
    """Return the weights of regions at cells: kriging with an unknown mean (G. Matheron, Econ. Geol. 58, 1246, 1963).

    Regions that know little count little.
    """
    count = len(regions_px)
    length = LENGTH * max(float(np.ptp(cells_px, axis=0).max()), 1e-9)
    variance = 0.5 * np.trace(covariance, axis1=1, axis2=2)
    # the field's own variance, in px², from what regions know: its ratio to their variance is what matters
    field = max(float(np.median(variance)), 1e-12)
    left = np.zeros((count + 1, count + 1))
    left[:count, :count] = field * _alike(regions_px, regions_px, length) + np.diag(variance)
    left[:count, count] = left[count, :count] = 1.0
    right = np.ones((count + 1, len(cells_px)))
    right[:count] = field * _alike(regions_px, cells_px, length)
    return scipy.linalg.solve(left, right, assume_a="sym")[:count].T


def _alike(
    one: Float[np.ndarray, "one 2"], other: Float[np.ndarray, "other 2"], length: float
) -> Float[np.ndarray, "one other"]:
    apart = np.sum(np.square(one[:, None] - other[None]), axis=-1)
    return np.exp(-0.5 * apart / length**2)


def _sigma(covariance: Float[np.ndarray, "region 2 2"]) -> Float[np.ndarray, "region 2"]:
    return np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0))
