"""The crystal of the study of tilt, and its two sublattices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dipolar.core.elements import symbols_of
from dipolar.core.structure import Structure, volume_pm3
from dipolar.recipes.study_tilt_settings import TiltSettings

SUBLATTICES: Mapping[str, tuple[int, int]] = {"bfo": (83, 26), "pto": (82, 22), "bto": (56, 22), "sto": (38, 22)}
"""Atomic numbers of A and B by material."""
NEAR = 0.4
"""Radius of what is fitted of a column, over the distance to the nearest one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crystal:
    """A perovskite seen along [100]."""

    structure: Structure
    """As it lies in the microscope."""
    numbers: Mapping[str, int]
    """Atomic numbers of A and B."""
    places_pm: Mapping[str, Float[np.ndarray, "column 2"]]
    """Columns (y, x) of A and B in its smallest period."""
    radius_pm: float
    """Radius of what is fitted of a column."""
    step_pm: float
    """Edge of the perovskite's own cell along the beam: planes of A and B alternate by half of it."""

    @property
    def names(self) -> tuple[str, str]:
        """Elements of A and B."""
        a, b = symbols_of(np.array([self.numbers["A"], self.numbers["B"]]))
        return a, b


def crystal_of(settings: TiltSettings) -> Crystal:
    """Return the crystal that a study is about."""
    from dipolar.simulate.multislice import formula_cell_parts, mean_cell, nearest_distance_pm, sites_of
    from dipolar.simulate.structures import WITH_PARENT, preset, seen_along

    of_parent = not settings.polar and preset(settings.material).name in WITH_PARENT
    structure = seen_along(settings.material, of_parent=of_parent)
    numbers = dict(zip(("A", "B"), SUBLATTICES[settings.material], strict=True))
    if not settings.octahedra:
        structure = mean_cell(structure, formula_cell_parts(structure, numbers["A"]))
    places = {name: sites_of(structure, number) for name, number in numbers.items()}
    nearest = nearest_distance_pm(structure, np.concatenate(list(places.values())))
    a_of_cell = int(np.count_nonzero(structure.numbers == numbers["A"]))
    return Crystal(
        structure=structure,
        numbers=numbers,
        places_pm=places,
        radius_pm=NEAR * nearest,
        step_pm=float(volume_pm3(structure) / a_of_cell) ** (1.0 / 3.0),
    )
