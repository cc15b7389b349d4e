"""Settings of ``dipolar simulate scan``: named, given their defaults and described once, here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from dipolar.recipes.parse import Finite
from dipolar.recipes.scan_settings import ScanShape, parse_scan_shape
from dipolar.recipes.settings import Settings

SIZES = {"small": ((64, 64), (128, 128)), "published": ((34, 206), (512, 512))}
"""(scan_y, scan_x) and (k_y, k_x) of the sizes that have a name."""


def parse_pattern_px(text: str) -> tuple[int, int]:
    """Return (k_y, k_x) from ``"256"`` or ``"256,512"``.

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    match = re.fullmatch(r"\s*(\d+)\s*(?:[,x×]\s*(\d+)\s*)?", text)
    if match is None:
        raise ValueError("the size of a pattern is written 256, or rows,columns: 256,512")
    return int(match[1]), int(match[2] or match[1])


def parse_lattice_px(text: str) -> float | tuple[tuple[float, float], tuple[float, float]]:
    """Return a length, or two vectors (k_y, k_x), from ``"37"`` or ``"0,37,32,18.5"``.

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) != 4:
        raise ValueError("a lattice is written as one length in px, 37, or as two vectors y1,x1,y2,x2: 0,37,32,18.5")
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])


def _text(value: Any) -> Any:
    """Take numbers and lists too, as a TOML file holds them."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value


def _pattern(text: str) -> str:
    return "{},{}".format(*parse_pattern_px(text))


def _lattice(text: str) -> str:
    parse_lattice_px(text)
    return text.replace(" ", "")


PatternPx = Annotated[str, BeforeValidator(_text), AfterValidator(_pattern)]
LatticePx = Annotated[str, BeforeValidator(_text), AfterValidator(_lattice)]


