"""Laws of films drawn at random, of the fields they are made of, and of noise put on top."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.errors import DataError, SettingsError
from dipolar.core.nouns import same
from dipolar.core.units import magnitude
from dipolar.simulate import (
    PUBLISHED_VARIANCES,
    FilmRanges,
    TrainingFilm,
    random_film,
    with_gaussian_noise,
)
from dipolar.simulate.crystal import inside
from dipolar.simulate.random_fields import PERIODS, domain_field, smooth_field, smooth_image, wave_phase
from dipolar.simulate.random_films import RIM_PX

SHAPE = (160, 160)
NOTHING = (0.0, 0.0)
CLEAN = FilmRanges(
    zero_share=0.0,
    displacement=(0.1, 0.1),
    wave_share=0.0,
    scatter=(0.01, 0.01),
    offset=NOTHING,
    gradient=NOTHING,
    modulation=NOTHING,
    intensity_scatter=NOTHING,
    ellipticity=(1.0, 1.0),
    layered_share=0.0,
    vacancy_share=0.0,
    vacuum_share=0.0,
    amorphous_share=0.0,
    gaussian_share=0.0,
    blur_share=0.0,
    row_jitter_px=NOTHING,
    drift_px=NOTHING,
    readout=NOTHING,
    detector_offset=NOTHING,
    gain=(1.0, 1.0),
    peak_counts=(1e7, 1e7),
)
"""Neither noise nor anything that does not turn with the crystal."""
EVERYTHING = FilmRanges(
    zero_share=0.0,
    wave_share=1.0,
    layered_share=1.0,
    vacancy_share=1.0,
    vacuum_share=1.0,
    amorphous_share=1.0,
    gaussian_share=1.0,
    blur_share=1.0,
)


def film(seed: int = 0, ranges: FilmRanges | None = None, shape_px: tuple[int, int] = SHAPE) -> TrainingFilm:
    return random_film(np.random.default_rng(seed), shape_px=shape_px, ranges=ranges or FilmRanges())


def turned(vectors: np.ndarray, turns: int) -> np.ndarray:
    """Return vectors (y, x) turned counter-clockwise on the screen by quarter turns."""
    return vectors if turns == 0 else turned(np.stack([-vectors[:, 1], vectors[:, 0]], axis=-1), turns - 1)


@pytest.mark.parametrize("ranges", [FilmRanges(), EVERYTHING])
def test_the_same_generator_gives_the_same_film_and_another_one_another(ranges):
    assert same(film(5, ranges), film(5, ranges))
    assert not np.array_equal(film(5, ranges).image, film(6, ranges).image)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ranges", [FilmRanges(), EVERYTHING])
def test_the_displacement_is_b_minus_the_mean_of_its_corners(seed, ranges):
    one = film(seed, ranges, (160, 120))
    columns = np.concatenate([one.a_px, one.b_px])
    assert one.image.shape == (160, 120)
    assert np.isfinite(one.image).all()
    assert (one.cells.corners < len(one.a_px)).all()
    assert (one.cells.center >= len(one.a_px)).all()
    middle = columns[one.cells.corners].mean(axis=1)
    np.testing.assert_allclose(columns[one.cells.center] - middle, one.cells.displacement_px, atol=1e-9)
    np.testing.assert_allclose(middle, one.cells.positions_px, atol=1e-9)


def test_films_without_displacement_have_none_whatever_strain_rotation_and_drift():
    for seed in range(8):
        one = film(seed, FilmRanges(zero_share=1.0, wave_share=1.0, amorphous_share=0.0))
        assert len(one.cells.row)
        np.testing.assert_allclose(one.cells.displacement_px, 0.0, atol=1e-9)


def test_about_as_many_films_are_without_displacement_as_asked():
    ranges = FilmRanges(zero_share=0.15, displacement=(0.05, 0.14), amorphous_share=0.0, vacuum_share=0.0)
    longest = np.array(
        [np.max(magnitude(film(seed, ranges, (64, 64)).cells.displacement_px), initial=0.0) for seed in range(120)]
    )
    assert np.mean(longest < 1e-9) == pytest.approx(0.15, abs=4 * np.sqrt(0.15 * 0.85 / 120))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_crystal_turned_by_quarter_turns_turns_the_image_and_the_vectors(turns):
    one, other = (film(3, replace(CLEAN, rotation_deg=(17.0 + angle, 17.0 + angle))) for angle in (0.0, 90.0 * turns))
    np.testing.assert_allclose(other.image, np.rot90(one.image, turns), atol=0.01 * one.image.max())
    middle = (SHAPE[0] - 1) / 2.0
    np.testing.assert_allclose(turned(one.a_px - middle, turns), other.a_px - middle, atol=1e-6)
    np.testing.assert_allclose(turned(one.b_px - middle, turns), other.b_px - middle, atol=1e-6)
    rows, there = np.argsort(one.cells.center), np.argsort(other.cells.center)
    vectors = turned(one.cells.displacement_px, turns)
    np.testing.assert_allclose(vectors[rows], other.cells.displacement_px[there], atol=1e-6)
    # a goes on being the edge nearest to the right
    assert (other.cells.a_px[:, 1] > np.abs(other.cells.a_px[:, 0])).all()


def test_counts_scale_with_the_dose_and_so_does_the_noise():
    low, high = (film(2, replace(CLEAN, peak_counts=(peak, peak))).image for peak in (100.0, 900.0))
    truth = film(2, CLEAN).image / 1e5
    assert high.mean() == pytest.approx(9.0 * low.mean(), rel=0.01)
    assert np.std(low - truth) == pytest.approx(np.sqrt(truth.mean()), rel=0.03)
    assert np.std(high - 9.0 * truth) == pytest.approx(3.0 * np.sqrt(truth.mean()), rel=0.03)


def test_gain_and_offset_change_the_units_and_nothing_else():
    plain = replace(CLEAN, peak_counts=(100.0, 100.0))
    other = replace(plain, gain=(2.5, 2.5), detector_offset=(0.4, 0.4))
    np.testing.assert_allclose(film(2, other).image, 2.5 * (film(2, plain).image + 40.0), rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_columns_stand_where_the_image_is_brightest(seed):
    ranges = replace(CLEAN, ratio_b_to_a=(0.9, 0.9), tail_fraction=NOTHING, width=(0.08, 0.1), offset=(-0.5, 0.5))
    one = film(seed, ranges)
    for points in (one.a_px, one.b_px):
        for y, x in np.rint(points[inside(points, SHAPE, margin_px=-4.0)]).astype(int):
            patch = one.image[y - 3 : y + 4, x - 3 : x + 4]
            assert np.abs(np.array(np.unravel_index(patch.argmax(), patch.shape)) - 3).max() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_the_ordered_displacement_stays_below_its_limit_and_the_cell_has_the_size_asked_for(seed):
    ranges = replace(
        CLEAN, scatter=NOTHING, strain=NOTHING, shear=NOTHING, cell_px=(23.0, 23.0), correlation=(2.0, 2.0)
    )
    one = film(seed, ranges)
    longest = magnitude(one.cells.displacement_px).max()
    assert 0.0 < longest <= 0.1 * 23.0 + 1e-9
    strained = film(seed, replace(ranges, strain=(-0.04, 0.04), shear=(-0.03, 0.03)))
    for cells in (one, strained):
        assert cells.cell_px == pytest.approx(23.0, rel=1e-9)
    assert not np.allclose(magnitude(strained.cells.a_px), magnitude(strained.cells.b_px), rtol=1e-3)


def test_the_truth_goes_on_outside_the_image_and_ends_there():
    for seed in range(6):
        one = film(seed)
        for points in (one.a_px, one.b_px):
            assert inside(points, SHAPE, margin_px=RIM_PX).all()
        assert not inside(np.concatenate([one.a_px, one.b_px]), SHAPE).all()


def test_missing_columns_are_missing_in_the_truth_and_no_cell_stands_on_them():
    whole = film(1, CLEAN, (400, 400))
    holes = film(1, replace(CLEAN, vacancy_share=1.0, vacancies=(0.1, 0.1)), (400, 400))
    number = [len(one.a_px) + len(one.b_px) for one in (whole, holes)]
    assert number[1] / number[0] == pytest.approx(0.9, abs=0.04)
    assert len(holes.cells.row) / len(whole.cells.row) == pytest.approx(0.9**5, abs=0.12)
    assert holes.image.sum() < whole.image.sum()


def test_vacuum_and_amorphous_regions_hold_no_columns_of_the_truth():
    empty = film(4, replace(CLEAN, vacuum_share=1.0, vacuum=(0.4, 0.4)))
    patch = film(4, replace(CLEAN, amorphous_share=1.0, amorphous=(0.5, 0.5)))
    whole = film(4, CLEAN)
    for one in (empty, patch):
        assert 0.45 * len(whole.a_px) < len(one.a_px) < 0.9 * len(whole.a_px)


def test_ranges_that_mean_nothing_are_all_named():
    with pytest.raises(SettingsError, match=r"cell_px = \(28.0, 20.0\) .* zero_share = 1.5 .* peak_counts from 0.0"):
        FilmRanges(cell_px=(28.0, 20.0), zero_share=1.5, peak_counts=(0.0, 10.0))
    with pytest.raises(SettingsError, match=r"scatter from -0\.1"):
        FilmRanges(scatter=(-0.1, 0.1))


def test_smooth_fields_have_the_variance_and_correlation_they_claim():
    rng = np.random.default_rng(0)
    points = np.stack([np.zeros(3), np.array([0.0, 4.0, 40.0])], axis=-1)
    drawn = np.stack([smooth_field(points, length=4.0, rng=rng) for _ in range(4000)])
    assert drawn.var(axis=0) == pytest.approx(np.ones((3, 2)), abs=0.1)
    correlation = (drawn[:, :1] * drawn).mean(axis=0)
    assert correlation[1] == pytest.approx(np.exp([-0.5, -0.5]), abs=0.07)
    assert correlation[2] == pytest.approx(np.zeros(2), abs=0.07)
    pixels = np.stack([smooth_image((1, 9), length_px=4.0, rng=rng) for _ in range(4000)])
    assert (pixels[:, 0, 0] * pixels[:, 0, 4]).mean() == pytest.approx(np.exp(-0.5), abs=0.07)


def test_domains_are_sharp_where_asked_and_never_longer_than_their_vectors():
    rng = np.random.default_rng(1)
    points = rng.uniform(-10.0, 10.0, size=(300, 2))
    vectors = np.array([[0.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    walls = {"wall_angle_deg": np.array([90.0, 30.0]), "wall_place": np.array([0.0, 5.0])}
    soft = domain_field(points, vectors=vectors, wall_width=6.0, **walls)
    assert magnitude(soft).max() <= 1.0 + 1e-12
    sharp = domain_field(points, vectors=vectors, wall_width=0.0, **walls)
    distance = points @ np.array([np.cos(np.radians(30.0)), np.sin(np.radians(30.0))]) - 5.0
    expected = np.where(points[:, 1:] > 0, vectors[1], vectors[0]) * (distance[:, None] < 0)
    np.testing.assert_allclose(sharp, expected, atol=1e-9)


@pytest.mark.parametrize("wavevector", PERIODS)
def test_waves_are_antipolar_and_of_one_size(wavevector):
    nodes = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), axis=-1).reshape(-1, 2)
    crest = wave_phase(nodes, wavevector)
    np.testing.assert_allclose(np.abs(crest), 1.0, atol=1e-9)
    assert crest.sum() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("variance", PUBLISHED_VARIANCES[:3])
def test_gaussian_noise_has_the_variance_asked_for_on_the_scale_of_zero_to_one(variance):
    data = np.full((300, 300), 50.0, dtype=np.float32)
    data[0, :2] = [10.0, 90.0]  # so that no other pixel is cut
    noisy = with_gaussian_noise(data, variance=variance, rng=np.random.default_rng(0))
    error = (noisy - data)[1:].astype(np.float64)
    assert error.var() == pytest.approx(variance * 80.0**2, rel=0.02)
    assert error.mean() == pytest.approx(0.0, abs=5 * 80.0 * np.sqrt(variance / error.size))


def test_gaussian_noise_is_cut_to_the_range_of_the_image_and_knows_no_units():
    data = film(0).image.copy()
    data[:3] = np.nan
    noisy = with_gaussian_noise(data, variance=0.2, rng=np.random.default_rng(1))
    assert np.isnan(noisy[:3]).all()
    assert np.nanmin(noisy) == pytest.approx(np.nanmin(data), rel=1e-5)
    assert np.nanmax(noisy) == pytest.approx(np.nanmax(data), rel=1e-5)
    other = with_gaussian_noise(7.0 * data - 3.0, variance=0.2, rng=np.random.default_rng(1))
    np.testing.assert_allclose(other, 7.0 * noisy - 3.0, rtol=1e-3, atol=1e-3 * np.nanmax(np.abs(data)))
    still = with_gaussian_noise(data, variance=0.0, rng=np.random.default_rng(1))
    np.testing.assert_allclose(still, data, rtol=1e-5, atol=1e-5 * np.nanmax(np.abs(data)))


def test_noise_that_means_nothing_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(SettingsError, match="cannot be negative"):
        with_gaussian_noise(np.eye(3), variance=-0.1, rng=rng)
    with pytest.raises(DataError, match="two different values"):
        with_gaussian_noise(np.ones((3, 3)), variance=0.1, rng=rng)
