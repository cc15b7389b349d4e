"""Sums over circles around the beam, and small copies of a pattern, compiled.

The functions here carry no type annotations: they are compiled by numba from plain arrays.
"""

# mypy: disable-error-code="no-untyped-def, assignment"

from __future__ import annotations

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz"}
U = np.uint64
RAMP = np.arange(8192, dtype=np.float32)
"""0, 1, 2, …: loading them is faster than turning whole numbers into them."""


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def circle_sums(squares, y, x, radius, mass):
    """Return counts in a circle, and fill their moments about its middle where `mass` is long enough.

    Squares at the left and right rim count by the share of them that lies inside.
    """
    height, width = squares.shape
    total, down, along = 0.0, 0.0, 0.0
    for row in range(max(0, int(np.ceil(y - radius))), min(height - 1, int(np.floor(y + radius))) + 1):
        half = np.sqrt(max(0.0, radius * radius - (row - y) * (row - y)))
        begin, end = x - half + 0.5, x + half + 0.5
        first, last = int(np.floor(begin)), int(np.floor(end))
        if first == last:
            if 0 <= first < width:
                part = float(squares[row, first]) * (end - begin)
                total += part
                down += part * (row - y)
            continue
        whole = squares[row, max(0, first + 1) : max(0, min(width, last))]
        part = np.float32(0)
        if len(mass):
            across, offset = np.float32(0), np.float32(max(0, first + 1) - x)
            for n in range(len(whole)):
                part += whole[n]
                across += whole[n] * (offset + RAMP[n])
            along += across
        else:
            for n in range(len(whole)):
                part += whole[n]
        line = float(part)
        if 0 <= first < width:
            counts = float(squares[row, first]) * (first + 1 - begin)
            line += counts
            along += counts * (0.5 * (begin + first + 1) - 0.5 - x)
        if 0 <= last < width:
            counts = float(squares[row, last]) * (end - last)
            line += counts
            along += counts * (0.5 * (end + last) - 0.5 - x)
        total += line
        down += line * (row - y)
    if len(mass):
        mass[0], mass[1] = down, along
    return total


@numba.njit(cache=True, nogil=True)
def image_sums(squares, rings, y, x, images, mass):
    """Fill counts in each ring around the beam at (y, x), and the centre of mass from there, both in squares."""
    whole, nothing = 0.0, mass[:0]
    # The circle of the centre of mass is the last one: annuli with the same rim need not be summed again.
    for image in range(len(rings.circles) - 1, -1, -1):
        inner, outer = rings.circles[image, 0], rings.circles[image, 1]
        middle_y, middle_x = y + rings.circles[image, 2], x + rings.circles[image, 3]
        if image == rings.moment:
            whole = circle_sums(squares, middle_y, middle_x, outer, mass)
            images[image] = whole
            for axis in range(2):
                mass[axis] = mass[axis] / whole if whole > 0 else np.nan
            continue
        total = whole if rings.shared[image] else circle_sums(squares, middle_y, middle_x, outer, nothing)
        if inner > 0:
            total -= circle_sums(squares, middle_y, middle_x, inner, nothing)
        images[image] = total


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def small_copy(squares, y, x, line, patch):
    """Fill sums of blocks of squares so that the beam is in the middle, to the nearest square."""
    height, width = squares.shape
    size, block = patch.shape[0], len(line) // patch.shape[0]
    top, left = int(np.rint(y - (size * block - 1) / 2)), int(np.rint(x - (size * block - 1) / 2))
    first, last = max(0, -left), min(size * block, width - left)
    for m in range(size):
        line[:] = 0
        for n in range(block):
            row = top + m * block + n
            if 0 <= row < height:
                source, target = squares[row, left + first : left + last], line[first:last]
                for column in range(len(target)):
                    target[column] += source[column]
        entry, edge = U(0), U(block)
        for column in range(size):
            part = np.float32(0)
            for _ in range(edge):
                part += line[entry]
                entry += U(1)
            patch[m, column] = part
