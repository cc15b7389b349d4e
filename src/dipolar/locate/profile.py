"""The profile that all columns of a sublattice share: a Gaussian, or a mixture of Gaussians learned from the image.

Real columns have tails (probe aberrations, source size, channelling): a Gaussian fitted to them takes its neighbours'
tails for its own background and pulls the positions, by an amount proportional to the displacement itself. A sum of
concentric Gaussians of one ellipse, with non-negative weights, follows any falling profile and cannot ring.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize
from jaxtyping import Float

CUT_OFF = 3e-4
"""A profile ends where it has fallen to this share of its peak."""


FAINT = 0.005
"""Components of less weight are noise, and would only make every column reach further."""
RESOLVED = 1e-5
"""Combinations of weights known worse than this, relative to the best known, stay near zero: no profile needs them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """The profiles of the sublattices."""

    components: Float[np.ndarray, "sublattice component 2"]
    """(weight, width relative to the core); weights add up to 1 and the curvature at the peak is that of a Gaussian."""
    support: Float[np.ndarray, " sublattice"]
    """Distance, in core widths, at which each profile ends."""

    @property
    def weights(self) -> Float[np.ndarray, "sublattice component"]:
        """Weights of the Gaussians."""
        return self.components[..., 0]

    @property
    def rates(self) -> Float[np.ndarray, "sublattice component"]:
        """How fast each Gaussian falls with q."""
        return 0.5 / self.components[..., 1] ** 2


def make_profile(components: Float[np.ndarray, "sublattice component 2"]) -> Profile:
    """Return the profiles of the given mixtures."""
    ends = [_end(weights, 0.5 / widths**2) for weights, widths in np.moveaxis(components, 2, 1)]
    return Profile(components=components, support=np.sqrt(ends))


def _end(weights: Float[np.ndarray, " component"], rates: Float[np.ndarray, " component"]) -> float:
    """Return the q at which a profile has fallen to nothing."""
    grid = np.linspace(4.0, 400.0, 4000)
    below = np.flatnonzero(np.exp(-np.outer(grid, rates)) @ weights < CUT_OFF)
    return float(grid[below[0]] if len(below) else grid[-1])


def gaussian_profile(kinds: int = 2) -> Profile:
    """Return plain Gaussians for all sublattices."""
    return make_profile(np.ones((kinds, 1, 2)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """A learned profile, and how the columns' numbers change with it."""

    profile: Profile
    """The new profile."""
    weights: Float[np.ndarray, " size"]
    """The weights as solved, for the amplitudes and widths as they were."""
    wider: Float[np.ndarray, " sublattice"]
    """Factor on the width of the core."""
    higher: Float[np.ndarray, " sublattice"]
    """Factor on the amplitude."""


def solve_profile(
    matrix: Float[np.ndarray, "size size"],
    vector: Float[np.ndarray, " size"],
    widths: Float[np.ndarray, " component"],
    current: Profile,
) -> Learned:
    """Return the profiles that solve the normal equations of `patch.patch_normals` with non-negative weights.

    A sublattice without columns keeps its profile. The mixture is rescaled so that its weights add up to 1 and its
    curvature at the peak is that of a unit Gaussian: amplitude and widths keep their meaning whatever the tails are.
    """
    count, kinds = len(widths), len(current.components)
    unit = np.sqrt(np.maximum(np.diag(matrix), 1e-30))
    known, mode = np.linalg.eigh(matrix / np.outer(unit, unit))
    root = np.sqrt(np.maximum(known, RESOLVED * known[-1]))
    solution, _ = scipy.optimize.nnls(root[:, None] * mode.T, mode.T @ (vector / unit) / root)
    solution = solution / unit
    found, wider, higher = [], np.ones(kinds), np.ones(kinds)
    size = max(count, current.components.shape[1])
    for s in range(kinds):
        weights = solution[s * count : (s + 1) * count]
        mixture = np.column_stack([np.zeros(size), np.ones(size)])
        if weights.sum() < 0.3 or not np.isfinite(weights).all():
            mixture[: current.components.shape[1]] = current.components[s]
        else:
            higher[s] = weights.sum()
            weights = np.where(weights > FAINT * higher[s], weights, 0.0)
            weights *= higher[s] / weights.sum()
            wider[s] = 1.0 / np.sqrt(np.sum(weights / higher[s] / widths**2))
            mixture[:count] = np.column_stack([weights / higher[s], widths / wider[s]])
        found.append(mixture)
    return Learned(profile=make_profile(np.array(found)), weights=solution, wider=wider, higher=higher)
