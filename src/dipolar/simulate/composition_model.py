"""How Sm changes BiFeO3, as curves over the composition: what is measured, and what is a plausible model.

Literature
    End members: BiFeO3, a_hex = 557.9 pm, c_hex = 1386.9 pm, Fe 32.6 pm off along ⟨110⟩ in projection (F. Kubel and
    H. Schmid, Acta Cryst. B 46, 698 (1990)); SmFeO3, Pbnm, 540.0 × 559.7 × 771.1 pm, Sm about 31 pm off along its b
    axis, a pseudocubic ⟨110⟩, the other way in every next plane along c (M. Marezio, J. P. Remeika and P. D. Dernier,
    Acta Cryst. B 26, 2008 (1970)). Sequence: rhombohedral, then antipolar orthorhombic, with a boundary near x = 0.14
    in films (S. Fujino et al., Appl. Phys. Lett. 92, 202904 (2008); D. Kan et al., Adv. Funct. Mater. 20, 1108 (2010))
    and both together about it (A. Pakalniskis et al., arXiv:2104.07401: 0.12 < x < 0.15 in ceramics); local antipolar
    order of four cells along ⟨110⟩, as in PbZrO3, for 0.10 < x < 0.14 (C.-J. Cheng et al., Phys. Rev. B 80, 014109
    (2009); for other rare earths S. Karimi et al., J. Mater. Sci. 44, 5102 (2009)). A library of such films was imaged
    column by column by M. Ziatdinov et al., npj Comput. Mater. 6, 127 (2020). The brightness of an atom grows as Z^1.64
    (O. L. Krivanek et al., Nature 464, 571 (2010)).
Model
    Everything in between: how steep and how wide the boundary is, how the displacement of Fe falls before it, that the
    cell shrinks in proportion to x and by one part in 300 more through the boundary, that the antipolar displacement is
    that of SmFeO3 from the boundary on, the size of regions and of the static scatter. They are chosen to look like the
    published maps, not fitted to them.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from jaxtyping import Float

from dipolar.simulate.materials import BIFEO3

COMPOSITIONS = (0.0, 0.02, 0.04, 0.06, 0.07, 0.08, 0.10, 0.12, 0.13, 0.14, 0.16, 0.18, 0.20)
"""Sm over all A sites in each film of the library."""

BOUNDARY, BOUNDARY_WIDTH = 0.14, 0.012
"""Where half is orthorhombic, and half width of the tanh through it."""
SMFEO3_PM = (540.0 * 559.7 * 771.1 / 4.0) ** (1.0 / 3.0)
"""Pseudocubic edge of SmFeO3, 387.7 pm."""
SHRINKAGE = 1.0 / 300.0
"""By how much the edge shrinks through the boundary: one per cent of the volume."""
POLAR_FALL = 1.2
"""Relative fall of the displacement of Fe per x, before the boundary."""
ANTIPOLAR_PM = 31.0
"""Displacement of A along ⟨110⟩ in the orthorhombic cell; 22 pm of it are seen along the ⟨100⟩ that is not c."""
RHOMBOHEDRAL_SHEAR = 0.0099
"""Deviation of the rhombohedral angle from 90° in radians: 89.43° from a_hex and c_hex of BiFeO3."""
SM_BRIGHTNESS = (62.0 / 83.0) ** 1.64
"""Brightness of Sm over that of Bi."""
ATOMS = 50
"""Atoms in an A column: a lamella of 20 nm."""

Curve = TypeVar("Curve", float, Float[np.ndarray, " column"])
"""One composition, or that at every column."""


def orthorhombic_share(x: Curve) -> Curve:
    """Return which share of the crystal is orthorhombic at that (local) composition."""
    return (1.0 + np.tanh((x - BOUNDARY) / BOUNDARY_WIDTH)) / 2.0


def polar_pm(x: Curve) -> Curve:
    """Return the displacement of Fe in projection: that of BiFeO3, falling slowly, gone beyond the boundary."""
    return BIFEO3.displacement_pm * (1.0 - POLAR_FALL * x) * (1.0 - orthorhombic_share(x))


def lattice_pm(x: Curve) -> Curve:
    """Return the pseudocubic edge: on the line between the end members (Vegard), smaller beyond the boundary."""
    line = BIFEO3.in_plane_pm + x * (SMFEO3_PM - BIFEO3.in_plane_pm)
    return line * (1.0 - SHRINKAGE * orthorhombic_share(x))


def shear(x: Curve) -> Curve:
    """Return the shear of a rhombohedral domain in projection, in radians; none where all is orthorhombic."""
    return RHOMBOHEDRAL_SHEAR * (1.0 - orthorhombic_share(x))


def scatter_pm(x: Curve) -> Curve:
    """Return the standard deviation of the static displacements that Sm, the smaller ion, causes around itself."""
    return 6.0 * np.sqrt(x * (1.0 - x))


def quadruple_bias(x: float) -> float:
    """Return by how much regions with a period of four cells are favoured over those with two: near x = 0.135 only."""
    return float(6.5 * np.exp(-(((x - 0.135) / 0.015) ** 2)) - 6.0)
