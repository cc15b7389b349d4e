"""Cells → domains: connected regions in which the displacement points alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int32
from scipy.stats import chi2

from dipolar.core.domains import Domains
from dipolar.core.geometry import cell_edge_px
from dipolar.core.nouns import Cells
from dipolar.maps.choices import AbstractDirections, FoundDirections, States
from dipolar.maps.islands import connected, without_islands, without_seams
from dipolar.maps.mixture import component_log_density
from dipolar.maps.neighbours import Planes, local_planes, neighbours, voters
from dipolar.maps.sizes import Means, domain_means, domain_sizes
from dipolar.maps.smooth import agreed

COUPLING = 0.7
"""What the agreement of one neighbour is worth: a lone cell among eight others needs odds of e^4.8, about 3 sigma."""
FEWEST_FLAT = 30
"""Cells away from walls below which all cells tell where the displacement rests."""


def find_domains(
    cells: Cells,
    *,
    directions: AbstractDirections | None = None,
    coupling: float = COUPLING,
    least_cells: int = 4,
    offset_covariance_px2: Float[np.ndarray, "2 2"] | None = None,
) -> Domains:
    """Return the domains of a table of cells, with mean displacement, direction and area, each with sigma.

    First, where the displacement rests: a mixture of normal distributions under every cell's own covariance, learned
    from cells away from walls. Then the most probable state of every cell, given its displacement and its neighbours on
    the lattice (a Potts model). Connected cells of one state are a domain; islands that the displacements hardly
    support join what surrounds them, and so do seams along walls that are taken for a state halfway between.

    Flagged cells have no vote: they get the label of their surroundings and count in the area, not in the mean.

    Parameters
    ----------
    cells
        Measured cells. An offset common to all of them, if it was not taken off, is part of the displacement: it turns
        directions and lets a crystal without polarization look polar.
    directions
        `FoundDirections` (the default) or `GivenDirections`.
    coupling
        What the agreement of one of the nearest neighbours is worth, in units of log-likelihood.
    least_cells
        Fewest cells of a domain.
    offset_covariance_px2
        Covariance of the offset (dy, dx) that was taken off all cells, where one was: it is part of every mean's.
    """
    directions = FoundDirections() if directions is None else directions
    voting = voters(cells)
    if not voting.any():
        return _nothing(cells)
    around = neighbours(cells)
    planes = local_planes(cells, around)
    states = directions.states(cells, _flat(planes, voting), planes)
    evidence = _evidence(states, cells, voting)
    chance = agreed(evidence, around, coupling=coupling)
    state = np.argmax(chance, axis=1).astype(np.int32)
    means, spread = _moments(states)
    state = without_seams(state, evidence, around, means, cells.displacement_px)
    state = without_islands(state, evidence, around, least_cells=least_cells)
    label = _by_size(connected(state, around))
    found = domain_means(cells, around, label, int(label.max()) + 1, offset_covariance_px2=offset_covariance_px2)
    return _described(cells, around, label, state, chance, found, (means, spread), directions.floor)


def _flat(planes: Planes, voting: Bool[np.ndarray, " cell"]) -> Bool[np.ndarray, " cell"]:
    """Return the voting cells around which the displacement does not change; all of them where hardly one is flat."""
    known = np.isfinite(planes.slope).all(axis=(1, 2))
    slope = planes.slope.reshape(-1, 4)
    changed = np.full(len(voting), np.nan)
    changed[known] = np.einsum(
        "ni,nij,nj->n", slope[known], np.linalg.pinv(planes.slope_covariance[known], hermitian=True), slope[known]
    )
    if known.any():  # crystals vary by more than noise: what is usual in this one is flat
        changed /= max(1.0, float(np.nanmedian(changed)) / chi2.ppf(0.5, 4))
    flat = voting & (np.nan_to_num(changed, nan=np.inf) < chi2.ppf(0.95, 4))
    return flat if flat.sum() >= max(FEWEST_FLAT, 0.1 * voting.sum()) else voting


def _evidence(states: States, cells: Cells, voting: Bool[np.ndarray, " cell"]) -> Float[np.ndarray, "cell state"]:
    """Return the log-likelihood of each state; zeros without a vote. Shares of the states do not enter: areas do not
    decide what a cell is."""
    inside, outside = component_log_density(states.mixture, cells.displacement_px[voting], cells.covariance_px2[voting])
    evidence = np.zeros((len(voting), int(states.group.max()) + 1))
    for state in range(evidence.shape[1]):
        mine = states.group == state
        share = np.log(np.maximum(states.mixture.weight[mine].sum(), 1e-300))
        evidence[voting, state] = np.logaddexp(np.logaddexp.reduce(inside[:, mine], axis=1) - share, outside)
    return evidence


def _moments(states: States) -> tuple[Float[np.ndarray, "state 2"], Float[np.ndarray, " state"]]:
    """Return mean and spread per component of every state."""
    mixture, count = states.mixture, int(states.group.max()) + 1
    mean, spread = np.zeros((count, 2)), np.zeros(count)
    for state in range(count):
        mine = states.group == state
        share = np.maximum(mixture.weight[mine], 1e-300)
        share = share / share.sum()
        mean[state] = share @ mixture.mean_px[mine]
        off = mixture.mean_px[mine] - mean[state]
        variance = share @ (np.trace(mixture.spread_px2[mine], axis1=1, axis2=2) + np.sum(off**2, axis=1))
        spread[state] = np.sqrt(variance / 2.0)
    return mean, spread


def _by_size(label: Int32[np.ndarray, " cell"]) -> Int32[np.ndarray, " cell"]:
    """Return labels that count from the largest domain down."""
    order = np.argsort(-np.bincount(label), kind="stable")
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[label]


def _described(
    cells: Cells,
    around: Int32[np.ndarray, "cell 8"],
    label: Int32[np.ndarray, " cell"],
    state: Int32[np.ndarray, " cell"],
    chance: Float[np.ndarray, "cell state"],
    means: Means,
    moments: tuple[Float[np.ndarray, "state 2"], Float[np.ndarray, " state"]],
    floor: float,
) -> Domains:
    count = int(label.max()) + 1
    probability = chance[np.arange(len(label)), state]
    sizes = domain_sizes(cells, around, label, probability, count)
    length = np.linalg.norm(means.mean_px, axis=1)
    along = means.mean_px / np.maximum(length, 1e-300)[:, None]
    sigma = np.sqrt(np.einsum("ni,nij,nj->n", along, means.covariance_px2, along))
    return Domains(
        label=label,
        probability=probability,
        state=state[np.unique(label, return_index=True)[1]],
        polar=(length > floor * cell_edge_px(cells)) & (length > 2.0 * sigma),
        mean_px=means.mean_px,
        mean_covariance_px2=means.covariance_px2,
        angle_deg=means.angle_deg,
        angle_sigma_deg=means.angle_sigma_deg,
        cells=sizes.cells,
        cells_sigma=sizes.cells_sigma,
        area_px2=sizes.area_px2,
        area_sigma_px2=sizes.area_sigma_px2,
        centre_px=sizes.centre_px,
        state_px=moments[0],
        state_spread_px=moments[1],
        pixel_size_pm=cells.pixel_size_pm,
    )


def _nothing(cells: Cells) -> Domains:
    """Return no domain."""
    none, pairs = np.zeros(0), np.zeros((0, 2))
    return Domains(
        label=np.full(len(cells.flags), -1, dtype=np.int32),
        probability=np.full(len(cells.flags), np.nan),
        state=np.zeros(0, dtype=np.int32),
        polar=np.zeros(0, dtype=bool),
        mean_px=pairs,
        mean_covariance_px2=np.zeros((0, 2, 2)),
        angle_deg=none,
        angle_sigma_deg=none,
        cells=np.zeros(0, dtype=np.int32),
        cells_sigma=none,
        area_px2=none,
        area_sigma_px2=none,
        centre_px=pairs,
        state_px=pairs,
        state_spread_px=none,
        pixel_size_pm=cells.pixel_size_pm,
    )
