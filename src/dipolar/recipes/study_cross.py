"""The cross study: networks trained on one composition, put to every other one of the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dipolar.core.contracts import Progress, silent
from dipolar.core.learning import Windows
from dipolar.learn.exam import examine, marks
from dipolar.learn.store import read_model, write_model
from dipolar.recipes.parse import parse_numbers
from dipolar.recipes.study import MODES, remembered, run_jobs, runner, source_of_film, trained_on
from dipolar.recipes.study_settings import CrossSettings
from dipolar.recipes.train import Source
from dipolar.simulate.composition import composition_film

TRANSFERS = ((0.0, 0.07), (0.2, 0.0))
"""The published transfers that are drawn as maps: trained on the first, put to the second."""


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transfer:
    """Predicted and true displacement of one film, by a network trained on another."""

    trained_on: float
    """Composition of the film learned from."""
    tested_on: float
    """Composition of this one."""
    mode: str
    """C or NC."""
    positions_px: Float[np.ndarray, "cell 2"]
    """Where, (y, x)."""
    true_pm: Float[np.ndarray, "cell 2"]
    """True (dy, dx)."""
    predicted_pm: Float[np.ndarray, "cell 2"]
    """Predicted (dy, dx)."""


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
    """
    jobs = [
        CrossJob(mode=mode, windows=windows, composition=x, settings=settings, work=work)
        for x in parse_numbers(settings.compositions)
        for mode, windows in MODES
    ]
    found = run_jobs(cross_job, jobs, spread=runner(settings.workers), step="training networks", progress=progress)
    return [row for one in found for row in one["rows"]]


def cross_job(job: CrossJob) -> Mapping[str, Any]:
    """Return the rows of one network, from disk where it was trained before."""
    study = job.settings.model_dump(exclude={"workers"})
    what = {"study": "cross", **study, "mode": job.mode, "composition": job.composition}
    return remembered(job.work, what, partial(_trained_rows, job))


def model_path(job: CrossJob) -> Path:
    """Return where the network of a job is kept."""
    return job.work / f"{job.mode}-{100 * job.composition:g}.safetensors"


def _trained_rows(job: CrossJob) -> Mapping[str, Any]:
    chosen = job.settings
    source = film_source(job.composition, chosen)
    made = trained_on(source, windows=job.windows, window_px=chosen.window_px, steps=chosen.steps, seed=chosen.seed)
    job.work.mkdir(parents=True, exist_ok=True)
    write_model(made.model, model_path(job))
    rows = []
    for x in parse_numbers(chosen.compositions):
        other = source if x == job.composition else film_source(x, chosen)
        found = marks(examine(made.model, other.seen, other.cells, _last_third(other, chosen.window_px)))
        rows.append(
            {
                "windows": job.mode,
                "trained_on": job.composition,
                "tested_on": x,
                "mse_pm2": (found["rms_px"] * (other.cells.pixel_size_pm or float("nan"))) ** 2,
                "rms_pm": found["rms_px"] * (other.cells.pixel_size_pm or float("nan")),
                "r2": found["r2"],
                "zscore_width": found["zscore_width"],
                "cells": int(found["cells"]),
                "cpu_seconds": round(made.trained[0].cpu_seconds, 1),
            }
        )
    return {"rows": rows}


def film_source(composition: float, settings: CrossSettings) -> Source:
    """Return the film of a composition, the same in all jobs of a study."""
    film = composition_film(
        composition,
        rng=np.random.default_rng([settings.seed, round(1e4 * composition)]),
        shape_px=(settings.size_px, settings.size_px),
        dose=settings.dose,
    )
    return source_of_film(film, name=f"{100 * composition:g} % Sm")


def _last_third(source: Source, window_px: int) -> np.ndarray:
    """Return the cells whose windows lie in the third of a film that no network of its own has seen."""
    x = source.seen.to_network(source.cells.positions_px)[:, 1]
    return np.asarray(x >= round(2 / 3 * source.seen.shape[1]) + window_px // 2)


def transfers(settings: CrossSettings, *, work: Path) -> Sequence[Transfer]:
    """Return the published transfers of a study that is whole, cell by cell, for maps.

    Only those whose films are among the compositions of the study.
    """
    known = parse_numbers(settings.compositions)
    found = []
    for (first, second), (mode, windows) in ((pair, kind) for pair in TRANSFERS for kind in MODES):
        if first not in known or second not in known:
            continue
        job = CrossJob(mode=mode, windows=windows, composition=first, settings=settings, work=work)
        source = film_source(second, settings)
        model = read_model(model_path(job))
        answers = examine(model, source.seen, source.cells, np.ones(len(source.cells.flags), dtype=bool))
        scale = (source.cells.pixel_size_pm or 1.0) / source.seen.scale
        found.append(
            Transfer(
                trained_on=first,
                tested_on=second,
                mode=mode,
                positions_px=answers.positions_px,
                true_pm=answers.truth[:, :2] * scale,
                predicted_pm=answers.values[:, :2] * scale,
            )
        )
    return found
