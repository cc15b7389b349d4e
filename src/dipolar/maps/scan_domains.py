"""A map of probabilities → domains with areas, class fractions, and the walls between them, each with its sigma."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int32, Int64
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from dipolar.core.flags import Flag
from dipolar.core.scanning import ScanDomains, ScanMap, ScanWall
from dipolar.maps.scan_classes import Classes, DomainRules, classes_of, regions_of, without_specks
from dipolar.maps.scan_curve import ScanCurve, moved, smoothed
from dipolar.maps.scan_doubt import by_bends, by_ends, by_third_class
from dipolar.maps.scan_outline import Piece, between, levels_of, pieces_of
from dipolar.maps.scan_profile import raster_error, width_of

REACH = 8.0
"""Distance from a wall, in probe steps, up to which positions tell its width."""
BOTH = 0.5
"""Positions tell the width of a wall where its two classes have more than so much of the share together."""
THIRD = 3.0
"""Distance from a wall, in probe steps, up to which positions tell whether a third class takes part in it."""
WIDE, MOVES = 1.0, 2
"""Walls of so many probe steps or more are moved so many times to where all positions within them say."""
QUIET, MORE = 0.08, 3.0
"""Error of the wall's place in one row of positions up to which it is smoothed as the rules say; where noise makes
more, smoothing reaches further in proportion, up to so many times."""
RIM = 1.0 / 12.0
"""Variance of the area of a rim position: its side of the wall may be anywhere within it."""


def domains_of(scan_map: ScanMap, rules: DomainRules | None = None) -> ScanDomains:
    """Return domains and walls of a map.

    Every position has one class; connected positions of one class are a domain. A wall is where two classes have equal
    shares (equal probabilities, where no shares are known), found between positions and smoothed along itself. Its
    width is that of a tanh fitted to the share across it; the width of a profile of probabilities is that over which
    the classifier changes its mind, and no more than that of the wall.

    Sigma of areas and fractions takes probabilities to be calibrated and patterns to be independent. That of fractions
    also holds what the sum of the probabilities says otherwise.

    Parameters
    ----------
    scan_map
        What a classifier says of every position.
    rules
        How much neighbours count, what is too small to be believed, and how walls are smoothed.
    """
    rules = DomainRules() if rules is None else rules
    classes = classes_of(scan_map, rules)
    levels = levels_of(classes)
    domain = regions_of(classes.label, between(levels))
    # a position that only touched its region at a corner may have been cut off from it
    settled = without_specks(classes.label, domain, classes.probability, rules.smallest)
    if not np.array_equal(settled, classes.label):
        classes = replace(classes, label=settled)
        levels = levels_of(classes)
        domain = regions_of(classes.label, between(levels))
    state, area, area_sigma = _areas(classes, domain)
    fraction, fraction_sigma = _fractions(classes)
    return ScanDomains(
        names=scan_map.names,
        domain=domain,
        state=state,
        area=area,
        area_sigma=area_sigma,
        fraction=fraction,
        fraction_sigma=fraction_sigma,
        walls=_walls(scan_map, classes, pieces_of(classes.label, levels), rules),
        step_nm=scan_map.step_nm,
    )


def _areas(
    classes: Classes, domain: Int32[np.ndarray, "scan_y scan_x"]
) -> tuple[Int32[np.ndarray, " domain"], Float[np.ndarray, " domain"], Float[np.ndarray, " domain"]]:
    """Return class, area and its sigma of every domain: doubtful positions in it and beside it, and half-cut ones."""
    count = int(domain.max(initial=-1)) + 1
    inside = domain >= 0
    number = domain[inside]
    state = np.zeros(count, dtype=np.int32)
    state[number] = classes.label[inside]
    area = np.bincount(number, minlength=count).astype(np.float64)
    own = np.take_along_axis(classes.probability, np.maximum(classes.label, 0)[..., None], axis=2)[..., 0]
    variance = np.bincount(number, weights=(own * (1.0 - own))[inside], minlength=count)
    padded = np.pad(domain, 1, constant_values=-1)
    places = np.arange(domain.size).reshape(domain.shape)
    sides = [padded[1 + dy : padded.shape[0] - 1 + dy, 1 + dx : padded.shape[1] - 1 + dx] for dy, dx in _BESIDE]
    # a position beside a domain counts once for it, however many of its sides they share
    touching = [(places[hit], side[hit]) for side in sides for hit in [inside & (side >= 0) & (side != domain)]]
    at, other = (np.concatenate(part) for part in zip(*touching, strict=True))
    at, other = np.unique(np.stack([at, other]), axis=1).astype(np.int64)
    theirs = classes.probability.reshape(-1, classes.probability.shape[2])[at, state[other]]
    variance += np.bincount(other, weights=theirs * (1.0 - theirs) + RIM, minlength=count)
    return state, area, np.sqrt(variance)


_BESIDE = ((0, 1), (1, 0), (0, -1), (-1, 0))


def _fractions(classes: Classes) -> tuple[Float[np.ndarray, " class"], Float[np.ndarray, " class"]]:
    known = classes.label >= 0
    count, total = classes.probability.shape[2], int(known.sum())
    if not total:
        return np.full(count, np.nan), np.full(count, np.nan)
    number = np.bincount(classes.label[known], minlength=count).astype(np.float64)
    probability = classes.probability[known]
    variance = np.sum(probability * (1.0 - probability), axis=0) + (probability.sum(axis=0) - number) ** 2
    for place in range(count):
        rim = _rim(classes.label, place)
        variance[place] += RIM * rim.sum()
    return number / total, np.sqrt(variance) / total


def _rim(label: Int32[np.ndarray, "scan_y scan_x"], place: int) -> Bool[np.ndarray, "scan_y scan_x"]:
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)
    rim: Bool[np.ndarray, "scan_y scan_x"]
    rim = maximum_filter(label == place, footprint=cross, mode="constant") & (label >= 0) & (label != place)
    return rim


def _walls(scan_map: ScanMap, classes: Classes, pieces: list[Piece], rules: DomainRules) -> tuple[ScanWall, ...]:
    shape = classes.label.shape
    curves = [(piece, smoothed(piece, (shape[0], shape[1]), rules.smoothing)) for piece in pieces]
    curves = [(piece, curve) for piece, curve in curves if curve.length >= rules.shortest]
    if not curves:
        return ()
    owner = np.repeat(np.arange(len(curves)), [len(curve.points) for _, curve in curves])
    at = np.argwhere(classes.label >= 0)
    distance, nearest = cKDTree(np.concatenate([curve.points for _, curve in curves])).query(
        at, distance_upper_bound=REACH
    )
    near = np.isfinite(distance)
    at, nearest = at[near], nearest[near]
    walls = []
    for number, (piece, curve) in enumerate(curves):
        mine = owner[nearest] == number
        walls.append(_wall(scan_map, classes, piece, curve, at[mine], rules.smoothing))
    return tuple(sorted(walls, key=lambda wall: -wall.length))


def _wall(
    scan_map: ScanMap,
    classes: Classes,
    piece: Piece,
    curve: ScanCurve,
    at: Int64[np.ndarray, "position 2"],
    smoothing: float,
) -> ScanWall:
    """Return one wall, from the positions `at` that are nearer to it than to any other."""
    share = classes.share[at[:, 0], at[:, 1]]
    both = share[:, piece.before] + share[:, piece.after]
    usable, share = both > BOTH, share[:, piece.after] / np.maximum(both, BOTH)
    nearest, distance, beside = _beside(curve, at)
    good = usable & beside
    width = width_of(distance[good], share[good], blur=_rms(curve.scatter), clipped=classes.shares_known)
    if width.row_error > QUIET:  # noise asks for more smoothing than the raster does
        more = min(width.row_error / QUIET, MORE)
        curve = smoothed(piece, (classes.label.shape[0], classes.label.shape[1]), more * smoothing)
        nearest, distance, beside = _beside(curve, at)
        good = usable & beside
    for _ in range(MOVES):
        if not width.likely >= WIDE:
            break
        plateaus = width.low, width.high
        curve = moved(curve, nearest[good], distance[good], share[good], 0.5 * width.likely, plateaus)
        nearest, distance, beside = _beside(curve, at)
        good = usable & beside
        width = width_of(distance[good], share[good], blur=_rms(curve.scatter), clipped=classes.shares_known)
    causes = [curve.scatter, raster_error(width.likely) * _unaveraged(curve), by_ends(curve), by_bends(curve)]
    if classes.shares_known:
        near = beside & (np.abs(distance) < THIRD)
        causes.append(by_third_class(curve, nearest[near], distance[near], 1.0 - both[near], 0.5 * width.likely))
    flags = scan_map.flags[at[:, 0], at[:, 1]][np.abs(distance) <= 1.0]
    return ScanWall(
        before=scan_map.names[piece.before],
        after=scan_map.names[piece.after],
        points=curve.points,
        points_sigma=np.sqrt(np.sum(np.square(causes), axis=0)),
        closed=piece.closed,
        length=curve.length,
        length_sigma=curve.length_sigma,
        width=width.width,
        width_sigma=width.sigma,
        flags=_most(flags),
    )


def _beside(
    curve: ScanCurve, at: Int64[np.ndarray, "position 2"]
) -> tuple[Int64[np.ndarray, " position"], Float[np.ndarray, " position"], Bool[np.ndarray, " position"]]:
    """Return the nearest point of each position, its distance to the right, and whether it is not beyond an end."""
    far, nearest = cKDTree(curve.points).query(at)
    distance = np.sum((at - curve.points[nearest]) * curve.normal[nearest], axis=1)
    return nearest.astype(np.int64), distance, np.abs(distance) > 0.9 * far - 1e-9


def _rms(values: Float[np.ndarray, " point"]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _unaveraged(curve: ScanCurve) -> Float[np.ndarray, " point"]:
    """Return which part of the raster's error is left: all of it along rows and columns, nothing where oblique.

    Over the length that a point is a mean over, an oblique wall crosses between positions at all places alike.
    """
    normal = np.sort(np.abs(curve.normal), axis=1)
    slope = normal[:, 0] / np.maximum(normal[:, 1], 1e-12)
    return np.clip(1.0 - curve.averaged * slope, 0.0, 1.0)


def _most(flags: np.ndarray) -> int:
    """Return the flags that most of the positions carry; that walls are mixtures goes without saying."""
    found = 0
    for flag in Flag:
        if flag != Flag.MIXED and len(flags) and 2 * np.count_nonzero(flags & np.uint32(flag)) > len(flags):
            found |= int(flag)
    return found
