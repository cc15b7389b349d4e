"""A model put to another scan: which lattice vector is the first is that of the training, and never left to noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipolar.core.errors import ScanError
from dipolar.core.scanning import Labels, View
from dipolar.learn.pattern_store import load_classifier, save_classifier
from dipolar.locate.beam import look_at
from dipolar.measure.bank_lattice import NAMINGS, lattice_in_disks, likeness, named_as
from dipolar.recipes.scan_label_settings import SuggestSettings
from dipolar.recipes.scan_lattice import notes_on_lattice, view_for
from dipolar.recipes.scan_map import map_scan
from dipolar.recipes.scan_query import probabilities_of
from dipolar.recipes.scan_train import train_on_scan
from dipolar.simulate.scan import SimulatedScan, simulate_scan
from dipolar.simulate.scan_settings import SimulatedScanSettings

SHAPE = (12, 20)


def made(seed: int, **settings: Any) -> SimulatedScan:
    usual = {"shape": SHAPE, "pattern_px": (64, 64), "domain_steps": 6.0}
    return simulate_scan(SimulatedScanSettings(**{**usual, **settings}), seed=seed)


def labels_of(simulated: SimulatedScan, each: int = 10) -> Labels:
    """Return true labels of some positions of every class, away from walls."""
    truth, rng = simulated.truth, np.random.default_rng(5)
    far = truth.wall_distance.ravel() > 1.0
    kinds = [rng.permutation(np.flatnonzero(far & (truth.label.ravel() == n)))[:each] for n in range(len(truth.names))]
    numbers = np.concatenate(kinds)
    return Labels(
        key=simulated.scan.key, shape=SHAPE, names=truth.names,
        positions=np.stack(np.divmod(numbers, SHAPE[1]), axis=1).astype(np.int32),
        label=truth.label.ravel()[numbers].astype(np.int32),
    )  # fmt: skip


def right(label: np.ndarray, simulated: SimulatedScan) -> float:
    """Return the share of positions away from walls whose class is the true one."""
    far = simulated.truth.wall_distance.ravel() > 1.0
    return float(np.mean((label.ravel() == simulated.truth.label.ravel())[far]))


@pytest.fixture(scope="module")
def below():
    """A scan whose first vector lies a little below the diagonal, and a bank that learned from it."""
    simulated = made(1, rotation_deg=44.0)
    return simulated, train_on_scan(simulated.scan, labels_of(simulated)).classifier


@pytest.fixture(scope="module")
def above():
    """Another scan of the same crystal, turned by two degrees more: its other vector is nearest to the x axis."""
    return made(2, rotation_deg=46.0)


def view_of(lattice: np.ndarray, radius: float = 3.0) -> View:
    """A view with this lattice, and nothing else that matters."""
    blank = np.zeros((64, 64), dtype=np.float32)
    return View(
        centre_px=(31.5, 31.5), reach_px=2.0, radius_px=radius, lattice_px=lattice,
        lattice_sigma_px=np.full((2, 2), 0.01), defective=blank > 0, stopped=False, mean=blank, variance=blank,
        counts_per_pattern=1e4,
    )  # fmt: skip


def turned(lattice: np.ndarray, degrees: float) -> np.ndarray:
    """Return vectors (k_y, k_x) turned counter-clockwise as seen on the screen."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return lattice @ np.array([[c, s], [-s, c]])


@given(
    long=st.floats(1.0, 1.6), angle=st.floats(62.0, 118.0), degrees=st.floats(-19.0, 19.0), size=st.floats(0.3, 3.0),
    lies=st.floats(0.0, 360.0), naming=st.integers(0, len(NAMINGS) - 1),
)  # fmt: skip
def test_vectors_are_named_as_in_the_training_whatever_they_were_called(long, angle, degrees, size, lies, naming):
    a = np.radians(angle)
    lattice = turned(np.array([[0.0, 4.0], [4.0 * long * np.sin(a), 4.0 * long * np.cos(a)]]), lies)
    now = size * turned(lattice, degrees)
    named = named_as(view_of(3.0 * NAMINGS[naming] @ now), lattice)
    np.testing.assert_allclose(named.lattice_px, 3.0 * now, atol=1e-9)
    like = likeness(lattice_in_disks(named), lattice)
    assert like.turned_deg == pytest.approx(degrees, abs=1e-6)
    assert (like.stretched, like.larger) == pytest.approx((1.0, size), abs=1e-6)
    again = named_as(named, lattice)
    np.testing.assert_array_equal(again.lattice_px, named.lattice_px)


def test_a_model_keeps_horizontal_and_vertical_where_another_vector_is_nearest_to_the_axis(below, above):
    simulated, classifier = below
    found = map_scan(above.scan, classifier, virtual=False)
    assert right(found.map.label, above) >= 0.98
    assert not any("turned" in note or "as long" in note for note in found.record.notes)
    first, its_first = look_at(simulated.scan).lattice_px[0], look_at(above.scan).lattice_px[0]
    assert abs(first @ its_first) < 0.2 * first @ first  # as it was found, the first vector is the other one
    assert found.view.lattice_px[0] @ first > 0.9 * first @ first
    assert right(map_scan(simulated.scan, classifier, virtual=False).map.label, simulated) >= 0.98


def test_what_is_doubtful_is_asked_along_the_same_vectors(below, above, tmp_path):
    save_classifier(below[1], tmp_path / "model")
    settings = SuggestSettings(strategy="margin", model=str(tmp_path / "model"))
    every = np.arange(SHAPE[0] * SHAPE[1], dtype=np.int64)
    chances = probabilities_of(above.scan, labels_of(above), every, settings)
    assert right(chances[0].argmax(axis=1), above) >= 0.98


def test_a_lattice_that_is_turned_far_is_told_and_one_of_another_shape_is_refused(below, above):
    _, classifier = below
    view = look_at(above.scan)
    far = replace(view, lattice_px=turned(view.lattice_px, 30.0))
    (note,) = notes_on_lattice(classifier, above.scan, view_for(classifier, far))
    assert "turned by 32°" in note and "exchanged" in note
    small = replace(view, radius_px=view.radius_px / 2)
    (note,) = notes_on_lattice(classifier, above.scan, view_for(classifier, small))
    assert "times as long" in note
    oblong = replace(view, lattice_px=view.lattice_px * [[1.0], [1.4]])
    with pytest.raises(ScanError, match=r"(?s)lattice that it learned on.*4\d %.*--classifier small"):
        view_for(classifier, oblong)


def test_a_model_of_an_earlier_version_is_read_and_says_what_it_does_not_know(below, above, tmp_path):
    simulated, classifier = below
    save_classifier(classifier, tmp_path / "new")
    np.testing.assert_array_equal(load_classifier(tmp_path / "new").bank.lattice, classifier.bank.lattice)
    save_classifier(replace(classifier, bank=replace(classifier.bank, lattice=None)), tmp_path / "old")
    old = load_classifier(tmp_path / "old")
    assert old.bank.lattice is None
    view = look_at(above.scan)
    assert view_for(old, view) is view
    (note,) = notes_on_lattice(old, above.scan, view)
    assert "does not say on which lattice" in note
    assert notes_on_lattice(old, simulated.scan, view) == () == notes_on_lattice(None, above.scan, view)
