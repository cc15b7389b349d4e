"""A simulated 4D-STEM scan with its truth: patterns are made when they are read, and are always the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, Shaped, UInt8

from dipolar.core.errors import ScanError
from dipolar.core.nouns import Fact
from dipolar.core.scanning import AbstractFrames, Scan, ScanWall, key_of
from dipolar.simulate.scan_crystal import Crystal, crystal_of, diffuse_density
from dipolar.simulate.scan_kernels import digitise, draw, glow, spread, weights
from dipolar.simulate.scan_settings import SimulatedScanSettings
from dipolar.simulate.scan_texture import NAMES, NONE, Domains, Texture, Waves, domains_on, labels_of, texture, waves

KINDS = ("", "polar along the beam", "cubic", "wall overlap")
"""What a position of the class none is; the first for those of other classes."""
PURE = 0.9
"""Share of none from which a position of that class is not overlapped by a domain beside it."""
FACTS = (("voltage_kv", 300.0), ("convergence_mrad", 0.8))
CHUNK_BYTES = 4 << 20
HOT_COUNTS = (20.0, 2000.0)
"""Least and greatest mean counts of hot pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Defects:
    """What the detector does wrong in every pattern."""

    dead: Bool[np.ndarray, "k_y k_x"]
    """Pixels that are always 0."""
    hot: Int64[np.ndarray, "pixel 2"]
    """(k_y, k_x) of pixels that count without electrons."""
    hot_counts: Float64[np.ndarray, " pixel"]
    """What they count on the average."""
    stop: Bool[np.ndarray, "k_y k_x"]
    """Pixels behind the beam stop."""

    @property
    def all(self) -> Bool[np.ndarray, "k_y k_x"]:
        """Every pixel that must not be counted."""
        bad = self.dead | self.stop
        bad[self.hot[:, 0], self.hot[:, 1]] = True
        return bad


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedFrames(AbstractFrames):
    """Patterns of a simulated scan, made when they are read."""

    count: int
    shape_px: tuple[int, int]
    dtype: np.dtype
    chunk: int
    settings: SimulatedScanSettings
    """What is simulated."""
    crystal: Crystal
    """Disks and what lies between them."""
    defects: Defects
    """Of the detector."""
    key: int
    """Names the random numbers of this scan."""
    mixture: Float64[np.ndarray, "pattern 4"]
    """Shares of horizontal, vertical, polar along the beam and cubic."""
    thickness: Float64[np.ndarray, " pattern"]
    """Relative to the mean."""
    tilt: Float64[np.ndarray, "pattern 2"]
    """How far the crystal is bent there along (y, x)."""
    electrons: Float64[np.ndarray, " pattern"]
    """Mean counts."""
    centre_px: Float64[np.ndarray, "pattern 2"]
    """(k_y, k_x) of the direct beam."""

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "pattern k_y k_x"]:
        """Return patterns `start` to `stop` (excluded).

        Raises
        ------
        ScanError
            If there are not so many.
        """
        if not 0 <= start <= stop <= self.count:
            raise ScanError(f"this scan has {self.count} patterns.", got=f"patterns {start} to {stop}")
        made, settings = np.zeros((stop - start, *self.shape_px), dtype=self.dtype), self.settings
        top, key = int(np.iinfo(self.dtype).max), np.uint64(self.key)
        counting = settings.gain == 1.0 and settings.offset == 0.0 and settings.readout == 0.0
        counts = made if counting else np.zeros(made.shape, dtype=np.uint32)
        most = top if counting else int(np.iinfo(np.uint32).max)
        c = self.crystal
        draw(
            counts, start, key, self.electrons, c.share, c.kind, c.rate, c.phase, c.polar, c.slope, settings.contrast,
            c.diffuse_share, c.place_px, c.disk_px, c.diffuse_px, circle(), c.stretch, self.mixture, self.thickness,
            self.tilt, self.centre_px, most,
        )  # fmt: skip
        counts[:, self.defects.stop] = 0
        hot = self.defects.hot
        glow(counts, start, key, hot[:, 0], hot[:, 1], self.defects.hot_counts, most)
        if not counting:
            digitise(made, counts, start, key, settings.gain, settings.offset, settings.readout, top)
        made[:, self.defects.dead] = 0
        return made

    def expected(
        self, number: int, *, mixture: Float64[np.ndarray, " 4"] | None = None, detector: bool = True
    ) -> Float64[np.ndarray, "k_y k_x"]:
        """Return the mean counts of one pattern, without noise.

        Parameters
        ----------
        number
            Of the pattern.
        mixture
            Shares of horizontal, vertical, polar along the beam and cubic instead of the true ones.
        detector
            Whether dead and hot pixels and the beam stop are in it.
        """
        c, settings = self.crystal, self.settings
        light = np.empty(len(c.share) + 1)
        weights(
            c.share, c.kind, c.rate, c.phase, c.polar, c.slope, settings.contrast, c.diffuse_share,
            self.mixture[number] if mixture is None else mixture, self.thickness[number], self.tilt[number], light,
        )  # fmt: skip
        light *= self.electrons[number]
        y, x = self.centre_px[number]
        made = light[-1] * _diffuse(settings, (float(y), float(x)))
        spread(made, light, y, x, c.place_px, c.disk_px)
        if not detector:
            return made
        made[self.defects.stop] = 0.0
        made[self.defects.hot[:, 0], self.defects.hot[:, 1]] = self.defects.hot_counts
        made = settings.gain * made + settings.offset
        made[self.defects.dead] = 0.0
        return made


