"""Frames and work that other processes can import, for the tests of executors."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dipolar.core.errors import FormatError
from dipolar.core.scanning import AbstractFrames


@dataclass(frozen=True, slots=True)
class FileFrames(AbstractFrames):
    """Patterns of a raw file, opened by path whenever some are read."""

    path: Path
    shape_px: tuple[int, int] = (6, 8)
    dtype: np.dtype = field(default=np.dtype(np.uint16))
    chunk: int = 1

    @property
    def count(self) -> int:
        return self.path.stat().st_size // (self.shape_px[0] * self.shape_px[1] * self.dtype.itemsize)

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.memmap(self.path, self.dtype, "r", shape=(self.count, *self.shape_px))[start:stop]


@dataclass(frozen=True, slots=True)
class Looking:
    """Work of the kind that a classifier does: several arrays, of several types and shapes."""

    factor: float = 0.3
    fail_at: int = -1
    pause_s: float = 0.0
    kill_at: int = -1
    note: Path | None = None
    """A file, made just before this process is killed, so that it happens once; without it, it happens each time."""

    def __call__(self, patterns: np.ndarray, start: int) -> dict[str, np.ndarray]:
        numbers = np.arange(start, start + len(patterns))
        if self.fail_at in numbers:
            raise FormatError("a pattern that can be read was expected.", got="damage", do="another file")
        if self.kill_at in numbers and (self.note is None or not self.note.exists()):
            if self.note is not None:
                self.note.write_text(str(os.getpid()), encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.pause_s)
        rows = patterns.sum(axis=2, dtype=np.float32) * np.float32(self.factor)
        return {
            "rows of it": rows,
            "counts": patterns.sum(axis=(1, 2), dtype=np.int64),
            "flags": (numbers % 7).astype(np.uint32),
            "bright": rows[:, 0] > rows[:, 1],
        }


def made(path: Path, count: int = 1003) -> FileFrames:
    """Write a scan of random counts."""
    np.random.default_rng(5).integers(0, 60000, (count, 6, 8), dtype=np.uint16).tofile(path)
    return FileFrames(path)


def values_of(frames: FileFrames) -> dict[str, np.ndarray]:
    """Return what the work gives for the whole file at once."""
    patterns = np.fromfile(frames.path, frames.dtype).reshape(-1, *frames.shape_px)
    return {**Looking()(patterns, 0), "read": np.ones(len(patterns), dtype=bool)}


def same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """See that both are equal to the last bit."""
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array, err_msg=name)
