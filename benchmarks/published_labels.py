"""What the published accuracies of a network on 4D-STEM of boracite say, and what they cannot say.

The labels are public, the patterns are not (206 × 34 positions, x 0–205 and y 0–33; classes horizontal, vertical, na;
1,000 test positions). So the labels alone are asked: what a classifier scores that sees no pattern, how far a person
agrees with himself, and what becomes of it all where training and test lie in different parts of the scan. Parts (all
unless named):

  sets    what is in the files: rows, positions, positions labelled twice, overlap of training and test
  self    positions labelled more than once: how often the label is the same again, and the accuracy that allows
  test    position alone, learned from each published training set, put to the published test set
  folds   position alone, from all labels: random folds against folds of whole blocks of the scan

The folder of label files is named by --labels, or is boracite_labels in the folder of DIPOLAR_REAL_DATA.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dipolar.core.scanning import Labels
from dipolar.io.label_tables import read_labels
from dipolar.label.agreement import Agreement, agreement, answers_by_person, self_consistency
from dipolar.label.consensus import consensus
from dipolar.label.entries import Entry, labels_of
from dipolar.learn.pattern_baseline import position_only
from harness.machine import announce
from harness.table import Table

SHAPE = (34, 206)
"""(scan_y, scan_x)."""
PUBLISHED = {
    "50_binary": 96.9, "100_binary": 96.3, "250_binary": 96.2,
    "50_random": 95.0, "100_random": 95.7, "250_random": 94.2,
}  # fmt: skip
"""Accuracy of the published network in %, by its training set: "binary" is the search in two steps."""
TEST = "test_data"
COPIES = ("50_random", "100_random")
"""The random sets are the first rows of the largest one: copies, not second looks."""
SHARED = 4
"""Positions this near share patterns: the published inputs are maxima over 5 × 5 positions."""
SEEDS, FOLDS = 20, 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Score:
    """How right a classifier is, in %."""

    all: float
    """Of all test positions."""
    balanced: float
    """Mean over the classes."""
    mixed: float
    """Of positions in rows of more than one class."""


def labels_in(files: Sequence[Path]) -> Labels:
    """Return the labels of several files, one after the other."""
    rows = [row for file in files for row in read_labels(file).rows]
    return labels_of(
        [
            Entry(number=number, kind="answer", position=row.position, said=row.label, who="", at="")
            for number, row in enumerate(rows, start=1)
        ],
        key="",
        shape=SHAPE,
    )


def score(said: np.ndarray, truth: np.ndarray, rows: np.ndarray, mixed: np.ndarray) -> Score:
    """Return how right answers are.

    Parameters
    ----------
    said, truth
        Class of each test position.
    rows
        Their scan_y.
    mixed
        Rows of the scan with more than one class.
    """
    right = said == truth
    inside = np.isin(rows, mixed)
    return Score(
        all=100 * float(right.mean()),
        balanced=100 * float(np.mean([right[truth == number].mean() for number in np.unique(truth)])),
        mixed=100 * float(right[inside].mean()) if inside.any() else float("nan"),
    )


def by_row(train: Labels, test: Labels) -> np.ndarray:
    """Return what a decision tree that sees the row of the scan alone says, in the classes of the test."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(random_state=0).fit(train.positions[:, :1], classes_of(train, test))
    return tree.predict(test.positions[:, :1])


def by_neighbour(train: Labels, test: Labels) -> np.ndarray:
    """Return the label of the position that is nearest on the scan, in the classes of the test."""
    shares = position_only(train.positions, classes_of(train, test), test.positions, len(test.names))
    return shares.argmax(axis=1)


def classes_of(train: Labels, test: Labels) -> np.ndarray:
    """Return the labels of the training in the classes of the test."""
    return np.array([test.names.index(name) for name in train.names])[train.label]


