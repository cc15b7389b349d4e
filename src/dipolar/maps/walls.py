"""Domains → walls: curves between domains, typed by the turn of the displacement, each with its profile and charge."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int32
from scipy.spatial import cKDTree

from dipolar.core.domains import Domains, Profile, Wall
from dipolar.core.errors import SettingsError
from dipolar.core.geometry import cell_edge_px
from dipolar.core.material import Symmetry
from dipolar.core.nouns import Cells, Columns
from dipolar.maps.boundaries import Boundary, boundaries
from dipolar.maps.curve import Curve, beside, shifted, smooth_curve
from dipolar.maps.neighbours import neighbours, voters
from dipolar.maps.pieces import FEWEST_CELLS, Pieces, fit_pieces
from dipolar.maps.profile import OPEN, Across, Posterior, Prior, draws, posterior, quantiles, with_offset
from dipolar.maps.shape import Shape, fit_shape, moved
from dipolar.maps.shared import also_lines, independent, shared_errors
from dipolar.maps.turns import charge_of, kind_of, turn_of

SAME_LINE = 0.3
"""Difference in height, in cells, up to which cells see the same scan lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WallFit:
    """How profiles are fitted."""

    reach_cells: float = 8.0
    """Distance from the wall, in cells, up to which cells are fitted."""
    segment_cells: float = 12.0
    """Length of the pieces, in cells, that are fitted by themselves too."""
    shortest_cells: int = 4
    """Steps of a boundary below which it is a corner where domains touch, and no wall."""
    corner_share: float = 0.0
    """Share of the displacement that the corner columns carry. A cell's displacement is its central column's against
    the mean of its corners. 0: only the central column moves, so that a cell samples the profile at one point. 1: only
    the corners move, and a cell shows the mean over its own size. It matters for walls narrower than two cells."""
    samples: int = 200
    """Draws from the posterior to keep for drawing."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not (self.reach_cells >= 2 and self.segment_cells >= 4 and 0 <= self.corner_share <= 1 and self.samples > 0):
            raise SettingsError(
                "Walls need a reach of 2 cells or more, pieces of 4 cells or more, a corner share from 0 to 1, "
                "and at least one draw.",
                got=str(self),
                do="WallFit(reach_cells=8.0, segment_cells=12.0, corner_share=0.0)",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scene:
    """What all walls of an image share."""

    cells: Cells
    columns: Columns | None
    domains: Domains
    voting: Bool[np.ndarray, " cell"]
    tree: cKDTree
    points_px: Float[np.ndarray, "point 2"]
    owner: Int32[np.ndarray, " point"]
    edge_px: float
    fit: WallFit
    symmetry: Symmetry | None
    offset_covariance_px2: Float[np.ndarray, "2 2"] | None


def find_walls(
    cells: Cells,
    domains: Domains,
    *,
    rng: np.random.Generator,
    columns: Columns | None = None,
    fit: WallFit | None = None,
    uc_per_cm2_per_pm: float | None = None,
    symmetry: Symmetry | None = None,
    offset_covariance_px2: Float[np.ndarray, "2 2"] | None = None,
) -> tuple[Wall, ...]:
    """Return the walls between domains, the longest first.

    Each wall is a smooth curve through the boundary of two domains, moved to where the displacement is halfway. Its
    profile, the component of the displacement along the difference of the two domains against the distance, is fitted
    with a tanh; the posterior of width and place uses every cell's own sigma, what the cells scatter beyond it, and
    what they share: corner columns, and the jitter of scan rows.

    Parameters
    ----------
    cells
        Measured cells.
    domains
        What `find_domains` found in them.
    rng
        For the draws from the posterior; medians and intervals do not depend on it.
    columns
        Those that the cells were built from, with the jitter of scan rows. Without them, what cells of one line share
        is estimated from how alike they are.
    fit
        How profiles are fitted.
    uc_per_cm2_per_pm
        Polarization per displacement, signed; None speaks of displacement only.
    symmetry
        Of the material, for what walls are in space; None names them by what is seen only.
    offset_covariance_px2
        Covariance of the offset (dy, dx) that was taken off all cells, where one was: it is in both sides of a profile,
        twice in their sum, and not in their difference.
    """
    fit = WallFit() if fit is None else fit
    found = [part for part in _found(cells, domains) if len(part.points_px) >= fit.shortest_cells]
    if not found:
        return ()
    scene = _Scene(
        cells=cells,
        columns=columns,
        domains=domains,
        voting=voters(cells),
        tree=cKDTree(cells.positions_px),
        points_px=np.concatenate([part.points_px for part in found]),
        owner=np.repeat(np.arange(len(found), dtype=np.int32), [len(part.points_px) for part in found]),
        edge_px=cell_edge_px(cells),
        fit=fit,
        symmetry=symmetry,
        offset_covariance_px2=offset_covariance_px2,
    )
    walls = [_wall(scene, number, part, rng, uc_per_cm2_per_pm) for number, part in enumerate(found)]
    return tuple(sorted(walls, key=lambda wall: -wall.length_px))


def _found(cells: Cells, domains: Domains) -> tuple[Boundary, ...]:
    return boundaries(cells, neighbours(cells), domains.label) if len(domains.state) > 1 else ()


def _wall(
    scene: _Scene, number: int, boundary: Boundary, rng: np.random.Generator, uc_per_cm2_per_pm: float | None
) -> Wall:
    domains, edge = scene.domains, scene.edge_px
    curve = smooth_curve(boundary.points_px, edge_px=edge, closed=boundary.closed)
    prior = _prior(scene, boundary)
    rows, across, along = _across(scene, number, boundary, curve)
    points, kept = curve.points_px, across
    profile, samples, pieces = _unknown(len(rows)), np.zeros((0, 4)), Pieces.none()
    length = float(curve.along_px[-1])
    if len(rows) >= FEWEST_CELLS and prior.spread_px > 0:
        shape = fit_shape(across, along, prior, length_cells=length / edge)
        across = replace(across, shared=also_lines(across.shared, across.line, shape.shared_px2))
        kept = moved(across, shape.shift_px(along), shape.scatter_px2)
        whole = posterior(kept, prior, reach_px=1.5 * edge, shape=(shape.log_width, shape.log_volume))
        profile, place = _profile(whole, shape, len(rows), edge)
        samples = draws(whole, scene.fit.samples, rng=rng) - np.array([place, 0.0, 0.0, 0.0])
        kept = moved(kept, np.full(len(rows), place))
        points = shifted(curve, shape.shift_px(2.0 * curve.along_px / max(length, 1e-12) - 1.0) + place)
        pieces = fit_pieces(
            kept, 0.5 * (along + 1.0) * length, prior, curve, points, piece_px=scene.fit.segment_cells * edge
        )
    common = scene.offset_covariance_px2
    turn, turn_sigma = turn_of(domains, boundary.before, boundary.after, offset_covariance_px2=common)
    length = float(np.sum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    charge = charge_of(domains, boundary.before, boundary.after, points, profile, edge, uc_per_cm2_per_pm, common)
    return Wall(
        before=boundary.before,
        after=boundary.after,
        kind=kind_of(domains, boundary.before, boundary.after, turn, profile.width_px[1] / edge, scene.symmetry),
        turn_deg=turn,
        turn_sigma_deg=turn_sigma,
        points_px=points,
        closed=boundary.closed,
        length_px=length,
        length_sigma_px=0.3 * edge if boundary.closed else float(np.sqrt(2.0)) * edge,
        charge_px=charge.px,
        charge_sigma_px=charge.sigma_px,
        charge=charge.words,
        charge_e_per_nm2=charge.e_per_nm2,
        profile=profile if common is None else with_offset(profile, _axis(domains, boundary), common),
        distance_px=kept.distance_px,
        component_px=kept.component_px,
        component_sigma_px=np.sqrt(across.variance_px2),
        samples_px=samples,
        segment_px=pieces.middle_px,
        segment_width_px=pieces.width_px,
        segment_position_px=pieces.position_px,
    )


def _prior(scene: _Scene, boundary: Boundary) -> Prior:
    """Return the sides as the domains' means have them, along their difference."""
    one, two = scene.domains.mean_px[[boundary.before, boundary.after]]
    apart = float(np.linalg.norm(two - one))
    along = (two - one) / apart if apart > 0 else np.zeros(2)
    return Prior(
        before_px=float(one @ along),
        after_px=float(two @ along),
        spread_px=0.5 * apart if np.isfinite(apart) else 0.0,
        edge_px=scene.edge_px,
        corner_share=scene.fit.corner_share,
    )


