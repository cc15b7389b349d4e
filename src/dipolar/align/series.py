"""Many frames of one specimen → one image, with its sigma: rigid, then slow, then row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dipolar.align.average import stack
from dipolar.align.checks import blank, check_frames, repeated
from dipolar.align.judge import Verdict, common_margin, judge
from dipolar.align.lattice import period, repeats
from dipolar.align.motion import Motion, learn_motion, likeliest
from dipolar.align.outcome import check_credible, outcome
from dipolar.align.pairs import compare_all, strangers
from dipolar.align.rigid import place_pairs
from dipolar.align.rows import reference_of, row_shifts
from dipolar.align.scan import Scan
from dipolar.align.settle import settle
from dipolar.core.alignment import Alignment
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import DataError
from dipolar.core.nouns import Image

ROW_ROUNDS = 8
"""Most rounds of rows."""
SETTLED_PX = 0.02
"""Rounds of rows end when the rows move by less than this, root mean square."""
LONGEST_PERIOD = 0.3
"""Longest lattice vector looked for, as a share of the shorter edge of a frame."""
PERIODS = 16.0
"""Cells along the shorter edge that are reckoned with where nothing repeats."""
LARGEST_SHIFT = 0.6
"""Largest shift between two frames that is considered, as a share of the shorter edge."""


def align_frames(
    frames: Sequence[Image],
    *,
    scan_angles_deg: Sequence[float] | None = None,
    rows: bool = True,
    progress: Progress = silent,
) -> Alignment:
    """Return one image from frames of one place, corrected for drift and for the jitter of rows, with its sigma.

    Rigid shifts come from all pairs of frames at once (`place_frames`); the slow part of each frame's distortion from
    patches (`slow_offsets`); and the offset of each row from its comparison with the average of the other frames
    (`row_shifts`, `likeliest`), repeated until rows rest. A frame found to lie a lattice vector off is moved; one that
    does not fit is dropped, with the reason, and the others begin anew as if it had never been. With frames scanned
    along different directions the rows of one cross those of another, so that even what is common to all rows of a scan
    is found (Ophus, Ciston and Nelson, Ultramicroscopy 162 (2016) 1); with one direction only, distortion common to all
    frames remains.

    Parameters
    ----------
    frames
        Two or more, in the order of time, of the same shape and pixel size; nan where nothing was measured.
    scan_angles_deg
        Direction of the fast scan axis of each, counter-clockwise on the screen; None: all 0. The image comes out as a
        scan at 0 would show it.
    rows
        Whether single rows are aligned too; False leaves it at places and slow distortion, for a quick look.
    progress
        Told how far it has come.

    Raises
    ------
    DataError
        Where there are fewer than two frames, where they differ in shape or pixel size, where fewer than two, or fewer
        than half, fit to each other, or where the result contradicts itself, as with wrong scan angles.
    """
    angles = [0.0] * len(frames) if scan_angles_deg is None else [float(angle) for angle in scan_angles_deg]
    check_frames(frames, angles)
    dropped = {n: reason for n, frame in enumerate(frames) if (reason := blank(frame))}
    dropped |= repeated(frames, [n for n in range(len(frames)) if n not in dropped])
    verdicts: dict[int, Verdict] = {}
    while True:
        kept = [n for n in range(len(frames)) if n not in dropped]
        check_enough(frames, kept, dropped)
        scans = {n: Scan(data=_float(frames[n]), angle_deg=angles[n], offset_px=np.zeros((len(frames[n].data), 2)))
                 for n in kept}  # fmt: skip
        scans, vectors, odd = _place(scans, progress)
        cell_px = period(vectors, otherwise=min(frames[0].data.shape) / PERIODS)
        if not odd:
            scans, judged, odd = settle(scans, vectors, cell_px=cell_px, progress=progress)
            verdicts |= judged
        if not odd:
            break
        dropped |= odd  # and from the beginning: in their company the others may have gone astray
    motion, sigmas, rest = _align_rows(scans, cell_px, progress, rounds=ROW_ROUNDS if rows else 0)
    progress("averaging", 0.0)
    made = stack(list(scans.values()))
    final = judge(made, vectors, cell_px=cell_px)
    verdicts |= dict(zip(scans, final, strict=True))
    margin = common_margin(made, final, vectors, cell_px=cell_px)
    result = outcome(frames, angles, scans, dropped, made, verdicts, sigmas, motion, vectors, rest, margin)
    check_credible(result)
    progress("averaging", 1.0)
    return result


def _float(frame: Image) -> np.ndarray:
    data = np.ascontiguousarray(frame.data, dtype=np.float32)
    return np.where(np.isfinite(data), data, np.float32(np.nan))


def check_enough(frames: Sequence[Image], kept: Sequence[int], dropped: dict[int, str]) -> None:
    """Refuse a series of which too little is left.

    Raises
    ------
    DataError
        Where fewer than two frames, or fewer than half, are left; it names each that was dropped, and why.
    """
    if len(kept) >= max(2, (len(frames) + 1) // 2):
        return
    why = "; ".join(f"{frames[n].name or f'frame {n}'} {reason}" for n, reason in sorted(dropped.items()))
    raise DataError(
        "at least two frames, and half of all, must show the same place of the specimen.",
        got=f"{len(kept)} of {len(frames)} frames fit: {why}",
        do="check that the frames belong together, and that --scan-angles gives the direction of each "
        "(counter-clockwise on the screen; some microscopes count the other way: try the negative)",
    )


def _place(
    scans: dict[int, Scan], progress: Progress
) -> tuple[dict[int, Scan], Float[np.ndarray, "vector 2"], dict[int, str]]:
    """Return the scans at their rigid places, the shortest lattice vectors, and which scans match no other, and why."""
    progress("finding where frames lie", 0.0)
    images = [value.astype(np.float64) for value in stack(list(scans.values())).values]
    edge = min(next(iter(scans.values())).data.shape)
    vectors = repeats(images, longest_px=LONGEST_PERIOD * edge)
    cell_px = period(vectors, otherwise=edge / PERIODS)
    pairs = compare_all(images, cell_px=cell_px, reach_px=LARGEST_SHIFT * edge)
    odd = {list(scans)[n]: reason for n, reason in strangers(pairs).items()}
    if not odd:
        places = place_pairs(pairs, cell_px=cell_px)
        scans = {
            n: scan.moved(place) for (n, scan), place in zip(scans.items(), places - places.mean(axis=0), strict=True)
        }
    progress("finding where frames lie", 1.0)
    return scans, vectors, odd


def _align_rows(
    scans: dict[int, Scan], cell_px: float, progress: Progress, *, rounds: int
) -> tuple[Motion, dict[int, Float[np.ndarray, "row 2"]], float]:
    """Move every row to where it fits best, in place; return what was learned, sigma of the rows, and the last move.

    All scans move at once. Against w others that are scanned alike and move too, a step of 1 would overshoot: they meet
    after one of w / (w + 1). Scans that cross do not follow each other's rows, only each other as a whole.
    """
    directions = [scan.angle_deg % 180.0 for scan in scans.values()]
    unknown = (float("nan"), float("nan"))
    motion, rest = Motion(jitter_px=unknown, walk_px=unknown), float("nan")
    sigmas = {n: np.full_like(scan.offset_px, np.nan) for n, scan in scans.items()}
    for turn in range(rounds):
        progress("aligning rows", turn / rounds)
        made = stack(list(scans.values()))
        seen = [
            row_shifts(scan, reference_of(made.without(n), cell_px=cell_px), made.values[n], cell_px=cell_px)
            for n, scan in enumerate(made.scans)
        ]
        motion = learn_motion(seen)
        moves = []
        for place, ((n, scan), row) in enumerate(zip(scans.items(), seen, strict=True)):
            offset, sigmas[n] = likeliest(row, motion)
            change = offset - scan.offset_px
            common = change.mean(axis=0)
            others = made.company(place)[:, None]
            step = np.maximum(others / (others + 1.0), 0.5)
            moves.append(
                (step if directions.count(scan.angle_deg % 180.0) > 1 else 1.0) * (change - common)
                + (len(scans) - 1) / len(scans) * common
            )
        for n, move in zip(scans, moves, strict=True):
            scans[n] = scans[n].moved(move)
        known = [np.trace(row.information, axis1=1, axis2=2) for row in seen]
        told = [move[part > 0.2 * np.median(part)] for move, part in zip(moves, known, strict=True)]
        rest = float(np.sqrt(np.mean(np.concatenate(told) ** 2)))
        if rest < SETTLED_PX:
            break
    progress("aligning rows", 1.0)
    return motion, sigmas, rest
