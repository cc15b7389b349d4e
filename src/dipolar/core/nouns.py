"""The nouns: frozen records of arrays, units and origin. They hold; the stages do.

Arrays are ``[y, x]``, the last axis of every position or vector is ``(y, x)``, ``(0, 0)`` is the centre of the
upper-left pixel and y points down. Sigma is one standard error; nan means unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float, Float32, Int8, Int32, UInt32

Basis = Literal["A", "B"]
A, B, UNASSIGNED = 0, 1, -1
"""Sublattice codes: A is the heavier, usually brighter one (Bi, Pb, Ba, Sr), B the other (Fe, Ti)."""

LINK_STEPS = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1], [1, -1], [-1, 1]], dtype=np.int32)
"""The eight lattice steps, in units of the two A-B steps, that `Columns.links` follows: four to the other
sublattice, then four (+a, -a, +b, -b) to the same one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing known about an image, with where it is known from."""

    name: str
    """What it is, with its unit: ``voltage_kv``, ``dwell_us``, ``detector``, ``date``."""
    value: float | str
    """The value in that unit."""
    source: str
    """Where it came from: the key in the file, or "option"."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Image:
    """One two-dimensional image with bright or dark columns."""

    data: Float32[np.ndarray, "y x"]
    """Intensity in the detector's own units; nan where nothing was measured."""
    pixel_size_pm: float | None = None
    """Edge of the square pixel; None where unknown."""
    name: str = ""
    """File name without folders, for titles and messages."""
    facts: tuple[Fact, ...] = ()
    """What the file says besides: voltage, detector, dwell time, date, pixel size, each with its source."""
    ceiling: float | None = None
    """Value at which the detector saturates, where the data type or the file says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What the image itself says about its noise, estimated from the residuals of the fit."""

    gain: float
    """Slope of the variance against the intensity (counts of the file per electron), Poisson part."""
    floor: float
    """Variance at zero intensity; negative where the detector has an offset."""
    correlation: tuple[float, float]
    """Factor by which correlation between neighbouring pixels widens the variance of y and of x; 1 for white noise."""
    row_jitter_px: tuple[float, float]
    """Standard deviation of the random shift of each scan row in (y, x)."""
    row_jitter_sigma_px: tuple[float, float]
    """One standard error of `row_jitter_px`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Atomic columns found in one image, one row per column."""

    positions_px: Float[np.ndarray, "column 2"]
    """Centres as (y, x); integers are pixel centres."""
    covariance_px2: Float[np.ndarray, "column 2 2"]
    """Full covariance of (y, x), scan noise included; nan where unknown."""
    amplitude: Float[np.ndarray, " column"]
    """Peak height above the background, in the image's units."""
    amplitude_sigma: Float[np.ndarray, " column"]
    """One standard error of `amplitude`."""
    background: Float[np.ndarray, " column"]
    """Local background under the column."""
    widths_px: Float[np.ndarray, "column 2"]
    """Standard deviation along the major and the minor axis of the profile's core."""
    angle_deg: Float[np.ndarray, " column"]
    """Direction of the major axis, counter-clockwise on the screen, in (-90, 90]."""
    sublattice: Int8[np.ndarray, " column"]
    """0 for A, 1 for B, -1 where unassigned."""
    index: Int32[np.ndarray, "column 2"]
    """Lattice index in steps from A to B; the parity of its sum is the sublattice."""
    grain: Int32[np.ndarray, " column"]
    """Number of the connected crystal that `index` counts in."""
    links: Int32[np.ndarray, "column 8"]
    """Row of the neighbour in each of `LINK_STEPS`; -1 where there is none."""
    row_reach_px: Float[np.ndarray, "column 2"]
    """Standard deviation, in rows, of the weight with which each scan row moves this column in (y, x)."""
    chi2: Float[np.ndarray, " column"]
    """Residual variance over the noise of the image: 1 where the model holds."""
    flags: UInt32[np.ndarray, " column"]
    """Bits of `dipolar.core.flags.Flag`."""
    noise: Noise
    """Noise of the image, from the residuals of all fits."""
    steps_px: Float[np.ndarray, "2 2"]
    """The two mean A-B lattice steps as rows (y, x); a is their sum and b their difference."""
    profile: Float[np.ndarray, "sublattice component 2"]
    """Shared column profile of A and of B: (weight, width relative to the core) of each Gaussian component."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """Unit cells: four corner columns of one sublattice around one column of the other."""

    row: Int32[np.ndarray, " cell"]
    """Lattice row, increasing downwards."""
    col: Int32[np.ndarray, " cell"]
    """Lattice column, increasing to the right."""
    grain: Int32[np.ndarray, " cell"]
    """Number of the connected crystal that row and col count in."""
    positions_px: Float[np.ndarray, "cell 2"]
    """Mean of the four corners."""
    displacement_px: Float[np.ndarray, "cell 2"]
    """Central column minus mean of the corners, (dy, dx), after the offset of the reference was removed, if it was."""
    covariance_px2: Float[np.ndarray, "cell 2 2"]
    """Covariance of `displacement_px`."""
    a_px: Float[np.ndarray, "cell 2"]
    """Mean edge vector from left to right, (y, x)."""
    b_px: Float[np.ndarray, "cell 2"]
    """Mean edge vector from top to bottom, (y, x)."""
    a_sigma_px: Float[np.ndarray, " cell"]
    """One standard error of the length of `a_px`."""
    b_sigma_px: Float[np.ndarray, " cell"]
    """One standard error of the length of `b_px`."""
    gamma_sigma_deg: Float[np.ndarray, " cell"]
    """One standard error of the angle between a and b."""
    area_sigma_px2: Float[np.ndarray, " cell"]
    """One standard error of the cell's area."""
    corners: Int32[np.ndarray, "cell 4"]
    """Rows of the corner columns: origin, +a, +b, +a+b; -1 where not linked to a table of columns."""
    center: Int32[np.ndarray, " cell"]
    """Row of the central column; -1 likewise."""
    flags: UInt32[np.ndarray, " cell"]
    """Bits of `dipolar.core.flags.Flag`."""
    basis: Basis
    """Which sublattice stands at the corners."""
    pixel_size_pm: float | None
    """Calibrated pixel size; None leaves every length in px."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """A quantity with its sigma at points of the image."""

    name: str
    """What it is: "strain_xx", "rotation_deg"."""
    unit: str
    """Its unit; "" for a pure number."""
    positions_px: Float[np.ndarray, "point 2"]
    """Where, (y, x)."""
    values: Float[np.ndarray, " point"]
    """The values."""
    sigma: Float[np.ndarray, " point"]
    """One standard error of each; nan where unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The pixel size used, and where it came from."""

    pixel_size_pm: float | None
    """The pixel size used; None: lengths stay in px."""
    source: Literal["file", "option", "lattice", "structure", "none"]
    """Which of them decided."""
    file_pixel_size_pm: float | None = None
    """What the file says."""
    lattice_pm: float | None = None
    """The lattice parameter given, where there was one."""
    measured_lattice_px: float = float("nan")
    """Median square root of the measured cell area."""
    measured_lattice_sigma_px: float = float("nan")
    """One standard error of that median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The region whose mean displacement is taken as zero, and that mean."""

    region_px: tuple[int, int, int, int]
    """(y0, y1, x0, x1), half open."""
    cells: int
    """Number of cells in it."""
    offset_px: tuple[float, float]
    """Mean (dy, dx) there, or half the sum of it and of that in `opposite_px`, which was removed from every cell."""
    offset_sigma_px: tuple[float, float]
    """One standard error of that mean."""
    opposite_px: tuple[int, int, int, int] | None = None
    """A region whose polarization is opposite to that of `region_px`, where one was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GainCheck:
    """How truly this very image is measured: the image simulated anew from its own fit, and measured again."""

    gain: tuple[float, float]
    """Slope of the displacement found against the displacement put in, for (dy, dx); 1 is true."""
    gain_sigma: tuple[float, float]
    """One standard error of the slopes."""
    bias_px: tuple[float, float]
    """Mean of found minus put in."""
    zscore_width: tuple[float, float]
    """Standard deviation of (found - put in) / sigma; 1 is honest."""
    cells: int
    """Number of cells compared."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """What made a result: enough to repeat it."""

    settings: Mapping[str, Any]
    """Every setting with its value."""
    versions: Mapping[str, str]
    """dipolar, Python and the libraries that did the work."""
    inputs: Mapping[str, str]
    """File name → sha256."""
    seeds: Mapping[str, int] = field(default_factory=dict)
    """Seed of every random generator that was used."""
    timings_s: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds per stage."""
    created: str = ""
    """UTC time, ISO 8601."""
    notes: tuple[str, ...] = ()
    """Sentences a reader of the result should know."""


