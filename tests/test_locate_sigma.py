"""Laws of sigma: honest, falling as one over the root of the dose, and zero where the crystal is centrosymmetric."""

from __future__ import annotations

import numpy as np
import pytest

import films
from dipolar.locate import GaussianFit
from dipolar.simulate import LOW_DOSE, FilmSettings, benchmark_film

QUANTITIES = ("A", "B", "displacement", "a", "b")
SIZE = 700
SEEDS = range(4)


@pytest.fixture(scope="module")
def middle() -> films.Scored:
    return films.score(benchmark_film(size_px=SIZE), seeds=SEEDS)


@pytest.fixture(scope="module")
def high() -> films.Scored:
    return films.score(benchmark_film(size_px=SIZE, dose=4.0), seeds=SEEDS)


@pytest.fixture(scope="module")
def jittered() -> films.Scored:
    return films.score(benchmark_film(size_px=SIZE, row_jitter_px=0.15), seeds=SEEDS)


def check_honest(scored: films.Scored, name: str) -> None:
    z = scored.z(name)
    assert z.size >= 3000
    assert 0.64 < np.mean(np.abs(z) < 1.0) < 0.72
    assert 0.94 < np.std(z) < 1.06


@pytest.mark.parametrize("name", QUANTITIES)
def test_sigma_is_honest(middle, name):
    check_honest(middle, name)


@pytest.mark.parametrize("name", QUANTITIES)
def test_sigma_is_honest_with_jitter_of_the_scan_rows(jittered, name):
    check_honest(jittered, name)


def test_jitter_of_the_scan_rows_is_found_where_it_is_and_nowhere_else(middle, jittered):
    np.testing.assert_array_equal(middle.row_jitter_px, 0.0)
    np.testing.assert_allclose(jittered.row_jitter_px, 0.15, atol=0.02)


@pytest.mark.parametrize("name", QUANTITIES)
def test_sigma_and_scatter_fall_as_one_over_the_root_of_the_dose(middle, high, name):
    assert np.median(middle.sigma[name]) / np.median(high.sigma[name]) == pytest.approx(2.0, rel=0.03)
    scatter = np.std(middle.errors[name]) / np.std(high.errors[name])
    assert scatter == pytest.approx(2.0, abs=2.0 * max(0.03, 3.0 / np.sqrt(middle.errors[name].size)))


def test_the_displacement_is_measured_in_full_at_every_dose(middle, high):
    low = films.score(benchmark_film(size_px=SIZE, dose=LOW_DOSE), seeds=range(2))
    for scored in (low, middle, high):
        assert scored.gain == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("rotation", [0.0, 17.0])
def test_a_centrosymmetric_crystal_has_no_displacement(rotation):
    settings = FilmSettings(
        shape_px=(600, 600),
        layers=(films.layer("SrTiO3"),),
        rotation_deg=rotation,
        shear=0.02,
        intensity_scatter=0.08,
        background_gradient=(0.1, 0.15),
    )
    scored = films.score(settings, seeds=range(1))
    found = scored.found
    assert len(found) > 500
    assert (np.abs(found.mean(axis=0)) < 4.0 * found.std(axis=0) / np.sqrt(len(found))).all()
    width = scored.z("displacement").std(axis=0)
    assert (width > 0.9).all() and (width < 1.1).all()


def test_the_shared_profile_beats_the_gaussian_where_columns_have_tails():
    settings = benchmark_film(size_px=SIZE, tails=True)
    shared = films.score(settings, seeds=range(1))
    gaussian = films.score(settings, seeds=range(1), fit=GaussianFit())
    assert shared.rms("displacement") < 0.8 * gaussian.rms("displacement")
    assert abs(shared.gain - 1.0) < 0.5 * abs(gaussian.gain - 1.0)
    assert shared.gain == pytest.approx(1.0, abs=0.06)
    assert shared.z("displacement").std() == pytest.approx(1.0, abs=0.1)
