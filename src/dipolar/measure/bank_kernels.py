"""One pass over each pattern, compiled: its sum, its virtual detectors, its virtual images and its small copy.

The functions here carry no type annotations: they are compiled by numba from plain arrays, which come in named tuples.
Places in a flat pattern are unsigned, so that the innermost loops become vector instructions.
"""

# mypy: disable-error-code="no-untyped-def, assignment"

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from dipolar.measure.image_kernels import image_sums, small_copy

FAST = {"reassoc", "contract", "nsz"}
PHASES = 4
"""Places of an aperture within a pixel, along each axis."""
ROWS = 4
"""Rows of an aperture that are added up together."""
U = np.uint64


class Grid(NamedTuple):
    """The detector as it is counted: pixels in squares of `factor`, and those that do not count."""

    factor: int
    """Pixels along the edge of a square."""
    height: int
    width: int
    """Squares."""
    bad_y: Any
    bad_x: Any
    """Pixels that do not count, from which the rest is filled."""
    good: Any
    """Pixels that count."""
    whole: Any
    """Squares of which all pixels count."""


class Apertures(NamedTuple):
    """Virtual detectors: disks at sites, and holes between them for what lies under the disks. In squares."""

    disks: Any
    """Sites from the beam (site, 2)."""
    holes: Any
    """Holes from the beam (hole, 2)."""
    around: Any
    """Which holes surround a site (site, m)."""
    disk: Any
    disk_size: int
    disk_left: int
    disk_noise: float
    """Weights of a disk at every phase, sum 1, filled up with 0 as `padded` says; edge of their square, and its middle
    in it; sum of their squares."""
    hole: Any
    hole_size: int
    hole_left: int
    hole_noise: float
    """The same of a hole."""
    near_disk: Any
    near_hole: Any
    """Corners from which an aperture meets a square that does not count."""
    units: float
    """Counts per electron."""
    least: float
    """An aperture of which less than this share counts is nan."""


class Rings(NamedTuple):
    """Virtual images: counts between two circles."""

    circles: Any
    """(image, 4): radius of the inner and of the outer circle, (k_y, k_x) of their middle from the beam; in squares."""
    moment: int
    """The image whose counts give the centre of mass, the last one; -1 for none."""
    shared: Any
    """Images whose outer circle is that one."""


class Out(NamedTuple):
    """What is filled, one row per pattern; what has no columns is not wanted."""

    totals: Any
    net: Any
    sigma: Any
    images: Any
    mass: Any
    patch: Any


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def reduce_shorts(words, out):
    """Fill 2 × 2 sums of a pattern of 16 bits a pixel, which come two in a word, and return the sum of all.

    Words are signed, since only such become floating-point numbers in one instruction; and the shift is a constant,
    which makes this four times as fast.
    """
    whole = 0.0
    low, shift = np.int32(0xFFFF), np.int32(16)
    for row in range(len(out)):
        first, second, sums = words[2 * row], words[2 * row + 1], out[row]
        for column in range(len(sums)):
            a, b = np.int32(first[column]), np.int32(second[column])
            left = np.int32(np.int32(a & low) + np.int32(b & low))
            right = np.int32(np.int32(np.int32(a >> shift) & low) + np.int32(np.int32(b >> shift) & low))
            sums[column] = np.float32(np.int32(left + right))
        line = np.float32(0)
        for column in range(len(sums)):
            line += sums[column]
        whole += line
    return whole


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def reduce_bytes(words, out):
    """Do the same to a pattern of 8 bits a pixel."""
    whole = 0.0
    low, shift = np.int32(0xFF), np.int32(8)
    for row in range(len(out)):
        first, second, sums = words[2 * row], words[2 * row + 1], out[row]
        for column in range(len(sums)):
            a, b = np.int32(first[column]), np.int32(second[column])
            left = np.int32(np.int32(a & low) + np.int32(b & low))
            right = np.int32(np.int32(np.int32(a >> shift) & low) + np.int32(np.int32(b >> shift) & low))
            sums[column] = np.float32(np.int32(left + right))
        line = np.float32(0)
        for column in range(len(sums)):
            line += sums[column]
        whole += line
    return whole


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def reduce_any(pattern, factor, out):
    """Fill sums of squares of `factor` pixels of a pattern, and return the sum of all that are in one."""
    whole = 0.0
    for row in range(len(out)):
        sums = out[row]
        if factor == 1:
            line = pattern[row]
            part = np.float32(0)
            for column in range(len(sums)):
                counts = np.float32(line[column])
                sums[column] = counts
                part += counts
            whole += part
        else:
            sums[:] = 0
            for m in range(factor):
                line = pattern[row * factor + m]
                for column in range(len(sums)):
                    for n in range(factor):
                        sums[column] += np.float32(line[column * factor + n])
            for column in range(len(sums)):
                whole += sums[column]
    return whole


@numba.njit(cache=True, nogil=True)
def mend(pattern, grid, y, x, out):
    """Put into pixels that do not count what the pixel opposite the beam has, or the mean of those around.

    Returns the sum of what they had.
    """
    height, width = grid.good.shape
    wrong = 0.0
    for number in range(len(grid.bad_y)):
        row, column = grid.bad_y[number], grid.bad_x[number]
        square_y, square_x = row // grid.factor, column // grid.factor
        if square_y >= grid.height or square_x >= grid.width:
            continue
        there, beside = int(np.rint(2 * y - row)), int(np.rint(2 * x - column))
        fill = 0.0
        if 0 <= there < height and 0 <= beside < width and grid.good[there, beside]:
            fill = float(pattern[there, beside])
        else:
            seen = 0
            for m in range(max(0, row - 1), min(height, row + 2)):
                for n in range(max(0, column - 1), min(width, column + 2)):
                    if grid.good[m, n]:
                        fill += float(pattern[m, n])
                        seen += 1
            fill /= max(seen, 1)
        had = float(pattern[row, column])
        wrong += had
        out[square_y, square_x] += np.float32(fill - had)
    return wrong


