"""Crystal structures: nothing is mirrored, symmetry is what the sources say, files are read as they are meant."""

from __future__ import annotations

import importlib
import itertools
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.elements import symbols_of
from dipolar.core.errors import FormatError, MissingExtraError, SettingsError, StructureError
from dipolar.core.orientation import centrings, oriented
from dipolar.core.structure import (
    Structure,
    cartesian_pm,
    check_overlap,
    formula,
    inverted,
    near_pairs,
    shifted,
    square_edges_pm,
    strained,
    supercell,
    turned,
    volume_pm3,
)
from dipolar.io.structures import read_structure, usual_rms_pm
from dipolar.simulate.structures import NAMES, WITH_PARENT, boracite, boracite_pair, parent, preset, seen_along

CHIRAL = Structure(
    name="chiral",
    lattice_pm=np.diag([400.0, 500.0, 600.0]),
    fractional=np.array([[0.5, 0.5, 0.5], [0.6, 0.5, 0.5], [0.5, 0.6, 0.5], [0.5, 0.5, 0.6]]),
    numbers=np.array([1, 6, 7, 8]),
    occupancy=np.ones(4),
    rms_pm=np.full(4, 8.0),
    source="made up: C along a, N along b, O along c from H",
)
LIKE_CELLS = [seen_along("SrTiO3"), boracite("y"), seen_along("BiFeO3")]


def from_first(structure: Structure) -> dict[str, np.ndarray]:
    """Return where each atom is from the first, the shortest way, by symbol."""
    symbols = symbols_of(structure.numbers)
    apart = (structure.fractional - structure.fractional[symbols.index("H")] + 0.5) % 1.0 - 0.5
    return dict(zip(symbols, apart @ structure.lattice_pm, strict=True))


def same_crystal(first: Structure, second: Structure, *, within_pm: float = 0.5) -> bool:
    """Return whether two structures in like cells have the same atoms in the same places, wherever the cell begins."""
    if not np.allclose(first.lattice_pm, second.lattice_pm, atol=1e-3) or len(first.numbers) != len(second.numbers):
        return False
    rarest = min(set(first.numbers.tolist()), key=first.numbers.tolist().count)
    start = first.fractional[first.numbers == rarest][0]
    for other in second.fractional[second.numbers == rarest]:
        apart = first.fractional[:, None] - second.fractional[None] - (start - other)
        distance = np.linalg.norm(((apart + 0.5) % 1.0 - 0.5) @ first.lattice_pm, axis=2)
        distance[first.numbers[:, None] != second.numbers[None]] = np.inf
        if (distance.min(axis=1) < within_pm).all():
            return True
    return False


# --- the frame of the image


