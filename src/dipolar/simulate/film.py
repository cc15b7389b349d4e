"""A film in the microscope: settings → image and truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from dipolar.core.nouns import A, Basis, Cells, Columns, Image, Noise
from dipolar.simulate.detector import count
from dipolar.simulate.render import render_columns
from dipolar.simulate.settings import FilmSettings
from dipolar.simulate.specimen import Specimen, background, drift_of_rows, random_columns, specimen
from dipolar.simulate.truth import lattice_index, lattice_links, mean_steps, quarter_turn, truth_cells


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Simulated:
    """A simulated image and what is true about it."""

    image: Image
    """What the detector recorded."""
    expected: Float32[np.ndarray, "y x"]
    """Its mean value, without counting and readout noise but with jitter and drift, in the same units."""
    truth_columns: Columns
    """All columns of the crystal whose centres lie on measured pixels; every sigma is nan."""
    truth_cells: Cells
    """All complete cells of these columns, A at the corners; every sigma is nan."""
    row_shift_px: Float[np.ndarray, "y 2"]
    """The random shift (y, x) of each row, without the drift."""


def simulate_film(settings: FilmSettings, *, rng: np.random.Generator, basis: Basis = "A") -> Simulated:
    """Return one simulated image of a perovskite film, with its truth.

    Positions in the truth are those in the recorded image: slow drift deforms the recorded crystal and therefore
    moves the truth with it, as it moves what anyone could measure; the random jitter of single rows is noise, and the
    truth knows nothing of it. All random numbers come from `rng`, in this order: brightness of the columns, amorphous
    columns, row jitter, counts, readout.

    Parameters
    ----------
    settings
        The film and the microscope.
    rng
        Where the randomness comes from.
    basis
        Which sublattice stands at the corners of the true cells.
    """
    return record_specimen(settings, specimen(settings, rng=rng), rng=rng, basis=basis)


def record_specimen(
    settings: FilmSettings, film: Specimen, *, rng: np.random.Generator, basis: Basis = "A"
) -> Simulated:
    """Return the image of a specimen that is there already, with its truth; see `simulate_film`.

    Parameters
    ----------
    settings
        The microscope; of the film only what lies between the columns.
    film
        The columns of the crystal.
    rng
        Draws amorphous columns, row jitter, counts, readout.
    basis
        Which sublattice stands at the corners of the true cells.
    """
    drift = drift_of_rows(settings)
    profile = _profile(settings)
    extra = random_columns(settings, rng=rng)
    jitter = rng.normal(size=(settings.shape_px[0], 2)) * settings.row_jitter_px
    counts = render_columns(
        settings.shape_px,
        np.concatenate([film.points_px, extra.points_px]),
        np.concatenate([film.amplitude, extra.amplitude]) * settings.dose,
        *_shapes(settings, np.concatenate([film.sublattice, extra.sublattice])),
        np.concatenate([film.sublattice, extra.sublattice]),
        profile,
        row_shift_px=jitter + drift,
    )
    level = background(settings)
    counts += settings.dose * level
    border = settings.nan_border_px
    if border:
        unmeasured = np.ones(settings.shape_px, dtype=bool)
        unmeasured[border : settings.shape_px[0] - border, border : settings.shape_px[1] - border] = False
        counts[unmeasured] = np.nan
    data = count(counts, rng=rng, gain=settings.gain, offset=settings.detector_offset, readout=settings.readout)
    columns = _truth_columns(settings, film, profile, level)
    return Simulated(
        image=Image(data=data, pixel_size_pm=settings.pixel_size_pm, name="simulated film"),
        expected=(counts * settings.gain + settings.detector_offset).astype(np.float32),
        truth_columns=columns,
        truth_cells=truth_cells(columns, basis, pixel_size_pm=settings.pixel_size_pm),
        row_shift_px=jitter,
    )


def _profile(settings: FilmSettings) -> Float[np.ndarray, "sublattice component 2"]:
    """Return the profile, the same for both sublattices."""
    components = [[1.0 - settings.tail_fraction, 1.0], [settings.tail_fraction, settings.tail_width]]
    return np.array([components[: 2 if settings.tail_fraction > 0 else 1]] * 2)


def _shapes(
    settings: FilmSettings, sublattice: np.ndarray
) -> tuple[Float[np.ndarray, "column 2"], Float[np.ndarray, " column"]]:
    """Return the widths (major, minor) and the angle of every column; the major axis is the longer one."""
    width = np.where(sublattice == A, settings.width_a_pm, settings.width_b_pm) / settings.pixel_size_pm
    stretch = np.sqrt(max(settings.ellipticity, 1.0 / settings.ellipticity))
    angle = settings.ellipse_angle_deg + (90.0 if settings.ellipticity < 1 else 0.0)
    angle = 90.0 - (90.0 - angle) % 180.0  # into (-90, 90]
    return width[:, None] * np.array([stretch, 1.0 / stretch]), np.full(len(width), angle)


def _truth_columns(
    settings: FilmSettings,
    film: Specimen,
    profile: Float[np.ndarray, "sublattice component 2"],
    level: Float32[np.ndarray, "y x"],
) -> Columns:
    """Return the table of the columns that stand on measured pixels."""
    kept = film.on_pixels
    positions = film.recorded_px[kept]
    half_steps = film.half_steps[kept]
    slipped = None if film.core is None else (film.ideal_pm[kept], film.core)
    links = lattice_links(half_steps, turns=film.turns, slipped=slipped)
    widths, angle = _shapes(settings, film.sublattice[kept])
    unknown = np.full(len(positions), np.nan)
    y, x = np.rint(positions).astype(int).T
    readout_floor = settings.readout**2 - settings.gain * settings.detector_offset
    return Columns(
        positions_px=positions,
        covariance_px2=np.full((len(positions), 2, 2), np.nan),
        amplitude=film.amplitude[kept] * settings.dose * settings.gain,
        amplitude_sigma=unknown,
        background=level[y, x] * float(settings.dose * settings.gain) + settings.detector_offset,
        widths_px=widths,
        angle_deg=angle,
        sublattice=film.sublattice[kept],
        index=lattice_index(quarter_turn(half_steps, film.turns)),
        grain=np.zeros(len(positions), dtype=np.int32),
        links=links,
        row_reach_px=np.full((len(unknown), 2), np.nan),
        chi2=unknown,
        flags=np.zeros(len(positions), dtype=np.uint32),
        noise=Noise(
            gain=settings.gain,
            floor=readout_floor,
            correlation=(1.0, 1.0),
            row_jitter_px=settings.row_jitter_px,
            row_jitter_sigma_px=(0.0, 0.0),
        ),
        steps_px=mean_steps(positions, links),
        profile=profile,
    )
