"""Frames that have a place: the slow distortion is taken off, and those that do not fit are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dipolar.align.average import Stack, stack
from dipolar.align.coarse import follow_patches, slow_offsets
from dipolar.align.judge import Verdict, judge, judge_one, misfit
from dipolar.align.scan import Scan, resample
from dipolar.core.contracts import Progress

SLOW_ROUNDS = 2
"""Rounds of patches before frames are judged."""
LEAST_MARGIN = 0.35
"""A frame whose margin over the next lattice vector is less than this share of the usual one is placed anew."""
HOPELESS = 0.25
"""No other place is tried for a frame that correlates less than this share of what is usual: no lattice vector
changes that."""


def settle(
    scans: dict[int, Scan], vectors: Float[np.ndarray, "vector 2"], *, cell_px: float, progress: Progress
) -> tuple[dict[int, Scan], dict[int, Verdict], dict[int, str]]:
    """Take off the slow distortion and move frames that lie a lattice vector off, until all fit or one does not.

    Where one does not, it and the reason are returned, and the scans are worth nothing: what they learned, they
    learned in its company, so the others begin anew without it. Of two frames neither fits.

    Parameters
    ----------
    scans
        By number, at their rigid places.
    vectors
        Shortest lattice vectors; empty where nothing repeats.
    cell_px
        Length of the shortest.
    progress
        Told how far it has come.
    """
    raw = {n: scan.data for n, scan in scans.items()}
    scans, scale = _levelled(scans)
    usual_scale = float(np.median(list(scale.values())))
    judged: list[Verdict] = []
    odd: dict[int, str] = {}
    retried: set[int] = set()
    most = 9
    for turn in range(most):
        progress("following slow distortion", turn / most)
        for _ in range(SLOW_ROUNDS):
            scans = _follow(scans, cell_px)
        made = stack(list(scans.values()))
        judged = [
            replace(verdict, contrast=verdict.contrast * scale[n] / usual_scale)
            for n, verdict in zip(scans, judge(made, vectors, cell_px=cell_px), strict=True)
        ]
        wrong = [(v.margin, n, v.better_px) for n, v in zip(scans, judged, strict=True) if v.margin < 0]
        if wrong and turn < 4:
            for _, n, move in sorted(wrong, key=lambda item: item[0])[: max(1, len(scans) // 3)]:
                scans[n] = scans[n].moved(move)
            continue
        doubtful = [n for n, v in zip(scans, judged, strict=True) if n not in retried and _doubtful(v, judged)]
        if doubtful and turn < most - 1:
            retried |= set(doubtful)
            scans |= {n: _placed_anew(made, list(scans).index(n), vectors, cell_px) for n in doubtful}
            continue
        if (bad := misfit(judged)) is not None:
            odd = dict.fromkeys(scans, bad[1]) if len(scans) == 2 else {list(scans)[bad[0]]: bad[1]}
        break
    progress("following slow distortion", 1.0)
    verdicts = dict(zip(scans, judged, strict=True))
    return {n: replace(scan, data=raw[n]) for n, scan in scans.items()}, verdicts, odd


def _levelled(scans: dict[int, Scan]) -> tuple[dict[int, Scan], dict[int, float]]:
    """Return the scans with mean 0 and standard deviation 1, and the latter as it was.

    Else a frame in other units would drown the others in the average that they are compared with.
    """
    scale = {n: float(np.nanstd(scan.data, dtype=np.float64)) for n, scan in scans.items()}
    flat = {
        n: replace(scan, data=((scan.data - np.nanmean(scan.data, dtype=np.float64)) / scale[n]).astype(np.float32))
        for n, scan in scans.items()
    }
    return flat, scale


def _doubtful(verdict: Verdict, all_of_them: list[Verdict]) -> bool:
    """Return whether a frame's place is much less certain than that of the others, though it shows the same lattice."""
    if len(all_of_them) < 3:
        return False
    usual = float(np.nanmedian([v.margin for v in all_of_them]))
    like = float(np.nanmedian([v.correlation for v in all_of_them]))
    return verdict.margin < LEAST_MARGIN * usual and verdict.correlation > HOPELESS * like


def _placed_anew(made: Stack, number: int, vectors: Float[np.ndarray, "vector 2"], cell_px: float) -> Scan:
    """Return a scan followed anew from a rigid start at its place and at each lattice vector from it, the likeliest.

    A frame that began a lattice vector off can have been bent towards its place in one half only.
    """
    scan, others = made.scans[number], made.without(number)
    straight = replace(scan, offset_px=np.tile(scan.offset_px.mean(axis=0), (len(scan.data), 1)))
    best, best_chance = scan, judge_one(made.values[number].astype(np.float64), others, vectors, cell_px).chance
    for move in np.concatenate([np.zeros((1, 2)), vectors, -vectors]):
        tried = straight.moved(move)
        for _ in range(SLOW_ROUNDS + 1):
            own = resample(tried, made.shape)[0].astype(np.float64)
            found = follow_patches(own, others, cell_px=cell_px)
            if len(found.quality) < 4:
                break
            tried = tried.moved(slow_offsets([tried], [found], made.shape, cell_px=cell_px)[0])
        own = resample(tried, made.shape)[0].astype(np.float64)
        chance = judge_one(own, others, vectors, cell_px).chance
        if chance > best_chance:
            best, best_chance = tried, chance
    return best


def _follow(scans: dict[int, Scan], cell_px: float) -> dict[int, Scan]:
    """Return the scans with their slow distortion taken off once more."""
    made = stack(list(scans.values()))
    found = [
        follow_patches(made.values[n].astype(np.float64), made.without(n), cell_px=cell_px)
        for n in range(len(made.scans))
    ]
    by = slow_offsets(made.scans, found, made.shape, cell_px=cell_px)
    return {n: scan.moved(change) for (n, scan), change in zip(scans.items(), by, strict=True)}
