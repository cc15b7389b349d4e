"""The pixel size: from a lattice that is known, an option or the file."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from dipolar.core.errors import CalibrationError
from dipolar.core.findings import ScanCalibration
from dipolar.core.geometry import cell_gamma_deg
from dipolar.core.motif import Motif
from dipolar.core.nouns import Calibration, Cells, Columns, Image
from dipolar.measure import calibrate_scan, cell_edges_px, lattice_size_px, straighten
from dipolar.recipes.settings import MeasureSettings

FAR = 0.08
"""Share of an edge by which a lattice parameter may differ from it and still mean it."""
SQUARE = 1.04
"""Ratio of an edge to the root of the area above which a cell is no square: edges that differ by 8 %."""


def known_cell(settings: MeasureSettings, motif: Motif | None) -> Motif | None:
    """Return the projected cell whose edges in pm are known: that of the structure file, to the scale of `lattice_pm`.

    A lattice parameter beside a structure file is the edge of the projected cell that it is nearest to, and stretches
    the whole cell.

    Raises
    ------
    CalibrationError
        If it is no edge of that cell.
    """
    if motif is None or not (motif.a_pm > 0 and motif.b_pm > 0):
        return None
    if settings.lattice_pm is None:
        return motif
    edge = min(motif.a_pm, motif.b_pm, key=lambda length: abs(math.log(settings.lattice_pm / length)))  # type: ignore[operator]
    scale = settings.lattice_pm / edge
    if abs(math.log(scale)) > math.log1p(FAR):
        raise CalibrationError(
            "lattice_pm beside a structure must be one of the edges of the projected cell.",
            got=f"{settings.lattice_pm:g} pm, where {motif.name} has {motif.a_pm:.1f} × {motif.b_pm:.1f} pm",
            do="leave lattice_pm out: the structure alone gives the pixel size; or check the zone axis",
        )
    return replace(motif, a_pm=scale * motif.a_pm, b_pm=scale * motif.b_pm)


def calibrate(cells: Cells, settings: MeasureSettings, image: Image, *, known: Motif | None = None) -> Calibration:
    """Return the pixel size: from the lattice where one is known, else from the option, else from the file.

    A lattice parameter without a structure is the edge of a square cell: pixel size = lattice_pm / √(cell area). With a
    structure the area of its projected cell is known: pixel size = √(known area / measured area). A structure without
    a lattice parameter comes after the option.

    Parameters
    ----------
    cells
        The measured cells, in px.
    settings
        `lattice_pm`, `pixel_size_pm` and the reference region in which the lattice is measured.
    image
        As it was opened; its facts tell the file's pixel size from one that was given.
    known
        From `known_cell`.

    Raises
    ------
    CalibrationError
        If a lattice parameter was given without a structure, and the measured cell is no square.
    """
    lattice_px, lattice_sigma_px = lattice_size_px(cells, region=settings.region_px)
    facts = {fact.name: fact for fact in image.facts if isinstance(fact.value, float)}
    given = settings.pixel_size_pm is not None or "pixel_size_pm" in facts
    in_file = facts["file_pixel_size_pm"].value if "file_pixel_size_pm" in facts else None
    pixel_size_pm = settings.pixel_size_pm or image.pixel_size_pm
    source = "option" if given else "none" if pixel_size_pm is None else "file"
    if settings.lattice_pm is not None and lattice_px > 0:
        if known is None:
            _check_square(cells, settings, lattice_px)
        size_pm = settings.lattice_pm if known is None else _root_area_pm(known)
        pixel_size_pm, source = size_pm / lattice_px, "lattice"
    elif known is not None and lattice_px > 0 and not given:
        pixel_size_pm, source = _root_area_pm(known) / lattice_px, "structure"
    return Calibration(
        pixel_size_pm=pixel_size_pm,
        source=source,  # type: ignore[arg-type]
        file_pixel_size_pm=in_file if in_file is not None or given else image.pixel_size_pm,  # type: ignore[arg-type]
        lattice_pm=settings.lattice_pm,
        measured_lattice_px=lattice_px,
        measured_lattice_sigma_px=lattice_sigma_px,
    )


def shape_of_scan(
    cells: Cells, columns: Columns, settings: MeasureSettings, known: Motif | None
) -> tuple[Cells, ScanCalibration | None]:
    """Return the cells as a true scan shows them, and its shape, where it was asked for and a cell is known."""
    if settings.scan not in ("shape", "both") or settings.lattice_pm is None or not len(cells.flags):
        return cells, None
    edges_pm = (settings.lattice_pm, settings.lattice_pm)
    if known is not None:
        a_px, b_px = cell_edges_px(cells, region=settings.region_px)
        edges_pm = (known.b_pm, known.a_pm)
        if (b_px > a_px) != (known.b_pm > known.a_pm):
            edges_pm = (known.a_pm, known.b_pm)
    shape = calibrate_scan(cells, columns, lattice_pm=edges_pm, region=settings.region_px)
    return straighten(cells, columns, shape), shape


def _root_area_pm(known: Motif) -> float:
    """Return the root of the area that belongs to one A column, as the cells are drawn from A to A."""
    number = max(1, sum(site.role == "A" for site in known.sites))
    return math.sqrt(known.a_pm * known.b_pm * math.sin(math.radians(known.gamma_deg)) / number)


def _check_square(cells: Cells, settings: MeasureSettings, lattice_px: float) -> None:
    a_px, b_px = cell_edges_px(cells, region=settings.region_px)
    if max(a_px / lattice_px, lattice_px / a_px, b_px / lattice_px, lattice_px / b_px) < SQUARE:
        return
    angle = cell_gamma_deg(cells)
    raise CalibrationError(
        "lattice_pm is the edge of a square cell, and the measured cell is none: which edge it is decides the scale.",
        got=f"{settings.lattice_pm:g} pm for a cell of {a_px:.2f} × {b_px:.2f} px (a × b) at "
        f"{float(np.median(angle)):.0f}°",
        do="give --structure FILE.cif with --zone-axis, which knows both edges; or --pixel-size-pm in place of "
        "--lattice-pm; or --reference with a region where the cell is square",
    )
