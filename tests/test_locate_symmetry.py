"""Laws of locating that hold whatever the image shows: turns, mirrors, shifts, gain and offset of the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
from dipolar.core.flags import POSITION_FLAGS, Flag, has
from dipolar.core.nouns import Columns, Image
from dipolar.locate import locate_columns
from dipolar.measure import build_cells
from dipolar.simulate import Simulated, benchmark_film

TURNED = 0.25
"""Sigmas by which a turned image may move a column: windows end elsewhere where a centre lies between two pixels, and
the profile is learned on other columns. Measured: 0.14 at most, 0.01 in the median."""

TURNS = {
    "quarter turn": (np.rot90, [[0, -1], [1, 0]]),
    "half turn": (lambda data: np.rot90(data, 2), [[-1, 0], [0, -1]]),
    "three quarters": (lambda data: np.rot90(data, 3), [[0, 1], [-1, 0]]),
    "left and right": (np.fliplr, [[1, 0], [0, -1]]),
    "up and down": (np.flipud, [[-1, 0], [0, 1]]),
    "diagonal": (np.transpose, [[0, 1], [1, 0]]),
}
"""What is done with the image, and what that does with a vector (dy, dx)."""


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    return films.film(benchmark_film(size_px=440), seed=3)


@pytest.fixture(scope="module")
def columns(simulated: Simulated) -> Columns:
    return locate_columns(simulated.image)


def anew(image: Image, data: np.ndarray) -> Columns:
    return locate_columns(replace(image, data=np.ascontiguousarray(data, dtype=np.float32)))


def distances_in_sigma(found: Columns, positions_px: np.ndarray, reference: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each column lies from the nearest one of the reference, in its sigmas, and which that is."""
    distance, row = films.nearest(positions_px, reference.positions_px)
    assert len(np.unique(row)) == len(row), "two columns came from one"
    return distance / films.sigmas(reference.covariance_px2).mean(axis=1)[row], row


@pytest.mark.parametrize("name", TURNS)
def test_turning_the_image_turns_positions_covariance_and_displacement(simulated, columns, name):
    turn, matrix = TURNS[name]
    matrix = np.array(matrix, dtype=float)
    turned = anew(simulated.image, turn(simulated.image.data))
    middle = (np.array(simulated.image.data.shape) - 1) / 2.0
    back = (turned.positions_px - middle) @ matrix + middle
    off, row = distances_in_sigma(turned, back, columns)
    assert len(turned.flags) == len(columns.flags)
    assert off.max() < TURNED and np.median(off) < 0.03
    assert (turned.sublattice == columns.sublattice[row]).all()
    expected = np.einsum("ij,njk,lk->nil", matrix, columns.covariance_px2[row], matrix)
    scale = np.einsum("nii->n", expected)[:, None, None]
    assert np.abs((turned.covariance_px2 - expected) / scale).max() < 0.05
    one, other = build_cells(columns), build_cells(turned)
    distance, its = films.nearest((other.positions_px - middle) @ matrix + middle, one.positions_px)
    assert len(one.flags) == len(other.flags) > 250 and distance.max() < 0.1
    error = (other.displacement_px - one.displacement_px[its] @ matrix.T) / films.sigmas(one.covariance_px2).mean()
    assert np.abs(error).max() < TURNED


def test_shifting_the_image_by_whole_pixels_shifts_the_columns(simulated, columns):
    cut = np.array([7, 11])
    shifted = anew(simulated.image, simulated.image.data[cut[0] :, cut[1] :])
    off, row = distances_in_sigma(shifted, shifted.positions_px + cut, columns)
    deep = (shifted.positions_px > 3.0 * np.linalg.norm(columns.steps_px[0])).all(axis=1)  # away from the new edge
    deep &= ~has(columns.flags[row], POSITION_FLAGS)  # half a column at the old edge leans on what the image taught
    assert deep.sum() > 500
    assert off[deep].max() < TURNED
    assert (shifted.sublattice == columns.sublattice[row]).all()


@pytest.mark.parametrize(("gain", "offset"), [(3.0, 1000.0), (1e-4, -2.0), (500.0, 0.0)])
def test_gain_and_offset_of_the_image_change_neither_positions_nor_sigma(simulated, columns, gain, offset):
    scaled = anew(simulated.image, simulated.image.data * gain + offset)
    np.testing.assert_allclose(scaled.positions_px, columns.positions_px, atol=1e-3 * 0.05)
    np.testing.assert_allclose(
        films.sigmas(scaled.covariance_px2), films.sigmas(columns.covariance_px2), rtol=1e-3, equal_nan=True
    )
    np.testing.assert_allclose(scaled.amplitude, gain * columns.amplitude, rtol=1e-3)
    np.testing.assert_allclose(scaled.amplitude_sigma, gain * columns.amplitude_sigma, rtol=2e-3)
    np.testing.assert_allclose((scaled.background - offset) / gain, columns.background, rtol=1e-2)
    assert scaled.noise.gain == pytest.approx(gain * columns.noise.gain, rel=0.01)
    assert (scaled.sublattice == columns.sublattice).all() and (scaled.flags == columns.flags).all()


def test_the_same_image_gives_the_same_columns(simulated, columns):
    again = locate_columns(simulated.image)
    assert np.array_equal(again.positions_px, columns.positions_px)
    assert np.array_equal(again.covariance_px2, columns.covariance_px2)


def test_columns_cut_by_the_edge_are_flagged_and_no_others(simulated, columns):
    edge = has(columns.flags, Flag.EDGE)
    to_edge = np.minimum(columns.positions_px, np.array(simulated.image.data.shape) - 1 - columns.positions_px)
    width = 48.0 / 17.25
    assert edge[to_edge.min(axis=1) < 0.6 * width].all()  # a third of a window of three widths' radius is missing
    assert not edge[to_edge.min(axis=1) > 3.0 * width].any()
    assert 0 < edge.sum() < 60


def test_the_noise_of_the_image_is_read_off_it(simulated, columns):
    # Poisson counts: variance equals intensity
    assert columns.noise.gain == pytest.approx(1.0, abs=0.05)
    assert columns.noise.floor == pytest.approx(0.0, abs=5.0)
    assert columns.noise.correlation == pytest.approx((1.0, 1.0), abs=0.05)
    assert columns.noise.row_jitter_px == (0.0, 0.0)
    assert np.median(columns.chi2) == pytest.approx(1.0, abs=0.02)
