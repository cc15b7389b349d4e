"""Octahedra in projection: how far the oxygen around B is turned against the lattice, and how the turn alternates."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Bool, Float

from dipolar.core.motif import Octahedra, SiteColumns, TiltPattern, in_role
from dipolar.measure.sites import Steps, flags_of, nearest_anions, neighbours, shared_covariance, site_number

PATTERNS = ((True, True), (True, False), (False, True), (False, False))
"""Ways in which a tilt can alternate along (a, b)."""


def octahedral_tilt(sites: SiteColumns, name: str = "B") -> Octahedra:
    """Return the rotation of the oxygen columns about every B column, against the A columns around it.

    With r the places that the oxygen has in the undistorted cell spanned by the A columns around, and x those measured
    from B, the angle is Σ r × x / Σ r², its sense counter-clockwise on the screen. The lattice is that of the very
    neighbourhood, so that strain, shear and rotation of the crystal, or of the scan, are no tilt. Along [100] four
    oxygen columns take part, along [110] the two beside B.

    Parameters
    ----------
    sites
        The columns, oxygen among them.
    name
        Name of the site in the middle of the octahedra.

    Raises
    ------
    DataError
        If the motif has no such site, or no oxygen.
    """
    number = site_number(sites, name)
    anions = nearest_anions(sites, number)
    frame, slopes = _frame(sites, number)
    column, around = neighbours(sites, number, anions + frame)
    count = len(anions)
    oxygen, corners = sites.positions_px[around[:, :count]], sites.positions_px[around[:, count:]]
    here = sites.positions_px[column]
    off = _off(sites, number, anions)
    vectors = np.einsum("kj,njd->nkd", slopes, corners)  # a and b of this very neighbourhood
    expected = np.einsum("ok,nkd->nod", off, vectors)
    ahead = np.stack([-expected[..., 1], expected[..., 0]], axis=-1)  # a quarter turn on, counter-clockwise on screen
    size = np.sum(expected**2, axis=(1, 2))
    found = oxygen - here[:, None]
    tilt = np.sum(ahead * found, axis=(1, 2)) / size
    by_expected = np.stack([found[..., 1], -found[..., 0]], axis=-1) - 2.0 * tilt[:, None, None] * expected
    by_corners = np.einsum("ok,kj,nod->njd", off, slopes, by_expected)
    weights = np.concatenate([-ahead.sum(axis=1)[:, None], ahead, by_corners], axis=1)
    weights = np.degrees(weights / size[:, None, None])
    rows = np.column_stack([column, around])
    variance = np.einsum("npi,npiqj,nqj->n", weights, shared_covariance(sites, rows), weights, optimize=True)
    return Octahedra(
        positions_px=here,
        tilt_deg=np.degrees(tilt),
        tilt_sigma_deg=np.sqrt(variance),
        members=rows,
        weights_deg_per_px=weights,
        cell=sites.cell[column],
        grain=sites.grain[column],
        flags=flags_of(sites, rows),
    )


def tilt_patterns(octahedra: Octahedra, sites: SiteColumns) -> tuple[TiltPattern, ...]:
    """Return the mean tilt for every way in which its sign may alternate, the largest in sigmas first.

    Octahedra share their oxygen, so that neighbours turn against each other where they are rigid: along [100] the sign
    alternates along both edges. Octahedra behind one another that turn against each other (a⁻) cancel in projection;
    those that turn alike (a⁺) show.

    Parameters
    ----------
    octahedra
        Tilts of the B columns of `sites`; only those without flags of the largest crystal count.
    sites
        The columns they were made of.
    """
    good = (octahedra.flags == 0) & (octahedra.grain == 0) & np.isfinite(octahedra.tilt_sigma_deg)
    # all ways are fitted at once: where there are more cells of one sign, each mean would hold some of the others
    signs = 1.0 - 2.0 * ((octahedra.cell[good] @ np.array(PATTERNS, dtype=int).T) % 2)
    shares = np.linalg.pinv(signs) if len(signs) else np.zeros((len(PATTERNS), 0))
    patterns = [_pattern(octahedra, sites, good, *pair) for pair in zip(PATTERNS, shares, strict=True)]
    return tuple(sorted(patterns, key=_clearness, reverse=True))


def has_oxygen(sites: SiteColumns) -> bool:
    """Return whether there are oxygen columns among them."""
    return bool(in_role(sites, "O").any())


def _clearness(pattern: TiltPattern) -> float:
    return abs(pattern.tilt_deg) / pattern.tilt_sigma_deg if pattern.tilt_sigma_deg > 0 else 0.0


def _pattern(
    octahedra: Octahedra,
    sites: SiteColumns,
    good: Bool[np.ndarray, " row"],
    alternates: tuple[bool, bool],
    share: Float[np.ndarray, " good"],
) -> TiltPattern:
    """Return the sum of the good tilts with the given shares, and its error."""
    if not len(share):
        return TiltPattern(alternates=alternates, tilt_deg=float("nan"), tilt_sigma_deg=float("nan"))
    # every column once, with the sum of its weights in all octahedra that it belongs to
    members, weights = octahedra.members[good], octahedra.weights_deg_per_px[good] * share[:, None, None]
    total = np.zeros((len(sites.site), 2))
    np.add.at(total, members.ravel(), weights.reshape(-1, 2))
    used = np.any(total != 0, axis=1)
    variance = np.einsum("ni,nij,nj->", total[used], sites.covariance_px2[used], total[used])
    return TiltPattern(
        alternates=alternates,
        tilt_deg=float(share @ octahedra.tilt_deg[good]),
        tilt_sigma_deg=float(np.sqrt(variance)),
    )


def _off(sites: SiteColumns, number: int, steps: Steps) -> Float[np.ndarray, "step 2"]:
    """Return the fractional vectors from a site to its neighbours."""
    places = sites.motif.places()
    return np.array([places[which] + cell - places[number] for which, cell in steps])


def _frame(sites: SiteColumns, number: int) -> tuple[Steps, Float[np.ndarray, "2 corner"]]:
    """Return the A columns within a cell's edge of a site, and the weights with which they make a and b there."""
    steps: Steps = [(0, cell) for cell in itertools.product((-1, 0, 1), (-1, 0, 1))]
    off = _off(sites, number, steps)
    reach = (np.abs(off) <= 1.0 + 1e-6).all(axis=1) & (np.abs(off).max(axis=1) > 1e-6)
    steps = [step for step, kept in zip(steps, reach, strict=True) if kept]
    off = off[reach]
    return steps, np.linalg.pinv(np.column_stack([off, np.ones(len(off))]))[:2]
