"""Stamps of A and B columns by multislice: one run for each tilt and displacement, all thicknesses and foci at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex64, Complex128, Float, Int64

from dipolar.core.contracts import Progress, silent
from dipolar.simulate.multislice import AnnularImages, Fineness, Microscope, focal_series
from dipolar.simulate.tilted.crystal import Perovskite, displaced

POINTS = 48
"""Points along each edge at which images are divided into stamps."""
BEYOND = 2.5
"""Orders beyond those of the images that stamps have, as the window adds some; what is left out is below 1e-3."""
FIELD_CELLS = 3
"""Cells that a probe has for itself."""


def orders_of(microscope: Microscope, cell_pm: float) -> Int64[np.ndarray, "term 2"]:
    """Return the frequencies that stamps have, one of each opposite two, in units of the inverse cell."""
    reach = 2.0 * microscope.aperture_per_pm * cell_pm + BEYOND
    most = int(reach)
    grid = np.array([(h, k) for h in range(most + 1) for k in range(-most, most + 1) if h or k >= 0], dtype=np.int64)
    return grid[np.linalg.norm(grid, axis=1) <= reach]


def stamps_of(
    crystal: Perovskite,
    microscope: Microscope,
    *,
    tilt_mrad: tuple[float, float],
    shift_pm: tuple[float, float],
    thicknesses_nm: Float[np.ndarray, " thickness"],
    foci_nm: Float[np.ndarray, " focus"],
    progress: Progress = silent,
) -> Complex64[np.ndarray, "thickness focus 2 term"]:
    """Return the stamps of A and B, around their true places, for one tilt and displacement.

    The plane of A comes first under the entrance surface.

    Parameters
    ----------
    crystal
        From `perovskite`.
    microscope
        Its focus and its source's size do not matter.
    tilt_mrad
        Direction (y, x) into which the beam leans.
    shift_pm
        Displacement (dy, dx) of B.
    thicknesses_nm
        Of the specimen, ascending.
    foci_nm
        Depths of the focus below the entrance surface.
    progress
        Told how far it has come.
    """
    cell = np.linalg.norm(crystal.structure.lattice_pm, axis=1)
    series = focal_series(
        displaced(crystal, shift_pm), microscope, thicknesses_nm=thicknesses_nm.tolist(),
        defoci_pm=(1e3 * foci_nm).tolist(), tilt_mrad=tilt_mrad, top_pm=-0.25 * float(cell[2]),
        fineness=Fineness(field_pm=FIELD_CELLS * float(cell[0])), progress=progress,
    )  # fmt: skip
    orders = orders_of(microscope, float(cell[0]))
    place = crystal.b_place + np.asarray(shift_pm) / cell[:2]
    window = b_window(place)
    return np.stack([_divided(images, orders, window, place) for images in series], axis=1).astype(np.complex64)


def b_window(b_place: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "i j"]:
    """Return the window that is one at B and nothing at A, on the points of a cell whose origin is A.

    It is a smooth step of the mean of two cosines, which are 1 at B, 0 halfway and -1 at A.
    """
    axis = 2.0 * np.pi * np.arange(POINTS) / POINTS
    c = 0.5 * np.add.outer(*(np.cos(axis - 2.0 * np.pi * share) for share in b_place))
    return 0.5 + (15.0 * c - 10.0 * c**3 + 3.0 * c**5) / 16.0


def _divided(
    images: AnnularImages, orders: Int64[np.ndarray, "term 2"], window: Float[np.ndarray, "i j"],
    b_place: Float[np.ndarray, " 2"],
) -> Complex128[np.ndarray, "thickness 2 term"]:  # fmt: skip
    """Return the terms of the two parts of images, each around its own column."""
    edges = np.array(images.pixel_size_pm) * images.data.shape[1:]
    index = np.rint(images.frequencies_per_pm * edges).astype(np.int64)
    whole = np.zeros((len(images.coefficients), POINTS, POINTS), dtype=np.complex128)
    whole[:, index[:, 0], index[:, 1]] = images.coefficients
    real = np.fft.ifft2(whole, norm="forward").real
    b = np.fft.fft2(real * window, norm="forward")[:, orders[:, 0], orders[:, 1]]
    a = np.fft.fft2(real * (1.0 - window), norm="forward")[:, orders[:, 0], orders[:, 1]]
    return np.stack([a, b * np.exp(2j * np.pi * (orders @ b_place))], axis=1)
