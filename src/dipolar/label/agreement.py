"""How far labels can be trusted: the same position labelled twice, by one person or by two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from jaxtyping import Int64

from dipolar.core.scanning import Labels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agreement:
    """How often two labellings of the same positions are the same."""

    between: tuple[str, str]
    """Who labelled; the same person twice for self-consistency."""
    names: tuple[str, ...]
    """Classes."""
    counts: Int64[np.ndarray, "class class"]
    """Pairs of labels: rows the first labelling, columns the second."""
    share: float
    """Share of the pairs that are the same; nan without pairs."""
    share_sigma: float
    """One standard error of it: that of Jeffreys' interval, which is not zero where all agree."""
    kappa: float
    """Cohen's kappa: what of the agreement that chance leaves open is reached; nan where both know one class only."""
    kappa_sigma: float
    """One standard error of it, for many pairs; nan where all agree, and the formula has nothing to go by."""

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return int(self.counts.sum())


def self_consistency(labels: Labels) -> tuple[Agreement, ...]:
    """Return, for every person who labelled a position more than once, how often the next label was the last one again.

    Parameters
    ----------
    labels
        Answers, the oldest first. Those without a name count as one person's.
    """
    pairs: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for (who, _), said in answers_by_person(labels).items():
        pairs[who] += pairwise(said)
    return tuple(agreement(found, labels.names, between=(who, who)) for who, found in pairs.items() if found)


def agreement_between(labels: Labels) -> tuple[Agreement, ...]:
    """Return, for every two people who labelled the same positions, how often their first labels are the same.

    Parameters
    ----------
    labels
        Answers, the oldest first.
    """
    first: dict[str, dict[tuple[int, int], int]] = defaultdict(dict)
    for (who, place), said in answers_by_person(labels).items():
        first[who][place] = said[0]
    found = []
    for one, other in combinations(first, 2):
        pairs = [(said, first[other][place]) for place, said in first[one].items() if place in first[other]]
        if pairs:
            found.append(agreement(pairs, labels.names, between=(one, other)))
    return tuple(found)


def answers_by_person(labels: Labels) -> dict[tuple[str, tuple[int, int]], list[int]]:
    """Return the labels that each person gave each position, (who, (scan_y, scan_x)) → classes, the oldest first."""
    found: dict[tuple[str, tuple[int, int]], list[int]] = defaultdict(list)
    for who, (y, x), said in zip(labels.who, labels.positions.tolist(), labels.label.tolist(), strict=True):
        found[who, (y, x)].append(said)
    return found


def agreement(
    pairs: Sequence[tuple[int, int]], names: tuple[str, ...], *, between: tuple[str, str] = ("", "")
) -> Agreement:
    """Return how often two labellings agree, with standard errors.

    Parameters
    ----------
    pairs
        The two classes of each position.
    names
        Classes.
    between
        Who labelled.
    """
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for one, other in pairs:
        counts[one, other] += 1
    total, same = len(pairs), int(np.trace(counts))
    a, b = same + 0.5, total - same + 0.5
    kappa, kappa_sigma = cohens_kappa(counts)
    return Agreement(
        between=between,
        names=names,
        counts=counts,
        share=same / total if total else float("nan"),
        share_sigma=float(np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))) if total else float("nan"),
        kappa=kappa,
        kappa_sigma=kappa_sigma,
    )


def cohens_kappa(counts: Int64[np.ndarray, "class class"]) -> tuple[float, float]:
    """Return Cohen's kappa and its standard error [Fleiss, Cohen and Everitt, Psychol. Bull. 72, 323 (1969)].

    Parameters
    ----------
    counts
        Pairs of labels.
    """
    total = counts.sum()
    share = counts / max(total, 1)
    row, column, same = share.sum(axis=1), share.sum(axis=0), float(np.trace(share))
    chance = float(row @ column)
    if total == 0 or chance > 1.0 - 1e-12:
        return float("nan"), float("nan")
    kappa = (same - chance) / (1.0 - chance)
    if same > 1.0 - 1e-12:
        return kappa, float("nan")
    lost = 1.0 - kappa
    diagonal = np.sum(np.diag(share) * (1.0 - (row + column) * lost) ** 2)
    weight = (column[:, None] + row[None, :]) ** 2
    apart = lost**2 * (np.sum(share * weight) - np.sum(np.diag(share) * np.diag(weight)))
    variance = (diagonal + apart - (kappa - chance * lost) ** 2) / (total * (1.0 - chance) ** 2)
    return kappa, float(np.sqrt(max(variance, 0.0)))
