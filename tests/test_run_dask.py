"""Pieces of work over a Dask cluster: the same results, errors as they were, and what is finished is not lost."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pytest

from dipolar.core.errors import DataError, MissingExtraError, SettingsError, TrainingError
from dipolar.run import DaskJobs, dask_client  # workers import this module: nothing that takes long to load

dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A cluster that runs already, with one worker."""
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
    ):
        yield cluster.scheduler_address


def squared(number: int) -> tuple[int, int]:
    time.sleep(0.02 * (3 - number % 3))
    return number**2, os.getpid()


def failing(number: int) -> int:
    if number == 2:
        raise DataError("a number other than 2 was expected.", got="2", do="3")
    return number


def dying(number: int) -> int:
    os._exit(9)


def test_results_come_in_order_from_another_process_which_is_left_running(url):
    found = list(DaskJobs(url=url).each(squared, range(5)))
    assert [square for square, _ in found] == [0, 1, 4, 9, 16] and os.getpid() not in {process for _, process in found}
    assert sorted(DaskJobs(url=url).as_done(failing, [0, 1])) == [(0, 0), (1, 1)]
    assert list(DaskJobs(url=url).each(squared, [])) == []
    with distributed.Client(url, set_as_default=False) as client:
        assert client.nthreads()


def test_an_error_comes_through_with_its_words(url):
    with pytest.raises(DataError, match=r"(?s)other than 2 was expected.*got:  2"):
        list(DaskJobs(url=url).each(failing, range(4)))


def test_what_is_finished_when_somebody_interrupts_is_given_and_the_rest_taken_back(url):
    results = DaskJobs(url=url).as_done(pausing, [0.0, 0.1, 0.1, 60.0, 60.0])
    found = [next(results)]
    time.sleep(2.0)  # long enough for those that are short
    found.append(results.throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        found.extend(results)
    assert sorted(number for number, _ in found) == [0, 1, 2]
    with distributed.Client(url, set_as_default=False) as client:
        assert len(client.processing()) == 1 and not any(
            "_piece" in str(key) for keys in client.processing().values() for key in keys
        )


def pausing(seconds: float) -> float:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
    return seconds


def test_a_worker_that_dies_again_and_again_is_told(url):
    # one more cluster: this one's worker would still be busy with what was interrupted
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster, distributed.Client(cluster, set_as_default=False) as client:  # fmt: skip
        client.run_on_scheduler(impatient)
        with pytest.raises(TrainingError, match=r"(?s)ended from outside.*what was finished is kept"):
            list(DaskJobs(url=cluster.scheduler_address).each(dying, [1]))


def impatient(dask_scheduler) -> None:
    dask_scheduler.allowed_failures = 0


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(dask_client, "ANSWER_S", 0.5)
    for wrong in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(SettingsError, match=f"(?s){wrong} must answer.*dask scheduler"):
            list(DaskJobs(url=wrong).each(squared, [1]))


def test_dask_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"(?s)Dask, which is not installed.*dipolar\[cluster\]"):
        list(DaskJobs(url="tcp://127.0.0.1:9").each(squared, [1]))
