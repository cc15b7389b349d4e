"""What makes a cell unlike its neighbours, feature by feature, in units of what is usual in the image."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32
from scipy.spatial import cKDTree
from scipy.stats import chi2, norm

from dipolar.core.domains import Domains
from dipolar.core.geometry import cell_edge_px, cell_gamma_deg
from dipolar.core.nouns import Cells, Columns
from dipolar.maps.neighbours import local_planes

TO_SIGMA = 1.4826
"""Median absolute deviation → standard deviation of a normal distribution."""
NAMES = ("displacement", "a", "b", "gamma", "central brightness", "corner brightness", "misfit", "missing")
STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
"""Where the eight neighbours are, in (b, a)."""
LARGEST = 30.0
"""Deviations are cut here: beyond, they say no more."""

FEW_HOLES, MANY_HOLES, A_HOLE = 3.0, 0.01, 5.0
"""Up to three holes, or one in a hundred cells, each cell beside one is at 6 standard deviations or more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """Deviation of every cell from its neighbours."""

    names: tuple[str, ...]
    """What each feature is."""
    value: Float[np.ndarray, "cell feature"]
    """In its own unit: px, relative, degrees, relative brightness, chi², cells; nan where unknown."""
    deviation: Float[np.ndarray, "cell feature"]
    """The same in robust standard deviations of the image; one-sided ones (displacement, misfit, missing) from 0 up."""
    neighbours: Int32[np.ndarray, " cell"]
    """Number of neighbouring cells, 8 at most."""
    missing: Int32[np.ndarray, " cell"]
    """How many more should be there, as cells stand all around their places."""
    pixel_size_pm: float | None
    """For words in pm."""

    def words(self, feature: int, row: int) -> str:
        """Return one feature of a cell in words."""
        value = float(self.value[row, feature])
        scale, unit = (1.0, "px") if self.pixel_size_pm is None else (self.pixel_size_pm, "pm")
        told = {
            "displacement": f"displacement {value * scale:.3g} {unit} off that of its neighbours",
            "a": f"a {100 * value:+.1f} % against its neighbours",
            "b": f"b {100 * value:+.1f} % against its neighbours",
            "gamma": f"angle {value:+.1f}° against its neighbours",
            "central brightness": f"central column {100 * np.expm1(value):+.0f} % brighter than its like",
            "corner brightness": f"a corner column {100 * np.expm1(value):+.0f} % brighter than its like",
            "misfit": f"poor fit (residuals {value:.3g} × the noise)",
            "missing": f"{value:.0f} of 8 neighbouring cells missing inside the crystal",
        }[self.names[feature]]
        return told.replace("+-", "-").replace("-", "−") if "brighter" not in told else _dimmer(told)


def _dimmer(told: str) -> str:
    return told.replace("-", "").replace("brighter", "dimmer") if " -" in told else told.replace("+", "")


def features(cells: Cells, columns: Columns, around: Int32[np.ndarray, "cell 8"], domains: Domains | None) -> Features:
    """Return how far every cell is from its neighbours.

    Parameters
    ----------
    cells
        Measured cells.
    columns
        The columns they were built from; cells without links to them have no brightness and no misfit.
    around
        What `neighbours` of `dipolar.maps.neighbours` returned.
    domains
        Where given, the displacement is compared within a domain.
    """
    count = len(cells.flags)
    value, deviation = np.full((count, len(NAMES)), np.nan), np.full((count, len(NAMES)), np.nan)
    missing = _missing(cells, around)
    if count:
        value[:, 0], deviation[:, 0] = _displacement(cells, around, domains)
        for place, numbers in enumerate(_geometry(cells), start=1):
            own = numbers if place == 3 else np.log(numbers)
            value[:, place] = own - _median_around(own, around)
            deviation[:, place] = _robust(value[:, place])
        for place, (numbers, unusual) in enumerate(_light(cells, columns), start=4):
            value[:, place], deviation[:, place] = numbers, unusual
        value[:, 7] = missing
        deviation[:, 7] = _holes(missing)
    return Features(
        names=NAMES,
        value=value,
        deviation=np.clip(deviation, -LARGEST, LARGEST),
        neighbours=(around >= 0).sum(axis=1).astype(np.int32),
        missing=missing,
        pixel_size_pm=cells.pixel_size_pm,
    )


