"""Patterns by the names that people type."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from dipolar.simulate.patterned import AbstractPattern
from dipolar.simulate.polydomain import FOUR_REGIONS, Polydomain
from dipolar.simulate.superlattice import TALL, Superlattice
from dipolar.simulate.vortex import Vortices

PatternName = Literal["superlattice", "regions", "vortex"]
DISPLACEMENT_PM = 35.0
"""Length of the displacement where nothing else was said."""


def pattern_named(name: PatternName, *, displacement_pm: float | None = None) -> AbstractPattern:
    """Return the pattern of that name, with everything but the length of its displacement at its default.

    Parameters
    ----------
    name
        ``superlattice``, ``regions`` or ``vortex``.
    displacement_pm
        Length of the displacement; None: 35 pm.
    """
    length = DISPLACEMENT_PM if displacement_pm is None else displacement_pm
    if name == "superlattice":
        return Superlattice(regions=replace(TALL, displacement_pm=length))
    if name == "regions":
        return Polydomain(regions=replace(FOUR_REGIONS, displacement_pm=length))
    return Vortices(displacement_pm=length)
