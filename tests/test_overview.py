"""Findings in words for the terminal: plain numbers, the numbers of the tables, the contrast that was found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import report_example as example
from dipolar.core.domains import Maps
from dipolar.core.findings import Modulation, Order
from dipolar.core.flags import Flag
from dipolar.core.limits import limits
from dipolar.core.measurement import Findings, Measurement
from dipolar.io.finding_tables import walls_table
from dipolar.maps import make_maps
from dipolar.recipes.overview import contrast_of, findings_headline, findings_overview

WAVE = Modulation(
    channel="A",
    wavevector=(0.25, 0.25),
    wavevector_sigma=(0.001, 0.001),
    period_px=63.2,
    normal_deg=-45.0,
    amplitude_px=0.0312,
    amplitude_sigma_px=0.00021,
    direction_deg=37.0,
    chance=0.0,
    along_rows=False,
)
ORDER = Order(
    verdict="modulated",
    why="a wave",
    cells=400,
    polar_px=(0.0, 0.0),
    polar_sigma_px=(0.01, 0.01),
    polar_spread_px=0.03,
    staggered=(),
    modulation=WAVE,
)


@pytest.fixture(scope="module")
def measurement() -> Measurement:
    made = example.measurement((16, 18), field=example.two_domains, edge_px=14)
    return replace(made, findings=Findings(order=ORDER, maps=maps_of(made)))


def maps_of(made: Measurement) -> Maps:
    tall, wide = made.image.data.shape
    return make_maps(made.cells, made.columns, shape_px=(tall, wide), rng=np.random.default_rng(0), most_anomalies=5)


def test_numbers_are_plain(measurement):
    told = "\n".join(findings_headline(measurement))
    assert "e+" not in told and "± 0.00 " not in told
    assert "wave of 0.5382 ± 0.0036 pm, period 1090 pm" in told


def test_walls_have_the_numbers_of_their_table(measurement):
    assert measurement.findings.maps is not None
    table = walls_table(measurement.findings.maps.walls, pixel_size_pm=17.25)
    told = [line for line in findings_headline(measurement) if line.startswith("  wall ")]
    assert told and [int(line.split()[1].rstrip(":")) for line in told] == table["wall"][:3].tolist()


@pytest.mark.parametrize(
    ("factor", "shift", "kind"), [(1.0, 0.0, "bright"), (-1.0, 0.0, "dark"), (1.0, None, "signed")]
)
def test_the_contrast_that_was_found_is_told(measurement, factor, shift, kind):
    image, columns = measurement.image, measurement.columns
    data = image.data - np.float32(np.median(image.data) if shift is None else 0.0)
    turned = replace(
        measurement,
        image=replace(image, data=data * np.float32(factor)),
        columns=replace(columns, amplitude=columns.amplitude * factor),
        cells=replace(measurement.cells, flags=np.full_like(measurement.cells.flags, Flag.POOR_FIT)),
    )
    assert contrast_of(turned) == findings_overview(turned)["contrast"] == kind
    assert any(kind in line for line in findings_headline(turned)) == (kind != "bright")
    assert any(f"expected ({'dark' if kind == 'dark' else 'bright'} columns" in told for told in limits(turned))
    chosen = replace(turned, record=replace(turned.record, settings={"contrast": "dark"}))
    assert contrast_of(chosen) == "dark"


def test_cells_that_are_only_unfamiliar_do_not_send_anyone_to_the_columns(measurement):
    def told(flags):
        flagged = replace(measurement, cells=replace(measurement.cells, flags=flags))
        return " ".join(limits(flagged))

    flags = np.full_like(measurement.cells.flags, Flag.UNFAMILIAR)
    assert "Look at the columns" not in told(flags) and "in no median" in told(flags)
    flags[: 2 * len(flags) // 3] |= np.uint32(Flag.POOR_FIT)
    assert "Look at the columns" in told(flags)
