"""Where the disks of a pattern are, how bright each is in each kind of domain, and what lies between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Float64, Int8

from dipolar.simulate.scan_kernels import spread, weights
from dipolar.simulate.scan_settings import SimulatedScanSettings

MAIN, GHOST_HORIZONTAL, GHOST_VERTICAL = 0, 1, 2
ENTRIES = 1 << 16
"""Points of one disk: electrons are drawn from them, with 16 random bits each."""
RADII = 4096
"""Steps of the radial law of the diffuse background."""
SPREAD, POLAR_SPREAD = 0.7, 0.2
"""Standard deviation of the logarithm of intensities between reflections, and of what polarization along the beam
changes in them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crystal:
    """Reflections of a crystal and the light between them, per electron of the incident beam."""

    index: Int8[np.ndarray, "site 2"]
    """Position in half reciprocal lattice vectors."""
    kind: Int8[np.ndarray, " site"]
    """MAIN, GHOST_HORIZONTAL or GHOST_VERTICAL."""
    place_px: Float[np.ndarray, "site 2"]
    """(k_y, k_x) from the direct beam."""
    share: Float[np.ndarray, " site"]
    """Mean intensity of each; ghosts in their own domain. The direct beam is the first site."""
    rate: Float[np.ndarray, " site"]
    """Radians by which its intensity oscillates when the thickness doubles."""
    phase: Float[np.ndarray, " site"]
    """Of that oscillation."""
    polar: Float[np.ndarray, " site"]
    """Factor on it where the polarization lies along the beam."""
    slope: Float[np.ndarray, "site 2"]
    """How it changes when the crystal bends along (y, x): opposite for Friedel pairs."""
    disk_px: Float32[np.ndarray, "entry 2"]
    """Points of one disk, evenly filled."""
    diffuse_px: Float32[np.ndarray, " radius"]
    """Quantiles of the distance of diffuse electrons from the direct beam, before the stretch."""
    diffuse_share: float
    """Their share."""
    stretch: Float[np.ndarray, " 2"]
    """Factors on lengths along k_y and k_x."""
    caught: float = 1.0
    """Share of the electrons that fall onto the detector."""


def crystal_of(settings: SimulatedScanSettings) -> Crystal:
    """Return the crystal: the same intensities for reflections that symmetry makes alike, whatever the lattice."""
    index = sites_on(settings)
    vectors, stretch = settings.vectors_px, settings.stretch
    plain = index @ (vectors / stretch) / 2.0
    length = np.linalg.norm(plain, axis=1)
    radius = length / settings.lattice_length_px
    odd = index % 2 != 0
    kind = np.where(odd[:, 0], GHOST_HORIZONTAL, np.where(odd[:, 1], GHOST_VERTICAL, MAIN)).astype(np.int8)
    family, rate, phase, polar = _families(index, np.random.default_rng((settings.crystal, 17)))
    smooth = (1.0 + (radius / 1.5) ** 2) ** -1.5 * np.exp(-radius / 6.0)
    main, direct = kind == MAIN, length == 0
    disks = 1.0 - settings.direct_share - settings.diffuse_share
    share = np.zeros(len(index))
    whole = smooth[main & ~direct].sum()
    for which, strength in (
        (MAIN, 1.0),
        (GHOST_HORIZONTAL, settings.ghost_strength),
        (GHOST_VERTICAL, settings.ghost_strength),
    ):
        group = (kind == which) & ~direct
        light = smooth[group] * family[group]
        # together as bright as without their scatter, so that crystals differ in single reflections alone
        share[group] = light / light.sum() * disks * strength * smooth[group].sum() / whole
    share[direct] = settings.direct_share
    rate[direct] = phase[direct] = 0.0
    slope = plain / np.maximum(length, 1e-9)[:, None] * np.minimum(1.0, radius / 2.0)[:, None]
    made = Crystal(
        index=index.astype(np.int8),
        kind=kind,
        place_px=index @ vectors / 2.0,
        share=share,
        rate=rate,
        phase=phase,
        polar=np.where(direct, 1.0, polar),
        slope=slope,
        disk_px=disk_points(settings),
        diffuse_px=diffuse_quantiles(settings),
        diffuse_share=settings.diffuse_share,
        stretch=stretch,
    )
    return replace(made, caught=_caught(made, settings))


def _caught(crystal: Crystal, settings: SimulatedScanSettings) -> float:
    """Return the share of electrons that fall onto the detector in a mixture of all domains."""
    c, light = crystal, np.empty(len(crystal.share) + 1)
    weights(
        c.share, c.kind, c.rate, c.phase, c.polar, c.slope, settings.contrast, c.diffuse_share,
        np.full(4, 0.25), settings.thickness, np.zeros(2), light,
    )  # fmt: skip
    pattern = light[-1] * diffuse_pattern(settings, settings.middle_px)
    spread(pattern, light, *settings.middle_px, c.place_px, c.disk_px)
    return float(pattern.sum())


