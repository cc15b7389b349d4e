"""The published labels: they are read as they are, and what they say of themselves is found."""

from __future__ import annotations

import numpy as np
import pytest

import realdata
from dipolar.core.scanning import Labels
from dipolar.io.label_tables import read_labels
from dipolar.label.agreement import self_consistency
from dipolar.label.consensus import consensus, per_class
from dipolar.label.entries import Entry, labels_of

pytestmark = pytest.mark.realdata
SHAPE = (34, 206)


def published(*names: str) -> Labels:
    rows = [row for name in names for row in read_labels(realdata.path(f"boracite_labels/{name}.csv")).rows]
    answers = [
        Entry(number=number, kind="answer", position=row.position, said=row.label, who="", at="")
        for number, row in enumerate(rows, start=1)
    ]
    return labels_of(answers, key="", shape=SHAPE)


def test_every_file_is_read_whole():
    counts = {"50_binary": 50, "100_binary": 244, "250_binary": 250, "50_random": 50, "100_random": 100,
              "250_random": 250, "test_data": 1000}  # fmt: skip
    for name, count in counts.items():
        labels = published(name)
        assert len(labels.label) == count and set(labels.names) == {"horizontal", "vertical", "na"}
        assert labels.positions.max(axis=0)[0] < SHAPE[0] and labels.positions.max(axis=0)[1] < SHAPE[1]


def test_the_contradictory_row_is_found_and_left_out():
    found = consensus(published("100_binary"))
    (one,) = found.contradictions
    assert one.position == (22, 0) and sorted(label for _, label in one.said) == ["horizontal", "na"]
    assert one.settled == "" and len(found.labels.label) == 195
    assert sum(per_class(found.labels).values()) == 195


def test_second_looks_agree_less_where_classes_meet():
    labels = published("50_binary", "100_binary", "250_binary", "250_random", "test_data")
    (found,) = self_consistency(labels)
    assert found.pairs == 131 and found.share == pytest.approx(0.908, abs=0.001)
    band = np.isin(labels.positions[:, 0], np.arange(13, 23))
    inside, outside = (
        self_consistency(Labels(key="", shape=SHAPE, names=labels.names, positions=labels.positions[rows],
                                label=labels.label[rows]))[0]
        for rows in (band, ~band)
    )  # fmt: skip
    assert outside.share == 1.0 and inside.share == pytest.approx(0.821, abs=0.001)
