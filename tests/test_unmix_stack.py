"""Patches are centred between pixels, screened, counted and normalised."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dipolar.core.errors import DataError, SettingsError
from dipolar.core.unmixing import Stack
from dipolar.unmix import cut_stack
from dipolar.unmix.sampling import half_edge_px, sample_windows, smoothing_px, windows_inside

SHAPE = (90, 100)
SITES = np.array([[20.3, 30.7], [45.0, 50.0], [60.25, 41.5], [30.9, 70.1]])


def field(seed: int = 0) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.2).astype(np.float32)


def columns(positions: np.ndarray, width_px: float = 2.0) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    heights = [np.exp(-((y - b) ** 2 + (x - a) ** 2) / (2 * width_px**2)) for b, a in positions]
    return np.sum(heights, axis=0).astype(np.float32)


def cut(data: np.ndarray, positions: np.ndarray = SITES, *, window_px: int = 15, **options: object) -> Stack:
    count = len(positions)
    data = data[None] if data.ndim == 2 else data
    settings = {
        "channels": ("image",),
        "site": np.arange(count),
        "lattice_px": 20.0 * np.eye(2),
        "pixel_size_pm": 20.0,
        "displacement_px": np.zeros((count, 2)),
        "displacement_sigma_px": np.zeros((count, 2)),
        "centred_on": "cells",
        "normalization": "none",
    }
    return cut_stack(data, positions_px=positions, window_px=window_px, **{**settings, **options})


@pytest.mark.parametrize(("window_px", "step_px"), [(16, 1.0), (17, 1.0), (16, 0.7), (14, 1.37), (9, 2.0)])
def test_windows_are_those_of_scipy(window_px, step_px):
    data, half = field().astype(float), half_edge_px(window_px, step_px)
    last = np.array(SHAPE) - 1
    places = np.random.default_rng(1).uniform(half, last - half, size=(40, 2))
    places[:3] = [[half, half], last - half, [45, 50]]
    assert windows_inside(places, SHAPE, window_px=window_px, step_px=step_px).all()
    offset = (np.arange(window_px) - (window_px - 1) / 2) * step_px
    y = places[:, 0, None, None] + offset[:, None] + 0 * offset
    x = places[:, 1, None, None] + offset + 0 * offset[:, None]
    smooth = ndimage.gaussian_filter(data, smoothing_px(step_px), mode="mirror") if step_px > 1 else data
    expected = ndimage.map_coordinates(smooth, [y, x], order=3, mode="mirror")
    np.testing.assert_allclose(sample_windows(data, places, window_px=window_px, step_px=step_px), expected, atol=2e-6)


def test_a_column_is_in_the_middle_of_its_patch_wherever_pixels_lie():
    stack = cut(columns(SITES))
    y, x = np.mgrid[:15, :15] - 7.0
    ideal = np.exp(-(y**2 + x**2) / 8.0)
    assert np.abs(stack.images[:, 0] - ideal).max() < 3e-3
    np.testing.assert_array_equal(stack.positions_px, SITES)


def test_turning_the_image_turns_its_patches():
    data = field()
    turned = np.stack([SHAPE[1] - 1 - SITES[:, 1], SITES[:, 0]], axis=1)  # np.rot90 sends (y, x) there
    one, other = cut(data), cut(np.ascontiguousarray(np.rot90(data)), turned)
    np.testing.assert_allclose(np.rot90(one.images, axes=(2, 3)), other.images, atol=1e-6)


def test_a_coarser_step_sees_more_of_the_image_and_less_of_the_noise():
    wide = columns(SITES, width_px=4.0)
    coarse, fine = cut(wide, window_px=9, step_px=2.0), cut(wide, window_px=17)
    assert np.abs(coarse.images - fine.images[:, :, ::2, ::2]).max() < 0.05
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    assert cut(noise, window_px=9, step_px=2.0).images.std() < 0.6 * cut(noise, window_px=17).images.std()
    assert coarse.step_px == 2.0


def test_what_has_no_patch_is_counted_once():
    data = field()
    data[40:44, 45:49] = np.nan
    data[:, 80:] = 3.0
    places = np.array([[20.3, 30.7], [45.0, 50.0], [3.0, 50.0], [np.nan, 50.0], [30.0, 90.0], [20.0, 20.0], [1.0, 1.0]])
    usable = np.array([True, True, True, True, True, False, False])
    stack = cut(data, places, usable=usable)
    assert stack.dropped == {"flagged": 2, "outside": 1, "invalid": 2, "constant": 1}
    np.testing.assert_array_equal(stack.site, [0])
    assert len(stack.site) + sum(stack.dropped.values()) == len(places)


def test_unmeasured_pixels_spread_no_further_than_their_neighbours():
    data, holed = field(), field()
    holed[40:44, 45:49] = np.nan
    one, other = cut(data), cut(holed)
    kept = np.isin(one.site, other.site)
    np.testing.assert_allclose(one.images[kept], other.images, atol=0.02)
    assert 1 not in other.site


def test_rows_go_with_their_patches():
    shift = np.arange(8.0).reshape(4, 2)
    stack = cut(field(), site=np.array([7, 5, 3, 9]), displacement_px=shift, usable=np.array([True, False, True, True]))
    np.testing.assert_array_equal(stack.site, [7, 3, 9])
    np.testing.assert_array_equal(stack.displacement_px, shift[[0, 2, 3]])


def test_each_patch_has_mean_zero_and_variance_one():
    stack = cut(5.0 + 30.0 * field(), normalization="patch")
    np.testing.assert_allclose(stack.images.mean(axis=(1, 2, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(stack.images.std(axis=(1, 2, 3)), 1.0, atol=1e-5)


def test_the_stack_has_mean_zero_and_variance_one_and_differences_stay():
    raw, stack = cut(5.0 + 30.0 * field()), cut(5.0 + 30.0 * field(), normalization="stack")
    assert stack.images.mean() == pytest.approx(0.0, abs=1e-5)
    assert stack.images.std() == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose((raw.images - raw.images.mean()) / raw.images.std(), stack.images, atol=1e-4)


def test_the_range_is_zero_to_one():
    stack = cut(5.0 - 30.0 * field(), normalization="range")
    assert (stack.images.min(), stack.images.max()) == pytest.approx((0.0, 1.0), abs=1e-6)
    assert stack.normalization == "range"


def test_nothing_depends_on_brightness_and_contrast_of_the_image():
    for how in ("patch", "stack", "range"):
        one, other = cut(field(), normalization=how), cut(40.0 + 7.0 * field(), normalization=how)
        np.testing.assert_allclose(one.images, other.images, atol=2e-4)


@pytest.mark.parametrize("how", ["patch", "stack", "range"])
def test_probabilities_share_one_scale_and_the_image_has_its_own(how):
    a, b = columns(SITES), 0.25 * columns(SITES)
    data = np.stack([100.0 * field(), a, b])
    stack = cut(data, channels=("image", "A", "B"), normalization=how)
    contrast = np.ptp(stack.images, axis=(2, 3))
    np.testing.assert_allclose(contrast[:, 2] / contrast[:, 1], 0.25, rtol=0.02)
    alone = cut(data[0], normalization=how)
    np.testing.assert_allclose(stack.images[:, 0], alone.images[:, 0], atol=1e-6)


def test_a_window_that_no_site_has_room_for_says_which_has():
    with pytest.raises(SettingsError, match=r"(?s)81 px reaches 40 px.*90 x 100.*window_px=79 \(--window-px 79\)"):
        cut(field(), np.array([[39.0, 50.0], [10.0, 10.0]]), window_px=81)
    assert len(cut(field(), np.array([[39.0, 50.0], [10.0, 10.0]]), window_px=79).site) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window_px": 3}, "4 to 256 px wide"),
        ({"step_px": 0.0}, "step between pixels"),
        ({"normalization": "best"}, "patch, stack, range, none"),
        ({"channels": ("A", "B")}, "Each channel"),
    ],
)
def test_settings_out_of_range_are_named(options, words):
    with pytest.raises(SettingsError, match=words):
        cut(field(), **options)


def test_no_site_and_no_patch_left_are_told():
    with pytest.raises(DataError, match="there is none that can be used"):
        cut(field(), np.zeros((0, 2)))
    with pytest.raises(DataError, match="there is none that can be used"):
        cut(field(), usable=np.zeros(4, dtype=bool))
    with pytest.raises(DataError, match=r"(?s)At least one patch.*4 sites: 4 constant.*without any contrast"):
        cut(np.full(SHAPE, 3.0, dtype=np.float32))
    holed = field()
    holed[::6, ::6] = np.nan
    with pytest.raises(DataError, match=r"(?s)4 sites: 4 invalid.*smaller patches"):
        cut(holed)
