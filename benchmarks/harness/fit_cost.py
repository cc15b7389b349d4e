"""CPU per column of `locate_columns`, and of the parts of it that fit."""

from __future__ import annotations

import statistics
import time

from dipolar.core.nouns import Image
from dipolar.locate import AbstractFit, locate_columns

ENDS = {
    ("finding the lattice", 1.0): "lattice, maxima, links",
    ("fitting columns", 0.0): "first fits, gaps, sublattices",
    ("fitting columns", 1.0): "full fit",
}
"""What has just ended where `locate_columns` reports this step and fraction; what follows the last is the table."""
GUESSES, TABLE = "lattice, maxima, links", "noise, sigma, table"
FITTING = "fit with neighbours and sigma"


def fit_cost(image: Image, fit: AbstractFit, *, repeats: int) -> dict[str, float]:
    """Return µs of CPU per column, all threads together, by part: the median of several runs after one to warm up.

    The parts are told apart by the progress that `locate_columns` reports. "fit with neighbours and sigma" is
    everything after the first guesses.
    """
    locate_columns(image, fit=fit)
    runs = [_timed(image, fit) for _ in range(repeats)]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _timed(image: Image, fit: AbstractFit) -> dict[str, float]:
    ended: dict[str, float] = {}

    def watch(step: str, fraction: float) -> None:
        if (step, fraction) in ENDS:
            ended[ENDS[step, fraction]] = time.process_time()

    last = start = time.process_time()
    columns = locate_columns(image, fit=fit, progress=watch)
    ended[TABLE] = time.process_time()
    missing = {*ENDS.values()} - {*ended}
    if missing:
        raise RuntimeError(f"locate_columns no longer reports the end of: {', '.join(sorted(missing))}")
    found = {}
    for name, moment in ended.items():
        found[name], last = moment - last, moment
    found[FITTING] = sum(spent for name, spent in found.items() if name != GUESSES)
    found["locate_columns"] = ended[TABLE] - start
    return {name: 1e6 * spent / len(columns.flags) for name, spent in found.items()}
