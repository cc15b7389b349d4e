"""The published network in full, which asks for a GPU: trained at every composition; absolute times beside ours.

Parts (all unless named):

  cross   the published network trained on the first two thirds of each film of the cross study, with centred (C) and
          sliding (NC) windows, and put to the last third of every film; its table goes beside that of our networks
  speed   a 4096² image to a map of displacement: ours, the published network in one pass and window by window

It runs on a CPU, too, in a day or so; what a study left unfinished goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dipolar.core.learning import Windows
from dipolar.core.nouns import Image
from dipolar.learn.blocks import SplitByLine, sides
from dipolar.learn.device import pick_device, threads
from dipolar.learn.predictor import predict
from dipolar.learn.published import PublishedDCNN, as_one_pass, predict_windows
from dipolar.learn.scale import see
from dipolar.learn.targets import cell_targets, sliding_targets
from dipolar.learn.task import Training
from dipolar.learn.training import fit
from dipolar.learn.window_task import WindowTask
from dipolar.learn.windows import centered_patches, sliding_patches
from dipolar.recipes.models import open_model
from dipolar.recipes.study import MODES, remembered
from dipolar.recipes.study_cross import film_source
from dipolar.recipes.study_settings import CrossSettings
from dipolar.recipes.train_settings import TrainSettings
from dipolar.recipes.train_sources import Source, inside
from dipolar.run import Processes, Serial
from dipolar.simulate import benchmark_film, simulate_film
from dipolar.simulate.composition import PIXEL_SIZE_PM
from harness.machine import announce
from harness.table import Table

WINDOW_PX, STRIDE_PX = 80, 8
VALIDATION = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One network of the published kind."""

    mode: str
    windows: Windows
    composition: float
    settings: CrossSettings
    steps: int
    work: Path


