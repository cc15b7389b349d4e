"""Whether a tilted crystal is to be suspected behind the common offset of the sublattices.

A crystal tilted against the beam shows its columns from the side: each is smeared along the tilt over thickness × tilt,
A and B alike, and A and B move apart along the same line, because channelling shows the upper part of a heavy column
and more of a light one. How far depends on thickness, focus and both elements, which the image does not tell; that both
lie along one line, and that A and B lie within the smear, it does tell. Astigmatism, source size and vibration elongate
columns too, alike in A and B; so an elongation alone is no sign of a tilt, nor is an offset alone.

Sources: D. Zhou, K. Müller-Caspary, W. Sigle, F. F. Krause, A. Rosenauer, P. A. van Aken, Ultramicroscopy 160, 110
(2016), for the offsets of small tilts; Y. Liu, Y. L. Zhu, Y. L. Tang, X. L. Ma, Journal of Materials Research,
"An effect of crystal tilt on the determination of ions displacements in perovskite oxides under BF/HAADF-STEM imaging
mode", for PbTiO3, SrTiO3 and SrRuO3.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from dipolar.core.findings import Elongation, MistiltFinding, Vector
from dipolar.core.flags import POSITION_FLAGS, Flag, has
from dipolar.core.geometry import cell_edge_px
from dipolar.core.nouns import A, B, Cells, Columns
from dipolar.core.units import angle_deg
from dipolar.measure.linear import mean_displacement
from dipolar.measure.proposal import BLOCK_CELLS, block_means
from dipolar.measure.reference import TO_SIGMA, Region, inside, trusted

Verdict = Literal["suspected", "not suspected", "cannot tell"]
LEAST_OFFSET = 0.004
"""Offset, in cells, that is none (1.6 pm of 400)."""
LEAST_COLUMNS = 20
CLEAR = 4.0
"""Standard errors from which an offset or an elongation is one."""
SHAPE_FLOOR = 0.01
"""Elongation, over the variance of the column, that no fit of columns is good enough to tell."""
ALONG = 12.0
"""Directions nearer than this, in degrees, agree; and an elongation so near to the scan rows may be the scan's."""
ACROSS = 30.0
"""Directions further apart than this, in degrees, contradict each other."""
UNEVEN = 0.01
"""Spread of the displacement beyond sigma, in cells, above which there is no common offset to speak of."""


def mistilt_suspicion(cells: Cells, columns: Columns, *, region: Region | None = None) -> MistiltFinding:
    """Return whether offset and elongation of the columns point to a tilt of the crystal, with the evidence.

    Compared are the mean displacement in a region that should have none and the elongation that A and B columns there
    share. "suspected": both are there, along one line, and the smear is long enough for the offset. "not suspected":
    there is no offset, or it lies across the elongation, or columns are too round for it. "cannot tell": all else,
    such as an elongation along the scan rows or across them, which the scan makes itself.

    Parameters
    ----------
    cells
        Measured cells, no reference taken off.
    columns
        The columns they were built from.
    region
        Crystal that should have no displacement; the whole image unless given, which then must be displaced evenly.
    """
    rows = inside(cells, region) & trusted(cells) & np.isfinite(cells.covariance_px2).all(axis=(1, 2))
    elongations = tuple(_elongation(columns, region, code) for code in (A, B))
    if np.count_nonzero(rows) < LEAST_COLUMNS or min(e.columns for e in elongations) < LEAST_COLUMNS:
        return _finding("cannot tell", "too few cells and columns that can be trusted", elongations)
    cell_px = cell_edge_px(cells, rows)
    spread = _spread(cells, columns, rows, cell_px)
    offset, sigma = mean_displacement(cells, columns, rows)
    finding = _compared(offset, sigma, elongations, columns, cell_px)
    if spread > UNEVEN * cell_px and finding.verdict != "not suspected":
        words = (
            f"the displacement varies by {100 * spread / cell_px:.1f} % of a cell from place to place, so that there "
            "is no common offset to compare; give a region that should have no displacement"
        )
        return _finding("cannot tell", words, elongations, offset, sigma)
    return finding


def _compared(
    offset: Vector, sigma: Vector, elongations: tuple[Elongation, ...], columns: Columns, cell_px: float
) -> MistiltFinding:
    """Return the verdict on an offset and the elongations."""
    size, error = float(np.hypot(*offset)), float(np.hypot(*sigma) / np.sqrt(2.0))
    excess, excess_sigma = _shared(elongations, columns)
    length = float(np.hypot(*excess))
    smear, longest = (float(np.sqrt(12.0 * v)) for v in (length, length + 2.0 * excess_sigma))
    percent = 100.0 / cell_px
    told = f"A and B are {percent * size:.2f} ± {percent * error:.2f} % of a cell apart"
    if size < max(CLEAR * error, LEAST_OFFSET * cell_px):
        return _finding("not suspected", f"{told}, which is nothing", elongations, offset, sigma)
    if size - 2.0 * error > 0.5 * longest:
        words = f"{told}, and the columns are too round for that: a tilt would smear them over more than twice as much"
        return _finding("not suspected", words, elongations, offset, sigma)
    if length < CLEAR * excess_sigma:
        words = f"{told}, but no elongation that A and B share can be told"
        return _finding("cannot tell", words, elongations, offset, sigma)
    axis = 0.5 * float(np.degrees(np.arctan2(excess[1], excess[0])))
    axis_sigma = 0.5 * float(np.degrees(excess_sigma / length))
    towards = float(angle_deg(np.array([offset]))[0])
    between = abs((towards - axis + 90.0) % 180.0 - 90.0)
    between_sigma = float(np.hypot(axis_sigma, np.degrees(error / size)))
    verdict, words = _directions(between, between_sigma, axis, elongations)
    return _finding(
        verdict,
        f"{told}, at {between:.0f}° ± {between_sigma:.0f}° to the elongation of the columns; {words}",
        elongations,
        offset,
        sigma,
        elongation_deg=axis if axis > -90.0 else 90.0,
        elongation_sigma_deg=axis_sigma,
        smear_px=smear,
        angle_between_deg=between,
        angle_between_sigma_deg=between_sigma,
        # directions without relation are as likely at any angle from 0 to 90 degrees
        chance=min(1.0, max(between, between_sigma) / 90.0),
    )


