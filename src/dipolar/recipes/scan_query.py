"""What strategies that look at patterns go by: what a bank sees in each, and what classifiers say of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import ScanError
from dipolar.core.scanning import Bank, Labels, Scan, View
from dipolar.label.consensus import check_classes, consensus
from dipolar.recipes.scan_label_settings import SuggestSettings
from dipolar.recipes.scan_pool import Pool

MEMBERS = 8
"""Classifiers of a committee that learns from the labels so far, each from another draw of them."""


def features_of(
    scan: Scan, pool: Pool, settings: SuggestSettings, *, progress: Progress = silent
) -> Float32[np.ndarray, "pattern feature"]:
    """Return what a bank of virtual detectors sees in patterns, relative to main disks; nan where there is nothing.

    Parameters
    ----------
    scan
        The scan.
    pool
        Which patterns.
    settings
        In how many patterns beam, disks and lattice are found.
    progress
        Told how far it has come.

    Raises
    ------
    ScanError
        No beam or no lattice was found.
    """
    from dipolar.locate.beam import look_at
    from dipolar.recipes.scan_look import Look, look_over

    view = look_at(scan, patterns=settings.patterns, progress=progress)
    return look_over(scan, Look(view=view, bank=bank_on(view, settings)), pool, progress=progress).seen


def bank_on(view: View, settings: SuggestSettings) -> Bank:
    """Return the virtual detectors that a strategy goes by.

    Raises
    ------
    ScanError
        No lattice was found.
    """
    from dipolar.measure.bank import bank_for
    from dipolar.recipes.scan_ghosts import rule_for

    check_lattice(view)
    return bank_for(view, rule_for(settings))


def check_lattice(view: View) -> None:
    """Refuse a scan without a lattice.

    Raises
    ------
    ScanError
        It has none; the message says which strategies need none.
    """
    if not np.isfinite(view.lattice_px).all():
        raise ScanError(
            "this strategy looks at patterns through virtual detectors on the reciprocal lattice.",
            got="no lattice of disks was found in this scan",
            do="--strategy grid, adaptive or random; or margin with --model, trained by --classifier small",
        )


def probabilities_of(
    scan: Scan,
    labels: Labels,
    pool: Pool,
    settings: SuggestSettings,
    *,
    several: bool = False,
    progress: Progress = silent,
) -> Float32[np.ndarray, "member pattern class"]:
    """Return the probabilities that a model gives, or without one a regression on the labels so far.

    Parameters
    ----------
    scan
        The scan.
    labels
        Answers so far; their patterns are in the pool.
    pool
        Which patterns.
    settings
        The model, and in how many patterns beam, disks and lattice are found.
    several
        Whether a committee is wanted, where no model is given.
    progress
        Told how far it has come.

    Raises
    ------
    LabelError
        No model, and labels that nothing can be learned from.
    FormatError
        The model cannot be read.
    ScanError
        No beam or no lattice was found.
    """
    from dipolar.locate.beam import look_at
    from dipolar.recipes.scan_look import Look, look_over

    if settings.model is not None:
        from dipolar.learn.pattern_store import load_classifier
        from dipolar.recipes.scan_ghosts import check_no_ghosts
        from dipolar.recipes.scan_lattice import view_for

        check_no_ghosts(settings, why="a trained model knows what it looks at.")
        known = load_classifier(settings.model)
        view = look_at(scan, patterns=settings.patterns, progress=progress)
        if known.bank is not None:
            check_lattice(view)
            view = view_for(known, view)
        seen = look_over(scan, Look(view=view, bank=known.bank, size_px=known.size_px), pool, progress=progress)
        return known.members(seen.seen, seen.counts)

    from dipolar.learn.pattern_bank_training import survey, train_bank

    agreed = consensus(labels).labels
    check_classes(agreed, each=2)
    view = look_at(scan, patterns=settings.patterns, progress=progress)
    seen = look_over(scan, Look(view=view, bank=bank_on(view, settings)), pool, progress=progress)
    rows = seen.rows(np.ravel_multi_index(agreed.positions.T, scan.shape))
    told = ~seen.blank[rows] & np.isfinite(seen.seen[rows]).any(axis=1)  # what is empty says nothing of its class
    used, label = np.unique(agreed.label[told], return_inverse=True)
    learned = train_bank(
        survey(seen.seen, seen.counts),
        seen.seen[rows[told]],
        label,
        [agreed.names[number] for number in used],
        members=MEMBERS if several else 1,
        seed=settings.seed,
    )
    return learned.members(seen.seen, seen.counts)
