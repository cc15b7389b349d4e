"""Domains and walls of mapped scans: where they are, how wide, what sigma says, and laws of turning and of names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import scan_maps_handmade as handmade
from dipolar.core.errors import ScanError, SettingsError
from dipolar.core.flags import Flag
from dipolar.core.scanning import ScanDomains, ScanMap, ScanWall
from dipolar.maps.scan_classes import DomainRules
from dipolar.maps.scan_domains import domains_of
from dipolar.maps.scan_profile import raster_error, width_of
from dipolar.maps.scan_series import series_of

SHAPE = (44, 60)


def across(wall: ScanWall, through: tuple[float, float], normal: np.ndarray) -> np.ndarray:
    return (wall.points - np.array(through)) @ normal


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def straight_length(shape: tuple[int, int], through: tuple[float, float], normal: np.ndarray) -> float:
    """Return the length of a line within a scan, every position a square around itself."""
    at = np.linspace(-200, 200, 400_001)[:, None] * np.array([normal[1], -normal[0]]) + np.array(through)
    return 1e-3 * float(np.sum(np.all((at > -0.5) & (at < np.array(shape) - 0.5), axis=1)))


@pytest.mark.parametrize("angle_deg", [0.0, 7.0, 45.0, 90.0])
@pytest.mark.parametrize("width", [0.3, 1.0, 3.0])
def test_a_straight_wall_is_where_it_is_as_long_and_as_wide(angle_deg, width):
    through = (21.2, 30.3)
    share, normal = handmade.line(SHAPE, angle_deg, width, through)
    (wall,) = domains_of(handmade.scan_map(share, ("a", "b"))).walls
    assert rms(across(wall, through, normal)) < 0.15
    assert rms(across(wall, through, normal) / wall.points_sigma) < 3.0
    assert wall.length == pytest.approx(straight_length(SHAPE, through, normal), rel=0.01)
    if width >= 1.0:
        assert wall.width == pytest.approx(width, rel=0.05)
    else:
        assert wall.width < 0.7


@pytest.mark.parametrize(("width", "of_shares"), [(1.0, False), (2.0, False), (2.0, True)])
def test_noise_moves_a_wall_by_less_than_half_a_step_and_sigma_says_so(width, of_shares):
    through, z, lengths, widths = (21.2, 30.3), [], [], []
    share, normal = handmade.line(SHAPE, 25.0, width, through)
    true = straight_length(SHAPE, through, normal)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        mapped = handmade.scan_map(share, ("a", "b"), noise=0.0 if of_shares else 1.0, rng=rng)
        if of_shares:
            mapped = replace(mapped, mixture=(share + 0.1 * rng.normal(size=share.shape)).astype(np.float32))
        wall = domains_of(mapped).walls[0]
        off = across(wall, through, normal)
        assert rms(off) < 0.5
        z.append(rms(off / wall.points_sigma))
        assert wall.length == pytest.approx(true, rel=0.05)
        lengths.append((wall.length - true) / wall.length_sigma)
        widths.append(wall.width)
    assert 0.5 < np.mean(z) < 2.0
    assert rms(np.array(lengths)) < 2.0
    # noise of log-probabilities blurs the mean profile itself; that of shares does not
    assert np.mean(widths) == pytest.approx(width, rel=0.1 if of_shares else 0.4)


def test_a_sharp_wall_has_an_upper_bound_of_its_width_only():
    share, _ = handmade.line(SHAPE, 0.0, 1e-3, (20.0, 29.4))
    (wall,) = domains_of(handmade.scan_map(share, ("a", "b"))).walls
    assert np.isnan(wall.width_sigma) and 0 < wall.width < 1.5
    assert np.all(np.abs(wall.points[:, 1] - 29.5) < 1e-6)
    assert np.median(wall.points_sigma) == pytest.approx(1 / np.sqrt(12), rel=0.3)


@pytest.mark.parametrize("radius", [3.0, 8.0, 15.0])
def test_a_round_domain_has_the_length_and_area_of_a_circle(radius):
    y, x = handmade.positions(SHAPE)
    share = handmade.two_classes(radius - np.hypot(y - 21.3, x - 29.7), 1.0)
    domains = domains_of(handmade.scan_map(share, ("a", "b")))
    (wall,) = domains.walls
    assert wall.closed and np.array_equal(wall.points[0], wall.points[-1])
    assert wall.length == pytest.approx(2 * np.pi * radius, rel=0.05)
    assert rms(np.hypot(*(wall.points - [21.3, 29.7]).T) - radius) < 0.15
    assert abs(domains.area[1] - np.pi * radius**2) < 3 * domains.area_sigma[1]
    assert (wall.before, wall.after) == ("a", "b")


def test_the_class_before_is_on_the_left_as_seen_on_the_screen():
    share, _ = handmade.line(SHAPE, 0.0, 1.0, (20.0, 30.0))
    (wall,) = domains_of(handmade.scan_map(share, ("a", "b"))).walls
    # b is to the right on the screen, so one walks upwards, towards smaller scan_y
    assert (wall.before, wall.after) == ("a", "b") and wall.points[0, 0] > wall.points[-1, 0]


@pytest.mark.parametrize("angle_deg", [0.0, 30.0])
def test_a_lamella_of_three_steps_has_two_walls(angle_deg):
    y, x = handmade.positions(SHAPE)
    normal = np.array([np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg))])
    distance = (y - 21.0) * normal[0] + (x - 30.0) * normal[1]
    share = handmade.two_classes(1.5 - np.abs(distance), 0.8)
    domains = domains_of(handmade.scan_map(share, ("a", "b"), noise=1.0))
    assert len(domains.walls) == 2 and domains.state.tolist().count(1) == 1
    for wall in domains.walls:
        off = across(wall, (21.0, 30.0), normal)
        assert rms(np.abs(off) - 1.5) < 0.4


def test_areas_add_up_and_so_do_fractions():
    domains = domains_of(handmade.result(SHAPE, flagged=False).map)
    assert domains.area.sum() == SHAPE[0] * SHAPE[1]
    assert domains.fraction.sum() == pytest.approx(1.0)
    true = handmade.ferroelectric(SHAPE).mean(axis=(0, 1))
    assert np.all(np.abs(domains.fraction - true) < 4 * domains.fraction_sigma + 0.005)
    assert np.all(np.diff(domains.area) <= 0)


def test_one_domain_has_no_walls():
    share = np.zeros((*SHAPE, 3))
    share[..., 1] = 1.0
    domains = domains_of(handmade.scan_map(share))
    assert domains.walls == () and domains.state.tolist() == [1] and domains.fraction.tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 2), (1, 1)])
def test_scans_of_one_row_or_position_have_domains(shape):
    share = np.zeros((*shape, 2))
    share[..., 0] = 1.0
    assert domains_of(handmade.scan_map(share, ("a", "b"))).area.tolist() == [shape[0] * shape[1]]


def turned(mapped: ScanMap) -> ScanMap:
    """Return the map after a quarter turn, counter-clockwise on the screen."""
    return replace(
        mapped,
        **{
            name: np.ascontiguousarray(np.rot90(getattr(mapped, name)))
            for name in ("probability", "flags", "centre_px", "counts")
        },
    )


def by_place(walls: tuple[ScanWall, ...]) -> list[ScanWall]:
    return sorted(walls, key=lambda wall: round(wall.length, 4))


def test_turning_the_map_turns_everything():
    mapped = replace(handmade.result(SHAPE, flagged=True).map, mixture=None, virtual={})
    one, other = domains_of(mapped), domains_of(turned(mapped))
    assert np.allclose(one.area, other.area) and np.allclose(one.fraction_sigma, other.fraction_sigma)
    assert len(one.walls) == len(other.walls) > 3
    for wall, twin in zip(by_place(one.walls), by_place(other.walls), strict=True):
        assert (wall.before, wall.after) == (twin.before, twin.after)
        assert wall.length == pytest.approx(twin.length, abs=0.3)  # loops start elsewhere
        assert wall.width == pytest.approx(twin.width, rel=0.03, nan_ok=True)
        y, x = wall.points.T
        back = np.stack([SHAPE[1] - 1 - x, y], axis=1)
        gap = np.linalg.norm(back[:, None] - twin.points[None], axis=2).min(axis=1)
        assert gap.max() < 0.15


def test_exchanging_the_classes_exchanges_what_is_found():
    mapped = replace(handmade.result(SHAPE, flagged=True).map, mixture=None)
    order = [2, 0, 1]
    other = replace(mapped, names=tuple(mapped.names[one] for one in order), probability=mapped.probability[..., order])
    one, two = domains_of(mapped), domains_of(other)
    assert np.array_equal(one.domain, two.domain)
    assert [one.names[s] for s in one.state] == [two.names[s] for s in two.state]
    assert np.allclose(one.fraction[order], two.fraction)
    for wall, twin in zip(by_place(one.walls), by_place(two.walls), strict=True):
        assert {wall.before, wall.after} == {twin.before, twin.after}
        assert wall.length == pytest.approx(twin.length, abs=0.3)


def test_three_domains_meet_in_one_point():
    y, x = handmade.positions(SHAPE)
    angle = np.arctan2(y - 20.4, x - 30.3)
    sector = (
        np.stack([np.cos(angle - k * 2 * np.pi / 3) for k in range(3)], axis=2) * np.hypot(y - 20, x - 30)[..., None]
    )
    share = np.exp(1.5 * sector) / np.exp(1.5 * sector).sum(axis=2, keepdims=True)
    domains = domains_of(handmade.scan_map(share, ("a", "b", "c")))
    assert len(domains.walls) == 3
    ends = [
        min((wall.points[0], wall.points[-1]), key=lambda p: np.hypot(*(p - [20.4, 30.3]))) for wall in domains.walls
    ]
    assert np.ptp(ends, axis=0).max() < 1e-9
    assert np.hypot(*(ends[0] - [20.4, 30.3])) < 0.7


def test_a_doubtful_speck_joins_its_surroundings_and_a_sure_one_stays():
    share = np.full((*SHAPE, 2), [0.999, 0.001])
    share[10, 10] = [0.1, 0.9]
    share[20:22, 30:32] = [1e-5, 1.0 - 1e-5]
    domains = domains_of(handmade.scan_map(share, ("a", "b")))
    assert domains.area.tolist() == [SHAPE[0] * SHAPE[1] - 4.0, 4.0]
    alone = domains_of(handmade.scan_map(share, ("a", "b")), DomainRules(coupling=0.0, smallest=1))
    assert alone.area.tolist() == [SHAPE[0] * SHAPE[1] - 5.0, 4.0, 1.0]


def test_positions_without_a_class_are_in_no_domain_and_end_walls():
    share, _ = handmade.line(SHAPE, 0.0, 1.0, (20.0, 30.0))
    flags = np.zeros(SHAPE, dtype=np.uint32)
    flags[18:24, 24:36] = int(Flag.UNKNOWN_CLASS)
    mapped = handmade.scan_map(share, ("a", "b"), flags=flags)
    lost = mapped.probability.copy()
    lost[:3] = np.nan
    domains = domains_of(replace(mapped, probability=lost))
    assert np.all(domains.domain[18:24, 24:36] == -1) and np.all(domains.domain[:3] == -1)
    assert domains.area.sum() == (domains.domain >= 0).sum()
    assert len(domains.walls) == 2 and all(np.abs(wall.points[:, 1] - 30.0).max() < 0.1 for wall in domains.walls)


def test_nothing_read_gives_an_empty_map():
    blank = np.full((*SHAPE, 2), np.nan)
    domains = domains_of(handmade.scan_map(blank, ("a", "b")))
    assert np.all(domains.domain == -1) and len(domains.area) == 0 and domains.walls == ()
    assert np.isnan(domains.fraction).all()


def test_shares_tell_place_and_width_where_probabilities_jump():
    through = (21.2, 30.3)
    share, normal = handmade.line(SHAPE, 20.0, 3.0, through)
    steep = 1.0 / (1.0 + np.exp(-20.0 * (share - 0.5)))
    steep /= steep.sum(axis=2, keepdims=True)
    mapped = replace(handmade.scan_map(steep, ("a", "b")), mixture=share.astype(np.float32))
    (wall,) = domains_of(mapped).walls
    assert wall.width == pytest.approx(3.0, rel=0.05) and rms(across(wall, through, normal)) < 0.05
    (jump,) = domains_of(replace(mapped, mixture=None)).walls
    assert jump.width < 1.5 and rms(across(jump, through, normal)) < 0.3


def test_sigma_of_areas_grows_with_doubt():
    share, _ = handmade.line(SHAPE, 10.0, 1.0, (21.2, 30.3))
    sure = domains_of(handmade.scan_map(share, ("a", "b")))
    doubt = domains_of(handmade.scan_map(0.2 + 0.6 * share, ("a", "b")))
    assert np.all(doubt.area_sigma > 3 * sure.area_sigma)


def test_the_width_of_a_profile_and_its_sigma_hold():
    rng, z = np.random.default_rng(5), []
    for _ in range(30):
        distance = rng.uniform(-6, 6, 300)
        share = 0.5 * (1 + np.tanh((distance - 0.2) / 0.8)) + 0.1 * rng.normal(size=300)
        found = width_of(distance, share, blur=0.0)
        z.append((found.width - 1.6) / found.sigma)
    assert abs(np.mean(z)) < 0.6 and 0.6 < np.std(z) < 1.5
    assert np.isnan(width_of(distance[:5], share[:5], blur=0.0).width)


def test_the_raster_moves_sharp_walls_only():
    assert raster_error(0.0) == pytest.approx(1 / np.sqrt(12), rel=0.01)
    assert raster_error(3.0) < 0.01


def movie(shift: float, count: int = 6) -> list[ScanDomains]:
    y, x = handmade.positions(SHAPE)
    scans = []
    for number in range(count):
        share, _ = handmade.line(SHAPE, 20.0, 1.5, (20.0, 18.0 + shift * number))
        none = 0.5 * (1 - np.tanh(np.hypot(y - 14, x - 48) - (7 - 0.4 * number)))[..., None]
        rng = np.random.default_rng(number)
        mapped = handmade.scan_map(np.concatenate([share * (1 - none), none], axis=2), noise=0.7, rng=rng, step_nm=4.0)
        scans.append(domains_of(mapped))
    return scans


def test_walls_are_followed_through_a_series():
    series = series_of(movie(1.3), time=[0.5 * number for number in range(6)])
    assert series.time.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5] and series.unit == "s"
    straight = next(track for track in series.tracks if (track.before, track.after) == ("horizontal", "vertical"))
    true = 1.3 * np.cos(np.deg2rad(20.0)) * np.arange(6)
    assert np.all(np.abs(straight.moved - true) < 4 * straight.moved_sigma + 0.05)
    ring = next(track for track in series.tracks if track.after == "none")
    assert ring.moved == pytest.approx(0.4 * np.arange(6), abs=0.4)
    assert np.all(np.diff(series.fraction[:, 0]) > 0) and np.all(np.diff(series.fraction[:, 2]) < 0)


def test_a_series_at_rest_moves_by_nothing():
    scan = movie(0.0, count=1)[0]
    series = series_of([scan, scan, scan])
    assert series.unit == "scan" and all(np.allclose(track.moved, 0.0) for track in series.tracks)


def test_what_does_not_fit_together_is_refused():
    scans = movie(1.0, count=2)
    with pytest.raises(ScanError, match="at least one"):
        series_of([])
    with pytest.raises(ScanError, match="same classes"):
        series_of([scans[0], replace(scans[1], names=("x", "y", "z"))])
    with pytest.raises(ScanError, match="one time"):
        series_of(scans, time=[0.0])
    with pytest.raises(SettingsError, match="coupling"):
        DomainRules(coupling=-1.0)
