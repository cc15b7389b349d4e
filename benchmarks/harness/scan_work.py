"""Executors and work with something added for a measurement; other processes can import them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numba
import numpy as np

from dipolar.core.scanning import AbstractFrames
from dipolar.run.scanning import AbstractExecutor, Dask, Here, LiberTem, Threads, Work

SETTLED = 0.25
"""Share of the patterns after which processes have started and compiled, and the pace is that of a long scan."""


def executor_of(name: str) -> AbstractExecutor:
    """Return the executor that a name like ``here``, ``threads:2``, ``dask:2`` or ``libertem:2`` stands for."""
    kind, _, number = name.partition(":")
    workers = int(number or 1)
    if kind == "threads":
        return Threads(workers=workers)
    if kind == "dask":
        return Dask(workers=workers)
    if kind == "libertem":
        return LiberTem(cluster="local", workers=workers)
    if kind != "here":
        raise ValueError(f"no such executor: {name}")
    return Here()


@dataclass
class Timed(AbstractExecutor):
    """Another executor, whose blocks are timed as they come."""

    other: AbstractExecutor
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """Seconds, and patterns done by then."""

    def blocks(
        self, frames: AbstractFrames, work: Work, spans: Iterable[tuple[int, int] | None]
    ) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
        """Yield the blocks of the other one."""
        begun, done = time.perf_counter(), 0
        self.arrivals = [(0.0, 0)]
        for start, stop, values in self.other.blocks(frames, work, spans):
            done += stop - start
            self.arrivals.append((time.perf_counter() - begun, done))
            yield start, stop, values

    @property
    def settled_pace(self) -> float:
        """Patterns per second once everything has started."""
        seconds, done = np.array(self.arrivals).T
        first = int(np.searchsorted(done, SETTLED * done[-1]))
        return float((done[-1] - done[first]) / (seconds[-1] - seconds[first])) if first + 1 < len(done) else np.nan


@dataclass(frozen=True)
class Killed:
    """Work in a process that is killed once, at some pattern."""

    work: Work
    at: int
    note: Path
    """Written just before, so that it happens once."""

    def __call__(self, patterns: np.ndarray, start: int) -> Mapping[str, np.ndarray]:
        """Do the work, or die."""
        if start <= self.at < start + len(patterns) and not self.note.exists():
            self.note.write_text(str(os.getpid()), encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        return self.work(patterns, start)


@dataclass(frozen=True)
class Summed:
    """No work but to read every pixel once: the limit that memory sets."""

    def __call__(self, patterns: np.ndarray, start: int) -> Mapping[str, np.ndarray]:
        """Return a checksum of each pattern."""
        sums = np.empty(len(patterns), dtype=np.uint64)
        words = np.ascontiguousarray(patterns).reshape(len(patterns), -1).view(np.uint32)
        _xor(words, sums)
        return {"sum": sums}


@numba.njit(cache=True, nogil=True)
def _xor(words, sums):  # type: ignore[no-untyped-def]
    for number in range(len(words)):
        total = np.uint32(0)
        for word in words[number]:
            total ^= word
        sums[number] = total


@dataclass(frozen=True)
class Memory(AbstractFrames):
    """Patterns that are in memory already."""

    data: np.ndarray

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of patterns."""
        return len(self.data)

    @property
    def shape_px(self) -> tuple[int, int]:  # type: ignore[override]
        """(k_y, k_x)."""
        return self.data.shape[1], self.data.shape[2]

    @property
    def dtype(self) -> np.dtype:  # type: ignore[override]
        """Type of the counts."""
        return self.data.dtype

    chunk = 1

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return a view."""
        return self.data[start:stop]
