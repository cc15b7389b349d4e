"""Strategies that look at the patterns: unlike ones by k-means, and those that a classifier is least sure of.

Each takes the labels so far and something about every pattern, or about those of a sample, and returns positions to
label next, as many as are asked for; fewer only where the patterns are fewer.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dipolar.core.errors import DataError, SettingsError
from dipolar.core.scanning import Labels
from dipolar.label.positions import Free, Positions, check_count, open_positions, positions_of

COMPONENTS = 10
"""Principal components that patterns are told apart by; what lies beyond is noise for the most part."""
MOST = 200
"""Clusters at most, where no more are asked for: finer ones tell noise apart."""
WIDER = 10
"""Doubtful patterns that are looked at, for each one asked: the choice among them is spread over the scan."""
CLOSER = 0.7
"""Factor on the least distance between positions that are asked together, where it leaves too few."""
Patterns = Int[np.ndarray, " pattern"]
"""Which patterns, numbered row by row."""


def kmeans(
    labels: Labels,
    n: int,
    features: Float[np.ndarray, "pattern feature"],
    *,
    rng: np.random.Generator,
    patterns: Patterns | None = None,
    free: Free | None = None,
) -> Positions:
    """Return positions whose patterns are unlike each other, and unlike those that are labelled.

    As many clusters are made as there will be labels, 200 at most; each that has none is asked for its most typical
    pattern, the largest first.

    Parameters
    ----------
    labels
        Answers so far.
    n
        How many positions.
    features
        What patterns are told apart by, each in a unit of its own; rows with nan are not asked.
    rng
        Draws where clusters begin.
    patterns
        Number of the pattern of each row; None: they are all patterns of the scan in order.
    free
        Which positions may be asked; None: all.

    Raises
    ------
    SettingsError
        Fewer than one position.
    DataError
        Features of another number of patterns than the scan has.
    """
    from sklearn.cluster import KMeans

    check_count(n)
    numbers = numbers_of(len(features), labels, patterns)
    known = np.flatnonzero(np.isfinite(features).all(axis=1))
    numbers, may = numbers[known], open_positions(labels, free).ravel()[numbers[known]]
    labelled = np.isin(numbers, labels.positions[:, 0].astype(np.int64) * labels.shape[1] + labels.positions[:, 1])
    if may.sum() <= n:
        return positions_of(numbers[may], labels.shape)
    scores = principal_scores(features[known], rng)
    clusters = min(max(n, min(n + int(labelled.sum()), MOST)), len(np.unique(scores, axis=0)))
    found = KMeans(clusters, n_init=3, random_state=int(rng.integers(2**31 - 1))).fit(scores)
    size = np.bincount(found.labels_, minlength=clusters)
    served = np.isin(np.arange(clusters), found.labels_[labelled])
    far = np.linalg.norm(scores - found.cluster_centers_[found.labels_], axis=1)
    chosen: list[int] = []
    for cluster in np.lexsort((-size, served)):  # clusters without a label first, large ones before small ones
        mine = np.flatnonzero(may & (found.labels_ == cluster))
        if len(mine) and len(chosen) < n:
            chosen.append(int(mine[np.argmin(far[mine])]))
    rest = np.setdiff1d(np.flatnonzero(may), chosen)
    chosen += rng.permutation(rest)[: n - len(chosen)].tolist()  # where patterns are the same by the thousand
    return positions_of(numbers[chosen], labels.shape)


def margin(
    labels: Labels,
    n: int,
    probabilities: Float[np.ndarray, "member pattern class"],
    *,
    rng: np.random.Generator,
    patterns: Patterns | None = None,
    free: Free | None = None,
) -> Positions:
    """Return positions between whose two likeliest classes the classifier is least decided, spread over the scan.

    Of ten times as many, the least decided [as in Zhdanov, Diverse mini-batch active learning, arXiv:1901.05954], one
    after the other is asked that no other is near to: ten neighbours on one wall would tell the same ten times.

    Parameters
    ----------
    labels, n, rng, patterns, free
        As for `kmeans`.
    probabilities
        Of each member of an ensemble; a single classifier is an ensemble of one. Rows with nan are not asked.

    Raises
    ------
    SettingsError
        Fewer than one position.
    DataError
        Probabilities of another number of patterns than the scan has, or of fewer than two classes.
    """
    return least_sure(labels, n, 1.0 - margins(probabilities), rng=rng, patterns=patterns, free=free)


def disagreement(
    labels: Labels,
    n: int,
    probabilities: Float[np.ndarray, "member pattern class"],
    *,
    rng: np.random.Generator,
    patterns: Patterns | None = None,
    free: Free | None = None,
) -> Positions:
    """Return positions over whose class the members of an ensemble disagree most, spread over the scan.

    Each member votes for its likeliest class; disagreement is the entropy of the votes [Dagan and Engelson, Proc. ICML
    1995, 150]. Among equals the smaller margin of the mean counts.

    Parameters
    ----------
    labels, n, probabilities, rng, patterns, free
        As for `margin`; two members at least.

    Raises
    ------
    SettingsError
        Fewer than one position, or a single member.
    DataError
        As for `margin`.
    """
    if len(probabilities) < 2:
        raise SettingsError(
            "members of an ensemble disagree, and one classifier has none.",
            got=f"{len(probabilities)} member",
            do="train with --ensemble 5, or ask with --strategy margin",
        )
    doubt = 1.0 - margins(probabilities)
    return least_sure(labels, n, vote_entropy(probabilities) + 1e-3 * doubt, rng=rng, patterns=patterns, free=free)


def margins(probabilities: Float[np.ndarray, "member pattern class"]) -> Float[np.ndarray, " pattern"]:
    """Return how far the likeliest class is ahead of the next, in the mean over members, shape (pattern,).

    Raises
    ------
    DataError
        Fewer than two classes.
    """
    if probabilities.shape[2] < 2:
        raise DataError(
            "a margin is that between two classes.",
            got=f"{probabilities.shape[2]} class",
            do="label positions of a second class first: --strategy kmeans finds unlike patterns",
        )
    best = np.sort(probabilities.mean(axis=0, dtype=np.float64), axis=1)
    return best[:, -1] - best[:, -2]


def vote_entropy(probabilities: Float[np.ndarray, "member pattern class"]) -> Float[np.ndarray, " pattern"]:
    """Return the entropy of the members' votes in nat, shape (pattern,); nan where a probability is nan."""
    votes = np.eye(probabilities.shape[2])[np.nan_to_num(probabilities).argmax(axis=2)].mean(axis=0)
    entropy = -np.sum(votes * np.log(np.where(votes > 0, votes, 1.0)), axis=1)
    return np.where(np.isfinite(probabilities).all(axis=(0, 2)), entropy, np.nan)


