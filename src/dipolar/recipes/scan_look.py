"""Patterns looked at: what is taken from each of them, block by block, for training and for mapping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped

from dipolar.core.contracts import Progress, silent
from dipolar.core.flags import Flag
from dipolar.core.scanning import Bank, Scan, View
from dipolar.learn.patterns import AbstractPatternClassifier, Answers
from dipolar.locate.beam import centres
from dipolar.measure.bank import ratios
from dipolar.measure.order import OrderParameters, OrderWeights, order_parameters
from dipolar.measure.patterns import everything
from dipolar.measure.virtual import VirtualImages
from dipolar.recipes.scan_pool import Pool, chunk_of, spans_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """What a classifier is to see of every pattern; work for `dipolar.run.scanning`."""

    view: View
    """How patterns are looked at."""
    bank: Bank | None = None
    """Virtual detectors whose ratios it sees."""
    size_px: int = 0
    """Edge of the small copies that it sees; 0: it sees ratios."""
    images: VirtualImages | None = None
    """Conventional images that are made besides."""
    order: OrderWeights | None = None
    """How ghosts are summed into order parameters, which are then made besides; it needs a bank."""

    def __call__(self, patterns: Shaped[np.ndarray, "pattern k_y k_x"], start: int) -> dict[str, np.ndarray]:
        """Return "seen", and "centre", "found", "blank", "totals" and the images by name."""
        made = everything(patterns, self.view, centres, bank=self.bank, size_px=self.size_px, images=self.images)
        counts, sigma = made.pop("counts", None), made.pop("counts_sigma", None)
        if self.size_px:
            made["seen"] = made.pop("patch")
        elif self.bank is not None and counts is not None:
            made["seen"] = ratios(counts, self.bank)
        if self.order is not None and self.bank is not None and counts is not None and sigma is not None:
            made |= order_images(order_parameters(counts, sigma, self.bank, self.order))
        return made


def order_images(found: OrderParameters) -> dict[str, Float32[np.ndarray, " pattern"]]:
    """Return order parameters by the names of their maps, each followed by its standard error."""
    values = {
        "ghost strength": found.strength,
        "ghost strength sigma": found.strength_sigma,
        "horizontal − vertical": found.difference,
        "horizontal − vertical sigma": found.difference_sigma,
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def told(made: dict[str, np.ndarray], said: Answers) -> dict[str, np.ndarray]:
    """Return what is said of patterns beside what was made of them; nothing is said of blank ones.

    Patterns with a beam and nothing else, as in vacuum, have no class either, and are flagged as of none.

    Parameters
    ----------
    made
        From `Look`, without what was seen.
    said
        Of the same patterns.
    """
    blank, found = made.pop("blank"), made.pop("found")
    flags = np.where(blank, np.uint32(Flag.BLANK), said.flags)
    flags = np.where(found | blank, flags, flags | np.uint32(Flag.NO_BEAM)).astype(np.uint32)
    flags[~blank & ~np.isfinite(said.probability).all(axis=1)] |= np.uint32(Flag.UNKNOWN_CLASS)
    unknown = blank[:, None]
    return made | {
        "probability": np.where(unknown, np.float32(np.nan), said.probability),
        "mixture": np.where(unknown, np.float32(np.nan), said.mixture),
        "flags": flags,
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judge:
    """What a classifier says of every pattern; work for `dipolar.run.scanning`."""

    look: Look
    """What it is to see."""
    classifier: AbstractPatternClassifier
    """Who says it."""

    def __call__(self, patterns: Shaped[np.ndarray, "pattern k_y k_x"], start: int) -> dict[str, np.ndarray]:
        """Return "probability", "mixture", "flags", and all of `Look` but what was seen."""
        made = self.look(patterns, start)
        return told(made, self.classifier.answers(made.pop("seen"), made["totals"]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What was seen of some patterns of a scan."""

    numbers: Int64[np.ndarray, " pattern"]
    """Which patterns."""
    seen: Float32[np.ndarray, "pattern *shape"]
    """What a classifier sees of each."""
    counts: Float32[np.ndarray, " pattern"]
    """Sum of each."""
    blank: Bool[np.ndarray, " pattern"]
    """Which of them hold nothing."""

    def rows(self, numbers: Pool) -> Int64[np.ndarray, " wanted"]:
        """Return where those patterns are in these arrays."""
        return np.searchsorted(self.numbers, numbers).astype(np.int64)


def look_over(scan: Scan, look: Look, numbers: Pool, *, progress: Progress = silent) -> Seen:
    """Return what is seen of some patterns; only that is ever in memory as a whole.

    Parameters
    ----------
    scan
        The scan.
    look
        What is taken from each.
    numbers
        Which patterns, in order.
    progress
        Told how far it has come.
    """
    whole: dict[str, np.ndarray] = {}
    done = 0
    for start, stop, part in spans_of(numbers, chunk_of(scan)):
        made = look(scan.frames.read(start, stop), start)
        for name in ("seen", "totals", "blank"):
            if not done:  # pieces that were put together in the end would be in memory twice
                whole[name] = np.empty((len(numbers), *made[name].shape[1:]), dtype=made[name].dtype)
            whole[name][done : done + len(part)] = made[name][part - start]
        done += len(part)
        progress("looking at patterns", done / len(numbers))
    return Seen(numbers=numbers, seen=whole["seen"], counts=whole["totals"], blank=whole["blank"])
