"""Time and memory, and how they compare with the programs people use, on the same film in the same run.

  fit       CPU per column of `locate_columns` and of its parts, both ways of fitting
  film      47,600 columns from image to displacement with sigma, in a fresh process
  scaling   the same from 1024² to 8192², each in a fresh process, and the slope of the logarithms
  scipy     SciPy's trust region on a sample of columns: five parameters without background, and seven
  atomap    Atomap's documented workflow in its own environment (benchmarks/peers/setup.sh makes it)

Fresh processes find the compiled kernels in numba's cache; a small film fills it beforehand. Imports are shown apart
and never part of a ratio. CPU is that of all threads. Learning costs the same for few columns as for many, so figures
per column and ratios mean something from 2048² on.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import numpy as np

from dipolar.core.nouns import A, B
from dipolar.locate import AbstractFit, GaussianFit, SharedProfileFit, locate_columns
from dipolar.measure import build_cells
from harness.atomap_peer import dipolar_errors, displacement_errors, installed, run_atomap
from harness.films import film_of, on_disk
from harness.fit_cost import FITTING, fit_cost
from harness.machine import announce
from harness.process import run_fresh
from harness.scipy_peer import fit_columns
from harness.table import Score, Table, Target
from harness.truth import inside

FITS: dict[str, AbstractFit] = {"profile": SharedProfileFit(), "gaussian": GaussianFit()}
FIT_US = {"profile": Target(high=80.0), "gaussian": Target(high=50.0)}
FILM_WALL_S, FILM_MB = Target(high=3.0), Target(high=1000.0)
LINEAR = Target(high=1.1)
SCIPY_REACHES = (0.3, 0.5)
"""Windows that end well before the neighbours, and half way to them."""
LESS_THAN_SCIPY, LESS_THAN_ATOMAP = Target(low=30.0), Target(low=150.0)


def fill_cache() -> None:
    """Compile whatever is not yet compiled: fresh processes then only load it."""
    with on_disk(film_of(512).image.data) as path:
        for fit in FITS:
            run_fresh("harness.measure_film", [str(path), "--fit", fit])


def part_fit(options: argparse.Namespace, score: Score) -> None:
    """Print CPU per column by part."""
    size = options.size or 2048
    film = film_of(size)
    count = len(film.truth_columns.flags)
    print(f"### fit: µs of CPU per column, {size}², {count} columns, median of {options.repeats}")
    costs = {name: fit_cost(film.image, fit, repeats=options.repeats) for name, fit in FITS.items()}
    table = Table("part".ljust(len(FITTING)), *(f"{name} (target {FIT_US[name]})" for name in FITS))
    for part in costs["profile"]:
        targets = {name: FIT_US[name] if part == FITTING else None for name in FITS}
        table.row(
            part,
            *(score.judge(f"fit, {n}, {part}, µs", [costs[n][part]], targets[n], form="{:.1f}") for n in FITS),
        )


def part_film(options: argparse.Namespace, score: Score) -> None:
    """Print what one large film takes from image to displacement with sigma."""
    size = options.size or 3529
    print(f"### film: {size}² from image to displacement ± sigma, {options.repeats} fresh processes")
    fill_cache()
    table = Table(
        *("fit     ", "columns", "cells", "with sigma", f"best wall s ({FILM_WALL_S})", "median wall s"),
        *("CPU s", f"peak MB ({FILM_MB})", "import wall s"),
    )
    with on_disk(film_of(size).image.data) as path:
        for fit in FITS:
            runs = [run_fresh("harness.measure_film", [str(path), "--fit", fit]) for _ in range(options.repeats)]
            best = min(runs, key=lambda run: run["wall_s"])
            wall = score.judge(f"film, {fit}, wall s", [best["wall_s"]], FILM_WALL_S, form="{:.2f}")
            peak = max(run["peak_mb"] for run in runs)
            table.row(
                *(fit, best["columns"], best["cells"], best["cells_with_sigma"], wall),
                *(f"{np.median([run['wall_s'] for run in runs]):.2f}", f"{best['cpu_s']:.2f}"),
                score.judge(f"film, {fit}, peak MB", [peak], FILM_MB, form="{:.0f}"),
                f"{best['import_wall_s']:.2f}",
            )


def part_scaling(options: argparse.Namespace, score: Score) -> None:
    """Print time and memory from small to large films, and how they grow."""
    print("### scaling: image to displacement ± sigma, one fresh process each")
    fill_cache()
    table = Table(
        *("size px", "columns", "wall s", "CPU s  ", "CPU µs/column", "peak MB", "above imports kB/column"),
    )
    runs = []
    for size in options.sizes:
        with on_disk(film_of(size).image.data) as path:
            run = run_fresh("harness.measure_film", [str(path), "--fit", "profile"])
        runs.append(run)
        per_column = [1e6 * run["cpu_s"] / run["columns"], 1e3 * (run["peak_mb"] - base_mb(run)) / run["columns"]]
        table.row(
            *(size, run["columns"], f"{run['wall_s']:.2f}", f"{run['cpu_s']:.2f}", f"{per_column[0]:.1f}"),
            *(f"{run['peak_mb']:.0f}", f"{per_column[1]:.1f}"),
        )
    columns = np.log([run["columns"] for run in runs])
    for what, values in (
        ("wall", [run["wall_s"] for run in runs]),
        ("memory above imports", [run["peak_mb"] - base_mb(run) for run in runs]),
    ):
        if len(runs) > 1:
            slope = float(np.polyfit(columns, np.log(values), 1)[0])
            last = float(np.log(values[-1] / values[-2]) / (columns[-1] - columns[-2]))
            text = score.judge(f"scaling, {what}, slope", [slope, last], LINEAR, form="{:.2f}")
            print(f"{what} ∝ columns^slope: all sizes, last step: {text} (target {LINEAR})")


def base_mb(run: dict[str, Any]) -> float:
    """Return the memory held before the work: the imports and the image."""
    image_mb = 4e-6 * run["columns"] / 2.0 * (396.0 / 17.25) ** 2
    return run["before_mb"] - image_mb


def part_scipy(options: argparse.Namespace, score: Score) -> None:
    """Print time and errors of SciPy's trust region on a sample of columns, beside ours on the same film."""
    size = options.size or 2048
    film, rng = film_of(size), np.random.default_rng(1)
    truth, scale = film.truth_columns, film.image.pixel_size_pm
    fair = np.flatnonzero(inside(truth, film.image.data.shape, widths=4.0))
    rows = np.sort(rng.choice(fair, size=min(options.columns, len(fair)), replace=False))
    print(f"### scipy: curve_fit(method='trf') on {len(rows)} columns of {size}²")
    ours = fit_cost(film.image, FITS["profile"], repeats=options.repeats)[FITTING]
    table = Table(
        *("parameters", "window reach, A-B", "CPU µs/column", f"over ours ({LESS_THAN_SCIPY})", "failed"),
        *("rmse A, B pm", "B along its displacement pm", "z A, B"),
    )
    for parameters, reach in itertools.product((5, 7), SCIPY_REACHES):
        fitted = fit_columns(film.image.data, truth, rows, parameters=parameters, reach=reach)
        per_column = 1e6 * fitted.cpu_s / len(rows)
        error = scale * (fitted.positions_px - truth.positions_px[rows])
        z = error / (scale * fitted.sigma_px)
        kinds = [truth.sublattice[rows] == kind for kind in (A, B)]
        what = f"scipy, {parameters} parameters, reach {reach}, ratio"
        ratio = score.judge(what, [per_column / ours], LESS_THAN_SCIPY, form="{:.0f}")
        table.row(
            *(parameters, reach, f"{per_column:.0f}", ratio, int(np.isnan(error[:, 0]).sum())),
            ", ".join(f"{np.sqrt(np.nanmean(error[kind] ** 2)):.2f}" for kind in kinds),
            f"{along_displacement(film, rows, error):+.2f}",
            ", ".join(f"{np.nanstd(z[kind]):.2f}" for kind in kinds),
        )
    print(f"ours, shared profile, {FITTING}: {ours:.1f} µs per column")


