"""Nano-beam diffraction by multislice: intensities of reflections at many thicknesses at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32, Int

from dipolar.core.contracts import Progress, silent
from dipolar.core.structure import Structure
from dipolar.simulate.multislice.fineness import Fineness, check_angles, slice_counts
from dipolar.simulate.multislice.optics import wavelength_pm
from dipolar.simulate.multislice.plane import grid_of, period_of
from dipolar.simulate.multislice.slices import cut
from dipolar.simulate.multislice.waves import Bundle, check_memory, entering, plane_waves, through, way_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reflections:
    """Intensities of the reflections of a plane wave, one row for each."""

    frequencies_per_pm: Float[np.ndarray, "reflection 2"]
    """Spatial frequencies (y, x) from the direct beam, which comes first."""
    intensity: Float32[np.ndarray, "thickness reflection"]
    """Share of the beam in each; what is missing to 1 was scattered diffusely or beyond."""
    thicknesses_nm: Float[np.ndarray, " thickness"]
    """Thicknesses: whole slices, the nearest to those asked for."""


def diffraction(
    structure: Structure,
    *,
    thicknesses_nm: Sequence[float],
    voltage_kv: float = 200.0,
    largest_mrad: float = 60.0,
    tilt_mrad: tuple[float, float] = (0.0, 0.0),
    fineness: Fineness | None = None,
    absorption: bool = True,
    device: str = "cpu",
    progress: Progress = silent,
) -> Reflections:
    """Return the intensities of all reflections up to an angle, for one direction of the beam.

    The disks of a nano-beam of 1 mrad or less are this: they do not meet, and one plane wave tells all of each. For the
    inside of larger disks, call it once for each direction in them.

    Parameters
    ----------
    structure
        In the frame of an image, third lattice vector along the beam, the others across it.
    thicknesses_nm
        Of the specimen, in any order; rows are in order of thickness.
    voltage_kv
        High tension.
    largest_mrad
        Angle up to which reflections are told.
    tilt_mrad
        Direction (y, x) into which the beam leans against the third lattice vector.
    fineness
        How finely it is done; of its values, `pixel_pm` and `slice_pm` matter.
    absorption
        Whether diffuse scattering is taken from the beams.
    device
        Where to compute: "cpu" or "cuda".
    progress
        Told how far it has come.

    Raises
    ------
    StructureError
        If the structure does not lie as the microscope sees it.
    SettingsError
        If pixels are too coarse for the angles, there is no such thickness, or memory is short.
    """
    fine, wave = fineness or Fineness(), wavelength_pm(voltage_kv)
    period = period_of(structure)
    grid = grid_of(period, fine.pixel_pm)
    check_angles(
        grid, period, voltage_kv=voltage_kv, inside_mrad=largest_mrad, outer_mrad=largest_mrad, absorption=absorption
    )
    slices = cut(
        period, grid, voltage_kv=voltage_kv, slice_pm=fine.slice_pm, absorption=absorption,
        detector_per_pm=(0.0, 1e-3 * largest_mrad / wave),
    )  # fmt: skip
    counts = slice_counts(thicknesses_nm, slices.thickness_pm)
    place = torch.device(device)
    check_memory(1, grid, place)
    beam = Bundle(
        offset_per_pm=np.zeros(2), index=np.zeros((1, 2), dtype=np.int64), amplitude=np.ones(1, dtype=np.complex128)
    )
    transmission = torch.from_numpy(slices.transmission).to(place)
    way = way_of(slices, transmission, wavelength_pm=wave, offset_per_pm=np.zeros(2), tilt_mrad=tilt_mrad)
    kept = _inside(grid.frequencies_per_pm.reshape(-1, 2), 1e-3 * largest_mrad / wave)
    rows = []
    with torch.inference_mode():
        waves = entering(plane_waves(beam, grid, place), way)
        for start, stop in pairwise([0, *counts.tolist()]):
            for _ in through(waves, way, range(start, stop)):
                pass
            rows.append(waves.abs().square().flatten().cpu().numpy()[kept])
            progress("multislice", stop / int(counts[-1]))
    return Reflections(
        frequencies_per_pm=grid.frequencies_per_pm.reshape(-1, 2)[kept],
        intensity=np.array(rows, dtype=np.float32),
        thicknesses_nm=counts * slices.thickness_pm * 1e-3,
    )


def _inside(frequencies: Float[np.ndarray, "reflection 2"], largest: float) -> Int[np.ndarray, " kept"]:
    """Return which reflections are inside, from the direct beam outwards."""
    length = np.linalg.norm(frequencies, axis=1)
    order = np.lexsort((frequencies[:, 1], frequencies[:, 0], np.round(length, 9)))
    return order[length[order] <= largest]
