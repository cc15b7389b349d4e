"""What follows from columns and cells: proposals, suspicions, orders, polarization, maps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dipolar.core.edits import EditsRecord
from dipolar.core.findings import ScanCalibration, ScanCorrection, TiltCorrection
from dipolar.core.material import PolarMaterial
from dipolar.core.measurement import Findings, Sites
from dipolar.core.nouns import Cells, Columns, Reference
from dipolar.maps import AbstractDirections, FoundDirections, GivenDirections, WallFit, make_maps
from dipolar.measure import (
    antipolar_order,
    atomic_planes,
    mistilt_suspicion,
    polarization,
    propose_reference,
    tetragonality,
    tetragonality_profile,
    wave_map,
)
from dipolar.recipes.settings import MeasureSettings

MAPS_SEED = 20250602
INSTRUMENT, LEAST = 0.025, 0.01
"""Displacement over the cell's edge that mistilt and scan distortion reach; and that is still called polar without."""
Step = Callable[[str], AbstractContextManager[None]]
"""Times and announces a step of the journey."""


def find_all(
    settings: MeasureSettings,
    columns: Columns,
    cells: Cells,
    raw: Cells,
    *,
    reference: Reference | None,
    material: PolarMaterial | None,
    shape_px: tuple[int, int],
    step: Step,
    scan: ScanCorrection | None = None,
    shape: ScanCalibration | None = None,
    edits: EditsRecord | None = None,
    sites: Sites | None = None,
    fitted: bool = True,
    seen: Cells | None = None,
    tilt: TiltCorrection | None = None,
) -> Findings:
    """Return everything that follows from a table of columns and cells.

    Parameters
    ----------
    settings
        What was asked for.
    columns, cells
        As they were measured, the offset of the reference taken off.
    raw
        The cells with that offset.
    reference
        The reference region, if one was given.
    material
        Whose polarization to tell.
    shape_px
        Rows and columns of the image.
    step
        Times a step.
    scan, shape, edits, sites
        What was done before, to be kept with the rest.
    fitted
        Whether columns stand where a fit put them. Where a network put them, errors of their places repeat with its
        grid, and would be told as waves of a sublattice: no order is looked for.
    seen
        The cells with everything that a tilt makes still in them, where `raw` is without it.
    tilt
        What was taken off for a tilt: its error, which cells share, does not average out in domains and orders.
    """
    if not len(cells.flags):
        return Findings(scan=scan, shape=shape, edits=edits, sites=sites)
    region = settings.region_px
    with step("looking for offset, tilt and order"):
        proposal = propose_reference(raw, columns) if reference is None else None
        quiet = region if region is not None or proposal is None else proposal.region_px
        mistilt = None if settings.mistilt == "off" else mistilt_suspicion(seen or raw, columns, region=quiet)
        own, shared = _parted(cells, tilt)
        offset_sigma = (0.0, 0.0) if reference is None else reference.offset_sigma_px
        common = np.diag(np.square(offset_sigma)) + shared
        order = None
        if fitted:
            sigma = (float(np.sqrt(common[0, 0])), float(np.sqrt(common[1, 1])))
            order = antipolar_order(own, columns, offset_removed=reference is not None, offset_sigma_px=sigma)
        found = None if order is None else order.modulation
        wave = None if found is None or found.slow else wave_map(own, columns, found)
        ratio = tetragonality(cells, columns, region=region)
        layers = tetragonality_profile(cells, columns, ratio, scan=shape)
        planes = atomic_planes(columns, pixel_size_pm=cells.pixel_size_pm, region=region, scan=shape)
    sign = 1.0 if cells.basis == "A" else -1.0
    factor = None if material is None else sign * material.factor_uc_per_cm2_per_pm
    maps = None
    if settings.maps:
        with step("mapping domains and walls"):
            maps = make_maps(
                own,
                columns,
                shape_px=shape_px,
                rng=np.random.default_rng(MAPS_SEED),
                directions=_directions(settings, reference),
                # with A in the middle the corners move, and a cell shows the mean over its own size
                fit=WallFit(corner_share=0.0 if cells.basis == "A" else 1.0),
                uc_per_cm2_per_pm=factor,
                symmetry=None if material is None else material.symmetry,
                scan=shape,
                offset_covariance_px2=None if reference is None and tilt is None else common,
            )
    return Findings(
        proposal=proposal,
        mistilt=mistilt,
        order=order,
        wave=wave,
        tetragonality=ratio,
        layers=layers,
        planes=planes,
        polarization=None if material is None else polarization(cells, material),
        maps=maps,
        scan=scan,
        shape=shape,
        edits=edits,
        sites=sites,
    )


def _parted(cells: Cells, tilt: TiltCorrection | None) -> tuple[Cells, Float[np.ndarray, "2 2"]]:
    """Return cells with their own covariance, and the mean of that which they share because a tilt was taken off."""
    if tilt is None:
        return cells, np.zeros((2, 2))
    own = replace(cells, covariance_px2=cells.covariance_px2 - tilt.cell_covariance_px2)
    return own, tilt.cell_covariance_px2.mean(axis=0)


def _directions(settings: MeasureSettings, reference: Reference | None) -> AbstractDirections:
    """Return where domains may point; what instruments may make is not polar until a reference has taken it off."""
    floor = INSTRUMENT if reference is None else LEAST
    if settings.directions_deg is None:
        return FoundDirections(floor=floor)
    return GivenDirections(angles_deg=settings.directions_deg, floor=floor)
