"""From a scan and a few labels to a classifier, and how right it is where it did not learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import LabelError
from dipolar.core.scan_key import same_scan
from dipolar.core.scanning import Labels, Scan
from dipolar.io.scans import open_scan
from dipolar.label.consensus import Consensus, check_classes, check_kept, consensus, named_only, per_class
from dipolar.learn.model_file import model_paths
from dipolar.learn.pattern_bank_training import survey, train_bank
from dipolar.learn.pattern_baseline import position_only
from dipolar.learn.pattern_scores import folds_of
from dipolar.learn.pattern_store import save_classifier
from dipolar.learn.patterns import AbstractPatternClassifier
from dipolar.locate.beam import look_at
from dipolar.measure.bank import bank_for
from dipolar.recipes.scan_ghosts import check_no_ghosts, rule_for
from dipolar.recipes.scan_label import labels_for
from dipolar.recipes.scan_look import Look, Seen, look_over
from dipolar.recipes.scan_pool import Pool
from dipolar.recipes.scan_settings import ScanTrainSettings, check_idle
from dipolar.recipes.settings import change

EACH = 2
"""Labels that every class needs."""
SMALL_PX = 64
"""Edge of the patterns that a small network sees, unless told otherwise."""
OTHERS, OTHERS_BYTES = 2048, 128 << 20
"""Patterns without a label that a network sees in its training; fewer where their copies would take more memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedScan:
    """A classifier, and what it learned from."""

    classifier: AbstractPatternClassifier
    """Calibrated; its metrics are those of labels that were held out by blocks of the scan."""
    agreed: Consensus
    """One label per position."""
    position_only: float
    """Share of the labels that their nearest neighbours on the scan would give, without a look at any pattern."""
    notes: tuple[str, ...]
    """What should be known of it."""


def train_on_scan(
    scan: str | Path | Scan,
    labels: str | Path | Labels,
    *,
    settings: ScanTrainSettings | None = None,
    progress: Progress = silent,
    **changes: Any,
) -> TrainedScan:
    """Return a classifier of the diffraction patterns of a scan, learned from a few labels.

    Parameters
    ----------
    scan
        A file, or what `dipolar.open_scan` returned.
    labels
        A journal, a table, or `Labels`.
    settings
        How to train; None takes the defaults.
    progress
        Told how far it has come.
    **changes
        Settings to change by name, for example ``classifier="small", ensemble=3``.

    Raises
    ------
    LabelError
        If the labels are of another scan, of one class only, or too few.
    ScanError
        If no beam, or no lattice, is found in the patterns.
    """
    settings = change(settings or ScanTrainSettings(), changes)
    opened = scan if isinstance(scan, Scan) else open_scan(scan, **settings.opening)
    said = labels if isinstance(labels, Labels) else labels_for(opened, labels)
    check_owner(said, opened)
    agreed = consensus(said)
    check_kept(agreed)
    check_classes(agreed.labels, each=EACH)
    agreed = replace(agreed, labels=named_only(agreed.labels))
    labelled = np.ravel_multi_index(tuple(agreed.labels.positions.T), opened.shape).astype(np.int64)
    look = look_for(opened, settings, progress=progress)
    seen = look_over(opened, look, numbers_of(opened, labelled, familiar_to(look, settings)), progress=progress)
    rows = seen.rows(labelled)
    check_patterns(agreed.labels, seen, rows)
    progress("learning", 0.0)
    classifier = taught(opened, agreed.labels, look, seen, labelled, settings, progress=progress)
    progress("learning", 1.0)
    return TrainedScan(
        classifier=classifier,
        agreed=agreed,
        position_only=by_position(agreed.labels),
        notes=tuple(notes_of(agreed, classifier)),
    )


def check_owner(labels: Labels, scan: Scan) -> None:
    """Refuse labels of another scan.

    Raises
    ------
    LabelError
        If key or shape differ.
    """
    if labels.shape != scan.shape or not same_scan(labels.key, scan.key):
        raise LabelError(
            "labels belong to the scan whose patterns were looked at.",
            got=f"labels of scan {labels.key}, {labels.shape}; this one is {scan.key}, {scan.shape}",
            do="give the scan that was labelled, with the same --scan-shape",
        )


def look_for(scan: Scan, settings: ScanTrainSettings, *, progress: Progress = silent) -> Look:
    """Return what the classifier that is asked for shall see of every pattern."""
    rule = rule_for(settings)
    if settings.classifier != "small":
        check_idle(settings, "size_px", needs="--classifier small")
    if settings.classifier != "published":
        check_idle(settings, "reading", needs="--classifier published")
    if settings.classifier != "bank":
        check_no_ghosts(settings, why=f"{settings.classifier} sees whole patterns, and needs not be told of ghosts.")
    view = look_at(scan, patterns=settings.patterns, progress=progress)
    if settings.classifier == "bank":
        return Look(view=view, bank=bank_for(view, rule))
    if settings.classifier == "published":
        from dipolar.learn.pattern_networks import READINGS

        return Look(view=view, size_px=READINGS[settings.reading][0])
    return Look(view=view, size_px=settings.size_px or SMALL_PX)


def familiar_to(look: Look, settings: ScanTrainSettings) -> int:
    """Return how many patterns without a label are looked at: a network learns from few, and its copies are large."""
    return min(settings.familiar, most_others(look.size_px)) if look.size_px else settings.familiar