def circle() -> Float32[np.ndarray, "turn 2"]:
    """Return (y, x) of directions all around, one for each 16 random bits."""
    turn = (np.arange(1 << 16) + 0.5) * (2.0 * np.pi / (1 << 16))
    return np.stack([np.sin(turn), np.cos(turn)], axis=1).astype(np.float32)


def _diffuse(settings: SimulatedScanSettings, centre: tuple[float, float]) -> Float64[np.ndarray, "k_y k_x"]:
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
    """Relative to the mean."""
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
    crystal: Crystal
    """Disks."""
    defects: Defects
    """Of the detector."""
    thickness: Waves
    """Over the specimen, mean 0, variance 1."""
    bend: tuple[Waves, Waves]
    """Along y and x, over the specimen, mean 0, variance 1."""


def specimen_of(settings: SimulatedScanSettings, seed: int = 0) -> ScanSpecimen:
    """Return a crystal with domains and a detector, all random by seed."""
    domains, light, detector, shape = (np.random.default_rng((seed, part)) for part in range(4))
    size = float(np.hypot(*settings.shape))
    slow = [waves(shape, along=0.35 * size, across=0.35 * size, angle_deg=0.0) for _ in range(3)]
    return ScanSpecimen(
        settings=settings,
        texture=texture(settings, domains),
        crystal=crystal_of(settings, light),
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


def simulate_scan(settings: SimulatedScanSettings | None = None, seed: int = 0) -> SimulatedScan:
    """Return a scan, whose patterns are made when they are read, with its truth.

    Parameters
    ----------
    settings
        What to simulate; None takes the defaults.
    seed
        Of all that is random; the same seed gives the same scan.
    """
    return scan_of(specimen_of(settings or SimulatedScanSettings(), seed), seed=seed)


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
    found = domains_on(domains or specimen.texture, settings.shape, origin=origin, wall_width=settings.wall_width)
    axes = [np.arange(size) + start for size, start in zip(settings.shape, origin, strict=True)]
    thickness = np.clip(1.0 + settings.thickness_variation * specimen.thickness.on(*axes), 0.3, 2.0)
    tilt = settings.bend * np.stack([field.on(*axes) for field in specimen.bend], axis=2)
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
        electrons=counts.ravel(),
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
