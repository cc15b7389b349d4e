"""Blocks of diffraction patterns: how many at once, one of them worked on, and who spreads them."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Shaped

from dipolar.core.errors import DipolarError, ScanError
from dipolar.core.scanning import AbstractFrames

Work: TypeAlias = Callable[[np.ndarray, int], Mapping[str, np.ndarray]]
"""``work(patterns, start)`` takes patterns (pattern, k_y, k_x), of which the first is number `start` of the scan, and
gives arrays by name, the first axis of each (pattern,). What it says of a pattern depends on that pattern alone."""

Span: TypeAlias = tuple[int, int]
"""Numbers of the first pattern and of the one after the last."""

Block: TypeAlias = tuple[int, int, dict[str, np.ndarray]]
"""Such numbers, and what the work gave for these patterns."""

BLOCK_BYTES = 32 << 20
"""Patterns worked on at once: 64 of 512 px, which is how many a network sees at a time."""
BLOCK_PATTERNS = 256
"""No more at once even where they are small: who stops waits for the blocks in work."""
CHUNK_BYTES = 128 << 20
"""Chunks of a file larger than this are read in parts, which is slow, but fits into any memory."""


class AbstractExecutor:
    """Spreads work over the patterns of a scan. A subclass says how, in one method::

    class Backwards(AbstractExecutor):
        def blocks(self, frames, work, spans):
            for span in reversed([span for span in spans if span]):
                yield one_block(frames, work, span)
    """

    def blocks(self, frames: AbstractFrames, work: Work, spans: Iterable[Span | None]) -> Iterator[Block]:
        """Yield what the work gives for each span, in any order, each as soon as it is known.

        Parameters
        ----------
        frames
            The patterns.
        work
            What is done with them; of a class or function that other processes can import.
        spans
            Which patterns, block by block, taken as they are needed and never all at once. None among them says that
            the file has no more yet: everything begun before must be given before the next is asked for.

        Raises
        ------
        DipolarError
            Whatever reading or the work raises, with the numbers of the patterns; all that was finished was given
            before.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Here(AbstractExecutor):
    """One block after the other, in this thread."""

    def blocks(self, frames: AbstractFrames, work: Work, spans: Iterable[Span | None]) -> Iterator[Block]:
        """Yield the blocks in order."""
        for span in spans:
            if span is not None:
                yield one_block(frames, work, span)


def block_size(frames: AbstractFrames) -> int:
    """Return how many patterns make a block.

    It follows from the file alone, whoever works on it: a network's arithmetic may depend on how many patterns it is
    given at once, and then all executors, and a run that was resumed, still agree to the last bit.

    Parameters
    ----------
    frames
        The patterns; a block holds whole chunks of them.
    """
    pattern = max(1, frames.shape_px[0] * frames.shape_px[1] * frames.dtype.itemsize)
    fits = min(max(1, BLOCK_BYTES // pattern), BLOCK_PATTERNS)
    if frames.chunk <= 1 or frames.chunk * pattern > CHUNK_BYTES:
        return fits
    return max(1, fits // frames.chunk) * frames.chunk


def one_block(frames: AbstractFrames, work: Work, span: Span) -> Block:
    """Return what the work gives for one block of patterns.

    Parameters
    ----------
    frames
        The patterns.
    work
        What is done with them.
    span
        Which of them.

    Raises
    ------
    DipolarError
        As raised by either; the numbers of the patterns are in its message. Any other exception has them as a note.
    """
    start, stop = span
    try:
        patterns = frames.read(start, stop)
        values = {name: np.asarray(array) for name, array in work(patterns, start).items()}
        _check(values, stop - start)
        let_go(patterns)
    except DipolarError as error:
        raise _named(error, span) from error
    except OSError as error:
        raise ScanError(
            "all patterns of the scan must be readable until the end.",
            got=f"patterns {start} to {stop - 1}: {error}",
            do="see that the file is still there, then the same command: what was finished is kept",
        ) from error
    except MemoryError as error:
        raise ScanError(
            f"work on {stop - start} patterns needs more memory than there is.",
            got=f"patterns {start} to {stop - 1}: {error or 'no memory left'}",
            do="the same command with fewer workers: --workers 1",
        ) from error
    except Exception as error:
        error.add_note(f"while working on patterns {start} to {stop - 1} of the scan")
        raise
    return start, stop, values


def _check(values: Mapping[str, np.ndarray], patterns: int) -> None:
    """Refuse what is not one row per pattern."""
    for name, array in values.items():
        if array.ndim == 0 or len(array) != patterns:
            raise ValueError(f"{name!r} has shape {array.shape} for {patterns} patterns; its first axis must be theirs")


def _named(error: DipolarError, span: Span) -> DipolarError:
    """Return the same error with the numbers of the patterns."""
    where = f"patterns {span[0]} to {span[1] - 1}"
    named = type(error)(error.expected, got=f"{error.got} ({where})" if error.got else where, do=error.do)
    named.results = error.results
    return named


def let_go(patterns: Shaped[np.ndarray, "pattern k_y k_x"]) -> None:
    """Take the pages of these patterns out of this process's memory, where they are a view of a mapped file.

    The system keeps them in its cache, but they no longer count as ours: without it, a scan of 20 GB would seem to
    need 20 GB, and clusters end processes for that. Whoever looks again gets them again.

    Parameters
    ----------
    patterns
        What frames gave; an array of its own is left alone.
    """
    owner: object = patterns
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    if not isinstance(owner, mmap.mmap) or not hasattr(owner, "madvise") or patterns.size == 0:
        return
    if not memoryview(owner).readonly:  # what was written into a private map would be lost
        return
    first = np.frombuffer(owner, dtype=np.uint8, count=1).ctypes.data
    low, high = np.lib.array_utils.byte_bounds(patterns)
    begin = (low - first) // mmap.PAGESIZE * mmap.PAGESIZE
    owner.madvise(mmap.MADV_DONTNEED, begin, min(high - first, len(owner)) - begin)


def one_thread_each() -> None:
    """Tell PyTorch, where it is loaded, to work in the thread it is called from: there is one per core already."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
