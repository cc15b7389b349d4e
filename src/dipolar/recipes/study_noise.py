"""The study of noise: how well networks tell displacement against the noise of the image and the window they see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.learning import Windows
from dipolar.recipes.study import (
    MODES,
    check_windows,
    key_of,
    remembered,
    run_jobs,
    runner,
    source_of_film,
    trained_on,
)
from dipolar.recipes.study_settings import NoiseSettings
from dipolar.simulate import Simulated
from dipolar.simulate.composition import composition_film
from dipolar.simulate.noise import with_gaussian_noise


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseJob:
    """One network of the study."""

    mode: str
    """C or NC."""
    windows: Windows
    """Where its windows stand."""
    window_px: int
    """What it sees."""
    variance: float
    """Of the noise added."""
    settings: NoiseSettings
    """Of the study."""
    work: Path
    """Where results are kept until the study is whole."""


def study_noise(settings: NoiseSettings, *, work: Path, progress: Progress = silent) -> list[Mapping[str, Any]]:
    """Return a row for every network: noise, window, mean square error, R², on the third of the film kept for the test.

    One film of known truth, with Gaussian noise of several sizes added as the published study adds it; for each and for
    each size and kind of window, one network of ours is trained on two thirds of the film.

    Parameters
    ----------
    settings
        Noise, windows, size of the film.
    work
        Folder in which each finished network leaves its row, so that a study that was stopped goes on.
    progress
        Told how far it has come.

    Raises
    ------
    SettingsError
        If a window is too large for the film.
    """
    check_windows(source_of_film(_film(settings), name="film"), settings.edges_px)
    jobs = [
        NoiseJob(mode=mode, windows=windows, window_px=edge, variance=variance, settings=settings, work=work)
        for variance in settings.levels
        for edge in settings.edges_px
        for mode, windows in MODES
    ]
    return run_jobs(noise_job, jobs, spread=runner(settings.workers), step="training networks", progress=progress)


def noise_job(job: NoiseJob) -> Mapping[str, Any]:
    """Return the row of one network, from disk where it was trained before."""
    study = job.settings.model_dump(exclude={"variances", "windows_px", "workers", "figures"})
    what = {"study": "noise", **study, "mode": job.mode, "window_px": job.window_px, "variance": job.variance}
    return remembered(job.work, what, partial(_trained_row, job, job.work / key_of(what)))


def _film(chosen: NoiseSettings) -> Simulated:
    """Return the film of a study, the same in all jobs."""
    return composition_film(
        chosen.composition,
        rng=np.random.default_rng([chosen.seed, 1]),
        shape_px=(chosen.size_px, chosen.size_px),
        dose=chosen.dose,
    )


def _trained_row(job: NoiseJob, checkpoints: Path) -> Mapping[str, Any]:
    chosen, film = job.settings, _film(job.settings)
    rng = np.random.default_rng([chosen.seed, 2, round(1e6 * job.variance)])
    noisy = with_gaussian_noise(film.image.data, variance=job.variance, rng=rng)
    source = source_of_film(film, name=f"variance {job.variance:g}", data=noisy)
    made = trained_on(
        source,
        windows=job.windows,
        window_px=job.window_px,
        steps=chosen.steps,
        seed=chosen.seed,
        work=checkpoints,
    )
    return {
        "windows": job.mode,
        "window_px": job.window_px,
        "variance": job.variance,
        "mse_px2": made.marks["rms_px"] ** 2,
        "rms_pm": made.marks["rms_pm"],
        "r2": made.marks["r2"],
        "zscore_width": made.marks["zscore_width"],
        "cells": int(made.marks["cells"]),
        "cpu_seconds": round(made.trained[0].cpu_seconds, 1),
    }