def part(labels: Labels, rows: np.ndarray) -> Labels:
    """Return some of the labels."""
    return Labels(
        key="", shape=SHAPE, names=labels.names, positions=labels.positions[rows], label=labels.label[rows]
    )  # fmt: skip


def mixed_rows(labels: Labels) -> np.ndarray:
    """Return the rows of the scan in which more than one class was seen."""
    rows = labels.positions[:, 0]
    return np.array([row for row in np.unique(rows) if len(np.unique(labels.label[rows == row])) > 1])


def binomial(share: float, count: int) -> float:
    """Return one standard error of a share in %, in %."""
    return 100 * float(np.sqrt(share / 100 * (1 - share / 100) / count))


def sets(folder: Path) -> None:
    """Print what is in the files."""
    test = labels_in([folder / f"{TEST}.csv"])
    table = Table("set", "rows", "positions", "labelled twice", "contradictory", "in the test set", "shares patterns %")
    for name in (*PUBLISHED, TEST):
        labels = labels_in([folder / f"{name}.csv"])
        places = {tuple(place) for place in labels.positions.tolist()}
        seen = [len(said) for said in answers_by_person(labels).values()]
        common = places & {tuple(place) for place in test.positions.tolist()}
        away = np.abs(test.positions[:, None] - labels.positions[None]).max(axis=2).min(axis=1)
        table.row(
            name, len(labels.label), len(places), sum(count > 1 for count in seen),
            len(consensus(labels).contradictions), "–" if name == TEST else len(common),
            "–" if name == TEST else f"{100 * np.mean(away <= SHARED):.0f}",
        )  # fmt: skip


def pooled(folder: Path) -> Labels:
    """Return the labels of all files but copies, in the order of the files."""
    return labels_in([folder / f"{name}.csv" for name in (*PUBLISHED, TEST) if name not in COPIES])


def said_twice(labels: Labels, where: Callable[[int], bool]) -> Agreement:
    """Return how often the label is the same again, of positions in some rows of the scan."""
    kept = np.array([where(int(row)) for row in labels.positions[:, 0]])
    found = self_consistency(part(labels, np.flatnonzero(kept)))
    return found[0] if found else agreement([], labels.names)


def own(folder: Path) -> None:
    """Print how far the annotator agrees with himself, and what that allows a classifier to reach."""
    labels, test = pooled(folder), labels_in([folder / f"{TEST}.csv"])
    mixed = mixed_rows(labels)
    table = Table("labelled again", "pairs", "the same %", "kappa")
    everything = labels_in([folder / f"{name}.csv" for name in (*PUBLISHED, TEST)])
    shares = {}
    for name, of, where in (
        ("anywhere", labels, lambda row: True),
        ("in rows of more than one class", labels, lambda row: row in mixed),
        ("in all other rows", labels, lambda row: row not in mixed),
        ("anywhere, copies counted as second looks", everything, lambda row: True),
    ):
        found = said_twice(of, where)
        shares[name] = found
        kappa = "–" if np.isnan(found.kappa_sigma) else f"{found.kappa:.2f} ± {found.kappa_sigma:.2f}"
        table.row(name, found.pairs, f"{100 * found.share:.1f} ± {100 * found.share_sigma:.1f}", kappa)
    inside = float(np.isin(test.positions[:, 0], mixed).mean())
    first, other = shares["in rows of more than one class"], shares["in all other rows"]
    again = inside * first.share + (1 - inside) * other.share
    sigma = np.hypot(inside * first.share_sigma, (1 - inside) * other.share_sigma)
    rows = f"{mixed.min()} to {mixed.max()}"
    print(f"\n{100 * inside:.1f} % of the test positions are in the rows of more than one class, {rows}.")
    print(f"Labelled a second time, {100 * again:.1f} ± {100 * sigma:.1f} % of the test set would be the same.")
    print("Positions with different labels (y, x): " + "; ".join(
        f"{item.position[0]}, {item.position[1]}: " + " ".join(label for _, label in item.said)
        for item in consensus(labels).contradictions
    ))  # fmt: skip


