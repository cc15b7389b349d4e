"""Laws of scans whose patterns are computed from crystal structures."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from dipolar.cli.main import main
from dipolar.core.elements import symbols_of
from dipolar.core.errors import SettingsError, StructureError
from dipolar.core.structure import Structure, cartesian_pm, square_edges_pm, strained, turned
from dipolar.io.scans import open_scan
from dipolar.recipes.simulate_scan import simulate_scan as simulate_by_name
from dipolar.simulate.scan import simulate_scan
from dipolar.simulate.scan_computed import ComputedCrystal, lights
from dipolar.simulate.scan_frames import SimulatedFrames
from dipolar.simulate.scan_library import PIXEL_PM, SLICE_PM, intensities, library_of
from dipolar.simulate.scan_settings import VOLTAGE_KV, WAVELENGTH_PM, SimulatedScanSettings
from dipolar.simulate.scan_structure import ScanStructure, boracite_domains
from dipolar.simulate.scan_texture import domains_on, texture
from dipolar.simulate.structures import boracite, boracite_pair

HORIZONTAL, VERTICAL, BEAM, CUBIC = range(4)
NEAR = np.array([(y, x) for y in range(-8, 9) for x in range(-8, 9)])
"""Indices (y, x) of reflections in the cubic cell, half orders of the published picture being odd."""
ODD = NEAR % 2 != 0
MAIN = ~ODD.any(axis=1)
ALONG_X, ALONG_Y, MIDDLE = ~ODD[:, 0] & ODD[:, 1], ODD[:, 0] & ~ODD[:, 1], ODD.all(axis=1)
AXIS_X, AXIS_Y = ALONG_X & (NEAR[:, 0] == 0), ALONG_Y & (NEAR[:, 1] == 0)
FORBIDDEN = 1e-9
"""Share of the beam in a reflection that symmetry forbids, at most."""
UPPER = 1e-5
"""The same where only upper layers of the reciprocal lattice reach, which the Ewald sphere misses here."""


def projected(structure: Structure, parts: int = 12) -> Structure:
    """Return a crystal spread evenly along the beam: the zero layer of its reciprocal lattice and nothing else."""
    lattice, places = structure.lattice_pm.copy(), structure.fractional.copy()
    lattice[2] /= parts
    places[:, 2] = 0.0
    return replace(structure, lattice_pm=lattice, fractional=places, occupancy=structure.occupancy / parts)


def at(structure: Structure, thickness_nm: float = 6.0, tilt: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Return the intensities of `NEAR`."""
    most = float(np.abs(tilt).max())
    library = library_of(
        [structure], NEAR, thickness_nm=(thickness_nm, thickness_nm), tilt_mrad=most, voltage_kv=VOLTAGE_KV
    )
    return intensities(library, 0, np.array([thickness_nm]), np.array([tilt]))[0]


@pytest.fixture(scope="module")
def thin() -> list[np.ndarray]:
    """Return the intensities of all kinds of domains."""
    return [at(one) for one in boracite_domains().kinds]


@pytest.fixture(scope="module")
def flat() -> list[np.ndarray]:
    """Return those of their zero layers."""
    return [at(projected(one)) for one in boracite_domains().kinds]


@pytest.fixture(scope="module")
def bent() -> SimulatedFrames:
    """Return patterns of a bent crystal with domains."""
    return frames_of(structure=boracite_domains(thickness_nm=5.0, bend_mrad=0.3))


def frames_of(seed: int = 0, **changes: object) -> SimulatedFrames:
    usual = {"shape": (5, 6), "pattern_px": (48, 48), "structure": boracite_domains(thickness_nm=5.0, bend_mrad=0.0)}
    frames = simulate_scan(SimulatedScanSettings(**{**usual, **changes}), seed).scan.frames
    assert isinstance(frames, SimulatedFrames)
    return frames


def crystal_in(frames: SimulatedFrames) -> ComputedCrystal:
    assert isinstance(frames.crystal, ComputedCrystal)
    return frames.crystal


