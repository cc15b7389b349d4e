"""Series of frames: laws of alignment on simulated frames, whose every row's place is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.align import align_frames, axes, place_frames, repeats
from dipolar.core.alignment import Alignment
from dipolar.core.nouns import Image
from dipolar.simulate import SeriesSettings, SimulatedSeries, benchmark_film, simulate_series

CELL_PX = 396.0 / 17.25


def series(*, frames: int = 5, size_px: int = 256, seed: int = 0, **changes) -> SimulatedSeries:
    film = replace(benchmark_film(size_px=size_px, row_jitter_px=0.3, dose=frames / 4.0), intensity_scatter=0.12)
    settings = {"film": film, "scan_angles_deg": (0.0,) * frames, "reach_px": 30.0} | changes
    return simulate_series(SeriesSettings(**settings), rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def made() -> SimulatedSeries:
    return series()


@pytest.fixture(scope="module")
def aligned(made) -> Alignment:
    return align_frames(made.frames)


def true_shifts(of: SimulatedSeries) -> np.ndarray:
    middles = of.offset_px.mean(axis=1)
    return middles - middles[0]


def relative_errors(found: Alignment, of: SimulatedSeries) -> np.ndarray:
    """Errors (frame, row, 2) of the rows' places, but for what is smooth and common to all frames at one height."""
    places = np.array([frame.shift_px + frame.row_offset_px for frame in found.frames])
    error = places - of.offset_px
    error = error - error.mean(axis=(0, 1))
    height = np.arange(error.shape[1]) + of.offset_px.mean(axis=1)[:, :1]
    for axis in (0, 1):
        error[..., axis] -= np.polyval(np.polyfit(height.ravel(), error[..., axis].ravel(), 5), height)
    return error


def test_the_shifts_are_those_of_the_frames_without_a_jump(made, aligned):
    found = np.array([frame.shift_px for frame in aligned.frames])
    assert np.linalg.norm(found - true_shifts(made), axis=1).max() < 0.1 * CELL_PX
    assert not aligned.dropped
    assert min(frame.lattice_margin for frame in aligned.frames) > 20.0


def test_rows_come_nearer_to_their_place_than_they_were(made, aligned):
    error = relative_errors(aligned, made)
    assert aligned.row_jitter_px == pytest.approx((0.3, 0.3), rel=0.25)
    assert np.median(np.abs(error)) / 0.6745 < 0.75 * 0.3


def test_the_sigma_of_rows_is_honest(made, aligned):
    sigma = np.array([frame.row_sigma_px for frame in aligned.frames])
    inner = np.s_[:, 40:-40]  # beyond, few frames overlap
    zscore = relative_errors(aligned, made)[inner] / sigma[inner]
    assert 0.5 < np.mean(np.abs(zscore) < 1.0) < 0.85


def test_the_average_is_the_specimen_with_the_noise_that_sigma_says(made, aligned):
    image = aligned.image.data
    assert image.shape == aligned.sigma.shape == aligned.coverage.shape
    assert np.array_equal(np.isfinite(image), np.isfinite(aligned.sigma))
    counting = np.sqrt(np.nanmean(image) / np.nanmedian(aligned.coverage))
    assert np.nanmedian(aligned.sigma) == pytest.approx(counting, rel=0.5)
    assert aligned.coverage.max() < 1.6 * len(made.frames)


def test_turning_all_frames_turns_the_result(made, aligned):
    turned = [replace(frame, data=np.ascontiguousarray(frame.data[::-1, ::-1])) for frame in made.frames]
    there = align_frames(turned, rows=False)
    found = np.array([frame.shift_px for frame in there.frames])
    expected = -np.array([frame.shift_px for frame in align_frames(made.frames, rows=False).frames])
    np.testing.assert_allclose(found, expected, atol=0.05 * CELL_PX)


def test_gain_and_offset_of_the_detector_change_no_shift(made):
    scaled = [replace(frame, data=frame.data * np.float32(3.0) + np.float32(500.0)) for frame in made.frames]
    one, other = (align_frames(frames, rows=False) for frames in (made.frames, scaled))
    for mine, its in zip(one.frames, other.frames, strict=True):
        np.testing.assert_allclose(mine.shift_px, its.shift_px, atol=1e-2)


