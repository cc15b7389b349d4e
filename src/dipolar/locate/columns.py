"""From an image to its columns: lattice, guesses, sublattices, fit, covariance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt32
from scipy.spatial import cKDTree

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import NoLatticeError
from dipolar.core.flags import Flag
from dipolar.core.nouns import Basis, Columns, Image, Noise
from dipolar.locate.choices import AbstractFit, SharedProfileFit
from dipolar.locate.fit import first_fit, full_fit
from dipolar.locate.index import Indexed, index_points, missing_sites, restrict
from dipolar.locate.kernels import AMPLITUDE, BACKGROUND, PXX, PYX, PYY
from dipolar.locate.lattice import find_steps
from dipolar.locate.learn import correlation, learn_noise, learn_row_shifts, usable_for_noise
from dipolar.locate.noise import RowShifts
from dipolar.locate.peaks import find_maxima
from dipolar.locate.sublattice import assign_sublattices
from dipolar.locate.work import Examined, Work, examine, find_neighbours, one_pass, select, start_work

KEEP = 3.0
"""A column found as a maximum stays from this many standard errors of its amplitude on."""
KEEP_PREDICTED = 5.0
"""One that only its neighbours predict needs more: a fit always finds some bump."""
WEAK = 5.0


def locate_columns(
    image: Image, *, fit: AbstractFit | None = None, bright: Basis = "A", progress: Progress = silent
) -> Columns:
    """Return all atomic columns of the image, fitted, with covariance, lattice index and sublattice.

    The lattice is found in the autocorrelation; maxima at its scale are linked to their neighbours and indexed; sites
    that the neighbours predict but no maximum marks are added; all columns are fitted together by Poisson maximum
    likelihood, each with the light of its neighbours subtracted; the noise is read off the residuals.

    Parameters
    ----------
    image
        Bright columns on a dark background. nan pixels are left out.
    fit
        How columns are fitted; `SharedProfileFit()` unless given.

    Other parameters
    ----------------
    bright
        The sublattice that is brighter where the two differ.
    progress
        Told the step and the fraction done.

    Raises
    ------
    NoLatticeError
        Where the image shows no lattice of columns.
    """
    fit = SharedProfileFit() if fit is None else fit
    data, valid = image.data, np.isfinite(image.data)
    filled = data if valid.all() else np.where(valid, data, np.float32(np.median(data[valid])))
    progress("finding the lattice", 0.0)
    steps = find_steps(filled, valid)
    step_px = float(np.sqrt(np.mean(np.sum(steps**2, axis=1))))
    peaks, _ = find_maxima(filled, valid, step_px=step_px)
    progress("finding the lattice", 0.6)
    found = index_points(peaks, steps)
    if not len(found.points_px):
        raise NoLatticeError(
            "no crystal was found: neighbouring columns on a lattice were expected.",
            got=f"{len(peaks)} intensity maxima, none of them with neighbours where a lattice would have them",
            do="check that the image is in focus and atomically resolved",
        )
    progress("finding the lattice", 1.0)
    found, predicted, work = _rough(data, found, step_px, fit, bright)
    full_fit(work, progress=progress)
    return _finish(image, found, predicted, work, bright)


def _rough(
    data: Float32[np.ndarray, "y x"], found: Indexed, step_px: float, fit: AbstractFit, bright: Basis
) -> tuple[Indexed, Bool[np.ndarray, " column"], Work]:
    """Fill the gaps of the lattice, fit everything roughly, and keep what proves to be a column.

    Gaps are filled twice: a weak column found in the first round may hold the next one up.
    """
    sites = missing_sites(found, shape=data.shape, margin_px=1.0)
    points = np.concatenate([found.points_px, sites])
    predicted = np.concatenate([np.zeros(len(found.points_px), dtype=bool), np.ones(len(sites), dtype=bool)])
    found = index_points(points, _mean_steps(found), rounds=1)
    predicted = predicted[found.source]
    kind, _ = assign_sublattices(found.index, found.grain, found.links, _heights(data, found.points_px), bright=bright)
    work = start_work(data, found.points_px, kind, step_px=step_px, choice=fit)
    first_fit(work)
    found, predicted, work = _prune(found, predicted, work, step_px)
    more = missing_sites(found, shape=data.shape, margin_px=1.0)
    if len(more) and len(sites):
        more = more[cKDTree(sites).query(more)[0] > 0.3 * step_px]
    if len(more):
        found, predicted, work = _extend(found, predicted, work, more, bright)
        found, predicted, work = _prune(found, predicted, work, step_px)
    work.kind, _ = assign_sublattices(found.index, found.grain, found.links, work.theta[:, AMPLITUDE], bright=bright)
    return found, predicted, work


def _prune(
    found: Indexed, predicted: Bool[np.ndarray, " column"], work: Work, step_px: float
) -> tuple[Indexed, Bool[np.ndarray, " column"], Work]:
    """Drop fits that are no columns, and index the rest anew where they ended up."""
    keep = _credible(work, found.points_px, predicted, step_px)
    selected = select(work, keep)
    return restrict(found, keep, selected.theta[:, :2]), predicted[keep], selected


def _extend(
    found: Indexed,
    predicted: Bool[np.ndarray, " column"],
    work: Work,
    sites_px: Float[np.ndarray, "site 2"],
    bright: Basis,
) -> tuple[Indexed, Bool[np.ndarray, " column"], Work]:
    """Add sites and fit them alone, everything else held."""
    points = np.concatenate([found.points_px, sites_px])
    every = index_points(points, _mean_steps(found), rounds=1)
    new = every.source >= len(found.points_px)
    amplitude = np.concatenate([work.theta[:, AMPLITUDE], np.zeros(len(sites_px))])[every.source]
    kind, _ = assign_sublattices(every.index, every.grain, every.links, amplitude, bright=bright)
    fresh = start_work(work.image, every.points_px, kind, step_px=work.step_px, choice=work.choice)
    fresh.theta[~new] = work.theta[every.source[~new]]
    fresh.converged[~new] = work.converged[every.source[~new]]
    fresh.theta[new, PYY:] = work.typical[kind[new]]
    fresh = replace(
        fresh,
        shapes=work.typical[kind],
        typical=work.typical,
        strengths=work.strengths,
        variance=work.variance,
    )
    for _ in range(2):
        find_neighbours(fresh)
        one_pass(fresh, 3, active=new)
    flags = np.concatenate([predicted, np.ones(len(sites_px), dtype=bool)])[every.source]
    return every, flags, fresh


def _mean_steps(found: Indexed) -> Float[np.ndarray, "2 2"]:
    return np.median(found.steps_px, axis=0)


def _heights(data: Float32[np.ndarray, "y x"], points_px: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, " point"]:
    at = np.clip(np.rint(points_px).astype(int), 0, np.array(data.shape) - 1)
    values = data[at[:, 0], at[:, 1]].astype(float)
    return np.nan_to_num(values - np.nanpercentile(data[::4, ::4], 1), nan=0.0)


def _credible(
    work: Work, start_px: Float[np.ndarray, "column 2"], predicted: Bool[np.ndarray, " column"], step_px: float
) -> Bool[np.ndarray, " column"]:
    """Return which fits are columns: bright enough for how they were found, where expected, and only once."""
    found = examine(work, np.arange(len(work.theta)))
    amplitude = work.theta[:, AMPLITUDE]
    sigma = np.sqrt(np.maximum(found.covariance[:, AMPLITUDE, AMPLITUDE], 0.0))
    enough = amplitude > np.where(predicted, KEEP_PREDICTED, KEEP) * np.nan_to_num(sigma, nan=np.inf)
    near = np.linalg.norm(work.theta[:, :2] - start_px, axis=1) < 0.3 * step_px
    inside = np.all((work.theta[:, :2] > -0.5) & (work.theta[:, :2] < np.array(work.image.shape) - 0.5), axis=1)
    seen = found.pixels > 0.4 * (found.pixels + found.lost)
    keep = enough & near & inside & seen
    rows = np.flatnonzero(keep)
    for one, other in cKDTree(work.theta[rows, :2]).query_pairs(0.45 * step_px):
        worse = max(rows[one], rows[other], key=lambda k: (bool(predicted[k]), -amplitude[k]))
        keep[worse] = False
    return keep


def _finish(image: Image, found: Indexed, predicted: Bool[np.ndarray, " column"], work: Work, bright: Basis) -> Columns:
    """Put together the table: noise with row shifts taken out, covariance with all its parts, flags."""
    ceiling = np.inf if image.ceiling is None else image.ceiling
    learn_noise(work)
    rows_found = learn_row_shifts(work)
    shift = rows_found.shift_px
    if max(rows_found.jitter_px) > 0:
        learn_noise(work, shift_px=shift)
        rows_found = learn_row_shifts(work)
    else:
        shift = np.zeros_like(shift)
    final = examine(work, np.arange(len(work.theta)), ceiling=ceiling)
    factors = correlation(work, shift, usable_for_noise(work))
    covariance, flags = _covariance(work, final, factors, rows_found)
    theta = work.theta
    major, minor, angle = ellipse(theta[:, PYY], theta[:, PYX], theta[:, PXX])
    final_links = index_points(theta[:, :2], found.steps_px, rounds=1)
    rows = final_links.source  # a column that lost its place in the lattice is not one
    sublattice, unsure = assign_sublattices(
        final_links.index, final_links.grain, final_links.links, theta[rows, AMPLITUDE], bright=bright
    )
    flags = flags | _more_flags(work, final, predicted, found.points_px)
    flags = flags[rows] | np.where(unsure, np.uint32(Flag.AMBIGUOUS_SUBLATTICE), np.uint32(0)).astype(np.uint32)
    noise = Noise(
        gain=work.variance.gain, floor=work.variance.floor, correlation=factors, row_jitter_px=rows_found.jitter_px,
        row_jitter_sigma_px=rows_found.jitter_sigma_px,
    )  # fmt: skip
    return Columns(
        positions_px=theta[rows, :2],
        covariance_px2=covariance[rows],
        amplitude=theta[rows, AMPLITUDE],
        amplitude_sigma=np.sqrt(final.covariance[rows, AMPLITUDE, AMPLITUDE]),
        background=theta[rows, BACKGROUND],
        widths_px=np.column_stack([major, minor])[rows],
        angle_deg=angle[rows],
        sublattice=sublattice,
        index=final_links.index,
        grain=final_links.grain,
        links=final_links.links,
        row_reach_px=final.reach_rows[rows],
        chi2=final.chi2[rows],
        flags=flags.astype(np.uint32),
        noise=noise,
        steps_px=_mean_steps(final_links),
        profile=work.profile.components,
    )


def _covariance(
    work: Work, final: Examined, factors: tuple[float, float], rows: RowShifts
) -> tuple[Float[np.ndarray, "column 2 2"], UInt32[np.ndarray, " column"]]:
    """Return the covariance of (y, x): counting × correlation of the noise × local misfit, plus row jitter."""
    freedom = np.maximum(final.pixels - 7, 1)
    poor = final.chi2 > 1.0 + 4.0 * np.sqrt(2.0 / freedom) + 0.1
    widen = np.where(poor, final.chi2, 1.0)
    stretch = np.sqrt(np.outer(factors, factors))
    covariance = final.covariance[:, :2, :2] * stretch * widen[:, None, None]
    jitter = np.array(rows.jitter_px) ** 2
    spread = 1.0 / (2.0 * np.sqrt(np.pi) * final.reach_rows)
    covariance[:, 0, 0] += jitter[0] * spread
    covariance[:, 1, 1] += jitter[1] * spread
    sigma = np.sqrt(np.nanmax(np.diagonal(covariance, axis1=1, axis2=2), axis=1))
    lost_fit = ~np.isfinite(final.chi2) | (work.moved > np.maximum(0.5 * np.nan_to_num(sigma), 0.005 * work.step_px))
    covariance[lost_fit] = np.nan
    flags = np.where(poor, np.uint32(Flag.POOR_FIT), np.uint32(0))
    flags |= np.where(lost_fit, np.uint32(Flag.NOT_CONVERGED), np.uint32(0))
    return covariance, flags.astype(np.uint32)


def _more_flags(
    work: Work, final: Examined, predicted: Bool[np.ndarray, " column"], expected_px: Float[np.ndarray, "column 2"]
) -> UInt32[np.ndarray, " column"]:
    """Return the flags that follow from window, amplitude, shape and place."""
    theta, shape = work.theta, np.array(work.image.shape)
    amplitude_sigma = np.sqrt(final.covariance[:, AMPLITUDE, AMPLITUDE])
    outside = np.any((theta[:, :2] < work.radius.min()) | (theta[:, :2] > shape - 1 - work.radius.min()), axis=1)
    area = np.sqrt(np.maximum(theta[:, PYY] * theta[:, PXX] - theta[:, PYX] ** 2, 1e-12))
    typical = np.array([work.width(0), work.width(1)])[work.kind] ** -2
    major, minor, _ = ellipse(theta[:, PYY], theta[:, PYX], theta[:, PXX])
    odd = (area > 2.5 * typical) | (area < 0.4 * typical) | (major > 1.8 * minor)
    moved = np.linalg.norm(theta[:, :2] - expected_px, axis=1) > 0.2 * work.step_px
    flags = np.zeros(len(theta), dtype=np.uint32)
    for where, flag in (
        (outside & (final.lost > 0), Flag.EDGE),
        (~outside & (final.lost > 0), Flag.NEAR_INVALID),
        (final.saturated > 2, Flag.SATURATED),
        (~(theta[:, AMPLITUDE] > WEAK * amplitude_sigma), Flag.WEAK),
        (odd, Flag.ODD_SHAPE),
        (moved, Flag.MOVED),
        (predicted, Flag.PREDICTED),
    ):
        flags |= np.where(where, np.uint32(flag), np.uint32(0)).astype(np.uint32)
    return flags


def ellipse(
    pyy: Float[np.ndarray, " column"], pyx: Float[np.ndarray, " column"], pxx: Float[np.ndarray, " column"]
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """Return major and minor width and the screen angle of the major axis, in (-90, 90], of precision matrices."""
    middle, half = 0.5 * (pyy + pxx), np.hypot(0.5 * (pyy - pxx), pyx)
    with np.errstate(invalid="ignore", divide="ignore"):
        major, minor = (middle - half) ** -0.5, (middle + half) ** -0.5
    # the major axis is the eigenvector of the smaller eigenvalue; (y, x) = (sin t, cos t) with y down
    angle = 0.5 * np.degrees(np.arctan2(-2.0 * pyx, pyy - pxx))
    angle = -angle
    return major, minor, np.where(angle <= -90.0, angle + 180.0, angle)
