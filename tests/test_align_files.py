"""Frames from files to the aligned image on disk: what is written, and what is said when it cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

import realdata
from dipolar.cli.main import main
from dipolar.core.errors import DataError, OutputError
from dipolar.core.nouns import Image
from dipolar.io import open_frames, open_image
from dipolar.recipes.align import align_images
from dipolar.recipes.align_result import check_target
from dipolar.recipes.simulate import write_image
from dipolar.report.alignment import alignment_figure
from dipolar.simulate import SeriesSettings, benchmark_film, simulate_series


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three frames as files, and the same in one stack."""
    out = tmp_path_factory.mktemp("frames")
    film = benchmark_film(size_px=160, dose=3.0)
    made = simulate_series(
        SeriesSettings(film=film, scan_angles_deg=(0.0,) * 3, reach_px=8.0), rng=np.random.default_rng(0)
    )
    for number, frame in enumerate(made.frames):
        write_image(frame, out / f"{number}.tif")
    np.save(out / "stack.npy", np.stack([frame.data for frame in made.frames]))
    return out


@pytest.fixture(scope="module")
def written(folder):
    """The aligned image of the three files, written by the command line."""
    files = [str(folder / f"{number}.tif") for number in range(3)]
    assert main(["image", "align", *files, "--no-rows", "--out", str(folder / "out" / "film.tif")]) == 0
    return folder / "out" / "film.tif"


def test_everything_is_written_and_nothing_else(written):
    assert sorted(path.name for path in written.parent.iterdir()) == [
        *("film.coverage.tif", "film.json", "film.png", "film.sigma.tif", "film.tif")
    ]
    image = open_image(written)
    assert image.pixel_size_pm == pytest.approx(396.0 / (396.0 / 17.25), rel=1e-4)
    sigma, coverage = (tifffile.imread(written.with_name(f"film.{name}.tif")) for name in ("sigma", "coverage"))
    assert image.data.shape == sigma.shape == coverage.shape
    record = json.loads(written.with_suffix(".json").read_text(encoding="utf-8"))
    assert [frame["name"] for frame in record["frames"]] == ["0.tif", "1.tif", "2.tif"]
    assert len(record["frames"][0]["row_offset_px"]) == 160
    assert len(record["inputs"]["0.tif"]) == 64 and record["dropped"] == {}


def test_an_own_result_is_replaced_and_nothing_else(written, tmp_path):
    assert check_target(written, []) == written
    other = tmp_path / "mine.tif"
    other.write_bytes(b"my own")
    with pytest.raises(OutputError, match="already, and not made by dipolar"):
        check_target(other, [])
    assert other.read_bytes() == b"my own"
    with pytest.raises(OutputError, match="32-bit TIFF"):
        check_target(tmp_path / "film.png", [])


def test_only_the_files_that_are_foreign_are_named(written, tmp_path):
    for part in written.parent.iterdir():
        (tmp_path / part.name).write_bytes(part.read_bytes())
    assert check_target(tmp_path / "film.tif", []) == tmp_path / "film.tif"
    (tmp_path / "film.sigma.tif").write_bytes(b"my own")
    with pytest.raises(OutputError, match="changed since") as caught:
        check_target(tmp_path / "film.tif", [])
    assert "film.sigma.tif" in caught.value.got and "film.png" not in caught.value.got


def test_the_terminal_and_the_record_say_the_same_notes(folder, tmp_path, capsys):
    files = [str(folder / f"{number}.tif") for number in (0, 1)]
    assert main(["image", "align", *files, files[0], "--no-rows", "--out", str(tmp_path / "film.tif")]) == 0
    said = capsys.readouterr()
    notes = json.loads((tmp_path / "film.json").read_text(encoding="utf-8"))["notes"]
    assert [line.removeprefix("note: ") for line in said.err.splitlines()] == notes
    assert "holds the same pixels as 0.tif" in notes[0] and "same direction" in notes[1]
    assert "rows moved within their frames by up to" in said.out


def test_the_picture_has_a_scale_for_sigma_and_tells_jitter_from_drift(folder):
    result, _ = align_images([folder / f"{number}.tif" for number in range(3)])
    drawn = alignment_figure(result)
    labels = [axes.get_ylabel() for axes in drawn.axes]
    assert "in units of the image" in labels
    legend = next(axes.get_legend() for axes in drawn.axes if axes.get_legend())
    jitter = result.row_jitter_px
    assert [text.get_text() for text in legend.get_texts()] == [
        f"dy, of it jitter {jitter[0]:.2f} px",
        f"dx, of it jitter {jitter[1]:.2f} px",
    ]


def test_a_stack_is_as_good_as_its_frames(folder):
    stack = open_frames([folder / "stack.npy"])
    files = open_frames([folder / f"{number}.tif" for number in range(3)])
    assert len(stack) == len(files) == 3
    for one, other in zip(stack, files, strict=True):
        np.testing.assert_array_equal(one.data, other.data)


def image(shape=(64, 64), *, seed: int = 0, pixel_size_pm: float | None = 10.0, name: str = "") -> Image:
    data = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return Image(data=data, pixel_size_pm=pixel_size_pm, name=name)


@pytest.mark.parametrize(
    ("frames", "angles", "words"),
    [
        ([image()], None, "at least two frames"),
        ([image(name="a"), image((64, 60), name="b")], None, r"64 × 64: a; 64 × 60: b"),
        ([image(name="a"), image(pixel_size_pm=11.0, name="b")], None, r"10 pm: a; 11 pm: b"),
        ([image(), image(seed=1)], "0", "one finite angle"),
        ([image(name="a"), image(seed=1, name="b")], None, "same place"),
    ],
)
def test_frames_that_cannot_be_aligned_are_refused_with_one_message(frames, angles, words):
    with pytest.raises(DataError, match=words):
        align_images(frames, scan_angles=angles)


def test_the_command_line_says_what_is_wrong(folder, capsys):
    assert main(["image", "align", str(folder / "0.tif"), "--out", str(folder / "no.tif")]) == 1
    assert "at least two frames" in capsys.readouterr().err
    assert not (folder / "no.tif").exists()
    assert main(["image", "align", str(folder / "0.tif"), "--scan-angles", "right"]) == 2
    assert "--scan-angles" in capsys.readouterr().err


@pytest.mark.realdata
def test_a_real_movie_moves_as_seen_by_eye():
    result, _ = align_images([realdata.path("sto_abf_movie/stem_abf_data_imagestack.hspy")], rows=False)
    shifts = np.array([frame.shift_px for frame in result.frames])
    np.testing.assert_allclose(shifts, [[0, 0], [0, -3], [3, -6], [6, -7], [3, -9]], atol=2.0)
    assert not result.dropped
