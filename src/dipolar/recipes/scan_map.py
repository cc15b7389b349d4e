"""From a scan and a classifier to a map of domains, block by block, whoever does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from jaxtyping import Float32, Shaped

from dipolar.core.atomic import atomic_file
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import ScanError, SettingsError
from dipolar.core.flags import Flag
from dipolar.core.scan_key import same_scan
from dipolar.core.scanning import Bank, Labels, Scan, ScanMap, ScanResult, View
from dipolar.io.careful import new_hdf5
from dipolar.io.codec import read_noun, write_noun
from dipolar.io.scans import open_scan
from dipolar.learn.pattern_store import load_classifier
from dipolar.learn.patterns import AbstractPatternClassifier
from dipolar.locate.beam import look_at
from dipolar.locate.beam_mean import centred_mean
from dipolar.maps.scan_domains import domains_of
from dipolar.measure.bank import bank_for
from dipolar.measure.order import CLASSES
from dipolar.measure.order_classes import LearnedOrder
from dipolar.measure.virtual import usual_images
from dipolar.recipes.record import Clock
from dipolar.recipes.scan_ghosts import check_no_ghosts, rule_for
from dipolar.recipes.scan_label import labels_for
from dipolar.recipes.scan_lattice import notes_on_lattice, view_for
from dipolar.recipes.scan_look import Judge, Look
from dipolar.recipes.scan_map_record import (
    files_read,
    key_of_work,
    notes_of,
    notes_on_owner,
    record_of,
    validation_of,
)
from dipolar.recipes.scan_settings import ScanMapSettings, check_idle
from dipolar.recipes.scan_train import check_owner
from dipolar.recipes.scan_unlabelled import (
    FEWER,
    SAMPLE,
    Unlabelled,
    check_apart,
    learned_order,
    notes_without_labels,
)
from dipolar.recipes.settings import change
from dipolar.run.scanning import READ, AbstractExecutor, Dask, Follow, Kept, LiberTem, Threads, run_blocks

MEAN_OF = 64
"""Patterns of each class whose mean is drawn."""
Noun = TypeVar("Noun")
OWN = ("probability", "mixture", "flags", "centre", "totals", READ)
"""What of the arrays is not a conventional image."""


def map_scan(
    scan: str | Path | Scan,
    model: str | Path | AbstractPatternClassifier | None = None,
    *,
    settings: ScanMapSettings | None = None,
    labels: str | Path | Labels | None = None,
    executor: AbstractExecutor | None = None,
    work: Path | None = None,
    progress: Progress = silent,
    tell: Callable[[str], None] | None = None,
    **changes: Any,
) -> ScanResult:
    """Return the domains of a scan: what a classifier says of every pattern, conventional images, walls.

    Without a classifier, ghosts tell horizontal, vertical and none: half way along the first reciprocal lattice vector,
    along the second, or weaker than a threshold that is learned from a sample of the scan.

    Parameters
    ----------
    scan
        A file, or what `dipolar.open_scan` returned.
    model
        A model of ``dipolar scan train``, or a classifier; None: no label is used.
    settings
        How to map; None takes the defaults.
    labels
        What the classifier learned from, to be shown on the map: a journal, a table, or `Labels`.
    executor
        Who does the work; None: as the settings say.
    work
        Folder that finished blocks are kept in, so that the same call goes on after whatever stopped it; None keeps
        nothing. Whoever calls removes it once the result is written.
    progress
        Told how far it has come.
    tell
        Told in a sentence, before any pattern is looked at, that the model learned from another scan.
    **changes
        Settings to change by name, for example ``workers=2, follow=True``.

    Raises
    ------
    ScanError
        If no beam is found, patterns are missing, the lattice is not that of the model, or ghosts tell no classes where
        there is no model.
    LabelError
        If labels are of another scan.
    FormatError
        If scan or model cannot be read.
    """
    settings = change(settings or ScanMapSettings(), changes)
    if not settings.follow:
        check_idle(settings, "patience_s", needs="--follow")
    executor = executor or executor_for(settings)
    opened = open_scan(scan, growing=settings.follow, **settings.opening) if not isinstance(scan, Scan) else scan
    said = labels if isinstance(labels, Labels | None) else labels_for(opened, labels)
    if said is not None:
        check_owner(said, opened)
    classifier = model if isinstance(model, AbstractPatternClassifier | None) else load_classifier(model)
    if classifier is None:
        rule_for(settings)
    else:
        check_no_ghosts(settings, why="a trained model knows what it looks at.")
    strange = notes_on_owner(opened, classifier)
    if tell is not None:
        for sentence in strange:
            tell(sentence)
    clock = Clock(progress)
    key = key_of_work(opened, classifier, model, settings)
    with clock("finding beam and lattice"):
        view = view_for(classifier, kept_view(opened, settings, work, key, progress=progress))
    with clock("looking for ghosts", announce=False):
        judge = judge_for(opened, classifier, view, settings, work, key, progress=progress)
    with clock("mapping", announce=False):
        arrays = run_blocks(
            executor,
            opened.frames,
            judge,
            opened.count,
            kept=None if work is None else Kept(work / "blocks", key, opened.count),
            follow=Follow(patience_s=settings.patience_s) if settings.follow else None,
            progress=progress,
            step="mapping",
        )
    scan_map = assembled(opened, CLASSES if classifier is None else classifier.names, arrays)
    with clock("finding domains and walls"):
        domains = domains_of(scan_map)
    with clock("mean patterns"):
        means = mean_patterns(opened, scan_map, view)
    own = classifier is not None and same_scan(classifier.key, opened.key)
    before = notes_without_labels(judge.learned, opened) if isinstance(judge, Unlabelled) else ()
    notes = (*before, *notes_on_lattice(classifier, opened, view), *strange, *notes_of(classifier, scan_map))
    return ScanResult(
        map=scan_map,
        domains=domains,
        record=record_of(opened, files_read(scan, model, labels), settings, clock, notes),
        labels=said,
        validation=validation_of(classifier) if classifier is not None and own else None,
        means=means,
        view=view,
        bank=judge.bank if isinstance(judge, Unlabelled) else judge.classifier.bank,
    )


def executor_for(settings: ScanMapSettings) -> AbstractExecutor:
    """Return who does the work that the settings ask for.

    Raises
    ------
    SettingsError
        If they ask for two at once.
    """
    wanted = {name: getattr(settings, name) for name in ("threads", "workers", "cluster")}
    asked = [name for name, value in wanted.items() if value is not None]
    if len(asked) > 1 or (settings.libertem and "threads" in asked):
        raise SettingsError(
            "a map is made by threads here, by processes here, or by a cluster.",
            got=", ".join(f"--{name} {wanted[name]}" for name in asked) + (", --libertem" if settings.libertem else ""),
            do=f"give one of them: --{asked[-1]} {wanted[asked[-1]]}",
        )
    if settings.libertem:
        return LiberTem(cluster=settings.cluster or "local", workers=settings.workers or 2)
    if settings.cluster is not None:
        return Dask(url=settings.cluster)
    if settings.workers is not None:
        return Dask(workers=settings.workers)
    return Threads() if settings.threads is None else Threads(workers=settings.threads)


def judge_for(
    scan: Scan,
    classifier: AbstractPatternClassifier | None,
    view: View,
    settings: ScanMapSettings,
    work: Path | None,
    key: str,
    *,
    progress: Progress = silent,
) -> Judge | Unlabelled:
    """Return the work that is done on every pattern; what it needs to know of ghosts is learned from a sample.

    Raises
    ------
    ScanError
        If there is no lattice where one is needed, or ghosts tell no classes where nothing else does.
    """

    def learned(bank: Bank, most: int) -> LearnedOrder:
        return kept(lambda: learned_order(scan, view, bank, most, progress=progress), LearnedOrder, work, key)

    if classifier is None:
        bank = bank_for(view, rule_for(settings))
        found = learned(bank, SAMPLE)
        check_apart(found, scan)
        return Unlabelled(view=view, bank=bank, learned=found, images=usual_images(view) if settings.virtual else None)
    look = look_of(classifier, view, images=settings.virtual)
    if settings.virtual and classifier.bank is not None and not look.size_px:
        look = replace(look, order=learned(classifier.bank, FEWER).weights)
    return Judge(look=look, classifier=classifier)


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


def kept_view(
    scan: Scan, settings: ScanMapSettings, work: Path | None, key: str, *, progress: Progress = silent
) -> View:
    """Return how patterns are looked at; what is resumed is looked at as before, whatever a growing file has by now."""
    return kept(lambda: look_at(scan, patterns=settings.patterns, progress=progress), View, work, key)


def kept(make: Callable[[], Noun], kind: type[Noun], work: Path | None, key: str) -> Noun:
    """Return what was made before for the same work, or make it and keep it."""
    path = None if work is None else work / f"{kind.__name__.lower()}-{key[:16]}.h5"
    if path is not None and path.is_file():
        with h5py.File(path, "r") as file:
            found: Noun = read_noun(file, kind)
        return found
    made = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as part, new_hdf5(part) as file:
            write_noun(file, made)
    return made


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
