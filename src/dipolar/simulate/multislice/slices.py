"""A period of a crystal as slices: how each changes the phase of a wave, what it absorbs, what of that is detected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Complex64, Complex128, Float, Float64, Int
from scipy.interpolate import CubicSpline

from dipolar.core.errors import SettingsError
from dipolar.simulate.multislice.optics import mass_ratio, wavelength_pm
from dipolar.simulate.multislice.plane import SAME_PM, Grid, Period
from dipolar.simulate.multislice.thermal import Kind, born_factor_pm, diffuse_factor_pm2, mean_factor_pm

FEWEST = 2
"""Slices of a period at least: one would put all atoms into one plane."""
TINY = 1e-4
"""Probability of scattering below which it does not matter whether atoms overlap."""
RADIAL = 64
"""Points at which the diffuse factors are computed, to be interpolated between."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slices:
    """One period of a crystal, cut across the beam into slices of the same thickness."""

    grid: Grid
    """Pixels of each."""
    thickness_pm: float
    """Thickness of each."""
    phase: Float64[np.ndarray, "slice i j"]
    """Phase in radians that each gives to the elastic wave."""
    loss: Float64[np.ndarray, "slice i j"]
    """Exponent by which the intensity of the elastic wave falls; 0 without absorption."""
    weight: Float64[np.ndarray, "slice i j"]
    """Probability that an electron at each place is scattered diffusely into the detector; 0 without absorption. Into
    all directions it would be what the wave loses, 1 - exp(-loss)."""

    @property
    def transmission(self) -> Complex64[np.ndarray, "slice i j"]:
        """Return the factor on a wave, cut to the frequencies of the grid's band."""
        factor = np.exp(1j * self.phase - 0.5 * self.loss)
        length = np.linalg.norm(self.grid.frequencies_per_pm, axis=-1)
        return np.fft.ifft2(np.where(length <= self.grid.band_per_pm, np.fft.fft2(factor), 0.0)).astype(np.complex64)


def cut(
    period: Period,
    grid: Grid,
    *,
    voltage_kv: float,
    slice_pm: float,
    detector_per_pm: tuple[float, float],
    aperture_per_pm: float = 0.0,
    absorption: bool = True,
    top_pm: float = 0.0,
) -> Slices:
    """Return the slices of a period, from the entrance surface on.

    Cuts lie where they are farthest from atoms, so that no plane of atoms is cut in two, and the entrance surface is
    the cut nearest to `top_pm`.

    Parameters
    ----------
    period
        The crystal.
    grid
        Pixels.
    voltage_kv
        High tension.
    slice_pm
        Thickness that slices have at most.
    detector_per_pm
        Where the detector begins and ends, in scattering vectors.
    aperture_per_pm
        Radius of the aperture that waves come from; 0 is a plane wave.
    absorption
        Whether diffuse scattering is taken from the wave and given to the detector.
    top_pm
        Depth in the period at which the specimen begins.

    Raises
    ------
    SettingsError
        If slices are not thicker than nothing.
    """
    if not slice_pm > 0:
        raise SettingsError("slices must have a thickness.", got=f"{slice_pm:g} pm", do="slice_pm=200")
    count = max(FEWEST, int(np.ceil(period.depth_pm / slice_pm - 1e-6)))
    thickness = period.depth_pm / count
    depth = (period.positions_pm[:, 2] - _surface(period, thickness, top_pm)) % period.depth_pm
    slice_of = np.minimum((depth / thickness).astype(np.int64), count - 1)
    phase, loss, all_lost, seen = (np.zeros((count, *grid.shape)) for _ in range(4))
    lengths = np.linalg.norm(grid.frequencies_per_pm, axis=-1)
    strength = mass_ratio(voltage_kv) * wavelength_pm(voltage_kv)
    pixels = grid.shape[0] * grid.shape[1] / period.area_pm2
    for site, members in _sites(period):
        farthest = float(lengths.max())
        born = strength * born_factor_pm(site, lengths)
        if absorption:
            mean = strength * mean_factor_pm(site, lengths, voltage_kv=voltage_kv)
            detected = _diffuse(site, farthest, voltage_kv, *detector_per_pm, aperture_per_pm)(lengths)
        for atom in members:
            wave, here = _wave(period.positions_pm[atom, :2], grid), slice_of[atom]
            if not absorption:
                phase[here] += np.fft.ifft2(born * wave).real * pixels
                continue
            behind = 1.0 + 1j * np.fft.ifft2(mean * wave) * pixels
            phase[here] += np.angle(behind)
            loss[here] -= 2.0 * np.log(np.abs(behind))
            all_lost[here] += 1.0 - np.square(np.abs(behind))
            seen[here] += np.fft.ifft2(detected * wave).real * pixels
    # where atoms of one slice overlap, less is lost than by each alone
    there = all_lost > TINY
    ratio = np.where(there, -np.expm1(-loss) / np.where(there, all_lost, 1.0), 1.0)
    return Slices(grid=grid, thickness_pm=thickness, phase=phase, loss=loss, weight=seen * np.clip(ratio, 0.0, 1.0))


