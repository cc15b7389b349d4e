"""What is written down about the map of a scan: what made it, what a reader should know, and how right it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import dipolar
from dipolar.core.atomic import sha256_of
from dipolar.core.flags import Flag
from dipolar.core.nouns import Record
from dipolar.core.scan_key import same_scan
from dipolar.core.scanning import Scan, ScanMap, ScanValidation
from dipolar.learn.patterns import AbstractPatternClassifier
from dipolar.recipes.record import Clock, now, versions
from dipolar.recipes.scan_settings import ScanMapSettings


def validation_of(classifier: AbstractPatternClassifier) -> ScanValidation | None:
    """Return how right a classifier was on labels of this scan that were held out; None where it does not say."""
    told = classifier.metrics
    figures = {name: float(value) for name, value in told.items() if isinstance(value, int | float)}
    curve = told.get("reliability", {})
    if not figures:
        return None
    return ScanValidation(
        figures={name: value for name, value in figures.items() if name not in ("labels", "ridge")},
        confidence=np.asarray(curve.get("confidence", ()), dtype=np.float64),
        correct=np.asarray(curve.get("correct", ()), dtype=np.float64),
        count=np.asarray(curve.get("count", ()), dtype=np.int64),
        source="held-out labels",
    )


def notes_on_owner(scan: Scan, classifier: AbstractPatternClassifier | None) -> tuple[str, ...]:
    """Return a sentence where a model learned from another scan; nothing of the patterns is needed for it."""
    if classifier is None or same_scan(classifier.key, scan.key):
        return ()
    return (
        f"The model learned from another scan ({classifier.key or 'it does not say which'}, and {scan.name} is "
        f"{scan.key}): how right it is here is not known, only which patterns are unlike those it learned from. To "
        "know it, label some patterns of this scan and train on them.",
    )


def notes_of(classifier: AbstractPatternClassifier | None, scan_map: ScanMap) -> tuple[str, ...]:
    """Return sentences that a reader of the map should know."""
    notes = [] if classifier is None else list(classifier.notes)
    read = np.isfinite(scan_map.probability).all(axis=2)
    for flag, words in (
        (Flag.UNKNOWN_CLASS, "are unlike those of every class that was labelled"),
        (Flag.OTHER_DOSE, "have far more or fewer counts than those the model learned from"),
        (Flag.BLANK, "are empty, constant or were never written"),
        (Flag.NO_BEAM, "show no direct beam and were centred as their neighbours are"),
    ):
        share = float(np.mean((scan_map.flags & np.uint32(flag)) != 0))
        if share > 0.05:
            notes.append(f"{100 * share:.0f} % of the patterns {words}.")
    if not read.any():
        notes.append("No pattern could be told.")
    return tuple(notes)


def files_read(scan: object, model: object, labels: object) -> tuple[Path | None, dict[str, str]]:
    """Return the file of the scan, and path → sha256 of the model and the labels: those that are files, as named."""
    sums = {} if not isinstance(model, str | Path) else sum_of(model)
    if isinstance(labels, str | Path):
        sums |= {str(labels): sha256_of(labels)}
    return Path(scan) if isinstance(scan, str | Path) else None, sums


def record_of(
    scan: Scan,
    files: tuple[Path | None, dict[str, str]],
    settings: ScanMapSettings,
    clock: Clock,
    notes: tuple[str, ...],
) -> Record:
    """Return what made the map; the scan is named by its key, as hashing terabytes would take longer than the map.

    Parameters
    ----------
    scan
        The scan.
    files
        From `files_read`.
    settings, clock, notes
        What else is to be written down.
    """
    path, sums = files
    return Record(
        settings=settings.model_dump(),
        versions=versions(networks=True, more=("scikit-learn",)),
        inputs={scan.name if path is None else str(path): f"key {scan.key}", **sums},
        timings_s=clock.seconds,
        created=now(),
        notes=notes,
    )


def sum_of(model: str | Path) -> dict[str, str]:
    """Return path, as it was named → sha256 of the tensors of a model."""
    from dipolar.learn.model_file import model_paths

    tensors, _ = model_paths(model)
    return {str(tensors): sha256_of(tensors)}


def key_of_work(
    scan: Scan, classifier: AbstractPatternClassifier | None, model: object, settings: ScanMapSettings
) -> str:
    """Return what names all that the values of a map depend on."""
    told: dict[str, Any] = {
        "dipolar": dipolar.__version__,
        "scan": scan.key,  # of some patterns, which may be alike wherever it begins in the file
        "begins": (settings.skip, settings.select),
        "count": scan.count,
        "patterns": settings.patterns,
        "virtual": settings.virtual,
    }
    if classifier is None:
        names = ("ghosts", "clicks", "parent", "child", "parent_axis", "child_axis")
        told["ghosts"] = {name: getattr(settings, name) for name in names}
        files = [Path(name) for name in (settings.parent, settings.child) if name is not None]
        told["files"] = [sha256_of(path) for path in files if path.is_file()]
    else:
        # wherever the file of the model lies
        told["model"] = list(sum_of(model).values()) if isinstance(model, str | Path) else classifier.kind
        told["learned"] = {"key": classifier.key, "names": classifier.names, "metrics": dict(classifier.metrics)}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
