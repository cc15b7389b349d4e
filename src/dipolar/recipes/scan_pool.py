"""A sample of the patterns of a scan, and how it is read in few and long pieces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int64

from dipolar.core.scanning import Labels, Scan

Pool = Int64[np.ndarray, " pattern"]
"""Numbers of patterns, in order."""
AT_ONCE = 64
"""Patterns that are read at once at least."""
DENSE = 4
"""A stretch of the file is read whole where every fourth pattern of it is wanted."""


def pool_of(labels: Labels, free: Bool[np.ndarray, "scan_y scan_x"], most: int, rng: np.random.Generator) -> Pool:
    """Return numbers of patterns to look at, in order: those labelled, and all that may be asked or a draw of them.

    Parameters
    ----------
    labels
        Answers so far; all their patterns are in it.
    free
        Positions that may be asked.
    most
        How many others at most.
    rng
        Draws.
    """
    labelled = np.ravel_multi_index(labels.positions.T, labels.shape)
    others = np.setdiff1d(np.flatnonzero(free), labelled)
    if len(others) > most:
        others = rng.choice(others, most, replace=False)
    return np.union1d(others, labelled).astype(np.int64)


def spans_of(numbers: Pool, chunk: int) -> Iterator[tuple[int, int, Pool]]:
    """Yield what to read for patterns here and there: (start, stop, which of them), chunk by chunk of the file.

    Patterns that lie thinly in a chunk are read one by one.

    Parameters
    ----------
    numbers
        Patterns, in order.
    chunk
        Patterns that are read at once.
    """
    for part in np.split(numbers, np.flatnonzero(np.diff(numbers // chunk)) + 1):
        if not len(part):
            continue
        first, last = int(part[0]), int(part[-1]) + 1
        if len(part) * DENSE >= last - first:
            yield first, last, part
        else:
            for number in part.tolist():
                yield number, number + 1, np.array([number])


def chunk_of(scan: Scan) -> int:
    """Return how many patterns to read at once: a whole number of the file's chunks."""
    return scan.frames.chunk * -(-AT_ONCE // scan.frames.chunk)
