"""An angle that something speaks against is mapped and tabled, under a notice; what is not polar has no direction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import unmix_handmade as handmade
from dipolar.core.unmixing import UNTOLD_DEG, Unmixed
from dipolar.io.components_table import components_table
from dipolar.recipes.unmix_result import check_angle, headline_of, overview_of, was_interrupted
from dipolar.report.unmix_angles import angle_sheet


def made(verdict: str, *, about_deg: float = 1.0, not_polar: int = 0) -> Unmixed:
    """Return a handmade result with dipoles that spread so about the angle, and some that are none."""
    found = handmade.unmixed("rvae", verdict=verdict)
    angles = found.components.angles
    assert angles is not None
    sigma, variant = angles.sigma_deg.copy(), angles.variant.copy()
    sigma[:not_polar], variant[:not_polar] = UNTOLD_DEG, -1
    angles = replace(
        angles,
        sigma_deg=sigma,
        variant=variant,
        diagnosis={**angles.diagnosis, "dipole_about_angle_deg": about_deg},
    )
    return replace(found, components=replace(found.components, angles=angles))


def words_of(unmixed: Unmixed) -> str:
    drawn = angle_sheet(unmixed)
    titles = [axes.get_title(where) for axes in drawn.axes for where in ("left", "center")]
    return "\n".join([*(text.get_text() for text in drawn.texts), *titles])


def test_a_doubtful_angle_is_mapped_and_tabled_under_a_notice_and_the_run_ends_well() -> None:
    found = made("doubtful")
    check_angle(found, Path("out"))
    table = components_table(found)
    assert np.isfinite(table["angle_deg"]).all()
    assert (table["variant"] >= 0).all()
    assert np.isfinite(table["dipole_dy_sigma_pm"]).all()
    words = words_of(found)
    assert "The angle is doubtful" in words
    assert "use a smaller window" in words
    assert "which way, at every site" in words
    assert any("doubtful" in line for line in headline_of(found))
    assert "doubtful" not in words_of(made("good"))


def test_an_angle_that_is_locked_to_the_lattice_is_said_to_be_on_the_sheet() -> None:
    assert "locked to the lattice" in words_of(made("good", about_deg=26.0))
    assert "locked to the lattice" not in words_of(made("good"))


def test_what_is_not_polar_is_counted_and_does_not_count_in_sigma() -> None:
    found = made("good", not_polar=150)
    assert any("not told from zero" in line for line in headline_of(found))
    assert any("sigma of the angle 5°" in line for line in headline_of(found))
    assert "are polar" in words_of(found)
    assert "none told from zero" in words_of(made("doubtful", not_polar=196))


def test_what_is_between_variants_is_counted_and_is_not_what_is_not_polar() -> None:
    found = made("good", not_polar=49)
    angles = found.components.angles
    assert angles is not None
    assert not angles.between.any()
    variant = angles.variant.copy()
    variant[100:149] = -1
    found = replace(found, components=replace(found.components, angles=replace(angles, variant=variant)))
    assert any("between variants, as in walls, so of none: 25 %" in line for line in headline_of(found))
    assert any("not told from zero, so of no variant: 25 %" in line for line in headline_of(found))
    assert overview_of(found)["angle"]["between_variants"] == 0.25
    assert "25 % between variants" in words_of(found)
    assert "between variants" not in words_of(made("good"))


def test_whether_a_training_was_interrupted_is_a_fact() -> None:
    found = handmade.unmixed("rvae")
    assert not was_interrupted(found)
    stopped = replace(found.components, facts={**found.components.facts, "interrupted": True})
    assert was_interrupted(replace(found, components=stopped))
