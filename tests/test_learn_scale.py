"""What networks see: the scale of their own, places that go there and back, gain and offset gone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from dipolar.core.errors import ImageError
from dipolar.core.learning import NETWORK_CELL_PX
from dipolar.learn.scale import Seen, normalise, scale_of, see
from dipolar.simulate import render_columns


def columns(cell_px, *, cells=9, seed=0, width=0.12):
    """An image of Gaussian columns, one per cell, each shifted by up to a tenth of it; and their places."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(cells) + 0.5] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    places = (grid + rng.uniform(-0.1, 0.1, grid.shape)) * cell_px - 0.5
    size = round(cells * cell_px)
    return draw((size, size), places, np.ones(len(places)), width * cell_px), places


def draw(shape, places, amplitude, width_px):
    """An image of round Gaussian columns."""
    number, profile = len(places), np.array([[[1.0, 1.0]]] * 2)
    widths, kind = np.full((number, 2), width_px), np.zeros(number, dtype=np.int8)
    return render_columns(shape, places, amplitude, widths, np.zeros(number), kind, profile)


def centre_of_column(pixels, near, *, reach=6):
    """The centre of a Gaussian on a tilted plane, by least squares, around a place."""
    row, col = np.rint(near).astype(int)
    y, x = (part.ravel() for part in np.mgrid[row - reach : row + reach + 1, col - reach : col + reach + 1])
    values = pixels[y, x].astype(float)

    def residual(p):
        spot = p[2] * np.exp(-0.5 * ((y - p[0]) ** 2 + (x - p[1]) ** 2) / p[3] ** 2)
        return spot + p[4] + p[5] * (y - row) + p[6] * (x - col) - values

    start = [*near, np.ptp(values), 3.0, values.min(), 0.0, 0.0]
    return least_squares(residual, start).x[:2]


@pytest.mark.parametrize("cell_px", [8.0, 11.3, 17.0, 24.0, 27.1, 36.0, 50.5, 121.0])
def test_columns_stand_where_they_should_at_the_networks_scale(cell_px):
    image, places = columns(cell_px, cells=6)
    seen = see(image, cell_px=cell_px)
    assert seen.scale * cell_px == pytest.approx(NETWORK_CELL_PX)
    wanted = seen.to_network(places)
    inside = np.all((wanted > 10) & (wanted < np.array(seen.shape) - 11), axis=1)
    found = np.array([centre_of_column(seen.pixels[0, 0].numpy(), place) for place in wanted[inside]])
    assert inside.sum() > 15
    assert np.abs(found - wanted[inside]).max() < 0.05
    assert np.abs((found - wanted[inside]).mean(axis=0)).max() < 0.015