def test_the_zero_layer_has_no_reflection_that_symmetry_forbids(flat):
    for kind, ghosts in ((HORIZONTAL, ALONG_X), (VERTICAL, ALONG_Y), (BEAM, MIDDLE)):
        absent = ~MAIN & ~ghosts
        assert flat[kind][absent].max() < FORBIDDEN
        assert flat[kind][ghosts].sum() > 1e-4
    assert flat[CUBIC][~MAIN].max() < FORBIDDEN
    # half orders of a polar axis across the beam lie on rows beside the one through the direct beam
    assert max(flat[HORIZONTAL][AXIS_X].max(), flat[VERTICAL][AXIS_Y].max()) < FORBIDDEN


def test_upper_layers_add_next_to_nothing_to_what_the_zero_layer_forbids(thin):
    for kind in (BEAM, CUBIC):  # no layer has half orders along one axis alone
        assert thin[kind][ALONG_X | ALONG_Y].max() < FORBIDDEN
    assert thin[CUBIC][MIDDLE].max() < UPPER
    for kind, ghosts, axis in ((HORIZONTAL, ALONG_X, AXIS_X), (VERTICAL, ALONG_Y, AXIS_Y)):
        assert thin[kind][~MAIN & ~ghosts | axis].max() < UPPER
        assert thin[kind][ghosts].max() > 30.0 * UPPER
    assert thin[BEAM][MIDDLE].sum() < 0.2 * thin[HORIZONTAL][ALONG_X].sum()


def test_a_tilt_across_the_polar_axis_brings_the_row_through_the_beam():
    along, across = (at(projected(boracite("y")), 9.0, tilt) for tilt in ((1.0, 0.0), (0.0, 1.0)))
    assert along[AXIS_Y].max() < 1e-11 < 0.01 * across[AXIS_Y].max()


def test_turning_the_crystal_turns_the_reflections(thin):
    quarter = np.array([thin[VERTICAL][((x, -y) == NEAR).all(axis=1)][0] for y, x in NEAR])  # what was right is up
    np.testing.assert_allclose(at(turned(boracite("y"), 1)), quarter, rtol=2e-3, atol=2e-6)


def test_what_scatters_once_follows_structure_factors():
    from dipolar.simulate.multislice.scattering import scattering_factor_pm

    whole = boracite("y")
    faint = replace(whole, occupancy=np.full(len(whole.numbers), 0.01))
    depth = 1e-3 * square_edges_pm(whole)[2]
    got = at(faint, 2.0 * depth)
    k = np.column_stack([NEAR / square_edges_pm(whole)[:2], np.zeros(len(NEAR))])
    q = np.linalg.norm(k, axis=1)
    factor = np.zeros(len(NEAR), dtype=complex)
    for number, rms, place in zip(whole.numbers, whole.rms_pm, cartesian_pm(whole), strict=True):
        thermal = np.exp(-2.0 * np.pi**2 * rms**2 * q**2)
        factor += scattering_factor_pm(int(number), q) * thermal * np.exp(-2j * np.pi * k @ place)
    deviation = 0.5 * WAVELENGTH_PM * q**2 * 2e3 * depth  # excitation error times thickness
    expected = np.abs(factor * np.sinc(deviation)) ** 2
    rows = (q > 0) & (expected > 1e-3 * expected[q > 0].max())
    assert (rows & ALONG_Y).sum() > 10
    np.testing.assert_allclose(got[rows] / got[rows].sum(), expected[rows] / expected[rows].sum(), rtol=0.2, atol=2e-4)
    for ghosts in (MAIN & (q > 0), ALONG_Y):
        share = expected[ghosts].sum() / expected[q > 0].sum()
        assert got[ghosts].sum() / got[q > 0].sum() == pytest.approx(share, rel=0.06)


