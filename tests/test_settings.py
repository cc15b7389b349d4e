"""Settings: there and back through TOML, and one message that names every offender."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipolar.core.errors import SettingsError
from dipolar.recipes.parse import MATERIALS, parse_region
from dipolar.recipes.settings import MeasureSettings, SimulateSettings, build, change, read_toml, to_toml

regions = st.tuples(st.integers(0, 999), st.integers(1000, 2000), st.integers(0, 999), st.integers(1000, 2000))
measure_settings = st.builds(
    MeasureSettings,
    pixel_size_pm=st.none() | st.floats(0.1, 1000.0),
    lattice_pm=st.none() | st.floats(100.0, 5000.0),
    basis=st.sampled_from("AB"),
    reference=st.none() | regions.map(lambda r: f"{r[0]}:{r[1]},{r[2]}:{r[3]}"),
    fit=st.sampled_from(("profile", "gaussian")),
    select=st.none() | st.text(min_size=1, max_size=20),
    gain_check=st.booleans(),
    figures=st.sampled_from(("png", "svg,pdf", "png,svg,pdf")),
)


@given(measure_settings)
def test_toml_there_and_back(tmp_path_factory, settings):
    path = tmp_path_factory.mktemp("settings") / "run.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    assert read_toml(path, MeasureSettings) == settings


@pytest.mark.parametrize("model", [MeasureSettings, SimulateSettings])
def test_defaults_are_themselves_allowed_and_described(model):
    given_back = build(model, {name: value for name, value in model() if value is not None})
    assert given_back == model()
    assert all(field.description for field in model.model_fields.values())


def test_show_marks_what_was_changed():
    text = to_toml(MeasureSettings(basis="B", lattice_pm=396.0))
    assert 'basis = "B"  # changed; default: "A"' in text
    assert "lattice_pm = 396.0  # changed; default: not given" in text
    assert "# pixel_size_pm is not given" in text
    assert text.count("# changed") == 2
    assert repr(MeasureSettings(basis="B")) == "MeasureSettings(basis='B')"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("latice_pm = 3.0", ['"latice_pm"', 'did you mean "lattice_pm"', "run.toml"]),
        ("colour = 3", ['"colour"', "one of: pixel_size_pm, lattice_pm"]),
        ('basis = "C"\nfigures = "gif"', ["basis = 'C'", "'A' or 'B'", "figures = 'gif'", "png, svg and pdf"]),
        ("pixel_size_pm = -1.0", ["pixel_size_pm = -1.0", "greater than 0"]),
        ('lattice_pm = "3 kg"', ["lattice_pm = '3 kg'", "length"]),
        ("lattice_pm = nan", ["lattice_pm = nan"]),
        ('reference = "5:5,0:9"', ["reference = '5:5,0:9'", "empty"]),
        ("basis = ", ["not TOML", "run.toml"]),
    ],
)
def test_a_wrong_file_gets_one_message_that_names_the_offender(tmp_path, toml, words):
    path = tmp_path / "run.toml"
    path.write_text(toml, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read_toml(path, MeasureSettings)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"cannot be read.*\n.*absent\.toml"):
        read_toml(tmp_path / "absent.toml", MeasureSettings)


def test_lengths_may_carry_their_unit():
    settings = MeasureSettings(lattice_pm="3.905 Å", pixel_size_pm="0.0156nm")
    assert (settings.lattice_pm, settings.pixel_size_pm) == pytest.approx((390.5, 15.6))


@given(regions)
def test_regions_there_and_back(region):
    y0, y1, x0, x1 = region
    assert parse_region(f" {y0} :{y1}, {x0}:{x1}") == region
    assert MeasureSettings(reference=f"{y0}:{y1}, {x0}:{x1}").region_px == region


def test_changes_are_checked_and_keep_the_rest():
    settings = change(MeasureSettings(basis="B"), {"lattice_pm": 396.0})
    assert settings == MeasureSettings(basis="B", lattice_pm=396.0)
    with pytest.raises(SettingsError, match="basiss"):
        change(settings, {"basiss": "A"})


def test_the_materials_are_those_that_can_be_simulated():
    from dipolar.simulate.materials import MATERIALS as PRESETS

    assert sorted(MATERIALS) == sorted(PRESETS)
    assert all(name in SimulateSettings.model_fields["layers"].description for name in MATERIALS)
    assert SimulateSettings(layers="PbTiO3, SrTiO3:2").stack == (("PbTiO3", 1.0), ("SrTiO3", 2.0))
