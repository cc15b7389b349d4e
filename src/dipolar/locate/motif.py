"""All columns of a known or found unit cell, oxygen included, fitted together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8
from scipy.spatial import cKDTree

from dipolar.core.contracts import Progress, silent
from dipolar.core.motif import Motif, SiteColumns
from dipolar.core.nouns import Image
from dipolar.locate.cell import fit_motif, unit_cell
from dipolar.locate.choices import AbstractFit, SharedProfileFit
from dipolar.locate.contrast import Contrast, Polarity, find_polarity
from dipolar.locate.finish import Finished, finish
from dipolar.locate.fit import first_fit, full_fit
from dipolar.locate.fold import MeanCell, find_motif, mean_cell
from dipolar.locate.index import Indexed, index_points
from dipolar.locate.lattice import no_crystal
from dipolar.locate.light import AMPLITUDE
from dipolar.locate.peaks import APART, column_scales, find_maxima
from dipolar.locate.sites import Places, hole_px, like_neighbours_off_px, predict_places
from dipolar.locate.work import Work, examine, find_neighbours, one_pass, select, start_work

ALONE = 0.88
"""A column of the frame is the strongest within this share of the short edge: oxygen is at most 0.87 away from one."""
SHOWS = 3.0
"""Standard errors by which the median column of a site must stand out, or the site does not show in this image."""
CATIONS = 2
"""With more columns in the cell than these, some stand close together."""
MOST = 0.6
"""Share of its places at which a site must have a column: fits to noise find one here and there."""
FIRM = 0.1
"""How far, relative to the expected shape, columns may depart from it until they have parted from their neighbours."""
PARTING_PASSES = 4
STAYS = 2.0
"""The same for one column among others that show."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """The lattice of the strongest columns, and the image as it is fitted."""

    data: Float32[np.ndarray, "y x"]
    """Columns bright, nan where invalid."""
    blurred: Float32[np.ndarray, "y x"]
    """The first of `peaks.column_scales`, columns bright."""
    filtered: Float32[np.ndarray, "y x"]
    """The second of them."""
    valid: Bool[np.ndarray, "y x"]
    """Where the image was measured."""
    polarity: Polarity
    """How it was turned."""
    found: Indexed
    """The strongest columns; steps and index count in cell vectors a and b."""
    mean: MeanCell
    """The mean of all cells."""

    @property
    def cell_px(self) -> Float[np.ndarray, "2 2"]:
        """Median cell vectors a and b as rows (y, x)."""
        return np.median(self.found.steps_px, axis=0)


def locate_sites(
    image: Image,
    *,
    motif: Motif | None = None,
    fit: AbstractFit | None = None,
    contrast: Contrast = "auto",
    progress: Progress = silent,
) -> SiteColumns:
    """Return the columns on every site of the unit cell, fitted together, with covariance, cell and site.

    The cell is the shortest one after which the whole image repeats. The strongest columns are its frame; where the
    others stand is given by `motif` or read off the mean of all cells. All columns are fitted at once, each with the
    light of its neighbours subtracted; sites that do not stand out from the noise are left out.

    Parameters
    ----------
    image
        An image of one crystal in one projection.
    motif
        The unit cell, for example from a structure file; None takes the columns that show in the mean cell.
    fit
        How columns are fitted; `SharedProfileFit()` unless given.

    Other parameters
    ----------------
    contrast, progress
        As in `locate_columns`.

    Raises
    ------
    NoLatticeError
        Where the image shows no lattice of columns.
    ImageError
        Where the contrast is another one, or the motif does not lie in the cell of the image.
    """
    progress("finding the unit cell", 0.0)
    return sites_in(
        image, find_frame(image, contrast=contrast), motif=motif, fit=fit or SharedProfileFit(), progress=progress
    )


def find_frame(image: Image, *, contrast: Contrast = "auto") -> Frame:
    """Return the lattice of the strongest columns of an image, and its mean cell."""
    data, valid = image.data, np.isfinite(image.data)
    filled = data if valid.all() else np.where(valid, data, np.float32(np.median(data[valid])))
    cell = unit_cell(filled, valid)
    short, long = np.sort(np.linalg.norm(cell, axis=1)).tolist()
    # half the long edge of an oblong cell, half the diagonal of a square one: from A to B
    blurred, filtered = column_scales(filled, step_px=min(0.5 * long if long > 1.2 * short else np.inf, 0.7 * short))
    polarity = find_polarity(data, filtered, valid, contrast=contrast)
    data, blurred, filtered = (polarity.turned(picture) for picture in (data, blurred, filtered))
    peaks = find_maxima(filtered, valid, step_px=ALONE * short / APART)
    found = index_points(peaks, cell)
    if not len(found.points_px):
        raise no_crystal(len(peaks))
    return Frame(
        data=data,
        blurred=blurred,
        filtered=filtered,
        valid=valid,
        polarity=polarity,
        found=found,
        mean=mean_cell(filtered, found),
    )


def sites_in(image: Image, frame: Frame, *, motif: Motif | None, fit: AbstractFit, progress: Progress) -> SiteColumns:
    """Return the columns on the sites of a motif, or of that found, in a frame; see `locate_sites`."""
    cell = frame.cell_px
    if motif is None:
        motif = find_motif(frame.mean, cell, oxygen=frame.polarity.kind != "bright")
    else:
        motif = fit_motif(motif, cell, frame.mean)
    places = predict_places(frame.found, motif, shape=frame.data.shape, margin_px=1.0)
    progress("finding the unit cell", 1.0)
    work = _start(frame, places, motif, cell, fit)
    out = _stands_out(work)
    shows = _sites_that_show(work, places, out)
    if not shows.all():
        motif, places = _without(motif, places, shows)
        work = _start(frame, places, motif, cell, fit)
        out = _stands_out(work)
    kept = _credible(work, places, out)
    work, places = select(work, np.flatnonzero(kept)), places.take(kept)
    full_fit(work, progress=progress)
    kept = _on_valid_pixels(work)
    if not kept.all():
        work, places = select(work, kept), places.take(kept)
    off_px = like_neighbours_off_px(places, work.theta[:, :2])
    predicted = _unmarked(frame, places, work.step_px)
    return _table(work, places, motif, cell, finish(work, image, frame.polarity, predicted=predicted, off_px=off_px))


def kinds_of(motif: Motif) -> Int8[np.ndarray, " site"]:
    """Return which sites share a profile and a typical shape: those of one role, or of one name where it has none."""
    names = [site.role if site.role != "other" else site.name for site in motif.sites]
    order = list(dict.fromkeys(names))
    return np.array([order.index(name) for name in names], dtype=np.int8)


def _start(frame: Frame, places: Places, motif: Motif, cell_px: Float[np.ndarray, "2 2"], fit: AbstractFit) -> Work:
    kinds = kinds_of(motif)
    # passes, windows and patches are measured in A-B distances of the [100] projection: four columns around a hole
    step_px = hole_px(motif, cell_px) / np.sqrt(0.5)
    work = start_work(
        frame.data,
        frame.blurred,
        places.points_px,
        kinds[places.site],
        step_px=step_px,
        choice=fit,
        kinds=int(kinds.max()) + 1,
    )
    work.slope, work.crowded = frame.polarity.slope, len(motif.sites) > CATIONS
    _part(work)
    first_fit(work)
    return work


def _part(work: Work) -> None:
    """Fit heights and places with round shapes of the expected width.

    Where columns overlap, the stronger one, free to stretch, would swallow its neighbour before that has a height.
    """
    free = work.strengths
    work.strengths = free / FIRM**2
    find_neighbours(work)
    for _ in range(PARTING_PASSES):
        one_pass(work, 3, tolerance=1.0)
    work.strengths = free


def _stands_out(work: Work) -> Float[np.ndarray, " column"]:
    """Return the amplitude of each column over its standard error."""
    looked = examine(work, np.arange(len(work.theta)))
    sigma = np.sqrt(work.correlation * np.maximum(looked.covariance[:, AMPLITUDE, AMPLITUDE], 0.0))
    return np.where(sigma > 0, work.theta[:, AMPLITUDE] / np.where(sigma > 0, sigma, 1.0), 0.0)


def _sites_that_show(work: Work, places: Places, out: Float[np.ndarray, " place"]) -> Bool[np.ndarray, " site"]:
    """Return which sites of the motif have columns, at most places and where expected; the first one always has."""
    credible = _credible(work, places, out)
    count = int(places.site.max()) + 1
    mine = [places.site == n for n in range(count)]
    return np.array([n == 0 or (np.median(out[m]) > SHOWS and credible[m].mean() > MOST) for n, m in enumerate(mine)])


def _without(motif: Motif, places: Places, shows: Bool[np.ndarray, " site"]) -> tuple[Motif, Places]:
    number = np.cumsum(shows) - 1
    kept = places.take(shows[places.site])
    sites = tuple(site for site, shown in zip(motif.sites, shows, strict=True) if shown)
    return replace(motif, sites=sites), replace(kept, site=number[kept.site].astype(np.int8))


def _credible(work: Work, places: Places, out: Float[np.ndarray, " place"]) -> Bool[np.ndarray, " place"]:
    """Return which places have a column: not beyond the crystal, not on invalid pixels, not where the fit ran away."""
    near = np.linalg.norm(work.theta[:, :2] - places.points_px, axis=1) < 0.3 * work.step_px
    return _on_valid_pixels(work) & (out > STAYS) & near


def _on_valid_pixels(work: Work) -> Bool[np.ndarray, " column"]:
    """Return which centres lie on a measured pixel."""
    at = np.rint(work.theta[:, :2])
    inside = np.all((at >= 0) & (at < work.image.shape), axis=1)
    pixels = np.where(inside[:, None], at, 0).astype(int)
    return inside & np.isfinite(work.image[pixels[:, 0], pixels[:, 1]])


def _unmarked(frame: Frame, places: Places, step_px: float) -> Bool[np.ndarray, " column"]:
    """Return which places no maximum of the image marks."""
    peaks = find_maxima(frame.filtered, frame.valid, step_px=0.6 * step_px)
    if not len(peaks):
        return np.ones(len(places.site), dtype=bool)
    return cKDTree(peaks).query(places.points_px)[0] > 0.25 * step_px


def _table(work: Work, places: Places, motif: Motif, cell_px: Float[np.ndarray, "2 2"], done: Finished) -> SiteColumns:
    return SiteColumns(
        motif=motif,
        positions_px=work.theta[:, :2].copy(),
        covariance_px2=done.covariance_px2,
        amplitude=done.amplitude,
        amplitude_sigma=done.amplitude_sigma,
        background=done.background,
        widths_px=done.widths_px,
        angle_deg=done.angle_deg,
        site=places.site,
        cell=places.cell,
        grain=places.grain,
        row_reach_px=done.row_reach_px,
        chi2=done.chi2,
        flags=done.flags,
        noise=done.noise,
        cell_px=cell_px,
        profile=work.profile.components,
    )
