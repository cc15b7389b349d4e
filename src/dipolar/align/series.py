"""Many frames of one specimen → one image, with its sigma: rigid, then slow, then row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dipolar.align.average import Stack, stack, standard_error
from dipolar.align.checks import blank, check_frames
from dipolar.align.coarse import follow_patches, slow_offsets
from dipolar.align.judge import Verdict, judge, judge_one, misfit
from dipolar.align.lattice import period, repeats
from dipolar.align.rigid import place_frames
from dipolar.align.rows import Motion, learn_motion, likeliest, reference_of, row_shifts
from dipolar.align.scan import Scan, resample
from dipolar.core.alignment import AlignedFrame, Alignment
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import DataError
from dipolar.core.nouns import Image

SLOW_ROUNDS, ROW_ROUNDS = 2, 8
"""Rounds of patches, and most rounds of rows."""
LEAST_MARGIN = 0.35
"""A frame whose margin over the next lattice vector is less than this share of the usual one is placed anew."""
SETTLED_PX = 0.02
"""Rounds of rows end when the rows move by less than this, root mean square."""
LONGEST_PERIOD = 0.3
"""Longest lattice vector looked for, as a share of the shorter edge of a frame."""
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
    does not fit is dropped, with the reason. With frames scanned along different directions the rows of one cross
    those of another, so that even what is common to all rows of a scan is found (Ophus, Ciston and Nelson,
    Ultramicroscopy 162 (2016) 1); with one direction only, distortion common to all frames remains.

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
        Where there are fewer than two frames, where they differ in shape or pixel size, or where fewer than two, or
        fewer than half, fit to each other.
    """
    angles = [0.0] * len(frames) if scan_angles_deg is None else [float(angle) for angle in scan_angles_deg]
    check_frames(frames, angles)
    dropped = {n: reason for n, frame in enumerate(frames) if (reason := blank(frame))}
    kept = [n for n in range(len(frames)) if n not in dropped]
    check_enough(frames, kept, dropped)
    scans = {n: Scan(data=_float(frames[n]), angle_deg=angles[n], offset_px=np.zeros((len(frames[n].data), 2)))
             for n in kept}  # fmt: skip
    progress("finding where frames lie", 0.0)
    made = stack(list(scans.values()))
    edge = min(frames[0].data.shape)
    images = [value.astype(np.float64) for value in made.values]
    vectors = repeats(images, longest_px=LONGEST_PERIOD * edge)
    cell_px = period(vectors, otherwise=edge / 16.0)
    places = place_frames(images, vectors, reach_px=LARGEST_SHIFT * edge)
    scans = {n: scans[n].moved(place) for n, place in zip(kept, places - places.mean(axis=0), strict=True)}
    progress("finding where frames lie", 1.0)

    scans, verdicts = _settle(scans, dropped, frames, vectors, cell_px, progress)
    motion, sigmas, rest = _align_rows(scans, cell_px, progress, rounds=ROW_ROUNDS if rows else 0)
    progress("averaging", 0.0)
    made = stack(list(scans.values()))
    final = dict(zip(scans, judge(made, vectors, cell_px=cell_px), strict=True))
    verdicts |= final
    result = _result(frames, angles, scans, dropped, made, verdicts, sigmas, motion, vectors, rest)
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


