"""Whether a library of tilt can be made as it is wanted: said before hours of work, and not after them."""

from __future__ import annotations

import numpy as np

from dipolar.core.errors import SettingsError
from dipolar.core.memory import free_bytes
from dipolar.core.tilt_library import STATES
from dipolar.recipes.study import runner
from dipolar.recipes.study_tilt_settings import LARGEST_TILT_MRAD
from dipolar.recipes.tilt_library import leans_of, microscope_of, shape_of
from dipolar.recipes.tilt_library_settings import TiltLibrarySettings
from dipolar.run import AbstractRunner, DaskJobs
from dipolar.simulate.multislice import Fineness
from dipolar.simulate.multislice.fineness import check_angles
from dipolar.simulate.multislice.plane import grid_of, period_of
from dipolar.simulate.tilted.crystal import perovskite

COPIES = 3
"""Times that the stamps of all runs are there at once when they are packed, in twice the digits, beside the library."""


def check_library(settings: TiltLibrarySettings) -> None:
    """Refuse what cannot be a library.

    Raises
    ------
    SettingsError
        If tilts are too large, the detector is inside the aperture or nowhere, the waves' pixels are too coarse for the
        aperture, or memory is short.
    """
    microscope = microscope_of(settings)
    _check_tilts(settings)
    if settings.inner_mrad < settings.convergence_mrad:
        raise SettingsError(
            "the detector must be outside the aperture: stamps are those of a dark field.",
            got=f"a detector from {settings.inner_mrad:g} mrad, and an aperture of {settings.convergence_mrad:g} mrad",
            do=f"--inner-mrad {1.5 * settings.convergence_mrad:g}",
        )
    structure = perovskite(settings.material).structure
    period = period_of(structure)
    try:
        check_angles(
            grid_of(period, Fineness().pixel_pm), period, voltage_kv=microscope.voltage_kv,
            inside_mrad=microscope.convergence_mrad, outer_mrad=microscope.outer_mrad, absorption=True,
        )  # fmt: skip
    except SettingsError as error:  # pixels are no setting here
        raise SettingsError(error.expected, got=error.got, do="a smaller --convergence-mrad") from error
    _check_memory(settings)


def runner_of(settings: TiltLibrarySettings) -> AbstractRunner:
    """Return what spreads the runs of a library.

    Raises
    ------
    SettingsError
        If both processes here and a cluster are wanted.
    """
    if settings.cluster is None:
        return runner(settings.workers)
    if settings.workers > 1:
        raise SettingsError(
            "a library is made by processes here, or by a cluster.",
            got=f"workers={settings.workers}, cluster={settings.cluster}",
            do=f"--cluster {settings.cluster}, without --workers",
        )
    return DaskJobs(url=settings.cluster)


def bytes_needed(settings: TiltLibrarySettings) -> int:
    """Return how much memory a library takes while it is made, the multislice apart."""
    crystal = perovskite(settings.material)
    one = np.prod(shape_of(settings)) * np.dtype(np.complex64).itemsize
    whole = (2 * settings.tilt_steps + 1) ** 2 * (len(STATES) if crystal.polar else 1)
    return int(one * (whole + 2 * COPIES * len(leans_of(settings, polar=crystal.polar))))


def _check_tilts(settings: TiltLibrarySettings) -> None:
    largest = np.sqrt(2.0) * settings.tilt_steps * settings.tilt_step_mrad
    if largest > LARGEST_TILT_MRAD:
        steps = int(LARGEST_TILT_MRAD / np.sqrt(2.0) / settings.tilt_step_mrad)
        steps -= steps % settings.displaced_every
        smaller = LARGEST_TILT_MRAD / np.sqrt(2.0) / settings.tilt_steps
        raise SettingsError(
            f"tilts along y and x together must be {LARGEST_TILT_MRAD:g} mrad at most.",
            got=f"{settings.tilt_steps} steps of {settings.tilt_step_mrad:g} mrad, {largest:.0f} mrad in the corners",
            do=f"--tilt-steps {steps}" if steps else f"--tilt-step-mrad {np.floor(smaller):g}",
        )


def _check_memory(settings: TiltLibrarySettings) -> None:
    needed, free = bytes_needed(settings), free_bytes()
    if free is not None and needed > free:
        raise SettingsError(
            f"this library takes {needed / 1e9:.3g} GB of memory while it is made.",
            got=f"{free / 1e9:.3g} GB free",
            do="fewer tilts (--tilt-steps), thicknesses (--thickness-nm) or foci (--focus-nm)",
        )
