"""How many unit cells are found, and what is found that is not there, over rotation, scale and brightness.

Films of the benchmark's kind at rotations from 0 to 45°, 8 to 60 px per cell, 3 % shear and B/A intensity 0.2 to 1.3
(above 1 the program is told that B is the brighter one; at exactly 1 either labelling counts as right, as the image
cannot tell). Counts per pixel are those of the benchmark film at every scale; with --per-area they follow the area of
the pixel, so that a column has as many counts at every scale. Each row pools the rotations:

  found     complete cells that were found as one cell of the same five columns, in per cent of those that are true.
            Complete: all five columns have their window of three widths on the image
  rim       the same for the cells at the rim, whose columns all have their centre on the image: for information
  spurious  cells that are made of other columns than a true cell, in per cent of the cells found; and columns that
            are none, in per cent of the columns found. Only what stands farther than one width from the rim can be
            spurious: nearer, what was found may be a true column whose centre is just outside
  worst     largest error of a column of a complete cell, in pm; and over its own counting limit per component
"""

from __future__ import annotations

import argparse
import itertools
import math
from dataclasses import dataclass, fields

import numpy as np

from dipolar.core.errors import DipolarError
from dipolar.core.nouns import Columns
from dipolar.locate import locate_columns
from dipolar.measure import build_cells
from dipolar.simulate import Simulated, benchmark_film, cramer_rao, simulate_film
from harness.machine import announce
from harness.table import Score, Table, Target
from harness.truth import complete, inside, pair_cells, pair_columns

FOUND = Target(low=99.9)
SPURIOUS = Target(high=0.1)
WORST_PM = Target(high=50.0)
SHEAR = 0.03
LARGEST_PX = 2048
BENCHMARK_CELL_PX = 396.0 / 17.25


@dataclass
class Counts:
    """What was found in one film; films add up."""

    cells: int = 0
    cells_found: int = 0
    rim: int = 0
    rim_found: int = 0
    found: int = 0
    spurious: int = 0
    columns: int = 0
    spurious_columns: int = 0
    worst_pm: float = 0.0
    worst_over_limit: float = 0.0

    def add(self, other: Counts) -> None:
        """Add the counts of another film; of the worst, keep the worse."""
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            setattr(self, one.name, max(mine, theirs) if one.name.startswith("worst") else mine + theirs)


def per_cent(part: int, whole: int) -> float:
    """Return the share in per cent, nan of nothing."""
    return 100.0 * part / whole if whole else math.nan


def size_for(cell_px: float, cells: int) -> int:
    """Return the edge of a film with about so many complete cells, up to the largest."""
    return min(LARGEST_PX, math.ceil((math.sqrt(cells) + 2.0) * cell_px))


def labels_swapped(film: Simulated, found: Columns, row: np.ndarray) -> bool:
    """Return whether A and B are called the other way round all over the film."""
    known = np.flatnonzero(row >= 0)
    wrong = found.sublattice[row[known]] != film.truth_columns.sublattice[known]
    return bool(wrong.mean() > 0.5) if len(wrong) else False


def examine(film: Simulated, found: Columns, *, either_label: bool) -> Counts:
    """Hold the columns and cells of one film against the truth."""
    truth, shape, scale = film.truth_columns, film.image.data.shape, film.image.pixel_size_pm
    row = pair_columns(truth, found)
    cells = build_cells(found, basis="B" if either_label and labels_swapped(film, found, row) else "A")
    true, mine = pair_cells(film.truth_cells, cells, row)
    whole = complete(film.truth_cells, inside(truth, shape))
    unmatched, off_rim = np.ones(len(found.flags), dtype=bool), inside(found, shape, widths=1.0)
    unmatched[row[row >= 0]] = False
    foreign = np.ones(len(cells.flags), dtype=bool)
    foreign[mine] = False
    counts = Counts(
        cells=int(np.count_nonzero(whole)),
        cells_found=int(np.count_nonzero(whole[true])),
        rim=int(np.count_nonzero(~whole)),
        rim_found=int(np.count_nonzero(~whole[true])),
        found=len(cells.flags),
        spurious=int(np.count_nonzero(foreign & complete(cells, off_rim))),
        columns=len(found.flags),
        spurious_columns=int(np.count_nonzero(unmatched & off_rim)),
    )
    rows = true[whole[true]]
    used = np.unique(np.concatenate([film.truth_cells.corners[rows].ravel(), film.truth_cells.center[rows]]))
    if len(used):
        error = found.positions_px[row[used]] - truth.positions_px[used]
        limit = np.sqrt(np.einsum("nii->ni", cramer_rao(truth, film.expected)[used]))
        counts.worst_pm = scale * float(np.linalg.norm(error, axis=1).max())
        counts.worst_over_limit = float(np.nanmax(np.abs(error) / limit))
    return counts


