"""What networks of tilt see of a mean cell, and the same turned and mirrored."""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex, Float, Float32, Int64

from dipolar.core.tilt_library import turned_terms

UNIT_PM, UNIT_MRAD = 10.0, 10.0
"""What networks count displacements and tilts in."""
USUAL_NM = 20.0
"""Thickness of which networks see the logarithm 0."""


def seen_numbers(terms: int) -> int:
    """Return how many numbers `seen_of` gives for so many terms."""
    return 4 * terms + 3


def seen_of(
    terms: Complex[np.ndarray, "cell term"],
    orders: Int64[np.ndarray, "term 2"],
    displacement_pm: Float[np.ndarray, "cell 2"],
    thickness_nm: Float[np.ndarray, " cell"],
    *,
    cell_pm: float,
) -> Float32[np.ndarray, "cell seen"]:
    """Return what networks see of cells: terms around A and around B over their length, displacement and thickness."""
    length = np.sqrt(np.mean(np.abs(terms) ** 2, axis=1, keepdims=True))
    around_a = terms / length
    around_b = around_a * np.exp(2j * np.pi * ((0.5 + displacement_pm / cell_pm) @ orders.T))
    parts = [around_a.real, around_a.imag, around_b.real, around_b.imag]
    parts += [displacement_pm / UNIT_PM, np.log(thickness_nm / USUAL_NM)[:, None]]
    return np.concatenate(parts, axis=1).astype(np.float32)


def turned_seen(
    seen: Float32[np.ndarray, "cell seen"], orders: Int64[np.ndarray, "term 2"], turn: Int64[np.ndarray, "2 2"]
) -> Float32[np.ndarray, "cell seen"]:
    """Return what is seen of the same cells turned or mirrored: what was at r is then at `turn` r."""
    count = len(orders)
    # numbered terms tell where each comes from, and whether from its opposite
    number = turned_terms((1 + 1j) * np.arange(1, count + 1, dtype=np.complex64), orders, turn)
    source = np.rint(number.real).astype(np.int64) - 1
    real, imaginary = source, count + source
    rows = np.concatenate([real, imaginary, 2 * count + real, 2 * count + imaginary])
    sign = np.sign(number.imag)
    same = np.ones(count)
    found = np.empty_like(seen)
    found[:, : 4 * count] = seen[:, rows] * np.concatenate([same, sign, same, sign]).astype(np.float32)
    found[:, 4 * count : 4 * count + 2] = seen[:, 4 * count : 4 * count + 2] @ turn.T.astype(np.float32)
    found[:, -1] = seen[:, -1]
    return found
