"""Independent pieces of work over a Dask cluster that runs already; nothing but what they return comes back."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dipolar.core.errors import TrainingError
from dipolar.run.dask_client import ANSWER_S, connected, distributed_package, next_done
from dipolar.run.runners import AbstractRunner, Piece, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class DaskJobs(AbstractRunner):
    """Several at once, on the workers of a cluster, which need no disk in common with this process."""

    url: str
    """Address of its scheduler, ``tcp://HOST:PORT``; its workers must have the dipolar that is used here."""

    def each(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[Result]:
        """Yield the results in order; all else is as in `as_done`.

        Raises
        ------
        SettingsError, TrainingError, MissingExtraError
            As in `as_done`.
        """
        early: dict[int, Result] = {}
        following = 0
        for number, result in self.as_done(function, pieces):
            early[number] = result
            while following in early:
                yield early.pop(following)
                following += 1

    def as_done(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[tuple[int, Result]]:
        """Yield number and result of every piece, as they come; on an error or an interruption the rest is cancelled.

        What was done before an interruption is still given; then the interruption goes on.

        Raises
        ------
        SettingsError
            If the cluster does not answer, or has no worker.
        TrainingError
            If it goes away, cannot import dipolar, or a worker that has a piece dies again and again.
        MissingExtraError
            If Dask is not installed.
        """
        with connected(self.url) as client:
            tasks = _Pieces(client, self.url)
            try:
                tasks.begin(function, pieces)
                while tasks.begun:
                    yield from tasks.next_result()
            except KeyboardInterrupt:
                yield from tasks.results_there()
                raise
            finally:
                tasks.cancel()


class _Pieces:
    """The pieces of work that are on a cluster."""

    def __init__(self, client: Any, url: str) -> None:
        self.client, self.url = client, url
        self.begun: dict[Any, int] = {}
        self.done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def begin(self, function: Callable[[Any], Any], pieces: Sequence[Any]) -> None:
        """Give every piece to the cluster."""
        for number, piece in enumerate(pieces):
            future = self.client.submit(_piece, function, piece, pure=False)
            self.begun[future] = number
            future.add_done_callback(self.done.put)

    def next_result(self) -> Iterator[tuple[int, Any]]:
        """Wait for a piece, and yield it."""
        try:
            future = next_done(self.client, self.done)
        except ConnectionError as lost:
            raise self._lost(lost) from lost
        yield from self._result(future)

    def results_there(self) -> Iterator[tuple[int, Any]]:
        """Yield the pieces that are done."""
        while not self.done.empty():
            yield from self._result(self.done.get())

    def _result(self, future: Any) -> Iterator[tuple[int, Any]]:
        try:
            result, error = future.result(timeout=ANSWER_S)
        except TimeoutError:  # gone with its worker after it was done; it is done once more
            future.add_done_callback(self.done.put)
            return
        except Exception as lost:
            raise self._lost(lost) from lost
        if error is not None:
            raise error
        yield self.begun.pop(future), result

    def _lost(self, error: Exception) -> TrainingError:
        """Return the words for pieces of which nothing comes back."""
        if isinstance(error, distributed_package().KilledWorker):
            return TrainingError(
                "workers must be left to end by themselves.",
                got="several were ended from outside on the same piece of work, most likely for want of memory",
                do="more memory for each worker; then the same command: what was finished is kept",
            )
        return TrainingError(
            f"the Dask cluster at {self.url} must stay until the work is done, and have the dipolar that is used here.",
            got=f"{type(error).__name__}: {error}",
            do="see that it runs and that every worker can import dipolar; then the same command",
        )

    def cancel(self) -> None:
        """Take back what was begun and is not needed any more."""
        if self.begun and self.client.status == "running":
            self.client.cancel(list(self.begun), force=True)
        self.begun.clear()


def _piece(function: Callable[[Any], Any], piece: Any) -> tuple[Any, Exception | None]:
    """Return the result, in the process of a worker, or the error: what else is raised is then the cluster's."""
    try:
        return function(piece), None
    except Exception as error:
        return None, error
