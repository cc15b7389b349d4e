"""Verdicts on angles: good only where nothing speaks against it, and no one is told to do what was done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dipolar.core.circular import unit_vectors, wrap_deg
from dipolar.learn.rvae_diagnosis import Diagnosis, Told, diagnose

PLAIN = Told(architecture="equivariant", latents=2, translation=False, steps=200, settled=True)


def judged(patches: int = 400, **changes: Any) -> Diagnosis:
    """Return the verdict on four variants that angle, drawn and measured dipoles agree on, unless changed."""
    rng = np.random.default_rng(0)
    angle = 90.0 * rng.integers(0, 4, patches) + 3.0 * rng.standard_normal(patches)
    dipole = 2.0 * unit_vectors(angle)
    given: dict[str, Any] = {
        "angle_deg": wrap_deg(angle),
        "sigma_deg": np.full(patches, 3.0),
        "dipole": dipole,
        "told": np.ones(patches, dtype=bool),
        "measured": dipole + 0.1 * rng.standard_normal((patches, 2)),
        "measured_sigma": np.full((patches, 2), 0.1),
        "rest": rng.standard_normal((patches, 2)),
        "evidence": 10.0,
        "network": PLAIN,
    }
    return diagnose(**{**given, **{name: make(given) for name, make in changes.items()}})


def test_an_angle_that_nothing_speaks_against_is_good() -> None:
    found = judged()
    assert (found.verdict, found.remedy) == ("good", "")
    assert found.figures["dipole_agreement"] > 0.95


@pytest.mark.parametrize(
    ("patches", "changes", "words"),
    [
        (55, {}, "55 patches are few"),
        (400, {"network": lambda g: replace(PLAIN, steps=30, settled=False)}, "still falling after 30 steps"),
        (16, {}, "Too few directions"),
        (
            400,
            {"evidence": lambda g: np.nan, "dipole": lambda g: np.full_like(g["dipole"], np.nan)},
            "No dipole can be read",
        ),
        (
            400,
            {
                "rest": lambda g: g["dipole"],
                "angle_deg": lambda g: g["angle_deg"] + np.random.default_rng(3).normal(0, 25, 400),
            },
            "Other latents tell more",
        ),
        (400, {"dipole": lambda g: np.roll(g["dipole"], 1, axis=0)}, "do not agree with the measured"),
        (400, {"told": lambda g: np.zeros(len(g["told"]), dtype=bool)}, "told from zero"),
    ],
)
def test_what_speaks_against_an_angle_makes_it_doubtful_and_is_said(
    patches: int, changes: dict[str, Any], words: str
) -> None:
    found = judged(patches, **changes)
    assert found.verdict == "doubtful"
    assert words in found.remedy


def test_measurements_that_are_all_error_do_not_speak_against_an_angle() -> None:
    rng = np.random.default_rng(1)
    found = judged(
        measured=lambda g: 0.3 * rng.standard_normal(g["dipole"].shape),
        measured_sigma=lambda g: np.full(g["dipole"].shape, 0.3),
    )
    assert found.verdict == "good"
    assert np.isnan(found.figures["dipole_agreement"])


@pytest.mark.parametrize("agrees", [True, False])
def test_after_a_leak_the_drawn_dipole_is_only_offered_where_it_agrees(agrees: bool) -> None:
    found = judged(
        angle_deg=lambda g: np.random.default_rng(2).permutation(g["angle_deg"]),
        dipole=lambda g: g["dipole"] if agrees else np.roll(g["dipole"], 1, axis=0),
    )
    assert found.verdict == "leaked"
    assert ("Map the dipole that is drawn in its place" in found.remedy) == agrees
    assert "equivariant" not in found.remedy
    published = judged(
        angle_deg=lambda g: np.random.default_rng(2).permutation(g["angle_deg"]),
        network=lambda g: replace(PLAIN, architecture="published"),
    )
    assert "equivariant" in published.remedy