def test_between_thicknesses_and_tilts_it_is_what_the_engine_says():
    from dipolar.simulate.multislice import Fineness, diffraction

    structure, tilt = boracite("x"), (0.7, -0.45)
    period = 1e-3 * square_edges_pm(structure)[2]
    thickness = 13 * period  # rows are two periods apart
    library = library_of([structure], NEAR, thickness_nm=(14.0, 17.0), tilt_mrad=1.2, voltage_kv=VOLTAGE_KV)
    assert library.step_nm[0] == pytest.approx(2.0 * period)
    found = intensities(library, 0, np.array([thickness]), np.array([tilt]))[0]
    exact = diffraction(
        structure, thicknesses_nm=(thickness,), voltage_kv=VOLTAGE_KV, largest_mrad=25.0, tilt_mrad=tilt,
        fineness=Fineness(pixel_pm=PIXEL_PM, slice_pm=SLICE_PM),
    )  # fmt: skip
    index = np.rint(exact.frequencies_per_pm * square_edges_pm(structure)[:2]).astype(int)
    true = {tuple(one): value for one, value in zip(index.tolist(), exact.intensity[0].tolist(), strict=True)}
    expected = np.array([true.get(tuple(one), 0.0) for one in NEAR.tolist()])
    for group, worst in ((MAIN, 0.01), (ALONG_X, 0.04)):
        assert np.abs(found - expected)[group].sum() < worst * expected[group].sum()
    many = intensities(library, 0, np.linspace(14.0, 17.0, 300), np.linspace((-1.2, 1.2), (1.2, -1.2), 300))
    assert many.min() >= 0.0
    assert np.abs(np.diff(many, axis=0)).max() < 0.03  # no jumps from one to the next


def test_patterns_are_the_same_however_they_are_read(bent):
    at_once = bent.read(0, bent.count)
    for step in (1, 20):
        pieces = [bent.read(start, min(start + step, bent.count)) for start in range(0, bent.count, step)]
        np.testing.assert_array_equal(np.concatenate(pieces), at_once)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(bent)).read(10, 20), at_once[10:20])
    assert bent.read(5, 5).shape == (0, 48, 48)


def test_counts_are_those_expected_with_the_noise_of_counting(bent):
    patterns = bent.read(0, bent.count).astype(np.float64)
    mean = np.stack([bent.expected(number) for number in range(bent.count)])
    good = ~bent.defects.all & (mean.min(axis=0) > 2.0)
    z = ((patterns - mean) / np.sqrt(np.maximum(mean, 1e-9)))[:, good]
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(1.0, abs=0.03)
    falls_on_it = bent.electrons * crystal_in(bent).caught
    np.testing.assert_allclose(mean[:, ~bent.defects.all].sum(axis=1), falls_on_it, rtol=0.03)


def test_shares_of_light_add_up_and_walls_superpose_their_sides(bent):
    crystal, mixture = crystal_in(bent), np.array([[0.2, 0.4, 0.1, 0.3]])
    thickness, tilt = np.array([1.1]), np.array([[0.3, -0.2]])
    together = lights(crystal, mixture, thickness, tilt)
    parts = sum(share * lights(crystal, np.eye(4)[[kind]], thickness, tilt) for kind, share in enumerate(mixture[0]))
    np.testing.assert_allclose(together, parts, rtol=1e-6, atol=1e-12)
    assert together.sum() == pytest.approx(1.0, rel=1e-9)
    assert together.min() >= 0.0


def test_ghosts_lie_where_the_classes_of_the_truth_say(bent):
    crystal, one = crystal_in(bent), np.ones(1)
    half = np.rint(2.0 * crystal.place_px / bent.settings.lattice_length_px).astype(int)  # (y, x), in half vectors
    for pure, along, other in ((np.eye(4)[:1], 1, 0), (np.eye(4)[1:2], 0, 1)):
        light = lights(crystal, pure, one, np.zeros((1, 2)))[0, :-1]
        ghosts, wrong = ((half[:, axis] % 2 != 0) & (half[:, 1 - axis] % 2 == 0) for axis in (along, other))
        assert light[ghosts].sum() > 1e-3 > 100.0 * light[wrong].sum()
        assert light[np.abs(half).max(axis=1) == 0] == light.max()  # the direct beam of so thin a crystal


