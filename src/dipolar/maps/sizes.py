"""Mean displacement, direction and area of domains, with sigma."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32

from dipolar.core.geometry import cell_area_px2
from dipolar.core.nouns import Cells
from dipolar.core.units import angle_deg
from dipolar.maps.islands import links, within
from dipolar.maps.neighbours import DOWN, RIGHT, voters

FEWEST_INSIDE = 6
"""Cells away from the rim of a domain below which all its cells make the mean."""
LEAST_SHARE = 0.3
"""Share of a domain's cells that has to be left for its rim to be left out."""
RIM_CELLS = 2
"""Cells next to a wall that do not count in the mean: the wall reaches into them."""
ANY_DIRECTION_DEG = 180.0 / np.sqrt(3.0)
"""Standard deviation of an angle that may be anything."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Means:
    """Mean displacement per domain."""

    mean_px: Float[np.ndarray, "domain 2"]
    """(dy, dx); nan where no cell of the domain has a vote."""
    covariance_px2: Float[np.ndarray, "domain 2 2"]
    """Its covariance."""
    angle_deg: Float[np.ndarray, " domain"]
    """Its direction."""
    angle_sigma_deg: Float[np.ndarray, " domain"]
    """One standard error of that."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sizes:
    """Cells and area per domain."""

    cells: Int32[np.ndarray, " domain"]
    cells_sigma: Float[np.ndarray, " domain"]
    area_px2: Float[np.ndarray, " domain"]
    area_sigma_px2: Float[np.ndarray, " domain"]
    centre_px: Float[np.ndarray, "domain 2"]


def domain_means(
    cells: Cells,
    around: Int32[np.ndarray, "cell 8"],
    label: Int32[np.ndarray, " cell"],
    count: int,
    *,
    offset_covariance_px2: Float[np.ndarray, "2 2"] | None = None,
) -> Means:
    """Return the mean displacement of each domain from its cells away from walls.

    The standard error is that of the scatter inside the domain, widened by how alike neighbours are: with a correlation
    ρ from cell to cell, N cells are worth N ((1 - ρ)/(1 + ρ))² independent ones in two dimensions. The error of an
    offset that was taken off all cells does not average out: its covariance is added to that of every mean.
    """
    voting = voters(cells)
    used = voting
    inside = np.ones(len(label), dtype=bool)
    for _ in range(RIM_CELLS):
        inside = within(label, around) & np.all((around < 0) | inside[around], axis=1) & inside
        number, kept = (np.bincount(label[some], minlength=count) for some in (voting, voting & inside))
        enough = (kept >= FEWEST_INSIDE) & (kept >= LEAST_SHARE * number)
        used = used & (inside | ~enough[label])
    where = label[used]
    values, own = cells.displacement_px[used], cells.covariance_px2[used]

    def total(numbers: Float[np.ndarray, " used"]) -> Float[np.ndarray, " domain"]:
        return np.bincount(where, weights=numbers, minlength=count)

    def mean_of(weight: Float[np.ndarray, " used"]) -> Float[np.ndarray, "domain 2"]:
        return np.stack([total(weight * values[:, axis]) for axis in (0, 1)], axis=1) / total(weight)[:, None]

    with np.errstate(invalid="ignore", divide="ignore"):
        number = total(np.ones(len(where)))
        noise = np.trace(own, axis1=1, axis2=2) / 2.0
        rough = values - mean_of(np.ones(len(where)))[where]
        natural = np.maximum(total(np.sum(rough**2, axis=1)) / (2.0 * number) - total(noise) / number, 0.0)
        weight = 1.0 / (noise + natural[where])
        mean = mean_of(weight)
        off = values - mean[where]
        scatter, formal = np.empty((count, 2, 2)), np.empty((count, 2, 2))
        for i in (0, 1):
            for j in (0, 1):
                scatter[:, i, j] = total(weight**2 * off[:, i] * off[:, j]) * number / np.maximum(number - 1, 1)
                formal[:, i, j] = total(weight**2 * own[:, i, j])
        narrow = np.trace(scatter, axis1=1, axis2=2) < np.trace(formal, axis1=1, axis2=2)
        covariance = np.where(narrow[:, None, None], formal, scatter) / total(weight)[:, None, None] ** 2
        covariance *= _likeness(around, used, label, off, number)[:, None, None]
        if offset_covariance_px2 is not None:
            covariance += offset_covariance_px2
        length = np.linalg.norm(mean, axis=1)
        across = np.stack([-mean[:, 1], mean[:, 0]], axis=1) / length[:, None]
        sigma = np.degrees(np.sqrt(np.einsum("ni,nij,nj->n", across, covariance, across)) / length)
    return Means(
        mean_px=mean,
        covariance_px2=covariance,
        angle_deg=angle_deg(mean),
        angle_sigma_deg=np.minimum(sigma, ANY_DIRECTION_DEG),
    )


