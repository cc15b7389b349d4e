"""All maps of one measurement at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dipolar.core.domains import Maps
from dipolar.core.findings import ScanCalibration
from dipolar.core.material import Symmetry
from dipolar.core.nouns import Cells, Columns
from dipolar.maps.anomalies import find_anomalies
from dipolar.maps.charge import bound_charge
from dipolar.maps.choices import AbstractDirections
from dipolar.maps.domains import find_domains
from dipolar.maps.straight import laid_back, straightened
from dipolar.maps.vortices import find_defects
from dipolar.maps.walls import WallFit, find_walls


def make_maps(
    cells: Cells,
    columns: Columns,
    *,
    shape_px: tuple[int, int],
    rng: np.random.Generator,
    directions: AbstractDirections | None = None,
    fit: WallFit | None = None,
    uc_per_cm2_per_pm: float | None = None,
    symmetry: Symmetry | None = None,
    most_anomalies: int = 20,
    scan: ScanCalibration | None = None,
    offset_covariance_px2: Float[np.ndarray, "2 2"] | None = None,
) -> Maps:
    """Return domains, walls, bound charge, vortices and places to look next.

    Where the shape of the scan was corrected for, displacements and edges are those of a true scan, and so must be the
    way from cell to cell: all is measured with the cells where a true scan shows them, then laid back on the image.

    Parameters
    ----------
    cells, columns
        What was measured, the offset of a reference removed where there is one.
    shape_px
        Rows and columns of the image.
    rng
        For the draws from the posteriors of walls.
    directions
        `FoundDirections` (the default) or `GivenDirections`.
    fit
        How wall profiles are fitted.
    uc_per_cm2_per_pm
        Polarization per displacement, signed; None speaks of displacement only.
    symmetry
        Of the material, for what walls are in space; None names them by what is seen only.
    most_anomalies
        Greatest number of places to look next.
    scan
        The shape of the scan that the cells were corrected for, if they were.
    offset_covariance_px2
        Covariance of the offset of the reference, where one was taken off: what all means share.

    Raises
    ------
    CalibrationError
        Where a factor is given and the pixel size is not known.
    """
    flat = cells if scan is None else straightened(cells, scan)
    domains = find_domains(flat, directions=directions, offset_covariance_px2=offset_covariance_px2)
    maps = Maps(
        domains=domains,
        walls=find_walls(
            flat,
            domains,
            rng=rng,
            columns=columns,
            fit=fit,
            uc_per_cm2_per_pm=uc_per_cm2_per_pm,
            symmetry=symmetry,
            offset_covariance_px2=offset_covariance_px2,
        ),
        charge=bound_charge(flat, uc_per_cm2_per_pm=uc_per_cm2_per_pm),
        defects=find_defects(flat),
        anomalies=find_anomalies(flat, columns, shape_px=shape_px, domains=domains, most=most_anomalies),
    )
    return maps if scan is None else laid_back(maps, cells, scan, shape_px=shape_px)
