"""Places to look next as a table: `places.csv`."""

from __future__ import annotations

import numpy as np

from dipolar.core.comparison import Places
from dipolar.io.tables import Table


def places_table(places: Places) -> Table:
    """Return places to look next as a table, the most unusual first; positions in nm are nan without calibration.

    Reasons hold no commas.
    """
    return {
        "y_px": places.positions_px[:, 0],
        "x_px": places.positions_px[:, 1],
        "y_nm": places.positions_nm[:, 0],
        "x_nm": places.positions_nm[:, 1],
        "reason": np.array([words.replace(",", ";") for words in places.reason], dtype=np.str_),
        "score": places.score,
    }
