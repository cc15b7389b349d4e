"""Networks of tilt: what they are drawn from, that they turn with the cell and learn, and that sigma is honest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from dipolar.core.errors import ChecksumError, DataError, FormatError
from dipolar.core.tilt_library import STATES, TiltLibrary, compared, turned_terms
from dipolar.core.tilt_symmetry import TURNS
from dipolar.learn import tilt_network_data as data
from dipolar.learn.store import read_model
from dipolar.learn.tilt_network import told_by_network
from dipolar.learn.tilt_network_data import draws_of
from dipolar.learn.tilt_network_file import read_tilt_model, write_tilt_model
from dipolar.learn.tilt_network_fit import RADIUS, fitted_places
from dipolar.learn.tilt_network_frames import seen_numbers, seen_of, turned_seen
from dipolar.learn.tilt_network_training import TiltCourse, TiltTask, examined, fresh, lesson_of, train_tilt, unlikely
from dipolar.recipes.models import SHIPPED
from dipolar.recipes.tilt_library_shipped import shipped_library

CELL_PM = 400.0
A_WALKS, B_WALKS = 0.1, 0.6
"""How far columns of the handmade library seem to move, in pm per mrad."""
LOPSIDED = 0.06
"""Phase, in rad, of the first order along the largest tilt."""
TINY = TiltCourse(draws=300, members=2, steps=60, batch=64, width=24, layers=1, learning_rate=1e-2)


def half_plane() -> np.ndarray:
    axis = np.arange(-8, 9)
    every = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    kept = (every[:, 0] > 0) | ((every[:, 0] == 0) & (every[:, 1] >= 0))
    return every[kept & (np.hypot(*every.T) <= 8)].astype(np.int64)


def handmade(*, polar: bool = True, lopsided: float = 0.0) -> TiltLibrary:
    """Gaussian columns that a tilt moves along itself, and by half of it times focus, and makes lopsided if asked."""
    orders = half_plane()
    tilts, nm, foci = np.arange(-30.0, 31.0, 10.0), np.array([4.0, 20.0, 100.0]), np.array([-6.0, 0.0, 6.0])
    states = len(STATES) if polar else 1
    y, x = np.meshgrid(tilts, tilts, indexing="ij")
    along = np.stack([y, x], axis=-1) @ orders.T / CELL_PM
    round_ = np.exp(-2.0 * np.pi**2 * (30.0 / CELL_PM) ** 2 * np.sum(orders**2, axis=1))
    round_ = round_ * np.exp(1j * lopsided * (along * CELL_PM / tilts[-1]) ** 3)
    both = np.stack(
        [height * round_ * np.exp(-2j * np.pi * walk * along) for height, walk in ((1.0, A_WALKS), (0.6, B_WALKS))],
        axis=2,
    )
    shape = (7, 7, states, len(nm), len(foci), 2, len(orders))
    focused = np.exp(1j * np.pi * foci[:, None, None] * along[:, :, None, None, None, None])
    stamps = np.broadcast_to(both[:, :, None, None, None] * focused, shape).astype(np.complex64)
    return TiltLibrary(
        material="none", elements=("A", "B"), cell_pm=CELL_PM, depth_pm=CELL_PM, voltage_kv=200.0,
        convergence_mrad=30.0, detector_mrad=(65.0, 250.0), displacement_pm=25.0 if polar else 0.0, tilts_mrad=tilts,
        thicknesses_nm=nm, foci_nm=foci, orders=orders, stamps=stamps, source="handmade",
    )  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A mean cell, as the stage that measures has it."""

    terms: np.ndarray
    displacement: np.ndarray


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data, "BATCH", 128)
        yield


@pytest.fixture(scope="module")
def model(small):
    return train_tilt(handmade(lopsided=LOPSIDED), TINY)


def cells_of(model, count: int, seed: int) -> list[Cell]:
    rng = np.random.default_rng(seed)
    fall = 0.5 ** np.hypot(*model.orders.T)
    random = rng.normal(size=(2, count, len(fall)))
    return [Cell((a + 1j * b) * fall, d) for a, b, d in zip(*random, 0.05 * rng.normal(size=(count, 2)), strict=True)]


def column(place: np.ndarray, width: float, orders: np.ndarray) -> np.ndarray:
    return np.exp(-2 * np.pi**2 * width**2 * np.sum(orders**2, axis=1) - 2j * np.pi * (place @ orders.T)).astype(
        np.complex64
    )


def test_a_gaussian_is_found_where_it_is():
    orders, rng = half_plane()[1:], np.random.default_rng(0)
    place = rng.uniform(-0.05, 0.05, (20, 2))
    found, there = fitted_places(column(place, 0.07, orders), orders, np.zeros_like(place))
    assert there.all() and np.abs(found - place).max() * CELL_PM < 0.1
    moved, _ = fitted_places(column(place + 0.25, 0.07, orders), orders, np.full_like(place, 0.25))
    assert np.allclose(moved - found, 0.25, atol=1e-5)


