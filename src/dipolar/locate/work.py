"""The state of a fit between passes, and the passes themselves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, Int32, Int64
from scipy.spatial import cKDTree

from dipolar.locate import kernels, light, residuals
from dipolar.locate.choices import AbstractFit
from dipolar.locate.contrast import Slope
from dipolar.locate.light import PXX, PYY
from dipolar.locate.noise import Variance, first_variance
from dipolar.locate.profile import Profile, gaussian_profile

CROWDED_RADIUS = 0.73
"""Share of the fitting window that is used where oxygen overlaps: further out is more of others than of oneself."""
FIRST_WIDTH = 0.17
"""Width of a HAADF column over the A-B distance, before anything is known."""

VALLEY_PX = 8
"""Pixels along the radius in which the lowest one is looked for; the image is blurred, so that they need not be all."""


@dataclass(slots=True, kw_only=True, eq=False)
class Work:
    """The state of a fit between passes. Arrays are per column unless said otherwise.

    Where oxygen shows, columns are `crowded`: passes fit the kinds in turn, since fitted at once, each from where the
    others were, they would push each other to and fro; and shape and background are held tighter to those around.
    """

    image: Float32[np.ndarray, "y x"]
    kind: Int8[np.ndarray, " column"]
    theta: Float[np.ndarray, "column 7"]
    tilt: Float[np.ndarray, "column 2"]
    ground: Float[np.ndarray, " column"]
    valley: Float[np.ndarray, " column"]
    step_px: float
    choice: AbstractFit
    profile: Profile = field(default_factory=gaussian_profile)
    variance: Variance = field(default_factory=lambda: Variance(floor=1.0, gain=0.0, least=1.0))
    slope: Slope = "rising"
    crowded: bool = False
    shapes: Float[np.ndarray, "column 3"] = field(default_factory=lambda: np.zeros((0, 3)))
    typical: Float[np.ndarray, "kind 3"] = field(default_factory=lambda: np.zeros((2, 3)))
    factors: tuple[float, float] = (1.0, 1.0)
    strengths: Float[np.ndarray, " kind"] = field(default_factory=lambda: np.zeros(2))
    firmness: Float[np.ndarray, " kind"] = field(default_factory=lambda: np.zeros(2))
    converged: Bool[np.ndarray, " column"] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    moved: Float[np.ndarray, " column"] = field(default_factory=lambda: np.zeros(0))
    starts: Int64[np.ndarray, " start"] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    neighbours: Int32[np.ndarray, " neighbour"] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))

    @property
    def kinds(self) -> int:
        """Number of kinds of columns, each with its own profile and typical shape."""
        return len(self.typical)

    @property
    def radius(self) -> Float[np.ndarray, " kind"]:
        """Radius of the fitting window per kind, in px."""
        share = CROWDED_RADIUS if self.crowded else 1.0
        radius = share * self.choice.radius_widths * np.array([self.width(kind) for kind in range(self.kinds)])
        return np.clip(radius, min(2.6, 0.8 * self.step_px), 0.85 * self.step_px)

    def width(self, kind: int) -> float:
        """Return the typical core width of a kind, in px."""
        shape = self.typical[kind]
        return float((shape[0] * shape[2] - shape[1] ** 2) ** -0.25)

    @property
    def correlation(self) -> float:
        """How many times fewer independent pixels there are than pixels; at least 1."""
        return max(1.0, *self.factors)

    def state(self) -> light.State:
        """Return the state as the kernels take it."""
        return light.State(
            self.image, self.theta, self.tilt, self.kind, self.profile.weights, self.profile.rates,
            self.starts, self.neighbours, self.radius, np.array(self.variance.as_tuple()), self.shapes, self.strengths,
            self.ground, self.firmness,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examined:
    """What the windows of the examined columns say at the present parameters."""

    covariance: Float[np.ndarray, "column 7 7"]
    """Inverse of the information on the seven parameters."""
    chi2: Float[np.ndarray, " column"]
    """Residual variance over the noise."""
    pixels: Int32[np.ndarray, " column"]
    """Valid pixels of the window."""
    lost: Int32[np.ndarray, " column"]
    """Pixels outside the image or invalid."""
    saturated: Int32[np.ndarray, " column"]
    """Pixels at the ceiling."""
    reach_rows: Float[np.ndarray, "column 2"]
    """Width in rows of the scan rows' shares in y and in x."""


