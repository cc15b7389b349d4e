"""Clusters: the same values over processes, and workers that die, fail or do not see the file."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dipolar.core.errors import FormatError, MissingExtraError, ScanError, SettingsError
from dipolar.run import dask_client
from dipolar.run.scanning import Dask, LiberTem, run_blocks
from scan_frames import FileFrames, Looking, made, same, values_of

dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> FileFrames:
    return made(tmp_path_factory.mktemp("scan") / "patterns.raw")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A cluster that runs already, with one worker."""
    # by itself it gives up on a worker that takes longer to start again
    patience = dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"})
    address = "127.0.0.1:0"
    with (
        patience,
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address=address, silence_logs=50
        ) as cluster,
    ):
        yield cluster.scheduler_address


def test_two_workers_of_its_own_give_the_same_though_one_is_killed(frames, tmp_path):
    work = Looking(kill_at=700, note=tmp_path / "killed")
    same(run_blocks(Dask(workers=2), replace(frames, chunk=50), work, 1003), values_of(frames))
    assert int(work.note.read_text()) != os.getpid()


def test_a_cluster_that_runs_gives_the_same_and_is_left_running(url, frames, tmp_path):
    same(run_blocks(Dask(url=url), frames, Looking(), 1003), values_of(frames))
    # the only worker dies, with all that it knew of the frames and the work
    work = Looking(kill_at=300, note=tmp_path / "killed")
    same(run_blocks(Dask(url=url), frames, work, 1003), values_of(frames))
    with distributed.Client(url, set_as_default=False) as client:
        assert client.nthreads()


def test_who_stops_leaves_nothing_behind_on_the_cluster(url, frames):
    spans = [(start, start + 1) for start in range(1000)]
    blocks = Dask(url=url).blocks(frames, Looking(pause_s=0.05), iter(spans))
    next(blocks)
    start = time.monotonic()
    blocks.close()
    assert time.monotonic() - start < 5.0
    with distributed.Client(url, set_as_default=False) as client:
        time.sleep(0.5)
        assert not any(client.processing().values())


def test_an_error_in_a_worker_comes_with_its_words_after_what_was_finished(url, frames):
    got = []
    with pytest.raises(FormatError, match=r"(?s)can be read was expected.*damage \(patterns 500 to 509\)"):
        for start, _, _ in Dask(url=url).blocks(
            frames, Looking(fail_at=503), ((start, start + 10) for start in range(0, 1000, 10))
        ):
            got.append(start)
    assert 0 in got and 500 not in got


def test_a_file_that_a_worker_does_not_see_is_told(url, frames, tmp_path):
    elsewhere = Hidden(frames.path, mine=os.getpid())
    with pytest.raises(ScanError, match=r"(?s)same path.*worker on .*No such file.*file system that all"):
        run_blocks(Dask(url=url), elsewhere, Looking(), 1003)


class Hidden(FileFrames):
    """Frames of a file that only one process sees."""

    __slots__ = ("mine",)

    def __init__(self, path: Path, mine: int) -> None:
        super().__init__(path)
        object.__setattr__(self, "mine", mine)

    def __reduce__(self):
        return Hidden, (self.path, self.mine)

    def read(self, start: int, stop: int) -> np.ndarray:
        path = self.path if os.getpid() == self.mine else Path("/not here") / self.path.name
        return FileFrames(path).read(start, stop) if path == self.path else path.open("rb")


def test_a_worker_that_dies_again_and_again_is_told(url, frames):
    with distributed.Client(url, set_as_default=False) as client:
        client.run_on_scheduler(patient, failures=0)  # by itself it tries three times more, each with a new process
        try:
            with pytest.raises(ScanError, match=r"(?s)patterns \d+ to \d+: .*ended from outside"):
                run_blocks(Dask(url=url), frames, Looking(kill_at=0), 1003)
        finally:
            client.run_on_scheduler(patient, failures=3)
            wait_for_the_next(client)


def wait_for_the_next(client) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if client.run(os.getpid):
                return
        time.sleep(0.2)


def patient(dask_scheduler, failures: int) -> None:
    dask_scheduler.allowed_failures = failures


def test_a_cluster_that_does_not_answer_is_named(frames, monkeypatch):
    monkeypatch.setattr(dask_client, "ANSWER_S", 0.5)
    for url in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(SettingsError, match=f"(?s){url} must answer.*dask scheduler"):
            run_blocks(Dask(url=url), frames, Looking(), 1003)


def test_dask_that_is_not_installed_is_named(frames, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"(?s)Dask, which is not installed.*dipolar\[cluster\]"):
        run_blocks(Dask(workers=1), frames, Looking(), 1003)


def test_libertem_gives_the_same_over_a_cluster_and_with_its_own_reader(url, frames, tmp_path):
    pytest.importorskip("libertem")
    path = tmp_path / "patterns.npy"
    patterns = np.fromfile(frames.path, np.uint16).reshape(17, 59, 6, 8)
    np.save(path, patterns)
    for executor in (LiberTem(cluster=url), LiberTem(path=path, kind="npy", cluster=url)):
        same(run_blocks(executor, replace(frames, chunk=50), Looking(), 1003), values_of(frames))
