"""From many answers to one label per position: the class that most answers name, and where they contradict."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int32, Int64

from dipolar.core.errors import LabelError
from dipolar.core.scanning import Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """One position that was called by several names."""

    position: tuple[int, int]
    """(scan_y, scan_x)."""
    said: tuple[tuple[str, str], ...]
    """Every answer, the oldest first: who, and which class."""
    settled: str
    """The class that most answers name; "" where as many name another, and the position has no label then."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Consensus:
    """What the answers say together."""

    labels: Labels
    """One row for each position that has a label, in the order of its first answer; `who` is empty."""
    weight: Float32[np.ndarray, " position"]
    """Share of the answers there that name this class: 1 where nobody contradicts."""
    contradictions: tuple[Contradiction, ...]
    """Positions whose answers differ; those without a majority are in no row of `labels`."""


def consensus(labels: Labels) -> Consensus:
    """Return one label per position: that of most answers; none where two classes are named equally often.

    Parameters
    ----------
    labels
        Answers; any number at one position.
    """
    number = labels.positions[:, 0].astype(np.int64) * labels.shape[1] + labels.positions[:, 1]
    _, first, which = np.unique(number, return_index=True, return_inverse=True)
    votes = np.zeros((len(first), max(len(labels.names), 1)), dtype=np.int64)
    np.add.at(votes, (which, labels.label), 1)
    most, total = votes.max(axis=1), votes.sum(axis=1)
    settled = (votes == most[:, None]).sum(axis=1) == 1
    order = np.argsort(first, kind="stable")
    kept = order[settled[order]]
    contradictions = tuple(
        Contradiction(
            position=(int(labels.positions[first[place], 0]), int(labels.positions[first[place], 1])),
            said=tuple(
                (labels.who[row], labels.names[labels.label[row]]) for row in np.flatnonzero(which == place).tolist()
            ),
            settled=labels.names[int(votes[place].argmax())] if settled[place] else "",
        )
        for place in order[most[order] < total[order]].tolist()
    )
    return Consensus(
        labels=Labels(
            key=labels.key,
            shape=labels.shape,
            names=labels.names,
            positions=labels.positions[first[kept]],
            label=votes[kept].argmax(axis=1).astype(np.int32),
        ),
        weight=(most[kept] / np.maximum(total[kept], 1)).astype(np.float32),
        contradictions=contradictions,
    )


def per_class(labels: Labels) -> dict[str, int]:
    """Return how many rows each class has."""
    counts: Int64[np.ndarray, " class"] = np.bincount(labels.label, minlength=len(labels.names))
    return {name: int(count) for name, count in zip(labels.names, counts, strict=True)}


def lost_classes(found: Consensus) -> tuple[str, ...]:
    """Return the classes that no position has, but some would if it were called so once more than by other names."""
    named = {label for item in found.contradictions if not item.settled for _, label in item.said}
    return tuple(name for name, count in per_class(found.labels).items() if not count and name in named)


def undecided(found: Consensus) -> Int32[np.ndarray, "_ 2"]:
    """Return the positions (scan_y, scan_x) that would give a lost class a label, if they were said once more."""
    lost = set(lost_classes(found))
    places = [
        item.position for item in found.contradictions
        if not item.settled and lost & {label for _, label in item.said}
    ]  # fmt: skip
    return np.array(places, dtype=np.int32).reshape(-1, 2)


def named_only(labels: Labels) -> Labels:
    """Return labels without the names that no row has, as of a slip of the pen that others outvoted."""
    used, label = np.unique(labels.label, return_inverse=True)
    return replace(labels, names=tuple(labels.names[number] for number in used), label=label.astype(np.int32))


def check_kept(found: Consensus) -> None:
    """Refuse labels in which a class was named, and lost again.

    Raises
    ------
    LabelError
        A class has no position of its own; the message tells at which it was named.
    """
    lost = lost_classes(found)
    if lost:
        places = undecided(found).tolist()
        raise LabelError(
            f"the class {lost[0]} was named, but each time the position was called by another name as often.",
            got=", ".join(f"scan_y {y}, scan_x {x}" for y, x in places[:5]),
            do="dipolar scan suggest asks these positions again; or take the answers back, and leave the class out",
        )


def check_classes(agreed: Labels, *, each: int = 1) -> None:
    """Refuse labels that no classifier can learn from.

    Parameters
    ----------
    agreed
        One row per position, as in `Consensus.labels`.
    each
        Labels that every class needs at least.

    Raises
    ------
    LabelError
        Nothing labelled, one class only, or a class with too few labels; the message names it.
    """
    counts = {name: count for name, count in per_class(agreed).items() if count}
    got = ", ".join(f"{count} {name}" for name, count in counts.items()) or "no labels"
    if len(counts) < 2:
        raise LabelError(
            "a classifier tells classes apart, and needs labels of two at least.",
            got=got,
            do="label more positions: dipolar scan suggest SCAN --labels FILE --strategy kmeans finds unlike patterns",
        )
    if min(counts.values()) < each:
        rare = min(counts, key=counts.__getitem__)
        raise LabelError(
            f"every class needs {each} labels at least.",
            got=f"{got}: too few of {rare}",
            do=f"label more positions that are {rare}, or leave that class out",
        )
