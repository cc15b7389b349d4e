"""Plane waves on their way through a crystal that repeats itself.

A probe is a sum of plane waves. Those whose frequencies differ by reciprocal lattice vectors G, q0+G, interfere in what
a detector sees of a period of the crystal; different offsets q0 in the Brillouin zone do not, so that each is worked on
by itself, on the pixels of one period. Waves travel one by one, and what a probe at any place gives is put together
from their products afterwards: fewer plane waves are inside an aperture than there are probes in a picture.

A tilted beam walks sideways through the crystal. This is in the propagator: in the frame of the beam, where the
detector's centre is, ψ(k) gains exp(-iπ λ Δz k² - 2πi Δz k·θ) from slice to slice, and with θ > 0 the beam is over
r + θ z of the crystal at depth z.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Complex64, Float, Int
from torch import Tensor

from dipolar.core.errors import SettingsError
from dipolar.core.memory import free_bytes
from dipolar.simulate.multislice.optics import Microscope
from dipolar.simulate.multislice.plane import Grid
from dipolar.simulate.multislice.slices import Slices

BUFFERS = 3
"""Arrays of the size of all waves that are there at once: themselves, what was seen of them, and room to work."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """The plane waves of a probe that share an offset."""

    offset_per_pm: Float[np.ndarray, " 2"]
    """q0, as (y, x)."""
    index: Int[np.ndarray, "wave 2"]
    """Indices of G."""
    amplitude: Complex[np.ndarray, " wave"]
    """Of each at the entrance surface; their squares sum to 1 over all bundles of a probe."""


def bundles_of(microscope: Microscope, grid: Grid, *, field_pm: float, shift: tuple[float, float]) -> list[Bundle]:
    """Return all plane waves of a probe, bundle by bundle.

    Parameters
    ----------
    microscope
        Gives aperture and aberrations.
    grid
        Of one period.
    field_pm
        Edge of the field that the probe has for itself before it meets the next one: offsets are as dense as its
        inverse.
    shift
        Place of the first offset, in steps from one to the next; (0, 0) is the same as a supercell of that size.
    """
    counts = np.maximum(1, np.ceil(field_pm / np.linalg.norm(grid.vectors_pm, axis=1) - 1e-9)).astype(np.int64)
    index, reciprocal = grid.indices.reshape(-1, 2), grid.reciprocal_per_pm
    soft = float(np.sqrt(abs(np.linalg.det(reciprocal / counts[:, None]))))
    bundles = []
    for one in range(counts[0]):
        for two in range(counts[1]):
            part = (np.array([one + shift[0], two + shift[1]]) / counts + 0.5) % 1.0 - 0.5
            k = (index + part) @ reciprocal
            near = np.linalg.norm(k, axis=1) < microscope.aperture_per_pm + 0.5 * soft
            bundles.append(
                Bundle(offset_per_pm=part @ reciprocal, index=index[near], amplitude=microscope.pupil(k[near], soft))
            )
    whole = np.sqrt(sum(float(np.sum(np.abs(bundle.amplitude) ** 2)) for bundle in bundles))
    return [
        Bundle(offset_per_pm=bundle.offset_per_pm, index=bundle.index, amplitude=bundle.amplitude / whole)
        for bundle in bundles
        if len(bundle.index)
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Way:
    """How waves of one offset travel: the slices on the device and the way between them."""

    transmission: Complex64[Tensor, "slice i j"]
    """Factor of each slice."""
    half: Complex64[Tensor, "i j"]
    """Propagator over half a slice, zero outside the band."""
    full: Complex64[Tensor, "i j"]
    """Propagator over a slice."""


def way_of(
    slices: Slices,
    transmission: Complex64[Tensor, "slice i j"],
    *,
    wavelength_pm: float,
    offset_per_pm: Float[np.ndarray, " 2"],
    tilt_mrad: tuple[float, float],
) -> Way:
    """Return the way through a crystal for waves of one offset.

    Parameters
    ----------
    slices
        The crystal.
    transmission
        Its factors, on the device.
    wavelength_pm
        Of the electrons.
    offset_per_pm
        q0.
    tilt_mrad
        Direction (y, x) into which the beam leans against the z axis of the crystal.
    """
    k = slices.grid.frequencies_per_pm + offset_per_pm
    k2 = np.sum(np.square(k), axis=-1)
    phase = -np.pi * wavelength_pm * k2 - 2.0 * np.pi * (k @ (1e-3 * np.asarray(tilt_mrad, dtype=np.float64)))
    inside = np.sqrt(k2) <= slices.grid.band_per_pm
    half, full = (
        torch.from_numpy(np.where(inside, np.exp(1j * phase * way), 0.0).astype(np.complex64)).to(transmission.device)
        for way in (0.5 * slices.thickness_pm, slices.thickness_pm)
    )
    return Way(transmission=transmission, half=half, full=full)


def plane_waves(bundle: Bundle, grid: Grid, device: torch.device) -> Complex64[Tensor, "wave i j"]:
    """Return the waves of a bundle in reciprocal space, each of amplitude 1."""
    waves = torch.zeros((len(bundle.index), *grid.shape), dtype=torch.complex64, device=device)
    rows = torch.arange(len(bundle.index), device=device)
    one, two = (torch.from_numpy(bundle.index[:, axis] % grid.shape[axis]).to(device) for axis in (0, 1))
    waves[rows, one, two] = 1.0
    return waves


def entering(waves: Complex64[Tensor, "wave i j"], way: Way) -> Complex64[Tensor, "wave i j"]:
    """Return waves in the middle of the first slice from those at the entrance surface, in reciprocal space."""
    return waves * way.half


def through(
    waves: Complex64[Tensor, "wave i j"], way: Way, slices: range
) -> Iterator[tuple[int, Complex64[Tensor, "wave i j"]]]:
    """Take waves through slices, in place, and yield them in real space as they meet each.

    Parameters
    ----------
    waves
        In reciprocal space, normed so that the sum of their squares is their intensity, in the middle of the first of
        the slices; afterwards, in the middle of the one after the last. There their intensities are those at the exit
        surface of the last, their phases half a slice on.
    way
        Of these waves.
    slices
        Numbers of the slices; after the last of a period comes the first again.

    Yields
    ------
    number
        Of the slice.
    meets
        The waves in its middle, before its phase; only valid until the next step. The mean of |ψ|² over all pixels is
        the intensity.
    """
    real = torch.empty_like(waves)
    for number in slices:
        torch.fft.ifft2(waves, norm="forward", out=real)
        yield number, real
        real.mul_(way.transmission[number % len(way.transmission)])
        torch.fft.fft2(real, norm="forward", out=waves)
        waves.mul_(way.full)


def check_memory(waves: int, grid: Grid, device: torch.device) -> None:
    """Refuse work that does not fit into memory, before it begins.

    Raises
    ------
    SettingsError
        If more is needed than is free.
    """
    needed = BUFFERS * 8 * waves * grid.shape[0] * grid.shape[1]
    free = _free_bytes(device)
    if free is not None and needed > free:
        raise SettingsError(
            f"the {waves} waves of {grid.shape[0]} × {grid.shape[1]} pixels that travel together need "
            f"{needed / 1e9:.3g} GB of memory.",
            got=f"{free / 1e9:.3g} GB free on {device}",
            do="take coarser pixels, a smaller cell or a smaller aperture",
        )


def _free_bytes(device: torch.device) -> int | None:
    """Return the memory that is free; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_bytes()
