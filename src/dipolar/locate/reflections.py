"""The reciprocal lattice of a mean diffraction pattern: where its main disks are, and not the fainter ones between.

Every step works on any lattice, turned and stretched in any way:

1. the pattern is compared with a disk, each place relative to the brightest at the same angle;
2. the autocorrelation of that gives two short vectors of a lattice;
3. disks are measured where it has points, and the vectors fitted to their places;
4. from half of these vectors on: while half of a lattice's points are far fainter than their neighbours (ghosts, or
   nothing), the coarser lattice of the others is taken.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage as ndi
from jaxtyping import Bool, Float, Int64

from dipolar.locate.beam_defects import fill
from dipolar.locate.beam_kernels import window_sums
from dipolar.locate.lattice import reduce_basis

FAINT, FAINT_EACH = 0.25, 0.4
"""Disks of a lattice are no fainter than this relative to their neighbours, together or most of them; ghosts are."""
PEAK = 0.35
"""Peaks of the autocorrelation at least this high, relative to the highest, may be lattice vectors."""
SIGMAS = 5.0
"""Standard errors above which a disk is there."""
FEWEST = 5
"""Disks besides the direct beam that a lattice needs."""
SCATTER = 0.15
"""Greatest scatter of disks around their lattice, in lattice vectors."""
SYSTEMATIC_PX = 0.004
"""What the vectors of simulated patterns are off by, however many electrons there are."""


@dataclass(frozen=True, slots=True, eq=False)
class MeanPattern:
    """The mean of centred patterns, and what was found of its disks so far."""

    mean: Float[np.ndarray, "k_y k_x"]
    variance: Float[np.ndarray, "k_y k_x"]
    """One variance of each pixel of `mean`."""
    good: Bool[np.ndarray, "k_y k_x"]
    """Pixels that were counted."""
    centre: Float[np.ndarray, " 2"]
    """The direct beam, or near it."""
    radius: float
    """Radius of a disk."""


@dataclass(frozen=True, slots=True, eq=False)
class Disks:
    """Disks at the points of a lattice."""

    index: Int64[np.ndarray, "disk 2"]
    place: Float[np.ndarray, "disk 2"]
    """Centroid."""
    amount: Float[np.ndarray, " disk"]
    """Mean counts per px above what surrounds the disk."""
    sigma: Float[np.ndarray, " disk"]
    """One standard error of it."""


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


def disk_likeness(pattern: MeanPattern) -> Float[np.ndarray, "k_y k_x"]:
    """Return how much each place looks like a disk, 0 to 1, relative to the brightest at the same angle."""
    edge = int(np.ceil(1.7 * pattern.radius)) + 1
    dy, dx = np.mgrid[-edge : edge + 1, -edge : edge + 1]
    distance = np.hypot(dy, dx)
    disk = np.clip(pattern.radius - distance + 0.5, 0.0, 1.0)
    ring = np.clip(1.6 * pattern.radius + 0.7 - distance, 0.0, 1.0) * np.clip(distance - pattern.radius, 0.0, 1.0)
    kernel = disk / disk.sum() - ring / ring.sum()
    filled = fill(pattern.mean, ~pattern.good)
    matched = _convolve(filled, kernel)
    noise = np.sqrt(np.maximum(_convolve(pattern.variance, kernel**2), 0.0))
    matched[ndi.binary_dilation(~pattern.good, iterations=2) & ~_lonely(pattern.good)] = 0.0
    rows, columns = np.indices(matched.shape)
    step = 1.5 * pattern.radius
    ring_of = (np.hypot(rows - pattern.centre[0], columns - pattern.centre[1]) / step).astype(np.int64)
    bright = ndi.maximum(np.where(matched > SIGMAS * noise, matched, 0.0), ring_of, np.arange(ring_of.max() + 1))
    envelope = ndi.gaussian_filter1d(ndi.maximum_filter1d(bright, 5), 1.0)
    least = SIGMAS * noise
    level = np.maximum(envelope[ring_of], np.maximum(least, 1e-12))
    return np.clip(matched / level, 0.0, 1.0)


def _lonely(good: Bool[np.ndarray, "k_y k_x"]) -> Bool[np.ndarray, "k_y k_x"]:
    """Return the surroundings of single bad pixels, which were filled well: all but those of large regions."""
    large: Bool[np.ndarray, "k_y k_x"] = ~ndi.binary_dilation(ndi.binary_opening(~good, np.ones((3, 3))), iterations=4)
    return large


def _convolve(image: Float[np.ndarray, "k_y k_x"], kernel: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "k_y k_x"]:
    """Return an image convolved with a small symmetric kernel, mirrored at its edges."""
    edge = kernel.shape[0] // 2
    padded = np.pad(image, edge, mode="symmetric" if edge <= min(image.shape) else "edge")
    shape = [scipy.fft.next_fast_len(n + 2 * edge, real=True) for n in padded.shape]
    product = scipy.fft.rfft2(padded, shape) * scipy.fft.rfft2(kernel, shape)
    full = scipy.fft.irfft2(product, shape)
    result: Float[np.ndarray, "k_y k_x"] = full[
        2 * edge : 2 * edge + image.shape[0], 2 * edge : 2 * edge + image.shape[1]
    ]
    return result


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


def measure_disks(
    pattern: MeanPattern,
    index: Int64[np.ndarray, "disk 2"],
    place: Float[np.ndarray, "disk 2"],
    *,
    steps: int = 4,
) -> Disks:
    """Return centroid and amount of the disks near given places; both are nan where too little of one was counted."""
    centroid, amount, sigma = place.copy(), np.full(len(place), np.nan), np.full(len(place), np.nan)
    wide, tight = 1.35 * pattern.radius + 0.5, pattern.radius + min(1.5, 0.3 + 0.25 * pattern.radius)
    height, width = pattern.mean.shape
    disks_alone = pattern.mean - _between_disks(pattern) if steps else pattern.mean
    for n in range(len(place)):
        where = place[n].copy()
        if not (tight <= where[0] < height - tight and tight <= where[1] < width - tight):
            continue
        inner, outer, noise = np.zeros(4), np.zeros(4), np.zeros(4)
        for step in range(steps):
            sums = np.zeros(4)
            window_sums(disks_alone, pattern.good, True, where[0], where[1], wide if step == 0 else tight, sums)
            if sums[0] <= 0 or sums[3] < 0.6 * np.pi * pattern.radius**2:
                break
            moved = where + sums[1:3] / sums[0]
            if np.hypot(*(moved - place[n])) > 0.8 * pattern.radius + 0.5:
                break
            where = moved
        window_sums(pattern.mean, pattern.good, True, place[n, 0], place[n, 1], 0.9 * pattern.radius, inner)
        window_sums(pattern.variance, pattern.good, True, place[n, 0], place[n, 1], 0.9 * pattern.radius, noise)
        window_sums(pattern.mean, pattern.good, True, place[n, 0], place[n, 1], wide, outer)
        if inner[3] < 0.5 * np.pi * (0.9 * pattern.radius) ** 2 or outer[3] - inner[3] < 1e-3:
            continue
        amount[n] = inner[0] / inner[3] - (outer[0] - inner[0]) / (outer[3] - inner[3])
        sigma[n] = np.sqrt(max(noise[0], 0.0)) / inner[3] * 1.3
        centroid[n] = where
    return Disks(index, centroid, amount, sigma)


def _between_disks(pattern: MeanPattern) -> Float[np.ndarray, "k_y k_x"]:
    """Return what lies between disks, at every angle: the darkest quarter there.

    It falls with the angle, and under the disks too, where it would draw all centroids inwards.
    """
    rows, columns = np.indices(pattern.mean.shape)
    distance = np.hypot(rows - pattern.centre[0], columns - pattern.centre[1])
    width = 1.5 * pattern.radius
    ring = np.where(pattern.good, (distance / width).astype(np.int64), -1)
    order = np.argsort(ring, axis=None, kind="stable")
    ends = np.searchsorted(ring.ravel()[order], np.arange(int(ring.max()) + 2))
    counts = pattern.mean.ravel()[order]
    middle, level = [], []
    for n, (start, stop) in enumerate(itertools.pairwise(ends)):
        if stop - start >= 8:
            middle.append((n + 0.5) * width)
            level.append(float(np.mean(np.sort(counts[start:stop])[: (stop - start) // 2])))
    between: Float[np.ndarray, "k_y k_x"] = np.interp(distance, middle, level)
    return between


def points_inside(
    pattern: MeanPattern, vectors: Float[np.ndarray, "2 2"], origin: Float[np.ndarray, " 2"]
) -> tuple[Int64[np.ndarray, "point 2"], Float[np.ndarray, "point 2"]]:
    """Return indices and places of all points of a lattice on the detector."""
    height, width = pattern.mean.shape
    corners = np.array([[0, 0], [0, width], [height, 0], [height, width]]) - origin
    most = int(np.ceil(np.abs(corners @ np.linalg.inv(vectors)).max()))
    grid = np.arange(-most, most + 1)
    index = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    place = origin + index @ vectors
    inside = (place >= 0).all(axis=1) & (place <= np.array([height - 1, width - 1])).all(axis=1)
    return index[inside], place[inside]


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
