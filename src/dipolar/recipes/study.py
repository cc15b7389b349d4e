"""What the studies share: networks trained on films of known truth, in jobs that leave their result on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dipolar.core.atomic import atomic_file
from dipolar.core.contracts import Progress, silent
from dipolar.core.learning import Windows
from dipolar.core.nouns import Image
from dipolar.recipes.train import Source, TrainedModel, source_of, train_on_sources
from dipolar.recipes.train_settings import TrainSettings
from dipolar.run import AbstractRunner, Processes, Serial
from dipolar.simulate import Simulated

Job = TypeVar("Job")
MODES: tuple[tuple[str, Windows], ...] = (("C", "centered"), ("NC", "sliding"))
"""Names of the kinds of windows in tables and figures."""


def runner(workers: int) -> AbstractRunner:
    """Return what spreads the jobs over so many processes."""
    return Serial() if workers == 1 else Processes(workers=workers)


def source_of_film(film: Simulated, *, name: str, data: np.ndarray | None = None) -> Source:
    """Return a simulated film with its truth as something to learn from.

    Parameters
    ----------
    film
        With its truth.
    name
        For tables.
    data
        Its pixels, where something was done to them.
    """
    image = Image(data=film.image.data if data is None else data, pixel_size_pm=film.image.pixel_size_pm, name=name)
    return source_of(image, film.truth_columns, film.truth_cells)


def trained_on(source: Source, *, windows: Windows, window_px: int, steps: int, seed: int) -> TrainedModel:
    """Return one network trained on two thirds of a film."""
    settings = TrainSettings(windows=windows, window_px=window_px, ensemble=1, steps=steps, seed=seed)
    return train_on_sources([source], settings)


def run_jobs(
    function: Callable[[Job], Mapping[str, Any]],
    jobs: Sequence[Job],
    *,
    spread: AbstractRunner,
    step: str,
    progress: Progress = silent,
) -> list[Mapping[str, Any]]:
    """Return the result of every job, telling how far it has come."""
    results: list[Mapping[str, Any]] = []
    progress(step, 0.0)
    for result in spread.each(function, jobs):
        results.append(result)
        progress(step, len(results) / len(jobs))
    return results


def remembered(work: Path, what: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what `make` returns, from disk where the same was made before: a study that was stopped goes on.

    Parameters
    ----------
    work
        Folder of results, one small file for each.
    what
        Everything that the result depends on.
    make
        Makes it.
    """
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:20]
    path = work / f"{key}.json"
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found.get("what") == json.loads(json.dumps(what)):
                return found["result"]
        except (ValueError, KeyError):
            pass  # damaged: made anew
    result = make()
    work.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as part:
        part.write_text(json.dumps({"what": what, "result": result}), encoding="utf-8")
    return result
