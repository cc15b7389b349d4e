"""Probability fields → columns: the peaks of A and of B, and where between the pixels they stand."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8
from scipy.spatial import cKDTree
from torch.nn import functional

LIKELY = 0.35
"""Probability that a peak must reach to be a column."""
APART = 0.3
"""Columns stand apart by more than this share of the cell's edge (A and B by 0.7 of it)."""
LOG_SIGMA = (-5.0, 2.0)
"""Limits of the logarithm of sigma, the same as in the loss: beyond them nothing was ever learned."""
AROUND = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
"""A pixel of the grid and its eight neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Columns by species, as a network sees them, in network px."""

    positions: Float[np.ndarray, "column 2"]
    """Centres (y, x)."""
    sigma: Float[np.ndarray, " column"]
    """One standard error of each coordinate, as the network tells it."""
    species: Int8[np.ndarray, " column"]
    """0 for A, 1 for B."""
    probability: Float[np.ndarray, " column"]
    """Probability of a column, of either species, at the peak."""
    share_of_a: Float[np.ndarray, " column"]
    """Probability of A over that of A or B."""


def probabilities(said: Float32[np.ndarray, "6 h w"]) -> Float32[np.ndarray, "3 h w"]:
    """Return the probabilities of A, of B and of background from what a finder says."""
    return torch.softmax(torch.from_numpy(said[:3]), dim=0).numpy()


def peaks(said: Float32[np.ndarray, "6 h w"], *, stride: int, cell_px: float) -> Found:
    """Return columns at the peaks of the probability fields.

    A peak is a pixel of the grid where the probability of a column, A or B, is exceeded by no neighbour. The centre is
    the mean, weighted with that probability, of where each of the nine pixels around it says the column is: the centre
    of mass of the field, with what the network knows about places between pixels.

    Parameters
    ----------
    said
        Logits of A, B and background, offset (dy, dx) to the nearest column and log sigma, in network px.
    stride
        Network px per grid point.
    cell_px
        Edge of the unit cell, in network px.
    """
    field = probabilities(said)
    chance = field[0] + field[1]
    highest = functional.max_pool2d(torch.from_numpy(chance)[None, None], 3, stride=1, padding=1)[0, 0].numpy()
    y, x = np.nonzero((chance >= highest) & (chance > LIKELY))
    rows, cols = y[:, None] + AROUND[:, 0], x[:, None] + AROUND[:, 1]
    inside = (rows >= 0) & (rows < chance.shape[0]) & (cols >= 0) & (cols < chance.shape[1])
    rows, cols = np.clip(rows, 0, chance.shape[0] - 1), np.clip(cols, 0, chance.shape[1] - 1)
    near = np.where(inside, chance[rows, cols], 0.0)
    weight = near / near.sum(axis=1, keepdims=True)
    middle = (stride - 1) / 2.0
    where_y = np.sum(weight * (rows * stride + middle + said[3][rows, cols]), axis=1)
    where_x = np.sum(weight * (cols * stride + middle + said[4][rows, cols]), axis=1)
    sums = np.stack([np.where(inside, one[rows, cols], 0.0).sum(axis=1) for one in field[:2]])
    found = Found(
        positions=np.stack([where_y, where_x], axis=1),
        sigma=np.exp(np.sum(weight * np.clip(said[5], *LOG_SIGMA)[rows, cols], axis=1)),
        species=np.argmax(sums, axis=0).astype(np.int8),
        probability=chance[y, x].astype(np.float64),
        share_of_a=sums[0] / sums.sum(axis=0),
    )
    kept = _strongest(found.positions, found.probability, apart=APART * cell_px)
    return replace(found, **{f.name: getattr(found, f.name)[kept] for f in fields(found)})


def _strongest(
    positions: Float[np.ndarray, "column 2"], chance: Float[np.ndarray, " column"], *, apart: float
) -> np.ndarray:
    """Return the columns that have no likelier one nearby."""
    kept = np.ones(len(positions), dtype=bool)
    pairs = cKDTree(positions).query_pairs(apart, output_type="ndarray") if len(positions) else np.empty((0, 2), int)
    for one, other in pairs[np.argsort(-chance[pairs].max(axis=1), kind="stable")].tolist() if len(pairs) else []:
        if kept[one] and kept[other]:
            kept[one if chance[one] < chance[other] else other] = False
    return kept