def measure(cell_px: float, ratio: float, rotation_deg: float, options: argparse.Namespace) -> Counts:
    """Simulate one film, measure it and count."""
    settings = benchmark_film(
        size_px=size_for(cell_px, options.cells),
        cell_px=cell_px,
        ratio_b_to_a=ratio,
        rotation_deg=rotation_deg,
        shear=SHEAR,
        dose=options.dose * ((BENCHMARK_CELL_PX / cell_px) ** 2 if options.per_area else 1.0),
    )
    film = simulate_film(settings, rng=np.random.default_rng(options.seed))
    try:
        found = locate_columns(film.image, bright="B" if ratio > 1 else "A")
    except DipolarError as error:
        print(f"  {cell_px:g} px per cell, B/A {ratio:g}, {rotation_deg:g}°: {type(error).__name__}", flush=True)
        whole = int(np.count_nonzero(complete(film.truth_cells, inside(film.truth_columns, film.image.data.shape))))
        return Counts(cells=whole, worst_pm=math.inf)
    return examine(film, found, either_label=ratio == 1.0)


def main() -> None:
    """Run all combinations and print one row for each scale and ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rotations", nargs="+", type=float, default=[0.0, 10.0, 22.5, 35.0, 45.0], help="degrees")
    parser.add_argument("--cell-px", nargs="+", type=float, default=[8.0, 12.0, 20.0, 35.0, 60.0], help="px per cell")
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.2, 0.5, 0.8, 1.0, 1.3], help="B/A intensity")
    parser.add_argument("--cells", type=int, default=1600, help="cells per film, as far as 2048 px hold them")
    parser.add_argument("--dose", type=float, default=1.0, help="factor on all counts")
    parser.add_argument(
        "--per-area", action="store_true", help="counts follow the area of a pixel: one dose of the beam"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of every film")
    options = parser.parse_args()
    announce()
    score, everything = Score(), Counts()
    table = Table(
        *("px/cell", "B/A", "size px", "cells  ", "found %  ", "rim % "),
        *("spurious cells, columns %", "worst pm, limits"),
    )
    table.row("target", "", "", "", FOUND, "–", SPURIOUS, f"{WORST_PM}")
    for cell_px, ratio in itertools.product(options.cell_px, options.ratios):
        pooled = Counts()
        for rotation in options.rotations:
            pooled.add(measure(cell_px, ratio, rotation, options))
        everything.add(pooled)
        size = size_for(cell_px, options.cells)
        table.row(f"{cell_px:g}", f"{ratio:g}", size, *judged(pooled, score, cell_px, ratio))
    table.row("all", "", "", *judged(everything, Score(), 0, 0))
    score.close()


def judged(counts: Counts, score: Score, cell_px: float, ratio: float) -> list[object]:
    """Return the cells of a row from the count of cells on."""
    where = f"{cell_px:g} px per cell, B/A {ratio:g}"
    spurious = [per_cent(counts.spurious, counts.found), per_cent(counts.spurious_columns, counts.columns)]
    worst = score.judge(f"{where}, worst pm", [counts.worst_pm], WORST_PM, form="{:.1f}")
    return [
        counts.cells,
        score.judge(f"{where}, found %", [per_cent(counts.cells_found, counts.cells)], FOUND, form="{:.2f}"),
        f"{per_cent(counts.rim_found, counts.rim):.1f}",
        score.judge(f"{where}, spurious %", spurious, SPURIOUS, form="{:.3f}"),
        f"{worst} {counts.worst_over_limit:.1f}",
    ]


if __name__ == "__main__":
    main()
