"""Turned patterns have turned lattices, moved ones moved centres; ghosts are no lattice, and noise is no beam."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from dipolar.core.errors import ScanError
from dipolar.core.scanning import Scan
from dipolar.locate.beam import centres, look_at
from dipolar.locate.beam_defects import bad_pixels
from dipolar.simulate.scan import simulate_scan
from dipolar.simulate.scan_settings import SimulatedScanSettings
from scan_patterns import Held, held


def simulated(seed: int = 1, **settings: object):
    """Return a scan of 12 × 12 patterns of 128 px with disks of radius 4.5 px, and its truth."""
    usual = {"shape": (12, 12), "pattern_px": (128, 128), "lattice_px": 18.5, "electrons": 2e4}
    return simulate_scan(SimulatedScanSettings(**{**usual, **settings}), seed=seed)


@pytest.fixture(scope="module")
def plain():
    made = simulated()
    return made, look_at(made.scan)


CASES = {
    "turned and stretched": {"rotation_deg": 25.0, "ellipticity": 0.02},
    "oblique": {"lattice_px": ((2.0, 19.0), (18.0, 7.0))},
    "strong ghosts": {"ghost_strength": 0.3},
    "no ghosts": {"ghost_strength": 0.0},
    "little dose": {"electrons": 3e3},
    "a detector that does not count": {"gain": 8.0, "detector_offset": 40.0, "readout": 2.0},
    "beam stop": {"beam_stop": True},
}


@pytest.mark.parametrize("name", CASES)
def test_lattice_disk_and_beams_are_the_true_ones(name):
    made = simulated(**CASES[name])
    view, truth = look_at(made.scan), made.truth
    # Any two of a lattice's shortest vectors: whole numbers of the true ones, of the same area.
    turn = view.lattice_px @ np.linalg.inv(truth.lattice_px)
    assert np.abs(turn - np.rint(turn)).max() < 0.004 and abs(abs(np.linalg.det(np.rint(turn))) - 1) < 1e-9
    assert np.linalg.norm(view.lattice_px, axis=1).max() < 1.1 * np.linalg.norm(truth.lattice_px, axis=1).max()
    off = np.abs(view.lattice_px - np.rint(turn) @ truth.lattice_px)
    assert (off < 5 * view.lattice_sigma_px).all()
    assert abs(view.radius_px - truth.radius_px) < 0.08 * truth.radius_px
    found, known = centres(made.scan.frames.read(0, 144), view)
    error = found - truth.centre_px.reshape(-1, 2)
    assert known.all() and np.sqrt(np.mean(error**2)) < (0.1 if name != "little dose" else 0.15)
    assert np.abs(error.mean(axis=0)).max() < 0.02
    assert view.stopped == ("stop" in name)
    assert (np.abs(truth.centre_px - np.array(view.centre_px)).max(axis=(0, 1)) < view.reach_px).all()


def test_a_turned_pattern_has_a_turned_view(plain):
    made, view = plain
    patterns = made.scan.frames.read(0, 144)
    turned = look_at(held(np.rot90(patterns, axes=(1, 2)), (12, 12)))
    # What pointed right points up, so that what pointed down points right.
    expected = np.array([view.lattice_px[1] @ [[0, 1], [-1, 0]], view.lattice_px[0] @ [[0, -1], [1, 0]]])
    np.testing.assert_allclose(turned.lattice_px, expected, atol=0.02)
    assert abs(turned.radius_px - view.radius_px) < 0.02
    y, x = view.centre_px
    np.testing.assert_allclose(turned.centre_px, (127 - x, y), atol=0.02)
    np.testing.assert_array_equal(turned.defective, np.rot90(view.defective))


def test_a_moved_pattern_has_a_moved_centre(plain):
    made, view = plain
    patterns = made.scan.frames.read(0, 32)
    before, _ = centres(patterns, view)
    after, known = centres(np.roll(patterns, (1, -2), axis=(1, 2)), view)
    assert known.all()
    # Dead pixels did not move along: what is left of a pattern differs by them.
    np.testing.assert_allclose(after - before, np.tile([1.0, -2.0], (32, 1)), atol=0.03)


def test_centres_depend_on_their_own_pattern_only(plain):
    made, view = plain
    patterns = made.scan.frames.read(0, 20)
    whole, _ = centres(patterns, view)
    parts = np.concatenate([centres(patterns[n : n + 3], view)[0] for n in range(0, 20, 3)])
    np.testing.assert_array_equal(whole, parts)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_any_type_of_counts_gives_the_same_centre(plain, dtype):
    made, view = plain
    patterns = np.minimum(made.scan.frames.read(0, 6), 255)
    expected, _ = centres(patterns, view)
    np.testing.assert_allclose(centres(patterns.astype(dtype), view)[0], expected, atol=1e-4)


def test_dead_and_hot_pixels_are_found_and_nothing_else(plain):
    made, view = plain
    assert made.truth.defective.any()
    missed = made.truth.defective & ~view.defective
    y, x = np.nonzero(missed)
    # A dead pixel where hardly an electron falls is like its neighbours.
    assert (view.mean[y, x] * 144 < 20).all()
    assert (view.defective & ~made.truth.defective).sum() <= 1


def test_poisson_noise_is_not_dead():
    counts = np.random.default_rng(2).poisson(3.0, size=(64, 80, 80)).astype(np.float64)
    assert not bad_pixels(counts.mean(axis=0), counts.var(axis=0), 64).any()
    counts[:, 20, 30], counts[:, 50, 7] = 0.0, 90.0
    bad = bad_pixels(counts.mean(axis=0), counts.var(axis=0), 64)
    assert bad.sum() == 2 and bad[20, 30] and bad[50, 7]


def test_what_the_file_calls_dead_is_dead(plain):
    made, _ = plain
    told = np.zeros((128, 128), dtype=bool)
    told[40, 41] = True
    assert look_at(held(made.scan.frames.read(0, 144), (12, 12), defective=told)).defective[40, 41]


def test_no_pixel_of_a_beam_stop_counts():
    made = simulated(beam_stop=True)
    view = look_at(made.scan)
    stop = made.scan.frames.defects.stop
    assert (view.defective & stop).sum() > 0.95 * stop.sum()
    assert (view.defective & ~made.truth.defective).sum() < 0.3 * stop.sum()


def test_a_pattern_without_a_beam_is_told(plain):
    made, view = plain
    patterns = made.scan.frames.read(0, 4).copy()
    patterns[1] = 0
    patterns[2] = 7
    patterns[3] = np.random.default_rng(0).poisson(1.0, size=(128, 128))
    found, known = centres(patterns, view)
    np.testing.assert_array_equal(known, [True, False, False, False])
    np.testing.assert_allclose(found[1:], np.tile(view.centre_px, (3, 1)), atol=1e-4)


def test_blank_patterns_are_not_looked_at(plain):
    made, view = plain
    patterns = made.scan.frames.read(0, 144).copy()
    patterns[::3] = 0
    again = look_at(held(patterns, (12, 12)))
    np.testing.assert_allclose(again.lattice_px, view.lattice_px, atol=0.05)
    assert abs(again.counts_per_pattern / view.counts_per_pattern - 1) < 0.05


def test_the_sample_of_patterns_is_in_memory_once():
    few = simulated(pattern_px=(64, 64), lattice_px=12.0).scan.frames.read(0, 144)
    scan, sampled = held(np.tile(few, (8, 1, 1)), (96, 12)), 1024 * few[0].nbytes
    look_at(scan, patterns=1024)  # what is compiled, and kept, takes memory of its own
    tracemalloc.start()
    try:
        look_at(scan, patterns=1024)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sampled < most < 1.5 * sampled


@pytest.mark.parametrize("value", [0, 5])
def test_constant_patterns_are_refused(value):
    with pytest.raises(ScanError, match="all 9 patterns that were looked at are empty or constant"):
        look_at(held(np.full((9, 32, 32), value, dtype=np.uint16), (3, 3)))


def test_noise_is_no_beam():
    noise = np.random.default_rng(3).poisson(4.0, size=(36, 64, 64)).astype(np.uint16)
    with pytest.raises(ScanError, match="no disk in the mean of 36 patterns"):
        look_at(held(noise, (6, 6)))


def test_a_scan_that_has_not_begun_is_waited_for():
    empty = Held(np.zeros((0, 16, 16), dtype=np.uint16))
    with pytest.raises(ScanError, match="wait until the first are written"):
        look_at(Scan(frames=empty, shape=(4, 4), name="growing", key="0" * 16, growing=True))


def test_a_single_disk_has_no_lattice():
    y, x = np.indices((64, 64))
    disk = 60.0 * (np.hypot(y - 30, x - 33) < 6) + 0.5
    patterns = np.random.default_rng(4).poisson(disk, size=(25, 64, 64)).astype(np.uint16)
    view = look_at(held(patterns, (5, 5)))
    assert np.isnan(view.lattice_px).all() and np.isnan(view.lattice_sigma_px).all()
    np.testing.assert_allclose(view.centre_px, (30, 33), atol=0.05)
    assert abs(view.radius_px - 6) < 0.3
