"""What the studies share: networks trained on films of known truth, in jobs that leave their result on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dipolar import __version__
from dipolar.core.atomic import atomic_file, cannot_write
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import SettingsError
from dipolar.core.learning import NETWORK_CELL_PX, Windows
from dipolar.core.nouns import Image
from dipolar.learn.device import threads
from dipolar.learn.networks import Regressor
from dipolar.learn.targets import usable
from dipolar.recipes.study_settings import LARGEST_PX, SMALLEST_PX
from dipolar.recipes.train import TrainedModel, train_on_sources
from dipolar.recipes.train_settings import TrainSettings
from dipolar.recipes.train_sources import FEWEST, VALIDATION, Source, inside, source_of
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


def check_windows(source: Source, windows_px: Sequence[int]) -> None:
    """Check that each part of a film holds enough cells a window away from its borders, before anything is trained.

    Raises
    ------
    SettingsError
        If it does not for the largest window.
    """
    largest = max(windows_px)
    if _fits(source, largest):
        return
    fitting = [edge for edge in range(SMALLEST_PX, LARGEST_PX + 1, 2) if _fits(source, edge)]
    smaller = f"take windows of {fitting[-1]} px at most, or " if fitting else ""
    wider = next(size for size in range(256, 8192, 64) if _room(size, largest) >= 1.2 * max(FEWEST))
    raise SettingsError(
        "the strips of a film to learn from, to validate with and to be tested on must be wider than a window.",
        got=f"windows of {largest} px, and films of {source.seen.shape[1]} px",
        do=f"{smaller}larger films: --size-px {wider}",
    )


def _room(size_px: int, window_px: int) -> float:
    """Return about how many cells the narrowest strip of a film has, a sliding window away from its borders."""
    strip = 2 / 3 * VALIDATION * size_px - (window_px + 2 * Regressor.stride + 2 * NETWORK_CELL_PX)
    return max(strip, 0.0) * size_px / NETWORK_CELL_PX**2


def _fits(source: Source, window_px: int) -> bool:
    """Return whether networks with such a window can be trained on a film, and tested."""
    for _, windows in MODES:
        settings = TrainSettings(windows=windows, window_px=window_px)
        for part, fewest in enumerate(FEWEST):
            if np.count_nonzero(inside(source, settings, part) & usable(source.cells)) < fewest:
                return False
    return True


def trained_on(source: Source, *, windows: Windows, window_px: int, steps: int, seed: int, work: Path) -> TrainedModel:
    """Return one network trained on two thirds of a film.

    Parameters
    ----------
    source
        The film.
    windows, window_px
        What it sees.
    steps, seed
        How it is trained; on one thread, so that the same seed gives the same network however jobs are spread.
    work
        Folder of the checkpoint, from which a training that was stopped goes on.

    Raises
    ------
    KeyboardInterrupt
        If the training was interrupted: what it was at that moment is no result.
    """
    settings = TrainSettings(windows=windows, window_px=window_px, ensemble=1, steps=steps, seed=seed)
    with threads(1):
        made = train_on_sources([source], settings, work=work)
    if made.interrupted:
        raise KeyboardInterrupt
    return made


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


def key_of(what: Mapping[str, Any]) -> str:
    """Return a short name for settings: the same for the same ones, under the same version of dipolar."""
    return hashlib.sha256(_text(what).encode()).hexdigest()[:20]


def _text(what: Mapping[str, Any]) -> str:
    return json.dumps({**what, "dipolar": __version__}, sort_keys=True)


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
    path = work / f"{key_of(what)}.json"
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["what"] == json.loads(_text(what)):
                return found["result"]
        except (ValueError, KeyError, TypeError):
            pass  # damaged: made anew
    result = make()
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(work, error) from error
    with atomic_file(path) as part:
        part.write_text(json.dumps({"what": json.loads(_text(what)), "result": result}), encoding="utf-8")
    return result
