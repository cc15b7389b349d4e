"""Tilt told from mean cells, and taken off: laws of the comparison, then whole images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.errors import SettingsError
from dipolar.core.nouns import Cells, Image
from dipolar.core.tilt_library import compared, image_terms, stamps_on, state_weights
from dipolar.core.tilt_symmetry import TURNS
from dipolar.measure import build_cells, opposite_offset
from dipolar.measure.tilt_cells import groups_of, regions_of
from dipolar.measure.tilt_map import corrected, tilt_correction, told_by_library
from dipolar.measure.tilt_nodes import Prior, nodes_of
from dipolar.measure.tilt_posterior import MeanCell, fit_nodes, posterior
from dipolar.recipes.measure import measure_image
from dipolar.recipes.mistilt import _square, plan_tilt
from dipolar.recipes.settings import MeasureSettings
from dipolar.recipes.simulate import simulate_image
from dipolar.recipes.tilt_library_shipped import shipped_library

PRIOR = Prior(thickness_nm=20.0)


@pytest.fixture(scope="module")
def library():
    """What comes along for SrTiO3, whose true displacement is nothing."""
    return shipped_library("sto")


@pytest.fixture(scope="module")
def nodes(library):
    return nodes_of(library, PRIOR, thicknesses=3)


def cell_of(library, tilt, *, shift_pm=(0.0, 0.0), nm=20.0, focus=0.5, sigma_pm=34.0, noise=2e-3, offset_pm=(0.0, 0.0)):
    """Return the mean cell that a library shows, blurred; A is thought to be `offset_pm` from where it is."""
    rows = compared(library)
    orders, cell = library.orders[rows], library.cell_pm
    stamps = stamps_on(
        library, tilts_y_mrad=tilt[:1], tilts_x_mrad=tilt[1:], thicknesses_nm=[nm], foci_nm=[focus]
    )[0, 0, :, 0, 0][..., rows]  # fmt: skip
    shift = np.asarray(shift_pm) / cell
    weights = state_weights(shift[None] * cell / (library.displacement_pm or np.inf), len(stamps))[0]
    stamps = np.tensordot(weights, stamps, axes=1).astype(np.complex64)
    terms = image_terms(stamps, orders, 0.5 + shift)
    terms = terms * np.exp(-2.0 * np.pi**2 * (sigma_pm / cell) ** 2 * np.sum(orders**2, axis=1))
    terms = terms * np.exp(-2j * np.pi * (orders @ (np.asarray(offset_pm) / cell)))
    sigma = noise * np.abs(terms).max()
    return MeanCell(
        terms=terms, variance=np.full(len(rows), sigma**2), spread=np.ones(len(rows), dtype=np.complex128),
        displacement=shift, cells=100,
    )  # fmt: skip


@pytest.mark.parametrize("tilt", [(0.0, 0.0), (10.0, 0.0), (-5.0, 10.0)])
def test_a_cell_of_the_library_is_told_with_its_tilt_and_its_displacement(library, nodes, tilt):
    mean = cell_of(library, np.array(tilt), shift_pm=(4.0, -3.0), offset_pm=(2.0, 5.0))
    found = posterior(fit_nodes(mean, nodes), nodes)
    surface = 0.25e-3 * library.depth_pm * found.tilt_mrad
    sigma = np.sqrt(np.diag(found.covariance_pm2))
    assert np.abs(found.displacement_pm + surface - [4.0, -3.0]).max() < 0.8
    assert np.abs(found.tilt_mrad - tilt).max() < 2.5
    assert (sigma > 0).all() and found.chi2 < 0.2


@pytest.mark.parametrize("matrix", TURNS[1:6:2], ids=str)
def test_turn_the_cell_and_tilt_and_displacement_turn(library, nodes, matrix):
    tilt, shift = np.array([8.0, 3.0]), np.array([5.0, 1.0])
    here = posterior(fit_nodes(cell_of(library, tilt, shift_pm=shift), nodes), nodes)
    there = posterior(fit_nodes(cell_of(library, matrix @ tilt, shift_pm=matrix @ shift), nodes), nodes)
    assert there.tilt_mrad == pytest.approx(matrix @ here.tilt_mrad, abs=0.02)
    assert there.displacement_pm == pytest.approx(matrix @ here.displacement_pm, abs=0.02)
    assert there.covariance_pm2 == pytest.approx(matrix @ here.covariance_pm2 @ matrix.T, rel=0.02, abs=0.02)


def test_sigma_grows_with_noise_and_with_columns_that_no_tilt_makes(library, nodes):
    tilt = np.array([0.0, 8.0])
    quiet, noisy = (posterior(fit_nodes(cell_of(library, tilt, noise=noise), nodes), nodes) for noise in (1e-3, 3e-2))
    odd = cell_of(library, tilt)
    odd = replace(odd, terms=odd.terms * np.where(np.arange(len(odd.terms)) % 2, 1.6, 0.6))
    strange = posterior(fit_nodes(odd, nodes), nodes)
    traces = [np.trace(one.covariance_pm2) for one in (quiet, noisy, strange)]
    assert traces[1] > 1.3 * traces[0] and traces[2] > 1.3 * traces[0]
    assert strange.chi2 > 1.0 > quiet.chi2


def test_what_is_known_before_is_all_there_is_where_the_image_says_nothing(library, nodes):
    mean = cell_of(library, np.array([10.0, 0.0]), noise=30.0)
    found = posterior(fit_nodes(mean, nodes), nodes)
    assert np.abs(found.tilt_mrad).max() < 2.0
    assert np.sqrt(np.diag(found.tilt_covariance_mrad2)) == pytest.approx(PRIOR.tilt_mrad, rel=0.15)


def lattice(displacement, *, size=12, edge=24.0) -> Cells:
    """Return cells on a square lattice with given displacements (row, col) -> (dy, dx)."""
    row, col = (one.ravel() for one in np.meshgrid(np.arange(size), np.arange(size), indexing="ij"))
    count = len(row)
    vectors = np.array([displacement(r, c) for r, c in zip(row, col, strict=True)], dtype=np.float64)
    return Cells(
        row=row.astype(np.int32), col=col.astype(np.int32), grain=np.zeros(count, np.int32),
        positions_px=np.stack([row, col], axis=1) * edge + edge, displacement_px=vectors,
        covariance_px2=np.tile(0.01 * np.eye(2), (count, 1, 1)), a_px=np.tile([0.0, edge], (count, 1)),
        b_px=np.tile([edge, 0.0], (count, 1)), a_sigma_px=np.zeros(count), b_sigma_px=np.zeros(count),
        gamma_sigma_deg=np.zeros(count), area_sigma_px2=np.zeros(count), corners=np.full((count, 4), -1, np.int32),
        center=np.full(count, -1, np.int32), flags=np.zeros(count, np.uint32), basis="A", pixel_size_pm=16.5,
    )  # fmt: skip


def test_opposite_domains_are_groups_of_their_own_and_a_slow_turn_is_none():
    rng = np.random.default_rng(1)
    good = np.ones(144, dtype=bool)
    domains = lattice(lambda r, c: np.array([1.5, 1.5]) * (1 if c < 6 else -1) + 0.15 * rng.normal(size=2))
    slope = lattice(lambda r, c: np.array([0.0, 0.3 * (c - 6)]))
    noise = lattice(lambda r, c: 0.5 * rng.normal(size=2))
    group = groups_of(domains, good)
    assert len(np.unique(group)) == 2 and len(np.unique(group[domains.col < 6])) == 1
    assert len(np.unique(groups_of(slope, good))) == len(np.unique(groups_of(noise, good))) == 1


def test_the_mean_cell_of_a_wave_is_its_term():
    cells = lattice(lambda r, c: (0.4, -0.2))
    y, x = np.mgrid[:330, :330].astype(np.float32)
    # A at corners, half a cell before the middle: the phase is that of a corner
    phase = 2.0 * np.pi * ((y - 12.0) / 24.0 + 2.0 * (x - 12.0) / 24.0)
    image = (5.0 + 2.0 * np.cos(phase)).astype(np.float32)
    orders = np.array([[1, 2], [1, 0], [2, 1]])
    found = regions_of(image, cells, orders, edge_cells=20.0).mean_cells[0]
    assert found.terms == pytest.approx([1.0, 0.0, 0.0], abs=2e-3)
    assert found.displacement == pytest.approx([0.4 / 24, -0.2 / 24], abs=1e-9)
    assert found.spread == pytest.approx(1.0, abs=1e-9) and found.cells == 144


def test_two_opposite_regions_have_the_offset_in_the_middle():
    film = simulate_image(layers="BiFeO3:1", height_px=300, width_px=300, wall="none", seed=1)
    image = Image(data=film.image.data, pixel_size_pm=film.image.pixel_size_pm)
    columns = measure_image(image, gain_check=False, maps=False, mistilt="off").columns
    cells = build_cells(columns)
    left = cells.positions_px[:, 1] < 150
    sign, offset = np.where(left, 1.0, -1.0)[:, None], np.array([0.31, -0.12])
    plain = np.array([1.2, 0.7])
    cells = replace(cells, displacement_px=sign * plain + offset)
    found = opposite_offset(cells, columns, (0, 300, 0, 150), (0, 300, 150, 300))
    assert found.offset_px == pytest.approx(offset, abs=1e-9)
    assert found.opposite_px == (0, 300, 150, 300) and found.cells == np.count_nonzero(left) + np.count_nonzero(~left)


@pytest.fixture(scope="module")
def tilted():
    """An image of SrTiO3 under 12 mrad, in which nothing is displaced."""
    return simulate_image(
        layers="SrTiO3:1", height_px=300, width_px=300, tilt_mrad="0,12", thickness_nm=20.0, dose_e_per_pm2=20.0,
        wall="none", seed=3,
    ).image  # fmt: skip


def test_a_tilt_is_told_and_taken_off(tilted):
    options = {"gain_check": False, "maps": False, "tilt_library": "sto", "thickness_nm": 20.0, "lattice_pm": 390.5}
    told = measure_image(tilted, mistilt="report", **options)
    plain = measure_image(tilted, mistilt="off", **options)
    removed = measure_image(tilted, mistilt="correct", **options)
    assert {name for name in removed.record.inputs if name.startswith("tilt/")} == {"tilt/sto.npz"}
    assert not any(name.startswith("tilt/") for name in plain.record.inputs)
    assert plain.findings.tilt is None and not told.findings.tilt_removed and removed.findings.tilt_removed
    assert np.array_equal(told.cells.displacement_px, plain.cells.displacement_px)
    tilt = removed.findings.tilt
    assert tilt.tilt_mrad.mean(axis=0) == pytest.approx([0.0, 12.0], abs=4.0)
    before, after = (np.abs(one.cells.displacement_px.mean(axis=0)[1]) for one in (plain, removed))
    sigma = np.sqrt(removed.findings.tilt.cell_covariance_px2.mean(axis=0)[1, 1])
    assert after < 0.5 * before and after < 2.5 * sigma
    assert (removed.cells.covariance_px2[:, 1, 1] > plain.cells.covariance_px2[:, 1, 1]).all()
    assert any("mrad" in note and "taken off" in note for note in removed.record.notes)
    other = measure_image(tilted, mistilt="correct", basis="B", **options)
    assert other.findings.tilt.cell_false_px.mean(axis=0) == pytest.approx(-tilt.cell_false_px.mean(axis=0), abs=0.02)


def test_taking_off_and_putting_back_is_nothing(library, nodes, tilted):
    cells = build_cells(measure_image(tilted, gain_check=False, maps=False, mistilt="off").columns)
    regions = regions_of(tilted.data, cells, library.orders[compared(library)], edge_cells=20.0)
    found = tilt_correction(regions, told_by_library(regions, nodes), cells, library)
    back = corrected(corrected(cells, found), replace(found, cell_false_px=-found.cell_false_px))
    assert back.displacement_px == pytest.approx(cells.displacement_px, abs=1e-9)
    assert np.isfinite(found.cell_false_px).all() and len(found.cell_false_px) == len(cells.flags)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "needs to know the material"),
        ({"tilt_library": "sto"}, "estimate of the specimen's thickness"),
        ({"tilt_library": "sto", "thickness_nm": 400.0}, "knows thicknesses from"),
        ({"tilt_library": "nio", "thickness_nm": 20.0}, "one of bfo"),
    ],
)
def test_what_is_missing_is_said_with_what_to_type(changes, words):
    with pytest.raises(SettingsError) as raised:
        plan_tilt(MeasureSettings(mistilt="correct", **changes), None)
    assert words in str(raised.value)


def test_a_region_of_opposite_polarization_needs_a_reference(tilted):
    with pytest.raises(SettingsError, match="opposite of a reference region"):
        measure_image(tilted, opposite="0:100,0:100", gain_check=False)


def test_the_error_of_a_tilt_is_shared_and_does_not_average_out_in_a_domain():
    film = simulate_image(
        layers="BiFeO3:1", height_px=300, width_px=300, tilt_mrad="0,8", thickness_nm=20.0, dose_e_per_pm2=20.0,
        wall="none", seed=5,
    ).image  # fmt: skip
    found = measure_image(
        film, mistilt="correct", material="BiFeO3", thickness_nm=20.0, lattice_pm=396.0, gain_check=False
    )
    domains, shared = found.findings.maps.domains, found.findings.tilt.cell_covariance_px2.mean(axis=0)
    assert domains.polar.any()
    of_domain = domains.mean_covariance_px2[domains.polar][0]
    assert (np.diag(of_domain) > 0.8 * np.diag(shared)).all()


def test_only_nearly_square_cells_are_compared():
    square = lattice(lambda r, c: (0.0, 0.0), size=6)
    assert _square(square)
    assert not _square(replace(square, a_px=1.4 * square.a_px))
    assert not _square(replace(square, a_px=square.a_px + 0.3 * square.b_px))


def test_cells_near_pixels_that_were_never_measured_are_left_out():
    cells = lattice(lambda r, c: (0.0, 0.0))
    y = np.mgrid[:330, :330].astype(np.float32)[0]
    image = (5.0 + np.cos(2.0 * np.pi * (y - 12.0) / 24.0)).astype(np.float32)
    image[100:180, 100:180] = np.nan
    found = regions_of(image, cells, np.array([[1, 0], [0, 1]]), edge_cells=20.0).mean_cells[0]
    assert 50 < found.cells < 144 and found.terms == pytest.approx([0.5, 0.0], abs=5e-3)


def test_a_network_of_other_thicknesses_is_refused_before_the_image_is_measured():
    with pytest.raises(SettingsError, match="trained on specimens"):
        plan_tilt(MeasureSettings(mistilt="correct", tilt_library="sto", tilt_by="network", thickness_nm=2.5), None)
    plan = plan_tilt(MeasureSettings(mistilt="correct", tilt_library="sto", tilt_by="network", thickness_nm=20.0), None)
    assert plan.network is not None and plan.network.is_file()


def test_a_network_tells_it_too(tilted):
    options = {"gain_check": False, "maps": False, "tilt_library": "sto", "thickness_nm": 20.0, "lattice_pm": 390.5}
    plain = measure_image(tilted, mistilt="off", **options)
    told = measure_image(tilted, mistilt="correct", tilt_by="network", **options)
    before, after = (abs(one.cells.displacement_px.mean(axis=0)[1]) for one in (plain, told))
    assert after < 0.7 * before and np.isnan(told.findings.tilt.misfit).all()