@pytest.mark.parametrize("cell_px", [21.0, 25.5, 27.0])
def test_taking_off_mean_and_gain_moves_no_column(cell_px):
    """The displacement told by Gaussians, fitted to what the network sees, is that of the image within 0.02 px."""
    turn = np.array([[0.956, 0.292], [-0.292, 0.956]])
    grid = np.stack(np.meshgrid(*[np.arange(-9, 9)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    a, b = grid @ turn * cell_px + 100, (grid + 0.5) @ turn * cell_px + [101.3, 99.3]
    amplitude = np.repeat([1.0, 0.3], len(grid))
    image = draw((208, 208), np.concatenate([a, b]), amplitude, 0.12 * cell_px)
    errors = []
    for pixels in (torch.from_numpy(image), see(image, cell_px=cell_px).pixels[0, 0]):
        near = np.all((a > 20) & (a < 188), axis=1) & np.all((b > 20) & (b < 188), axis=1)
        found = [[centre_of_column(pixels.numpy(), place) for place in one[near]] for one in (a, b)]
        errors.append(np.array(found) - [a[near], b[near]])
    moved = errors[1] - errors[0]
    assert np.sqrt(np.mean(moved**2)) < 0.03
    assert np.abs((moved[1] - moved[0]).mean(axis=0)).max() < 0.02


@pytest.mark.parametrize("scale", [0.15, 0.9, 1.0, 1.7, 4.0])
def test_places_go_there_and_back(scale):
    seen = Seen(pixels=torch.zeros(1, 1, 8, 8), scale=scale, shape=(8, 8), cell_px=24.0 / scale)
    points = np.random.default_rng(0).uniform(-10.0, 500.0, size=(40, 2))
    np.testing.assert_allclose(seen.to_image(seen.to_network(points)), points, atol=1e-10)
    # edges of the image stay its edges, whatever the number of pixels between them
    np.testing.assert_allclose(seen.to_network(np.full((1, 2), -0.5)), -0.5)


def test_images_are_taken_as_they_are_where_the_networks_know_their_size():
    assert [scale_of(cell_px) for cell_px in (21.0, 24.0, 27.0)] == [1.0] * 3
    assert scale_of(20.9) * 20.9 == pytest.approx(NETWORK_CELL_PX)
    image, _ = columns(26.0, cells=5)
    seen = see(image, cell_px=26.0)
    assert (seen.scale, seen.shape) == (1.0, image.shape)
    assert seen.pixels.shape == (1, 1, 136, 136)


@pytest.mark.parametrize("cell_px", [5.9, 161.0, float("nan")])
def test_cells_beyond_sense_are_refused(cell_px):
    with pytest.raises(ImageError, match="6 to 160 px per unit cell") as caught:
        see(np.ones((64, 64), dtype=np.float32), cell_px=cell_px)
    assert f"{cell_px:.3g} px" in caught.value.got


@pytest.mark.parametrize(("gain", "offset"), [(-1.0, 0.0), (7e4, 3e4), (1e-12, 5e-12), (1e25, 0.0), (0.03, -2.0)])
def test_gain_and_offset_leave_no_trace(gain, offset):
    image, _ = columns(24.0, cells=6)
    rng = np.random.default_rng(0)
    image = image + 0.1 * rng.standard_normal(image.shape, dtype=np.float32)
    pixels = torch.from_numpy(image)[None, None]
    wanted = normalise(pixels)
    found = normalise((pixels.double() * gain + offset).float())
    torch.testing.assert_close(found, np.sign(gain) * wanted, rtol=1e-3, atol=2e-3)
    assert float(wanted.std()) == pytest.approx(1.0, abs=0.1)


def test_slow_changes_of_gain_and_background_leave_hardly_any():
    image, _ = columns(24.0, cells=12)
    image = image + 0.5
    y, x = np.indices(image.shape) / 288.0
    changed = (image * (1.0 + 0.4 * y) + 0.8 * x).astype(np.float32)
    one, other = (see(part, cell_px=24.0).pixels for part in (image, changed))
    assert float((one - other).std()) < 0.06 * float(one.std())


def test_batches_are_normalised_one_by_one():
    pixels = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 1, 64, 72)).astype(np.float32))
    pixels[1] *= 50.0
    together = normalise(pixels)
    for number in range(3):
        torch.testing.assert_close(together[number : number + 1], normalise(pixels[number : number + 1]))


def test_an_image_of_one_value_says_nothing():
    seen = see(np.full((64, 80), 7.0, dtype=np.float32), cell_px=24.0)
    assert not seen.pixels.any()


def test_pixels_that_were_not_measured_change_nothing_far_away():
    image, _ = columns(24.0, cells=12)
    broken = image.copy()
    broken[:40, :60] = np.nan
    broken[200, 200] = np.nan
    whole, holed = (see(part, cell_px=24.0).pixels[0, 0] for part in (image, broken))
    assert torch.isfinite(holed).all()
    far = torch.ones_like(whole, dtype=torch.bool)
    far[:100, :120] = False
    far[150:250, 150:250] = False
    assert float((whole - holed)[far].abs().max()) < 0.02
    with pytest.raises(ImageError, match="nothing that was measured"):
        see(np.full_like(image, np.nan), cell_px=24.0)
