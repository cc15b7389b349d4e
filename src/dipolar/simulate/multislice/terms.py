"""Images as Fourier series: what all plane waves give to each frequency, and pixels of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex64, Complex128, Float, Float32

from dipolar.simulate.multislice.optics import Microscope
from dipolar.simulate.multislice.plane import Grid
from dipolar.simulate.multislice.waves import Bundle


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnnularImages:
    """Annular dark-field images of one cell of a crystal, which go on periodically."""

    data: Float32[np.ndarray, "thickness y x"]
    """Share of the beam that is detected; the first pixel's centre is the cell's origin."""
    pixel_size_pm: tuple[float, float]
    """Edges (y, x) of the pixels."""
    thicknesses_nm: Float[np.ndarray, " thickness"]
    """Thicknesses: whole slices, the nearest to those asked for."""
    frequencies_per_pm: Float[np.ndarray, "term 2"]
    """Spatial frequencies (y, x) of the images."""
    coefficients: Complex128[np.ndarray, "thickness term"]
    """Their terms: an image at r is the real part of Σ c exp(2πi g·r)."""

    def at(self, places_pm: Float[np.ndarray, "place 2"]) -> Float[np.ndarray, "thickness place"]:
        """Return the images at any places (y, x), exactly."""
        return (self.coefficients @ np.exp(2j * np.pi * (self.frequencies_per_pm @ places_pm.T))).real

    def at_one(self, number: int, places_pm: Float[np.ndarray, "place 2"]) -> Float[np.ndarray, " place"]:
        """Return one of the images at any places (y, x), exactly."""
        return (self.coefficients[number] @ np.exp(2j * np.pi * (self.frequencies_per_pm @ places_pm.T))).real


class Terms:
    """The sum of what all bundles give to each spatial frequency of the image."""

    def __init__(self, grid: Grid, microscope: Microscope, thicknesses: int) -> None:
        """Begin with nothing."""
        self._reciprocal = grid.reciprocal_per_pm
        reach = 2.0 * microscope.aperture_per_pm * np.linalg.norm(grid.vectors_pm, axis=1) + 3.0
        self._most = np.ceil(reach).astype(np.int64)
        self._sum = np.zeros((thicknesses, *(2 * self._most + 1)), dtype=np.complex128)

    def add(
        self,
        bundle: Bundle,
        amplitude: Complex128[np.ndarray, " wave"],
        products: Sequence[Complex64[np.ndarray, "wave wave"]],
    ) -> None:
        """Add a bundle with its waves' amplitudes: a probe at r has the phase exp(-2πi G·r) in each of its waves."""
        apart = bundle.index[None] - bundle.index[:, None] + self._most
        pair = amplitude[:, None] * amplitude[None].conj()
        for number, product in enumerate(products):
            np.add.at(self._sum[number], (apart[..., 0], apart[..., 1]), pair * product)

    def found(self) -> tuple[Float[np.ndarray, "term 2"], Complex128[np.ndarray, "thickness term"]]:
        """Return the frequencies at which there is something, and the terms."""
        there = np.abs(self._sum).max(axis=0) > 0
        index = np.argwhere(there) - self._most
        return index @ self._reciprocal, self._sum[:, there]


def sampled(
    frequencies: Float[np.ndarray, "term 2"],
    coefficients: Complex128[np.ndarray, "thickness term"],
    microscope: Microscope,
    thicknesses_nm: Float[np.ndarray, " thickness"],
    edges: Float[np.ndarray, " 3"],
    step_pm: float,
) -> AnnularImages:
    """Return the images on pixels of the cell, blurred by the source."""
    coefficients = coefficients * microscope.blur(frequencies)
    count = [max(1, int(np.ceil(edge / step_pm - 1e-6))) for edge in edges[:2]]
    down, right = (
        np.exp(2j * np.pi * np.outer(np.arange(number) * edge / number, frequencies[:, axis]))
        for axis, (number, edge) in enumerate(zip(count, edges[:2], strict=True))
    )
    data = np.einsum("yk,tk,xk->tyx", down, coefficients, right, optimize=True).real
    return AnnularImages(
        data=data.astype(np.float32),
        pixel_size_pm=(float(edges[0]) / count[0], float(edges[1]) / count[1]),
        thicknesses_nm=thicknesses_nm,
        frequencies_per_pm=frequencies,
        coefficients=coefficients,
    )
