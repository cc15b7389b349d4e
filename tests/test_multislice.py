"""Multislice: the laws that it obeys, and independent ways to the same numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.errors import DataError, SettingsError, StructureError
from dipolar.core.structure import Structure, shifted, supercell, turned
from dipolar.simulate.multislice import (
    Fineness,
    Microscope,
    annular_images,
    diffraction,
    fit_columns,
    formula_cell_parts,
    mean_cell,
    nearest_distance_pm,
    scattering_factor_pm,
    sites_of,
    wavelength_pm,
    waves,
)
from dipolar.simulate.multislice import images as module
from dipolar.simulate.multislice.optics import mass_ratio
from dipolar.simulate.multislice.plane import grid_of, period_of
from dipolar.simulate.multislice.scattering import BOHR_PM, projected_per_pm
from dipolar.simulate.multislice.slices import cut
from dipolar.simulate.multislice.thermal import Kind, amplitude_pm, born_factor_pm, diffuse_factor_pm2, mean_factor_pm

EDGE_PM = 400.0
COARSE = Fineness(pixel_pm=11.2, slice_pm=200.0, field_pm=800.0)
SCOPE = Microscope(convergence_mrad=20.0, inner_mrad=40.0, outer_mrad=150.0)


def perovskite(
    b_offset=(0.0, 0.0), *, edge=(EDGE_PM, EDGE_PM, EDGE_PM), numbers=(56, 22), rms=(12.0, 12.0), o_rms=12.0
) -> Structure:
    """A cubic perovskite with its planes of atoms in the middle of slices of half a cell."""
    fractional = np.array([[0, 0, 0.25], [0.5, 0.5, 0.75], [0.5, 0.5, 0.25], [0.5, 0, 0.75], [0, 0.5, 0.75]])
    fractional[1, :2] += np.array(b_offset) / np.array(edge[:2])
    return Structure(
        name="perovskite",
        lattice_pm=np.diag(np.array(edge, dtype=np.float64)),
        fractional=fractional,
        numbers=np.array([*numbers, 8, 8, 8], dtype=np.int64),
        occupancy=np.ones(5),
        rms_pm=np.array([*rms, o_rms, o_rms, o_rms]),
        source="handmade",
        frame="image",
    )


def images(structure, *, scope=SCOPE, nm=(4.0,), fineness=COARSE, **more):
    return annular_images(structure, scope, thicknesses_nm=nm, probe_step_pm=25.0, fineness=fineness, **more)


def close(one, two, *, relative=2e-4):
    assert one.shape == two.shape
    assert np.abs(one - two).max() < relative * np.abs(two).max()


# ---------------------------------------------------------------------------------------------------------- scattering


def test_atoms_scatter_as_the_nucleus_does_at_large_angles():
    for number in (1, 6, 8, 22, 26, 38, 56, 83, 103):
        q = 0.6
        nucleus = number / (2.0 * np.pi**2 * BOHR_PM * q**2)
        assert scattering_factor_pm(number, np.array(q)) == pytest.approx(nucleus, rel=0.02), number


def test_scattering_factors_fall_from_a_finite_value():
    q = np.linspace(0.0, 0.2, 300)
    for number in range(1, 104):
        f = scattering_factor_pm(number, q)
        assert np.isfinite(f).all() and (np.diff(f) < 0).all() and (f > 0).all(), number
        assert 10.0 < f[0] < 2500.0, number


def test_scattering_factors_are_those_of_another_program():
    parametrizations = pytest.importorskip("abtem.parametrizations")
    for symbol, number in (("O", 8), ("Ti", 22), ("Fe", 26), ("Bi", 83)):
        theirs = parametrizations.LobatoParametrization().scattering_factor(symbol)
        q = np.array([0.05, 0.3, 1.0, 3.0, 8.0])
        assert scattering_factor_pm(number, q / 100) == pytest.approx(100 * np.asarray(theirs(q**2)), rel=1e-4)


def test_an_unknown_element_is_refused():
    with pytest.raises(DataError, match="got:  atomic number 104"):
        scattering_factor_pm(104, np.array(0.0))


def test_wavelengths_are_the_known_ones():
    assert wavelength_pm(200.0) == pytest.approx(2.5079, abs=1e-4)
    assert wavelength_pm(80.0) == pytest.approx(4.1757, abs=1e-4)


# ------------------------------------------------------------------------------------------------- thermal scattering


@pytest.fixture(scope="module")
def fine_plane():
    """Spatial frequencies of a large, fine grid for a single atom."""
    size, pixel = 512, 1.5
    k = np.fft.fftfreq(size, pixel)
    return np.hypot(k[:, None], k[None]), size, pixel


@pytest.mark.parametrize("number", [26, 83])
def test_diffuse_scattering_into_all_angles_is_what_the_mean_wave_loses(fine_plane, number):
    """The integral over all directions, against 1 - |⟨exp(iφ)⟩|² behind a vibrating atom on a grid."""
    q, size, pixel = fine_plane
    rms, area = 8.0, (size * pixel) ** 2
    strength = mass_ratio(200.0) * wavelength_pm(200.0)
    smear = np.exp(-2.0 * (np.pi * rms * q) ** 2)
    phase = np.fft.fft2(strength * scattering_factor_pm(number, q)).real / area
    mean = np.fft.ifft2(np.fft.fft2(np.exp(1j * phase)) * smear)
    radii = np.linspace(0.0, 0.12, 200)
    factor = np.interp(q, radii, diffuse_factor_pm2([Kind(number, 1.0, rms)], radii, voltage_kv=200.0), right=0.0)
    ours = np.fft.fft2(factor).real / area
    lost = 1.0 - np.abs(mean) ** 2
    behind = 1.0 + 1j * strength * np.fft.fft2(mean_factor_pm([Kind(number, 1.0, rms)], q, voltage_kv=200.0)) / area
    for place in (0, 4, 8, 16):  # pixels from the nucleus
        assert ours[0, place] == pytest.approx(lost[0, place], rel=0.02, abs=0.01 * lost[0, 0])
        assert abs(behind[0, place] - mean[0, place]) < 0.02


def test_light_atoms_scatter_as_born_says_and_heavy_ones_less():
    q = np.array([0.0, 0.03, 0.06])
    for number, low, high in ((1, 0.995, 1.001), (8, 0.97, 1.0), (83, 0.5, 0.95)):
        ratio = np.abs(amplitude_pm(number, 200.0, q)) / scattering_factor_pm(number, q)
        assert ((ratio > low) & (ratio < high)).all(), (number, ratio)


def test_the_phase_of_an_atom_is_the_transform_of_its_amplitude(fine_plane):
    q, size, pixel = fine_plane
    ours = np.fft.fft2(scattering_factor_pm(38, q) * np.exp(-2.0 * (np.pi * 6.0 * q) ** 2)).real / (size * pixel) ** 2
    place = np.arange(20, 100, 20)
    assert ours[0, place] == pytest.approx(projected_per_pm(38, place * pixel), rel=0.03)


def test_rings_of_a_detector_add_up():
    site, q = [Kind(83, 1.0, 9.0)], np.array([0.0, 0.01, 0.03])
    whole = diffuse_factor_pm2(site, q, voltage_kv=200.0, inner_per_pm=0.026, outer_per_pm=0.1)
    inner = diffuse_factor_pm2(site, q, voltage_kv=200.0, inner_per_pm=0.026, outer_per_pm=0.05)
    outer = diffuse_factor_pm2(site, q, voltage_kv=200.0, inner_per_pm=0.05, outer_per_pm=0.1)
    assert inner + outer == pytest.approx(whole, rel=1e-5)


def test_the_mean_over_an_aperture_is_what_its_plane_waves_see_one_by_one():
    """The detector moves over the pattern of each plane wave; their mean is what the whole aperture gives at q = 0."""
    site, alpha, rng = [Kind(38, 1.0, 9.0)], 0.01, np.random.default_rng(3)
    whole = diffuse_factor_pm2(site, np.zeros(1), voltage_kv=200.0, inner_per_pm=0.026, outer_per_pm=0.08,
                               aperture_per_pm=alpha)[0]  # fmt: skip
    narrow = diffuse_factor_pm2(site, np.zeros(1), voltage_kv=200.0, inner_per_pm=0.026, outer_per_pm=0.08)[0]
    s = np.linspace(1e-5, 0.12, 4000)
    light = np.abs(amplitude_pm(38, 200.0, s)) ** 2 * (1.0 - site[0].smear(s) ** 2)
    place = alpha * np.sqrt(rng.uniform(size=400)) * np.exp(2j * np.pi * rng.uniform(size=400))
    turn = np.exp(2j * np.pi * (np.arange(72) + 0.5) / 72)
    far = np.abs(s[None, :, None] * turn[None, None] + place[:, None, None])
    seen = ((far > 0.026) & (far < 0.08)).mean(axis=(0, 2))
    plain = (mass_ratio(200.0) * wavelength_pm(200.0)) ** 2 * 2 * np.pi * np.trapezoid(light * seen * s, s)
    assert whole == pytest.approx(plain, rel=0.01) and whole > 1.02 * narrow


def test_an_atom_at_rest_scatters_nothing_diffusely_and_chance_occupancy_does():
    q = np.array([0.0, 0.02])
    assert np.abs(diffuse_factor_pm2([Kind(38, 1.0, 0.0)], q, voltage_kv=200.0)).max() < 1e-12
    mixed = [Kind(38, 0.5, 0.0), Kind(38, 0.5, 0.0)]  # two of the same kind are one
    assert np.abs(diffuse_factor_pm2(mixed, q, voltage_kv=200.0)).max() < 1e-12
    assert diffuse_factor_pm2([Kind(38, 0.5, 0.0)], q, voltage_kv=200.0)[0] > 1.0
    assert born_factor_pm(mixed, q) == pytest.approx(scattering_factor_pm(38, q))
    assert mean_factor_pm(mixed, q, voltage_kv=200.0) == pytest.approx(amplitude_pm(38, 200.0, q))


# ----------------------------------------------------------------------------------------------------------- the grid


def test_the_smallest_period_is_found():
    plain = period_of(perovskite())
    for repeats in ((2, 2, 1), (1, 3, 1), (2, 1, 1)):
        period = period_of(supercell(perovskite(), repeats))
        assert period.area_pm2 == pytest.approx(plain.area_pm2) and len(period.numbers) == 5
    period = period_of(chess_board())
    assert period.area_pm2 == pytest.approx(2 * plain.area_pm2) and len(period.numbers) == 10
    assert np.linalg.norm(period.vectors_pm, axis=1) == pytest.approx(np.sqrt(2) * EDGE_PM)


def test_images_do_not_depend_on_the_cell_they_are_asked_for():
    one = images(perovskite((20.0, 5.0)))
    two = images(supercell(perovskite((20.0, 5.0)), (1, 2, 2)))
    close(two.data[:, :, : two.data.shape[2] // 2], one.data)


def chess_board():
    """Four cells in one whose oxygen moves to and fro, as in octahedra that turn in opposite ways."""
    whole = supercell(perovskite(), (2, 2, 1))
    moved = whole.fractional.copy()
    oxygen = np.flatnonzero((whole.numbers == 8) & (moved[:, 2] < 0.5))
    cell = np.floor(2.0 * moved[oxygen, :2] + 1e-9)
    moved[oxygen, 0] += 0.02 * np.where(cell.sum(axis=1) % 2 == 0, 1.0, -1.0)
    return replace(whole, fractional=moved)


def test_the_mean_cell_of_like_cells_is_one_of_them():
    whole = supercell(perovskite((20.0, 5.0)), (2, 3, 2))
    parts = formula_cell_parts(whole, 56)
    assert parts == (2, 3, 2)
    mean = mean_cell(whole, parts)
    assert mean.occupancy == pytest.approx(1.0) and len(mean.numbers) == 5
    close(images(mean).data, images(perovskite((20.0, 5.0))).data)


def test_the_mean_cell_keeps_atoms_and_columns_where_only_oxygen_differs():
    mean = mean_cell(chess_board(), (2, 2, 1))
    assert mean.occupancy[mean.numbers == 8].sum() == pytest.approx(3.0) and (mean.numbers == 8).sum() == 4
    fine = Fineness(pixel_pm=11.2, field_pm=1600.0)
    both = [images(structure, nm=(2.0,), fineness=fine) for structure in (mean, chess_board())]
    size = both[0].data.shape[1]
    whole = both[1].data[0].reshape(2, size, 2, size).mean(axis=(0, 2))
    assert np.abs(both[0].data[0] - whole).max() < 0.01 * whole.max()


# --------------------------------------------------------------------------------------------------------- the engine


def test_a_supercell_computed_the_plain_way_gives_the_same(monkeypatch):
    """The same images from probes on a field of 3 × 3 cells, one by one, with NumPy."""
    monkeypatch.setattr(module, "NEGLIGIBLE", 0.0)  # with every pixel
    structure, scope, cells = perovskite((15.0, 0.0)), SCOPE, 3
    fine = Fineness(pixel_pm=11.2, field_pm=cells * EDGE_PM, shift=(0.0, 0.0))
    ours = images(structure, fineness=fine, nm=(2.0, 4.0), tilt_mrad=(8.0, -3.0))
    period = period_of(structure)
    grid = grid_of(period, fine.pixel_pm)
    detector = (scope.frequency_per_pm(scope.inner_mrad), scope.frequency_per_pm(scope.outer_mrad))
    slices = cut(
        period, grid, voltage_kv=scope.voltage_kv, slice_pm=200.0, detector_per_pm=detector,
        aperture_per_pm=scope.aperture_per_pm,
    )  # fmt: skip
    factor, weight = (np.tile(array, (1, cells, cells)) for array in (slices.transmission, slices.weight))
    size = factor.shape[1]
    k = np.stack(np.meshgrid(*[np.fft.fftfreq(size, cells * EDGE_PM / size)] * 2, indexing="ij"), axis=-1)
    length = np.linalg.norm(k, axis=-1)
    inside = length <= grid.band_per_pm
    wave = scope.wavelength_pm
    step = slices.thickness_pm
    way = np.exp(-1j * np.pi * wave * step * length**2 - 2j * np.pi * step * (k @ np.array([8e-3, -3e-3]))) * inside
    half = np.exp(-0.5j * np.pi * wave * step * length**2 - 1j * np.pi * step * (k @ np.array([8e-3, -3e-3]))) * inside
    pupil = scope.pupil(k, 1.0 / (cells * EDGE_PM))
    pupil = pupil / np.sqrt(np.sum(np.abs(pupil) ** 2))
    ring = inside & (length >= detector[0]) & (length < detector[1])
    for place in ((0.0, 0.0), (130.0, 70.0), (200.0, 200.0)):
        psi = pupil * np.exp(-2j * np.pi * (k @ np.array(place))) * half
        signal, found = 0.0, []
        for number in range(20):
            real = np.fft.ifft2(psi) * size**2
            signal += float(np.mean(np.abs(real) ** 2 * weight[number % 2]))
            psi = np.fft.fft2(real * factor[number % 2]) / size**2 * way
            if number + 1 in (10, 20):
                found.append(signal + float(np.sum(np.abs(psi[ring]) ** 2)))
        assert ours.at(np.array([place]))[:, 0] == pytest.approx(found, rel=2e-4)


def test_without_absorption_no_electron_is_lost():
    everything = Microscope(convergence_mrad=20.0, inner_mrad=0.0, outer_mrad=180.0)
    fine = Fineness(pixel_pm=4.5, field_pm=400.0)
    found = images(perovskite(), scope=everything, nm=(2.0, 4.0), fineness=fine, absorption=False)
    assert np.abs(found.data - 1.0).max() < 2e-3


def test_what_the_wave_loses_is_what_scatters_diffusely():
    everything = Microscope(convergence_mrad=20.0, inner_mrad=0.0, outer_mrad=1570.0)
    elastic = Microscope(convergence_mrad=20.0, inner_mrad=0.0, outer_mrad=1e-3)  # its detector sees nothing diffuse
    fine = Fineness(pixel_pm=6.7, field_pm=400.0)
    whole = images(perovskite(), scope=everything, nm=(4.0,), fineness=fine).data
    assert images(perovskite(), scope=elastic, nm=(4.0,), fineness=fine).data.max() < 1e-3
    assert np.abs(whole - 1.0).max() < 0.02


def test_next_to_no_atoms_give_next_to_no_signal():
    empty = perovskite()
    thin = replace(empty, occupancy=np.full(5, 1e-9))
    assert np.abs(images(thin).data).max() < 1e-6
    assert images(empty).data.min() > 1e-3


def test_turning_the_crystal_turns_the_image():
    plain, quarter = images(perovskite((20.0, 0.0))), images(turned(perovskite((20.0, 0.0)), 1))
    size = plain.data.shape[1]
    # counter-clockwise on the screen about the origin: what is at (y, x) goes to (-x, y)
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    assert np.abs(plain.data[0] - plain.data[0][(-x) % size, y]).max() > 0.02 * plain.data.max()
    expected = np.zeros_like(plain.data[0])
    expected[(-x) % size, y] = plain.data[0]
    close(quarter.data[0], expected)


def test_turning_crystal_and_tilt_turns_the_image():
    plain = images(perovskite((20.0, 0.0)), tilt_mrad=(10.0, 4.0))
    quarter = images(turned(perovskite((20.0, 0.0)), 1), tilt_mrad=(-4.0, 10.0))
    size = plain.data.shape[1]
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    expected = np.zeros_like(plain.data[0])
    expected[(-x) % size, y] = plain.data[0]
    close(quarter.data[0], expected)


def test_opposite_tilts_of_a_crystal_with_a_mirror_are_mirror_images():
    one, other = (images(perovskite(), tilt_mrad=(0.0, tilt)).data for tilt in (12.0, -12.0))
    assert np.abs(one - other).max() > 0.02 * one.max()
    close(np.roll(other[:, :, ::-1], 1, axis=2), one)


def test_moving_the_crystal_moves_the_image():
    moved = images(shifted(perovskite((20.0, 0.0)), (0.25, 0.0, 0.0)), tilt_mrad=(5.0, 0.0))
    plain = images(perovskite((20.0, 0.0)), tilt_mrad=(5.0, 0.0))
    close(moved.data, np.roll(plain.data, plain.data.shape[1] // 4, axis=1))


def test_a_tilted_beam_is_a_sheared_crystal():
    """The sign of the tilt: a beam that leans to +y in an upright crystal, or a crystal whose columns lean to -y."""
    cells, tilt = 8, (14.0, -6.0)
    tall = supercell(perovskite((10.0, 0.0)), (1, 1, cells))
    places = tall.fractional @ tall.lattice_pm
    leaning = places - np.outer(places[:, 2], [1e-3 * tilt[0], 1e-3 * tilt[1], 0.0])
    sheared = replace(tall, fractional=leaning @ np.linalg.inv(tall.lattice_pm))
    thick = cells * EDGE_PM * 1e-3
    close(images(sheared, nm=(thick,)).data, images(perovskite((10.0, 0.0)), nm=(thick,), tilt_mrad=tilt).data)


def test_columns_of_a_thin_tilted_crystal_move_against_the_tilt():
    """The rule of the entrance surface: probes are placed there, and meet a column where it is farther down."""
    found = images(perovskite(), nm=(2.0,), tilt_mrad=(0.0, 10.0))
    places = sites_of(perovskite(), 56)
    shift = fit_columns(found, places, radius_pm=110.0)[0, 0] - places[0]
    assert -20.0 < shift[1] < -2.0 and abs(shift[0]) < 0.05


def test_a_centrosymmetric_crystal_in_a_straight_beam_has_its_columns_where_they_are():
    found = images(perovskite(), nm=(2.0, 8.0))
    for number in (56, 22):
        places = sites_of(perovskite(), number)
        fitted = fit_columns(found, places, radius_pm=0.4 * EDGE_PM / np.sqrt(2))
        assert np.abs(fitted - places).max() < 0.02


def test_thicknesses_of_one_run_are_those_of_runs_of_their_own():
    together = images(perovskite(), nm=(6.0, 2.0))
    assert together.thicknesses_nm == pytest.approx([2.0, 6.0])
    alone = images(perovskite(), nm=(6.0,))
    close(together.data[1:], alone.data)
    assert (together.data[1] > together.data[0]).all()  # of this detector


def test_finer_slices_change_little_and_heavier_atoms_scatter_more():
    plain = images(perovskite())
    fine = images(perovskite(), fineness=Fineness(pixel_pm=11.2, slice_pm=100.0, field_pm=800.0))
    assert np.abs(fine.data - plain.data).max() < 0.01 * plain.data.max()
    heavy, light = (images(perovskite(numbers=(number, 22)), nm=(0.4,)) for number in (83, 56))
    assert heavy.at(np.zeros((1, 2)))[0, 0] > 1.5 * light.at(np.zeros((1, 2)))[0, 0]


def test_the_focus_is_where_it_is_said_to_be():
    """A thin layer deep in a nearly empty cell is sharpest where the focus is at its depth."""
    layer = Structure(
        name="layer", lattice_pm=np.diag([EDGE_PM, EDGE_PM, 6000.0]), fractional=np.array([[0.0, 0.0, 0.5]]),
        numbers=np.array([38], dtype=np.int64), occupancy=np.ones(1), rms_pm=np.array([13.0]), source="handmade",
        frame="image",
    )  # fmt: skip
    contrast = {}
    for defocus in (0.0, 3000.0, 6000.0):
        scope = Microscope(convergence_mrad=25.0, inner_mrad=40.0, outer_mrad=150.0, defocus_pm=defocus)
        found = images(layer, scope=scope, nm=(6.0,), fineness=Fineness(pixel_pm=12.0, field_pm=1200.0))
        contrast[defocus] = float(np.ptp(found.data))
    # the entrance surface is a cut half a slice off
    assert contrast[3000.0] > 1.2 * max(contrast[0.0], contrast[6000.0])


def test_a_larger_source_blurs_by_its_gaussian():
    sharp = images(perovskite())
    blurred = images(perovskite(), scope=Microscope(
        convergence_mrad=20.0, inner_mrad=40.0, outer_mrad=150.0, source_fwhm_pm=100.0))  # fmt: skip
    assert blurred.data.mean() == pytest.approx(sharp.data.mean(), rel=1e-5)
    expected = np.exp(-2.0 * (np.pi * 100.0 / 2.3548 / EDGE_PM) ** 2)
    first = [np.abs(np.fft.fft2(found.data[0])[0, 1]) for found in (blurred, sharp)]
    assert first[0] / first[1] == pytest.approx(expected, rel=1e-3)


# -------------------------------------------------------------------------------------------------------- diffraction


def test_a_thin_crystal_diffracts_kinematically():
    structure = perovskite()
    light = replace(structure, occupancy=np.full(5, 0.02))
    found = diffraction(light, thicknesses_nm=(0.4,), fineness=Fineness(pixel_pm=6.3), absorption=False)
    places = light.fractional @ light.lattice_pm
    strength = mass_ratio(200.0) * wavelength_pm(200.0)
    for row, g in enumerate(found.frequencies_per_pm[:30]):
        if row == 0:
            continue
        q = np.linalg.norm(g)
        smear = np.exp(-2 * (np.pi * 12.0 * q) ** 2)
        factors = np.array([scattering_factor_pm(int(number), np.array(q)) for number in light.numbers]) * 0.02 * smear
        slow = np.exp(1j * np.pi * wavelength_pm(200.0) * q**2 * places[:, 2])
        amplitude = strength * np.sum(factors * slow * np.exp(-2j * np.pi * places[:, :2] @ g)) / EDGE_PM**2
        assert found.intensity[0, row] == pytest.approx(abs(amplitude) ** 2, rel=0.05, abs=1e-9)


def test_intensities_of_reflections_sum_to_the_beam():
    found = diffraction(
        perovskite(), largest_mrad=180.0, thicknesses_nm=(2.0, 10.0), absorption=False,
        fineness=Fineness(pixel_pm=4.5), tilt_mrad=(3.0, 1.0),
    )  # fmt: skip
    assert found.intensity.sum(axis=1) == pytest.approx(1.0, abs=3e-3)
    lossy = diffraction(perovskite(), largest_mrad=100.0, thicknesses_nm=(2.0, 10.0))
    assert 0.99 > lossy.intensity[0].sum() > lossy.intensity[1].sum() > 0.2


def test_friedel_pairs_differ_in_a_thick_polar_crystal_alone():
    def asymmetry(offset):
        found = diffraction(perovskite(offset), largest_mrad=40.0, thicknesses_nm=(20.0,),
                            fineness=Fineness(pixel_pm=8.0))  # fmt: skip
        g, value = np.round(found.frequencies_per_pm * EDGE_PM).astype(int), found.intensity[0]
        pair = {tuple(index): light for index, light in zip(g.tolist(), value.tolist(), strict=True)}
        return abs(pair[1, 0] - pair[-1, 0]) / (pair[1, 0] + pair[-1, 0])

    assert asymmetry((0.0, 0.0)) < 1e-3
    assert asymmetry((18.0, 0.0)) > 0.02


# ------------------------------------------------------------------------------------------------------------ columns


def test_columns_are_found_and_counted_once():
    structure = supercell(perovskite((20.0, 5.0)), (2, 2, 3))
    assert sites_of(structure, 56) == pytest.approx(np.zeros((1, 2)), abs=1e-6)
    assert sites_of(structure, 22) % EDGE_PM == pytest.approx(np.array([[220.0, 205.0]]))
    both = np.concatenate([sites_of(structure, 56), sites_of(structure, 22)])
    assert nearest_distance_pm(structure, both) == pytest.approx(np.hypot(180.0, 195.0))
    with pytest.raises(StructureError, match="atomic numbers"):
        sites_of(structure, 83)


# ------------------------------------------------------------------------------------------------------------- errors


def test_pixels_too_coarse_for_the_detector_are_refused_with_the_angle_they_reach():
    with pytest.raises(SettingsError, match=r"waves must reach 150 mrad.*\n.*reach 42 mrad\n.*: 5\.\d+ pm") as told:
        images(perovskite(), fineness=Fineness(pixel_pm=20.0), absorption=False)
    better = float(told.value.do.split(": ")[1].split(" pm")[0])
    images(perovskite(), fineness=Fineness(pixel_pm=better, field_pm=400.0), absorption=False, nm=(0.4,))


@pytest.mark.parametrize("thickness", [0.0, -3.0, float("nan"), 0.05])
def test_a_thickness_that_is_none_is_refused(thickness):
    with pytest.raises(SettingsError, match=r"of one slice at least, 0\.2 nm"):
        images(perovskite(), nm=(10.0, thickness))


def test_memory_is_looked_at_before_it_is_used(monkeypatch):
    monkeypatch.setattr(waves, "_free_bytes", lambda device: 1_000_000)
    with pytest.raises(SettingsError, match=r"need [\d.]+ GB of memory.*\n.*0.001 GB free"):
        images(perovskite())


def test_a_crystal_that_does_not_lie_in_the_microscope_is_refused():
    plain = perovskite()
    loose = replace(plain, frame="crystal")
    with pytest.raises(StructureError, match="oriented"):
        images(loose)
    with pytest.raises(StructureError, match="oriented"):
        diffraction(loose, thicknesses_nm=(1.0,))


def test_progress_is_told_and_can_stop_the_work():
    told = []

    def stop(step, fraction):
        told.append((step, fraction))
        if fraction > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        images(perovskite(), progress=stop)
    assert told[0] == ("multislice", 0.0) and 0 < told[1][1] <= 1
