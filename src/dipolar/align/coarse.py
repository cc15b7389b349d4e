"""The slow part of every frame's distortion, from small patches that follow each other across the frame.

A patch is looked for only within half a cell of where its neighbours were found, so that a distortion of many cells
is followed without a jump as long as it changes little from one patch to the next.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import uniform_filter

from dipolar.align.correlate import AnyMap, Map, refine_peak
from dipolar.align.scan import Scan

PATCH_CELLS, SPACING_CELLS, SEARCH_CELLS = 3.0, 1.5, 0.42
"""Edge of a patch, their distance, and how far each is looked for, in cells."""
MOST_PATCHES = 20
"""Along each direction; more would say no more about what is slow."""
KNOWN = 0.75
"""Share of a patch that must be known in the frame and in the reference."""
TRUSTED = 0.35
"""Patches that correlate less than this share of the best third follow their neighbours."""
NODE_CELLS = 2.0
"""Distance of the nodes between which the slow offset runs straight, in cells."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchShifts:
    """How far patches of one frame lie from the same in a reference."""

    points_px: Float[np.ndarray, "patch 2"]
    """Middles of the patches on the grid."""
    shift_px: Float[np.ndarray, "patch 2"]
    """Where each was found, from its own place, (dy, dx)."""
    quality: Float[np.ndarray, " patch"]
    """Its correlation there."""


def follow_patches(frame: Map, reference: Map, *, cell_px: float) -> PatchShifts:
    """Return how far patches of a frame lie from the same in a reference, followed from the best one outwards.

    Parameters
    ----------
    frame, reference
        On the same grid; nan where unknown.
    cell_px
        Length of the shortest lattice vector.
    """
    size = max(16, round(PATCH_CELLS * cell_px))
    reach = max(3, round(SEARCH_CELLS * cell_px))
    known = (np.isfinite(frame) & np.isfinite(reference)).astype(np.float32)
    share = uniform_filter(known, size, mode="constant")
    lines = [_centres(np.flatnonzero(share.max(axis=1 - axis) > KNOWN), cell_px) for axis in (0, 1)]
    middles = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)
    usable = share[tuple(middles.reshape(-1, 2).T)].reshape(middles.shape[:2]) > KNOWN
    shift = np.zeros((*usable.shape, 2))
    quality = np.full(usable.shape, -1.0)
    search = _Search(frame, reference, size, reach)
    quality[usable] = 0.0
    every = 2 if usable.sum() > 24 else 1  # enough of them to choose the first one from
    for place in np.argwhere(usable[::every, ::every]) * every:
        shift[tuple(place)], quality[tuple(place)] = search(middles[tuple(place)], np.zeros(2))
    if usable.any():
        _grow(search, middles, usable, shift, quality)
    good = usable & (quality > 0)
    return PatchShifts(
        points_px=middles[good].astype(np.float64).reshape(-1, 2),
        shift_px=shift[good].reshape(-1, 2),
        quality=quality[good],
    )


def _centres(places: Int[np.ndarray, " place"], cell_px: float) -> Int[np.ndarray, " centre"]:
    if not len(places):
        return np.zeros(0, dtype=np.int64)
    count = int(np.clip((places[-1] - places[0]) / (SPACING_CELLS * cell_px), 1, MOST_PATCHES))
    return np.rint(np.linspace(places[0], places[-1], count + 1)).astype(np.int64)


