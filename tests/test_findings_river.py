"""The whole way to findings: what settings ask for is done, kept, drawn and written."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import films
from dipolar.core.errors import CalibrationError, DataError, SettingsError
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import same
from dipolar.core.units import angle_deg
from dipolar.io import load, save
from dipolar.recipes.edits import write_edits
from dipolar.recipes.measure import measure_image
from dipolar.recipes.results import headline, overview, write_result
from dipolar.report import render_figures
from dipolar.simulate import Domains, FilmSettings, Simulated
from dipolar.simulate.contrast import CrystalSettings, simulate_crystal


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    """Two BiFeO3 domains, up to the right and down to the left, on SrTiO3."""
    return films.film(
        FilmSettings(
            shape_px=(480, 480),
            layers=(films.layer("SrTiO3", 0.35), films.layer("BiFeO3", 0.65)),
            domains=Domains(directions_deg=(90.0, -90.0), walls=(0.0,), wall_width_pm=1200.0),
            row_jitter_px=(0.15, 0.15),
        ),
        seed=3,
    )


@pytest.fixture(scope="module")
def measured(simulated: Simulated) -> Measurement:
    return measure_image(
        simulated.image, lattice_pm=390.5, reference="330:480,0:480", material="bfo", scan="both", gain_check=False
    )


def test_domains_and_their_wall_are_those_of_the_film(measured: Measurement) -> None:
    maps = measured.findings.maps
    assert maps is not None
    polar = np.flatnonzero(maps.domains.polar & (maps.domains.cells > 40))
    assert len(polar) == 2
    assert np.sort(maps.domains.angle_deg[polar]) == pytest.approx([-90.0, 90.0], abs=4.0)
    between = [wall for wall in maps.walls if {wall.before, wall.after} == set(polar.tolist())]
    assert len(between) == 1 and between[0].kind.startswith("180°")
    low, _, high = (width * (measured.cells.pixel_size_pm or 0.0) for width in between[0].profile.width_px)
    assert 0.5 * low < 1200.0 < 2.0 * high


def test_polarization_points_against_the_displacement_of_iron(measured: Measurement) -> None:
    found = measured.findings.polarization
    assert found is not None
    good = np.linalg.norm(measured.cells.displacement_px, axis=1) > 1.0
    off = angle_deg(found.vectors_uc_per_cm2[good]) - angle_deg(measured.cells.displacement_px[good])
    np.testing.assert_allclose(np.abs((off + 360.0) % 360.0), 180.0, atol=1e-6)
    same_sigma = found.covariance_uc2_per_cm4 / measured.cells.covariance_px2
    factor = found.material.factor_uc_per_cm2_per_pm * (measured.cells.pixel_size_pm or 0.0)
    np.testing.assert_allclose(same_sigma[np.isfinite(same_sigma)], factor**2, rtol=1e-6)


def test_the_scan_was_corrected_and_says_so(measured: Measurement) -> None:
    scan, shape = measured.findings.scan, measured.findings.shape
    assert scan is not None and shape is not None
    assert scan.jitter_after_px[0] < scan.jitter_before_px[0] == pytest.approx(0.15, abs=0.05)
    assert abs(shape.aspect - 1.0) < 4.0 * shape.pixel_size_y_sigma_pm / shape.pixel_size_y_pm + 0.002


def test_everything_found_is_kept_drawn_and_written(measured: Measurement, tmp_path: Path) -> None:
    save(measured, tmp_path / "kept.h5")
    assert same(load(tmp_path / "kept.h5"), measured)
    drawn = render_figures(measured)
    assert {"polarization", "domains", "walls", "order", "layers", "planes", "scan"} <= set(drawn)
    out = write_result(measured, tmp_path / "film.dipolar")
    with (out / "walls.csv").open(encoding="utf-8", newline="") as file:
        walls = list(csv.DictReader(file))
    maps = measured.findings.maps
    assert maps is not None and len(walls) == len(maps.walls)
    with (out / "cells.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert [int(row["domain"]) for row in cells] == maps.domains.label.tolist()
    assert all(name in cells[0] for name in ("py_uc_per_cm2", "px_sigma_uc_per_cm2", "c_over_a_sigma"))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") == len(drawn) and "bound charge" in page
    assert any("180°" in line for line in headline(measured))
    json.dumps(overview(measured))  # plain values only


def test_the_width_of_a_wall_does_not_depend_on_the_basis() -> None:
    film = films.film(
        FilmSettings(
            shape_px=(400, 400),
            layers=(films.layer("BiFeO3", 1.0),),
            domains=Domains(directions_deg=(90.0, -90.0), walls=(0.0,), wall_width_pm=400.0),
        ),
        seed=4,
    )
    widths = []
    for basis in ("A", "B"):
        maps = measure_image(film.image, lattice_pm=396.0, basis=basis, gain_check=False).findings.maps
        assert maps is not None and len(maps.walls) == 1
        widths.append(np.array(maps.walls[0].profile.width_px) * 396.0 / 23.0)
    # each within its own interval, twice as wide, of the truth
    for low, middle, high in widths:
        assert middle - 2.5 * (middle - low) < 400.0 < middle + 2.5 * (high - middle)


def test_edits_are_applied_and_recorded(simulated: Simulated, measured: Measurement, tmp_path: Path) -> None:
    plain = measure_image(simulated.image, lattice_pm=390.5, gain_check=False, maps=False)
    at = plain.columns.positions_px[np.argmin(np.linalg.norm(plain.columns.positions_px - 240.0, axis=1))]
    path = tmp_path / "edits.toml"
    path.write_text(f"[[remove]]\nat = [{at[0]:.2f}, {at[1]:.2f}]\nwhy = 'dirt'\n", encoding="utf-8")
    edited = measure_image(simulated.image, lattice_pm=390.5, gain_check=False, maps=False, edits=str(path))
    assert len(edited.columns.flags) == len(plain.columns.flags) - 1
    assert edited.findings.edits is not None and edited.findings.edits.removed == 1
    assert "edits.toml" in edited.record.inputs
    write_edits(tmp_path / "again.toml", edited.findings.edits.edits)
    again = measure_image(
        simulated.image, lattice_pm=390.5, gain_check=False, maps=False, edits=str(tmp_path / "again.toml")
    )
    assert same(again.cells, edited.cells)


@pytest.mark.parametrize("contrast", ["dark", "signed"])
def test_oxygen_is_measured_where_it_shows(contrast: str) -> None:
    made = simulate_crystal(CrystalSettings(shape_px=(360, 360), contrast=contrast), rng=np.random.default_rng(2))
    found = measure_image(made.image, gain_check=True)
    sites = found.findings.sites
    assert sites is not None and sites.octahedra is not None
    names = [offsets.what for offsets in sites.offsets]
    assert any("O" in name for name in names)
    assert {"octahedra"} <= set(render_figures(found))
    assert found.gain_check is None and len(found.cells.flags) > 20


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"material": "unobtainium", "lattice_pm": 390.5}, SettingsError, "BaTiO3"),
        ({"material": "bfo"}, CalibrationError, "lattice-pm"),
        ({"scan": "shape"}, CalibrationError, "lattice_pm"),
        ({"edits": "missing.toml"}, SettingsError, "missing.toml"),
        ({"structure": "missing.cif"}, DataError, "missing.cif"),
        ({"directions": "up,down"}, SettingsError, "45,135"),
        ({"zone_axis": "0,0,0"}, SettingsError, "1,1,0"),
    ],
)
def test_wrong_settings_get_one_clear_message(
    simulated: Simulated, changes: dict[str, object], error: type[Exception], word: str
) -> None:
    image = replace(simulated.image, pixel_size_pm=None)
    with pytest.raises(error) as caught:
        measure_image(image, **changes)
    assert word in str(caught.value)
