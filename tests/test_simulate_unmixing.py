"""Laws of the specimens that unmixing is tested on, and what the literature observed on such."""

from __future__ import annotations

import numpy as np
import pytest

from dipolar.core.errors import SettingsError
from dipolar.core.units import angle_deg, magnitude
from dipolar.simulate import FOUR_VARIANTS, VariantSet, VariantSettings, variant_set


def patches(**options: object) -> VariantSet:
    settings = {"patches": 400, "window_px": 32, "noise": 0.0, "normalized": False, **options}
    return variant_set(VariantSettings(**settings), rng=np.random.default_rng(1))


def turned_back(angle: np.ndarray) -> np.ndarray:
    """Return angles in [-180, 180)."""
    return (angle + 180.0) % 360.0 - 180.0


def centroid(image: np.ndarray) -> np.ndarray:
    """Return the centre of light (y, x) of patches from their middle."""
    axis = np.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2.0
    light = image.sum(axis=(-2, -1))
    return np.stack([image.sum(axis=-1) @ axis / light, image.sum(axis=-2) @ axis / light], axis=-1)


def test_variants_have_their_shares_length_and_direction():
    made = patches(patches=1000)
    np.testing.assert_array_equal(np.bincount(made.variant), [400, 300, 200, 100])
    np.testing.assert_allclose(magnitude(made.dipole_px) * 15.2, 35.0)
    np.testing.assert_allclose(angle_deg(made.dipole_px), made.angle_deg, atol=1e-9)
    off = turned_back(made.angle_deg - np.array(FOUR_VARIANTS)[made.variant])
    assert off.std() == pytest.approx(4.0, rel=0.1) and abs(off.mean()) < 0.5
    measured = made.stack.displacement_px - made.dipole_px
    assert measured.std() * 15.2 == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("options", [{}, {"turn_deg": 180.0}, {"shift_px": 0.5}])
def test_b_columns_stand_where_the_truth_says(options):
    made = patches(cell_px=90.0, **options)  # cells so large that the central column is alone
    np.testing.assert_allclose(centroid(made.stack.images[:, 0]), made.dipole_px + made.shift_px, atol=1e-3)


def test_a_quarter_turn_of_everything_is_the_turned_image():
    made = patches(directions_deg=(45.0,), shares=(1.0,), scatter_deg=0.0)
    other = patches(directions_deg=(135.0,), shares=(1.0,), scatter_deg=0.0)
    np.testing.assert_allclose(np.rot90(made.stack.images[0, 0]), other.stack.images[0, 0], atol=1e-5)


def test_turns_and_shifts_are_in_the_truth():
    made = patches(turn_deg=180.0, shift_px=0.5, scatter_deg=0.0)
    nominal = np.array(FOUR_VARIANTS)[made.variant] + made.turn_deg
    np.testing.assert_allclose(turned_back(nominal - made.angle_deg), 0.0, atol=1e-9)
    assert 170.0 < np.abs(made.turn_deg).max() <= 180.0
    assert made.shift_px.std() == pytest.approx(0.5, rel=0.1)


def test_noise_and_normalisation_are_as_asked():
    made, quiet = patches(noise=0.1), patches()
    assert (made.stack.images - quiet.stack.images).std() == pytest.approx(0.1, rel=0.01)
    normal = patches(noise=0.1, normalized=True).stack
    np.testing.assert_allclose(normal.images.mean(axis=(1, 2, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(normal.images.std(axis=(1, 2, 3)), 1.0, atol=1e-4)
    assert normal.normalization == "patch" and quiet.stack.normalization == "none"


def test_all_directions_alike_are_no_variants():
    made = patches(directions_deg=None)
    assert (made.variant == -1).all()
    assert np.histogram(made.angle_deg, bins=8, range=(-180, 180))[0].min() > 25


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(SettingsError, match=r"Settings of the variants.*\n.*shares = \(0\.5, 0\.4\).*sum 1"):
        VariantSettings(directions_deg=(0.0, 90.0), shares=(0.5, 0.4))
