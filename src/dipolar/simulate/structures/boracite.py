"""Boracite: the cubic phase, and polar domains of it that lie one way or another under the beam."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from dipolar.core.errors import SettingsError, StructureError
from dipolar.core.orientation import Direction, oriented
from dipolar.core.structure import Structure, inverted, shifted
from dipolar.simulate.structures.presets import built, contents, preset

NAME = "Cu3B7O13Cl"
_X, _Y, _Z = (1.0, 1.0, 0.0), (-1.0, 1.0, 0.0), (0.0, 0.0, 1.0)
"""The cubic axes, counted along a, b, c of Pca2_1."""
_DIRECTIONS: dict[str, tuple[Direction, Direction]] = {
    "beam": (_Z, _Y),
    "y": (_X, _Z),
    "x": (_Y, _X),
}
"""Cubic axes that lie along the beam and down the screen, in the domain polarized along z. The three are one another's
turn by 120° about [111], which leaves the cubic phase as it is."""
LONG_TO_SHORT = (1.30, 1.55)
"""The long edge of Pca2_1 over each of the short ones, √2 in the cubic phase."""


def boracite(polarization: str | None = None, *, opposite: bool = False, relaxed: Structure | None = None) -> Structure:
    """Return boracite in its cubic cell as the microscope sees it along a cubic axis, in one polar domain or in none.

    Domains of one crystal grow out of one cubic phase, and so do these: take the displacements away and all are
    ``boracite()``, atom on atom. Those polarized along y, x and the beam are the same crystal turned by 120° about
    [111]. The opposite domain is the one that the fourfold rotoinversion of the cubic phase makes of it: the inverse,
    **turned by 90° about the polarization**. (The plain inverse would belong to an inverted cubic phase, F-43c having
    no inversion centre.)

    Parameters
    ----------
    polarization
        "y": the polarization points down the screen; "x": to the right; "beam": along the electrons, into the specimen;
        None: the cubic phase.
    opposite
        Whether it points the other way.
    relaxed
        Your own polar structure in place of the model, in the frame of a crystal: a cell of Pca2_1 whose long edge is
        the polar axis; the polarization is taken to point along it. Its origin is its own, so that its atoms need not
        lie on those of the cubic phase here.

    Raises
    ------
    SettingsError, StructureError
        If the polarization is none of these, or the relaxed cell is not of that shape.
    """
    if polarization is None:
        if opposite or relaxed is not None:
            raise SettingsError(
                "the cubic phase has no polarization.", got="no direction of it", do='polarization="y", "x" or "beam"'
            )
        return oriented(preset(NAME), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
    if polarization not in _DIRECTIONS:
        raise SettingsError(
            "boracite is polarized along an axis of the image or along the beam.",
            got=str(polarization),
            do='polarization="y", "x" or "beam"; opposite=True for the other way',
        )
    crystal = boracite_pair()[0] if relaxed is None else _long_edge_last(relaxed)
    zone, down = _DIRECTIONS[polarization]
    if opposite:
        # the rotoinversion is the inversion and then a quarter of a turn about z: x of the cubic phase is its -y
        crystal, turn = inverted(crystal), {_X: _minus(_Y), _Y: _X, _Z: _Z}
        zone, down = turn[zone], turn[down]
    seen = oriented(crystal, zone, _minus(down))
    if opposite:
        seen = shifted(seen, (0.5, 0.5, 0.5))  # F-43c, a glide plane: its rotoinversions come with half a cell
    sense = "-" if opposite else "+"
    return replace(seen, name=f"{crystal.name}, polarization {sense}{polarization}")


def boracite_pair() -> tuple[Structure, Structure]:
    """Return the polar model and its cubic parent, row by row the same atoms, both in the cell of Pca2_1.

    The cell has edges a = (a_c - b_c) / 2, b = (a_c + b_c) / 2 and c = c_c, the polar axis, of the cubic ones, and the
    origin of the cubic phase. Move and strain are those of the file Cu3B7O13Cl.toml.
    """
    values = contents(NAME)
    polar, edge = values["polar"], float(values["structure"]["lengths_pm"][0])
    short, long = edge / np.sqrt(2.0), edge
    plain = [short, short, long]
    third = polar["strain"] / 3.0
    deformed = [short * (1.0 - third), short * (1.0 - third), long * (1.0 + 2.0 * third)]
    source = f"{values['source']}; thermal displacements: {values['thermal_source']}"
    return (
        _expanded(values, deformed, moved=True, name="Cu3B7O13Cl, polar model", source=source),
        _expanded(values, plain, moved=False, name="Cu3B7O13Cl, cubic", source=source),
    )


def _expanded(values: dict[str, Any], lengths_pm: list[float], *, moved: bool, name: str, source: str) -> Structure:
    """Return all atoms of the cell, each representative one moved or not before the symmetry is applied."""
    polar = values["polar"]
    thermal = {site["element"]: site["rms_pm"] for site in values["structure"]["site"]}
    sites = [
        {
            "element": site["element"],
            "wyckoff": site["wyckoff"],
            "place": _moved(site, lengths_pm) if moved else site["place"],
            "rms_pm": thermal[site["element"]],
        }
        for site in polar["site"]
    ]
    right = [90.0, 90.0, 90.0]
    table = {"space_group": polar["space_group"], "lengths_pm": lengths_pm, "angles_deg": right, "site": sites}
    a, b, c = polar["cubic_origin"]
    return shifted(built(table, name=name, source=source), (-a, -b, -c))


def _moved(site: dict[str, Any], lengths_pm: list[float]) -> list[float]:
    return [place + move / edge for place, move, edge in zip(site["place"], site["move_pm"], lengths_pm, strict=True)]


def _minus(direction: Direction) -> Direction:
    u, v, w = direction
    return (-u, -v, -w)


def _long_edge_last(structure: Structure) -> Structure:
    """Return a structure with its edges in the order short, short, long, without mirroring it.

    Raises
    ------
    StructureError
        If it has no such edges.
    """
    lengths = np.linalg.norm(structure.lattice_pm, axis=1)
    order = np.roll(np.arange(3), 2 - int(np.argmax(lengths)))
    short: Float[np.ndarray, "2"] = lengths[order[:2]]
    ratio = lengths.max() / short
    off = structure.lattice_pm @ structure.lattice_pm.T / np.outer(lengths, lengths) - np.eye(3)
    if not (LONG_TO_SHORT[0] < ratio.min() and ratio.max() < LONG_TO_SHORT[1] and np.abs(off).max() < 0.02):
        raise StructureError(
            f"{structure.name}: the cell of polar boracite has right angles, and one edge √2 times the two others.",
            got=f"edges {' × '.join(f'{length:.4g}' for length in lengths)} pm, {len(structure.numbers)} atoms",
            do="give the relaxed cell of 96 atoms, its polar axis along the long edge",
        )
    return replace(structure, lattice_pm=structure.lattice_pm[order], fractional=structure.fractional[:, order])
