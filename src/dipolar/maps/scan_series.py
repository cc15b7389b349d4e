"""Domains of scan after scan → class fractions against time, and how far each wall has moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from dipolar.core.errors import ScanError
from dipolar.core.scanning import ScanDomains, ScanSeries, ScanWall, WallTrack

FARTHEST = 12.0
"""Probe steps that a wall may move from one scan to the next."""
ALIKE = 0.5
"""Share of the points of each of two walls that must find the other in front of or behind them."""
MOST = 400
"""Points of a wall that are asked."""
BENDS = 4.0
"""Standard deviation, in probe steps, of the smoothing of normals: bends that are only noise turn none."""
TOGETHER = 5.0
"""Probe steps along a wall over which errors of its place are alike, for the error of their mean."""


@dataclass(eq=False)
class _Track:
    """A wall while it is followed."""

    start: ScanWall
    last: ScanWall
    seen: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    """Scan → moved, sigma, length."""


def series_of(
    scans: Sequence[ScanDomains], *, time: Sequence[float] | Float[np.ndarray, " time"] | None = None, unit: str = "s"
) -> ScanSeries:
    """Return class fractions and walls against time.

    A wall is followed from one scan to the next: it goes on as the wall between the same classes that lies nearest
    along its normals, and has moved by the mean distance along them. A wall that is not found again ends; one that is
    new starts where it appears.

    Parameters
    ----------
    scans
        Domains of each scan, of the same classes and the same positions, in the order they were taken.
    time
        When each was taken; None counts them.
    unit
        Unit of `time`.

    Raises
    ------
    ScanError
        If there is none, or they differ in classes or shape, or times do not fit.
    """
    _check(scans, time)
    times = np.arange(len(scans), dtype=np.float64) if time is None else np.asarray(time, dtype=np.float64)
    tracks: list[_Track] = []
    for number, scan in enumerate(scans):
        taken = _continued([track for track in tracks if number - 1 in track.seen], scan.walls, number)
        for place, wall in enumerate(scan.walls):
            if place not in taken:
                track = _Track(start=wall, last=wall)
                track.seen[number] = (0.0, _mean_sigma(wall), wall.length)
                tracks.append(track)
    found = tuple(_track(track, len(scans)) for track in tracks)
    order = sorted(found, key=lambda one: (-int(np.isfinite(one.moved).sum()), -float(np.nanmax(one.length))))
    return ScanSeries(
        names=scans[0].names,
        time=times,
        unit="scan" if time is None else unit,
        fraction=np.stack([scan.fraction for scan in scans]),
        fraction_sigma=np.stack([scan.fraction_sigma for scan in scans]),
        tracks=tuple(order),
        step_nm=scans[0].step_nm,
    )


def _check(scans: Sequence[ScanDomains], time: Sequence[float] | Float[np.ndarray, " time"] | None) -> None:
    if not scans:
        raise ScanError("a series needs at least one scan", got="none", do="give the domains of every scan")
    first = scans[0]
    for number, scan in enumerate(scans):
        if scan.names != first.names or scan.domain.shape != first.domain.shape:
            raise ScanError(
                "scans of a series have the same classes and the same number of probe positions",
                got=f"scan {number}: {', '.join(scan.names)}, {scan.domain.shape}; "
                f"scan 0: {', '.join(first.names)}, {first.domain.shape}",
                do="map all of them with the same model, and crop them alike",
            )
    if time is not None and len(time) != len(scans):
        raise ScanError(
            "every scan of a series has one time",
            got=f"{len(time)} times for {len(scans)} scans",
            do="give one time per scan, or none",
        )


def _continued(tracks: list[_Track], walls: tuple[ScanWall, ...], number: int) -> set[int]:
    """Let every track go on with the nearest wall that no nearer one wants; return the walls that were taken."""
    offers = []
    for which, track in enumerate(tracks):
        for place, wall in enumerate(walls):
            step = _step(track.last, wall)
            if step is not None:
                offers.append((step[1], which, place, step[0]))
    used: set[int] = set()
    taken: set[int] = set()
    for _, which, place, moved in sorted(offers):
        if which in used or place in taken:
            continue
        used.add(which)
        taken.add(place)
        track, wall = tracks[which], walls[place]
        # errors of the walls between first and last cancel: their place is added and taken off again
        sigma = float(np.hypot(_mean_sigma(track.start), _mean_sigma(wall)))
        track.seen[number] = (track.seen[number - 1][0] + moved, sigma, wall.length)
        track.last = wall
    return taken


def _step(one: ScanWall, other: ScanWall) -> tuple[float, float] | None:
    """Return how far a wall has moved to the right to become another, and their mean distance; None if it is not."""
    if {one.before, one.after} != {other.before, other.after} or min(len(one.points), len(other.points)) < 3:
        return None
    ahead, back = _along_normals(one, other), _along_normals(other, one)
    if min(np.mean(np.isfinite(ahead)), np.mean(np.isfinite(back))) < ALIKE:
        return None
    # normals of both, as those of a bent wall reach further on its outer side than on its inner one
    moved = 0.5 * (float(np.nanmean(ahead)) - float(np.nanmean(back)))
    return moved, float(np.nanmean(np.abs(ahead)))


def _along_normals(one: ScanWall, other: ScanWall) -> Float[np.ndarray, " point"]:
    """Return how far along the normals of one wall another lies, nan where it is not met within `FARTHEST`."""
    points, normal = _evened(one)
    line = other.points[:: max(1, len(other.points) // MOST)]
    off = line[None] - points[:, None]
    # nothing is met along a normal but what crosses it
    side = np.einsum("pqi,pi->pq", off, np.stack([-normal[:, 1], normal[:, 0]], axis=1))
    far = np.einsum("pqi,pi->pq", off, normal)
    crossing = (side[:, 1:] > 0) != (side[:, :-1] > 0)
    gap = side[:, 1:] - side[:, :-1]
    share = np.where(crossing, -side[:, :-1] / np.where(gap == 0, 1.0, gap), 0.0)
    met = np.where(crossing, far[:, :-1] + share * (far[:, 1:] - far[:, :-1]), np.inf)
    nearest = np.take_along_axis(met, np.argmin(np.abs(met), axis=1)[:, None], axis=1)[:, 0]
    return np.where(np.abs(nearest) <= FARTHEST, nearest, np.nan)


def _evened(wall: ScanWall) -> tuple[Float[np.ndarray, "point 2"], Float[np.ndarray, "point 2"]]:
    """Return some points of a wall with its normals there, small bends left out."""
    mode = "wrap" if wall.closed else "nearest"
    points = wall.points[:-1] if wall.closed else wall.points
    step = wall.length / max(len(points) - 1, 1)
    width = min(BENDS, wall.length / 12.0) / max(step, 1e-9)
    ahead = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0) if wall.closed else np.gradient(points, axis=0)
    ahead = gaussian_filter1d(ahead, width, axis=0, mode=mode)
    right = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
    right /= np.maximum(np.linalg.norm(right, axis=1), 1e-12)[:, None]
    some = slice(None, None, max(1, len(points) // MOST))
    return points[some], right[some]


def _mean_sigma(wall: ScanWall) -> float:
    """Return one standard error of the mean place of a wall."""
    independent = max(wall.length / TOGETHER, 1.0)
    return float(np.sqrt(np.mean(wall.points_sigma**2) / independent))


def _track(track: _Track, count: int) -> WallTrack:
    moved, sigma, length = (np.full(count, np.nan) for _ in range(3))
    for number, values in track.seen.items():
        moved[number], sigma[number], length[number] = values
    sigma[min(track.seen)] = 0.0  # it has moved by nothing since then
    return WallTrack(
        before=track.start.before,
        after=track.start.after,
        start=track.start.points,
        moved=moved,
        moved_sigma=sigma,
        length=length,
    )