def _likeness(
    around: Int32[np.ndarray, "cell 8"],
    used: np.ndarray,
    label: Int32[np.ndarray, " cell"],
    off: Float[np.ndarray, "used 2"],
    number: Float[np.ndarray, " domain"],
) -> Float[np.ndarray, " domain"]:
    """Return by how much the variance of a mean grows because neighbours are alike, at least 1."""
    place = np.full(len(label), -1, dtype=np.int32)
    place[used] = np.arange(len(off), dtype=np.int32)
    one, two = links(around, (RIGHT, DOWN))
    both = (place[one] >= 0) & (place[two] >= 0) & (label[one] == label[two])
    one, two = one[both], two[both]
    count = len(number)
    shared = np.bincount(label[one], weights=np.sum(off[place[one]] * off[place[two]], axis=1), minlength=count)
    pairs = np.bincount(label[one], minlength=count)
    power = np.bincount(label[used], weights=np.sum(off**2, axis=1), minlength=count)
    ratio = np.clip(np.nan_to_num((shared / pairs) / (power / number)), 0.0, 0.9)
    return np.minimum(((1.0 + ratio) / (1.0 - ratio)) ** 2, np.maximum(number, 1.0))


def domain_sizes(
    cells: Cells,
    around: Int32[np.ndarray, "cell 8"],
    label: Int32[np.ndarray, " cell"],
    probability: Float[np.ndarray, " cell"],
    count: int,
) -> Sizes:
    """Return the number of cells and the area of each domain.

    Two things are uncertain: labels in doubt, p (1 - p) each; and where between two cells the wall runs, evenly spread
    over one cell, the same for all cells along one straight stretch of it.
    """
    area = cell_area_px2(cells)
    number = np.bincount(label, minlength=count)
    total = np.bincount(label, weights=area, minlength=count)
    mean_area = total / np.maximum(number, 1)
    doubt = np.clip(probability * (1.0 - probability), 0.0, 0.25)
    # a cell in doubt is as uncertain for the domain next to it as for its own
    variance = np.bincount(label, weights=doubt, minlength=count)
    for domain, stretch in _stretches(cells, around, label):
        variance += np.bincount(domain, weights=stretch**2 / 12.0, minlength=count)
    measured = np.bincount(label, weights=np.nan_to_num(cells.area_sigma_px2) ** 2, minlength=count)
    centre = np.stack(
        [np.bincount(label, weights=cells.positions_px[:, axis], minlength=count) for axis in (0, 1)], axis=1
    )
    return Sizes(
        cells=number.astype(np.int32),
        cells_sigma=np.sqrt(variance),
        area_px2=total,
        area_sigma_px2=np.sqrt(variance * mean_area**2 + measured),
        centre_px=centre / np.maximum(number, 1)[:, None],
    )


def _stretches(
    cells: Cells, around: Int32[np.ndarray, "cell 8"], label: Int32[np.ndarray, " cell"]
) -> list[tuple[Int32[np.ndarray, " stretch"], Float[np.ndarray, " stretch"]]]:
    """Return, for links along a and along b, straight stretches of walls: whose they are and how many cells long."""
    found = []
    for step, line in ((RIGHT, cells.col), (DOWN, cells.row)):
        one, two = links(around, (step,))
        cross = label[one] != label[two]
        one, two = one[cross], two[cross]
        wall = np.stack([label[one], label[two], line[one], cells.grain[one]], axis=1)
        wall, length = np.unique(wall, axis=0, return_counts=True)
        domain = np.concatenate([wall[:, 0], wall[:, 1]]).astype(np.int32)
        found.append((domain, np.concatenate([length, length]).astype(np.float64)))
    return found
