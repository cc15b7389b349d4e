"""The page: one file that loads nothing, escapes everything, says what limits the result and how to repeat it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import report_example as example
from dipolar.core.errors import OutputError, SettingsError
from dipolar.core.flags import Flag
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Calibration
from dipolar.report import (
    bibtex,
    citations,
    full_radius,
    notices,
    render_figures,
    repeat_lines,
    report_html,
    table_rows,
    write_figures,
    write_report,
)
from dipolar.report.repeat import toml_text
from dipolar.report.wording import name_and_unit, number, with_sigma


class Page(HTMLParser):
    """Collects tags, what they load, ids and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster", "background") or (name == "href" and tag != "a"):
                self.loads.append(value or "")
            if name == "href" and tag == "a":
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def measured() -> Measurement:
    return example.measurement((8, 9), field=example.two_domains)


def test_the_page_is_one_file_that_loads_nothing(measured: Measurement, tmp_path: Path) -> None:
    text = write_report(measured, tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("img") == len(example.PLAIN_FIGURES)
    assert page.loads and all(one.startswith("data:image/png;base64,") for one in page.loads)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text and "@import" not in text
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "report.html"]


def test_every_word_of_the_user_is_escaped(measured: Measurement) -> None:
    evil = "<script>alert('x')</script><img src=http://a.b/c>\"&"
    hostile = replace(
        measured,
        image=replace(measured.image, name=evil, facts=(replace(measured.image.facts[1], name=evil, value=evil),)),
        summary={evil: evil},
        record=replace(
            measured.record, notes=(evil,), settings={"select": evil}, versions={evil: evil}, inputs={evil: evil}
        ),
    )
    text = report_html(hostile)
    page = Page(text)
    assert "script" not in page.tags and page.tags.count("img") == len(example.PLAIN_FIGURES)
    assert page.words.count("alert('x')") >= 6
    assert not [one for one in page.loads if not one.startswith("data:")]


def test_captions_tell_sign_and_angle(measured: Measurement) -> None:
    said = Page(report_html(measured)).words
    assert "centre of the four A corners → central B column" in said
    assert "counter-clockwise" in said and "up is up, which is negative dy" in said
    assert "This is a displacement, not a polarization" in said
    assert f"full hue at {full_radius(measured):g} pm" in said


def test_notices_say_what_limits_the_result(measured: Measurement) -> None:
    assert notices(measured) == ["The file's pixel size is 16.5 pm; used is 17.25 pm, +4.5 %."]
    bare = example.measurement((3, 3), calibrated=False, reference=False, image=False)
    joined = " ".join(notices(bare))
    assert "every length is in px" in joined and "--lattice-pm" in joined
    assert "a common offset of the sublattices, which mistilt and scan distortion make" in joined
    assert "no unit cells" in " ".join(notices(example.measurement((0, 0)))).lower()
    from_file = replace(measured, calibration=Calibration(pixel_size_pm=16.5, source="file", file_pixel_size_pm=16.5))
    assert "often 3 to 11 % off" in " ".join(notices(from_file))
    check = replace(measured.gain_check, gain=(0.8, 1.0), zscore_width=(1.0, 1.3))
    said = " ".join(notices(replace(measured, gain_check=check)))
    assert "0.80 (dy) and 1.00 (dx) times as long" in said and "too small" in said and "1.30 times as wide" in said
    odd = replace(measured.columns, flags=measured.columns.flags | np.uint32(Flag.AMBIGUOUS_SUBLATTICE))
    assert "opposite sign" in " ".join(notices(replace(measured, columns=odd)))


def test_what_the_record_says_is_kept_and_not_said_twice() -> None:
    bare = example.measurement((3, 3), reference=False, image=False)
    seen = notices(bare)
    assert len(seen) == len(set(seen)) >= 1
    told = notices(replace(bare, record=replace(bare.record, notes=("Mine.", *seen[::-1]))))
    assert told == ["Mine.", *seen[::-1]]


def test_table_holds_what_was_measured(measured: Measurement) -> None:
    rows = {(row.section, row.name): row for row in table_rows(measured)}
    assert rows["Counts", "A columns"].value == "90" and rows["Counts", "B columns"].value == "72"
    assert rows["Counts", "unit cells"].value == "72"
    count = int((measured.columns.flags & np.uint32(Flag.POOR_FIT) != 0).sum())
    assert rows["Flags", "columns: poor_fit"].value.startswith(f"{count} (") and count
    assert "residuals exceed the noise" in rows["Flags", "columns: poor_fit"].note
    assert rows["Calibration", "pixel size in the file"].value == "16.500 pm"
    assert rows["Calibration", "pixel size in the file"].note == "the one used is 104.5 % (+4.5 %) of it"
    assert rows["Polar displacement", "full radius of the colour wheel"].value == f"{full_radius(measured):g} pm"
    edge = float(np.median(np.hypot(*measured.cells.a_px[measured.cells.flags == 0].T))) * example.PIXEL_SIZE_PM
    assert rows["Lattice", "median a"].value == f"{edge:.2f} pm"
    assert rows["Noise", "row jitter in x"].value == "0.0500 ± 0.0040 px"
    assert rows["Gain check", "gain of dx"].value == "0.9910 ± 0.0070"
    assert rows["Summary", "rms deviation a"].value == "3.123 pm" and rows["Summary", "material"].value == "–"
    assert rows["Image", "voltage"].value == "300 kV" and rows["Timings", "locate"].value == "1.23 s"
    assert rows["Versions", "numba"].value == "0.68.1"


