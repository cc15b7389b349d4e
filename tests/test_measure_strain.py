"""Strain and rotation of known deformations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
from dipolar.core.nouns import Cells, Field, take
from dipolar.measure import build_cells, strain
from dipolar.simulate import FilmSettings

NAMES = ("strain_xx", "strain_yy", "strain_xy", "rotation_deg")


@pytest.fixture(scope="module")
def cells() -> Cells:
    settings = FilmSettings(shape_px=(300, 300), layers=(films.layer("BiFeO3"),), rotation_deg=10.0)
    return build_cells(films.film(settings).truth_columns)


def rotation(angle_deg: float) -> np.ndarray:
    """Return the matrix on (y, x) that turns counter-clockwise on the screen."""
    angle = np.radians(angle_deg)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def deformed(cells: Cells, matrix: np.ndarray) -> tuple[Cells, np.ndarray]:
    """Deform the lower half of the crystal; the upper one is the reference."""
    lower = cells.positions_px[:, 0] > 150.0
    edges = [np.where(lower[:, None], edge @ matrix.T, edge) for edge in (cells.a_px, cells.b_px)]
    return replace(cells, a_px=edges[0], b_px=edges[1]), lower


def by_name(fields: tuple[Field, ...]) -> dict[str, Field]:
    assert tuple(field.name for field in fields) == NAMES
    assert [field.unit for field in fields] == ["", "", "", "deg"]
    return {field.name: field for field in fields}


def test_an_undeformed_crystal_has_none(cells):
    for field in by_name(strain(cells)).values():
        np.testing.assert_allclose(field.values, 0.0, atol=1e-9)
        assert np.array_equal(field.positions_px, cells.positions_px)


@pytest.mark.parametrize("angle", [-7.0, 0.0, 2.5])
@pytest.mark.parametrize("stretch", [(0.0, 0.0, 0.0), (0.02, -0.01, 0.015)])
def test_strain_and_rotation_of_an_affine_deformation_are_exact(cells, angle, stretch):
    xx, yy, xy = stretch
    matrix = rotation(angle) @ np.array([[1.0 + yy, xy], [xy, 1.0 + xx]])
    moved, lower = deformed(cells, matrix)
    fields = by_name(strain(moved, region=(0, 150, 0, 300)))
    for name, value in zip(NAMES, (xx, yy, xy, angle), strict=True):
        np.testing.assert_allclose(fields[name].values[lower], value, atol=1e-9)
        np.testing.assert_allclose(fields[name].values[~lower], 0.0, atol=1e-9)


def test_rotation_is_counter_clockwise_on_the_screen(cells):
    # by hand: the edge to the right turns upwards, to smaller y
    matrix = rotation(5.0)
    assert (matrix @ [0.0, 1.0])[0] < 0
    moved, lower = deformed(cells, matrix)
    assert (by_name(strain(moved, region=(0, 150, 0, 300)))["rotation_deg"].values[lower] > 4.9).all()


@pytest.mark.parametrize("turn", [0.0, 45.0])
def test_sigma_of_strain_is_that_of_repeated_experiments(turn):
    settings = FilmSettings(shape_px=(500, 500), layers=(films.layer("SrTiO3"),), rotation_deg=turn)
    columns = films.film(settings).truth_columns
    rng = np.random.default_rng(2)
    known = replace(columns, covariance_px2=np.tile(np.eye(2) * 0.1**2, (len(columns.flags), 1, 1)))
    samples: list[list[np.ndarray]] = []
    for _ in range(12):
        noise = rng.normal(scale=0.1, size=columns.positions_px.shape)
        cells = build_cells(replace(known, positions_px=columns.positions_px + noise))
        fields = strain(cells)
        samples.append([field.values for field in fields])
    for field, values in zip(fields, zip(*samples, strict=True), strict=True):
        assert np.std(np.concatenate(values)) == pytest.approx(float(np.median(field.sigma)), rel=0.05), field.name


def test_no_cells_have_no_strain(cells):
    for field in by_name(strain(take(cells, np.zeros(len(cells.flags), dtype=bool)))).values():
        assert field.values.shape == field.sigma.shape == (0,)
