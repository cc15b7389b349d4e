"""Where the beam of each pattern is: compiled loops that read only the surroundings of a few disks.

The functions here carry no type annotations: they are compiled by numba from plain arrays.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz"}
"""What may be changed in the order of sums; nan stays nan."""
RAMP = np.arange(8192, dtype=np.float32)
"""0, 1, 2, …: loading them is faster than turning whole numbers into them."""

COARSE = 6
"""Disks at most by which the beam is looked for; all of them tell where it is exactly."""


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def window_sums(pattern, good, masked, y, x, radius, sums):
    """Add the counts in a round window at (y, x), and their moments about its middle, to `sums`.

    The rim of the window is one pixel soft. A dead pixel takes the one opposite with it, so that what is left is as
    symmetric as the window.
    """
    height, width = pattern.shape
    first, last = max(0, int(np.ceil(y - radius - 0.5))), min(height - 1, int(np.floor(y + radius + 0.5)))
    left, right = max(0, int(np.ceil(x - radius - 0.5))), min(width - 1, int(np.floor(x + radius + 0.5)))
    half = np.float32(0.5 / radius)
    from_left = np.float32(left - x)
    for row in range(first, last + 1):
        dy = np.float32(row - y)
        room = (np.float32(radius * radius) - dy * dy) * half + np.float32(0.5)
        total, across, weight = np.float32(0), np.float32(0), np.float32(0)
        if not masked:
            line = pattern[row, left : right + 1]
            for n in range(right + 1 - left):
                dx = from_left + RAMP[n]
                share = min(np.float32(1), max(np.float32(0), room - dx * dx * half))
                counts = share * np.float32(line[n])
                total += counts
                across += counts * dx
                weight += share
        else:
            there = int(np.rint(2 * y - row))
            beyond = there < 0 or there >= height
            for column in range(left, right + 1):
                dx = np.float32(column - x)
                share = min(np.float32(1), max(np.float32(0), room - dx * dx * half))
                if share == 0 or not good[row, column]:
                    continue
                beside = int(np.rint(2 * x - column))
                if not beyond and 0 <= beside < width and not good[there, beside]:
                    continue
                counts = share * np.float32(pattern[row, column])
                total += counts
                across += counts * dx
                weight += share
        sums[0] += total
        sums[1] += total * dy
        sums[2] += across
        sums[3] += weight


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _score(pattern, good, y, x, sites, radius, stride):
    """Return mean counts inside the disks around (y, x), every `stride`-th pixel of them."""
    height, width = pattern.shape
    total, seen = 0.0, 0
    for site in range(len(sites)):
        middle_y, middle_x = int(np.rint(y + sites[site, 0])), int(np.rint(x + sites[site, 1]))
        edge = int(radius)
        for dy in range(-edge, edge + 1, stride):
            row = middle_y + dy
            if row < 0 or row >= height:
                continue
            span = int(np.sqrt(max(0.0, radius * radius - dy * dy)))
            for dx in range(-span, span + 1, stride):
                column = middle_x + dx
                if 0 <= column < width and good[row, column]:
                    total += pattern[row, column]
                    seen += 1
    return total / max(seen, 1)


@numba.njit(cache=True, nogil=True)
def _coarse(pattern, good, sites, start_y, start_x, radius, reach):
    """Return the place within `reach` of the start where the disks hold most counts, to half of their radius."""
    step = max(1.0, 0.45 * radius)
    stride = 1 if radius < 4 else (2 if radius < 8 else (3 if radius < 16 else 6))
    steps = int(np.ceil(reach / step))
    best, best_y, best_x = -np.inf, start_y, start_x
    for m in range(-steps, steps + 1):
        for n in range(-steps, steps + 1):
            if (m * m + n * n) * step * step > (reach + step) * (reach + step):
                continue
            score = _score(pattern, good, start_y + m * step, start_x + n * step, sites, 0.8 * radius, stride)
            if score > best:
                best, best_y, best_x = score, start_y + m * step, start_x + n * step
    return best_y, best_x


@numba.njit(cache=True, nogil=True)
def find_centres(patterns, good, near, sites, start, radius, reach, steps, least, centres, found):
    """Fill in where the beam of each pattern is, and whether it was found.

    `near` marks middles of windows that may hold a dead pixel. `least` is the difference of mean counts inside and
    outside of the disks below which there is no disk.
    """
    height, width = good.shape
    wide, tight = radius + max(1.5, 0.5 * radius), radius + min(1.5, 0.3 + 0.25 * radius)
    sums = np.zeros(4)
    inner, outer = np.zeros(4), np.zeros(4)
    for number in range(len(patterns)):
        pattern = patterns[number]
        y, x = _coarse(pattern, good, sites[:COARSE], start[0], start[1], radius, reach)
        window = wide
        for _ in range(steps):
            sums[:] = 0.0
            for site in range(len(sites)):
                middle_y, middle_x = y + sites[site, 0], x + sites[site, 1]
                row, column = int(np.rint(middle_y)), int(np.rint(middle_x))
                inside = 0 <= row < height and 0 <= column < width
                window_sums(pattern, good, (not inside) or near[row, column], middle_y, middle_x, window, sums)
            if not sums[0] > 0:
                break
            dy, dx = sums[1] / sums[0], sums[2] / sums[0]
            y, x = y + dy, x + dx
            if not (abs(y - start[0]) < height and abs(x - start[1]) < width):
                break
            if window == tight and dy * dy + dx * dx < 4e-5:
                break
            window = tight
        far = np.hypot(y - start[0], x - start[1])
        found[number] = False
        centres[number, 0], centres[number, 1] = start[0], start[1]
        if sums[0] > 0 and far <= reach + radius:
            inner[:] = 0.0
            outer[:] = 0.0
            for site in range(len(sites)):
                middle_y, middle_x = y + sites[site, 0], x + sites[site, 1]
                row, column = int(np.rint(middle_y)), int(np.rint(middle_x))
                masked = not (0 <= row < height and 0 <= column < width) or near[row, column]
                window_sums(pattern, good, masked, middle_y, middle_x, 0.8 * radius, inner)
                window_sums(pattern, good, masked, middle_y, middle_x, wide, outer)
            ring = (outer[0] - inner[0]) / max(outer[3] - inner[3], 1e-6)
            if inner[3] > 0 and inner[0] / inner[3] - ring >= least:
                found[number] = True
                centres[number, 0], centres[number, 1] = y, x


@numba.njit(cache=True, nogil=True)
def add_centred(patterns, chosen, shifts, total, squares, seen, good):
    """Add chosen patterns, each moved back by a whole number of pixels, to sums of counts and of their squares."""
    height, width = total.shape
    for number in range(len(chosen)):
        pattern, down, along = patterns[chosen[number]], shifts[number, 0], shifts[number, 1]
        for row in range(max(0, -down), min(height, height - down)):
            for column in range(max(0, -along), min(width, width - along)):
                if good[row + down, column + along]:
                    counts = float(pattern[row + down, column + along])
                    total[row, column] += counts
                    squares[row, column] += counts * counts
                    seen[row, column] += 1
