"""Films that carry a pattern of displacement and composition over the whole crystal, with labels for every cell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int32

from dipolar.core.nouns import B
from dipolar.simulate.crystal import Layer, inside
from dipolar.simulate.film import Simulated, record_specimen
from dipolar.simulate.materials import BIFEO3
from dipolar.simulate.settings import FilmSettings
from dipolar.simulate.specimen import deformation, recorded, specimen

PATTERNED_FILM = FilmSettings(
    shape_px=(1024, 1024), pixel_size_pm=15.2, layers=(Layer(material=BIFEO3),), intensity_scatter=0.02
)
"""One crystal of 26 px per cell, without a substrate."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dressing:
    """What a pattern does to the columns of a crystal at rest."""

    shift_pm: Float[np.ndarray, "column 2"]
    """(dy, dx) of every column in the crystal's axes."""
    brightness: Float[np.ndarray, " column"]
    """Factor on the peak height."""
    composition: Float[np.ndarray, " column"]
    """Share of the polar material, 0 to 1."""
    variant: Int32[np.ndarray, " column"]
    """Number of the variant that a B column belongs to; -1 where it is not polar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractPattern(ABC):
    """How displacement and composition change over a crystal."""

    @abstractmethod
    def dress(
        self, cells: Float[np.ndarray, "column 2"], is_b: Bool[np.ndarray, " column"], *, rng: np.random.Generator
    ) -> Dressing:
        """Return shift, brightness and labels of every column.

        Parameters
        ----------
        cells
            Where the columns stand: (row, column) in cells from the middle of the image; A at whole numbers.
        is_b
            Which are B columns.
        rng
            Where the randomness comes from.
        """

    @property
    @abstractmethod
    def directions_deg(self) -> tuple[float, ...]:
        """Direction of each variant against the a axis, counter-clockwise; empty where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledFilm:
    """A simulated film, and to what each of its true cells belongs."""

    simulated: Simulated
    """Image, true columns and true cells (A at the corners)."""
    composition: Float[np.ndarray, " cell"]
    """Share of the polar material around the centre of each true cell."""
    layer: Int32[np.ndarray, " cell"]
    """1 where that is more than half, else 0."""
    variant: Int32[np.ndarray, " cell"]
    """Number of the variant; -1 where a cell is not polar, or in a wall in which the displacement is gone."""
    variants_deg: Float[np.ndarray, " variant"]
    """Direction of each variant, counter-clockwise on the screen."""


def patterned_film(
    pattern: AbstractPattern, settings: FilmSettings = PATTERNED_FILM, *, rng: np.random.Generator
) -> LabelledFilm:
    """Return a film that carries a pattern, with its truth.

    Parameters
    ----------
    pattern
        `Superlattice`, `Polydomain` or `Vortices`.
    settings
        The lattice and the microscope; what it says about displacement and domains is not used.
    rng
        Where the randomness comes from: brightness, the pattern, row jitter, counts, readout.
    """
    rest = specimen(replace(settings, displacement_pm=0.0, domains=None), rng=rng)
    is_b = rest.sublattice == B
    dressed = pattern.dress(rest.half_steps / 2.0, is_b, rng=rng)
    points = rest.points_px + dressed.shift_pm @ (deformation(settings) / settings.pixel_size_pm).T
    seen = recorded(settings, points)
    kept = inside(seen, settings.shape_px, margin_px=-float(settings.nan_border_px))
    film = replace(
        rest, points_px=points, recorded_px=seen, amplitude=rest.amplitude * dressed.brightness, on_pixels=kept
    )
    simulated = record_specimen(settings, film, rng=rng)
    center = simulated.truth_cells.center
    composition = dressed.composition[kept][center]
    return LabelledFilm(
        simulated=simulated,
        composition=composition,
        layer=(composition > 0.5).astype(np.int32),
        variant=dressed.variant[kept][center],
        variants_deg=180.0 - (180.0 - np.array(pattern.directions_deg) - settings.rotation_deg) % 360.0,
    )
