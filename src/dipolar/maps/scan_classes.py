"""Probabilities → one class per position: neighbours have a say where a pattern leaves doubt, specks must be sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.sparse
from jaxtyping import Bool, Float, Int32, Int64
from scipy.sparse.csgraph import connected_components

from dipolar.core.errors import SettingsError
from dipolar.core.flags import Flag
from dipolar.core.scanning import ScanMap

NO_CLASS = Flag.BLANK | Flag.UNKNOWN_CLASS
"""Positions with such a flag belong to no class."""
LEAST = 1e-6
"""Probabilities are never taken to be smaller, so that one pattern cannot outweigh everything around it."""
PURE = 0.85
"""A pattern of which no class has so much is a mixture."""
SWEEPS = 12
"""Rounds in which neighbours are asked."""
CHANCE = 0.05
"""How many specks in a whole scan may be there by chance."""
CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRules:
    """How classes are settled and walls are drawn."""

    coupling: float = 0.5
    """What one neighbour of the same class adds to the log-odds of a position, four neighbours at most 2. A pattern
    that is 90 % sure of itself is outvoted by nobody. 0 asks no neighbours."""
    smallest: int = 4
    """Regions of fewer positions must be surer than chance allows in a whole scan, or join their surroundings."""
    smoothing: float = 1.5
    """Standard deviation, in probe steps, of the smoothing along walls."""
    shortest: float = 1.0
    """Walls shorter than this, in probe steps, are corners where domains touch, and left out."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not (0 <= self.coupling <= 2 and self.smallest >= 1 and 0 < self.smoothing <= 5 and self.shortest >= 0):
            raise SettingsError(
                "Domains need a coupling from 0 to 2, regions of 1 position or more, a smoothing above 0 and up to 5 "
                "probe steps, and a shortest wall of 0 or more.",
                got=str(self),
                do="DomainRules(coupling=0.5, smallest=4, smoothing=1.5, shortest=1.0)",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classes:
    """One class per position, and what is needed to draw walls between them."""

    label: Int32[np.ndarray, "scan_y scan_x"]
    """Class; -1 where none can be told."""
    probability: Float[np.ndarray, "scan_y scan_x class"]
    """That of each pattern by itself; 0 where no class can be told."""
    share: Float[np.ndarray, "scan_y scan_x class"]
    """Share of each class in the pattern; the probability where no shares are known."""
    shares_known: bool
    """Whether shares are known."""


def classes_of(scan_map: ScanMap, rules: DomainRules) -> Classes:
    """Return one class per position.

    The probabilities are those of patterns by themselves (where shares are known and a pattern is a mixture, they are
    its shares: which class is the more probable one there depends on a hair). They are combined with what the four
    neighbours are, as in a Potts model whose mean field is iterated; then regions that are small and no surer than
    chance join what is around them.

    Parameters
    ----------
    scan_map
        What the classifier says.
    rules
        How much neighbours count.
    """
    probability = scan_map.probability.astype(np.float64)
    known = np.isfinite(probability).all(axis=2) & ((scan_map.flags & np.uint32(NO_CLASS)) == 0)
    probability = _normed(np.where(known[..., None], probability, 0.0))
    share, shares_known = probability, scan_map.mixture is not None
    if scan_map.mixture is not None:
        there = known & np.isfinite(scan_map.mixture).all(axis=2)
        share = np.where(there[..., None], np.nan_to_num(scan_map.mixture.astype(np.float64)), probability)
        mixed = there & (share.max(axis=2) < PURE)
        probability = np.where(mixed[..., None], _normed(np.clip(share, 0.0, None)), probability)
    asked = _with_neighbours(probability, known, rules.coupling)
    label = np.where(known, np.argmax(asked, axis=2), -1).astype(np.int32)
    for _ in range(rules.smallest):
        settled = without_specks(label, _touching(label), probability, rules.smallest)
        if np.array_equal(settled, label):
            break
        label = settled
    return Classes(label=label, probability=probability, share=share, shares_known=shares_known)


def _normed(values: Float[np.ndarray, "scan_y scan_x class"]) -> Float[np.ndarray, "scan_y scan_x class"]:
    total = values.sum(axis=2, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0)


def _with_neighbours(
    probability: Float[np.ndarray, "scan_y scan_x class"], known: Bool[np.ndarray, "scan_y scan_x"], coupling: float
) -> Float[np.ndarray, "scan_y scan_x class"]:
    """Return probabilities given the neighbours: p · exp(coupling · sum over neighbours), normalised, iterated."""
    found = probability
    for _ in range(SWEEPS if coupling > 0 else 0):
        around = np.stack(
            [
                scipy.ndimage.correlate(found[..., place], CROSS, mode="constant")
                for place in range(probability.shape[2])
            ],
            axis=2,
        )
        found = _normed(np.where(known[..., None], probability * np.exp(coupling * around), 0.0))
    return found


def without_specks(
    label: Int32[np.ndarray, "scan_y scan_x"],
    region: Int32[np.ndarray, "scan_y scan_x"],
    probability: Float[np.ndarray, "scan_y scan_x class"],
    smallest: int,
) -> Int32[np.ndarray, "scan_y scan_x"]:
    """Return classes in which every small region is surer of itself than chance allows anywhere in the scan.

    Parameters
    ----------
    label
        Class of each position.
    region
        Number of the region of each; -1 where there is no class.
    probability
        That of each class at each position.
    smallest
        Positions below which a region is small.
    """
    size = np.bincount(region[region >= 0])
    owner, beside = _sides(region)
    if not len(owner):
        return label
    # the class that a region shares most of its rim with
    count = np.zeros((len(size), probability.shape[2]))
    np.add.at(count, (owner, label.ravel()[beside]), 1.0)
    around = np.argmax(count, axis=1)
    at, inside = np.nonzero(region >= 0), region[region >= 0]
    evidence = np.log(np.maximum(probability, LEAST))
    for_it = evidence[(*at, label[at])] - evidence[(*at, around[inside])]
    sure = np.bincount(inside, weights=for_it, minlength=len(size))
    gone = (size < smallest) & (count.sum(axis=1) > 0) & (sure < np.log(label.size / CHANCE))
    found, turned = label.copy(), gone[inside]
    found[at[0][turned], at[1][turned]] = around[inside[turned]]
    return found


def _touching(label: Int32[np.ndarray, "scan_y scan_x"]) -> Int32[np.ndarray, "scan_y scan_x"]:
    """Return the regions whose positions touch at an edge or a corner."""
    from skimage.measure import label as connected

    region = (connected(label + 1, connectivity=2) - 1).astype(np.int32)  # type: ignore[no-untyped-call]
    region[label < 0] = -1
    return region


def _sides(region: Int32[np.ndarray, "scan_y scan_x"]) -> tuple[Int64[np.ndarray, " side"], Int64[np.ndarray, " side"]]:
    """Return every side between two regions, from both of them: the region, and the position on its other side."""
    number = np.arange(region.size).reshape(region.shape)
    one = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    two = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    flat = region.ravel()
    apart = (flat[one] != flat[two]) & (flat[one] >= 0) & (flat[two] >= 0)
    one, two = one[apart], two[apart]
    owner = np.concatenate([flat[one], flat[two]]).astype(np.int64)
    return owner, np.concatenate([two, one]).astype(np.int64)


def regions_of(
    label: Int32[np.ndarray, "scan_y scan_x"], centre: Float[np.ndarray, "corner_y corner_x class"]
) -> Int32[np.ndarray, "scan_y scan_x"]:
    """Return the number of the connected region of every position, the largest first; -1 where there is no class.

    Parameters
    ----------
    label
        Class of each position.
    centre
        How far each class is above the others at the corner between four positions: two positions that only touch
        there are connected where it is above zero.
    """
    number = np.arange(label.size).reshape(label.shape)
    above = np.take_along_axis(centre, np.maximum(label[:-1, :-1], 0)[..., None], axis=2)[..., 0] > 0
    beyond = np.take_along_axis(centre, np.maximum(label[:-1, 1:], 0)[..., None], axis=2)[..., 0] > 0
    pairs = []
    for one, two, allowed in (
        (np.s_[:, :-1], np.s_[:, 1:], np.True_),
        (np.s_[:-1], np.s_[1:], np.True_),
        (np.s_[:-1, :-1], np.s_[1:, 1:], above),
        (np.s_[:-1, 1:], np.s_[1:, :-1], beyond),
    ):
        joined = (label[one] == label[two]) & (label[one] >= 0) & allowed
        pairs.append(np.stack([number[one][joined], number[two][joined]]))
    first, second = np.concatenate(pairs, axis=1)
    graph = scipy.sparse.coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(label.size, label.size))
    _, found = connected_components(graph, directed=False)
    found = np.where(label.ravel() >= 0, found, -1)
    numbers, inverse, size = np.unique(found[found >= 0], return_inverse=True, return_counts=True)
    rank = np.empty(len(numbers), dtype=np.int32)
    rank[np.argsort(-size, kind="stable")] = np.arange(len(numbers), dtype=np.int32)
    region = np.full(label.size, -1, dtype=np.int32)
    region[found >= 0] = rank[inverse]
    return region.reshape(label.shape)
