"""Laws of the pixel size: a known cell of any shape gives back the scale it was drawn with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
from dipolar.core.errors import CalibrationError
from dipolar.core.motif import PEROVSKITE_110, Motif
from dipolar.core.nouns import Cells, Columns, Image
from dipolar.measure import build_cells
from dipolar.recipes.calibrate import calibrate, known_cell, shape_of_scan
from dipolar.recipes.settings import MeasureSettings
from dipolar.simulate import FilmSettings

EMPTY = Image(data=np.zeros((4, 4), dtype=np.float32))
STO_110 = replace(PEROVSKITE_110, name="STO.cif along [1 1 0]", a_pm=276.1, b_pm=390.5)


def lattice(*, a: float, b: float) -> tuple[Cells, Columns]:
    """Return upright cells with edges of that many px, and their columns, which are known to 0.05 px."""
    film = films.film(FilmSettings(shape_px=(260, 260), layers=(films.layer("SrTiO3"),)))
    truth, edge = film.truth_columns, 390.5 / 17.25
    columns = replace(
        truth,
        positions_px=truth.positions_px * np.array([b / edge, a / edge]),
        covariance_px2=np.tile(np.eye(2) * 0.05**2, (len(truth.flags), 1, 1)),
        row_reach_px=np.full((len(truth.flags), 2), 2.5),
    )
    return build_cells(columns), columns


def settings(**given: object) -> MeasureSettings:
    return MeasureSettings.model_validate(given)


@pytest.mark.parametrize("size_pm", [7.0, 9.33, 21.0])
@pytest.mark.parametrize("turned", [False, True])
def test_a_projected_cell_gives_its_own_scale(size_pm: float, turned: bool) -> None:
    edges = (276.1 / size_pm, 390.5 / size_pm)
    cells, _ = lattice(a=edges[turned], b=edges[not turned])
    known = known_cell(settings(lattice_pm=390.5), STO_110)
    found = calibrate(cells, settings(lattice_pm=390.5), EMPTY, known=known)
    assert found.pixel_size_pm == pytest.approx(size_pm, rel=1e-6) and found.source == "lattice"
    alone = calibrate(cells, settings(), EMPTY, known=known_cell(settings(), STO_110))
    assert alone.pixel_size_pm == pytest.approx(size_pm, rel=1e-6) and alone.source == "structure"
    given = calibrate(cells, settings(pixel_size_pm=10.0), EMPTY, known=STO_110)
    assert given.pixel_size_pm == 10.0 and given.source == "option"


def test_a_lattice_parameter_scales_the_cell_by_the_edge_it_is_nearest_to() -> None:
    wider = known_cell(settings(lattice_pm=1.02 * 390.5), STO_110)
    shorter = known_cell(settings(lattice_pm=0.99 * 276.1), STO_110)
    assert wider is not None and wider.a_pm == pytest.approx(1.02 * 276.1)
    assert shorter is not None and shorter.b_pm == pytest.approx(0.99 * 390.5)
    with pytest.raises(CalibrationError, match=r"276\.1 × 390\.5 pm"):
        known_cell(settings(lattice_pm=330.0), STO_110)


def test_without_a_structure_only_a_square_cell_takes_a_lattice_parameter() -> None:
    square, _ = lattice(a=26.0, b=27.5)
    assert calibrate(square, settings(lattice_pm=390.5), EMPTY).pixel_size_pm == pytest.approx(390.5 / 715**0.5)
    oblong, _ = lattice(a=29.5, b=42.0)
    with pytest.raises(CalibrationError, match=r"29\.50 × 42\.00 px .* 90°"):
        calibrate(oblong, settings(lattice_pm=390.5), EMPTY)
    assert calibrate(oblong, settings(), EMPTY).source == "none"


def test_several_columns_of_a_in_the_projected_cell_share_its_area() -> None:
    cells, _ = lattice(a=26.0, b=26.0)
    double = replace(STO_110, a_pm=390.5, b_pm=781.0, sites=(STO_110.sites[0], *STO_110.sites))
    assert calibrate(cells, settings(), EMPTY, known=double).pixel_size_pm == pytest.approx(390.5 / 26.0)


@pytest.mark.parametrize("turned", [False, True])
def test_the_shape_of_a_scan_is_told_from_a_rectangular_cell(turned: bool) -> None:
    size_pm, stretch = 10.0, 1.03
    edges = (27.61, 39.05)
    cells, columns = lattice(a=edges[turned], b=stretch * edges[not turned])
    known: Motif | None = known_cell(settings(lattice_pm=390.5), STO_110)
    straight, shape = shape_of_scan(cells, columns, settings(lattice_pm=390.5, scan="shape"), known)
    assert shape is not None
    assert shape.pixel_size_y_pm == pytest.approx(size_pm / stretch) and shape.pixel_size_x_pm == pytest.approx(size_pm)
    assert calibrate(straight, settings(lattice_pm=390.5), EMPTY, known=known).pixel_size_pm == pytest.approx(size_pm)
