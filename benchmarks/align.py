"""How near an aligned average comes to one undistorted image of the same dose, and whether frames ever jump.

Three parts, each on simulated frames of the benchmark film, held against the simulation's truth:

  series  12 frames, drift up to 70 px, row jitter 0.3 px, the dose shared between them. Displacement RMSE per component
          of the aligned average over that of one undistorted image with the dose of all frames together, on the same
          cells, where every frame looked. Beside it: the same frames moved as wholes by the shifts found (rigid), and
          by those of scikit-image's phase_cross_correlation against the first frame (phase).
  jumps   how many of the frames of many such series lie half a lattice vector or more from where they should, all
          frames of a series together moved as they fit best. Half of the series count on even drift, half on a walk.
  pairs   two scans at 0° and 90°, each with the film's full dose, 3 % shear from even drift, and a random walk of the
          drift from row to row. Error per component of the positions of A and B columns after one shift of the whole
          image is taken off, and nothing else: no rotation, no scale, no shear. The same of one still image with the
          dose of both says how much of it is counting noise.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import numpy as np
from scipy.spatial import cKDTree
from skimage.registration import phase_cross_correlation

from dipolar.align import Scan, align_frames
from dipolar.align.average import stack
from dipolar.core.alignment import Alignment
from dipolar.core.nouns import Cells, Columns, Image
from dipolar.locate import locate_columns
from dipolar.measure import build_cells
from dipolar.simulate import SeriesSettings, SimulatedSeries, benchmark_film, simulate_series
from harness.machine import announce
from harness.table import Score, Table, Target

RATIO = Target(high=1.15, form="{:.2f}")
NONE = Target(high=0, form="{:.0f}")
RESIDUAL = Target(high=0.1, form="{:.1f}")
FRAMES, REACH_PX, JITTER_PX = 12, 70.0, 0.3
SHEAR, WALK_PX = 0.03, 0.05
MARGIN_PX = 12.0
"""Columns nearer to the rim of what all frames saw are left out."""


def series_of(size_px: int, seed: int, *, walk_share: float = 0.3) -> SimulatedSeries:
    """Return one series of the benchmark film."""
    settings = SeriesSettings(
        film=benchmark_film(size_px=size_px, row_jitter_px=JITTER_PX),
        scan_angles_deg=(0.0,) * FRAMES,
        reach_px=REACH_PX,
        walk_share=walk_share,
    )
    return simulate_series(settings, rng=np.random.default_rng(seed))


def pair_of(size_px: int, seed: int) -> SimulatedSeries:
    """Return two crossed scans."""
    settings = SeriesSettings(
        film=benchmark_film(size_px=size_px, dose=2.0),
        scan_angles_deg=(0.0, 90.0),
        reach_px=0.0,
        shear=SHEAR,
        walk_px=(WALK_PX, WALK_PX),
    )
    return simulate_series(settings, rng=np.random.default_rng(seed))


def origin_in_truth(series: SimulatedSeries, aligned: Alignment) -> np.ndarray:
    """Return where pixel (0, 0) of the aligned image lies in the image at rest, before any distortion is known."""
    first = next(n for n, frame in enumerate(aligned.frames) if not frame.dropped)
    half = (np.array(series.frames[0].data.shape) - 1.0) / 2.0
    return series.middle_px - half + series.offset_px[first].mean(axis=0) + aligned.origin_px


def pair_up(truth_px: np.ndarray, found_px: np.ndarray, *, within_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (true, found) of the same columns, after a shift of all that fits best."""
    shift = np.zeros(2)
    for _ in range(4):
        distance, nearest = cKDTree(found_px).query(truth_px - shift)
        good = distance < within_px
        shift = shift + np.median((truth_px - shift)[good] - found_px[nearest[good]], axis=0)
    return np.flatnonzero(good), nearest[good]


def displacements(image: Image) -> tuple[Columns, Cells]:
    """Return columns and cells of an image."""
    columns = locate_columns(image)
    return columns, build_cells(columns)


