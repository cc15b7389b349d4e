"""Image → Columns: lattice, first guesses, batched fits with covariance, sublattices."""

from dipolar.locate.columns import locate_columns
from dipolar.locate.fit import AbstractFit, GaussianFit, SharedProfileFit

__all__ = ["AbstractFit", "GaussianFit", "SharedProfileFit", "locate_columns"]
