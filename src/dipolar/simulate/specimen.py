"""From the ideal crystal to columns with brightness in the image: strain, rotation, dislocation, drift, background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, Int64

from dipolar.core.nouns import A
from dipolar.simulate.crystal import Layer, Sites, core_pm, dislocation_field, inside, row_heights, sites
from dipolar.simulate.domains import Domains, displacement_directions
from dipolar.simulate.settings import FilmSettings

SURFACE_PM = 200.0
"""Half width over which the background falls at the surface."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Specimen:
    """The columns of the crystal in and around the image."""

    points_px: Float[np.ndarray, "column 2"]
    """Positions (y, x) in the specimen at rest."""
    recorded_px: Float[np.ndarray, "column 2"]
    """Positions (y, x) in the recorded image, moved by the drift."""
    amplitude: Float[np.ndarray, " column"]
    """Peak heights, in counts at dose 1."""
    sublattice: Int8[np.ndarray, " column"]
    """0 for A, 1 for B."""
    half_steps: Int64[np.ndarray, "column 2"]
    """Lattice coordinates (down, right) in half cells, in the crystal's axes."""
    ideal_pm: Float[np.ndarray, "column 2"]
    """Ideal positions in the crystal's axes."""
    on_pixels: Bool[np.ndarray, " column"]
    """Which are recorded on measured pixels."""
    core: Float[np.ndarray, "2"] | None
    """Core of the dislocation among the ideal positions."""
    turns: int
    """Quarter turns after which a is the edge nearest to the right."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RandomColumns:
    """Columns of the amorphous region."""

    points_px: Float[np.ndarray, "column 2"]
    """Positions (y, x)."""
    amplitude: Float[np.ndarray, " column"]
    """Peak heights, in counts at dose 1."""
    sublattice: Int8[np.ndarray, " column"]
    """Which profile they have: that of A."""


def deformation(settings: FilmSettings) -> Float[np.ndarray, "2 2"]:
    """Return the matrix from the crystal's axes to the screen, acting on (y, x): strain and shear, then rotation."""
    angle = np.radians(settings.rotation_deg)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.array([[1.0 + settings.strain[0], 0.0], [settings.shear, 1.0 + settings.strain[1]]])
    matrix: Float[np.ndarray, "2 2"] = rotation @ stretch
    return matrix


def drift_of_rows(settings: FilmSettings) -> Float[np.ndarray, "y 2"]:
    """Return how far into the specimen each row looks past its place: against the drift, zero in the middle row."""
    time = np.linspace(-0.5, 0.5, settings.shape_px[0])
    return -time[:, None] * np.array(settings.drift_px) if settings.shape_px[0] > 1 else np.zeros((1, 2))


def recorded(settings: FilmSettings, points_px: Float[np.ndarray, "column 2"]) -> Float[np.ndarray, "column 2"]:
    """Return where points of the specimen are recorded: the solution of ``y + shift(y) = point``, exact for even drift.

    Parameters
    ----------
    settings
        The film and the microscope.
    points_px
        Points (y, x) of the specimen at rest.
    """
    last = settings.shape_px[0] - 1
    if last == 0:
        return points_px
    speed_y, speed_x = np.array(settings.drift_px) / last
    y = (points_px[:, 0] - last / 2.0) / (1.0 - speed_y) + last / 2.0
    return np.stack([y, points_px[:, 1] + speed_x * (y - last / 2.0)], axis=-1)


