"""Patterns in memory, as a scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dipolar.core.scanning import AbstractFrames, Scan


@dataclass(frozen=True, eq=False)
class Held(AbstractFrames):
    """Patterns in memory."""

    data: np.ndarray

    @property
    def count(self) -> int:
        return len(self.data)

    @property
    def shape_px(self) -> tuple[int, int]:
        return self.data.shape[1], self.data.shape[2]

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def chunk(self) -> int:
        return 1

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.data[start:stop]


def held(patterns: np.ndarray, shape: tuple[int, int], *, defective: np.ndarray | None = None) -> Scan:
    """Return patterns in memory as a scan."""
    return Scan(frames=Held(patterns), shape=shape, name="in memory", key="0" * 16, defective=defective)
