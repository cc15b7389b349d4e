"""Figures: colours and wheel obey the screen's directions, numbers on paper are those used, nothing falls over."""

from __future__ import annotations

import functools
import time
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

import report_example as example
from dipolar.core.flags import DOUBTFUL_CELL, Flag
from dipolar.core.geometry import cell_gamma_deg
from dipolar.core.measurement import Measurement
from dipolar.report import FIGURES, displacement_colours, displacement_map, full_radius, render_figures
from dipolar.report.colour import UNKNOWN, ZERO, from_oklab, nice_ceiling, to_oklab, wheel
from dipolar.report.displacement import block_arrows
from dipolar.report.ground import label_raster, quadrilaterals
from dipolar.report.histogram import displacement_histogram
from dipolar.report.panels import lattice_quantities
from dipolar.report.sigma import sigmas
from dipolar.report.style import encode

DIRECTIONS = {"right": (0.0, 1.0), "up": (-1.0, 0.0), "left": (0.0, -1.0), "down": (1.0, 0.0)}


def words(drawn: Figure) -> str:
    own = [text.get_text() for text in drawn.texts]
    return "\n".join([*own, *(text.get_text() for axes in drawn.axes for text in axes.texts), *titles(drawn)])


def titles(drawn: Figure) -> list[str]:
    return [axes.get_title(loc) for axes in drawn.axes for loc in ("left", "center")]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_wheel_shows_at_its_rim_the_colour_of_the_displacement_pointing_there(direction: str) -> None:
    dy, dx = DIRECTIONS[direction]
    picture = wheel(401)
    at = picture[round(200 + 198 * dy), round(200 + 198 * dx)]
    (colour,) = displacement_colours(np.array([[dy, dx]]), full_radius=200.5 / 198)
    np.testing.assert_allclose(at[:3], colour, atol=1e-6)
    assert at[3] == 1.0


def test_the_wheel_on_paper_stands_as_the_image_does() -> None:
    drawn = displacement_map(example.measurement((3, 3), edge_px=30))
    axes = next(axes for axes in drawn.axes if any("full colour" in text.get_text() for text in axes.texts))
    (picture,) = axes.get_images()
    assert picture.origin == "upper"
    assert axes.get_ylim()[0] < axes.get_ylim()[1]  # first row of the wheel at the top, which is where 90° is written
    ninety = next(text for text in axes.texts if text.get_text() == "90°")
    assert ninety.get_position() == pytest.approx((0, 1.08))


def test_turning_displacements_turns_hues() -> None:
    angles = np.radians(np.arange(0, 360, 10))
    vectors = 20 * np.stack([-np.sin(angles), np.cos(angles)], axis=-1)
    quarter = np.stack([-vectors[:, 1], vectors[:, 0]], axis=-1)  # (dy, dx) turned by 90° counter-clockwise
    colours, turned = (displacement_colours(v, full_radius=30.0) for v in (vectors, quarter))
    np.testing.assert_allclose(turned, np.roll(colours, -9, axis=0), atol=1e-9)


def test_colour_grows_from_white_to_the_full_hue_and_stays() -> None:
    lengths = np.linspace(0, 60, 121)
    for dy, dx in DIRECTIONS.values():
        colours = displacement_colours(lengths[:, None] * np.array([dy, dx]), full_radius=30.0)
        away = np.linalg.norm(to_oklab(colours) - to_oklab(np.array(ZERO)), axis=-1)
        np.testing.assert_allclose(away[lengths <= 30] / away[60], lengths[lengths <= 30] / 30, atol=0.01)
        np.testing.assert_allclose(colours[60:], colours[60][None].repeat(61, axis=0))
    assert tuple(displacement_colours(np.array([[np.nan, 1.0]]), full_radius=1.0)[0]) == UNKNOWN


def test_oklab_there_and_back() -> None:
    colours = np.random.default_rng(1).random((200, 3))
    np.testing.assert_allclose(from_oklab(to_oklab(colours)), colours, atol=1e-6)


def test_main_directions_stay_apart_for_colour_blind_readers() -> None:
    """Deuteranopia and protanopia after Machado et al. (2009); 0.1 in OKLab is a plain difference."""
    colours = displacement_colours(np.array(list(DIRECTIONS.values())), full_radius=1.0)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    deutan = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    protan = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    for matrix in (np.eye(3), np.array(deutan), np.array(protan)):
        seen = np.clip(linear @ matrix.T, 0, 1)
        lab = to_oklab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[~np.eye(4, dtype=bool)]
        assert apart.min() > 0.1


def test_equal_lengths_look_about_equally_strong_in_every_direction() -> None:
    """Twofold from the faintest to the strongest and 37 in L*: CET-C2 as it is has 3.6 and 59."""
    turn = np.linspace(0.0, 2.0 * np.pi, 360, endpoint=False)
    colours = displacement_colours(np.stack([-np.sin(turn), np.cos(turn)], axis=1), full_radius=1.0)
    strength = np.linalg.norm(to_oklab(colours) - to_oklab(np.array(ZERO)), axis=1)
    assert strength.max() < 2.2 * strength.min()
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    lightness = 116.0 * np.cbrt(linear @ np.array([0.2126, 0.7152, 0.0722])) - 16.0
    assert np.ptp(lightness) < 38.0
    steps = np.linalg.norm(np.diff(to_oklab(colours), axis=0, append=to_oklab(colours[:1])), axis=1)
    assert steps.max() < 4.0 * steps.mean()


