"""Columns → Cells: unit cells, displacement, cell parameters and strain, each with its sigma; and what follows."""

from dipolar.measure.antipolar import antipolar_order, wave_map
from dipolar.measure.cells import build_cells
from dipolar.measure.edits import apply_edits
from dipolar.measure.mistilt import mistilt_suspicion
from dipolar.measure.polarization import load_material, polarization
from dipolar.measure.proposal import propose_reference
from dipolar.measure.reference import lattice_size_px, reference_offset, subtract_reference
from dipolar.measure.strain import strain
from dipolar.measure.summary import summarize
from dipolar.measure.uniformity import rms_deviation_px

__all__ = [
    "antipolar_order",
    "apply_edits",
    "build_cells",
    "lattice_size_px",
    "load_material",
    "mistilt_suspicion",
    "polarization",
    "propose_reference",
    "reference_offset",
    "rms_deviation_px",
    "strain",
    "subtract_reference",
    "summarize",
    "wave_map",
]
