"""Columns → Cells: unit cells, displacement, cell parameters and strain, each with its sigma; and what follows."""

from dipolar.measure.antipolar import antipolar_order, wave_map
from dipolar.measure.calibration import calibrate_scan, straighten
from dipolar.measure.cells import build_cells
from dipolar.measure.consistency import layer_scatter, neighbour_scatter
from dipolar.measure.edits import apply_edits
from dipolar.measure.mistilt import mistilt_suspicion
from dipolar.measure.planes import atomic_planes
from dipolar.measure.polarization import load_material, polarization
from dipolar.measure.proposal import propose_reference
from dipolar.measure.reference import (
    cell_edges_px,
    lattice_size_px,
    opposite_offset,
    reference_offset,
    subtract_reference,
)
from dipolar.measure.scan import remove_row_jitter
from dipolar.measure.strain import strain
from dipolar.measure.summary import summarize
from dipolar.measure.tetragonality import layer_profile, tetragonality, tetragonality_profile
from dipolar.measure.uniformity import rms_deviation_px

__all__ = [
    "antipolar_order",
    "apply_edits",
    "atomic_planes",
    "build_cells",
    "calibrate_scan",
    "cell_edges_px",
    "lattice_size_px",
    "layer_profile",
    "layer_scatter",
    "load_material",
    "mistilt_suspicion",
    "neighbour_scatter",
    "opposite_offset",
    "polarization",
    "propose_reference",
    "reference_offset",
    "remove_row_jitter",
    "rms_deviation_px",
    "straighten",
    "strain",
    "subtract_reference",
    "summarize",
    "tetragonality",
    "tetragonality_profile",
    "wave_map",
]
