"""Columns against where their neighbours say they are: displacement in any projected unit cell."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt32

from dipolar.core.errors import DataError
from dipolar.core.flags import POSITION_FLAGS, Flag, has
from dipolar.core.motif import Offsets, SiteColumns, row_of

NEAREST = 1.25
"""Neighbours stand no further than this factor times the nearest one."""
Steps = list[tuple[int, tuple[int, int]]]
"""Neighbours of a column: which site of the motif, and in which cell, counted from the column's own."""


def site_offsets(sites: SiteColumns, name: str = "B") -> Offsets:
    """Return the displacement of every column of one site: its position minus its ideal place in the local cell.

    The ideal place is the fractional position of the motif between the columns of the first site (A) at the corners of
    the very cell: their bilinear mean. For B along [100] that is the mean of four corners, along [110] the middle of
    the two A columns above and below; for a site of a structure file it is where the file has it. A column of the first
    site itself is compared with the mean of its four like neighbours.

    Parameters
    ----------
    sites
        The columns.
    name
        Name of the site in `sites.motif`, or its role.

    Raises
    ------
    DataError
        If the motif has no such site.
    """
    number = site_number(sites, name)
    u, v = sites.motif.sites[number].place
    if number == 0:
        steps: Steps = [(0, cell) for cell in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        shares = np.full(4, 0.25)
    else:
        corners = [
            ((i, j), (u if i else 1.0 - u) * (v if j else 1.0 - v)) for i, j in itertools.product((0, 1), (0, 1))
        ]
        steps = [(0, cell) for cell, share in corners if share > 0]
        shares = np.array([share for _, share in corners if share > 0])
    return _offsets(sites, number, steps, shares, what=f"{name} against {sites.motif.sites[0].name}")


def anion_offsets(sites: SiteColumns, name: str) -> Offsets:
    """Return how far columns of one site stand from the centre of the oxygen columns nearest to them.

    Parameters
    ----------
    sites
        The columns, oxygen among them.
    name
        Name of the site, "A" or "B".

    Raises
    ------
    DataError
        If the motif has no such site, or no oxygen.
    """
    number = site_number(sites, name)
    steps = nearest_anions(sites, number)
    return _offsets(sites, number, steps, np.full(len(steps), 1.0 / len(steps)), what=f"{name} against O")


def site_number(sites: SiteColumns, name: str) -> int:
    """Return which site of the motif has that name, or else that role, if only one has it."""
    names = [site.name for site in sites.motif.sites]
    roles = [site.role for site in sites.motif.sites]
    if name not in names and roles.count(name) == 1:  # type: ignore[arg-type]
        return roles.index(name)  # type: ignore[arg-type]
    if name not in names:
        raise DataError(
            f"a site named {name} was expected.",
            got=f"{sites.motif.name} shows {', '.join(names)}",
            do="name one of these; oxygen shows in ABF and iDPC images only",
        )
    return names.index(name)


def nearest_anions(sites: SiteColumns, number: int) -> Steps:
    """Return the oxygen columns nearest to a site, with the cells that they are in."""
    here, motif = np.array(sites.motif.sites[number].place), sites.motif
    far = [
        (float(np.linalg.norm((np.array(site.place) + cell - here) @ sites.cell_px)), which, cell)
        for which, site in enumerate(motif.sites)
        if site.role == "O"
        for cell in itertools.product((-1, 0, 1), (-1, 0, 1))
    ]
    if not far:
        raise DataError(
            "oxygen columns were expected.",
            got=f"{motif.name} shows {', '.join(site.name for site in motif.sites)}",
            do="measure an ABF or iDPC image of the same place",
        )
    nearest = min(distance for distance, _, _ in far)
    return [(which, (cell[0], cell[1])) for distance, which, cell in far if distance < NEAREST * nearest]


def neighbours(
    sites: SiteColumns, number: int, steps: Steps
) -> tuple[Int32[np.ndarray, " row"], Int32[np.ndarray, "row step"]]:
    """Return the rows of the columns of a site that have all the neighbours named, and those of the neighbours."""
    mine = np.flatnonzero(sites.site == number).astype(np.int32)
    found = [
        row_of(
            sites.grain,
            sites.cell,
            sites.site,
            (sites.grain[mine], sites.cell[mine] + np.array(cell), np.full(len(mine), which)),
        )
        for which, cell in steps
    ]
    rows = np.column_stack(found)
    whole = np.all(rows >= 0, axis=1)
    return mine[whole], rows[whole]


def shared_covariance(
    sites: SiteColumns, rows: Int32[np.ndarray, "row member"]
) -> Float[np.ndarray, "row member 2 member 2"]:
    """Return the joint covariance of the (y, x) of columns, what scan rows displace in several of them included.

    As in `propagate.cell_covariance`: a scan row shifted by jitter σ moves every column in it by the row's share in its
    position, a Gaussian of width ω in y; two columns share σ² N(y1 - y2; sqrt(ω1² + ω2²)).
    """
    count, size = rows.shape
    joint = np.zeros((count, size, 2, size, 2))
    members = np.arange(size)
    own = sites.covariance_px2[rows]
    joint[:, members, :, members, :] = np.moveaxis(own, 1, 0)
    jitter = np.array(sites.noise.row_jitter_px) ** 2
    y, reach = sites.positions_px[rows, 0], sites.row_reach_px[rows]
    apart = (y[:, :, None] - y[:, None, :]) ** 2
    for axis in (0, 1):
        if jitter[axis] <= 0:
            continue
        spread = reach[:, :, None, axis] ** 2 + reach[:, None, :, axis] ** 2
        shared = jitter[axis] * np.exp(-0.5 * apart / spread) / np.sqrt(2.0 * np.pi * spread)
        shared[:, members, members] = 0.0
        joint[:, :, axis, :, axis] += shared
    return joint


def flags_of(sites: SiteColumns, rows: Int32[np.ndarray, "row member"]) -> UInt32[np.ndarray, " row"]:
    """Return `FLAGGED_COLUMN` where any of the columns carries a flag that concerns its position."""
    bad: Bool[np.ndarray, " row"] = has(sites.flags, POSITION_FLAGS)[rows].any(axis=1)
    return np.where(bad, np.uint32(Flag.FLAGGED_COLUMN), np.uint32(0)).astype(np.uint32)


def _offsets(
    sites: SiteColumns, number: int, steps: Steps, shares: Float[np.ndarray, " step"], *, what: str
) -> Offsets:
    column, around = neighbours(sites, number, steps)
    rows = np.column_stack([column, around])
    weights = np.concatenate([[1.0], -shares])
    expected = np.einsum("s,nsd->nd", shares, sites.positions_px[around])
    return Offsets(
        what=what,
        positions_px=expected,
        offset_px=sites.positions_px[column] - expected,
        covariance_px2=np.einsum("p,npiqj,q->nij", weights, shared_covariance(sites, rows), weights),
        column=column,
        cell=sites.cell[column],
        grain=sites.grain[column],
        flags=flags_of(sites, rows),
    )
