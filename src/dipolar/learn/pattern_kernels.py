"""Loops over patterns, compiled: shares of classes by least squares on a simplex, and roots of counts."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32
from numba import njit

TINY = 1e-9
"""Added to the diagonal, over its greatest element: classes that lie in one place share alike."""


def shares_on_simplex(
    products: Float[np.ndarray, "class class"], pulled: Float[np.ndarray, "pattern class"]
) -> Float[np.ndarray, "pattern class"]:
    """Return the shares, none below 0 and with sum 1, of least ``f G f - 2 p f`` for each pattern.

    Parameters
    ----------
    products
        G: products of the classes' means.
    pulled
        p: products of each pattern with them.
    """
    largest = max(float(np.abs(np.diag(products)).max()), 1e-30)
    square = products + TINY * largest * np.eye(len(products))
    held = np.empty(pulled.shape)
    _simplex(square, np.ascontiguousarray(pulled), held)
    return held


def roots_of(
    counts: Float32[np.ndarray, "pattern y x"], usual: Float32[np.ndarray, "y x"], spread: float
) -> Float32[np.ndarray, "pattern y x"]:
    """Return the roots of counts over the root of their mean, less what is usual, over the spread.

    The roots are the same at any dose but for noise, which is the same in all of them.
    """
    made = np.empty(counts.shape, dtype=np.float32)
    plain = np.ascontiguousarray(counts).reshape(len(counts), -1)
    _roots(plain, np.ascontiguousarray(usual).ravel(), np.float32(spread), made.reshape(len(counts), -1))
    return made


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"})
def _roots(counts, usual, spread, made):  # type: ignore[no-untyped-def]
    pixels = counts.shape[1]
    zero = np.float32(0.0)
    for row in range(counts.shape[0]):
        total = zero
        for pixel in range(pixels):
            total += max(counts[row, pixel], zero)
        size = np.sqrt(total / np.float32(pixels))
        factor = np.float32(1.0) / (max(size, np.float32(1e-6)) * spread)
        for pixel in range(pixels):
            made[row, pixel] = np.sqrt(max(counts[row, pixel], zero)) * factor - usual[pixel] / spread


@njit(cache=True, nogil=True)
def _simplex(square, pulled, held):  # type: ignore[no-untyped-def]
    count = square.shape[0]
    active = np.empty(count, np.int64)
    matrix = np.empty((count + 1, count + 2))
    for row in range(pulled.shape[0]):
        used = count
        for number in range(count):
            active[number] = number
            held[row, number] = 0.0
        while True:
            # stationary under a sum of 1: [G 1; 1 0] [f; m] = [p; 1]
            for i in range(used):
                for j in range(used):
                    matrix[i, j] = square[active[i], active[j]]
                matrix[i, used] = 1.0
                matrix[used, i] = 1.0
                matrix[i, used + 1] = pulled[row, active[i]]
            matrix[used, used] = 0.0
            matrix[used, used + 1] = 1.0
            _solve(matrix, used + 1)
            least, worst = 0.0, -1
            for i in range(used):
                if matrix[i, used + 1] < least:
                    least, worst = matrix[i, used + 1], i
            if worst < 0:
                break
            for i in range(worst, used - 1):
                active[i] = active[i + 1]
            used -= 1
        for i in range(used):
            held[row, active[i]] = matrix[i, used + 1]


@njit(cache=True, nogil=True)
def _solve(matrix, size):  # type: ignore[no-untyped-def]
    """Solve in place by elimination with pivots; the solution is left in the last column used."""
    for column in range(size):
        pivot = column
        for i in range(column + 1, size):
            if abs(matrix[i, column]) > abs(matrix[pivot, column]):
                pivot = i
        if pivot != column:
            for j in range(size + 1):
                matrix[column, j], matrix[pivot, j] = matrix[pivot, j], matrix[column, j]
        scale = matrix[column, column]
        if scale == 0.0:
            continue
        for j in range(column, size + 1):
            matrix[column, j] /= scale
        for i in range(size):
            if i != column and matrix[i, column] != 0.0:
                factor = matrix[i, column]
                for j in range(column, size + 1):
                    matrix[i, j] -= factor * matrix[column, j]
