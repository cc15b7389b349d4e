"""Laws of simulated 4D-STEM scans: what is read is what the truth says."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from dipolar.cli.main import main
from dipolar.core.errors import OutputError, ScanError, SettingsError
from dipolar.io.scans import open_scan
from dipolar.recipes.scan_settings_simulate import SimulateScanSettings
from dipolar.recipes.simulate_scan import simulate_scan as simulate_by_name
from dipolar.recipes.simulate_scan import write_simulated_scan
from dipolar.simulate.scan import KINDS, SimulatedScan, simulate_scan
from dipolar.simulate.scan_frames import SimulatedFrames
from dipolar.simulate.scan_series import ScanSeriesSettings, simulate_scan_series, truth_of_series
from dipolar.simulate.scan_settings import SimulatedScanSettings

HORIZONTAL, VERTICAL, POLAR, CUBIC = np.eye(4)
CALM = {
    "dead_share": 0.0,
    "hot_share": 0.0,
    "thickness_variation": 0.0,
    "intensity_variation": 0.0,
    "bend": 0.0,
    "descan_px": 0.0,
    "jitter_px": 0.0,
    "beam_px": (31.5, 31.5),
}
"""Every pattern of one domain alike, around the middle of the detector."""


def small(seed: int = 0, **changes: object) -> SimulatedScan:
    return simulate_scan(SimulatedScanSettings(**{"shape": (12, 15), "pattern_px": (64, 64), **changes}), seed)


def frames_of(made: SimulatedScan) -> SimulatedFrames:
    frames = made.scan.frames
    assert isinstance(frames, SimulatedFrames)
    return frames


@pytest.fixture(scope="module")
def wide() -> SimulatedScan:
    return simulate_scan(SimulatedScanSettings(shape=(60, 90), pattern_px=(32, 32), lattice_px=10.0), 5)


def test_patterns_are_the_same_however_they_are_read():
    frames = small().scan.frames
    at_once = frames.read(0, frames.count)
    for step in (1, 7, 64):
        pieces = [frames.read(start, min(start + step, frames.count)) for start in range(0, frames.count, step)]
        np.testing.assert_array_equal(np.concatenate(pieces), at_once)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(frames)).read(40, 50), at_once[40:50])
    assert frames.read(5, 5).shape == (0, 64, 64)
    assert at_once.dtype == frames.dtype == np.uint16
    with pytest.raises(ScanError, match="has 180 patterns"):
        frames.read(170, 181)


def test_a_seed_is_a_scan():
    one, again, other = small(3), small(3), small(4)
    assert one.scan.key == again.scan.key != other.scan.key
    np.testing.assert_array_equal(one.truth.mixture, again.truth.mixture)
    assert not np.array_equal(one.truth.label, other.truth.label)


def test_scans_of_one_crystal_differ_in_domains_and_not_in_reflections():
    one, other = (frames_of(small(seed, **CALM)) for seed in (0, 1))
    for pure in np.eye(4):
        np.testing.assert_array_equal(one.expected(0, mixture=pure), other.expected(0, mixture=pure))
    another = frames_of(small(crystal=1, **CALM)).expected(0, mixture=CUBIC)
    assert np.abs(another - one.expected(0, mixture=CUBIC)).sum() > 0.1 * another.sum()
    thick = frames_of(small(thickness=1.4, **CALM)).expected(0, mixture=CUBIC)
    assert thick.sum() == pytest.approx(another.sum(), rel=0.01)
    assert thick[:4].sum() > 1.2 * one.expected(0, mixture=CUBIC)[:4].sum()  # more is scattered far


def test_counts_are_those_expected_with_the_noise_of_counting():
    made = small(shape=(30, 40), horizontal_fraction=1.0, none_fraction=0.0, electrons=4000.0, **CALM)
    frames = frames_of(made)
    patterns, mean = frames.read(0, frames.count).astype(np.float64), frames.expected(0)
    assert made.truth.label.max() == 0
    seen = mean > 0.05
    z = (patterns.mean(axis=0) - mean)[seen] / np.sqrt(mean[seen] / frames.count)
    assert abs(z.mean()) < 0.1
    assert z.std() == pytest.approx(1.0, abs=0.06)
    spread = patterns.var(axis=0)[seen] / mean[seen]
    assert spread.mean() == pytest.approx(1.0, abs=0.01)
    totals = patterns.sum(axis=(1, 2))
    assert totals.var() / totals.mean() == pytest.approx(1.0, abs=0.15)
    neighbours = np.mean((patterns[1:] - mean)[:, seen] * (patterns[:-1] - mean)[:, seen], axis=0)
    assert abs(np.sum(neighbours) / np.sum(mean[seen])) < 0.01


@pytest.mark.parametrize("electrons", [0.0, 600.0, 60000.0])
def test_the_mean_counts_are_the_electrons_asked_for(electrons):
    made = small(electrons=electrons, dead_share=0.0, hot_share=0.0)
    counts = made.scan.frames.read(0, made.scan.count).sum(axis=(1, 2), dtype=np.float64)
    assert counts.mean() == pytest.approx(electrons, rel=0.01, abs=3.0)
    np.testing.assert_allclose(counts, made.truth.counts.ravel(), rtol=0.01, atol=6.0 * np.sqrt(electrons))


def test_turning_the_domain_turns_the_pattern():
    frames = frames_of(small(**CALM))
    horizontal, vertical = (frames.expected(0, mixture=pure) for pure in (HORIZONTAL, VERTICAL))
    np.testing.assert_allclose(horizontal.T, vertical, atol=0.02 * vertical.max())
    assert np.abs(horizontal - vertical).sum() > 5 * np.abs(horizontal.T - vertical).sum()
    for pure in (POLAR, CUBIC):
        pattern = frames.expected(0, mixture=pure)
        np.testing.assert_allclose(pattern.T, pattern, atol=0.02 * pattern.max())


def test_ghosts_of_a_horizontal_domain_lie_between_the_disks_of_a_row():
    frames = frames_of(small(lattice_px=12.0, radius_px=2.0, **CALM))
    horizontal, none = frames.expected(0, mixture=HORIZONTAL), frames.expected(0, mixture=CUBIC)
    assert horizontal[31:33, 37:39].sum() > 1.5 * none[31:33, 37:39].sum()  # half a lattice vector right of the beam
    assert horizontal[37:39, 31:33].sum() < 1.01 * none[37:39, 31:33].sum()  # and below it


def test_turning_the_crystal_turns_the_pattern():
    turned = frames_of(small(rotation_deg=90.0, **CALM))
    upright = frames_of(small(rotation_deg=0.0, **CALM))
    for pure in np.eye(4):
        pattern = turned.expected(0, mixture=pure)
        np.testing.assert_allclose(pattern, np.rot90(upright.expected(0, mixture=pure)), atol=0.02 * pattern.max())


def test_stretch_and_lattice_are_where_the_truth_says():
    oblique = ((-1.5, 13.0), (11.0, 4.0))
    made = small(lattice_px=oblique, ellipticity=0.1, radius_px=1.5, **CALM)
    np.testing.assert_allclose(made.truth.lattice_px, np.array(oblique) * [0.95, 1.05])
    pattern = frames_of(made).expected(0, mixture=CUBIC)
    for steps in ((1, 0), (0, 1), (-1, 1), (1, -1)):
        y, x = np.array([31.5, 31.5]) + np.array(steps) @ made.truth.lattice_px
        half = np.array([31.5, 31.5]) + np.array(steps) @ made.truth.lattice_px / 2.0
        assert pattern[round(y), round(x)] > 2.0 * pattern[round(half[0]), round(half[1])]


def test_without_ghosts_domains_cannot_be_told():
    frames = frames_of(small(ghost_strength=0.0))
    for number in (0, 77):
        plain = frames.expected(number, mixture=CUBIC)
        np.testing.assert_allclose(frames.expected(number, mixture=HORIZONTAL), plain, rtol=1e-9)
        np.testing.assert_allclose(frames.expected(number, mixture=VERTICAL), plain, rtol=1e-9)


def test_walls_superpose_the_patterns_of_their_sides():
    frames = frames_of(small())
    mixture = np.array([0.2, 0.4, 0.1, 0.3])
    parts = [share * frames.expected(11, mixture=pure) for share, pure in zip(mixture, np.eye(4), strict=True)]
    np.testing.assert_allclose(frames.expected(11, mixture=mixture), sum(parts), rtol=1e-9)


def test_descan_moves_everything_with_the_centre():
    made = small(shape=(4, 5), descan_px=6.0, jitter_px=0.0, dead_share=0.0, hot_share=0.0)
    frames, centre = frames_of(made), made.truth.centre_px
    np.testing.assert_allclose(centre[-1, -1] - centre[0, 0], 6.0)
    np.testing.assert_allclose(centre.mean(axis=(0, 1)), frames.settings.middle_px)
    moved = replace(frames, centre_px=frames.centre_px + np.array([3.0, -2.0]))
    inner = (slice(8, -8),) * 2
    np.testing.assert_allclose(
        np.roll(frames.expected(3), (3, -2), axis=(0, 1))[inner], moved.expected(3)[inner], rtol=1e-6, atol=1e-9
    )
    drawn = np.roll(frames.read(3, 4)[0], (3, -2), axis=(0, 1))[inner]
    np.testing.assert_array_equal(drawn, moved.read(3, 4)[0][inner])


def test_jitter_is_as_wide_as_asked_for():
    centre = small(shape=(40, 40), descan_px=0.0, jitter_px=0.5).truth.centre_px
    assert (centre.reshape(-1, 2).std(axis=0)) == pytest.approx([0.5, 0.5], rel=0.08)


def test_dead_hot_and_hidden_pixels():
    made = small(dead_share=0.01, hot_share=0.01, beam_stop=True)
    patterns, defects = made.scan.frames.read(0, made.scan.count), frames_of(made).defects
    assert defects.dead.sum() == len(defects.hot) == 41
    assert not patterns[:, defects.dead].any()
    hot = patterns[:, defects.hot[:, 0], defects.hot[:, 1]]
    np.testing.assert_allclose(hot.mean(axis=0), defects.hot_counts, rtol=0.12)
    hidden = defects.stop.copy()
    hidden[defects.hot[:, 0], defects.hot[:, 1]] = False
    assert hidden.sum() > 20
    assert not patterns[:, hidden].any()
    centre = np.rint(made.truth.centre_px).astype(int)
    assert defects.stop[centre[..., 0], centre[..., 1]].all()
    np.testing.assert_array_equal(made.truth.defective, defects.all)


def test_a_detector_that_does_not_count_has_gain_offset_and_noise():
    plain = frames_of(small())
    read_out = frames_of(small(gain=5.0, detector_offset=100.0, readout=3.0))
    counts, units = plain.read(0, 40).astype(np.float64), read_out.read(0, 40).astype(np.float64)
    alive = ~plain.defects.dead
    noise = (units - 5.0 * counts - 100.0)[:, alive]
    assert noise.mean() == pytest.approx(0.0, abs=0.05)
    assert noise.std() == pytest.approx(np.hypot(3.0, np.sqrt(1 / 12)), rel=0.02)
    np.testing.assert_allclose(read_out.expected(0)[alive], 5.0 * plain.expected(0)[alive] + 100.0)


def test_what_does_not_fit_is_the_greatest_value():
    frames = small(electrons=1e5, dtype="uint8").scan.frames
    assert frames.read(0, 1).max() == 255


def test_mixtures_sum_to_one_and_labels_have_their_shares(wide):
    truth = wide.truth
    np.testing.assert_allclose(truth.mixture.sum(axis=2), 1.0)
    assert truth.mixture.min() >= 0.0
    np.testing.assert_array_equal(truth.label, truth.mixture.argmax(axis=2))
    np.testing.assert_allclose(truth.fractions, [0.41, 0.41, 0.18], atol=0.006)


@pytest.mark.parametrize(
    "shares", [(0.3, 0.0), (0.0, 0.5), (1.0, 0.0), (0.0, 1.0), (0.1, 0.6)], ids=lambda pair: f"{pair[0]}-{pair[1]}"
)
def test_any_shares_can_be_asked_for(shares):
    horizontal, none = shares
    made = simulate_scan(
        SimulatedScanSettings(
            shape=(40, 40), pattern_px=(32, 32), horizontal_fraction=horizontal, none_fraction=none, domain_steps=8.0
        ),
        1,
    )
    np.testing.assert_allclose(made.truth.fractions, [horizontal, 1.0 - horizontal - none, none], atol=0.015)
    assert np.isfinite(made.truth.wall_distance).all() or max(made.truth.fractions) == 1.0


def test_none_is_split_into_its_kinds(wide):
    truth = wide.truth
    none = truth.label == 2
    assert ((truth.none_kind > 0) == none).all()
    seen = {KINDS[kind] for kind in np.unique(truth.none_kind[none])}
    assert seen == {"polar along the beam", "cubic", "wall overlap"}
    assert (truth.mixture[truth.none_kind == 3][:, 2] < 0.9).all()
    assert truth.wall_distance[truth.none_kind == 3].max() < 1.5
    cubic = small(seed=2, none_fraction=1.0, cubic_share=1.0).truth
    assert (cubic.none_kind == 2).all()


def test_overlap_of_both_domains_can_be_labelled_none(wide):
    both = wide.truth.mixture[..., :2].min(axis=2) >= 0.3
    settings = replace(frames_of(wide).settings, overlap=0.3)
    truth = simulate_scan(settings, 5).truth
    np.testing.assert_array_equal(truth.label == 2, (wide.truth.label == 2) | both)
    assert (truth.none_kind[both] == 3).all()


def test_walls_are_where_shares_are_equal_with_their_classes_left_and_right(wide):
    truth = wide.truth
    checked = 0
    for wall in truth.walls:
        before, after = truth.names.index(wall.before), truth.names.index(wall.after)
        inside = wall.points[:: max(1, len(wall.points) // 12)]
        along = np.gradient(wall.points, axis=0)[:: max(1, len(wall.points) // 12)]
        for (y, x), (dy, dx) in zip(inside, along, strict=True):
            left = np.array([-dx, dy]) / max(np.hypot(dy, dx), 1e-12)  # y up, as on the screen
            sides = [np.rint(np.array([y, x]) + 2.0 * way * left).astype(int) for way in (1, -1)]
            if all(((side >= 0) & (side < truth.label.shape)).all() for side in sides):
                shares = [truth.mixture[tuple(side)] for side in sides]
                if shares[0][before] + shares[1][after] > 1.0:
                    checked += 1
                assert shares[0][after] + shares[1][before] < 1.2
    assert checked > 60


def test_shares_follow_the_profile_of_the_wall(wide):
    truth = wide.truth
    pair = truth.mixture[..., 2] < 1e-3  # far from none, only one kind of wall is near
    share = truth.mixture[..., 0] / truth.mixture[..., :2].sum(axis=2)
    signed = np.where(share > 0.5, truth.wall_distance, -truth.wall_distance)
    near = pair & (np.abs(signed) < 3.0)
    assert near.sum() > 300
    np.testing.assert_allclose(share[near], 0.5 * (1.0 + np.tanh(2.0 * signed[near] / 1.5)), atol=0.02)


def test_sharp_walls_do_not_mix():
    truth = small(wall_width=0.0).truth
    assert set(np.unique(truth.mixture)) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"shape": (1, 5)}, "shape"),
        ({"electrons": -1.0}, "electrons"),
        ({"none_fraction": 0.7, "horizontal_fraction": 0.5}, "none_fraction"),
        ({"lattice_px": ((0.0, 9.0), (0.0, 10.0))}, "not along each other"),
        ({"radius_px": 40.0}, "radius_px"),
        ({"direct_share": 0.7, "diffuse_share": 0.4}, "diffuse_share"),
        ({"overlap": 0.6}, "overlap"),
        ({"dtype": "float32"}, "uint16"),
        ({"electrons": float("nan")}, "electrons = nan"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong, words):
    with pytest.raises(SettingsError, match=words):
        SimulatedScanSettings(**{"pattern_px": (64, 64), **wrong})


def test_a_series_begins_with_the_scan_of_its_seed_and_walls_move():
    scan = SimulatedScanSettings(shape=(40, 50), pattern_px=(32, 32))
    series = simulate_scan_series(ScanSeriesSettings(scan=scan, scans=4, growth=0.24), 2)
    truth, alone = truth_of_series(series), simulate_scan(scan, 2)
    assert series[0].scan.key == alone.scan.key
    assert len({one.scan.key for one in series}) == 4
    np.testing.assert_allclose(truth.fractions[:, 0], 0.41 + 0.08 * np.arange(4), atol=0.05)
    assert truth.wall_shift[0] == pytest.approx(0.0, abs=0.03)
    assert (np.diff(truth.wall_shift) > 0.2).all()


def test_a_series_that_only_drifts_shows_the_same_specimen_elsewhere():
    scan = SimulatedScanSettings(shape=(40, 50), pattern_px=(32, 32))
    settings = ScanSeriesSettings(scan=scan, scans=2, drift_steps=(3.0, -4.0), drift_jitter=0.0, growth=0.0)
    first, last = simulate_scan_series(settings, 2)
    np.testing.assert_array_equal(last.truth.label[:-3, 4:], first.truth.label[3:, :-4])
    np.testing.assert_allclose(last.truth.mixture[:-3, 4:], first.truth.mixture[3:, :-4], atol=0.02)
    assert abs(truth_of_series(simulate_scan_series(settings, 2)).wall_shift[1]) < 0.05
    with pytest.raises(SettingsError, match="growth"):
        replace(settings, growth=0.6)


@pytest.mark.parametrize(
    "options", [["--format", "npy"], ["--format", "zarr"], ["--compression", "bitshuffle"], []], ids=str
)
def test_the_command_writes_what_was_simulated(tmp_path, capsys, options):
    out = tmp_path / "scan"
    command = ["simulate", "scan", "--out", str(out), "--scan-shape", "6,9", "--pattern-px", "48,64", "--seed", "7"]
    assert main([*command, "--json", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    made = simulate_by_name(scan_shape="6,9", pattern_px="48,64", seed=7)
    scan = open_scan(told["scans"][0])
    assert (scan.shape, scan.frames.shape_px, scan.key) == ((6, 9), (48, 64), made.scan.key)
    assert (scan.step_nm, scan.pixel_mrad) == pytest.approx((made.scan.step_nm, made.scan.pixel_mrad))
    np.testing.assert_array_equal(scan.frames.read(0, 54), made.scan.frames.read(0, 54))
    header, *rows = (out / "truth_domains.csv").read_text(encoding="utf-8").splitlines()
    assert header.startswith("scan_y,scan_x,label,kind,p_horizontal,p_vertical,p_none,wall_distance,centre_y,centre_x")
    cells = [row.split(",") for row in rows]
    assert [cell[2] for cell in cells] == [made.truth.names[label] for label in made.truth.label.ravel()]
    np.testing.assert_allclose(
        [[float(cell[n]) for n in (8, 9)] for cell in cells], made.truth.centre_px.reshape(-1, 2)
    )
    assert main(["verify", str(out)]) == 0
    assert main([*command, *options]) == 0  # replaces its own


def test_a_series_is_written_scan_by_scan(tmp_path):
    settings = SimulateScanSettings(scan_shape="8,9", pattern_px="32", series=3)
    written = write_simulated_scan(tmp_path / "series", settings=settings)
    assert [path.name for path in written.scans] == ["scan_000.h5", "scan_001.h5", "scan_002.h5"]
    lines = (tmp_path / "series" / "truth_series.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert len({open_scan(path).key for path in written.scans}) == 3
    with pytest.raises(OutputError, match="a simulated series of scans"):
        write_simulated_scan(tmp_path / "series", settings=SimulateScanSettings(scan_shape="8,9", pattern_px="32"))


def test_stopping_leaves_nothing_half_written(tmp_path):
    def stop(step: str, fraction: float) -> None:
        if fraction > 0.3:
            raise KeyboardInterrupt

    settings = SimulateScanSettings(scan_shape="40,40", pattern_px="128")
    with pytest.raises(KeyboardInterrupt):
        write_simulated_scan(tmp_path / "scan", settings=settings, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_what_contradicts_itself_is_refused_before_anything_is_written(tmp_path):
    settings = SimulateScanSettings(format="npy", compression="bitshuffle")
    with pytest.raises(SettingsError, match="only HDF5 and Zarr are compressed"):
        write_simulated_scan(tmp_path / "scan", settings=settings)
    with pytest.raises(SettingsError, match="lattice_px"):
        simulate_by_name(lattice_px="0,9,0,18")
    with pytest.raises(SettingsError, match="a lattice is written"):
        simulate_by_name(lattice_px="9,9")
    assert list(tmp_path.iterdir()) == []
