"""Strain and rotation of every cell against a reference cell."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dipolar.core.nouns import Cells, Field
from dipolar.measure.reference import Region, inside, trusted


def strain(cells: Cells, *, region: Region | None = None) -> tuple[Field, ...]:
    """Return strain_xx, strain_yy, strain_xy (pure numbers, x to the right, y down) and rotation_deg of every cell.

    The matrix D that turns the reference edges (a0, b0) into the cell's (a, b) is split into a rotation and a stretch
    (polar decomposition D = R U); strain is U - 1, rotation is that of R, counter-clockwise on the screen. The
    reference cell is the median of the cells in the region, or of all. Sigma follows from that of a, b and gamma, with
    the errors of the lattice's own axes taken as independent; that of the reference is small beside it and left out.

    Source: M. J. Hÿtch, E. Snoeck, R. Kilaas, Ultramicroscopy 74, 131 (1998), for the definitions.

    Parameters
    ----------
    cells
        Measured cells.
    region
        Where the crystal is taken as unstrained and unrotated; the whole image unless given.
    """
    names = ("strain_xx", "strain_yy", "strain_xy", "rotation_deg")
    if not len(cells.flags):
        nothing = np.zeros(0)
        return tuple(_field(name, cells, nothing, nothing) for name in names)
    rows = trusted(cells) & inside(cells, region)
    rows = rows if rows.any() else np.ones(len(cells.flags), dtype=bool)
    start = np.column_stack([np.median(cells.a_px[rows], axis=0), np.median(cells.b_px[rows], axis=0)])
    turned = np.stack([cells.a_px, cells.b_px], axis=2) @ np.linalg.inv(start)
    left, stretch, right = np.linalg.svd(turned)
    rotation = left @ right
    pure = np.swapaxes(right, 1, 2) @ (stretch[:, :, None] * right) - np.eye(2)
    # rows and columns are (y, x); where the rotation takes a vector to the right tells its angle on the screen
    angle = np.degrees(np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1]))
    values = (pure[:, 1, 1], pure[:, 0, 0], pure[:, 0, 1], angle)
    return tuple(_field(n, cells, v, s) for n, v, s in zip(names, values, _sigmas(cells), strict=True))


def _sigmas(cells: Cells) -> tuple[Float[np.ndarray, " cell"], ...]:
    """Turn the sigma of the stretches along a and b and of the shear between them into the image's axes."""
    length_a, length_b = np.linalg.norm(cells.a_px, axis=1), np.linalg.norm(cells.b_px, axis=1)
    along_a, along_b = (cells.a_sigma_px / length_a) ** 2, (cells.b_sigma_px / length_b) ** 2
    shear = (0.5 * np.radians(cells.gamma_sigma_deg)) ** 2
    sine, cosine = cells.a_px[:, 0] / length_a, cells.a_px[:, 1] / length_a
    mixed = 4.0 * (sine * cosine) ** 2 * shear
    xx = cosine**4 * along_a + sine**4 * along_b + mixed
    yy = sine**4 * along_a + cosine**4 * along_b + mixed
    xy = (sine * cosine) ** 2 * (along_a + along_b) + (cosine**2 - sine**2) ** 2 * shear
    return np.sqrt(xx), np.sqrt(yy), np.sqrt(xy), np.degrees(np.sqrt(shear))


def _field(name: str, cells: Cells, values: Float[np.ndarray, " cell"], sigma: Float[np.ndarray, " cell"]) -> Field:
    unit = "deg" if name.endswith("_deg") else ""
    return Field(name=name, unit=unit, positions_px=cells.positions_px, values=values, sigma=sigma)