def test_where_there_is_no_column_none_is_found():
    orders = half_plane()[1:]
    hole = -column(np.zeros((1, 2)), 0.07, orders)
    far = column(np.full((1, 2), 0.9 * RADIUS), 0.07, orders)
    for terms in (hole, far):
        assert not fitted_places(terms, orders, np.zeros((1, 2)))[1].any()


def test_turning_what_is_seen_is_seeing_what_is_turned():
    orders, rng = half_plane()[1:], np.random.default_rng(1)
    terms = rng.normal(size=(3, len(orders))) + 1j * rng.normal(size=(3, len(orders)))
    shift, nm = 20.0 * rng.normal(size=(3, 2)), np.array([5.0, 20.0, 80.0])
    seen = seen_of(terms, orders, shift, nm, cell_pm=CELL_PM)
    assert seen.shape == (3, seen_numbers(len(orders)))
    for turn in TURNS:
        turned = turned_terms(terms.astype(np.complex64), orders, turn)
        expected = seen_of(turned, orders, shift @ turn.T, nm, cell_pm=CELL_PM)
        assert np.allclose(turned_seen(seen, orders, turn), expected, atol=1e-5)
        assert np.array_equal(turned_seen(turned_seen(seen, orders, turn), orders, turn.T), seen)
    assert len({turn.tobytes() for turn in TURNS}) == 8


def test_brightness_does_not_matter():
    orders, rng = half_plane()[1:], np.random.default_rng(2)
    terms, shift, nm = rng.normal(size=(2, len(orders))) + 0j, rng.normal(size=(2, 2)), np.array([8.0, 9.0])
    seen = [seen_of(factor * terms, orders, shift, nm, cell_pm=CELL_PM) for factor in (1.0, 300.0)]
    assert np.allclose(*seen, atol=1e-6)


@pytest.mark.parametrize("polar", [True, False])
def test_what_a_beam_fakes_is_what_columns_walk_and_half_a_cell_where_b_comes_first(small, monkeypatch, polar):
    for name in ("WRONG", "WRONG_CONTRAST", "JITTER_PM"):
        monkeypatch.setattr(data, name, 0.0)
    monkeypatch.setattr(data, "WRONG_PLACE_PM", (0.0, 0.0))
    monkeypatch.setattr(data, "NOISE", (1e-6, 1e-5))
    monkeypatch.setattr(data, "BLUR_PM", (20.0, 25.0))
    draws = draws_of(handmade(polar=polar), 200, np.random.default_rng(3))
    deeper = 0.5e-3 * CELL_PM
    rest = (
        draws.false_pm[:, None]
        - np.array([B_WALKS - A_WALKS, B_WALKS - A_WALKS + deeper])[:, None] * draws.tilt_mrad[:, None]
    )
    off = np.linalg.norm(rest, axis=2)
    assert off.min(axis=1).max() < 1.0
    told_apart = np.linalg.norm(draws.tilt_mrad, axis=1) > 12
    share = np.mean(np.argmin(off, axis=1)[told_apart])
    assert 0.3 < share < 0.7
    true = np.linalg.norm(draws.displacement_pm - draws.false_pm, axis=1)
    assert true.max() <= data.DISPLACED_PM + 1e-3 and np.sqrt(np.mean(true**2)) == pytest.approx(
        25 if polar else 7, abs=2
    )
    assert np.linalg.norm(draws.tilt_mrad, axis=1).max() <= data.LARGEST_TILT_MRAD


def test_a_library_that_does_not_reach_far_enough_is_refused():
    whole = handmade()
    near = replace(whole, tilts_mrad=0.5 * whole.tilts_mrad)
    with pytest.raises(DataError, match="learns from tilts up to 30 mrad"):
        draws_of(near, 1, np.random.default_rng(0))


def test_a_library_without_columns_is_refused(small):
    whole = handmade()
    with pytest.raises(DataError, match="columns that Gaussians can be fitted to"):
        draws_of(replace(whole, stamps=-whole.stamps), 1, np.random.default_rng(0))


def test_a_truth_further_off_is_less_likely_and_sigma_counts():
    told = torch.zeros(1, 9)
    losses = [float(unlikely(told, torch.full((1, 4), off))) for off in (0.0, 1.0, 2.0)]
    assert losses == sorted(losses)
    assert losses[1] == pytest.approx(4 * 0.5)
    tilted = torch.zeros(1, 9)
    tilted[0, 5] = 0.8  # errors along both axes go together
    together, against = (torch.tensor([[1.0, sign, 0.0, 0.0]]) for sign in (1.0, -1.0))
    assert float(unlikely(tilted, together)) < float(unlikely(tilted, against))


