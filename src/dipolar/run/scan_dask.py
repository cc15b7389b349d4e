"""Blocks of diffraction patterns over the processes of a Dask cluster, here or elsewhere.

Frames go to the workers as what they are, a path and a layout; each worker opens the file itself. A worker that dies
costs the time of what it was doing: the scheduler gives that to another one, and everything it needs can be made again
from what the scheduler knows.
"""

from __future__ import annotations

import queue
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from dipolar.core.errors import ScanError, SettingsError
from dipolar.core.scanning import AbstractFrames
from dipolar.run.dask_client import ANSWER_S, connected, distributed_package, next_done, started
from dipolar.run.scan_blocks import AbstractExecutor, Block, Span, Work, one_block, one_thread_each

TASK_S = 0.5
"""How long a task should take: long against the milliseconds a scheduler needs for one, short for who waits."""
TASK_BLOCKS = 256
"""Blocks in one task at most."""
AHEAD = 2
"""Tasks per worker that are begun or wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dask(AbstractExecutor):
    """Several blocks at once, in worker processes of this machine or of a cluster that runs already."""

    workers: int | None = None
    """Number of processes to start on this machine, with one thread each."""
    url: str | None = None
    """Address of the scheduler of a cluster, ``tcp://HOST:PORT``; its workers must see the scan under the same path."""

    def __post_init__(self) -> None:
        """Refuse what names neither or both, or is no number of processes."""
        if (self.workers is None) == (self.url is None) or (self.workers is not None and self.workers < 1):
            raise SettingsError(
                "Dask needs a number of processes to start here, or the address of a cluster that runs.",
                got=f"workers={self.workers}, url={self.url}",
                do="--workers 2, or --cluster tcp://HOST:8786",
            )

    def blocks(self, frames: AbstractFrames, work: Work, spans: Iterable[Span | None]) -> Iterator[Block]:
        """Yield the blocks as they come back; on an error or an interruption all that was begun is cancelled.

        Raises
        ------
        SettingsError
            If the cluster cannot be reached.
        ScanError
            If it goes away, if a worker does not see the file, or dies again and again.
        MissingExtraError
            If Dask is not installed.
        """
        distributed = distributed_package()
        with self._client() as client:
            tasks = _Tasks(client, distributed, frames, work, self.url or "the cluster on this machine")
            try:
                yield from tasks.run(iter(spans))
            finally:
                tasks.cancel()

    def _client(self) -> AbstractContextManager[Any]:
        return connected(self.url) if self.url is not None else started(self.workers or 1)


class _Tasks:
    """The tasks of one scan on one cluster."""

    def __init__(self, client: Any, distributed: Any, frames: AbstractFrames, work: Work, where: str) -> None:
        self.client, self.distributed, self.where = client, distributed, where
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "large graph": a network of 30 M weights is what it is
            # a task, not scattered data: it is done again where the worker that had it is gone
            self.job = client.submit(_job, frames, work, pure=False)
        self.begun: dict[Any, list[Span]] = {}
        self.done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.blocks_per_task = 1

    def run(self, spans: Iterator[Span | None]) -> Iterator[Block]:
        """Yield the blocks of all spans."""
        most = AHEAD * max(1, sum(self.client.nthreads().values()))
        more = True
        while more or self.begun:
            waiting = False
            while more and not waiting and len(self.begun) < most:
                task, more, waiting = self._next(spans)
                if task:
                    future = self.client.submit(_task, self.job, task, pure=False)
                    self.begun[future] = task
                    future.add_done_callback(self.done.put)
            while self.begun and (waiting or not more or len(self.begun) >= most):
                yield from self._finished()

    def _next(self, spans: Iterator[Span | None]) -> tuple[list[Span], bool, bool]:
        """Return the spans of the next task, whether there may be more, and whether more must be waited for."""
        task: list[Span] = []
        for span in spans:
            if span is None:
                return task, True, True
            task.append(span)
            if len(task) >= self.blocks_per_task:
                return task, True, False
        return task, False, False

    def _finished(self) -> Iterator[Block]:
        """Wait for one task; yield its blocks, then raise what stopped it."""
        try:
            future = next_done(self.client, self.done)
        except ConnectionError as lost:
            raise self._lost(next(iter(self.begun.values())), lost) from lost
        try:
            blocks, seconds, error = future.result(timeout=ANSWER_S)
        except TimeoutError:  # gone with its worker after it was done; it is done once more
            future.add_done_callback(self.done.put)
            return
        except Exception as lost:
            raise self._lost(self.begun.pop(future), lost) from lost
        task = self.begun.pop(future)
        yield from blocks
        if error is not None:
            raise error
        # first tasks compile kernels, so they say too much: sizes grow at most twofold, and as fast
        wanted = round(TASK_S * len(task) / max(seconds, 1e-6))
        self.blocks_per_task = min(max(1, wanted), 2 * self.blocks_per_task, TASK_BLOCKS)

    def _lost(self, task: list[Span], error: Exception) -> ScanError:
        """Return the words for a task of which nothing came back."""
        patterns = f"patterns {task[0][0]} to {task[-1][1] - 1}"
        if isinstance(error, self.distributed.KilledWorker):
            return ScanError(
                "workers must be left to end by themselves.",
                got=f"{patterns}: several were ended from outside on these, most likely for want of memory",
                do="fewer workers, or more memory for each; then the same command: what was finished is kept",
            )
        return ScanError(
            f"{self.where} must stay until the scan is done, and have the dipolar that is used here.",
            got=f"{patterns}: {type(error).__name__}: {error}",
            do="see that it runs and that every worker can import dipolar; then the same command",
        )

    def cancel(self) -> None:
        """Take back what was begun and is not needed any more."""
        if self.begun and self.client.status == "running":
            self.client.cancel([*self.begun, self.job], force=True)
        self.begun.clear()


def _job(frames: AbstractFrames, work: Work) -> tuple[AbstractFrames, Work]:
    """Return both, in the process of a worker."""
    return frames, work


def _task(job: tuple[AbstractFrames, Work], spans: list[Span]) -> tuple[list[Block], float, Exception | None]:
    """Return what was finished of these blocks, joined, the seconds it took, and the error that stopped it."""
    one_thread_each()
    blocks: list[Block] = []
    begin = time.perf_counter()
    error = None
    for span in spans:
        try:
            blocks.append(one_block(*job, span))
        except Exception as stopped:
            error = _unseen(stopped)
            break
    return _joined(blocks), time.perf_counter() - begin, error


def _joined(blocks: list[Block]) -> list[Block]:
    """Return neighbouring blocks as one: fewer arrays go over the wire."""
    runs: list[list[Block]] = []
    for block in blocks:
        if runs and runs[-1][-1][1] == block[0]:
            runs[-1].append(block)
        else:
            runs.append([block])
    return [
        (run[0][0], run[-1][1], {name: np.concatenate([values[name] for *_, values in run]) for name in run[0][2]})
        for run in runs
    ]


def _unseen(error: Exception) -> Exception:
    """Return the error as the one who started the work must read it: their own file is not missing."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, FileNotFoundError | PermissionError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return error
    import socket

    return ScanError(
        "every worker must see the scan under the same path as this process.",
        got=f"worker on {socket.gethostname()}: {cause}",
        do="put it on a file system that all of them share, or --workers 2 to stay on this machine",
    )
