"""Places to look next: planted ones are found and told, ordinary films have none."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import films
import report_example
from dipolar.core.flags import Flag
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import same, take
from dipolar.io.finding_tables import anomalies_table
from dipolar.maps import find_anomalies, find_domains, make_maps
from dipolar.measure import build_cells
from dipolar.simulate import Dislocation, FilmSettings

SHAPE = (800, 800)


def film(**options: object) -> Measurement:
    return report_example.measurement((22, 24), field=report_example.two_domains, image=False, flagged=0.0, **options)


def rich(measured: Measurement, *, seed: int = 0) -> Measurement:
    """Return the measurement with columns that scatter in brightness and misfit, and know their like neighbours."""
    rng = np.random.default_rng(seed)
    columns, many = measured.columns, len(measured.columns.flags)
    corners = 23 * 25
    links = np.full((many, 8), -1, np.int32)
    for first, shape in ((0, (23, 25)), (corners, (22, 24))):
        wide = np.pad(first + np.arange(np.prod(shape), dtype=np.int32).reshape(shape), 1, constant_values=-1)
        around = (wide[1:-1, 2:], wide[1:-1, :-2], wide[2:, 1:-1], wide[:-2, 1:-1])
        links[first : first + np.prod(shape), 4:] = np.stack([part.ravel() for part in around], axis=1)
    columns = replace(
        columns,
        links=links,
        amplitude=np.where(np.arange(many) < corners, 150.0, 50.0) * np.exp(rng.normal(0.0, 0.05, many)),
        chi2=np.exp(rng.normal(0.0, 0.08, many)),
    )
    return replace(measured, columns=columns)


def places(measured: Measurement, **options: object):
    domains = find_domains(measured.cells)
    return find_anomalies(measured.cells, measured.columns, shape_px=SHAPE, domains=domains, **options)


CELL = 10 * 24 + 5
"""A cell inside the first domain."""


@pytest.mark.parametrize("seed", range(3))
def test_an_ordinary_film_has_next_to_none(seed):
    assert len(places(rich(film(), seed=seed)).cell) <= 1


def test_a_displaced_column_is_found_and_told():
    measured = rich(film())
    shift = np.zeros((len(measured.cells.flags), 2))
    shift[CELL] = [25.0 / report_example.PIXEL_SIZE_PM, 0.0]
    odd = replace(measured.cells, displacement_px=measured.cells.displacement_px + shift)
    found = places(replace(measured, cells=odd))
    assert found.cell[0] == CELL
    assert found.reason[0].startswith("displacement 2") and "pm off that of its neighbours" in found.reason[0]
    assert found.score[0] == np.nanmax(found.cell_score)


@pytest.mark.parametrize(("factor", "words"), [(0.5, "dimmer"), (1.6, "brighter")])
@pytest.mark.parametrize("which", ["central", "corner"])
def test_a_column_of_other_brightness_is_found_and_told(factor, words, which):
    measured = rich(film())
    column = int(measured.cells.center[CELL] if which == "central" else measured.cells.corners[CELL, 0])
    amplitude = measured.columns.amplitude.copy()
    amplitude[column] *= factor
    found = places(replace(measured, columns=replace(measured.columns, amplitude=amplitude)))
    assert column in (*measured.cells.corners[found.cell[0]], measured.cells.center[found.cell[0]])
    told = re.search(rf"{which} column (\d+) % {words} than its like", found.reason[0])
    assert told and abs(int(told[1]) - 100 * abs(factor - 1)) < 20  # the column and its four like ones scatter by 5 %
    assert ("vacancy?" in found.reason[0]) == (factor < 1)


def test_a_poor_fit_and_a_missing_cell_are_found_and_told():
    measured = rich(film())
    chi2 = measured.columns.chi2.copy()
    chi2[measured.cells.center[CELL]] = 6.0
    found = places(replace(measured, columns=replace(measured.columns, chi2=chi2)))
    assert found.cell[0] == CELL and "poor fit (residuals 6 × the noise)" in found.reason[0]
    hole = np.delete(np.arange(len(measured.cells.flags)), CELL)
    gone = replace(measured, cells=take(measured.cells, hole))
    found = places(gone)
    away = np.linalg.norm(found.positions_px[0] - measured.cells.positions_px[CELL])
    assert away < 1.6 * 22 and "missing inside the crystal" in found.reason[0]


def test_a_dislocation_is_the_first_place():
    settings = FilmSettings(shape_px=(600, 600), layers=(films.layer("SrTiO3"),), dislocation=Dislocation())
    simulated = films.film(settings)
    rng = np.random.default_rng(0)
    truth = simulated.truth_columns
    many = len(truth.flags)
    columns = replace(
        truth,
        positions_px=truth.positions_px + rng.normal(0.0, 0.05, (many, 2)),
        covariance_px2=np.tile(0.05**2 * np.eye(2), (many, 1, 1)),
        chi2=np.exp(rng.normal(0.0, 0.08, many)),
    )
    found = find_anomalies(build_cells(columns, pixel_size_pm=17.25), columns, shape_px=(600, 600))
    core = np.array([299.5, 299.5])
    assert np.linalg.norm(found.positions_px[0] - core) < 3.0 * 396.0 / 17.25
    assert "missing inside the crystal" in found.reason[0] or "against its neighbours" in found.reason[0]


def test_walls_are_not_reported_where_domains_are_known():
    sharp = report_example.measurement(
        (22, 24),
        field=lambda row, col, count: np.where((col < 12)[:, None], [18.0, 18.0], [-18.0, 18.0]),
        image=False,
        flagged=0.0,
    )
    measured = rich(sharp)
    assert len(places(measured).cell) <= 1
    blind = find_anomalies(measured.cells, measured.columns, shape_px=SHAPE)
    assert len(blind.cell) > 3 and (np.abs(measured.cells.col[blind.cell] - 11.5) < 2).all()


def test_coordinates_and_table():
    measured = rich(film())
    chi2 = measured.columns.chi2.copy()
    chi2[measured.cells.center[[CELL, 200, 400]]] = [9.0, 7.0, 5.0]
    measured = replace(measured, columns=replace(measured.columns, chi2=chi2))
    found = places(measured)
    assert found.cell[:3].tolist() == [CELL, 200, 400] and (np.diff(found.score) <= 0).all()
    scale = report_example.PIXEL_SIZE_PM / 1000.0
    np.testing.assert_allclose(found.from_origin_nm, found.positions_px * scale)
    np.testing.assert_allclose(
        found.from_origin_nm - found.from_centre_nm, np.full((len(found.cell), 2), 399.5 * scale)
    )
    table = anomalies_table(found)
    assert len({len(column) for column in table.values()}) == 1
    assert table["rank"].tolist() == list(range(1, len(found.cell) + 1))
    assert not any("," in reason for reason in found.reason)
    assert places(measured, most=2).cell.tolist() == [CELL, 200]
    bare = places(replace(measured, cells=replace(measured.cells, pixel_size_pm=None)))
    assert np.isnan(bare.from_centre_nm).all() and same(bare.cell, found.cell)


def test_two_places_are_apart_and_the_edge_of_the_image_is_none():
    measured = rich(film())
    chi2 = measured.columns.chi2.copy()
    chi2[measured.cells.center[[CELL, CELL + 1, CELL + 24]]] = [9.0, 8.0, 7.0]
    crowded = replace(measured, columns=replace(measured.columns, chi2=chi2))
    assert places(crowded).cell.tolist()[:1] == [CELL] and len(places(crowded).cell) <= 2
    flags = crowded.columns.flags.copy()
    flags[crowded.cells.center[[CELL, CELL + 1, CELL + 24]]] |= np.uint32(Flag.EDGE)
    assert CELL not in places(replace(crowded, columns=replace(crowded.columns, flags=flags))).cell


def test_few_cells_or_none_have_no_places():
    measured = rich(film())
    for rows in (np.zeros(0, dtype=np.int64), np.arange(9)):
        cells = take(measured.cells, rows)
        found = find_anomalies(cells, measured.columns, shape_px=SHAPE)
        assert found.cell.shape == (0,) and found.reason == () and found.cell_score.shape == (len(rows),)
        assert set(anomalies_table(found)) >= {"rank", "y_nm", "x_from_centre_nm", "reason"}


def test_all_maps_at_once_are_those_one_by_one():
    measured = rich(film())
    maps = make_maps(measured.cells, measured.columns, shape_px=SHAPE, rng=np.random.default_rng(1))
    assert same(maps.domains, find_domains(measured.cells))
    assert same(maps.anomalies, places(measured))
    assert len(maps.walls) == 1 and len(maps.charge.values) == len(measured.cells.flags)