def _across(
    scene: _Scene, number: int, boundary: Boundary, curve: Curve
) -> tuple[Int32[np.ndarray, " used"], Across, Float[np.ndarray, " used"]]:
    """Return the cells that belong to this wall and no other: rows, what is fitted, place along from -1 to 1."""
    cells, edge = scene.cells, scene.edge_px
    reach = scene.fit.reach_cells * edge
    every = max(1, round(2.0 * edge / max(_step(curve), 1e-9)))
    near = scene.tree.query_ball_point(curve.points_px[::every], 1.2 * reach + 2.0 * edge)
    rows = np.unique(np.concatenate([np.asarray(found, dtype=np.int32) for found in near])).astype(np.int32)
    rows = rows[scene.voting[rows]]
    distance, along, normal = beside(curve, cells.positions_px[rows])
    length = float(curve.along_px[-1])
    good = np.abs(distance) <= reach
    if not boundary.closed:
        good &= (along >= -0.5 * edge) & (along <= length + 0.5 * edge)
    label, own_side = scene.domains.label[rows], np.where(distance < 0, boundary.before, boundary.after)
    good &= np.isin(label, (boundary.before, boundary.after)) & ((label == own_side) | (np.abs(distance) < 2.0 * edge))
    others = scene.points_px[scene.owner != number]
    if len(others) and good.any():
        to_others, _ = cKDTree(others).query(cells.positions_px[rows], distance_upper_bound=reach)
        good &= to_others > np.abs(distance)
    order = np.flatnonzero(good)[np.argsort(_lines(cells, rows[good], edge), kind="stable")]
    rows, distance, along, normal = rows[order], distance[order], along[order], normal[order]
    axis = _axis(scene.domains, boundary)
    half_a, half_b = (0.5 * np.sum(edges[rows] * normal, axis=1) for edges in (cells.a_px, cells.b_px))
    across = Across(
        distance_px=distance,
        component_px=cells.displacement_px[rows] @ axis,
        variance_px2=np.einsum("i,nij,j->n", axis, cells.covariance_px2[rows], axis),
        corners_px=np.stack([-half_a - half_b, half_a - half_b, half_b - half_a, half_a + half_b], axis=1),
        line=_lines(cells, rows, edge),
        shared=(independent(len(rows)) if scene.columns is None else shared_errors(cells, scene.columns, rows, axis)),
    )
    return rows, across, np.clip(2.0 * along / max(length, 1e-12) - 1.0, -1.0, 1.0)


