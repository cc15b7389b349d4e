"""What a whole `measure_image` and its result folder take, stage by stage, for a film of 25,000 cells.

The stages of the measurement are those that its record keeps (`Record.timings_s`, wall clock). Then each part of the
result folder by itself, CPU and wall clock: result.h5, the two tables, figures, report.html; and the folder as a whole
as the command line writes it. A small film is run through first, so that kernels and fonts are there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dipolar.core.measurement import Measurement
from dipolar.io import save, write_cells_csv, write_columns_csv
from dipolar.recipes.measure import measure_image
from dipolar.recipes.results import write_result
from dipolar.report import FIGURES, render_figures, write_figures, write_report
from harness.films import film_of
from harness.machine import announce
from harness.process import Cost, cost, peak_memory_mb
from harness.table import Table


def timed(work: Callable[[], Any]) -> tuple[Any, Cost]:
    """Return what the work returned, and its cost."""
    with cost() as spent:
        result = work()
    return result, spent


def print_stages(measurement: Measurement, spent: Cost) -> None:
    """Print the record's own timings, and the whole."""
    print("### measure_image")
    table = Table("stage".ljust(28), "wall s")
    for stage, seconds in measurement.record.timings_s.items():
        table.row(stage, f"{seconds:.2f}")
    table.row(f"all (CPU {spent.cpu_s:.2f} s)", f"{spent.wall_s:.2f}")


def print_figures(measurement: Measurement) -> None:
    """Print what drawing each figure takes, without encoding it."""
    print("\n### figures, drawn but not encoded")
    table = Table("figure".ljust(12), "CPU s", "wall s")
    for name, draw in FIGURES.items():
        if name == "gain" and measurement.gain_check is None:
            continue
        _, spent = timed(partial(draw, measurement))
        table.row(name, f"{spent.cpu_s:.2f}", f"{spent.wall_s:.2f}")


def print_folder(measurement: Measurement, folder: Path, formats: tuple[str, ...]) -> None:
    """Print what each part of the result folder takes."""
    print(f"\n### result folder, figures as {', '.join(formats)}")
    table = Table("part".ljust(28), "CPU s", "wall s", "MB   ")
    drawn, spent = timed(lambda: render_figures(measurement, formats=formats))
    table.row("figures, drawn and encoded", f"{spent.cpu_s:.2f}", f"{spent.wall_s:.2f}", "")
    parts = {
        "result.h5": lambda path: save(measurement, path),
        "columns.csv": lambda path: write_columns_csv(measurement.columns, path),
        "cells.csv": lambda path: write_cells_csv(measurement.cells, path),
        "report.html": lambda path: write_report(measurement, path, rendered=drawn),
    }
    for name, write in parts.items():
        _, spent = timed(partial(write, folder / name))
        table.row(name, f"{spent.cpu_s:.2f}", f"{spent.wall_s:.2f}", f"{(folder / name).stat().st_size / 1e6:.1f}")
    _, spent = timed(lambda: write_figures(measurement, folder, rendered=drawn))
    table.row("figures, written", f"{spent.cpu_s:.2f}", f"{spent.wall_s:.2f}", "")
    whole = folder / "whole.dipolar"
    _, spent = timed(lambda: write_result(measurement, whole, formats=formats))
    size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file()) / 1e6
    table.row("the folder as a whole", f"{spent.cpu_s:.2f}", f"{spent.wall_s:.2f}", f"{size:.1f}")


def main() -> None:
    """Measure the film, write its result, print what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=3660, help="edge of the film in px (default 3660: 25,000 cells)")
    parser.add_argument("--formats", default="png", help="formats of the figures, with commas between (default png)")
    options = parser.parse_args()
    announce()
    formats = tuple(options.formats.split(","))
    with TemporaryDirectory(prefix="dipolar-bench-") as folder:
        small = measure_image(film_of(512).image)
        write_result(small, Path(folder) / "small.dipolar", formats=formats)
        image = film_of(options.size).image
        measurement, spent = timed(lambda: measure_image(image))
        print(f"{options.size}²: {len(measurement.columns.flags)} columns, {len(measurement.cells.flags)} cells\n")
        print_stages(measurement, spent)
        print_figures(measurement)
        print_folder(measurement, Path(folder), formats)
    print(f"\npeak memory of this process, simulation included: {peak_memory_mb():.0f} MB")


if __name__ == "__main__":
    main()
