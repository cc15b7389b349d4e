"""Displacement that turns continuously around cores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from dipolar.core.circular import unit_vectors
from dipolar.core.errors import SettingsError
from dipolar.simulate.patterned import AbstractPattern, Dressing


@dataclass(frozen=True, slots=True, kw_only=True)
class Vortices(AbstractPattern):
    """``angle = phase + Σ w_i φ_i``, with φ_i the direction from core i; the length falls to 0 in each core."""

    cores: tuple[tuple[float, float, int], ...] = ((0.0, 0.0, 1),)
    """(row, column) in cells from the middle of the image, and winding number: 1 for a vortex, -1 for an antivortex."""
    phase_deg: float = 90.0
    """Angle between displacement and direction from the core: 90 turns counter-clockwise, 0 points away from it."""
    core_cells: float = 2.0
    """Radius at which the length is tanh(1) of its full value."""
    displacement_pm: float = 35.0
    """Length far from all cores."""
    scatter_deg: float = 0.0
    """Standard deviation of the direction, column by column."""

    def __post_init__(self) -> None:
        """Refuse vortices without a core."""
        if not self.cores or self.core_cells <= 0:
            raise SettingsError(
                "Vortices need a core of some size.",
                got=f"{len(self.cores)} cores of {self.core_cells} cells",
                do="Vortices(cores=((0.0, 0.0, 1),), core_cells=2.0)",
            )

    @property
    def directions_deg(self) -> tuple[float, ...]:
        """No variants: all directions are there."""
        return ()

    def dress(
        self, cells: Float[np.ndarray, "column 2"], is_b: Bool[np.ndarray, " column"], *, rng: np.random.Generator
    ) -> Dressing:
        """Return B columns displaced; see `AbstractPattern.dress`."""
        angle = np.full(len(cells), self.phase_deg) + self.scatter_deg * rng.standard_normal(len(cells))
        length = np.where(is_b, self.displacement_pm, 0.0)
        for row, column, winding in self.cores:
            dy, dx = cells[:, 0] - row, cells[:, 1] - column
            angle += winding * np.degrees(np.arctan2(-dy, dx))
            length *= np.tanh(np.hypot(dy, dx) / self.core_cells)
        return Dressing(
            shift_pm=length[:, None] * unit_vectors(angle),
            brightness=np.ones(len(cells)),
            composition=np.ones(len(cells)),
            variant=np.full(len(cells), -1, dtype=np.int32),
        )
