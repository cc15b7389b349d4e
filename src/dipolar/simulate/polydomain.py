"""Regions of a few variants all over a film, each with its share of the cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int32

from dipolar.core.circular import unit_vectors
from dipolar.core.errors import SettingsError
from dipolar.simulate.patterned import AbstractPattern, Dressing
from dipolar.simulate.random_fields import smooth_field
from dipolar.simulate.variants import FOUR_VARIANTS

NOT_POLAR = 0.5
"""Cells displaced by less than this share of the full length belong to no variant."""
RIM_CELLS = 1.0
"""Columns this near to the rim belong to no complete cell, and shares do not count them."""
ROUNDS = 200
"""Steps by which shares are brought to what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """Variants in regions without preferred shape: whichever of as many smooth random fields is highest."""

    directions_deg: tuple[float, ...] = FOUR_VARIANTS
    """Direction of the displacement of each variant against the a axis, counter-clockwise."""
    shares: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    """Share of each variant of the polar columns; the sum is 1."""
    size_cells: tuple[float, float] = (8.0, 8.0)
    """Correlation length of the regions along (row, column)."""
    wall_cells: float = 1.0
    """Typical width 2δ of the walls."""
    displacement_pm: float = 35.0
    """Length of the displacement inside a domain."""
    scatter_deg: float = 4.0
    """Standard deviation of its direction, column by column."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        fits = len(self.shares) == len(self.directions_deg) and abs(sum(self.shares) - 1.0) < 1e-6
        if not (fits and min(self.shares, default=0.0) > 0):
            raise SettingsError(
                "Regions need a share for each direction, all above 0, with a sum of 1.",
                got=f"directions {self.directions_deg}, shares {self.shares}",
            )
        if min(*self.size_cells, self.wall_cells) <= 0:
            raise SettingsError(
                "Sizes of regions and walls are more than 0.", got=f"{self.size_cells}, {self.wall_cells} cells"
            )


def displaced_by(
    regions: Regions,
    cells: Float[np.ndarray, "column 2"],
    polar: Float[np.ndarray, " column"],
    *,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "column 2"], Int32[np.ndarray, " column"]]:
    """Return the displacement (dy, dx) of each column in pm, and its variant or -1.

    Parameters
    ----------
    regions
        The variants.
    cells
        Where columns stand, in cells.
    polar
        Factor on the displacement of each, 0 to 1.
    rng
        Draws the fields and the scatter.
    """
    length = float(np.sqrt(np.prod(regions.size_cells)))
    fields = smooth_field(
        cells * (length / np.array(regions.size_cells)), length=length, rng=rng, components=len(regions.shares)
    )
    inner = np.abs(cells).max(axis=1) < np.abs(cells).max() - RIM_CELLS
    fields += _bias(fields[inner & (polar > NOT_POLAR)], np.array(regions.shares))
    # two fields part with a slope of about √2 / length: steep enough that their softmax is a tanh of that width
    scaled = (2.83 * length / regions.wall_cells) * (fields - fields.max(axis=1, keepdims=True))
    weight = np.exp(scaled)
    weight /= weight.sum(axis=1, keepdims=True)
    vectors = weight @ unit_vectors(np.array(regions.directions_deg)) * polar[:, None]
    variant = np.where(np.hypot(*vectors.T) < NOT_POLAR, -1, np.argmax(fields, axis=1)).astype(np.int32)
    turn = np.radians(regions.scatter_deg) * rng.standard_normal(len(cells))
    dy, dx = vectors.T
    turned = np.stack([np.cos(turn) * dy - np.sin(turn) * dx, np.sin(turn) * dy + np.cos(turn) * dx], axis=1)
    return regions.displacement_pm * turned, variant


def _bias(
    fields: Float[np.ndarray, "column variant"], shares: Float[np.ndarray, " variant"]
) -> Float[np.ndarray, " variant"]:
    """Return what to add to the fields so that each is the highest of all at its share of the columns."""
    bias = np.zeros(len(shares))
    if not len(fields):
        return bias
    for step in range(ROUNDS):
        found = np.bincount(np.argmax(fields + bias, axis=1), minlength=len(shares)) / len(fields)
        bias += 0.5 * 0.98**step * np.log(shares / np.maximum(found, 1e-3))
    return bias


FOUR_REGIONS = Regions()
"""The four ⟨110⟩ variants in shares of 40, 30, 20 and 10 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polydomain(AbstractPattern):
    """Regions of variants, all of one composition."""

    regions: Regions = FOUR_REGIONS
    """The variants."""

    @property
    def directions_deg(self) -> tuple[float, ...]:
        """Direction of each variant against the a axis."""
        return self.regions.directions_deg

    def dress(
        self, cells: Float[np.ndarray, "column 2"], is_b: Bool[np.ndarray, " column"], *, rng: np.random.Generator
    ) -> Dressing:
        """Return B columns displaced; see `AbstractPattern.dress`."""
        shift, variant = displaced_by(self.regions, cells, is_b.astype(np.float64), rng=rng)
        return Dressing(
            shift_pm=shift, brightness=np.ones(len(cells)), composition=np.ones(len(cells)), variant=variant
        )
