"""A model put to a scan that it did not learn from: along which lattice vectors, and what to know of it."""

from __future__ import annotations

import numpy as np

from dipolar.core.errors import ScanError
from dipolar.core.scan_key import same_scan
from dipolar.core.scanning import Scan, View
from dipolar.learn.patterns import AbstractPatternClassifier
from dipolar.measure.bank_lattice import STRETCHED, lattice_in_disks, likeness, named_as

TURNED_DEG = 20.0
"""Turn of a lattice from which on its vectors may be those of another direction in the crystal: a square lattice is the
same after 90°, so that 45° are as near to one as to the other."""
LARGER = 1.3
"""Change of lattice vectors against the disks from which on a note is due: the convergence angle, or the lattice that
was found, is another one."""


def view_for(classifier: AbstractPatternClassifier | None, view: View) -> View:
    """Return how patterns are looked at for a classifier: lattice vectors in the order in which it learned them.

    A network sees whole patterns, and knows of no vectors; a bank that does not say on which lattice it was made gets
    them as they were found.

    Raises
    ------
    ScanError
        The lattice has another shape than the one that the classifier learned on.
    """
    bank = None if classifier is None else classifier.bank
    if bank is None or bank.lattice is None or not np.isfinite(view.lattice_px).all():
        return view
    named = named_as(view, bank.lattice)
    like = likeness(lattice_in_disks(named), bank.lattice)
    if like.stretched > STRETCHED:
        raise ScanError(
            "a model looks through virtual detectors on the lattice that it learned on, turned or larger or not.",
            got=f"the lattice of this scan is another one: stretched by {100 * (like.stretched - 1):.0f} % more along "
            "one direction than across it",
            do="train a model on this scan, or one that needs no lattice: --classifier small",
        )
    return named


def notes_on_lattice(classifier: AbstractPatternClassifier | None, scan: Scan, view: View) -> tuple[str, ...]:
    """Return sentences that a reader of the map of another scan should know of its lattice.

    Parameters
    ----------
    classifier
        Who made the map; None: nobody learned anything.
    scan
        The scan that is mapped.
    view
        How it is looked at, from `view_for`.
    """
    bank = None if classifier is None else classifier.bank
    if classifier is None or bank is None or same_scan(classifier.key, scan.key):
        return ()
    if bank.lattice is None:
        return (
            "The model is of an earlier version, and does not say on which lattice it learned: where that was turned "
            "by about 45° against this one, classes that differ in direction are exchanged.",
        )
    like, notes = likeness(lattice_in_disks(view), bank.lattice), []
    if abs(like.turned_deg) > TURNED_DEG:
        notes.append(
            f"The lattice is turned by {like.turned_deg:.0f}° against the one that the model learned on: classes that "
            "differ in direction may be exchanged. Label some patterns of this scan to be sure."
        )
    if max(like.larger, 1.0 / like.larger) > LARGER:
        notes.append(
            f"Lattice vectors are {like.larger:.2f} times as long, in radii of a disk, as those that the model learned "
            "on: the convergence angle is another one, or the lattice is."
        )
    return tuple(notes)
