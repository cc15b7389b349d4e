"""What a finished fit is worth: noise with row shifts taken out, covariance with all its parts, flags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt32

from dipolar.core.flags import Flag
from dipolar.core.nouns import Image, Noise
from dipolar.locate.contrast import Polarity, saturated_pixels
from dipolar.locate.fit import SETTLED
from dipolar.locate.learn import learn_noise, learn_row_shifts
from dipolar.locate.light import AMPLITUDE, BACKGROUND, PXX, PYX, PYY
from dipolar.locate.noise import RowShifts
from dipolar.locate.work import Examined, Work, examine

WEAK = 5.0
CUT = 0.25
"""Share of the fitting window that may be missing before the column is flagged."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finished:
    """What `Columns` says of each column as a fit, in the units of the image as it is."""

    covariance_px2: Float[np.ndarray, "column 2 2"]
    amplitude: Float[np.ndarray, " column"]
    amplitude_sigma: Float[np.ndarray, " column"]
    background: Float[np.ndarray, " column"]
    widths_px: Float[np.ndarray, "column 2"]
    angle_deg: Float[np.ndarray, " column"]
    row_reach_px: Float[np.ndarray, "column 2"]
    chi2: Float[np.ndarray, " column"]
    flags: UInt32[np.ndarray, " column"]
    noise: Noise


def finish(
    work: Work,
    image: Image,
    polarity: Polarity,
    *,
    predicted: Bool[np.ndarray, " column"],
    off_px: Float[np.ndarray, " column"],
) -> Finished:
    """Return covariance, flags and noise of all columns at their final parameters.

    Parameters
    ----------
    work
        The state of the fit; its noise is learned once more.
    image
        The image as it is.
    polarity
        How the fitted image was turned.
    predicted
        Which columns no maximum marked.
    off_px
        How far each column is from the middle of its like neighbours; 0 where it has none.
    """
    learn_noise(work)
    rows = learn_row_shifts(work)
    shift = rows.shift_px if max(rows.jitter_px) > 0 else None
    if shift is not None:
        learn_noise(work, shift_px=shift)
        rows = learn_row_shifts(work)
    theta = work.theta
    ceiling = np.inf if image.ceiling is None or polarity.sign < 0 else image.ceiling
    final = examine(work, np.arange(len(theta)), ceiling=ceiling, shift_px=shift)
    covariance, flags = _covariance(work, final, work.factors, rows)
    flags |= _more_flags(work, final, predicted, off_px)
    if polarity.sign < 0 and image.ceiling is not None:
        full = saturated_pixels(image.data, image.ceiling, theta[:, :2], float(work.radius.max()))
        flags |= np.where(full > 2, np.uint32(Flag.SATURATED), np.uint32(0)).astype(np.uint32)
    major, minor, angle = ellipse(theta[:, PYY], theta[:, PYX], theta[:, PXX])
    noise = Noise(
        gain=work.variance.gain,
        floor=work.variance.floor,
        correlation=work.factors,
        row_jitter_px=rows.jitter_px,
        row_jitter_sigma_px=rows.jitter_sigma_px,
    )
    return Finished(
        covariance_px2=covariance,
        amplitude=polarity.sign * theta[:, AMPLITUDE],
        amplitude_sigma=np.sqrt(max(1.0, float(np.mean(work.factors))) * final.covariance[:, AMPLITUDE, AMPLITUDE]),
        background=polarity.sign * theta[:, BACKGROUND],
        widths_px=np.column_stack([major, minor]),
        angle_deg=angle,
        row_reach_px=final.reach_rows,
        chi2=final.chi2,
        flags=flags.astype(np.uint32),
        noise=polarity.noise(noise),
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
    work: Work, final: Examined, predicted: Bool[np.ndarray, " column"], off_px: Float[np.ndarray, " column"]
) -> UInt32[np.ndarray, " column"]:
    """Return the flags that follow from window, amplitude, shape and place."""
    theta, shape = work.theta, np.array(work.image.shape)
    amplitude_sigma = np.sqrt(final.covariance[:, AMPLITUDE, AMPLITUDE])
    outside = np.any((theta[:, :2] < work.radius.min()) | (theta[:, :2] > shape - 1 - work.radius.min()), axis=1)
    cut = final.lost > CUT * (final.lost + final.pixels)
    area = np.sqrt(np.maximum(theta[:, PYY] * theta[:, PXX] - theta[:, PYX] ** 2, 1e-12))
    typical = np.array([work.width(kind) for kind in range(work.kinds)])[work.kind] ** -2
    major, minor, _ = ellipse(theta[:, PYY], theta[:, PYX], theta[:, PXX])
    odd = (area > 2.5 * typical) | (area < 0.4 * typical) | (major > 1.8 * minor)
    moved = off_px > 0.2 * work.step_px
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
