"""Labels that neighbours agree on: the most probable state of every cell, given its own evidence and the lattice."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int32

NEIGHBOUR_WEIGHT = np.array([1.0, 1.0, 1.0, 1.0, *[np.sqrt(0.5)] * 4])
"""Diagonal neighbours count by the inverse of their distance, so that walls of any direction cost alike."""
SWEEPS = 40


def agreed(
    evidence: Float[np.ndarray, "cell state"], around: Int32[np.ndarray, "cell 8"], *, coupling: float
) -> Float[np.ndarray, "cell state"]:
    """Return the probability of each state in every cell, shape (cell, state).

    A Potts model on the lattice of cells, in mean-field approximation: ``log q_i(s) = evidence_i(s) + coupling ·
    Σ_j w_ij q_j(s) + const``, swept until it rests, with the coupling raised slowly from nothing so that the start does
    not decide. Source: K. P. Murphy, Machine Learning (MIT Press, 2012), section 21.3.2.

    Parameters
    ----------
    evidence
        Log-likelihood of each state from the cell alone; a row of zeros for cells that have no vote.
    around
        What `neighbours` returned.
    coupling
        What one neighbour's agreement is worth, in units of log-likelihood.
    """
    if evidence.shape[1] == 1 or not len(evidence):
        return np.ones_like(evidence)
    weight = np.where(around >= 0, NEIGHBOUR_WEIGHT, 0.0)
    known = np.concatenate([_softmax(evidence), np.zeros((1, evidence.shape[1]))])
    for sweep in range(SWEEPS):
        now = coupling * min(1.0, (sweep + 1) / 10)
        field = np.zeros_like(evidence)
        for step in range(8):
            field += weight[:, step, None] * known[around[:, step]]
        # half a step at a time: updated all at once, cells would flip with their neighbours for ever
        fresh = 0.5 * known[:-1] + 0.5 * _softmax(evidence + now * field)
        change = float(np.abs(fresh - known[:-1]).max())
        known[:-1] = fresh
        if sweep >= 10 and change < 1e-3:
            break
    return known[:-1]


def _softmax(values: Float[np.ndarray, "cell state"]) -> Float[np.ndarray, "cell state"]:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