class SimulateScanSettings(Settings):
    """Settings of ``dipolar simulate scan``: a transparent boracite crystal with domains, at 300 kV and 0.8 mrad."""

    size: Literal["small", "published"] = Field(
        "small", description="small: 64 × 64 patterns of 128 × 128 px. published: 34 × 206 patterns of 512 × 512 px."
    )
    scan_shape: ScanShape | None = Field(
        None, description="Rows and columns of the scan, Y,X, instead of those of the size."
    )
    pattern_px: PatternPx | None = Field(
        None, description="Edge of a pattern in px, or its rows and columns Y,X, instead of those of the size."
    )
    step_nm: float = Field(10.0, gt=0, le=1e6, description="Distance between probe positions.")
    electrons: float = Field(6e4, ge=0, le=1e8, description="Electrons per pattern, on the average.")
    ghost_strength: float = Field(
        0.18,
        ge=0,
        le=2,
        description="Intensity of ghost disks, which tell the domain, over that of main disks at the same angle.",
    )
    none_fraction: float = Field(0.18, ge=0, le=1, description="Share of the class none.")
    horizontal_fraction: float | None = Field(
        None, ge=0, le=1, description="Share of the class horizontal. Not given: half of what is not none."
    )
    cubic_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the class none that is cubic; in the rest the polarization lies along the beam.",
    )
    overlap: float | None = Field(
        None,
        gt=0,
        le=0.5,
        description="Where horizontal and vertical overlap in a wall and each has at least this share, the position is "
        "labelled none. Not given: never.",
    )
    domain_steps: float | None = Field(
        None,
        ge=2,
        le=1e5,
        description="Mean width of a lamella, in probe steps. Not given: a quarter of the scan's edge, 22 at most.",
    )
    wall_angle_deg: Finite = Field(
        45.0, description="Direction along which walls run on the average, counter-clockwise on the screen."
    )
    wall_width_steps: float = Field(
        1.5, ge=0, le=1000, description="Width of the wall's tanh profile, in probe steps; 0 for sharp walls."
    )
    curvature: float = Field(1.0, ge=0, le=3, description="How much walls bend: 0 for straight ones.")
    structure: Literal["boracite"] | None = Field(
        None,
        description="Compute intensities by multislice from a crystal structure. Not given: they are random, as "
        "crystal, ghost_strength, contrast, thickness and bend say, which have no place beside a structure.",
    )
    polar_file: str | None = Field(
        None,
        description="With a structure: your own polar one, a CIF or a file of VASP, in the cell of Pca2_1 with its "
        "long edge the polar axis. Not given: a model.",
    )
    parent_file: str | None = Field(
        None, description="With a structure: your own cubic phase, in its own cell or in that of the polar one."
    )
    thickness_nm: float | None = Field(
        None, ge=5, le=200, description="With a structure: mean thickness of the specimen. Not given: 30."
    )
    bend_mrad: float | None = Field(
        None,
        ge=0,
        le=3,
        description="With a structure: standard deviation over the scan of the tilt along each axis. Not given: 0.5.",
    )
    wall_tilt_deg: float | None = Field(
        None,
        ge=0,
        le=75,
        description="With a structure: angle between walls and the beam; domains overlap on a width of thickness × tan "
        "of it. Not given: 0.",
    )
    crystal: int = Field(
        0,
        ge=0,
        le=2**31,
        description="Number of the crystal, which draws the intensities of reflections: scans with the same one are "
        "of one material, whatever their seed.",
    )
    lattice_px: LatticePx | None = Field(
        None,
        description="Length of both reciprocal lattice vectors, or the two as y1,x1,y2,x2. Not given: 37 px on a "
        "detector of 512 px.",
    )
    largest_mrad: float | None = Field(
        None,
        gt=0,
        le=60,
        description="Angle that the detector reaches at its nearest edge, from which the length of lattice vectors "
        "follows instead. Not given: 22.6.",
    )
    rotation_deg: Finite = Field(0.0, description="Rotation of the crystal, counter-clockwise on the screen.")
    ellipticity: float = Field(
        0.0, ge=-0.3, le=0.3, description="Stretch of patterns along k_x over that along k_y, minus 1."
    )
    radius_px: float | None = Field(
        None, gt=0, description="Radius of a disk. Not given: 0.245 lattice vectors, which are 0.8 mrad in boracite."
    )
    descan_px: Finite | None = Field(
        None,
        description="How far the direct beam moves from the first to the last row, and from the first to the last "
        "column. Not given: 4 px on a detector of 512 px.",
    )
    jitter_px: float | None = Field(
        None,
        ge=0,
        le=20,
        description="Standard deviation of its further shift in each pattern. Not given: 0.3 px of 512.",
    )
    beam_stop: bool = Field(False, description="Put a beam stop before the direct beam.")
    dead_share: float = Field(1e-4, ge=0, le=0.1, description="Share of pixels that are always 0.")
    hot_share: float = Field(1e-4, ge=0, le=0.1, description="Share of pixels that count without electrons.")
    contrast: float = Field(
        0.35, ge=0, le=0.9, description="How much the thickness changes single reflections, relative."
    )
    thickness: float = Field(
        1.0, ge=0.4, le=2, description="Mean thickness, relative to that of other scans of this crystal."
    )
    thickness_variation: float = Field(
        0.10, ge=0, le=0.3, description="Standard deviation of the thickness over the scan, in the same unit."
    )
    bend: float = Field(
        0.15, ge=0, le=0.3, description="Relative difference of Friedel pairs that bending of the crystal makes."
    )
    intensity_variation: float = Field(
        0.05, ge=0, le=0.3, description="Standard deviation of the counts over the scan, relative."
    )
    gain: float = Field(1.0, gt=0, le=1e6, description="Units per electron, of a detector that does not count.")
    detector_offset: float = Field(0.0, ge=0, le=1e9, description="Units without electrons.")
    readout: float = Field(0.0, ge=0, le=1e6, description="Standard deviation of the readout noise, in units.")
    dtype: Literal["uint8", "uint16", "uint32"] = Field("uint16", description="Type of the counts in the file.")
    series: int | None = Field(
        None, ge=1, le=10_000, description="Write so many scans, between which walls move. Not given: one scan."
    )
    drift_y_steps: Finite = Field(
        2.0, description="How far a series has moved over the specimen in y by its last scan, in probe steps."
    )
    drift_x_steps: Finite = Field(3.0, description="The same in x.")
    growth: float = Field(
        0.2,
        ge=-1,
        le=1,
        description="What the share of horizontal gains from that of vertical by the last scan of a series.",
    )
    format: Literal["h5", "npy", "zarr"] = Field("h5", description="Format of the scans: HDF5, NumPy or Zarr.")
    compression: Literal["none", "bitshuffle"] = Field(
        "none",
        description="Compression of HDF5 and Zarr: none, or bitshuffle with LZ4, read faster than most disks are.",
    )
    seed: int = Field(0, ge=0, description="Seed of all that is random; the same seed gives the same scan.")

    @property
    def shape(self) -> tuple[int, int]:
        """(scan_y, scan_x)."""
        return SIZES[self.size][0] if self.scan_shape is None else parse_scan_shape(self.scan_shape)

    @property
    def detector_px(self) -> tuple[int, int]:
        """(k_y, k_x)."""
        return SIZES[self.size][1] if self.pattern_px is None else parse_pattern_px(self.pattern_px)

    @property
    def vectors_px(self) -> float | tuple[tuple[float, float], tuple[float, float]] | None:
        """Length of the lattice vectors, or the two; None where they are not given."""
        return None if self.lattice_px is None else parse_lattice_px(self.lattice_px)
