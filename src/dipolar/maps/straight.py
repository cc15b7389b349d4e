"""Between the image and a true scan: cells where a true scan shows them, and maps laid back on the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dipolar.core.domains import Maps
from dipolar.core.findings import ScanCalibration
from dipolar.core.nouns import Cells


def straightened(cells: Cells, scan: ScanCalibration) -> Cells:
    """Return the cells where a true scan shows them; their displacements and edges are taken to be such already."""
    return replace(cells, positions_px=cells.positions_px @ scan.straighten.T)


def laid_back(maps: Maps, cells: Cells, scan: ScanCalibration, *, shape_px: tuple[int, int]) -> Maps:
    """Return maps of straightened cells with every place where the image shows it.

    Lengths, areas, directions, slopes and distances in nm stay those of a true scan.

    Parameters
    ----------
    maps
        Of the straightened cells.
    cells
        The cells where the image shows them.
    scan
        What they were straightened by.
    shape_px
        Rows and columns of the image.
    """
    back = np.linalg.inv(scan.straighten).T

    def on_image(places_px: Float[np.ndarray, "place 2"]) -> Float[np.ndarray, "place 2"]:
        return places_px @ back

    found = maps.anomalies
    size_nm = float("nan") if cells.pixel_size_pm is None else cells.pixel_size_pm / 1000.0
    middle_nm = (np.array(shape_px) - 1.0) / 2.0 @ scan.straighten.T * size_nm
    return Maps(
        domains=replace(maps.domains, centre_px=on_image(maps.domains.centre_px)),
        walls=tuple(
            replace(wall, points_px=on_image(wall.points_px), segment_px=on_image(wall.segment_px))
            for wall in maps.walls
        ),
        charge=replace(maps.charge, positions_px=cells.positions_px),
        defects=replace(maps.defects, positions_px=on_image(maps.defects.positions_px)),
        anomalies=replace(
            found, positions_px=cells.positions_px[found.cell], from_centre_nm=found.from_origin_nm - middle_nm
        ),
    )
