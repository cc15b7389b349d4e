"""The study of tilt: how far a tilted beam moves the columns of both sublattices apart, by multislice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dipolar.core.contracts import Progress, silent
from dipolar.core.structure import Structure, cartesian_pm
from dipolar.learn.device import threads
from dipolar.recipes.study import remembered, run_jobs, runner
from dipolar.recipes.study_tilt_crystal import Crystal, crystal_of
from dipolar.recipes.study_tilt_settings import TiltSettings

Row = Mapping[str, Any]
SURFACES = ("A", "B")
"""Sublattice whose plane of atoms comes first under the entrance surface."""
SCAN_PM, SCAN_STEP_PM = 280.0, 4.0
"""Half length of line scans, and distance of their points."""
AXES = {"y": 0, "x": 1}
SHIFTS = ((0.5, 0.5), (0.0, 0.0), (0.5, 0.0), (0.0, 0.5))
"""Where the offsets of each repeat begin, in steps between them: these are their own mirror images, so that none makes
a direction of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltJob:
    """One simulation of the study, of all thicknesses."""

    tilt_mrad: float
    """Tilt of the beam."""
    surface: str
    """One of `SURFACES`."""
    repeat: int
    """Number of the independent simulation."""
    settings: TiltSettings
    """Of the study."""
    work: Path
    """Where results are kept until the study is whole."""


def study_tilt(settings: TiltSettings, *, work: Path, progress: Progress = silent) -> list[Mapping[str, Any]]:
    """Return what every simulation found: each tilt, each entrance surface, each repeat.

    Parameters
    ----------
    settings
        Crystal, microscope, thicknesses and tilts.
    work
        Folder in which each finished simulation leaves its result, so that a study that was stopped goes on.
    progress
        Told how far it has come.
    """
    jobs = [
        TiltJob(tilt_mrad=tilt, surface=surface, repeat=repeat, settings=settings, work=work)
        for tilt in settings.tilts_mrad
        for surface in SURFACES
        for repeat in range(settings.repeats)
    ]
    return run_jobs(tilt_job, jobs, spread=runner(settings.workers), step="multislice", progress=progress)


def tilt_job(job: TiltJob) -> Mapping[str, Any]:
    """Return what one simulation found, from disk where it was made before."""
    study = job.settings.model_dump(exclude={"tilts", "repeats", "workers", "figures"})
    what = {"study": "tilt", **study, "tilt": job.tilt_mrad, "surface": job.surface, "shift": _shift(job)}
    return remembered(job.work, what, partial(_simulated, job))


def _shift(job: TiltJob) -> tuple[float, float]:
    """Return where the offsets of a repeat begin."""
    return SHIFTS[job.repeat]


def _simulated(job: TiltJob) -> Mapping[str, Any]:
    from dipolar.simulate.multislice import Fineness, Microscope, annular_images, fit_columns

    settings = job.settings
    crystal = crystal_of(settings)
    tilt = (job.tilt_mrad, 0.0) if settings.direction == "y" else (0.0, job.tilt_mrad)
    with threads(1):
        images = annular_images(
            crystal.structure,
            Microscope(
                voltage_kv=settings.voltage_kv,
                convergence_mrad=settings.convergence_mrad,
                inner_mrad=settings.inner_mrad,
                outer_mrad=settings.outer_mrad,
                defocus_pm=1e3 * settings.defocus_nm,
                cs_mm=settings.cs_mm,
                source_fwhm_pm=settings.source_fwhm_pm,
            ),
            thicknesses_nm=settings.thicknesses,
            tilt_mrad=tilt,
            fineness=Fineness(
                pixel_pm=settings.pixel_pm,
                slice_pm=settings.slice_pm,
                field_pm=settings.field_pm,
                shift=_shift(job),
            ),
            top_pm=top_of(crystal, job.surface),
        )
    columns = {name: fit_columns(images, crystal.places_pm[name], radius_pm=crystal.radius_pm) for name in SURFACES}
    line = np.zeros((int(2 * SCAN_PM / SCAN_STEP_PM) + 1, 2))
    line[:, AXES[settings.direction]] = np.arange(len(line)) * SCAN_STEP_PM - SCAN_PM
    return {
        "tilt_mrad": job.tilt_mrad,
        "surface": job.surface,
        "repeat": job.repeat,
        "thicknesses_nm": [round(float(value), 6) for value in images.thicknesses_nm],
        "columns_pm": {name: np.round(found, 5).tolist() for name, found in columns.items()},
        "images": np.round(images.data.astype(np.float64), 7).tolist(),
        "pixel_size_pm": list(images.pixel_size_pm),
        "scans": {
            name: np.round(images.at(crystal.places_pm[name][0] + line), 7).tolist() for name in SURFACES
        },
    }  # fmt: skip


