"""Lattice and scale from the image itself: the two steps from a column to its nearest neighbours.

Vectors after which the autocorrelation of the image is high are tried in pairs.
"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Bool, Float, Float32

from dipolar.core.errors import NoLatticeError
from dipolar.locate.autocorrelation import SMALLEST_STEP_PX, Sampler, correlation_peaks, mean_autocorrelation

MOST_PEAKS = 16  # of the autocorrelation, looked at for a cell: A, B and O make four per cell
REPEATS = 0.8  # share of the best correlation at which the image still repeats
TWO_STEPS_ALIKE = 0.15  # by which two steps correlate better than one of any kind where oxygen stands in between
UNLIKE = ((1, 1), (1, 0), (0, 1))  # parities of lattice points that another kind of column may have
FLATTEST_CRYSTAL = 0.12  # share of the variance that repeats: amorphous images stay below 0.08


def find_steps(
    data: Float32[np.ndarray, "y x"], valid: Bool[np.ndarray, "y x"]
) -> tuple[Float[np.ndarray, "2 2"], bool]:
    """Return the two shortest steps from A to B, as rows (y, x), in px; and whether other columns stand in between.

    In a perovskite seen along [100] these are half a cell diagonal each; where B is invisible, they lead from A to
    where B would be. Where oxygen shows, the shortest vectors from column to column lead from A to oxygen and from
    there to B: all unlike columns, which correlate worse than those two such steps apart.

    Parameters
    ----------
    data
        The image; invalid pixels may hold anything finite.
    valid
        Where it was measured.

    Raises
    ------
    NoLatticeError
        Where no two independent vectors repeat: vacuum, amorphous material, noise, magnification too low.
    """
    correlation = mean_autocorrelation(data, valid)
    peaks = correlation_peaks(correlation)
    if len(peaks) < 4:
        raise _no_lattice(data)
    first, second = _best_pair(correlation, peaks, data)
    sampler = Sampler(correlation)
    if _center_is_occupied(sampler, first, second):
        return orient(0.5 * (first + second), 0.5 * (first - second)), False
    alike = _alike(sampler, first, second)
    if alike[0, 0] - max(alike[parity] for parity in UNLIKE) > TWO_STEPS_ALIKE:
        return orient(first + second, first - second), True
    return orient(*_alternate(alike, first, second)), False


def find_cell(
    data: Float32[np.ndarray, "y x"], valid: Bool[np.ndarray, "y x"]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Return the two shortest vectors (y, x) after which the whole image repeats, whatever stands in between.

    `find_steps` asks which vectors lead from column to column; here only those count that lead to like columns. The
    autocorrelation is as high as anywhere at all of them and lower at vectors between unlike columns, by as much as
    their heights differ.

    Raises
    ------
    NoLatticeError
        Where no two independent vectors repeat.
    """
    correlation = mean_autocorrelation(data, valid)
    peaks = correlation_peaks(correlation)[:MOST_PEAKS]
    sampler = Sampler(correlation)
    pairs, scores = [], []
    for i, j in itertools.combinations(range(len(peaks)), 2):
        first, second = reduce_basis(peaks[i], peaks[j])
        area = abs(first[0] * second[1] - first[1] * second[0])
        short, long = np.hypot(*first), np.hypot(*second)
        if short < SMALLEST_STEP_PX or long > 3.0 * short or area < 0.45 * short * long:
            continue
        heights = sampler(np.array([first, second, first + second, first - second]), summit=True)
        if len(heights) == 4:
            pairs.append((first, second, area))
            scores.append(float(heights.min()))
    best = max(scores, default=0.0)
    if best < FLATTEST_CRYSTAL:
        raise _no_lattice(data)
    # all multiples of the cell score alike; of lattices of one area, the best score has the best vectors
    smallest = min(pair[2] for pair, score in zip(pairs, scores, strict=True) if score > REPEATS * best)
    alike = [k for k, pair in enumerate(pairs) if pair[2] < 1.2 * smallest]
    first, second, _ = pairs[max(alike, key=lambda k: scores[k])]
    return first, second


