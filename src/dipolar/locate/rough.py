"""From maxima to credible columns: gaps of the lattice filled, everything fitted roughly, what is no column dropped."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial import cKDTree

from dipolar.core.nouns import Basis
from dipolar.locate.choices import AbstractFit
from dipolar.locate.contrast import Slope
from dipolar.locate.fit import first_fit
from dipolar.locate.gaps import Sites, add_sites, missing_sites, without
from dipolar.locate.index import Indexed, restrict
from dipolar.locate.learn import learn_surroundings
from dipolar.locate.light import AMPLITUDE, BACKGROUND, PXX, PYX, PYY
from dipolar.locate.sublattice import assign_sublattices
from dipolar.locate.work import Work, examine, find_neighbours, one_pass, select, start_work

KEEP = 3.0
"""A column found as a maximum stays from this many standard errors of its amplitude on."""
KEEP_PREDICTED = 5.0
"""One that only its neighbours predict needs more: a fit always finds some bump."""
KEEP_SURROUNDED = 2.0
"""With nearly all of its eight neighbours there, a column is expected, and faint light is enough."""
SURROUNDED = 6
SURE = 25.0
"""From this many times the counting noise under its peak on, a column needs no closer look."""
LEAST_SEEN = 0.4
"""Least share of the window inside the image: a column centred on the rim shows half of itself."""
FEW_SITES = 5e-4
"""New sites, as a share of the columns, that are not worth another round: some corners of a large image."""
CLOSEST = 0.45
"""Two columns cannot be closer than this, in A-B distances."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draft:
    """Columns on their lattice, roughly fitted. All tables have the same rows."""

    found: Indexed
    """Links, index and where each column was expected."""
    predicted: Bool[np.ndarray, " column"]
    """Whether only the neighbours told of the column."""
    work: Work
    """The state of the fit."""


def first_columns(
    data: Float32[np.ndarray, "y x"],
    blurred: Float32[np.ndarray, "y x"],
    found: Indexed,
    *,
    step_px: float,
    choice: AbstractFit,
    bright: Basis,
    slope: Slope = "rising",
) -> Draft:
    """Return credible columns. Gaps are filled twice: a weak column found first may hold the next one up.

    Parameters
    ----------
    data
        The image, nan where invalid.
    blurred
        The image blurred at the scale of a column.
    found
        Intensity maxima on their lattice.
    step_px
        Mean A-B distance.
    choice, bright
        As in `locate_columns`.
    slope
        Which slope the variance line may have.
    """
    sites = missing_sites(found, shape=data.shape, margin_px=1.0)
    every = add_sites(found, sites)
    predicted = every.source >= len(found.points_px)
    heights = _heights(blurred, every.points_px)
    kind, _ = assign_sublattices(every.index, every.grain, every.links, heights, bright=bright)
    work = start_work(data, blurred, every.points_px, kind, step_px=step_px, choice=choice)
    work.slope = slope
    first_fit(work)
    draft = _prune(Draft(found=every, predicted=predicted, work=work), np.ones(len(kind), dtype=bool))
    more = missing_sites(draft.found, shape=data.shape, margin_px=1.0)
    more = without(more, sites.points_px, 0.3 * step_px)
    if len(more.points_px) > FEW_SITES * len(draft.predicted):
        draft = _extend(draft, blurred, more, bright)
    kind, _ = assign_sublattices(
        draft.found.index, draft.found.grain, draft.found.links, draft.work.theta[:, AMPLITUDE], bright=bright
    )
    draft.work.kind = kind
    return draft


def _heights(
    blurred: Float32[np.ndarray, "y x"], points_px: Float[np.ndarray, "point 2"]
) -> Float[np.ndarray, " point"]:
    """Return the intensity above the darkest parts of the image, for a first guess at which columns are brighter."""
    at = np.clip(np.rint(points_px).astype(int), 0, np.array(blurred.shape) - 1)
    values = blurred[at[:, 0], at[:, 1]].astype(np.float64)
    return values - float(np.percentile(blurred[::4, ::4], 1))


def _prune(draft: Draft, suspects: Bool[np.ndarray, " column"]) -> Draft:
    """Drop suspects that are no columns; the others keep links and index."""
    keep = _credible(draft, suspects)
    work = select(draft.work, keep)
    return Draft(found=restrict(draft.found, keep, work.theta[:, :2]), predicted=draft.predicted[keep], work=work)


