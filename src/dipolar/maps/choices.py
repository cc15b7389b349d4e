"""How directions are chosen: found in the displacements themselves, or given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int32

from dipolar.core.errors import SettingsError
from dipolar.core.geometry import cell_edge_px
from dipolar.core.nouns import Cells
from dipolar.maps.mixture import Mixture, best_mixture, groups
from dipolar.maps.neighbours import Planes, voters

FLOOR = 0.02
"""Share of the cell's edge up to which a displacement is not told from what mistilt and scan make: 8 pm of 396."""
MOST_CELLS = 2500
"""Cells that the mixture is learned from; more tell nothing new about a few means."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class States:
    """Directions, each made of one or more components of a mixture."""

    mixture: Mixture
    """The components."""
    group: Int32[np.ndarray, " component"]
    """The direction each belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractDirections(ABC):
    """Where the displacement rests, and in how many directions."""

    floor: float = FLOOR
    """Displacements up to this share of the cell's edge are called not polar."""

    @abstractmethod
    def states(self, cells: Cells, flat: Bool[np.ndarray, " cell"], planes: Planes) -> States:
        """Return the directions; `flat` are voting cells away from walls, one at least, `planes` go through all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDirections(AbstractDirections):
    """As many directions as the displacements show, one included."""

    most: int = 8
    """Greatest number of components of the mixture to try."""
    least_turn_deg: float = 30.0
    """Displacements that differ by less in direction are alike."""

    def states(self, cells: Cells, flat: Bool[np.ndarray, " cell"], planes: Planes) -> States:
        """Return the directions found.

        Where single cells show only one, the means of nine may show more: their noise is a third, though they are
        worth a ninth as many.
        """
        values, covariance = _thinned(cells.displacement_px, cells.covariance_px2, flat)
        mixture = best_mixture(values, covariance, most=self.most)
        if len(mixture.weight) == 1:
            inner = flat & np.isfinite(planes.value_px).all(axis=1)
            if inner.any():
                means = _thinned(planes.value_px, planes.value_covariance_px2, inner)
                mixture = best_mixture(*means, most=self.most, worth=1.0 / 9.0)
        group = groups(
            mixture,
            floor_px=self.floor * cell_edge_px(cells),
            least_turn_deg=self.least_turn_deg,
            noise_px2=np.median(covariance, axis=0) / 9.0,
        )
        return States(mixture=mixture, group=group)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenDirections(AbstractDirections):
    """Directions that are known, and none at all as one more."""

    angles_deg: tuple[float, ...] = (45.0, 135.0, -135.0, -45.0)
    """Counter-clockwise from the mean a axis of the cells; the default is the four ⟨110⟩ seen along [001]."""

    def __post_init__(self) -> None:
        """Refuse to look for nothing."""
        if not self.angles_deg:
            raise SettingsError(
                "At least one direction is needed.", got="angles_deg=()", do="GivenDirections(angles_deg=(45.0, -45.0))"
            )

    def states(self, cells: Cells, flat: Bool[np.ndarray, " cell"], planes: Planes) -> States:
        """Return one state per direction, with the length found along it, and one without displacement."""
        values, covariance = _thinned(cells.displacement_px, cells.covariance_px2, flat)
        a = np.median(cells.a_px[voters(cells)], axis=0)
        angles = np.radians(np.array(self.angles_deg)) + np.arctan2(-a[0], a[1])
        directions = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
        mixture = best_mixture(values, covariance, most=len(angles) + 1, directions=directions)
        return States(mixture=mixture, group=np.arange(len(angles) + 1, dtype=np.int32))


def _thinned(
    values: Float[np.ndarray, "cell 2"], covariance: Float[np.ndarray, "cell 2 2"], flat: Bool[np.ndarray, " cell"]
) -> tuple[Float[np.ndarray, "used 2"], Float[np.ndarray, "used 2 2"]]:
    rows = np.flatnonzero(flat)
    if len(rows) > MOST_CELLS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_CELLS).astype(int)]
    return values[rows], covariance[rows]
