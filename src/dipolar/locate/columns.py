"""From an image to its columns: lattice, guesses, sublattices, fit, covariance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt32

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import NoLatticeError
from dipolar.core.flags import Flag
from dipolar.core.nouns import Basis, Columns, Image, Noise
from dipolar.locate.choices import AbstractFit, SharedProfileFit
from dipolar.locate.contrast import Contrast, Polarity, find_polarity, saturated_pixels
from dipolar.locate.fit import SETTLED, full_fit
from dipolar.locate.index import index_points
from dipolar.locate.lattice import find_steps
from dipolar.locate.learn import learn_noise, learn_row_shifts
from dipolar.locate.light import AMPLITUDE, BACKGROUND, PXX, PYX, PYY
from dipolar.locate.noise import RowShifts
from dipolar.locate.peaks import column_scales, find_maxima
from dipolar.locate.rough import Draft, first_columns, settled
from dipolar.locate.sublattice import assign_sublattices
from dipolar.locate.work import Examined, Work, examine

WEAK = 5.0
CUT = 0.25
"""Share of the fitting window that may be missing before the column is flagged."""


def locate_columns(
    image: Image,
    *,
    fit: AbstractFit | None = None,
    bright: Basis = "A",
    contrast: Contrast = "auto",
    progress: Progress = silent,
) -> Columns:
    """Return all atomic columns of the image, fitted, with covariance, lattice index and sublattice.

    The lattice is found in the autocorrelation; maxima at its scale are linked to their neighbours and indexed; sites
    that the neighbours predict but no maximum marks are added; all columns are fitted together by Poisson maximum
    likelihood, each with the light of its neighbours subtracted; the noise is read off the residuals.

    Parameters
    ----------
    image
        Columns that stand out, bright or dark, from their background. nan pixels are left out.
    fit
        How columns are fitted; `SharedProfileFit()` unless given.

    Other parameters
    ----------------
    bright
        The sublattice that stands out more where the two differ.
    contrast
        "bright" (HAADF, ADF), "dark" (ABF) or "signed" (iDPC, DPC); "auto" finds out.
    progress
        Told the step and the fraction done.

    Raises
    ------
    NoLatticeError
        Where the image shows no lattice of columns.
    ImageError
        Where the columns have another contrast than the one named, or none.
    """
    fit = SharedProfileFit() if fit is None else fit
    data, valid = image.data, np.isfinite(image.data)
    filled = data if valid.all() else np.where(valid, data, np.float32(np.median(data[valid])))
    progress("finding the lattice", 0.0)
    steps = find_steps(filled, valid)
    step_px = float(np.sqrt(np.mean(np.sum(steps**2, axis=1))))
    blurred, filtered = column_scales(filled, step_px=step_px)
    polarity = find_polarity(data, filtered, valid, contrast=contrast)
    data, blurred, filtered = (polarity.turned(picture) for picture in (data, blurred, filtered))
    peaks = find_maxima(filtered, valid, step_px=step_px)
    progress("finding the lattice", 0.6)
    found = index_points(peaks, steps)
    if not len(found.points_px):
        raise NoLatticeError(
            "no crystal was found: neighbouring columns on a lattice were expected.",
            got=f"{len(peaks)} intensity {'maxima' if polarity.sign > 0 else 'minima'}, none of them with neighbours where a lattice would have them",
            do="check that the image is in focus and atomically resolved",
        )
    progress("finding the lattice", 1.0)
    draft = first_columns(data, blurred, found, step_px=step_px, choice=fit, bright=bright, slope=polarity.slope)
    full_fit(draft.work, progress=progress)
    return _finish(image, settled(draft), bright, polarity)


def _finish(image: Image, draft: Draft, bright: Basis, polarity: Polarity) -> Columns:
    """Put together the table: noise with row shifts taken out, covariance with all its parts, flags."""
    work, found, theta = draft.work, draft.found, draft.work.theta
    learn_noise(work)
    rows = learn_row_shifts(work)
    shift = rows.shift_px if max(rows.jitter_px) > 0 else None
    if shift is not None:
        learn_noise(work, shift_px=shift)
        rows = learn_row_shifts(work)
    ceiling = np.inf if image.ceiling is None or polarity.sign < 0 else image.ceiling
    final = examine(work, np.arange(len(theta)), ceiling=ceiling, shift_px=shift)
    factors = work.factors
    covariance, lost = _covariance(work, final, factors, rows)
    sublattice, unsure = assign_sublattices(found.index, found.grain, found.links, theta[:, AMPLITUDE], bright=bright)
    major, minor, angle = ellipse(theta[:, PYY], theta[:, PYX], theta[:, PXX])
    flags = lost | _more_flags(work, final, draft.predicted, found.links)
    if polarity.sign < 0 and image.ceiling is not None:
        full = saturated_pixels(image.data, image.ceiling, theta[:, :2], float(work.radius.max()))
        flags |= np.where(full > 2, np.uint32(Flag.SATURATED), np.uint32(0)).astype(np.uint32)
    return Columns(
        positions_px=theta[:, :2].copy(),
        covariance_px2=covariance,
        amplitude=polarity.sign * theta[:, AMPLITUDE],
        amplitude_sigma=np.sqrt(max(1.0, float(np.mean(factors))) * final.covariance[:, AMPLITUDE, AMPLITUDE]),
        background=polarity.sign * theta[:, BACKGROUND],
        widths_px=np.column_stack([major, minor]),
        angle_deg=angle,
        sublattice=sublattice,
        index=found.index,
        grain=found.grain,
        links=found.links,
        row_reach_px=final.reach_rows,
        chi2=final.chi2,
        flags=flags | np.where(unsure, np.uint32(Flag.AMBIGUOUS_SUBLATTICE), np.uint32(0)).astype(np.uint32),
        noise=polarity.noise(
            Noise(
                gain=work.variance.gain,
                floor=work.variance.floor,
                correlation=factors,
                row_jitter_px=rows.jitter_px,
                row_jitter_sigma_px=rows.jitter_sigma_px,
            )
        ),
        steps_px=np.median(found.steps_px, axis=0),
        profile=work.profile.components,
    )


def _covariance(
    work: Work, final: Examined, factors: tuple[float, float], rows: RowShifts
) -> tuple[Float[np.ndarray, "column 2 2"], UInt32[np.ndarray, " column"]]:
    """Return the covariance of (y, x): counting × correlation of the noise × local misfit, plus row jitter."""
    freedom = np.maximum(final.pixels - 7, 1)
    # correlated noise has fewer independent pixels, so that chi² scatters more
    poor = final.chi2 > 1.1 + 4.0 * np.sqrt(2.0 * max(1.0, *factors) / freedom)
    widen = np.where(poor, final.chi2, 1.0)
    stretch = np.sqrt(np.outer(factors, factors))
    covariance = final.covariance[:, :2, :2] * stretch * widen[:, None, None]
    jitter = np.array(rows.jitter_px) ** 2
    spread = 1.0 / (2.0 * np.sqrt(np.pi) * final.reach_rows)
    covariance[:, 0, 0] += jitter[0] * spread[:, 0]
    covariance[:, 1, 1] += jitter[1] * spread[:, 1]
    sigma = np.sqrt(np.max(np.nan_to_num(np.diagonal(covariance, axis1=1, axis2=2)), axis=1))
    lost_fit = ~np.isfinite(final.chi2) | (work.moved > np.maximum(0.5 * sigma, SETTLED * work.step_px))
    covariance[lost_fit] = np.nan
    flags = np.where(poor, np.uint32(Flag.POOR_FIT), np.uint32(0))
    flags |= np.where(lost_fit, np.uint32(Flag.NOT_CONVERGED), np.uint32(0))
    return covariance, flags.astype(np.uint32)


def _more_flags(
    work: Work, final: Examined, predicted: Bool[np.ndarray, " column"], links: Int32[np.ndarray, "column 8"]
) -> UInt32[np.ndarray, " column"]:
    """Return the flags that follow from window, amplitude, shape and place."""
    theta, shape = work.theta, np.array(work.image.shape)
    amplitude_sigma = np.sqrt(final.covariance[:, AMPLITUDE, AMPLITUDE])
    outside = np.any((theta[:, :2] < work.radius.min()) | (theta[:, :2] > shape - 1 - work.radius.min()), axis=1)
    cut = final.lost > CUT * (final.lost + final.pixels)
    area = np.sqrt(np.maximum(theta[:, PYY] * theta[:, PXX] - theta[:, PYX] ** 2, 1e-12))
    typical = np.array([work.width(0), work.width(1)])[work.kind] ** -2
    major, minor, _ = ellipse(theta[:, PYY], theta[:, PYX], theta[:, PXX])
    odd = (area > 2.5 * typical) | (area < 0.4 * typical) | (major > 1.8 * minor)
    moved = _off_lattice_px(theta[:, :2], links) > 0.2 * work.step_px
    flags = np.zeros(len(theta), dtype=np.uint32)
    for where, flag in (
        (outside & cut, Flag.EDGE),
        (~outside & cut, Flag.NEAR_INVALID),
        (final.saturated > 2, Flag.SATURATED),
        (~(theta[:, AMPLITUDE] > WEAK * amplitude_sigma), Flag.WEAK),
        (odd, Flag.ODD_SHAPE),
        (moved, Flag.MOVED),
        (predicted, Flag.PREDICTED),
    ):
        flags |= np.where(where, np.uint32(flag), np.uint32(0)).astype(np.uint32)
    return flags


def _off_lattice_px(
    points_px: Float[np.ndarray, "column 2"], links: Int32[np.ndarray, "column 8"]
) -> Float[np.ndarray, " column"]:
    """Return the distance from the middle of the like neighbours along a and along b; 0 where there are none."""
    off = np.zeros(len(points_px))
    for ahead, behind in ((4, 5), (6, 7)):
        both = (links[:, ahead] >= 0) & (links[:, behind] >= 0)
        middle = 0.5 * (points_px[links[both, ahead]] + points_px[links[both, behind]])
        off[both] = np.maximum(off[both], np.linalg.norm(points_px[both] - middle, axis=1))
    return off


def ellipse(
    pyy: Float[np.ndarray, " column"], pyx: Float[np.ndarray, " column"], pxx: Float[np.ndarray, " column"]
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """Return major and minor width and the screen angle of the major axis, in (-90, 90], of precision matrices."""
    middle, half = 0.5 * (pyy + pxx), np.hypot(0.5 * (pyy - pxx), pyx)
    with np.errstate(invalid="ignore", divide="ignore"):
        major, minor = (middle - half) ** -0.5, (middle + half) ** -0.5
    # the major axis is the eigenvector of the smaller eigenvalue; (y, x) = (sin t, cos t) with y down
    angle = -0.5 * np.degrees(np.arctan2(-2.0 * pyx, pyy - pxx))
    return major, minor, np.where(angle <= -90.0, angle + 180.0, angle)
