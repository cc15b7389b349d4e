"""The crystal structures that patterns of a simulated scan are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from dipolar.core.errors import SettingsError, StructureError
from dipolar.core.orientation import oriented
from dipolar.core.structure import Structure, square_edges_pm

SAME_EDGE = 0.02
"""Edges of the parts of one crystal differ by less than this, relative."""
RANGES = {"thickness_nm": (5.0, 200.0), "bend_mrad": (0.0, 3.0), "wall_tilt_deg": (0.0, 75.0)}
"""Least and greatest value of each setting."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanStructure:
    """What a scan is of: a crystal in each kind of domain, all as they lie in the microscope."""

    horizontal: Structure
    """Polarized along x."""
    vertical: Structure
    """Polarized along y."""
    beam: Structure
    """Polarized along the beam."""
    cubic: Structure
    """Not polarized."""
    thickness_nm: float = 30.0
    """Thickness where the relative one of the scan is 1."""
    bend_mrad: float = 0.5
    """Standard deviation, over the scan, of the tilt of the crystal along y and along x."""
    wall_tilt_deg: float = 0.0
    """Angle between walls and the beam: domains lie over each other on a width of thickness × tan of it."""

    def __post_init__(self) -> None:
        """Refuse what is no crystal with domains.

        Raises
        ------
        SettingsError
            If a number is out of its range.
        StructureError
            If a structure does not lie as the microscope sees it, or is of another cell than the others.
        """
        wrong = [
            f"{name} = {getattr(self, name):g} ({least:g} to {most:g})"
            for name, (least, most) in RANGES.items()
            if not least <= getattr(self, name) <= most
        ]
        if wrong:
            raise SettingsError("Settings of the scan are out of range.", got="; ".join(wrong))
        across = np.array([square_edges_pm(one)[:2] for one in self.kinds])
        if np.abs(across / across.mean() - 1.0).max() > SAME_EDGE:
            raise StructureError(
                "cells of the parts of one crystal were expected, with the same edges along y and x.",
                got="; ".join(
                    f"{one.name} {y:.4g} × {x:.4g} pm" for one, (y, x) in zip(self.kinds, across, strict=True)
                ),
                do="give the polar structure and its parent in the same units, and fully relaxed",
            )

    @property
    def kinds(self) -> tuple[Structure, Structure, Structure, Structure]:
        """Structures in the order of shares in mixtures: horizontal, vertical, polar along the beam, cubic."""
        return self.horizontal, self.vertical, self.beam, self.cubic

    @property
    def edge_pm(self) -> float:
        """Mean edge of the cells across the beam."""
        return float(np.mean([square_edges_pm(one)[:2] for one in self.kinds]))

    def overlap_steps(self, thickness: Float64[np.ndarray, "y x"], step_nm: float) -> Float64[np.ndarray, "y x"]:
        """Return on which width domains lie over each other, in probe steps, where the crystal is so thick."""
        return self.thickness_nm * thickness * np.tan(np.radians(self.wall_tilt_deg)) / step_nm


def boracite_domains(
    *,
    polar: Structure | None = None,
    parent: Structure | None = None,
    thickness_nm: float | None = None,
    bend_mrad: float | None = None,
    wall_tilt_deg: float | None = None,
) -> ScanStructure:
    """Return boracite with its domains; numbers that are None have their defaults.

    Parameters
    ----------
    polar
        Your own polar structure, in the cell of Pca2_1 with its long edge the polar axis; None: the model that comes
        with dipolar.
    parent
        Your own cubic phase, in its cubic cell or in that of the polar one; None: that of the model.
    thickness_nm, bend_mrad, wall_tilt_deg
        As in `ScanStructure`.

    Raises
    ------
    SettingsError, StructureError
        If a number is out of range, or a structure is not of that shape.
    """
    from dipolar.simulate.structures import boracite

    numbers = {"thickness_nm": thickness_nm, "bend_mrad": bend_mrad, "wall_tilt_deg": wall_tilt_deg}
    return ScanStructure(
        horizontal=boracite("x", relaxed=polar),
        vertical=boracite("y", relaxed=polar),
        beam=boracite("beam", relaxed=polar),
        cubic=boracite() if parent is None else _cubic(parent),
        **{name: number for name, number in numbers.items() if number is not None},
    )


def _cubic(parent: Structure) -> Structure:
    """Return a cubic phase along a cubic axis, from its own cell or from that of the polar phase."""
    from dipolar.simulate.structures import boracite

    lengths = np.linalg.norm(parent.lattice_pm, axis=1)
    if lengths.max() < (1.0 + SAME_EDGE) * lengths.min():
        return oriented(parent, (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
    return boracite("beam", relaxed=parent)
