"""Bound charge: where the displacement converges or diverges."""

from __future__ import annotations

import numpy as np

from dipolar.core.errors import CalibrationError
from dipolar.core.nouns import Cells, Field
from dipolar.maps.neighbours import local_planes, neighbours

E_PER_NM3_PER_UC_PER_CM2_PER_PM = 62.4151
"""1 µC/cm² per pm in elementary charges per nm³."""


def bound_charge(cells: Cells, *, uc_per_cm2_per_pm: float | None = None) -> Field:
    """Return -∇·u of every cell, a pure number, or -∇·P in elementary charges per nm³ where a factor is given.

    The slopes are those of the plane through the displacements of a cell and its eight neighbours, so a wall is seen
    three cells wide; the charge summed across it is that of the wall. Positive where displacements meet head to head.

    Parameters
    ----------
    cells
        Measured cells.
    uc_per_cm2_per_pm
        Polarization per displacement of the material, signed.

    Raises
    ------
    CalibrationError
        Where a factor is given and the pixel size is not known: the factor is per pm.
    """
    if uc_per_cm2_per_pm is not None and cells.pixel_size_pm is None:
        raise CalibrationError(
            "bound charge of the polarization needs a pixel size: displacements are known in px only.",
            got="no pixel size",
            do="give pixel_size_pm or lattice_pm, or no material: -∇·u is a pure number",
        )
    # ∇·u = ∂uy/∂y + ∂ux/∂x is a pure number, so that the factor's "per pm" is all that is left
    factor = 1.0 if uc_per_cm2_per_pm is None else uc_per_cm2_per_pm * E_PER_NM3_PER_UC_PER_CM2_PER_PM
    planes = local_planes(cells, neighbours(cells))
    pick = np.array([1.0, 0.0, 0.0, 1.0])
    variance = np.einsum("i,nij,j->n", pick, planes.slope_covariance, pick)
    return Field(
        name="bound_charge",
        unit="" if uc_per_cm2_per_pm is None else "e/nm³",
        positions_px=cells.positions_px,
        values=-factor * (planes.slope[:, 0, 0] + planes.slope[:, 1, 1]),
        sigma=abs(factor) * np.sqrt(variance),
    )
