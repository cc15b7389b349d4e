"""Films for networks to learn from: everything that varies between microscopes is drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Float32

from dipolar.core.nouns import A, B, Cells
from dipolar.simulate.crystal import Layer, inside
from dipolar.simulate.detector import count
from dipolar.simulate.materials import Material
from dipolar.simulate.random_displacement import random_displacement
from dipolar.simulate.random_fields import smooth_image
from dipolar.simulate.ranges import FilmRanges, happens, log_uniform, uniform
from dipolar.simulate.render import render_columns
from dipolar.simulate.settings import FilmSettings
from dipolar.simulate.specimen import Specimen, background, deformation, drift_of_rows, random_columns, recorded
from dipolar.simulate.specimen import specimen as make_specimen
from dipolar.simulate.truth import truth_cells
from dipolar.simulate.truth_columns import true_columns

RANGES = FilmRanges()
"""The default ranges."""
CELL_PM = 400.0
"""Edge of the cell before strain; any value would do, for networks see pixels."""
RIM_PX = 8.0
"""How far outside the image the truth goes on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingFilm:
    """One simulated image to learn from, and what is true about it.

    The truth goes on for `RIM_PX` outside the image, for windows and maps at its rim. Drift deforms the recorded
    crystal and the truth with it; the jitter of single rows is noise, and the truth knows nothing of it. Missing
    columns, and spots of amorphous regions, are not in it.
    """

    image: Float32[np.ndarray, "y x"]
    """Intensities in the detector's units."""
    a_px: Float[np.ndarray, "a 2"]
    """Positions (y, x) of A columns."""
    b_px: Float[np.ndarray, "b 2"]
    """Positions (y, x) of B columns."""
    cells: Cells
    """All complete cells of these, A at the corners; their corners and centers are rows of `a_px` and then `b_px`."""
    cell_px: float
    """Mean square root of the cells' area; what was asked for where there is no complete cell."""


def random_film(
    rng: np.random.Generator, *, shape_px: tuple[int, int] = (384, 384), ranges: FilmRanges = RANGES
) -> TrainingFilm:
    """Return one simulated image with its truth, of a film and by a microscope that are drawn at random.

    A and B columns of a strained, rotated perovskite seen along ⟨100⟩; B is displaced by a sum of domains, a smooth
    field, a common offset and scatter (`random_displacement`); layers, surfaces, amorphous regions and missing columns
    come in some films, and so do correlated and Gaussian noise.

    Parameters
    ----------
    rng
        Where all randomness comes from: the same state gives the same film.
    shape_px
        Rows and columns of the image.
    ranges
        From where to where things vary.
    """
    cell_px = uniform(rng, ranges.cell_px)
    settings = film_settings(rng, shape_px, cell_px, ranges)
    film = displaced_film(settings, make_specimen(settings, rng=rng), rng, ranges)
    counts = _expected(settings, film, rng, ranges, cell_px)
    image = detected(settings, counts, rng, ranges)
    return with_truth(image, film, cell_px)


def with_truth(image: Float32[np.ndarray, "y x"], film: Specimen, cell_px: float) -> TrainingFilm:
    """Return an image with the truth of its specimen."""
    columns = true_columns(film, inside(film.recorded_px, image.shape, margin_px=RIM_PX))
    cells = truth_cells(columns, pixel_size_pm=None)
    area = np.abs(cells.a_px[:, 0] * cells.b_px[:, 1] - cells.a_px[:, 1] * cells.b_px[:, 0])
    return TrainingFilm(
        image=image,
        a_px=columns.positions_px[columns.sublattice == A],
        b_px=columns.positions_px[columns.sublattice == B],
        cells=cells,
        cell_px=float(np.sqrt(area).mean()) if len(area) else cell_px,
    )


def film_settings(
    rng: np.random.Generator, shape_px: tuple[int, int], cell_px: float, ranges: FilmRanges
) -> FilmSettings:
    """Return the film and the microscope, all but the displacement and the noise."""
    strain = (uniform(rng, ranges.strain), uniform(rng, ranges.strain))
    width_pm = uniform(rng, ranges.width) * CELL_PM
    peak = log_uniform(rng, ranges.peak_counts)
    gain = log_uniform(rng, ranges.gain)
    return FilmSettings(
        shape_px=shape_px,
        pixel_size_pm=CELL_PM * np.sqrt((1.0 + strain[0]) * (1.0 + strain[1])) / cell_px,
        layers=_layers(rng, ranges),
        in_plane_pm=CELL_PM,
        vacuum=uniform(rng, ranges.vacuum) if happens(rng, ranges.vacuum_share) else 0.0,
        vacuum_level=uniform(rng, ranges.vacuum_level),
        rotation_deg=uniform(rng, ranges.rotation_deg),
        strain=strain,
        shear=uniform(rng, ranges.shear),
        offset_px=(uniform(rng, ranges.offset) * cell_px, uniform(rng, ranges.offset) * cell_px),
        amorphous=_region(rng, ranges) if happens(rng, ranges.amorphous_share) else None,
        amplitude=peak,
        background=peak * uniform(rng, ranges.background),
        background_gradient=(uniform(rng, ranges.gradient), uniform(rng, ranges.gradient)),
        amplitude_gradient=(uniform(rng, ranges.gradient), uniform(rng, ranges.gradient)),
        intensity_scatter=uniform(rng, ranges.intensity_scatter),
        width_a_pm=width_pm,
        width_b_pm=width_pm * uniform(rng, ranges.width_b_to_a),
        ellipticity=uniform(rng, ranges.ellipticity),
        ellipse_angle_deg=float(rng.uniform(-90.0, 90.0)),
        tail_fraction=uniform(rng, ranges.tail_fraction),
        tail_width=uniform(rng, ranges.tail_width),
        row_jitter_px=(uniform(rng, ranges.row_jitter_px), uniform(rng, ranges.row_jitter_px)),
        drift_px=(uniform(rng, ranges.drift_px), uniform(rng, ranges.drift_px)),
        gain=gain,
        detector_offset=peak * gain * uniform(rng, ranges.detector_offset),
        readout=gain * uniform(rng, ranges.readout),
    )


