"""Polar structure and parent: displacements are found, strain and origin are none, and signs are right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.elements import symbols_of
from dipolar.core.errors import SettingsError, StructureError
from dipolar.core.structure import Structure, shifted, strained, supercell, turned
from dipolar.measure import load_material
from dipolar.measure.matching import match_structures
from dipolar.measure.offcentring import dipoles, off_centring, polarization_uc_per_cm2, projected_displacements
from dipolar.simulate.materials import MATERIALS
from dipolar.simulate.structures import boracite, boracite_pair, parent, preset, seen_along

NOMINAL = {"Cu": 2.0, "Cl": -1.0, "B": 3.0, "O": -2.0}
BORN = {
    # Bi from the sum rule: J. B. Neaton et al., Phys. Rev. B 71, 014113 (2005)
    "BiFeO3": {"Bi": 4.34, "Fe": 3.49, "O": -2.61},
}


def moved(structure: Structure, by_pm: np.ndarray) -> Structure:
    """Return the structure with every atom moved by its own vector."""
    return replace(structure, fractional=structure.fractional + by_pm @ np.linalg.inv(structure.lattice_pm))


@pytest.fixture(scope="module")
def film() -> Structure:
    return supercell(seen_along("SrTiO3"), (2, 3, 2))


def test_a_structure_is_not_displaced_from_itself(film):
    pair = match_structures(film, film)
    assert np.abs(pair.displacement_pm).max() == 0.0 and np.abs(pair.strain).max() == 0.0


def test_every_displacement_is_found_whatever_the_order_of_the_atoms(film):
    rng = np.random.default_rng(2)
    by = rng.normal(scale=15.0, size=(len(film.numbers), 3))
    by -= by.mean(axis=0)
    order = rng.permutation(len(film.numbers))
    shuffled = replace(film, fractional=film.fractional[order], numbers=film.numbers[order])
    pair = match_structures(moved(film, by), shuffled)
    np.testing.assert_allclose(pair.displacement_pm, by, atol=1e-9)
    assert (pair.parent.numbers == film.numbers).all()
    np.testing.assert_allclose((pair.parent.fractional - film.fractional + 0.5) % 1.0 - 0.5, 0.0, atol=1e-12)


def test_neither_strain_nor_the_origin_is_a_displacement(film):
    strain = np.diag([0.01, -0.02, 0.005])
    pair = match_structures(shifted(strained(film, strain), (0.02, -0.01, 0.03)), film)
    np.testing.assert_allclose(pair.displacement_pm, 0.0, atol=1e-9)
    np.testing.assert_allclose(pair.strain, strain, atol=1e-12)


def test_the_parent_may_have_the_smaller_cell(film):
    rng = np.random.default_rng(4)
    by = rng.normal(scale=10.0, size=(len(film.numbers), 3))
    pair = match_structures(moved(film, by - by.mean(axis=0)), seen_along("SrTiO3"))
    np.testing.assert_allclose(pair.displacement_pm, by - by.mean(axis=0), atol=1e-9)


def test_what_is_no_pair_is_refused(film):
    far = shifted(film, (0.25, 0.0, 0.0))
    with pytest.raises(StructureError, match=r"are no pair.*\n.*from the nearest"):
        match_structures(far, film)
    close = replace(film, fractional=film.fractional * 1.0)
    place = close.fractional.copy()
    oxygen = np.flatnonzero(film.numbers == 8)[:2]
    place[oxygen] = place[oxygen].mean(axis=0)  # one oxygen between two places
    with pytest.raises(StructureError, match="either of two of the parent"):
        match_structures(replace(close, fractional=place), film, reach_pm=400.0)
    with pytest.raises(StructureError, match="same atoms in nearly the same cell") as caught:
        match_structures(seen_along("BaTiO3"), seen_along("SrTiO3"))
    assert "5 atoms" in caught.value.got
    with pytest.raises(StructureError, match="same frame"):
        match_structures(preset("SrTiO3"), seen_along("SrTiO3"))


# --- what a microscope sees


def test_iron_in_bismuth_ferrite_is_23_pm_off_along_both_edges():
    """R3c along [100] of the pseudocubic cell: 40 pm along [111] are 22.8 pm along each edge in projection."""
    pair = match_structures(seen_along("BiFeO3"), seen_along("BiFeO3", of_parent=True))
    seen = projected_displacements(pair, "Fe", "Bi")
    # Fe goes against [111]; with [001] upright [010] points to the left
    np.testing.assert_allclose(seen.vectors_pm, np.full((4, 2), 22.8), atol=0.1)
    np.testing.assert_allclose(seen.parent_pm, 0.0, atol=1e-9)
    back = projected_displacements(pair, "Bi", "Fe")
    np.testing.assert_allclose(back.vectors_pm, -22.8, atol=0.1)


@pytest.mark.parametrize("name", ["PbTiO3", "BaTiO3"])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_titanium_is_displaced_as_the_material_says_and_turns_with_the_crystal(name, turns):
    pair = match_structures(turned(seen_along(name), turns), turned(seen_along(name, of_parent=True), turns))
    corner = {"PbTiO3": "Pb", "BaTiO3": "Ba"}[name]
    up = np.array([[-1.0, 0.0], [0.0, -1.0], [1.0, 0.0], [0.0, 1.0]])[turns]  # up, left, down, right
    seen = projected_displacements(pair, "Ti", corner)
    np.testing.assert_allclose(seen.vectors_pm, [MATERIALS[name].displacement_pm * up], atol=0.1)


def test_columns_need_a_structure_that_lies_in_the_microscope():
    with pytest.raises(StructureError, match="lies as the microscope sees it"):
        projected_displacements(match_structures(preset("BiFeO3"), parent("BiFeO3")), "Fe", "Bi")
    pair = match_structures(seen_along("SrTiO3"), seen_along("SrTiO3"))
    with pytest.raises(StructureError, match="should have Bi") as caught:
        projected_displacements(pair, "Ti", "Bi")
    assert "Sr, Ti, O" in caught.value.got


# --- polyhedra


def test_an_atom_moved_in_its_octahedron_is_off_centre_by_that_much(film):
    by = np.zeros((len(film.numbers), 3))
    titanium = np.flatnonzero(film.numbers == 22)
    by[titanium[0]] = [3.0, -4.0, 12.0]
    found = off_centring(match_structures(moved(film, by), film), "Ti", "O", coordination=6)
    np.testing.assert_allclose(found.vectors_pm, by[titanium], atol=1e-9)
    np.testing.assert_allclose(found.parent_pm, 0.0, atol=1e-9)
    assert found.what == "Ti against 6 O"


def test_iron_is_off_the_middle_of_its_octahedron_away_from_the_near_oxygen():
    pair = match_structures(preset("BiFeO3"), parent("BiFeO3"))
    octahedra = off_centring(pair, "Fe", "O", coordination=6).vectors_pm
    cages = off_centring(pair, "Fe", "Bi", coordination=8).vectors_pm
    # positions of the source: z of Fe, of Bi and of the mean of the six O around
    np.testing.assert_allclose(
        octahedra, np.tile([0.0, 0.0, 1386.88 * (0.4712 - 0.5 + 0.25 - 0.2043)], (6, 1)), atol=0.1
    )
    np.testing.assert_allclose(cages, np.tile([0.0, 0.0, 1386.88 * (0.4712 - 0.5)], (6, 1)), atol=0.1)


def test_a_shell_that_is_none_is_refused(film):
    pair = match_structures(film, film)
    with pytest.raises(StructureError, match="5 nearest neighbours were expected of Ti"):
        off_centring(pair, "Ti", "O", coordination=5)
    with pytest.raises(StructureError, match="should have Pb"):
        off_centring(pair, "Pb", "O", coordination=12)


# --- dipoles


def test_the_polarization_of_bismuth_ferrite_is_that_of_its_charges():
    pair = match_structures(preset("BiFeO3"), parent("BiFeO3"))
    found = polarization_uc_per_cm2(pair, BORN["BiFeO3"])
    material = load_material("bfo")
    expected = material.factor_uc_per_cm2_per_pm * 1386.88 * (0.4712 - 0.5)  # against the displacement of Fe
    assert found[2] == pytest.approx(expected, rel=0.05) and 85.0 < found[2] < 100.0
    np.testing.assert_allclose(found[:2], 0.0, atol=1e-9)


def test_dipoles_of_cells_add_up_to_the_polarization():
    pair = match_structures(preset("BiFeO3"), parent("BiFeO3"))
    parts = dipoles(pair, BORN["BiFeO3"], centre="Fe", shells={"O": 6, "Bi": 8})
    assert len(parts.vectors_e_pm) == 6
    volume = np.linalg.det(pair.polar.lattice_pm)
    total = parts.vectors_e_pm.sum(axis=0) * 1.602176634e-13 * 1e20 / volume
    np.testing.assert_allclose(total, polarization_uc_per_cm2(pair, BORN["BiFeO3"]), atol=1e-9)


def test_tensors_of_one_charge_are_that_charge(film):
    rng = np.random.default_rng(6)
    by = rng.normal(scale=10.0, size=(len(film.numbers), 3))
    pair = match_structures(moved(film, by), film)
    charges = {"Sr": 2.0, "Ti": 4.0, "O": -2.0}
    tensors = np.array([charges[symbol] for symbol in symbols_of(film.numbers)])[:, None, None] * np.eye(3)
    np.testing.assert_allclose(polarization_uc_per_cm2(pair, tensors), polarization_uc_per_cm2(pair, charges))
    # a displacement along x with a dipole along y
    tensors = np.zeros_like(tensors)
    titanium = np.flatnonzero(film.numbers == 22)
    tensors[titanium, 0, 1] = 1.0
    found = polarization_uc_per_cm2(pair, tensors)
    assert found[0] == pytest.approx(
        pair.displacement_pm[titanium, 1].sum() * 1602.176634e4 / np.linalg.det(film.lattice_pm)
    )
    assert found[1:].tolist() == [0.0, 0.0]


def test_charges_that_depend_on_the_origin_are_refused(film):
    pair = match_structures(film, film)
    with pytest.raises(StructureError, match="add up to nothing"):
        polarization_uc_per_cm2(pair, {"Sr": 2.0, "Ti": 4.0, "O": -1.0})
    with pytest.raises(SettingsError, match="needs a charge") as caught:
        polarization_uc_per_cm2(pair, {"Sr": 2.0})
    assert "Ti, O" in caught.value.got
    with pytest.raises(SettingsError, match="60 tensors"):
        polarization_uc_per_cm2(pair, np.zeros((5, 3, 3)))
    with pytest.raises(StructureError, match="depends on the origin") as caught:
        dipoles(pair, {"Sr": 2.0, "Ti": 4.0, "O": -2.0}, centre="Ti", shells={"O": 6})
    assert "-2.00 e" in caught.value.got


# --- boracite


@pytest.mark.parametrize(("axis", "unit"), [("y", [1, 0, 0]), ("x", [0, 1, 0]), ("beam", [0, 0, 1])])
@pytest.mark.parametrize("opposite", [False, True])
def test_boracite_is_polarized_the_way_it_was_asked_for(axis, unit, opposite):
    pair = match_structures(boracite(axis, opposite=opposite), boracite())
    found = polarization_uc_per_cm2(pair, NOMINAL)
    sense = -1.0 if opposite else 1.0
    assert found @ unit * sense > 5.0
    np.testing.assert_allclose(found - (found @ unit) * np.array(unit), 0.0, atol=1e-6)
    chlorine = off_centring(pair, "Cl", "Cu", coordination=6)
    assert len(chlorine.vectors_pm) == 8
    assert (chlorine.vectors_pm @ unit * sense < -30.0).all()
    np.testing.assert_allclose(chlorine.parent_pm, 0.0, atol=1e-6)


def test_the_model_and_its_parent_are_row_by_row_the_same_atoms():
    polar, cubic = boracite_pair()
    pair = match_structures(polar, cubic)
    np.testing.assert_allclose(pair.parent.fractional, cubic.fractional, atol=1e-12)
    # antipolar along a, nothing along b
    assert np.abs(pair.displacement_pm[:, 0]).max() == pytest.approx(21.0, abs=0.1)
    np.testing.assert_allclose(pair.displacement_pm[:, 1], 0.0, atol=1e-9)
    np.testing.assert_allclose(np.diag(pair.strain), [0.004 / 3, 0.004 / 3, -0.008 / 3], atol=1e-9)