def cell_errors(
    series: SimulatedSeries, image: Image, origin_px: np.ndarray, fair: tuple[np.ndarray, np.ndarray]
) -> dict[int, np.ndarray]:
    """Return row of the true cell → error of the displacement in pm, for true cells inside the fair region."""
    _, cells = displacements(image)
    truth = series.still.truth_cells
    step = float(np.median(np.linalg.norm(truth.a_px, axis=1)))
    true, mine = pair_up(truth.positions_px, cells.positions_px + origin_px, within_px=0.4 * step)
    low, high = fair
    inside = np.all((truth.positions_px[true] > low) & (truth.positions_px[true] < high), axis=1)
    scale = series.frames[0].pixel_size_pm
    errors = scale * (cells.displacement_px[mine] - truth.displacement_px[true])
    return {int(row): error for row, error, good in zip(true, errors, inside, strict=True) if good}


def fair_region(series: SimulatedSeries) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners (y, x) of what all frames saw, less a margin, in the image at rest."""
    half = (np.array(series.frames[0].data.shape) - 1.0) / 2.0
    low = (series.middle_px - half + series.offset_px.max(axis=(0, 1))) + MARGIN_PX
    return low, series.middle_px + half + series.offset_px.min(axis=(0, 1)) - MARGIN_PX


def moved_average(series: SimulatedSeries, shifts_px: np.ndarray) -> tuple[Image, np.ndarray]:
    """Return the average of the frames, each moved as a whole, and where its pixel (0, 0) lies from the first's."""
    rows = len(series.frames[0].data)
    scans = [
        Scan(data=frame.data, angle_deg=0.0, offset_px=np.tile(shift, (rows, 1)))
        for frame, shift in zip(series.frames, shifts_px - shifts_px[0], strict=True)
    ]
    made = stack(scans)
    data = np.where(made.weight > 0.5 * len(scans), made.average(), np.nan).astype(np.float32)
    return Image(data=data, pixel_size_pm=series.frames[0].pixel_size_pm), -scans[0].start(made.shape)


def phase_shifts(series: SimulatedSeries) -> np.ndarray:
    """Return the shifts that scikit-image's phase correlation finds against the first frame."""
    first = series.frames[0].data
    return np.array([phase_cross_correlation(first, f.data, upsample_factor=50)[0] for f in series.frames])


def rms(errors: np.ndarray) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(errors)))) if errors.size else float("nan")


def run_series(options: argparse.Namespace, score: Score) -> None:
    """Print the table of displacement RMSE."""
    print(f"\n### series: {options.seeds} of {FRAMES} frames of {options.size}²")
    table = Table(
        "seed", "cells", "still pm", "aligned pm", "aligned/still", "rigid/still", "phase/still", "jitter px", "s"
    )
    ratios = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        series = series_of(options.size, seed)
        start = time.perf_counter()
        aligned = align_frames(series.frames)
        seconds = time.perf_counter() - start
        fair = fair_region(series)
        shifts = np.array([frame.shift_px for frame in aligned.frames])
        where = origin_in_truth(series, aligned) - aligned.origin_px
        still = cell_errors(series, series.still.image, np.zeros(2), fair)
        ours = cell_errors(series, aligned.image, origin_in_truth(series, aligned), fair)
        others = [
            cell_errors(series, image, where + away, fair)
            for image, away in (moved_average(series, shifts), moved_average(series, phase_shifts(series)))
        ]
        common = sorted(set(still) & set(ours))
        base = rms(np.array([still[row] for row in common]))
        mine = rms(np.array([ours[row] for row in common]))
        ratios.append(mine / base)
        rest = [rms(np.array([found[row] for row in sorted(set(still) & set(found))])) / base for found in others]
        jitter = f"{aligned.row_jitter_px[0]:.2f} {aligned.row_jitter_px[1]:.2f}"
        figures = (f"{base:.3f}", f"{mine:.3f}", f"{mine / base:.3f}", f"{rest[0]:.2f}", f"{rest[1]:.2f}")
        table.row(seed, f"{len(common)} of {len(still)}", *figures, jitter, f"{seconds:.0f}")
    print("mean ratio:", score.judge("series, RMSE over that of one still image", [float(np.mean(ratios))], RATIO))


