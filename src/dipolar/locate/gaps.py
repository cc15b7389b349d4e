"""Sites of a lattice that no maximum marks: where they are, and their place among the columns that are there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int32
from scipy.spatial import cKDTree

from dipolar.core.nouns import LINK_STEPS
from dipolar.locate.index import FEWEST_LINKS, NEAR, OPPOSITE, TOLERANCE, Indexed, candidates


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sites:
    """Places where a lattice expects columns."""

    points_px: Float[np.ndarray, "site 2"]
    """Where, (y, x)."""
    index: Int32[np.ndarray, "site 2"]
    """Lattice index."""
    grain: Int32[np.ndarray, " site"]
    """Crystal that `index` counts in."""
    steps_px: Float[np.ndarray, "site 2 2"]
    """The two A-B steps around each."""


def missing_sites(found: Indexed, *, shape: tuple[int, int], margin_px: float, supporters: int = 3) -> Sites:
    """Return where columns are expected by at least `supporters` linked neighbours but no maximum was found.

    A weak B column between four A columns has four supporters; the row beyond a crystal's edge has at most three, and
    what is fitted there must prove itself by its amplitude.
    """
    start, kind = np.nonzero(found.links < 0)
    expected = found.points_px[start] + np.einsum("ls,lsd->ld", LINK_STEPS[kind].astype(float), found.steps_px[start])
    site = np.column_stack([found.grain[start], found.index[start] + LINK_STEPS[kind]])
    key, first, group = np.unique(site, axis=0, return_index=True, return_inverse=True)
    count = np.bincount(group.reshape(-1), minlength=len(key))
    total = [np.bincount(group.reshape(-1), weights=expected[:, k], minlength=len(key)) for k in (0, 1)]
    mean = np.column_stack(total) / np.maximum(count, 1)[:, None]
    keep = np.all((mean >= margin_px) & (mean <= np.array(shape) - 1 - margin_px), axis=1) & (count >= supporters)
    if keep.any():
        reach = 0.5 * np.sqrt(np.mean(np.sum(found.steps_px**2, axis=2)))
        keep[keep] = cKDTree(found.points_px).query(mean[keep])[0] > reach
    return Sites(
        points_px=mean[keep],
        index=key[keep, 1:].astype(np.int32),
        grain=key[keep, 0].astype(np.int32),
        steps_px=found.steps_px[start[first[keep]]],
    )


def add_sites(found: Indexed, sites: Sites) -> Indexed:
    """Return the points with the sites behind them, linked to the neighbours that they lead to and that lack one.

    A site keeps the index that its neighbours gave it; one with fewer than three links is left out.
    """
    old, count = len(found.points_px), len(sites.points_px)
    if not count:
        return replace(found, source=np.arange(old, dtype=np.int32))
    points = np.concatenate([found.points_px, sites.points_px])
    steps = np.concatenate([found.steps_px, sites.steps_px])
    step_px = float(np.sqrt(np.mean(np.sum(steps**2, axis=2))))
    rows = np.arange(old, old + count)
    _, around = cKDTree(points).query(sites.points_px, k=NEAR + 1, distance_upper_bound=2.5 * step_px)
    wanted = candidates(points, steps, rows, around.astype(np.int32), LINK_STEPS, TOLERANCE * step_px)
    links = np.concatenate([found.links, np.full((count, 8), -1, dtype=np.int32)])
    site, kind = np.nonzero(wanted >= 0)
    other, back = wanted[site, kind], OPPOSITE[kind]
    free = np.where(other < old, links[other, back] < 0, wanted[np.maximum(other - old, 0), back] == old + site)
    site, kind, other, back = site[free], kind[free], other[free], back[free]
    links[old + site, kind] = other
    links[other, back] = old + site
    once = links[links[old + site, kind], back] == old + site  # of two sites that want one place, the last has it
    links[old + site[~once], kind[~once]] = -1
    linked = np.concatenate([np.ones(old, dtype=bool), np.count_nonzero(links[old:] >= 0, axis=1) >= FEWEST_LINKS])
    where = np.full(old + count + 1, -1, dtype=np.int32)
    where[:-1][linked] = np.arange(np.count_nonzero(linked), dtype=np.int32)
    return Indexed(
        points_px=points[linked],
        source=np.flatnonzero(linked).astype(np.int32),
        links=where[links[linked]],
        index=np.concatenate([found.index, sites.index])[linked],
        grain=np.concatenate([found.grain, sites.grain])[linked],
        steps_px=steps[linked],
    )


def without(sites: Sites, near_px: Float[np.ndarray, "point 2"], distance_px: float) -> Sites:
    """Return the sites that are not within a distance of any of the given points."""
    if not len(near_px) or not len(sites.points_px):
        return sites
    far = cKDTree(near_px).query(sites.points_px)[0] > distance_px
    return Sites(
        points_px=sites.points_px[far],
        index=sites.index[far],
        grain=sites.grain[far],
        steps_px=sites.steps_px[far],
    )