def test_the_table_of_nothing_has_unknowns_not_zeros() -> None:
    rows = {(row.section, row.name): row for row in table_rows(example.measurement((0, 0), calibrated=False))}
    assert rows["Counts", "unit cells"].value == "0"
    assert rows["Polar displacement", "median length"].value == "unknown"
    assert rows["Calibration", "pixel size used"].value == "none"


def test_repeat_lines(measured: Measurement) -> None:
    repeat = repeat_lines(measured)
    assert repeat.command == "dipolar image measure film.dm4 --lattice-pm 396 --basis A --gain-check"
    assert (
        'dipolar.measure_image(\n    "film.dm4",\n    lattice_pm=396.0,\n    basis="A",\n    gain_check=True,\n)'
        in repeat.python
    )
    compile(repeat.python, "repeat", "exec")
    assert repeat.toml == ""
    settings = {"reference": "0:9,0:9", "trust_pickle": False, "locate": {"radius_px": 3.5, "names": ("a", 'b"\\')}}
    inputs = {"my film; rm.tif": "0" * 64}
    other = repeat_lines(replace(measured, record=replace(measured.record, settings=settings, inputs=inputs)))
    assert other.command == (
        "dipolar image measure 'my film; rm.tif' --reference 0:9,0:9 --no-trust-pickle --settings run.toml"
    )
    assert tomllib.loads(other.toml) == {"locate": {"radius_px": 3.5, "names": ["a", 'b"\\']}}
    compile(other.python, "repeat", "exec")


def test_toml_there_and_back() -> None:
    settings = {
        "a": 1,
        "b": -2.5e-9,
        "c": True,
        "d": 'ü\n"q" \\ 膜',
        "e": [1, [2.0]],
        "f g": {"h": {"i": "j"}, "k": []},
    }
    assert tomllib.loads(toml_text({**settings, "nothing": None})) == settings


def test_numbers_for_people() -> None:
    assert [number(v) for v in (47583, 0, -3, 0.00001234, 1e9 + 0.5, True, "x", None)] == [
        "47\u2009583", "0", "−3", "1.234·10^−5", "1.000·10^9", "yes", "x", "–",
    ]  # fmt: skip
    assert number(float("nan")) == "unknown" and number(-0.012345, 2) == "−0.012"
    assert with_sigma(396.1234, 0.0543, "pm") == "396.123 ± 0.054 pm"
    assert with_sigma(1234.5, 56.0) == "1234 ± 56"
    assert with_sigma(1.5, float("nan"), "px") == "1.500 ± unknown px"
    assert name_and_unit("dose_e_per_nm2") == ("dose", "e/nm²") and name_and_unit("cells") == ("cells", "")


def test_citations_follow_what_was_used(measured: Measurement) -> None:
    entries = citations(measured)
    keys = [entry["key"] for entry in entries]
    assert len(set(keys)) == len(keys) and keys[0] == "dipolar"
    assert {"virtanen2020", "lam2015", "hunter2007"} <= set(keys) and "rosettasciio" not in keys
    with_reader = replace(measured, record=replace(measured.record, versions={"rosettasciio": "0.9"}))
    assert "rosettasciio" in [entry["key"] for entry in citations(with_reader)]
    text = bibtex(entries)
    assert text.count("@") == len(entries) and text.count("{") == text.count("}")
    assert not re.search(r"(?<!\\)&", text)


def test_figures_are_written_where_the_result_folder_wants_them(tmp_path: Path) -> None:
    written = write_figures(example.measurement((2, 2)), tmp_path, formats=("png", "svg", "pdf"))
    assert sorted(path.relative_to(tmp_path).as_posix() for path in written) == sorted(
        [f"map.{kind}" for kind in ("png", "svg", "pdf")]
        + [
            f"figures/{name}.{kind}"
            for name in example.PLAIN_FIGURES
            if name != "map"
            for kind in ("png", "svg", "pdf")
        ]
    )
    assert (tmp_path / "map.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "figures/sigma.pdf").read_bytes().startswith(b"%PDF")


def test_drawing_once_serves_folder_and_page(measured: Measurement, tmp_path: Path) -> None:
    rendered = render_figures(measured)
    write_figures(measured, tmp_path, rendered=rendered)
    assert (tmp_path / "map.png").read_bytes() == rendered["map"]["png"]
    assert report_html(measured, rendered=rendered) == report_html(measured)


def test_errors_say_what_to_do(measured: Measurement, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"(?s)png, svg, pdf.*'gif'"):
        write_figures(measured, tmp_path, formats=("gif",))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"(?s)report.html cannot be written.*--out"):
        write_report(example.measurement((0, 0), edge_px=16), tmp_path / "file" / "report.html")
