"""Dask clusters: one that runs already, or processes of this machine that are started as one."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dipolar.core.errors import MissingExtraError, SettingsError
from dipolar.run.runners import no_interruption

ANSWER_S = 20.0
"""How long a cluster may take to answer."""
EMPTY_S = 120.0
"""How long a cluster may be without any worker before the work is given up; new processes take seconds to start."""


def distributed_package() -> Any:
    """Return the package, which is loaded only where work is given to it.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise MissingExtraError(
            "work over a cluster is done by Dask, which is not installed.",
            got=str(error),
            do="pip install dipolar[cluster]",
        ) from error
    return distributed


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """Yield a client of a cluster that runs already, and leaves it running.

    Parameters
    ----------
    url
        Address of its scheduler, ``tcp://HOST:PORT``.

    Raises
    ------
    SettingsError
        If it does not answer, or has no worker.
    MissingExtraError
        If Dask is not installed.
    """
    distributed = distributed_package()
    try:
        client = distributed.Client(url, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # whatever it makes of an address that is none
        raise SettingsError(
            f"the Dask cluster at {url} must answer.",
            got=str(error) or type(error).__name__,
            do="see that `dask scheduler` runs there, then --cluster tcp://HOST:8786; or --workers 2",
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=ANSWER_S)
        except TimeoutError as error:
            raise SettingsError(
                f"the Dask cluster at {url} needs at least one worker.",
                got=f"none within {ANSWER_S:.0f} s",
                do=f"dask worker {url}",
            ) from error
        yield client


@contextmanager
def started(workers: int) -> Iterator[Any]:
    """Yield a client of a cluster of processes on this machine, each with one thread, and end them.

    Raises
    ------
    MissingExtraError
        If Dask is not installed.
    """
    distributed = distributed_package()
    import dask

    settings = {
        # a cluster gives up on workers that take longer to start again, for good; on a busy machine they do
        "distributed.deploy.lost-worker-timeout": "1 day",
        # a hundred looks a second at what every worker does, for a page that is not served
        "distributed.worker.profile.enabled": False,
    }
    with dask.config.set(settings):
        with no_interruption():  # inherited by the workers, which begin here: Ctrl-C is for this process alone
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                # mapped pages of a file would count against a limit, and workers be ended for reading
                memory_limit=0,
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # others may have the usual port
                silence_logs=logging.CRITICAL,
            )
        with cluster, distributed.Client(cluster, set_as_default=False) as client:
            yield client


def next_done(client: Any, done: queue.SimpleQueue[Any]) -> Any:
    """Return the next task that is done, waiting as long as there is somebody to do it.

    Parameters
    ----------
    client
        Of the cluster.
    done
        Where tasks put themselves when they are done.

    Raises
    ------
    ConnectionError
        If no worker is left, or the cluster is gone.
    """
    seen = time.monotonic()
    while True:
        try:
            return done.get(timeout=1.0)
        except queue.Empty:
            if client.status == "running" and client.nthreads():
                seen = time.monotonic()
        if client.status not in ("running", "connecting") or time.monotonic() - seen > EMPTY_S:
            raise ConnectionError("no worker is left")
