"""Figures and rows of maps, and maps in a file."""

from __future__ import annotations

import functools
from dataclasses import replace

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure

import realdata
import report_example
from dipolar.core.domains import Maps
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import same
from dipolar.io.codec import read_noun, write_noun
from dipolar.maps import make_maps
from dipolar.report.anomalies import anomalies_figure
from dipolar.report.colour import UNKNOWN
from dipolar.report.domains import NOT_POLAR, domain_colours, domains_figure, maps_rows
from dipolar.report.style import encode
from dipolar.report.walls import profile_curves, walls_figure


def maps_of(measured: Measurement) -> Maps:
    shape = measured.image.data.shape
    return make_maps(
        measured.cells, measured.columns, shape_px=(shape[0], shape[1]), rng=np.random.default_rng(0), most_anomalies=5
    )


@functools.cache
def cases() -> dict[str, Measurement]:
    some = report_example.measurement((16, 18), field=report_example.two_domains, edge_px=14)
    return {
        "two domains": some,
        "vortex": report_example.measurement((18, 18), edge_px=14),
        "no cells": report_example.measurement((0, 0), edge_px=14),
        "one cell": report_example.measurement((1, 1), edge_px=14, flagged=0.0),
        "all flagged": replace(some, cells=replace(some.cells, flags=some.cells.flags | np.uint32(1))),
        "no calibration": report_example.measurement(
            (14, 14), field=report_example.two_domains, edge_px=14, calibrated=False, reference=False
        ),
        "wide": report_example.measurement((5, 40), field=report_example.two_domains, edge_px=12),
    }


def words(drawn: Figure) -> str:
    return "\n".join(
        text.get_text() for part in (drawn, *drawn.axes) for text in part.findobj(lambda a: hasattr(a, "get_text"))
    )


@pytest.mark.parametrize("case", cases())
def test_no_figure_falls_over(case):
    measured = cases()[case]
    maps = maps_of(measured)
    for draw in (domains_figure, walls_figure, anomalies_figure):
        assert encode(draw(measured, maps), "png").startswith(b"\x89PNG")
    assert all(row.section and row.name and row.value for row in maps_rows(measured, maps))


def test_figures_say_what_was_found():
    measured = cases()["two domains"]
    maps = maps_of(measured)
    said = words(domains_figure(measured, maps))
    assert "90° in projection" in said and "domain 0" in said
    said = words(walls_figure(measured, maps))
    assert "2ξ" in said and "d₁ + d₂ =" in said and "pm" in said
    (wall,) = [row for row in maps_rows(measured, maps) if row.section == "Walls"]
    assert "90° in projection" in wall.value and "cells" in wall.value and "pm" in wall.value
    nothing = cases()["no cells"]
    assert "no domains" in words(domains_figure(nothing, maps_of(nothing)))
    assert "no wall" in words(walls_figure(nothing, maps_of(nothing)))
    assert "no cell stands out" in words(anomalies_figure(nothing, maps_of(nothing)))


def test_cells_carry_the_colour_of_their_domain():
    measured = cases()["two domains"]
    domains = maps_of(measured).domains
    colours = domain_colours(domains, full_radius_px=1.0)
    assert len(np.unique(colours, axis=0)) == len(domains.state)
    plain = domain_colours(replace(domains, polar=np.zeros_like(domains.polar)), full_radius_px=1.0)
    np.testing.assert_allclose(plain, np.tile(NOT_POLAR, (len(plain), 1)))
    none = domain_colours(replace(domains, label=np.full_like(domains.label, -1)), full_radius_px=1.0)
    np.testing.assert_allclose(none, np.tile(UNKNOWN, (len(none), 1)))


def test_curves_run_from_side_to_side_through_the_middle():
    (wall,) = maps_of(cases()["two domains"]).walls
    reach = 40.0 * wall.profile.width_px[1]
    curves = profile_curves(wall, np.array([-reach, 0.0, reach]))
    np.testing.assert_allclose(curves[:, [0, 2]], wall.samples_px[:, 2:], atol=1e-9)
    middle = 0.5 * (wall.profile.before_px + wall.profile.after_px)
    assert np.median(curves[:, 1]) == pytest.approx(middle, abs=0.1 * abs(wall.profile.after_px - middle))


@pytest.mark.parametrize("case", cases())
def test_maps_come_back_from_a_file_as_they_were(case):
    maps = maps_of(cases()[case])
    with h5py.File("maps.h5", "w", driver="core", backing_store=False) as file:
        write_noun(file.create_group("maps"), maps)
        assert same(read_noun(file["maps"], Maps), maps)


@pytest.mark.realdata
@pytest.mark.slow
def test_real_films():
    import dipolar

    lead = dipolar.measure_image(realdata.path("pto_sro_hspy/Cropped_PTO-SRO_Aligned.hspy"), lattice_pm=395.0)
    maps = maps_of(lead)
    assert maps.domains.polar.any() and not maps.domains.polar.all()
    assert all(wall.kind == "rim of a polar region" for wall in maps.walls)
    bismuth = dipolar.measure_image(realdata.path("smbfo_patch/smbfo_patch_256.npy"), lattice_pm=396.0)
    found = maps_of(bismuth)
    assert found.domains.polar.tolist() == [True] and not found.walls
