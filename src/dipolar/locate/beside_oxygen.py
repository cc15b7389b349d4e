"""A and B columns of images that show oxygen too, in the form that other images have them in."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dipolar.core.contracts import Progress
from dipolar.core.errors import ImageError, NoLatticeError
from dipolar.core.flags import Flag
from dipolar.core.motif import SiteColumns, in_role, row_of
from dipolar.core.nouns import LINK_STEPS, Basis, Columns, Image
from dipolar.locate.choices import AbstractFit
from dipolar.locate.contrast import Polarity
from dipolar.locate.fold import find_motif
from dipolar.locate.lattice import orient
from dipolar.locate.motif import find_frame, sites_in
from dipolar.locate.sublattice import assign_sublattices

SIMPLE = 2
"""Columns per cell that need no motif: A and B, or one kind alone."""


def columns_beside_oxygen(
    image: Image, polarity: Polarity, *, fit: AbstractFit, bright: Basis, progress: Progress
) -> tuple[Columns, SiteColumns] | None:
    """Return the A and B columns, fitted together with oxygen, and all of them; None where no oxygen shows.

    Raises
    ------
    ImageError
        If the unit cell shows more columns than A and B, and they are not those of a perovskite along [100] or [110]:
        fitted as if there were no others, they would be drawn to them.
    """
    try:
        frame = find_frame(image, contrast=polarity.kind)
    except NoLatticeError:
        return None
    cell = frame.cell_px
    motif = find_motif(frame.mean, cell, oxygen=True)
    roles = [site.role for site in motif.sites]
    if "A" not in roles and len(roles) > SIMPLE:
        size = np.linalg.norm(cell, axis=1)
        raise ImageError(
            "the columns of a perovskite seen along [100] or [110] were expected.",
            got=f"a unit cell of {size[0]:.1f} × {size[1]:.1f} px with {len(roles)} columns at "
            + ", ".join(f"({site.place[0]:.2f}, {site.place[1]:.2f})" for site in motif.sites),
            do="give the structure: locate_sites(image, motif=read_motif('structure.cif', zone_axis=(1, 1, 0)))",
        )
    if "O" not in roles:
        return None
    sites = sites_in(image, frame, motif=None, fit=fit, progress=progress)
    return (as_columns(sites, bright=bright), sites) if in_role(sites, "O").any() else None


def as_columns(sites: SiteColumns, *, bright: Basis = "A") -> Columns:
    """Return the A and B columns of a perovskite along [100] or [110] with their links, without the others.

    Parameters
    ----------
    sites
        Columns of a motif with sites A and B.
    bright
        The sublattice that stands out more where the two differ.

    Raises
    ------
    ImageError
        If the motif has no A or no B.
    """
    cations = in_role(sites, "A") | in_role(sites, "B")
    if not (in_role(sites, "A").any() and in_role(sites, "B").any()):
        raise ImageError(
            "columns of A and B were expected.",
            got=f"{sites.motif.name} shows {', '.join(site.name for site in sites.motif.sites)}",
            do="measure them as they are: measure.site_offsets(sites, name)",
        )
    steps = _steps(sites)
    fractional = sites.cell[cations] + sites.motif.places()[sites.site[cations]]
    index = np.rint(fractional @ sites.cell_px @ np.linalg.inv(steps)).astype(np.int32)
    grain, alone = sites.grain[cations], np.zeros(len(index), dtype=np.int8)
    links = np.column_stack([row_of(grain, index, alone, (grain, index + step, alone)) for step in LINK_STEPS])
    sublattice, unsure = assign_sublattices(index, grain, links, np.abs(sites.amplitude[cations]), bright=bright)
    ambiguous = np.where(unsure, np.uint32(Flag.AMBIGUOUS_SUBLATTICE), np.uint32(0)).astype(np.uint32)
    kinds = sites.profile[:2]
    return Columns(
        positions_px=sites.positions_px[cations],
        covariance_px2=sites.covariance_px2[cations],
        amplitude=sites.amplitude[cations],
        amplitude_sigma=sites.amplitude_sigma[cations],
        background=sites.background[cations],
        widths_px=sites.widths_px[cations],
        angle_deg=sites.angle_deg[cations],
        sublattice=sublattice,
        index=index,
        grain=grain,
        links=links,
        row_reach_px=sites.row_reach_px[cations],
        chi2=sites.chi2[cations],
        flags=sites.flags[cations] | ambiguous,
        noise=sites.noise,
        steps_px=steps,
        profile=kinds,
    )


def _steps(sites: SiteColumns) -> Float[np.ndarray, "2 2"]:
    """Return the two steps from A to B that, with their sum and difference, make all of the lattice."""
    place = next(site.place for site in sites.motif.sites if site.role == "B")
    a, b = sites.cell_px
    first = place[0] * a + place[1] * b
    second = first - b if place[0] > 0.25 else first - a
    return orient(first, second)
