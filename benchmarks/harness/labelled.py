"""Labelled films as unmixing meets them: measured first, then cut into patches, with the truth of every patch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from dipolar.core.nouns import Cells, Image
from dipolar.core.unmixing import Stack
from dipolar.locate import locate_columns
from dipolar.measure import build_cells
from dipolar.simulate import PATTERNED_FILM, patterned_film
from dipolar.simulate.patterned import AbstractPattern
from dipolar.unmix import cut_stack

SAME_CELL = 0.3
"""Two cells are the same where their middles are nearer than this, in edges of a cell."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """A measured film and what is true of each cell that was found."""

    image: Image
    cells: Cells
    variant: np.ndarray
    """Of each cell found; -1: none, or no true cell."""
    layer: np.ndarray
    """0 or 1; -1: no true cell."""
    composition: np.ndarray
    """0 to 1; nan: no true cell."""
    displacement_px: np.ndarray
    """True displacement; nan: no true cell."""


@dataclass(frozen=True, kw_only=True)
class Patched:
    """Patches and what is true of each."""

    stack: Stack
    variant: np.ndarray
    layer: np.ndarray
    composition: np.ndarray
    displacement_px: np.ndarray

    @property
    def product(self) -> np.ndarray:
        """Return a number for each pair of variant and layer; patches without a variant are one class in each layer."""
        return np.where(self.layer < 0, -1, 2 * (self.variant + 1) + self.layer)


def known_film(pattern: AbstractPattern, *, seed: int, size_px: int, dose: float = 1.0) -> Known:
    """Return a labelled film, measured without knowing anything about it."""
    settings = replace(PATTERNED_FILM, shape_px=(size_px, size_px), dose=dose)
    film = patterned_film(pattern, settings, rng=np.random.default_rng(seed))
    image, truth = film.simulated.image, film.simulated.truth_cells
    cells = build_cells(locate_columns(image))
    edge_px = settings.layers[0].material.in_plane_pm / settings.pixel_size_pm
    distance, row = cKDTree(truth.positions_px).query(cells.positions_px)
    same = distance < SAME_CELL * edge_px
    row = np.where(same, row, 0)
    return Known(
        image=image,
        cells=cells,
        variant=np.where(same, film.variant[row], -1),
        layer=np.where(same, film.layer[row], -1),
        composition=np.where(same, film.composition[row], np.nan),
        displacement_px=np.where(same[:, None], truth.displacement_px[row], np.nan),
    )


def patched(film: Known, *, window_px: int, normalization: str = "patch") -> Patched:
    """Return the patches of a film, centred on cells."""
    cells = film.cells
    stack = cut_stack(
        np.asarray(film.image.data, dtype=np.float32)[None],
        channels=("image",),
        positions_px=cells.positions_px,
        site=np.arange(len(cells.flags)),
        window_px=window_px,
        lattice_px=np.stack([np.nanmean(cells.a_px, axis=0), np.nanmean(cells.b_px, axis=0)]),
        pixel_size_pm=film.image.pixel_size_pm,
        displacement_px=cells.displacement_px,
        displacement_sigma_px=np.sqrt(np.einsum("nii->ni", cells.covariance_px2)),
        centred_on="cells",
        normalization=normalization,
        usable=film.layer >= 0,
    )
    site = stack.site
    return Patched(
        stack=stack,
        variant=film.variant[site],
        layer=film.layer[site],
        composition=film.composition[site],
        displacement_px=film.displacement_px[site],
    )
