"""Which columns are A and which B: parity of the lattice index, with intensity as evidence for the whole crystal."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int8, Int32

from dipolar.core.nouns import A, B, Basis

CLEAR = 0.03
"""Mean log ratio of intensities below which A and B cannot be told apart."""


def assign_sublattices(
    index: Int32[np.ndarray, "column 2"],
    grain: Int32[np.ndarray, " column"],
    links: Int32[np.ndarray, "column 8"],
    amplitude: Float[np.ndarray, " column"],
    *,
    bright: Basis = "A",
) -> tuple[Int8[np.ndarray, " column"], Bool[np.ndarray, " column"]]:
    """Return A or B for every column, and where the evidence is too weak to be sure.

    Every step of the lattice leads to the other sublattice, so the parity of the index decides, in layers where B
    outshines A too. One vote per crystal says which parity is A: the mean log ratio of the amplitudes of linked
    columns, layers of low contrast counting little.

    Parameters
    ----------
    index, grain, links
        Lattice index, number of the crystal and neighbours, as in `Columns`.
    amplitude
        Fitted or estimated peak heights; those not positive do not vote.
    bright
        The sublattice that is brighter where they differ; "A" unless the user knows better.
    """
    parity = (index.sum(axis=1) % 2).astype(np.int8)
    start, kind = np.nonzero(links[:, :4] >= 0)
    end = links[start, kind]
    votes = (parity[start] == 0) & (amplitude[start] > 0) & (amplitude[end] > 0)
    start, end = start[votes], end[votes]
    ratio = np.clip(np.log(amplitude[start] / amplitude[end]), -2.0, 2.0)
    grains = int(grain.max(initial=-1)) + 1
    count = np.bincount(grain[start], minlength=grains)
    mean = np.bincount(grain[start], weights=ratio, minlength=grains) / np.maximum(count, 1)
    square = np.bincount(grain[start], weights=ratio**2, minlength=grains) / np.maximum(count, 1)
    # four votes per column are not independent: a standard error from a quarter of them
    error = np.sqrt(np.maximum(square - mean**2, 0.0) / np.maximum(count / 4.0, 1.0))
    even_is_a = (mean >= 0) == (bright == "A")
    sublattice = np.where((parity == 0) == even_is_a[grain], A, B).astype(np.int8)
    return sublattice, np.abs(mean[grain]) < np.maximum(CLEAR, 3.0 * error[grain])
