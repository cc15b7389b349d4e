"""Crystals to simulate: presets with their sources, their parents, and the polar domains of boracite."""

from dipolar.simulate.structures.boracite import boracite, boracite_pair
from dipolar.simulate.structures.presets import NAMES, WITH_PARENT, parent, preset, seen_along

__all__ = ["NAMES", "WITH_PARENT", "boracite", "boracite_pair", "parent", "preset", "seen_along"]
