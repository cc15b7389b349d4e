"""The nouns of 4D-STEM: a scan of diffraction patterns, how they are looked at, labels, and the map they give.

A scan is ``(scan_y, scan_x, k_y, k_x)``; its patterns are numbered row by row, ``scan_y * width + scan_x``. Positions
on the detector are ``(k_y, k_x)`` in px of the detector as stored, ``(0, 0)`` the centre of its upper-left pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, Int32, Int64, Shaped, UInt32

from dipolar.core.nouns import Fact, Record


class AbstractFrames:
    """The diffraction patterns of one scan, whole and in the order they were taken.

    Says where they are and holds no handle in its state, so that it can be sent to another process: each process
    opens the file when it first reads. Reading is safe from several threads. A subclass sets the attributes below
    and reads::

        @dataclass(frozen=True, slots=True)
        class Stack(AbstractFrames):
            data: np.ndarray

            def read(self, start, stop):
                return self.data[start:stop]
    """

    count: int
    """Number of patterns that can be read now; of a file that still grows, it grows."""
    shape_px: tuple[int, int]
    """(k_y, k_x) of one pattern."""
    dtype: np.dtype
    """Type of the counts, in the byte order of this machine."""
    chunk: int
    """Patterns that are stored together: a multiple of it reads fastest."""

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "pattern k_y k_x"]:
        """Return patterns `start` to `stop` (excluded): a view where the file allows it, which nobody may write to.

        Raises
        ------
        FormatError
            If the file ends before, or is damaged there; the message names the pattern.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """One 4D-STEM scan, read piece by piece."""

    frames: AbstractFrames
    """Its patterns; at least ``shape[0] * shape[1]`` of them, or fewer while the file grows."""
    shape: tuple[int, int]
    """(scan_y, scan_x): rows and columns of probe positions."""
    name: str
    """File name without folders, for titles and messages."""
    key: str
    """Names this scan whatever its file is called: see `dipolar.core.scan_key`."""
    step_nm: float | None = None
    """Distance between probe positions; None where unknown."""
    pixel_mrad: float | None = None
    """Angle per px of the detector; None where unknown."""
    defective: Bool[np.ndarray, "k_y k_x"] | None = None
    """Pixels that the file itself calls dead or hot; None where it says nothing."""
    growing: bool = False
    """Whether patterns are still being written."""
    facts: tuple[Fact, ...] = ()
    """What the file says besides: voltage, camera length, dwell time, each with its source."""

    @property
    def count(self) -> int:
        """Number of probe positions."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """How the patterns of one scan are looked at: where the beam is, which pixels are dead, where disks lie.

    Found once from a sample of the patterns, then the same for all of them.
    """

    centre_px: tuple[float, float]
    """(k_y, k_x) of the direct beam, on the average."""
    reach_px: float
    """How far from it the beam of a single pattern may be: half the descan and some more."""
    radius_px: float
    """Radius of one disk."""
    lattice_px: Float[np.ndarray, "2 2"]
    """The two shortest reciprocal lattice vectors as rows (k_y, k_x), the first nearest to the x axis, or named as by a
    bank from another scan (`dipolar.measure.bank_lattice`); nan where no lattice was found."""
    lattice_sigma_px: Float[np.ndarray, "2 2"]
    """One standard error of them."""
    defective: Bool[np.ndarray, "k_y k_x"]
    """Dead and hot pixels, and those behind a beam stop: never counted."""
    stopped: bool
    """Whether the direct beam is behind a beam stop; patterns are then centred on pairs of diffracted disks."""
    mean: Float32[np.ndarray, "k_y k_x"]
    """Mean of the sampled patterns, centred."""
    variance: Float32[np.ndarray, "k_y k_x"]
    """Variance between them."""
    counts_per_pattern: float
    """Median sum of a pattern, in electrons where the detector counts."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bank:
    """Virtual detectors at positions of the reciprocal lattice, the same in every scan of one crystal."""

    sites: Int8[np.ndarray, "site 2"]
    """Position in half reciprocal lattice vectors: (2, 0) is the first one, (1, 1) lies between four."""
    main: Bool[np.ndarray, " site"]
    """Disks of the parent lattice; the others are where ghosts can be."""
    radius: float
    """Radius of every detector over that of a disk."""
    weight: Float32[np.ndarray, " site"] | None = None
    """How much each ghost counts in sums over its kind: its mean intensity over its variance, where the bank was made;
    None: all alike."""
    lattice: Float[np.ndarray, "2 2"] | None = None
    """Lattice vectors (k_y, k_x) where the bank was made, as `View.lattice_px` but in radii of a disk; None where an
    earlier dipolar made it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """What people said of single patterns: one row per answer, the oldest first."""

    key: str
    """`Scan.key` of the scan that was looked at."""
    shape: tuple[int, int]
    """Its (scan_y, scan_x)."""
    names: tuple[str, ...]
    """Classes, in the order of their first answer."""
    positions: Int32[np.ndarray, "answer 2"]
    """Probe position (scan_y, scan_x)."""
    label: Int32[np.ndarray, " answer"]
    """Which of `names`."""
    who: tuple[str, ...] = ()
    """Who answered, one name per row; empty where nobody said."""

    def __post_init__(self) -> None:
        """Give every answer somebody who gave it."""
        if not self.who:
            object.__setattr__(self, "who", ("",) * len(self.label))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanMap:
    """What a classifier says of every probe position."""

    key: str
    """`Scan.key`."""
    name: str
    """Name of the scan."""
    names: tuple[str, ...]
    """Classes."""
    probability: Float32[np.ndarray, "scan_y scan_x class"]
    """Calibrated; nan where no pattern was read."""
    flags: UInt32[np.ndarray, "scan_y scan_x"]
    """Bits of `dipolar.core.flags.Flag`."""
    centre_px: Float32[np.ndarray, "scan_y scan_x 2"]
    """Where the direct beam was found (k_y, k_x)."""
    counts: Float32[np.ndarray, "scan_y scan_x"]
    """Sum of each pattern without its dead pixels."""
    virtual: Mapping[str, Float32[np.ndarray, "scan_y scan_x"]] = field(default_factory=dict)
    """Images from virtual detectors and other conventional maps by name: "bright field", "annular dark field",
    "centre of mass y", "centre of mass x", "Friedel difference", each in the unit its name says or in counts."""
    step_nm: float | None = None
    """Distance between probe positions."""
    mixture: Float32[np.ndarray, "scan_y scan_x class"] | None = None
    """Share that each class has in the pattern, as where the probe covers a wall; None where the classifier tells only
    how probable each class is."""

    @property
    def label(self) -> Int64[np.ndarray, "scan_y scan_x"]:
        """The most probable class of each position; -1 where no pattern was read."""
        read = np.isfinite(self.probability).all(axis=2)
        return np.where(read, np.argmax(np.nan_to_num(self.probability), axis=2), -1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanWall:
    """One wall between two domains of a scan, from end to end."""

    before: str
    """Class on the left when one walks along the points with y up, as on the screen."""
    after: str
    """Class on the right."""
    points: Float[np.ndarray, "point 2"]
    """The wall as a curve (scan_y, scan_x), where both classes are equally probable."""
    points_sigma: Float[np.ndarray, " point"]
    """One standard error of each point's place, across the wall, in probe steps."""
    closed: bool
    """Whether the last point meets the first."""
    length: float
    """Length in probe steps."""
    length_sigma: float
    """One standard error of it."""
    width: float
    """Full width 2ξ of the tanh profile of the share (of the probability, where no shares are known) across the wall,
    in probe steps; nan where too few positions stand beside it."""
    width_sigma: float
    """One standard error of it; nan where the width is not told from zero, and `width` is an upper bound (95 %)."""
    flags: int = 0
    """Bits of `dipolar.core.flags.Flag`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanDomains:
    """Domains of a scan: connected regions of one class, and the walls between them."""

    names: tuple[str, ...]
    """Classes."""
    domain: Int32[np.ndarray, "scan_y scan_x"]
    """Number of the region of every position; -1 where no class can be told."""
    state: Int32[np.ndarray, " domain"]
    """Class of every region."""
    area: Float[np.ndarray, " domain"]
    """Its area in probe steps squared: every position is one."""
    area_sigma: Float[np.ndarray, " domain"]
    """One standard error of it, from the probabilities at its rim."""
    fraction: Float[np.ndarray, " class"]
    """Share of the scan that each class has."""
    fraction_sigma: Float[np.ndarray, " class"]
    """One standard error of it."""
    walls: tuple[ScanWall, ...]
    """Walls, the longest first."""
    step_nm: float | None = None
    """Distance between probe positions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanValidation:
    """How right a classifier was on positions that it had not learned from."""

    figures: Mapping[str, float]
    """Shares from 0 to 1 by name: "accuracy", "balanced accuracy", "near walls", "expected calibration error"."""
    confidence: Float[np.ndarray, " bin"]
    """Mean probability that was given to the most probable class, positions sorted into bins by it."""
    correct: Float[np.ndarray, " bin"]
    """Share of them that were right."""
    count: Int64[np.ndarray, " bin"]
    """Positions in each bin."""
    source: str = ""
    """What was held to be right: "held-out labels", "truth of the simulation"."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanResult:
    """Everything one run of ``dipolar scan map`` found."""

    map: ScanMap
    """What the classifier says of every position."""
    domains: ScanDomains
    """Domains and walls in it."""
    record: Record
    """What made it."""
    labels: Labels | None = None
    """What the classifier learned from, where it learned from this scan."""
    validation: ScanValidation | None = None
    """How right it is, where that was measured."""
    means: Float32[np.ndarray, "class k_y k_x"] | None = None
    """Mean pattern of each class, centred; nan for a class that no position has."""
    view: View | None = None
    """How patterns were looked at."""
    bank: Bank | None = None
    """The virtual detectors, where the classifier looks through them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WallTrack:
    """One wall followed from scan to scan of a series."""

    before: str
    """Class on its left."""
    after: str
    """Class on its right."""
    start: Float[np.ndarray, "point 2"]
    """Its curve (scan_y, scan_x) in the scan where it was seen first."""
    moved: Float[np.ndarray, " time"]
    """Mean distance it has moved since, along its normal and to the right, in probe steps; nan where it is not seen."""
    moved_sigma: Float[np.ndarray, " time"]
    """One standard error of it."""
    length: Float[np.ndarray, " time"]
    """Its length in probe steps."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanSeries:
    """Domains against time, over scans of one place."""

    names: tuple[str, ...]
    """Classes."""
    time: Float[np.ndarray, " time"]
    """When each scan was taken, in `unit`."""
    unit: str
    """ "s", or "scan" where times are not known and scans are counted."""
    fraction: Float[np.ndarray, "time class"]
    """Share of the scan that each class has."""
    fraction_sigma: Float[np.ndarray, "time class"]
    """One standard error of it."""
    tracks: tuple[WallTrack, ...]
    """Walls, those seen longest first."""
    step_nm: float | None = None
    """Distance between probe positions."""
