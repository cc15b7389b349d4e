"""The library of tilt: its symmetry, its interpolation, its file, and the command that makes one."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from dipolar.cli.main import main
from dipolar.core.errors import ChecksumError, FormatError, SettingsError
from dipolar.core.tilt_library import (
    STATES,
    TiltLibrary,
    image_terms,
    interpolation,
    stamps_on,
    state_weights,
    turned_terms,
)
from dipolar.core.tilt_symmetry import TURNS, Lean, alike, folded, leans, unfolded
from dipolar.io import tilt_library as on_disk
from dipolar.io.tilt_library import kept_error, read_tilt_library, write_tilt_library
from dipolar.io.tilt_library_packed import ERROR, SIGMA_PM
from dipolar.recipes import tilt_library as recipe
from dipolar.recipes import tilt_library_checks, tilt_library_shipped
from dipolar.recipes.settings import change
from dipolar.recipes.tilt_library import LibraryJob, kept_at, library_for, microscope_of, shipped_library, tilt_library
from dipolar.recipes.tilt_library_result import SOURCE_PM, bias_rows, cell_images
from dipolar.recipes.tilt_library_settings import TiltLibrarySettings
from dipolar.run import DaskJobs, Serial
from dipolar.simulate.tilted.crystal import perovskite
from dipolar.simulate.tilted.stamps import orders_of, stamps_of

TINY = ["--material", "sto", "--tilt-steps", "1", "--tilt-step-mrad", "10", "--displaced-every", "1", "--thickness-nm",
        "2", "--focus-nm", "0", "--convergence-mrad", "12", "--inner-mrad", "30"]  # fmt: skip
SMALL = TiltLibrarySettings(
    material="sto", tilt_steps=1, tilt_step_mrad=10, displaced_every=1, thickness_nm="2", focus_nm="0",
    convergence_mrad=12, inner_mrad=30,
)  # fmt: skip
CELL_PM, WIDTH_PM, WALK_NM = 400.0, 40.0, 3.0


def orders(reach: float = 6.0) -> np.ndarray:
    most = int(reach)
    grid = np.array([(h, k) for h in range(most + 1) for k in range(-most, most + 1) if h or k >= 0], dtype=np.int64)
    return grid[np.linalg.norm(grid, axis=1) <= reach]


def made(*, polar: bool = True, nodes: int = 2, thicknesses: int = 3, foci: int = 2) -> TiltLibrary:
    """A library in which columns are Gaussians that walk against the tilt, are wider along it, and follow B a bit."""
    tilts = 10.0 * np.arange(-nodes, nodes + 1)
    states = STATES if polar else STATES[:1]
    deep, focus = 5.0 * np.arange(1, thicknesses + 1), 2.0 * np.arange(foci)
    g = orders() / CELL_PM
    stamps = np.empty((len(tilts), len(tilts), len(states), thicknesses, foci, 2, len(g)), dtype=np.complex64)
    for i, j, k, t, f, column in np.ndindex(stamps.shape[:-1]):
        tilt, state = np.array([tilts[i], tilts[j]]), np.array(states[k], dtype=np.float64)
        moved = -tilt * (0.5 + 0.5 * column) * deep[t] / (deep[t] + WALK_NM) + 3.0 * column * state
        blur = np.exp(-2.0 * (np.pi * WIDTH_PM) ** 2 * np.sum(g**2, axis=1) - (0.2 * np.pi * (g @ tilt)) ** 2)
        bright = (0.02 + 0.01 * column) * deep[t] / (1.0 + 0.1 * focus[f])
        stamps[i, j, k, t, f, column] = bright * blur * np.exp(-2j * np.pi * (g @ moved))
    return TiltLibrary(
        material="bfo", elements=("Bi", "Fe"), cell_pm=CELL_PM, depth_pm=CELL_PM, voltage_kv=200.0,
        convergence_mrad=20.0, detector_mrad=(65.0, 250.0), displacement_pm=25.0 if polar else 0.0, tilts_mrad=tilts,
        thicknesses_nm=deep, foci_nm=focus, orders=orders(), stamps=stamps, source="made by hand",
    )  # fmt: skip


def thinned(whole: TiltLibrary) -> TiltLibrary:
    """The same library, of which displaced crystals are known at every second tilt alone."""
    nodes, polar = len(whole.tilts_mrad) // 2, whole.stamps.shape[2] > 1
    runs = folded(whole.stamps, every=2)
    stamps = unfolded(runs, whole.orders, nodes=nodes, polar=polar, every=2)
    return replace(whole, stamps=stamps, displaced_every=2)


@pytest.fixture(scope="module")
def library() -> TiltLibrary:
    return made()


@pytest.fixture(scope="module")
def fine() -> TiltLibrary:
    return made(nodes=4, thicknesses=2)


def picture(terms: np.ndarray, at: np.ndarray, *, sigma_pm: float = 0.0) -> np.ndarray:
    """The image that terms make, by the sum over all frequencies, at the points of a fine grid."""
    axis = np.arange(40) / 40
    wave = [np.exp(2j * np.pi * np.outer(at[:, axis_], axis)) for axis_ in (0, 1)]
    double = np.where(np.any(at != 0, axis=1), 2.0, 1.0)
    blur = np.exp(-2.0 * (np.pi * sigma_pm / CELL_PM) ** 2 * np.sum(at**2, axis=1))
    return np.einsum("...t,ty,tx->...yx", terms * double * blur, *wave, optimize=True).real


# symmetry


def test_what_symmetry_makes_of_a_run_is_what_the_library_has(library):
    nodes = len(library.tilts_mrad) // 2
    for lean in (Lean((2, 1), (1, 0)), Lean((0, -1), (0, 0)), Lean((-2, 2), (0, -1))):
        here = library.stamps[nodes + lean.tilt[0], nodes + lean.tilt[1], STATES.index(lean.state)]
        for matrix in TURNS:
            there = lean.turned(matrix)
            other = library.stamps[nodes + there.tilt[0], nodes + there.tilt[1], STATES.index(there.state)]
            np.testing.assert_allclose(turned_terms(here, library.orders, matrix), other, atol=1e-7)


def test_turned_terms_are_those_of_the_turned_picture(library):
    terms = library.stamps[4, 1, 2, 0, 0, 0]
    seen = picture(terms, library.orders)
    turned = picture(turned_terms(terms, library.orders, np.array([[0, 1], [-1, 0]])), library.orders)
    # what was at (y, x) is then at (x, -y)
    np.testing.assert_allclose(turned, np.roll(seen.T[:, ::-1], 1, axis=1), atol=1e-6)
    assert np.abs(turned - seen).max() > 0.01


@pytest.mark.parametrize("polar", [True, False])
def test_folded_and_unfolded_is_the_same(polar):
    whole = made(polar=polar)
    runs = folded(whole.stamps)
    assert list(runs) == leans(2, polar=polar) and len(runs) == (21 if polar else 6)
    again = unfolded(runs, whole.orders, nodes=2, polar=polar)
    np.testing.assert_allclose(again, whole.stamps, atol=1e-7)


def test_no_run_shows_what_another_does_and_every_one_is_shown():
    runs = leans(3, polar=True)
    assert len(runs) == 38 and len(set(runs)) == 38
    for y, x, state in product(range(-3, 4), range(-3, 4), STATES):
        run, matrix = alike(Lean((y, x), state))
        assert run in runs and run.turned(matrix) == Lean((y, x), state)


@pytest.mark.parametrize(("nodes", "every"), [(2, 2), (4, 2), (6, 2), (6, 3), (6, 6)])
def test_displaced_runs_are_at_every_second_tilt_and_the_others_at_all(nodes, every):
    runs, whole = leans(nodes, polar=True, every=every), leans(nodes, polar=True)
    coarse = nodes // every
    # an eighth of all tilts; half of those of a displacement, which turns and mirrors make of one another
    assert len(runs) == (nodes + 1) * (nodes + 2) // 2 + (2 * coarse + 1) * (coarse + 1)
    assert leans(nodes, polar=False, every=every) == [run for run in runs if run.state == (0, 0)]
    apart = {run for run in whole if run.state != (0, 0) and any(number % every for number in run.tilt)}
    assert set(runs) == set(whole) - apart


def test_what_was_computed_stays_and_between_it_a_change_is_interpolated(fine):
    found, nodes = thinned(fine), 4
    np.testing.assert_allclose(found.stamps[:, :, 0], fine.stamps[:, :, 0], atol=1e-7)
    np.testing.assert_allclose(found.stamps[::2, ::2], fine.stamps[::2, ::2], atol=1e-6)
    right, kept = (one.stamps[:, :, 1:] - one.stamps[:, :, :1] for one in (fine, found))
    largest = np.abs(right).max()
    # cubics through four of the nodes -4, -2, 0, 2, 4, those at -2 and beyond
    between = {1: np.array([-1.0, 9.0, 9.0, -1.0]) / 16.0, 3: np.array([1.0, -5.0, 15.0, 5.0]) / 16.0}
    for at, weights in between.items():
        np.testing.assert_allclose(
            kept[nodes + at], np.tensordot(weights, kept[2::2], axes=1), atol=1e-5 * largest, rtol=0
        )
        both = np.einsum("i,j,ij...->...", weights, weights, right[2::2, 2::2])
        np.testing.assert_allclose(kept[nodes + at, nodes + at], both, atol=1e-5 * largest, rtol=0)
    assert 0.0 < np.abs(kept - right).max() < 0.05 * largest


def test_thinned_and_thinned_again_is_the_same(fine):
    once = thinned(fine)
    np.testing.assert_allclose(thinned(once).stamps, once.stamps, atol=1e-6)
    never = made(polar=False)
    np.testing.assert_allclose(thinned(never).stamps, never.stamps, atol=1e-7)


def test_multislice_of_a_turned_tilt_is_the_turned_one():
    crystal, microscope = perovskite("sto"), microscope_of(SMALL)
    at = orders_of(microscope, 390.5)

    def stamps(tilt):
        return stamps_of(crystal, microscope, tilt_mrad=tilt, shift_pm=(0.0, 0.0), thicknesses_nm=np.array([2.0]),
                         foci_nm=np.array([0.0]))  # fmt: skip

    first, other = stamps((10.0, 5.0)), stamps((-5.0, 10.0))
    turned = turned_terms(first, at, np.array([[0, -1], [1, 0]]))
    assert np.abs(turned - other).max() < 2e-3 * np.abs(other).max()
    assert np.abs(first - other).max() > 2e-2 * np.abs(other).max()


# interpolation


def test_interpolation_is_exact_at_nodes_and_for_cubics():
    nodes = np.array([2.0, 3.0, 5.0, 8.0, 9.0, 14.0])
    np.testing.assert_allclose(interpolation(nodes, nodes), np.eye(6), atol=1e-12)
    at = np.linspace(2.0, 14.0, 50)
    for power in range(4):
        np.testing.assert_allclose(interpolation(nodes, at) @ nodes**power, at**power, rtol=1e-10)
    np.testing.assert_allclose(interpolation(nodes[:2], at) @ nodes[:2], at, rtol=1e-10)


def test_states_are_exact_at_states_and_for_quadratics():
    np.testing.assert_allclose(state_weights(np.array(STATES, dtype=float), 5), np.eye(5), atol=1e-12)
    at = np.array([[0.3, -0.7], [-0.2, 0.1]])
    states = np.array(STATES, dtype=float)
    values = 2.0 + states @ [0.5, -1.0] + states**2 @ [3.0, 0.2]
    np.testing.assert_allclose(state_weights(at, 5) @ values, 2.0 + at @ [0.5, -1.0] + at**2 @ [3.0, 0.2])
    np.testing.assert_array_equal(state_weights(at, 1), np.ones((2, 1)))


def test_stamps_on_the_librarys_own_grid_are_its_own_and_axes_do_not_mix(library):
    same = stamps_on(library, tilts_y_mrad=library.tilts_mrad, tilts_x_mrad=library.tilts_mrad,
                     thicknesses_nm=library.thicknesses_nm, foci_nm=library.foci_nm)  # fmt: skip
    np.testing.assert_allclose(same, library.stamps, atol=1e-6)
    one = stamps_on(library, tilts_y_mrad=[20.0], tilts_x_mrad=[-10.0], thicknesses_nm=[10.0], foci_nm=[2.0])
    np.testing.assert_allclose(one[0, 0, :, 0, 0], library.stamps[4, 1, :, 1, 1], atol=1e-6)


def test_what_a_focus_moves_by_half_of_focus_times_tilt_is_interpolated_exactly(library):
    """Pictures of a column on its own grid, and anywhere between, are one picture moved."""

    def seen(y, x, foci):
        tilts = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)
        far = np.multiply.outer(tilts, foci) @ np.eye(len(foci)) / 2.0  # mrad nm are pm; against the tilt
        phase = np.einsum("yxaf,ga->yxfg", far, library.orders / CELL_PM)
        return np.exp(2j * np.pi * phase).astype(np.complex64)

    own = seen(library.tilts_mrad, library.tilts_mrad, library.foci_nm)[:, :, None, None, :, None, :]
    steep = replace(library, stamps=np.broadcast_to(own, library.stamps.shape).copy())
    y, x, foci = np.array([-17.0, 3.0, 15.0]), np.array([5.0, 12.5]), np.array([0.7, 1.6])
    found = stamps_on(steep, tilts_y_mrad=y, tilts_x_mrad=x, thicknesses_nm=[7.0], foci_nm=foci)
    expected = np.broadcast_to(seen(y, x, foci)[:, :, None, None, :, None, :], found.shape)
    np.testing.assert_allclose(found, expected, atol=2e-5)


# on disk


def worst_of(right: TiltLibrary, kept: TiltLibrary, rows: Iterable[int], column: int) -> float:
    """The largest RMS error of an image under the least source, over its contrast, at some tilts."""
    worst = 0.0
    for i, k, t in product(rows, range(5), range(len(right.thicknesses_nm))):
        both = [
            picture(
                image_terms(one.stamps[i, column, k, t], one.orders, np.full((2, 2), 0.5)),
                one.orders, sigma_pm=SIGMA_PM,
            )
            for one in (right, kept)
        ]  # fmt: skip
        contrast = np.ptp(both[0], axis=(1, 2))
        worst = max(worst, float((np.sqrt(np.mean((both[1] - both[0]) ** 2, axis=(1, 2))) / contrast).max()))
    return worst


def test_written_and_read_is_the_same_to_the_error_that_is_stated(library, tmp_path):
    write_tilt_library(library, tmp_path / "one.npz")
    again = read_tilt_library(tmp_path / "one.npz")
    for field in fields(library):
        if field.name != "stamps":
            np.testing.assert_array_equal(getattr(again, field.name), getattr(library, field.name))
    stated, sharp = kept_error(tmp_path / "one.npz")
    assert 0.0 < worst_of(library, again, range(5), 3) < 1.5 * stated <= 1.5 * ERROR and sharp >= stated


def test_displacements_at_every_second_tilt_are_read_as_they_were_written(fine, tmp_path):
    once = thinned(fine)
    write_tilt_library(once, tmp_path / "one.npz")
    again = read_tilt_library(tmp_path / "one.npz")
    assert again.displaced_every == 2 and again.stamps.shape == once.stamps.shape
    stated, _ = kept_error(tmp_path / "one.npz")
    assert 0.0 < worst_of(once, again, (0, 2, 8), 4) < 1.5 * stated <= 1.5 * ERROR
    assert worst_of(once, again, (1, 4, 7), 5) < 3.0 * stated  # a sum of several
    np.testing.assert_allclose(thinned(again).stamps, again.stamps, atol=1e-6)  # between nodes, it is interpolated


def test_many_stamps_that_are_alike_take_little_room(tmp_path):
    many = made(thicknesses=8, foci=4)
    write_tilt_library(many, tmp_path / "many.npz")
    assert (tmp_path / "many.npz").stat().st_size < 0.02 * many.stamps.nbytes


def test_a_library_without_the_symmetry_of_its_crystal_is_refused(library, tmp_path):
    odd = library.stamps.copy()
    odd[3, 0, 1] *= 1.01
    with pytest.raises(SettingsError, match=r"(?s)symmetry of their crystal.*\(1, -2\).*tilt_symmetry"):
        write_tilt_library(replace(library, stamps=odd), tmp_path / "odd.npz")
    one_sided = replace(library, tilts_mrad=library.tilts_mrad + 5.0)
    with pytest.raises(SettingsError, match="as far to both sides"):
        write_tilt_library(one_sided, tmp_path / "odd.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_refused_wherever_it_is_damaged(library, tmp_path):
    path = tmp_path / "one.npz"
    write_tilt_library(library, path)
    whole = path.read_bytes()
    for place in np.linspace(40, len(whole) - 200, 25).astype(int):
        broken = bytearray(whole)
        broken[place] ^= 0x10
        path.write_bytes(broken)
        try:
            again = read_tilt_library(path)
        except ChecksumError as error:
            assert "damaged" in str(error) and "dipolar simulate tilt" in str(error)
        else:  # a byte that says nothing, such as the date of an entry
            np.testing.assert_array_equal(again.foci_nm, library.foci_nm)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ChecksumError, match="ends too early"):
        read_tilt_library(path)


def test_other_numbers_with_whole_archives_are_refused(library, tmp_path):
    path = tmp_path / "one.npz"
    write_tilt_library(library, path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["contrast"] = arrays["contrast"] * 2
    np.savez_compressed(path, **arrays)
    with pytest.raises(ChecksumError, match="checksum"):
        read_tilt_library(path)


def test_what_is_no_library_is_refused(library, tmp_path, monkeypatch):
    with pytest.raises(FormatError, match="no such file"):
        read_tilt_library(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("something else")
    with pytest.raises(FormatError, match="something else"):
        read_tilt_library(tmp_path / "text.npz")
    with monkeypatch.context() as later:
        later.setattr(on_disk, "VERSION", 2)
        write_tilt_library(library, tmp_path / "newer.npz")
    with pytest.raises(FormatError, match=r"(?s)version 1 at most.*version 2.*newer dipolar"):
        read_tilt_library(tmp_path / "newer.npz")


def test_a_library_is_found_by_material_by_file_and_by_folder(library, tmp_path, monkeypatch):
    monkeypatch.setattr(tilt_library_shipped, "SHIPPED", tmp_path)
    write_tilt_library(library, tmp_path / "bfo.npz")
    (tmp_path / "folder").mkdir()
    shutil.copyfile(tmp_path / "bfo.npz", tmp_path / "folder" / "library.npz")
    for name in ("bfo", "BiFeO3", tmp_path / "bfo.npz", str(tmp_path / "folder")):
        assert library_for(name).elements == ("Bi", "Fe")
    write_tilt_library(library, tmp_path / "sto.npz")
    with pytest.raises(SettingsError, match=r"(?s)gold.*one of bfo, sto,"):
        library_for("gold")
    make = r"dipolar simulate tilt --material pto --out pto-tilt, then --tilt-library pto-tilt"
    with pytest.raises(SettingsError, match=rf"(?s)for bfo, sto; others.*PbTiO3.*{make}"):
        library_for("PbTiO3")


def test_the_library_that_comes_with_dipolar_shows_the_error_that_a_tilt_makes():
    found = shipped_library("bfo")
    assert found.stamps.shape == (13, 13, 5, 19, 7, 2, 175) and found.tilts_mrad[-1] == 30.0
    assert found.displaced_every == 2
    thin = replace(found, thicknesses_nm=found.thicknesses_nm[:2], stamps=found.stamps[:, :, :, :2])
    images = cell_images(found, tilt=(0, 0), focus=3, source_fwhm_pm=SOURCE_PM)
    centre = images.at(np.array([[0.0, 0.0], [0.5, 0.5]]) * found.cell_pm)
    assert (centre[:, 0] > centre[:, 1]).all()  # bismuth is brighter than iron
    rows = {(round(row["thickness_nm"]), row["tilt_mrad"]): row for row in bias_rows(thin)}
    for thickness in (2, 3):
        assert abs(rows[thickness, 0.0]["difference_pm"]) < 0.02  # the file is rounded
        assert rows[thickness, 10.0]["a_shift_pm"] < -3.0  # columns of a thin crystal move against the tilt


# the command


def runs_of(library: TiltLibrary) -> dict[Lean, np.ndarray]:
    """Runs that make a library: they have more terms, which it leaves out."""
    every = orders_of(microscope_of(SMALL), library.cell_pm).tolist()
    rows = [every.index(order) for order in library.orders.tolist()]
    assert len(rows) < len(every)
    found = {}
    for lean, stamps in folded(library.stamps, every=library.displaced_every).items():
        found[lean] = np.full((*stamps.shape[:-1], len(every)), 7.0, dtype=np.complex64)
        found[lean][..., rows] = stamps
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished library; it was interrupted after one run, and the same command went on."""
    out = tmp_path_factory.mktemp("library") / "tilt"
    real, jobs = recipe.library_job, []

    def interrupted(job):
        jobs.append(job.lean)
        if len(jobs) == 2:
            raise KeyboardInterrupt
        return real(job)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recipe, "library_job", interrupted)
        assert main(["simulate", "tilt", "--out", str(out), *TINY]) == 130
        assert not out.exists() and len(list(out.with_name("tilt.work").glob("*.npy"))) == 1
        assert main(["simulate", "tilt", "--out", str(out), *TINY]) == 0
    assert len(jobs) == 4 and len(set(jobs)) == 3  # only the interrupted one was done again
    return out


