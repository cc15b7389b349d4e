"""Pictures of patterns: what is drawn is what is in the file, where it says, at the scale it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from dipolar.cli.main import BAD_DATA, DONE, main
from dipolar.core.errors import OutputError
from dipolar.io.scan_writer import write_scan
from dipolar.io.scans import open_scan
from dipolar.locate.beam import look_at
from dipolar.recipes.scan_pictures import write_pictures
from dipolar.report.scan_pictures import binned, contact_sheet, mean_picture, norm_for, pattern_picture, place_name
from dipolar.simulate.scan import simulate_scan
from dipolar.simulate.scan_settings import SimulatedScanSettings

SHAPE = (12, 16)
SIMULATED = simulate_scan(SimulatedScanSettings(shape=SHAPE, pattern_px=(96, 96), domain_steps=6.0), seed=3)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "film.h5"
    frames = SIMULATED.scan.frames
    blocks = (frames.read(start, start + 48) for start in range(0, SHAPE[0] * SHAPE[1], 48))
    write_scan(path, shape=SHAPE, pattern_px=frames.shape_px, dtype=frames.dtype, blocks=blocks)
    return path


def test_bins_keep_the_mean_and_small_patterns_as_they_are():
    rng = np.random.default_rng(0)
    small = rng.poisson(3.0, (2, 96, 128)).astype(np.uint16)
    np.testing.assert_array_equal(binned(small), small)
    large = rng.poisson(3.0, (2, 512, 1024)).astype(np.uint16)
    assert binned(large).shape == (2, 128, 256)
    np.testing.assert_allclose(binned(large).mean(axis=(1, 2)), large.mean(axis=(1, 2)))
    assert binned(large)[1, 5, 7] == large[1, 20:24, 28:32].mean()
    assert binned(np.ones((1, 515, 3))).shape == (1, 171, 1)


def test_hot_and_dead_pixels_have_no_say_in_the_shades():
    pattern = np.random.default_rng(0).gamma(2.0, 5.0, (64, 64))
    plain = norm_for(pattern)
    pattern[0, :3], pattern[1, :3] = 1e6, 0.0
    assert norm_for(pattern).vmax == pytest.approx(plain.vmax, rel=0.3)
    assert norm_for(pattern).vmin == pytest.approx(plain.vmin, rel=0.05)
    for empty in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.ones((4, 4))):
        assert norm_for(empty).vmin < norm_for(empty).vmax


def test_names_of_pictures_sort_as_the_scan_runs():
    names = [place_name((y, x), (34, 206)) for y in (0, 9, 10, 33) for x in (0, 9, 99, 205)]
    assert names == sorted(names) and names[1] == "y00_x009" and names[-1] == "y33_x205"


def test_a_bright_pixel_is_drawn_where_it_is():
    pattern = np.ones((40, 60))
    pattern[30, 10] = 100.0
    axes = pattern_picture(pattern, (3, 4), norm=norm_for(np.geomspace(1.0, 100.0, 9)), name="film").axes[0]
    drawn = axes.images[0].get_array()
    assert np.unravel_index(np.argmax(drawn), drawn.shape) == (30, 10) and axes.get_ylim() == (39.5, -0.5)


def test_every_pattern_is_on_the_sheet_under_its_position():
    patterns = np.arange(1.0, 8.0)[:, None, None] * np.ones((7, 8, 8))
    positions = np.stack([np.arange(7), np.arange(7) ** 2], axis=1).astype(np.int32)
    drawn = contact_sheet(patterns, positions, norm=norm_for(patterns), name="film")
    assert [float(axes.images[0].get_array().max()) for axes in drawn.axes] == list(range(1, 8))
    said = [text.get_text() for text in drawn.texts]
    assert all(f"{place + 1}:  y {y}, x {x}" in said for place, (y, x) in enumerate(positions.tolist()))
    many = contact_sheet(np.ones((205, 8, 8)), np.zeros((205, 2), dtype=np.int32), norm=norm_for(patterns), name="film")
    assert len(many.axes) == 200 and any("and 5 more" in text.get_text() for text in many.texts)


def test_ghosts_that_are_read_off_the_mean_pattern_are_taken(stored):
    scan = open_scan(stored)
    view = look_at(scan, patterns=64)
    drawn = mean_picture(view, name=scan.name)
    axes = drawn.axes[0]
    # a pixel is drawn at its number, and the brightest disk is where the view has the beam
    assert tuple(axes.images[0].get_extent()) == (-0.5, 95.5, 95.5, -0.5)
    shades = np.ma.filled(axes.images[0].get_array(), 0.0)
    near = np.hypot(*(np.indices((96, 96)) - np.array(view.centre_px)[:, None, None])) <= 0.7 * view.radius_px
    assert shades[near].mean() > 0.9 * shades.max()
    (words,) = [text.get_text().replace("\n", " ") for text in drawn.texts if "--clicks" in text.get_text()]
    clicks = words.split('--clicks "')[1].split('"')[0]
    from dipolar.measure.bank import bank_for
    from dipolar.measure.bank_rules import Clicked
    from dipolar.recipes.scan_settings import parse_clicks

    bank = bank_for(view, Clicked(parse_clicks(clicks)))
    assert {tuple(site) for site in bank.sites[~bank.main].tolist()} == {(1, 0), (-1, 0), (0, 1), (0, -1)}


def test_suggestions_come_with_pictures(stored, tmp_path, capsys):
    session = [str(stored), "--labels", str(tmp_path / "film.db"), "-n", "5", "--strategy", "random"]
    assert main(["scan", "suggest", *session, "--pictures", str(tmp_path / "look")]) == DONE
    told = capsys.readouterr()
    places = [tuple(map(int, line.split(","))) for line in told.out.splitlines()[1:]]
    names = {f"y{y:02d}_x{x:02d}.png" for y, x in places} | {"sheet.png"}
    assert {path.name for path in (tmp_path / "look").iterdir()} == names and len(places) == 5
    assert "sheet.png" in told.err
    assert imread(tmp_path / "look" / f"y{places[0][0]:02d}_x{places[0][1]:02d}.png").shape[1] > 800
    assert main(["scan", "suggest", *session, "--pictures", str(tmp_path / "look"), "--json"]) == DONE
    assert len(json.loads(capsys.readouterr().out)["pictures"]) == 6


def test_pictures_that_cannot_be_written_are_one_message(stored, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="--pictures"):
        write_pictures(open_scan(stored), np.array([[1, 2]], dtype=np.int32), tmp_path / "file")
    assert write_pictures(open_scan(stored), np.zeros((0, 2), dtype=np.int32), tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_the_mean_pattern_is_drawn_on_demand(stored, tmp_path, capsys):
    out = tmp_path / "mean.png"
    assert main(["scan", "info", str(stored), "--picture", str(out), "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["picture"] == str(out.resolve())
    assert min(imread(out).shape[:2]) > 1900
    assert main(["scan", "info", str(stored), "--picture", str(tmp_path / "mean.bmp")]) == BAD_DATA
    assert "mean.png" in capsys.readouterr().err
