"""Laws of the simulated film and of its truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.errors import SettingsError
from dipolar.core.nouns import LINK_STEPS, A, B, Columns, same
from dipolar.core.units import angle_deg, magnitude
from dipolar.simulate import (
    LOW_DOSE,
    MATERIALS,
    Dislocation,
    Domains,
    FilmSettings,
    Layer,
    Simulated,
    benchmark_film,
    cramer_rao,
    displacement_limit,
    rms_per_component,
    simulate_film,
    truth_cells,
    wall,
)
from dipolar.simulate.crystal import inside

SRTIO3 = (Layer(material=MATERIALS["SrTiO3"]),)
BIFEO3 = (Layer(material=MATERIALS["BiFeO3"]),)
SMALL = FilmSettings(shape_px=(240, 240), layers=BIFEO3)


def film(settings: FilmSettings, *, seed: int = 0) -> Simulated:
    return simulate_film(settings, rng=np.random.default_rng(seed))


def displacement_pm(simulated: Simulated) -> np.ndarray:
    return simulated.truth_cells.displacement_px * simulated.image.pixel_size_pm


def test_a_centrosymmetric_crystal_has_no_displacement():
    simulated = film(replace(SMALL, layers=SRTIO3, rotation_deg=17.0, shear=0.03, strain=(0.01, -0.02)))
    assert len(simulated.truth_cells.flags) > 70
    np.testing.assert_allclose(simulated.truth_cells.displacement_px, 0.0, atol=1e-10)


@pytest.mark.parametrize("direction", [-120.0, 0.0, 45.0, 90.0])
def test_the_displacement_is_what_was_asked_for(direction):
    one = Domains(directions_deg=(direction,), walls=())
    simulated = film(replace(SMALL, domains=one, displacement_pm=25.0, rotation_deg=10.0))
    found = displacement_pm(simulated)
    np.testing.assert_allclose(magnitude(found), 25.0, rtol=1e-9)
    np.testing.assert_allclose(angle_deg(found), direction + 10.0, atol=1e-6)
    other = truth_cells(simulated.truth_columns, "B", pixel_size_pm=simulated.image.pixel_size_pm)
    np.testing.assert_allclose(other.displacement_px.mean(axis=0), -simulated.truth_cells.displacement_px.mean(axis=0))


def test_b_stands_above_the_middle_of_its_cage_where_the_displacement_points_up():
    # by hand: y points down, so up on the screen is a smaller y
    simulated = film(replace(SMALL, domains=Domains(directions_deg=(90.0,), walls=()), displacement_pm=60.0))
    columns, cells = simulated.truth_columns, simulated.truth_cells
    middle = columns.positions_px[cells.corners].mean(axis=1)
    assert (columns.sublattice[cells.center] == B).all()
    np.testing.assert_allclose(
        columns.positions_px[cells.center] - middle, [[-60.0 / 17.25, 0.0]] * len(middle), atol=1e-9
    )
    y, x = np.rint(columns.positions_px[cells.center[0]]).astype(int)
    patch = simulated.expected[y - 3 : y + 4, x - 3 : x + 4]
    assert np.unravel_index(patch.argmax(), patch.shape) == (3, 3)


@pytest.mark.parametrize("kind", ["180", "109", "90", "71"])
def test_walls_are_uncharged_and_as_wide_as_asked(kind):
    start = 90.0 if kind == "90" else 45.0
    domains = wall(kind, direction_deg=start, width_pm=1600.0)
    simulated = film(replace(SMALL, shape_px=(400, 400), domains=domains, displacement_pm=30.0))
    along = np.radians(domains.wall_angle_deg)
    normal, tangent = np.array([np.cos(along), np.sin(along)]), np.array([-np.sin(along), np.cos(along)])
    found = displacement_pm(simulated)
    depth = (simulated.truth_cells.positions_px - 199.5) @ normal * 17.25
    np.testing.assert_allclose(found @ normal, (found @ normal)[0], atol=1e-6)
    size = np.abs(found @ tangent).max()
    np.testing.assert_allclose(np.abs(found @ tangent), size * np.abs(np.tanh(depth / 800.0)), atol=0.02 * size)


def test_a_quarter_turn_turns_image_and_truth():
    settings = replace(SMALL, domains=wall("109"), shear=0.02, background_gradient=(0.0, 0.0))
    straight, turned = film(settings), film(replace(settings, rotation_deg=90.0))
    np.testing.assert_allclose(turned.expected, np.rot90(straight.expected), rtol=1e-4)
    for cells in (straight.truth_cells, turned.truth_cells):
        assert (cells.a_px[:, 1] > np.abs(cells.a_px[:, 0])).all()
        assert (cells.b_px[:, 0] > np.abs(cells.b_px[:, 1])).all()
    dy, dx = displacement_pm(straight).T
    expected = {tuple(v) for v in np.round(np.stack([-dx, dy], axis=-1), 6) + 0.0}
    assert {tuple(v) for v in np.round(displacement_pm(turned), 6) + 0.0} == expected


def test_mirrored_settings_give_the_mirrored_image():
    settings = replace(SMALL, rotation_deg=5.0, shear=0.02, domains=Domains(directions_deg=(30.0, 80.0), walls=(0.1,)))
    mirror = Domains(directions_deg=(100.0, 150.0), walls=(-0.1,))
    mirrored = film(replace(settings, rotation_deg=-5.0, shear=-0.02, domains=mirror))
    np.testing.assert_allclose(mirrored.expected, film(settings).expected[:, ::-1], rtol=1e-4)


def test_the_index_counts_the_links():
    for rotation in (0.0, 60.0, 200.0):
        columns = film(replace(SMALL, rotation_deg=rotation, layers=BIFEO3)).truth_columns
        assert (columns.index.sum(axis=1) % 2 == columns.sublattice).all()
        for number, step in enumerate(LINK_STEPS):
            there = columns.links[:, number] >= 0
            assert there.sum() > 100
            assert (columns.index[columns.links[there, number]] - columns.index[there] == step).all()
        ideal = (columns.index - columns.index[0]) @ columns.steps_px + columns.positions_px[0]
        assert np.abs(ideal - columns.positions_px).max() < 40.0 / 17.25


def burgers_circuit(columns: Columns, start: int, steps: int) -> np.ndarray:
    """Walk right, down, left and up by as many links, and return the gap between end and start."""
    row = start
    for link in (4, 6, 5, 7):
        for _ in range(steps):
            row = columns.links[row, link]
            assert row >= 0
    return columns.positions_px[row] - columns.positions_px[start]


def test_a_circuit_round_the_dislocation_gains_exactly_one_lattice_vector():
    simulated = film(replace(SMALL, shape_px=(400, 400), layers=SRTIO3, dislocation=Dislocation(place=(0.02, 0.03))))
    columns = simulated.truth_columns
    corner = np.argmin(np.linalg.norm(columns.positions_px - [60, 60], axis=1) + 1e3 * (columns.sublattice != A))
    a = columns.positions_px[columns.links[corner, 4]] - columns.positions_px[corner]
    gap = burgers_circuit(columns, int(corner), 11)
    np.testing.assert_allclose(np.abs(gap), np.abs(a), atol=0.02 * a[1])
    np.testing.assert_allclose(burgers_circuit(columns, int(corner), 3), 0.0, atol=1e-12)
    cells = simulated.truth_cells
    for edge in (cells.a_px, cells.b_px):  # no cell reaches across the extra half plane
        assert (np.abs(magnitude(edge) / 22.6 - 1) < 0.45).all()
    # every B column away from the rim is the middle of a cell, but for the few next to the core
    interior = np.flatnonzero((columns.sublattice == B) & inside(columns.positions_px, (400, 400), margin_px=-25.0))
    missing = np.setdiff1d(interior, cells.center)
    assert len(interior) > 200 and len(missing) <= 4
    assert (np.linalg.norm(columns.positions_px[missing] - [208, 211], axis=1) < 60).all()


def test_nothing_stands_in_vacuum_in_the_amorphous_part_or_in_the_border():
    stack = (Layer(material=MATERIALS["SrTiO3"], share=0.5), Layer(material=MATERIALS["PbTiO3"], share=0.5))
    settings = replace(SMALL, layers=stack, vacuum=0.25, amorphous=(0.0, 1.0, 0.0, 0.3), nan_border_px=8)
    simulated = film(settings)
    columns = simulated.truth_columns
    y, x = columns.positions_px.T
    assert len(y) > 100
    assert y.min() > 0.25 * 240 - 24 and x.min() >= 0.3 * 240 - 0.5
    assert inside(columns.positions_px, (240, 240), margin_px=-8.0).all()
    assert np.isnan(simulated.image.data[:8]).all() and np.isfinite(simulated.image.data[8:-8, 8:-8]).all()
    np.testing.assert_allclose(simulated.expected[10:20, 100:-10], 0.1 * 57.4, rtol=0.05)
    assert simulated.expected[70:-10, 10:60].std() > 5  # light without order
    assert columns.links.max() < len(y)


def test_layers_keep_the_lattice_along_the_film_and_have_their_own_height():
    stack = (Layer(material=MATERIALS["SrTiO3"], share=0.5), Layer(material=MATERIALS["PbTiO3"], share=0.5))
    cells = film(replace(SMALL, layers=stack)).truth_cells
    np.testing.assert_allclose(cells.a_px * 17.25, [[0.0, 390.5]] * len(cells.flags), atol=1e-6)
    assert {round(float(b) * 17.25, 3) for b in cells.b_px[:, 0]} == {390.5, 415.0}
    upper = cells.b_px[:, 0] * 17.25 > 400
    np.testing.assert_allclose(cells.displacement_px[upper] * 17.25, [[-17.0, 0.0]] * upper.sum(), atol=1e-6)
    np.testing.assert_allclose(cells.displacement_px[~upper], 0.0, atol=1e-9)


def test_drift_moves_the_truth_with_the_image():
    settings = replace(SMALL, layers=SRTIO3, drift_px=(4.0, 9.0), width_a_pm=30.0, ratio_b_to_a=0.0, background=1.0)
    simulated = film(settings)
    columns = simulated.truth_columns
    ok = (columns.sublattice == A) & inside(columns.positions_px, (240, 240), margin_px=-8.0)
    for y, x in columns.positions_px[ok]:
        j, i = round(y), round(x)
        patch = simulated.expected[j - 5 : j + 6, i - 5 : i + 6] - 1.0
        dy, dx = np.mgrid[-5:6, -5:6]
        centre = np.array([(patch * dy).sum(), (patch * dx).sum()]) / patch.sum()
        np.testing.assert_allclose(centre + np.array([j, i]), [y, x], atol=0.03)
    still = film(replace(settings, drift_px=(0.0, 0.0))).truth_columns.steps_px
    np.testing.assert_allclose((columns.steps_px - still)[:, 1] / still[:, 0], 9.0 / 239.0, rtol=0.05)


def test_jitter_leaves_the_truth_alone_and_none_is_identity():
    still, shaken = film(SMALL), film(replace(SMALL, row_jitter_px=(0.2, 0.3)))
    assert np.array_equal(still.truth_columns.positions_px, shaken.truth_columns.positions_px)
    assert not still.row_shift_px.any()
    assert shaken.row_shift_px.std(axis=0) == pytest.approx([0.2, 0.3], rel=0.2)
    assert np.abs(shaken.expected - still.expected).max() > 5


def test_the_same_generator_gives_the_same_film():
    settings = replace(SMALL, intensity_scatter=0.1, row_jitter_px=(0.1, 0.1), readout=2.0)
    one, two, other = film(settings, seed=5), film(settings, seed=5), film(settings, seed=6)
    assert same(one, two)
    assert not np.array_equal(one.image.data, other.image.data)


def test_counts_scale_with_dose_and_noise_with_gain():
    one = film(replace(SMALL, gain=3.0, detector_offset=200.0, readout=4.0))
    ten = film(replace(SMALL, gain=3.0, detector_offset=200.0, readout=4.0, dose=10.0))
    np.testing.assert_allclose(ten.expected - 200.0, 10 * (one.expected - 200.0), rtol=1e-4)
    noise = one.truth_columns.noise
    variance = noise.gain * one.expected.astype(float) + noise.floor
    residual = (one.image.data - one.expected) ** 2 / variance
    assert residual.mean() == pytest.approx(1.0, abs=5 * np.sqrt(2.1 / residual.size))


def limits_pm(settings: FilmSettings) -> tuple[float, float, float]:
    simulated = film(settings)
    columns = simulated.truth_columns
    covariance = cramer_rao(columns, simulated.expected)
    ok = inside(columns.positions_px, settings.shape_px, margin_px=-12.0)
    per_sublattice = [rms_per_component(covariance[ok & (columns.sublattice == kind)]) for kind in (A, B)]
    whole = ok[simulated.truth_cells.center] & ok[simulated.truth_cells.corners].all(axis=1)
    each, rms = displacement_limit(simulated.truth_cells, covariance)
    assert rms == rms_per_component(each)
    a, b = (value * settings.pixel_size_pm for value in per_sublattice)
    return a, b, rms_per_component(each[whole]) * settings.pixel_size_pm


def test_the_limits_of_the_benchmark_film():
    # independent figures, from another program: 0.98, 2.35, 2.40; low dose 2.54, 6.07, 6.20; tails 1.11, 2.69, 2.74
    middle = limits_pm(benchmark_film(size_px=512))
    np.testing.assert_allclose(middle, (0.98, 2.35, 2.40), rtol=0.03)
    np.testing.assert_allclose(limits_pm(benchmark_film(size_px=512, dose=LOW_DOSE)), (2.54, 6.07, 6.20), rtol=0.04)
    np.testing.assert_allclose(limits_pm(benchmark_film(size_px=512, tails=True)), (1.11, 2.69, 2.74), rtol=0.03)
    np.testing.assert_allclose(limits_pm(benchmark_film(size_px=512, dose=4.0)), np.array(middle) / 2, rtol=1e-4)


def test_the_limit_of_one_lonely_column_is_the_textbook_one():
    # amplitude far below the background b: sigma of a coordinate = sqrt(2 b / pi) / A, whatever the width
    settings = benchmark_film(size_px=200, ratio_b_to_a=0.0, cell_px=60.0)
    settings = replace(
        settings, amplitude=1.0, background=1000.0, background_gradient=(0.0, 0.0), intensity_scatter=0.0
    )
    simulated = film(settings)
    columns = simulated.truth_columns
    ok = (columns.sublattice == A) & inside(columns.positions_px, (200, 200), margin_px=-35.0)
    covariance = cramer_rao(columns, simulated.expected)[ok]
    sigma = np.sqrt(2 * 1000.0 / np.pi)
    np.testing.assert_allclose(np.sqrt(np.einsum("nii->ni", covariance)), sigma, rtol=0.02)


def test_settings_out_of_range_are_all_named():
    with pytest.raises(SettingsError, match=r"dose = -1.0 .*vacuum = 2.0"):
        FilmSettings(dose=-1.0, vacuum=2.0)
    with pytest.raises(SettingsError, match="one direction more"):
        Domains(directions_deg=(45.0,), walls=(0.0,))
