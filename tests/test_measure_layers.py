"""c/a and its profile across layers, and the course of atomic planes, of known deformations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
import realdata
from dipolar.core.errors import DataError
from dipolar.core.nouns import Columns, take
from dipolar.io import open_image
from dipolar.locate import locate_columns
from dipolar.measure import atomic_planes, build_cells, layer_profile, tetragonality, tetragonality_profile
from dipolar.measure.linear import row_pull
from dipolar.simulate import FilmSettings

SIGMA_PX = 0.1


def known(settings: FilmSettings) -> Columns:
    truth = films.film(settings).truth_columns
    return replace(
        truth,
        covariance_px2=np.tile(np.eye(2) * SIGMA_PX**2, (len(truth.flags), 1, 1)),
        row_reach_px=np.full((len(truth.flags), 2), 2.5),
    )


def noisy(columns: Columns, rng: np.random.Generator, *, jitter_px: float = 0.0) -> Columns:
    """Return the columns off by their noise, and by scan rows shifted along y and x."""
    positions = columns.positions_px + rng.normal(scale=SIGMA_PX, size=columns.positions_px.shape)
    covariance = columns.covariance_px2
    if jitter_px:
        for axis in (0, 1):
            pull = row_pull(columns, axis)
            positions[:, axis] += pull @ rng.normal(scale=jitter_px, size=pull.shape[1])
        covariance = covariance + jitter_px**2 / (2.0 * np.sqrt(np.pi) * 2.5) * np.eye(2)
    noise = replace(columns.noise, row_jitter_px=(jitter_px, jitter_px))
    return replace(columns, positions_px=positions, covariance_px2=covariance, noise=noise)


@pytest.fixture(scope="module")
def film() -> Columns:
    layers = (films.layer("SrTiO3", 0.4), films.layer("PbTiO3", 0.6))
    return known(FilmSettings(shape_px=(500, 500), layers=layers, rotation_deg=2.0))


BOTTOM = (330, 500, 0, 500)


def test_c_over_a_of_layers_is_that_of_their_materials(film):
    cells = build_cells(film)
    found = tetragonality(cells, film)
    assert found.axis == "b" and found.norm == 1.0
    y = cells.positions_px[:, 0]
    np.testing.assert_allclose(found.c_over_a.values[y > 340], 1.0, atol=1e-6)
    np.testing.assert_allclose(found.c_over_a.values[y < 250], 415.0 / 390.5, atol=1e-6)
    np.testing.assert_array_equal(found.b_over_a.values, found.c_over_a.values)
    turned = tetragonality(cells, film, c_axis="a")
    np.testing.assert_allclose(turned.c_over_a.values * found.c_over_a.values, 1.0)
    np.testing.assert_allclose(turned.b_over_a.values, found.b_over_a.values)


def test_the_axis_is_given_or_that_of_growth_or_of_the_displacement(film):
    cells = build_cells(film)
    assert tetragonality(cells, film, growth_deg=5.0).axis == "a"
    assert tetragonality(cells, film, growth_deg=-85.0).axis == "b"
    polar = tetragonality(cells, film, c_axis="polar")
    assert polar.axis == "b" and "displacement" in polar.why
    assert tetragonality(cells, film, c_axis="a").why == "as given"


def test_a_stretched_scan_cancels_against_a_cubic_region(film):
    stretched = replace(film, positions_px=film.positions_px * np.array([1.05, 1.0]))
    cells, plain = build_cells(stretched), build_cells(film)
    y0, y1, x0, x1 = BOTTOM
    found = tetragonality(cells, stretched, region=(int(1.05 * y0), int(1.05 * y1), x0, x1))
    top = plain.positions_px[:, 0] < 250
    np.testing.assert_allclose(found.c_over_a.values[top], 415.0 / 390.5, rtol=2e-4)
    assert found.norm == pytest.approx(1.05, abs=2e-3) and found.norm_sigma > 0


def test_a_region_without_cells_is_refused(film):
    with pytest.raises(DataError, match="cubic region"):
        tetragonality(build_cells(film), film, region=(0, 3, 0, 3))


@pytest.mark.parametrize("jitter_px", [0.0, 0.3])
def test_sigma_of_c_over_a_and_of_its_profile_is_that_of_repeated_experiments(film, jitter_px):
    rng = np.random.default_rng(4)
    truth = tetragonality(build_cells(film), film)
    profile = tetragonality_profile(build_cells(film), film, truth)
    cell_z, layer_z = [], []
    for _ in range(12):
        columns = noisy(film, rng, jitter_px=jitter_px)
        cells = build_cells(columns)
        found = tetragonality(cells, columns)
        cell_z.append((found.c_over_a.values - truth.c_over_a.values) / found.c_over_a.sigma)
        again = tetragonality_profile(cells, columns, found)
        full = again.cells >= 15
        layer_z.append(((again.mean - profile.mean) / again.sigma)[full])
    assert np.std(cell_z) == pytest.approx(1.0, abs=0.06)
    # sigma of a layer is the larger of two estimates, so that it errs to the safe side
    assert 0.75 < np.std(np.concatenate(layer_z)) < 1.06


def test_a_profile_has_one_row_per_layer_in_order(film):
    cells = build_cells(film)
    profile = tetragonality_profile(cells, film, tetragonality(cells, film))
    assert np.all(np.diff(profile.position_px) > 0) and profile.cells.sum() == len(cells.flags)
    assert np.diff(profile.position_px)[-3:] == pytest.approx(390.5 / 17.25, rel=1e-3)
    across = layer_profile(cells, tetragonality(cells, film).c_over_a, across="a")
    assert across.cells.sum() == len(cells.flags) and len(across.layer) != len(profile.layer)


def test_no_cells_have_no_layers(film):
    nothing = take(build_cells(film), np.zeros(0, dtype=int))
    found = tetragonality(nothing, film)
    assert found.c_over_a.values.shape == (0,) and tetragonality_profile(nothing, film, found).mean.shape == (0,)


def bent(columns: Columns, curvature: float) -> Columns:
    """Return the crystal with its horizontal rows bent to arcs that curve upwards on the screen, 1/px."""
    y, x = (columns.positions_px - 250.0).T
    return replace(columns, positions_px=np.stack([y - 0.5 * curvature * x**2, x], axis=1) + 250.0)


def by_name(fields):
    return {field.name: field for field in fields}


@pytest.fixture(scope="module")
def crystal() -> Columns:
    return known(FilmSettings(shape_px=(500, 500), layers=(films.layer("BiFeO3"),)))


def test_planes_of_a_perfect_crystal_are_straight(crystal):
    for name, field in by_name(atomic_planes(crystal)).items():
        if not name.endswith("direction_deg"):
            np.testing.assert_allclose(field.values, 0.0, atol=1e-6)
    assert len(field.values) > 100


@pytest.mark.parametrize("curvature", [2e-4, -1e-4])
@pytest.mark.parametrize("sublattice", ["A", "B"])
def test_curvature_and_rotation_of_bent_planes(crystal, curvature, sublattice):
    fields = by_name(atomic_planes(bent(crystal, curvature), sublattice=sublattice))
    field = fields["a_rows_curvature"]
    assert field.unit == "1/px"
    slope = curvature * (field.positions_px[:, 1] - 250.0)
    np.testing.assert_allclose(field.values, curvature * (1 + slope**2) ** -1.5, rtol=2e-3)
    np.testing.assert_allclose(fields["a_rows_direction_deg"].values, np.degrees(np.arctan(slope)), atol=0.02)
    np.testing.assert_allclose(fields["b_rows_curvature"].values, 0.0, atol=1e-6)
    scaled = by_name(atomic_planes(bent(crystal, curvature), sublattice=sublattice, pixel_size_pm=20.0))
    assert scaled["a_rows_curvature"].unit == "1/nm"
    np.testing.assert_allclose(scaled["a_rows_curvature"].values, field.values * 50.0)


def test_rotation_is_counter_clockwise_and_zero_in_the_region(crystal):
    y, x = (crystal.positions_px - 250.0).T
    angle = np.where(x > 0, np.radians(2.0), 0.0)
    turned = replace(crystal, positions_px=np.stack([y - np.tan(angle) * x, x], axis=1) + 250.0)
    field = by_name(atomic_planes(turned, region=(0, 500, 0, 150)))["a_rows_rotation_deg"]
    right, left = field.positions_px[:, 1] > 340, field.positions_px[:, 1] < 160
    np.testing.assert_allclose(field.values[right], 2.0, atol=1e-3)
    np.testing.assert_allclose(field.values[left], 0.0, atol=1e-6)


@pytest.mark.parametrize("jitter_px", [0.0, 0.3])
def test_sigma_of_planes_is_that_of_repeated_experiments(crystal, jitter_px):
    rng = np.random.default_rng(6)
    samples = [by_name(atomic_planes(noisy(crystal, rng, jitter_px=jitter_px))) for _ in range(40)]
    for name in ("a_rows_direction_deg", "a_rows_curvature", "b_rows_rotation_deg", "b_rows_curvature"):
        values = np.array([sample[name].values for sample in samples])
        z = (values - values.mean(axis=0)) / np.array([sample[name].sigma for sample in samples]) / np.sqrt(39 / 40)
        assert np.std(z) == pytest.approx(1.0, abs=0.08), name


@pytest.mark.realdata
def test_c_over_a_of_layers_agrees_with_an_independent_program():
    columns = locate_columns(open_image(realdata.path("stemfit_layers/image.tif")))
    cells = build_cells(columns)
    found = tetragonality(cells, columns, region=(1000, 1158, 100, 1158))
    profile = tetragonality_profile(cells, columns, found)
    table = np.genfromtxt(realdata.path("stemfit_layers/STEMfit_results.csv"), delimiter=",", skip_header=1)
    y_px, x_px = table[:, 0] / 0.0271, table[:, 1] / 0.0271
    first, second = table[:, 6], table[:, 7]
    theirs = second / first if np.nanmedian(second[y_px < 300] / first[y_px < 300]) > 1.0 else first / second
    usable = np.isfinite(theirs) & (x_px > 100) & (x_px < 1158)
    substrate = np.median(theirs[usable & (y_px > 1000)])
    start = cells.positions_px[:, 0].min()
    middle = profile.position_px + start
    differences = []
    for low in range(60, 1200, 60):
        mine = (middle >= low) & (middle < low + 60) & (profile.cells > 40)
        its = usable & (y_px >= low) & (y_px < low + 60)
        differences.append(np.mean(profile.mean[mine]) - np.median(theirs[its]) / substrate)
    assert np.sqrt(np.mean(np.square(differences))) < 0.005, differences
    assert 1.015 < np.mean(profile.mean[(middle < 400) & (profile.cells > 40)]) < 1.035
