"""The film of the benchmarks: two domains, 16,400 columns, with known Cramér–Rao limits."""

from __future__ import annotations

from dipolar.simulate.crystal import Layer
from dipolar.simulate.domains import Domains
from dipolar.simulate.materials import Material
from dipolar.simulate.settings import FilmSettings

LOW_DOSE = 22.0 / 150.0
"""Factor on all counts of the benchmark at low dose: A columns of 22 counts instead of 150."""

TAIL_FRACTION, TAIL_WIDTH = 0.30, 2.0
"""The second component of columns with tails: its share of the peak height, and its width over the core's."""


def benchmark_film(
    *,
    size_px: int = 2048,
    dose: float = 1.0,
    tails: bool = False,
    row_jitter_px: float = 0.0,
    cell_px: float = 396.0 / 17.25,
    rotation_deg: float = 2.0,
    shear: float = 0.01,
    displacement_pm: float = 25.0,
    ratio_b_to_a: float = 52.0 / 150.0,
    offset_px: tuple[float, float] = (0.0, 0.0),
) -> FilmSettings:
    """Return the settings of the benchmark film.

    A free film with cells of 396 pm, displacements along (+, +) in the left and (-, +) in the right half, A and B
    columns of 150 and 52 counts above a background of 57.4 counts that changes by 15 % to each side, 8 % scatter of the
    amplitudes. Limits per component from counting alone: 0.98 pm (A), 2.35 pm (B), 2.40 pm (displacement).

    Parameters
    ----------
    size_px
        Edge of the image.
    dose
        Factor on all counts; `LOW_DOSE` for the hard case.
    tails
        Whether the columns have tails.
    row_jitter_px
        Standard deviation of the random shift of each row, in y and in x.
    cell_px
        Edge of the cell; the pixel size follows from it.
    rotation_deg, shear, displacement_pm, ratio_b_to_a, offset_px
        As in `FilmSettings`.
    """
    film = Material(
        name="benchmark film",
        in_plane_pm=396.0,
        out_of_plane_pm=396.0,
        displacement_pm=displacement_pm,
        direction_deg=45.0,
        ratio_b_to_a=ratio_b_to_a,
        brightness_a=1.0,
    )
    return FilmSettings(
        shape_px=(size_px, size_px),
        pixel_size_pm=396.0 / cell_px,
        layers=(Layer(material=film),),
        domains=Domains(directions_deg=(-45.0, 45.0), walls=(0.0,)),
        rotation_deg=rotation_deg,
        shear=shear,
        offset_px=offset_px,
        background_gradient=(0.0, 0.15),
        intensity_scatter=0.08,
        tail_fraction=TAIL_FRACTION if tails else 0.0,
        tail_width=TAIL_WIDTH,
        row_jitter_px=(row_jitter_px, row_jitter_px),
        dose=dose,
    )