def test_along_c_with_b_upright_a_points_to_the_left():
    seen = oriented(CHIRAL, (0, 0, 1), (0, 1, 0))
    assert seen.frame == "image"
    np.testing.assert_allclose(square_edges_pm(seen), [500.0, 400.0, 600.0])
    atoms = from_first(seen)  # (y, x, z), y down, z into the specimen
    np.testing.assert_allclose(atoms["C"], [0.0, -40.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(atoms["N"], [-50.0, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(atoms["O"], [0.0, 0.0, 60.0], atol=1e-9)


AXES = [tuple(sign if n == axis else 0 for n in range(3)) for axis in range(3) for sign in (1, -1)]


@pytest.mark.parametrize(("zone", "up"), [(z, u) for z in AXES for u in AXES if np.dot(z, u) == 0])
def test_nothing_is_mirrored(zone, up):
    atoms = from_first(oriented(CHIRAL, zone, up))
    y, x, z = np.stack([atoms["C"] / 40.0, atoms["N"] / 50.0, atoms["O"] / 60.0], axis=1)
    # a, b, c of the crystal, right-handed, are so in (x, y, z) of the image
    assert np.linalg.det(np.stack([x, y, z])) == pytest.approx(1.0)
    np.testing.assert_allclose(np.stack([x, y, z]) @ np.array(zone), [0.0, 0.0, 1.0], atol=1e-9)
    np.testing.assert_allclose(np.stack([x, y, z]) @ np.array(up), [0.0, -1.0, 0.0], atol=1e-9)


def test_how_the_crystal_lies_in_its_file_does_not_matter():
    rng = np.random.default_rng(5)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    crystal = preset("BiFeO3")
    seen = [
        oriented(replace(crystal, lattice_pm=lattice), (0, 0, 1), (1, 0, 0))
        for lattice in (crystal.lattice_pm, crystal.lattice_pm @ turn)
    ]
    assert same_crystal(*seen, within_pm=1e-6)


def test_a_skewed_cell_of_the_same_crystal_is_seen_alike():
    """Another basis of the same lattice, as other programs write it, gives the same picture."""
    basis = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    skewed = replace(
        CHIRAL, lattice_pm=basis @ CHIRAL.lattice_pm, fractional=CHIRAL.fractional @ np.linalg.inv(basis) % 1.0
    )
    axes = np.linalg.inv(basis)
    seen = oriented(skewed, (0, 0, 1), (0, 1, 0), axes=axes)
    assert same_crystal(seen, oriented(CHIRAL, (0, 0, 1), (0, 1, 0)), within_pm=1e-6)


@pytest.mark.parametrize(
    ("name", "zone", "up", "edges"),
    [
        ("SrTiO3", (1, 0, 0), (0, 0, 1), (1.0, 1.0, 1.0)),
        ("SrTiO3", (1, 1, 0), (0, 0, 1), (1.0, 2**0.5, 2**0.5)),
        ("SrTiO3", (1, 1, 1), (1, -1, 0), (2**0.5, 6**0.5, 3**0.5)),
        ("Cu3B7O13Cl", (1, 1, 0), (0, 0, 1), (1.0, 0.5**0.5, 0.5**0.5)),  # an F cell
    ],
)
def test_the_cell_is_the_smallest_that_is_right_angled(name, zone, up, edges):
    seen = seen_along(name, zone, up)
    edge = np.linalg.norm(preset(name).lattice_pm[0])
    np.testing.assert_allclose(square_edges_pm(seen), edge * np.array(edges), rtol=1e-9)
    density = [len(s.numbers) / volume_pm3(s) for s in (seen, preset(name))]
    assert density[0] == pytest.approx(density[1])
    assert "angles" not in seen.source


def test_bismuth_ferrite_is_squared_and_says_by_how_much():
    seen = seen_along("BiFeO3")
    edge = np.hypot(557.874 / 3**0.5, 1386.88 / 6)  # the edge of the rhombohedral pseudocubic cell
    np.testing.assert_allclose(square_edges_pm(seen), 2 * edge, rtol=1e-9)
    assert "angles changed by 0.8" in seen.source
    assert formula(seen) == "Bi8 Fe8 O24"


def test_directions_that_make_no_picture_are_refused():
    with pytest.raises(SettingsError, match="two different directions"):
        oriented(CHIRAL, (0, 0, 1), (0, 0, -2))
    with pytest.raises(SettingsError, match="two different directions"):
        oriented(CHIRAL, (0, 0, 0), (0, 1, 0))
    with pytest.raises(SettingsError, match=r"no right-angled cell.*(\n.*)*nearest is"):
        oriented(CHIRAL, (1, 1, 1), (0, 1, 0), longest_pm=2000.0)
    with pytest.raises(SettingsError, match="lies in the microscope already"):
        oriented(seen_along("SrTiO3"), (0, 0, 1), (0, 1, 0))


def test_a_quarter_of_a_turn_is_counter_clockwise_on_the_screen():
    seen = oriented(CHIRAL, (0, 0, 1), (0, 1, 0))
    atoms, after = from_first(seen), from_first(turned(seen, 1))
    for symbol in "CNO":
        dy, dx, dz = atoms[symbol]
        np.testing.assert_allclose(after[symbol], [-dx, dy, dz], atol=1e-9)
    assert same_crystal(turned(turned(seen, 1), 3), seen)
    # [100] pointed to the left and points down now
    assert same_crystal(turned(seen, 1), oriented(CHIRAL, (0, 0, 1), (-1, 0, 0)))
    assert not same_crystal(turned(seen, 1), oriented(CHIRAL, (0, 0, 1), (1, 0, 0)))
    with pytest.raises(SettingsError, match="turned on the screen"):
        turned(CHIRAL, 1)


# --- arithmetic


def test_a_supercell_is_the_same_crystal():
    crystal = preset("BiFeO3")
    large = supercell(crystal, (2, 1, 3))
    assert volume_pm3(large) == pytest.approx(6 * volume_pm3(crystal))
    assert len(centrings(large)) == 6 * len(centrings(crystal)) == 18
    np.testing.assert_allclose(cartesian_pm(large)[: len(crystal.numbers)], cartesian_pm(crystal))
    with pytest.raises(SettingsError, match="one cell or more"):
        supercell(crystal, (0, 1, 1))


def test_strain_moves_the_lattice_and_takes_the_atoms_along():
    strain = np.array([[0.01, 0.002, 0.0], [0.002, -0.005, 0.0], [0.0, 0.0, 0.0]])
    made = strained(CHIRAL, strain)
    np.testing.assert_allclose(cartesian_pm(made), cartesian_pm(CHIRAL) @ (np.eye(3) + strain))
    with pytest.raises(SettingsError, match="symmetric"):
        strained(CHIRAL, np.array([[0.0, 0.1, 0.0], [-0.1, 0.0, 0.0], [0.0, 0.0, 0.0]]))


def test_inverting_twice_is_nothing_and_once_is_nothing_in_a_centrosymmetric_crystal():
    assert same_crystal(inverted(inverted(CHIRAL)), CHIRAL)
    assert not same_crystal(inverted(CHIRAL), CHIRAL)
    for name in WITH_PARENT:
        assert same_crystal(inverted(parent(name)), parent(name))
        assert not same_crystal(inverted(preset(name)), preset(name), within_pm=3.0)


def test_near_pairs_are_those_of_all_distances():
    rng = np.random.default_rng(3)
    lattice = np.array([[900.0, 0.0, 0.0], [200.0, 800.0, 0.0], [-100.0, 150.0, 1000.0]])
    atoms = replace(
        CHIRAL,
        lattice_pm=lattice,
        fractional=np.round(rng.random((120, 3)), 2),  # many share a coordinate
        numbers=np.ones(120, dtype=np.int64),
        occupancy=np.ones(120),
        rms_pm=np.zeros(120),
    )
    apart = (atoms.fractional[:, None] - atoms.fractional + 0.5) % 1.0 - 0.5
    distance = np.linalg.norm(apart @ lattice, axis=2)
    wanted = {(a, b) for a, b in np.argwhere(distance < 110.0).tolist() if a < b}
    assert len(wanted) > 20
    assert {(a, b) for a, b in near_pairs(atoms, 110.0).tolist()} == wanted


def test_what_is_no_crystal_is_refused():
    with pytest.raises(StructureError, match="no cell"):
        replace(CHIRAL, lattice_pm=np.zeros((3, 3)))
    with pytest.raises(StructureError, match="no cell: planes 4 pm apart"):
        replace(CHIRAL, lattice_pm=np.diag([4.0, 5.0, 6.0]))  # Å for pm
    with pytest.raises(StructureError, match=r"no numbers.*occupancies.*thermal"):
        replace(CHIRAL, fractional=CHIRAL.fractional * np.nan, occupancy=np.zeros(4), rms_pm=np.full(4, np.nan))
    crowded = replace(CHIRAL, fractional=np.round(CHIRAL.fractional), numbers=np.array([8, 8, 22, 22]))
    with pytest.raises(StructureError, match=r"O \(atom 1\) and O \(atom 2\).*pairs more"):
        check_overlap(crowded)
    check_overlap(preset("La0.7Sr0.3MnO3"))  # a mixed crystal is none


# --- presets

GROUPS = {"BaTiO3": 99, "BiFeO3": 161, "Cu3B7O13Cl": 219, "La0.7Sr0.3MnO3": 167, "PbTiO3": 99, "SrTiO3": 221}
PARENTS = {"BaTiO3": 221, "BiFeO3": 167, "PbTiO3": 221}
UNITS = {"BaTiO3": 1, "BiFeO3": 6, "Cu3B7O13Cl": 8, "La0.7Sr0.3MnO3": 6, "PbTiO3": 1, "SrTiO3": 1}


def space_group(structure: Structure, *, within_pm: float = 0.1) -> int:
    spglib = pytest.importorskip("spglib")
    # a mixed place is one kind of atom to the symmetry
    kept = structure.occupancy >= 0.5
    cell = (structure.lattice_pm / 100.0, structure.fractional[kept], structure.numbers[kept])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own ways to tell errors
        return spglib.get_symmetry_dataset(cell, symprec=within_pm / 100.0).number


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_has_its_formula_and_no_atoms_on_top_of_each_other(name):
    crystal = preset(name)
    check_overlap(crystal)
    written = {symbol: float(count or 1) for symbol, count in re.findall(r"([A-Z][a-z]?)([\d.]*)", name)}
    symbols = np.array(symbols_of(crystal.numbers))
    found = {symbol: crystal.occupancy[symbols == symbol].sum() / UNITS[name] for symbol in set(symbols.tolist())}
    assert found == pytest.approx(written)
    assert ((crystal.rms_pm > 5.0) & (crystal.rms_pm < 12.0)).all()
    assert "19" in crystal.source and "thermal displacements" in crystal.source


@pytest.mark.parametrize("name", NAMES)
def test_the_space_group_is_that_of_the_source(name):
    assert space_group(preset(name)) == GROUPS[name]


@pytest.mark.parametrize("name", WITH_PARENT)
def test_parents_are_centrosymmetric_and_on_the_same_axes(name):
    assert space_group(parent(name)) == PARENTS[name]
    assert volume_pm3(parent(name)) == pytest.approx(volume_pm3(preset(name)), rel=1e-3)


def test_a_preset_is_found_by_what_people_call_it_and_others_are_listed():
    assert preset("bfo").name == preset("BIFEO3").name == "BiFeO3"
    with pytest.raises(SettingsError, match="presets") as caught:
        preset("LiNbO3")
    assert all(name in caught.value.do for name in NAMES)
    with pytest.raises(SettingsError, match="SrTiO3 does not have") as caught:
        parent("sto")
    assert "BiFeO3" in caught.value.do


def distances(structure: Structure, centre: str, ligand: str, below_pm: float) -> np.ndarray:
    """Return the distances to all atoms of another element within a limit, images included."""
    symbols = np.array(symbols_of(structure.numbers))
    steps = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    apart = structure.fractional[symbols == centre][:, None, None] - structure.fractional[symbols == ligand][:, None]
    far = np.linalg.norm((apart + steps) @ structure.lattice_pm, axis=3)
    return np.sort(far[far < below_pm])


def test_bonds_of_boracite_are_those_of_borates():
    cubic = preset("boracite")
    assert formula(cubic) == "Cu24 Cl8 B56 O104"
    boron = distances(cubic, "B", "O", 200.0)
    assert len(boron) == 4 * 56
    np.testing.assert_allclose(boron[: 24 * 4 + 32 * 3], 145.0, atol=1.0)
    np.testing.assert_allclose(boron[24 * 4 + 32 * 3 :], 169.8, atol=0.2)
    copper = distances(cubic, "Cu", "O", 300.0)
    assert len(copper) == 4 * 24 and copper == pytest.approx(203.8, abs=0.2)
    assert distances(cubic, "Cu", "Cl", 400.0) == pytest.approx(302.5)
    polar, _ = boracite_pair()
    assert (len(distances(polar, "B", "O", 200.0)), len(distances(polar, "Cu", "Cl", 400.0))) == (4 * 28, 2 * 12)
    assert distances(polar, "B", "O", 200.0).min() > 140.0 and distances(polar, "Cu", "O", 300.0).min() > 178.0
    assert 245.0 < distances(polar, "Cu", "Cl", 400.0).min() < 255.0


# --- polar domains of boracite

AXIS = {"y": 0, "x": 1, "beam": 2}
DOMAINS = [(axis, opposite) for axis in AXIS for opposite in (False, True)]


def moves_pm(domain: Structure) -> np.ndarray:
    """Return how far each atom is from the nearest like one of the cubic phase, by rows of the domain."""
    cubic = boracite()
    apart = (domain.fractional[:, None] - cubic.fractional[None] + 0.5) % 1.0 - 0.5
    far = np.linalg.norm(apart @ domain.lattice_pm, axis=2)
    far[domain.numbers[:, None] != cubic.numbers[None]] = np.inf
    return (apart @ domain.lattice_pm)[np.arange(len(far)), far.argmin(axis=1)]


def test_boracite_is_cubic_or_polar():
    assert space_group(boracite()) == 219
    for axis, opposite in DOMAINS:
        assert space_group(boracite(axis, opposite=opposite)) == 29
    assert space_group(boracite_pair()[0]) == 29 and space_group(boracite_pair()[1]) == 219
    assert formula(boracite("x")).split()[0] == "Cu24"


@pytest.mark.parametrize(("axis", "opposite"), DOMAINS)
def test_every_domain_grows_out_of_the_same_cubic_phase(axis, opposite):
    domain = boracite(axis, opposite=opposite)
    moves = moves_pm(domain)
    symbols = np.array(symbols_of(domain.numbers))
    sizes = {symbol: np.linalg.norm(moves[symbols == symbol], axis=1) for symbol in ("Cl", "Cu", "B", "O")}
    np.testing.assert_allclose(sizes["Cl"], 35.0, atol=0.5)
    np.testing.assert_allclose(sizes["Cu"], 25.0, atol=0.5)
    for symbol in "BO":
        assert sizes[symbol].min() > 5.9 and sizes[symbol].max() < 10.1
    # charges: copper goes along the polarization, chlorine against it; across it everything cancels
    sense = -1.0 if opposite else 1.0
    for symbol, along in (("Cu", 55 / 3), ("Cl", -28.0)):
        mean = moves[symbols == symbol].mean(axis=0)
        expected = np.zeros(3)
        expected[AXIS[axis]] = sense * along
        np.testing.assert_allclose(mean, expected, atol=0.1)
    edges = square_edges_pm(domain)
    assert edges[AXIS[axis]] / np.delete(edges, AXIS[axis]) == pytest.approx(0.996, abs=1e-4)


def test_domains_are_turns_of_one_another():
    """What was along x is along y, what was along y is along z, and so on: a turn by 120°, never a mirror."""
    turn = [1, 2, 0]  # axes (y, x, z) of the second domain in those of the first
    for first, second in (("beam", "x"), ("x", "y"), ("y", "beam")):
        one = boracite(first)
        moved = replace(one, lattice_pm=one.lattice_pm[np.ix_(turn, turn)], fractional=one.fractional[:, turn])
        assert same_crystal(moved, boracite(second)), (first, second)


def test_the_opposite_domain_is_the_inverse_turned_about_the_polarization():
    opposite = boracite("beam", opposite=True)
    flipped = inverted(boracite("beam"))
    assert same_crystal(turned(flipped, 1), opposite)
    assert not same_crystal(flipped, opposite, within_pm=10.0)
    for axis in ("y", "x"):
        assert not same_crystal(boracite(axis), boracite(axis, opposite=True), within_pm=10.0)


def amplitudes(structure: Structure, most: int = 6) -> dict[tuple[int, int], float]:
    """Return |Σ Z exp(2πi k·r)| of the zero layer over that at k = 0, k along (y, x) in 1/a of the cubic cell."""
    weight = structure.numbers * structure.occupancy
    found = {}
    for k in itertools.product(range(-most, most + 1), repeat=2):
        phase = np.exp(2j * np.pi * (structure.fractional[:, :2] @ np.array(k)))
        found[k] = float(abs((weight * phase).sum()) / weight.sum())
    return found


def present(found: dict[tuple[int, int], float]) -> set[tuple[int, int]]:
    return {k for k, amplitude in found.items() if amplitude > 1e-4}


def test_half_order_rows_tell_the_axis_of_the_polarization():
    """The published pictures count in half cells: k = 2 is their 1, and odd k their half orders."""
    assert all(ky % 2 == 0 and kx % 2 == 0 for ky, kx in present(amplitudes(boracite())))
    for opposite in (False, True):
        ghosts = {}
        found = {axis: amplitudes(boracite(axis, opposite=opposite)) for axis in AXIS}
        for axis in AXIS:
            ghosts[axis] = {k for k in present(found[axis]) if k[0] % 2 or k[1] % 2}
        # polarized down the screen: half orders along y only, and none on the row through the middle
        assert all(ky % 2 == 1 and kx % 2 == 0 and kx != 0 for ky, kx in ghosts["y"])
        assert {ky for ky, kx in ghosts["y"] if kx == 2} >= {-3, -1, 1, 3}
        assert {(kx, ky) for ky, kx in ghosts["x"]} == ghosts["y"]
        # polarized along the beam: half orders along both at once
        assert all(ky % 2 == 1 and kx % 2 == 1 for ky, kx in ghosts["beam"])
        # and much weaker: under a thirtieth of the intensity
        strongest = {axis: max(found[axis][k] for k in ghosts[axis]) for axis in AXIS}
        assert 0.0 < strongest["beam"] ** 2 < strongest["y"] ** 2 / 30.0


def test_a_relaxed_file_replaces_the_model():
    mine, _ = boracite_pair()
    cycled = replace(mine, lattice_pm=mine.lattice_pm[[2, 0, 1]], fractional=mine.fractional[:, [2, 0, 1]], name="mine")
    for axis, opposite in DOMAINS:
        assert same_crystal(boracite(axis, opposite=opposite, relaxed=cycled), boracite(axis, opposite=opposite))
    with pytest.raises(StructureError, match="√2 times") as caught:
        boracite("x", relaxed=preset("SrTiO3"))
    assert "390.5" in caught.value.got
    with pytest.raises(SettingsError, match="no polarization"):
        boracite(opposite=True)
    with pytest.raises(SettingsError, match="axis of the image"):
        boracite("z")


# --- files

CIF = """data_test
_symmetry_space_group_name_H-M '{group}'
_cell_length_a {cell[0]}
_cell_length_b {cell[1]}
_cell_length_c {cell[2]}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma {gamma}
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
{column}
{atoms}
"""


@pytest.fixture
def cif(tmp_path):
    """Return a function that writes a CIF and returns the file."""

    def write(atoms: str, *, group="P 1", cell=(3.9, 3.9, 4.1), gamma=90, column="", name="made.cif"):
        file = tmp_path / name
        file.write_text(CIF.format(group=group, cell=cell, gamma=gamma, column=column, atoms=atoms))
        return file

    return write


BFO = "Bi1 Bi 0 0 0.25 1 0.0054\nFe1 Fe3+ 0 0 0.4712 1 0.0047\nO1 O2- 0.443 0.012 0.2043 1 0.0081"


def test_a_cif_is_read_with_its_symmetry_and_thermal_displacements(cif):
    file = cif(BFO, group="R 3 c", cell=(5.57874, 5.57874, 13.8688), gamma=120, column=" _atom_site_U_iso_or_equiv")
    crystal = read_structure(file)
    assert same_crystal(crystal, preset("BiFeO3"), within_pm=0.01)
    rms = dict(zip(symbols_of(crystal.numbers), crystal.rms_pm, strict=True))
    assert rms == pytest.approx({"Bi": 7.348, "Fe": 6.856, "O": 9.0}, abs=1e-3)
    assert "from the file (Bi, Fe, O)" in crystal.source


def test_b_and_u_are_the_same_thing_and_what_is_missing_is_usual_or_given(cif):
    file = cif("Pb1 Pb 0 0 0 1 0.8\nTi1 Ti .5 .5 .54 1 ?", column=" _atom_site_B_iso_or_equiv")
    crystal = read_structure(file)
    assert crystal.rms_pm.tolist() == pytest.approx([100 * (0.8 / (8 * np.pi**2)) ** 0.5, usual_rms_pm()["Ti"]])
    assert "from the file (Pb); usual values of the element (Ti)" in crystal.source
    given = read_structure(file, rms_pm={"Ti": 6.0})
    assert given.rms_pm[1] == 6.0 and "as given (Ti)" in given.source


def test_anisotropic_displacements_become_their_mean_over_directions(cif):
    file = cif("Pb1 Pb 0 0 0 1", cell=(5.0, 5.0, 9.0), gamma=120)
    names = " ".join(f"_atom_site_aniso_U_{ij}" for ij in ("11", "22", "33", "12", "13", "23"))
    loop = "loop_\n _atom_site_aniso_label\n" + names.replace(" ", "\n") + "\nPb1 0.01 0.01 0.004 0.005 0 0\n"
    file.write_text(file.read_text() + loop)
    # on a threefold axis U12 = U11 / 2, and U across it is the same in all directions
    assert read_structure(file).rms_pm.tolist() == pytest.approx([100 * ((2 * 0.01 + 0.004) / 3) ** 0.5])


def test_a_mixed_crystal_keeps_both_on_one_place(cif):
    crystal = read_structure(cif("La1 La 0 0 0 0.7\nSr1 Sr 0 0 0 0.3\nMn1 Mn .5 .5 .5 1"))
    assert crystal.occupancy.tolist() == [0.7, 0.3, 1.0]
    with pytest.raises(StructureError, match=r"La \(atom 1\) and Sr \(atom 2\)"):
        read_structure(cif("La1 La 0 0 0 0.7\nSr1 Sr 0 0 0 0.7"))


def test_files_that_say_too_little_are_refused_with_the_line_to_type(cif, tmp_path):
    with pytest.raises(SettingsError, match="for K none are usual") as caught:
        read_structure(cif("K1 K 0 0 0 1\nNb1 Nb .5 .5 .5 1"))
    assert 'rms_pm={"K": 10.0}' in caught.value.do
    assert read_structure(tmp_path / "made.cif", rms_pm={"K": 10.0}).rms_pm[0] == 10.0
    with pytest.raises(SettingsError, match="by element, in pm") as caught:
        read_structure(tmp_path / "made.cif", rms_pm={"Kalium": 10.0, "K": -1.0})
    assert "Kalium" in caught.value.got and "K: -1.0" in caught.value.got
    with pytest.raises(FormatError, match="space group"):
        read_structure(cif("K1 K 0 0 0 1", group="P 7 7 7"))
    with pytest.raises(FormatError, match="of an element"):
        read_structure(cif("Q1 Q 0 0 0 1"))
    with pytest.raises(FormatError, match="CONTCAR"):
        read_structure(tmp_path / "structure.txt")
    with pytest.raises(StructureError, match="no cell: planes 39 pm apart"):
        read_structure(cif("Ti1 Ti 0 0 0 1", cell=(0.39, 0.39, 0.41)))  # nm for Å


def test_without_ase_a_poscar_is_refused_and_a_cif_is_not(cif, tmp_path, monkeypatch):
    def missing(name, *rest):
        if name.split(".")[0] == "ase":
            raise ImportError("No module named 'ase'")
        return real(name, *rest)

    real = importlib.import_module
    monkeypatch.setattr("dipolar.io.structures.importlib.import_module", missing)
    (tmp_path / "POSCAR").write_text("x")
    with pytest.raises(MissingExtraError, match="POSCAR") as caught:
        read_structure(tmp_path / "POSCAR")
    assert caught.value.do == 'pip install "dipolar[simulation]"'
    assert len(read_structure(cif("Ti1 Ti 0 0 0 1")).numbers) == 1


POSCAR = """PbTiO3
1.0
 3.904 0.0 0.0
 0.0 3.904 0.0
 0.0 0.0 4.150
 Pb Ti O
 1 1 3
Direct
 0.0 0.0 0.0
 0.5 0.5 0.541
 0.5 0.5 0.112
 0.5 0.0 0.612
 0.0 0.5 0.612
"""


@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR_relaxed", "film.vasp"])
def test_a_poscar_is_the_preset_that_it_describes(tmp_path, name):
    pytest.importorskip("ase")
    (tmp_path / name).write_text(POSCAR)
    crystal = read_structure(tmp_path / name)
    assert crystal.name == name and crystal.rms_pm[0] == usual_rms_pm()["Pb"]
    assert same_crystal(crystal, preset("PbTiO3"), within_pm=0.01)


VASPRUN = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator><i name="version" type="string">6.4.1</i></generator>
 <kpoints>
  <varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray>
 </kpoints>
 <atominfo>
  <atoms> 2 </atoms><types> 2 </types>
  <array name="atoms">
   <field type="string">element</field><field type="int">atomtype</field>
   <set><rc><c>Pb</c><c> 1</c></rc><rc><c>Ti</c><c> 2</c></rc></set>
  </array>
 </atominfo>
 <structure name="initialpos">
  <crystal><varray name="basis"><v>4 0 0</v><v>0 4 0</v><v>0 0 4</v></varray></crystal>
  <varray name="positions"><v>0 0 0</v><v>0.5 0.5 0.5</v></varray>
 </structure>
 {steps}
</modeling>
"""
ENERGY = '<energy><i name="e_fr_energy">-1</i><i name="e_wo_entrp">-1</i><i name="e_0_energy">-1</i></energy>'
STEP = """<calculation>
  <scstep>{energy}</scstep>
  <structure>
   <crystal><varray name="basis"><v>4 0 0</v><v>0 4 0</v><v>0 0 {c}</v></varray></crystal>
   <varray name="positions"><v>0 0 0</v><v>0.5 0.5 {z}</v></varray>
  </structure>
  <varray name="forces"><v>0 0 0</v><v>0 0 0</v></varray>
  {energy}
 </calculation>"""


def test_of_a_relaxation_the_last_step_counts(tmp_path):
    pytest.importorskip("ase")
    file = tmp_path / "vasprun.xml"
    steps = [STEP.format(c=c, z=z, energy=ENERGY) for c, z in ((4.0, 0.5), (4.2, 0.54))]
    file.write_text(VASPRUN.format(steps="".join(steps)))
    crystal = read_structure(file)
    np.testing.assert_allclose(np.diag(crystal.lattice_pm), [400.0, 400.0, 420.0])
    assert crystal.fractional[1, 2] == pytest.approx(0.54)


def test_damaged_files_of_vasp_are_one_message(tmp_path):
    pytest.importorskip("ase")
    for name, text in (("POSCAR", "PbTiO3\n1.0\n 3.9"), ("vasprun.xml", "<modeling>"), ("OUTCAR", "nothing")):
        (tmp_path / name).write_text(text)
        with pytest.raises(FormatError, match="file of VASP") as caught:
            read_structure(tmp_path / name)
        assert name in caught.value.got
    with pytest.raises(FormatError, match="structure file") as caught:
        read_structure(tmp_path / "sub" / "POSCAR")
    assert "no such file" in caught.value.got


@pytest.mark.parametrize("name", NAMES)
def test_ase_reads_the_same_atoms_from_a_cif(cif, name):
    ase_io = pytest.importorskip("ase.io")
    crystal = preset(name)
    lengths = np.linalg.norm(crystal.lattice_pm, axis=1) / 100.0
    rows = "\n".join(
        f"{symbol}{n} {symbol} {' '.join(f'{share:.8f}' for share in place)} {share:g}"
        for n, (symbol, place, share) in enumerate(
            zip(symbols_of(crystal.numbers), crystal.fractional.tolist(), crystal.occupancy.tolist(), strict=True)
        )
    )
    gamma = 120 if name in ("BiFeO3", "La0.7Sr0.3MnO3") else 90
    file = cif(rows, cell=tuple(lengths), gamma=gamma)
    mine, theirs = read_structure(file), ase_io.read(file)
    assert same_crystal(mine, crystal, within_pm=0.01)
    kept = mine.occupancy >= 0.5  # ASE has one atom per place
    assert sorted(mine.numbers[kept].tolist()) == sorted(theirs.numbers.tolist())
    assert volume_pm3(mine) == pytest.approx(theirs.get_volume() * 1e6)


def test_moving_the_origin_changes_no_crystal():
    for crystal in LIKE_CELLS:
        moved = shifted(crystal, (0.13, 0.29, 0.71))
        assert same_crystal(moved, crystal) and ((moved.fractional >= 0) & (moved.fractional < 1)).all()
