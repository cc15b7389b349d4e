"""What became of a series: the average, cut to where enough frames looked, and the record of every frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dipolar.align.average import Stack, standard_error
from dipolar.align.judge import Verdict
from dipolar.align.motion import Motion
from dipolar.align.scan import Scan
from dipolar.core.alignment import AlignedFrame, Alignment
from dipolar.core.errors import DataError
from dipolar.core.nouns import Image

UNSURE_NATS = float(np.log(100.0))
"""Places that are not this much likelier than those a lattice vector away are not known."""
RESTLESS_CELLS = 0.025
"""Rows that still move by more than this in the last round have found no place: even at 0.4 counts per pixel they move
by less than 0.005 cells when the frames belong together."""
LEAST_COVERED = 0.5
"""Less than this of the image seen by enough frames, its rows having gone apart, is no image."""

LEAST_CORRELATION = 0.2
"""Frames that correlate less, blurred by 0.15 cells, show nothing in common that could be averaged."""


def outcome(
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
    place_margin: float,
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
        place_margin=place_margin,
    )


def contradictions(result: Alignment) -> list[str]:
    """Return what speaks against an alignment, in words: places, rows, and holes."""
    lengths = np.linalg.norm(result.lattice_px, axis=1)
    covered = float(np.mean(np.isfinite(result.image.data)))
    like = float(np.median([frame.correlation for frame in result.kept]))
    found = []
    if like < LEAST_CORRELATION:
        found.append(f"frames have little in common (correlation {like:.2f})")
    if result.place_margin < UNSURE_NATS:
        words = "fit better a lattice vector away" if result.place_margin < 0 else "fit as well a lattice vector away"
        found.append(f"frames {words} (log-likelihood margin {result.place_margin:.1f})")
    if len(lengths) and result.residual_rms > RESTLESS_CELLS * lengths.min():
        found.append(f"rows still move by {result.residual_rms:.1f} px")
    if covered < LEAST_COVERED:
        found.append(f"only {100 * covered:.0f} % of the image is seen by enough frames")
    return found


def check_credible(result: Alignment) -> None:
    """Refuse an alignment that contradicts itself: another place is clearly likelier, or two things speak against it.

    Raises
    ------
    DataError
        With all that speaks against it.
    """
    against = contradictions(result)
    if len(against) < 2 and not result.place_margin < -UNSURE_NATS:
        return
    angles = [frame.scan_angle_deg for frame in result.kept]
    told = ", ".join(f"{angle:g}" for angle in angles[:8]) + (" …" if len(angles) > 8 else "")
    raise DataError(
        "frames must show one place of the specimen, each scanned along the direction that is given for it.",
        got=f"{len(angles)} frames, scan angles {told}; aligned as well as they can be, {'; '.join(against)}",
        do="check that the frames belong together, and that --scan-angles gives the direction of each, "
        "counter-clockwise on the screen (some microscopes count the other way: try the negative); leave it out where "
        "all were scanned alike",
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
