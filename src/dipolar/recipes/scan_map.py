"""From a scan and a classifier to a map of domains, block by block, whoever does the work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32, Shaped

from dipolar.core.atomic import atomic_file
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import ScanError
from dipolar.core.flags import Flag
from dipolar.core.nouns import Record
from dipolar.core.scanning import Bank, Labels, Scan, ScanMap, ScanResult, ScanValidation, View
from dipolar.io.codec import read_noun, write_noun
from dipolar.io.scans import open_scan
from dipolar.learn.pattern_store import load_classifier
from dipolar.learn.patterns import AbstractPatternClassifier
from dipolar.locate.beam import look_at
from dipolar.locate.beam_mean import centred_mean
from dipolar.maps.scan_domains import domains_of
from dipolar.measure.bank import bank_for
from dipolar.measure.virtual import usual_images
from dipolar.recipes.record import Clock, now, versions
from dipolar.recipes.scan_look import Judge, Look
from dipolar.recipes.scan_settings import ScanMapSettings
from dipolar.recipes.settings import change
from dipolar.run.scanning import READ, AbstractExecutor, Dask, Follow, Kept, LiberTem, Threads, run_blocks

MEAN_OF = 64
"""Patterns of each class whose mean is drawn."""
OWN = ("probability", "mixture", "flags", "centre", "totals", READ)
"""What of the arrays is not a conventional image."""


def map_scan(
    scan: str | Path | Scan,
    model: str | Path | AbstractPatternClassifier,
    *,
    settings: ScanMapSettings | None = None,
    labels: Labels | None = None,
    executor: AbstractExecutor | None = None,
    work: Path | None = None,
    progress: Progress = silent,
    **changes: Any,
) -> ScanResult:
    """Return the domains of a scan: what a classifier says of every pattern, conventional images, walls.

    Parameters
    ----------
    scan
        A file, or what `dipolar.open_scan` returned.
    model
        A model of ``dipolar scan train``, or a classifier.
    settings
        How to map; None takes the defaults.
    labels
        What the classifier learned from, to be shown on the map.
    executor
        Who does the work; None: as the settings say.
    work
        Folder that finished blocks are kept in, so that the same call goes on after whatever stopped it; None keeps
        nothing. Whoever calls removes it once the result is written.
    progress
        Told how far it has come.
    **changes
        Settings to change by name, for example ``workers=2, follow=True``.

    Raises
    ------
    ScanError
        If no beam is found, or patterns are missing.
    FormatError
        If scan or model cannot be read.
    """
    settings = change(settings or ScanMapSettings(), changes)
    opened = open_scan(scan, growing=settings.follow, **settings.opening) if not isinstance(scan, Scan) else scan
    classifier = model if isinstance(model, AbstractPatternClassifier) else load_classifier(model)
    clock = Clock(progress)
    key = key_of_work(opened, classifier, model, settings)
    with clock("finding beam and lattice"):
        view = kept_view(opened, settings, work, key, progress=progress)
        judge = Judge(look=look_of(classifier, view, images=settings.virtual), classifier=classifier)
    with clock("mapping", announce=False):
        arrays = run_blocks(
            executor or executor_for(settings, scan),
            opened.frames,
            judge,
            opened.count,
            kept=None if work is None else Kept(work / "blocks", key, opened.count),
            follow=Follow(patience_s=settings.patience_s) if settings.follow else None,
            progress=progress,
            step="mapping",
        )
    scan_map = assembled(opened, classifier.names, arrays)
    with clock("finding domains and walls"):
        domains = domains_of(scan_map)
    with clock("mean patterns"):
        means = mean_patterns(opened, scan_map, view)
    own = classifier.key == opened.key
    return ScanResult(
        map=scan_map,
        domains=domains,
        record=record_of(opened, model, settings, clock, notes_of(opened, classifier, scan_map)),
        labels=labels,
        validation=validation_of(classifier) if own else None,
        means=means,
        view=view,
        bank=classifier.bank,
    )


def executor_for(settings: ScanMapSettings, scan: str | Path | Scan) -> AbstractExecutor:
    """Return who does the work that the settings ask for."""
    if settings.libertem:
        return LiberTem(cluster="local", workers=settings.workers or 2)
    if settings.cluster is not None:
        return Dask(url=settings.cluster)
    if settings.workers is not None:
        return Dask(workers=settings.workers)
    return Threads() if settings.threads is None else Threads(workers=settings.threads)


def look_of(classifier: AbstractPatternClassifier, view: View, *, images: bool) -> Look:
    """Return what a classifier is to see of every pattern of a scan.

    Raises
    ------
    ScanError
        If it sees virtual detectors, and the scan has no lattice to put them on.
    """
    wanted = usual_images(view) if images else None
    if classifier.wants == "bank":
        if not np.isfinite(view.lattice_px).all():
            raise ScanError(
                "the model looks through virtual detectors that stand on the reciprocal lattice.",
                got="no lattice of disks was found in this scan",
                do="train a model that needs none: --classifier small",
            )
        return Look(view=view, bank=classifier.bank, images=wanted)
    main = None
    if images and np.isfinite(view.lattice_px).all():  # for the difference of Friedel pairs
        every = bank_for(view)
        main = Bank(sites=every.sites[every.main], main=every.main[every.main], radius=every.radius)
    return Look(view=view, bank=main, size_px=classifier.size_px, images=wanted)


def key_of_work(scan: Scan, classifier: AbstractPatternClassifier, model: object, settings: ScanMapSettings) -> str:
    """Return what names all that the values of a map depend on."""
    told = {
        "scan": scan.key,
        "count": scan.count,
        "model": str(model) if isinstance(model, str | Path) else classifier.kind,
        "learned": {"key": classifier.key, "names": classifier.names, "metrics": dict(classifier.metrics)},
        "patterns": settings.patterns,
        "virtual": settings.virtual,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def kept_view(
    scan: Scan, settings: ScanMapSettings, work: Path | None, key: str, *, progress: Progress = silent
) -> View:
    """Return how patterns are looked at; what is resumed is looked at as before, whatever a growing file has by now."""
    path = None if work is None else work / f"view-{key[:16]}.h5"
    if path is not None and path.is_file():
        with h5py.File(path, "r") as file:
            return read_noun(file, View)
    view = look_at(scan, patterns=settings.patterns, progress=progress)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as part, h5py.File(part, "w") as file:
            write_noun(file, view)
    return view


def assembled(scan: Scan, names: tuple[str, ...], arrays: dict[str, np.ndarray]) -> ScanMap:
    """Return the arrays of all patterns as maps; what was never written is flagged."""
    maps = {name: values.reshape(*scan.shape, *values.shape[1:]) for name, values in arrays.items()}
    missing = ~maps[READ]
    flags = np.where(missing, np.uint32(Flag.BLANK), maps["flags"]).astype(np.uint32)
    return ScanMap(
        key=scan.key,
        name=scan.name,
        names=names,
        probability=maps["probability"],
        mixture=maps["mixture"],
        flags=flags,
        centre_px=maps["centre"],
        counts=maps["totals"],
        virtual={name: values.astype(np.float32) for name, values in maps.items() if name not in OWN},
        step_nm=scan.step_nm,
    )


def mean_patterns(scan: Scan, scan_map: ScanMap, view: View) -> Float32[np.ndarray, "class k_y k_x"]:
    """Return the mean of the patterns of each class, the most certain ones spread over the scan."""
    label, sure = scan_map.label.ravel(), np.nan_to_num(scan_map.probability).max(axis=2).ravel()
    means = []
    for number in range(len(scan_map.names)):
        rows = np.flatnonzero(label == number)
        rows = rows[sure[rows] >= np.median(sure[rows])] if len(rows) else rows
        chosen = np.unique(rows[np.linspace(0, len(rows) - 1, min(MEAN_OF, len(rows))).round().astype(np.int64)])
        means.append(centred_mean(_one_by_one(scan, chosen.tolist()), view))
    return np.stack(means)


def _one_by_one(scan: Scan, numbers: list[int]) -> Iterator[Shaped[np.ndarray, "pattern k_y k_x"]]:
    for number in numbers:
        yield scan.frames.read(number, number + 1)


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


def notes_of(scan: Scan, classifier: AbstractPatternClassifier, scan_map: ScanMap) -> tuple[str, ...]:
    """Return sentences that a reader of the map should know."""
    notes = list(classifier.notes)
    if classifier.key != scan.key:
        notes.append(
            "The model learned from another scan: how right it is here is not known, only which patterns are unlike "
            "those it learned from."
        )
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


def record_of(scan: Scan, model: object, settings: ScanMapSettings, clock: Clock, notes: tuple[str, ...]) -> Record:
    """Return what made the map; the scan is named by its key, as hashing terabytes would take longer than the map."""
    record = Record(
        settings=settings.model_dump(),
        versions=versions(networks=True, more=("scikit-learn",)),
        inputs={scan.name: f"key {scan.key}"},
        timings_s=clock.seconds,
        created=now(),
        notes=notes,
    )
    return record if not isinstance(model, str | Path) else replace(record, inputs={**record.inputs, **_sum_of(model)})


def _sum_of(model: str | Path) -> dict[str, str]:
    from dipolar.core.atomic import sha256_of
    from dipolar.learn.model_file import model_paths

    tensors, _ = model_paths(model)
    return {tensors.name: sha256_of(tensors)}
