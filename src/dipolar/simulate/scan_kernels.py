"""Compiled: one pattern, electron by electron.

Every pattern has random numbers of its own, named by its number, so that it is the same however a scan is read.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np
from numba import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S11, S16, S27, S30, S31 = np.uint64(11), np.uint64(16), np.uint64(27), np.uint64(30), np.uint64(31)
LOW_16 = np.uint64(0xFFFF)
UNIT = 1.0 / 9007199254740992.0
TURNS = 8192
"""Directions of diffuse electrons."""
LOW_13 = np.uint64(TURNS - 1)
FAR = 8192
"""Added before a place is cut to a whole px, so that cutting rounds down."""


@njit(cache=True, nogil=True)
def mixed(x):
    """Return 64 random bits of a counter. Source: G. Steele et al., *Fast splittable pseudorandom number generators*,
    OOPSLA (2014).
    """
    x = (x ^ (x >> S30)) * MIX_1
    x = (x ^ (x >> S27)) * MIX_2
    return x ^ (x >> S31)


@njit(cache=True, nogil=True)
def uniform(state):
    """Return a random number above 0 and below 1."""
    state[0] += GOLDEN
    return (float(mixed(state[0]) >> S11) + 0.5) * UNIT


@njit(cache=True, nogil=True)
def poisson(mean, state):
    """Return a number of Poisson's law, exactly.

    Source: W. Hörmann, *The transformed rejection method for generating Poisson random variables*, Insurance:
    Mathematics and Economics 12 (1993) 39.
    """
    if mean <= 0.0:
        return 0
    if mean < 10.0:
        limit, product, count = math.exp(-mean), uniform(state), 0
        while product > limit:
            product *= uniform(state)
            count += 1
        return count
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse = 1.1239 + 1.1328 / (b - 3.4)
    quick = 0.9277 - 3.6224 / (b - 2.0)
    while True:
        u, v = uniform(state) - 0.5, uniform(state)
        left = 0.5 - abs(u)
        k = math.floor((2.0 * a / left + b) * u + mean + 0.43)
        if left >= 0.07 and v <= quick:
            return int(k)
        if k < 0 or (left < 0.013 and v > left):
            continue
        accepted = math.log(v * inverse / (a / (left * left) + b))
        if accepted <= k * math.log(mean) - mean - math.lgamma(k + 1.0):
            return int(k)


@njit(cache=True, nogil=True)
def weights(share, kind, rate, phase, polar, slope, contrast, diffuse, mixture, thickness, tilt, out):
    """Fill the share of electrons of each site, and of the diffuse background last; their sum is 1.

    The patterns of the four pure domains (horizontal, vertical, polar along the beam, cubic), each of sum 1, are
    added in the shares of `mixture`.
    """
    count = len(share)
    sums = np.zeros(4)
    diffuse = diffuse * thickness
    sums[:] = diffuse
    for s in range(count):
        value = share[s] * (1.0 + contrast * math.sin(rate[s] * (thickness - 1.0) + phase[s]))
        value *= max(0.05, 1.0 + tilt[0] * slope[s, 0] + tilt[1] * slope[s, 1])
        out[s] = value
        if kind[s] == 0:
            sums[0] += value
            sums[1] += value
            sums[2] += value * polar[s]
            sums[3] += value
        else:
            sums[kind[s] - 1] += value
    across, up, beam, plain = mixture[0] / sums[0], mixture[1] / sums[1], mixture[2] / sums[2], mixture[3] / sums[3]
    for s in range(count):
        if kind[s] == 0:
            out[s] *= across + up + beam * polar[s] + plain
        else:
            out[s] *= across if kind[s] == 1 else up
    out[count] = diffuse * (across + up + beam + plain)


@njit(cache=True, nogil=True)
def drop_disk(out, count, y, x, disk, state, top):
    """Put so many electrons into a disk around (y, x)."""
    height, width = out.shape
    y += FAR + 0.5
    x += FAR + 0.5
    counter = state[0]
    bits = np.uint64(0)
    for n in range(count):
        if n & 3 == 0:
            counter += GOLDEN
            bits = mixed(counter)
        entry = np.intp(bits & LOW_16)
        bits >>= S16
        row, column = int(y + disk[entry, 0]) - FAR, int(x + disk[entry, 1]) - FAR
        if 0 <= row < height and 0 <= column < width:
            value = out[row, column]
            if value < top:
                out[row, column] = value + 1
    state[0] = counter


@njit(cache=True, nogil=True)
def drop_diffuse(out, count, y, x, radii, circle, stretch, state, top):
    """Put so many electrons around (y, x) at random directions."""
    height, width = out.shape
    steps = len(radii) - 1
    y += FAR + 0.5
    x += FAR + 0.5
    counter = state[0]
    for _ in range(count):
        counter += GOLDEN
        bits = mixed(counter)
        place = float(bits >> S11) * UNIT * steps
        entry = int(place)
        radius = radii[entry] + (place - entry) * (radii[entry + 1] - radii[entry])
        turn = np.intp(bits & LOW_13)
        row = int(y + radius * circle[turn, 0] * stretch[0]) - FAR
        column = int(x + radius * circle[turn, 1] * stretch[1]) - FAR
        if 0 <= row < height and 0 <= column < width:
            value = out[row, column]
            if value < top:
                out[row, column] = value + 1
    state[0] = counter


@njit(cache=True, nogil=True)
def drop(out, light, electrons, y, x, place, disk, radii, circle, stretch, state, top):
    """Put the electrons of one pattern around its direct beam at (y, x)."""
    sites = len(place)
    for s in range(sites):
        count = poisson(light[s] * electrons, state)
        drop_disk(out, count, y + place[s, 0], x + place[s, 1], disk, state, top)
    count = poisson(light[sites] * electrons, state)
    drop_diffuse(out, count, y, x, radii, circle, stretch, state, top)


@njit(cache=True, nogil=True)
def draw(
    out, first, key, electrons, share, kind, rate, phase, polar, slope, contrast, diffuse, place, disk, radii, circle,
    stretch, mixture, thickness, tilt, centre, top,
):  # fmt: skip
    """Add the electrons of patterns `first` and following to `out`."""
    light = np.empty(len(share) + 1)
    state = np.empty(1, dtype=np.uint64)
    for n in range(len(out)):
        number = first + n
        state[0] = mixed(key + GOLDEN * np.uint64(number + 1))
        weights(
            share, kind, rate, phase, polar, slope, contrast, diffuse, mixture[number], thickness[number],
            tilt[number], light,
        )  # fmt: skip
        y, x = centre[number, 0], centre[number, 1]
        drop(out[n], light, electrons[number], y, x, place, disk, radii, circle, stretch, state, top)


@njit(cache=True, nogil=True)
def draw_lights(out, first, key, electrons, lights, place, disk, radii, circle, stretch, centre, top):
    """Add the electrons of patterns `first` and following to `out`, whose shares of sites are known: a row for each."""
    state = np.empty(1, dtype=np.uint64)
    for n in range(len(out)):
        number = first + n
        state[0] = mixed(key + GOLDEN * np.uint64(number + 1))
        y, x = centre[number, 0], centre[number, 1]
        drop(out[n], lights[n], electrons[number], y, x, place, disk, radii, circle, stretch, state, top)


@njit(cache=True, nogil=True)
def glow(out, first, key, rows, columns, level, top):
    """Give hot pixels their counts."""
    state = np.empty(1, dtype=np.uint64)
    for n in range(len(out)):
        state[0] = mixed(~(key + GOLDEN * np.uint64(first + n + 1)))
        for i in range(len(rows)):
            out[n, rows[i], columns[i]] = min(top, poisson(level[i], state))


@njit(cache=True, nogil=True)
def digitise(out, counts, first, key, gain, offset, readout, top):
    """Turn electrons into units of a detector that does not count: gain, offset and readout noise."""
    state = np.empty(1, dtype=np.uint64)
    for n in range(len(out)):
        state[0] = mixed(mixed(key) + GOLDEN * np.uint64(first + n + 1))
        for row in range(out.shape[1]):
            for column in range(out.shape[2]):
                value = gain * counts[n, row, column] + offset + 0.5
                if readout > 0.0:
                    length = math.sqrt(-2.0 * math.log(uniform(state)))
                    value += readout * length * math.cos(2.0 * math.pi * uniform(state))
                out[n, row, column] = max(0.0, min(float(top), math.floor(value)))


@njit(cache=True, nogil=True)
def spread(out, light, y, x, place, disk):
    """Add the mean counts of disks to a pattern: what `drop_disk` draws from."""
    for s in range(len(place)):
        each = light[s] / len(disk)
        for entry in range(len(disk)):
            row = math.floor(y + place[s, 0] + disk[entry, 0] + 0.5)
            column = math.floor(x + place[s, 1] + disk[entry, 1] + 0.5)
            if 0 <= row < out.shape[0] and 0 <= column < out.shape[1]:
                out[row, column] += each
