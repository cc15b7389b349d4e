"""Which positions of a scan to label next: questions that wait, then those of a strategy, then repeats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import LabelError
from dipolar.core.scanning import Labels, Scan
from dipolar.label import querying, sampling
from dipolar.label.consensus import consensus, lost_classes, per_class, undecided
from dipolar.label.entries import labels_of, standing, waiting
from dipolar.label.journal import Journal, positions_waiting
from dipolar.label.positions import Positions, check_count, check_step, open_positions
from dipolar.recipes.scan_label_settings import Strategy, SuggestSettings
from dipolar.recipes.scan_pool import pool_of
from dipolar.recipes.scan_query import features_of, probabilities_of
from dipolar.recipes.scan_settings import check_idle

TIE = "tie"
"""What a journal calls the strategy of asking again what was called by two names equally often."""
FEW = 20
"""Labels up to which unlike patterns tell more than doubtful ones, as a classifier of so few is unsure of the wrong."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Suggestion:
    """Positions to label next."""

    positions: Positions
    """(scan_y, scan_x), the one to label first at the top."""
    strategy: Strategy
    """How the new ones among them were chosen."""
    waited: int
    """How many were suggested before and are not labelled yet."""
    left: int
    """Positions of the scan that are not labelled and not among them."""


def suggest(
    scan: Scan, journal: Journal, n: int, settings: SuggestSettings, *, progress: Progress = silent
) -> Suggestion:
    """Return positions to label next, and write into the journal that they are asked.

    Questions of the same strategy that still wait come first, so that the same call gives the same positions until they
    are labelled. What waits for an answer, of anybody, is not asked a second time. Then come positions that were called
    by two names equally often, where one of these classes has no other position: they are asked once more.

    Parameters
    ----------
    scan
        The scan.
    journal
        Its journal.
    n
        How many positions; fewer where the scan has no more.
    settings
        The strategy and its options.
    progress
        Told how far the looking at patterns has come.

    Raises
    ------
    LabelError
        A strategy that needs a classifier, and labels of one class only.
    SettingsError
        Fewer than one position, or an option that the strategy does not look at.
    """
    check_count(n)
    if settings.strategy not in (None, "grid", "adaptive"):
        check_idle(settings, "step", needs="--strategy grid or adaptive")
    if settings.strategy not in (None, "margin", "disagreement"):
        check_idle(settings, "model", needs="--strategy margin or disagreement")
    entries = journal.entries()
    labels = labels_of(entries, key=scan.key, shape=scan.shape)
    strategy = settings.strategy or strategy_for(labels)
    plan = plan_of(strategy, settings, scan.shape)
    rng = np.random.default_rng([settings.seed, len(standing(entries))])
    open_ones = waiting(entries)
    mine = [item for item in waiting(entries, settings.who) if item.said == plan or item.repeat]
    before = positions_waiting(mine)[:n]
    ties = undecided(consensus(labels))
    ties = ties[~mask_of(positions_waiting(open_ones), scan.shape)[ties[:, 0], ties[:, 1]]][: n - len(before)]
    repeats = repeats_of(labels, np.concatenate([positions_waiting(open_ones), ties]), min(settings.repeats, n), rng)
    if any(item.repeat and item.said != TIE for item in mine):  # repeats that were asked are not asked again
        repeats = repeats[:0]
    missing = n - len(before) - len(ties) - len(repeats)
    free = written(scan) & ~mask_of(positions_waiting(open_ones), scan.shape)
    new = choose(scan, labels, strategy, missing, free, settings, rng, progress) if missing > 0 else repeats[:0]
    if len(ties):
        journal.ask(ties, strategy=TIE, who=settings.who, repeat=True)
    if len(new):
        journal.ask(new, strategy=plan, who=settings.who)
    if len(repeats):
        journal.ask(repeats, strategy="repeat", who=settings.who, repeat=True)
    found = np.concatenate([before, ties, new])
    if len(repeats):
        found = rng.permutation(np.concatenate([found, repeats]), axis=0)  # nobody can tell which they are
    left = open_positions(labels) & ~mask_of(found, scan.shape)
    return Suggestion(positions=found, strategy=strategy, waited=len(before), left=int(left.sum()))


def choose(
    scan: Scan,
    labels: Labels,
    strategy: Strategy,
    n: int,
    free: Bool[np.ndarray, "scan_y scan_x"],
    settings: SuggestSettings,
    rng: np.random.Generator,
    progress: Progress,
) -> Positions:
    """Return new positions by one strategy."""
    if strategy == "random":
        return sampling.random(labels, n, rng=rng, free=free)
    if strategy == "grid":
        return sampling.grid(labels, n, rng=rng, step=settings.step, free=free)
    if strategy == "adaptive":
        return sampling.adaptive(labels, n, rng=rng, step=settings.step, free=free)
    pool = pool_of(labels, free, settings.pool, rng)
    if strategy == "kmeans":
        seen = features_of(scan, pool, settings, progress=progress)
        return querying.kmeans(labels, n, seen, rng=rng, patterns=pool, free=free)
    members = probabilities_of(scan, labels, pool, settings, several=strategy == "disagreement", progress=progress)
    query = querying.disagreement if strategy == "disagreement" else querying.margin
    return query(labels, n, members, rng=rng, patterns=pool, free=free)


def strategy_for(labels: Labels) -> Strategy:
    """Return the strategy that serves best with so many labels: a classifier needs two of every class."""
    found = consensus(labels)
    counts = [count for count in per_class(found.labels).values() if count]
    few = len(found.labels.label) < FEW or len(counts) < 2 or min(counts) < 2
    return "kmeans" if few or lost_classes(found) else "margin"


def plan_of(strategy: Strategy, settings: SuggestSettings, shape: tuple[int, int]) -> str:
    """Return the strategy and what of its options makes it another one, as the journal says it."""
    return f"{strategy} {check_step(settings.step, shape)}" if strategy in ("grid", "adaptive") else strategy


def written(scan: Scan) -> Bool[np.ndarray, "scan_y scan_x"]:
    """Return the positions whose patterns can be read now: all but those that a growing file does not have yet."""
    return (np.arange(scan.count) < scan.frames.count).reshape(scan.shape)


def mask_of(positions: Positions, shape: tuple[int, int]) -> Bool[np.ndarray, "scan_y scan_x"]:
    """Return where positions are."""
    mask = np.zeros(shape, dtype=bool)
    mask[positions[:, 0], positions[:, 1]] = True
    return mask


def repeats_of(labels: Labels, waits: Positions, n: int, rng: np.random.Generator) -> Positions:
    """Return labelled positions to ask again, drawn.

    Raises
    ------
    LabelError
        Repeats are wanted, and nothing is labelled yet.
    """
    places = np.unique(labels.positions, axis=0)
    if n and not len(places):
        raise LabelError(
            "positions that are asked again were labelled once.",
            got="no labels yet",
            do="label some positions first, without --repeats",
        )
    free = places[~mask_of(waits, labels.shape)[places[:, 0], places[:, 1]]]
    return rng.permutation(free, axis=0)[:n].astype(np.int32)