def specimen(settings: FilmSettings, *, rng: np.random.Generator) -> Specimen:
    """Return the columns of the film in and around the image.

    Parameters
    ----------
    settings
        The film and the microscope.
    rng
        Draws the scatter of the brightness.
    """
    matrix = deformation(settings)
    shape = np.array(settings.shape_px)
    edge_pm = float(shape.min()) * settings.pixel_size_pm
    in_plane = settings.in_plane_pm or settings.layers[0].material.in_plane_pm
    tails = settings.tail_width if settings.tail_fraction > 0 else 1.0
    margin_px = 5.0 * max(tails, 1.0) * max(settings.width_a_pm, settings.width_b_pm) / settings.pixel_size_pm
    margin_px *= max(settings.ellipticity, 1.0 / settings.ellipticity) ** 0.5
    margin_px += float(np.abs(settings.drift_px).max()) + 5.0 * max(settings.row_jitter_px)
    corner_px = np.hypot(*(shape / 2.0 + margin_px)) + np.hypot(*settings.offset_px)
    reach = corner_px * settings.pixel_size_pm * np.linalg.norm(np.linalg.inv(matrix), 2) + 2.0 * in_plane
    crystal = sites(
        settings.layers,
        in_plane_pm=in_plane,
        height_pm=float(shape[0]) * settings.pixel_size_pm,
        vacuum=settings.vacuum,
        reach_pm=float(reach),
    )
    core = core_pm(settings.dislocation, crystal.points_pm, edge_pm=edge_pm) if settings.dislocation else None
    moved = crystal.points_pm + polar_shift(settings, crystal, edge_pm=edge_pm)
    if settings.dislocation is not None and core is not None:
        moved = moved + dislocation_field(
            moved,
            core,
            burgers_pm=in_plane,
            poisson_ratio=settings.dislocation.poisson_ratio,
            radius_pm=edge_pm / 2.0,
        )
    points = moved @ matrix.T / settings.pixel_size_pm + (shape - 1) / 2.0 + settings.offset_px
    amplitude = brightness(settings, crystal, points)
    near = inside(points, settings.shape_px, margin_px=margin_px) & ~in_amorphous(settings, points)
    points = points[near]
    seen = recorded(settings, points)
    scatter = np.maximum(1.0 + settings.intensity_scatter * rng.standard_normal(len(points)), 0.05)
    return Specimen(
        points_px=points,
        recorded_px=seen,
        amplitude=amplitude[near] * scatter,
        sublattice=crystal.sublattice[near],
        half_steps=crystal.half_steps[near],
        ideal_pm=crystal.points_pm[near],
        on_pixels=inside(seen, settings.shape_px, margin_px=-float(settings.nan_border_px)),
        core=core,
        turns=round(settings.rotation_deg / 90.0) % 4,
    )


def polar_shift(settings: FilmSettings, crystal: Sites, *, edge_pm: float) -> Float[np.ndarray, "site 2"]:
    """Return the displacement of every column in the crystal's axes, (dy, dx) in pm; A columns stay.

    Parameters
    ----------
    settings
        The film and the microscope.
    crystal
        The ideal crystal.
    edge_pm
        The image's shorter edge.
    """
    shift = np.zeros_like(crystal.points_pm)
    for number, layer in enumerate(settings.layers):
        material = layer.material
        rows = (crystal.layer == number) & (crystal.sublattice != A)
        polar = material.displacement_pm != 0
        length = (
            settings.displacement_pm if polar and settings.displacement_pm is not None else material.displacement_pm
        )
        one_domain = Domains(directions_deg=(material.direction_deg,), walls=())
        directions = displacement_directions(settings.domains or one_domain, crystal.points_pm[rows], edge_pm=edge_pm)
        shift[rows] = length * directions
    return shift


def brightness(
    settings: FilmSettings, crystal: Sites, points_px: Float[np.ndarray, "site 2"]
) -> Float[np.ndarray, " site"]:
    """Return the peak height of every column in counts at dose 1, before scatter.

    Parameters
    ----------
    settings
        The film and the microscope.
    crystal
        The ideal crystal.
    points_px
        Where its columns stand in the image.
    """
    materials = [layer.material for layer in settings.layers]
    ratio = np.array([m.ratio_b_to_a if settings.ratio_b_to_a is None else settings.ratio_b_to_a for m in materials])
    bright = np.array([m.brightness_a for m in materials])[crystal.layer] * settings.amplitude
    bright = np.where(crystal.sublattice == A, bright, bright * ratio[crystal.layer])
    shape = np.array(settings.shape_px)
    place = np.clip((points_px - (shape - 1) / 2.0) / (shape / 2.0), -1.0, 1.0)
    scaled: Float[np.ndarray, " site"] = bright * (1.0 + place @ np.array(settings.amplitude_gradient))
    return scaled


