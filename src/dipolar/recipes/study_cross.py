"""The cross study: networks trained on one composition, put to every other one of the library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.learning import Windows
from dipolar.learn.device import threads
from dipolar.learn.exam import examine, marks
from dipolar.learn.store import read_model, write_model
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
from dipolar.recipes.study_settings import CrossSettings
from dipolar.recipes.train_settings import TrainSettings
from dipolar.recipes.train_sources import Source, inside
from dipolar.simulate.composition import PIXEL_SIZE_PM, composition_film


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossJob:
    """One network of the study, and the films that it is put to."""

    mode: str
    """C or NC."""
    windows: Windows
    """Where its windows stand."""
    composition: float
    """Of the film that it learns from."""
    settings: CrossSettings
    """Of the study."""
    work: Path
    """Where results and models are kept."""

    @property
    def what(self) -> dict[str, Any]:
        """Everything that the network depends on."""
        study = self.settings.model_dump(exclude={"compositions", "workers", "figures"})
        return {"study": "cross", **study, "mode": self.mode, "composition": self.composition}

    @property
    def model(self) -> Path:
        """Where the network is kept."""
        return self.work / f"model-{key_of(self.what)}.safetensors"


def study_cross(settings: CrossSettings, *, work: Path, progress: Progress = silent) -> list[Mapping[str, Any]]:
    """Return a row for every pair of films: the error of the network of the first on the second.

    A network of ours for each composition and each kind of windows is trained on the first two thirds of its film, and
    tested on the last third of every film, its own included.

    Parameters
    ----------
    settings
        Compositions, windows, size of the films.
    work
        Folder of models and results, so that a study that was stopped goes on.
    progress
        Told how far it has come.

    Raises
    ------
    SettingsError
        If the window is too large for the films.
    """
    for share in settings.shares:
        check_windows(film_source(share, settings), [settings.window_px])
    spread = runner(settings.workers)
    found = run_jobs(cross_job, jobs_of(settings, work), spread=spread, step="training networks", progress=progress)
    return [row for one in found for row in one["rows"]]


def jobs_of(settings: CrossSettings, work: Path) -> list[CrossJob]:
    """Return the networks of a study."""
    return [
        CrossJob(mode=mode, windows=windows, composition=share, settings=settings, work=work)
        for share in settings.shares
        for mode, windows in MODES
    ]


def cross_job(job: CrossJob) -> Mapping[str, Any]:
    """Return the rows of one network, from disk where it was trained, or put to a film, before."""
    trained = remembered(job.work, job.what, partial(_train, job))
    rows = [
        {
            "windows": job.mode,
            "trained_on": job.composition,
            "tested_on": share,
            **remembered(job.work, {**job.what, "tested_on": share}, partial(_tested, job, share)),
            **trained,
        }
        for share in job.settings.shares
    ]
    return {"rows": rows}


def _train(job: CrossJob) -> Mapping[str, Any]:
    chosen = job.settings
    made = trained_on(
        film_source(job.composition, chosen),
        windows=job.windows,
        window_px=chosen.window_px,
        steps=chosen.steps,
        seed=chosen.seed,
        work=job.work / key_of(job.what),
    )
    write_model(made.model, job.model)
    return {"cpu_seconds": round(made.trained[0].cpu_seconds, 1)}


def _tested(job: CrossJob, share: float) -> Mapping[str, Any]:
    source = film_source(share, job.settings)
    kept = inside(source, TrainSettings(windows=job.windows, window_px=job.settings.window_px), 2)
    with threads(1):
        found = marks(examine(read_model(job.model), source.seen, source.cells, kept))
    rms_pm = found["rms_px"] * PIXEL_SIZE_PM
    return {
        "mse_pm2": rms_pm**2,
        "rms_pm": rms_pm,
        "r2": found["r2"],
        "zscore_width": found["zscore_width"],
        "cells": int(found["cells"]),
    }


@lru_cache(maxsize=64)
def film_source(composition: float, settings: CrossSettings) -> Source:
    """Return the film of a composition, the same in all jobs of a study; simulated once in each process."""
    film = composition_film(
        composition,
        rng=np.random.default_rng([settings.seed, round(1e4 * composition)]),
        shape_px=(settings.size_px, settings.size_px),
        dose=settings.dose,
    )
    return source_of_film(film, name=percent(composition))


def percent(share: float) -> str:
    """Return a composition in words."""
    return f"{100 * share:g} % Sm"