def test_cells_on_the_map_carry_the_colour_of_the_wheel_at_the_radius_written() -> None:
    measured = example.measurement((6, 7), field=example.two_domains, flagged=0.0)
    radius = full_radius(measured)
    drawn = displacement_map(measured)
    (patches,) = [part for part in drawn.axes[0].collections if isinstance(part, PolyCollection)][:1]
    vectors = measured.cells.displacement_px * example.PIXEL_SIZE_PM
    np.testing.assert_allclose(patches.get_facecolors()[:, :3], displacement_colours(vectors, full_radius=radius))
    assert f"full colour at {radius:g} pm" in words(drawn)
    assert "full colour at 12 pm" in words(displacement_map(measured, radius=12.0))


def test_radius_is_round_robust_and_above_the_noise() -> None:
    measured = example.measurement((20, 20), field=example.two_domains, image=False)
    assert full_radius(measured) == 30.0
    wild = measured.cells.displacement_px.copy()
    wild[5] = 40.0
    assert full_radius(replace(measured, cells=replace(measured.cells, displacement_px=wild))) == 30.0
    nothing = example.measurement((20, 20), displacement_pm=np.zeros((400, 2)), image=False)
    assert full_radius(nothing) >= 4 * 2.3
    assert [nice_ceiling(value) for value in (26.4, 30.0, 0.13, float("nan"), 0.0)] == [30.0, 30.0, 0.15, 1.0, 1.0]


def test_arrows_are_means_and_point_as_the_image_does() -> None:
    up = np.tile([-20.0, 0.0], (36, 1))
    measured = example.measurement((6, 6), displacement_pm=up, sigma_pm=0.01, flagged=0.0)
    arrows = block_arrows(measured.cells, step=3)
    np.testing.assert_allclose(arrows.displacement_px, [[-20 / example.PIXEL_SIZE_PM, 0.0]] * 4, atol=0.01)
    (quiver,) = [part for part in displacement_map(measured).axes[0].collections if isinstance(part, Quiver)]
    assert (quiver.V < 0).all()
    assert quiver.angles == "xy"  # in data coordinates, in which y runs down on this image
    low, high = quiver.axes.get_ylim()
    assert low > high


def test_up_is_up_in_the_histogram() -> None:
    measured = example.measurement((6, 6), displacement_pm=np.tile([-20.0, 5.0], (36, 1)), sigma_pm=0.01, image=False)
    axes = displacement_histogram(measured).axes[0]
    low, high = axes.get_ylim()
    assert low > 0 > high
    (mesh,) = [part for part in axes.collections if isinstance(part, QuadMesh)]
    row, col = np.unravel_index(np.argmax(mesh.get_array().filled(0)), mesh.get_array().shape)
    edges = mesh.get_coordinates()
    assert edges[row, col, 0] <= 5.1 and edges[row + 1, col + 1, 0] >= 4.9
    assert edges[row, col, 1] <= -19.9 and edges[row + 1, col + 1, 1] >= -20.1


def test_quadrilaterals_are_the_corner_columns_or_the_mean_edges() -> None:
    measured = example.measurement((4, 5), image=False)
    cells = measured.cells
    quads = quadrilaterals(cells, measured.columns)
    np.testing.assert_array_equal(quads[:, 2], measured.columns.positions_px[cells.corners[:, 3]])
    unlinked = quadrilaterals(replace(cells, corners=np.full_like(cells.corners, -1)), measured.columns)
    np.testing.assert_allclose(unlinked, quads, atol=0.2)  # the maker scatters columns by 0.05 px
    np.testing.assert_allclose(unlinked.mean(axis=1), cells.positions_px)


def test_raster_names_the_cell_under_each_point() -> None:
    measured = example.measurement((9, 8), image=False)
    quads = quadrilaterals(measured.cells, measured.columns)
    shape = measured.image.data.shape
    labels = label_raster(quads, shape, longest=max(shape))
    at = np.round(measured.cells.positions_px).astype(int)
    np.testing.assert_array_equal(labels[at[:, 0], at[:, 1]], np.arange(72))
    areas = np.bincount(labels[labels >= 0], minlength=72)
    np.testing.assert_allclose(areas, example_area := 22.0**2 * 1.0003, rtol=0.12)
    assert abs(areas.mean() / example_area - 1) < 0.03
    inside = labels[at[:, 0].min() : at[:, 0].max(), at[:, 1].min() + 20 : at[:, 1].max() - 20]
    assert (inside >= 0).all()  # no seams between neighbours