def _directions(
    between: float, between_sigma: float, axis: float, elongations: tuple[Elongation, ...]
) -> tuple[Verdict, str]:
    """Return what the directions say."""
    if between - 2.0 * between_sigma > ACROSS:
        return "not suspected", "a tilt would put both along one line"
    if between > ALONG + 2.0 * between_sigma or between_sigma > ACROSS:
        return "cannot tell", "the directions neither agree nor contradict each other"
    first, second = (np.array(e.excess_px2) for e in elongations)
    if float(first @ second) <= 0.0:
        return "cannot tell", "A and B are not elongated along the same line, so it is not a tilt alone"
    if min(abs((axis - scan + 90.0) % 180.0 - 90.0) for scan in (0.0, 90.0)) < ALONG:
        return "cannot tell", "they agree, but along the scan, which elongates columns by itself: turn the scan and see"
    return "suspected", "they agree, as in a tilted crystal; the offset is then no polarization: use a reference region"


def _elongation(columns: Columns, region: Region | None, code: int) -> Elongation:
    """Return the median elongation of one sublattice."""
    good = ~has(columns.flags, POSITION_FLAGS | Flag.ODD_SHAPE) & (columns.sublattice == code)
    good &= np.isfinite(columns.widths_px).all(axis=1) & np.isfinite(columns.angle_deg) & _within(columns, region)
    excess = columns.widths_px[good, 0] ** 2 - columns.widths_px[good, 1] ** 2
    twice = 2.0 * np.radians(columns.angle_deg[good])
    parts = np.stack([excess * np.cos(twice), excess * np.sin(twice)], axis=1)
    count = len(parts)
    if count < 2:
        unknown = float("nan")
        return Elongation(
            sublattice="A" if code == A else "B", excess_px2=(unknown, unknown), sigma_px2=unknown, columns=count
        )
    middle = np.median(parts, axis=0)
    # the standard error of a median is 1.2533 that of a mean
    scatter = 1.2533 * TO_SIGMA * float(np.mean(np.median(np.abs(parts - middle), axis=0))) / np.sqrt(count)
    return Elongation(
        sublattice="A" if code == A else "B",
        excess_px2=(float(middle[0]), float(middle[1])),
        sigma_px2=float(scatter),
        columns=count,
    )


def _shared(elongations: tuple[Elongation, ...], columns: Columns) -> tuple[Float[np.ndarray, "2"], float]:
    """Return the elongation that A and B share, weighted, with a standard error that knows the limits of the fit."""
    floor = SHAPE_FLOOR * float(np.nanmedian(columns.widths_px) ** 2)
    sigma = np.array([np.hypot(e.sigma_px2, floor) for e in elongations])
    weight = sigma**-2.0 / np.sum(sigma**-2.0)
    values = np.array([e.excess_px2 for e in elongations])
    mean = weight @ values
    # what A and B do not share counts as error of what they do
    apart = 0.5 * float(np.linalg.norm(values[0] - values[1]))
    return mean, float(max(np.sum(sigma**-2.0) ** -0.5, 0.5 * apart))


def _spread(cells: Cells, columns: Columns, rows: Bool[np.ndarray, " cell"], cell_px: float) -> float:
    """Return the spread of the displacement per component from square to square of cells, beyond sigma."""
    blocks = block_means(cells, columns, rows, BLOCK_CELLS * cell_px)
    values = blocks.mean_px[blocks.known]
    if len(values) < 4:
        return 0.0
    wide = values.std(axis=0)
    return float(np.sqrt(np.maximum(wide**2 - np.median(blocks.sigma_px[blocks.known]) ** 2, 0.0).max()))


def _within(columns: Columns, region: Region | None) -> Bool[np.ndarray, " column"]:
    if region is None:
        return np.ones(len(columns.flags), dtype=bool)
    y0, y1, x0, x1 = region
    y, x = columns.positions_px.T
    return (y >= y0) & (y < y1) & (x >= x0) & (x < x1)


def _finding(
    verdict: Verdict,
    why: str,
    elongations: tuple[Elongation, ...],
    offset: Vector = (float("nan"), float("nan")),
    sigma: Vector = (float("nan"), float("nan")),
    **more: float,
) -> MistiltFinding:
    unknown = dict.fromkeys(
        (
            *("elongation_deg", "elongation_sigma_deg", "smear_px"),
            *("angle_between_deg", "angle_between_sigma_deg", "chance"),
        ),
        float("nan"),
    )
    return MistiltFinding(
        verdict=verdict, why=why, offset_px=offset, offset_sigma_px=sigma, elongations=elongations, **(unknown | more)
    )
