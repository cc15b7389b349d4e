"""What columns of a perovskite look like under a tilted beam, for every tilt, thickness, focus and displacement.

An image of one cell is kept as two *stamps*, the part of it that belongs to A and the part that belongs to B: a smooth
window that is one at B and nothing at A divides it. Stamps are Fourier series around the place of their own column, so
that a displacement of B moves a stamp and hardly changes it, and that they can be set down anywhere in an image. What
a tilt does to a column (how it is moved, stretched, dimmed and made lopsided) is in its stamp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex64, Complex128, Float, Int64

STATES = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
"""Displacements (y, x) of B, in units of `TiltLibrary.displacement_pm`, that stamps are known at, in their order; a
library of a crystal that is never polar has the first alone."""
LARGEST_ORDER = 7.0
"""Frequency, in units of the inverse cell, up to which columns are compared with a library; networks see so many."""
POINTS = 4
"""Nodes that an interpolation takes along each axis: cubic."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltLibrary:
    """Stamps of A and B of one perovskite along ⟨100⟩ in one microscope."""

    material: str
    """Its key: "bfo"."""
    elements: tuple[str, str]
    """A and B."""
    cell_pm: float
    """Edge of the cell of one formula unit, square across the beam."""
    depth_pm: float
    """Edge of that cell along the beam: planes of A and of B alternate by half of it, and A comes first."""
    voltage_kv: float
    """High tension."""
    convergence_mrad: float
    """Semi-angle of the probe."""
    detector_mrad: tuple[float, float]
    """Where the annular detector begins and ends."""
    displacement_pm: float
    """How far B is displaced in `STATES`, oxygen with it as in the polar crystal; 0 where it never is."""
    tilts_mrad: Float[np.ndarray, " tilt"]
    """Tilts along y, and along x: the direction into which the beam leans, that is, walks on its way down."""
    thicknesses_nm: Float[np.ndarray, " thickness"]
    """Thicknesses."""
    foci_nm: Float[np.ndarray, " focus"]
    """Depths of the focus below the entrance surface."""
    orders: Int64[np.ndarray, "term 2"]
    """Frequencies (y, x) in units of the inverse cell; the opposite ones have the conjugate terms."""
    stamps: Complex64[np.ndarray, "tilt_y tilt_x state thickness focus 2 term"]
    """Terms of the stamps of A and of B, each around its column's true place; no blur of the source."""
    source: str
    """Crystal and how it was computed."""
    displaced_every: int = 1
    """At every how manieth tilt along each axis displaced crystals were computed; in between, what a displacement
    changes is interpolated."""


