"""Where every frame lies, to a fraction of a cell, without jumps by a lattice vector: all pairs, one answer.

A crystal correlates with itself at every lattice vector, so the height of a correlation peak does not say which one
is right. What does is what is *not* periodic: brightness from column to column, edges, domains, defects. It is kept
apart from the lattice by a blur of 0.6 cells, in which the lattice has vanished and half a pixel of distortion does
not matter; its correlation, turned into a log-likelihood, weighs the peaks of the plain correlation of all pairs.
Where nothing but the lattice is there, the drift decides: it continues as it was, with a scatter learned from the
series itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter

from dipolar.align.correlate import AnyMap, Map, refine_peak
from dipolar.align.lattice import period
from dipolar.align.pairs import Pairs, compare_all

PHASE_NATS = 6.0
"""What a plain correlation of 1 counts for: it tells where in the cell a frame lies, never in which cell."""
TAIL = 6.0
"""Degrees of freedom of Student's distribution that the drift's steps are taken to follow: stages do jump."""


@dataclass(slots=True, eq=False)
class _Placing:
    """Places of frames on the binned grid while they are found; `step` and `spread` describe the drift."""

    pairs: Pairs
    cell: float
    places: Int[np.ndarray, "frame 2"]
    placed: list[int]
    step: Float[np.ndarray, "2"]
    spread: float

    def around(self, field: Float[np.ndarray, "frame frame y x"], f: int) -> AnyMap:
        """Return the sum over all placed frames g of `field[f, g]`, as a function of the place of f.

        Entry (j, i) stands for the place ``low + (j, i)``, with low the lowest place any placed frame can reach.
        """
        others = [g for g in self.placed if g != f]
        low, high = self.places[others].min(axis=0) - self.pairs.reach, self.places[others].max(axis=0)
        total = np.zeros(tuple(high + self.pairs.reach - low + 1))
        for g in others:
            j, i = self.places[g] - self.pairs.reach - low
            tall, wide = field.shape[2:]
            total[j : j + tall, i : i + wide] += field[f, g][::-1, ::-1]
        return total

    def low(self, f: int) -> Int[np.ndarray, "2"]:
        """Return the place that entry (0, 0) of `around` stands for."""
        others = [g for g in self.placed if g != f]
        low: Int[np.ndarray, "2"] = self.places[others].min(axis=0) - self.pairs.reach
        return low

    def prior(self, f: int, candidates: Float[np.ndarray, "place 2"]) -> Float[np.ndarray, " place"]:
        """Return the log-probability of places of f, given its neighbours in time."""
        total = np.zeros(len(candidates))
        for g in (
            max((g for g in self.placed if g < f), default=-1),
            min((g for g in self.placed if g > f), default=-1),
        ):
            if g >= 0:
                frames = abs(f - g)
                away = candidates - self.places[g] - (f - g) * self.step
                total += log_step(np.sum(away**2, axis=1) / frames, self.spread)
        return total

    def choose(self, f: int) -> bool:
        """Put frame f at its likeliest place; return whether it moved."""
        sharp, evidence, low = self.around(self.pairs.sharp, f), self.around(self.pairs.evidence, f), self.low(f)
        others = sum(g != f for g in self.placed)
        places = grid(sharp.shape) + low
        score = (evidence + PHASE_NATS * sharp / others).ravel() + self.prior(f, places.astype(np.float64))
        best = places[int(np.argmax(score))]
        moved = bool((best != self.places[f]).any())
        self.places[f] = best
        return moved

    def move_blocks(self) -> bool:
        """Move all frames from some moment on together where that is likelier; return whether any did.

        Frame by frame, a jump that all later frames have followed could not be undone.
        """
        moved = False
        for cut in range(1, len(self.places)):
            across = [(f, g) for f in range(cut, len(self.places)) for g in range(cut)]
            reach = np.array(self.pairs.reach)
            total = np.zeros(tuple(2 * reach + 1))
            for f, g in across:
                add_shifted(total, self.pairs.evidence[f, g][::-1, ::-1], self.places[g] - self.places[f])
                add_shifted(
                    total,
                    self.pairs.sharp[f, g][::-1, ::-1] * (PHASE_NATS / len(self.places)),
                    self.places[g] - self.places[f],
                )
            by = grid(total.shape) - reach
            away = self.places[cut] + by - self.places[cut - 1] - self.step
            score = total.ravel() + log_step(np.sum(away.astype(np.float64) ** 2, axis=1), self.spread)
            best = by[int(np.argmax(score))]
            if best.any():
                self.places[cut:] += best
                moved = True
        return moved

    def learn(self) -> None:
        """Learn the drift's mean step and its scatter, never finer than half a bin."""
        steps = np.diff(self.places[sorted(self.placed)], axis=0).astype(np.float64)
        gaps = np.diff(sorted(self.placed))[:, None]
        if len(steps) < 2:
            return
        self.step = np.median(steps / gaps, axis=0)
        away = np.linalg.norm(steps - gaps * self.step, axis=1) / np.sqrt(gaps[:, 0])
        # 1.18 σ is the median distance in two dimensions; the few steps of a short series are trusted less.
        self.spread = max(float(np.median(away)) / 1.18 * (1.0 + 2.0 / len(away)), 0.5)


