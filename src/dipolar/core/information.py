"""What one labelling tells of another."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def information_bit(one: Int[np.ndarray, " row"], other: Int[np.ndarray, " row"]) -> float:
    """Return the mutual information of two labellings in bit, without what chance alone makes of so many rows.

    Counts make it come out too large by (a - 1)(b - 1) / 2N nat for a and b labels: G. Miller, in Information Theory in
    Psychology (1955). That is taken off, and what is left is 0 at least. Rows that either leaves out (-1) do not
    count; nan without any.
    """
    both = (one >= 0) & (other >= 0)
    if not both.any():
        return float("nan")
    a, b = (np.unique(labels[both], return_inverse=True)[1] for labels in (one, other))
    joint = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(joint, (a, b), 1.0 / len(a))
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    full = joint > 0
    told = float(np.sum(joint[full] * np.log(joint[full] / product[full])))
    chance = (joint.shape[0] - 1) * (joint.shape[1] - 1) / (2 * len(a))
    return max(told - chance, 0.0) / float(np.log(2.0))
