"""The lattice of one scan named as that of another: which of its vectors is the first, and where they point.

The first vector of a scan is the one nearest to the x axis. In a square lattice that is turned by some 45°, noise
decides which one that is, and what is half way along the first vector here may be half way along the second one there.
A bank therefore carries the lattice that it was made on, and is put to another scan along the vectors that lie nearest.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dipolar.core.scanning import View

STRETCHED = 1.15
"""Lengths in a lattice of the same shape differ by less than this from one direction to another: scanning and projector
lenses distort patterns by some percent."""
_EVERY = [np.reshape(each, (2, 2)) for each in itertools.product((-1, 0, 1), repeat=4)]
NAMINGS = [turn for turn in _EVERY if abs(turn[0, 0] * turn[1, 1] - turn[0, 1] * turn[1, 0]) == 1]
"""Pairs of short vectors that span the same lattice: exchanged, reversed, and sums of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How a lattice lies beside another one."""

    turned_deg: float
    """By how much it is turned, counter-clockwise as seen on the screen, -180 to 180."""
    stretched: float
    """Greatest over least change of length among all directions: 1 where both have the same shape."""
    larger: float
    """Mean change of length; of lattices in radii of a disk, whatever the sizes of the detectors."""


def lattice_in_disks(view: View) -> Float[np.ndarray, "2 2"]:
    """Return the reciprocal lattice vectors of a view in radii of a disk: those of every detector and camera length."""
    return view.lattice_px / view.radius_px


def likeness(lattice: Float[np.ndarray, "2 2"], beside: Float[np.ndarray, "2 2"]) -> Likeness:
    """Return how a lattice, its vectors as they are named, lies beside another one of the same handedness.

    What takes one to the other is split into a turn and changes of length along two directions across each other.

    Parameters
    ----------
    lattice, beside
        Vectors as rows (k_y, k_x).
    """
    left, change, right = np.linalg.svd(np.linalg.inv(beside) @ lattice)
    turn = left @ right
    return Likeness(
        turned_deg=float(np.degrees(np.arctan2(-turn[1, 0], turn[1, 1]))),
        stretched=float(change[0] / change[1]),
        larger=float(np.sqrt(change[0] * change[1])),
    )


def named_as(view: View, lattice: Float[np.ndarray, "2 2"]) -> View:
    """Return the view, its lattice vectors chosen, ordered and directed as in another lattice.

    Of the pairs of short vectors that span the lattice of the view, it is one of the same shape as the other lattice,
    and of these the one that is turned least; the one most alike in shape where none is of the same.

    Parameters
    ----------
    view
        With a lattice.
    lattice
        The other one, from `lattice_in_disks`.
    """
    own, side = lattice_in_disks(view), np.sign(np.linalg.det(lattice))
    ranked = []
    for number, turn in enumerate(NAMINGS):
        if np.sign(np.linalg.det(turn @ own)) == side:  # no camera mirrors a lattice between two scans
            like = likeness(turn @ own, lattice)
            ranked.append((max(like.stretched, STRETCHED), abs(like.turned_deg), number))
    turn = NAMINGS[min(ranked)[2]]
    return replace(
        view, lattice_px=turn @ view.lattice_px, lattice_sigma_px=np.sqrt(turn**2 @ view.lattice_sigma_px**2)
    )
