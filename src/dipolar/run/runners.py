"""Runners: what spreads independent pieces of work, and gives the results in order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from dipolar.core.errors import SettingsError

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class AbstractRunner:
    """Spreads work. A subclass says how; see `Serial`."""

    def each(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[Result]:
        """Yield the result of every piece, in their order, each as soon as it and those before it are done.

        Parameters
        ----------
        function
            Defined at the top of a module, so that other processes can be told of it.
        pieces
            What it is called with, one by one.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Serial(AbstractRunner):
    """One after the other, in this process."""

    def each(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[Result]:
        """Yield the results."""
        yield from map(function, pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes(AbstractRunner):
    """Several at once, each in a process of its own with one thread."""

    workers: int = 2
    """Number of processes."""

    def __post_init__(self) -> None:
        """Refuse what is no number of processes."""
        if self.workers < 1:
            raise SettingsError("work needs at least one process.", got=f"workers={self.workers}", do="workers=2")

    def each(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[Result]:
        """Yield the results; on an interruption, what has not begun is left."""
        # forked processes would inherit threads and locks of PyTorch and OpenMP in whatever state they are
        spawned = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, mp_context=spawned, initializer=_one_thread)
        try:
            yield from pool.map(function, pieces)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    """Leave the other cores to the other processes."""
    import os

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
