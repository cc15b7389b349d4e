"""Projected unit cells and the columns that stand on their sites: the nouns for other projections and for oxygen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int8, Int32, UInt32

from dipolar.core.nouns import Noise

Role = Literal["A", "B", "O", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One column of the projected unit cell."""

    name: str
    """"A", "B", "O1", … or what a structure file calls its atoms: "Pb", "Mg/Nb"."""
    role: Role
    """A and B: the cations of a perovskite; O: columns of the anion alone."""
    place: tuple[float, float]
    """Fractional position (along a, along b), each from 0 up to 1; A stands at (0, 0)."""
    intensity: float
    """Expected (or found) height of its column, relative to the strongest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motif:
    """A projected unit cell with its columns."""

    name: str
    """What it is, for titles and messages: "perovskite [110]", "STO.cif along [1 1 0]"."""
    sites: tuple[Site, ...]
    """The columns; the first one stands at (0, 0) and is the frame that the others are measured in."""
    a_pm: float = float("nan")
    """Length of the first cell vector; nan where unknown."""
    b_pm: float = float("nan")
    """Length of the second."""
    gamma_deg: float = 90.0
    """Angle between them."""

    def places(self) -> Float[np.ndarray, "site 2"]:
        """Return the fractional positions (along a, along b) of all sites."""
        return np.array([site.place for site in self.sites])


PEROVSKITE_100 = Motif(
    name="perovskite [100]",
    sites=(
        Site(name="A", role="A", place=(0.0, 0.0), intensity=1.0),
        Site(name="B", role="B", place=(0.5, 0.5), intensity=0.5),
        Site(name="O1", role="O", place=(0.5, 0.0), intensity=0.1),
        Site(name="O2", role="O", place=(0.0, 0.5), intensity=0.1),
    ),
)
"""A with oxygen behind nothing, B with oxygen in the same column, pure oxygen in the middle of each edge."""
PEROVSKITE_110 = Motif(
    name="perovskite [110]",
    sites=(
        Site(name="A", role="A", place=(0.0, 0.0), intensity=1.0),
        Site(name="B", role="B", place=(0.0, 0.5), intensity=0.5),
        Site(name="O", role="O", place=(0.5, 0.5), intensity=0.1),
    ),
    a_pm=float("nan"),
    b_pm=float("nan"),
)
"""a is the short edge (a/√2), b the long one: A with oxygen at the corners, B in the middle of the long edges."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SiteColumns:
    """The columns of a crystal whose unit cell is a `Motif`, one row per column. Sigma and flags as in `Columns`."""

    motif: Motif
    """The unit cell that the columns were assigned to."""
    positions_px: Float[np.ndarray, "column 2"]
    """Centres (y, x)."""
    covariance_px2: Float[np.ndarray, "column 2 2"]
    """Full covariance of (y, x), scan noise included; nan where unknown."""
    amplitude: Float[np.ndarray, " column"]
    """Peak height above the background in the image's units; negative for dark columns."""
    amplitude_sigma: Float[np.ndarray, " column"]
    """One standard error of `amplitude`."""
    background: Float[np.ndarray, " column"]
    """Local background under the column."""
    widths_px: Float[np.ndarray, "column 2"]
    """Standard deviation along the major and the minor axis of the profile's core."""
    angle_deg: Float[np.ndarray, " column"]
    """Direction of the major axis, counter-clockwise on the screen."""
    site: Int8[np.ndarray, " column"]
    """Which of `motif.sites`."""
    cell: Int32[np.ndarray, "column 2"]
    """Lattice index (steps of a, steps of b) of the cell that the site belongs to."""
    grain: Int32[np.ndarray, " column"]
    """Number of the connected crystal that `cell` counts in."""
    row_reach_px: Float[np.ndarray, "column 2"]
    """Standard deviation, in rows, of the weight with which each scan row moves this column in (y, x)."""
    chi2: Float[np.ndarray, " column"]
    """Residual variance over the noise of the image."""
    flags: UInt32[np.ndarray, " column"]
    """Bits of `dipolar.core.flags.Flag`."""
    noise: Noise
    """Noise of the image."""
    cell_px: Float[np.ndarray, "2 2"]
    """Mean cell vectors a (to the right) and b (down) as rows (y, x)."""
    profile: Float[np.ndarray, "kind component 2"]
    """Profile of each site's kind, as in `Columns`."""


def in_role(sites: SiteColumns, role: Role) -> np.ndarray:
    """Return which columns stand on sites of that role, shape (column,)."""
    roles = np.array([site.role for site in sites.motif.sites])
    return roles[sites.site] == role
