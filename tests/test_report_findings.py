"""Figures and rows of reference, order, polarization and c/a: they say what was found, and nothing falls over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import report_example as example
from dipolar.core.findings import Elongation, MistiltFinding, Modulation, Order, ReferenceProposal, Staggered
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Field, take
from dipolar.measure import load_material, polarization
from dipolar.measure.antipolar import antipolar_order
from dipolar.measure.tetragonality import tetragonality, tetragonality_profile
from dipolar.report.antipolar import order_figure, order_rows
from dipolar.report.layers import tetragonality_figure, tetragonality_rows
from dipolar.report.polarization import polarization_figure, polarization_rows
from dipolar.report.reference import mistilt_rows, reference_figure, reference_rows
from dipolar.report.style import encode

NAN = float("nan")
MISTILT = MistiltFinding(
    verdict="suspected",
    why="they agree",
    offset_px=(-0.2, 0.35),
    offset_sigma_px=(0.01, 0.012),
    elongations=(
        Elongation(sublattice="A", excess_px2=(0.8, 1.4), sigma_px2=0.02, columns=900),
        Elongation(sublattice="B", excess_px2=(0.7, 1.3), sigma_px2=0.03, columns=850),
    ),
    elongation_deg=30.1,
    elongation_sigma_deg=1.2,
    smear_px=4.2,
    angle_between_deg=2.0,
    angle_between_sigma_deg=1.6,
    chance=0.02,
)
PROPOSAL = ReferenceProposal(
    region_px=(20, 240, 20, 300),
    cells=162,
    offset_px=(0.31, -0.12),
    offset_sigma_px=(0.011, 0.01),
    rest_px=1.2,
    why="162 cells are displaced alike",
    option="--reference 20:240,20:300",
)
NONE = replace(PROPOSAL, region_px=None, cells=0, offset_px=(NAN, NAN), offset_sigma_px=(NAN, NAN), option="", why="no")
ORDER = Order(
    verdict="modulated",
    why="a wave of the A columns",
    cells=400,
    polar_px=(0.01, -0.02),
    polar_sigma_px=(0.01, 0.01),
    polar_spread_px=0.03,
    staggered=tuple(
        Staggered(pattern=name, amplitude_px=(0.1, 0.0), sigma_px=(0.02, 0.02))
        for name in ("rows", "columns", "checkerboard")
    ),
    modulation=Modulation(
        channel="A",
        wavevector=(0.25, 0.25),
        wavevector_sigma=(0.001, 0.001),
        period_px=65.0,
        normal_deg=-45.0,
        amplitude_px=0.3,
        amplitude_sigma_px=0.01,
        direction_deg=37.0,
        chance=0.0,
        along_rows=False,
    ),
)


@pytest.fixture(scope="module")
def measurement() -> Measurement:
    return example.measurement((12, 14), edge_px=22)


def words(drawn) -> str:
    own = [text.get_text() for text in drawn.texts]
    inside = [text.get_text() for axes in drawn.axes for text in axes.texts]
    titles = [axes.get_title(loc) for axes in drawn.axes for loc in ("left", "center")]
    return " ".join(" ".join([*own, *inside, *titles]).split())


def empty(measurement: Measurement) -> Measurement:
    return replace(measurement, cells=take(measurement.cells, np.zeros(0, dtype=int)))


@pytest.mark.parametrize("proposal", [PROPOSAL, NONE])
@pytest.mark.parametrize("wide", [False, True])
def test_the_proposal_is_drawn_and_said(measurement, proposal, wide):
    if wide:
        measurement = replace(measurement, image=replace(measurement.image, data=measurement.image.data[:120]))
    drawn = reference_figure(measurement, proposal, MISTILT)
    assert encode(drawn, "png").startswith(b"\x89PNG")
    said = words(drawn)
    assert (proposal.option or "no reference region is proposed") in said and "mistilt: suspected" in said
    dashed = [patch for axes in drawn.axes for patch in axes.patches if type(patch).__name__ == "Rectangle"]
    assert len(dashed) == (proposal.region_px is not None)
    told = [*reference_rows(measurement, proposal), *mistilt_rows(measurement, MISTILT)]
    rows = {row.name: row for row in told}
    assert rows["region"].value == (proposal.option or "none")
    assert rows["verdict"].value == "suspected" and "2" in rows["offset to elongation"].value


def test_unknown_evidence_is_no_figure_of_nan(measurement):
    unknown = replace(
        MISTILT,
        verdict="cannot tell",
        offset_px=(NAN, NAN),
        elongations=tuple(replace(e, excess_px2=(NAN, NAN), sigma_px2=NAN) for e in MISTILT.elongations),
        angle_between_deg=NAN,
    )
    assert "nan" not in words(reference_figure(measurement, NONE, unknown)).lower()
    told = [*reference_rows(measurement, NONE), *mistilt_rows(measurement, unknown)]
    assert "nan" not in " ".join(row.value for row in told).lower()


def test_order_is_said_with_its_wave(measurement):
    wave = Field(
        name="wave_a",
        unit="px",
        positions_px=measurement.columns.positions_px,
        values=np.full(len(measurement.columns.flags), 0.3),
        sigma=np.full(len(measurement.columns.flags), 0.05),
    )
    assert "Order: modulated" in words(order_figure(measurement, ORDER, wave))
    rows = {row.name: row for row in order_rows(measurement, ORDER)}
    scale = measurement.calibration.pixel_size_pm
    assert rows["strongest wave"].value.startswith(f"{0.3 * scale:.2f}")
    assert "(0.2500 ± 0.0010" in rows["its wavevector"].value
    assert len([name for name in rows if name.startswith("alternating")]) == 3
    assert "too few" in words(order_figure(measurement, antipolar_order(empty(measurement).cells, measurement.columns)))


def test_polarization_is_said_with_its_factor_and_source(measurement):
    found = polarization(measurement.cells, load_material("BiFeO3"))
    assert "Polarization of BiFeO3" in words(polarization_figure(measurement, found))
    rows = {row.name: row for row in polarization_rows(measurement, found)}
    assert rows["factor"].value.startswith("−2.25") and "against" in rows["factor"].note
    assert "oxygen" in rows["taken for granted"].value and "Neaton" in rows["source"].value
    nothing = empty(measurement)
    assert "no unit cells" in words(polarization_figure(nothing, polarization(nothing.cells, load_material("bfo"))))


def test_polarization_arrows_point_against_those_of_displacement_in_bifeo3(measurement):
    from matplotlib.quiver import Quiver

    found = polarization(measurement.cells, load_material("BiFeO3"))
    drawn = polarization_figure(measurement, found)
    arrows, key = (child for axes in drawn.axes for child in axes.get_children() if isinstance(child, Quiver))
    assert len(arrows.U) > len(key.U) == 1 and "arrow" in words(drawn)
    mean = measurement.cells.displacement_px.mean(axis=0)
    assert np.mean(arrows.V) * mean[0] + np.mean(arrows.U) * mean[1] < 0


def test_c_over_a_is_drawn_by_layer(measurement):
    found = tetragonality(measurement.cells, measurement.columns)
    profile = tetragonality_profile(measurement.cells, measurement.columns, found)
    drawn = tetragonality_figure(measurement, found, profile)
    assert "c/a, c along b" in words(drawn)
    assert len(drawn.axes[-1].lines[0].get_xdata()) == len(profile.layer)
    assert tetragonality_rows(found, profile)[0].value == f"{np.median(found.c_over_a.values):.4f}"
    nothing = empty(measurement).cells
    none = tetragonality(nothing, measurement.columns)
    rows = tetragonality_rows(none, tetragonality_profile(nothing, measurement.columns, none))
    assert rows[0].value == "unknown"
