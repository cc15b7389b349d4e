"""The crystal structure that a simulated scan is computed from: settings and files in, structures out."""

from __future__ import annotations

from dipolar.core.errors import SettingsError
from dipolar.io.structures import read_structure
from dipolar.recipes.scan_settings_simulate import SimulateScanSettings
from dipolar.simulate.scan_structure import ScanStructure, boracite_domains

OF_STRUCTURE = ("polar_file", "parent_file", "thickness_nm", "bend_mrad", "wall_tilt_deg")
"""Settings that say nothing without a structure."""


def structure_of(settings: SimulateScanSettings) -> ScanStructure | None:
    """Return the crystal that intensities are computed from; None where they are random.

    Raises
    ------
    SettingsError
        If settings of a structure are given without one.
    """
    given = [f"{name}={getattr(settings, name)}" for name in OF_STRUCTURE if getattr(settings, name) is not None]
    if settings.structure is None:
        if given:
            raise SettingsError(
                "these settings belong to a structure.", got=", ".join(given), do="--structure boracite"
            )
        return None
    polar, parent = (None if name is None else read_structure(name) for name in structure_files(settings))
    return boracite_domains(
        polar=polar,
        parent=parent,
        thickness_nm=settings.thickness_nm,
        bend_mrad=settings.bend_mrad,
        wall_tilt_deg=settings.wall_tilt_deg,
    )


def structure_files(settings: SimulateScanSettings) -> tuple[str | None, str | None]:
    """Return the files of the polar structure and of its parent, None where there are none."""
    return settings.polar_file, settings.parent_file
