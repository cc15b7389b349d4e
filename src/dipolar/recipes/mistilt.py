"""A tilt of the crystal in a measurement: told, and taken off where that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import SettingsError
from dipolar.core.findings import TiltCorrection
from dipolar.core.material import PolarMaterial
from dipolar.core.nouns import Cells, Columns, Image
from dipolar.core.tilt_library import TiltLibrary, compared
from dipolar.measure import build_cells
from dipolar.measure.tilt_cells import FEWEST, Regions, regions_of
from dipolar.measure.tilt_map import tilt_correction, told_by_library
from dipolar.measure.tilt_nodes import Prior, nodes_of
from dipolar.measure.tilt_posterior import Posterior
from dipolar.recipes.settings import MeasureSettings
from dipolar.recipes.tilt_library_shipped import KEYS, SHIPPED, library_for, library_path, shipped_library
from dipolar.recipes.tilt_networks import network_path

REGION_CELLS = 8.0
"""Edge of the squares whose mean cells are compared, in cells."""
UNEQUAL, LEANING = 1.15, 0.12
"""Ratio of a cell's edges, and cosine of the angle between them, from which it is none of a perovskite along ⟨100⟩."""
MOST_REGIONS = 36
"""Squares of a large image are larger, so that there are no more than about this many."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltPlan:
    """What a correction needs, read before anything is measured."""

    library: TiltLibrary
    """What columns look like under a tilted beam."""
    thickness_nm: float
    """Estimate of the specimen's thickness."""
    settings: MeasureSettings
    """What was asked for."""
    network: Path | None
    """File of the network that tells the tilt in place of the library, where that was asked for."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that the answer depends on."""
        given = self.settings.tilt_library
        library = SHIPPED / f"{self.library.material}.npz" if given is None else library_path(given)
        return (library,) if self.network is None else (library, self.network)


def plan_tilt(settings: MeasureSettings, material: PolarMaterial | None) -> TiltPlan | None:
    """Return the library and all else by which a tilt is told; None where it is not to be, or cannot be.

    Raises
    ------
    SettingsError
        If a correction was asked for without a material or an estimate of the thickness, or there is no such library.
    """
    if settings.mistilt == "off" or (settings.mistilt == "report" and settings.thickness_nm is None):
        return None
    name = _known(material, must=settings.mistilt == "correct")
    if name is None and settings.tilt_library is None:
        if settings.mistilt == "report":
            return None
        raise SettingsError(
            "a correction of the tilt needs to know the material.",
            got="none" if material is None else f"{material.name}, of which no library comes with dipolar",
            do="--material BiFeO3, or --tilt-library with sto, or with what dipolar simulate tilt wrote",
        )
    if settings.thickness_nm is None:
        raise SettingsError(
            "a correction of the tilt needs an estimate of the specimen's thickness.",
            got="none",
            do="--thickness-nm 30, and --thickness-share 0.2 where it is known to 20 %",
        )
    library = shipped_library(name or "") if settings.tilt_library is None else library_for(settings.tilt_library)
    thinnest, thickest = library.thicknesses_nm[[0, -1]]
    if not thinnest <= settings.thickness_nm <= thickest:
        raise SettingsError(
            f"the library of {library.material} knows thicknesses from {thinnest:.3g} to {thickest:.3g} nm.",
            got=f"{settings.thickness_nm:g} nm",
            do="give one in between, or make a library of your own: dipolar simulate tilt --thickness-nm ...",
        )
    network = network_path(library.material) if settings.tilt_by == "network" else None
    if network is not None:
        _check_network(network, library, settings.thickness_nm)
    return TiltPlan(library=library, thickness_nm=settings.thickness_nm, settings=settings, network=network)


