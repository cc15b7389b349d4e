"""Some patches that stand for all, chosen by chance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64


def chosen(count: int, most: int, *, seed: int) -> Int64[np.ndarray, " landmark"]:
    """Return rows chosen by chance, in their order; all of them where there are no more than `most`."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def others(count: int, rows: Int64[np.ndarray, " landmark"]) -> Int64[np.ndarray, " other"]:
    """Return the rows that were not chosen."""
    return np.setdiff1d(np.arange(count), rows, assume_unique=True)


def subsample_note(taken: int, count: int, how: str, name: str) -> tuple[str, ...]:
    """Return the sentence that says which patches shaped the result, where they are not all of them."""
    if taken >= count:
        return ()
    return (f"{taken} of {count} patches, chosen by chance, shaped this; the others were {how}. More: {name}=N.",)
