"""What a simulated 4D-STEM scan is: crystal, domains, microscope and detector."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from dipolar.core.errors import SettingsError
from dipolar.simulate.scan_structure import ScanStructure

Lattice = tuple[tuple[float, float], tuple[float, float]]

PUBLISHED_EDGE_PX = 512.0
"""Edge of the published detector, from which lengths in px are scaled where none are given."""
LATTICE_MRAD = 3.26
"""Angle of the reflections {200} of Cu3B7O13Cl, a = 1.21 nm, at 300 kV."""
VOLTAGE_KV, WAVELENGTH_PM = 300.0, 1.96875
"""High tension of all simulated scans, and its electrons."""
LEAST_LATTICE_PX = 9.0
THINNEST, THICKEST = 0.2, 3.0
"""Relative thickness of every position is within these."""
DRAWN = ("crystal", "ghost_strength", "direct_share", "contrast", "bend", "thickness")
"""Settings of random intensities, which follow from a structure where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedScanSettings:
    """A scan over a transparent boracite crystal, Cu3B7O13Cl at 300 kV and 0.8 mrad, unless told otherwise.

    Lengths on the detector that are None are those of the published detector of 512 px, scaled to the edge of this
    one.
    """

    shape: tuple[int, int] = (64, 64)
    """(scan_y, scan_x)."""
    pattern_px: tuple[int, int] = (128, 128)
    """(k_y, k_x)."""
    step_nm: float = 10.0
    """Distance between probe positions."""

    domain_steps: float | None = None
    """Mean width of a lamella, in probe steps; None: a quarter of the edge of the scan, 22 at most, as published."""
    wall_angle_deg: float = 45.0
    """Direction along which walls run on the average, counter-clockwise on the screen."""
    wall_width: float = 1.5
    """Full width 2ξ of the tanh profile of walls, in probe steps; 0 for sharp ones."""
    curvature: float = 1.0
    """How much walls bend: 0 for straight lamellae of equal width."""
    none_fraction: float = 0.18
    """Share of positions of the class none."""
    horizontal_fraction: float | None = None
    """Share of the class horizontal; None: half of what is not none."""
    cubic_share: float = 0.5
    """Share of the class none that is cubic; in the rest the polarization lies along the beam."""
    overlap: float | None = None
    """Positions where horizontal and vertical each have at least this share are labelled none; None: never."""

    structure: ScanStructure | None = None
    """What intensities are computed from; None: they are random, as the settings from `crystal` to `bend` say."""
    crystal: int = 0
    """Draws the intensities of reflections: scans with the same number are of one material, whatever their seed."""
    lattice_px: float | Lattice | None = None
    """Length of both reciprocal lattice vectors at a right angle, or the two as rows (k_y, k_x)."""
    rotation_deg: float = 0.0
    """Rotation of the crystal, counter-clockwise on the screen."""
    ellipticity: float = 0.0
    """Stretch of the pattern along k_x over that along k_y, minus 1; disks and lattice alike."""
    radius_px: float | None = None
    """Radius of a disk; None: 0.245 lattice vectors, which are 0.8 mrad in boracite."""
    edge_px: float | None = None
    """Standard deviation of the blur of the edge of a disk."""
    ghost_strength: float = 0.18
    """Intensity of ghost disks over that of main disks at the same angle."""
    direct_share: float = 0.30
    """Share of electrons in the direct beam."""
    diffuse_share: float = 0.25
    """Share of electrons between the disks."""
    contrast: float = 0.35
    """How much the thickness changes single reflections: amplitude, relative, of their oscillation."""
    thickness: float = 1.0
    """Mean thickness, relative to that of the other scans of this crystal."""
    thickness_variation: float = 0.10
    """Standard deviation of the thickness over the scan, in the same unit."""
    bend: float = 0.15
    """Standard deviation of the relative difference of Friedel pairs that bending makes."""
    intensity_variation: float = 0.05
    """Standard deviation of the counts over the scan, relative."""

    electrons: float = 6e4
    """Electrons per pattern, on the average."""
    beam_px: tuple[float, float] | None = None
    """(k_y, k_x) of the direct beam on the average; None: near the middle."""
    descan_px: float | None = None
    """How far the direct beam moves from the first to the last row, and from the first to the last column."""
    jitter_px: float | None = None
    """Standard deviation of the further shift of each pattern."""
    beam_stop: bool = False
    """Whether a beam stop hides the direct beam."""
    dead_share: float = 1e-4
    """Share of pixels that are always 0."""
    hot_share: float = 1e-4
    """Share of pixels that count without electrons."""
    gain: float = 1.0
    """Units per electron; other than 1 for a detector that does not count."""
    detector_offset: float = 0.0
    """Units without electrons."""
    readout: float = 0.0
    """Standard deviation of the readout noise, in units."""
    dtype: str = "uint16"
    """Type of the counts; what does not fit into it is its greatest value."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing, all of them in one message."""
        wrong = [*_sizes(self), *_ranges(self)]
        if wrong:
            raise SettingsError("Settings of the scan are out of range.", got="; ".join(wrong))

    @property
    def lamella_steps(self) -> float:
        """Mean width of a lamella, in probe steps."""
        if self.domain_steps is not None:
            return self.domain_steps
        return float(np.clip(0.26 * np.sqrt(self.shape[0] * self.shape[1]), 4.0, 22.0))

    @property
    def scale(self) -> float:
        """Edge of the detector over that of the published one."""
        return min(self.pattern_px) / PUBLISHED_EDGE_PX

    @property
    def vectors_px(self) -> Float[np.ndarray, "2 2"]:
        """The reciprocal lattice vectors as recorded, rows (k_y, k_x), the first nearest to the x axis."""
        if isinstance(self.lattice_px, tuple):
            plain = np.array(self.lattice_px, dtype=np.float64)
        else:
            length = self.lattice_px or max(LEAST_LATTICE_PX, 37.0 * self.scale)
            plain = np.array([[0.0, length], [length, 0.0]])
        angle = np.radians(self.rotation_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned = plain @ turn.T
        return turned * self.stretch

    @property
    def stretch(self) -> Float[np.ndarray, " 2"]:
        """Factors on lengths along k_y and k_x."""
        return np.array([1.0 - self.ellipticity / 2.0, 1.0 + self.ellipticity / 2.0])

    @property
    def lattice_length_px(self) -> float:
        """Length of the shorter reciprocal lattice vector, before the stretch."""
        return float(np.linalg.norm(self.vectors_px / self.stretch, axis=1).min())

    @property
    def disk_radius_px(self) -> float:
        """Radius of a disk."""
        return 0.245 * self.lattice_length_px if self.radius_px is None else self.radius_px

    @property
    def disk_edge_px(self) -> float:
        """Blur of its edge."""
        return max(0.3, 0.8 * self.scale) if self.edge_px is None else self.edge_px

    @property
    def middle_px(self) -> tuple[float, float]:
        """(k_y, k_x) of the direct beam on the average."""
        if self.beam_px is not None:
            return self.beam_px
        return (self.pattern_px[0] - 1) / 2 + 3.3 * self.scale, (self.pattern_px[1] - 1) / 2 - 2.2 * self.scale

    @property
    def ramp_px(self) -> float:
        """How far the direct beam moves over the scan along each axis."""
        return 4.0 * self.scale if self.descan_px is None else self.descan_px

    @property
    def shake_px(self) -> float:
        """Standard deviation of its shift from pattern to pattern."""
        return 0.3 * self.scale if self.jitter_px is None else self.jitter_px

    @property
    def pixel_mrad(self) -> float:
        """Angle per pixel: that of the reflections {200}, of boracite or of the structure, over the lattice vectors."""
        lattice = LATTICE_MRAD if self.structure is None else 2e3 * WAVELENGTH_PM / self.structure.edge_pm
        return lattice / self.lattice_length_px

    @property
    def horizontal(self) -> float:
        """Share of the class horizontal."""
        return (1.0 - self.none_fraction) / 2.0 if self.horizontal_fraction is None else self.horizontal_fraction


def _sizes(settings: SimulatedScanSettings) -> list[str]:
    """Return a phrase for each size that is wrong."""
    wrong = []
    if min(settings.shape) < 2:
        wrong.append(f"shape = {settings.shape} (2 or more each)")
    if not 16 <= min(settings.pattern_px) <= max(settings.pattern_px) <= 4096:
        wrong.append(f"pattern_px = {settings.pattern_px} (16 to 4096 each)")
        return wrong
    if settings.dtype not in ("uint8", "uint16", "uint32"):
        wrong.append(f"dtype = {settings.dtype!r} (uint8, uint16 or uint32)")
    vectors = settings.vectors_px
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(vectors).all() and abs(np.linalg.det(vectors)) > 0.2 * np.prod(lengths) and lengths.min() >= 3):
        wrong.append(f"lattice_px = {settings.lattice_px} (two vectors of 3 px or more, not along each other)")
    elif lengths.max() > min(settings.pattern_px) / 2:
        wrong.append(f"lattice_px = {settings.lattice_px} (at most half the pattern)")
    if not 0.5 <= settings.disk_radius_px <= min(settings.pattern_px) / 4:
        wrong.append(f"radius_px = {settings.disk_radius_px} (0.5 to a quarter of the pattern)")
    if settings.beam_px is not None and not all(
        0 <= place < edge for place, edge in zip(settings.beam_px, settings.pattern_px, strict=True)
    ):
        wrong.append(f"beam_px = {settings.beam_px} (inside the pattern)")
    return wrong