def cross(out: Path, *, settings: CrossSettings, steps: int, workers: int) -> None:
    """Train at every composition and put to every other."""
    jobs = [
        Job(mode=mode, windows=windows, composition=share, settings=settings, steps=steps, work=out / "work")
        for share in settings.shares
        for mode, windows in MODES
    ]
    out.mkdir(parents=True, exist_ok=True)
    runner = Serial() if workers == 1 else Processes(workers=workers)
    rows: list[Mapping[str, Any]] = []
    for result in runner.each(one_network, jobs):
        rows += result
        with (out / "published.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        first = result[0]
        print(f"{first['windows']} {first['trained_on']:g}: {first['seconds']:.0f} s", flush=True)
    table = Table("windows", "own film, RMS pm (mean)", "other films", "seconds per network")
    for mode, _ in MODES:
        mine = [row for row in rows if row["windows"] == mode]
        own = [row["rms_pm"] for row in mine if row["trained_on"] == row["tested_on"]]
        other = [row["rms_pm"] for row in mine if row["trained_on"] != row["tested_on"]]
        spent = [row["seconds"] for row in mine]
        table.row(mode, f"{np.mean(own):.2f}", f"{np.mean(other):.2f}", f"{np.mean(spent):.0f}")


def one_network(job: Job) -> list[Mapping[str, Any]]:
    """Train one network and put it to every film."""
    what = {
        "study": "published", "mode": job.mode, "composition": job.composition, "steps": job.steps,
        "films": job.settings.model_dump(exclude={"workers", "figures", "steps"}),
    }  # fmt: skip
    return remembered(job.work, what, partial(_rows, job))["rows"]


def _rows(job: Job) -> Mapping[str, Any]:
    with threads(1):
        network, seconds = trained(film_source(job.composition, job.settings), job.windows, steps=job.steps)
        rows = []
        for share in job.settings.shares:
            rms, r2, cells = tested(network, film_source(share, job.settings), job.windows)
            rows.append({
                "windows": job.mode, "trained_on": job.composition, "tested_on": share, "rms_pm": rms * PIXEL_SIZE_PM,
                "r2": r2, "cells": cells, "seconds": round(seconds, 1),
            })  # fmt: skip
    return {"rows": rows}


def trained(source: Source, windows: Windows, *, steps: int, seed: int = 0) -> tuple[torch.nn.Module, float]:
    """Return the published network, trained on two thirds of a film, and the seconds that took."""
    image = Image(data=source.seen.pixels[0, 0].numpy())
    cut = (
        centered_patches(image, source.cells, window_px=WINDOW_PX, split=SplitByLine())
        if windows == "centered"
        else sliding_patches(image, source.cells, window_px=WINDOW_PX, stride_px=STRIDE_PX, split=SplitByLine())
    )
    learn, _ = sides(cut.patches.block)
    border = 2 / 3 * VALIDATION * source.seen.shape[1]  # as our own networks keep a strip to validate with
    x = cut.patches.positions_px[:, 1]
    task = WindowTask(cut.patches, learn & (x < border - WINDOW_PX / 2), learn & (x >= border + WINDOW_PX / 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PublishedDCNN(window_px=WINDOW_PX)
    choices = Training(
        steps=steps, learning_rate=3e-4, validate_every=max(steps // 15, 1), weight_decay=1e-4, seed=seed
    )
    done = fit(network, task, choices)
    return done.network, done.seconds


def tested(network: torch.nn.Module, source: Source, windows: Windows) -> tuple[float, float, int]:
    """Return RMS error per component in px, R² and the number of cells, on the last third of a film."""
    rows = inside(source, TrainSettings(windows=windows, window_px=WINDOW_PX), 2)
    points, cells = source.cells.positions_px[rows], source.cells
    if windows == "sliding":
        points = points + 0.5 * (cells.a_px[rows] + cells.b_px[rows])
        truth, _ = sliding_targets(points, cells, scale=source.seen.scale)
    else:
        truth = cell_targets(cells, scale=source.seen.scale)[0][rows]
    said = predict_windows(
        network, source.seen.pixels[0, 0].numpy(), source.seen.to_network(points), window_px=WINDOW_PX
    )
    known = np.isfinite(said).all(axis=1) & np.isfinite(truth[:, :2]).all(axis=1)
    error, true = said[known] - truth[known, :2], truth[known, :2]
    r2 = 1.0 - np.sum(error**2) / np.sum((true - true.mean(axis=0)) ** 2)
    return float(np.sqrt(np.mean(error**2))) / source.seen.scale, float(r2), int(known.sum())


def speed(*, size: int, windows: int) -> None:
    """Time a large image, on a GPU where there is one and on one thread of the CPU."""
    film = simulate_film(benchmark_film(size_px=1024), rng=np.random.default_rng(1))
    data, cell_px = np.tile(film.image.data, (size // 1024, size // 1024)), 396.0 / 17.25
    model = open_model(None, "regressor")
    device = pick_device()
    network = PublishedDCNN(window_px=WINDOW_PX).eval().to(device)
    one_pass = as_one_pass(network, step_px=STRIDE_PX)
    on_device = replace(model, networks=tuple(net.to(device) for net in model.networks))
    start = time.perf_counter()
    seen = see(data, cell_px=cell_px)
    preparing = time.perf_counter() - start
    pixels = seen.pixels[0, 0].numpy()
    spots = np.random.default_rng(0).uniform(60, size - 60, (windows, 2))
    places = ((size - WINDOW_PX) / STRIDE_PX) ** 2
    strip = seen.pixels[:, :, : 256 + WINDOW_PX].to(device)

    def run_pass() -> None:
        with torch.inference_mode():
            one_pass(strip)

    table = Table(f"{size}² to displacement, on {device.type}", "wall s")
    table.row("preparing the image (CPU)", f"{preparing:.2f}")
    ours = wall(lambda: predict(on_device, seen))
    table.row(f"ours, {len(model.networks)} members, sigma, familiarity, every 4 px", f"{ours:.2f}")
    single = replace(on_device, networks=on_device.networks[:1])
    table.row("ours, 1 member", f"{wall(lambda: predict(single, seen)):.2f}")
    table.row(f"published, one pass, every {STRIDE_PX} px", f"{wall(run_pass) * size / 256:.2f}")
    each = wall(lambda: predict_windows(network, pixels, spots, window_px=WINDOW_PX, batch=512)) / windows
    table.row(f"published, windows every {STRIDE_PX} px, from {windows} of them", f"{each * places:.1f}")


def wall(work: Callable[[], object]) -> float:
    """Return the least wall seconds of three runs, after one that does not count."""
    work()
    times = []
    for _ in range(3):
        _wait()
        start = time.perf_counter()
        work()
        _wait()
        times.append(time.perf_counter() - start)
    return min(times)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="cross, speed")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/studies/published"))
    parser.add_argument("--steps", type=int, default=3000, help="batches of 32 windows for each network")
    parser.add_argument("--workers", type=int, default=1, help="networks trained at once")
    parser.add_argument("--settings", type=json.loads, default={}, help="of the films, as JSON: those of study cross")
    parser.add_argument("--size", type=int, default=4096, help="edge of the image that is timed")
    parser.add_argument("--windows", type=int, default=20000, help="windows timed through the published network")
    chosen = parser.parse_args()
    announce()
    print(torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU", f"PyTorch {torch.__version__}")
    settings = CrossSettings(**chosen.settings)
    work: dict[str, Callable[[], None]] = {
        "cross": lambda: cross(chosen.out, settings=settings, steps=chosen.steps, workers=chosen.workers),
        "speed": lambda: speed(size=chosen.size, windows=chosen.windows),
    }
    unknown = set(chosen.parts) - set(work)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; parts: {', '.join(work)}")
    for name in chosen.parts or work:
        print(f"## {name}\n")
        work[name]()
        print(flush=True)


if __name__ == "__main__":
    main()
