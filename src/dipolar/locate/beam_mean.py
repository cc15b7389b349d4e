"""The mean of patterns whose beams are laid onto each other."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32, Shaped

from dipolar.core.scanning import View
from dipolar.locate.beam import centres
from dipolar.locate.beam_kernels import add_centred


def centred_mean(parts: Iterable[Shaped[np.ndarray, "pattern k_y k_x"]], view: View) -> Float32[np.ndarray, "k_y k_x"]:
    """Return the mean of patterns, moved by whole pixels so that their beams are where the view has them.

    Patterns without a beam are left out; nan where no pattern counts.

    Parameters
    ----------
    parts
        Some patterns at a time.
    view
        How they are looked at.
    """
    shape, good = view.defective.shape, ~view.defective
    total, squares, seen = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=np.int64)
    target = np.rint(np.array(view.centre_px))
    for patterns in parts:
        places, found = centres(patterns, view)
        shifts = np.rint(places[found] - target).astype(np.int64)
        add_centred(np.ascontiguousarray(patterns), np.flatnonzero(found), shifts, total, squares, seen, good)
    return np.where(seen > 0, total / np.maximum(seen, 1), np.nan).astype(np.float32)
