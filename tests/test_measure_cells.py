"""Cells of columns that are known exactly, and sigma against repeated experiments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
from dipolar.core.errors import DataError
from dipolar.core.flags import Flag, has
from dipolar.core.nouns import LINK_STEPS, B, Cells, Columns, Noise, take
from dipolar.measure import (
    build_cells,
    lattice_size_px,
    reference_offset,
    rms_deviation_px,
    subtract_reference,
    summarize,
)
from dipolar.simulate import FilmSettings

A_EDGE, B_EDGE = np.array([-3.0, 20.0]), np.array([24.0, 2.0])
"""Edges of the hand-made cells, (y, x)."""
SHIFT = np.array([-1.5, 0.5])
"""Displacement of their B columns."""
REPEATS = 6000


def perfect(count: int = 4, *, sigma_px: float = 0.0) -> Columns:
    """Return a crystal of count x count cells, made by hand: every position, index and link written down."""
    p1, p2 = (A_EDGE + B_EDGE) / 2, (A_EDGE - B_EDGE) / 2
    index = np.array([(i + j, i - j) for i in range(count + 1) for j in range(count + 1)])
    index = np.concatenate([index, [(i + j + 1, i - j) for i in range(count) for j in range(count)]])
    sublattice = (index.sum(axis=1) % 2).astype(np.int8)
    row_of = {tuple(pair): row for row, pair in enumerate(index.tolist())}
    links = [[row_of.get((i + di, j + dj), -1) for di, dj in LINK_STEPS.tolist()] for i, j in index.tolist()]
    rows = len(index)
    return Columns(
        positions_px=50.0 + index @ np.stack([p1, p2]) + sublattice[:, None] * SHIFT,
        covariance_px2=np.broadcast_to(np.eye(2) * sigma_px**2, (rows, 2, 2)).copy(),
        amplitude=np.where(sublattice == 0, 100.0, 40.0),
        amplitude_sigma=np.ones(rows),
        background=np.full(rows, 10.0),
        widths_px=np.full((rows, 2), 3.0),
        angle_deg=np.zeros(rows),
        sublattice=sublattice,
        index=index.astype(np.int32),
        grain=np.zeros(rows, dtype=np.int32),
        links=np.array(links, dtype=np.int32),
        row_reach_px=np.full((rows, 2), 1.5),
        chi2=np.ones(rows),
        flags=np.zeros(rows, dtype=np.uint32),
        noise=Noise(
            gain=1.0,
            floor=0.0,
            correlation=(1.0, 1.0),
            row_jitter_px=(0.0, 0.0),
            row_jitter_sigma_px=(0.0, 0.0),
        ),
        steps_px=np.stack([p1, p2]),
        profile=np.array([[[1.0, 1.0]]] * 2),
    )


def repeated(columns: Columns, errors_px: np.ndarray) -> Columns:
    """Return one table of many copies of the crystal, each displaced by its own errors (repeat, column, 2)."""
    repeats, count = errors_px.shape[:2]
    once = take(columns, np.tile(np.arange(count), repeats))
    links = np.concatenate([np.where(columns.links < 0, -1, columns.links + k * count) for k in range(repeats)])
    positions = (columns.positions_px[None] + errors_px).reshape(-1, 2)
    return replace(once, links=links.astype(np.int32), positions_px=positions)


def gamma_deg(cells: Cells) -> np.ndarray:
    cross = cells.a_px[:, 1] * cells.b_px[:, 0] - cells.a_px[:, 0] * cells.b_px[:, 1]
    return np.degrees(np.arctan2(cross, np.sum(cells.a_px * cells.b_px, axis=1)))


def area_px2(cells: Cells) -> np.ndarray:
    return cells.a_px[:, 1] * cells.b_px[:, 0] - cells.a_px[:, 0] * cells.b_px[:, 1]


def test_cells_of_perfect_columns_are_exact():
    cells = build_cells(perfect(), pixel_size_pm=17.0)
    assert len(cells.flags) == 16 and not cells.flags.any()
    np.testing.assert_allclose(cells.displacement_px, [SHIFT] * 16, atol=1e-12)
    np.testing.assert_allclose(cells.a_px, [A_EDGE] * 16, atol=1e-12)
    np.testing.assert_allclose(cells.b_px, [B_EDGE] * 16, atol=1e-12)
    np.testing.assert_allclose(area_px2(cells), 20 * 24 + 3 * 2)
    np.testing.assert_allclose(cells.covariance_px2, 0.0)
    assert cells.pixel_size_pm == 17.0
    # rows count downwards and columns to the right, each from 0
    assert sorted(zip(cells.row.tolist(), cells.col.tolist(), strict=True)) == [
        (r, c) for r in range(4) for c in range(4)
    ]
    origin = cells.positions_px[(cells.row == 0) & (cells.col == 0)][0]
    expected = origin + cells.col[:, None] * A_EDGE + cells.row[:, None] * B_EDGE
    np.testing.assert_allclose(cells.positions_px, expected, atol=1e-9)


def test_corners_and_centre_are_those_of_the_cell():
    columns = perfect()
    cells = build_cells(columns)
    p = columns.positions_px[cells.corners]
    np.testing.assert_allclose(p[:, 1] - p[:, 0], [A_EDGE] * 16, atol=1e-12)
    np.testing.assert_allclose(p[:, 2] - p[:, 0], [B_EDGE] * 16, atol=1e-12)
    np.testing.assert_allclose(p[:, 3] - p[:, 0], [A_EDGE + B_EDGE] * 16, atol=1e-12)
    assert (columns.sublattice[cells.corners] == 0).all() and (columns.sublattice[cells.center] == 1).all()


def test_basis_b_sees_the_opposite_displacement():
    cells = build_cells(perfect(), basis="B")
    assert cells.basis == "B" and len(cells.flags) == 9
    np.testing.assert_allclose(cells.displacement_px, [-SHIFT] * 9, atol=1e-12)
    np.testing.assert_allclose(cells.a_px, [A_EDGE] * 9, atol=1e-12)


def test_a_missing_column_takes_its_cells_and_no_others():
    columns = perfect()
    middle = build_cells(columns)
    inner_a = np.flatnonzero((columns.sublattice == 0) & (columns.links >= 0).all(axis=1))[0]
    some_b = middle.center[0]
    everything = np.arange(len(columns.flags))
    assert len(build_cells(take(columns, everything != inner_a)).flags) == 12
    assert len(build_cells(take(columns, everything != some_b)).flags) == 15
    assert len(build_cells(take(columns, everything < 0)).flags) == 0


def test_cells_inherit_what_is_wrong_with_their_columns():
    columns = perfect()
    for flag in (Flag.EDGE, Flag.SATURATED, Flag.NOT_CONVERGED, Flag.POOR_FIT):
        flags = columns.flags.copy()
        flags[build_cells(columns).center[5]] = flag
        cells = build_cells(replace(columns, flags=flags))
        assert np.flatnonzero(has(cells.flags, Flag.FLAGGED_COLUMN)).tolist() == [5]
    unsure = replace(columns, flags=np.full_like(columns.flags, Flag.AMBIGUOUS_SUBLATTICE))
    assert has(build_cells(unsure).flags, Flag.AMBIGUOUS_SUBLATTICE).all()
    moved = columns.positions_px.copy()
    moved[np.argmax(moved[:, 1])] += [0.0, 12.0]
    assert has(build_cells(replace(columns, positions_px=moved)).flags, Flag.ODD_CELL).sum() == 1


@pytest.mark.parametrize("jitter", [(0.0, 0.0), (0.3, 0.15)])
def test_sigma_is_that_of_repeated_experiments(jitter):
    rng = np.random.default_rng(11)
    columns = perfect(2)
    count = len(columns.flags)
    # each column has its own elliptical error and its own reach over the scan rows
    roots = rng.normal(scale=0.08, size=(count, 2, 2))
    own = roots @ np.swapaxes(roots, 1, 2) + np.eye(2) * 0.05**2
    reach = rng.uniform(1.2, 2.5, size=count)
    rows = np.arange(0, 160)
    share = np.exp(-0.5 * ((rows - columns.positions_px[:, :1]) / reach[:, None]) ** 2)
    share /= share.sum(axis=1, keepdims=True)
    shaken = rng.normal(size=(REPEATS, len(rows), 2)) * jitter
    errors = np.einsum("nij,knj->kni", np.linalg.cholesky(own), rng.normal(size=(REPEATS, count, 2)))
    errors += np.einsum("nr,kri->kni", share, shaken)
    spread = 1.0 / (2.0 * np.sqrt(np.pi) * reach)
    covariance = own + np.eye(2) * np.array(jitter) ** 2 * spread[:, None, None]
    known = replace(
        columns,
        covariance_px2=covariance,
        row_reach_px=np.column_stack([reach, reach]),
        noise=replace(columns.noise, row_jitter_px=jitter),
    )
    said = build_cells(known)
    cells = build_cells(repeated(known, errors))
    shape = (REPEATS, len(said.flags))
    for got, sigma in (
        (cells.displacement_px[:, 0], np.sqrt(said.covariance_px2[:, 0, 0])),
        (cells.displacement_px[:, 1], np.sqrt(said.covariance_px2[:, 1, 1])),
        (np.linalg.norm(cells.a_px, axis=1), said.a_sigma_px),
        (np.linalg.norm(cells.b_px, axis=1), said.b_sigma_px),
        (gamma_deg(cells), said.gamma_sigma_deg),
        (area_px2(cells), said.area_sigma_px2),
    ):
        np.testing.assert_allclose(got.reshape(shape).std(axis=0), sigma, rtol=0.05)
    together = cells.displacement_px.reshape(*shape, 2)
    mixed = [np.cov(together[:, cell].T)[0, 1] for cell in range(shape[1])]
    scale = np.sqrt(said.covariance_px2[:, 0, 0] * said.covariance_px2[:, 1, 1])
    np.testing.assert_allclose(mixed / scale, said.covariance_px2[:, 0, 1] / scale, atol=0.05)


def test_a_shift_of_whole_rows_cancels_in_an_edge_along_the_rows_and_not_in_the_displacement():
    columns = perfect()
    level = columns.positions_px.copy()
    level[:, 0] -= columns.positions_px[:, 1] * A_EDGE[0] / A_EDGE[1]  # a lies along the scan rows
    jitter = replace(columns.noise, row_jitter_px=(0.2, 0.2))
    spread = np.eye(2) * 0.2**2 / (2.0 * np.sqrt(np.pi) * 1.5)
    shaken = replace(columns, positions_px=level, noise=jitter, covariance_px2=np.tile(spread, (len(level), 1, 1)))
    cells = build_cells(shaken)
    np.testing.assert_allclose(cells.a_sigma_px, 0.0, atol=1e-9)
    assert (cells.b_sigma_px > 0.1).all()
    # both corners of a row move alike: two halves in place of four quarters
    np.testing.assert_allclose(films.sigmas(cells.covariance_px2), np.sqrt(spread[0, 0] * (1.0 + 2.0 / 4.0)), rtol=1e-3)


def test_unknown_sigma_stays_unknown():
    columns = perfect()
    covariance = np.broadcast_to(np.eye(2) * 0.01, (len(columns.flags), 2, 2)).copy()
    row = build_cells(columns).center[3]
    covariance[row] = np.nan
    cells = build_cells(replace(columns, covariance_px2=covariance))
    unknown = ~np.isfinite(cells.covariance_px2).all(axis=(1, 2))
    assert np.flatnonzero(unknown).tolist() == [3]


# --- reference, lattice, uniformity, summary


def test_the_reference_offset_is_the_mean_with_its_standard_error():
    rng = np.random.default_rng(5)
    columns = perfect(20, sigma_px=0.1)
    noisy = replace(columns, positions_px=columns.positions_px + rng.normal(scale=0.1, size=(len(columns.flags), 2)))
    cells = build_cells(noisy)
    y, x = cells.positions_px.T
    region = (int(np.quantile(y, 0.5)), int(y.max()) + 1, int(x.min()), int(x.max()) + 1)
    inside = (y >= region[0]) & (y < region[1])
    reference = reference_offset(cells, columns, region)
    assert reference.cells == inside.sum() > 150
    mean = cells.displacement_px[inside].mean(axis=0)
    np.testing.assert_allclose(reference.offset_px, mean, atol=1e-9)
    # corner columns stand in up to four cells: their errors hardly average out against the centres'
    count = np.bincount(np.concatenate([cells.center[inside], *cells.corners[inside].T]), minlength=len(columns.flags))
    weight = np.where(columns.sublattice == B, count, -count / 4.0) / inside.sum()
    error = 0.1 * np.sqrt(np.sum(weight**2))
    np.testing.assert_allclose(reference.offset_sigma_px, error, rtol=1e-6)
    assert (np.abs(np.array(reference.offset_px) - SHIFT) < 4 * np.array(reference.offset_sigma_px)).all()
    referred = subtract_reference(cells, reference)
    np.testing.assert_allclose(referred.displacement_px, cells.displacement_px - mean, atol=1e-9)
    np.testing.assert_allclose(referred.displacement_px[inside].mean(axis=0), 0.0, atol=1e-9)
    more = films.sigmas(referred.covariance_px2) ** 2 - films.sigmas(cells.covariance_px2) ** 2
    np.testing.assert_allclose(more, np.broadcast_to(np.array(reference.offset_sigma_px) ** 2, more.shape), rtol=1e-6)


def test_a_flagged_cell_does_not_count_in_the_reference():
    columns = perfect(6, sigma_px=0.1)
    positions, flags = columns.positions_px.copy(), columns.flags.copy()
    bad = build_cells(columns).center[7]
    positions[bad] += 3.0
    flags[bad] = Flag.SATURATED
    moved = replace(columns, positions_px=positions, flags=flags)
    reference = reference_offset(build_cells(moved), moved, (0, 500, 0, 500))
    assert reference.cells == 35
    np.testing.assert_allclose(reference.offset_px, SHIFT, atol=1e-9)


def test_a_reference_region_without_cells_is_refused():
    with pytest.raises(DataError, match="reference region") as caught:
        reference_offset(build_cells(perfect()), perfect(), (1000, 1100, 0, 50))
    assert "1000:1100,0:50" in caught.value.got and "cells lie in" in caught.value.got
    with pytest.raises(DataError, match="no cells"):
        nothing = take(perfect(), np.zeros(41, dtype=bool))
        reference_offset(build_cells(nothing), nothing, (0, 100, 0, 100))


def test_the_lattice_is_the_root_of_the_area():
    size, sigma = lattice_size_px(build_cells(perfect()))
    assert size == pytest.approx(np.sqrt(20 * 24 + 3 * 2), rel=1e-12) and sigma == pytest.approx(0.0, abs=1e-9)
    rng = np.random.default_rng(3)
    columns = perfect(15)
    sizes = []
    for _ in range(40):
        noise = rng.normal(scale=0.2, size=columns.positions_px.shape)
        size, sigma = lattice_size_px(build_cells(replace(columns, positions_px=columns.positions_px + noise)))
        sizes.append(size)
    # neighbouring cells share corners with errors of opposite sign, so that the median is better than it says
    assert 0.4 * sigma < np.std(sizes) < 1.3 * sigma
    assert np.mean(sizes) == pytest.approx(np.sqrt(486.0), abs=0.02)
    assert np.isnan(lattice_size_px(build_cells(perfect()), region=(0, 1, 0, 1))).all()


@pytest.mark.parametrize("sublattice", [0, 1])
def test_rms_deviation_of_a_perfect_crystal_is_the_noise_of_its_columns(sublattice):
    columns = films.film(FilmSettings(shape_px=(600, 600), layers=(films.layer("BiFeO3"),))).truth_columns
    np.testing.assert_allclose(rms_deviation_px(columns, sublattice), 0.0, atol=1e-9)
    noise = np.random.default_rng(1).normal(size=columns.positions_px.shape) * (0.1, 0.3)
    noisy = replace(columns, positions_px=columns.positions_px + noise)
    assert rms_deviation_px(noisy, sublattice) == pytest.approx((0.1, 0.3), rel=0.06)
    strained = replace(noisy, positions_px=noisy.positions_px @ np.array([[1.01, 0.02], [0.0, 0.99]]))
    assert rms_deviation_px(strained, sublattice) == pytest.approx((0.1, 0.3), rel=0.07)
    assert np.isnan(rms_deviation_px(take(columns, np.zeros(len(columns.flags), dtype=bool)), sublattice)).all()


def test_the_summary_says_what_the_crystal_is():
    columns = perfect(6, sigma_px=0.1)
    found = summarize(columns, build_cells(columns, pixel_size_pm=10.0))
    assert found["length_unit"] == "pm"
    assert (found["columns_a"], found["columns_b"], found["cells"], found["crystals"]) == (49, 36, 36, 1)
    assert found["displacement_median_pm"] == pytest.approx(10 * np.hypot(*SHIFT))
    assert found["displacement_mean_dy_pm"] == pytest.approx(-15.0)
    assert found["a_median_pm"] == pytest.approx(10 * np.hypot(*A_EDGE))
    assert found["b_median_pm"] == pytest.approx(10 * np.hypot(*B_EDGE))
    assert found["gamma_median_deg"] == pytest.approx(gamma_deg(build_cells(columns))[0])
    assert found["displacement_sigma_median_pm"] == pytest.approx(np.sqrt(1.25))
    assert found["column_sigma_median_a_pm"] == pytest.approx(1.0)
    assert found["cells_flagged"] == 0
    in_px = summarize(columns, build_cells(columns))
    assert in_px["displacement_median_px"] == pytest.approx(np.hypot(*SHIFT)) and "a_median_pm" not in in_px


def test_the_summary_of_nothing_is_none_and_zero():
    nothing = take(perfect(), np.zeros(41, dtype=bool))
    found = summarize(nothing, build_cells(nothing))
    assert found["columns"] == found["cells"] == found["crystals"] == 0
    unknown = [name for name, value in found.items() if value is None]
    assert {"displacement_median_px", "a_median_px", "gamma_median_deg", "rms_deviation_a_y_px"} <= set(unknown)
    assert all(value is None or isinstance(value, str) or np.isfinite(value) for value in found.values())