def test_gamma_and_units_of_the_lattice_sheet() -> None:
    measured = example.measurement((4, 4), image=False)
    cells = replace(measured.cells, a_px=np.tile([0.0, 20.0], (16, 1)), b_px=np.tile([10.0, 10.0], (16, 1)))
    np.testing.assert_allclose(cell_gamma_deg(cells), 45.0)
    found = {quantity.title: quantity for quantity in lattice_quantities(replace(measured, cells=cells))}
    assert list(found) == ["a", "b", "gamma", "area", "strain xx", "strain yy", "strain xy", "rotation"]
    np.testing.assert_allclose(found["area"].values, 200 * (example.PIXEL_SIZE_PM / 1000) ** 2)
    assert [found[name].unit for name in ("a", "gamma", "area", "strain xx", "rotation")] == [
        "pm",
        "°",
        "nm²",
        "%",
        "°",
    ]
    np.testing.assert_allclose(found["strain xx"].values, 100 * measured.fields[0].values)


@functools.cache
def hard_cases() -> dict[str, Measurement]:
    some = example.measurement((5, 6), edge_px=16)
    cells, columns = some.cells, some.columns
    unknown = np.full_like(cells.covariance_px2, np.nan)
    flagged = np.full_like(cells.flags, np.uint32(Flag.ODD_CELL))
    nowhere = np.full_like(some.image.data, np.nan)
    return {
        "no cells": example.measurement((0, 0), edge_px=16),
        "one cell": example.measurement((1, 1), edge_px=16, flagged=0.0),
        "few cells, no calibration, no reference": example.measurement((2, 3), calibrated=False, reference=False),
        "sigma unknown": replace(some, cells=replace(cells, covariance_px2=unknown)),
        "sigma of columns unknown": replace(
            some,
            cells=replace(cells, covariance_px2=unknown),
            columns=replace(columns, covariance_px2=np.full_like(columns.covariance_px2, np.nan)),
        ),
        "all flagged": replace(some, cells=replace(cells, flags=flagged)),
        "displacement unknown": replace(
            some, cells=replace(cells, displacement_px=np.full_like(cells.displacement_px, np.nan))
        ),
        "image of nan, no fields, no gain check": replace(
            some, image=replace(some.image, data=nowhere), fields=(), gain_check=None
        ),
        "constant image, odd name": replace(
            some, image=replace(some.image, data=np.ones_like(some.image.data), name="$\\x_ü 膜 {%$ " + 40 * "long")
        ),
        "wide": example.measurement((3, 40), edge_px=12),
        "tall": example.measurement((40, 3), edge_px=12),
    }


@pytest.mark.parametrize("case", hard_cases())
def test_no_figure_falls_over(case: str) -> None:
    measured = hard_cases()[case]
    rendered = render_figures(measured)
    assert set(rendered) == example.PLAIN_FIGURES - (set() if measured.gain_check else {"gain"})
    assert all(files["png"].startswith(b"\x89PNG") for files in rendered.values())
    if case == "no cells":
        assert "no unit cells were found" in words(FIGURES["map"](measured))
        assert "no unit cells were found" in words(FIGURES["lattice"](measured))


def test_the_map_says_what_it_is() -> None:
    said = words(displacement_map(example.measurement((3, 4))))
    assert "Polar displacement · film.dm4" in said and "olarization" not in said
    assert "basis A: centre of the four A corners → central B column" in said
    assert "reference offset removed: (dy, dx) = (5.35 ± 0.19, −2.07 ± 0.17) pm" in said
    bare = words(displacement_map(example.measurement((3, 4), calibrated=False, reference=False)))
    assert "no reference region" in bare and " px" in bare and " pm\n" not in bare


def test_flagged_cells_are_grey_not_gone() -> None:
    measured = example.measurement((6, 6), flagged=0.3)
    bad = (measured.cells.flags & np.uint32(DOUBTFUL_CELL)) != 0
    assert 0 < bad.sum() < bad.size
    filled = displacement_map(measured).axes[0].collections[0].get_facecolors()[:, :3]
    assert len(filled) == bad.size
    np.testing.assert_array_equal((filled == np.array(UNKNOWN)).all(axis=1), bad)


def test_sigmas_are_in_the_unit_of_the_page() -> None:
    found = sigmas(example.measurement((12, 12), image=False))
    assert {name: round(float(np.median(values)), 1) for name, values in found.items()} == pytest.approx(
        {"A columns": 1.0, "B columns": 2.2, "displacement": 2.4}, abs=0.15
    )


KINDS = (("map", "png"), ("map", "svg"), ("histogram", "pdf"), ("columns", "png"))


def test_figures_come_out_the_same_and_leave_the_style_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    measured = example.measurement((2, 2))
    one, two = ([encode(FIGURES[name](measured), kind) for name, kind in KINDS] for _ in range(2))
    assert one == two
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(("count", "limit_s"), [(158, 3.0), (354, 6.0)])
def test_large_maps_are_drawn_in_time(count: int, limit_s: float) -> None:
    measured = example.measurement((count, count), edge_px=8, image=False)
    start = time.process_time()
    drawn = displacement_map(measured)
    drawn.canvas.draw()
    assert time.process_time() - start < limit_s