def test_the_folder_holds_library_table_and_record(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["bias.csv", "library.npz", "run.json"]
    assert not folder.with_name("tilt.work").exists()
    assert main(["verify", str(folder)]) == 0
    found = library_for(folder)
    assert (found.material, found.elements, found.stamps.shape[:5]) == ("sto", ("Sr", "Ti"), (3, 3, 1, 1, 1))
    with (folder / "bias.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [row["tilt_mrad"] for row in rows] == [0.0, 10.0]
    assert abs(rows[0]["a_shift_pm"]) < 0.01 and rows[1]["a_shift_pm"] < -1.0
    assert rows[1]["difference_pm"] == pytest.approx(rows[1]["b_shift_pm"] - rows[1]["a_shift_pm"], abs=1e-4)
    told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert told["summary"]["rms_error"] <= ERROR and "Abramov" in told["inputs"]["structure"]


def test_kept_runs_are_taken_and_damaged_ones_are_made_again(folder, tmp_path, monkeypatch):
    whole = library_for(folder)
    stamps = runs_of(whole)
    jobs = [LibraryJob(lean=lean, settings=SMALL) for lean in stamps]
    for job in jobs:
        np.save(kept_at(tmp_path, job), stamps[job.lean])
    kept_at(tmp_path, jobs[1]).write_bytes(b"damaged")
    done = []
    monkeypatch.setattr(recipe, "library_job", lambda job: done.append(job.lean) or stamps[job.lean])
    shares = []
    made_again = tilt_library(SMALL, work=tmp_path, spread=Serial(), progress=lambda _, share: shares.append(share))
    assert done == [jobs[1].lean] and shares == pytest.approx([2 / 3, 1.0])
    np.testing.assert_allclose(made_again.stamps, whole.stamps, atol=1e-7)
    np.testing.assert_array_equal(np.load(kept_at(tmp_path, jobs[1])), stamps[done[0]])


def test_a_library_made_by_a_cluster_is_the_same_and_only_this_process_keeps_it(folder, tmp_path):
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": 1, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(processes=False, silence_logs=50, **settings) as cluster:
        over = tilt_library(SMALL, work=tmp_path / "work", spread=DaskJobs(url=cluster.scheduler_address))
    here = library_for(folder).stamps
    assert np.abs(over.stamps - here).max() < 1e-3 * np.abs(here).max()
    assert len(list((tmp_path / "work").iterdir())) == 3


def test_names_of_kept_runs_do_not_depend_on_who_works_or_how_many_tilts_there_are(tmp_path):
    lean = Lean((1, 0), (0, 0))
    here = kept_at(tmp_path, LibraryJob(lean=lean, settings=SMALL))
    others = ({"workers": 4}, {"cluster": "tcp://a:1"}, {"tilt_steps": 3}, {"tilt_steps": 4, "displaced_every": 2})
    for changes in others:
        assert kept_at(tmp_path, LibraryJob(lean=lean, settings=change(SMALL, changes))) == here
    for changes in ({"thickness_nm": "3"}, {"tilt_step_mrad": 5.0}, {"inner_mrad": 31.0}):
        assert kept_at(tmp_path, LibraryJob(lean=lean, settings=change(SMALL, changes))) != here
    assert kept_at(tmp_path, LibraryJob(lean=Lean((1, 1), (0, 0)), settings=SMALL)) != here


def test_json_and_show_and_a_settings_file(folder, tmp_path, capsys, monkeypatch):
    stamps = runs_of(library_for(folder))
    monkeypatch.setattr(recipe, "library_job", lambda job: stamps[job.lean])
    (tmp_path / "run.toml").write_text(
        "tilt_steps = 1\ntilt_step_mrad = 10\ndisplaced_every = 1\nthickness_nm = '2'\nfocus_nm = '0'\n"
        "material = 'sto'\n"
    )
    words = ["--settings", str(tmp_path / "run.toml"), "--convergence-mrad", "12", "--inner-mrad", "30"]
    assert main(["simulate", "tilt", "--out", str(tmp_path / "s"), *words, "--json", "--show"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert (told["status"], told["a"], told["b"], told["tilts_mrad"]) == ("done", "Sr", "Ti", [-10.0, 0.0, 10.0])
    assert len(told["bias"]) == 2 and Path(told["library"]).is_file()
    assert "convergence_mrad = 12" in printed.err


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["--material", "gold"], 2, "bfo"),
        (["--thickness-nm", "0"], 2, "from 0.3 to 1000"),
        (["--focus-nm="], 2, "with commas between"),
        (["--focus-nm", "2000"], 2, "1000 at most"),
        (["--tilt-steps", "10"], 1, "60 mrad at most"),
        (["--tilt-steps", "3"], 2, "tilt_steps is a multiple of displaced_every: 6, for example"),
        (["--displaced-every", "4"], 2, "tilt_steps is a multiple of displaced_every: 12, for example"),
        (["--inner-mrad", "10"], 1, "outside the aperture"),
        (["--inner-mrad", "300"], 1, "to a larger one"),
        (["--convergence-mrad", "100", "--inner-mrad", "110", "--voltage-kv", "300"], 1, "smaller --convergence-mrad"),
        (["--workers", "2", "--cluster", "tcp://127.0.0.1:9"], 1, "without --workers"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_library_is_refused_before_anything_is_done(tmp_path, capsys, words, status, expected):
    assert main(["simulate", "tilt", "--out", str(tmp_path / "s"), *words]) == status
    assert expected in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_short_memory_is_told_before_anything_is_done(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tilt_library_checks, "free_bytes", lambda: 100_000_000)
    assert main(["simulate", "tilt", "--out", str(tmp_path / "s")]) == 1
    told = capsys.readouterr().err
    assert "GB of memory" in told and "--tilt-steps" in told and list(tmp_path.iterdir()) == []


def test_something_else_of_that_name_is_left_alone(folder, tmp_path, capsys):
    (tmp_path / "run.json").write_text("{}")
    assert main(["simulate", "tilt", "--out", str(tmp_path), *TINY]) == 1
    assert "OutputError" in capsys.readouterr().err
    assert main(["study", "tilt", "--out", str(folder), "--material", "sto", "--thickness-nm", "2"]) == 1
    assert "a library of tilt" in capsys.readouterr().err
