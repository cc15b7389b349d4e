"""Series that cannot come out right are refused; those that may not have are doubted in a note."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.align import align_frames
from dipolar.core.errors import DataError
from dipolar.core.nouns import Image
from dipolar.recipes.align import align_images, notes
from dipolar.simulate import SeriesSettings, benchmark_film, simulate_series


def frames(*angles: float, **changes) -> tuple[Image, ...]:
    film = benchmark_film(size_px=192, dose=2.0 * len(angles), row_jitter_px=0.2)
    film = replace(film, **({"intensity_scatter": 0.12} | changes))
    settings = SeriesSettings(film=film, scan_angles_deg=angles, reach_px=6.0)
    return simulate_series(settings, rng=np.random.default_rng(3)).frames


@pytest.fixture(scope="module")
def crossed() -> tuple[Image, ...]:
    return frames(0.0, 90.0)


@pytest.mark.parametrize("angle", [-90.0, 30.0])
def test_wrong_scan_angles_are_refused_with_what_to_do(crossed, angle):
    with pytest.raises(DataError) as caught:
        align_frames(crossed, scan_angles_deg=(0.0, angle))
    assert "--scan-angles" in caught.value.do and "try the negative" in caught.value.do
    assert caught.value.got


@pytest.mark.parametrize(("angle", "rows"), [(0.0, True), (-90.0, False)])
def test_wrong_scan_angles_under_which_a_square_crystal_fits_by_its_lattice_are_at_least_doubted(crossed, angle, rows):
    try:
        found = align_frames(crossed, scan_angles_deg=(0.0, angle), rows=rows)
    except DataError:
        return
    assert any("lattice vector" in note for note in notes(found))


def test_the_right_angles_are_not_doubted(crossed):
    found = align_frames(crossed, scan_angles_deg=(0.0, 90.0))
    assert found.place_margin > 20.0
    assert notes(found) == []


def test_hardly_any_counts_in_a_perfect_crystal_are_no_contradiction():
    faint = frames(0.0, 90.0, dose=0.1, intensity_scatter=0.0, background_gradient=(0.0, 0.0))
    assert faint[0].data.mean() < 5.0
    assert not align_frames(faint, scan_angles_deg=(0.0, 90.0)).dropped


def test_directions_that_agree_only_among_themselves_are_doubted():
    found = align_frames(frames(0.0, 0.0, 0.0, 0.0), scan_angles_deg=(0.0, 90.0, 0.0, 90.0))
    assert any("check --scan-angles" in note for note in notes(found))


def test_a_frame_given_twice_counts_once(crossed):
    pair = frames(0.0, 0.0)
    again = replace(pair[0], name="again")
    once, twice = (align_frames(some, rows=False) for some in (pair, (*pair, again)))
    assert twice.dropped == {"again": "holds the same pixels as frame 0"}
    np.testing.assert_array_equal(once.image.data, twice.image.data)
    with pytest.raises(DataError, match="two different frames") as caught:
        align_images([pair[0], pair[0]])
    assert "frame 0 (2)" in str(caught.value)
