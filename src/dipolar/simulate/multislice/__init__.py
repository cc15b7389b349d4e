"""Multislice: how electrons go through a crystal, and what an annular detector or a camera sees of them.

Needs PyTorch, which ``import dipolar.simulate`` does not: import it by its own name.
"""

from dipolar.simulate.multislice.columns import fit_columns, nearest_distance_pm, sites_of
from dipolar.simulate.multislice.diffraction import Reflections, diffraction
from dipolar.simulate.multislice.fineness import Fineness
from dipolar.simulate.multislice.images import annular_images, focal_series
from dipolar.simulate.multislice.mean_cell import formula_cell_parts, mean_cell
from dipolar.simulate.multislice.optics import Microscope, wavelength_pm
from dipolar.simulate.multislice.scattering import scattering_factor_pm
from dipolar.simulate.multislice.terms import AnnularImages

__all__ = [
    "AnnularImages",
    "Fineness",
    "Microscope",
    "Reflections",
    "annular_images",
    "diffraction",
    "fit_columns",
    "focal_series",
    "formula_cell_parts",
    "mean_cell",
    "nearest_distance_pm",
    "scattering_factor_pm",
    "sites_of",
    "wavelength_pm",
]
