"""How far columns stray from a locally uniform lattice: the precision that published work quotes."""

from __future__ import annotations

import numpy as np

from dipolar.core.flags import POSITION_FLAGS, has
from dipolar.core.nouns import Columns


def rms_deviation_px(columns: Columns, sublattice: int) -> tuple[float, float]:
    """Return the RMS deviation (y, x) of a sublattice from the locally uniform lattice, in px; nan without columns.

    Each column is compared with the mean of its four neighbours along ±a and ±b. Were all five independent with the
    same error, the difference would have √(1 + 1/4) of it; that factor is taken out, so that on a perfect crystal
    this is the standard error of one coordinate.

    Source: A. B. Yankovich et al., Nature Communications 5, 4155 (2014), who quote such a precision.

    Parameters
    ----------
    columns
        Columns with links.
    sublattice
        0 for A, 1 for B.
    """
    good = ~has(columns.flags, POSITION_FLAGS)
    around = columns.links[:, 4:]
    rows = np.flatnonzero((columns.sublattice == sublattice) & good & np.all(around >= 0, axis=1))
    rows = rows[np.all(good[around[rows]], axis=1)]
    if not len(rows):
        return float("nan"), float("nan")
    off = columns.positions_px[rows] - columns.positions_px[around[rows]].mean(axis=1)
    y, x = np.sqrt(np.mean(off**2, axis=0) / 1.25)
    return float(y), float(x)
