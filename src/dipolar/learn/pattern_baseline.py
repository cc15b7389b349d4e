"""What position alone says: a classifier that never sees a pattern, against which every other one has to be held.

Domains are larger than probe steps, so the labels of neighbours, or of the same row, say much of what a classifier of
patterns is praised for. Where it is not clearly better than this, nothing was learned from patterns.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

By = Literal["position", "row", "column"]
"""What it sees: both coordinates of the probe, or one of them alone."""


def position_only(
    positions: Int32[np.ndarray, "label 2"],
    label: Int[np.ndarray, " label"],
    asked: Int32[np.ndarray, "pattern 2"],
    classes: int,
    *,
    by: By = "position",
    neighbours: int = 1,
) -> Float32[np.ndarray, "pattern class"]:
    """Return the share of each class among the labels that are nearest on the scan.

    Parameters
    ----------
    positions
        (scan_y, scan_x) of the labels.
    label
        Their classes.
    asked
        (scan_y, scan_x) of the patterns that are asked for.
    classes
        Number of classes.
    by
        What it sees. Of labels in the same row or column all count the same.
    neighbours
        How many of the nearest labels count; those as far as the last of them count as well.
    """
    axes = {"position": [0, 1], "row": [0], "column": [1]}[by]
    found = np.zeros((len(asked), classes), dtype=np.float32)
    one_hot = np.zeros((len(label), classes))
    one_hot[np.arange(len(label)), label] = 1.0
    wanted = min(neighbours, len(label)) - 1
    for start in range(0, len(asked), 1024):
        away = _distances(asked[start : start + 1024, axes], positions[:, axes])
        near = away <= np.partition(away, wanted, axis=1)[:, wanted : wanted + 1]
        votes = near @ one_hot
        found[start : start + 1024] = votes / votes.sum(axis=1, keepdims=True)
    return found


def _distances(
    asked: Int[np.ndarray, "pattern axis"], positions: Int[np.ndarray, "label axis"]
) -> Float[np.ndarray, "pattern label"]:
    """Return the squared distances, which are whole numbers and exactly equal where they are equal."""
    apart = asked[:, None, :].astype(np.float64) - positions[None, :, :]
    return np.sum(apart**2, axis=2)
