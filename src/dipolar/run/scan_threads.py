"""Blocks of diffraction patterns over threads of this process: kernels and networks let go of the interpreter."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

from dipolar.core.errors import SettingsError
from dipolar.core.scanning import AbstractFrames
from dipolar.run.scan_blocks import AbstractExecutor, Block, Span, Work, one_block, one_thread_each

AHEAD = 2
"""Blocks per thread that are begun or wait: memory stays the same at any size of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threads(AbstractExecutor):
    """Several blocks at once, each in a thread of this process."""

    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Number of threads; by default one per core."""

    def __post_init__(self) -> None:
        """Refuse what is no number of threads."""
        if self.workers < 1:
            raise SettingsError("work needs at least one thread.", got=f"workers={self.workers}", do="workers=2")

    def blocks(self, frames: AbstractFrames, work: Work, spans: Iterable[Span | None]) -> Iterator[Block]:
        """Yield the blocks as they are finished; on an error or an interruption no further one is begun."""
        begun: set[Future[Block]] = set()
        with networks_kept(), ThreadPoolExecutor(self.workers, "patterns", one_thread_each) as pool:
            try:
                for span in spans:
                    if span is not None:
                        begun.add(pool.submit(one_block, frames, work, span))
                    while begun and (span is None or len(begun) >= AHEAD * self.workers):
                        yield from _finished(begun)
                while begun:
                    yield from _finished(begun)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _finished(begun: set[Future[Block]]) -> Iterator[Block]:
    """Wait for one block at least and yield all that are finished; where one failed, all in work, then its error."""
    done = wait(begun, return_when=FIRST_COMPLETED).done
    begun -= done
    if any(future.exception() is not None for future in done):
        done |= wait({future for future in begun if not future.cancel()}).done
        begun.clear()
    failed = [future for future in done if future.exception() is not None]
    yield from sorted((future.result() for future in done if future not in failed), key=lambda block: block[0])
    for future in failed:
        future.result()


@contextmanager
def networks_kept() -> Iterator[None]:
    """Give PyTorch its number of threads back at the end: new threads of a process all follow the last that told it."""
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    try:
        yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)