def start_work(
    image: Float32[np.ndarray, "y x"],
    blurred: Float32[np.ndarray, "y x"],
    guesses_px: Float[np.ndarray, "column 2"],
    kind: Int8[np.ndarray, " column"],
    *,
    step_px: float,
    choice: AbstractFit,
    kinds: int = 2,
) -> Work:
    """Return the state before the first pass: round columns, amplitude and background read off the image.

    The valley of a column is the lowest intensity around it in the image blurred at the scale of a column: its
    background, or somewhat above.
    """
    far = max(2, round(0.8 * step_px))
    theta = np.zeros((len(guesses_px), light.PARAMETERS))
    theta[:, :2] = guesses_px
    reach = max(2, round(0.5 * step_px))
    light.first_lights(image, theta, reach)
    width = max(FIRST_WIDTH * step_px, 0.8)
    theta[:, PYY] = theta[:, PXX] = width**-2
    work = Work(
        image=image,
        kind=kind,
        theta=theta,
        tilt=np.zeros((len(theta), 2)),
        ground=np.zeros(len(theta)),
        valley=light.least_around(blurred, guesses_px, far, 1 + far // VALLEY_PX),
        step_px=step_px,
        choice=choice,
        profile=gaussian_profile(kinds),
        firmness=np.zeros(kinds),
    )
    work.typical = np.tile([width**-2, 0.0, width**-2], (kinds, 1))
    work.shapes = theta[:, PYY:].copy()
    work.strengths = np.full(kinds, (1.0 * width**-2) ** -2)
    work.variance = first_variance(image)
    work.converged = np.zeros(len(theta), dtype=bool)
    work.moved = np.zeros(len(theta))
    return work


def select(work: Work, rows: Int64[np.ndarray, " chosen"] | Bool[np.ndarray, " column"]) -> Work:
    """Return the state of the chosen columns alone; what is not per column is copied."""
    chosen = replace(
        work,
        theta=work.theta[rows],
        tilt=work.tilt[rows],
        ground=work.ground[rows],
        valley=work.valley[rows],
        kind=work.kind[rows],
        converged=work.converged[rows],
        moved=work.moved[rows],
        shapes=work.shapes[rows],
        typical=work.typical.copy(),
        strengths=work.strengths.copy(),
        firmness=work.firmness.copy(),
    )
    find_neighbours(chosen)
    return chosen


def find_neighbours(work: Work) -> None:
    """List, for every column, the columns whose light reaches its window."""
    support = max(float(work.profile.support[kind]) * work.width(kind) for kind in range(work.kinds))
    pairs = cKDTree(work.theta[:, :2]).query_pairs(support + float(work.radius.max()), output_type="ndarray")
    both = np.concatenate([pairs, pairs[:, ::-1]])
    order = np.argsort(both[:, 0], kind="stable")
    work.neighbours = both[order, 1].astype(np.int32)
    work.starts = np.concatenate([[0], np.cumsum(np.bincount(both[:, 0], minlength=len(work.theta)))]).astype(np.int64)


def one_pass(
    work: Work, iterations: int, *, tolerance: float = 0.01, active: Bool[np.ndarray, " column"] | None = None
) -> None:
    """Fit every column (or the active ones) once, its neighbours held, until a step would gain `tolerance` in chi²."""
    active = np.ones(len(work.theta), dtype=np.bool_) if active is None else active
    reach = 0.3 * work.step_px
    for kind in range(work.kinds if work.crowded else 1):
        mine = active & (work.kind == kind) if work.crowded else active
        out = np.empty_like(work.theta)
        kernels.fit_pass(work.state(), out, mine, reach, iterations, tolerance, work.converged, work.moved)
        work.theta = out


def spread(rows: Int64[np.ndarray, " row"], most: int) -> Int64[np.ndarray, " chosen"]:
    """Return at most `most` of the rows, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))] if len(rows) else rows


def examine(
    work: Work,
    rows: Int64[np.ndarray, " chosen"],
    *,
    ceiling: float = np.inf,
    shift_px: Float[np.ndarray, "row 2"] | None = None,
) -> Examined:
    """Return covariance, chi² and window statistics of the given columns at the present parameters.

    Parameters
    ----------
    work
        The state of the fit.
    rows
        The columns to look at.
    ceiling
        Intensity from which a pixel counts as saturated.
    shift_px
        Known shifts of scan rows, which are no misfit.
    """
    shift_px = np.zeros((0, 2)) if shift_px is None else shift_px
    count = len(rows)
    covariance, chi2, reach = np.empty((count, 7, 7)), np.empty(count), np.empty((count, 2))
    pixels, lost, saturated = (np.zeros(count, dtype=np.int32) for _ in range(3))
    residuals.examine(work.state(), rows, shift_px, ceiling, covariance, chi2, pixels, lost, saturated, reach)
    return Examined(covariance=covariance, chi2=chi2, pixels=pixels, lost=lost, saturated=saturated, reach_rows=reach)
