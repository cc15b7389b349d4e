"""Whether a frame lies a lattice vector off, and whether it belongs to the others at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from dipolar.align.average import Stack
from dipolar.align.correlate import AnyMap, Map, pearson_at, smooth, without_shading
from dipolar.align.pairs import BLUR_CELLS, SHADING_CELLS
from dipolar.align.rows import LEVEL_BLUR_CELLS, match_levels

COLUMN_BLUR_CELLS = 0.15
"""Blur before frames are held against each other: columns stay apart, and the shift of single rows does not count."""
SURE_NATS = 20.0
"""With a usual margin above this, a frame whose place cannot be told does not belong."""
LEAST_PATCHES = 12.0
"""Fewer independent patches than this say nothing about the place."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdict:
    """How well one frame fits to the others."""

    correlation: float
    """Pearson correlation with the average of the others, columns blurred a little."""
    contrast: float
    """Contrast over that of the average."""
    place: float
    """Standard score of the correlation of what is not periodic; nan where too little is seen."""
    chance: float
    """Log-likelihood of this place over that of no common picture, in nats."""
    margin: float
    """Log-likelihood of this place over that of the best one a lattice vector away; nan without a lattice."""
    better_px: Float[np.ndarray, "2"]
    """By which lattice vector the frame should move if `margin` is negative."""


def judge(made: Stack, vectors: Float[np.ndarray, "vector 2"], *, cell_px: float) -> list[Verdict]:
    """Return how well every scan of a stack fits to the average of the others.

    Parameters
    ----------
    made
        The scans on their grid.
    vectors
        Shortest lattice vectors; empty where nothing repeats.
    cell_px
        Length of the shortest.
    """
    return [
        judge_one(made.values[n].astype(np.float64), made.without(n), vectors, cell_px) for n in range(len(made.scans))
    ]


def judge_one(own: Map, others: Map, vectors: Float[np.ndarray, "vector 2"], cell_px: float) -> Verdict:
    """Return how well one resampled scan fits to the average of the others; arguments as for `judge`."""
    both = np.isfinite(own) & np.isfinite(others)
    if np.count_nonzero(both) < 4 * cell_px**2:
        return Verdict(
            correlation=float("nan"),
            contrast=float("nan"),
            place=float("nan"),
            chance=0.0,
            margin=float("nan"),
            better_px=np.zeros(2),
        )
    contrast, _ = match_levels(own, others, blur_px=LEVEL_BLUR_CELLS * cell_px)
    flat_own, flat_others = (without_shading(part, SHADING_CELLS * cell_px) for part in (own, others))
    sharp_own, sharp_others = (smooth(part, COLUMN_BLUR_CELLS * cell_px) for part in (flat_own, flat_others))
    wide_own, wide_others = (smooth(part, BLUR_CELLS * cell_px) for part in (flat_own, flat_others))
    patches = np.count_nonzero(both) / (4.0 * np.pi * (BLUR_CELLS * cell_px) ** 2)
    r = pearson_at(wide_own, wide_others)
    height = pearson_at(sharp_own, sharp_others)
    margin, better = _lattice_margin(sharp_own, sharp_others, both, vectors, cell_px)
    return Verdict(
        correlation=height,
        chance=likelihood(height, int(np.count_nonzero(both)), cell_px),
        contrast=contrast,
        place=float(np.arctanh(np.clip(r, -0.999, 0.999)) * np.sqrt(patches - 3.0))
        if patches > LEAST_PATCHES
        else float("nan"),
        margin=margin,
        better_px=better,
    )


def common_margin(
    made: Stack, verdicts: list[Verdict], vectors: Float[np.ndarray, "vector 2"], *, cell_px: float
) -> float:
    """Return the log-likelihood of all places over those a lattice vector away; nan without a lattice.

    Scans along one direction may agree among themselves while all of them lie wrong. So the scans along each direction
    are held, as one, against all others, and the direction that fits worst counts; where there is only one direction,
    the median of the frames.
    """
    angles = [scan.angle_deg % 360.0 for scan in made.scans]
    if len(set(angles)) == 1:
        margins = np.array([verdict.margin for verdict in verdicts])
        return float(np.nanmedian(margins)) if np.isfinite(margins).any() else float("nan")
    found = []
    for angle in sorted(set(angles)):
        own, others = (made.of([n for n, a in enumerate(angles) if (a == angle) is same]) for same in (True, False))
        found.append(judge_one(own, others, vectors, cell_px).margin)
    return min(found, key=lambda margin: np.inf if np.isnan(margin) else margin)


def likelihood(correlation: float, pixels: int, cell_px: float) -> float:
    """Return -n/2 ln(1 - r²) for n independent patches of the columns' blur; 0 where r is not positive."""
    patches = pixels / (4.0 * np.pi * (COLUMN_BLUR_CELLS * cell_px) ** 2)
    return -0.5 * patches * float(np.log(max(1.0 - max(correlation, 0.0) ** 2, 1e-9)))


