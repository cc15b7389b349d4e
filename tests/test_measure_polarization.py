"""Polarization: signs, units, and files of materials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
from dipolar.core.errors import CalibrationError, SettingsError
from dipolar.core.nouns import Cells, Columns
from dipolar.measure import build_cells, load_material, polarization
from dipolar.simulate import FilmSettings

EXPECTED = {"BaTiO3": (5.4, 1, (24, 35)), "PbTiO3": (17.0, -1, (70, 110)), "BiFeO3": (40.5, -1, (85, 100))}
"""Displacement of B in pm along the axis, sign of the polarization, and its range in µC/cm² in the literature."""


@pytest.fixture(scope="module")
def columns() -> Columns:
    settings = FilmSettings(shape_px=(260, 260), layers=(films.layer("BiFeO3"),))
    truth = films.film(settings).truth_columns
    return replace(truth, covariance_px2=np.tile(np.diag([0.01, 0.04]), (len(truth.flags), 1, 1)))


@pytest.fixture(scope="module")
def cells(columns: Columns) -> Cells:
    return build_cells(columns, pixel_size_pm=17.25)


@pytest.mark.parametrize("name", EXPECTED)
def test_presets_give_the_polarization_of_the_bulk(name):
    material = load_material(name)
    displacement, sign, (low, high) = EXPECTED[name]
    value = material.factor_uc_per_cm2_per_pm * displacement
    assert np.sign(value) == sign and low < abs(value) < high
    assert material.source and "oxygen" in material.assumption and material.factor_sigma_uc_per_cm2_per_pm > 0


def test_polarization_points_against_the_displacement_of_b_in_bifeo3(cells):
    result = polarization(cells, load_material("bfo"))
    along = np.sum(result.vectors_uc_per_cm2 * cells.displacement_px, axis=1)
    assert (along < 0).all()
    assert np.median(np.linalg.norm(result.vectors_uc_per_cm2, axis=1)) == pytest.approx(2.254 * 32.6, rel=0.01)


def test_the_basis_turns_the_displacement_but_not_the_polarization(columns, cells):
    other = build_cells(columns, basis="B", pixel_size_pm=17.25)
    material = load_material("BaTiO3")
    assert np.mean(np.sum(other.displacement_px * cells.displacement_px.mean(axis=0), axis=1)) < 0
    one, two = (polarization(c, material).vectors_uc_per_cm2 for c in (cells, other))
    np.testing.assert_allclose(one.mean(axis=0), two.mean(axis=0), rtol=1e-6)


def test_polarization_is_linear_and_keeps_units(cells):
    material = load_material("PbTiO3")
    once, twice = (polarization(replace(cells, displacement_px=k * cells.displacement_px), material) for k in (1, 2))
    np.testing.assert_allclose(twice.vectors_uc_per_cm2, 2 * once.vectors_uc_per_cm2)
    nothing = polarization(replace(cells, displacement_px=0 * cells.displacement_px), material)
    assert not nothing.vectors_uc_per_cm2.any()
    # by hand: 1 elementary charge moved by 1 pm in 1 nm³ is 1.602e-19 C × 1e-12 m / 1e-27 m³
    assert load_born(volume_pm3=1e9) == pytest.approx(1.602177e-4 * 1e6 / 1e4, rel=1e-6)


def load_born(*, volume_pm3: float) -> float:
    from dipolar.core.material import BornCharges

    alone = BornCharges(
        b=1.0,
        oxygen_parallel=0.0,
        oxygen_perpendicular=0.0,
        oxygen_parallel_ratio=0.0,
        oxygen_perpendicular_ratio=0.0,
        volume_pm3=volume_pm3,
    )
    return alone.factor_uc_per_cm2_per_pm


def test_sigma_is_that_of_the_displacement_and_the_factor_stands_apart(cells):
    material = load_material("BiFeO3")
    result = polarization(cells, material)
    factor = material.factor_uc_per_cm2_per_pm * 17.25
    np.testing.assert_allclose(result.covariance_uc2_per_cm4, factor**2 * cells.covariance_px2)
    assert result.systematic_fraction == pytest.approx(0.1)


def test_a_file_describes_any_other_material(tmp_path, cells):
    path = tmp_path / "mine.toml"
    path.write_text('name = "KNbO3"\nsource = "mine"\nfactor_uc_per_cm2_per_pm = 4.0\n')
    material = load_material(path)
    assert material.factor_uc_per_cm2_per_pm == 4.0 and material.formula == "given" and material.symmetry is None
    path.write_text(path.read_text() + 'symmetry = "rhombohedral"\n')
    assert load_material(path).symmetry == "rhombohedral"
    assert np.isnan(polarization(cells, material).systematic_fraction)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "X"\nsource = "y"\n', "either factor_uc_per_cm2_per_pm or"),
        ('name = "X"\nfactor_uc_per_cm2_per_pm = 1.0\n', "source is missing"),
        ('name = "X"\nsource = "y"\nfactor_uc_per_cm2_per_pm = "one"\n', "'one' is no number"),
        ('name = "X"\nsource = "y"\nfactor_uc_per_cm2_per_pm = 0\n', "no number other than 0"),
        ('name = "X"\nsource = "y"\nfactor = 1.0\n', '"factor" is not a key'),
        ('name = "X"\nsource = "y"\n[born]\nb = 1.0\n', "born.volume_pm3 = None is no number"),
        ('name = "X"\nsource = "y"\nsymmetry = "cubic"\n', "symmetry = 'cubic' is not one of tetragonal, rhombohedral"),
        ("name = \n", "not TOML"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, text, words):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words):
        load_material(path)


def test_an_unknown_material_lists_presets_and_how_to_write_a_file():
    with pytest.raises(SettingsError, match="BaTiO3, BiFeO3, PbTiO3") as caught:
        load_material("KTaO3")
    assert "factor_uc_per_cm2_per_pm" in str(caught.value) and "KTaO3" in str(caught.value)
    with pytest.raises(SettingsError, match="can be read"):
        load_material("nowhere.toml")


def test_cells_without_a_pixel_size_have_no_polarization(cells):
    with pytest.raises(CalibrationError, match="displacements in pm"):
        polarization(replace(cells, pixel_size_pm=None), load_material("BaTiO3"))