def least_sure(
    labels: Labels,
    n: int,
    doubt: Float[np.ndarray, " pattern"],
    *,
    rng: np.random.Generator,
    patterns: Patterns | None = None,
    free: Free | None = None,
) -> Positions:
    """Return positions with much doubt, each in another part of the scan, the most doubtful first.

    Parameters
    ----------
    labels, n, rng, patterns, free
        As for `kmeans`.
    doubt
        Greater where a label would tell more; nan is not asked.
    """
    check_count(n)
    numbers = numbers_of(len(doubt), labels, patterns)
    rows = np.flatnonzero(open_positions(labels, free).ravel()[numbers] & np.isfinite(doubt))
    rows = rng.permutation(rows)  # those equally doubtful come in an order that is drawn
    rows = rows[np.argsort(-doubt[rows], kind="stable")][: WIDER * n]
    places = positions_of(numbers[rows], labels.shape)
    # Half as far as n positions are from each other on a grid over the whole scan.
    return places[apart(places, n, 0.5 * float(np.sqrt(labels.shape[0] * labels.shape[1] / n)))]


def apart(places: Positions, n: int, distance: float) -> Int[np.ndarray, " chosen"]:
    """Return which n of the places to take: from the first on, those that no one taken before is near to.

    Parameters
    ----------
    places
        In the order in which they are wanted.
    n
        How many.
    distance
        What is near, at first; it becomes less until there are enough.
    """
    taken: list[int] = []
    nearest = np.full(len(places), np.inf)
    while len(taken) < min(n, len(places)):
        far = np.flatnonzero(nearest >= distance)
        if not len(far):
            distance *= CLOSER
            continue
        taken.append(int(far[0]))
        nearest = np.minimum(nearest, np.linalg.norm((places - places[far[0]]).astype(np.float64), axis=1))
        nearest[taken] = -1.0
    return np.array(taken, dtype=np.int64)


def numbers_of(rows: int, labels: Labels, patterns: Patterns | None) -> Patterns:
    """Return the pattern that each row is of.

    Raises
    ------
    DataError
        Another number of rows than of patterns.
    """
    expected = labels.shape[0] * labels.shape[1] if patterns is None else len(patterns)
    if rows != expected:
        raise DataError(
            "there must be one row for each pattern.",
            got=f"{rows} rows for {expected} patterns",
            do="pass patterns=, the numbers of those that the rows are of",
        )
    return np.arange(expected) if patterns is None else patterns


def principal_scores(
    features: Float[np.ndarray, "pattern feature"], rng: np.random.Generator
) -> Float[np.ndarray, "pattern component"]:
    """Return the leading principal components of standardised features, shape (pattern, component)."""
    from sklearn.decomposition import PCA

    spread = features.std(axis=0, dtype=np.float64)
    varies = spread > 1e-7 * np.abs(features).max(axis=0, initial=1e-300)  # float32 carries no less
    if not varies.any():
        return np.zeros((len(features), 1))
    scaled = (features[:, varies] - features[:, varies].mean(axis=0, dtype=np.float64)) / spread[varies]
    components = min(COMPONENTS, *scaled.shape)
    return PCA(components, random_state=int(rng.integers(2**31 - 1))).fit_transform(scaled)
