"""Crystals that come with dipolar: space group and one atom of each site in a file, the rest made by symmetry."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Float

from dipolar.core.elements import atomic_number
from dipolar.core.errors import SettingsError
from dipolar.core.orientation import Direction, oriented
from dipolar.core.structure import Structure

NAMES = ("BaTiO3", "BiFeO3", "Cu3B7O13Cl", "La0.7Sr0.3MnO3", "PbTiO3", "SrTiO3")
"""Presets by chemical formula."""
WITH_PARENT = ("BaTiO3", "BiFeO3", "PbTiO3")
"""Those whose centrosymmetric parent comes along; the parent of polar boracite is the preset Cu3B7O13Cl."""
SAME_PM = 5.0
"""Symmetry brings atoms of special positions onto themselves to within this."""


def preset(name: str) -> Structure:
    """Return a crystal that comes with dipolar, in the cell and the setting of its source.

    Parameters
    ----------
    name
        A chemical formula, as in `NAMES`, or what people call it ("bfo"), whatever its case.

    Raises
    ------
    SettingsError
        Where there is no such preset; the message lists those there are.
    """
    values = contents(name)
    return built(values["structure"], name=values["name"], source=_sources(values))


def parent(name: str) -> Structure:
    """Return the centrosymmetric parent of a polar preset, on the same origin and along the same axes.

    Raises
    ------
    SettingsError
        Where there is none; the message lists those there are.
    """
    values = contents(name)
    if "parent" not in values:
        raise SettingsError(
            f"a parent was asked for that {values['name']} does not have.",
            got=name,
            do=f"one of {', '.join(WITH_PARENT)}; for boracite boracite_pair()",
        )
    return built(values["parent"], name=f"{values['name']} (parent)", source=_sources(values))


def seen_along(
    name: str, zone: Direction = (1.0, 0.0, 0.0), up: Direction = (0.0, 0.0, 1.0), *, of_parent: bool = False
) -> Structure:
    """Return a preset as it lies in the microscope, directions counted along the edges of the perovskite's cell.

    Parameters
    ----------
    name
        As in `preset`.
    zone, up
        Directions [u v w] of the beam and of what is upright, as in `dipolar.core.orientation.oriented`, in axes of the
        (pseudo)cubic cell of one formula unit; of Cu3B7O13Cl in its own cubic axes.
    of_parent
        Whether the parent is wanted instead.
    """
    which = "parent" if of_parent else "structure"
    structure = parent(name) if of_parent else preset(name)
    sixths = contents(name)[which].get("pseudocubic_sixths")
    return oriented(structure, zone, up, axes=None if sixths is None else np.array(sixths) / 6.0)


def contents(name: str) -> dict[str, Any]:
    """Return what the file of a preset says."""
    for known in NAMES:
        values = _file(known)
        if name.lower() in (known.lower(), values["short"]):
            return values
    shorts = ", ".join(f"{known} ({_file(known)['short']})" for known in NAMES)
    raise SettingsError("the structure must be one of the presets, or a file.", got=name, do=shorts)


@cache
def _file(name: str) -> dict[str, Any]:
    path = resources.files("dipolar.simulate.structures") / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _sources(values: dict[str, Any]) -> str:
    return f"{values['source']}; thermal displacements: {values['thermal_source']}"


def built(values: dict[str, Any], *, name: str, source: str) -> Structure:
    """Return the structure that a table of a file describes, each site taken through all symmetry operations."""
    lattice = lattice_of(values["lengths_pm"], values["angles_deg"])
    places = [
        orbit(values["space_group"], np.array(site["place"]), lattice, multiplicity(site["wyckoff"]))
        for site in values["site"]
    ]
    counts = [len(place) for place in places]
    sites = values["site"]
    return Structure(
        name=name,
        lattice_pm=lattice,
        fractional=np.concatenate(places),
        numbers=np.repeat([atomic_number(site["element"]) for site in sites], counts).astype(np.int64),
        occupancy=np.repeat([float(site.get("occupancy", 1.0)) for site in sites], counts),
        rms_pm=np.repeat([float(site["rms_pm"]) for site in sites], counts),
        source=source,
    )


def multiplicity(wyckoff: str) -> int:
    """Return the number in a Wyckoff symbol: 24 of "24c"."""
    return int(re.fullmatch(r"(\d+)[a-zA-Z]", wyckoff)[1])  # type: ignore[index]  # files of ours


def orbit(
    space_group: str, place: Float[np.ndarray, "3"], lattice_pm: Float[np.ndarray, "3 3"], count: int
) -> Float[np.ndarray, "atom 3"]:
    """Return all atoms that the operations of a space group make of one, each once.

    Raises
    ------
    SettingsError
        If they are not as many as its Wyckoff position has.
    """
    import gemmi

    found: list[np.ndarray] = []
    for operation in gemmi.SpaceGroup(space_group).operations():
        made = np.array(operation.apply_to_xyz(place.tolist())) % 1.0
        apart = [np.linalg.norm(((made - one + 0.5) % 1.0 - 0.5) @ lattice_pm) for one in found]
        if not apart or min(apart) > SAME_PM:
            found.append(made)
    if len(found) != count:
        raise SettingsError(
            f"{count} atoms were expected of this site of {space_group}.", got=f"{len(found)} from {place.tolist()}"
        )
    return np.array(found)


def lattice_of(lengths_pm: list[float], angles_deg: list[float]) -> Float[np.ndarray, "3 3"]:
    """Return cell vectors as rows, right-handed: a along x, b in the plane of x and y."""
    a, b, c = lengths_pm
    # right angles are exact, and those of 120° nearly
    cos_a, cos_b, cos_g = (round(float(np.cos(np.radians(angle))), 15) for angle in angles_deg)
    sin_g = np.sqrt(1.0 - cos_g**2)
    c_y = (cos_a - cos_b * cos_g) / sin_g
    return np.array(
        [[a, 0.0, 0.0], [b * cos_g, b * sin_g, 0.0], [c * cos_b, c * c_y, c * np.sqrt(1.0 - cos_b**2 - c_y**2)]]
    )
