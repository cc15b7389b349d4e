"""From an image to components: the right sites and windows, one result for one seed, clean words for what cannot be."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dipolar
import unmix_handmade as handmade
from dipolar.core.contracts import silent
from dipolar.core.errors import DataError, FormatError, OutputError, SettingsError, TrainingError
from dipolar.core.flags import DOUBTFUL_CELL, has
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import A, same, take
from dipolar.io import load, load_measurement, save, verify
from dipolar.measure import build_cells
from dipolar.recipes import unmix_choices
from dipolar.recipes.unmix import normalization_of, unmix_one_by_one
from dipolar.recipes.unmix_result import check_angle, headline_of, overview_of, targets, write_unmixed
from dipolar.recipes.unmix_settings import UnmixSettings, parse_methods, parse_window
from dipolar.recipes.unmix_sites import measured_in
from dipolar.simulate.composition import composition_film
from unmix_stacks import stack_of


@pytest.fixture(scope="module")
def measured() -> Measurement:
    film = composition_film(0.0, rng=np.random.default_rng(2), shape_px=(250, 270), dose=3.0)
    return dipolar.measure_image(film.image, lattice_pm=396.0, gain_check=False, maps=False, mistilt="off")


# --- settings


def test_methods_and_windows_are_read_as_people_write_them():
    assert parse_methods("PCA, gmm,pca") == ("pca", "gmm")
    assert "umap" not in parse_methods("all") and "rvae" in parse_methods("all")
    assert parse_window("48") == (48.0, "px") and parse_window("1.5 cells") == (1.5, "cells")
    assert parse_window("0.72nm") == parse_window("720 pm") == (pytest.approx(720.0), "pm")
    assert UnmixSettings(window_px=48).window_px == "48"  # type: ignore[arg-type]
    assert UnmixSettings(method=["pca", "nmf"]).methods == ("pca", "nmf")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "tsna"}, "a method is one of pca"),
        ({"window_px": "two cells"}, "a window is written"),
        ({"window_px": "2 apples"}, "a bare number"),
        ({"window_px": "0"}, "larger than nothing"),
        ({"components": 0}, "components = 0"),
        ({"colour": 3}, "there is no such setting"),
    ],
)
def test_what_cannot_be_set_is_said(measured, changes, said):
    with pytest.raises(SettingsError, match=said):
        dipolar.unmix_image(measured, **changes)


def test_an_option_that_no_method_has_is_not_ignored(measured):
    with pytest.raises(SettingsError, match=r"perplexity is an option of tsne[\s\S]*method = pca"):
        dipolar.unmix_image(measured, perplexity=20)
    with pytest.raises(SettingsError, match="directions is an option of rvae"):
        dipolar.unmix_image(measured, directions=8)
    with pytest.raises(SettingsError, match="covariance is an option of gmm"):
        dipolar.unmix_image(measured, method="kmeans", clusters=2, covariance="tied")
    with pytest.raises(SettingsError, match=r"windows is an option of pca[\s\S]*method = gmm"):
        dipolar.unmix_image(measured, method="gmm", windows=True)
    unmix_choices.check_known(UnmixSettings(clusters=2, covariance="tied"))  # clusters of the loadings


def test_settings_name_the_value_that_is_taken_where_none_is_given():
    from dipolar import unmix
    from dipolar.learn.rvae_settings import RvaeSettings

    ways = {method: getattr(unmix, name)() for method, name in unmix_choices.CLASSES.items()}
    taken = {name: {method: getattr(way, name, None) for method, way in ways.items()} for name in unmix_choices.OPTIONS}
    for architecture in ("equivariant", "published"):
        filled = RvaeSettings(architecture=architecture).filled()
        for name in ("directions", "shift_sigma_px", "epochs", "batch", "learning_rate", "starts", "hidden"):
            taken.setdefault(name, {})[architecture] = getattr(filled, name)
        taken["components"][architecture] = filled.latents
    for name, values in taken.items():
        told = re.findall(r"[\d.]*\d", (UnmixSettings.model_fields[name].description or "").split("Not given:")[1])
        wanted = {value for value in values.values() if isinstance(value, int | float)}
        if name not in ("clusters", "covariance"):  # in words
            assert wanted <= {float(number) for number in told}, (name, wanted, told)


def test_what_was_settled_in_measuring_cannot_be_changed_afterwards(measured):
    with pytest.raises(SettingsError, match=r"settled where an image is measured[\s\S]*bright = B, contrast = dark"):
        dipolar.unmix_image(measured, bright="B", contrast="dark")


def test_each_of_several_results_is_repeated_by_itself():
    together = UnmixSettings(method="pca,tsne,rvae", windows=True, perplexity=20, epochs=3, clusters=3, restarts=2)
    alone = {method: unmix_choices.settings_of(method, together) for method in together.methods}
    for method, settings in alone.items():
        unmix_choices.check_known(settings)
        assert settings.method == method and settings.clusters == 3
    assert alone["pca"].windows and alone["tsne"].perplexity == 20 and alone["rvae"].epochs == 3


def test_normalisation_suits_the_method_unless_it_is_given():
    assert [normalization_of(UnmixSettings(), method) for method in ("pca", "nmf", "rvae")] == [
        "patch",
        "range",
        "patch",
    ]
    only = UnmixSettings(channels="probability")
    assert [normalization_of(only, method) for method in ("pca", "nmf")] == ["none", "range"]
    assert normalization_of(UnmixSettings(normalization="stack"), "nmf") == "stack"


# --- sites and windows


def test_patches_stand_on_the_cells_that_are_not_in_doubt(measured):
    found = dipolar.unmix_image(measured, method="pca", components=3, window_px="1 cells")
    good = ~has(measured.cells.flags, DOUBTFUL_CELL)
    assert set(found.site) <= set(np.flatnonzero(good))
    assert found.dropped["flagged"] == np.count_nonzero(~good)
    np.testing.assert_array_equal(found.positions_px, measured.cells.positions_px[found.site])
    np.testing.assert_array_equal(found.displacement_px, measured.cells.displacement_px[found.site])
    every = dipolar.unmix_image(measured, method="pca", components=3, window_px="1 cells", flagged=True)
    assert len(every.site) > len(found.site) and every.dropped["flagged"] == 0


def test_px_pm_and_cells_are_one_window(measured):
    cell_px = measured.calibration.measured_lattice_px
    edges = {
        dipolar.unmix_image(measured, components=2, window_px=text).window_px
        for text in ("2 cells", "792 pm", f"{round(2 * cell_px)}")
    }
    assert edges == {round(2 * cell_px)}


def test_wide_cells_are_resampled(measured):
    found = dipolar.unmix_image(measured, components=2, step_px=1.5)
    assert found.step_px == 1.5
    assert found.window_px == round(2 * measured.calibration.measured_lattice_px / 1.5)


@pytest.mark.parametrize("species", ["A", "B"])
def test_columns_in_the_middle_have_the_displacement_of_their_cage(measured, species):
    found = dipolar.unmix_image(measured, components=2, centred_on=species)
    columns = measured.columns
    assert (columns.sublattice[found.site] == (A if species == "A" else 1 - A)).all()
    np.testing.assert_array_equal(found.positions_px, columns.positions_px[found.site])
    cells = build_cells(columns, basis="B" if species == "A" else "A")
    known = np.isfinite(found.displacement_px).all(axis=1)
    assert known.mean() > 0.8
    where = {int(center): place for place, center in enumerate(cells.center)}
    mine = [where[int(site)] for site in found.site[known]]
    np.testing.assert_allclose(found.displacement_px[known], cells.displacement_px[mine])
    assert any("A in its cage of B" in note for note in found.record.notes) == (species == "A")


def test_a_window_in_pm_needs_a_pixel_size(measured):
    unknown = replace(
        measured,
        cells=replace(measured.cells, pixel_size_pm=None),
        calibration=replace(measured.calibration, pixel_size_pm=None),
    )
    with pytest.raises(SettingsError, match="needs the size of a pixel"):
        dipolar.unmix_image(unknown, window_px="720 pm")
    found = dipolar.unmix_image(unknown, window_px="720 pm", pixel_size_pm=16.0, components=2)
    assert found.window_px == 45 and found.pixel_size_pm == 16.0


def test_probabilities_of_the_network_are_channels(measured):
    found = dipolar.unmix_image(measured, channels="both", components=2, window_px="1 cells")
    assert found.channels == ("image", "A", "B", "background") and found.normalization == "patch"
    assert "torch" in found.record.versions
    alone = dipolar.unmix_image(measured, channels="probability", centred_on="B", components=2, window_px="1 cells")
    assert alone.record.inputs["finder.safetensors"]  # which network told the probabilities
    assert alone.normalization == "none"
    a, b, background = alone.components.mean
    middle = (slice(a.shape[0] // 2 - 1, a.shape[0] // 2 + 2),) * 2
    assert b[middle].mean() > 0.5 > max(a[middle].mean(), background[middle].mean())  # a B column is B in its middle
    np.testing.assert_allclose(a + b + background, 1.0, atol=1e-5)
    parts = dipolar.unmix_image(measured, method="nmf", channels="probability", components=2, window_px="1 cells")
    assert parts.normalization == "range" and parts.components.modes is not None and (parts.components.modes >= 0).all()


# --- methods


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("pca", {"components": 3, "windows": True}),
        ("nmf", {"components": 3, "steps": 2000}),
        ("gmm", {"clusters": 2, "dimensions": 3}),
        ("isomap", {"neighbours": 8}),
    ],
)
def test_one_of_each_family_from_image_to_folder(measured, tmp_path, method, more):
    found = dipolar.unmix_image(measured, method=method, **more)
    out = write_unmixed(found, tmp_path / "out", formats=("svg",))
    names = {"components.csv", "components.h5", "report.html", "run.json", "sheet.png", "sheet.svg"}
    assert names <= {path.name for path in out.iterdir()}
    verify(out)
    assert same(load(out), found)
    lines = (out / "components.csv").read_text().splitlines()
    assert len(lines) == 1 + len(found.site) and lines[0].startswith("y_px,x_px," + ",".join(found.components.names))
    record = json.loads((out / "run.json").read_text())
    assert record["seeds"] == {"unmix": 0} and record["settings"]["method"] == method
    assert record["summary"]["patches"] == len(found.site)
    assert len(headline_of(found)) >= 1
    if method == "pca":
        assert [curve.x_label for curve in found.components.curves] == ["component", "edge of patch (image px)"]


def test_an_autoencoder_from_image_to_folder(measured, tmp_path):
    found = dipolar.unmix_image(measured, method="rvae", epochs=1, starts=1, hidden=8, components=1, seed=3)
    assert found.components.angles is not None and found.record.versions["torch"]
    out = write_unmixed(found, tmp_path / "out")
    assert same(load(out), found)
    header, first, *_ = (out / "components.csv").read_text().splitlines()
    assert header.startswith("y_px,x_px,angle_deg,angle_sigma_deg,variant,dipole_dy_pm,dipole_dx_pm")
    assert "latent_1,latent_1_sigma" in header and first.count(",") == header.count(",")
    with pytest.raises(SettingsError, match="freedom"):
        dipolar.unmix_image(measured, method="rvae", freedom="none")


def test_the_same_seed_gives_the_same_result(measured):
    one, two = (dipolar.unmix_image(measured, method="kmeans", clusters=3, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.components.cluster, two.components.cluster)
    assert one.components.settings["seed"] == two.components.settings["seed"]


def test_loadings_are_clustered_where_that_was_asked_for(measured):
    found = dipolar.unmix_image(measured, method="pca", components=2, clusters=2).components
    assert found.cluster.max() == 1 and found.cluster_means.shape[0] == 2
    assert found.facts["clusters_of"] == "loadings"
    assert found.posterior.sum(axis=1) == pytest.approx(1.0)


def test_several_methods_measure_once_and_share_patches(measured, monkeypatch):
    from dipolar.recipes import unmix

    cuts = []
    monkeypatch.setattr(unmix, "cut", lambda *args, cut=unmix.cut, **more: cuts.append(1) or cut(*args, **more))
    settings = UnmixSettings(method="pca,kmeans,nmf", components=2)
    found = list(unmix_one_by_one(measured, settings))
    assert [one.components.method for one in found] == ["pca", "kmeans", "nmf"]
    assert len(cuts) == 2  # nmf is normalised in another way
    with pytest.raises(SettingsError, match="one method at a time"):
        dipolar.unmix_image(measured, method="pca,nmf")


# --- bad input


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"components": 999}, DataError, "--components"),
        ({"method": "kmeans", "clusters": 999}, DataError, "--clusters"),
        ({"method": "nmf", "normalization": "patch"}, DataError, "--normalization range"),
        ({"window_px": 250}, SettingsError, "--window-px"),
        ({"window_px": "0.1 cells"}, SettingsError, "--window-px 4"),
        ({"reference": "0:50,0:50"}, SettingsError, "image measure"),
    ],
)
def test_what_cannot_be_unmixed_is_said(measured, changes, kind, said):
    with pytest.raises(kind, match=said):
        dipolar.unmix_image(measured, **changes)


def test_what_is_no_image_is_said(measured, tmp_path):
    save(handmade.unmixed("pca"), tmp_path / "components.h5")
    for path in (tmp_path, tmp_path / "components.h5"):
        with pytest.raises(FormatError, match="what pca found in film"):
            dipolar.unmix_image(path)
        with pytest.raises(FormatError, match="a result of measuring was expected"):
            load_measurement(path)
    with pytest.raises(DataError, match=r"dipolar\.Image\(data="):
        inspect.unwrap(measured_in)(measured.image.data, UnmixSettings(), progress=silent)  # type: ignore[arg-type]
    nothing = replace(measured, cells=take(measured.cells, np.zeros(len(measured.cells.flags), dtype=bool)))
    with pytest.raises(DataError, match="no unit cell"):
        dipolar.unmix_image(nothing)


def test_a_result_is_opened_where_it_lies(measured, tmp_path):
    save(measured, tmp_path / "result.h5")
    found = dipolar.unmix_image(tmp_path, components=2)
    assert f"{tmp_path.name}/result.h5" in found.record.inputs and same(found.image, measured.image)
    assert list(found.record.inputs)[:-1] == list(measured.record.inputs)


# --- an autoencoder without an angle, and where results go


def test_no_angle_ends_with_the_remedy(tmp_path):
    check_angle(handmade.unmixed("rvae"), tmp_path)
    bad = handmade.unmixed("rvae", verdict="collapsed")
    with pytest.raises(TrainingError, match=r"collapsed[\s\S]*no map[\s\S]*use a smaller window"):
        check_angle(bad, tmp_path)
    assert overview_of(bad)["angle"]["variants_deg"] == [] and headline_of(bad)[1:] == []
    assert overview_of(handmade.unmixed("rvae"))["angle"]["dipole_median_pm"] == pytest.approx(1.1 * 32.0)
    assert "variants at −135" in headline_of(handmade.unmixed("rvae"))[1]


def test_a_measurement_is_not_replaced(measured, tmp_path):
    from dipolar.io import result_folder, write_run_json

    with result_folder(tmp_path / "film.dipolar") as folder:
        save(measured, folder / "result.h5")
        write_run_json(folder, measured.record)
    with pytest.raises(OutputError, match=r"holds a measurement[\s\S]*film-2.dipolar"):
        targets(tmp_path / "film.dipolar", tmp_path / "film.dipolar", UnmixSettings())
    several = targets(None, Path("a/film.dipolar"), UnmixSettings(method="pca,gmm"))
    assert [str(one) for one in several.values()] == ["film.pca.dipolar", "film.gmm.dipolar"]
    assert targets(None, Path("a/film.predicted.dipolar/result.h5"), UnmixSettings())["pca"].name == "film.pca.dipolar"
    inner = targets(tmp_path / "all", Path("film.tif"), UnmixSettings(method="pca,gmm"))
    assert inner["gmm"] == tmp_path / "all" / "gmm.dipolar"


# --- choices


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "rvae", "shift_sigma_px": 1.0}, "shift_sigma_px is of use with freedom"),
        ({"method": "rvae", "architecture": "published", "directions": 8}, "directions is of use with architecture"),
        ({"method": "pca", "finder": "mine.safetensors"}, "finder is of use with channels"),
    ],
)
def test_an_option_that_another_one_makes_useless_is_refused(measured, changes, said):
    with pytest.raises(SettingsError, match=said):
        dipolar.unmix_image(measured, **changes)


@pytest.mark.parametrize("method", ["tsne", "isomap"])
def test_defaults_fit_few_patches_and_say_so(method):
    rng = np.random.default_rng(0)
    few = stack_of(rng.normal(size=(12, 8, 8)).astype(np.float32))
    found = unmix_choices.way_of(method, UnmixSettings(method=method))(few, silent)
    assert np.isfinite(found.scores).all()
    assert any(note.startswith("Of few patches") for note in found.notes)


def test_too_many_clusters_are_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(unmix_choices, "_autoencoder", lambda settings: lambda stack, progress: pytest.fail("trained"))
    few = stack_of(np.random.default_rng(0).normal(size=(12, 8, 8)).astype(np.float32))
    with pytest.raises(DataError, match="patches"):
        unmix_choices.way_of("rvae", UnmixSettings(method="rvae", clusters=13))(few, silent)
