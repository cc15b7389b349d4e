"""A whole scan, worked on block by block, by whichever executor the caller passes in."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import ScanError, SettingsError
from dipolar.core.scanning import AbstractFrames
from dipolar.run.scan_blocks import AbstractExecutor, Here, Span, Work, block_size, one_block
from dipolar.run.scan_dask import Dask
from dipolar.run.scan_kept import Kept, KeptFile
from dipolar.run.scan_libertem import LiberTem
from dipolar.run.scan_threads import Threads

__all__ = [
    "AbstractExecutor",
    "Dask",
    "Follow",
    "Here",
    "Kept",
    "LiberTem",
    "Threads",
    "Work",
    "one_block",
    "run_blocks",
]

READ = "read"
"""Name under which `run_blocks` says which patterns were read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """Goes along with a file that is still being written."""

    patience_s: float = 60.0
    """How long nothing may be added before the scan counts as ended."""
    poll_s: float = 0.2
    """How often the file is looked at."""

    def __post_init__(self) -> None:
        """Refuse times that are none."""
        if not (self.patience_s > 0 and self.poll_s > 0):
            raise SettingsError(
                "a file that grows is looked at every so often, and given up after some time.",
                got=f"patience_s={self.patience_s}, poll_s={self.poll_s}",
                do="patience_s=60, poll_s=0.2",
            )


def run_blocks(
    executor: AbstractExecutor,
    frames: AbstractFrames,
    work: Work,
    count: int,
    *,
    kept: Kept | None = None,
    follow: Follow | None = None,
    progress: Progress = silent,
    step: str = "diffraction patterns",
) -> dict[str, np.ndarray]:
    """Return what the work gives for every pattern of a scan: arrays by name, the first axis of each (count,).

    Only these arrays are ever whole; of the patterns, a few blocks at a time are in memory. The result is the same to
    the last bit whoever executes it, and whether it was done in one go or resumed. Under the name "read" it says for
    each pattern whether it was read; all are, unless a file that was followed ended early. Elsewhere numbers are nan,
    or 0 where they are whole, until their pattern is read.

    Parameters
    ----------
    executor
        Who does it.
    frames
        The patterns.
    work
        What is done with them.
    count
        Number of probe positions; patterns beyond are left alone.
    kept
        Where finished blocks are kept, so that the same call goes on after whatever stopped it.
    follow
        How to wait for patterns that are yet to be written; None where the file is complete.
    progress
        Told the fraction done, and the patterns per second in the name of the step.
    step
        That name.

    Raises
    ------
    ScanError
        If the file has fewer patterns than `count`, or one cannot be read; the message names it.
    OutputError
        If `kept` cannot be written, or is in use.
    SettingsError
        If `kept` belongs to other settings, or the executor cannot do what is asked.
    """
    if follow is None and frames.count < count:
        raise ScanError(
            f"the scan has {count} probe positions, and each needs its pattern.",
            got=f"{frames.count} patterns in the file",
            do="--scan-shape with the rows that are complete",
        )
    whole = _Whole(count)
    opened: AbstractContextManager[KeptFile | None] = nullcontext() if kept is None else kept.opened()
    with opened as file:
        if file is not None:
            for start, stop, values in file.blocks():
                whole.put(start, stop, values)
        told = _Told(progress, step, count, int(whole.read.sum()))
        told.tell(told.before)
        for start, stop, values in executor.blocks(frames, work, _missing(frames, whole.read, follow, told)):
            whole.put(start, stop, values)
            if file is not None:
                file.add(start, stop, values)
            told.tell(int(whole.read.sum()))
    return whole.values | {READ: whole.read}


class _Whole:
    """Arrays of all patterns, filled in as blocks come."""

    def __init__(self, count: int) -> None:
        self.read: Bool[np.ndarray, " pattern"] = np.zeros(count, dtype=bool)
        self.values: dict[str, np.ndarray] = {}

    def put(self, start: int, stop: int, values: Mapping[str, np.ndarray]) -> None:
        """Fill in one block; all must have the same names, types and shapes."""
        if not self.values:
            self.values = {name: _unknown(len(self.read), array) for name, array in values.items()}
        told = {name: (array.dtype, array.shape[1:]) for name, array in values.items()}
        expected = {name: (array.dtype, array.shape[1:]) for name, array in self.values.items()}
        if told != expected or READ in told:
            raise ValueError(f"blocks must be alike: patterns {start} to {stop - 1} gave {told}, others {expected}")
        for name, array in values.items():
            self.values[name][start:stop] = array
        self.read[start:stop] = True


def _unknown(count: int, like: np.ndarray) -> np.ndarray:
    fill = np.nan if like.dtype.kind in "fc" else 0
    return np.full((count, *like.shape[1:]), fill, dtype=like.dtype)


def _missing(
    frames: AbstractFrames, read: Bool[np.ndarray, " pattern"], follow: Follow | None, told: _Told
) -> Iterator[Span | None]:
    """Yield the blocks yet to be done as soon as their patterns are there; None where more must be waited for."""
    size, position, count = block_size(frames), 0, len(read)
    seen, since = min(frames.count, count), time.monotonic()
    while position < count:
        stop = min(position + size, count)
        if stop <= seen:
            if not read[position:stop].all():
                yield position, stop
            position = stop
            continue
        yield None  # whoever executes this finishes what it has begun, while the file grows
        ready = min(frames.count, count)
        if ready > seen:
            seen, since = ready, time.monotonic()
        elif follow is None or time.monotonic() - since > follow.patience_s:
            if seen > position:
                yield position, seen
            return
        else:
            told.wait(seen)
            time.sleep(follow.poll_s)


class _Told:
    """Tells how far the work is and how fast it goes."""

    def __init__(self, progress: Progress, step: str, count: int, before: int) -> None:
        self.progress, self.step, self.count, self.before = progress, step, count, before
        self.begun = time.monotonic()

    def tell(self, done: int) -> None:
        """Say how many patterns are done, and how many a second."""
        seconds = time.monotonic() - self.begun
        speed = f": {(done - self.before) / seconds:,.0f}/s" if done > self.before and seconds > 0 else ""
        self.progress(self.step + speed, done / self.count if self.count else 1.0)

    def wait(self, seen: int) -> None:
        """Say that the file must grow first."""
        self.progress(f"{self.step}: {seen:,} of {self.count:,}, waiting for more", seen / self.count)