def _layers(rng: np.random.Generator, ranges: FilmRanges) -> tuple[Layer, ...]:
    """Return one layer, or a stack of two or three."""
    number = int(rng.integers(2, 4)) if happens(rng, ranges.layered_share) else 1
    return tuple(
        Layer(
            material=Material(
                name="perovskite",
                in_plane_pm=CELL_PM,
                out_of_plane_pm=CELL_PM * (1.0 + (uniform(rng, ranges.layer_stretch) if number > 1 else 0.0)),
                displacement_pm=0.0,
                direction_deg=0.0,
                ratio_b_to_a=log_uniform(rng, ranges.ratio_b_to_a),
                brightness_a=log_uniform(rng, ranges.layer_brightness) if number > 1 else 1.0,
            ),
            share=float(rng.uniform(0.5, 1.5)),
        )
        for _ in range(number)
    )


def _region(rng: np.random.Generator, ranges: FilmRanges) -> tuple[float, float, float, float]:
    """Return a rectangle (y0, y1, x0, x1) in shares of the image."""
    tall, wide = uniform(rng, ranges.amorphous), uniform(rng, ranges.amorphous)
    y, x = rng.uniform(0.0, 1.0 - tall), rng.uniform(0.0, 1.0 - wide)
    return float(y), float(y + tall), float(x), float(x + wide)


def displaced_film(settings: FilmSettings, film: Specimen, rng: np.random.Generator, ranges: FilmRanges) -> Specimen:
    """Return the specimen with its columns displaced, and some of them missing, A before B."""
    matrix = deformation(settings) / settings.pixel_size_pm
    shift = random_displacement(
        film.ideal_pm / CELL_PM,
        film.half_steps,
        extent=max(settings.shape_px) * settings.pixel_size_pm / CELL_PM,
        rng=rng,
        ranges=ranges,
    )
    points = film.points_px + CELL_PM * shift @ matrix.T
    lost = uniform(rng, ranges.vacancies) if happens(rng, ranges.vacancy_share) else 0.0
    there = rng.random(len(points)) >= lost
    rows = np.concatenate([np.flatnonzero(there & (film.sublattice == kind)) for kind in (A, B)])
    return replace(
        film,
        points_px=points[rows],
        recorded_px=recorded(settings, points[rows]),
        amplitude=film.amplitude[rows],
        sublattice=film.sublattice[rows],
        half_steps=film.half_steps[rows],
        ideal_pm=film.ideal_pm[rows],
        on_pixels=film.on_pixels[rows],
    )


def _expected(
    settings: FilmSettings, film: Specimen, rng: np.random.Generator, ranges: FilmRanges, cell_px: float
) -> Float32[np.ndarray, "y x"]:
    """Return the mean number of electrons in every pixel."""
    spots = random_columns(settings, rng=rng)
    sublattice = np.concatenate([film.sublattice, spots.sublattice])
    width = np.where(sublattice == A, settings.width_a_pm, settings.width_b_pm) / settings.pixel_size_pm
    stretch = np.sqrt(settings.ellipticity)
    tail = settings.tail_fraction
    jitter = rng.normal(size=(settings.shape_px[0], 2)) * settings.row_jitter_px
    counts = render_columns(
        settings.shape_px,
        np.concatenate([film.points_px, spots.points_px]),
        np.concatenate([film.amplitude, spots.amplitude]),
        width[:, None] * np.array([stretch, 1.0 / stretch]),
        np.full(len(width), settings.ellipse_angle_deg),
        sublattice,
        np.array([[[1.0 - tail, 1.0], [tail, settings.tail_width]]] * 2),
        row_shift_px=jitter + drift_of_rows(settings),
    )
    return counts + uneven_background(settings, rng, ranges, cell_px)


def uneven_background(
    settings: FilmSettings, rng: np.random.Generator, ranges: FilmRanges, cell_px: float
) -> Float32[np.ndarray, "y x"]:
    """Return the background with slow modulations, as from carbon."""
    length = uniform(rng, ranges.modulation_length) * cell_px
    slow = uniform(rng, ranges.modulation) * smooth_image(settings.shape_px, length_px=length, rng=rng)
    return background(settings) * np.maximum(1.0 + slow, 0.0)


def detected(
    settings: FilmSettings, counts: Float32[np.ndarray, "y x"], rng: np.random.Generator, ranges: FilmRanges
) -> Float32[np.ndarray, "y x"]:
    """Return what the detector makes of it: counting or Gaussian noise or both, correlated in some films."""
    gaussian = happens(rng, ranges.gaussian_share)
    size = log_uniform(rng, ranges.gaussian) * settings.amplitude * settings.gain
    if gaussian and happens(rng, 0.5):
        image = counts * np.float32(settings.gain) + np.float32(settings.detector_offset)
    else:
        image = count(counts, rng=rng, gain=settings.gain, offset=settings.detector_offset, readout=settings.readout)
    if gaussian:
        image = image + np.float32(size) * rng.standard_normal(image.shape, dtype=np.float32)
    if happens(rng, ranges.blur_share):
        image = scipy.ndimage.gaussian_filter(image, uniform(rng, ranges.blur_px), mode="nearest")
    return image