@numba.njit(cache=True, nogil=True)
def padded(size):
    """Return the rows and columns that weights of an aperture are filled up to with 0.

    Rows are added four at a time, since to add up the lanes of a vector takes longer than to fill them; and vectors of
    eight are read whole, or of four where an aperture is small.
    """
    columns = 8 if size > 4 else 4
    return -(-size // ROWS) * ROWS, -(-size // columns) * columns


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def apertures(flat, whole, near, y, x, places, stencil, size, middle, sums, weights):
    """Fill the weighted sum of each aperture, and the sum of its weights: 1 where all of it counts.

    All places in one call: handing over arrays for each would take longer than its sum.
    """
    height, width = whole.shape
    rows, across = padded(size)
    area, pitch, edge = rows * across, U(width), U(across)
    for number in range(len(places)):
        down, along = int(np.rint((y + places[number, 0]) * PHASES)), int(np.rint((x + places[number, 1]) * PHASES))
        top, left = down // PHASES - middle, along // PHASES - middle
        entry, total = U(((down % PHASES) * PHASES + along % PHASES) * area), np.float32(0)
        if top >= 0 and top + rows <= height and left >= 0 and left + across <= width and not near[top, left]:
            place = U(top * width + left)
            for _ in range(rows // ROWS):
                entry_1, place_1 = entry + edge, place + pitch
                entry_2, place_2 = entry_1 + edge, place_1 + pitch
                entry_3, place_3 = entry_2 + edge, place_2 + pitch
                for n in range(edge):
                    upper = stencil[entry + n] * flat[place + n] + stencil[entry_1 + n] * flat[place_1 + n]
                    lower = stencil[entry_2 + n] * flat[place_2 + n] + stencil[entry_3 + n] * flat[place_3 + n]
                    total += upper + lower
                entry, place = entry_3 + edge, place_3 + pitch
            sums[number], weights[number] = total, np.float32(1)
            continue
        weight = np.float32(0)
        for m in range(max(0, -top), min(size, height - top)):
            for n in range(max(0, -left), min(size, width - left)):
                if whole[top + m, left + n]:
                    share = stencil[entry + U(m * across + n)]
                    total += share * flat[(top + m) * width + left + n]
                    weight += share
        sums[number], weights[number] = total, weight


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def above_ground(around, levels, areas, disk_noise, hole_noise, units, least, scale, net, sigma):
    """Turn sums of disks in `net`, and their weights in `sigma`, into mean counts above the holes and their error."""
    for number in range(len(net)):
        total, weight = net[number], sigma[number]
        ground, area = np.float32(0), np.float32(0)
        for m in range(around.shape[1]):
            which = around[number, m]
            ground += levels[which]
            area += areas[which]
        if weight < least or area < least:
            net[number] = np.nan
            sigma[number] = np.nan
            continue
        inside, ground = total / weight, ground / area
        noise = max(inside, np.float32(0)) * disk_noise / weight + max(ground, np.float32(0)) * hole_noise / area
        net[number] = (inside - ground) * scale
        sigma[number] = np.sqrt(units * noise) * scale


@numba.njit(cache=True, nogil=True)
def count_sites(flat, whole, sites, factor, y, x, levels, areas, net, sigma):
    """Fill mean counts per pixel of every disk above the mean of the holes around it, and one standard error."""
    apertures(
        flat, whole, sites.near_hole, y, x, sites.holes, sites.hole, sites.hole_size, sites.hole_left, levels, areas
    )
    apertures(flat, whole, sites.near_disk, y, x, sites.disks, sites.disk, sites.disk_size, sites.disk_left, net, sigma)
    scale = np.float32(1.0 / factor**2)
    above_ground(
        sites.around, levels, areas, np.float32(sites.disk_noise), np.float32(sites.hole_noise),
        np.float32(sites.units), np.float32(sites.least), scale, net, sigma,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def measure_patterns(patterns, words, bits, centres, grid, sites, rings, block, out):
    """Fill everything that is wanted of each pattern; `words` are the same patterns, two pixels a word, or none."""
    squares = np.empty((grid.height, grid.width), dtype=np.float32)
    flat = squares.ravel()
    levels, areas = np.empty(len(sites.holes), dtype=np.float32), np.empty(len(sites.holes), dtype=np.float32)
    size = out.patch.shape[1]
    line = np.empty(size * block, dtype=np.float32)
    for number in range(len(patterns)):
        y, x = float(centres[number, 0]), float(centres[number, 1])
        if len(words) and bits == 16:
            total = reduce_shorts(words[number], squares)
        elif len(words):
            total = reduce_bytes(words[number], squares)
        else:
            total = reduce_any(patterns[number], grid.factor, squares)
        out.totals[number] = total - mend(patterns[number], grid, y, x, squares)
        down, along = (y - (grid.factor - 1) / 2) / grid.factor, (x - (grid.factor - 1) / 2) / grid.factor
        if out.net.shape[1]:
            count_sites(
                flat, grid.whole, sites, grid.factor, down, along, levels, areas, out.net[number], out.sigma[number]
            )
        if out.images.shape[1]:
            image_sums(squares, rings, down, along, out.images[number], out.mass[number])
            out.mass[number] *= grid.factor
        if size:
            small_copy(squares, down, along, line, out.patch[number])