def _best_pair(
    correlation: Float[np.ndarray, "lag_y lag_x"],
    peaks: Float[np.ndarray, "peak 2"],
    data: Float32[np.ndarray, "y x"],
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Return the pair of short vectors whose lattice points are high and whose points between are low."""
    sampler = Sampler(correlation)
    pairs, scores, areas = [], [], []
    for i, j in itertools.combinations(range(min(len(peaks), 14)), 2):
        first, second = reduce_basis(peaks[i], peaks[j])
        area = abs(first[0] * second[1] - first[1] * second[0])
        short, long = np.hypot(*first), np.hypot(*second)
        if short < SMALLEST_STEP_PX or long > 3.0 * short or area < 0.45 * short * long:
            continue
        pairs.append((first, second))
        scores.append(_contrast(sampler, first, second))
        areas.append(area)
    if not pairs or max(scores) < FLATTEST_CRYSTAL:
        raise _no_lattice(data)
    # a lattice three times too coarse scores alike; of the good ones the finest is the crystal's
    good = [k for k, score in enumerate(scores) if score > 0.75 * max(scores)]
    return pairs[min(good, key=lambda k: areas[k])]


def _contrast(sampler: Sampler, first: Float[np.ndarray, "2"], second: Float[np.ndarray, "2"]) -> float:
    """Return the mean height at lattice points minus that halfway between them, for the highest of the three halves.

    A lattice too coarse by a factor of two has lattice points of the image among its halves and so scores low.
    """
    nodes = _combinations(first, second)
    high = sampler(nodes, summit=True)
    classes = [sampler(0.5 * _combinations(first, second, parity), summit=False) for parity in ((1, 0), (0, 1), (1, 1))]
    if len(high) < 4 or any(len(c) < 2 for c in classes):
        return -np.inf
    return float(np.mean(high) - max(np.mean(c) for c in classes))


def _combinations(
    first: Float[np.ndarray, "2"], second: Float[np.ndarray, "2"], parity: tuple[int, int] | None = None
) -> Float[np.ndarray, "point 2"]:
    """Return the 24 lattice points nearest to 0, or those of one parity of (m, n) where one is given."""
    steps = [(m, n) for m in range(-2, 3) for n in range(-2, 3) if (m, n) != (0, 0)]
    return np.array([m * first + n * second for m, n in steps if parity in (None, (m % 2, n % 2))])


def reduce_basis(
    first: Float[np.ndarray, "2"], second: Float[np.ndarray, "2"]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Return the shortest two vectors of the same lattice (Gauss reduction), the shorter first."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    for _ in range(30):
        if a @ a > b @ b:
            a, b = b, a
        turns = np.rint((a @ b) / max(float(a @ a), 1e-12))
        if turns == 0:
            break
        b = b - turns * a
    return a, b


def _center_is_occupied(sampler: Sampler, first: Float[np.ndarray, "2"], second: Float[np.ndarray, "2"]) -> bool:
    """Tell whether the vectors lead from A to A, past a weak B in the middle of the cell.

    The autocorrelation of one kind of column is lowest in the middle of four lattice points; a column there, however
    weak, lifts it above the middles of the edges.
    """
    middles = sampler(np.array([0.5 * (first + second), 0.5 * (first - second)]), summit=False)
    edges = sampler(np.array([0.5 * first, 0.5 * second]), summit=False)
    tops = sampler(np.array([first, second]), summit=True)
    if not (len(middles) and len(edges) and len(tops)):  # the image is hardly larger than the cell
        return False
    top = np.median(tops)
    return bool(np.mean(middles) > np.mean(edges) + 0.05 * (top - np.mean(edges)))


def _alike(
    sampler: Sampler, first: Float[np.ndarray, "2"], second: Float[np.ndarray, "2"]
) -> dict[tuple[int, int], float]:
    """Return the mean height of the autocorrelation at the lattice points of each parity."""
    return {
        parity: float(np.sum(heights) / max(len(heights), 1))
        for parity in (*UNLIKE, (0, 0))
        for heights in [sampler(_combinations(first, second, parity), summit=True)]
    }


def _alternate(
    alike: dict[tuple[int, int], float], first: Float[np.ndarray, "2"], second: Float[np.ndarray, "2"]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Return steps of the same lattice that both lead to the other kind of column.

    The kinds alternate along both steps in a perovskite seen along [100], along one of them only when seen along [110]:
    like columns correlate better than unlike ones.
    """
    highest, lowest = (choose(alike[parity] for parity in UNLIKE) for choose in (max, min))
    spread = highest - lowest
    if spread < 0.02 or alike[1, 1] > highest - 0.2 * spread:
        return first, second
    return (second, first + second) if alike[1, 0] > alike[0, 1] else (first, first + second)


def orient(first: Float[np.ndarray, "2"], second: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2 2"]:
    """Order and sign the steps so that a = sum points right and b = difference points down."""
    best, best_score = np.stack([first, second]), -np.inf
    for p, q in ((first, second), (second, first)):
        for s, t in itertools.product((1, -1), (1, -1)):
            a, b = s * p + t * q, s * p - t * q
            score = a[1] / np.hypot(*a) + b[0] / np.hypot(*b)
            if score > best_score:
                best, best_score = np.stack([s * p, t * q]), score
    return best


def _no_lattice(data: Float32[np.ndarray, "y x"]) -> NoLatticeError:
    return NoLatticeError(
        "no crystal lattice was found: an image with resolved, repeating columns was expected.",
        got=f"{data.shape[0]} x {data.shape[1]} px in which no two vectors repeat",
        do="check that the image is in focus and atomically resolved (5 to 100 px per unit cell)",
    )


def no_crystal(peaks: int) -> NoLatticeError:
    """Return the error to raise where maxima were found, but no lattice of them."""
    return NoLatticeError(
        "no crystal was found: neighbouring columns on a lattice were expected.",
        got=f"{peaks} intensity maxima, none of them with neighbours where a lattice would have them",
        do="check that the image is in focus and atomically resolved",
    )
