"""Films under tilted beams for networks to learn from: as `random_film`, with columns from a library of tilt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dipolar.core.circular import unit_vectors
from dipolar.core.tilt_library import TiltLibrary
from dipolar.simulate.crystal import inside
from dipolar.simulate.random_films import (
    CELL_PM,
    RANGES,
    RIM_PX,
    TrainingFilm,
    detected,
    displaced_film,
    film_settings,
    uneven_background,
    with_truth,
)
from dipolar.simulate.ranges import FilmRanges, Range, log_uniform, uniform
from dipolar.simulate.render import render_columns
from dipolar.simulate.specimen import drift_of_rows, random_columns
from dipolar.simulate.specimen import specimen as make_specimen
from dipolar.simulate.tilted.settings import TiltedSettings
from dipolar.simulate.tilted.shares import expected_shares, place_on_screen, unshaped
from dipolar.simulate.tilted.tables import LARGEST_SHIFT

LEAST_SHARE = 1e-9
"""Where nothing at all is in the image, its brightest pixel counts as so much of the beam."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltRanges:
    """From where to where `random_tilted_film` draws what `FilmRanges` does not know; the library limits them too."""

    tilt_mrad: Range = (0.0, 30.0)
    """Length of the tilt, in any direction; nowhere in the image is it longer."""
    tilt_change_mrad: Range = (0.0, 4.0)
    """Length of its change down and across the image, each in any direction."""
    thickness_nm: Range = (5.0, 100.0)
    """Thickness in the middle of the image; logarithmic."""
    thickness_change: Range = (-0.1, 0.1)
    """Its change down and across the image, relative."""
    focus_nm: Range = (-5.0, 5.0)
    """Depth of the focus below the entrance surface."""
    source_fwhm_pm: Range = (50.0, 130.0)
    """Full width at half maximum of the source's image."""
    source_ellipticity: Range = (1.0, 1.25)
    """Its major over its minor width, at any angle."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltedTrainingFilm:
    """One simulated image to learn from, and how the specimen lay in the beam."""

    film: TrainingFilm
    """Image, and places of the crystal, which no tilt moves."""
    tilt_mrad: Float[np.ndarray, "cell 2"]
    """Tilt (y, x) on the screen at each cell."""
    thickness_nm: Float[np.ndarray, " cell"]
    """Thickness there."""
    tilted: TiltedSettings
    """What was drawn; lengths of the source are those of the library's crystal, and its dose is not used."""


def random_tilted_film(
    rng: np.random.Generator,
    library: TiltLibrary,
    *,
    shape_px: tuple[int, int] = (384, 384),
    ranges: FilmRanges = RANGES,
    tilts: TiltRanges | None = None,
) -> TiltedTrainingFilm:
    """Return one simulated image with its truth, of a film and in a microscope that are drawn at random.

    All is as in `random_film` but for what columns look like: they are stamps, so that nothing is drawn of their
    widths, tails, ellipticity and of the ratio of B to A, and all layers look alike. Spots of amorphous regions are as
    there. Displacements are no longer than the library knows, and there are none in a crystal that is never polar.

    Parameters
    ----------
    rng
        Where all randomness comes from: the same state gives the same film.
    library
        Stamps.
    shape_px
        Rows and columns of the image.
    ranges
        From where to where the film varies.
    tilts
        From where to where tilt, thickness, focus and source vary. None: the defaults.
    """
    cell_px = uniform(rng, ranges.cell_px)
    settings = film_settings(rng, shape_px, cell_px, ranges)
    tilted = _tilted(rng, library, tilts or TiltRanges())
    plain, ranges = unshaped(settings), _known(ranges, library)
    film = displaced_film(plain, make_specimen(plain, rng=rng), rng, ranges)
    spots = random_columns(settings, rng=rng)
    row_shift = rng.normal(size=(shape_px[0], 2)) * settings.row_jitter_px + drift_of_rows(settings)
    shares = expected_shares(
        plain, _in_film(tilted, library), film, [library] * len(settings.layers), row_shift_px=row_shift
    )
    counts = shares * np.float32(settings.amplitude / max(float(shares.max()), LEAST_SHARE))
    if len(spots.amplitude):
        width = np.full((len(spots.amplitude), 2), settings.width_a_pm / settings.pixel_size_pm)
        counts += render_columns(
            shape_px, spots.points_px, spots.amplitude, width, np.zeros(len(width)), spots.sublattice,
            np.ones((2, 1, 2)), row_shift_px=row_shift,
        )  # fmt: skip
    counts += uneven_background(settings, rng, ranges, cell_px)
    found = with_truth(detected(settings, counts, rng, ranges), film, cell_px)
    kept = inside(film.recorded_px, shape_px, margin_px=RIM_PX)
    place = place_on_screen(plain, tilted, film.points_px[kept][found.cells.center])
    return TiltedTrainingFilm(film=found, tilt_mrad=place.tilt_mrad, thickness_nm=place.thickness_nm, tilted=tilted)


def _tilted(rng: np.random.Generator, library: TiltLibrary, tilts: TiltRanges) -> TiltedSettings:
    """Return tilt, thickness, focus and source, inside the library wherever in the image and however it is turned."""
    down, right, along = unit_vectors(rng.uniform(0.0, 360.0, size=3))
    down, right = down * uniform(rng, tilts.tilt_change_mrad), right * uniform(rng, tilts.tilt_change_mrad)
    least, most = tilts.tilt_mrad
    most = min(most, float(library.tilts_mrad[-1])) - float(np.linalg.norm(down) + np.linalg.norm(right)) / 2.0
    tilt = along * uniform(rng, (min(least, max(most, 0.0)), max(most, 0.0)))
    change = (uniform(rng, tilts.thickness_change), uniform(rng, tilts.thickness_change))
    slack = 1.0 + (abs(change[0]) + abs(change[1])) / 2.0
    thin = max(tilts.thickness_nm[0], float(library.thicknesses_nm[0]) * slack)
    thick = max(thin, min(tilts.thickness_nm[1], float(library.thicknesses_nm[-1]) / slack))
    thickness = log_uniform(rng, (thin, thick))
    foci = np.clip(tilts.focus_nm, library.foci_nm[0], library.foci_nm[-1])
    return TiltedSettings(
        tilt_mrad=_pair(tilt),
        tilt_down_mrad=_pair(down),
        tilt_right_mrad=_pair(right),
        thickness_nm=thickness,
        thickness_change_nm=(thickness * change[0], thickness * change[1]),
        focus_nm=uniform(rng, (float(foci[0]), float(foci[1]))),
        source_fwhm_pm=uniform(rng, tilts.source_fwhm_pm),
        source_ellipticity=uniform(rng, tilts.source_ellipticity),
        source_angle_deg=float(rng.uniform(-90.0, 90.0)),
    )


def _known(ranges: FilmRanges, library: TiltLibrary) -> FilmRanges:
    """Return the ranges with displacements that the library knows: none where its crystal is never polar."""
    if library.displacement_pm == 0:
        return replace(ranges, zero_share=1.0)
    longest = LARGEST_SHIFT * library.displacement_pm / library.cell_pm
    low, high = ranges.displacement
    return replace(ranges, displacement=(min(low, longest), min(high, longest)))


def _in_film(tilted: TiltedSettings, library: TiltLibrary) -> TiltedSettings:
    """Return the same with the source in lengths of the film, whose cell is that of all random films."""
    return replace(tilted, source_fwhm_pm=tilted.source_fwhm_pm * CELL_PM / library.cell_pm)


def _pair(vector: Float[np.ndarray, " 2"]) -> tuple[float, float]:
    return float(vector[0]), float(vector[1])
