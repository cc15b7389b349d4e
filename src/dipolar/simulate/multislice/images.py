"""Annular dark-field images of a crystal by multislice, at many thicknesses at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Complex64, Complex128, Float, Float32, Int
from torch import Tensor

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import SettingsError
from dipolar.core.structure import Structure, square_edges_pm
from dipolar.simulate.multislice.fineness import Fineness, check_angles, slice_counts
from dipolar.simulate.multislice.optics import Microscope
from dipolar.simulate.multislice.plane import Grid, grid_of, period_of
from dipolar.simulate.multislice.slices import Slices, cut
from dipolar.simulate.multislice.terms import AnnularImages, Terms, sampled
from dipolar.simulate.multislice.waves import (
    Bundle,
    Way,
    bundles_of,
    check_memory,
    entering,
    plane_waves,
    through,
    way_of,
)

NEGLIGIBLE = 1e-2
"""Share of the detected diffuse scattering whose pixels, the faintest ones, are left out: 0.16 % of the contrast and
0.1 pm in columns of tilted BiFeO3, for a third less work."""
PIECE = 24
"""Slices at most of which what the detector cares about is kept."""
CACHE_BYTES = 2_000_000
"""Size of the waves, in both spaces, that go through the slices together on a CPU."""
FIELD_PM, SPREAD = 1000.0, 0.1
"""Least field of a probe, and by how much it grows with the width 2αt that a probe has below a crystal: columns hold
the beam together, so that little of it goes that far."""


def annular_images(
    structure: Structure,
    microscope: Microscope,
    *,
    thicknesses_nm: Sequence[float],
    tilt_mrad: tuple[float, float] = (0.0, 0.0),
    probe_step_pm: float = 10.0,
    fineness: Fineness | None = None,
    absorption: bool = True,
    top_pm: float = 0.0,
    device: str = "cpu",
    progress: Progress = silent,
) -> AnnularImages:
    """Return images of one cell of a crystal, all thicknesses from one run, at the microscope's focus.

    See `focal_series`, of which it is the one with a single focus.
    """
    series = focal_series(
        structure, microscope, thicknesses_nm=thicknesses_nm, defoci_pm=(microscope.defocus_pm,), tilt_mrad=tilt_mrad,
        probe_step_pm=probe_step_pm, fineness=fineness, absorption=absorption, top_pm=top_pm, device=device,
        progress=progress,
    )  # fmt: skip
    return series[0]


def focal_series(
    structure: Structure,
    microscope: Microscope,
    *,
    thicknesses_nm: Sequence[float],
    defoci_pm: Sequence[float],
    tilt_mrad: tuple[float, float] = (0.0, 0.0),
    probe_step_pm: float = 10.0,
    fineness: Fineness | None = None,
    absorption: bool = True,
    top_pm: float = 0.0,
    device: str = "cpu",
    progress: Progress = silent,
) -> list[AnnularImages]:
    """Return images of one cell of a crystal at several foci, all foci and thicknesses from one run.

    A focus changes the phases with which the plane waves of the probe begin, and not how each goes through the crystal:
    another focus costs next to nothing.

    The elastic wave goes through the slices with Debye-Waller factors and loses what is scattered diffusely; the
    detector sees the elastic wave between its angles, and the diffuse scattering into them. What was scattered
    diffusely once is not followed further.

    Parameters
    ----------
    structure
        In the frame of an image, in a right-angled cell.
    microscope
        Its probe and detector.
    thicknesses_nm
        Of the specimen, in any order; images are in order of thickness.
    defoci_pm
        Depths of the focus below the entrance surface, in place of the microscope's own.
    tilt_mrad
        Direction (y, x) into which the beam leans against the third lattice vector: on its way down it walks towards
        positive y and x of the crystal, or, seen from the microscope, columns lean to negative ones. Places in images
        are places of the probe on the entrance surface.
    probe_step_pm
        Largest distance of the pixels of `data`.
    fineness
        How finely it is done.
    absorption
        Whether diffuse scattering is counted; without it, the crystal scatters elastically alone.
    top_pm
        Depth in the cell at which the specimen begins: which plane of atoms comes first. It is the nearest one.
    device
        Where to compute: "cpu" or "cuda".
    progress
        Told how far it has come.

    Raises
    ------
    StructureError
        If the structure does not lie as the microscope sees it, in a right-angled cell.
    SettingsError
        If pixels are too coarse for the angles, there is no such thickness, or memory is short.
    """
    if not probe_step_pm > 0:
        raise SettingsError("pixels must be larger than nothing.", got=f"{probe_step_pm:g} pm", do="probe_step_pm=10")
    fine = fineness or Fineness()
    edges = square_edges_pm(structure)
    period = period_of(structure)
    grid = grid_of(period, fine.pixel_pm)
    check_angles(
        grid, period, voltage_kv=microscope.voltage_kv, inside_mrad=microscope.convergence_mrad,
        outer_mrad=microscope.outer_mrad, absorption=absorption,
    )  # fmt: skip
    slices = cut(
        period, grid, voltage_kv=microscope.voltage_kv, slice_pm=fine.slice_pm, absorption=absorption, top_pm=top_pm,
        aperture_per_pm=microscope.aperture_per_pm,
        detector_per_pm=(
            microscope.frequency_per_pm(microscope.inner_mrad), microscope.frequency_per_pm(microscope.outer_mrad)
        ),
    )  # fmt: skip
    counts = slice_counts(thicknesses_nm, slices.thickness_pm)
    thickest_pm = counts[-1] * slices.thickness_pm
    field_pm = fine.field_pm or FIELD_PM + SPREAD * 2e-3 * microscope.convergence_mrad * thickest_pm
    flat = replace(microscope, defocus_pm=0.0)
    bundles = bundles_of(flat, grid, field_pm=field_pm, shift=fine.shift)
    place = torch.device(device)
    check_memory(max(len(bundle.index) for bundle in bundles), grid, place)
    run = _Run(
        slices=slices, transmission=torch.from_numpy(slices.transmission).to(place),
        lit=[_bright(weight / weight.size, place) for weight in slices.weight],
        microscope=microscope, tilt_mrad=tilt_mrad, counts=counts, device=place,
        together=max(1, CACHE_BYTES // (16 * grid.shape[0] * grid.shape[1])) if place.type == "cpu" else 1 << 20,
    )  # fmt: skip
    terms = [Terms(grid, microscope, len(counts)) for _ in defoci_pm]
    progress("multislice", 0.0)
    for number, bundle in enumerate(bundles):
        products = run.products(bundle)
        for defocus_pm, of_focus in zip(defoci_pm, terms, strict=True):
            of_focus.add(bundle, _focused(bundle, grid, microscope.wavelength_pm, defocus_pm), products)
        progress("multislice", (number + 1) / len(bundles))
    nm = counts * slices.thickness_pm * 1e-3
    return [sampled(*of_focus.found(), microscope, nm, edges, probe_step_pm) for of_focus in terms]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Run:
    """What all bundles of a probe have in common."""

    slices: Slices
    transmission: Complex64[Tensor, "slice i j"]
    lit: list[tuple[Int[Tensor, " _"], Float32[Tensor, " _"]]]
    microscope: Microscope
    tilt_mrad: tuple[float, float]
    counts: Int[np.ndarray, " thickness"]
    device: torch.device
    together: int

    def products(self, bundle: Bundle) -> list[Complex64[np.ndarray, "wave wave"]]:
        """Return, for each thickness, what the detector sees of the product of each two waves of a bundle."""
        way = way_of(
            self.slices,
            self.transmission,
            wavelength_pm=self.microscope.wavelength_pm,
            offset_per_pm=bundle.offset_per_pm,
            tilt_mrad=self.tilt_mrad,
        )
        caught = self._caught(bundle)
        diffuse = torch.zeros((len(bundle.index),) * 2, dtype=torch.complex64, device=self.device)
        found = []
        with torch.inference_mode():
            waves = entering(plane_waves(bundle, self.slices.grid, self.device), way)
            for part in _parts(self.counts):
                diffuse += self._seen(waves, way, part)
                if part.stop in self.counts:
                    elastic = waves.flatten(1)[:, caught]
                    found.append((diffuse + elastic @ elastic.mH).cpu().numpy())
        return found

    def _seen(self, waves: Complex64[Tensor, "wave i j"], way: Way, part: range) -> Complex64[Tensor, "wave wave"]:
        """Take waves through some slices, in place, and return the diffuse scattering that is detected there.

        Some waves at a time go all the way, so that they stay in the processor's cache; what the detector cares about
        is kept and multiplied in one go.
        """
        lit = [self.lit[number % len(self.lit)] for number in part]
        ends = np.cumsum([0, *(len(pixels) for pixels, _ in lit)])
        kept = torch.empty((len(waves), int(ends[-1])), dtype=torch.complex64, device=self.device)
        for some, room in zip(torch.split(waves, self.together), torch.split(kept, self.together), strict=True):
            for number, meets in through(some, way, part):
                here = number - part.start
                room[:, ends[here] : ends[here + 1]] = meets.flatten(1)[:, lit[here][0]]
        if not kept.shape[1]:
            return torch.zeros((len(waves),) * 2, dtype=torch.complex64, device=self.device)
        return (kept * torch.cat([weight for _, weight in lit])) @ kept.mH

    def _caught(self, bundle: Bundle) -> Int[Tensor, " k"]:
        """Return which frequencies the detector sees."""
        grid, scope = self.slices.grid, self.microscope
        angle = np.linalg.norm(grid.frequencies_per_pm + bundle.offset_per_pm, axis=-1)
        inner, outer = (scope.frequency_per_pm(edge) for edge in (scope.inner_mrad, scope.outer_mrad))
        seen = (angle >= inner) & (angle < outer) & (angle <= grid.band_per_pm)
        return torch.from_numpy(np.flatnonzero(seen)).to(self.device)


def _focused(bundle: Bundle, grid: Grid, wavelength_pm: float, defocus_pm: float) -> Complex128[np.ndarray, " wave"]:
    """Return the amplitudes of a bundle's waves in a probe that is focused at a depth."""
    k2 = np.sum(np.square(bundle.index @ grid.reciprocal_per_pm + bundle.offset_per_pm), axis=1)
    return bundle.amplitude * np.exp(1j * np.pi * wavelength_pm * defocus_pm * k2)


def _parts(counts: Int[np.ndarray, " thickness"]) -> list[range]:
    """Return the slices up to each thickness, in pieces that are not too long."""
    parts, start = [], 0
    for count in counts.tolist():
        while start < count:
            stop = min(start + PIECE, count)
            parts.append(range(start, stop))
            start = stop
    return parts


def _bright(
    weight: Float[np.ndarray, "i j"], device: torch.device
) -> tuple[Int[Tensor, " pixel"], Float32[Tensor, " pixel"]]:
    """Return the pixels that matter to the detector, and their weights, raised by what the others had."""
    flat = weight.ravel()
    order = np.argsort(-np.abs(flat))
    summed = np.cumsum(np.abs(flat[order]))
    if not summed[-1] > 0:
        kept = order[:0]
        return torch.from_numpy(kept).to(device), torch.zeros(0, dtype=torch.float32, device=device)
    kept = np.sort(order[: int(np.searchsorted(summed, (1.0 - NEGLIGIBLE) * summed[-1])) + 1])
    raised = flat[kept] * (flat.sum() / flat[kept].sum())
    return torch.from_numpy(kept).to(device), torch.from_numpy(raised.astype(np.float32)).to(device)