def _settle(
    scans: dict[int, Scan],
    dropped: dict[int, str],
    frames: Sequence[Image],
    vectors: Float[np.ndarray, "vector 2"],
    cell_px: float,
    progress: Progress,
) -> tuple[dict[int, Scan], dict[int, Verdict]]:
    """Take off the slow distortion, move frames that lie a lattice vector off, and drop those that do not fit."""
    verdicts: dict[int, Verdict] = {}
    retried: set[int] = set()
    most = len(scans) + 4
    for turn in range(most):
        progress("following slow distortion", turn / most)
        for _ in range(SLOW_ROUNDS):
            scans = _follow(scans, cell_px)
        made = stack(list(scans.values()))
        judged = judge(made, vectors, cell_px=cell_px)
        verdicts |= dict(zip(scans, judged, strict=True))
        wrong = [(v.margin, n, v.better_px) for n, v in zip(scans, judged, strict=True) if v.margin < 0]
        if wrong and turn < 4:
            for _, n, move in sorted(wrong, key=lambda item: item[0])[: max(1, len(scans) // 3)]:
                scans[n] = scans[n].moved(move)
            continue
        doubtful = [n for n, v in zip(scans, judged, strict=True) if n not in retried and _doubtful(v, judged)]
        if doubtful:
            retried |= set(doubtful)
            scans |= {n: _placed_anew(made, list(scans).index(n), vectors, cell_px) for n in doubtful}
            continue
        bad = misfit(judged)
        if bad is None:
            break
        number = list(scans)[bad[0]]
        if len(scans) == 2:
            dropped |= dict.fromkeys(scans, bad[1])
            check_enough(frames, [], dropped)
        dropped[number] = bad[1]
        scans = {n: scan for n, scan in scans.items() if n != number}
        check_enough(frames, list(scans), dropped)
    progress("following slow distortion", 1.0)
    return scans, verdicts


def _doubtful(verdict: Verdict, all_of_them: list[Verdict]) -> bool:
    """Return whether a frame's place is much less certain than that of the others."""
    usual = float(np.nanmedian([v.margin for v in all_of_them])) if len(all_of_them) > 2 else float("nan")
    return verdict.margin < LEAST_MARGIN * usual


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


def _result(
    frames: Sequence[Image],
    angles: list[float],
    scans: dict[int, Scan],
    dropped: dict[int, str],
    made: Stack,
    verdicts: dict[int, Verdict],
    sigmas: dict[int, Float[np.ndarray, "row 2"]],
    motion: Motion,
    vectors: Float[np.ndarray, "vector 2"],
    rest: float,
) -> Alignment:
    """Return the average, cut to where enough frames were, and what became of every frame."""
    enough = made.seen_by(max(1.5, 0.5 * len(scans) - 0.25))
    rows, columns = np.flatnonzero(enough.any(axis=1)), np.flatnonzero(enough.any(axis=0))
    if not len(rows):
        raise DataError(
            "frames must overlap.", got="no pixel that half of them saw", do="check that they show the same place"
        )
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    image = np.where(enough, made.average(), np.nan).astype(np.float32)[part]
    middles = {n: scan.offset_px.mean(axis=0) for n, scan in scans.items()}
    first = next(iter(scans))
    shifts = np.array([middles[n] - middles[first] for n in scans])
    numbers = np.array(list(scans))
    drift = np.polyfit(numbers, shifts, 1)[0] if len(numbers) > 1 else np.zeros(2)
    # Pixel (0, 0) of the first frame, as its rows lie on average, on the grid.
    origin = scans[first].start(made.shape) + middles[first]
    return Alignment(
        image=Image(
            data=np.ascontiguousarray(image),
            pixel_size_pm=frames[first].pixel_size_pm,
            name=f"average of {len(scans)} frames",
            facts=frames[first].facts,
        ),
        sigma=np.where(enough, standard_error(made), np.float32(np.nan))[part],
        coverage=made.weight.astype(np.float32)[part],
        origin_px=np.array([rows[0], columns[0]]) - origin,
        frames=tuple(
            _frame(frame, n, angles[n], scans.get(n), dropped, verdicts, sigmas, middles, first)
            for n, frame in enumerate(frames)
        ),
        row_jitter_px=motion.jitter_px,
        drift_step_px=motion.walk_px,
        frame_drift_px=(float(drift[0]), float(drift[1])),
        lattice_px=vectors,
        residual_rms=rest,
    )


def _frame(
    frame: Image,
    number: int,
    angle: float,
    scan: Scan | None,
    dropped: dict[int, str],
    verdicts: dict[int, Verdict],
    sigmas: dict[int, Float[np.ndarray, "row 2"]],
    middles: dict[int, Float[np.ndarray, "2"]],
    first: int,
) -> AlignedFrame:
    unknown = np.full((len(frame.data), 2), np.nan)
    verdict, sigma = verdicts.get(number), sigmas.get(number)
    if scan is None or sigma is None:
        shift, shift_sigma, offset, sigma = np.full(2, np.nan), np.full(2, np.nan), unknown, unknown
    else:
        shift = middles[number] - middles[first]
        # Errors of neighbouring rows go together through the drift; n_rows independent ones would be too few.
        shift_sigma = np.sqrt(np.mean(sigma**2, axis=0) / max(len(sigma) / 8.0, 1.0))
        offset = scan.offset_px - middles[number]
    return AlignedFrame(
        name=frame.name or f"frame {number}",
        scan_angle_deg=angle,
        shift_px=shift,
        shift_sigma_px=shift_sigma,
        row_offset_px=offset,
        row_sigma_px=sigma,
        correlation=float("nan") if verdict is None else verdict.correlation,
        contrast=float("nan") if verdict is None else verdict.contrast,
        lattice_margin=float("nan") if verdict is None else verdict.margin,
        dropped=dropped.get(number, ""),
    )
