"""Learning the profile that the columns of a sublattice share, on a few patches of the image."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int64
from scipy.spatial import cKDTree

from dipolar.locate.choices import SharedProfileFit
from dipolar.locate.kernels import AMPLITUDE, PXX, PYY, X, Y
from dipolar.locate.patch import PER_COLUMN, PLANE, Reduced, patch_normals, reduce_to_profile
from dipolar.locate.profile import solve_profile
from dipolar.locate.work import Work, spread

MAX_PATCHES = 3
PATCH_STEPS = 9.0
"""Edge of a patch in A-B distances, where that makes no more than `MAX_PATCH_PX` pixels."""
MAX_PATCH_PX = 40_000
ROUNDS = 3


def learn_profile(work: Work) -> None:
    """Replace the profile by the one that fits some patches of the crystal best.

    Amplitudes, positions and shapes in the patches go along; some rounds make this a joint fit. The columns outside
    only take over the width that the new profile's core has.
    """
    assert isinstance(work.choice, SharedProfileFit)
    width = max(work.width(0), work.width(1))
    relative = np.array([w for w in work.choice.component_widths if w <= max(1.0, 0.55 * work.step_px / width)])
    reach = min(4.0 * float(relative.max()) * width, 2.5 * work.step_px)
    patches = [(box, _members(work, box, reach)) for box in _patches(work, reach)]
    theta, kind = work.theta.copy(), work.kind
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(len(patches)) as pool:
            jobs = [pool.submit(_patch, work, theta, relative, box, rows, reach) for box, rows in patches]
            reduced = [job.result() for job in jobs]
        profile, factors, weights = solve_profile(
            np.sum([r.matrix for r in reduced], axis=0), np.sum([r.vector for r in reduced], axis=0), relative,
            work.profile,
        )  # fmt: skip
        for (_, rows), one in zip(patches, reduced, strict=True):
            _move(theta, rows, one.changes(weights), weights.reshape(2, -1).sum(axis=1)[kind[rows]])
        work.profile = profile
        theta[:, PYY:] /= factors[kind][:, None] ** 2
        work.theta[:, PYY:] /= factors[kind][:, None] ** 2
        work.priors = work.priors / factors[:, None] ** 2
        work.strengths = work.strengths * factors**4


def _patch(
    work: Work,
    theta: Float[np.ndarray, "column 7"],
    relative: Float[np.ndarray, " component"],
    box: tuple[int, int, int, int],
    rows: Int64[np.ndarray, " member"],
    reach: float,
) -> Reduced:
    size = 2 * len(relative)
    unknowns = size + PLANE + PER_COLUMN * len(rows)
    matrix, vector = np.zeros((unknowns, unknowns)), np.zeros(unknowns)
    near = 4.0 * max(work.width(0), work.width(1))
    patch_normals(
        work.image, theta, work.kind, *work.tables(), relative, rows, box, reach, near, work.variance.as_tuple(),
        matrix, vector,
    )  # fmt: skip
    return reduce_to_profile(matrix, vector, theta[rows], size)


def _move(
    theta: Float[np.ndarray, "column 7"],
    rows: Int64[np.ndarray, " member"],
    change: Float[np.ndarray, "member 6"],
    scale: Float[np.ndarray, " member"],
) -> None:
    """Apply the changes of a patch's columns, held to what a linear step may claim (in place)."""
    amplitude = theta[rows, AMPLITUDE]
    theta[rows, AMPLITUDE] = amplitude * np.where(scale > 0.3, scale, 1.0)
    theta[rows, AMPLITUDE] += np.clip(change[:, 0], -0.2 * np.abs(amplitude), 0.2 * np.abs(amplitude))
    width = (0.5 * (theta[rows, PYY] + theta[rows, PXX])) ** -0.5
    theta[rows, :2] += np.clip(change[:, 1:3], -0.15 * width[:, None], 0.15 * width[:, None])
    limit = 0.15 * width[:, None] ** -2
    theta[rows, PYY:] += np.clip(change[:, 3:], -limit, limit)


def _patches(work: Work, reach: float) -> list[tuple[int, int, int, int]]:
    """Return up to `MAX_PATCHES` boxes (y0, y1, x0, x1) full of good columns, spread over the image.

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
    counts = np.array([len(n) for n in cKDTree(work.theta[good, :2]).query_ball_point(centres, 0.5 * edge, p=np.inf)])
    full = spread(np.flatnonzero(counts >= 0.95 * counts.max()), MAX_PATCHES)
    corners = np.clip(np.rint(centres[full] - 0.5 * edge), 0, shape - edge).astype(int)
    return [(int(y), int(y) + edge, int(x), int(x) + edge) for y, x in corners]


def _members(work: Work, box: tuple[int, int, int, int], reach: float) -> Int64[np.ndarray, " member"]:
    """Return the columns whose light reaches into the box, sorted by y."""
    y0, y1, x0, x1 = box
    y, x = work.theta[:, Y], work.theta[:, X]
    rows = np.flatnonzero((y > y0 - reach) & (y < y1 + reach) & (x > x0 - reach) & (x < x1 + reach))
    return rows[np.argsort(y[rows])]
