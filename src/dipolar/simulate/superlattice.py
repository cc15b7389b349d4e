"""A superlattice of a ferroelectric and a metal, with domains that run through its layers.

Made after BiFeO3/La0.7Sr0.3MnO3 seen along [100]: A columns of Bi alternate with those of La and Sr, B columns of Fe
with those of Mn. The brightness of an atom grows as Z^1.64 (O. L. Krivanek et al., Nature 464, 571 (2010)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from dipolar.core.errors import SettingsError
from dipolar.simulate.patterned import AbstractPattern, Dressing
from dipolar.simulate.polydomain import Regions, displaced_by
from dipolar.simulate.random_fields import smooth_field

Z_POWER = 1.64
LA_SR_OVER_BI = (0.7 * 57.0**Z_POWER + 0.3 * 38.0**Z_POWER) / 83.0**Z_POWER
"""Brightness of an A column of La0.7Sr0.3MnO3 over that of BiFeO3: 0.46."""
MN_OVER_FE = (25.0 / 26.0) ** Z_POWER
"""The same for B: 0.94."""
ATOMS = 50
"""Atoms in an A column: a lamella of 20 nm. Which of them are Bi is chance."""
UNEVEN_CELLS = 4.0
"""Over how many cells the interfaces are uneven."""
TALL = Regions(shares=(0.25, 0.25, 0.25, 0.25), size_cells=(20.0, 6.0))
"""Four variants in domains that are higher than wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Superlattice(AbstractPattern):
    """Polar and non-polar layers in turn, lying flat, intermixed at their interfaces."""

    layer_cells: tuple[float, float] = (5.0, 5.0)
    """Thickness of the (non-polar, polar) layer; a non-polar one has its middle in the middle of the image."""
    mixing_cells: float = 1.0
    """Width 2δ of the profile tanh(distance / δ) of the composition at an interface."""
    roughness_cells: float = 0.3
    """Standard deviation of the height of the interfaces."""
    weak: float = 0.0
    """Displacement in the non-polar layer over that in the polar one."""
    spacing_pm: tuple[float, float] = (-5.0, 6.0)
    """By how much cells of the (non-polar, polar) layer are higher than those of the crystal given."""
    brightness_a: float = LA_SR_OVER_BI
    """Brightness of A in the non-polar layer over that in the polar one."""
    brightness_b: float = MN_OVER_FE
    """The same for B."""
    regions: Regions = TALL
    """The variants; their domains run through several layers."""

    def __post_init__(self) -> None:
        """Refuse layers without height."""
        if min(*self.layer_cells, self.mixing_cells) <= 0:
            raise SettingsError(
                "Layers and the width of their interfaces are more than 0.",
                got=f"layers of {self.layer_cells} cells, interfaces of {self.mixing_cells}",
            )

    @property
    def directions_deg(self) -> tuple[float, ...]:
        """Direction of each variant against the a axis."""
        return self.regions.directions_deg

    def dress(
        self, cells: Float[np.ndarray, "column 2"], is_b: Bool[np.ndarray, " column"], *, rng: np.random.Generator
    ) -> Dressing:
        """Return columns with brightness and displacement of their layer; see `AbstractPattern.dress`."""
        rough = self.roughness_cells * smooth_field(cells, length=UNEVEN_CELLS, rng=rng, components=1)[:, 0]
        composition = self.composition_at(cells[:, 0] + rough)
        polar = np.where(is_b, self.weak + (1.0 - self.weak) * composition, 0.0)
        shift, variant = displaced_by(self.regions, cells, polar, rng=rng)
        shift[:, 0] += self._higher(cells[:, 0])
        bright = rng.binomial(ATOMS, composition) / ATOMS
        other = np.where(is_b, self.brightness_b, self.brightness_a)
        share = np.where(is_b, composition, bright)
        return Dressing(
            shift_pm=shift, brightness=other + share * (1.0 - other), composition=composition, variant=variant
        )

    def composition_at(self, row: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
        """Return the share of the polar material at that height, in cells from the middle of the image."""
        dark, bright = self.layer_cells
        period = dark + bright
        folded = np.abs((row + period / 2.0) % period - period / 2.0)  # from the middle of the nearest dark layer
        width = self.mixing_cells

        def step(depth: np.ndarray) -> np.ndarray:
            return (1.0 + np.tanh(2.0 * depth / width)) / 2.0

        share: Float[np.ndarray, " row"] = np.clip(
            step(folded - dark / 2.0) + step(-folded - dark / 2.0) - step(folded - dark / 2.0 - bright), 0.0, 1.0
        )
        return share

    def _higher(self, row: Float[np.ndarray, " column"]) -> Float[np.ndarray, " column"]:
        """Return dy of each column in pm from the heights of the cells below and above; B stays midway between A."""
        ends = np.arange(np.floor(row.min()), np.ceil(row.max()) + 1.0)
        middle = (ends[:-1] + ends[1:]) / 2.0
        low, high = self.spacing_pm
        up = np.concatenate([[0.0], np.cumsum(low + self.composition_at(middle) * (high - low))])
        at: Float[np.ndarray, " column"] = np.interp(row, ends, up - np.interp(0.0, ends, up))
        return at
