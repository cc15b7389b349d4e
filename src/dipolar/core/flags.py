"""The one registry of flags: a bit, a name and a meaning for everything that can be wrong with a row.

A failed fit is data: its row stays in the table and says here what is wrong with it.
"""

from __future__ import annotations

from enum import IntFlag

import numpy as np
from jaxtyping import Bool, UInt32


class Flag(IntFlag):
    """One bit per cause. Rows of columns, of cells and of scans share the registry; see `MEANING`."""

    NOT_CONVERGED = 1 << 0
    POOR_FIT = 1 << 1
    SATURATED = 1 << 2
    EDGE = 1 << 3
    WEAK = 1 << 4
    MOVED = 1 << 5
    ODD_SHAPE = 1 << 6
    PREDICTED = 1 << 7
    AMBIGUOUS_SUBLATTICE = 1 << 8
    NEAR_INVALID = 1 << 9
    FLAGGED_COLUMN = 1 << 10
    ODD_CELL = 1 << 11
    BY_HAND = 1 << 12
    UNFAMILIAR = 1 << 13
    BLANK = 1 << 14
    NO_BEAM = 1 << 15
    UNKNOWN_CLASS = 1 << 16
    OTHER_DOSE = 1 << 17
    MIXED = 1 << 18


MEANING: dict[Flag, str] = {
    Flag.NOT_CONVERGED: "the fit did not converge; its position is the last step and its sigma is nan",
    Flag.POOR_FIT: "the residuals exceed the noise of the image significantly; sigma is widened accordingly",
    Flag.SATURATED: "pixels at the detector's ceiling lie under the column",
    Flag.EDGE: "more than a quarter of the fitting window lies outside the image",
    Flag.WEAK: "the amplitude is below 5 standard errors",
    Flag.MOVED: "the column lies far from the middle of its four like neighbours",
    Flag.ODD_SHAPE: "the fitted widths are far from those of the sublattice",
    Flag.PREDICTED: "no intensity maximum was found; the guess came from the neighbouring columns",
    Flag.AMBIGUOUS_SUBLATTICE: "the intensities do not tell A from B in this crystal; the labels may be exchanged",
    Flag.NEAR_INVALID: "more than a quarter of the fitting window is invalid (nan)",
    Flag.FLAGGED_COLUMN: "one of the five columns of this cell carries a flag that concerns its position",
    Flag.ODD_CELL: "the cell's edges differ by a fifth or more from the median of the image",
    Flag.BY_HAND: "the column was put in by hand and not fitted; its position has no sigma",
    Flag.UNFAMILIAR: (
        "the network was trained on nothing like the neighbourhood of this cell; its values should not be trusted"
    ),
    Flag.BLANK: "the diffraction pattern is empty, constant or was never written",
    Flag.NO_BEAM: "the direct beam was not found where it can be; the pattern was centred as its neighbours are",
    Flag.UNKNOWN_CLASS: "the diffraction pattern is unlike those of every class that was labelled",
    Flag.OTHER_DOSE: "the diffraction pattern has far more or fewer counts than those the classifier learned from",
    Flag.MIXED: "the diffraction pattern is a mixture of two classes, as where the probe covers a wall",
}

POSITION_FLAGS = (
    Flag.NOT_CONVERGED
    | Flag.POOR_FIT
    | Flag.SATURATED
    | Flag.EDGE
    | Flag.WEAK
    | Flag.MOVED
    | Flag.NEAR_INVALID
    | Flag.BY_HAND
)
"""The flags of a column after which its position should not be trusted blindly."""

DOUBTFUL_CELL = POSITION_FLAGS | Flag.FLAGGED_COLUMN | Flag.ODD_CELL | Flag.UNFAMILIAR
"""The flags after which a cell counts in no median and no map colour."""


def has(flags: UInt32[np.ndarray, " row"], flag: Flag) -> Bool[np.ndarray, " row"]:
    """Return where any bit of `flag` is set, shape (row,)."""
    return (flags & np.uint32(flag)) != 0


def names(flags: int) -> list[str]:
    """Return the lower-case names of the bits set in one row's flags."""
    return [str(flag.name).lower() for flag in Flag if int(flags) & flag]
