"""Image → Columns: lattice, first guesses, batched fits with covariance, sublattices."""

from dipolar.locate.beside_oxygen import as_columns
from dipolar.locate.choices import AbstractFit, GaussianFit, SharedProfileFit
from dipolar.locate.columns import locate_columns, locate_with_sites
from dipolar.locate.contrast import Contrast
from dipolar.locate.given import columns_of
from dipolar.locate.lattice import find_steps
from dipolar.locate.motif import locate_sites

__all__ = [
    "AbstractFit",
    "Contrast",
    "GaussianFit",
    "SharedProfileFit",
    "as_columns",
    "columns_of",
    "find_steps",
    "locate_columns",
    "locate_sites",
    "locate_with_sites",
]
