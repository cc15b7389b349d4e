"""Domains of a scan: lamellae of two ferroelastic variants with curved walls, and regions of none between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int64

from dipolar.core.scanning import ScanWall
from dipolar.simulate.scan_settings import SimulatedScanSettings
from dipolar.simulate.scan_walls import curves_of, distance_to, run_of

HORIZONTAL, VERTICAL, NONE = 0, 1, 2
NAMES = ("horizontal", "vertical", "none")
MARGIN = 12
"""Probe positions beyond the rim of the scan on which walls are known."""
PER_STEP = 2
"""Points per probe step at which fields are known where walls are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waves:
    """A smooth random field over the specimen: a sum of plane waves."""

    vectors: Float[np.ndarray, "wave 2"]
    """Radians per probe step along (y, x)."""
    phases: Float[np.ndarray, " wave"]
    """Radians."""

    def on(self, down: Float[np.ndarray, " y"], right: Float[np.ndarray, " x"]) -> Float[np.ndarray, "y x"]:
        """Return it at rows `down` and columns `right`: mean 0, variance 1."""
        # cos(a + b) = cos a cos b - sin a sin b: every wave is a sum of two products of a column and a row
        rows = down[:, None] * self.vectors[:, 0] + self.phases
        columns = right[:, None] * self.vectors[:, 1]
        field = np.concatenate([np.cos(rows), -np.sin(rows)], axis=1) @ np.hstack([np.cos(columns), np.sin(columns)]).T
        return field * np.sqrt(2.0 / len(self.phases))

    def at(self, points: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, " point"]:
        """Return it at single points (y, x)."""
        crests: Float[np.ndarray, " point"] = np.cos(points @ self.vectors.T + self.phases).sum(axis=1)
        return crests * np.sqrt(2.0 / len(self.phases))


def waves(rng: np.random.Generator, *, along: float, across: float, angle_deg: float, count: int = 40) -> Waves:
    """Return a field with a Gaussian correlation of lengths `along` and `across` the direction `angle_deg`.

    Source: A. Rahimi and B. Recht, *Random features for large-scale kernel machines*, NIPS 20 (2007).
    """
    angle = np.radians(angle_deg)
    direction, normal = np.array([-np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), np.sin(angle)])
    drawn = rng.normal(size=(count, 2))
    vectors = drawn[:, :1] / along * direction + drawn[:, 1:] / across * normal
    return Waves(vectors=vectors, phases=rng.uniform(0.0, 2.0 * np.pi, size=count))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Texture:
    """Domains of a specimen wherever one looks at it: fields whose zeros are walls."""

    normal: Float[np.ndarray, " 2"]
    """Radians of the lamellae per probe step along (y, x)."""
    bend: Waves
    """Bends them."""
    bend_size: float
    """Radians."""
    holes: Waves
    """Where it is greatest, the specimen is of class none."""
    kind: Waves
    """Where it is greatest, that is cubic."""
    horizontal_level: float
    """Level of the lamellae above which they are horizontal."""
    none_level: float
    """Level of the holes above which the class is none."""
    cubic_level: float
    """Level of the kind above which none is cubic."""

    def lamellae(self, down: Float[np.ndarray, " y"], right: Float[np.ndarray, " x"]) -> Float[np.ndarray, "y x"]:
        """Return a triangular wave between -1 and 1, above its level where the specimen is horizontal."""
        phase = down[:, None] * self.normal[0] + right * self.normal[1] + self.bend_size * self.bend.on(down, right)
        return 2.0 / np.pi * np.arcsin(np.sin(phase))

    def is_horizontal(self, points: Float[np.ndarray, "point 2"]) -> Bool[np.ndarray, " point"]:
        """Return whether the specimen is, or would be without none, horizontal at points (y, x)."""
        phase = points @ self.normal + self.bend_size * self.bend.at(points)
        return 2.0 / np.pi * np.arcsin(np.sin(phase)) > self.horizontal_level


