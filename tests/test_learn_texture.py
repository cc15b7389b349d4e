"""Laws of texture: blind to quarter turns, and each number sees what it is there for."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from dipolar.learn.texture import BANDS, FEATURES, STRIDE, texture

SKEW, BELOW, ABOVE, FLATNESS, LOPSIDED = BANDS + 1, BANDS + 2, BANDS + 3, BANDS + 4, BANDS + 5


def columns(*, noise: float = 0.1, size: int = 192) -> np.ndarray:
    """Return bright spots at every 24th pixel, with noise, as float32."""
    y, x = np.mgrid[:size, :size] % 24 - 11.5
    rng = np.random.default_rng(0)
    return (np.exp(-(y**2 + x**2) / 18) + noise * rng.standard_normal((size, size))).astype(np.float32)


def told(image: np.ndarray) -> np.ndarray:
    """Return the features in the middle of the image."""
    found = texture(torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None])
    return found[0, :, 8:-8, 8:-8].mean(dim=(1, 2)).numpy()


def test_there_is_a_value_at_every_eighth_pixel() -> None:
    found = texture(torch.zeros(1, 1, 64, 96))
    assert found.shape == (1, FEATURES, 64 // STRIDE, 96 // STRIDE)
    assert torch.isfinite(found).all()


def test_quarter_turns_turn_the_map_and_change_nothing_else() -> None:
    image = torch.from_numpy(columns())[None, None]
    turned = texture(torch.rot90(image, dims=(2, 3)))
    torch.testing.assert_close(torch.rot90(texture(image), dims=(2, 3)), turned, atol=2e-3, rtol=1e-3)


def test_noise_raises_the_finest_band_most_and_blur_lowers_it_most() -> None:
    plain = told(columns(noise=0.02))
    noisy = told(columns(noise=0.1)) - plain
    blurred = told(gaussian_filter(columns(noise=0.02), 2.0)) - plain
    assert noisy[0] > noisy[BANDS - 1] + 0.3
    assert blurred[0] < blurred[BANDS - 1] - 0.3


def test_turning_contrast_upside_down_changes_the_sign_of_skewness() -> None:
    image = columns()
    upright, turned = told(image), told(-image)
    assert upright[SKEW] > 0.3
    np.testing.assert_allclose(turned[SKEW], -upright[SKEW], rtol=1e-3)
    np.testing.assert_allclose(turned[[BELOW, ABOVE]], upright[[ABOVE, BELOW]], rtol=1e-3)


def test_clipping_makes_much_of_the_image_as_dark_as_the_darkest() -> None:
    image = columns()
    assert told(np.maximum(image, np.median(image)))[FLATNESS] > told(image)[FLATNESS] + 0.3


def test_rows_out_of_line_make_steps_one_sided() -> None:
    image = columns(noise=0.02)
    rng = np.random.default_rng(1)
    walking = np.stack([np.roll(row, round(rng.normal(0, 1.5))) for row in image])
    assert told(walking)[LOPSIDED] > told(image)[LOPSIDED] + 0.2
