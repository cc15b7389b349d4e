"""Runners: what spreads independent pieces of work, and gives the results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from dipolar.core.errors import SettingsError, TrainingError

Piece = TypeVar("Piece")
Result = TypeVar("Result")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Variables that tell libraries how many threads to start."""


class AbstractRunner:
    """Spreads work. A subclass says how, in one method::

    class Backwards(AbstractRunner):
        def each(self, function, pieces):
            yield from reversed([function(piece) for piece in reversed(pieces)])
    """

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

    def as_done(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[tuple[int, Result]]:
        """Yield number and result of every piece, in any order: each as soon as it is known, where a runner can.

        Parameters
        ----------
        function, pieces
            As in `each`.
        """
        yield from enumerate(self.each(function, pieces))


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
        """Yield the results; on an error or an interruption all processes end at once.

        Raises
        ------
        TrainingError
            If a process was ended from outside, as systems do that run out of memory.
        """
        with self._pool() as pool:
            with no_interruption():  # inherited by the processes, which begin here
                results = pool.map(function, pieces)
            yield from results

    def as_done(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[tuple[int, Result]]:
        """Yield number and result of every piece, as they come; all else is as in `each`.

        Raises
        ------
        TrainingError
            As in `each`.
        """
        with self._pool() as pool:
            with no_interruption():  # inherited by the processes, which begin here
                begun = {pool.submit(function, piece): number for number, piece in enumerate(pieces)}
            for future in as_completed(begun):
                yield begun[future], future.result()

    @contextmanager
    def _pool(self) -> Iterator[ProcessPoolExecutor]:
        """Yield the processes; where work is stopped, they end at once."""
        # forked processes would inherit threads and locks of PyTorch and OpenMP in whatever state they are
        spawned = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, mp_context=spawned, initializer=_begin)
        done = False
        try:
            yield pool
            done = True
        except BrokenProcessPool as error:
            raise TrainingError(
                "a process that works on a part must be left to end by itself.",
                got="one was ended from outside, most likely for want of memory",
                do="the same command with fewer workers: --workers 1",
            ) from error
        finally:
            if not done:
                _end(pool)
            pool.shutdown(wait=True, cancel_futures=True)


def _end(pool: ProcessPoolExecutor) -> None:
    """End the processes now: what they work on, and the pieces that already wait for them, could take hours."""
    # from Python 3.14 on this is pool.terminate_workers()
    for process in list((pool._processes or {}).values()):
        process.terminate()


@contextmanager
def no_interruption() -> Iterator[None]:
    """Let Ctrl-C wait while the block runs; processes that begin in it are left alone by Ctrl-C for good."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """Leave the other cores to the other processes, and Ctrl-C to whoever started this one."""
    for name in THREADS:
        os.environ[name] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone, killed perhaps: nobody would ever take its result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