def _lattice_margin(
    own: Map, others: Map, both: Bool[np.ndarray, "y x"], vectors: Float[np.ndarray, "vector 2"], cell_px: float
) -> tuple[float, Float[np.ndarray, "2"]]:
    """Return the log-likelihood of no move over that of the best lattice vector, on the same pixels for all."""
    if not len(vectors):
        return float("nan"), np.zeros(2)
    moves = np.concatenate([np.zeros((1, 2)), vectors, -vectors])
    near = np.rint(moves).astype(int)
    spare = int(np.abs(near).max()) + 1
    known = np.isfinite(np.pad(others, spare, constant_values=np.nan))
    region = both.copy()
    for move in near:
        region &= _shifted(known, move, spare, own.shape)
    pixels = int(np.count_nonzero(region))
    if pixels < 6 * cell_px**2:
        return float("nan"), np.zeros(2)
    padded = np.pad(others, spare, constant_values=np.nan)
    mine = own[region] - own[region].mean()
    heights = [_peak_height(mine, padded, region, move, spare) for move in near]
    chance = [likelihood(height, pixels, cell_px) for height in heights]
    best = 1 + int(np.argmax(chance[1:]))
    return float(chance[0] - chance[best]), moves[best]


def _peak_height(
    mine: Float[np.ndarray, " pixel"],
    padded: AnyMap,
    region: Bool[np.ndarray, "y x"],
    move: np.ndarray,
    spare: int,
) -> float:
    """Return the correlation at the top of the parabola through the shifts next to a rounded one."""

    def at(dy: int, dx: int) -> float:
        theirs = _shifted(padded, move + np.array([dy, dx]), spare, region.shape)[region]
        good = np.isfinite(theirs)
        theirs = np.where(good, theirs - theirs[good].mean(), 0.0)
        norm = np.sqrt(np.sum(mine**2) * np.sum(theirs**2))
        return float(np.sum(mine * theirs) / norm) if norm > 0 else 0.0

    middle = at(0, 0)
    height = middle
    for low, high in ((at(-1, 0), at(1, 0)), (at(0, -1), at(0, 1))):
        bend = low - 2.0 * middle + high
        if bend < 0:
            height += min((high - low) ** 2 / (-8.0 * bend), abs(bend))
    return height


def _shifted(padded: np.ndarray, by: np.ndarray, spare: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return what lies `by` further, from an image with a rim of `spare` pixels."""
    j, i = int(by[0]) + spare, int(by[1]) + spare
    return padded[j : j + shape[0], i : i + shape[1]]


def misfit(verdicts: list[Verdict]) -> tuple[int, str] | None:
    """Return the frame that fits worst, and why it should be dropped; None where all fit.

    Each is held against the median of all, so that a noisy series is not taken for a bad one.
    """
    correlation, contrast, place = (
        np.array([getattr(verdict, name) for verdict in verdicts]) for name in ("correlation", "contrast", "place")
    )
    usual_r, usual_contrast, usual_place = (
        float(np.median(part[np.isfinite(part)])) if np.isfinite(part).any() else float("nan")
        for part in (correlation, contrast, place)
    )
    worst = int(np.argmin(np.nan_to_num(correlation, nan=-1.0)))
    if not np.isfinite(correlation[worst]):
        return worst, "shares too little of the specimen with the other frames"
    if correlation[worst] < max(0.5 * usual_r, 0.05):
        return worst, (
            f"does not match the others: correlation {correlation[worst]:.2f}, where {usual_r:.2f} is usual "
            "(another place, another orientation, or a damaged frame)"
        )
    weak = int(np.argmin(np.nan_to_num(contrast, nan=np.inf)))
    if contrast[weak] < 0.6 * usual_contrast:
        return (
            weak,
            f"has {100 * contrast[weak] / usual_contrast:.0f} % of the others' contrast: out of focus, or blank",
        )
    margin = np.array([verdict.margin for verdict in verdicts])
    usual_margin = float(np.nanmedian(margin)) if np.isfinite(margin).any() else float("nan")
    unsure = int(np.argmin(np.nan_to_num(margin, nan=np.inf)))
    if usual_margin > SURE_NATS and margin[unsure] < 0.15 * usual_margin:
        return unsure, (
            "shows another place, or too little of this one: its lattice matches, but nothing says which columns are "
            f"which (log-likelihood margin {margin[unsure]:.0f}, where {usual_margin:.0f} is usual)"
        )
    away = int(np.argmin(np.nan_to_num(place, nan=np.inf)))
    if usual_place > 4.0 and place[away] < 0.25 * usual_place:
        return away, (
            "shows another place: its lattice matches, but what is not periodic does not "
            f"(standard score {place[away]:.1f}, where {usual_place:.1f} is usual)"
        )
    return None
