"""Figures, report, tables and result file of mapped scans."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from matplotlib.figure import Figure

import scan_maps_handmade as handmade
from dipolar.core.errors import ChecksumError, FormatError, SettingsError
from dipolar.core.flags import Flag
from dipolar.core.flags import names as flag_words
from dipolar.core.nouns import same
from dipolar.core.scanning import ScanResult
from dipolar.io import load, load_measurement, save, verify
from dipolar.io import scan_tables as tables
from dipolar.maps.scan_domains import domains_of
from dipolar.maps.scan_series import series_of
from dipolar.report import style
from dipolar.report.scan_colours import class_codes, class_rgb, label_colours, mixture_colours
from dipolar.report.scan_confidence import confidence_figure, merged
from dipolar.report.scan_map import doubt_norm, scan_figure
from dipolar.report.scan_page import SCAN_FIGURES, render_scan_figures, scan_caption, scan_report_html
from dipolar.report.scan_parts import flags_everywhere, flags_shown, layout_of
from dipolar.report.scan_patterns import mean_patterns_figure
from dipolar.report.scan_series import series_figure
from dipolar.report.scan_table import scan_rows_of
from dipolar.report.scan_walls import scan_walls_figure


def words(drawn: Figure) -> str:
    texts = [text.get_text() for text in drawn.findobj(lambda one: hasattr(one, "get_text"))]
    return "\n".join(texts)


def empty(shape: tuple[int, int] = (12, 15)) -> ScanResult:
    """Return a scan of which no pattern could be read."""
    whole = handmade.result(shape, flagged=False, labels=0)
    blank = np.full_like(whole.map.probability, np.nan)
    flags = np.full(shape, int(Flag.BLANK), dtype=np.uint32)
    mapped = replace(whole.map, probability=blank, mixture=None, flags=flags)
    return replace(whole, map=mapped, domains=domains_of(mapped), means=None, validation=None, labels=None)


@pytest.mark.parametrize("shape", [(24, 30), (60, 14), (14, 60)])
def test_every_figure_is_drawn_for_every_shape(shape):
    result = handmade.result(shape, step_nm=None)
    drawn = scan_figure(result)
    said = words(drawn)
    for part in (
        "scan.mib",
        "classes and walls",
        "Friedel difference",
        "horizontal",
        "unlike every class",
        "probe step",
    ):
        assert part in said
    assert "width 2ξ (probe steps)" in words(scan_walls_figure(result))
    for axes in drawn.axes:  # nothing stands outside the page
        box = axes.get_position()
        assert box.x0 >= 0 and box.x1 <= 1 and box.y0 >= 0 and box.y1 <= 1


def test_panels_do_not_overlap():
    for shape in ((64, 64), (206, 34), (34, 206), (40, 100), (100, 40)):
        for virtual in (0, 1, 4, 7):
            layout = layout_of(shape, 3, virtual, top=8.0, key_lines=8)
            corners = np.array([*layout.first, *layout.second])
            apart = np.abs(corners[:, None] - corners[None])
            free = (apart[..., 0] >= layout.width) | (apart[..., 1] >= layout.height)
            assert np.all(free | np.eye(len(corners), dtype=bool))
            assert corners[:, 1].max() + layout.height <= layout.tall
            assert corners[:, 0].max() + layout.width <= 183.0


def test_lengths_are_in_nm_where_the_step_is_known():
    result = handmade.result()
    assert "width 2ξ (nm)" in words(scan_walls_figure(result))
    assert any("nm²" in row.value for row in scan_rows_of(result))
    assert not any("nm" in row.value for row in scan_rows_of(handmade.result(step_nm=None)) if row.section == "Walls")


def test_a_scan_without_anything_still_has_a_report():
    result = empty()
    assert "could be classified" in words(scan_figure(result)) and "no walls" in words(scan_walls_figure(result))
    assert mean_patterns_figure(result) is None
    said = scan_report_html(result)
    assert "100 % of the positions" in said and "not measured" in said


def test_few_labels_are_few_points_of_the_curve_of_reliability():
    found = handmade.result((20, 24)).validation
    few = replace(
        found, confidence=np.array([0.4, 0.6, 0.7, 0.9, 0.99]), correct=np.array([0.0, 0.5, 1.0, 1.0, 1.0]),
        count=np.array([1, 2, 8, 0, 39]),
    )  # fmt: skip
    told, right, count = merged(few)
    assert count.tolist() == [11, 39] and np.allclose(right, [9 / 11, 1.0]) and told[0] == pytest.approx(7.2 / 11)
    for least in (2, 6, 50):  # none is lost, and what is right in all stays right in all
        told, right, count = merged(replace(few, count=np.array([0, 3, 1, 2, least])))
        assert count.sum() == 6 + least and (count * right).sum() == pytest.approx(1.5 + 3 + least)
        assert len(count) == 1 or count.min() >= 10
    assert "11" in words(confidence_figure(replace(handmade.result((20, 24)), validation=few)))


def test_the_colours_of_probability_tell_ninety_from_ninety_nine_percent():
    norm = doubt_norm(3)
    at = norm(np.array([1 / 3, 0.5, 0.9, 0.99, 0.999, 1.0])).tolist()
    assert at[0] == 0 and at[-2:] == [1.0, 1.0] and at[3] - at[2] == pytest.approx(at[4] - at[3], rel=1e-6)
    assert at[3] - at[2] > 0.3
    assert np.allclose(norm.inverse(norm(np.linspace(0.4, 0.99, 7))), np.linspace(0.4, 0.99, 7))


def test_ghosts_are_not_hidden_on_the_right_half():
    result = handmade.result((20, 24))
    drawn = mean_patterns_figure(result)
    middle = result.view.centre_px[1] * result.means.shape[2] / result.view.mean.shape[1]
    rings = list(drawn.axes[0].collections)
    assert len(rings) == 2 and all(len(one.get_offsets()) for one in rings)
    assert all(np.max(one.get_offsets()[:, 0]) < middle for one in rings)


def test_the_line_that_repeats_a_map_holds_what_had_a_say():
    settings = {
        "scan_shape": "34,206", "patterns": 256, "ghosts": "parity", "clicks": None, "parent": None,
        "parent_axis": "0,0,1", "child_axis": "0,0,1", "libertem": False, "follow": False, "patience_s": 60.0,
        "virtual": True,
    }  # fmt: skip
    result = handmade.result((20, 24))
    inputs = {"a b/film.mib": "key 1", "models/film.safetensors": "2", "film.db": "3"}

    def command(inputs, **changed) -> str:
        record = replace(result.record, settings=settings | changed, inputs=inputs)
        said = scan_report_html(replace(result, record=record), rendered={})
        return unescape(re.search(r"dipolar scan map [^\n<]*", said)[0])

    assert command(inputs) == (
        "dipolar scan map 'a b/film.mib' --model models/film.safetensors --labels film.db "
        "--scan-shape 34,206 --patterns 256 --virtual"
    )
    said = command({"film.mib": "key 1"}, follow=True)
    assert "--ghosts parity" in said and "--follow --patience-s 60" in said and "axis" not in said
    said = command({"film.mib": "key 1"}, ghosts="cif", parent="p.cif", child="c.cif", libertem=True)
    for part in ("--ghosts cif", "--parent p.cif", "--child c.cif", "--child-axis 0,0,1", "--libertem"):
        assert part in said


def test_one_class_and_many_classes_are_drawn():
    one = np.ones((20, 24, 1))
    mapped = handmade.scan_map(one, ("only",))
    result = replace(handmade.result((20, 24)), map=mapped, domains=domains_of(mapped), means=None, labels=None)
    assert "only" in words(scan_figure(result)) and "only" in words(confidence_figure(result))
    names = tuple(f"class {place}" for place in range(12))
    share = np.random.default_rng(1).dirichlet(np.full(12, 0.05), (20, 24))
    mapped = handmade.scan_map(share, names)
    result = replace(result, map=mapped, domains=domains_of(mapped), means=handmade.patterns(32, 12), labels=None)
    assert "class 11" in words(scan_figure(result))
    assert mean_patterns_figure(result) is not None


def test_colours_of_classes_and_of_their_mixtures():
    names = ("horizontal", "vertical", "none")
    assert len(set(class_codes(tuple(map(str, range(20)))))) == 20
    assert class_codes(("none", "a")) == class_codes(("a", "none"))[::-1]
    pure = mixture_colours(np.eye(3), names)
    assert np.allclose(pure, class_rgb(names), atol=1e-6)
    half = mixture_colours(np.array([[0.5, 0.5, 0.0]]), names)[0]
    assert np.all(np.abs(half - class_rgb(names)[:2].mean(axis=0)) < 0.25) and not np.allclose(half, pure[0], atol=0.1)
    assert np.allclose(mixture_colours(np.full((1, 3), np.nan), names), 1.0)
    assert np.allclose(label_colours(np.array([[-1, 0]]), names)[0, 0], 1.0)


def test_a_flag_of_most_positions_is_said_instead_of_drawn():
    result = handmade.result((20, 24), flagged=False)
    flags = np.full((20, 24), int(Flag.OTHER_DOSE), dtype=np.uint32)
    flags[0, 0] = int(Flag.NO_BEAM)
    everywhere = replace(result, map=replace(result.map, flags=flags))
    assert [flag for flag, _, _ in flags_shown(everywhere.map)] == [Flag.NO_BEAM]
    (sentence,) = flags_everywhere(everywhere.map)
    assert sentence in words(scan_figure(everywhere))
    assert 'class="notices wrong"' in scan_report_html(everywhere)


def test_the_report_is_one_file_that_loads_nothing_and_escapes_what_users_wrote():
    result = handmade.result((20, 24))
    evil = "<script>alert(1)</script>"
    mapped = replace(result.map, name=evil, names=("horizontal", evil, "none"))
    said = scan_report_html(replace(result, map=mapped, domains=replace(result.domains, names=mapped.names)))
    assert evil not in said and "&lt;script&gt;" in said
    assert not re.search(r"(src|href)=\"(?!data:|#|https://)", said)
    assert said.count("data:image/png;base64,") == len(SCAN_FIGURES)
    assert "dipolar scan map scan.mib" in said and "dipolar.map_scan(" in said
    for name in SCAN_FIGURES:
        assert "{" not in scan_caption(result, name)


def test_formats_are_checked_and_figures_come_out_the_same():
    result = handmade.result((20, 24))
    with pytest.raises(SettingsError, match="png, svg, pdf"):
        render_scan_figures(result, formats=("gif",))
    one, two = (style.encode(scan_figure(result), "svg") for _ in range(2))
    assert one == two and one.startswith(b"<?xml")


def test_a_series_is_drawn():
    scans = [handmade.result((20, 24), seed=seed).domains for seed in range(3)]
    said = words(series_figure(series_of(scans, time=[0.0, 1.0, 2.0]), name="movie"))
    assert "movie" in said and "time (s)" in said and "horizontal" in said
    assert "no wall was seen twice" in words(series_figure(series_of(scans[:1])))


def test_tables_there_and_back(tmp_path):
    result = handmade.result((20, 24), names=('a, "b"', "p_x", "none"))
    tables.write_scan_tables(result, tmp_path)
    table = tables.read_csv(tmp_path / "domains.csv", required=("scan_y", "scan_x", "label", "probability", "flags"))
    names, probability, flags = tables.probabilities_from(table)
    assert names == result.map.names
    # six digits are written; all of them are in result.h5
    assert np.allclose(probability, result.map.probability, rtol=0, atol=6e-7) and np.array_equal(
        flags, result.map.flags
    )
    said = [";".join(flag_words(bits)) for bits in result.map.flags.ravel().tolist()]
    assert table["flag_names"].tolist() == said and list(table)[-1] == "flag_names" and len(set(said)) > 2
    fields = re.findall(r"-?[0-9.]+", (tmp_path / "domains.csv").read_text())
    assert max(len(field.strip("-0.").replace(".", "")) for field in fields) <= 7
    label = np.array([*names, ""])[result.map.label.ravel()]
    assert table["label"].tolist() == label.tolist()
    assert np.array_equal(table["domain"], result.domains.domain.ravel())
    assert list(table)[:8] == ["scan_y", "scan_x", "label", "probability", 'p_a, "b"', "p_p_x", "p_none", "flags"]
    walls = tables.walls_from(tables.read_csv(tmp_path / "walls.csv"), tables.read_csv(tmp_path / "wall_points.csv"))
    assert len(walls) == len(result.domains.walls) > 0
    for wall, true in zip(walls, result.domains.walls, strict=True):
        assert (wall.before, wall.after, wall.closed, wall.flags) == (true.before, true.after, true.closed, true.flags)
        assert np.allclose(wall.points, true.points, atol=1e-6)
        assert wall.width_sigma == pytest.approx(true.width_sigma, rel=5e-6, nan_ok=True)
    areas = tables.read_csv(tmp_path / "areas.csv")
    assert np.allclose(areas["area"], result.domains.area)
    assert np.allclose(areas["area_nm2"], 25.0 * result.domains.area)


def test_tables_of_nothing_have_their_headings(tmp_path):
    tables.write_scan_tables(empty(), tmp_path)
    assert (tmp_path / "walls.csv").read_text().startswith("number,before,after,length,length_sigma,width,width_sigma")
    walls = tables.read_csv(tmp_path / "walls.csv")
    assert len(walls["number"]) == 0 and tables.walls_from(walls, tables.read_csv(tmp_path / "wall_points.csv")) == ()
    table = tables.read_csv(tmp_path / "domains.csv")
    assert set(table["label"].tolist()) == {""} and np.isnan(table["probability"]).all()


def test_tables_of_a_series(tmp_path):
    scans = [handmade.result((20, 24), seed=seed).domains for seed in range(3)]
    series = series_of(scans, time=[0.0, 2.5, 5.0])
    tables.write_series_tables(series, tmp_path)
    fractions = tables.read_csv(tmp_path / "fractions.csv")
    assert fractions["time"].tolist() == [0.0, 2.5, 5.0]
    assert np.allclose(fractions["fraction_none_sigma"], series.fraction_sigma[:, 2])
    tracks = tables.read_csv(tmp_path / "tracks.csv")
    assert len(tracks["moved"]) == sum(np.isfinite(track.moved).sum() for track in series.tracks)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "lacks scan_y"),
        ("scan_y,scan_x\n0\n", "line 2"),
        ("scan_y,scan_x\n0,a\n", "numbers"),
        ("a,a\n1,2\n", "lacks"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, text, complaint):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(FormatError, match=complaint):
        tables.read_csv(tmp_path / "t.csv", required=("scan_y", "scan_x"))


def test_a_table_with_positions_missing_is_refused():
    table = tables.domains_table(handmade.result((12, 14)))
    with pytest.raises(FormatError, match="one row per probe position"):
        tables.probabilities_from({name: values[1:] for name, values in table.items()})


def test_loading_after_saving_is_identity(tmp_path):
    for number, result in enumerate((handmade.result((20, 24)), empty())):
        path = tmp_path / f"{number}.h5"
        save(result, path)
        verify(path)
        assert same(load(path), result)
    series = series_of([handmade.result((20, 24)).domains] * 2)
    save(series, tmp_path / "series.h5")
    assert same(load(tmp_path / "series.h5"), series)
    with pytest.raises(FormatError, match="the map of"):
        load_measurement(tmp_path / "0.h5")


def test_damage_is_found(tmp_path):
    path = tmp_path / "result.h5"
    save(handmade.result((20, 24)), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ChecksumError):
        verify(path)
        load(path)
