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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Offsets:
    """How far columns stand from where their neighbours say, one row per column that has them all."""

    what: str
    """In words: "B against A", "A against O"."""
    positions_px: Float[np.ndarray, "row 2"]
    """Where the neighbours say the column is, (y, x)."""
    offset_px: Float[np.ndarray, "row 2"]
    """Column minus that, (dy, dx)."""
    covariance_px2: Float[np.ndarray, "row 2 2"]
    """Covariance of `offset_px`, what the columns share of the scan noise included."""
    column: Int32[np.ndarray, " row"]
    """Row of the column in `SiteColumns`."""
    cell: Int32[np.ndarray, "row 2"]
    """Its cell."""
    grain: Int32[np.ndarray, " row"]
    """Crystal that `cell` counts in."""
    flags: UInt32[np.ndarray, " row"]
    """Bits of `dipolar.core.flags.Flag`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Octahedra:
    """Oxygen around each B column in projection, one row per B column with all its neighbours."""

    positions_px: Float[np.ndarray, "row 2"]
    """The B column, (y, x)."""
    tilt_deg: Float[np.ndarray, " row"]
    """Rotation of the oxygen about B against the lattice of A around it, counter-clockwise on the screen."""
    tilt_sigma_deg: Float[np.ndarray, " row"]
    """One standard error."""
    members: Int32[np.ndarray, "row member"]
    """Rows of the columns that the tilt is made of: B, its oxygen, the A columns around."""
    weights_deg_per_px: Float[np.ndarray, "row member 2"]
    """How the tilt changes with each of them."""
    cell: Int32[np.ndarray, "row 2"]
    """Cell of the B column."""
    grain: Int32[np.ndarray, " row"]
    """Crystal that `cell` counts in."""
    flags: UInt32[np.ndarray, " row"]
    """Bits of `dipolar.core.flags.Flag`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltPattern:
    """The mean tilt of a crystal, its sign taken to alternate in one way."""

    alternates: tuple[bool, bool]
    """Whether the sign changes from cell to cell along a and along b."""
    tilt_deg: float
    """Mean of the tilts with these signs; its own sign depends on where the cells start to count."""
    tilt_sigma_deg: float
    """One standard error; oxygen shared by two octahedra counted as shared."""


def row_of(
    grain: Int32[np.ndarray, " place"],
    cell: Int32[np.ndarray, "place 2"],
    site: Int8[np.ndarray, " place"],
    wanted: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Int32[np.ndarray, " wanted"]:
    """Return the row of each wanted (grain, cell, site) in a table with these keys, -1 where it has none."""
    table = np.column_stack([grain, cell, site]).astype(np.int64)
    asked = np.column_stack(wanted).astype(np.int64)
    both = np.concatenate([table, asked])
    low = both.min(axis=0, initial=0)
    size = both.max(axis=0, initial=0) - low + 1
    code = np.ravel_multi_index(tuple((both - low).T), tuple(size.tolist()))
    have, want = code[: len(table)], code[len(table) :]
    order = np.argsort(have, kind="stable")
    at = np.minimum(np.searchsorted(have[order], want), max(len(have) - 1, 0))
    rows = order[at] if len(have) else np.full(len(want), -1)
    return np.where(have[rows] == want, rows, -1).astype(np.int32) if len(have) else rows.astype(np.int32)