def _axis(domains: Domains, boundary: Boundary) -> Float[np.ndarray, "2"]:
    """Return the direction (y, x) from the mean displacement of the first domain to that of the second."""
    apart = domains.mean_px[boundary.after] - domains.mean_px[boundary.before]
    return apart / max(float(np.linalg.norm(apart)), 1e-300)


def _lines(cells: Cells, rows: Int32[np.ndarray, " used"], edge: float) -> Int32[np.ndarray, " used"]:
    """Return numbers of scan lines: cells of one lattice row at the same height move together when it is shifted."""
    height = np.floor(cells.positions_px[rows, 0] / (SAME_LINE * edge)).astype(np.int64)
    keys = np.stack([cells.grain[rows], cells.row[rows], height], axis=1)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int32)


def _step(curve: Curve) -> float:
    return float(curve.along_px[-1]) / max(len(curve.along_px) - 1, 1)


def _profile(found: Posterior, shape: Shape, count: int, edge: float) -> tuple[Profile, float]:
    """Return the profile and the median of x0, which becomes the zero of its distances."""
    by_width, by_place = found.density.sum(axis=1), found.density.sum(axis=0)
    low, middle, high = np.exp(quantiles(np.log(found.width_px), by_width)) * 2.0
    mean = np.einsum("wp,wpi->i", found.density, found.mean_px)
    off = found.mean_px - mean
    covariance = np.einsum("wp,wpij->ij", found.density, found.covariance_px2)
    covariance += np.einsum("wp,wpi,wpj->ij", found.density, off, off)
    left, place, right = quantiles(found.position_px, by_place)
    profile = Profile(
        width_px=(float(low), float(middle), float(high)),
        position_px=(left - place, 0.0, right - place),
        before_px=float(mean[0]),
        before_sigma_px=float(np.sqrt(covariance[0, 0])),
        after_px=float(mean[1]),
        after_sigma_px=float(np.sqrt(covariance[1, 1])),
        asymmetry_px=float(mean.sum()),
        asymmetry_sigma_px=float(np.sqrt(covariance.sum())),
        resolved=bool(by_width[found.width_px < OPEN * edge].sum() < 0.025),
        scatter_px=float(np.sqrt(shape.scatter_px2)),
        cells=count,
    )
    return profile, place


def _unknown(count: int) -> Profile:
    nan = float("nan")
    return Profile(
        width_px=(nan, nan, nan),
        position_px=(nan, nan, nan),
        before_px=nan,
        before_sigma_px=nan,
        after_px=nan,
        after_sigma_px=nan,
        asymmetry_px=nan,
        asymmetry_sigma_px=nan,
        resolved=False,
        scatter_px=nan,
        cells=count,
    )
