"""The published transfers of the cross study, cell by cell: networks of one film put to another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dipolar.learn.device import threads
from dipolar.learn.exam import examine
from dipolar.learn.store import read_model
from dipolar.recipes.study_cross import CrossJob, film_source, jobs_of, percent
from dipolar.recipes.study_settings import CrossSettings
from dipolar.recipes.train_sources import Source
from dipolar.report.transfer import Transfer
from dipolar.simulate.composition import PIXEL_SIZE_PM

TRANSFERS = ((0.0, 0.07), (0.2, 0.0))
"""The published transfers that are drawn as maps: trained on the first, put to the second."""


def transfers(settings: CrossSettings, *, work: Path) -> Sequence[Transfer]:
    """Return the published transfers of a study that is whole, cell by cell, for maps.

    Only those whose films are among the compositions of the study.
    """
    found = []
    for first, second in TRANSFERS:
        if first in settings.shares and second in settings.shares:
            source = film_source(second, settings)
            jobs = [job for job in jobs_of(settings, work) if job.composition == first]
            found += [_transfer(job, source) for job in jobs]
    return found


def _transfer(job: CrossJob, source: Source) -> Transfer:
    every = np.ones(len(source.cells.flags), dtype=bool)
    with threads(1):
        answers = examine(read_model(job.model), source.seen, source.cells, every)
    scale = PIXEL_SIZE_PM / source.seen.scale
    return Transfer(
        windows=job.mode,
        trained_on=percent(job.composition),
        applied_to=source.name,
        shape_px=(job.settings.size_px, job.settings.size_px),
        pixel_size_pm=PIXEL_SIZE_PM,
        positions_px=answers.positions_px,
        true_pm=answers.truth[:, :2] * scale,
        predicted_pm=answers.values[:, :2] * scale,
    )
