"""Classes → pieces of outline between two of them: where both are equally probable, between positions.

Each class gets a level, how far it is above the best of the others; its outline is the contour at zero (marching
squares), cut where the class on the other side changes. Levels are differences of shares, or of log-probabilities: a
classifier's log-odds run evenly with the share of a class, where its probabilities jump.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Int32
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dipolar.maps.scan_classes import LEAST, Classes

CLEAR = 6.0
"""Log-odds beyond which a class is simply clear."""
BARELY = 0.01
"""Level, over that of a clear class, of positions that neighbours have turned against what their pattern says."""
TIE = 1e-3
"""Share of the smoothed level that decides where four positions leave open how they are connected."""
MEETING = 1.6
"""Ends of walls within so many probe steps meet in one point."""
Ending = Literal["edge", "meeting", "open"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """Part of an outline between two classes, as it comes from the raster."""

    before: int
    """Class on the left as seen on the screen."""
    after: int
    """Class on the right."""
    points: Float[np.ndarray, "point 2"]
    """(scan_y, scan_x), in order, about half a probe step apart."""
    closed: bool
    """Whether the last point is next to the first."""
    ends: tuple[Ending, Ending] = ("open", "open")
    """Whether it ends at the edge of the scan, where walls meet, or at positions without a class."""


def levels_of(classes: Classes) -> Float[np.ndarray, "scan_y scan_x class"]:
    """Return how far each class is above the best other, above zero exactly where it is the class of the position.

    nan where no class can be told.
    """
    count = classes.share.shape[2]
    values = classes.share if classes.shares_known else np.log(np.maximum(classes.share, LEAST))
    clear = 1.0 if classes.shares_known else CLEAR
    levels = np.empty(values.shape)
    for place in range(count):
        others = np.delete(values, place, axis=2)
        best = others.max(axis=2) if count > 1 else values[..., place] - clear
        level = np.clip(values[..., place] - best, -clear, clear)
        level += TIE * scipy.ndimage.gaussian_filter(np.where(classes.label >= 0, level, 0.0), 2.0)
        own = classes.label == place
        levels[..., place] = np.where(own, np.maximum(level, BARELY * clear), np.minimum(level, -BARELY * clear))
    levels[classes.label < 0] = np.nan
    return levels


def between(levels: Float[np.ndarray, "scan_y scan_x class"]) -> Float[np.ndarray, "corner_y corner_x class"]:
    """Return the mean level of the four positions around each corner."""
    return 0.25 * (levels[:-1, :-1] + levels[1:, :-1] + levels[:-1, 1:] + levels[1:, 1:])


def pieces_of(
    label: Int32[np.ndarray, "scan_y scan_x"], levels: Float[np.ndarray, "scan_y scan_x class"]
) -> list[Piece]:
    """Return every piece of outline once, ends that meet joined in one point."""
    from skimage.measure import find_contours

    if min(label.shape) < 2:
        return []
    count = levels.shape[2]
    there = [place for place in range(count) if (label == place).any()]
    masks = [(label == place).astype(np.float64) for place in range(count)]
    found = []
    for place in there[:-1]:
        for contour in find_contours(_doubled(levels[..., place]), 0.0):  # type: ignore[no-untyped-call]
            found += _cut(0.5 * contour, place, masks)
    return _met([_ended(piece, label.shape) for piece in found])


def _doubled(level: Float[np.ndarray, "scan_y scan_x"]) -> Float[np.ndarray, "fine_y fine_x"]:
    """Return the level on a raster of half steps, so that the mean of four decides how they are connected."""
    height, width = level.shape
    fine = np.empty((2 * height - 1, 2 * width - 1))
    fine[::2, ::2] = level
    fine[1::2, ::2] = 0.5 * (level[:-1] + level[1:])
    fine[:, 1::2] = 0.5 * (fine[:, :-1:2] + fine[:, 2::2])
    return fine


def _cut(
    points: Float[np.ndarray, "point 2"], place: int, masks: list[Float[np.ndarray, "scan_y scan_x"]]
) -> list[Piece]:
    """Cut the outline of a class where the class on its other side changes; keep what later classes are beyond."""
    closed = bool(len(points) > 3 and np.array_equal(points[0], points[-1]))
    points = points[:-1] if closed else points
    near = np.stack([scipy.ndimage.map_coordinates(mask, points.T, order=1, mode="nearest") for mask in masks])
    near[place] = -1.0
    other = _without_blips(np.argmax(near, axis=0), closed=closed)
    change = np.flatnonzero(other[1:] != other[:-1]) + 1
    if closed and len(change):  # start where the class changes
        points, other = np.roll(points, -change[0], axis=0), np.roll(other, -change[0])
        change = np.flatnonzero(other[1:] != other[:-1]) + 1
        closed = False
    left = _inside_is_left(points, masks[place], closed=closed)
    pieces = []
    for part, beyond in zip(np.split(points, change), other[np.concatenate([[0], change]).astype(int)], strict=True):
        if beyond > place and len(part) > 1:
            pieces.append(Piece(before=place, after=int(beyond), points=part if left else part[::-1], closed=closed))
    return pieces


def _without_blips(other: np.ndarray, *, closed: bool) -> np.ndarray:
    """Return the class beyond each point; single points between two of another class are as these."""
    if len(other) < 3:
        return other
    before, after = np.roll(other, 1), np.roll(other, -1)
    blip = (before == after) & (other != before)
    if not closed:
        blip[[0, -1]] = False
    return np.where(blip, before, other)


def _inside_is_left(
    points: Float[np.ndarray, "point 2"], mask: Float[np.ndarray, "scan_y scan_x"], *, closed: bool
) -> bool:
    """Return whether the class itself is on the left, as seen on the screen, of most of the outline."""
    ends = points[[*range(len(points)), 0]] if closed else points
    ahead = np.diff(ends, axis=0)
    middle = 0.5 * (ends[1:] + ends[:-1])
    right = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
    right /= np.maximum(np.linalg.norm(right, axis=1), 1e-12)[:, None]
    on_left, on_right = (
        scipy.ndimage.map_coordinates(mask, (middle + side * right).T, order=1, mode="nearest") for side in (-0.5, 0.5)
    )
    return bool(np.sum(on_left - on_right) >= 0)


def _ended(piece: Piece, shape: tuple[int, int]) -> Piece:
    """Say which ends are at the edge of the scan."""
    if piece.closed:
        return piece
    last = np.array(shape) - 1.0
    ends: list[Ending] = []
    for point in (piece.points[0], piece.points[-1]):
        ends.append("edge" if np.any(point < 1e-9) or np.any(point > last - 1e-9) else "open")
    return replace(piece, ends=(ends[0], ends[1]))


def _met(pieces: list[Piece]) -> list[Piece]:
    """Join ends of different pieces that lie close together in the mean of them."""
    ends = [(number, end) for number, piece in enumerate(pieces) for end in (0, 1) if not piece.closed]
    ends = [(number, end) for number, end in ends if pieces[number].ends[end] == "open"]
    if len(ends) < 2:
        return pieces
    at = np.array([pieces[number].points[-end] for number, end in ends])
    near = cKDTree(at).query_pairs(MEETING, output_type="ndarray")
    graph = coo_array((np.ones(len(near), dtype=bool), (near[:, 0], near[:, 1])), shape=(len(at), len(at)))
    _, group = connected_components(graph, directed=False)
    joined = list(pieces)
    for meeting in np.flatnonzero(np.bincount(group) > 1):
        members = np.flatnonzero(group == meeting)
        where = at[members].mean(axis=0)
        for number, end in (ends[member] for member in members):
            piece = joined[number]
            points = [where[None], piece.points] if end == 0 else [piece.points, where[None]]
            kinds: tuple[Ending, Ending] = ("meeting", piece.ends[1]) if end == 0 else (piece.ends[0], "meeting")
            joined[number] = replace(piece, points=np.concatenate(points), ends=kinds)
    return joined