def _robust(values: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    """Return values minus their median over their robust standard deviation; nan stays nan."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.full(len(values), np.nan)
    middle = np.median(known)
    spread = TO_SIGMA * np.median(np.abs(known - middle))
    return (values - middle) / spread if spread > 0 else np.zeros(len(values))


def _median_around(
    values: Float[np.ndarray, " cell"], around: Int32[np.ndarray, "cell 8"]
) -> Float[np.ndarray, " cell"]:
    """Return the median over the neighbours; nan with fewer than three."""
    near = np.append(values, np.nan)[around]
    return np.where(np.isfinite(near).sum(axis=1) >= 3, _nanmedian(near), np.nan)


def _nanmedian(near: Float[np.ndarray, "row near"]) -> Float[np.ndarray, " row"]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # rows of nan alone give nan, which is what they should
        return np.nanmedian(near, axis=1)


def _displacement(
    cells: Cells, around: Int32[np.ndarray, "cell 8"], domains: Domains | None
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
    """Return the distance from the plane through the neighbours' displacements, and how rare that is."""
    if domains is not None:
        around = np.where(domains.label[around] == domains.label[:, None], around, -1).astype(np.int32)
    planes = local_planes(cells, around, without_self=True)
    off = cells.displacement_px - planes.value_px
    covariance = cells.covariance_px2 + planes.value_covariance_px2
    known = np.isfinite(off).all(axis=1) & np.isfinite(covariance).all(axis=(1, 2))
    square = np.full(len(off), np.nan)
    square[known] = np.einsum("ni,nij,nj->n", off[known], np.linalg.pinv(covariance[known], hermitian=True), off[known])
    if known.any():
        square /= max(float(np.median(square[known])) / chi2.ppf(0.5, 2), 1e-12)
    return np.linalg.norm(off, axis=1), _tail(chi2.sf(square, 2))


def _tail(probability: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    """Return the normal deviate with this probability beyond it, 0 for the more likely half."""
    return np.maximum(norm.isf(np.clip(probability, 1e-190, 1.0)), 0.0)


def _geometry(cells: Cells) -> tuple[Float[np.ndarray, " cell"], ...]:
    length_a, length_b = np.linalg.norm(cells.a_px, axis=1), np.linalg.norm(cells.b_px, axis=1)
    return length_a, length_b, cell_gamma_deg(cells)


def _light(cells: Cells, columns: Columns) -> list[tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]]:
    """Return brightness of the central and of the most unusual corner column, and the worst misfit, with deviations."""
    nothing = np.full(len(cells.flags), np.nan)
    linked = (cells.corners >= 0).all(axis=1) & (cells.center >= 0)
    linked &= (cells.corners < len(columns.flags)).all(axis=1) & (cells.center < len(columns.flags))
    if not linked.any():
        return [(nothing, nothing)] * 3
    with np.errstate(divide="ignore", invalid="ignore"):
        bright, misfit = np.log(columns.amplitude), np.log(columns.chi2)
    relative = bright - _nanmedian(np.append(bright, np.nan)[columns.links[:, 4:]])
    unusual = np.full(len(bright), np.nan)
    for kind in np.unique(columns.sublattice):
        mine = columns.sublattice == kind
        unusual[mine] = _robust(relative[mine])
    worse = np.maximum(_robust(misfit), 0.0)
    corners, center = np.where(linked[:, None], cells.corners, 0), np.where(linked, cells.center, 0)
    strange = corners[np.arange(len(corners)), np.argmax(np.abs(np.nan_to_num(unusual[corners])), axis=1)]
    five = np.concatenate([corners, center[:, None]], axis=1)
    worst = five[np.arange(len(five)), np.argmax(np.nan_to_num(worse[five]), axis=1)]
    found = []
    for rows, numbers, deviations in (
        (center, relative, unusual),
        (strange, relative, unusual),
        (worst, columns.chi2, worse),
    ):
        found.append((np.where(linked, numbers[rows], np.nan), np.where(linked, deviations[rows], np.nan)))
    return found


def _holes(missing: Int32[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
    """Return how unusual missing neighbours are: very, where the image has a few holes, and as rare as they are else.

    A hole is missing to eight cells.
    """
    if missing.sum() / 8.0 <= max(FEW_HOLES, MANY_HOLES * len(missing)):
        return np.where(missing > 0, A_HOLE + missing, 0.0)
    counts = np.bincount(missing, minlength=1)
    beyond = np.cumsum(counts[::-1])[::-1] / len(missing)
    return np.where(missing > 0, _tail(beyond)[missing], 0.0)


def _missing(cells: Cells, around: Int32[np.ndarray, "cell 8"]) -> Int32[np.ndarray, " cell"]:
    """Return how many neighbours are not there although cells stand on all sides of their places."""
    result = np.zeros(len(cells.flags), dtype=np.int32)
    rows, step = np.nonzero(around < 0)
    if not len(rows):
        return result
    edge, steps = cell_edge_px(cells), np.array(STEPS)[step]
    places = cells.positions_px[rows] + steps[:, :1] * cells.b_px[rows] + steps[:, 1:] * cells.a_px[rows]
    tree = cKDTree(cells.positions_px)
    empty = np.flatnonzero(tree.query(places, distance_upper_bound=0.6 * edge)[0] > 0.6 * edge)
    for place, near in zip(empty.tolist(), tree.query_ball_point(places[empty], 2.6 * edge), strict=True):
        away = cells.positions_px[near] - places[place]
        angles = np.sort(np.arctan2(away[:, 0], away[:, 1]))
        gaps = np.diff(np.append(angles, angles[0] + 2.0 * np.pi))
        if gaps.max() < np.radians(100.0):
            result[rows[place]] += 1
    return result
