"""Images under a tilted beam: perfect crystals are the library's image, symmetry holds, and truth stays where it is."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import dipolar
from dipolar.cli.main import main
from dipolar.core.errors import DataError, SettingsError
from dipolar.core.tilt_library import STATES, TiltLibrary, image_terms, stamps_on, state_weights
from dipolar.io.tilt_library import write_tilt_library
from dipolar.locate import GaussianFit, locate_columns
from dipolar.measure import build_cells
from dipolar.simulate import FilmRanges, FilmSettings, Layer, material_named, wall
from dipolar.simulate.tilted.film import simulate_tilted_film
from dipolar.simulate.tilted.random_films import TiltRanges, random_tilted_film
from dipolar.simulate.tilted.render import Stamped, render_stamps
from dipolar.simulate.tilted.settings import TiltedSettings
from dipolar.simulate.tilted.tables import POINTS, Place, StampTables, stamp_tables

CELL_PM = 400.0
PIXEL_PM = 16.0
DEPTH_NM = (0.4, 0.8)
"""How deep A and B take their electrons: so far a tilt moves them."""
SHAPE = (160, 160)
UNIT = 1.0 / (5.0 * PIXEL_PM**2)
"""What makes shares of the beam of counts."""


def handmade(*, polar: bool = True, nodes: int = 7) -> TiltLibrary:
    """Columns that are Gaussians, and what a tilt, thickness, focus and displacement do to them, in closed form."""
    grid = [(h, k) for h, k in product(range(10), range(-9, 10)) if h or k >= 0]
    orders = np.array([order for order in grid if np.hypot(*order) < 10.0], dtype=np.int64)
    tilts, foci = np.linspace(-30.0, 30.0, nodes), np.linspace(-6.0, 6.0, max(nodes - 2, 3))
    thick = np.array([5.0, 10.0, 20.0, 40.0, 80.0])
    states = np.array(STATES if polar else STATES[:1], dtype=np.float64)
    y, x, s, z, f = np.meshgrid(tilts, tilts, np.arange(len(states)), thick, foci, indexing="ij")
    stamps = []
    for height, sigma_pm, depth_nm in ((0.02, 46.0, DEPTH_NM[0]), (0.008, 42.0, DEPTH_NM[1])):
        size2 = (sigma_pm**2 + 2.0 * f**2 + z + 0.2 * (y**2 + x**2)) / CELL_PM**2
        moved = [(-t * depth_nm + 3.0 * states[s, axis]) / CELL_PM for axis, t in enumerate((y, x))]
        wave = np.exp(
            -2j * np.pi * (np.multiply.outer(moved[0], orders[:, 0]) + np.multiply.outer(moved[1], orders[:, 1]))
        )
        grown = height * (1.0 - np.exp(-z / 30.0))
        terms = wave * np.exp(-2.0 * np.pi**2 * np.multiply.outer(size2, np.sum(orders**2, axis=1)))
        stamps.append(grown[..., None] * (terms + 0.5 * np.all(orders == 0, axis=1)))
    return TiltLibrary(
        material="bfo", elements=("Bi", "Fe"), cell_pm=CELL_PM, depth_pm=CELL_PM, voltage_kv=200.0,
        convergence_mrad=30.0, detector_mrad=(65.0, 250.0), displacement_pm=25.0 if polar else 0.0, tilts_mrad=tilts,
        thicknesses_nm=thick, foci_nm=foci, orders=orders, stamps=np.stack(stamps, axis=-2).astype(np.complex64),
        source="handmade",
    )  # fmt: skip


LIBRARY = handmade()
CRYSTAL = Layer(material=replace(material_named("BiFeO3"), in_plane_pm=CELL_PM, out_of_plane_pm=CELL_PM))


def film(tilted: TiltedSettings, *, library: TiltLibrary = LIBRARY, seed: int = 0, **settings):
    """Return a film of one crystal whose cells are those of the library."""
    values = {"shape_px": SHAPE, "pixel_size_pm": PIXEL_PM, "layers": (CRYSTAL,), "displacement_pm": 0.0, **settings}
    found = FilmSettings(**values)
    return simulate_tilted_film(found, tilted, [library] * len(found.layers), rng=np.random.default_rng(seed))


def of_library(cells, *, tilt, thickness=30.0, focus=0.0, shift_pm=(0.0, 0.0), source_pm=80.0):
    """Return the image of the library itself at places in cells, A at the origin."""
    shift = np.array(shift_pm)
    stamps = stamps_on(
        LIBRARY, tilts_y_mrad=[tilt[0]], tilts_x_mrad=[tilt[1]], thicknesses_nm=[thickness], foci_nm=[focus]
    )[0, 0, :, 0, 0]
    stamps = np.tensordot(state_weights(shift[None] / 25.0, 5)[0], stamps, axes=1)
    terms = image_terms(stamps.astype(np.complex64), LIBRARY.orders, 0.5 + shift / CELL_PM)
    sigma = source_pm / np.sqrt(8.0 * np.log(2.0)) / CELL_PM
    length2 = np.sum(LIBRARY.orders**2, axis=1)
    terms = terms * np.exp(-2.0 * np.pi**2 * sigma**2 * length2) * np.where(length2 > 0, 2.0, 1.0)
    return (np.exp(2j * np.pi * cells @ LIBRARY.orders.T) @ terms).real


def places(settings_px=SHAPE):
    """Return the pixels in px from the middle."""
    y, x = np.mgrid[: settings_px[0], : settings_px[1]]
    return np.stack([y - (settings_px[0] - 1) / 2.0, x - (settings_px[1] - 1) / 2.0], axis=-1)


@pytest.mark.parametrize(
    ("tilt", "shift", "turn", "strain"),
    [
        ((0.0, 0.0), 0.0, 0.0, (0.0, 0.0)),
        ((13.0, -7.0), 0.0, 0.0, (0.0, 0.0)),
        ((13.0, -7.0), 30.0, 0.0, (0.0, 0.0)),
        ((-4.0, 21.0), 30.0, 33.0, (0.02, -0.03)),
    ],
)
def test_a_perfect_crystal_is_the_image_of_the_library(tilt, shift, turn, strain):
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.diag(1.0 + np.array(strain)) * CELL_PM / PIXEL_PM
    seen = film(
        TiltedSettings(tilt_mrad=tuple(rotation @ tilt), thickness_nm=30.0, focus_nm=1.5, source_fwhm_pm=0.0),
        displacement_pm=shift, rotation_deg=turn, strain=strain, shape_px=(70, 90),
    ).simulated.expected * UNIT  # fmt: skip
    cells = places((70, 90)) @ np.linalg.inv(matrix).T
    along = shift * np.array([-1.0, 1.0]) / np.sqrt(2.0)
    expected = of_library(cells, tilt=tilt, focus=1.5, shift_pm=along, source_pm=0.0)
    assert np.abs(seen - expected).max() < 1e-3 * np.ptp(expected)


def test_the_source_blurs_along_its_own_axes():
    sigma = 90.0 / np.sqrt(8.0 * np.log(2.0)) / CELL_PM
    round_, long = (
        film(TiltedSettings(source_fwhm_pm=90.0, source_ellipticity=e, source_angle_deg=90.0)).simulated.expected
        for e in (1.0, 1.5)
    )
    expected = of_library(places() * PIXEL_PM / CELL_PM, tilt=(0.0, 0.0), source_pm=90.0)
    assert np.abs(round_ * UNIT - expected).max() < 1e-3 * np.ptp(expected)
    # upright: each first order along y is weaker by the larger variance, along x stronger by the smaller one
    first = np.exp(2j * np.pi * places() * PIXEL_PM / CELL_PM)
    for axis, factor in ((0, 1.5), (1, 1.0 / 1.5)):
        ratio = np.mean(long[5:155, 5:155] * first[5:155, 5:155, axis]) / np.mean(
            round_[5:155, 5:155] * first[5:155, 5:155, axis]
        )
        assert ratio == pytest.approx(np.exp(-2.0 * np.pi**2 * sigma**2 * (factor - 1.0)), rel=2e-3)


def test_a_mirrored_tilt_mirrors_the_image():
    one = film(TiltedSettings(tilt_mrad=(8.0, 15.0), tilt_right_mrad=(1.0, 4.0))).simulated.expected
    other = film(TiltedSettings(tilt_mrad=(8.0, -15.0), tilt_right_mrad=(-1.0, 4.0))).simulated.expected
    assert np.abs(one - other[:, ::-1]).max() < 1e-3 * np.ptp(one)
    assert np.abs(one - other).max() > 0.05 * np.ptp(one)


def test_film_and_tilt_turn_together():
    tilted = TiltedSettings(tilt_mrad=(8.0, 15.0), tilt_down_mrad=(2.0, 0.0), source_ellipticity=1.3)
    one = film(tilted, displacement_pm=20.0).simulated.expected
    turned = TiltedSettings(
        tilt_mrad=(-15.0, 8.0), tilt_right_mrad=(0.0, 2.0), source_ellipticity=1.3, source_angle_deg=90.0
    )
    other = film(turned, displacement_pm=20.0, rotation_deg=90.0).simulated.expected
    assert np.abs(np.rot90(one) - other).max() < 1e-3 * np.ptp(one)


def test_twice_the_dose_is_twice_the_counts_and_noise_is_that_of_counting():
    one, two = (film(TiltedSettings(dose_e_per_pm2=dose)).simulated for dose in (2.0, 4.0))
    np.testing.assert_allclose(two.expected, 2.0 * one.expected, rtol=1e-5)
    off = (two.image.data - two.expected) / np.sqrt(two.expected)
    assert np.std(off) == pytest.approx(1.0, abs=0.02)


def test_truth_stays_where_it_is_and_tells_the_tilt():
    domains = wall("180", width_pm=0.0)
    flat = film(TiltedSettings(), displacement_pm=30.0, domains=domains)
    bent = film(
        TiltedSettings(tilt_mrad=(10.0, 0.0), tilt_right_mrad=(0.0, 5.0), thickness_change_nm=(4.0, 0.0)),
        displacement_pm=30.0, domains=domains,
    )  # fmt: skip
    np.testing.assert_array_equal(flat.simulated.truth_columns.positions_px, bent.simulated.truth_columns.positions_px)
    cells = bent.simulated.truth_cells
    length = np.linalg.norm(cells.displacement_px, axis=1) * PIXEL_PM
    assert np.median(length) == pytest.approx(30.0, rel=1e-6)
    place = cells.positions_px + cells.displacement_px - (np.array(SHAPE) - 1) / 2.0
    np.testing.assert_allclose(bent.tilt_mrad[:, 0], 10.0)
    np.testing.assert_allclose(bent.tilt_mrad[:, 1], 5.0 * place[:, 1] / SHAPE[1])
    np.testing.assert_allclose(bent.thickness_nm, 30.0 + 4.0 * place[:, 0] / SHAPE[0])
    assert np.isnan(bent.simulated.truth_columns.amplitude).all()


def test_what_is_measured_is_zero_upright_and_what_the_library_says_under_a_tilt():
    means = []
    for tilt in ((0.0, 0.0), (0.0, 10.0)):
        made = film(TiltedSettings(tilt_mrad=tilt, dose_e_per_pm2=1000.0), library=handmade(polar=False)).simulated
        cells = build_cells(locate_columns(made.image, fit=GaussianFit()))
        means.append(np.median(cells.displacement_px, axis=0) * PIXEL_PM)
    assert np.abs(means[0]).max() < 0.1
    # A and B are Gaussians here: a fit finds them where the beam meets them, against the tilt
    assert means[1] == pytest.approx([0.0, -10.0 * (DEPTH_NM[1] - DEPTH_NM[0])], abs=0.3)


def test_tables_hold_the_stamp_of_every_column():
    rng = np.random.default_rng(4)
    place = Place(
        tilt_mrad=np.array([12.0, -5.0]) + rng.uniform(-3.0, 3.0, (400, 2)),
        thickness_nm=rng.uniform(28.0, 32.0, 400),
        shift_pm=rng.uniform(-25.0, 25.0, (400, 2)),
    )
    both = stamp_tables(LIBRARY, place, focus_nm=1.0, blur_cells2=np.zeros((2, 2)))
    points = np.stack(np.meshgrid(*[np.arange(0, POINTS, 12)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    waves = np.exp(2j * np.pi * points @ LIBRARY.orders.T / POINTS) * np.where(LIBRARY.orders.any(axis=1), 2.0, 1.0)
    waves /= np.prod(np.sinc(LIBRARY.orders / POINTS) ** 2, axis=1)
    for row in (0, 123, 399):
        stamps = stamps_on(
            LIBRARY, tilts_y_mrad=place.tilt_mrad[row, :1], tilts_x_mrad=place.tilt_mrad[row, 1:],
            thicknesses_nm=place.thickness_nm[row : row + 1], foci_nm=[1.0],
        )[0, 0, :, 0, 0]  # fmt: skip
        stamps = np.tensordot(state_weights(place.shift_pm[row : row + 1] / 25.0, 5)[0], stamps, axes=1)
        for sublattice, found in enumerate(both):
            assert len(found.tables) < 12
            table = np.tensordot(found.weights[row], found.tables, axes=1)[points[:, 0], points[:, 1]]
            expected = (waves @ stamps[sublattice]).real
            assert np.abs(table - expected).max() < 4e-3 * np.ptp(expected)


def flat(count: int, value: float = 1.0) -> StampTables:
    """Return stamps that are the same everywhere."""
    tables = np.full((1, POINTS + 1, POINTS + 1), value, dtype=np.float32)
    return StampTables(tables=tables, weights=np.ones((count, 1), dtype=np.float32))


def lattice(matrix, reach=12):
    return np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 2) @ matrix.T


def test_background_stays_where_columns_are_displaced():
    rng = np.random.default_rng(1)
    matrix = np.array([[20.0, 3.0], [-2.0, 22.0]])
    sites = lattice(matrix) + 40.0
    columns = Stamped(
        positions_px=sites + rng.normal(0.0, 2.0, sites.shape), sites_px=sites, factor=np.ones(len(sites)),
        stamps=flat(len(sites)), cell_px=matrix,
    )  # fmt: skip
    np.testing.assert_allclose(render_stamps((80, 80), (columns,)), 1.0, atol=2e-6)


def test_a_single_column_ends_before_its_neighbours():
    one = Stamped(
        positions_px=np.array([[40.0, 40.0]]), sites_px=np.array([[40.0, 40.0]]), factor=np.ones(1), stamps=flat(1),
        cell_px=20.0 * np.eye(2),
    )  # fmt: skip
    image = render_stamps((81, 81), (one,))
    assert image[40, 40] == 1.0
    assert image[40 - 14 : 41 + 14, 40 - 14 : 41 + 14].sum() == image.sum() > 0


def test_rows_see_the_specimen_where_they_look():
    seen = film(TiltedSettings(tilt_mrad=(5.0, 0.0)), drift_px=(0.0, 0.0)).simulated.expected
    moved = film(TiltedSettings(tilt_mrad=(5.0, 0.0)), row_jitter_px=(0.3, 0.3), seed=3).simulated
    rows = np.arange(20, 140)
    cells = places()[rows] + moved.row_shift_px[rows, None, :]
    expected = of_library(cells * PIXEL_PM / CELL_PM, tilt=(5.0, 0.0)) / UNIT
    assert np.abs(moved.expected[rows] - expected).max() < 1e-3 * np.ptp(seen)


def test_each_layer_has_its_library_and_vacuum_has_nothing():
    dark = replace(LIBRARY, stamps=0.5 * LIBRARY.stamps)
    settings = FilmSettings(
        shape_px=(200, 120), pixel_size_pm=PIXEL_PM, vacuum=0.25, displacement_pm=0.0, nan_border_px=2,
        layers=(CRYSTAL, replace(CRYSTAL, share=2.0)),
    )  # fmt: skip
    made = simulate_tilted_film(settings, TiltedSettings(), (dark, LIBRARY), rng=np.random.default_rng(0)).simulated
    assert np.isnan(made.expected[:2]).all()
    assert (made.expected[2:30, 2:-2] == 0.0).all()
    middle, lower = made.expected[80:105, 2:-2].mean(), made.expected[165:190, 2:-2].mean()
    assert lower == pytest.approx(0.5 * middle, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tilt_mrad": (31.0, 0.0)}, "tilt (mrad)"),
        ({"tilt_mrad": (28.0, 0.0), "tilt_down_mrad": (6.0, 0.0)}, "tilt (mrad)"),
        ({"thickness_nm": 90.0}, "thickness (nm)"),
        ({"focus_nm": -7.0}, "focus (nm)"),
    ],
)
def test_nothing_is_made_up_outside_the_library(change, told):
    with pytest.raises(SettingsError, match="library of bfo") as error:
        film(TiltedSettings(**change))
    assert told in str(error.value)


def test_nonsense_is_refused():
    with pytest.raises(SettingsError, match="out of range"):
        TiltedSettings(thickness_nm=0.0, source_fwhm_pm=-1.0)
    with pytest.raises(SettingsError, match="out of range"):
        TiltedSettings(thickness_nm=10.0, thickness_change_nm=(20.0, 0.0))
    with pytest.raises(SettingsError, match="amorphous"):
        film(TiltedSettings(), amorphous=(0.1, 0.4, 0.1, 0.4))
    with pytest.raises(SettingsError, match="Each layer"):
        simulate_tilted_film(FilmSettings(), TiltedSettings(), (LIBRARY,), rng=np.random.default_rng(0))
    nowhere = Stamped(
        positions_px=np.full((1, 2), np.nan), sites_px=np.zeros((1, 2)), factor=np.ones(1), stamps=flat(1),
        cell_px=20.0 * np.eye(2),
    )  # fmt: skip
    with pytest.raises(DataError, match="finite"):
        render_stamps((8, 8), (nowhere,))


def test_random_films_repeat_themselves_and_stay_inside_their_ranges():
    tilts = TiltRanges(thickness_nm=(20.0, 30.0))
    for seed in range(6):
        made, again = (
            random_tilted_film(np.random.default_rng(seed), LIBRARY, shape_px=(96, 128), tilts=tilts) for _ in "12"
        )
        np.testing.assert_array_equal(made.film.image, again.film.image)
        assert np.isfinite(made.film.image).all()
        assert len(made.tilt_mrad) == len(made.thickness_nm) == len(made.film.cells.flags)
        assert np.linalg.norm(made.tilt_mrad, axis=1).max(initial=0.0) <= 30.0 + 1e-9
        assert 20.0 <= made.tilted.thickness_nm <= 30.0
        assert abs(made.tilted.focus_nm) <= 5.0


def test_random_films_of_a_crystal_that_is_never_polar_are_not_polar():
    ranges = FilmRanges(zero_share=0.0, displacement=(0.1, 0.14), wave_share=1.0)
    made = random_tilted_film(np.random.default_rng(0), handmade(polar=False), shape_px=(128, 128), ranges=ranges)
    assert np.abs(made.film.cells.displacement_px).max() < 1e-9
    polar = random_tilted_film(np.random.default_rng(0), LIBRARY, shape_px=(128, 128), ranges=ranges)
    assert np.abs(polar.film.cells.displacement_px).max() > 0.5


FILM = ["--height-px", "128", "--width-px", "128", "--layers", "BiFeO3"]


@pytest.fixture(scope="module")
def library_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("library") / "mine.npz"
    write_tilt_library(handmade(nodes=3), path)
    return str(path)


def test_the_command_writes_tilts_beside_the_truth(library_file, tmp_path, capsys):
    out = tmp_path / "out"
    bent = ["--tilt-mrad=-10,0", "--tilt-change-mrad", "0,5", "--thickness-nm", "20", "--tilt-library", library_file]
    assert main(["simulate", "image", "--out", str(out), *bent, *FILM]) == 0, capsys.readouterr().err
    with (out / "truth_cells.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["tilt_y_mrad"] for row in rows} == {"-10"}
    assert {row["thickness_nm"] for row in rows} == {"20"}
    slope = np.polyfit([float(row["x_px"]) for row in rows], [float(row["tilt_x_mrad"]) for row in rows], 1)[0]
    assert slope == pytest.approx(5.0 / 128, rel=0.05)
    assert {row["domain"] for row in rows} >= {"0", "1"}
    plain = dipolar.simulate_image(
        tilt_mrad=(-10, 0), tilt_change_mrad="0,5", thickness_nm=20, tilt_library=library_file, layers="BiFeO3",
        height_px=128, width_px=128,
    )  # fmt: skip
    np.testing.assert_array_equal(plain.image.data, dipolar.open_image(out / "film.tif").data)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--tilt-change-mrad", "0,5"], ["tilt_change_mrad=0,5", "--tilt-mrad"]),
        (["--tilt-mrad", "10,0", "--pattern", "vortex"], ["pattern=vortex", "leave out"]),
        (["--tilt-mrad", "10,0", "--ratio-b-to-a", "0.3", "--tail-fraction", "0.1"], ["ratio_b_to_a", "tail_fraction"]),
        (["--tilt-mrad", "40,0"], ["30 are known", "dipolar simulate tilt"]),
        (["--tilt-mrad", "10"], ["two numbers", "10,0"]),
    ],
)
def test_settings_that_contradict_are_refused(options, told, library_file, tmp_path, capsys):
    own = ["--tilt-library", library_file] if "--tilt-mrad" in options else []
    assert main(["simulate", "image", "--out", str(tmp_path / "no"), *options, *own, *FILM]) in (1, 2)
    text = capsys.readouterr().err
    assert all(part in text for part in told), text
    assert not (tmp_path / "no").exists()


def test_a_library_of_another_material_is_refused(library_file):
    with pytest.raises(SettingsError, match="material of a layer"):
        dipolar.simulate_image(tilt_mrad="5,0", tilt_library=library_file, layers="SrTiO3")
