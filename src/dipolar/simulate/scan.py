"""A simulated 4D-STEM scan with its truth: patterns are made when they are read, and are always the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, UInt8

from dipolar.core.contracts import Progress, silent
from dipolar.core.nouns import Fact
from dipolar.core.scan_key import key_of
from dipolar.core.scanning import Scan, ScanWall
from dipolar.simulate.scan_computed import ComputedCrystal, computed_crystal_of
from dipolar.simulate.scan_crystal import Crystal, crystal_of
from dipolar.simulate.scan_frames import Defects, SimulatedFrames
from dipolar.simulate.scan_settings import THICKEST, THINNEST, VOLTAGE_KV, SimulatedScanSettings
from dipolar.simulate.scan_texture import NAMES, NONE, Domains, Texture, Waves, domains_on, labels_of, texture, waves

KINDS = ("", "polar along the beam", "cubic", "wall overlap")
"""What a position of the class none is; the first for those of other classes."""
PURE = 0.9
"""Share of none from which a position of that class is not overlapped by a domain beside it."""
FACTS = (("voltage_kv", VOLTAGE_KV), ("convergence_mrad", 0.8))
CHUNK_BYTES = 4 << 20
HOT_COUNTS = (20.0, 2000.0)
"""Least and greatest mean counts of hot pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanTruth:
    """What a simulated scan really is, at each probe position."""

    names: tuple[str, ...]
    """Classes."""
    mixture: Float[np.ndarray, "scan_y scan_x class"]
    """Share of each class in the pattern; sum 1."""
    label: Int64[np.ndarray, "scan_y scan_x"]
    """The class of the greatest share, unless `overlap` makes it none."""
    none_kind: UInt8[np.ndarray, "scan_y scan_x"]
    """Which of `KINDS`."""
    wall_distance: Float[np.ndarray, "scan_y scan_x"]
    """Distance to the nearest wall in probe steps; inf where there is none."""
    walls: tuple[ScanWall, ...]
    """Curves on which two classes have equal shares, the longest first."""
    centre_px: Float64[np.ndarray, "scan_y scan_x 2"]
    """(k_y, k_x) of the direct beam."""
    thickness: Float64[np.ndarray, "scan_y scan_x"]
    """Relative to 1, at which reflections have their mean intensities."""
    counts: Float64[np.ndarray, "scan_y scan_x"]
    """Mean electrons of each pattern, before the beam stop and dead pixels."""
    lattice_px: Float64[np.ndarray, "2 2"]
    """Reciprocal lattice vectors as rows (k_y, k_x), the first nearest to the x axis."""
    radius_px: float
    """Radius of a disk."""
    defective: Bool[np.ndarray, "k_y k_x"]
    """Dead and hot pixels, and those behind the beam stop."""

    @property
    def fractions(self) -> Float64[np.ndarray, " class"]:
        """Share of the positions that each class labels."""
        return np.bincount(self.label.ravel(), minlength=len(self.names)) / self.label.size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedScan:
    """A scan and what it really is."""

    scan: Scan
    """Its patterns are made when they are read."""
    truth: ScanTruth
    """Exact."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanSpecimen:
    """What several scans of one crystal with one detector share."""

    settings: SimulatedScanSettings
    """Of all of them."""
    texture: Texture
    """Domains in the first scan."""
    crystal: Crystal | ComputedCrystal
    """Disks."""
    defects: Defects
    """Of the detector."""
    thickness: Waves
    """Over the specimen, mean 0, variance 1."""
    bend: tuple[Waves, Waves]
    """Along y and x, over the specimen, mean 0, variance 1."""


def specimen_of(settings: SimulatedScanSettings, seed: int = 0, *, progress: Progress = silent) -> ScanSpecimen:
    """Return a crystal with domains and a detector, all random by seed.

    `progress` is told how far the diffraction of structures is computed, where the settings have them.
    """
    domains, detector, shape = (np.random.default_rng((seed, part)) for part in range(3))
    size = float(np.hypot(*settings.shape))
    structure = settings.structure
    crystal = crystal_of(settings) if structure is None else computed_crystal_of(settings, structure, progress)
    slow = [waves(shape, along=0.35 * size, across=0.35 * size, angle_deg=0.0) for _ in range(3)]
    return ScanSpecimen(
        settings=settings,
        texture=texture(settings, domains),
        crystal=crystal,
        defects=_defects(settings, detector),
        thickness=slow[0],
        bend=(slow[1], slow[2]),
    )


def _defects(settings: SimulatedScanSettings, rng: np.random.Generator) -> Defects:
    """Return dead and hot pixels at random, and the beam stop."""
    shape = settings.pattern_px
    size = shape[0] * shape[1]
    dead, hot = (int(np.ceil(share * size)) for share in (settings.dead_share, settings.hot_share))
    chosen = rng.permutation(size)[: dead + hot]
    low, high = np.log(HOT_COUNTS)
    stop = np.zeros(shape, dtype=bool)
    if settings.beam_stop:
        middle = settings.middle_px
        down, right = np.arange(shape[0])[:, None] - middle[0], np.arange(shape[1]) - middle[1]
        wide = 1.6 * settings.disk_radius_px + settings.ramp_px / 2
        stop = (np.hypot(down, right) <= wide) | ((np.abs(right + 0.05 * down) <= 0.4 * wide) & (down <= 0))
    mask = np.zeros(size, dtype=bool)
    mask[chosen[:dead]] = True
    return Defects(
        dead=mask.reshape(shape),
        hot=np.stack(np.divmod(chosen[dead:], shape[1]), axis=1),
        hot_counts=np.exp(rng.uniform(low, high, size=hot)),
        stop=stop,
    )


def simulate_scan(
    settings: SimulatedScanSettings | None = None, seed: int = 0, *, progress: Progress = silent
) -> SimulatedScan:
    """Return a scan, whose patterns are made when they are read, with its truth.

    Parameters
    ----------
    settings
        What to simulate; None takes the defaults.
    seed
        Of all that is random; the same seed gives the same scan.
    progress
        Told how far the diffraction of structures is computed.
    """
    return scan_of(specimen_of(settings or SimulatedScanSettings(), seed, progress=progress), seed=seed)


def scan_of(
    specimen: ScanSpecimen,
    *,
    seed: int,
    number: int = 0,
    origin: tuple[float, float] = (0.0, 0.0),
    domains: Texture | None = None,
) -> SimulatedScan:
    """Return one scan of a specimen.

    Parameters
    ----------
    specimen
        Crystal and detector.
    seed
        Of its noise.
    number
        Of the scan in its series; each has noise of its own.
    origin
        Place of the first probe position on the specimen, (y, x) in probe steps.
    domains
        Other domains than those of the specimen.
    """
    settings = specimen.settings
    rng = np.random.default_rng((seed, 4, number))
    key = int(rng.integers(0, 2**63))
    axes = [np.arange(size) + start for size, start in zip(settings.shape, origin, strict=True)]
    variation = settings.thickness_variation * specimen.thickness.on(*axes)
    thickness = np.clip(settings.thickness + variation, THINNEST, THICKEST)
    structure = settings.structure
    found = domains_on(
        domains or specimen.texture,
        settings.shape,
        origin=origin,
        wall_width=settings.wall_width,
        overlap_steps=None if structure is None else structure.overlap_steps(thickness, settings.step_nm),
    )
    bend = settings.bend if structure is None else structure.bend_mrad
    tilt = bend * np.stack([field.on(*axes) for field in specimen.bend], axis=2)
    counts = settings.electrons * _intensity(settings, rng)
    centre = _centres(settings, rng)
    none = found.mixture[..., NONE]
    four = np.concatenate(
        [found.mixture[..., :NONE], (none * (1.0 - found.cubic))[..., None], (none * found.cubic)[..., None]], axis=2
    )
    size = settings.shape[0] * settings.shape[1]
    dtype = np.dtype(settings.dtype)
    frames = SimulatedFrames(
        count=size,
        shape_px=settings.pattern_px,
        dtype=dtype,
        chunk=max(1, CHUNK_BYTES // (settings.pattern_px[0] * settings.pattern_px[1] * dtype.itemsize)),
        settings=settings,
        crystal=specimen.crystal,
        defects=specimen.defects,
        key=key,
        mixture=four.reshape(size, 4),
        thickness=thickness.ravel(),
        tilt=tilt.reshape(size, 2),
        electrons=counts.ravel() / specimen.crystal.caught,
        centre_px=centre.reshape(size, 2),
    )
    scan = Scan(
        frames=frames,
        shape=settings.shape,
        name="simulated scan" if number == 0 else f"simulated scan {number}",
        key=key_of(frames, settings.shape),
        step_nm=settings.step_nm,
        pixel_mrad=settings.pixel_mrad,
        facts=tuple(Fact(name=name, value=value, source="simulated") for name, value in FACTS),
    )
    return SimulatedScan(scan=scan, truth=_truth(settings, specimen, found, centre, thickness, counts))


def _truth(
    settings: SimulatedScanSettings,
    specimen: ScanSpecimen,
    found: Domains,
    centre: np.ndarray,
    thickness: np.ndarray,
    counts: np.ndarray,
) -> ScanTruth:
    label = labels_of(found.mixture, settings.overlap)
    kind = np.where(found.mixture[..., NONE] < PURE, 3, np.where(found.cubic > 0.5, 2, 1))
    return ScanTruth(
        names=NAMES,
        mixture=found.mixture,
        label=label,
        none_kind=np.where(label == NONE, kind, 0).astype(np.uint8),
        wall_distance=found.distance,
        walls=found.walls,
        centre_px=centre,
        thickness=thickness,
        counts=counts,
        lattice_px=settings.vectors_px,
        radius_px=settings.disk_radius_px,
        defective=specimen.defects.all,
    )


def _intensity(settings: SimulatedScanSettings, rng: np.random.Generator) -> np.ndarray:
    """Return how bright each pattern is, mean 1: the beam drifts slowly."""
    size = float(np.hypot(*settings.shape))
    field = waves(rng, along=0.3 * size, across=0.3 * size, angle_deg=0.0).on(
        *(np.arange(edge, dtype=np.float64) for edge in settings.shape)
    )
    bright = np.clip(1.0 + settings.intensity_variation * field, 0.1, None)
    return bright / bright.mean()


def _centres(settings: SimulatedScanSettings, rng: np.random.Generator) -> np.ndarray:
    """Return where the direct beam is in each pattern: the middle, a ramp over the scan, and jitter."""
    ramp = [settings.ramp_px * (np.arange(size) / (size - 1) - 0.5) for size in settings.shape]
    centre = np.array(settings.middle_px) + np.stack(np.meshgrid(*ramp, indexing="ij"), axis=2)
    return centre + rng.normal(scale=settings.shake_px, size=centre.shape)
