"""A scan mapped without any label: ghosts are learned from a sample, then told pattern by pattern, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import ScanError
from dipolar.core.scanning import Bank, Scan, View
from dipolar.learn.patterns import answers_of
from dipolar.locate.beam import centres
from dipolar.measure.order import ENOUGH, order_parameters
from dipolar.measure.order_classes import (
    APART,
    LearnedOrder,
    chances_without_labels,
    learn_order,
    shares_without_labels,
)
from dipolar.measure.patterns import everything
from dipolar.measure.virtual import VirtualImages
from dipolar.recipes.scan_look import order_images, told
from dipolar.recipes.scan_pool import Pool, chunk_of, spans_of

SAMPLE = 4096
"""Patterns, spread over the scan, from which ghosts are learned where nothing else tells classes."""
FEWER = 256
"""As many are enough where a classifier tells classes, and only order parameters are made besides."""
BATCH_BYTES = 32 << 20
"""Patterns of the sample that are looked at together."""
OTHER_DOSE = 4.0
"""Factor on the usual counts of the sample from which the dose is another one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unlabelled:
    """What ghosts alone say of every pattern; work for `dipolar.run.scanning`."""

    view: View
    """How patterns are looked at."""
    bank: Bank
    """Virtual detectors."""
    learned: LearnedOrder
    """Which ghosts tell, and from which amplitude on."""
    images: VirtualImages | None = None
    """Conventional images that are made besides."""

    def __call__(self, patterns: Shaped[np.ndarray, "pattern k_y k_x"], start: int) -> dict[str, np.ndarray]:
        """Return "probability", "mixture", "flags", "centre", "totals", order parameters and the images by name."""
        made = everything(patterns, self.view, centres, bank=self.bank, images=self.images)
        found = order_parameters(made.pop("counts"), made.pop("counts_sigma"), self.bank, self.learned.weights)
        share, sigma = shares_without_labels(found, self.learned)
        low, high = self.learned.counts
        said = answers_of(
            chances_without_labels(found, self.learned),
            share,
            sigma,
            np.zeros(len(patterns)),  # nobody named classes that a pattern could be unlike
            made["totals"],
            (low / OTHER_DOSE, high * OTHER_DOSE),
        )
        return told(made | order_images(found), said)


def learned_order(scan: Scan, view: View, bank: Bank, most: int, *, progress: Progress = silent) -> LearnedOrder:
    """Return what a sample of a scan teaches about its ghosts.

    Parameters
    ----------
    scan
        The scan; of one that grows, what is there.
    view, bank
        How its patterns are looked at.
    most
        Patterns at most, evenly spread.
    progress
        Told how far it has come.
    """
    count = min(scan.frames.count, scan.count)
    numbers = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))
    parts, done = [], 0
    for batch in _batches(scan, numbers):
        made = everything(batch, view, centres, bank=bank)
        seen = ~made["blank"]
        parts.append([made[name][seen] for name in ("counts", "counts_sigma", "totals")])
        done += len(batch)
        progress("looking for ghosts", done / len(numbers))
    counts, sigma, sums = (np.concatenate(column) for column in zip(*parts, strict=True))
    return learn_order(counts, sigma, sums, bank)


def _batches(scan: Scan, numbers: Pool) -> Iterator[Shaped[np.ndarray, "pattern k_y k_x"]]:
    """Yield the patterns, as many together as are worked on fast, whatever few of them are read at once."""
    most = max(1, BATCH_BYTES // (scan.frames.shape_px[0] * scan.frames.shape_px[1] * scan.frames.dtype.itemsize))
    held: list[np.ndarray] = []
    waiting = 0
    for start, stop, part in spans_of(numbers, min(chunk_of(scan), max(most, scan.frames.chunk))):
        patterns = scan.frames.read(start, stop)
        held.append(patterns if len(part) == stop - start else patterns[part - start])
        waiting += len(part)
        if waiting >= most:
            yield np.concatenate(held) if len(held) > 1 else held[0]
            held, waiting = [], 0
    if held:
        yield np.concatenate(held)


def check_apart(learned: LearnedOrder, scan: Scan) -> None:
    """Refuse a scan whose ghosts do not tell classes.

    Raises
    ------
    ScanError
        If it has too few patterns to learn from, or patterns do not fall into those with ghosts and those without.
    """
    label = "label some patterns, and train: dipolar scan suggest SCAN --labels FILE"
    count = min(scan.frames.count, scan.count)
    if count < ENOUGH:
        raise ScanError(
            f"without labels, ghosts are learned from the patterns themselves, and {ENOUGH} are the fewest.",
            got=f"{count} patterns" + (" so far" if scan.growing else ""),
            do="wait until the file has grown" if scan.growing else label,
        )
    if learned.apart < APART:
        raise ScanError(
            "without labels, classes are told by ghosts that are there in some patterns and not in others.",
            got=f"both are {learned.apart:.1f} standard deviations apart; {APART:g} are the least",
            do=f"{label}, or name the ghosts with --ghosts",
        )


def notes_without_labels(learned: LearnedOrder, scan: Scan) -> tuple[str, ...]:
    """Return what a reader of a map without labels should know."""
    notes = [
        "No label was used. Horizontal and vertical say along which reciprocal lattice vector ghosts lie half way, the "
        "one nearest to the x axis or the other; none says only that they are weaker than the threshold: polarization "
        "along the beam, another phase, vacuum, or ghosts too weak to be seen.",
        "Probabilities are those of normal errors against the threshold; no label has shown whether they hold.",
    ]
    if not learned.weights.varies:
        notes.append("No ghosts come and go with each other beyond noise: all of a kind count as their mean intensity.")
    if scan.growing and learned.patterns < min(SAMPLE, scan.count):
        notes.append(
            f"Ghosts were learned from the {learned.patterns} patterns that were there when mapping began: map the "
            "scan again once it is whole."
        )
    return tuple(notes)
