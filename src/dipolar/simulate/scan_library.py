"""Waves of the reflections of a nano-beam by multislice, over thickness and tilt, and their intensities in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Complex64, Float, Float64, Int

from dipolar.core.contracts import Progress, silent
from dipolar.core.structure import Structure, square_edges_pm

PIXEL_PM, SLICE_PM = 12.0, 50.0
"""Pixels and slices at most. Ghosts need thin slices: the wave of displacements that makes them runs along the beam."""
STEP_NM = 2.5
"""Largest step of the thickness."""
TILT_MRAD, TILT_NM = 1.0, 60.0
"""Largest step of the tilt up to this thickness, beyond which it shrinks as rocking curves do."""
FEWEST = 4
"""Points that a cubic spline needs at least."""
BAND = 1.2
"""Band of the waves over the farthest reflection, at least."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Library:
    """Waves of reflections of several crystals, as cubic splines over thickness and tilt.

    Waves are interpolated and then squared, so that intensities are smooth, nowhere negative, and zero where symmetry
    forbids them.
    """

    step_nm: Float64[np.ndarray, " crystal"]
    """Thickness from one row to the next: whole periods of each crystal."""
    first: int
    """Steps in the first row."""
    tilts_mrad: Float64[np.ndarray, " tilt"]
    """Tilts along y, and the same along x; a single 0 where the crystal is not bent."""
    coefficients: Complex64[np.ndarray, "crystal thickness tilt tilt site"]
    """Of the splines."""


def library_of(
    structures: Sequence[Structure],
    index: Int[np.ndarray, "site 2"],
    *,
    thickness_nm: tuple[float, float],
    tilt_mrad: float,
    voltage_kv: float,
    progress: Progress = silent,
) -> Library:
    """Return the waves of reflections over thickness and tilt.

    One plane wave stands for all of a disk, as is right for disks of 1 mrad or less.

    Parameters
    ----------
    structures
        Right-angled cells as the microscope sees them.
    index
        Indices (y, x) of reflections in these cells.
    thickness_nm
        The least and the greatest.
    tilt_mrad
        The greatest along each axis, to both sides.
    voltage_kv
        High tension.
    progress
        Told how far it has come.
    """
    depths = np.array([1e-3 * square_edges_pm(one)[2] for one in structures])
    periods = max(1, int(STEP_NM / depths.max()))
    step = periods * depths
    first = max(1, int(thickness_nm[0] / step.max()) - 1)
    last = max(first + FEWEST - 1, int(np.ceil(thickness_nm[1] / step.min())) + 1)
    tilts = np.zeros(1)
    if tilt_mrad > 0.0:
        finest = TILT_MRAD * min(1.0, TILT_NM / thickness_nm[1])
        tilts = np.linspace(-tilt_mrad, tilt_mrad, max(FEWEST, int(np.ceil(2.0 * tilt_mrad / finest)) + 1))
    made = []
    for number, one in enumerate(structures):

        def told(step: str, fraction: float, number: int = number) -> None:
            progress(step, (number + fraction) / len(structures))

        rows = periods * np.arange(first, last + 1)
        made.append(_splines(_waves(one, index, rows, tilts, voltage_kv, told)))
    return Library(step_nm=step, first=first, tilts_mrad=tilts, coefficients=np.stack(made))


