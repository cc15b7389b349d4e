"""From the library of tilt to tables of stamps on fine points, as few as the columns of one image need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Complex64, Complex128, Float, Float32, Int64

from dipolar.core.errors import SettingsError
from dipolar.core.tilt_library import TiltLibrary, interpolation, moved, state_weights

POINTS = 96
"""Points of a table along each edge of the cell; between them it is linear, which is good to 1e-3 of the contrast."""
SAME_TILT_MRAD = 0.05
"""Tilts that differ by less are the same."""
SAME_THICKNESS_NM = 0.05
"""Thicknesses that differ by less are the same."""
NODE_STEP_MRAD = 5.0
"""Largest distance of the tilts between which stamps are interpolated; there are three, and more where needed."""
LINEAR_MRAD = 1.5
"""Tilts over less than this are interpolated between two: that is good to 1e-3 of the height of a column."""
NODE_RATIO = 1.3
"""The same distance for thicknesses, as a ratio."""
LINEAR_RATIO = 1.1
"""Thicknesses over less than this ratio are interpolated between two."""
SAME_PLACE_PM = 0.2
"""Where no B is displaced by more, none is."""
LARGEST_SHIFT = 1.5
"""Stamps of B displaced by more than this, in units of the library's displacement, are those of this displacement."""
SAMPLE = 32
"""So many columns stand for all when tables are chosen."""
LEFT_OUT = 1e-3
"""What tables leave out of their stamps, relative to their contrast."""
TINY = 1e-30
"""A stamp that is less than this is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """Under what columns are seen: a row for each of them."""

    tilt_mrad: Float[np.ndarray, "column 2"]
    """Direction (y, x) into which the beam leans, in the axes of the cell."""
    thickness_nm: Float[np.ndarray, " column"]
    """Thickness of the specimen."""
    shift_pm: Float[np.ndarray, "column 2"]
    """Displacement (dy, dx) of B in the cell that the column is of, in the axes and lengths of the library's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StampTables:
    """Stamps of one sublattice: that of a column is the sum of its weights times the tables."""

    tables: Float32[np.ndarray, "table y x"]
    """Periodic, the column at [0, 0]; the last row and the last line repeat the first ones."""
    weights: Float32[np.ndarray, "column table"]
    """What each column takes of them."""


def stamp_tables(
    library: TiltLibrary, place: Place, *, focus_nm: float, blur_cells2: Float[np.ndarray, "2 2"]
) -> tuple[StampTables, StampTables]:
    """Return the tables of A and of B for columns at their places.

    Stamps are interpolated to a few tilts and thicknesses, between which those of the columns are interpolated, and
    quadratically in the displacement, without its products of y and x. These few are then written as sums of fewer
    tables still (`fewer`). Both have the weights of all columns, so that the caller takes the rows
    of each sublattice.

    Parameters
    ----------
    library
        Stamps for all tilts and thicknesses.
    place
        Tilt, thickness and displacement of every column.
    focus_nm
        Depth of the focus below the entrance surface.
    blur_cells2
        Covariance (y, x) of the source's size, in cells squared.

    Raises
    ------
    SettingsError
        Where a tilt, a thickness or the focus lies outside the library.
    """
    check_inside(library, place, focus_nm)
    values = (place.tilt_mrad[:, 0], place.tilt_mrad[:, 1], place.thickness_nm)
    nodes = (tilt_nodes(values[0]), tilt_nodes(values[1]), thickness_nodes(values[2]))
    y, x, thick = (interpolation(axis, at) for axis, at in zip(nodes, values, strict=True))
    state = _states(library, place.shift_pm)
    grid = y[:, :, None, None] * x[:, None, :, None] * thick[:, None, None, :]
    weights = (state[:, :, None] * grid.reshape(len(thick), 1, -1)).reshape(len(thick), -1)
    stamps = _stamps_at(library, (*nodes, np.array([focus_nm])), state.shape[1])
    stamps = stamps * _transfer(library.orders, blur_cells2).astype(np.float32)
    found, picks = [], sample(place)
    for terms in np.moveaxis(stamps.reshape(-1, 2, len(library.orders)), 1, 0):
        shares, fewer_terms = fewer(terms, weights[picks], library.orders)
        tables = _tables(fewer_terms, library.orders)
        found.append(StampTables(tables=tables, weights=(weights @ shares).astype(np.float32)))
    return found[0], found[1]


