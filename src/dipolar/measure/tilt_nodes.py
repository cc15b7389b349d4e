"""The nodes of a library of tilt that are searched, with what is known of each before looking at columns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Complex64, Float, Int64

from dipolar.core.tilt_library import TiltLibrary, compared, stamps_on

STEP_MRAD = 5.0
"""Distance of the tilts that are searched, along each axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is known before looking at columns."""

    thickness_nm: float
    """Thickness of the specimen."""
    thickness_share: float = 0.2
    """Standard deviation of it, relative."""
    tilt_mrad: float = 10.0
    """Standard deviation of tilts along each axis."""
    focus_nm: tuple[float, float] = (1.0, 3.5)
    """Mean and standard deviation of the depth of the focus."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """A library on the grid that is searched, with what is known before of each node."""

    tilts_mrad: Float[np.ndarray, "node 2"]
    """Tilt (y, x) of each."""
    thicknesses_nm: Float[np.ndarray, " node"]
    """Thickness of each."""
    foci_nm: Float[np.ndarray, " node"]
    """Depth of the focus of each."""
    log_prior: Float[np.ndarray, " node"]
    """Logarithm of how probable each was before, but for a constant."""
    stamps: Complex64[np.ndarray, "node state 2 term"]
    """Only the orders that are compared."""
    slopes: Complex64[np.ndarray, "node state 2 term"]
    """What a nm of focus changes in them."""
    focus_sigma_nm: float
    """How far the focus may be from that of a node: its share of the distance to the next one."""
    orders: Int64[np.ndarray, "term 2"]
    """Frequencies (y, x) of the terms, in units of the inverse cell."""
    library: TiltLibrary
    """Where all of it is from."""


def nodes_of(
    library: TiltLibrary,
    prior: Prior,
    *,
    tilts_y_mrad: Float[np.ndarray, " ty"] | None = None,
    tilts_x_mrad: Float[np.ndarray, " tx"] | None = None,
    thicknesses: int = 5,
) -> Nodes:
    """Return the grid that is searched: thicknesses that are likely, all foci, all tilts.

    Parameters
    ----------
    library
        Of the material and the microscope.
    prior
        What is known before.
    tilts_y_mrad, tilts_x_mrad
        Tilts along each axis; every 5 mrad over the whole library unless given.
    thicknesses
        How many thicknesses, over two standard deviations to both sides.
    """
    farthest = float(library.tilts_mrad[-1])
    usual = np.linspace(-farthest, farthest, 2 * int(np.ceil(farthest / STEP_MRAD)) + 1)
    tilts_y_mrad = usual if tilts_y_mrad is None else tilts_y_mrad
    tilts_x_mrad = usual if tilts_x_mrad is None else tilts_x_mrad
    share = prior.thickness_share
    steps = np.linspace(-2.0, 2.0, thicknesses) if thicknesses > 1 and share > 0 else np.zeros(1)
    ends = library.thicknesses_nm[[0, -1]]
    nm = np.unique(np.clip(prior.thickness_nm * np.exp(share * steps), *ends))
    off = np.log(nm / prior.thickness_nm) / share if share > 0 else np.zeros(len(nm))
    foci = library.foci_nm
    rows = compared(library)
    small = replace(library, stamps=library.stamps[..., rows], orders=library.orders[rows])
    step = float(np.diff(foci).min()) if len(foci) > 1 else 0.0
    # foci, and half a step to both sides of each, as far as the library reaches
    beside = [np.clip(foci + half, foci[0], foci[-1]) for half in (0.0, 0.5 * step, -0.5 * step)]
    every, which = np.unique(np.round(np.concatenate(beside), 9), return_inverse=True)
    found = stamps_on(small, tilts_y_mrad=tilts_y_mrad, tilts_x_mrad=tilts_x_mrad, thicknesses_nm=nm, foci_nm=every)
    stamps, above, below = (found[:, :, :, :, index] for index in np.split(which, 3))
    apart = np.maximum(beside[1] - beside[2], 1e-6).astype(np.float32)[:, None, None]
    slopes = (above - below) / apart
    ty, tx, thick, focus = np.meshgrid(tilts_y_mrad, tilts_x_mrad, np.arange(len(nm)), foci, indexing="ij")
    stamps, slopes = (
        np.moveaxis(part, 2, 4).reshape(ty.size, part.shape[2], 2, len(rows)) for part in (stamps, slopes)
    )
    index = thick.ravel()
    tilts = np.stack([ty.ravel(), tx.ravel()], axis=1)
    log_prior = (
        -0.5 * np.sum(np.square(tilts / prior.tilt_mrad), axis=1)
        - 0.5 * np.square(off[index])
        - 0.5 * np.square((focus.ravel() - prior.focus_nm[0]) / prior.focus_nm[1])
    )
    return Nodes(
        tilts_mrad=tilts, thicknesses_nm=nm[index], foci_nm=focus.ravel(), log_prior=log_prior, stamps=stamps,
        slopes=slopes, focus_sigma_nm=max(step / np.sqrt(12.0), 1e-3), orders=library.orders[rows], library=library,
    )  # fmt: skip
