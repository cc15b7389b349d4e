"""The library of tilt: stamps of A and B columns for every tilt, displacement, thickness and focus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Complex64, Float

from dipolar.core.atomic import atomic_file
from dipolar.core.contracts import Progress, silent
from dipolar.core.tilt_library import STATES, TiltLibrary, turned_terms
from dipolar.learn.device import threads
from dipolar.recipes.parse import parse_numbers
from dipolar.recipes.study import key_of
from dipolar.recipes.tilt_library_settings import TiltLibrarySettings
from dipolar.run import AbstractRunner
from dipolar.simulate.multislice import Microscope
from dipolar.simulate.tilted.crystal import Perovskite, perovskite
from dipolar.simulate.tilted.stamps import Lean, alike, leans, orders_of, stamps_of

SLICES_PER_CELL = 2
"""Slices of the multislice in a cell: a specimen is so many of them thick."""
LARGEST_FOCUS_NM = 1000.0
"""Nobody focuses further away from a specimen."""
DOES_NOT_MATTER = {"workers", "cluster", "tilt_steps"}
"""Settings on which a single run does not depend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryJob:
    """One run of multislice."""

    lean: Lean
    """Tilt and displacement."""
    settings: TiltLibrarySettings
    """Of the library."""
    work: Path
    """Where its stamps are kept until the library is whole."""


def tilt_library(
    settings: TiltLibrarySettings, *, work: Path, spread: AbstractRunner, progress: Progress = silent
) -> TiltLibrary:
    """Return a library; runs that were finished before are taken from disk.

    Parameters
    ----------
    settings
        Crystal, microscope and nodes.
    work
        Folder in which each finished run leaves its stamps.
    spread
        What spreads the runs.
    progress
        Told how far it has come.
    """
    crystal = perovskite(settings.material)
    jobs = [
        LibraryJob(lean=lean, settings=settings, work=work)
        for lean in leans(settings.tilt_steps, polar=crystal.polar)
    ]  # fmt: skip
    progress("multislice", 0.0)
    for number, _ in enumerate(spread.each(library_job, jobs)):
        progress("multislice", (number + 1) / len(jobs))
    return unfolded({job.lean: np.load(kept_at(job)) for job in jobs}, settings)


def library_job(job: LibraryJob) -> str:
    """Make the stamps of one run, unless they are on disk, and return the name of their file."""
    path = kept_at(job)
    if not path.is_file():
        settings = job.settings
        with threads(1):
            found = stamps_of(
                perovskite(settings.material),
                microscope_of(settings),
                tilt_mrad=_scaled(job.lean.tilt, settings.tilt_step_mrad),
                shift_pm=_scaled(job.lean.state, settings.displacement_pm),
                thicknesses_nm=thicknesses_of(settings),
                foci_nm=foci_of(settings),
            )
        job.work.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as part, part.open("wb") as file:
            np.save(file, found, allow_pickle=False)
    return path.name


def kept_at(job: LibraryJob) -> Path:
    """Return where the stamps of a run are kept: the same place for the same settings."""
    what: dict[str, Any] = job.settings.model_dump(exclude=DOES_NOT_MATTER)
    return job.work / f"{key_of({**what, 'tilt': job.lean.tilt, 'state': job.lean.state})}.npy"


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
    wanted = np.array(parse_numbers(settings.thickness_nm))
    return np.unique(np.maximum(np.rint(wanted / slice_nm), 1)) * slice_nm


def foci_of(settings: TiltLibrarySettings) -> Float[np.ndarray, " focus"]:
    """Return the foci, ascending."""
    return np.sort(np.array(parse_numbers(settings.focus_nm, least=-LARGEST_FOCUS_NM)))


def unfolded(runs: dict[Lean, Complex64[np.ndarray, "..."]], settings: TiltLibrarySettings) -> TiltLibrary:
    """Return the library that these runs and the symmetry of the crystal make."""
    crystal = perovskite(settings.material)
    microscope = microscope_of(settings)
    cell = float(np.linalg.norm(crystal.structure.lattice_pm[0]))
    orders = orders_of(microscope, cell)
    nodes = np.arange(-settings.tilt_steps, settings.tilt_steps + 1)
    states = STATES if crystal.polar else STATES[:1]
    first = next(iter(runs.values()))
    stamps = np.empty((len(nodes), len(nodes), len(states), *first.shape), dtype=np.complex64)
    for i, y in enumerate(nodes.tolist()):
        for j, x in enumerate(nodes.tolist()):
            for k, state in enumerate(states):
                run, matrix = alike(Lean((y, x), state))
                stamps[i, j, k] = turned_terms(runs[run], orders, matrix)
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
        stamps=stamps,
        source=crystal.structure.source,
    )


def _depth_pm(crystal: Perovskite) -> float:
    return float(np.linalg.norm(crystal.structure.lattice_pm[2]))


def _scaled(vector: Sequence[int], step: float) -> tuple[float, float]:
    return step * vector[0], step * vector[1]