def check_inside(library: TiltLibrary, place: Place, focus_nm: float) -> None:
    """Refuse what lies outside the library: nobody has simulated it."""
    sizes = {
        "tilt (mrad)": (place.tilt_mrad, library.tilts_mrad, SAME_TILT_MRAD),
        "thickness (nm)": (place.thickness_nm, library.thicknesses_nm, SAME_THICKNESS_NM),
        "focus (nm)": (np.array([focus_nm]), library.foci_nm, 0.0),
    }
    wrong = [
        f"{name} {np.min(values):.4g} to {np.max(values):.4g}, where {nodes[0]:.4g} to {nodes[-1]:.4g} are known"
        for name, (values, nodes, slack) in sizes.items()
        if values.size and not (np.min(values) >= nodes[0] - slack and np.max(values) <= nodes[-1] + slack)
    ]
    if wrong:
        raise SettingsError(
            f"The library of {library.material} must hold the tilts, thicknesses and foci of the image.",
            got="; ".join(wrong),
            do="stay inside, or make a larger library: dipolar simulate tilt",
        )


def tilt_nodes(tilts_mrad: Float[np.ndarray, " column"]) -> Float[np.ndarray, " node"]:
    """Return the tilts along one axis from which those of columns are interpolated."""
    least, most = float(np.min(tilts_mrad, initial=np.inf)), float(np.max(tilts_mrad, initial=-np.inf))
    if not most - least > SAME_TILT_MRAD:
        return np.array([(least + most) / 2.0 if len(tilts_mrad) else 0.0])
    few = 2 if most - least < LINEAR_MRAD else 3
    return np.linspace(least, most, max(few, int(np.ceil((most - least) / NODE_STEP_MRAD)) + 1))


def thickness_nodes(thicknesses_nm: Float[np.ndarray, " column"]) -> Float[np.ndarray, " node"]:
    """Return the same for thicknesses, evenly spaced in their logarithm."""
    if not len(thicknesses_nm):
        return np.array([1.0])
    least, most = float(np.min(thicknesses_nm)), float(np.max(thicknesses_nm))
    if not most - least > SAME_THICKNESS_NM:
        return np.array([(least + most) / 2.0])
    few = 2 if most < LINEAR_RATIO * least else 3
    return np.geomspace(least, most, max(few, int(np.ceil(np.log(most / least) / np.log(NODE_RATIO))) + 1))


def sample(place: Place) -> Int64[np.ndarray, " pick"]:
    """Return some columns that differ from each other as much as all do: evenly spread ones, and the extreme ones."""
    values = np.concatenate([place.tilt_mrad, place.thickness_nm[:, None], place.shift_pm], axis=1)
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    spread = np.linspace(0, len(values) - 1, min(SAMPLE, len(values))).astype(np.int64)
    return np.unique(np.concatenate([spread, values.argmin(axis=0), values.argmax(axis=0)]))


def fewer(
    terms: Complex64[np.ndarray, "node term"],
    weights: Float[np.ndarray, "pick node"],
    orders: Int64[np.ndarray, "term 2"],
) -> tuple[Float[np.ndarray, "node table"], Complex128[np.ndarray, "table term"]]:
    """Return what nodes take of a few tables, and the tables: the principal components of the stamps of some columns.

    Parameters
    ----------
    terms
        Stamps at the nodes.
    weights
        What the columns take of the nodes.
    orders
        Of the terms.
    """
    varying = np.any(orders != 0, axis=1)
    # Lengths are those of the real image: the opposite terms count as well.
    twice = np.where(varying, 2.0**0.5, 1.0)
    flat = (terms * twice.astype(np.float32)).view(np.float32)
    stamps = (weights.astype(np.float32) @ flat).astype(np.float64)
    sizes, shares = np.linalg.eigh(stamps @ stamps.T)
    contrast = np.sum(stamps[:, np.repeat(varying, 2)] ** 2)
    beyond = np.cumsum(np.maximum(sizes, 0.0))
    kept = slice(min(int(np.count_nonzero(beyond <= LEFT_OUT**2 * contrast)), len(sizes) - 1), None)
    basis = (shares[:, kept].T @ stamps) / np.sqrt(np.maximum(sizes[kept], TINY))[:, None]
    return (flat @ basis.T.astype(np.float32)).astype(np.float64), basis.view(np.complex128) / twice