@lru_cache(maxsize=64)
def _diffuse(
    site: tuple[Kind, ...], farthest: float, voltage_kv: float, inner: float, outer: float, aperture: float
) -> CubicSpline:
    """Return the diffuse factor of a site by the length of q; kept, as one study asks for the same ones again."""
    radii = np.linspace(0.0, farthest, RADIAL)
    values = diffuse_factor_pm2(
        site, radii, voltage_kv=voltage_kv, inner_per_pm=inner, outer_per_pm=outer, aperture_per_pm=aperture
    )
    return CubicSpline(radii, values)


def _surface(period: Period, thickness_pm: float, top_pm: float) -> float:
    """Return the depth of the cut nearest to the wanted one, of those that are farthest from atoms."""
    inside = np.sort(period.positions_pm[:, 2] % thickness_pm)
    gaps = np.diff(inside, append=inside[0] + thickness_pm)
    widest = gaps >= gaps.max() - 1e-6
    middles = (inside + 0.5 * gaps)[widest]
    off = (middles - top_pm + 0.5 * thickness_pm) % thickness_pm - 0.5 * thickness_pm
    return top_pm + float(off[np.argmin(np.round(np.abs(off), 6))])


def _wave(place_pm: Float[np.ndarray, " 2"], grid: Grid) -> Complex128[np.ndarray, "i j"]:
    """Return the transform of a point at a place, without the last frequency, which has no opposite one."""
    one, two = np.linalg.solve(grid.vectors_pm.T, place_pm)
    indices = grid.indices
    paired = (2 * np.abs(indices) < np.array(grid.shape)).all(axis=-1)
    return np.where(paired, np.exp(-2j * np.pi * (indices[..., 0] * one + indices[..., 1] * two)), 0.0)


def _sites(period: Period) -> Iterator[tuple[tuple[Kind, ...], Int[np.ndarray, " member"]]]:
    """Yield every kind of site, with the first atom of each site of that kind."""
    lattice = np.zeros((3, 3))
    lattice[:2, :2], lattice[2, 2] = period.vectors_pm, period.depth_pm
    fractional = period.positions_pm @ np.linalg.inv(lattice)
    members: dict[tuple[Kind, ...], list[int]] = {}
    done = np.zeros(len(fractional), dtype=bool)
    for atom in range(len(fractional)):
        if done[atom]:
            continue
        gap = fractional - fractional[atom]
        here = np.flatnonzero((np.linalg.norm((gap - np.rint(gap)) @ lattice, axis=1) < SAME_PM) & ~done)
        done[here] = True
        kinds = tuple(
            sorted(
                Kind(int(period.numbers[row]), round(float(period.occupancy[row]), 6), float(period.rms_pm[row]))
                for row in here
            )
        )
        members.setdefault(kinds, []).append(atom)
    for kinds, atoms in members.items():
        yield kinds, np.array(atoms, dtype=np.int64)
