"""Octahedra in projection: tilts and offsets against oxygen are what was put in, turn with the image, and are null."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
from dipolar.core.errors import DataError
from dipolar.core.motif import PEROVSKITE_110, SiteColumns
from dipolar.core.nouns import Noise
from dipolar.locate import locate_sites
from dipolar.measure.octahedra import octahedral_tilt, tilt_patterns
from dipolar.measure.sites import anion_offsets, shared_covariance, site_offsets
from dipolar.simulate.contrast import CrystalSettings, SimulatedCrystal, simulate_crystal

TILTED_100 = CrystalSettings(contrast="signed", heights=(1.0, 0.5, 0.2, 0.2), rotation_deg=20.0, tilt_deg=3.0)
TILTED_110 = CrystalSettings(
    contrast="dark", motif=PEROVSKITE_110, a_px=30.0, b_over_a=2**0.5, heights=(1.0, 0.5, 0.3), tilt_deg=4.0
)


def crystal(settings: CrystalSettings, *, seed: int = 1) -> SimulatedCrystal:
    return simulate_crystal(settings, rng=np.random.default_rng(seed))


def exact(settings: CrystalSettings) -> SiteColumns:
    """Return the true columns with a small sigma, as if they had been measured."""
    truth = crystal(settings).truth
    count = len(truth.site)
    return replace(
        truth, covariance_px2=np.tile(1e-4 * np.eye(2), (count, 1, 1)), row_reach_px=np.full((count, 2), 4.0)
    )


@pytest.mark.parametrize("settings", [TILTED_100, TILTED_110], ids=["100", "110"])
def test_tilts_are_those_put_in_with_their_sign_and_an_honest_sigma(settings):
    simulated = crystal(settings)
    sites = locate_sites(simulated.image)
    octahedra = octahedral_tilt(sites)
    distance, row = films.nearest(octahedra.positions_px, simulated.truth.positions_px)
    good = (octahedra.flags == 0) & (distance < 2.0)
    assert good.sum() > 60
    z = (octahedra.tilt_deg - simulated.turn[row])[good] / octahedra.tilt_sigma_deg[good]
    assert z.std() == pytest.approx(1.0, abs=0.15)
    assert abs(z.mean()) * np.sqrt(good.sum()) < 4.0
    first, *others = tilt_patterns(octahedra, sites)
    assert abs(first.tilt_deg) == pytest.approx(settings.tilt_deg, abs=4.0 * first.tilt_sigma_deg)
    # along [110] only neighbours along a share oxygen, and a is the short edge whichever way it lies
    assert first.alternates == ((True, True) if settings is TILTED_100 else (True, False))
    assert all(abs(other.tilt_deg) < 5.0 * other.tilt_sigma_deg for other in others)


def test_what_was_not_put_in_is_null():
    sites = locate_sites(crystal(replace(TILTED_100, tilt_deg=0.0)).image)
    for offsets in (site_offsets(sites, "B"), anion_offsets(sites, "A"), anion_offsets(sites, "B")):
        good = offsets.flags == 0
        z = offsets.offset_px[good] / films.sigmas(offsets.covariance_px2)[good]
        assert z.std() == pytest.approx(1.0, abs=0.2)
        assert (np.abs(z.mean(axis=0)) * np.sqrt(good.sum()) < 4.0).all(), offsets.what
    for pattern in tilt_patterns(octahedral_tilt(sites), sites):
        assert abs(pattern.tilt_deg) < 4.0 * pattern.tilt_sigma_deg


@pytest.mark.parametrize(
    ("moved", "b_against_a", "b_against_o", "a_against_o"),
    [
        ({"B": (0.6, -0.4)}, (0.6, -0.4), (0.6, -0.4), (0.0, 0.0)),
        ({"O1": (0.5, 0.2), "O2": (0.5, 0.2)}, (0.0, 0.0), (-0.5, -0.2), (-0.5, -0.2)),
        ({"A": (0.3, 0.3)}, (-0.3, -0.3), (0.0, 0.0), (0.3, 0.3)),
    ],
    ids=["B", "O", "A"],
)
def test_every_offset_sees_what_moved(moved, b_against_a, b_against_o, a_against_o):
    sites = locate_sites(crystal(replace(TILTED_100, tilt_deg=0.0, shifts_px=moved)).image)
    for offsets, expected in (
        (site_offsets(sites, "B"), b_against_a),
        (anion_offsets(sites, "B"), b_against_o),
        (anion_offsets(sites, "A"), a_against_o),
    ):
        good = offsets.flags == 0
        error = films.sigmas(offsets.covariance_px2)[good].mean(axis=0) / np.sqrt(good.sum())
        off = offsets.offset_px[good].mean(axis=0) - np.array(expected)
        assert (np.abs(off) < 4.0 * error).all(), offsets.what


def test_a_quarter_turn_turns_offsets_and_keeps_tilts_and_a_mirror_turns_tilts_over():
    simulated = crystal(replace(TILTED_100, shifts_px={"B": (0.6, -0.4)}))
    data = simulated.image.data
    straight = locate_sites(simulated.image)
    turned = locate_sites(replace(simulated.image, data=np.ascontiguousarray(np.rot90(data))))
    mirrored = locate_sites(replace(simulated.image, data=np.ascontiguousarray(data[:, ::-1])))
    last = data.shape[1] - 1
    one = anion_offsets(straight, "B")
    for other, back, matrix, sense in (
        # np.rot90 turns counter-clockwise: (y, x) goes to (last - x, y)
        (turned, lambda p: np.column_stack([p[:, 1], last - p[:, 0]]), np.array([[0.0, -1.0], [1.0, 0.0]]), 1.0),
        (mirrored, lambda p: np.column_stack([p[:, 0], last - p[:, 1]]), np.array([[1.0, 0.0], [0.0, -1.0]]), -1.0),
    ):
        two = anion_offsets(other, "B")
        distance, row = films.nearest(back(two.positions_px), one.positions_px)
        near = (distance < 0.5) & (two.flags == 0) & (one.flags[row] == 0)
        assert near.sum() > 60
        difference = two.offset_px[near] - one.offset_px[row[near]] @ matrix.T
        assert np.median(np.abs(difference)) < 0.02
        before, after = octahedral_tilt(straight), octahedral_tilt(other)
        distance, row = films.nearest(back(after.positions_px), before.positions_px)
        near = (distance < 0.5) & (after.flags == 0) & (before.flags[row] == 0)
        assert np.median(np.abs(after.tilt_deg[near] - sense * before.tilt_deg[row[near]])) < 0.1
        assert np.median(np.abs(before.tilt_deg)) > 2.0


@pytest.mark.parametrize("settings", [TILTED_100, TILTED_110], ids=["100", "110"])
def test_strain_shear_and_rotation_are_no_tilt(settings):
    sites = exact(replace(settings, tilt_deg=0.0))
    bent = np.array([[1.02, 0.03], [-0.05, 0.98]])
    moved = replace(sites, positions_px=sites.positions_px @ bent.T, cell_px=sites.cell_px @ bent.T)
    np.testing.assert_allclose(octahedral_tilt(moved).tilt_deg, 0.0, atol=1e-9)
    # the true tilt of a distorted crystal stays close to that of the straight one
    tilted = exact(settings)
    angle = np.radians(7.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rotated = replace(tilted, positions_px=tilted.positions_px @ turn.T, cell_px=tilted.cell_px @ turn.T)
    before, after = octahedral_tilt(tilted), octahedral_tilt(rotated)
    np.testing.assert_allclose(after.tilt_deg, before.tilt_deg, atol=1e-9)
    np.testing.assert_allclose(np.abs(before.tilt_deg), settings.tilt_deg, rtol=0.01)


def test_the_weights_of_a_tilt_are_its_derivatives():
    sites = exact(TILTED_100)
    octahedra = octahedral_tilt(sites)
    rng = np.random.default_rng(0)
    step = 1e-4 * rng.normal(size=sites.positions_px.shape)
    there = octahedral_tilt(replace(sites, positions_px=sites.positions_px + step)).tilt_deg
    predicted = np.sum(octahedra.weights_deg_per_px * step[octahedra.members], axis=(1, 2))
    np.testing.assert_allclose(there - octahedra.tilt_deg, predicted, rtol=1e-3, atol=1e-8)


def test_jitter_of_scan_rows_is_shared_by_columns_of_one_row():
    noise = Noise(gain=1.0, floor=0.0, correlation=(1.0, 1.0), row_jitter_px=(0.3, 0.2), row_jitter_sigma_px=(0.0, 0.0))
    sites = replace(exact(replace(TILTED_100, rotation_deg=0.0)), noise=noise)
    y = sites.positions_px[:, 0]
    pair = np.flatnonzero(np.abs(y - y[0]) < 0.01)[:2]
    far = int(np.argmax(np.abs(y - y[0])))
    joint = shared_covariance(sites, np.array([[pair[0], pair[1], far]], dtype=np.int32))[0]
    expected = 0.3**2 / np.sqrt(2 * np.pi * (4.0**2 + 4.0**2))
    assert joint[0, 0, 1, 0] == pytest.approx(expected) and joint[1, 0, 0, 0] == pytest.approx(expected)
    assert joint[0, 1, 1, 1] == pytest.approx(expected * (0.2 / 0.3) ** 2)
    assert joint[0, 0, 2, 0] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(joint[0, :, 0], 1e-4 * np.eye(2))


def test_without_oxygen_or_the_site_there_is_a_message():
    settings = replace(TILTED_100, contrast="bright", heights=(1.0, 0.5, 0.0, 0.0))
    sites = locate_sites(crystal(settings).image)
    with pytest.raises(DataError, match="oxygen") as caught:
        octahedral_tilt(sites)
    assert "ABF" in caught.value.do
    with pytest.raises(DataError, match="named Ti"):
        site_offsets(sites, "Ti")
