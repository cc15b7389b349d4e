"""A bank of virtual detectors on the reciprocal lattice and half way between: counts, ratios and order parameters."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int64, Shaped

from dipolar.core.errors import ScanError
from dipolar.core.scanning import Bank, View
from dipolar.measure.bank_kernels import measure_patterns
from dipolar.measure.bank_lattice import lattice_in_disks
from dipolar.measure.bank_plan import apertures_of, factor_of, grid_of
from dipolar.measure.bank_rules import AbstractRule, Parity
from dipolar.measure.passes import Wanted, inputs, outputs

MOST_SITES = 577
"""Sites of a bank at most: with those of the published scan, whose outermost disks hold few electrons."""


def bank_for(view: View, rule: AbstractRule | None = None, *, radius: float = 0.9, most: int = MOST_SITES) -> Bank:
    """Return virtual detectors at all positions of the lattice and between, as far as they lie on the detector.

    Parameters
    ----------
    view
        How the patterns are looked at.
    rule
        Which positions are main disks and where ghosts can be; None: by parity.
    radius
        Of a detector over that of a disk. The blurred edges of bright disks reach over 1.
    most
        Number of sites at most, the nearest to the beam first.

    Raises
    ------
    ScanError
        No lattice was found.
    """
    if not np.isfinite(view.lattice_px).all():
        raise ScanError(
            "A bank of virtual detectors stands on the reciprocal lattice.",
            got="no lattice of disks in the mean pattern",
            do="use a classifier that needs none: --classifier small",
        )
    half = view.lattice_px / 2.0
    height, width = view.defective.shape
    reach = int(np.ceil(np.hypot(height, width) * np.linalg.norm(np.linalg.inv(half), 2)))
    reach = min(reach, 126)
    steps = np.arange(-reach, reach + 1)
    index = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int64)
    place = index @ half
    edge = radius * view.radius_px + 0.5 * view.reach_px
    # Each site has its Friedel partner: what fits on one side only is left out.
    room = np.minimum(np.array(view.centre_px), np.array([height - 1, width - 1]) - np.array(view.centre_px)) - edge
    index, place = index[(np.abs(place) <= room).all(axis=1)], place[(np.abs(place) <= room).all(axis=1)]
    distance = np.rint(np.linalg.norm(place, axis=1) / (0.02 * np.linalg.norm(half, axis=1).min()))
    order = np.lexsort((index[:, 1], index[:, 0], distance))
    kept = order[distance[order] <= distance[order[:most]][-1]] if len(order) > most else order
    if len(kept) > most:
        kept = order[distance[order] < distance[kept[-1]]]
    index = index[kept]
    main, ghost = (rule or Parity())(index, view)
    sites = index[main | ghost].astype(np.int8)
    plain = Bank(sites=sites, main=main[main | ghost], radius=radius)
    weight = _weights_in_mean(view, plain)
    return Bank(sites=sites, main=plain.main, radius=radius, weight=weight, lattice=lattice_in_disks(view))


def _weights_in_mean(view: View, bank: Bank) -> Float32[np.ndarray, " site"]:
    """Return the mean intensity of each site over its variance, from the mean pattern; 0 where nothing is seen."""
    net, sigma = counted(view.mean[None], np.array([view.centre_px], dtype=np.float32), _of_mean(view), bank)
    signal, noise = np.nan_to_num(net[0], nan=0.0), np.nan_to_num(sigma[0], nan=np.inf)
    # The mean of some hundred patterns has a tenth of their noise.
    seen = np.where(signal > 0.1 * noise, signal, 0.0)
    weight = np.where(bank.main, 0.0, seen / np.maximum(noise, 1e-9) ** 2)
    ghosts = ~bank.main
    if ghosts.any() and not weight.any():
        weight[ghosts] = 1.0
    return (weight / max(float(weight.max()), 1e-30)).astype(np.float32)


def _of_mean(view: View) -> View:
    """Return the view of the mean pattern itself, whose dead pixels others have filled."""
    import dataclasses

    import scipy.ndimage as ndi

    empty = ndi.binary_opening(view.mean == 0, np.ones((3, 3)))
    return dataclasses.replace(view, defective=empty, reach_px=0.0)


def counted(
    patterns: Shaped[np.ndarray, "pattern k_y k_x"],
    centres: Float32[np.ndarray, "pattern 2"],
    view: View,
    bank: Bank,
) -> tuple[Float32[np.ndarray, "pattern site"], Float32[np.ndarray, "pattern site"]]:
    """Return mean counts per px in each virtual detector above its surroundings, and one standard error.

    What lies under a disk is the mean of the holes between the sites around it, so that an even slope does not count.
    Dead pixels are left out; a detector that is dead for the most part is nan. The standard error is that of counted
    electrons.

    Parameters
    ----------
    patterns
        Some patterns of the scan.
    centres
        Their direct beams (k_y, k_x).
    view, bank
        How they are looked at.
    """
    factor = factor_of(view)
    grid, wanted = grid_of(view, factor), Wanted(sites=len(bank.sites))
    filled = outputs(len(patterns), wanted)
    plain, words, bits = inputs(patterns, view, factor)
    sites = apertures_of(view, bank, factor)
    measure_patterns(plain, words, bits, centres, grid, sites, wanted.rings, wanted.block, filled)
    return filled.net, filled.sigma


def bank_counts(
    patterns: Shaped[np.ndarray, "pattern k_y k_x"],
    centres: Float32[np.ndarray, "pattern 2"],
    view: View,
    bank: Bank,
) -> Float32[np.ndarray, "pattern site"]:
    """Return mean counts per px in each virtual detector above its surroundings; see `counted`."""
    return counted(patterns, centres, view, bank)[0]


def kinds_of(bank: Bank) -> Int64[np.ndarray, " site"]:
    """Return what each site is: 0 horizontal (half way along the first lattice vector), 1 vertical, 2 both; -1 main."""
    odd = bank.sites % 2 != 0
    kind: Int64[np.ndarray, " site"] = np.where(odd[:, 0] & odd[:, 1], 2, np.where(odd[:, 1], 1, 0)).astype(np.int64)
    return np.where(bank.main, -1, kind)


class _Plan(NamedTuple):
    """Where the sites of a bank are in rows of counts."""

    main: Int64[np.ndarray, " main"]
    """Main disks without the direct beam."""
    ghosts: Int64[np.ndarray, " ghost"]
    """Ghosts."""
    partner: Int64[np.ndarray, " site"]
    """The Friedel partner of each site; itself where the bank has none."""
    sums: Float32[np.ndarray, "ghost kind"]
    """Weights of the ghosts in the sum over each kind that the bank has; they add up to 1."""


@lru_cache(maxsize=8)
def _plan(bank: Bank) -> _Plan:
    """Return it; kept, since every block of a scan asks for it."""
    row = {(int(h), int(k)): n for n, (h, k) in enumerate(bank.sites)}
    partner = np.array([row.get((-int(h), -int(k)), n) for n, (h, k) in enumerate(bank.sites)], dtype=np.int64)
    ghosts = np.flatnonzero(~bank.main).astype(np.int64)
    given = np.ones(len(bank.sites)) if bank.weight is None else bank.weight.astype(np.float64)
    of_kind = (kinds_of(bank)[ghosts, None] == np.arange(3)) * given[ghosts, None]
    of_kind = of_kind[:, of_kind.sum(axis=0) > 0]
    return _Plan(
        main=np.flatnonzero(bank.main & (bank.sites != 0).any(axis=1)).astype(np.int64),
        ghosts=ghosts,
        partner=partner,
        sums=(of_kind / of_kind.sum(axis=0)).astype(np.float32),
    )


def main_level(counts: Float32[np.ndarray, "pattern site"], bank: Bank) -> Float[np.ndarray, " pattern"]:
    """Return the mean of main disks without the direct beam; nan where it is not positive."""
    main = counts[:, _plan(bank).main]
    known = np.isfinite(main)
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.sum(main, axis=1, dtype=np.float64, where=known) / known.sum(axis=1)
    return np.where(level > 0, level, np.nan)


def in_pairs(counts: Float32[np.ndarray, "pattern site"], bank: Bank) -> Float32[np.ndarray, "pattern site"]:
    """Return counts in which what is unknown of a site is that of its Friedel partner, or else nothing."""
    known = np.isfinite(counts)
    if known.all():
        return counts
    return np.where(known, counts, np.nan_to_num(counts[:, _plan(bank).partner], nan=0.0))


def ratios(counts: Float32[np.ndarray, "pattern site"], bank: Bank) -> Float32[np.ndarray, "pattern feature"]:
    """Return ghosts over main disks, both above their surroundings: the same at any dose.

    First the sums over ghosts of each kind (horizontal, vertical, both; those that the bank has), each site by its
    weight, then every ghost by itself. A dead site is as its Friedel partner. The row of a pattern without main disks
    is nan.

    Parameters
    ----------
    counts
        From `bank_counts`.
    bank
        Whose they are.
    """
    plan, level = _plan(bank), main_level(counts, bank).astype(np.float32)
    single = in_pairs(counts, bank)[:, plan.ghosts] / level[:, None]
    return np.concatenate([single @ plan.sums, single], axis=1)


def ratio_sigma(
    counts: Float32[np.ndarray, "pattern site"], sigma: Float32[np.ndarray, "pattern site"], bank: Bank
) -> Float32[np.ndarray, "pattern feature"]:
    """Return one standard error of `ratios` of the same counts; that of the main disks' mean is far smaller."""
    plan, level = _plan(bank), main_level(counts, bank).astype(np.float32)
    single = in_pairs(sigma, bank)[:, plan.ghosts] / level[:, None]
    return np.concatenate([np.sqrt(single**2 @ plan.sums**2), np.abs(single)], axis=1)
