"""Scans of one place, followed: fractions and walls are those that were put in, on disk, in words and in the figure."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import scan_maps_handmade as handmade
from dipolar.cli.main import main
from dipolar.core.errors import FormatError, ScanError, SettingsError
from dipolar.core.nouns import same
from dipolar.core.scanning import ScanResult, ScanSeries
from dipolar.io import load, save
from dipolar.maps.scan_domains import domains_of
from dipolar.recipes.scan_series import follow_scans, headline_of

SHAPE, SPEED = (24, 40), 2.0


def result(through: float, names: tuple[str, ...] = ("a", "b")) -> ScanResult:
    """Return a mapped scan with a wall along the columns: a on its left, b on its right."""
    share, _ = handmade.line(SHAPE, 0.0, 1.5, (12.0, through))
    scan_map = handmade.scan_map(share, names, noise=0.3, step_nm=10.0)
    return ScanResult(map=scan_map, domains=domains_of(scan_map), record=handmade.result(SHAPE, flagged=False).record)


@pytest.fixture(scope="module")
def scans() -> list[ScanResult]:
    return [result(14.0 + SPEED * number) for number in range(4)]


@pytest.fixture(scope="module")
def folders(scans, tmp_path_factory) -> list[Path]:
    above = tmp_path_factory.mktemp("series")
    for number, scan in enumerate(scans):
        save(scan, above / f"{number}.h5")
    return [above / f"{number}.h5" for number in range(len(scans))]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_writes_what_was_put_in(folders, tmp_path, capsys):
    out = tmp_path / "o"
    assert main(["scan", "series", *map(str, folders), "--out", str(out), "--times", "0,10,20,30", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in out.iterdir()) == [
        "fractions.csv", "result.h5", "run.json", "series.png", "tracks.csv",
    ]  # fmt: skip
    tracks = rows_of(out / "tracks.csv")
    assert [float(row["time"]) for row in tracks] == [0, 10, 20, 30] and {row["before"] for row in tracks} == {"a"}
    assert np.allclose([float(row["moved"]) for row in tracks], SPEED * np.arange(4), atol=0.15)
    assert np.allclose([float(row["moved_nm"]) for row in tracks], 10 * SPEED * np.arange(4), atol=1.5)
    fractions = rows_of(out / "fractions.csv")
    true = (14.5 + SPEED * np.arange(4)) / SHAPE[1]
    found, sigma = (np.array([float(row[name]) for row in fractions]) for name in ("fraction_a", "fraction_a_sigma"))
    assert np.all(np.abs(found - true) < 4 * sigma + 0.005)
    assert told["classes"]["a"]["fraction"] == pytest.approx(found.tolist()) and told["unit"] == "s"
    assert isinstance(load(out), ScanSeries) and main(["verify", str(out)]) == 0
    assert main(["scan", "series", *map(str, folders[:2]), "--out", str(out)]) == 0  # one of its kind is replaced
    assert "towards b" in capsys.readouterr().out


def test_files_and_results_in_memory_are_alike(scans, folders):
    assert same(follow_scans(scans).series, follow_scans(folders).series)


def test_against_time_the_other_way_round_walls_go_back(scans):
    there, back = follow_scans(scans).series, follow_scans(scans[::-1]).series
    assert there.unit == "scan" and there.time.tolist() == [0, 1, 2, 3]
    assert np.allclose(there.fraction, back.fraction[::-1])
    assert there.tracks[0].moved[-1] == pytest.approx(-back.tracks[0].moved[-1], abs=0.1)


def test_what_stands_still_has_not_moved(scans):
    found = follow_scans([scans[0]] * 3)
    assert np.all(found.series.tracks[0].moved == 0.0)
    assert len(headline_of(found)) == 3


@pytest.mark.parametrize(
    ("which", "changes", "error", "words"),
    [
        ([0], {}, SettingsError, "two scans or more"),
        ([0, 1], {"times": "5,4"}, SettingsError, "order"),
        ([0, 1], {"times": "1,2,3"}, ScanError, "3 times for 2 scans"),
    ],
)
def test_what_is_no_series_is_refused(scans, which, changes, error, words):
    with pytest.raises(error, match=words):
        follow_scans([scans[number] for number in which], **changes)


def test_maps_of_other_classes_and_other_files_are_refused(scans, folders, tmp_path):
    with pytest.raises(ScanError, match="same classes"):
        follow_scans([scans[0], result(14.0, ("a", "c"))])
    with pytest.raises(ScanError, match="same classes"):
        follow_scans(
            [scans[0], replace(scans[1], domains=replace(scans[1].domains, domain=np.zeros((3, 3), np.int32)))]
        )
    save(follow_scans(scans).series, tmp_path / "series.h5")
    with pytest.raises(FormatError, match="another kind of result"):
        follow_scans([folders[0], tmp_path / "series.h5"])
    assert main(["scan", "series", str(folders[0]), str(folders[1]), "--out", str(folders[0])]) == 1
