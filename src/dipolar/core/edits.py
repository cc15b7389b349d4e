"""Corrections by hand, as nouns: what a person changed about the columns, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sublattice = Literal["A", "B"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A column that is none."""

    at_px: tuple[float, float]
    """Where it is, (y, x); the nearest column within the tolerance is meant."""
    why: str = ""
    """The reason, for the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A column that was not found."""

    at_px: tuple[float, float]
    """Its centre (y, x), as placed by hand; it is not fitted, so its sigma is nan."""
    why: str = ""
    """The reason, for the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A sublattice that was told wrong."""

    at_px: tuple[float, float]
    """A column, (y, x)."""
    sublattice: Sublattice
    """What it is."""
    whole_crystal: bool = False
    """Whether A and B change places in the whole crystal that the column belongs to, so that this column is right."""
    why: str = ""
    """The reason, for the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A part of the image to leave out: a rectangle or a polygon."""

    polygon_px: tuple[tuple[float, float], ...]
    """Corners (y, x), three or more, in order around it."""
    why: str = ""
    """The reason, for the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """Everything that was changed by hand, in the order in which it is applied: masks, removals, additions, labels."""

    ignore: tuple[Mask, ...] = ()
    """Columns in there are left out."""
    remove: tuple[Removal, ...] = ()
    """Columns left out one by one."""
    add: tuple[Addition, ...] = ()
    """Columns put in."""
    assign: tuple[Assignment, ...] = ()
    """Sublattices changed."""
    tolerance_px: float | None = None
    """How far a named place may be from its column; None: 0.3 of the distance from A to B."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditsRecord:
    """What became of edits."""

    edits: Edits
    """What was asked for."""
    removed: int
    """Columns left out one by one."""
    ignored: int
    """Columns left out because they lie in a mask."""
    added: int
    """Columns put in."""
    reassigned: int
    """Columns whose sublattice changed."""