def test_a_still_series_stays_still():
    still = series(reach_px=0.0, film=benchmark_film(size_px=192, dose=2.0), frames=3)
    found = align_frames(still.frames)
    for frame in found.frames:
        assert np.abs(frame.shift_px).max() < 0.2
        assert np.sqrt(np.mean(frame.row_offset_px[20:-20] ** 2)) < 0.2
    assert max(found.row_jitter_px) < 0.15
    assert found.image.data.shape == pytest.approx((192, 192), abs=6)


def test_unmeasured_borders_are_no_part_of_the_image(made):
    frames = []
    for frame in made.frames:
        data = frame.data.copy()
        data[:, :12] = np.nan
        data[-7:] = np.nan
        frames.append(replace(frame, data=data))
    found = align_frames(frames, rows=False)
    assert np.linalg.norm([f.shift_px for f in found.frames] - true_shifts(made), axis=1).max() < 0.1 * CELL_PX
    assert np.isfinite(found.image.data).mean() > 0.8


def test_a_perfect_crystal_follows_the_drift():
    # nothing but the lattice: even drift of a third of a cell per frame must go on, not turn back
    film = replace(benchmark_film(size_px=200, dose=4.0), intensity_scatter=0.0, background_gradient=(0.0, 0.0))
    drifting = series(film=film, reach_px=28.0, walk_share=0.0, frames=5)
    images = [frame.data.astype(float) for frame in drifting.frames]
    places = place_frames(images, repeats(images, longest_px=60.0), reach_px=100.0)
    assert np.linalg.norm(places - true_shifts(drifting), axis=1).max() < 0.25 * CELL_PX


def test_the_lattice_of_the_frames_is_found(made):
    vectors = repeats([frame.data.astype(float) for frame in made.frames], longest_px=80.0)
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.count_nonzero(np.abs(lengths - CELL_PX) < 0.05 * CELL_PX) == 2
    assert not len(repeats([np.random.default_rng(0).normal(size=(128, 128))], longest_px=40.0))


def test_crossed_scans_undo_shear_and_drift():
    film = benchmark_film(size_px=256, dose=4.0)
    pair = series(film=film, scan_angles_deg=(0.0, 90.0), reach_px=0.0, shear=0.03, walk_px=(0.05, 0.05), seed=3)
    found = align_frames(pair.frames, scan_angles_deg=pair.scan_angles_deg)
    places = np.array([frame.shift_px + frame.row_offset_px for frame in found.frames])
    error = places - pair.offset_px
    inner = error[:, 12:-12] - error[:, 12:-12].mean(axis=(0, 1))
    assert np.sqrt(np.mean(pair.offset_px[:, 12:-12].std(axis=1) ** 2)) > 1.0
    assert np.sqrt(np.mean(inner**2)) < 0.12


def test_scan_axes_turn_counter_clockwise():
    slow, fast = axes(90.0)
    np.testing.assert_array_equal(fast, [-1.0, 0.0])  # to the right becomes up: y points down
    np.testing.assert_array_equal(slow, [0.0, 1.0])
    np.testing.assert_allclose(axes(30.0) @ axes(30.0).T, np.eye(2), atol=1e-15)


def test_a_frame_of_another_place_is_dropped_and_named(made):
    other = series(seed=77).frames[0]
    frames = [*made.frames[:2], replace(other, name="elsewhere"), *made.frames[2:]]
    found = align_frames(frames, rows=False)
    assert list(found.dropped) == ["elsewhere"]
    assert np.isnan(found.frames[2].shift_px).all()
    assert len(found.kept) == len(made.frames)


def test_blank_and_noisy_frames_are_dropped_and_named(made):
    shape = made.frames[0].data.shape
    noise = np.random.default_rng(0).poisson(10, size=shape).astype(np.float32)
    frames = [
        *made.frames,
        Image(data=np.full(shape, 7.0, dtype=np.float32), pixel_size_pm=17.25, name="black"),
        Image(data=np.full(shape, np.nan, dtype=np.float32), pixel_size_pm=17.25, name="empty"),
        Image(data=noise, pixel_size_pm=17.25, name="noise"),
    ]
    found = align_frames([replace(frame, pixel_size_pm=made.frames[0].pixel_size_pm) for frame in frames], rows=False)
    assert set(found.dropped) == {"black", "empty", "noise"}
    assert "every pixel is the same" in found.dropped["black"]
    assert "nan" in found.dropped["empty"]
