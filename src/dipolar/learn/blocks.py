"""Splits by regions: neighbouring windows overlap, so whole regions of an image go to training or to test, never both.

A network that is judged on windows whose pixels it was trained on is judged on its memory (`verde.BlockKFold` makes the
same point for data of the earth). Windows that reach across a border are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int32, Int64

from dipolar.core.errors import DataError, SettingsError

TRAINING, TEST = 0, 1
"""The two regions of `SplitByLine`."""
ACROSS = -1
"""The block of a window that reaches into another block."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regions:
    """An image cut into rectangles."""

    y_px: Int64[np.ndarray, " line"]
    """First rows below the lines that divide it from top to bottom."""
    x_px: Int64[np.ndarray, " column"]
    """First columns to the right of the lines that divide it from left to right."""
    part: Int32[np.ndarray, "rows columns"]
    """Number of the part that each rectangle belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractSplit:
    """Which region of an image belongs to which part. Subclass it, and say in `regions` how an image is cut."""

    margin_px: int = 0
    """How far windows stay away from a border besides: as far as preparation looks beyond the window, such as a
    normalisation by the surroundings, or targets that are means over cells nearby."""
    fewest: int = 20
    """Windows with a target that each part needs at least."""

    @property
    def parts(self) -> int:
        """Number of parts."""
        raise TypeError(f"{type(self).__name__} does not say into how many parts it splits")

    def regions(self, shape_px: tuple[int, int]) -> Regions:
        """Return the rectangles of an image of that shape."""
        raise TypeError(f"{type(self).__name__} does not say how it cuts an image")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitByLine(AbstractSplit):
    """One line through the image: `TRAINING` on one side, `TEST` on the other, as in the published work."""

    share: float = 2 / 3
    """Share of the image before the line: to the left of it, or above it."""
    axis: Literal["x", "y"] = "x"
    """The direction that is divided."""

    def __post_init__(self) -> None:
        """Refuse a line that lies outside the image."""
        if not 0.0 < self.share < 1.0:
            raise SettingsError("the line must cross the image.", got=f"share={self.share:g}", do="share=2/3")

    @property
    def parts(self) -> int:
        """Two."""
        return 2

    def regions(self, shape_px: tuple[int, int]) -> Regions:
        """Return both sides of the line."""
        lines = [np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)]
        along = "yx".index(self.axis)
        lines[along] = np.array([round(self.share * shape_px[along])], dtype=np.int64)
        part = np.array([TRAINING, TEST], dtype=np.int32)
        return Regions(y_px=lines[0], x_px=lines[1], part=part[:, None] if along == 0 else part[None, :])


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitByBlocks(AbstractSplit):
    """Blocks like those of a chess board, dealt to `folds` parts so that neighbours differ and rows are even.

    Each part is the test set once, while all others are trained on. The larger the blocks against the windows, the
    fewer windows are lost at borders: of blocks `n` windows wide, about the share (1 - 1/n)² remains.
    """

    blocks: tuple[int, int] = (4, 4)
    """Rows and columns of blocks."""
    folds: int = 4
    """Number of parts."""

    def __post_init__(self) -> None:
        """Refuse fewer blocks than parts."""
        if min(self.blocks) < 1 or not 2 <= self.folds <= self.blocks[0] * self.blocks[1]:
            raise SettingsError(
                "every fold needs a block of its own, and there must be at least two folds.",
                got=f"blocks={self.blocks}, folds={self.folds}",
                do="blocks=(4, 4), folds=4",
            )

    @property
    def parts(self) -> int:
        """One part for each fold."""
        return self.folds

    def regions(self, shape_px: tuple[int, int]) -> Regions:
        """Return the blocks; each row of them begins one fold further than the row above."""
        rows, columns = (np.arange(count) for count in self.blocks)
        lines = [
            np.rint(np.arange(1, count) * size / count).astype(np.int64)
            for count, size in zip(self.blocks, shape_px, strict=True)
        ]
        begin = 1 if len(columns) >= self.folds else len(columns)  # short rows are dealt one after the other
        part = (rows[:, None] * begin + columns[None, :]) % self.folds
        return Regions(y_px=lines[0], x_px=lines[1], part=part.astype(np.int32))


def block_of(
    corners_px: Int64[np.ndarray, "window 2"], *, window_px: int, split: AbstractSplit, shape_px: tuple[int, int]
) -> Int32[np.ndarray, " window"]:
    """Return the part that each window lies in; `ACROSS` where it reaches into another block.

    Parameters
    ----------
    corners_px
        First pixel (y, x) of each window.
    window_px
        Edge of the windows.
    split
        How the image is cut.
    shape_px
        Rows and columns of the image.
    """
    regions = split.regions(shape_px)
    places, inside = [], np.ones(len(corners_px), dtype=bool)
    for axis, lines in enumerate((regions.y_px, regions.x_px)):
        first = corners_px[:, axis] - split.margin_px
        last = corners_px[:, axis] + window_px - 1 + split.margin_px
        place = np.searchsorted(lines, first, side="right")
        inside &= place == np.searchsorted(lines, last, side="right")
        places.append(place)
    return np.where(inside, regions.part[places[0], places[1]], np.int32(ACROSS))


def check_parts(
    block: Int32[np.ndarray, " window"], targets: Float[np.ndarray, "window target"], *, split: AbstractSplit
) -> None:
    """Refuse a split that leaves a part without enough windows to learn from or to judge by.

    Raises
    ------
    DataError
        If a part has fewer windows with a known target than `split.fewest`; it says how many are needed.
    """
    known = np.isfinite(targets).any(axis=1)
    counts = np.bincount(block[known & (block >= 0)], minlength=split.parts)
    if counts.min() >= split.fewest:
        return
    across = int(np.sum(known & (block == ACROSS)))
    raise DataError(
        f"each of the {split.parts} parts of a split needs at least {split.fewest} windows with a target that lie in "
        f"it alone, {split.fewest * split.parts} in all.",
        got=f"{', '.join(map(str, counts))} windows in the parts, {across} across a border",
        do="take smaller windows, fewer blocks or folds, or an image with more cells",
    )


def sides(
    block: Int32[np.ndarray, " window"], *, test: int = TEST
) -> tuple[Bool[np.ndarray, " window"], Bool[np.ndarray, " window"]]:
    """Return which windows are for training and which for the test, when the part `test` is held out."""
    return (block >= 0) & (block != test), block == test