def interpolation(
    nodes: Float[np.ndarray, " node"], at: Float[np.ndarray, " place"]
) -> Float[np.ndarray, "place node"]:
    """Return the weights of nodes at places: of the cubic through the four nearest; where there are fewer, of all.

    Beyond the first and the last node the cubic goes on; whether that is allowed is for the caller to say.
    """
    count = min(POINTS, len(nodes))
    first = np.clip(np.searchsorted(nodes, at, side="right") - count // 2, 0, len(nodes) - count)
    rows = first[:, None] + np.arange(count)
    near = nodes[rows]
    weights = np.zeros((len(at), len(nodes)))
    for one in range(count):
        others = [number for number in range(count) if number != one]
        part = np.prod((at[:, None] - near[:, others]) / (near[:, [one]] - near[:, others]), axis=1)
        np.put_along_axis(weights, rows[:, [one]], part[:, None], axis=1)
    return weights


def compared(library: TiltLibrary) -> Int64[np.ndarray, " term"]:
    """Return which terms tell a tilt: not the mean, as a detector has an offset, and none beyond what blur leaves."""
    length = np.linalg.norm(library.orders, axis=1)
    return np.flatnonzero((length > 0) & (length <= LARGEST_ORDER))


def state_weights(shift: Float[np.ndarray, "place 2"], states: int) -> Float[np.ndarray, "place state"]:
    """Return the weights of `STATES` at displacements in units of the library's: quadratic along y and along x."""
    if states == 1:
        return np.ones((len(shift), 1))
    up, down = 0.5 * (shift**2 + shift), 0.5 * (shift**2 - shift)
    none = 1.0 - np.sum(shift**2, axis=1)
    return np.stack([none, up[:, 0], down[:, 0], up[:, 1], down[:, 1]], axis=1)


def stamps_on(
    library: TiltLibrary,
    *,
    tilts_y_mrad: Sequence[float] | Float[np.ndarray, " ty"],
    tilts_x_mrad: Sequence[float] | Float[np.ndarray, " tx"],
    thicknesses_nm: Sequence[float] | Float[np.ndarray, " thick"],
    foci_nm: Sequence[float] | Float[np.ndarray, " foc"],
) -> Complex64[np.ndarray, "ty tx state thick foc 2 term"]:
    """Return the stamps on another grid of tilts, thicknesses and foci, interpolated.

    Under a tilted beam a focus at depth f moves columns by about f θ / 2, which no cubic in θ and f follows to large
    frequencies. So stamps are interpolated without that shift, and get it back: at foci of 3 nm that is 0.3 % of the
    contrast in place of 0.6 %, and at 5 nm 0.5 % in place of 1.4 %.
    """
    found = _along(library.stamps, 3, library.thicknesses_nm, thicknesses_nm)
    found = found * moved(library, library.tilts_mrad, library.tilts_mrad, library.foci_nm).conj()
    axes = (
        (0, library.tilts_mrad, tilts_y_mrad),
        (1, library.tilts_mrad, tilts_x_mrad),
        (4, library.foci_nm, foci_nm),
    )
    for axis, nodes, at in sorted(axes, key=lambda one: len(one[2]) / len(one[1])):
        found = _along(found, axis, nodes, at)
    given = (np.asarray(at, dtype=np.float64) for at in (tilts_y_mrad, tilts_x_mrad, foci_nm))
    return found * moved(library, *given)


def _along(
    stamps: Complex64[np.ndarray, "..."],
    axis: int,
    nodes: Float[np.ndarray, " node"],
    at: Sequence[float] | Float[np.ndarray, " place"],
) -> Complex64[np.ndarray, "..."]:
    """Return stamps interpolated along one axis; as they are where places are the nodes themselves."""
    places = np.asarray(at, dtype=np.float64)
    if np.array_equal(places, nodes):
        return stamps
    weights = interpolation(nodes, places).astype(np.float32)
    return np.moveaxis(np.tensordot(weights, stamps, axes=(1, axis)), 0, axis)


def moved(
    library: TiltLibrary,
    tilts_y_mrad: Float[np.ndarray, " ty"],
    tilts_x_mrad: Float[np.ndarray, " tx"],
    foci_nm: Float[np.ndarray, " foc"],
) -> Complex64[np.ndarray, "ty tx 1 1 foc 1 term"]:
    """Return the phases of a shift by half of focus times tilt, which are taken out before stamps are interpolated.

    mrad times nm are pm.
    """
    g = library.orders / library.cell_pm
    parts = [
        np.exp(1j * np.pi * tilts[:, None, None] * foci_nm[None, :, None] * g[:, axis])
        for axis, tilts in enumerate((tilts_y_mrad, tilts_x_mrad))
    ]
    both = parts[0][:, None] * parts[1][None]
    return both[:, :, None, None, :, None, :].astype(np.complex64)


def image_terms(
    stamps: Complex64[np.ndarray, "*many 2 term"],
    orders: Int64[np.ndarray, "term 2"],
    b_place: Float[np.ndarray, "*many 2"],
) -> Complex128[np.ndarray, "*many term"]:
    """Return the terms of images of a cell with A at the origin and B at a place, in shares of the cell."""
    return stamps[..., 0, :] + stamps[..., 1, :] * np.exp(-2j * np.pi * (b_place @ orders.T))


def turned_terms(
    stamps: Complex64[np.ndarray, "*many term"], orders: Int64[np.ndarray, "term 2"], matrix: Int64[np.ndarray, "2 2"]
) -> Complex64[np.ndarray, "*many term"]:
    """Return stamps turned or mirrored: what was at r is then at `matrix` r."""
    where = {(h, k): row for row, (h, k) in enumerate(orders.tolist())}
    sources = (orders @ matrix).tolist()
    opposite = np.array([(h, k) not in where for h, k in sources])
    found = stamps[..., [where[h, k] if (h, k) in where else where[-h, -k] for h, k in sources]]
    found[..., opposite] = found[..., opposite].conj()
    return found
