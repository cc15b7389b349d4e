"""Contrast: a dark or signed image is measured as well as the bright one it was made from, and found out by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage

import films
from dipolar.core.errors import ImageError
from dipolar.core.flags import Flag, has
from dipolar.core.nouns import Columns, Image
from dipolar.locate import locate_columns, locate_sites
from dipolar.measure import build_cells
from dipolar.simulate import benchmark_film
from dipolar.simulate.contrast import CrystalSettings, simulate_crystal

FILM = films.film(benchmark_film(size_px=300), seed=1)


def turned(columns: Columns) -> tuple[np.ndarray, ...]:
    """Return what must be the same, and what must be the opposite, in an image turned upside down."""
    return columns.positions_px, columns.covariance_px2, -columns.amplitude, -columns.background


@pytest.mark.parametrize("contrast", ["auto", "dark"])
def test_an_image_turned_upside_down_has_the_same_columns(contrast):
    straight = locate_columns(FILM.image)
    other = locate_columns(replace(FILM.image, data=-FILM.image.data), contrast=contrast)
    for one, two in zip((straight.positions_px, straight.covariance_px2), turned(other)[:2], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(straight.amplitude, -other.amplitude, rtol=1e-6)
    np.testing.assert_allclose(straight.background, -other.background, rtol=1e-6)
    assert (other.amplitude < 0).all()
    assert other.noise.gain == pytest.approx(-straight.noise.gain, rel=1e-6)
    assert (other.sublattice == straight.sublattice).all()
    assert (other.flags == straight.flags).all()


def dark_film(seed: int) -> tuple[Image, films.Simulated]:
    """Return an image in which the columns stop electrons instead of scattering them onto the detector."""
    clean = films.film(benchmark_film(size_px=300), seed=seed)
    counts = np.random.default_rng(seed).poisson(400.0 - clean.expected.astype(np.float64))
    return Image(data=counts.astype(np.float32)), clean


def test_sigma_and_noise_of_dark_columns_are_honest():
    z, gains = [], []
    for seed in (1, 2):
        image, clean = dark_film(seed)
        cells = build_cells(locate_columns(image))
        mine, its = films.pair_cells(cells, clean.truth_cells)
        assert len(mine) > 100
        error = cells.displacement_px[mine] - clean.truth_cells.displacement_px[its]
        z.append(error / films.sigmas(cells.covariance_px2)[mine])
        gains.append(locate_columns(image).noise.gain)
    assert np.concatenate(z).std() == pytest.approx(1.0, abs=0.1)
    # more electrons, more noise: the line rises in the image as it is, and falls where it is turned
    assert np.mean(gains) == pytest.approx(1.0, abs=0.15)


def test_columns_on_a_signed_ground_have_a_flat_variance():
    rng = np.random.default_rng(3)
    level = FILM.expected.astype(np.float64)
    signed = (level - level.mean() + rng.normal(0.0, 10.0, level.shape)).astype(np.float32)
    columns = locate_columns(Image(data=signed))
    assert columns.noise.gain == 0.0
    assert columns.noise.floor == pytest.approx(100.0, rel=0.05)
    cells = build_cells(columns)
    mine, its = films.pair_cells(cells, FILM.truth_cells)
    z = cells.displacement_px[mine] - FILM.truth_cells.displacement_px[its]
    assert (z / films.sigmas(cells.covariance_px2)[mine]).std() == pytest.approx(1.0, abs=0.12)


def test_background_at_the_ceiling_flags_dark_columns():
    image, _ = dark_film(1)
    ceiling = float(np.percentile(image.data, 99.5))
    cut = replace(image, data=np.minimum(image.data, np.float32(ceiling)), ceiling=ceiling)
    flagged = has(locate_columns(cut).flags, Flag.SATURATED)
    assert 0 < flagged.mean() < 1
    assert not has(locate_columns(image).flags, Flag.SATURATED).any()


def test_the_wrong_contrast_is_refused():
    with pytest.raises(ImageError, match="dark columns were expected") as caught:
        locate_columns(FILM.image, contrast="dark")
    assert "bright columns" in caught.value.got


def test_sigma_is_honest_where_noise_is_correlated_over_many_pixels():
    """In iDPC images noise looks like columns, and the fits take up most of it."""
    settings = CrystalSettings(
        contrast="signed", heights=(1.0, 0.5, 0.3, 0.3), a_px=80.0, shape_px=(640, 640), noise=0.0
    )
    simulated = simulate_crystal(settings, rng=np.random.default_rng(1))
    blurred = scipy.ndimage.gaussian_filter(np.random.default_rng(2).normal(size=settings.shape_px), 6.0)
    noisy = simulated.image.data + 8.0 * blurred / blurred.std()
    sites = locate_sites(replace(simulated.image, data=noisy.astype(np.float32)))
    distance, row = films.nearest(sites.positions_px, simulated.truth.positions_px)
    good = (sites.flags == 0) & (distance < 8.0)
    assert good.sum() > 150
    z = (sites.positions_px - simulated.truth.positions_px[row])[good] / films.sigmas(sites.covariance_px2)[good]
    assert z.std() == pytest.approx(1.0, abs=0.15)
    assert min(sites.noise.correlation) > 49.0  # the most that lags of three pixels can show