def log_step(away2: Float[np.ndarray, " place"], spread: float) -> Float[np.ndarray, " place"]:
    """Return the log of Student's density, up to a constant, at a squared distance from the expected step."""
    value: Float[np.ndarray, " place"] = -0.5 * (TAIL + 2.0) * np.log1p(away2 / (TAIL * spread**2))
    return value


def grid(shape: tuple[int, ...]) -> Int[np.ndarray, "place 2"]:
    """Return the indices (row, column) of every element of a map."""
    places: Int[np.ndarray, "place 2"] = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 2)
    return places


def add_shifted(total: Map, part: Map, by: Int[np.ndarray, "2"]) -> None:
    """Add `part`, moved by so many steps, to a map of the same shape; what leaves it is lost."""
    (j, i), (tall, wide) = by, total.shape
    if abs(j) >= tall or abs(i) >= wide:
        return
    total[max(j, 0) : tall + min(j, 0), max(i, 0) : wide + min(i, 0)] += part[
        max(-j, 0) : tall + min(-j, 0), max(-i, 0) : wide + min(-i, 0)
    ]


def place_frames(
    images: list[Map], vectors: Float[np.ndarray, "vector 2"], *, reach_px: float
) -> Float[np.ndarray, "frame 2"]:
    """Return where every frame lies, (dy, dx) in px from the first, to about a tenth of a bin.

    A point of the specimen seen at p in the first frame is seen at ``p - place`` in another.

    Parameters
    ----------
    images
        Frames resampled on the same axes; nan where unknown.
    vectors
        Shortest lattice vectors, from `repeats`; empty where nothing repeats.
    reach_px
        Largest shift between two frames that is considered.
    """
    cell_px = period(vectors, otherwise=min(images[0].shape) / 16.0)
    return place_pairs(compare_all(images, cell_px=cell_px, reach_px=reach_px), cell_px=cell_px)


def place_pairs(pairs: Pairs, *, cell_px: float) -> Float[np.ndarray, "frame 2"]:
    """Return where every frame lies, as `place_frames`, from the evidence of all pairs.

    Parameters
    ----------
    pairs
        From `compare_all`.
    cell_px
        Length of the shortest lattice vector.
    """
    count, cell = len(pairs.sharp), cell_px / pairs.factor
    first = _most_certain(pairs)
    placing = _Placing(
        pairs=pairs,
        cell=cell,
        places=np.zeros((count, 2), dtype=int),
        placed=[first],
        step=_trend(pairs, cell),
        spread=max(cell / 2.0, 1.0),
    )
    for f in sorted((f for f in range(count) if f != first), key=lambda f: abs(f - first)):
        placing.choose(f)
        placing.placed.append(f)
    for _ in range(20):
        placing.learn()
        moved = [placing.choose(f) for f in range(count)]
        if not any([*moved, placing.move_blocks()]):
            break
    exact = np.array([_exact(placing, f) for f in range(count)]) * pairs.factor
    return exact - exact[0]


def _most_certain(pairs: Pairs) -> int:
    """Return the frame whose pairs say most; the middle one where none says anything."""
    count = len(pairs.evidence)
    total = pairs.evidence.max(axis=(2, 3)).sum(axis=1)
    middle = count // 2
    return middle if total.max() < 1.2 * total[middle] else int(np.argmax(total))


def _trend(pairs: Pairs, cell: float) -> Float[np.ndarray, "2"]:
    """Return the even drift per frame, in bins, that the frames one to three apart agree on best."""
    count, reach = len(pairs.evidence), np.array(pairs.reach)
    shape = pairs.evidence.shape[2:]
    steps = grid(shape) - reach
    total = log_step(np.sum(steps.astype(np.float64) ** 2, axis=-1), max(cell / 2.0, 1.0))
    for lag in range(1, min(4, count)):
        together = sum(pairs.evidence[g + lag, g][::-1, ::-1] for g in range(count - lag))
        wide = gaussian_filter(together, 0.25 * cell * lag**0.5, mode="constant")
        places = lag * steps + reach
        good = ((places >= 0) & (places <= 2 * reach)).all(axis=-1)
        total[good] += wide[tuple(places[good].T)]
    best: Float[np.ndarray, "2"] = steps[int(np.argmax(total))].astype(np.float64)
    still = float(total[np.linalg.norm(steps, axis=1) < 0.6 * cell].max())
    # As many cells as the map has could have agreed by chance.
    sure = 2.0 * np.log(max(len(steps) / cell**2, 2.0))
    return best if float(total.max()) > still + sure else np.zeros(2)


def _exact(placing: _Placing, f: int) -> Float[np.ndarray, "2"]:
    """Return the place of f to a fraction of a bin, from the peak of the summed correlations next to it."""
    sharp, low = placing.around(placing.pairs.sharp, f), placing.low(f)
    j, i = placing.places[f] - low
    if not (0 < j < sharp.shape[0] - 1 and 0 < i < sharp.shape[1] - 1):
        return placing.places[f].astype(np.float64)
    around = sharp[j - 1 : j + 2, i - 1 : i + 2]
    top = np.array(np.unravel_index(int(np.argmax(around)), around.shape)) + np.array([j - 1, i - 1])
    if not (0 < top[0] < sharp.shape[0] - 1 and 0 < top[1] < sharp.shape[1] - 1):
        return placing.places[f].astype(np.float64)
    return refine_peak(sharp, top) + low
