"""From an image to its columns: lattice, guesses, sublattices, fit, covariance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int32

from dipolar.core.contracts import Progress, silent
from dipolar.core.flags import Flag
from dipolar.core.motif import SiteColumns
from dipolar.core.nouns import Basis, Columns, Image
from dipolar.locate.beside_oxygen import columns_beside_oxygen
from dipolar.locate.choices import AbstractFit, SharedProfileFit
from dipolar.locate.contrast import Contrast, Polarity, find_polarity
from dipolar.locate.finish import finish
from dipolar.locate.fit import full_fit
from dipolar.locate.index import index_points
from dipolar.locate.lattice import find_steps, no_crystal
from dipolar.locate.peaks import column_scales, find_maxima
from dipolar.locate.rough import Draft, first_columns, settled
from dipolar.locate.sublattice import assign_sublattices


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
    likelihood, each with the light of its neighbours subtracted; the noise is read off the residuals. Where oxygen
    shows, it is fitted with them, but is not in this table: see `locate_sites`.

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
    return locate_with_sites(image, fit=fit, bright=bright, contrast=contrast, progress=progress)[0]


def locate_with_sites(
    image: Image,
    *,
    fit: AbstractFit | None = None,
    bright: Basis = "A",
    contrast: Contrast = "auto",
    guesses_px: Float[np.ndarray, "guess 2"] | None = None,
    progress: Progress = silent,
) -> tuple[Columns, SiteColumns | None]:
    """Return what `locate_columns` does, and beside it all columns of the unit cell where the image shows oxygen.

    `guesses_px` are columns that something else found, a network for instance; they are fitted instead of intensity
    maxima.
    """
    fit = SharedProfileFit() if fit is None else fit
    data, valid = image.data, np.isfinite(image.data)
    filled = data if valid.all() else np.where(valid, data, np.float32(np.median(data[valid])))
    progress("finding the lattice", 0.0)
    steps, crowded = find_steps(filled, valid)
    step_px = float(np.sqrt(np.mean(np.sum(steps**2, axis=1))))
    blurred, filtered = column_scales(filled, step_px=step_px)
    polarity = find_polarity(data, filtered, valid, contrast=contrast)
    if guesses_px is None and (crowded or polarity.kind != "bright"):
        with_oxygen = columns_beside_oxygen(image, polarity, fit=fit, bright=bright, progress=progress)
        if with_oxygen is not None:
            return with_oxygen
    data, blurred, filtered = (polarity.turned(picture) for picture in (data, blurred, filtered))
    peaks = find_maxima(filtered, valid, step_px=step_px) if guesses_px is None else guesses_px
    progress("finding the lattice", 0.6)
    found = index_points(peaks, steps)
    if not len(found.points_px):
        raise no_crystal(len(peaks))
    progress("finding the lattice", 1.0)
    draft = first_columns(data, blurred, found, step_px=step_px, choice=fit, bright=bright, slope=polarity.slope)
    full_fit(draft.work, progress=progress)
    return _finish(image, settled(draft), bright, polarity), None


def _finish(image: Image, draft: Draft, bright: Basis, polarity: Polarity) -> Columns:
    """Put together the table."""
    work, found = draft.work, draft.found
    positions = work.theta[:, :2].copy()
    off_px = off_lattice_px(positions, found.links)
    done = finish(work, image, polarity, predicted=draft.predicted, off_px=off_px)
    amplitude = polarity.sign * done.amplitude
    sublattice, unsure = assign_sublattices(found.index, found.grain, found.links, amplitude, bright=bright)
    return Columns(
        positions_px=positions,
        covariance_px2=done.covariance_px2,
        amplitude=done.amplitude,
        amplitude_sigma=done.amplitude_sigma,
        background=done.background,
        widths_px=done.widths_px,
        angle_deg=done.angle_deg,
        sublattice=sublattice,
        index=found.index,
        grain=found.grain,
        links=found.links,
        row_reach_px=done.row_reach_px,
        chi2=done.chi2,
        flags=done.flags | np.where(unsure, np.uint32(Flag.AMBIGUOUS_SUBLATTICE), np.uint32(0)).astype(np.uint32),
        noise=done.noise,
        steps_px=np.median(found.steps_px, axis=0),
        profile=work.profile.components,
    )


def off_lattice_px(
    points_px: Float[np.ndarray, "column 2"], links: Int32[np.ndarray, "column 8"]
) -> Float[np.ndarray, " column"]:
    """Return the distance from the middle of the like neighbours along a and along b; 0 where there are none."""
    off = np.zeros(len(points_px))
    for ahead, behind in ((4, 5), (6, 7)):
        both = (links[:, ahead] >= 0) & (links[:, behind] >= 0)
        middle = 0.5 * (points_px[links[both, ahead]] + points_px[links[both, behind]])
        off[both] = np.maximum(off[both], np.linalg.norm(points_px[both] - middle, axis=1))
    return off
