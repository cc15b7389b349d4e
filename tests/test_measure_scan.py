"""Scan rows shifted and scans stretched: removed or calibrated from the crystal, and never more than it tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
import realdata
from dipolar.core.errors import CalibrationError
from dipolar.core.nouns import Columns, same
from dipolar.io import open_image
from dipolar.locate import locate_columns
from dipolar.measure import (
    antipolar_order,
    atomic_planes,
    build_cells,
    calibrate_scan,
    remove_row_jitter,
    straighten,
    tetragonality,
    tetragonality_profile,
)
from dipolar.measure.linear import covariance_of, displacement_weights
from dipolar.simulate import FilmSettings, benchmark_film, waved


def known(settings: FilmSettings, sigma_px: float = 0.05) -> Columns:
    truth = films.film(settings).truth_columns
    return replace(
        truth,
        covariance_px2=np.tile(np.eye(2) * sigma_px**2, (len(truth.flags), 1, 1)),
        row_reach_px=np.full((len(truth.flags), 2), 2.5),
    )


@pytest.fixture(scope="module")
def jittery():
    """Return a film with shifted rows, and what was located in it."""
    film = films.film(benchmark_film(size_px=512, row_jitter_px=0.3), seed=11)
    return film, locate_columns(film.image)


def displacement_errors(film, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    cells = build_cells(columns)
    mine, its = films.pair_cells(cells, film.truth_cells)
    errors = cells.displacement_px[mine] - film.truth_cells.displacement_px[its]
    return errors, errors / films.sigmas(cells.covariance_px2)[mine]


def test_shifted_rows_are_removed_and_sigma_stays_honest(jittery):
    film, columns = jittery
    corrected, record = remove_row_jitter(columns)
    before, _ = displacement_errors(film, columns)
    after, z = displacement_errors(film, corrected)
    assert np.all(after.std(axis=0) < 0.92 * before.std(axis=0)), (before.std(axis=0), after.std(axis=0))
    assert np.all((z.std(axis=0) > 0.88) & (z.std(axis=0) < 1.12)), z.std(axis=0)
    assert np.all(np.array(record.jitter_after_px) < record.jitter_before_px)
    edges = [np.linalg.norm(build_cells(c).b_px, axis=1) for c in (columns, corrected)]
    assert np.std(edges[1]) < 0.6 * np.std(edges[0])


def test_the_removed_shifts_are_those_of_the_rows(jittery):
    film, columns = jittery
    _, record = remove_row_jitter(columns)
    rows = np.arange(len(record.row_shift_px)) + record.first_row
    inside = (rows > 40) & (rows < 470)
    true = film.row_shift_px[rows[inside]]
    for axis in (0, 1):
        # a row that looks too far up shows its columns too far down
        assert np.corrcoef(record.row_shift_px[inside, axis], true[:, axis])[0, 1] < -0.35
    assert np.all(record.row_shift_sigma_px <= np.array(record.jitter_before_px) * (1 + 1e-9))


def test_what_is_on_record_is_what_was_removed(jittery):
    _, columns = jittery
    corrected, record = remove_row_jitter(columns)
    moved = columns.positions_px - corrected.positions_px
    np.testing.assert_allclose(np.sqrt(np.mean(moved**2, axis=0)), record.removed_px)
    assert corrected.noise.row_jitter_px == record.jitter_after_px and "slowly" in record.note


def test_without_jitter_nothing_changes():
    columns = known(FilmSettings(shape_px=(300, 300)))
    corrected, record = remove_row_jitter(columns)
    assert same(corrected, columns) and record.removed_px == (0.0, 0.0)


def test_a_bent_crystal_stays_bent():
    columns = known(FilmSettings(shape_px=(500, 500), layers=(films.layer("BiFeO3"),)))
    y, x = (columns.positions_px - 250.0).T
    curved = np.stack([y + 4e-5 * y**2, x + 6e-5 * y**2], axis=1) + 250.0
    noise = replace(columns.noise, row_jitter_px=(0.3, 0.3))
    shared = 0.09 / (2.0 * np.sqrt(np.pi) * 2.5) * np.eye(2)
    told = replace(columns, positions_px=curved, noise=noise, covariance_px2=columns.covariance_px2 + shared)
    corrected, _ = remove_row_jitter(told)
    lost = told.positions_px - corrected.positions_px
    # the curve reaches 2.5 and 3.7 px at the rim; what bends a cell's width is all that a row could take
    assert np.abs(lost).max() < 0.25


def test_a_wave_across_the_rows_survives():
    columns = known(FilmSettings(shape_px=(500, 500), layers=(films.layer("BiFeO3"),), rotation_deg=15.0))
    moved = waved(columns, amplitude_px=0.4, wavevector=(0.25, 0.25), sublattice="A")
    noise = replace(columns.noise, row_jitter_px=(0.2, 0.2))
    shared = 0.04 / (2.0 * np.sqrt(np.pi) * 2.5) * np.eye(2)
    told = replace(moved, noise=noise, covariance_px2=moved.covariance_px2 + shared)
    corrected, _ = remove_row_jitter(told)
    found = antipolar_order(build_cells(corrected), corrected).modulation
    assert found is not None and found.amplitude_px == pytest.approx(0.4, rel=0.05)


def test_sigma_by_weights_of_columns_is_that_of_the_cells(jittery):
    _, columns = jittery
    cells = build_cells(columns)
    covariance = covariance_of(displacement_weights(cells, columns), columns)
    known = np.isfinite(cells.covariance_px2).all(axis=(1, 2))
    np.testing.assert_allclose(covariance[known, 1], cells.covariance_px2[known, 1], rtol=1e-3, atol=1e-5)
    # along y the two lobes of the weight share a little less with other columns than one broad one
    np.testing.assert_allclose(covariance[known, 0], cells.covariance_px2[known, 0], rtol=0.04, atol=1e-5)


def distorted(columns: Columns, true: np.ndarray) -> Columns:
    """Return the columns as a scan with the pixel (y, x) = inverse(true) (y, x) of the specimen shows them."""
    inverse = np.linalg.inv(true)
    return replace(
        columns,
        positions_px=columns.positions_px @ inverse.T,
        covariance_px2=inverse @ columns.covariance_px2 @ inverse.T,
    )


@pytest.mark.parametrize("rotation_deg", [0.0, 11.0, -30.0])
@pytest.mark.parametrize(("aspect", "shear"), [(1.0, 0.0), (1.03, 0.02), (0.96, -0.04)])
def test_size_aspect_and_shear_of_a_scan_are_found(rotation_deg, aspect, shear):
    columns = known(FilmSettings(shape_px=(300, 300), layers=(films.layer("SrTiO3"),), rotation_deg=rotation_deg))
    scan = distorted(columns, np.array([[aspect, 0.0], [shear * aspect, 1.0]]))
    cells = build_cells(scan)
    found = calibrate_scan(cells, scan, lattice_pm=390.5)
    assert found.pixel_size_x_pm == pytest.approx(17.25, rel=1e-6)
    assert found.pixel_size_y_pm == pytest.approx(17.25 * aspect, rel=1e-6)
    assert found.shear == pytest.approx(shear, abs=1e-6) and found.aspect == pytest.approx(aspect)
    true = straighten(cells, scan, found)
    plain = build_cells(columns)
    for name in ("a_px", "b_px", "displacement_px", "covariance_px2", "a_sigma_px", "b_sigma_px", "gamma_sigma_deg"):
        np.testing.assert_allclose(getattr(true, name), getattr(plain, name), atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(true.positions_px, cells.positions_px)


def test_layers_and_planes_of_a_corrected_scan_are_those_of_a_true_one():
    columns = known(FilmSettings(shape_px=(400, 400), layers=(films.layer("PbTiO3"),), rotation_deg=6.0))
    scan = distorted(columns, np.array([[1.03, 0.0], [-0.05, 1.0]]))
    shape = calibrate_scan(build_cells(scan), scan, lattice_pm=(415.0, 390.4))
    plain, cells = build_cells(columns), straighten(build_cells(scan), scan, shape)
    expected = tetragonality_profile(plain, columns, tetragonality(plain, columns))
    layers = tetragonality_profile(cells, scan, tetragonality(cells, scan), scan=shape)
    np.testing.assert_allclose(layers.position_px, expected.position_px, atol=1e-4)
    for one, other in zip(atomic_planes(scan, scan=shape), atomic_planes(columns), strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-4, err_msg=one.name)
        np.testing.assert_allclose(one.sigma, other.sigma, rtol=1e-4, err_msg=one.name)


def test_the_cell_may_be_rectangular():
    columns = known(FilmSettings(shape_px=(300, 300), layers=(films.layer("PbTiO3"),)))
    found = calibrate_scan(build_cells(columns), columns, lattice_pm=(415.0, 390.4))
    assert found.aspect == pytest.approx(1.0) and found.pixel_size_x_pm == pytest.approx(17.25)


def test_sigma_of_the_calibration_is_that_of_repeated_experiments():
    columns = known(FilmSettings(shape_px=(260, 260), layers=(films.layer("SrTiO3"),), rotation_deg=8.0), 0.2)
    rng = np.random.default_rng(12)
    z = []
    for _ in range(80):
        off = rng.normal(scale=0.2, size=columns.positions_px.shape)
        noisy = replace(columns, positions_px=columns.positions_px + off)
        found = calibrate_scan(build_cells(noisy), noisy, lattice_pm=390.5)
        z.append(
            [
                (found.pixel_size_y_pm - 17.25) / found.pixel_size_y_sigma_pm,
                (found.pixel_size_x_pm - 17.25) / found.pixel_size_x_sigma_pm,
                found.shear / found.shear_sigma,
            ]
        )
    assert np.all(np.abs(np.std(z, axis=0) - 1.0) < 0.25), np.std(z, axis=0)


@pytest.mark.parametrize(("lattice", "region"), [(390.5, (0, 5, 0, 5)), (0.0, None), ((390.5, -1.0), None)])
def test_what_cannot_be_calibrated_is_refused(lattice, region):
    columns = known(FilmSettings(shape_px=(200, 200), layers=(films.layer("SrTiO3"),)))
    with pytest.raises(CalibrationError, match="calibrated on unit cells"):
        calibrate_scan(build_cells(columns), columns, lattice_pm=lattice, region=region)


@pytest.mark.realdata
def test_the_jitter_of_a_real_scan_goes_down():
    columns = locate_columns(open_image(realdata.path("sto_ser/16_STOimage_1.ser")))
    corrected, _ = remove_row_jitter(columns)
    before, after = (
        build_cells(c).displacement_px[build_cells(c).flags == 0].std(axis=0) for c in (columns, corrected)
    )
    assert np.all(after < 0.95 * before)