def along_displacement(film: Any, rows: np.ndarray, error_pm: np.ndarray) -> float:
    """Return the mean error of B along its true displacement: negative where the fit shrinks what it measures."""
    cells = film.truth_cells
    cell_of = np.full(len(film.truth_columns.flags), -1)
    cell_of[cells.center] = np.arange(len(cells.center))
    known = (film.truth_columns.sublattice[rows] == B) & (cell_of[rows] >= 0)
    vector = cells.displacement_px[cell_of[rows[known]]]
    unit = vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-9)
    return float(np.nanmean(np.sum(error_pm[known] * unit, axis=1)))


def part_atomap(options: argparse.Namespace, score: Score) -> None:
    """Print what Atomap takes and finds, beside ours on the same film."""
    size = options.size or 2048
    print(f"### atomap: documented workflow on {size}²")
    if not installed():
        print("SKIPPED: its environment is not there; do: sh benchmarks/peers/setup.sh atomap")
        return
    fill_cache()
    film = film_of(size, dose=options.dose)
    table = Table(
        *("program", "CPU s  ", "wall s ", "peak MB", "displacement rmse pm", "median error pm", "gain (y x)  "),
        "cells with a vector %",
    )
    cells = build_cells(locate_columns(film.image))
    with on_disk(film.image.data) as path:
        ours = run_fresh("harness.measure_film", [str(path)])
    table.row("dipolar", *costs_of(ours), *errors_of(dipolar_errors(film, cells)))
    vectors, theirs = run_atomap(film)
    table.row("atomap", *costs_of(theirs), *errors_of(displacement_errors(film, vectors)))
    ratio = score.judge("atomap, CPU ratio", [theirs["cpu_s"] / ours["cpu_s"]], LESS_THAN_ATOMAP, form="{:.0f}")
    print(f"CPU, atomap over dipolar (target {LESS_THAN_ATOMAP}): {ratio}")
    print("stages, CPU s: " + ", ".join(f"{name} {value:.1f}" for name, value in theirs["stages_cpu_s"].items()))
    print(", ".join(f"{name} {version}" for name, version in theirs["versions"].items()))