def test_turning_the_crystal_turns_the_pattern_and_what_bending_does_to_it(bent):
    upright, calm = crystal_in(bent), {"descan_px": 0.0, "jitter_px": 0.0, "beam_px": (23.5, 23.5)}
    turned_by = crystal_in(frames_of(rotation_deg=90.0, **calm))
    # dy, dx of what pointed right is what points up now
    assert np.array_equal(turned_by.index[0], [0, 0]) and np.array_equal(upright.index[0], [0, 0])
    place = {tuple(one): at for one, at in zip(upright.index.tolist(), upright.place_px, strict=True)}
    for one, (y, x) in zip(turned_by.index.tolist(), turned_by.place_px, strict=True):
        if tuple(one) in place:
            np.testing.assert_allclose(place[tuple(one)], (x, -y), atol=1e-9)
    both = replace(upright, turn=turned_by.turn)
    tilt, quarter, one = np.array([[0.8, -0.5]]), np.array([[0.5, 0.8]]), np.array([1.0])
    for pure in np.eye(4)[:, None]:
        plain = lights(upright, pure, one, tilt)
        np.testing.assert_allclose(lights(both, pure, one, quarter), plain, rtol=1e-5, atol=1e-9)
        assert np.abs(lights(both, pure, one, -quarter) - plain).sum() > 1e-3


def test_leaning_walls_are_the_mean_over_all_depths():
    settings = SimulatedScanSettings(shape=(24, 40), none_fraction=0.0)
    made = texture(settings, np.random.default_rng(3))
    straight = domains_on(made, settings.shape, wall_width=1.5)
    flat = domains_on(made, settings.shape, wall_width=1.5, overlap_steps=np.zeros(settings.shape))
    np.testing.assert_array_equal(flat.mixture, straight.mixture)
    assert [wall.width for wall in flat.walls] == pytest.approx([1.5] * len(flat.walls))
    lean = np.linspace(0.5, 6.0, settings.shape[0] * settings.shape[1]).reshape(settings.shape)
    leaning = domains_on(made, settings.shape, wall_width=1.5, overlap_steps=lean)
    signed = np.where(straight.mixture[..., 0] > 0.5, straight.distance, -straight.distance)
    depths = np.linspace(-0.5, 0.5, 4001)
    mean = np.mean([0.5 + 0.5 * np.tanh(2.0 * (signed + depth * lean) / 1.5) for depth in depths], axis=0)
    np.testing.assert_allclose(leaning.mixture[..., 0], mean, atol=2e-4)
    sharp = domains_on(made, settings.shape, wall_width=0.0, overlap_steps=lean).mixture[..., 0]
    np.testing.assert_allclose(sharp, np.clip(0.5 + signed / lean, 0.0, 1.0), atol=1e-9)
    # the width that is told is that of a tanh whose slope has the same variance as that of the average wall
    place = np.linspace(-20.0, 20.0, 4001)
    slope = np.gradient(np.mean([0.5 * np.tanh(2.0 * (place + depth * lean.mean()) / 1.5) for depth in depths], axis=0))
    width = 4.0 * np.sqrt(3.0) / np.pi * np.sqrt(np.sum(slope * place**2) / slope.sum())
    assert leaning.walls[0].width == pytest.approx(width, rel=1e-3)


def test_the_overlap_follows_from_thickness_and_lean():
    structure = boracite_domains(thickness_nm=30.0, wall_tilt_deg=45.0)
    np.testing.assert_allclose(structure.overlap_steps(np.array([[1.0, 2.0]]), 10.0), [[3.0, 6.0]])