def _extend(draft: Draft, blurred: Float32[np.ndarray, "y x"], sites: Sites, bright: Basis) -> Draft:
    """Add sites, fit them with everything else held, and keep those that are columns."""
    old, found = draft.work, draft.found
    every = add_sites(found, sites)
    new = every.source >= len(found.points_px)
    amplitude = np.concatenate([old.theta[:, AMPLITUDE], np.zeros(len(sites.points_px))])[every.source]
    kind, _ = assign_sublattices(every.index, every.grain, every.links, amplitude, bright=bright)
    work = start_work(old.image, blurred, every.points_px, kind, step_px=old.step_px, choice=old.choice)
    work = replace(
        work,
        shapes=old.typical[kind],
        typical=old.typical,
        strengths=old.strengths,
        firmness=old.firmness,
        variance=old.variance,
        slope=old.slope,
        factors=old.factors,
        ground=work.valley.copy(),
    )
    work.theta[new, PYY:] = old.typical[kind[new]]
    work.theta[~new] = old.theta[every.source[~new]]
    work.converged[~new] = old.converged[every.source[~new]]
    for _ in range(2):
        find_neighbours(work)
        one_pass(work, 3, active=new)
    learn_surroundings(work, loose=False)
    predicted = np.concatenate([draft.predicted, np.ones(len(sites.points_px), dtype=bool)])[every.source]
    return _prune(Draft(found=every, predicted=predicted, work=work), new)


def _credible(draft: Draft, suspects: Bool[np.ndarray, " column"]) -> Bool[np.ndarray, " column"]:
    """Return which fits are columns: bright enough for how they were found, where expected, and only once."""
    work, predicted = draft.work, draft.predicted
    amplitude, place = work.theta[:, AMPLITUDE], work.theta[:, :2]
    limit = np.array(work.image.shape) - 0.5
    keep = _on_valid_pixels(work)
    keep &= np.linalg.norm(place - draft.found.points_px, axis=1) < 0.3 * work.step_px
    rim = np.any((place < work.radius.max()) | (place > limit - work.radius.max()), axis=1)
    doubtful = np.flatnonzero(suspects & keep & (rim | predicted | ~_sure(work)))
    looked = examine(work, doubtful)
    sigma = np.sqrt(np.maximum(looked.covariance[:, AMPLITUDE, AMPLITUDE], 0.0))
    around = np.count_nonzero(draft.found.links[doubtful] >= 0, axis=1)
    factor = np.where(predicted[doubtful], KEEP_PREDICTED, KEEP)
    needed = np.where(around >= SURROUNDED, KEEP_SURROUNDED, factor) * np.nan_to_num(sigma, nan=np.inf)
    seen = looked.pixels > LEAST_SEEN * (looked.pixels + looked.lost)
    keep[doubtful] &= (amplitude[doubtful] > needed) & seen
    return _once(draft, keep)


def settled(draft: Draft) -> Draft:
    """Drop columns that the final fit moved off the image, off its valid pixels or onto another column."""
    keep = _once(draft, _on_valid_pixels(draft.work))
    if keep.all():
        return draft
    work = select(draft.work, keep)
    return Draft(found=restrict(draft.found, keep, work.theta[:, :2]), predicted=draft.predicted[keep], work=work)


def _on_valid_pixels(work: Work) -> Bool[np.ndarray, " column"]:
    """Return which centres lie on a measured pixel."""
    at = np.rint(work.theta[:, :2])
    inside = np.all((at >= 0) & (at < work.image.shape), axis=1)
    pixels = np.where(inside[:, None], at, 0).astype(int)
    return inside & np.isfinite(work.image[pixels[:, 0], pixels[:, 1]])


def _once(draft: Draft, keep: Bool[np.ndarray, " column"]) -> Bool[np.ndarray, " column"]:
    """Of two columns too close to be two, keep the one found as a maximum, or else the brighter one."""
    keep, rows = keep.copy(), np.flatnonzero(keep)
    amplitude = draft.work.theta[:, AMPLITUDE]
    for one, other in cKDTree(draft.work.theta[rows, :2]).query_pairs(CLOSEST * draft.work.step_px):
        worse = max(rows[one], rows[other], key=lambda k: (bool(draft.predicted[k]), -amplitude[k]))
        keep[worse] = False
    return keep


def _sure(work: Work) -> Bool[np.ndarray, " column"]:
    """Return which columns stand far above what counting noise could heap up within their width."""
    theta = work.theta
    variance = work.variance.floor + work.variance.gain * (theta[:, BACKGROUND] + np.abs(theta[:, AMPLITUDE]))
    determinant = np.maximum(theta[:, PYY] * theta[:, PXX] - theta[:, PYX] ** 2, 1e-12)
    noise = np.sqrt(np.maximum(variance, work.variance.least) * np.sqrt(determinant) / np.pi)
    return theta[:, AMPLITUDE] > SURE * noise
