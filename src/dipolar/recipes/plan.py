"""What a measurement needs before it starts: everything that settings name is read, so that nothing fails late."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dipolar.core.contracts import Progress, silent
from dipolar.core.edits import Edits
from dipolar.core.errors import CalibrationError, SettingsError
from dipolar.core.material import PolarMaterial
from dipolar.core.measurement import Sites
from dipolar.core.motif import Motif, SiteColumns
from dipolar.core.nouns import Cells, Columns, Image
from dipolar.io import sha256_of
from dipolar.io.cif import read_motif
from dipolar.locate import GaussianFit, SharedProfileFit, as_columns, locate_sites, locate_with_sites
from dipolar.measure import build_cells, load_material
from dipolar.measure.octahedra import has_oxygen, octahedral_tilt, tilt_patterns
from dipolar.measure.sites import anion_offsets, site_offsets
from dipolar.recipes.calibrate import known_cell
from dipolar.recipes.edits import read_edits
from dipolar.recipes.mistilt import TiltPlan, plan_tilt
from dipolar.recipes.settings import MeasureSettings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Settings, and what the files that they name hold."""

    settings: MeasureSettings
    """What was asked for."""
    material: PolarMaterial | None
    """Whose polarization to tell."""
    motif: Motif | None
    """The projected cell of the structure file."""
    edits: Edits | None
    """Corrections by hand."""
    inputs: dict[str, str]
    """sha256 of the files that were read."""
    tilt: TiltPlan | None = None
    """By what a tilt is told, where it is."""

    def locate(self, image: Image, progress: Progress = silent) -> tuple[Columns, Sites | None]:
        """Return the A and B columns, and all columns where the structure is given or oxygen shows."""
        chosen = self.settings
        fit = SharedProfileFit() if chosen.fit == "profile" else GaussianFit()
        if self.motif is None:
            columns, others = locate_with_sites(
                image, fit=fit, bright=chosen.bright, contrast=chosen.contrast, progress=progress
            )
            return columns, None if others is None else describe_sites(others)
        sites = locate_sites(image, motif=self.motif, fit=fit, contrast=chosen.contrast, progress=progress)
        return as_columns(sites, bright=chosen.bright), describe_sites(sites)

    def again(self, image: Image) -> tuple[Columns, Cells]:
        """Return what is found in another image in the same way."""
        columns, _ = self.locate(image)
        return columns, build_cells(columns, basis=self.settings.basis)


def prepare(settings: MeasureSettings, image: Image) -> Plan:
    """Return the plan for an image.

    Raises
    ------
    SettingsError, FormatError
        If a file that the settings name cannot be used, or there is no such material.
    CalibrationError
        If something was asked for that needs lengths in pm, and there will be none.
    """
    calibrated = any(known is not None for known in (image.pixel_size_pm, settings.lattice_pm, settings.structure))
    wanted = "a polarization (--material)" if settings.material is not None else ""
    if wanted and not calibrated:
        raise CalibrationError(
            f"{wanted} needs lengths in pm.",
            got="no pixel size in the file, and none given",
            do="give --lattice-pm of a known crystal in the image, or --pixel-size-pm",
        )
    if settings.scan in ("shape", "both") and settings.lattice_pm is None:
        raise CalibrationError(
            "the shape of the scan is told from a crystal whose cell is known.",
            got=f"scan = {settings.scan}, and no lattice_pm",
            do="give --lattice-pm, and with --reference the region where that crystal is",
        )
    inputs = {}
    for path in (settings.edits, settings.structure, settings.material):
        if path is not None and Path(path).is_file():
            inputs[Path(path).name] = sha256_of(path)
    material = None if settings.material is None else load_material(settings.material)
    edits = None if settings.edits is None else read_edits(settings.edits)
    motif = None
    if settings.structure is not None:
        motif = read_motif(settings.structure, zone_axis=settings.zone_axis_uvw)
        known_cell(settings, motif)  # a lattice parameter that is none of its edges is refused before work starts
    if settings.opposite is not None and settings.reference is None:
        raise SettingsError(
            "a region of opposite polarization is the opposite of a reference region.",
            got=f"opposite {settings.opposite}, and no reference",
            do=f"--reference y0:y1,x0:x1 --opposite {settings.opposite}",
        )
    tilt = plan_tilt(settings, material)
    if tilt is not None:
        inputs |= {f"tilt/{path.name}": sha256_of(path) for path in tilt.files}
    return Plan(settings=settings, material=material, motif=motif, edits=edits, inputs=inputs, tilt=tilt)


def describe_sites(sites: SiteColumns) -> Sites:
    """Return what follows from columns on the sites of a unit cell."""
    names = [site.name for site in sites.motif.sites[1:]]
    offsets = [site_offsets(sites, name) for name in names]
    tilts = None
    if has_oxygen(sites):
        roles = {site.role for site in sites.motif.sites}
        offsets += [anion_offsets(sites, role) for role in ("A", "B") if role in roles]
        tilts = octahedral_tilt(sites)
    return Sites(
        columns=sites,
        offsets=tuple(offsets),
        octahedra=tilts,
        tilts=() if tilts is None else tilt_patterns(tilts, sites),
    )
