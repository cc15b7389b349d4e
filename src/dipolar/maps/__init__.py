"""Cells → maps: domains, walls and their profiles, bound charge, vortices, and places to look next."""

from dipolar.maps.choices import AbstractDirections, FoundDirections, GivenDirections
from dipolar.maps.domains import find_domains

__all__ = ["AbstractDirections", "FoundDirections", "GivenDirections", "find_domains"]
