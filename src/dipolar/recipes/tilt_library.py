"""The library of tilt: stamps of A and B columns for every tilt, displacement, thickness and focus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Complex64, Float

from dipolar.core.atomic import atomic_file, cannot_write
from dipolar.core.contracts import Progress, silent
from dipolar.core.tilt_library import TiltLibrary
from dipolar.core.tilt_symmetry import Lean, leans
from dipolar.core.tilt_symmetry import unfolded as unfolded_stamps
from dipolar.learn.device import threads
from dipolar.recipes.study import key_of
from dipolar.recipes.tilt_library_settings import TiltLibrarySettings
from dipolar.recipes.tilt_library_shipped import library_for, shipped_library
from dipolar.run import AbstractRunner
from dipolar.simulate.multislice import Microscope
from dipolar.simulate.tilted.crystal import Perovskite, perovskite
from dipolar.simulate.tilted.stamps import orders_of, stamps_of

__all__ = [
    "LibraryJob",
    "foci_of",
    "kept",
    "kept_at",
    "leans_of",
    "library_for",
    "library_job",
    "microscope_of",
    "shape_of",
    "shipped_library",
    "thicknesses_of",
    "tilt_library",
    "unfolded",
]
SLICES_PER_CELL = 2
"""Slices of the multislice in a cell: a specimen is so many of them thick."""
DOES_NOT_MATTER = {"workers", "cluster", "tilt_steps", "displaced_every"}
"""Settings on which a single run does not depend."""
BEYOND = 1.0
"""Orders beyond those of the images that a library has; runs have some more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryJob:
    """One run of multislice."""

    lean: Lean
    """Tilt and displacement."""
    settings: TiltLibrarySettings
    """Of the library."""