def test_what_has_no_place_beside_a_structure_is_refused():
    with pytest.raises(SettingsError, match="out of range") as told:
        frames_of(ghost_strength=0.1, bend=0.2)
    assert "ghost_strength" in str(told.value) and "bend = 0.2 (follows from the structure" in str(told.value)
    with pytest.raises(SettingsError, match="belong to a structure"):
        simulate_by_name(thickness_nm=30.0, wall_tilt_deg=10.0)
    with pytest.raises(SettingsError, match="the length of lattice vectors is given"):
        simulate_by_name(largest_mrad=20.0, lattice_px=20)
    with pytest.raises(SettingsError, match="wall_tilt_deg = 80"):
        boracite_domains(wall_tilt_deg=80.0)
    domains = boracite_domains()
    with pytest.raises(StructureError, match="with the same edges"):
        replace(domains, cubic=strained(domains.cubic, 0.05 * np.eye(3)))


def test_the_camera_length_follows_from_the_largest_angle():
    scan = simulate_by_name(scan_shape="3,3", pattern_px="64", largest_mrad=16.0).scan
    assert scan.pixel_mrad == pytest.approx(0.5)
    from dipolar.simulate.multislice.optics import wavelength_pm

    assert pytest.approx(wavelength_pm(VOLTAGE_KV), rel=1e-5) == WAVELENGTH_PM
    settings = SimulatedScanSettings(structure=boracite_domains())
    assert settings.pixel_mrad * settings.lattice_length_px == pytest.approx(3.255, abs=0.01)


def cif(structure: Structure, path) -> str:
    """Write a structure with right angles as a CIF without symmetry; return its path."""
    lengths = np.linalg.norm(structure.lattice_pm, axis=1) / 100.0
    head = [f"_cell_length_{name} {length:.8f}" for name, length in zip("abc", lengths, strict=True)]
    head += [f"_cell_angle_{name} 90" for name in ("alpha", "beta", "gamma")]
    columns = ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "U_iso_or_equiv"]
    rows = [
        f"{symbol}{n} {symbol} {x:.8f} {y:.8f} {z:.8f} {(rms / 100.0) ** 2:.8f}"
        for n, (symbol, (x, y, z), rms) in enumerate(
            zip(symbols_of(structure.numbers), structure.fractional, structure.rms_pm, strict=True)
        )
    ]
    loop = ["loop_", *(f"_atom_site_{name}" for name in columns), *rows]
    path.write_text("\n".join(["data_made", "_space_group_name_H-M_alt 'P 1'", *head, *loop, ""]), encoding="utf-8")
    return str(path)


def test_the_command_takes_your_own_structures(bent, tmp_path, capsys):
    polar, parent = boracite_pair()
    files = [cif(polar, tmp_path / "polar.cif"), cif(parent, tmp_path / "parent.cif")]
    out = tmp_path / "scan"
    small = {"scan_shape": "4,6", "pattern_px": "48", "structure": "boracite", "thickness_nm": 5.0, "bend_mrad": 0.0}
    options = [word for name, value in small.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = ["simulate", "scan", "--out", str(out), *options, "--polar-file", files[0], "--parent-file", files[1]]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    written = open_scan(told["scans"][0]).frames.read(0, 24)
    made = simulate_by_name(**small, polar_file=files[0], parent_file=files[1]).scan.frames
    np.testing.assert_array_equal(written, made.read(0, 24))
    assert isinstance(made, SimulatedFrames)
    one, tilt = np.ones(1), np.zeros((1, 2))
    for pure in np.eye(4)[:, None]:  # the files hold the model that comes with dipolar
        plain = lights(crystal_in(bent), pure, one, tilt)
        np.testing.assert_allclose(lights(crystal_in(made), pure, one, tilt), plain, rtol=0.02, atol=1e-5)
    assert set(json.loads((out / "run.json").read_text(encoding="utf-8"))["inputs"]) == {"polar.cif", "parent.cif"}
    assert main(["verify", str(out)]) == 0


def test_a_cubic_parent_may_come_in_its_own_cell():
    own = boracite_domains(parent=replace(boracite(), frame="crystal"))
    assert isinstance(own, ScanStructure)
    np.testing.assert_allclose(square_edges_pm(own.cubic), 1210.0)
    np.testing.assert_allclose(at(own.cubic)[MAIN], at(boracite())[MAIN], atol=0.02)
