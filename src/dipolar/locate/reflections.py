"""The reciprocal lattice of a mean diffraction pattern: where its main disks are, and not the fainter ones between.

Every step works on any lattice, turned and stretched in any way:

1. the pattern is compared with a disk, each place relative to the brightest at the same angle;
2. the autocorrelation of that gives two short vectors of a lattice;
3. disks are measured where it has points, and the vectors fitted to their places;
4. from half of these vectors on: while half of a lattice's points are far fainter than their neighbours (ghosts, or
   nothing), the coarser lattice of the others is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage as ndi
from jaxtyping import Float, Int64

from dipolar.locate.disks import SIGMAS, Disks, MeanPattern, disk_likeness, measure_disks, points_inside
from dipolar.locate.lattice import reduce_basis

FAINT, FAINT_EACH = 0.25, 0.4
"""Disks of a lattice are no fainter than this relative to their neighbours, together or most of them; ghosts are."""
PEAK = 0.35
"""Peaks of the autocorrelation at least this high, relative to the highest, may be lattice vectors."""
FEWEST = 5
"""Disks besides the direct beam that a lattice needs."""
SCATTER = 0.15
"""Greatest scatter of disks around their lattice, in lattice vectors."""
SYSTEMATIC_PX = 0.004
"""What the vectors of simulated patterns are off by, however many electrons there are."""


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """A fitted reciprocal lattice."""

    vectors: Float[np.ndarray, "2 2"]
    sigma: Float[np.ndarray, "2 2"]
    origin: Float[np.ndarray, " 2"]
    """Where the fit puts point (0, 0)."""
    disks: Disks
    """Those that were fitted."""


def find_reflections(pattern: MeanPattern) -> Lattice | None:
    """Return the lattice of the main disks, or None where there is none.

    Its first vector is the one nearest to the x axis, pointing right; the second points down.
    """
    likeness = disk_likeness(pattern)
    first = _short_vectors(likeness, pattern)
    if first is None:
        return None
    fitted = fit_lattice(pattern, first)
    if fitted is None:
        return None
    # Where disks alternate between bright and faint, the bright ones alone repeat best: all halves are looked at again.
    vectors = fitted.vectors / 2.0
    for _ in range(6):
        coarser = _coarser(vectors, fitted.origin, pattern)
        if coarser is None:
            break
        vectors = coarser
    fitted = fit_lattice(pattern, vectors)
    if fitted is None:
        return None
    turn = _along_axes(fitted.vectors)
    return Lattice(
        turn @ fitted.vectors,
        np.hypot(np.sqrt(turn**2 @ fitted.sigma**2), SYSTEMATIC_PX),
        fitted.origin,
        Disks(
            fitted.disks.index @ np.rint(np.linalg.inv(turn)).astype(np.int64),
            fitted.disks.place,
            fitted.disks.amount,
            fitted.disks.sigma,
        ),
    )


def _along_axes(vectors: Float[np.ndarray, "2 2"]) -> Int64[np.ndarray, "2 2"]:
    """Return the exchange and signs after which the first vector is nearest to +x, and the second points down."""
    across = np.abs(vectors[:, 1]) / np.linalg.norm(vectors, axis=1)
    order = (0, 1) if across[0] >= across[1] else (1, 0)
    turn = np.zeros((2, 2), dtype=np.int64)
    turn[0, order[0]] = 1 if vectors[order[0], 1] >= 0 else -1
    turn[1, order[1]] = 1 if vectors[order[1], 0] >= 0 else -1
    return turn


def _short_vectors(likeness: Float[np.ndarray, "k_y k_x"], pattern: MeanPattern) -> Float[np.ndarray, "2 2"] | None:
    """Return the two shortest vectors at which the disks repeat."""
    shape = [scipy.fft.next_fast_len(2 * n, real=True) for n in likeness.shape]
    flat = likeness - likeness.mean()
    power = np.abs(scipy.fft.rfft2(flat, shape)) ** 2
    pairs = np.abs(scipy.fft.rfft2(np.ones_like(likeness), shape)) ** 2
    correlation = scipy.fft.fftshift(scipy.fft.irfft2(power, shape))
    overlap = scipy.fft.fftshift(scipy.fft.irfft2(pairs, shape))
    middle = np.array(correlation.shape) // 2
    half = np.array(likeness.shape) * 2 // 3
    window = tuple(slice(int(m - h), int(m + h + 1)) for m, h in zip(middle, half, strict=True))
    kept = correlation[window] / np.maximum(overlap[window], 0.15 * likeness.size)
    kept = ndi.gaussian_filter(kept, max(0.5, 0.25 * pattern.radius))
    peak = (kept == ndi.maximum_filter(kept, size=max(3, 2 * int(1.2 * pattern.radius) + 1))) & (kept > 0)
    rows, columns = np.nonzero(peak)
    vectors = np.stack([rows, columns], axis=1) - half
    height = kept[rows, columns]
    apart = (np.hypot(*vectors.T) > 1.5 * pattern.radius) & (
        (vectors[:, 0] > 0) | ((vectors[:, 0] == 0) & (vectors[:, 1] > 0))
    )
    vectors, height = vectors[apart], height[apart]
    if len(vectors) < 2:
        return None
    strong = height > PEAK * np.sort(height)[-min(4, len(height)) :].mean()
    vectors = np.array([_summit(kept, vector + half) - half for vector in vectors[strong]])
    vectors = vectors[np.argsort(np.hypot(*vectors.T), kind="stable")]
    for second in vectors[1:]:
        sine = (vectors[0, 0] * second[1] - vectors[0, 1] * second[0]) / np.prod(
            np.linalg.norm([vectors[0], second], axis=1)
        )
        if abs(sine) > 0.35:
            return np.stack(reduce_basis(vectors[0], second))
    return None


def _summit(image: Float[np.ndarray, "y x"], place: Int64[np.ndarray, " 2"]) -> Float[np.ndarray, " 2"]:
    """Return the top of the parabola through a local maximum and its four neighbours."""
    y, x = int(place[0]), int(place[1])
    if not (0 < y < image.shape[0] - 1 and 0 < x < image.shape[1] - 1):
        return place.astype(np.float64)

    def offset(low: float, mid: float, high: float) -> float:
        bend = low - 2 * mid + high
        return 0.0 if bend >= 0 else 0.5 * (low - high) / bend

    down = offset(image[y - 1, x], image[y, x], image[y + 1, x])
    along = offset(image[y, x - 1], image[y, x], image[y, x + 1])
    return np.array([y + down, x + along])


def fit_lattice(pattern: MeanPattern, vectors: Float[np.ndarray, "2 2"]) -> Lattice | None:
    """Return the lattice that fits the disks best, first to the near ones and then to all; None if there are few."""
    origin, fitted = pattern.centre.astype(np.float64), None
    for far in (1.6, 3.2, 6.4, np.inf):
        index, place = points_inside(pattern, vectors, origin)
        near = np.abs(index).max(axis=1) <= far
        disks = measure_disks(pattern, index[near], place[near])
        bright = disks.amount > SIGMAS * disks.sigma
        now = _fit(Disks(disks.index[bright], disks.place[bright], disks.amount[bright], disks.sigma[bright]))
        if now is None:
            continue
        scatter = np.hypot(*(now.disks.place - now.origin - now.disks.index @ now.vectors).T)
        if float(np.sqrt(np.mean(scatter**2))) > SCATTER * np.linalg.norm(vectors, axis=1).min():
            return None
        fitted, origin, vectors = now, now.origin, now.vectors
    return fitted


def _fit(disks: Disks) -> Lattice | None:
    """Return the lattice through disks, without those far off it; None if there are too few."""
    use = np.ones(len(disks.index), dtype=bool)
    # The place of a disk is as good as the root of its electrons, until what is systematic decides.
    weight = np.sqrt(np.minimum(disks.amount / np.maximum(disks.sigma, 1e-12), 100.0))
    full = np.column_stack([np.ones(len(disks.index)), disks.index])
    for _ in range(4):
        design = full[use] * weight[use, None]
        if use.sum() < FEWEST or np.linalg.matrix_rank(design) < 3:
            return None
        solution, *_ = np.linalg.lstsq(design, disks.place[use] * weight[use, None], rcond=None)
        residual = disks.place - full @ solution
        off = np.hypot(*residual.T)
        stays = off < 4.0 * max(float(np.median(off[use])), 0.02)
        if (stays == use).all():
            break
        last, use = use, stays
    else:
        use = last
        design = full[use] * weight[use, None]
    spread = ((residual[use] * weight[use, None]) ** 2).sum(axis=0) / max(1, int(use.sum()) - 3)
    sigma = np.sqrt(np.diag(np.linalg.inv(design.T @ design))[1:, None] * spread)
    kept = Disks(disks.index[use], disks.place[use], disks.amount[use], disks.sigma[use])
    return Lattice(solution[1:], sigma, solution[0], kept)


def _coarser(
    vectors: Float[np.ndarray, "2 2"], origin: Float[np.ndarray, " 2"], pattern: MeanPattern
) -> Float[np.ndarray, "2 2"] | None:
    """Return a lattice of half as many points that holds all disks that are not faint; None if there is none."""
    index, place = points_inside(pattern, vectors, origin)
    disks = measure_disks(pattern, index, place, steps=0)
    amount = {
        (int(h), int(k)): float(value) for (h, k), value in zip(index, disks.amount, strict=True) if np.isfinite(value)
    }
    # The direct beam is far brighter than disks, and says nothing of them.
    amount.pop((0, 0), None)
    least = SIGMAS * float(np.nanmedian(disks.sigma))
    best, faintest = None, FAINT
    for turn, parity in (((2, 0), (0, 1)), (1, 0)), (((1, 0), (0, 2)), (0, 1)), (((1, 1), (1, -1)), (1, 1)):
        shares = _against_neighbours(amount, parity)
        if len(shares) < FEWEST - 1:
            continue
        # Intensities of disks differ much by themselves: both their sum and most of them have to be faint.
        share = float(shares[:, 0].sum() / max(float(shares[:, 1].sum()), least))
        most = float(np.percentile(shares[:, 0] / np.maximum(shares[:, 1], least), 75))
        if most < FAINT_EACH and share < faintest:
            best, faintest = np.array(turn), share
    return None if best is None else np.stack(reduce_basis(*(best @ vectors)))


def _against_neighbours(amount: dict[tuple[int, int], float], parity: tuple[int, int]) -> Float[np.ndarray, "disk 2"]:
    """Return amounts of the disks of odd parity beside the mean of their neighbours of even parity."""

    def odd(h: int, k: int) -> int:
        return (h * parity[0] + k * parity[1]) % 2

    pairs = []
    for (h, k), value in amount.items():
        if odd(h, k):
            beside = [amount.get((h + m, k + n)) for m, n in ((1, 0), (-1, 0), (0, 1), (0, -1)) if odd(m, n)]
            known = [each for each in beside if each is not None]
            if known:
                pairs.append((value, float(np.mean(known))))
    return np.array(pairs).reshape(-1, 2)
