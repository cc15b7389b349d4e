"""Training on a scan: the same classes whatever they are called, what is said of odd labels, what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

import dipolar
from dipolar.core.errors import LabelError, SettingsError
from dipolar.core.scan_key import key_of
from dipolar.core.scanning import AbstractFrames, Labels, Scan
from dipolar.learn import pattern_network_training
from dipolar.learn.pattern_store import load_classifier
from dipolar.learn.pattern_training import SmallTraining
from dipolar.recipes.scan_look import look_over
from dipolar.recipes.scan_settings import ScanTrainSettings
from dipolar.recipes.scan_train import headline_of, look_for, overview_of, train_on_scan

SHAPE = (16, 24)


@dataclass(frozen=True, eq=False)
class Held(AbstractFrames):
    """Patterns in memory."""

    data: np.ndarray
    chunk: int = 1

    @property
    def count(self) -> int:
        return len(self.data)

    @property
    def shape_px(self) -> tuple[int, int]:
        return self.data.shape[1], self.data.shape[2]

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.data[start:stop]


def scan_of(patterns: np.ndarray) -> Scan:
    frames = Held(patterns)
    return Scan(frames=frames, shape=SHAPE, name="scan", key=key_of(frames, SHAPE))


@pytest.fixture(scope="module")
def simulated():
    """A scan with its truth."""
    return dipolar.simulate_scan(scan_shape="16,24", pattern_px=64, seed=3)


@pytest.fixture(scope="module")
def scan(simulated) -> Scan:
    """Its patterns in memory."""
    return scan_of(simulated.scan.frames.read(0, 384))


def labels_of(simulated, scan: Scan, numbers: np.ndarray, *, names: tuple[str, ...] | None = None) -> Labels:
    """Return the true labels of some positions."""
    truth = simulated.truth
    return Labels(
        key=scan.key,
        shape=SHAPE,
        names=names or truth.names,
        positions=np.stack(np.divmod(numbers, SHAPE[1]), axis=1).astype(np.int32),
        label=truth.label.ravel()[numbers].astype(np.int32),
    )


@pytest.fixture(scope="module")
def numbers(simulated) -> np.ndarray:
    """Fourteen positions of every class, away from walls."""
    truth, rng = simulated.truth, np.random.default_rng(5)
    far = truth.wall_distance.ravel() > 1.0
    kinds = [np.flatnonzero(far & (truth.label.ravel() == label)) for label in range(len(truth.names))]
    return np.concatenate([rng.permutation(rows)[:14] for rows in kinds])


def said_of(trained, scan: Scan, settings: ScanTrainSettings | None = None):
    """Return what a classifier says of all patterns of a scan."""
    look = look_for(scan, settings or ScanTrainSettings())
    seen = look_over(scan, look, np.arange(384))
    return trained.classifier.answers(seen.seen, seen.counts)


def right(said, simulated, *, beyond: float = 1.0) -> float:
    far = simulated.truth.wall_distance.ravel() > beyond
    return float(np.mean((said.probability.argmax(axis=1) == simulated.truth.label.ravel())[far]))


@pytest.fixture(scope="module")
def trained(simulated, scan, numbers):
    """A bank that learned from these labels."""
    return train_on_scan(scan, labels_of(simulated, scan, numbers))


def test_a_bank_is_right_and_says_so(trained, simulated, scan, tmp_path):
    said = said_of(trained, scan)
    assert right(said, simulated) >= 0.99
    told = overview_of(trained)
    assert told["labels"] == 42 and told["contradictions"] == 0 and told["held_out"]["accuracy"] >= 0.9
    assert told["position_only"] < told["held_out"]["accuracy"]
    assert "held out by blocks of the scan" in headline_of(trained)[1]
    dipolar.save(trained, tmp_path / "model")
    again = load_classifier(tmp_path / "model").answers
    look = look_for(scan, ScanTrainSettings())
    seen = look_over(scan, look, np.arange(384))
    assert np.array_equal(again(seen.seen, seen.counts).probability, said.probability)


def test_classes_that_change_their_names_change_nothing_else(trained, simulated, scan, numbers):
    labels = labels_of(simulated, scan, numbers)
    order = np.array([2, 0, 1])  # another class is named first
    turned = replace(
        labels,
        names=tuple(labels.names[place] for place in order),
        label=np.argsort(order)[labels.label].astype(np.int32),
    )
    other = said_of(train_on_scan(scan, turned), scan).probability
    assert np.allclose(other, said_of(trained, scan).probability[:, order], atol=0.02)


def test_a_scan_turned_by_180_degrees_has_the_same_map_turned(simulated, scan, numbers):
    turned = scan_of(np.ascontiguousarray(scan.frames.read(0, 384)[::-1, ::-1, ::-1]))
    back = train_on_scan(turned, replace(labels_of(simulated, scan, numbers), key=turned.key,
                         positions=np.array(SHAPE, dtype=np.int32) - 1
                         - np.stack(np.divmod(numbers, SHAPE[1]), axis=1).astype(np.int32)))  # fmt: skip
    said = said_of(back, turned).probability[::-1]
    assert right(replace(said_of(back, turned), probability=said), simulated) >= 0.99


def test_contradictions_are_told_and_the_undecided_teach_nothing(simulated, scan, numbers, trained):
    labels = labels_of(simulated, scan, numbers)
    wrong = (labels.label[:3] + 1) % 3
    more = replace(
        labels,
        positions=np.concatenate([labels.positions, labels.positions[:3], labels.positions[2:3]]),
        label=np.concatenate([labels.label, wrong, labels.label[2:3]]).astype(np.int32),
        who=(),
    )
    told = train_on_scan(scan, replace(more, who=("",) * len(more.label)))
    assert len(told.agreed.labels.label) == 40 and len(told.agreed.contradictions) == 3
    (note,) = [note for note in told.notes if "two names" in note]
    assert note.startswith("2 positions") and str(tuple(labels.positions[0].tolist())) in note
    assert right(said_of(told, scan), simulated) >= 0.99


def test_a_class_lost_in_contradictions_is_told_and_an_outvoted_slip_is_forgotten(simulated, scan, numbers):
    labels = labels_of(simulated, scan, numbers)
    third = np.flatnonzero(labels.label == 2)
    twice = np.concatenate([labels.positions, labels.positions[third]])
    tied = replace(labels, positions=twice, label=np.append(labels.label, np.zeros(14)).astype(np.int32), who=())
    with pytest.raises(LabelError, match=r"(?s)none was named.*as often.*suggest"):
        train_on_scan(scan, tied)
    slip = replace(
        labels,
        names=(*labels.names, "horizntal"),
        positions=np.concatenate([labels.positions, labels.positions[[0, 0]]]),
        label=np.append(labels.label, [3, labels.label[0]]).astype(np.int32),
        who=(),
    )
    told = train_on_scan(scan, slip)
    assert told.classifier.names == labels.names and len(told.agreed.labels.label) == 42
    assert right(said_of(told, scan), simulated) >= 0.99


def test_a_label_that_slipped_does_not_turn_the_map(simulated, scan, numbers):
    labels = labels_of(simulated, scan, numbers)
    slipped = labels.label.copy()
    slipped[[0, 20]] = (slipped[[0, 20]] + 1) % 3
    told = train_on_scan(scan, replace(labels, label=slipped))
    said = said_of(told, scan)
    assert right(said, simulated) >= 0.98
    assert overview_of(told)["held_out"]["accuracy"] < 1.0


def test_a_rare_class_is_told(simulated, scan, numbers):
    truth = simulated.truth.label.ravel()
    kept = np.concatenate([numbers[truth[numbers] != 2], numbers[truth[numbers] == 2][:2]])
    more = np.setdiff1d(np.flatnonzero((truth != 2) & (simulated.truth.wall_distance.ravel() > 1)), kept)[:70]
    told = train_on_scan(scan, labels_of(simulated, scan, np.concatenate([kept, more])))
    assert any("has 2 of" in note for note in told.notes)


def test_a_small_network_learns_from_few_labels(simulated, scan, numbers, monkeypatch):
    quick = SmallTraining(steps=60, steps_more=10)  # a third of what is usual
    monkeypatch.setattr(pattern_network_training, "SmallTraining", lambda: quick)
    settings = ScanTrainSettings(classifier="small", size_px=32)
    told = train_on_scan(scan, labels_of(simulated, scan, numbers), settings=settings)
    assert told.classifier.kind == "small" and told.classifier.size_px == 32
    assert right(said_of(told, scan, settings), simulated) >= 0.9


@pytest.mark.parametrize(("reading", "edge"), [("released", 256), ("drawn", 256), ("stated", 128)])
def test_the_published_network_sees_patterns_of_its_own_size(scan, reading, edge):
    look = look_for(scan, ScanTrainSettings(classifier="published", reading=reading))
    assert look.bank is None
    assert look.size_px == edge and look_over(scan, look, np.array([7])).seen.shape == (1, edge, edge)


def test_a_labelled_pattern_that_is_empty_is_refused(simulated, scan, numbers):
    patterns = scan.frames.read(0, 384).copy()
    patterns[numbers[[3, 20]]] = 0
    holed = scan_of(patterns)
    y, x = divmod(int(numbers[3]), SHAPE[1])
    with pytest.raises(LabelError, match=rf"(?s)2 labelled patterns are empty.*scan_y {y}, scan_x {x}.*--undo"):
        train_on_scan(holed, labels_of(simulated, holed, numbers))
    others = np.delete(numbers, [3, 20])
    assert right(said_of(train_on_scan(holed, labels_of(simulated, holed, others)), scan), simulated) >= 0.98


def test_labels_of_another_scan_or_shape_are_refused(simulated, scan, numbers):
    labels = labels_of(simulated, scan, numbers)
    with pytest.raises(LabelError, match=r"(?s)belong to the scan.*0000000000000000.*--scan-shape"):
        train_on_scan(scan, replace(labels, key="0" * 16))
    with pytest.raises(LabelError, match=r"(?s)\(24, 16\)"):
        train_on_scan(scan, replace(labels, shape=(24, 16), positions=labels.positions[:, ::-1].copy()))
    with pytest.raises(LabelError, match="two at least"):
        train_on_scan(scan, replace(labels, label=np.zeros_like(labels.label)))
    with pytest.raises(SettingsError, match="clasifier"):
        train_on_scan(scan, labels, clasifier="small")
