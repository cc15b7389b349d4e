"""Conventional maps: virtual detectors, the centre of mass, and what differs between opposite disks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from dipolar.core.errors import SettingsError
from dipolar.core.scanning import Bank, View
from dipolar.measure.bank_kernels import Rings, measure_patterns
from dipolar.measure.bank_plan import factor_of, grid_of, rings_of
from dipolar.measure.passes import Wanted, inputs, no_sites, outputs

MASS = "centre of mass"


@dataclass(frozen=True, slots=True)
class Annulus:
    """A virtual detector: counts between two circles."""

    inner_px: float
    """Radius of the inner circle; 0 for none."""
    outer_px: float
    """Radius of the outer one."""
    offset_px: tuple[float, float] = (0.0, 0.0)
    """(k_y, k_x) of their middle, from the direct beam."""

    def __post_init__(self) -> None:
        """Refuse a ring that holds nothing."""
        if not 0 <= self.inner_px < self.outer_px:
            raise SettingsError(
                "A virtual detector reaches from its inner to its outer radius.",
                got=f"{self.inner_px:g} to {self.outer_px:g} px",
            )


@dataclass(frozen=True, slots=True)
class VirtualImages:
    """Virtual detectors by name, and the centre of mass."""

    detectors: tuple[tuple[str, Annulus], ...]
    """Name and place of each."""
    mass_radius_px: float = 0.0
    """Counts up to there from the beam give the centre of mass; 0: not wanted."""

    def rings(self, factor: int) -> Rings:
        """Return what the compiled pass needs to know."""
        rows = [(each.inner_px, each.outer_px, *each.offset_px) for _, each in self.detectors]
        moment = len(rows) if self.mass_radius_px > 0 else -1
        if moment >= 0:
            rows.append((0.0, self.mass_radius_px, 0.0, 0.0))
        return rings_of(tuple(rows), moment, factor)

    def named(
        self, sums: Float32[np.ndarray, "pattern image"], mass: Float32[np.ndarray, "pattern 2"]
    ) -> dict[str, Float32[np.ndarray, " pattern"]]:
        """Return what was summed by name."""
        made = {name: sums[:, number].copy() for number, (name, _) in enumerate(self.detectors)}
        if self.mass_radius_px > 0:
            made |= {f"{MASS} y": mass[:, 0].copy(), f"{MASS} x": mass[:, 1].copy()}
        return made


def usual_images(view: View) -> VirtualImages:
    """Return the images that are usually looked at: bright field, annular dark field and centre of mass.

    Bright field is the direct disk, dark field all around it up to the largest circle on the detector, which the centre
    of mass is of as well.
    """
    height, width = view.defective.shape
    y, x = view.centre_px
    far = max(min(y, x, height - 1 - y, width - 1 - x) - view.reach_px, 2.0 * view.radius_px)
    near = 1.1 * view.radius_px + 1.0
    return VirtualImages(
        (("bright field", Annulus(0.0, near)), ("annular dark field", Annulus(near, max(far, near + 1.0)))), far
    )


def virtual_images(
    patterns: Shaped[np.ndarray, "pattern k_y k_x"],
    centres: Float32[np.ndarray, "pattern 2"],
    view: View,
    images: VirtualImages,
) -> dict[str, Float32[np.ndarray, " pattern"]]:
    """Return counts in each detector, and the centre of mass in px from the direct beam, both by name.

    Detectors move with the beam, and pixels at their left and right rims count by the share that lies inside, so that
    descan is in neither. A pixel that does not count is as the one opposite the beam.

    Parameters
    ----------
    patterns
        Some patterns of the scan.
    centres
        Their direct beams (k_y, k_x).
    view
        How they are looked at.
    images
        Which are wanted.
    """
    factor = factor_of(view)
    wanted = Wanted(rings=images.rings(factor))
    filled = outputs(len(patterns), wanted)
    plain, words, bits = inputs(patterns, view, factor)
    measure_patterns(plain, words, bits, centres, grid_of(view, factor), no_sites(), wanted.rings, 1, filled)
    return images.named(filled.images, filled.mass)


def friedel(
    counts: Float32[np.ndarray, "pattern site"], sigma: Float32[np.ndarray, "pattern site"], bank: Bank
) -> tuple[Float32[np.ndarray, " pattern"], Float32[np.ndarray, " pattern"]]:
    """Return how much opposite main disks differ, and one standard error.

    ``Σ ±(I(g) - I(-g)) / Σ (I(g) + I(-g))`` over all pairs, with plus where the first index of g is positive (or 0 and
    the second is). A crystal that is centrosymmetric, thick or not, has 0 where it is not bent; pairs with a dead disk
    are left out.

    Parameters
    ----------
    counts, sigma
        From `dipolar.measure.bank.counted`.
    bank
        Whose they are.
    """
    plus, minus = _pairs(bank)
    one, other = counts[:, plus].astype(np.float64), counts[:, minus].astype(np.float64)
    known = np.isfinite(one) & np.isfinite(other)
    difference = np.where(known, one - other, 0.0).sum(axis=1)
    total = np.where(known, one + other, 0.0).sum(axis=1)
    variance = np.where(known, sigma[:, plus].astype(np.float64) ** 2 + sigma[:, minus] ** 2, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(total > 0, total, np.nan)
        share = difference / total
        return share.astype(np.float32), (np.sqrt(variance * (1.0 + share**2)) / total).astype(np.float32)


@lru_cache(maxsize=8)
def _pairs(bank: Bank) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]:
    """Return the rows of main disks, and of those opposite."""
    row = {(int(h), int(k)): n for n, (h, k) in enumerate(bank.sites) if bank.main[n]}
    first = [(h, k) for h, k in row if (h > 0 or (h == 0 and k > 0)) and (-h, -k) in row]
    plus = np.array([row[each] for each in first], dtype=np.int64)
    return plus, np.array([row[-h, -k] for h, k in first], dtype=np.int64)
