"""What a reader finds in a file of diffraction patterns, and how it becomes a scan of a certain shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from dipolar.core.errors import ScanError
from dipolar.core.nouns import Fact
from dipolar.core.scan_key import KEY_PATTERNS, key_of
from dipolar.core.scanning import AbstractFrames, Scan
from dipolar.io.scan_parts import LaterFrames

MIN_EDGE_PX = 4
"""Smaller arrays are tables, not diffraction patterns."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Patterns in a file and all that it says about them."""

    frames: AbstractFrames
    """All patterns, in the order they were taken."""
    shape: tuple[int, int] | None = None
    """(scan_y, scan_x) where the file says it."""
    shape_source: str = ""
    """Where it says so."""
    step_nm: float | None = None
    """Distance between probe positions; None where unknown."""
    pixel_mrad: float | None = None
    """Angle per px of the detector; None where unknown."""
    defective: Bool[np.ndarray, "k_y k_x"] | None = None
    """Pixels that the file itself calls dead or hot."""
    facts: tuple[Fact, ...] = ()
    """Voltage, camera length, dwell time, how the patterns are stored."""
    remark: str = ""
    """What to add where the number of patterns is not that of the shape: "its last pattern is cut off"."""
    begins: int = 0
    """Patterns before the scan, as the remark says; they are left out only when asked for."""


def how_stored(name: str, stored: str = "memory map") -> tuple[Fact, Fact]:
    """Return the facts that every reader tells: the format, and how the patterns lie in the file."""
    return Fact(name="format", value=name, source="file"), Fact(name="stored", value=stored, source="file")


def settle(found: Found, *, path: Path, scan_shape: tuple[int, int] | None, skip: int | None, growing: bool) -> Scan:
    """Return the scan of `found`, once it is clear which pattern belongs to which probe position.

    Raises
    ------
    ScanError
        Where the shape is not known, or does not fit the number of patterns.
    """
    shape, source = (scan_shape, "option") if scan_shape else (found.shape, found.shape_source)
    count = found.frames.count
    if skip is not None and not 0 <= skip < max(1, count):
        raise ScanError(
            "--skip leaves out patterns at the start, fewer than there are",
            got=f"--skip {skip} of {count:,} patterns",
            do=f"choose a number from 0 to {max(0, count - 1)}",
        )
    remark = f" ({found.remark})" if found.remark else ""
    if shape is None:
        proposed = _proposal(count - (skip or 0))
        raise ScanError(
            "the file does not say how many rows and columns the scan has",
            got=f"{path.name} holds {count - (skip or 0):,} patterns{remark}",
            do=f"as told there; or for all of them {proposed}" if found.begins and skip is None else proposed,
        )
    if min(shape) < 1:
        raise ScanError(
            "a scan has at least one row and one column",
            got=f"{shape[0]},{shape[1]}",
            do=_proposal(count - (skip or 0)),
        )
    _check_count(shape, count, path=path, skip=skip, growing=growing, source=source, remark=remark)
    frames = found.frames
    if skip is not None or growing:  # what grows may grow beyond the scan
        frames = LaterFrames(whole=frames, skip=skip or 0, most=shape[0] * shape[1])
    needed = min(KEY_PATTERNS, shape[0] * shape[1])
    if frames.count < needed:
        raise ScanError(
            f"a scan that is still written can be opened from its {needed}th pattern on",
            got=f"{path.name} holds {frames.count}",
            do="open it again in a moment",
        )
    return Scan(
        frames=frames,
        shape=shape,
        name=path.name,
        key=key_of(frames, shape, growing=growing),
        step_nm=found.step_nm,
        pixel_mrad=found.pixel_mrad,
        defective=found.defective,
        growing=growing,
        facts=(Fact(name="scan_shape", value=f"{shape[0]},{shape[1]}", source=source), *found.facts),
    )


def _check_count(
    shape: tuple[int, int], count: int, *, path: Path, skip: int | None, growing: bool, source: str, remark: str
) -> None:
    """Refuse a shape that wants more patterns than there are, or leaves some over without being told to."""
    wanted = shape[0] * shape[1]
    left = count - (skip or 0)
    asked = f"the scan shape {shape[0]} × {shape[1]} ({source}) wants {wanted:,}"
    got = f"{path.name} holds {left:,} patterns{remark}, {asked}"
    if left < wanted and not growing:
        rows = left // shape[1]
        rest = "" if skip is None and rows * shape[1] == left else f" --skip {skip or 0}"
        whole = f"--scan-shape {rows},{shape[1]}{rest} for the rows that are whole; else " if rows else ""
        raise ScanError("there must be a pattern for every probe position", got=got, do=f"{whole}{_proposal(left)}")
    if left > wanted and skip is None:
        raise ScanError(
            "every pattern must belong to a probe position",
            got=f"{got}: {left - wanted:,} more",
            do=f"--skip 0 where the last ones are extra, --skip {left - wanted} where the first ones are; "
            f"else {_proposal(left)}",
        )


def factor_pairs(count: int) -> list[tuple[int, int]]:
    """Return the scan shapes (scan_y, scan_x) that hold exactly `count` patterns, the squarest first.

    >>> factor_pairs(12)
    [(3, 4), (4, 3), (2, 6), (6, 2), (1, 12), (12, 1)]
    """
    low = [(small, count // small) for small in range(int(count**0.5), 0, -1) if count % small == 0]
    return [pair for small, large in low for pair in dict.fromkeys([(small, large), (large, small)])]


def _proposal(count: int) -> str:
    pairs = [f"{rows},{columns}" for rows, columns in factor_pairs(count)[:6]] if count > 0 else []
    if not pairs:
        return "check that the file holds patterns"
    return f"--scan-shape ROWS,COLUMNS; {count:,} patterns are {' or '.join(pairs)}"