def jumped(series: SimulatedSeries, shifts_px: np.ndarray) -> int:
    """Return how many frames lie more than 0.45 lattice vectors from their place."""
    true = series.offset_px.mean(axis=1)
    away = shifts_px - (true - true[0])
    away = away - np.nanmedian(away, axis=0)
    step = float(np.median(np.linalg.norm(series.still.truth_cells.a_px, axis=1)))
    return int(np.count_nonzero(~(np.linalg.norm(away, axis=1) < 0.45 * step)))


def run_jumps(options: argparse.Namespace, score: Score) -> None:
    """Print how many frames jumped."""
    print(f"\n### jumps: {options.series} series of {FRAMES} frames of {options.jump_size}²")
    counts = {"aligned": 0, "phase_cross_correlation": 0}
    series_with = dict.fromkeys(counts, 0)
    for seed in range(options.first_seed, options.first_seed + options.series):
        series = series_of(options.jump_size, 10_000 + seed, walk_share=0.1 if seed % 2 else 0.3)
        found = align_frames(series.frames, rows=False)
        for name, shifts in (
            ("aligned", np.array([frame.shift_px for frame in found.frames])),
            ("phase_cross_correlation", phase_shifts(series)),
        ):
            wrong = jumped(series, shifts)
            counts[name] += wrong
            series_with[name] += wrong > 0
            if wrong and name == "aligned":
                print(f"seed {seed}: {wrong} frames; dropped {len(found.dropped)}", flush=True)
    table = Table("way".ljust(24), "frames that jumped".ljust(18), "series with a jump")
    for name, count in counts.items():
        judged = partial(score.judge, f"jumps, {name}, series with a jump", [float(series_with[name])], form="{:.0f}")
        text = judged(NONE if name == "aligned" else None)
        table.row(name, f"{count} of {options.series * FRAMES}", f"{text} of {options.series}")


def position_errors(series: SimulatedSeries, image: Image, origin_px: np.ndarray) -> np.ndarray:
    """Return the errors of column positions (y, x) in px, the mean shift taken off and nothing else."""
    columns = locate_columns(image)
    truth = series.still.truth_columns
    step = float(np.mean(np.linalg.norm(truth.steps_px, axis=1)))
    found = columns.positions_px + origin_px
    true, mine = pair_up(truth.positions_px, found, within_px=0.45 * step)
    mine_px = columns.positions_px[mine]
    size = np.array(image.data.shape)
    inside = np.all((mine_px > MARGIN_PX) & (mine_px < size - MARGIN_PX), axis=1)
    errors = (found[mine] - truth.positions_px[true])[inside]
    return errors - errors.mean(axis=0)


def run_pairs(options: argparse.Namespace, score: Score) -> None:
    """Print the table of position errors."""
    print(f"\n### pairs: {options.seeds} of two scans of {options.size}², shear {SHEAR}, walk {WALK_PX} px per row")
    table = Table("seed", "distortion px", "corrected px", "still image px", "columns")
    worst = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        series = pair_of(options.size, seed)
        aligned = align_frames(series.frames, scan_angles_deg=series.scan_angles_deg)
        apart = series.offset_px - series.offset_px.mean(axis=1, keepdims=True)
        before = rms(apart)
        errors = position_errors(series, aligned.image, origin_in_truth(series, aligned))
        still = position_errors(series, series.still.image, np.zeros(2))
        worst.append(rms(errors))
        table.row(seed, f"{before:.2f}", f"{worst[-1]:.3f}", f"{rms(still):.3f}", len(errors))
    print("largest:", score.judge("pairs, RMS position error", [max(worst)], RESIDUAL))


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["series", "jumps", "pairs"], help="which parts (default all)")
    parser.add_argument("--size", type=int, default=512, help="edge of the frames of series and pairs (default 512)")
    parser.add_argument("--seeds", type=int, default=3, help="series, and pairs (default 3)")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first (default 0)")
    parser.add_argument("--series", type=int, default=200, help="series that are searched for jumps (default 200)")
    parser.add_argument("--jump-size", type=int, default=384, help="edge of their frames (default 384)")
    options = parser.parse_args()
    announce()
    score = Score()
    for part in options.parts:
        {"series": run_series, "jumps": run_jumps, "pairs": run_pairs}[part](options, score)
    score.close()


if __name__ == "__main__":
    main()