LIMITS = {
    "step_nm": (1e-3, 1e6),
    "lamella_steps": (2, 1e5),
    "wall_width": (0, 1e3),
    "curvature": (0, 3),
    "none_fraction": (0, 1),
    "horizontal": (0, 1),
    "cubic_share": (0, 1),
    "ellipticity": (-0.3, 0.3),
    "disk_edge_px": (0, 50),
    "ghost_strength": (0, 2),
    "direct_share": (0, 0.95),
    "diffuse_share": (0, 0.95),
    "contrast": (0, 0.9),
    "crystal": (0, 2**31),
    "thickness": (0.4, 2.0),
    "thickness_variation": (0, 0.3),
    "bend": (0, 0.3),
    "intensity_variation": (0, 0.3),
    "electrons": (0, 1e8),
    "ramp_px": (-200, 200),
    "shake_px": (0, 20),
    "dead_share": (0, 0.1),
    "hot_share": (0, 0.1),
    "gain": (1e-6, 1e6),
    "detector_offset": (0, 1e9),
    "readout": (0, 1e6),
}
"""Least and greatest value of each setting."""


def _ranges(settings: SimulatedScanSettings) -> list[str]:
    """Return a phrase for each number that is out of range."""
    wrong = [
        f"{name} = {getattr(settings, name)} ({least:g} to {most:g})"
        for name, (least, most) in LIMITS.items()
        if not least <= getattr(settings, name) <= most
    ]
    if settings.none_fraction + settings.horizontal > 1.0:
        wrong.append(
            f"none_fraction + horizontal_fraction = {settings.none_fraction + settings.horizontal} (1 at most)"
        )
    if settings.direct_share + settings.diffuse_share >= 1.0:
        wrong.append(f"direct_share + diffuse_share = {settings.direct_share + settings.diffuse_share} (below 1)")
    wrong += _contradictions(settings)
    if settings.overlap is not None and not 0 < settings.overlap <= 0.5:
        wrong.append(f"overlap = {settings.overlap} (above 0, 0.5 at most)")
    return wrong


def _contradictions(settings: SimulatedScanSettings) -> list[str]:
    """Return a phrase for each setting of random intensities that was changed although they are computed."""
    if settings.structure is None:
        return []
    usual = {one.name: one.default for one in fields(settings)}
    return [
        f"{name} = {getattr(settings, name)} (follows from the structure; leave it at {usual[name]})"
        for name in DRAWN
        if getattr(settings, name) != usual[name]
    ]