def _grow(
    search: _Search,
    middles: Int[np.ndarray, "j i 2"],
    usable: Bool[np.ndarray, "j i"],
    shift: Float[np.ndarray, "j i 2"],
    quality: Float[np.ndarray, "j i"],
) -> None:
    """Look again for every patch near where its neighbours were found, the best first; in place."""
    tried = quality[usable & (quality > 0)]
    best = float(np.sort(tried)[-max(1, tried.size // 3) :].mean()) if tried.size else 0.0
    # The seed is good and not at the border of its search, where a neighbouring column may have been met.
    inner = np.where(usable & (np.abs(shift).max(axis=-1) < 0.7 * search.reach), quality, -1.0)
    row, column = divmod(int(np.argmax(inner)), inner.shape[1])
    seed = (row, column)
    done = np.zeros(usable.shape, dtype=bool)
    waiting: list[tuple[float, tuple[int, int]]] = [(-float(quality[seed]), seed)]
    seen = {seed}
    while waiting:
        _, place = heapq.heappop(waiting)
        j, i = place
        around = np.s_[max(j - 1, 0) : j + 2, max(i - 1, 0) : i + 2]
        if done[around].any():
            weight = np.maximum(quality[around][done[around]], 1e-3)
            expected = np.average(shift[around][done[around]], axis=0, weights=weight)
            shift[place], quality[place] = search(middles[place], expected)
            if quality[place] < TRUSTED * best:
                shift[place], quality[place] = expected, 1e-3
        done[place] = True
        for next_place in ((j - 1, i), (j + 1, i), (j, i - 1), (j, i + 1)):
            inside = 0 <= next_place[0] < usable.shape[0] and 0 <= next_place[1] < usable.shape[1]
            if inside and usable[next_place] and next_place not in seen:
                seen.add(next_place)
                heapq.heappush(waiting, (-float(quality[next_place]), next_place))
    quality[~done] = -1.0


class _Search:
    """Finds a patch of the frame in the reference."""

    def __init__(self, frame: Map, reference: Map, size: int, reach: int) -> None:
        """Prepare both images: unknown pixels take the mean."""
        self.frame = np.where(np.isfinite(frame), frame, np.nanmean(frame))
        self.reference = np.where(np.isfinite(reference), reference, np.nanmean(reference))
        self.size, self.reach = size, reach

    def __call__(
        self, middle: Int[np.ndarray, "2"], expected: Float[np.ndarray, "2"]
    ) -> tuple[Float[np.ndarray, "2"], float]:
        """Return where the patch around `middle` was found, near the expected shift, and its correlation there."""
        half, reach = self.size // 2, self.reach
        patch = _cut(self.frame, middle, half)
        centre = np.rint(middle + expected).astype(int)
        field = _match(patch, _cut(self.reference, centre, half + reach + 1))
        inner = field[1:-1, 1:-1]
        top = np.array(np.unravel_index(int(np.argmax(inner)), inner.shape)) + 1
        found = refine_peak(field, top) - (reach + 1) + centre - middle
        return found, float(field[tuple(top)])


def _cut(image: Map, middle: Int[np.ndarray, "2"], half: int) -> AnyMap:
    """Return the square around a place; beyond the rim the nearest pixels are repeated."""
    rows, columns = (
        np.clip(np.arange(m - half, m + half + 1), 0, size - 1) for m, size in zip(middle, image.shape, strict=True)
    )
    return image[np.ix_(rows, columns)]


def _match(patch: AnyMap, window: AnyMap) -> AnyMap:
    """Return the normalised correlation of the patch with every part of a larger window."""
    flat = patch - patch.mean()
    shape = tuple(next_fast_len(size, real=True) for size in window.shape)
    tall, wide = (w - p + 1 for w, p in zip(window.shape, patch.shape, strict=True))
    level = window - window.mean()
    product = irfft2(rfft2(level, shape) * np.conj(rfft2(flat, shape)), shape)[:tall, :wide]
    total, squares = (_box(part, patch.shape) for part in (level, level**2))
    variance = np.maximum(squares - total**2 / patch.size, 1e-12)
    norm = float(np.sqrt(np.sum(flat**2)))
    return product / (np.sqrt(variance) * max(norm, 1e-12))


def _box(image: Map, size: tuple[int, ...]) -> AnyMap:
    """Return the sum over every box of that size."""
    sums = np.pad(np.cumsum(np.cumsum(image, axis=0), axis=1), ((1, 0), (1, 0)))
    j, i = size
    return sums[j:, i:] - sums[:-j, i:] - sums[j:, :-i] + sums[:-j, :-i]


def slow_offsets(
    scans: list[Scan], shifts: list[PatchShifts], shape: tuple[int, int], *, cell_px: float
) -> list[Float[np.ndarray, "row 2"]]:
    """Return by how much the rows of every scan should move, so that all patches meet the average of the others.

    A patch of scan f at p, found u away in the average of the others, says
    ``o_f(row of p in f) - mean over g of o_g(row of p in g) = u``. Offsets run straight between nodes; what no
    patch tells (a motion common to all scans) stays nearest to zero. Outliers are weighed down (Huber).

    Parameters
    ----------
    scans
        As they are placed now.
    shifts
        Of each scan against the average of the others.
    shape
        Of the grid.
    cell_px
        Length of the shortest lattice vector.
    """
    if not any(len(found.quality) for found in shifts):
        return [np.zeros_like(scan.offset_px) for scan in scans]
    nodes = [np.linspace(0, len(s.data) - 1, max(3, int(len(s.data) / (NODE_CELLS * cell_px)))) for s in scans]
    begin = np.concatenate([[0], np.cumsum([len(n) for n in nodes])])
    blocks, values, weights = [], [], []
    for f, found in enumerate(shifts):
        block = np.zeros((len(found.quality), begin[-1]))
        for g, scan in enumerate(scans):
            hats = _hats(scan.row_at(found.points_px, shape), nodes[g])
            block[:, begin[g] : begin[g + 1]] += hats if f == g else -hats / (len(scans) - 1)
        blocks.append(block)
        values.append(found.shift_px)
        weights.append(np.clip(found.quality, 1e-3, None) ** 2)
    design, value, weight = np.concatenate(blocks), np.concatenate(values), np.concatenate(weights)
    bend = np.zeros((begin[-1], begin[-1]))
    for g, places in enumerate(nodes):
        second = np.diff(np.eye(len(places)), n=2, axis=0)
        bend[begin[g] : begin[g + 1], begin[g] : begin[g + 1]] = second.T @ second
    strength = weight.sum() / max(begin[-1], 1)
    stiff = strength * (1e-1 * bend + 1e-4 * np.eye(begin[-1]))
    robust = np.ones(len(value))
    answer = np.zeros((int(begin[-1]), 2))
    for _ in range(6):
        normal = design.T @ (design * (weight * robust)[:, None])
        answer = np.linalg.solve(normal + stiff, design.T @ (value * (weight * robust)[:, None]))
        away = np.linalg.norm(value - design @ answer, axis=1)
        scale = 1.5 * max(float(np.median(away)), 1e-3)
        robust = np.minimum(1.0, scale / np.maximum(away, 1e-9))
    return [
        np.stack(
            [np.interp(np.arange(len(s.data)), nodes[g], answer[begin[g] : begin[g + 1], k]) for k in (0, 1)], axis=-1
        )
        for g, s in enumerate(scans)
    ]


def _hats(row: Float[np.ndarray, " point"], nodes: Float[np.ndarray, " node"]) -> Float[np.ndarray, "point node"]:
    """Return the weights of the nodes at these rows; beyond the ends those of the end."""
    return np.stack([np.interp(row, nodes, line) for line in np.eye(len(nodes))], axis=-1)