def sites_on(settings: SimulatedScanSettings, *, middles: bool = False) -> np.ndarray:
    """Return the half-integer sites whose disks can fall onto the detector, the direct beam first.

    Those in the middle between four reflections are among them only if `middles`.
    """
    vectors = settings.vectors_px / 2.0
    edges = np.array(settings.pattern_px, dtype=np.float64)
    most = int(np.ceil(np.linalg.norm(np.linalg.inv(vectors), 2) * np.linalg.norm(edges)))
    most = min(most, 120)
    both = np.arange(-most, most + 1)
    index = np.stack(np.meshgrid(both, both, indexing="ij"), axis=-1).reshape(-1, 2)
    if not middles:
        index = index[(index % 2 == 0).any(axis=1)]
    place = index @ vectors + np.array(settings.middle_px)
    margin = 1.5 * settings.disk_radius_px + abs(settings.ramp_px) / 2 + 4 * settings.shake_px
    index = index[((place > -margin) & (place < edges - 1 + margin)).all(axis=1)]
    order = np.lexsort((index[:, 1], index[:, 0], np.linalg.norm(index @ vectors, axis=1)))
    return index[order]


def _families(index: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return intensity, rate, phase and change with polarization of each site.

    Alike are reflections that differ in the sign or the order of their indices; a ghost of one domain is like the
    one of the other with its indices exchanged.
    """
    alike = np.sort(np.abs(index), axis=1)
    most = int(alike.max()) + 1
    drawn = rng.normal(size=(4, 241, 241))[:, :most, :most]
    intensity, rate, phase, polar = drawn[:, alike[:, 0], alike[:, 1]]
    return (
        np.exp(SPREAD * np.clip(intensity, -2.0, 2.0)),
        2.0 * np.pi * (1.5 + 0.5 * np.tanh(rate)),
        2.0 * np.pi * phase,
        np.exp(POLAR_SPREAD * np.clip(polar, -2.0, 2.0)),
    )


def disk_points(settings: SimulatedScanSettings) -> Float32[np.ndarray, "entry 2"]:
    """Return points that fill a disk with a blurred edge, ``erfc((r - R) / √2σ) / 2``, along a Fibonacci spiral."""
    from scipy.special import erfc

    radius, blur = settings.disk_radius_px, settings.disk_edge_px
    r = np.linspace(0.0, radius + 5.0 * blur, 8192)
    density = 0.5 * erfc((r - radius) / (np.sqrt(2.0) * max(blur, 1e-6)))
    quantiles = _quantiles(r, density, ENTRIES)
    turn = np.arange(ENTRIES) * (np.pi * (3.0 - np.sqrt(5.0)))
    points = quantiles[:, None] * np.stack([np.sin(turn), np.cos(turn)], axis=1)
    return (points * settings.stretch).astype(np.float32)


def diffuse_density(radius: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return diffuse electrons per area at a distance, in lattice vectors, from the direct beam.

    Electrons that lost little energy stay near the beam; those scattered by vibrations spread widely.
    """
    return 0.5 * (1.0 + (radius / 0.5) ** 2) ** -1.5 + 0.06 * np.exp(-0.5 * (radius / 2.8) ** 2)


def diffuse_pattern(settings: SimulatedScanSettings, centre: tuple[float, float]) -> Float64[np.ndarray, "k_y k_x"]:
    """Return the share of diffuse electrons that each pixel gets."""
    far, length = float(np.linalg.norm(settings.pattern_px)), settings.lattice_length_px
    down, right = (
        (np.arange(size) - place) / factor
        for size, place, factor in zip(settings.pattern_px, centre, settings.stretch, strict=True)
    )
    radius = np.hypot(down[:, None], right)
    r = np.linspace(0.0, far, 16384)
    whole = np.trapezoid(2.0 * np.pi * r * diffuse_density(r / length), r)
    share: Float64[np.ndarray, "k_y k_x"] = np.where(radius <= far, diffuse_density(radius / length), 0.0)
    return share / (whole * settings.stretch.prod())


def diffuse_quantiles(settings: SimulatedScanSettings) -> Float32[np.ndarray, " radius"]:
    """Return quantiles of the distance of diffuse electrons, as far as the corner of the detector."""
    far = float(np.linalg.norm(settings.pattern_px))
    r = np.linspace(0.0, far, 16384)
    return _quantiles(r, diffuse_density(r / settings.lattice_length_px), RADII + 1, ends=True).astype(np.float32)


def _quantiles(r: np.ndarray, density: np.ndarray, count: int, *, ends: bool = False) -> np.ndarray:
    """Return radii that equal shares of a density per area lie between, or in the middle of."""
    ring = density * r
    cumulative = np.concatenate([[0.0], np.cumsum((ring[1:] + ring[:-1]) / 2.0)])
    cumulative /= cumulative[-1]
    at = np.linspace(0.0, 1.0, count) if ends else (np.arange(count) + 0.5) / count
    return np.interp(at, cumulative, r)
