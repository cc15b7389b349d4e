"""Cells → maps: domains, walls and their profiles, bound charge, vortices, and places to look next."""

from dipolar.maps.anomalies import find_anomalies
from dipolar.maps.charge import bound_charge
from dipolar.maps.choices import AbstractDirections, FoundDirections, GivenDirections
from dipolar.maps.domains import find_domains
from dipolar.maps.everything import make_maps
from dipolar.maps.vortices import find_defects
from dipolar.maps.walls import WallFit, find_walls

__all__ = [
    "AbstractDirections",
    "FoundDirections",
    "GivenDirections",
    "WallFit",
    "bound_charge",
    "find_anomalies",
    "find_defects",
    "find_domains",
    "find_walls",
    "make_maps",
]