def texture(settings: SimulatedScanSettings, rng: np.random.Generator) -> Texture:
    """Return random domains whose classes have the shares that are asked for in the first scan."""
    angle, width = settings.wall_angle_deg, settings.lamella_steps
    turned = np.radians(angle + settings.curvature * rng.normal(scale=4.0))
    normal = np.array([np.cos(turned), np.sin(turned)]) * np.pi / width
    bend = waves(rng, along=4.0 * width, across=2.5 * width, angle_deg=angle)
    holes = waves(rng, along=1.6 * width, across=0.6 * width, angle_deg=angle)
    kind = waves(rng, along=2.0 * width, across=2.0 * width, angle_deg=angle)
    made = Texture(
        normal=normal,
        bend=bend,
        bend_size=0.9 * settings.curvature,
        holes=holes,
        kind=kind,
        horizontal_level=0.0,
        none_level=0.0,
        cubic_level=0.0,
    )
    down, right = (np.arange(size, dtype=np.float64) for size in settings.shape)
    return leveled(
        made, down, right, horizontal=settings.horizontal, none=settings.none_fraction, cubic=settings.cubic_share
    )


def leveled(
    made: Texture,
    down: Float[np.ndarray, " y"],
    right: Float[np.ndarray, " x"],
    *,
    horizontal: float,
    none: float,
    cubic: float,
) -> Texture:
    """Return the texture with levels that give classes their shares at these positions."""
    holes, lamellae, kind = made.holes.on(down, right), made.lamellae(down, right), made.kind.on(down, right)
    none_level = _level(holes, none)
    empty = holes > none_level
    rest = lamellae[~empty]
    horizontal_level = _level(rest, horizontal / max(1.0 - none, 1e-9)) if rest.size else 0.0
    cubic_level = _level(kind[empty], cubic) if empty.any() else 0.0
    return replace(made, none_level=none_level, horizontal_level=horizontal_level, cubic_level=cubic_level)


def _level(values: Float[np.ndarray, "..."], share: float) -> float:
    """Return the level that this share of the values lies above; beyond all of them for a share of 0 or 1."""
    if share <= 0.0:
        return float("inf")
    if share >= 1.0:
        return float("-inf")
    return float(np.quantile(values, 1.0 - share))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Domains:
    """Domains at the positions of one scan."""

    mixture: Float[np.ndarray, "y x 3"]
    """Share of each of `NAMES`, sum 1."""
    cubic: Float[np.ndarray, "y x"]
    """Share of none that is cubic."""
    distance: Float[np.ndarray, "y x"]
    """Distance to the nearest wall in probe steps; inf where there is none."""
    walls: tuple[ScanWall, ...]
    """Walls, the longest first."""


def domains_on(
    made: Texture,
    shape: tuple[int, int],
    *,
    origin: tuple[float, float] = (0.0, 0.0),
    wall_width: float,
    overlap_steps: Float[np.ndarray, "y x"] | None = None,
) -> Domains:
    """Return the domains at each probe position.

    Across a wall the share of its sides is ``(1 + tanh(d / ξ)) / 2``, with d the distance from the wall's curve and
    2ξ its width. Where the wall leans against the beam this is averaged over all depths: the curve is the wall in the
    middle of the specimen.

    Parameters
    ----------
    made
        Domains of the specimen.
    shape
        (scan_y, scan_x).
    origin
        Place of the first probe position on the specimen, (y, x) in probe steps.
    wall_width
        2ξ in probe steps.
    overlap_steps
        On which width, in probe steps, both sides of a leaning wall lie over each other; None: no wall leans.
    """
    grid = [np.arange(-MARGIN, size + MARGIN, 1.0 / PER_STEP) for size in shape]
    fine = [axis + start for axis, start in zip(grid, origin, strict=True)]
    lamellae, holes = made.lamellae(*fine) - made.horizontal_level, made.holes.on(*fine) - made.none_level
    between, around = curves_of(lamellae, grid), curves_of(holes, grid)
    here = (slice(PER_STEP * MARGIN, -PER_STEP * MARGIN, PER_STEP),) * 2
    is_horizontal, is_none = lamellae[here] > 0, holes[here] > 0
    share = _share(distance_to(between, shape), is_horizontal, wall_width, overlap_steps)
    none = _share(distance_to(around, shape), is_none, wall_width, overlap_steps)
    mixture = np.stack([share * (1.0 - none), (1.0 - share) * (1.0 - none), none], axis=2)
    kept = _walls(between, around, lamellae, holes, grid)
    distance = distance_to([points for points, _, _ in kept], shape)
    down, right = (np.arange(size) + start for size, start in zip(shape, origin, strict=True))
    kind = made.kind.on(down, right) - made.cubic_level
    return Domains(
        mixture=mixture,
        cubic=0.5 * (1.0 + np.tanh(6.0 * kind)),
        distance=distance,
        walls=_told(kept, shape, _full_width(wall_width, overlap_steps)),
    )