def _states(library: TiltLibrary, shift_pm: Float[np.ndarray, "column 2"]) -> Float[np.ndarray, "column state"]:
    """Return the weights of displaced stamps; of the undisplaced one alone where no B is displaced or known to be."""
    known = library.stamps.shape[2]
    if known == 1 or not np.abs(shift_pm).max(initial=0.0) > SAME_PLACE_PM:
        return np.ones((len(shift_pm), 1))
    return state_weights(np.clip(shift_pm / library.displacement_pm, -LARGEST_SHIFT, LARGEST_SHIFT), known)


def _stamps_at(
    library: TiltLibrary, axes: tuple[np.ndarray, ...], states: int
) -> Complex64[np.ndarray, "state ty tx thick focus 2 term"]:
    """Return stamps on another grid, as `stamps_on` does, from those nodes alone that have a weight."""
    known = (library.tilts_mrad, library.tilts_mrad, library.thicknesses_nm, library.foci_nm)
    weights = [interpolation(nodes, at).astype(np.float32) for nodes, at in zip(known, axes, strict=True)]
    used = [np.flatnonzero(np.any(one != 0.0, axis=0)) for one in weights]
    parts = tuple(slice(int(rows[0]), int(rows[-1]) + 1) for rows in used)
    found = np.moveaxis(library.stamps[:, :, :states], 2, 0)[:, *parts]
    places = [nodes[part] for nodes, part in zip(known, parts, strict=True)]
    found = found * np.moveaxis(moved(library, places[0], places[1], places[3]).conj(), 2, 0)
    for axis in (3, 2, 1, 0):
        at = np.moveaxis(found, axis + 1, 0)
        rows = weights[axis][:, parts[axis]]
        # Sums of whole stamps, which lie together in memory, where a product of matrices would first turn them round.
        sums = [sum(weight * stamps for weight, stamps in zip(row, at, strict=True) if weight) for row in rows]
        found = np.stack(sums, axis=axis + 1)
    return found * np.moveaxis(moved(library, axes[0], axes[1], axes[3]), 2, 0)


def _transfer(orders: Int64[np.ndarray, "term 2"], blur_cells2: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, " term"]:
    """Return what the source leaves of every term, and what makes up for the lines between points of the tables."""
    blur = np.exp(-2.0 * np.pi**2 * np.einsum("ti,ij,tj->t", orders, blur_cells2, orders))
    hat = np.prod(np.sinc(orders / POINTS) ** 2, axis=1)
    return blur / hat


def _tables(
    terms: Complex128[np.ndarray, "table term"], orders: Int64[np.ndarray, "term 2"]
) -> Float32[np.ndarray, "table y x"]:
    """Return Fourier series on points."""
    spectrum = np.zeros((len(terms), POINTS, POINTS // 2 + 1), dtype=np.complex64)
    h, k = orders.T
    spectrum[:, k % POINTS, h] = terms
    line = h == 0
    spectrum[:, -k[line] % POINTS, 0] = terms[:, line].conj()
    cell = scipy.fft.irfft2(spectrum, s=(POINTS, POINTS), norm="forward").swapaxes(1, 2)
    return np.ascontiguousarray(np.pad(cell, ((0, 0), (0, 1), (0, 1)), mode="wrap"), dtype=np.float32)
