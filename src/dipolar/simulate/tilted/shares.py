"""A specimen under a tilted beam: columns and libraries of stamps → the share of the beam that each pixel shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32, Int64

from dipolar.core.errors import SettingsError
from dipolar.core.nouns import A
from dipolar.core.tilt_library import TiltLibrary
from dipolar.simulate.crystal import row_heights
from dipolar.simulate.materials import Material
from dipolar.simulate.settings import FilmSettings
from dipolar.simulate.specimen import Specimen, deformation
from dipolar.simulate.tilted.render import FARTHEST, Stamped, render_stamps
from dipolar.simulate.tilted.settings import TiltedSettings
from dipolar.simulate.tilted.tables import Place, StampTables, stamp_tables

FWHM = float(np.sqrt(8.0 * np.log(2.0)))
"""Full width of a Gaussian at half its height over its standard deviation."""
MARGIN = 0.25
"""Width of columns in cells: `specimen` goes five of them beyond the image, and stamps end before."""


def unshaped(settings: FilmSettings) -> FilmSettings:
    """Return the film with columns of one brightness: what `specimen` draws is then a factor on stamps.

    Their width, which is not used, is what keeps columns beyond the image whose stamps reach into it.
    """
    edge = max((settings.in_plane_pm or 0.0), *(max(m.in_plane_pm, m.out_of_plane_pm) for m in _materials(settings)))
    layers = tuple(
        replace(layer, material=replace(layer.material, brightness_a=1.0, ratio_b_to_a=1.0))
        for layer in settings.layers
    )
    return replace(
        settings, layers=layers, ratio_b_to_a=None, amplitude=1.0, width_a_pm=MARGIN * edge, width_b_pm=MARGIN * edge,
        ellipticity=1.0, tail_fraction=0.0,
    )  # fmt: skip


def expected_shares(
    settings: FilmSettings,
    tilted: TiltedSettings,
    film: Specimen,
    libraries: Sequence[TiltLibrary],
    *,
    row_shift_px: Float[np.ndarray, "y 2"],
) -> Float32[np.ndarray, "y x"]:
    """Return the share of the beam that the detector counts in every pixel, on the average.

    Parameters
    ----------
    settings
        From `unshaped`.
    tilted
        Tilt, thickness, focus, source.
    film
        The columns; their amplitude is a factor.
    libraries
        One for each layer, from bottom to top.
    row_shift_px
        Jitter and drift of every row.

    Raises
    ------
    SettingsError
        Where the library of a layer is missing, or something lies outside one.
    """
    drawn = stamped_columns(settings, tilted, film, libraries)
    shares = render_stamps(settings.shape_px, drawn, row_shift_px=row_shift_px)
    # Stamps are cut-off series, which fall a millionth below nothing where a surface has left nothing.
    return np.maximum(shares, 0.0)


def stamped_columns(
    settings: FilmSettings, tilted: TiltedSettings, film: Specimen, libraries: Sequence[TiltLibrary]
) -> tuple[Stamped, ...]:
    """Return the columns with what they look like, A and B of each layer; parameters are those of `expected_shares`.

    Raises
    ------
    SettingsError
        Where the library of a layer is missing, or something lies outside one.
    """
    if len(libraries) != len(settings.layers):
        raise SettingsError(
            "Each layer needs its library of tilt.", got=f"{len(libraries)} for {len(settings.layers)} layers"
        )
    layer = layer_of(settings, film)
    sites = _sites_px(settings, film)
    shift = polar_shift_px(film, sites)
    drawn: list[Stamped] = []
    for number, library in enumerate(libraries):
        rows = np.flatnonzero(layer == number)
        if len(rows):
            drawn += _stamped(settings, tilted, film, library, number, rows, sites[rows], shift[rows])
    return tuple(drawn)


def place_on_screen(settings: FilmSettings, tilted: TiltedSettings, points_px: Float[np.ndarray, "point 2"]) -> Place:
    """Return tilt (y, x) on the screen and thickness at points of the specimen at rest, B not displaced."""
    shape = np.array(settings.shape_px)
    share = np.clip((points_px - (shape - 1) / 2.0) / shape, -0.5, 0.5)
    change = np.array([tilted.tilt_down_mrad, tilted.tilt_right_mrad])
    return Place(
        tilt_mrad=np.array(tilted.tilt_mrad) + share @ change,
        thickness_nm=tilted.thickness_nm + share @ np.array(tilted.thickness_change_nm),
        shift_pm=np.zeros(points_px.shape),
    )


def layer_of(settings: FilmSettings, film: Specimen) -> Int64[np.ndarray, " column"]:
    """Return the number of the layer that each column belongs to, from the bottom."""
    reach = float(np.abs(film.ideal_pm).max(initial=0.0)) + 2.0 * max(m.out_of_plane_pm for m in _materials(settings))
    _, layer, first = row_heights(
        settings.layers, height_pm=settings.shape_px[0] * settings.pixel_size_pm, vacuum=settings.vacuum,
        reach_pm=reach,
    )  # fmt: skip
    return layer[film.half_steps[:, 0] // 2 - first]


def _stamped(
    settings: FilmSettings,
    tilted: TiltedSettings,
    film: Specimen,
    library: TiltLibrary,
    number: int,
    rows: Int64[np.ndarray, " row"],
    sites_px: Float[np.ndarray, "row 2"],
    shift_px: Float[np.ndarray, "row 2"],
) -> list[Stamped]:
    """Return the columns of one layer, A and B, with what they look like."""
    material = settings.layers[number].material
    edges = np.array([material.out_of_plane_pm, settings.in_plane_pm or settings.layers[0].material.in_plane_pm])
    cell_px = deformation(settings) * edges / settings.pixel_size_pm
    inverse = np.linalg.inv(cell_px)
    shift = shift_px @ inverse.T
    shift[np.linalg.norm(shift, axis=1) > FARTHEST] = 0.0  # across the glide plane of a dislocation
    points = film.points_px[rows]
    seen = place_on_screen(settings, tilted, points)
    # The cell's axes are those of the screen turned by the rotation: what is (y, x) there is R^T (y, x) here.
    tilt = seen.tilt_mrad @ _rotation(settings.rotation_deg)
    tables = stamp_tables(
        library,
        replace(seen, tilt_mrad=tilt, shift_pm=shift * library.cell_pm),
        focus_nm=tilted.focus_nm,
        blur_cells2=inverse @ _source_px2(settings, tilted) @ inverse.T,
    )
    found = []
    for sublattice, stamps in enumerate(tables):
        mine = (film.sublattice[rows] == A) == (sublattice == A)
        found.append(
            Stamped(
                positions_px=points[mine],
                sites_px=sites_px[mine] if film.core is None else points[mine],
                factor=film.amplitude[rows][mine],
                stamps=StampTables(tables=stamps.tables, weights=stamps.weights[mine]),
                cell_px=cell_px,
            )
        )
    return found


def _sites_px(settings: FilmSettings, film: Specimen) -> Float[np.ndarray, "column 2"]:
    """Return where columns would stand in the perfect crystal."""
    middle = (np.array(settings.shape_px) - 1) / 2.0 + settings.offset_px
    sites: Float[np.ndarray, "column 2"] = film.ideal_pm @ deformation(settings).T / settings.pixel_size_pm + middle
    return sites


def polar_shift_px(film: Specimen, sites_px: Float[np.ndarray, "column 2"]) -> Float[np.ndarray, "column 2"]:
    """Return the displacement of B in the cell of every column: of B against the mean of the A around it; of A, the
    mean of the B around it against A. Where none is around, 0.
    """
    offset = film.points_px - sites_px
    corner = film.half_steps.min(axis=0, initial=0) - 1
    at = film.half_steps - corner
    total = np.zeros((*(at.max(axis=0, initial=0) + 2), 3))
    total[at[:, 0], at[:, 1]] = np.concatenate([offset, np.ones((len(at), 1))], axis=1)
    around = sum(total[at[:, 0] + dy, at[:, 1] + dx] for dy in (-1, 1) for dx in (-1, 1))
    there = around[:, 2:] > 0
    relative = np.where(there, around[:, :2] / np.maximum(around[:, 2:], 1.0) - offset, 0.0)
    shift: Float[np.ndarray, "column 2"] = np.where((film.sublattice == A)[:, None], relative, -relative)
    return shift


def _source_px2(settings: FilmSettings, tilted: TiltedSettings) -> Float[np.ndarray, "2 2"]:
    """Return the covariance (y, x) of the source's image."""
    stretch = max(tilted.source_ellipticity, 1.0 / tilted.source_ellipticity)
    turn = _rotation(tilted.source_angle_deg + (90.0 if tilted.source_ellipticity < 1 else 0.0))
    variance = (tilted.source_fwhm_pm / FWHM / settings.pixel_size_pm) ** 2
    # The major axis lies along x before it is turned.
    covariance: Float[np.ndarray, "2 2"] = turn @ np.diag([variance / stretch, variance * stretch]) @ turn.T
    return covariance


def _rotation(angle_deg: float) -> Float[np.ndarray, "2 2"]:
    """Return the matrix on (y, x) that turns counter-clockwise on the screen."""
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[cos, -sin], [sin, cos]])


def _materials(settings: FilmSettings) -> list[Material]:
    return [layer.material for layer in settings.layers]
