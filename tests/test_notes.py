"""Sentences of a result: told where they hold, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
from dipolar.core.measurement import Measurement
from dipolar.recipes.consistency import scatter_notes
from dipolar.recipes.measure import measure_image
from dipolar.recipes.notes import notes
from dipolar.recipes.overview import differ, findings_headline
from dipolar.recipes.settings import MeasureSettings
from dipolar.simulate import FilmSettings, wall

ROTATED = 6.0


@pytest.fixture(scope="module")
def measured() -> Measurement:
    settings = FilmSettings(
        shape_px=(330, 520), layers=(films.layer("BiFeO3"),), rotation_deg=ROTATED, domains=wall("180", width_pm=400.0)
    )
    return measure_image(films.film(settings).image, lattice_pm=396.0, gain_check=False)


def told(measured: Measurement, word: str, **settings: object) -> list[str]:
    return [note for note in notes(MeasureSettings.model_validate(settings), measured) if word in note]


def test_directions_that_are_not_those_of_the_domains_are_told(measured: Measurement) -> None:
    domains = measured.findings.maps.domains
    own = (domains.angle_deg[domains.polar] - ROTATED) % 360.0
    assert len(own) == 2
    for turn, wrong in ((0, False), (20, False), (-20, False), (30, True), (45, True)):
        given = ",".join(f"{angle:.0f}" for angle in own + turn)
        assert bool(told(measured, "directions given", directions=given)) == wrong
    (note,) = told(measured, "directions given", directions=f"{own[0]:.0f}")
    assert "180° off" in note or "179° off" in note
    assert not told(measured, "directions given")


def test_order_and_domains_that_differ_say_why(measured: Measurement) -> None:
    assert not differ(measured.findings) and not told(measured, "no domain is")
    maps = measured.findings.maps
    none = replace(maps, domains=replace(maps.domains, polar=np.zeros_like(maps.domains.polar)))
    unlike = replace(measured, findings=replace(measured.findings, maps=none))
    assert measured.findings.order.verdict == "polar" and differ(unlike.findings)
    (note,) = told(unlike, "no domain is")
    assert "2.5 % of a cell" in note
    lines = findings_headline(unlike)
    assert any("order: polar" in line and "though no domain is" in line for line in lines)


def test_a_scatter_beyond_sigma_is_told_and_an_honest_one_is_not(measured: Measurement) -> None:
    settings = MeasureSettings()
    width = measured.summary["neighbour_scatter_over_sigma_dy"]
    assert width == pytest.approx(1.0, abs=0.25) and not told(measured, "Neighbouring cells")
    wide = replace(measured, summary={**measured.summary, "neighbour_scatter_over_sigma_dy": 1.4})
    (note,) = scatter_notes(settings, wide)
    assert "1.4 (dy)" in note and "--scan rows" in note
    (after,) = scatter_notes(MeasureSettings(scan="rows"), wide)
    assert "--scan rows" not in after
    layered = replace(
        measured,
        summary={**measured.summary, "layer_scatter_c_over_a": 0.017, "layer_scatter_over_sigma": 3.4},
    )
    assert [note for note in notes(settings, layered) if "0.017 from layer to layer, 3.4 ×" in note]
