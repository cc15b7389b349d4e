"""Mean cells under tilted beams, drawn at random from a library: what a network of tilt is trained on.

What a region would show is drawn with everything that nobody knows of it: tilt, thickness, focus, blur, which plane of
atoms comes first under the surface, how B is displaced and how that scatters, how wrong the library is. Columns are
fitted with Gaussians as in an image, so that the displacement that a beam fakes is the one that is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Complex64, Complex128, Float, Float32, Int64

from dipolar.core.errors import DataError
from dipolar.core.tilt_library import TiltLibrary, compared, image_terms, interpolation, moved, state_weights
from dipolar.learn.tilt_network_fit import fitted_places

LARGEST_TILT_MRAD = 30.0
"""No beam leans further."""
USUAL_TILT_MRAD, USUAL_SHARE = 8.0, 0.75
"""Standard deviation, along each axis, of the tilt of most regions, and the share of these; the others are spread over
all tilts evenly."""
THICKNESS_NM, THICKNESS_SHARE = (4.0, 100.0), 0.2
"""Limits of the thickness, and how wrong the thickness is that is given, relative."""
BLUR_PM, UNROUND = (20.0, 60.0), 0.15
"""Limits of the standard deviation of the blur, and by how much it may be longer along one direction."""
DISPLACED_PM, SCATTER_PM = 35.0, 5.0
"""How far B is displaced at most in a polar crystal; standard deviation of its displacement in one that is not."""
SPREAD_PM = 10.0
"""Largest standard deviation of displacements within a region."""
NOISE = (0.003, 0.03)
"""Limits of the noise of terms, relative to the largest one; what a library gets wrong there joins it."""
WRONG, WORSE = 0.06, 3.0
"""How wrong a library may be: amplitudes of terms, relative, and their phases in rad; and the frequency at which it is
twice as much. Absorption stands in for moving atoms, and cells of a film differ: against frozen phonons, terms beyond
the fourth order are wrong by a third and more."""
WRONG_CONTRAST = 0.15
"""How wrong it may be in B against A."""
WRONG_PLACE_PM, MORE_WRONG_MRAD = (1.0, 3.0), 20.0
"""How wrong it may be in where it shows B, in crystals that are not polar and in those that are; and the tilt at which
that has grown by the root of 2. So far off is it against frozen phonons."""
SMOOTH = 3.0
"""Frequencies over which these errors change."""
JITTER_PM = 1.5
"""How differently another fit than ours may place a column."""
FEWEST = 0.1
"""Share of regions in which columns must be found."""
LARGEST_MEASURED = 0.25
"""In shares of the cell; nobody takes more for a displacement."""
TOGETHER, BATCH = 32, 2048
"""Regions that are drawn at one thickness and focus; and that are fitted at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltDraws:
    """Regions drawn at random, and what is true of them."""

    terms: Complex64[np.ndarray, "draw term"]
    """Of the mean cell, A at its measured place."""
    displacement_pm: Float32[np.ndarray, "draw 2"]
    """Measured (y, x)."""
    thickness_nm: Float32[np.ndarray, " draw"]
    """As it is given, which is not quite as it is."""
    false_pm: Float32[np.ndarray, "draw 2"]
    """What the beam fakes: measured minus true."""
    tilt_mrad: Float32[np.ndarray, "draw 2"]
    """True tilt (y, x)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Truth:
    """What regions are made from."""

    tilt_mrad: Float[np.ndarray, "draw 2"]
    thickness_nm: Float[np.ndarray, " draw"]
    focus_nm: Float[np.ndarray, " draw"]
    shift_pm: Float[np.ndarray, "draw 2"]
    """Of B against A as the crystal has it."""
    seen_pm: Float[np.ndarray, "draw 2"]
    """The same as the library must show it: with B first, planes of A lie deeper."""


def draws_of(library: TiltLibrary, count: int, rng: np.random.Generator) -> TiltDraws:
    """Return regions drawn at random from a library; those in which no columns can be told apart are left out.

    Parameters
    ----------
    library
        Of the material and the microscope.
    count
        How many.
    rng
        Where chance comes from.

    Raises
    ------
    DataError
        If the library does not reach as far as draws do, or has no columns.
    """
    _check_reach(library)
    rows = compared(library)
    order = (3, 4, 0, 1, 2, 5, 6)
    shift = moved(library, library.tilts_mrad, library.tilts_mrad, library.foci_nm).conj()
    stamps = np.ascontiguousarray(np.transpose((library.stamps * shift)[..., rows], order))
    parts: list[TiltDraws] = []
    while sum(len(part.terms) for part in parts) < count:
        parts.append(_drawn(library, stamps, library.orders[rows], rng))
        if len(parts[-1].terms) < FEWEST * BATCH:
            raise DataError(
                "a network of tilt learns from columns that Gaussians can be fitted to.",
                got=f"{len(parts[-1].terms)} of {BATCH} regions of {library.material} in which they can",
                do="make the library again: dipolar simulate tilt",
            )
    joined = {
        item.name: np.concatenate([getattr(part, item.name) for part in parts])[:count] for item in fields(TiltDraws)
    }
    return TiltDraws(**joined)


def _check_reach(library: TiltLibrary) -> None:
    tilts, nm = library.tilts_mrad, library.thicknesses_nm
    if min(-tilts[0], tilts[-1]) < LARGEST_TILT_MRAD or nm[0] > THICKNESS_NM[0] or nm[-1] < 0.99 * THICKNESS_NM[1]:
        raise DataError(
            f"a network of tilt learns from tilts up to {LARGEST_TILT_MRAD:g} mrad and thicknesses from "
            f"{THICKNESS_NM[0]:g} to {THICKNESS_NM[1]:g} nm.",
            got=f"a library of {tilts[-1]:g} mrad and {nm[0]:.3g} to {nm[-1]:.3g} nm",
            do="dipolar simulate tilt, with its own tilts and thicknesses",
        )


def _drawn(
    library: TiltLibrary,
    stamps: Complex64[np.ndarray, "thick foc ty tx state 2 term"],
    orders: Int64[np.ndarray, "term 2"],
    rng: np.random.Generator,
) -> TiltDraws:
    """Return a batch of regions, less those without columns."""
    cell = library.cell_pm
    truth = _truth(library, rng)
    parts = _stamps(library, stamps, truth)
    half_pm = 0.5 * truth.focus_nm[:, None] * truth.tilt_mrad
    parts *= np.exp(2j * np.pi / cell * (half_pm @ orders.T))[:, None]
    parts *= _errors(orders, rng) * np.exp(-2.0 * np.pi**2 * _blur(orders, cell, rng))[:, None]
    spread = rng.uniform(0, SPREAD_PM, (BATCH, 1)) / cell
    parts[:, 1] *= np.exp(-2.0 * np.pi**2 * spread**2 * np.sum(orders**2, axis=1))
    parts[:, 1] *= np.exp(WRONG_CONTRAST * rng.normal(size=(BATCH, 1)))
    lean = np.linalg.norm(truth.tilt_mrad, axis=1, keepdims=True)
    wrong = WRONG_PLACE_PM[int(library.displacement_pm > 0)] * np.hypot(1.0, lean / MORE_WRONG_MRAD)
    b_place = 0.5 + (truth.seen_pm + wrong * rng.normal(size=(BATCH, 2))) / cell
    terms = image_terms(parts.astype(np.complex64), orders, b_place)
    noise = _log_uniform(rng, NOISE, BATCH)[:, None] * np.abs(terms).max(axis=1, keepdims=True)
    terms += noise * np.sqrt(0.5) * (rng.normal(size=terms.shape) + 1j * rng.normal(size=terms.shape))
    a, found_a = fitted_places(terms.astype(np.complex64), orders, _peaks(parts[:, 0], orders))
    start = b_place + _peaks(parts[:, 1], orders)
    b, found_b = fitted_places(terms.astype(np.complex64), orders, start)
    a += JITTER_PM / cell * rng.normal(size=a.shape)
    b += JITTER_PM / cell * rng.normal(size=b.shape)
    measured = cell * (b - a - 0.5)
    good = found_a & found_b & (np.linalg.norm(measured, axis=1) < LARGEST_MEASURED * cell)
    drawn = TiltDraws(
        terms=(terms * np.exp(2j * np.pi * (a @ orders.T))).astype(np.complex64),
        displacement_pm=measured.astype(np.float32),
        thickness_nm=_given(truth.thickness_nm, rng),
        false_pm=(measured - truth.shift_pm).astype(np.float32),
        tilt_mrad=truth.tilt_mrad.astype(np.float32),
    )
    return _chosen(drawn, good)


def _chosen(draws: TiltDraws, good: Bool[np.ndarray, " draw"]) -> TiltDraws:
    return TiltDraws(**{item.name: getattr(draws, item.name)[good] for item in fields(TiltDraws)})


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float], count: int) -> Float[np.ndarray, " _"]:
    return np.exp(rng.uniform(math.log(limits[0]), math.log(limits[1]), count))


def _given(nm: Float[np.ndarray, " draw"], rng: np.random.Generator) -> Float32[np.ndarray, " draw"]:
    """Return thicknesses as they are given."""
    return (nm * np.exp(THICKNESS_SHARE * rng.normal(size=len(nm)))).astype(np.float32)


def _truth(library: TiltLibrary, rng: np.random.Generator) -> _Truth:
    groups = BATCH // TOGETHER
    angle = rng.uniform(0, 2 * np.pi, BATCH)
    usual = USUAL_TILT_MRAD * np.hypot(rng.normal(size=BATCH), rng.normal(size=BATCH))
    even = LARGEST_TILT_MRAD * np.sqrt(rng.uniform(size=BATCH))
    lean = np.where((rng.uniform(size=BATCH) < USUAL_SHARE) & (usual < LARGEST_TILT_MRAD), usual, even)
    tilt = lean[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    if library.displacement_pm > 0:
        toward = rng.uniform(0, 2 * np.pi, BATCH)
        far = DISPLACED_PM * np.sqrt(rng.uniform(size=BATCH))
        shift = far[:, None] * np.stack([np.sin(toward), np.cos(toward)], axis=1)
    else:
        shift = SCATTER_PM * rng.normal(size=(BATCH, 2))
    b_first = rng.uniform(size=(BATCH, 1)) < 0.5
    return _Truth(
        tilt_mrad=tilt,
        thickness_nm=np.repeat(_log_uniform(rng, THICKNESS_NM, groups), TOGETHER),
        focus_nm=np.repeat(rng.uniform(library.foci_nm[0], library.foci_nm[-1], groups), TOGETHER),
        shift_pm=shift,
        seen_pm=shift + np.where(b_first, 0.5e-3 * library.depth_pm * tilt, 0.0),
    )


def _stamps(
    library: TiltLibrary, stamps: Complex64[np.ndarray, "thick foc ty tx state 2 term"], truth: _Truth
) -> Complex128[np.ndarray, "draw 2 term"]:
    """Return the stamps of A and B of each region, interpolated."""
    states, terms = stamps.shape[4], stamps.shape[6]
    unit = library.displacement_pm
    shift = truth.shift_pm / unit if unit > 0 else np.zeros_like(truth.shift_pm)
    y, x = (interpolation(library.tilts_mrad, truth.tilt_mrad[:, axis]) for axis in (0, 1))
    weights = np.einsum("dy,dx,ds->dyxs", y, x, state_weights(shift, states)).astype(np.float32).reshape(BATCH, -1)
    first = slice(None, None, TOGETHER)
    thick = interpolation(library.thicknesses_nm, truth.thickness_nm[first])
    focus = interpolation(library.foci_nm, truth.focus_nm[first])
    found = np.empty((BATCH, 2, terms), dtype=np.complex128)
    for group, (of_thickness, of_focus) in enumerate(zip(thick, focus, strict=True)):
        one, other = np.flatnonzero(of_thickness), np.flatnonzero(of_focus)
        share = np.outer(of_thickness[one], of_focus[other]).astype(np.float32)
        near = stamps[np.ix_(one, other)].reshape(share.size, -1).view(np.float32)
        both = (share.ravel() @ near).reshape(weights.shape[1], -1)
        rows = slice(group * TOGETHER, (group + 1) * TOGETHER)
        found[rows] = (weights[rows] @ both).view(np.complex64).reshape(TOGETHER, 2, terms)
    return found


def _errors(orders: Int64[np.ndarray, "term 2"], rng: np.random.Generator) -> Complex128[np.ndarray, "draw 2 term"]:
    """Return smooth random factors on the terms of A and of B: amplitudes even in the frequency, phases odd."""
    waves = np.einsum("dskc,tc->dskt", rng.normal(size=(BATCH, 2, 3, 2)) / SMOOTH, orders, optimize=True)
    even, odd = rng.normal(size=(2, BATCH, 2, 3, 1)) * np.sqrt(2.0 / 3.0)
    errors = np.sum(even * np.cos(waves), axis=2) + 1j * np.sum(odd * np.sin(waves), axis=2)
    return np.exp(WRONG * (1.0 + np.sum(orders**2, axis=1) / WORSE**2) * errors)


def _blur(orders: Int64[np.ndarray, "term 2"], cell: float, rng: np.random.Generator) -> Float[np.ndarray, "draw term"]:
    """Return, for each term, the variance of the blur along its frequency, times its square."""
    width = rng.uniform(*BLUR_PM, BATCH) / cell
    longer = 1.0 + rng.uniform(0, UNROUND, BATCH)
    angle = rng.uniform(0, np.pi, BATCH)
    along = np.stack([np.sin(angle), np.cos(angle)], axis=1) @ orders.T
    whole = np.sum(orders**2, axis=1)
    return width[:, None] ** 2 * (whole + (longer[:, None] ** 2 - 1.0) * along**2)


def _peaks(
    stamp: Complex128[np.ndarray, "draw term"], orders: Int64[np.ndarray, "term 2"]
) -> Float[np.ndarray, "draw 2"]:
    """Return where stamps are brightest, in shares of the cell."""
    axis = np.arange(-10, 10) / 20.0
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    values = (stamp.astype(np.complex64) @ np.exp(2j * np.pi * (orders @ grid.T)).astype(np.complex64)).real
    return grid[np.argmax(values, axis=1)]


def in_words() -> dict[str, Any]:
    """Return what regions are drawn from, for the card of a model."""
    return {
        "largest_tilt_mrad": LARGEST_TILT_MRAD,
        "usual_tilt_mrad": USUAL_TILT_MRAD,
        "usual_share": USUAL_SHARE,
        "thickness_nm": list(THICKNESS_NM),
        "thickness_share": THICKNESS_SHARE,
        "blur_pm": list(BLUR_PM),
        "unround": UNROUND,
        "displaced_pm": DISPLACED_PM,
        "scatter_pm": SCATTER_PM,
        "spread_pm": SPREAD_PM,
        "noise": list(NOISE),
        "wrong": WRONG,
        "worse": WORSE,
        "wrong_contrast": WRONG_CONTRAST,
        "wrong_place_pm": list(WRONG_PLACE_PM),
        "more_wrong_mrad": MORE_WRONG_MRAD,
        "jitter_pm": JITTER_PM,
    }