def _share(
    distance: Float[np.ndarray, "y x"], inside: np.ndarray, wall_width: float, overlap: np.ndarray | None
) -> Float[np.ndarray, "y x"]:
    """Return the share of what lies inside."""
    signed = np.where(inside, distance, -distance)
    if overlap is not None and overlap.max() > 0:
        return _leaning(signed, wall_width, overlap)
    if wall_width <= 0:
        return inside.astype(np.float64)
    return 0.5 * (1.0 + np.tanh(2.0 * signed / wall_width))


def _leaning(
    signed: Float[np.ndarray, "y x"], wall_width: float, overlap: Float[np.ndarray, "y x"]
) -> Float[np.ndarray, "y x"]:
    """Return the mean of ``(1 + tanh(d / ξ)) / 2`` over d within half an overlap to both sides."""
    if wall_width <= 0:
        return np.clip(0.5 + signed / overlap, 0.0, 1.0)
    low, high = (2.0 * (signed + side * overlap) / wall_width for side in (-0.5, 0.5))
    # the integral of tanh is ln cosh; far from a wall the difference of two would be of large numbers
    near = np.abs(signed) < 0.5 * overlap + 10.0 * wall_width
    low, high = np.where(near, low, 0.0), np.where(near, high, 1.0)
    mean = 0.5 + 0.5 * (_log_cosh(high) - _log_cosh(low)) / (high - low)
    return np.where(near, np.clip(mean, 0.0, 1.0), signed > 0)


def _log_cosh(values: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """Return ln cosh without overflow, but for a constant."""
    return np.abs(values) + np.log1p(np.exp(-2.0 * np.abs(values)))


Curve = tuple[Float[np.ndarray, "_ 2"], str, str]


def _walls(
    between: list[np.ndarray], around: list[np.ndarray], lamellae: np.ndarray, holes: np.ndarray, grid: list[np.ndarray]
) -> list[Curve]:
    """Return the pieces of curves where two domains meet, with the class on the left and on the right.

    Lamellae do not meet within none; where they end on it, its rim is a wall with one of them or the other.
    """
    found: list[Curve] = []
    for points in between:
        found += [(piece, NAMES[HORIZONTAL], NAMES[VERTICAL]) for piece in run_of(points, holes < 0, grid)]
    for points in around:
        found += [(piece, NAMES[NONE], NAMES[HORIZONTAL]) for piece in run_of(points, lamellae > 0, grid)]
        found += [(piece, NAMES[NONE], NAMES[VERTICAL]) for piece in run_of(points, lamellae <= 0, grid)]
    return found


def _full_width(wall_width: float, overlap: np.ndarray | None) -> float:
    """Return the width 2ξ of the tanh that is as wide as the average wall: variances of its own and of its lean add."""
    if overlap is None:
        return wall_width
    own = np.pi * wall_width / (4.0 * np.sqrt(3.0))
    return float(4.0 * np.sqrt(3.0) / np.pi * np.hypot(own, overlap.mean() / np.sqrt(12.0)))


def _told(kept: list[Curve], shape: tuple[int, int], wall_width: float) -> tuple[ScanWall, ...]:
    """Return walls inside the scan as nouns, the longest first."""
    walls = []
    limits = [np.arange(size, dtype=np.float64) for size in shape]
    inside = np.ones(shape, dtype=bool)
    for curve, before, after in kept:
        for points in run_of(curve, inside, limits):
            closed = len(points) > 3 and bool(np.allclose(points[0], points[-1]))
            length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
            walls.append(
                ScanWall(
                    before=before,
                    after=after,
                    points=points,
                    points_sigma=np.zeros(len(points)),
                    closed=closed,
                    length=length,
                    length_sigma=0.0,
                    width=wall_width,
                    width_sigma=0.0,
                )
            )
    return tuple(sorted(walls, key=lambda wall: -wall.length))


def labels_of(mixture: Float[np.ndarray, "y x 3"], overlap: float | None) -> Int64[np.ndarray, "y x"]:
    """Return the class of the greatest share; none where horizontal and vertical overlap by `overlap` or more."""
    label = np.argmax(mixture, axis=2)
    if overlap is not None:
        label[mixture[..., :2].min(axis=2) >= overlap] = NONE
    return label
