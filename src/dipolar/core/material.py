"""What a named material says about polarization: the signed factor, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

ELEMENTARY_CHARGE_UC = 1.602176634e-13
"""Elementary charge in µC (exact in the SI since 2019)."""
PM2_PER_CM2 = 1e20
Symmetry = Literal["tetragonal", "rhombohedral"]
"""Which way the polarization may point: along ⟨100⟩ or along ⟨111⟩ of the pseudocubic cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BornCharges:
    """Born effective charges of a perovskite ABO3 and where its oxygen is assumed to be."""

    b: float
    """Charge of B, in elementary charges."""
    oxygen_parallel: float
    """Charge of the one oxygen whose B-O bond lies along the displacement."""
    oxygen_perpendicular: float
    """Charge of each of the two others."""
    oxygen_parallel_ratio: float
    """Assumed displacement of that one oxygen against A, over that of B against A."""
    oxygen_perpendicular_ratio: float
    """The same for the two others."""
    volume_pm3: float
    """Volume of the cell of five atoms."""

    @property
    def factor_uc_per_cm2_per_pm(self) -> float:
        """Polarization per displacement of B in its A cage: Σ Z* u / V, A at rest."""
        charge = (
            self.b
            + self.oxygen_parallel * self.oxygen_parallel_ratio
            + 2.0 * self.oxygen_perpendicular * self.oxygen_perpendicular_ratio
        )
        return charge * ELEMENTARY_CHARGE_UC * PM2_PER_CM2 / self.volume_pm3


@dataclass(frozen=True, slots=True, kw_only=True)
class PolarMaterial:
    """A material whose polarization can be told from the displacement of B in its cage of A."""

    name: str
    """Chemical formula, or whatever the file calls it."""
    factor_uc_per_cm2_per_pm: float
    """Signed: negative where the polarization points against the displacement of B in its A cage."""
    factor_sigma_uc_per_cm2_per_pm: float
    """One standard error of the factor: the same for every cell, therefore kept apart; nan where unknown."""
    formula: str
    """How the factor was made: "given", or Σ Z* u / V with its numbers."""
    assumption: str
    """What the formula takes for granted that the image does not show."""
    source: str
    """The article that the numbers are from."""
    symmetry: Symmetry | None = None
    """Names walls by the angle in space; None where unknown: they are named by what is seen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Polarization:
    """Polarization of every cell, in the order of the cells."""

    material: PolarMaterial
    """Whose factor was used."""
    vectors_uc_per_cm2: Float[np.ndarray, "cell 2"]
    """(dy, dx) on the image; y points down."""
    covariance_uc2_per_cm4: Float[np.ndarray, "cell 2 2"]
    """From the measurement alone."""
    systematic_fraction: float
    """Relative standard error of the factor, shared by all cells and not in the covariance; nan where unknown."""