def test_a_network_learns_and_what_it_learns_is_repeatable(small, model):
    library = handmade(lopsided=LOPSIDED)
    orders = library.orders[compared(library)]
    lesson = lesson_of(draws_of(library, 300, np.random.default_rng(4)), orders, cell_pm=CELL_PM)
    task = TiltTask(lesson=lesson, held_out=lesson, orders=orders, size=64)
    with torch.no_grad():
        losses = [task.validate(network)["loss"] for network in (fresh(task, TINY, 0).eval(), model.networks[0])]
    assert losses[1] < losses[0] - 0.3
    again = train_tilt(library, replace(TINY, members=1))
    for name, value in again.networks[0].state_dict().items():
        assert torch.equal(value, model.networks[0].state_dict()[name])
    figures = examined(model, draws_of(library, 300, np.random.default_rng(5)))
    assert sum(told["regions"] for told in figures.values()) == 300
    far = figures["15 to 30 mrad"]
    assert far["rms_pm"] < 0.95 * far["raw_rms_pm"]


def test_what_is_said_turns_with_the_cell_exactly(model):
    cells = cells_of(model, 5, 6)
    told = told_by_network(model, cells, 20.0)
    for turn in TURNS:
        terms = [turned_terms(cell.terms.astype(np.complex64), model.orders, turn).astype(complex) for cell in cells]
        turned = told_by_network(
            model, [Cell(t, turn @ cell.displacement) for t, cell in zip(terms, cells, strict=True)], 20.0
        )
        assert np.allclose(turned.false_pm, told.false_pm @ turn.T, atol=1e-4)
        assert np.allclose(turned.tilt_mrad, told.tilt_mrad @ turn.T, atol=1e-4)
        assert np.allclose(turned.covariance_pm2, turn @ told.covariance_pm2 @ turn.T, rtol=1e-4)
        assert np.allclose(turned.tilt_sigma_mrad**2, told.tilt_sigma_mrad**2 @ (turn**2).T, rtol=1e-4)
    assert (np.linalg.eigvalsh(told.covariance_pm2) > 0).all()


def test_a_cell_with_all_symmetry_is_told_no_tilt(model):
    length = np.hypot(*model.orders.T)
    whole = Cell((0.5**length).astype(complex), np.zeros(2))
    told = told_by_network(model, [whole], 20.0)
    assert np.allclose(told.false_pm, 0.0, atol=1e-4) and np.allclose(told.tilt_mrad, 0.0, atol=1e-4)
    assert np.allclose(told.covariance_pm2[0], told.covariance_pm2[0, 0, 0] * np.eye(2), rtol=1e-4, atol=1e-4)


def test_no_region_is_told_nothing(model):
    told = told_by_network(model, [], 20.0)
    assert told.false_pm.shape == (0, 2) and told.covariance_pm2.shape == (0, 2, 2)


def test_what_was_written_is_read(model, tmp_path):
    written = write_tilt_model(model, tmp_path / "tilt_none")
    found = read_tilt_model(tmp_path / "tilt_none.json")
    cells = cells_of(model, 4, 7)
    for one in (written, found):
        assert np.array_equal(told_by_network(one, cells, 8.0).false_pm, told_by_network(model, cells, 8.0).false_pm)
    assert np.array_equal(found.orders, model.orders) and found.card.sha256 == written.card.sha256
    assert found.displacement == model.displacement and found.tilt == model.tilt and found.cell_pm == CELL_PM


def test_a_damaged_or_foreign_model_is_refused(model, tmp_path):
    write_tilt_model(model, tmp_path / "tilt_none")
    tensors = tmp_path / "tilt_none.safetensors"
    with pytest.raises(FormatError, match=r"(?s)a network of tilt.*--mistilt correct --tilt-by network"):
        read_model(tensors)  # of images, not of tilts
    with pytest.raises(FormatError, match="network of tilt"):
        read_tilt_model(SHIPPED / "regressor.safetensors")
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(ChecksumError):
        read_tilt_model(tensors)


def test_what_cannot_be_told_is_refused(model):
    cells = cells_of(model, 2, 8)
    with pytest.raises(DataError, match=r"trained on specimens of 4 to 100 nm"):
        told_by_network(model, cells, 3.0)
    with pytest.raises(DataError, match=r"specimens of 4 to 100 nm"):
        told_by_network(model, cells, math.nan)
    with pytest.raises(DataError, match=f"sees {len(model.orders)} finite Fourier terms"):
        told_by_network(model, [*cells, Cell(cells[0].terms[1:], cells[0].displacement)], 20.0)
    with pytest.raises(DataError, match="nan or infinity in a cell, in 1 of 2 regions"):
        told_by_network(model, [cells[0], Cell(cells[0].terms * np.nan, cells[0].displacement)], 20.0)


@pytest.mark.parametrize("material", ["bfo", "sto"])
def test_sigmas_of_the_shipped_ones_are_honest_on_draws_never_seen(monkeypatch, material):
    monkeypatch.setattr(data, "BATCH", 512)
    shipped = read_tilt_model(SHIPPED / f"tilt_{material}")
    draws = draws_of(shipped_library(material), 900, np.random.default_rng(12345))
    figures = examined(shipped, draws)
    regions = np.array([told["regions"] for told in figures.values()])
    for name in ("coverage_68", "tilt_coverage_68"):
        assert 0.62 < np.average([told[name] for told in figures.values()], weights=regions) < 0.74
    for told in figures.values():
        assert told["rms_pm"] < 0.75 * told["raw_rms_pm"]
