"""Sheets of unmixing: every method has one, numbers stand where they belong, and no map where there is no answer."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from matplotlib.figure import Figure

import unmix_handmade as handmade
from dipolar.core.errors import DataError, SettingsError
from dipolar.core.nouns import Image, same
from dipolar.core.unmixing import Method, Unmixed
from dipolar.io import load, save, verify
from dipolar.io.components_export import modes_signal, write_modes
from dipolar.io.components_table import components_table
from dipolar.io.export import to_hyperspy, to_pandas, to_xarray
from dipolar.report.colour import UNKNOWN, displacement_colours
from dipolar.report.unmix import ABOUT, SHEETS, render_sheet, sheet_caption, unmixing_sheet
from dipolar.report.unmix_clusters import direction_colours, vector_colours
from dipolar.report.unmix_manifolds import plane_colours
from dipolar.report.unmix_page import unmix_report_html
from dipolar.report.unmix_parts import category_colours, tiles_of, value_colours
from dipolar.report.unmix_table import FIGURES, unmix_rows


def words(drawn: Figure) -> str:
    own = [text.get_text() for text in drawn.texts]
    titles = [axes.get_title(loc) for axes in drawn.axes for loc in ("left", "center")]
    return "\n".join([*own, *titles, *(text.get_text() for axes in drawn.axes for text in axes.texts)])


def wide(found: Unmixed) -> Unmixed:
    """Return the same with an image that is four times as wide as it is tall."""
    tall, across = found.image.data.shape
    return replace(found, image=Image(data=np.tile(found.image.data, (1, 4))[:tall, : 4 * across], name="wide.tif"))


def test_every_method_has_a_sheet_and_says_what_it_cannot_say():
    assert set(SHEETS) == set(ABOUT) == set(get_args(Method)) == set(handmade.METHODS)


@pytest.mark.parametrize("method", handmade.METHODS)
def test_every_method_is_drawn(method):
    found = handmade.unmixed(method)
    drawn = unmixing_sheet(found)
    assert "film.tif" in words(drawn)
    assert sheet_caption(found)


@pytest.mark.parametrize("method", ["pca", "kmeans", "isomap", "rvae"])
def test_several_channels_and_wide_images_without_pixel_size_or_displacement_are_drawn(method):
    found = handmade.unmixed(method, channels=("image", "A", "B", "background"), pixel_size_pm=None)
    blank = np.full_like(found.displacement_px, np.nan)
    drawn = unmixing_sheet(wide(replace(found, displacement_px=blank)))
    assert "measured displacement" not in words(drawn)
    assert "background" in sheet_caption(found)


def test_a_formats_name_is_checked():
    with pytest.raises(SettingsError, match="png, svg, pdf"):
        render_sheet(handmade.unmixed("pca"), formats=("gif",))
    assert render_sheet(handmade.unmixed("nmf"), formats=("svg",))["svg"].startswith(b"<?xml")


def test_a_network_without_an_angle_and_loadings_with_clusters_have_sheets_too():
    found = handmade.unmixed("rvae")
    blind = replace(found, components=replace(found.components, angles=None))
    assert "latent 2" in words(unmixing_sheet(blind)) and "which way" not in words(unmixing_sheet(blind))
    assert list(components_table(blind))[2:5] == ["latent_1", "latent_2", "cluster"]
    clusters = handmade.unmixed("gmm").components
    linear = handmade.unmixed("pca")
    more = replace(linear.components, cluster=clusters.cluster, cluster_means=clusters.cluster_means)
    assert "mean patch of each" in words(unmixing_sheet(replace(linear, components=more)))


# --- maps


def test_every_site_colours_its_own_place_and_nothing_far_from_it():
    found = handmade.unmixed("pca")
    tiles = tiles_of(found, longest=400)
    scale = tiles.labels.shape[0] / found.image.data.shape[0]
    at = np.floor((found.positions_px + 0.5) * scale).astype(int)
    np.testing.assert_array_equal(tiles.labels[at[:, 0], at[:, 1]], np.arange(len(at)))
    assert tiles.labels[0, 0] == -1  # 16 px from the nearest site, 12 px apart
    covered = (tiles.labels >= 0).sum() / scale**2 / handmade.SPACING**2
    assert covered == pytest.approx(len(at), rel=0.1)


def test_a_sheared_lattice_has_sheared_tiles():
    found = handmade.unmixed("pca")
    sheared = np.array([[0.0, 12.0], [12.0, 4.0]])
    tiles = tiles_of(replace(found, lattice_px=sheared, positions_px=found.positions_px @ np.linalg.inv(
        found.lattice_px) @ sheared), longest=200)  # fmt: skip
    assert len(np.unique(tiles.labels)) > 150


def test_colours_are_symmetric_about_zero_and_unknown_is_grey():
    colours, norm, _ = value_colours(np.array([-1.0, 0.0, 2.0, np.nan]), diverging=True)
    assert norm.vmin == -norm.vmax
    np.testing.assert_allclose(colours[3], UNKNOWN)
    np.testing.assert_allclose(category_colours(np.array([-1, 0], dtype=np.int32))[0], UNKNOWN)
    np.testing.assert_allclose(plane_colours(np.array([[0.0, 0.0], [np.nan, 1.0]]))[1], UNKNOWN)


def test_the_map_of_the_dipole_has_the_colours_of_its_wheel():
    found = handmade.unmixed("rvae")
    drawn = unmixing_sheet(found)
    shown = next(axes for axes in drawn.axes if axes.get_title("left") == "decoded dipole")
    radius = float(next(line for line in words(drawn).splitlines() if line.startswith("full colour")).split()[3])
    painted = np.asarray(shown.images[-1].get_array())
    tiles = tiles_of(found)
    colours = displacement_colours(32.0 * found.components.angles.dipole_px, full_radius=radius)
    there = tiles.labels >= 0
    np.testing.assert_allclose(painted[there][:, :3], colours[tiles.labels[there]], atol=1e-6)


def test_dipoles_and_measured_displacements_have_one_scale_on_a_sheet():
    found = handmade.unmixed("rvae")
    longer = replace(found, displacement_px=7.3 * found.displacement_px)
    for one in (found, longer):
        _, full, _ = direction_colours(one)
        assert vector_colours(one, one.components.angles.dipole_px)[1] == full
        assert vector_colours(one, one.displacement_px.copy())[1] <= full
    assert direction_colours(longer)[1] > direction_colours(found)[1]


@pytest.mark.parametrize("method", handmade.METHODS)
def test_every_sheet_shows_the_measured_displacement(method):
    found = handmade.unmixed(method)
    assert "measured" in words(unmixing_sheet(found)) and "Colours of displacements" in sheet_caption(found)


def test_round_off_is_not_drawn():
    found = handmade.unmixed("gmm")
    alone = found.components.mean[None] * np.float32(1 + 1e-6)
    one = replace(
        found.components, cluster_means=alone, cluster=0 * found.components.cluster, posterior=np.ones((196, 1))
    )
    assert "what is left" in words(unmixing_sheet(found))
    assert "what is left" not in words(unmixing_sheet(replace(found, components=one)))


def test_labels_of_a_curve_stand_free_of_its_numbers():
    found = handmade.unmixed("gmm")
    curves = tuple(
        replace(curve, y=curve.y * size, y_label="BIC")
        for curve in found.components.curves
        for size in (-4321.0, 98765.4)
    )
    drawn = unmixing_sheet(replace(found, components=replace(found.components, curves=curves)))
    drawn.canvas.draw()
    for axes in (one for one in drawn.axes if one.get_ylabel() and one.lines):
        label = axes.yaxis.label.get_window_extent()
        assert not any(label.overlaps(tick.get_window_extent()) for tick in axes.get_yticklabels() if tick.get_text())


def test_a_place_in_the_plane_has_no_colour_of_the_wheel():
    turns = np.radians(np.arange(0.0, 360.0, 5.0))
    wheel = displacement_colours(np.stack([np.sin(turns), np.cos(turns)], axis=1), full_radius=1.0)
    y, x = np.meshgrid(np.arange(20.0), np.arange(20.0))
    colours = plane_colours(np.stack([x.ravel(), y.ravel()], axis=1))
    assert len(np.unique(colours, axis=0)) == 400
    warm, light = colours[:, 0] - colours[:, 2], colours.sum(axis=1)
    assert np.corrcoef(warm, x.ravel())[0, 1] > 0.9 and np.corrcoef(light, y.ravel())[0, 1] > 0.9
    nearest = np.linalg.norm(wheel[:, None] - colours[None], axis=2).min(axis=1)
    assert np.median(nearest) > 0.2


# --- no answer


@pytest.mark.parametrize("verdict", ["collapsed", "leaked", "noise"])
def test_an_angle_that_means_nothing_is_not_drawn_but_explained(verdict):
    found = handmade.unmixed("rvae", verdict=verdict)
    drawn = words(unmixing_sheet(found))
    assert "What to do: use a smaller window" in drawn
    assert "variants" not in drawn and ("decoded dipole" in drawn) == (verdict == "leaked")
    page = unmix_report_html(found, rendered={"png": b"\x89PNG"})
    assert 'class="notices wrong"' in page and "use a smaller window" in page
    table = components_table(found)
    assert np.isnan(table["angle_deg"]).all() and np.isnan(table["angle_sigma_deg"]).all()
    assert np.isnan(table["dipole_dx_px"]).all() == (verdict != "leaked")  # drawn from the other latents, too
    assert (table["variant"] == -1).all() and np.isfinite(table["latent_1"]).all()


# --- the page


def test_the_page_loads_nothing_and_escapes_names():
    found = handmade.unmixed("gmm")
    named = replace(found, image=replace(found.image, name="<script>.tif"))
    page = unmix_report_html(named)
    assert "<script>" not in page and "&lt;script&gt;.tif" in page
    assert "default-src 'none'" in page
    assert "dipolar image unmix film.tif --method gmm" in page
    assert "A note." not in page  # notes of components are in the record by then


def test_every_figure_of_the_diagnosis_has_a_meaning_in_the_table_and_in_the_docs():
    from dipolar.learn.rvae_diagnosis import diagnose

    told = (Path(__file__).parents[1] / "docs" / "unmixing.md").read_text(encoding="utf-8")
    names = set(re.findall(r'^ +"(\w+)": ', inspect.getsource(inspect.unwrap(diagnose)), flags=re.MULTILINE))
    assert names and names == set(FIGURES)
    assert all(f"| `{name}` |" in told for name in names)


def test_where_the_zero_of_an_angle_is_from_is_said_once():
    found = handmade.unmixed("rvae")
    angles = replace(found.components.angles, registered=False)
    free = replace(found, components=replace(found.components, angles=angles))
    rows = {row.name: row for row in unmix_rows(free)}
    assert "that of the dipole drawn" in str(rows["registered"])


# --- tables and files


@pytest.mark.parametrize("method", handmade.METHODS)
def test_load_after_save_is_identity(method, tmp_path):
    found = handmade.unmixed(method)
    save(found, tmp_path / "components.h5")
    verify(tmp_path / "components.h5")
    assert same(load(tmp_path / "components.h5"), found)


def test_columns_of_the_table():
    assert list(components_table(handmade.unmixed("pca")))[:7] == [
        "y_px", "x_px", "pca_1", "pca_2", "pca_3", "pca_4", "cluster",
    ]  # fmt: skip
    rvae = components_table(handmade.unmixed("rvae"))
    assert list(rvae)[:7] == [
        "y_px", "x_px", "angle_deg", "angle_sigma_deg", "variant", "dipole_dy_pm", "dipole_dx_pm",
    ]  # fmt: skip
    assert {"latent_1", "latent_1_sigma", "offset_dy_px", "cluster"} <= set(rvae)
    np.testing.assert_allclose(rvae["dipole_dy_pm"], 32.0 * rvae["dipole_dy_px"])
    uncalibrated = components_table(handmade.unmixed("rvae", pixel_size_pm=None, offset=False))
    assert np.isnan(uncalibrated["dipole_dy_pm"]).all() and "offset_dy_px" not in uncalibrated


def test_exports_hold_the_table_and_the_pictures():
    found = handmade.unmixed("gmm")
    assert list(to_pandas(found)) == list(components_table(found))
    dataset = to_xarray(found)
    assert dataset.sizes == {"patch": 196, "cluster_mean": 4, "channel": 1, "y": 24, "x": 24}
    assert dataset.cluster_means.shape == (4, 1, 24, 24)
    assert float(dataset.x.mean()) == 0.0


def test_modes_are_written_for_hyperspy(tmp_path):
    from rsciio.hspy import file_reader

    found = handmade.unmixed("pca", channels=("image", "A"))
    write_modes(found, tmp_path / "modes.hspy")
    (read,) = file_reader(str(tmp_path / "modes.hspy"))
    np.testing.assert_array_equal(read["data"], found.components.modes)
    assert [axis["units"] for axis in read["axes"]] == ["", "", "nm", "nm"]
    assert float(read["axes"][3]["scale"]) == pytest.approx(0.032)
    with pytest.raises(DataError, match="to_pandas"):
        modes_signal(replace(found, components=replace(found.components, modes=None)))


def test_hyperspy_gets_the_same(monkeypatch):
    from dipolar.io import export

    made = type("Signals", (), {"Signal2D": staticmethod(lambda data, **rest: (data, rest))})
    monkeypatch.setattr(export, "_extra", lambda module: made)
    data, rest = to_hyperspy(handmade.unmixed("rvae"))
    assert data.shape == (8, 24, 24) and [axis["name"] for axis in rest["axes"]] == ["wheel", "y", "x"]
