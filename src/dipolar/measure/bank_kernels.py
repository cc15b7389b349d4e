"""One pass over each pattern, compiled: its sum, its virtual detectors, its virtual images and its small copy.

The functions here carry no type annotations: they are compiled by numba from plain arrays, which come in named tuples.
Places in a flat pattern are unsigned, so that the innermost loops become vector instructions.
"""

# mypy: disable-error-code="no-untyped-def, assignment"

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz"}
PHASES = 4
"""Places of an aperture within a pixel, along each axis."""
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
    """Which holes surround a site (site, m); -1 for none."""
    disk: Any
    disk_size: int
    disk_left: int
    disk_noise: float
    """Weights of a disk at every phase, sum 1; edge of their square, and its middle in it; sum of their squares."""
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
    """Virtual images: for each row from the beam the squares from `outer` to `outer`, without `inner` to `inner`."""

    spans: Any
    """(image, row, 4): first and last square of the outer circle, first and last of the inner one."""
    middle: int
    """Row of the beam."""
    moment: int
    """The image whose counts give the centre of mass; -1 for none."""


class Out(NamedTuple):
    """What is filled, one row per pattern; what has no columns is not wanted."""

    totals: Any
    net: Any
    sigma: Any
    images: Any
    mass: Any
    patch: Any


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def reduce_pairs(words, bits, out):
    """Fill 2 × 2 sums of a pattern whose pixels come two in a word, and return the sum of all."""
    whole = 0.0
    low, shift = np.uint32((1 << bits) - 1), np.uint32(bits)
    for row in range(len(out)):
        first, second, sums = words[2 * row], words[2 * row + 1], out[row]
        line = np.uint32(0)
        for column in range(len(sums)):
            a, b = np.uint32(first[column]), np.uint32(second[column])
            both = np.uint32((a & low) + (a >> shift) + (b & low) + (b >> shift))
            line += both
            sums[column] = np.float32(both)
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


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def aperture(flat, grid, near, y, x, stencil, size, middle):
    """Return the weighted sum of an aperture around (y, x), and the sum of its weights: 1 where all of it counts."""
    down, along = int(np.rint(y * PHASES)), int(np.rint(x * PHASES))
    top, left = down // PHASES - middle, along // PHASES - middle
    phase = (down % PHASES) * PHASES + along % PHASES
    entry, total = U(phase * size * size), np.float32(0)
    if top >= 0 and top + size <= grid.height and left >= 0 and left + size <= grid.width and not near[top, left]:
        place, pitch, edge = U(top * grid.width + left), U(grid.width), U(size)
        for _ in range(size):
            for n in range(edge):
                total += stencil[entry + n] * flat[place + n]
            entry += edge
            place += pitch
        return total, np.float32(1)
    weight = np.float32(0)
    for m in range(size):
        for n in range(size):
            row, column = top + m, left + n
            if 0 <= row < grid.height and 0 <= column < grid.width and grid.whole[row, column]:
                share = stencil[entry + U(m * size + n)]
                total += share * flat[row * grid.width + column]
                weight += share
    return total, weight


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def count_sites(flat, grid, sites, y, x, levels, areas, net, sigma):
    """Fill mean counts per pixel of every disk above the mean of the holes around it, and one standard error."""
    for number in range(len(sites.holes)):
        place_y, place_x = y + sites.holes[number, 0], x + sites.holes[number, 1]
        levels[number], areas[number] = aperture(
            flat, grid, sites.near_hole, place_y, place_x, sites.hole, sites.hole_size, sites.hole_left
        )
    scale = np.float32(1.0 / grid.factor**2)
    for number in range(len(sites.disks)):
        place_y, place_x = y + sites.disks[number, 0], x + sites.disks[number, 1]
        total, weight = aperture(
            flat, grid, sites.near_disk, place_y, place_x, sites.disk, sites.disk_size, sites.disk_left
        )
        ground, area = np.float32(0), np.float32(0)
        for m in range(sites.around.shape[1]):
            which = sites.around[number, m]
            if which >= 0:
                ground += levels[which]
                area += areas[which]
        if weight < sites.least or area < sites.least:
            net[number] = np.nan
            sigma[number] = np.nan
            continue
        inside, ground = total / weight, ground / area
        noise = max(inside, np.float32(0)) * sites.disk_noise / weight + max(ground, np.float32(0)) * (
            sites.hole_noise / area
        )
        net[number] = (inside - ground) * scale
        sigma[number] = np.sqrt(sites.units * noise) * scale


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def image_sums(squares, rings, y, x, images, mass):
    """Fill counts in each ring around the beam at (y, x), and the centre of mass from there, both in squares."""
    height, width = squares.shape
    middle_y, middle_x = int(np.rint(y)), int(np.rint(x))
    for image in range(len(rings.spans)):
        total, down, along = 0.0, 0.0, 0.0
        for number in range(rings.spans.shape[1]):
            row = middle_y + number - rings.middle
            span = rings.spans[image, number]
            if row < 0 or row >= height or span[1] < span[0]:
                continue
            line = squares[row]
            first, last = max(0, middle_x + span[0]), min(width - 1, middle_x + span[1])
            part, across = np.float32(0), np.float32(0)
            if image == rings.moment:
                offset = np.float32(first - middle_x)
                for n in range(last + 1 - first):
                    counts = line[first + n]
                    part += counts
                    across += counts * (offset + np.float32(n))
            else:
                for n in range(last + 1 - first):
                    part += line[first + n]
                if span[3] >= span[2]:
                    first, last = max(0, middle_x + span[2]), min(width - 1, middle_x + span[3])
                    for n in range(last + 1 - first):
                        part -= line[first + n]
            total += part
            down += part * (row - middle_y)
            along += across
        images[image] = total
        if image == rings.moment and total > 0:
            mass[0], mass[1] = down / total + middle_y - y, along / total + middle_x - x


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
        for column in range(size):
            part = np.float32(0)
            for n in range(block):
                part += line[column * block + n]
            patch[m, column] = part


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
        if len(words):
            total = reduce_pairs(words[number], bits, squares)
        else:
            total = reduce_any(patterns[number], grid.factor, squares)
        out.totals[number] = total - mend(patterns[number], grid, y, x, squares)
        down, along = (y - (grid.factor - 1) / 2) / grid.factor, (x - (grid.factor - 1) / 2) / grid.factor
        if out.net.shape[1]:
            count_sites(flat, grid, sites, down, along, levels, areas, out.net[number], out.sigma[number])
        if out.images.shape[1]:
            image_sums(squares, rings, down, along, out.images[number], out.mass[number])
            out.mass[number] *= grid.factor
        if size:
            small_copy(squares, down, along, line, out.patch[number])