def test_set(folder: Path) -> None:
    """Print what position alone scores on the published test set."""
    test = labels_in([folder / f"{TEST}.csv"])
    mixed = mixed_rows(test)
    table = Table(
        "training set", "published network %", "row alone %", "balanced", "rows of two classes",
        "nearest label %", "network − row, in sigma",
    )  # fmt: skip
    for name, network in PUBLISHED.items():
        train = consensus(labels_in([folder / f"{name}.csv"])).labels
        row, both = (
            score(said(train, test), test.label, test.positions[:, 0], mixed) for said in (by_row, by_neighbour)
        )
        error = np.hypot(binomial(network, len(test.label)), binomial(row.all, len(test.label)))
        table.row(
            name, f"{network:.1f} ± {binomial(network, len(test.label)):.1f}",
            f"{row.all:.1f} ± {binomial(row.all, len(test.label)):.1f}", f"{row.balanced:.1f}", f"{row.mixed:.1f}",
            f"{both.all:.1f}", f"{(network - row.all) / error:+.1f}",
        )  # fmt: skip


def folds_of(labels: Labels, how: str, rng: np.random.Generator) -> np.ndarray:
    """Return the fold of every label: drawn; or blocks along x or y, whose borders are drawn."""
    if how == "random":
        return rng.permutation(len(labels.label)) % FOLDS
    axis = 1 if how == "blocks along x" else 0
    size = SHAPE[axis] / FOLDS
    return ((labels.positions[:, axis] + rng.uniform(0, size)) / size).astype(int) % FOLDS


def folds(folder: Path) -> None:
    """Print what position alone scores between parts of the scan, against random folds."""
    labels = consensus(pooled(folder)).labels
    mixed = mixed_rows(labels)
    table = Table("labels", "folds", "row %", "balanced", "rows of two", "nearest label %", "balanced", "rows of two")
    for count in (50, 100, 250):
        for how in ("random", "blocks along x", "blocks along y"):
            scores: tuple[list[Score], list[Score]] = ([], [])
            for seed in range(SEEDS):
                rng = np.random.default_rng(seed)
                fold = folds_of(labels, how, rng)
                for number in range(FOLDS):
                    inside = np.flatnonzero(fold == number)
                    away = np.abs(labels.positions[:, None] - labels.positions[inside][None]).max(axis=2).min(axis=1)
                    outside = np.flatnonzero((fold != number) & ((away > SHARED) | (how == "random")))
                    train = part(labels, rng.permutation(outside)[:count])
                    test = part(labels, inside)
                    for said, found in zip((by_row, by_neighbour), scores, strict=True):
                        found.append(score(said(train, test), test.label, test.positions[:, 0], mixed))
            cells = [
                spread_of([getattr(item, value) for item in found])
                for found in scores
                for value in ("all", "balanced", "mixed")
            ]
            table.row(count, how, *cells)


def spread_of(values: Sequence[float]) -> str:
    """Return mean ± standard deviation; folds without such a position do not count."""
    return f"{np.nanmean(values):.1f} ± {np.nanstd(values, ddof=1):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="sets, self, test, folds")
    data = os.environ.get("DIPOLAR_REAL_DATA", "../shared/data")
    parser.add_argument("--labels", type=Path, default=Path(data) / "boracite_labels", help="folder of the label files")
    chosen = parser.parse_args()
    work = {"sets": sets, "self": own, "test": test_set, "folds": folds}
    unknown = set(chosen.parts) - set(work)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; parts: {', '.join(work)}")
    announce()
    if not (chosen.labels / f"{TEST}.csv").is_file():
        print(f"no published labels in {chosen.labels}: name their folder with --labels; nothing is measured")
        return
    for name in chosen.parts or work:
        print(f"\n## {name}\n")
        work[name](chosen.labels)


if __name__ == "__main__":
    main()