def most_others(size_px: int) -> int:
    """Return how many copies of this size a network sees besides those with a label."""
    return min(OTHERS, OTHERS_BYTES // (np.dtype(np.float32).itemsize * size_px**2))


def numbers_of(scan: Scan, labelled: Pool, familiar: int) -> Int64[np.ndarray, " seen"]:
    """Return the patterns that are looked at: those with a label, and others spread evenly over the scan."""
    most = min(scan.frames.count, scan.count)
    others = np.unique(np.linspace(0, most - 1, min(familiar, most)).round().astype(np.int64))
    return np.union1d(labelled, others).astype(np.int64)


def check_patterns(labels: Labels, seen: Seen, rows: Pool) -> None:
    """Refuse labels of patterns that hold nothing.

    Raises
    ------
    LabelError
        If one does; the message names the first.
    """
    empty = np.flatnonzero(seen.blank[rows])
    if len(empty):
        y, x = labels.positions[empty[0]].tolist()
        raise LabelError(
            "a labelled pattern has something to see.",
            got=f"{len(empty)} labelled patterns are empty or constant, the first at scan_y {y}, scan_x {x}",
            do="undo these labels: dipolar scan label SCAN --labels FILE --undo N",
        )


def taught(
    scan: Scan,
    labels: Labels,
    look: Look,
    seen: Seen,
    labelled: Pool,
    settings: ScanTrainSettings,
    *,
    progress: Progress = silent,
) -> AbstractPatternClassifier:
    """Return a classifier that learned from what was seen."""
    rows = seen.rows(labelled)
    fold = folds_of(labels.positions, labels.shape)
    shared: Any = {"key": scan.key, "members": settings.ensemble, "seed": settings.seed}
    if look.bank is not None:
        surveyed = survey(seen.seen[~seen.blank], seen.counts[~seen.blank])
        told = labels.label, labels.names
        return train_bank(surveyed, seen.seen[rows], *told, fold=fold, bank=look.bank, **shared)

    from dipolar.learn.pattern_network_training import Examples, train_published, train_small

    good = np.flatnonzero(~seen.blank)
    most = min(most_others(look.size_px), len(good))
    others = good[np.unique(np.linspace(0, len(good) - 1, most).round().astype(np.int64))]
    examples = Examples(
        patches=seen.seen[rows],
        counts=seen.counts[rows],
        label=labels.label.astype(np.int64),
        names=labels.names,
        fold=fold,
        others=seen.seen if len(others) == len(seen.seen) else seen.seen[others],
    )
    if settings.classifier == "published":
        return train_published(examples, reading=settings.reading, progress=progress, **shared)
    return train_small(examples, progress=progress, **shared)


def by_position(labels: Labels) -> float:
    """Return the share of labels that equal that of the nearest other label on the scan."""
    right = []
    for row in range(len(labels.label)):
        others = np.arange(len(labels.label)) != row
        votes = position_only(
            labels.positions[others], labels.label[others], labels.positions[row : row + 1], len(labels.names)
        )
        right.append(float(votes[0, labels.label[row]]))
    return float(np.mean(right))


def notes_of(agreed: Consensus, classifier: AbstractPatternClassifier) -> list[str]:
    """Return sentences that a user of the model should know."""
    notes = list(classifier.notes)
    lost = [item for item in agreed.contradictions if not item.settled]
    if lost:
        notes.append(
            f"{len(lost)} positions were called by two names equally often and teach nothing: "
            + ", ".join(f"({y}, {x})" for y, x in (item.position for item in lost[:5]))
        )
    return notes


def write_classifier(trained: TrainedScan, path: str | Path) -> Path:
    """Write the model, NAME.safetensors with its card NAME.json beside it, and return the first.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    save_classifier(trained.classifier, path)
    return model_paths(path)[0]


def overview_of(trained: TrainedScan) -> dict[str, Any]:
    """Return what was trained in plain values, for ``--json``."""
    return {
        "classifier": trained.classifier.kind,
        "labels": len(trained.agreed.labels.label),
        "classes": per_class(trained.agreed.labels),
        "contradictions": len(trained.agreed.contradictions),
        "held_out": dict(trained.classifier.metrics),
        "position_only": trained.position_only,
        "notes": list(trained.notes),
    }


def share_sigma(hit: int, tried: int) -> float:
    """Return one standard error of a share that was counted; (k + 1) / (n + 2) keeps one where all are right."""
    share = (hit + 1.0) / (tried + 2.0)
    return float(np.sqrt(share * (1.0 - share) / (tried + 3.0)))


def headline_of(trained: TrainedScan) -> list[str]:
    """Return what was trained in a few lines for people."""
    counts = per_class(trained.agreed.labels)
    metrics = trained.classifier.metrics
    tried = int(np.sum(metrics.get("reliability", {}).get("count", ()), dtype=np.int64))
    recalls = ", ".join(
        f"{name} {100 * share:.0f} %"
        for name in counts
        if (share := metrics.get(f"recall of {name}")) is not None and share >= 0
    )
    right = "too few labels to hold any out"
    if tried:
        hit = round(metrics["accuracy"] * tried)
        right = f"{hit} of {tried} right, {100 * hit / tried:.1f} ± {100 * share_sigma(hit, tried):.1f} % ({recalls})"
    return [
        f"{sum(counts.values())} positions labelled: " + ", ".join(f"{count} {name}" for name, count in counts.items()),
        f"held out by blocks of the scan: {right}; position alone {100 * trained.position_only:.1f} %",
    ]