def _check_network(path: Path, library: TiltLibrary, thickness_nm: float) -> None:
    """Refuse a network that was trained on another library, or on other thicknesses, before anything is measured."""
    from dipolar.learn.tilt_network_file import read_tilt_model

    model = read_tilt_model(path)
    low, high = model.thickness_nm
    orders = library.orders[compared(library)]
    same = np.array_equal(model.orders, orders) and np.isclose(model.cell_pm, library.cell_pm)
    usual = shipped_library(library.material)
    scope = ("voltage_kv", "convergence_mrad", "detector_mrad")
    if not same or any(getattr(library, name) != getattr(usual, name) for name in scope):
        raise SettingsError(
            "the network that comes along was trained on the library that comes along.",
            got=f"another one: {library.voltage_kv:g} kV, {library.convergence_mrad:g} mrad",
            do="--tilt-by library",
        )
    if not low <= thickness_nm <= high:
        raise SettingsError(
            f"the network was trained on specimens of {low:g} to {high:g} nm.", got=f"{thickness_nm:g} nm",
            do="--tilt-by library",
        )  # fmt: skip


def _known(material: PolarMaterial | None, *, must: bool) -> str | None:
    """Return the name of a material by which a library is found; a report does without where none comes along."""
    key = None if material is None else KEYS.get(material.name.lower())
    if material is None or key is None:
        return None
    return material.name if must or (SHIPPED / f"{key}.npz").is_file() else None


def tilt_of(
    plan: TiltPlan, image: Image, columns: Columns, cells: Cells, *, progress: Progress = silent
) -> TiltCorrection | None:
    """Return tilt and false displacement; None where no square of the image holds enough cells.

    Parameters
    ----------
    plan
        From `plan_tilt`.
    image
        That was measured.
    columns, cells
        As they were found, no reference taken off.
    progress
        Told how far it has come.
    """
    library, settings = plan.library, plan.settings
    of_a = cells if cells.basis == "A" else build_cells(columns, basis="A", pixel_size_pm=cells.pixel_size_pm)
    if len(of_a.flags) < FEWEST or not _square(of_a):
        return None
    edge = max(REGION_CELLS, np.sqrt(len(of_a.flags) / MOST_REGIONS))
    regions = regions_of(image.data, of_a, library.orders[compared(library)], edge_cells=edge)
    if not regions.mean_cells:
        return None
    if plan.network is not None:
        found = _by_network(plan.network, regions, plan.thickness_nm)
    else:
        prior = Prior(thickness_nm=plan.thickness_nm, thickness_share=settings.thickness_share)
        found = told_by_library(regions, nodes_of(library, prior), progress=progress)
    return tilt_correction(regions, found, of_a, library, of=cells)


def _square(cells: Cells) -> bool:
    """Return whether cells can be those of a perovskite along ⟨100⟩: nearly square."""
    edges = [float(np.median(np.linalg.norm(edge, axis=1))) for edge in (cells.a_px, cells.b_px)]
    right = float(np.median(np.abs(np.sum(cells.a_px * cells.b_px, axis=1)))) / (edges[0] * edges[1])
    return 1.0 / UNEQUAL < edges[0] / edges[1] < UNEQUAL and right < LEANING


def _by_network(path: Path, regions: Regions, thickness_nm: float) -> list[Posterior]:
    """Return what a network tells of every region; it says nothing of thickness, focus and misfit."""
    from dipolar.learn.tilt_network import told_by_network
    from dipolar.learn.tilt_network_file import read_tilt_model

    model = read_tilt_model(path)
    told = told_by_network(model, regions.mean_cells, thickness_nm)
    unknown = float("nan")
    return [
        Posterior(
            tilt_mrad=tilt,
            tilt_covariance_mrad2=np.diag(np.square(sigma)),
            displacement_pm=model.cell_pm * mean.displacement - false,
            covariance_pm2=covariance,
            thickness_nm=unknown,
            focus_nm=unknown,
            chi2=unknown,
        )
        for mean, tilt, sigma, false, covariance in zip(
            regions.mean_cells, told.tilt_mrad, told.tilt_sigma_mrad, told.false_pm, told.covariance_pm2, strict=True
        )
    ]
