"""Frames that do not belong: the others come out as if they had never been there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dipolar.align import align_frames
from dipolar.align.coarse import PatchShifts, slow_offsets
from dipolar.align.scan import Scan
from dipolar.core.alignment import Alignment
from dipolar.core.nouns import Image
from dipolar.simulate import SeriesSettings, SimulatedSeries, benchmark_film, simulate_series


def series(*, frames: int, seed: int = 0, **changes) -> SimulatedSeries:
    film = replace(benchmark_film(size_px=192, row_jitter_px=0.3, dose=frames / 2.0), intensity_scatter=0.12, **changes)
    settings = SeriesSettings(film=film, scan_angles_deg=(0.0,) * frames, reach_px=12.0)
    return simulate_series(settings, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def good() -> tuple[Image, ...]:
    return series(frames=4).frames


@pytest.fixture(scope="module")
def alone(good) -> dict[int, Alignment]:
    """What two, and all four, good frames give by themselves."""
    return {count: align_frames(good[:count], rows=False) for count in (2, 4)}


def noise(level: float) -> np.ndarray:
    return np.random.default_rng(1).poisson(level, size=(192, 192)).astype(np.float32)


def junk(kind: str, like: Image) -> Image:
    data = {
        "faint noise": lambda: noise(0.5),
        "loud noise": lambda: 1e4 * noise(20.0),
        "clouds": lambda: gaussian_filter(noise(20.0), 5.0) * np.float32(30.0),
        "another orientation": lambda: series(frames=1, seed=5, rotation_deg=31.0).frames[0].data,
        "out of focus": lambda: gaussian_filter(like.data, 7.0),
    }[kind]()
    return replace(like, data=data, name=kind)


@pytest.mark.parametrize("kind", ["faint noise", "loud noise", "clouds", "another orientation", "out of focus"])
@pytest.mark.parametrize(("count", "where"), [(2, 1), (4, 0)])
def test_a_frame_that_does_not_belong_changes_nothing_but_the_list_of_those_left_out(good, alone, kind, count, where):
    frames = list(good[:count])
    frames.insert(where, junk(kind, good[0]))
    found = align_frames(frames, rows=False)
    assert list(found.dropped) == [kind]
    np.testing.assert_array_equal(found.image.data, alone[count].image.data)
    for mine, its in zip(found.kept, alone[count].kept, strict=True):
        np.testing.assert_array_equal(mine.shift_px, its.shift_px)
        np.testing.assert_array_equal(mine.row_offset_px, its.row_offset_px)
        assert (mine.name, mine.correlation, mine.lattice_margin) == (its.name, its.correlation, its.lattice_margin)


def test_a_frame_in_other_units_is_no_stranger(good, alone):
    louder = [replace(frame, data=frame.data * np.float32(1.0 + (n == 1))) for n, frame in enumerate(good)]
    found = align_frames(louder, rows=False)
    assert not found.dropped
    for mine, its in zip(found.frames, alone[4].frames, strict=True):
        np.testing.assert_allclose(mine.shift_px, its.shift_px, atol=0.1)


def test_where_no_patch_was_found_nothing_moves():
    scan = Scan(data=np.zeros((64, 64), dtype=np.float32), angle_deg=0.0, offset_px=np.zeros((64, 2)))
    nothing = PatchShifts(points_px=np.zeros((0, 2)), shift_px=np.zeros((0, 2)), quality=np.zeros(0))
    for moved in slow_offsets([scan, scan], [nothing, nothing], (80, 80), cell_px=10.0):
        np.testing.assert_array_equal(moved, 0.0)