def background(settings: FilmSettings) -> Float32[np.ndarray, "y x"]:
    """Return the background in counts at dose 1; it falls within a few Å to its level in vacuum beyond a surface."""
    tall, wide = settings.shape_px
    y = ((np.arange(tall) - (tall - 1) / 2.0) / (tall / 2.0)).astype(np.float32)[:, None]
    x = ((np.arange(wide) - (wide - 1) / 2.0) / (wide / 2.0)).astype(np.float32)[None, :]
    gradient_y, gradient_x = (np.float32(g) for g in settings.background_gradient)
    level: Float32[np.ndarray, "y x"] = np.float32(settings.background) * (1 + gradient_y * y + gradient_x * x)
    if settings.vacuum == 0:
        return level
    surface_pm = _surface_pm(settings.layers, tall * settings.pixel_size_pm, settings.vacuum)
    inverse = np.linalg.inv(deformation(settings)) * settings.pixel_size_pm
    from_middle_y = np.arange(tall) - (tall - 1) / 2.0 - settings.offset_px[0]
    from_middle_x = np.arange(wide) - (wide - 1) / 2.0 - settings.offset_px[1]
    depth = (inverse[0, 0] * from_middle_y)[:, None] + (inverse[0, 1] * from_middle_x)[None, :] - surface_pm
    share = ((1.0 + np.tanh(depth / SURFACE_PM)) / 2.0).astype(np.float32)
    level *= np.float32(settings.vacuum_level) + np.float32(1.0 - settings.vacuum_level) * share
    return level


def _surface_pm(layers: tuple[Layer, ...], height_pm: float, vacuum: float) -> float:
    """Return y of the uppermost row of columns in the crystal's axes."""
    return float(row_heights(layers, height_pm=height_pm, vacuum=vacuum, reach_pm=0.0)[0][0])


def in_amorphous(settings: FilmSettings, points_px: Float[np.ndarray, "column 2"]) -> Bool[np.ndarray, " column"]:
    """Return which points lie in the amorphous region."""
    if settings.amorphous is None:
        return np.zeros(len(points_px), dtype=bool)
    y0, y1, x0, x1 = settings.amorphous
    tall, wide = settings.shape_px
    y, x = points_px[:, 0], points_px[:, 1]
    return (y >= y0 * tall - 0.5) & (y < y1 * tall - 0.5) & (x >= x0 * wide - 0.5) & (x < x1 * wide - 0.5)


def random_columns(settings: FilmSettings, *, rng: np.random.Generator) -> RandomColumns:
    """Return bright spots without order in the amorphous region, as many per area as the substrate has columns.

    Parameters
    ----------
    settings
        The film and the microscope.
    rng
        Draws their number, places and brightness.
    """
    count = 0
    y0, y1, x0, x1 = settings.amorphous or (0.0, 0.0, 0.0, 0.0)
    tall, wide = settings.shape_px
    if settings.amorphous is not None:
        cell_px = settings.layers[0].material.in_plane_pm / settings.pixel_size_pm
        count = int(rng.poisson(2.0 * max(0.0, (y1 - y0) * (x1 - x0)) * tall * wide / cell_px**2))
    low, high = np.array([y0 * tall, x0 * wide]) - 0.5, np.array([y1 * tall, x1 * wide]) - 0.5
    return RandomColumns(
        points_px=rng.uniform(low, high, size=(count, 2)),
        amplitude=settings.amplitude * rng.uniform(0.05, 0.5, size=count),
        sublattice=np.zeros(count, dtype=np.int8),
    )