def costs_of(run: dict[str, Any]) -> list[str]:
    """Return CPU, wall and memory as cells of a row."""
    return [f"{run['cpu_s']:.2f}", f"{run['wall_s']:.2f}", f"{run['peak_mb']:.0f}"]


def errors_of(errors: dict[str, Any]) -> list[str]:
    """Return errors and gain as cells of a row."""
    gain = " ".join(f"{value:.3f}" for value in errors["gain"])
    return [f"{errors['rmse_pm']:.2f}", f"{errors['median_pm']:.2f}", gain, f"{errors['found_percent']:.1f}"]


PARTS = {"fit": part_fit, "film": part_film, "scaling": part_scaling, "scipy": part_scipy, "atomap": part_atomap}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)} (default all)")
    parser.add_argument("--size", type=int, help="edge of the film in px (default 2048; 3529 for the part film)")
    parser.add_argument("--sizes", nargs="+", type=int, default=[1024, 2048, 4096, 8192], help="edges for scaling")
    parser.add_argument("--columns", type=int, default=300, help="columns in SciPy's sample (default 300)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of our own (default 3)")
    parser.add_argument("--dose", type=float, default=1.0, help="factor on all counts of the film for atomap")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    announce()
    score = Score()
    for name in options.parts or PARTS:
        PARTS[name](options, score)
        print()
    score.close()


if __name__ == "__main__":
    main()
