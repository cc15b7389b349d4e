"""Image → Columns: lattice, first guesses, batched fits with covariance, sublattices."""

from dipolar.locate.choices import AbstractFit, GaussianFit, SharedProfileFit
from dipolar.locate.columns import locate_columns

__all__ = ["AbstractFit", "GaussianFit", "SharedProfileFit", "locate_columns"]
