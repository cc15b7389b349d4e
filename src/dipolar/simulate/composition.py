"""A library of films across a morphotropic phase boundary: BiFeO3 with up to 20 % of Sm, with the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dipolar.core.circular import unit_vectors
from dipolar.core.errors import SettingsError
from dipolar.core.nouns import B, Columns, Image, Noise, take
from dipolar.simulate import composition_model as model
from dipolar.simulate.crystal import Layer, inside
from dipolar.simulate.detector import count
from dipolar.simulate.domains import Domains, displacement_directions, wall
from dipolar.simulate.film import Simulated
from dipolar.simulate.materials import BIFEO3
from dipolar.simulate.random_fields import smooth_field, wave_phase
from dipolar.simulate.render import render_columns
from dipolar.simulate.settings import FilmSettings
from dipolar.simulate.specimen import background, deformation, specimen
from dipolar.simulate.truth import mean_steps, truth_cells
from dipolar.simulate.truth_columns import true_columns

COMPOSITIONS = model.COMPOSITIONS
"""Sm over all A sites in each film of the library, from BiFeO3 to 20 %."""
PIXEL_SIZE_PM = 17.25
"""Edge of the pixel."""
HIGHEST = 0.25
"""Beyond this the model says nothing."""

UNEVENNESS, UNEVEN_CELLS = 0.1, 5.0
"""Relative standard deviation of the local composition, and over how many cells it changes."""
DOMAIN_CELLS = 6.0
"""Width of rhombohedral domains."""
TWIN_CELLS = 9.0
"""Size of regions of one orientation beyond the boundary."""
TWINS = ((0.5, 0.0), 0.0), ((0.0, 0.5), 90.0), ((0.0, 0.0), 0.0), ((0.25, 0.25), 45.0)
"""Wavevector per cell and direction of the displacement where c points down, to the right, along the beam (in which
case nothing is seen, as A is displaced both ways in every column), and in regions like PbZrO3."""
RESIDUAL_PM = 2.0
"""Standard deviation of the displacement by strain and disorder, a smooth field: no film is the same everywhere, and
beyond the boundary it is the net displacement that remains."""


def composition_film(
    x: float, *, rng: np.random.Generator, shape_px: tuple[int, int] = (1024, 1024), dose: float = 1.0
) -> Simulated:
    """Return a film of Bi(1-x)Sm(x)FeO3 along [100] pseudocubic, with the truth.

    Rhombohedral films have domains some six cells wide, 180°, 109° or 71° walls, Fe displaced along ⟨110⟩ and cells
    sheared towards it. The local composition varies by a tenth over a few cells; where it passes the boundary, near
    x = 0.14, Fe goes back to the middle and A columns move in antipolar order: every other {001} plane the other way,
    in twins with their c axis down, to the right or along the beam (nothing seen), and near the boundary in quadruple
    order as in PbZrO3. A columns hold Sm at random: they grow darker with x, and scatter. What of this is literature
    and what is a plausible model is told at the top of `dipolar.simulate.composition_model`: the two structures and
    the order in which they follow are known, the curves between them are a model.

    Parameters
    ----------
    x
        Sm over all A sites, 0 to 0.25; those of the library are `COMPOSITIONS`.
    rng
        Where all randomness comes from.
    shape_px
        Rows and columns of the image; the pixel is `PIXEL_SIZE_PM` wide.
    dose
        Factor on all counts; at 1 Bi columns have 150 electrons in the peak pixel, above 57.4.

    Raises
    ------
    SettingsError
        Where x is out of range.
    """
    if not 0.0 <= x <= HIGHEST:
        raise SettingsError(f"The share of Sm lies between 0 and {HIGHEST}.", got=f"x = {x}", do="for 13 %: x = 0.13")
    settings = _settings(x, rng, shape_px, dose)
    film = specimen(settings, rng=rng)
    columns = true_columns(film, np.ones(len(film.amplitude), dtype=bool))
    columns = _shaped(_substituted(columns, settings, x, rng), settings)
    jitter = rng.normal(size=(shape_px[0], 2)) * settings.row_jitter_px
    level = np.float32(dose) * background(settings)
    expected = level + render_columns(
        shape_px,
        columns.positions_px,
        columns.amplitude,
        columns.widths_px,
        columns.angle_deg,
        columns.sublattice,
        columns.profile,
        row_shift_px=jitter,
    )
    columns = take(columns, inside(columns.positions_px, shape_px))
    y, x_px = np.rint(columns.positions_px).astype(int).T
    columns = replace(
        columns,
        background=level[y, x_px].astype(np.float64),
        steps_px=mean_steps(columns.positions_px, columns.links),
    )
    name = f"Bi{1.0 - x:.2f}Sm{x:.2f}FeO3, simulated"
    return Simulated(
        image=Image(data=count(expected, rng=rng), pixel_size_pm=PIXEL_SIZE_PM, name=name),
        expected=expected,
        truth_columns=columns,
        truth_cells=truth_cells(columns, pixel_size_pm=PIXEL_SIZE_PM),
        row_shift_px=jitter,
    )


def _settings(x: float, rng: np.random.Generator, shape_px: tuple[int, int], dose: float) -> FilmSettings:
    """Return the film without displacement, and the microscope on one of its days."""
    edge_pm = model.lattice_pm(x)
    material = replace(BIFEO3, name="(Bi,Sm)FeO3", in_plane_pm=edge_pm, out_of_plane_pm=edge_pm, displacement_pm=0.0)
    return FilmSettings(
        shape_px=shape_px,
        pixel_size_pm=PIXEL_SIZE_PM,
        layers=(Layer(material=material),),
        rotation_deg=float(rng.uniform(-2.0, 2.0)),
        offset_px=(float(rng.uniform(-11.0, 11.0)), float(rng.uniform(-11.0, 11.0))),
        background_gradient=(float(rng.uniform(-0.1, 0.1)), float(rng.uniform(-0.1, 0.1))),
        intensity_scatter=0.02,
        tail_fraction=0.25,
        row_jitter_px=(0.1, 0.1),
        dose=dose,
    )


def _substituted(columns: Columns, settings: FilmSettings, x: float, rng: np.random.Generator) -> Columns:
    """Return the columns with their displacements, and with Sm in the A columns."""
    index = columns.index.astype(np.float64)
    cells = np.column_stack([index[:, 0] - index[:, 1], index[:, 0] + index[:, 1]]) / 2.0  # (row, column)
    points_pm = cells * settings.layers[0].material.in_plane_pm
    edge_pm = min(settings.shape_px) * PIXEL_SIZE_PM
    local = np.maximum(
        x * (1.0 + UNEVENNESS * smooth_field(cells, length=UNEVEN_CELLS, rng=rng, components=1)[:, 0]), 0.0
    )
    domains, orthorhombic = (
        _domains(edge_pm / settings.layers[0].material.in_plane_pm, rng),
        model.orthorhombic_share(local),
    )
    b = columns.sublattice == B

    shift = _sheared(domains, points_pm, size=model.shear(x), edge_pm=edge_pm)
    polar = model.polar_pm(local)[:, None] * displacement_directions(domains, points_pm, edge_pm=edge_pm)
    residual = RESIDUAL_PM * smooth_field(cells, length=UNEVEN_CELLS, rng=rng)
    antipolar = model.ANTIPOLAR_PM * orthorhombic[:, None] * _twins(cells, x, rng)
    shift += np.where(b[:, None], polar + residual, antipolar)
    shift += model.scatter_pm(x) * rng.standard_normal(shift.shape)

    samarium = rng.binomial(model.ATOMS, np.minimum(local, 1.0)) / model.ATOMS
    brightness = np.where(b, 1.0, 1.0 - samarium * (1.0 - model.SM_BRIGHTNESS))
    matrix = deformation(settings) / PIXEL_SIZE_PM
    return replace(
        columns, positions_px=columns.positions_px + shift @ matrix.T, amplitude=columns.amplitude * brightness
    )


def _shaped(columns: Columns, settings: FilmSettings) -> Columns:
    """Return the columns with the brightness, widths, profile and noise of the microscope."""
    width = np.where(columns.sublattice == B, settings.width_b_pm, settings.width_a_pm) / PIXEL_SIZE_PM
    tail = settings.tail_fraction
    return replace(
        columns,
        amplitude=settings.dose * columns.amplitude,
        widths_px=np.column_stack([width, width]),
        angle_deg=np.zeros(len(width)),
        profile=np.array([[[1.0 - tail, 1.0], [tail, settings.tail_width]]] * 2),
        noise=Noise(
            gain=1.0,
            floor=0.0,
            correlation=(1.0, 1.0),
            row_jitter_px=settings.row_jitter_px,
            row_jitter_sigma_px=(0.0, 0.0),
        ),
    )


def _domains(edge_cells: float, rng: np.random.Generator) -> Domains:
    """Return domains along ⟨110⟩ with walls of one kind, so many that any third of a large film holds several."""
    walls = max(int(edge_cells / DOMAIN_CELLS) + int(rng.integers(-1, 2)), 1)
    kind: list[str] = ["180", "109", "71"]
    pair = wall(
        kind[rng.integers(3)],  # type: ignore[arg-type]
        width_pm=float(rng.uniform(200.0, 1000.0)),
        direction_deg=45.0 + 90.0 * float(rng.integers(4)),
    )
    # one wall in each of equal strips, off the strips' edges
    places = (np.arange(walls) + rng.uniform(0.25, 0.75, size=walls)) / walls - 0.5
    return replace(
        pair,
        directions_deg=tuple(pair.directions_deg[number % 2] for number in range(walls + 1)),
        walls=tuple(float(place) for place in places),
    )


def _sheared(
    domains: Domains, points_pm: Float[np.ndarray, "column 2"], *, size: float, edge_pm: float
) -> Float[np.ndarray, "column 2"]:
    """Return the displacement that leans every cell towards the direction of its domain, in pm.

    A domain displaced along +45° or -135° has an angle of less than 90° between right and up, the two others of more.
    Along the normal n of upright and of flat walls, points move along the wall by the integral of the shear over n:
    rows bend at each wall and nothing tears. On both sides of a 180° wall the shear is the same.
    """
    lean = -size * np.sign(np.sin(2.0 * np.radians(np.array(domains.directions_deg))))
    upright = abs(np.cos(np.radians(domains.wall_angle_deg))) < 0.5
    depth = points_pm[:, 1] if upright else points_pm[:, 0]
    width = max(domains.wall_width_pm, 1e-6)
    moved = lean[0] * depth
    for place, before, after in zip(domains.walls, lean[:-1], lean[1:], strict=True):
        z = 2.0 * (depth - place * edge_pm) / width
        moved += (after - before) * width / 4.0 * np.logaddexp(0.0, 2.0 * z)  # the integral of (1 + tanh) / 2
    return np.stack([moved, np.zeros_like(moved)] if upright else [np.zeros_like(moved), moved], axis=-1)


def _twins(cells: Float[np.ndarray, "column 2"], x: float, rng: np.random.Generator) -> Float[np.ndarray, "column 2"]:
    """Return the antipolar displacement of A at every point, in shares of that along ⟨110⟩."""
    scores = smooth_field(cells, length=TWIN_CELLS, rng=rng, components=len(TWINS))
    scores += [0.0, 0.0, -0.7, model.quadruple_bias(x)]
    twin = np.argmax(scores, axis=1)
    nodes = np.floor(cells).astype(np.int64)
    share = np.zeros_like(cells)
    for number, (wavevector, direction_deg) in enumerate(TWINS):
        if wavevector != (0.0, 0.0):
            seen = 1.0 if 0.25 in wavevector else np.sqrt(0.5)  # ⟨110⟩ in the plane, or 45° out of it
            rows = twin == number
            crest = seen * wave_phase(nodes[rows], wavevector)
            share[rows] = crest[:, None] * unit_vectors(np.array([direction_deg]))[0]
    return share
