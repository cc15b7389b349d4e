"""What follows from a table of columns and cells: proposals, suspicions, orders and corrections, as nouns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int32, Int64

from dipolar.core.nouns import Field

Vector = tuple[float, float]
"""(dy, dx)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceProposal:
    """Where a reference region might be: proposed, never applied."""

    region_px: tuple[int, int, int, int] | None
    """(y0, y1, x0, x1), half open; None where no region can be proposed."""
    cells: int
    """Trusted cells in it."""
    offset_px: Vector
    """Mean displacement there; nan without a region."""
    offset_sigma_px: Vector
    """One standard error of it."""
    rest_px: float
    """Root mean square difference of the displacement elsewhere from that offset, in blocks of cells."""
    why: str
    """Why this region, or why none, in words."""
    option: str
    """What to type to use it: ``--reference y0:y1,x0:x1``; empty without a region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elongation:
    """How far the columns of one sublattice are from round."""

    sublattice: Literal["A", "B"]
    """Whose columns."""
    excess_px2: Vector
    """Variance along the major axis minus that along the minor one, times (cos 2ψ, sin 2ψ) of the axis' direction ψ."""
    sigma_px2: float
    """One standard error of each component."""
    columns: int
    """How many columns it is the median of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MistiltFinding:
    """Whether a tilt of the crystal is to be suspected behind the common offset of the sublattices."""

    verdict: Literal["suspected", "not suspected", "cannot tell"]
    """The answer."""
    why: str
    """The reason in words, with the figures it rests on."""
    offset_px: Vector
    """Common displacement of B against A in the region looked at."""
    offset_sigma_px: Vector
    """One standard error of it."""
    elongations: tuple[Elongation, ...]
    """Of A and of B."""
    elongation_deg: float
    """Direction of the elongation that A and B share, counter-clockwise, in (-90, 90]; nan without one."""
    elongation_sigma_deg: float
    """One standard error of it."""
    smear_px: float
    """Length over which a tilt would smear the columns to make all of that elongation: √(12 × excess variance)."""
    angle_between_deg: float
    """Angle between offset and elongation, 0 to 90; nan where one of them is nothing."""
    angle_between_sigma_deg: float
    """One standard error of it."""
    chance: float
    """Probability that directions without relation agree as well as these; nan where they cannot be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staggered:
    """A displacement that changes sign from cell to cell."""

    pattern: Literal["rows", "columns", "checkerboard"]
    """Along which steps it changes sign: from row to row, from column to column, or both."""
    amplitude_px: Vector
    """Mean of the displacement times the sign, (dy, dx)."""
    sigma_px: Vector
    """One standard error of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modulation:
    """The strongest periodic displacement with a period of a few cells."""

    channel: Literal["displacement", "A", "B"]
    """What is modulated most: B against A in the cells, or the columns of one sublattice against their own lattice."""
    wavevector: Vector
    """Periods per cell along (b, a)."""
    wavevector_sigma: Vector
    """One standard error of each."""
    period_px: float
    """Distance from crest to crest."""
    normal_deg: float
    """Direction across the crests, counter-clockwise, in (-90, 90]."""
    amplitude_px: float
    """Largest displacement in the wave, along `direction_deg`."""
    amplitude_sigma_px: float
    """One standard error of it: propagated from the columns, and no less than the spectrum around it says."""
    direction_deg: float
    """Direction of the displacement, counter-clockwise, in (-90, 90]."""
    chance: float
    """Probability that noise makes such a wave anywhere in the spectrum."""
    along_rows: bool
    """Whether its crests run along the scan rows, where the scan itself makes waves."""
    slow: bool = False
    """Whether scan and instrument may have made it: longer than a third of the crystal, or weaker than 1 % of a cell
    with a period other than 2 and no reference. Such a wave decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Whether the displacement is polar, antipolar, modulated, or none."""

    verdict: Literal["polar", "antipolar", "modulated", "null"]
    """The answer."""
    why: str
    """The reason in words, with the figures it rests on."""
    cells: int
    """Cells of the largest crystal that were used."""
    polar_px: Vector
    """Mean displacement, (dy, dx), any offset of mistilt and scan in it."""
    polar_sigma_px: Vector
    """One standard error of it."""
    polar_spread_px: float
    """Root mean square of the slowly varying displacement about that mean, beyond what sigma makes."""
    staggered: tuple[Staggered, ...]
    """The three patterns of period 2."""
    modulation: Modulation | None
    """The strongest wave, where one is significant; a period of 2 included."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """A quantity averaged over each lattice row or column, across the layers of a film."""

    name: str
    """What it is."""
    unit: str
    """Its unit; "" for a pure number."""
    layer: Int32[np.ndarray, " layer"]
    """Number of the lattice row (or column)."""
    position_px: Float[np.ndarray, " layer"]
    """Distance along the growth direction from the first layer."""
    mean: Float[np.ndarray, " layer"]
    """Mean over the layer."""
    sigma: Float[np.ndarray, " layer"]
    """One standard error of it; nan where one cell stands alone."""
    cells: Int32[np.ndarray, " layer"]
    """How many cells it is the mean of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tetragonality:
    """c/a of every cell, and how its axes were chosen."""

    axis: Literal["a", "b"]
    """Which of the cell's edges is called c."""
    why: str
    """How it was chosen."""
    norm: float
    """Ratio c/a of the reference region, by which every ratio was divided; 1 where none was given."""
    norm_sigma: float
    """One standard error of it, shared by all cells; 0 where none was given."""
    b_over_a: Field
    """Length of edge b over that of a."""
    c_over_a: Field
    """The same, or its inverse, so that c is above."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanCorrection:
    """What was removed from the columns as the jitter of scan rows."""

    first_row: int
    """Scan row that the first entry below belongs to."""
    row_shift_px: Float[np.ndarray, "row 2"]
    """Shift (y, x) of each scan row that was removed."""
    row_shift_sigma_px: Float[np.ndarray, "row 2"]
    """One standard error of it; where it is as large as the jitter, the columns say nothing about that row."""
    jitter_before_px: Vector
    """Jitter of the scan rows in (y, x), from the residuals of the fit."""
    jitter_after_px: Vector
    """White jitter that would displace B against A as much as what is left does."""
    removed_px: Vector
    """Root mean square shift of the columns, (y, x)."""
    note: str
    """What was not, and could not be, removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanCalibration:
    """Pixel sizes along and across the scan rows, and shear, from a crystal whose cell is known."""

    pixel_size_y_pm: float
    """Distance between scan rows."""
    pixel_size_x_pm: float
    """Distance between pixels in a row."""
    shear: float
    """How far x moves per step in y, in equal lengths: x_true = size_x x + shear size_y y."""
    pixel_size_y_sigma_pm: float
    """One standard error."""
    pixel_size_x_sigma_pm: float
    """One standard error."""
    shear_sigma: float
    """One standard error."""
    lattice_pm: tuple[float, float]
    """Edges (b, a) that were taken as known, at a right angle."""
    region_px: tuple[int, int, int, int] | None
    """Where they were measured; None: everywhere."""
    cells: int
    """On how many cells."""

    @property
    def aspect(self) -> float:
        """Distance between rows over that between pixels in a row."""
        return self.pixel_size_y_pm / self.pixel_size_x_pm

    @property
    def straighten(self) -> Float[np.ndarray, "2 2"]:
        """Matrix that takes a vector (y, x) on the image to that on a true scan, in px of the fast direction."""
        return np.array([[self.aspect, 0.0], [self.shear * self.aspect, 1.0]])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltCorrection:
    """What a tilt of the crystal does to the displacement, region by region and cell by cell; A at the corners."""

    material: str
    """Key of the library that columns were compared with."""
    positions_px: Float[np.ndarray, "region 2"]
    """Mean place of the cells of each region."""
    cells: Int64[np.ndarray, " region"]
    """How many cells each has."""
    tilt_mrad: Float[np.ndarray, "region 2"]
    """Tilt (y, x) on the screen: the direction into which the beam leans against the crystal."""
    tilt_sigma_mrad: Float[np.ndarray, "region 2"]
    """One standard error of each component."""
    false_px: Float[np.ndarray, "region 2"]
    """False displacement (dy, dx) of B in each region."""
    false_sigma_px: Float[np.ndarray, "region 2"]
    """One standard error of it."""
    thickness_nm: Float[np.ndarray, " region"]
    """Thickness that fits best, what was given included."""
    focus_nm: Float[np.ndarray, " region"]
    """Depth of the focus that fits best."""
    misfit: Float[np.ndarray, " region"]
    """Misfit over the number of values: 1 where the library describes the columns as well as it should."""
    cell_false_px: Float[np.ndarray, "cell 2"]
    """False displacement (dy, dx) of every cell, smooth between the regions."""
    cell_covariance_px2: Float[np.ndarray, "cell 2 2"]
    """Its covariance, shared by all cells of a region: it does not average out."""