def top_of(crystal: Crystal, surface: str) -> float:
    """Return the depth in the cell at which a specimen begins whose first plane is that of one sublattice."""
    depth = _first_depth(crystal.structure, crystal.numbers[surface])
    return depth - 0.25 * crystal.step_pm


def _first_depth(structure: Structure, number: int) -> float:
    return float(cartesian_pm(structure)[structure.numbers == number][0, 2])


def shifts_of(
    found: Sequence[Mapping[str, Any]], settings: TiltSettings
) -> Float[np.ndarray, "surface repeat tilt thickness sublattice 2"]:
    """Return how far the columns of both sublattices moved since tilt 0, along the tilt and across it, in pm."""
    along = AXES[settings.direction]
    many = (len(SURFACES), settings.repeats, len(settings.tilts_mrad), len(found[0]["thicknesses_nm"]), 2, 2)
    places = np.full(many, np.nan)
    for result in found:
        row = (SURFACES.index(result["surface"]), result["repeat"], settings.tilts_mrad.index(result["tilt_mrad"]))
        for number, name in enumerate(SURFACES):
            mean = np.asarray(result["columns_pm"][name], dtype=np.float64).mean(axis=1)
            places[row][:, number] = mean[:, [along, 1 - along]]
    return places - places[:, :, :1]


def rows_of(found: Sequence[Mapping[str, Any]], settings: TiltSettings) -> list[Row]:
    """Return the table: a row for every thickness and tilt.

    Shifts are the mean over both entrance surfaces and all repeats. Sigma of a difference is made of two parts: half
    of what the two entrance surfaces differ by, as nobody knows which one a specimen has; and the standard error of
    the mean over the repeats, which is numerical.
    """
    shifts = shifts_of(found, settings)
    difference = shifts[..., 1, :] - shifts[..., 0, :]
    mean, mean_difference = shifts.mean(axis=(0, 1)), difference.mean(axis=(0, 1))
    surface = 0.5 * np.abs(np.diff(difference.mean(axis=1), axis=0)[0])
    if settings.repeats > 1:
        numerical = difference.mean(axis=0).std(axis=0, ddof=1) / np.sqrt(settings.repeats)
    else:
        numerical = np.full(surface.shape, np.nan)
    sigma = np.hypot(surface, numerical)
    sigma[0] = 0.0  # tilt 0 is what the others are counted from
    return [
        {
            "thickness_nm": thickness,
            "tilt_mrad": tilt,
            "a_shift_pm": float(mean[at, deep, 0, 0]),
            "b_shift_pm": float(mean[at, deep, 1, 0]),
            "difference_pm": float(mean_difference[at, deep, 0]),
            "difference_sigma_pm": float(sigma[at, deep, 0]),
            "numerical_sigma_pm": float(numerical[at, deep, 0]) if at else 0.0,
            "a_first_difference_pm": float(difference[0, :, at, deep, 0].mean()),
            "b_first_difference_pm": float(difference[1, :, at, deep, 0].mean()),
            "a_across_pm": float(mean[at, deep, 0, 1]),
            "b_across_pm": float(mean[at, deep, 1, 1]),
            "difference_across_pm": float(mean_difference[at, deep, 1]),
            "difference_across_sigma_pm": float(sigma[at, deep, 1]),
        }
        for deep, thickness in enumerate(found[0]["thicknesses_nm"])
        for at, tilt in enumerate(settings.tilts_mrad)
    ]
