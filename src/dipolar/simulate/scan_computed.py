"""Disks of a pattern that are computed from crystal structures, and what lies between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Float64, Int16

from dipolar.core.contracts import Progress, silent
from dipolar.simulate.scan_crystal import diffuse_pattern, diffuse_quantiles, disk_points, sites_on
from dipolar.simulate.scan_kernels import spread
from dipolar.simulate.scan_library import Library, intensities, library_of
from dipolar.simulate.scan_settings import THICKEST, THINNEST, VOLTAGE_KV, SimulatedScanSettings
from dipolar.simulate.scan_structure import ScanStructure

WIDE = 3.5
"""Thickness and tilt are in the library to so many standard deviations; beyond, they are those at its rim."""
NEGLIGIBLE = 1e-9
"""Share of a domain below which its pattern is left out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComputedCrystal:
    """Reflections of a crystal with domains and the light between them, per electron that reaches the detector."""

    index: Int16[np.ndarray, "site 2"]
    """Position in half reciprocal lattice vectors, the first one nearest to the x axis; the direct beam comes first."""
    place_px: Float[np.ndarray, "site 2"]
    """(k_y, k_x) from the direct beam: one lattice for all domains, whose cells differ by some tenths of a percent."""
    library: Library
    """Waves of horizontal, vertical, polar along the beam and cubic."""
    thickness_nm: float
    """Thickness where the relative one is 1."""
    turn: Float[np.ndarray, "2 2"]
    """Takes a tilt (y, x) on the screen to one along the axes of the crystal."""
    disk_px: Float32[np.ndarray, "entry 2"]
    """Points of one disk, evenly filled."""
    diffuse_px: Float32[np.ndarray, " radius"]
    """Quantiles of the distance of diffuse electrons from the direct beam, before the stretch."""
    diffuse_share: float
    """Their share where the relative thickness is 1; it grows like 1 - exp(-thickness)."""
    stretch: Float[np.ndarray, " 2"]
    """Factors on lengths along k_y and k_x."""
    caught: float = 1.0
    """Share of the electrons that fall onto the detector."""


def computed_crystal_of(
    settings: SimulatedScanSettings, structure: ScanStructure, progress: Progress = silent
) -> ComputedCrystal:
    """Return the crystal of structures, in the thicknesses and tilts that a scan of it has.

    Parameters
    ----------
    settings
        Of the scan.
    structure
        The crystal in each kind of domain.
    progress
        Told how far it has come.
    """
    index = sites_on(settings, middles=True)
    angle = np.radians(settings.rotation_deg)
    off = WIDE * settings.thickness_variation
    thickness = max(THINNEST, settings.thickness - off), min(THICKEST, settings.thickness + off)
    made = ComputedCrystal(
        index=index.astype(np.int16),
        place_px=index @ settings.vectors_px / 2.0,
        library=library_of(
            structure.kinds,
            index[:, ::-1],
            thickness_nm=(structure.thickness_nm * thickness[0], structure.thickness_nm * thickness[1]),
            tilt_mrad=WIDE * structure.bend_mrad,
            voltage_kv=VOLTAGE_KV,
            progress=progress,
        ),
        thickness_nm=structure.thickness_nm,
        turn=np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]),
        disk_px=disk_points(settings),
        diffuse_px=diffuse_quantiles(settings),
        diffuse_share=settings.diffuse_share,
        stretch=settings.stretch,
    )
    return replace(made, caught=_caught(made, settings))


def lights(
    crystal: ComputedCrystal,
    mixture: Float64[np.ndarray, "pattern 4"],
    thickness: Float64[np.ndarray, " pattern"],
    tilt_mrad: Float64[np.ndarray, "pattern 2"],
) -> Float64[np.ndarray, "pattern light"]:
    """Return the share of electrons of each site, and of the diffuse background last; their sum is 1.

    The patterns of the four pure domains, each of sum 1, are added in the shares of `mixture`. Where domains lie over
    each other this leaves out that one diffracts what the other has diffracted.
    """
    made = np.zeros((len(mixture), len(crystal.index) + 1))
    diffuse = 1.0 - (1.0 - crystal.diffuse_share) ** thickness
    own = tilt_mrad @ crystal.turn.T
    for kind in range(4):
        here = np.flatnonzero(mixture[:, kind] > NEGLIGIBLE)
        if not len(here):
            continue
        pure = intensities(crystal.library, kind, thickness[here] * crystal.thickness_nm, own[here])
        pure *= ((1.0 - diffuse[here]) * mixture[here, kind] / pure.sum(axis=1))[:, None]
        made[here, :-1] += pure
    made[:, -1] = diffuse * mixture.sum(axis=1)
    return made


def _caught(crystal: ComputedCrystal, settings: SimulatedScanSettings) -> float:
    """Return the share of electrons that fall onto the detector in a mixture of all domains."""
    light = lights(crystal, np.full((1, 4), 0.25), np.array([settings.thickness]), np.zeros((1, 2)))[0]
    pattern = light[-1] * diffuse_pattern(settings, settings.middle_px)
    spread(pattern, light, *settings.middle_px, crystal.place_px, crystal.disk_px)
    return float(pattern.sum())