def _waves(
    structure: Structure,
    index: Int[np.ndarray, "site 2"],
    rows: Int[np.ndarray, " thickness"],
    tilts_mrad: Float64[np.ndarray, " tilt"],
    voltage_kv: float,
    progress: Progress,
) -> Complex64[np.ndarray, "thickness tilt tilt site"]:
    """Return the wave of each reflection after so many periods, half of its phase in free space taken off.

    What multiple scattering does to a phase lies between nothing and that of free space; without half of it, waves
    change as slowly as they can from one point of the library to the next.
    """
    import torch

    from dipolar.simulate.multislice.optics import wavelength_pm
    from dipolar.simulate.multislice.plane import grid_of, period_of
    from dipolar.simulate.multislice.slices import cut
    from dipolar.simulate.multislice.waves import Bundle, entering, plane_waves, through, way_of

    wave, period = wavelength_pm(voltage_kv), period_of(structure)
    frequencies = index / square_edges_pm(structure)[:2]
    farthest = float(np.linalg.norm(frequencies, axis=1).max())
    grid = grid_of(period, min(PIXEL_PM, 1.0 / (3.0 * BAND * farthest)))
    slices = cut(period, grid, voltage_kv=voltage_kv, slice_pm=SLICE_PM, detector_per_pm=(0.0, grid.band_per_pm))
    place = torch.device("cpu")
    transmission = torch.from_numpy(slices.transmission).to(place)
    beam = Bundle(
        offset_per_pm=np.zeros(2), index=np.zeros((1, 2), dtype=np.int64), amplitude=np.ones(1, dtype=np.complex128)
    )
    # reflections of the cell that the smaller period does not have are forbidden by its centring
    own = frequencies @ period.vectors_pm.T
    there = np.abs(own - np.rint(own)).max(axis=1) < 1e-3
    one, two = (np.rint(own[:, axis]).astype(np.int64) % grid.shape[axis] for axis in (0, 1))
    made = np.zeros((len(rows), len(tilts_mrad), len(tilts_mrad), len(index)), dtype=np.complex64)
    counts = [0, *(rows * len(transmission)).tolist()]
    depth = slices.thickness_pm * (np.array(counts[1:]) + 0.5)
    for turn, (row, column) in enumerate(np.ndindex(len(tilts_mrad), len(tilts_mrad))):
        tilt = (float(tilts_mrad[row]), float(tilts_mrad[column]))
        way = way_of(slices, transmission, wavelength_pm=wave, offset_per_pm=np.zeros(2), tilt_mrad=tilt)
        per_pm = 0.5 * np.pi * wave * np.sum(frequencies**2, axis=1) + np.pi * frequencies @ (1e-3 * np.array(tilt))
        with torch.inference_mode():
            waves = entering(plane_waves(beam, grid, place), way)
            for number in range(len(rows)):
                for _ in through(waves, way, range(counts[number], counts[number + 1])):
                    pass
                found = waves[0].numpy()[one, two] * np.exp(1j * per_pm * depth[number])
                made[number, row, column] = np.where(there, found, 0.0)
        progress("computing diffraction", (turn + 1) / len(tilts_mrad) ** 2)
    return made


def _splines(
    waves: Complex64[np.ndarray, "thickness tilt tilt site"],
) -> Complex64[np.ndarray, "thickness tilt tilt site"]:
    """Return coefficients of the cubic splines through waves."""
    from scipy.interpolate import make_interp_spline

    made = waves.astype(np.complex128)
    for axis in range(3):
        if made.shape[axis] > 1:
            through = make_interp_spline(np.arange(made.shape[axis]), made, k=3, axis=axis)
            made = np.moveaxis(through.c, 0, axis)
    return np.ascontiguousarray(made, dtype=np.complex64)


def intensities(
    library: Library,
    crystal: int,
    thickness_nm: Float[np.ndarray, " pattern"],
    tilt_mrad: Float[np.ndarray, "pattern 2"],
) -> Float64[np.ndarray, "pattern site"]:
    """Return the share of the beam in each reflection of one of the crystals, at thicknesses and tilts (y, x).

    Beyond the library they are those at its rim.
    """
    from scipy.sparse import csr_array

    table = library.coefficients[crystal]
    step = float(library.tilts_mrad[1] - library.tilts_mrad[0]) if len(library.tilts_mrad) > 1 else 1.0
    places = (
        thickness_nm / library.step_nm[crystal] - library.first,
        (tilt_mrad[:, 0] - library.tilts_mrad[0]) / step,
        (tilt_mrad[:, 1] - library.tilts_mrad[0]) / step,
    )
    (a, u), (b, v), (c, w) = (_basis(at, count) for at, count in zip(places, table.shape[:3], strict=True))
    columns = (a[:, :, None, None] * table.shape[1] + b[:, None, :, None]) * table.shape[2] + c[:, None, None, :]
    weights = u[:, :, None, None] * v[:, None, :, None] * w[:, None, None, :]
    each = weights[0].size if len(weights) else 1
    picked = csr_array(
        (weights.ravel().astype(np.float32), columns.ravel(), np.arange(0, weights.size + 1, each)),
        shape=(len(weights), int(np.prod(table.shape[:3]))),
    )
    wave = picked @ table.reshape(-1, table.shape[3])
    return wave.real.astype(np.float64) ** 2 + wave.imag.astype(np.float64) ** 2


def _basis(
    at: Float[np.ndarray, " pattern"], count: int
) -> tuple[Int[np.ndarray, "pattern part"], Float64[np.ndarray, "pattern part"]]:
    """Return which coefficients of a spline count at places, counted in points from the first, and how much."""
    from scipy.interpolate import BSpline

    if count == 1:
        return np.zeros((len(at), 1), dtype=np.int64), np.ones((len(at), 1))
    matrix = BSpline.design_matrix(np.clip(at, 0.0, count - 1.0), _knots(count), 3)
    return matrix.indices.reshape(-1, 4).astype(np.int64), matrix.data.reshape(-1, 4)


@cache
def _knots(count: int) -> Float64[np.ndarray, " knot"]:
    """Return the knots of a spline through so many points, one apart, as `_splines` makes it."""
    from scipy.interpolate import make_interp_spline

    return np.asarray(make_interp_spline(np.arange(count), np.zeros(count), k=3).t, dtype=np.float64)
