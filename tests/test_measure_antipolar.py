"""Polar, antipolar, modulated or null: on columns that are known, with noise of known size, and on real images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
import realdata
from dipolar.core.nouns import Columns, Noise, take
from dipolar.io import open_image
from dipolar.locate import locate_columns
from dipolar.measure import antipolar_order, build_cells, wave_map
from dipolar.measure.linear import row_pull
from dipolar.measure.verdict import is_slow
from dipolar.simulate import FilmSettings, simulate_wave, wall, waved

SIGMA_PX = 0.1
CELL_PX = 396.0 / 17.25


def crystal(*, displacement_pm: float = 0.0, size: int = 560, domains=None, angle: float = 3.0) -> Columns:
    """Return the true columns of a film, told to be known to `SIGMA_PX`."""
    layer = films.layer("BiFeO3", displacement_pm=displacement_pm)
    settings = FilmSettings(shape_px=(size, size), layers=(layer,), rotation_deg=angle, domains=domains)
    truth = films.film(settings).truth_columns
    return replace(
        truth,
        covariance_px2=np.tile(np.eye(2) * SIGMA_PX**2, (len(truth.flags), 1, 1)),
        row_reach_px=np.full((len(truth.flags), 2), 2.5),
    )


def noisy(columns: Columns, seed: int, *, jitter_px: float = 0.0) -> Columns:
    """Return the columns off by noise of `SIGMA_PX`, and by shifted scan rows that they know of."""
    rng = np.random.default_rng(seed)
    positions = columns.positions_px + rng.normal(scale=SIGMA_PX, size=columns.positions_px.shape)
    if jitter_px:
        columns = replace(columns, noise=replace(columns.noise, row_jitter_px=(jitter_px, jitter_px)))
        for axis in (0, 1):
            pull = row_pull(columns, axis)
            positions[:, axis] += pull @ rng.normal(scale=jitter_px, size=pull.shape[1])
        shared = jitter_px**2 / (2.0 * np.sqrt(np.pi) * 2.5)
        columns = replace(columns, covariance_px2=columns.covariance_px2 + shared * np.eye(2))
    return replace(columns, positions_px=positions)


def order_of(columns: Columns, **options: bool):
    return antipolar_order(build_cells(columns), columns, **options)


@pytest.fixture(scope="module")
def null() -> Columns:
    return crystal()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("jitter_px", [0.0, 0.4])
def test_a_crystal_without_order_is_null(null, seed, jitter_px):
    order = order_of(noisy(null, seed, jitter_px=jitter_px))
    assert order.verdict == "null" and order.modulation is None, order.why


@pytest.mark.parametrize("jitter_px", [0.0, 0.4])
def test_sigma_of_mean_and_patterns_is_that_of_repeated_experiments(jitter_px):
    z, small = [], crystal(size=320)
    for seed in range(40):
        order = order_of(noisy(small, seed, jitter_px=jitter_px))
        z.append(
            np.concatenate(
                [np.divide(order.polar_px, order.polar_sigma_px)]
                + [np.divide(s.amplitude_px, s.sigma_px) for s in order.staggered]
            )
        )
    assert np.std(z) == pytest.approx(1.0, abs=0.12) and abs(np.mean(z)) < 0.15


@pytest.mark.parametrize("pattern", [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
@pytest.mark.parametrize("sublattice", ["A", "B"])
def test_antipolar_crystals_are_not_called_polar(null, pattern, sublattice):
    size = 10.0 / 17.25
    moved = waved(null, amplitude_px=size, wavevector=pattern, direction_deg=20.0, sublattice=sublattice)
    order = order_of(noisy(moved, 1))
    assert order.verdict == "antipolar", order.why
    assert order.modulation.amplitude_px == pytest.approx(size, abs=4 * order.modulation.amplitude_sigma_px)
    assert order.modulation.direction_deg == pytest.approx(20.0, abs=5.0)
    assert tuple(np.abs(order.modulation.wavevector)) == pattern
    assert np.all(np.abs(order.polar_px) < 3.0 * np.array(order.polar_sigma_px))
    if sublattice == "B":
        names = dict(zip([(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)], ("rows", "columns", "checkerboard"), strict=True))
        sizes = {s.pattern: np.hypot(*s.amplitude_px) for s in order.staggered}
        assert max(sizes, key=sizes.get) == names[pattern]


def test_turning_the_crystal_turns_the_pattern(null):
    turned = crystal(angle=93.0)
    for columns, angle in ((null, 3.0), (turned, 93.0)):
        moved = waved(columns, amplitude_px=0.6, wavevector=(0.0, 0.5), direction_deg=angle)
        found = order_of(noisy(moved, 2)).modulation
        assert found.wavevector == (0.0, 0.5) and found.period_px == pytest.approx(2.0 * CELL_PX, rel=0.01)
    # the crests stand upright in both images, as a is the edge to the right in both; so does what is across them
    assert abs(found.normal_deg) < 5.0 and abs(found.direction_deg) > 85.0


@pytest.mark.parametrize(
    ("wavevector", "cells"), [((0.25, 0.25), 4 / np.sqrt(2)), ((0.0, 1 / 3), 3.0), ((0.21, -0.13), 4.05)]
)
def test_longer_waves_are_modulated_with_their_period(null, wavevector, cells):
    moved = waved(null, amplitude_px=0.4, wavevector=wavevector, direction_deg=-45.0, sublattice="A")
    order = order_of(noisy(moved, 3))
    found = order.modulation
    assert order.verdict == "modulated" and found.channel == "A", order.why
    sign = np.sign(np.dot(found.wavevector, wavevector))
    np.testing.assert_allclose(sign * np.array(found.wavevector), wavevector, atol=0.004)
    assert found.period_px == pytest.approx(cells * CELL_PX, rel=0.02)
    assert found.amplitude_px == pytest.approx(0.4, abs=4 * found.amplitude_sigma_px)


def test_a_constant_offset_does_not_make_a_modulated_crystal_polar(null):
    moved = waved(null, amplitude_px=0.5, wavevector=(0.25, 0.25), sublattice="A")
    offset = np.where(moved.sublattice[:, None] == 1, np.array([0.8, 0.6]), 0.0)
    assert order_of(noisy(replace(moved, positions_px=moved.positions_px + offset), 4)).verdict == "modulated"


@pytest.mark.parametrize("kind", ["180", "109", "71"])
def test_domains_are_polar_whatever_their_mean(kind):
    domains = wall(kind, width_pm=400.0)
    order = order_of(noisy(crystal(displacement_pm=25.0, domains=domains), 5))
    assert order.verdict == "polar", order.why


def test_a_small_constant_displacement_is_what_instruments_make(null):
    for pm, removed, verdict in ((8.0, False, "null"), (8.0, True, "polar"), (20.0, False, "polar")):
        offset = np.where(null.sublattice[:, None] == 1, np.array([0.0, pm / 17.25]), 0.0)
        order = order_of(noisy(replace(null, positions_px=null.positions_px + offset), 6), offset_removed=removed)
        assert order.verdict == verdict, order.why


def test_the_local_amplitude_is_that_of_the_wave(null):
    for wavevector, name in (((0.0, 0.5), "B"), ((0.25, 0.25), "A")):
        columns = noisy(waved(null, amplitude_px=0.5, wavevector=wavevector, sublattice=name), 7)
        cells = build_cells(columns)
        order = antipolar_order(cells, columns)
        field = wave_map(cells, columns, order.modulation)
        assert np.median(field.values) == pytest.approx(0.5, abs=0.05)
        spread = np.std(field.values[np.abs(field.positions_px - 280.0).max(axis=1) < 200.0])
        assert spread == pytest.approx(np.median(field.sigma), rel=0.35)


def test_few_cells_tell_no_order(null):
    few = take(null, np.arange(20))
    order = order_of(few)
    assert order.verdict == "null" and "too few" in order.why and np.isnan(order.polar_px).all()


def test_an_antipolar_film_in_an_image():
    settings = FilmSettings(shape_px=(480, 480), layers=(films.layer("SrTiO3"),), rotation_deg=4.0)
    film = simulate_wave(settings, amplitude_pm=12.0, wavevector=(0.5, 0.5), rng=np.random.default_rng(8))
    columns = locate_columns(film.image)
    order = antipolar_order(build_cells(columns), columns)
    assert order.verdict == "antipolar", order.why
    assert 17.25 * order.modulation.amplitude_px == pytest.approx(12.0, abs=1.0)
    assert np.all(np.abs(order.polar_px) < 3.0 * np.array(order.polar_sigma_px))


def test_noise_of_the_film_is_the_one_that_waves_are_held_against(null):
    assert isinstance(null.noise, Noise)
    faint = waved(null, amplitude_px=0.3 / 17.25, wavevector=(0.0, 0.5))
    assert order_of(noisy(faint, 9)).modulation is None


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "verdict"),
    [
        ("nsmo_tif/FigS6_0716__Cryo_NSMO110_5-1Mx_0p5us_1024px_REGISTERED.tif", "modulated"),
        ("sto_ser/16_STOimage_1.ser", "null"),
        ("smbfo_patch/smbfo_patch_256.npy", "polar"),
    ],
)
def test_real_images(file, verdict):
    columns = locate_columns(open_image(realdata.path(file)))
    order = antipolar_order(build_cells(columns), columns)
    assert order.verdict == verdict, order.why
    if verdict == "modulated":
        np.testing.assert_allclose(np.abs(order.modulation.wavevector), 0.25, atol=0.01)


def test_a_faint_wave_of_any_period_but_two_is_what_the_scan_makes_until_a_reference_says_otherwise(null):
    size = 0.006 * CELL_PX
    slow = noisy(waved(null, amplitude_px=size, wavevector=(0.21, -0.13), direction_deg=-45.0, sublattice="A"), 3)
    order = order_of(slow)
    assert order.verdict == "null" and order.modulation.slow, order.why
    assert "a slow wave of the A columns" in order.why and "0.6 % of a cell" in order.why
    assert order_of(slow, offset_removed=True).verdict == "modulated"
    twofold = noisy(waved(null, amplitude_px=size, wavevector=(0.5, 0.5), sublattice="A"), 3)
    assert order_of(twofold).verdict == "antipolar"


def test_a_wave_longer_than_a_third_of_the_crystal_decides_nothing(null):
    wave = order_of(noisy(waved(null, amplitude_px=0.4, wavevector=(0.21, -0.13), sublattice="A"), 3)).modulation
    places = build_cells(null).positions_px
    assert not wave.slow and not is_slow(wave, places, CELL_PX, False)
    assert is_slow(replace(wave, period_px=0.5 * float(np.ptp(places[:, 0]))), places, CELL_PX, True)
