"""Corrections by hand: the file, and what it does to columns and cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import films
from dipolar.core.edits import Addition, Assignment, Edits, Mask, Removal
from dipolar.core.errors import OutputError, SettingsError
from dipolar.core.flags import Flag, has
from dipolar.core.nouns import A, B, Columns, same, take
from dipolar.measure import apply_edits, build_cells
from dipolar.recipes.edits import EXAMPLE, edits_to_toml, parse_edits, read_edits, write_edits
from dipolar.simulate import FilmSettings

TEXT = """
tolerance_px = 2.5
[[ignore]]
rectangle = [0, 40, 0, 60]
why = "glue"
[[ignore]]
polygon = [[100, 100], [100, 140], [140, 120]]
[[remove]]
at = [50.5, 60]
[[add]]
at = [10.0, 20.0]
why = "seen"
[[assign]]
at = [5, 6]
sublattice = "B"
whole_crystal = true
"""


@pytest.fixture(scope="module")
def columns() -> Columns:
    settings = FilmSettings(shape_px=(300, 300), layers=(films.layer("BiFeO3"),), rotation_deg=7.0)
    return films.film(settings).truth_columns


def inner(columns: Columns, kind: int) -> int:
    """Return a column of that sublattice with all eight neighbours, near the middle."""
    rows = np.flatnonzero((columns.links >= 0).all(axis=1) & (columns.sublattice == kind))
    return int(rows[np.argmin(np.linalg.norm(columns.positions_px[rows] - 150.0, axis=1))])


def place(columns: Columns, row: int) -> tuple[float, float]:
    y, x = columns.positions_px[row].tolist()
    return y, x


def test_no_edits_change_nothing(columns):
    edited, record = apply_edits(columns, Edits())
    assert same(edited, columns)
    assert (record.removed, record.ignored, record.added, record.reassigned) == (0, 0, 0, 0)


@pytest.mark.parametrize("kind", [A, B])
def test_a_column_taken_out_and_put_back_leaves_the_same_crystal(columns, kind):
    row = inner(columns, kind)
    at = place(columns, row)
    without, record = apply_edits(columns, Edits(remove=(Removal(at_px=at),)))
    assert record.removed == 1 and len(without.flags) == len(columns.flags) - 1
    assert len(build_cells(without).flags) == len(build_cells(columns).flags) - (4 if kind == A else 1)
    again, record = apply_edits(without, Edits(add=(Addition(at_px=at),)))
    assert record.added == 1 and again.sublattice[-1] == kind
    assert np.array_equal(again.index[-1], columns.index[row])
    cells, before = build_cells(again), build_cells(columns)
    order, its = np.lexsort((cells.col, cells.row)), np.lexsort((before.col, before.row))
    np.testing.assert_allclose(cells.displacement_px[order], before.displacement_px[its])
    assert np.isnan(again.covariance_px2[-1]).all() and has(again.flags, Flag.BY_HAND).sum() == 1
    assert has(cells.flags, Flag.FLAGGED_COLUMN).sum() == (4 if kind == A else 1)


def test_links_stay_mutual(columns):
    edits = Edits(remove=(Removal(at_px=place(columns, inner(columns, B))),), ignore=(square(50.0, 90.0),))
    edited, _ = apply_edits(columns, edits)
    for step, back in enumerate((1, 0, 3, 2, 5, 4, 7, 6)):
        rows = np.flatnonzero(edited.links[:, step] >= 0)
        assert np.array_equal(edited.links[edited.links[rows, step], back], rows)


def square(low: float, high: float) -> Mask:
    return Mask(polygon_px=((low, low), (low, high), (high, high), (high, low)))


def test_masks_leave_out_what_lies_in_them(columns):
    edited, record = apply_edits(columns, Edits(ignore=(square(50.0, 120.0),)))
    y, x = columns.positions_px.T
    assert record.ignored == np.count_nonzero((y > 50) & (y < 120) & (x > 50) & (x < 120)) > 10
    triangle = Mask(polygon_px=((50.0, 50.0), (120.0, 50.0), (50.0, 120.0)))
    _, record = apply_edits(columns, Edits(ignore=(triangle,)))
    assert record.ignored == np.count_nonzero((y > 50) & (x > 50) & (x + y < 170))
    assert len(edited.flags) == len(columns.flags) - np.count_nonzero((y > 50) & (y < 120) & (x > 50) & (x < 120))


def test_sublattices_change_one_by_one_or_in_the_whole_crystal(columns):
    row = inner(columns, A)
    edits = Edits(assign=(Assignment(at_px=place(columns, row), sublattice="B"),))
    edited, record = apply_edits(columns, edits)
    assert record.reassigned == 1 and edited.sublattice[row] == B
    whole = replace(edits.assign[0], whole_crystal=True)
    edited, record = apply_edits(columns, Edits(assign=(whole,)))
    assert record.reassigned == len(columns.flags) and np.array_equal(edited.sublattice, 1 - columns.sublattice)
    _, record = apply_edits(columns, Edits(assign=(replace(whole, sublattice="A"),)))
    assert record.reassigned == 0  # it is A already


@pytest.mark.parametrize("angle", [0.0, 90.0])
def test_the_same_edits_give_the_same_table(columns, angle):
    edits = Edits(remove=(Removal(at_px=place(columns, inner(columns, B))),), ignore=(square(10.0, 60.0),))
    once, twice = (apply_edits(columns, edits)[0] for _ in range(2))
    assert same(once, twice)


def test_every_place_that_is_wrong_is_named(columns):
    at = place(columns, inner(columns, B))
    between = (at[0] + 7.0, at[1])
    edits = Edits(
        remove=(Removal(at_px=(-500.0, 3.0)),),
        add=(Addition(at_px=at), Addition(at_px=(900.0, 900.0)), Addition(at_px=between)),
        assign=(Assignment(at_px=(1e4, 1e4), sublattice="A"),),
    )
    with pytest.raises(SettingsError) as caught:
        apply_edits(columns, edits)
    words = str(caught.value)
    for part in ("remove at (-500, 3)", "add at (900, 900)", "a column is 0.0 px away", "assign at (10000, 10000)"):
        assert part in words, part
    assert words.count("no neighbour expects a column there") == 2


def test_edits_of_no_columns_are_refused_with_one_message(columns):
    nothing = take(columns, np.zeros(len(columns.flags), dtype=bool))
    assert len(apply_edits(nothing, Edits(ignore=(square(0.0, 9.0),)))[0].flags) == 0
    for edits in (Edits(remove=(Removal(at_px=(1.0, 1.0)),)), Edits(add=(Addition(at_px=(1.0, 1.0)),))):
        with pytest.raises(SettingsError, match="there are no columns"):
            apply_edits(nothing, edits)


def test_edits_that_leave_nothing_are_refused(columns):
    with pytest.raises(SettingsError, match="must leave some columns") as caught:
        apply_edits(columns, Edits(ignore=(square(-9.0, 999.0),)))
    assert f"all {len(columns.flags)} are taken out: {len(columns.flags)} lie in masks" in str(caught.value)


def test_the_example_that_messages_show_is_a_file(tmp_path):
    (tmp_path / "edits.toml").write_text(EXAMPLE)
    assert read_edits(tmp_path / "edits.toml").remove == (Removal(at_px=(120.5, 88.0), why="dirt"),)
    with pytest.raises(SettingsError) as caught:
        parse_edits("[[add")
    assert str(caught.value).endswith(EXAMPLE.rstrip())


def test_the_documents_name_every_key_of_the_file_of_edits():
    told = Path(__file__).parents[1].joinpath("docs", "how-to-choose.md").read_text(encoding="utf-8")
    part = told[told.index("## Corrections by hand") :].split("\n## ")[0]
    example = part[part.index("```toml") + 7 : part.rindex("```")]
    edits = parse_edits(example)
    assert edits.ignore and edits.remove and edits.add and edits.assign and edits.tolerance_px
    for key in ("tolerance_px", "why", "at", "rectangle", "polygon", "sublattice", "whole_crystal"):
        assert key in part, key


def test_a_file_there_and_back_is_identity(tmp_path):
    edits = parse_edits(TEXT)
    assert edits.tolerance_px == 2.5 and edits.remove[0].at_px == (50.5, 60.0)
    assert edits.ignore[0].polygon_px == ((0, 0), (0, 60), (40, 60), (40, 0)) and edits.assign[0].whole_crystal
    assert parse_edits(edits_to_toml(edits)) == edits
    write_edits(tmp_path / "edits.toml", edits)
    assert read_edits(tmp_path / "edits.toml") == edits
    assert parse_edits("") == Edits() == parse_edits(edits_to_toml(Edits()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[remove]]\nat = [1]\n", "remove 1 at 2: field required"),
        (
            "[[remove]]\nat = [1, 2]\n[[remove]]\nplace = [1, 2]\n",
            "remove 2 place: there is no such key; known are at, why",
        ),
        ('[[assign]]\nat = [1, 2]\nsublattice = "A"\nwhole = true\n', "known are at, sublattice, whole_crystal, why"),
        ("[[delete]]\nat = [1, 2]\n", "known are tolerance_px, ignore, remove, add, assign"),
        ('[[assign]]\nat = [1, 2]\nsublattice = "C"\n', "assign 1 sublattice"),
        ("[[ignore]]\nrectangle = [5, 1, 0, 2]\n", "y0 must be less than y1"),
        ("[[ignore]]\nwhy = 'x'\n", "either rectangle"),
        ("[[ignore]]\npolygon = [[1, 2], [2, 3]]\n", "three corners"),
        ("tolerance_px = -1\n", "tolerance_px"),
        ("[[add]]\nat = [nan, 2]\n", "add 1 at 1"),
        ("[[add\n", "not TOML"),
    ],
)
def test_a_file_that_says_something_else_is_refused(text, words):
    with pytest.raises(SettingsError) as caught:
        parse_edits(text, source="edits.toml")
    assert words in str(caught.value) and "edits.toml" in str(caught.value)


def test_files_that_cannot_be_read_or_written_are_one_message(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        read_edits(tmp_path / "none.toml")
    with pytest.raises(OutputError, match="cannot be written"):
        write_edits(tmp_path / "no" / "edits.toml", Edits())
