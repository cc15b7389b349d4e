"""Learning the profile that the columns of a sublattice share, on a few patches of the image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.spatial import cKDTree

from dipolar.locate.learn import ground_scatter
from dipolar.locate.light import AMPLITUDE, PXX, PYY, X, Y
from dipolar.locate.patch import PLANE, patch_normals, without_plane
from dipolar.locate.profile import solve_profile
from dipolar.locate.work import Work, find_neighbours, one_pass, select, spread

STILL = 5e-4
"""Relative change of the core widths at which the profile has come to rest: at once where columns have no tails."""
PATCH_STEPS = 9.0
"""Edge of a patch in A-B distances, where that makes no more than `MAX_PATCH_PX` pixels."""
MAX_PATCH_PX = 40_000
FULL = 0.8
"""Largest distance to a column, in A-B distances, inside a patch: 0.71 between four columns, more beyond a surface."""
WIDEST, CROWDED_WIDEST = 0.55, 0.42
"""Width of the widest Gaussian in a mixture, in A-B distances; where oxygen overlaps, wide ones are background."""
FIRM = 0.003
"""How far, in amplitudes, a background may stray from its surroundings while the profile is learned."""


def learn_profile(work: Work, *, rounds: int, patches: int) -> None:
    """Replace the profile by the one that fits some patches of the crystal best.

    In turn, the profile is solved for with the columns held, and the columns of the patches are fitted anew with the
    profile held; their errors feed each other, so that it takes some rounds, but only a few hundred columns take part.
    The other columns then change as those of the patches did in the median.
    """
    width = max(work.width(kind) for kind in range(work.kinds))
    widest = CROWDED_WIDEST if work.crowded else WIDEST
    relative = np.array([w for w in work.choice.mixture if w <= max(1.0, widest * work.step_px / width)])
    reach = min(4.0 * float(relative.max()) * width, 2.5 * work.step_px)
    boxes = [box for box in _patches(work, reach, patches) if _finite_share(work, box) > 0.8]
    if not boxes:
        return
    rows = np.unique(np.concatenate([_members(work.theta, box, reach) for box in boxes]))
    inner = np.isin(rows, np.concatenate([_members(work.theta, box, work.step_px) for box in boxes]))
    local = select(work, rows)
    for _ in range(rounds):
        change = _solve(local, boxes, relative, reach)
        find_neighbours(local)
        one_pass(local, 1, active=inner)
        if change < STILL:
            break
    _spread_news(work, local, rows, inner)


def _solve(
    work: Work, boxes: list[tuple[int, int, int, int]], relative: Float[np.ndarray, " component"], reach: float
) -> float:
    """Set the profile that fits the patches best with all columns held, and hold the background to what they find.

    Return by how much the width of a core changed.
    """
    members = [_members(work.theta, box, reach) for box in boxes]
    zero = float(np.median(work.valley))
    starts = np.concatenate([[0], np.cumsum([len(m) for m in members])])
    size = work.kinds * len(relative) + PLANE
    matrices, vectors = np.zeros((len(boxes), size, size)), np.zeros((len(boxes), size))
    corners, edge = np.array([box[::2] for box in boxes]), boxes[0][1] - boxes[0][0]
    patch_normals(
        work.image, zero, work.theta, work.kind, relative, np.concatenate(members), starts, corners, edge, reach,
        work.variance.as_tuple(), matrices, vectors,
    )  # fmt: skip
    hold = work.correlation * ground_scatter(work) ** -2
    valley = [float(np.median(work.valley[m])) - zero for m in members]
    reduced = [without_plane(m, v, hold, g) for m, v, g in zip(matrices, vectors, valley, strict=True)]
    learned = solve_profile(
        np.sum([r.matrix for r in reduced], axis=0), np.sum([r.vector for r in reduced], axis=0), relative, work.profile
    )
    _hold_background(work, members, zero + np.array([r.level(learned.weights) for r in reduced]))
    work.profile = learned.profile
    work.theta[:, PYY:] /= learned.wider[work.kind][:, None] ** 2
    work.theta[:, AMPLITUDE] *= learned.higher[work.kind]
    work.typical = work.typical / learned.wider[:, None] ** 2
    work.shapes = work.shapes / learned.wider[work.kind][:, None] ** 2
    work.strengths = work.strengths * learned.wider**4
    return float(np.max(np.abs(learned.wider - 1.0)))


def _spread_news(
    work: Work, local: Work, rows: Int64[np.ndarray, " member"], inner: Bool[np.ndarray, " member"]
) -> None:
    """Give all columns the profile of the patches, and the changes of their numbers that go with it."""
    work.profile = local.profile
    for kind in range(work.kinds):
        mine = inner & (local.kind == kind)
        everyone = work.kind == kind
        if not mine.any():
            continue
        brighter = np.median(local.theta[mine, AMPLITUDE] / work.theta[rows[mine], AMPLITUDE])
        sharper = np.median(local.theta[mine, PYY] + local.theta[mine, PXX])
        sharper /= np.median(work.theta[rows[mine], PYY] + work.theta[rows[mine], PXX])
        work.theta[everyone, AMPLITUDE] *= brighter
        work.theta[everyone, PYY:] *= sharper
        work.ground[everyone] += np.median(local.ground[mine] - work.ground[rows[mine]])
        shape = np.median(local.theta[mine, PYY:], axis=0)
        ratio = (shape[0] + shape[2]) / (work.typical[kind, 0] + work.typical[kind, 2])
        work.shapes[everyone] *= ratio
        work.typical[kind] *= ratio
        work.strengths[kind] /= ratio**2
    work.theta[rows[inner]] = local.theta[inner]


def _hold_background(work: Work, members: list[Int64[np.ndarray, " _"]], levels: Float[np.ndarray, " patch"]) -> None:
    """Hold the background of the next pass to what the patches found between the columns.

    A wrong profile casts its tails into the free background of every window; held, the background makes amplitude and
    profile agree within two rounds.
    """
    work.firmness = np.zeros(work.kinds)
    ground = work.ground.copy()
    for kind in range(work.kinds):
        mine = work.kind == kind
        above = [ground[m[work.kind[m] == kind]] for m in members]
        offsets = [level - np.median(a) for level, a in zip(levels, above, strict=True) if len(a)]
        if offsets and mine.any():
            ground[mine] += float(np.median(offsets))
            work.firmness[kind] = (FIRM * float(np.median(np.abs(work.theta[mine, AMPLITUDE])))) ** -2
    work.ground = ground


def _patches(work: Work, reach: float, most: int) -> list[tuple[int, int, int, int]]:
    """Return at most `most` boxes (y0, y1, x0, x1) full of good columns, spread over the image.

    They keep off the rim where there is room: columns beyond it shine in, and nobody knows them.
    """
    shape = np.array(work.image.shape)
    rim = np.minimum(reach, (shape - 4.5 * work.step_px) / 2).clip(0.0)
    room = float(np.min(shape - 2 * rim))
    edge = int(min(PATCH_STEPS * work.step_px, max(np.sqrt(MAX_PATCH_PX), 4.5 * work.step_px), room))
    good = work.converged & (work.theta[:, AMPLITUDE] > 0)
    low, high = rim + 0.5 * edge, shape - 1 - rim - 0.5 * edge
    inside = np.all((work.theta[:, :2] >= low) & (work.theta[:, :2] <= high), axis=1)
    centres = work.theta[spread(np.flatnonzero(good & inside), 60), :2]
    if not len(centres):
        centres = 0.5 * (low + high)[None, :]
    tree, wide = cKDTree(work.theta[:, :2]), edge + 2.0 * work.step_px
    dense = np.array([_farthest(tree, np.clip(_places(centre, wide), 0, shape - 1)) for centre in centres])
    full = spread(np.flatnonzero(dense < FULL * work.step_px), most)
    corners = np.clip(np.rint(centres[full] - 0.5 * edge), 0, shape - edge).astype(int)
    return [(int(y), int(y) + edge, int(x), int(x) + edge) for y, x in corners]


def _places(centre: Float[np.ndarray, "2"], edge: float) -> Float[np.ndarray, "place 2"]:
    ticks = np.linspace(-0.5, 0.5, 15) * edge
    return centre + np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)


def _farthest(tree: cKDTree, places_px: Float[np.ndarray, "place 2"]) -> float:
    """Return how far the emptiest of some places is from the nearest column: beyond a surface the background falls."""
    return float(np.max(tree.query(places_px)[0]))


def _finite_share(work: Work, box: tuple[int, int, int, int]) -> float:
    y0, y1, x0, x1 = box
    return float(np.mean(np.isfinite(work.image[y0:y1, x0:x1])))


def _members(
    theta: Float[np.ndarray, "column 7"], box: tuple[int, int, int, int], reach: float
) -> Int64[np.ndarray, " member"]:
    """Return the columns whose light reaches into the box."""
    y0, y1, x0, x1 = box
    y, x = theta[:, Y], theta[:, X]
    return np.flatnonzero((y > y0 - reach) & (y < y1 + reach) & (x > x0 - reach) & (x < x1 + reach))