Noun = TypeVar("Noun")


def same(one: object, other: object) -> bool:
    """Return whether two nouns hold equal values, nan equal to nan, field by field."""
    if type(one) is not type(other):
        result = False
    elif isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        result = one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    elif isinstance(one, tuple) and isinstance(other, tuple):
        result = len(one) == len(other) and all(map(same, one, other))
    elif isinstance(one, Mapping) and isinstance(other, Mapping):
        result = one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    elif is_dataclass(one):
        result = all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    elif isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        result = math.isnan(other)
    else:
        result = bool(one == other)
    return result


def take(noun: Noun, rows: np.ndarray) -> Noun:
    """Return `Columns` or `Cells` with only the given rows (indices or mask); links to rows left out become -1."""
    count = len(noun.flags)  # type: ignore[attr-defined]
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    changes = {}
    for f in fields(noun):  # type: ignore[arg-type]
        value = getattr(noun, f.name)
        if isinstance(value, np.ndarray) and f.name not in ("steps_px", "profile") and len(value) == count:
            changes[f.name] = value[rows]
    if isinstance(noun, Columns):
        where = np.full(count + 1, -1, dtype=np.int32)  # the last entry serves links of -1
        where[rows] = np.arange(len(rows), dtype=np.int32)
        changes["links"] = where[changes["links"]]
    return replace(noun, **changes)  # type: ignore[type-var]