def tilt_library(
    settings: TiltLibrarySettings, *, work: Path, spread: AbstractRunner, progress: Progress = silent
) -> TiltLibrary:
    """Return a library; runs that were finished before are taken from disk.

    Parameters
    ----------
    settings
        Crystal, microscope and nodes.
    work
        Folder in which the stamps of each finished run are kept. Only this process writes there.
    spread
        What spreads the runs.
    progress
        Told how far it has come.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    polar, shape = perovskite(settings.material).polar, shape_of(settings)
    jobs = [LibraryJob(lean=lean, settings=settings) for lean in leans_of(settings, polar=polar)]
    found = {job.lean: kept(work, job, shape) for job in jobs}
    missing = [job for job in jobs if found[job.lean] is None]
    done = len(jobs) - len(missing)
    progress("multislice", done / len(jobs))
    for number, stamps in spread.as_done(library_job, missing):
        _keep(stamps, kept_at(work, missing[number]))
        found[missing[number].lean] = stamps
        done += 1
        progress("multislice", done / len(jobs))
    return unfolded({lean: stamps for lean, stamps in found.items() if stamps is not None}, settings)


def library_job(job: LibraryJob) -> Complex64[np.ndarray, "thickness focus 2 term"]:
    """Return the stamps of one run."""
    settings = job.settings
    with threads(1):
        return stamps_of(
            perovskite(settings.material),
            microscope_of(settings),
            tilt_mrad=_scaled(job.lean.tilt, settings.tilt_step_mrad),
            shift_pm=_scaled(job.lean.state, settings.displacement_pm),
            thicknesses_nm=thicknesses_of(settings),
            foci_nm=foci_of(settings),
        )


def leans_of(settings: TiltLibrarySettings, *, polar: bool) -> list[Lean]:
    """Return the runs of a library."""
    return leans(settings.tilt_steps, polar=polar, every=settings.displaced_every)


def kept_at(work: Path, job: LibraryJob) -> Path:
    """Return where the stamps of a run are kept: the same place for the same settings."""
    what: dict[str, Any] = job.settings.model_dump(exclude=DOES_NOT_MATTER)
    return work / f"{key_of({**what, 'tilt': job.lean.tilt, 'state': job.lean.state})}.npy"


def kept(work: Path, job: LibraryJob, shape: tuple[int, ...]) -> Complex64[np.ndarray, "thickness focus 2 term"] | None:
    """Return the stamps of a run that was finished before; None where there are none, or they are damaged.

    Parameters
    ----------
    work
        Where they are kept.
    job
        The run.
    shape
        Of its stamps, from `shape_of`.
    """
    try:
        found = np.load(kept_at(work, job), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    good = found.shape == shape and found.dtype == np.complex64 and bool(np.isfinite(found).all())
    return found if good else None


def _keep(stamps: Complex64[np.ndarray, "thickness focus 2 term"], path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    with atomic_file(path) as part, part.open("wb") as file:
        np.save(file, stamps, allow_pickle=False)


def shape_of(settings: TiltLibrarySettings) -> tuple[int, int, int, int]:
    """Return how many thicknesses, foci, sublattices and terms each run has."""
    cell = float(np.linalg.norm(perovskite(settings.material).structure.lattice_pm[0]))
    terms = len(orders_of(microscope_of(settings), cell))
    return len(thicknesses_of(settings)), len(foci_of(settings)), 2, terms


def microscope_of(settings: TiltLibrarySettings) -> Microscope:
    """Return the microscope of a library."""
    return Microscope(
        voltage_kv=settings.voltage_kv,
        convergence_mrad=settings.convergence_mrad,
        inner_mrad=settings.inner_mrad,
        outer_mrad=settings.outer_mrad,
    )


def thicknesses_of(settings: TiltLibrarySettings) -> Float[np.ndarray, " thickness"]:
    """Return the thicknesses, whole numbers of slices."""
    slice_nm = 1e-3 * _depth_pm(perovskite(settings.material)) / SLICES_PER_CELL
    wanted = np.array(settings.thicknesses)
    return np.unique(np.maximum(np.rint(wanted / slice_nm), 1)) * slice_nm


def foci_of(settings: TiltLibrarySettings) -> Float[np.ndarray, " focus"]:
    """Return the foci, ascending."""
    return np.array(settings.foci)


def unfolded(
    runs: Mapping[Lean, Complex64[np.ndarray, "thickness focus 2 term"]], settings: TiltLibrarySettings
) -> TiltLibrary:
    """Return the library that these runs and the symmetry of the crystal make."""
    crystal = perovskite(settings.material)
    cell = float(np.linalg.norm(crystal.structure.lattice_pm[0]))
    microscope = microscope_of(settings)
    orders = orders_of(microscope, cell)
    rows = np.flatnonzero(np.linalg.norm(orders, axis=1) <= 2.0 * microscope.aperture_per_pm * cell + BEYOND)
    runs, orders = {lean: stamps[..., rows] for lean, stamps in runs.items()}, orders[rows]
    nodes = np.arange(-settings.tilt_steps, settings.tilt_steps + 1)
    return TiltLibrary(
        material=settings.material,
        elements=crystal.elements,
        cell_pm=cell,
        depth_pm=_depth_pm(crystal),
        voltage_kv=settings.voltage_kv,
        convergence_mrad=settings.convergence_mrad,
        detector_mrad=(settings.inner_mrad, settings.outer_mrad),
        displacement_pm=settings.displacement_pm if crystal.polar else 0.0,
        tilts_mrad=settings.tilt_step_mrad * nodes.astype(np.float64),
        thicknesses_nm=thicknesses_of(settings),
        foci_nm=foci_of(settings),
        orders=orders,
        stamps=unfolded_stamps(
            runs, orders, nodes=settings.tilt_steps, polar=crystal.polar, every=settings.displaced_every
        ),
        displaced_every=settings.displaced_every,
        source=crystal.structure.source,
    )


def _depth_pm(crystal: Perovskite) -> float:
    return float(np.linalg.norm(crystal.structure.lattice_pm[2]))


def _scaled(vector: Sequence[int], step: float) -> tuple[float, float]:
    return step * vector[0], step * vector[1]
