"""Settings that hold several numbers: in Python as numbers, in files and on the command line as text."""

from __future__ import annotations

import numpy as np
import pytest

from dipolar.cli.main import main
from dipolar.core.errors import SettingsError
from dipolar.recipes.align_settings import AlignSettings
from dipolar.recipes.settings import MeasureSettings, SimulateSettings, change


@pytest.mark.parametrize(
    ("settings", "name", "numbers", "text"),
    [
        (MeasureSettings(), "reference", (300, 400, 0, 400), "300:400,0:400"),
        (MeasureSettings(), "reference", np.array([300, 400, 0, 400]), "300:400,0:400"),
        (MeasureSettings(), "directions", [45.0, 135, 225.5], "45,135,225.5"),
        (MeasureSettings(), "directions", 45, "45"),
        (MeasureSettings(), "zone_axis", (1, -1, 0), "1,-1,0"),
        (MeasureSettings(), "figures", ["png", "svg"], "png,svg"),
        (AlignSettings(), "scan_angles", (0, 90.0), "0,90"),
        (SimulateSettings(), "layers", [("SrTiO3", 0.25), ("BiFeO3", 0.75)], "SrTiO3:0.25,BiFeO3:0.75"),
        (SimulateSettings(), "layers", {"SrTiO3": 1, "PbTiO3": 3}, "SrTiO3:1,PbTiO3:3"),
        (SimulateSettings(), "layers", ["SrTiO3", "PbTiO3:2"], "SrTiO3:1,PbTiO3:2"),
    ],
)
def test_numbers_are_as_good_as_text(settings, name, numbers, text):
    assert getattr(change(settings, {name: numbers}), name) == getattr(change(settings, {name: text}), name) == text


@pytest.mark.parametrize(
    ("settings", "name", "value", "words"),
    [
        (MeasureSettings(), "reference", (300, 400), "y0:y1,x0:x1"),
        (MeasureSettings(), "reference", (400, 300, 0, 400), "the region is empty"),
        (MeasureSettings(), "zone_axis", (0, 0, 0), "three whole numbers"),
        (MeasureSettings(), "directions", [None], "valid string"),
        (AlignSettings(), "scan_angles", "0,ninety", "angles are written in degrees"),
        (SimulateSettings(), "layers", {"SrTiO3": -1}, "more than 0"),
    ],
)
def test_what_is_not_allowed_is_said_in_words(settings, name, value, words):
    with pytest.raises(SettingsError, match=words):
        change(settings, {name: value})


def test_a_wrong_option_of_align_points_to_the_help_of_align(capsys):
    assert main(["image", "align", "a.tif", "b.tif", "--scan-angles", "0,ninety"]) == 2
    said = capsys.readouterr().err
    assert "angles are written in degrees with commas between" in said and "dipolar image align --help" in said
