"""Networks: how near the truth, how fast, how honest; the published network and the column fit beside them.

Parts (all unless named):

  finder     CPU seconds per megapixel, error of A and B before any refinement on the benchmark film; recall and
             spurious columns from 8 to 60 px per cell, down to 15 counts in the peaks of A
  dense      CPU of displacement over a whole image at steps of 8 px: windows through the published network (some of
             them, extrapolated), the same weights as one pass, ours (steps of 4 px); and of the published cells
  regressor  trained on two thirds of a film that was measured by fitting, tested on the rest against the truth: ours
             (C, NC), the published network on the same windows, the fit itself; at high, middle and low dose
  sigma      coverage of the shipped ensemble on films of its own kind; what is flagged where it fails on others
  kill       training killed with SIGKILL and taken up again: same weights as unbroken?

CPU seconds are those of one thread. Displacement errors are root mean squares per component against the truth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from dipolar.core.nouns import Image
from dipolar.learn.blocks import SplitByLine, sides
from dipolar.learn.calibration import LEVELS, coverage
from dipolar.learn.dense import dense
from dipolar.learn.exam import Answers, examine
from dipolar.learn.networks import Regressor, build, plain
from dipolar.learn.predictor import Model, at_points, find_columns, predict
from dipolar.learn.published import PublishedDCNN, as_one_pass, predict_windows
from dipolar.learn.scale import see
from dipolar.learn.task import Training
from dipolar.learn.training import fit
from dipolar.learn.window_task import WindowTask
from dipolar.learn.windows import centered_patches
from dipolar.recipes.measure import measure_image
from dipolar.recipes.models import open_model
from dipolar.recipes.train import Source, source_of, train_on_sources
from dipolar.recipes.train_settings import TrainSettings
from dipolar.simulate import Simulated, benchmark_film, simulate_film
from dipolar.simulate.composition import composition_film
from harness.machine import announce
from harness.network_kill import kill
from harness.network_sigma import sigma
from harness.table import Score, Table, Target

PUBLISHED_CELLS = 7939


def cpu(work: Callable[[], object], *, runs: int = 3) -> float:
    """Return the least CPU seconds of several runs, after one that does not count."""
    work()
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def finder(score: Score) -> None:
    """Columns by species."""
    model = open_model(None, "finder")
    film = simulate_film(benchmark_film(size_px=2048), rng=np.random.default_rng(1))
    data, cell_px = film.image.data, 396.0 / 17.25
    seconds = cpu(lambda: find_columns(model, see(data, cell_px=cell_px))) / (data.size / 1e6)
    table = Table("film", "A, pm", "B, pm", "recall, %", "spurious, %", "z width A B", "CPU s/Mpx")
    errors = _found(model, film, cell_px)
    table.row(
        "benchmark, 2048²",
        score.judge("error of A", [errors["a_pm"]], Target(high=1.2), form="{:.2f}"),
        score.judge("error of B", [errors["b_pm"]], Target(high=1.6), form="{:.2f}"),
        score.judge("recall", [100 * errors["recall"]], Target(low=99.5), form="{:.3f}"),
        score.judge("spurious", [100 * errors["spurious"]], Target(high=0.2), form="{:.3f}"),
        f"{errors['z_a']:.2f} {errors['z_b']:.2f}",
        score.judge("finder CPU", [seconds], Target(high=0.12)),
    )
    for cell in (8.0, 12.0, 17.0, 23.0, 40.0, 60.0):
        for dose in (1.0, 15.0 / 150.0):
            size = min(max(int(40 * cell), 512), 1600)
            film = simulate_film(benchmark_film(size_px=size, cell_px=cell, dose=dose), rng=np.random.default_rng(2))
            errors = _found(model, film, cell)
            table.row(
                f"{cell:g} px per cell, A {150 * dose:g} counts",
                f"{errors['a_pm']:.2f}",
                f"{errors['b_pm']:.2f}",
                score.judge(f"recall at {cell:g} px", [100 * errors["recall"]], Target(low=99.5)),
                score.judge(f"spurious at {cell:g} px", [100 * errors["spurious"]], Target(high=0.2)),
                f"{errors['z_a']:.2f} {errors['z_b']:.2f}",
                "",
            )


def _found(model: Model, film: Simulated, cell_px: float) -> dict[str, float]:
    found, _ = find_columns(model, see(film.image.data, cell_px=cell_px))
    truth, kind = film.truth_columns.positions_px, film.truth_columns.sublattice
    shape = np.array(film.image.data.shape)
    margin = 0.35 * cell_px  # a column on the rim shows half of itself, and its neighbours outside are in no truth
    inside = np.all((truth > margin) & (truth < shape - 1 - margin), axis=1)
    distance, row = cKDTree(found.positions).query(truth)
    near = distance < 0.25 * cell_px
    scale = film.image.pixel_size_pm or 1.0
    error = (found.positions[row] - truth) * scale
    z = error / (found.sigma[row] * scale)[:, None]
    mine = np.all((found.positions > margin) & (found.positions < shape - 1 - margin), axis=1)
    away = cKDTree(truth).query(found.positions[mine])[0] > 0.25 * cell_px
    rows = {name: inside & near & (kind == number) for number, name in enumerate("ab")}
    return {
        "a_pm": float(np.sqrt(np.mean(error[rows["a"]] ** 2))),
        "b_pm": float(np.sqrt(np.mean(error[rows["b"]] ** 2))),
        "z_a": float(np.sqrt(np.mean(z[rows["a"]] ** 2))),
        "z_b": float(np.sqrt(np.mean(z[rows["b"]] ** 2))),
        "recall": float(near[inside].mean()),
        "spurious": float(away.sum() / max(inside.sum(), 1)),
    }


def dense_inference(score: Score, *, windows: int) -> None:
    """Displacement at every place, or at every cell."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        published = PublishedDCNN(window_px=80)
    published.eval()
    ours = build("regressor", {"window_px": 80}, seed=0)
    fast = plain(ours)
    film = simulate_film(benchmark_film(size_px=1024), rng=np.random.default_rng(1))
    data, cell_px = film.image.data, 396.0 / 17.25
    seen = see(data, cell_px=cell_px)
    pixels = seen.pixels[0, 0].numpy()
    spots = np.random.default_rng(0).uniform(60, 960, (windows, 2))
    each = cpu(lambda: predict_windows(published, pixels, spots, window_px=80), runs=1) / windows
    at_stride_8 = each * ((1024 - 80) / 8) ** 2
    one_pass = as_one_pass(published, step_px=8)
    size = 512

    def run_pass() -> object:
        with torch.inference_mode():
            return one_pass(seen.pixels[:, :, :size, :size])

    passed = cpu(run_pass, runs=1) * (1024 / size) ** 2
    mine = cpu(lambda: dense(fast, see(data, cell_px=cell_px).pixels, stride=Regressor.stride, reach=44))
    table = Table("over 1024²", "CPU s", "ours is cheaper by")
    table.row(f"published, windows at stride 8 ({each * 1e3:.1f} ms each)", f"{at_stride_8:.1f}", score.judge(
        "windows at stride 8 over ours", [at_stride_8 / mine], Target(low=1000.0), form="{:.0f}"))  # fmt: skip
    table.row("the same weights, one pass", f"{passed:.2f}", score.judge(
        "one pass over ours", [passed / mine], Target(low=50.0), form="{:.1f}"))  # fmt: skip
    table.row(f"ours, preparation included ({1e6 * mine / data.size:.3f} s/Mpx)", f"{mine:.3f}", "1")
    side = int(np.sqrt(PUBLISHED_CELLS) * cell_px)
    wide = simulate_film(benchmark_film(size_px=side), rng=np.random.default_rng(1))
    model = replace(open_model(None, "regressor"))
    single = replace(model, networks=model.networks[:1])
    rows = len(wide.truth_cells.flags)

    def at_cells() -> object:
        view = see(wide.image.data, cell_px=cell_px)
        said = predict(single, view)
        return at_points(said.values, view.to_network(wide.truth_cells.positions_px))

    table.row(f"ours at {rows} cells of {side}², with sigma and familiarity", score.judge(
        "the published cells", [cpu(at_cells) * PUBLISHED_CELLS / rows], Target(high=0.3)), "")  # fmt: skip


DOSES = {"high": ("high dose (×10)", 10.0), "middle": ("middle dose", 1.0), "low": ("low dose", 0.07)}


def regressor(score: Score, *, size: int, steps: int, epochs: int, members: int, doses: str) -> None:
    """Trained on two thirds of a film, tested on the rest."""
    table = Table(
        "film", "network", "RMS, pm", "over the fit", "R²", "z width", "inside 50 68 90 %", "cells", "train CPU s"
    )
    for name, dose in (DOSES[chosen] for chosen in doses.split(",")):
        film = composition_film(0.06, rng=np.random.default_rng(7), shape_px=(size, size), dose=dose)
        pixel_pm = film.image.pixel_size_pm or 1.0
        measured = measure_image(film.image, gain_check=False, maps=False, mistilt="off")
        source = source_of(film.image, measured.columns, measured.cells)
        x = source.seen.to_network(film.truth_cells.positions_px)[:, 1]
        test = x >= round(2 / 3 * source.seen.shape[1]) + 40
        fitted, truth = _fit_error(measured.cells, film, test)
        fit_pm = float(np.sqrt(np.mean(fitted**2))) * pixel_pm
        r2 = 1.0 - np.mean(fitted**2) / np.mean((truth - truth.mean(axis=0)) ** 2)
        table.row(name, "column fit", f"{fit_pm:.2f}", "1", f"{r2:.3f}", "", "", len(fitted), "")
        ours = {}
        for mode, windows in (("C", "centered"), ("NC", "sliding")):
            settings = TrainSettings(windows=windows, ensemble=members, steps=steps)
            made = train_on_sources([source], settings)
            answers = examine(made.model, source.seen, film.truth_cells, test)
            rms = float(np.sqrt(np.mean(answers.error**2))) * pixel_pm
            ours[mode] = rms
            limit = Target(high=1.15) if dose >= 1.0 else Target(high=1.0) if fit_pm > 10.0 else None
            _report(table, score, name, f"ours, {mode}", rms, fit_pm, answers, made.trained[0].cpu_seconds, limit)
        if epochs:
            rms, seconds = _published(source, film, test, epochs)
            over = f"{rms * pixel_pm / fit_pm:.2f}"
            who = f"published DCNN, C, {epochs} epochs"
            table.row(name, who, f"{rms * pixel_pm:.2f}", over, "", "", "", "", f"{seconds:.0f}")
            score.judge(f"ours over published, {name}", [ours["C"] / (rms * pixel_pm)], Target(high=1.0))


def _report(table: Table, score: Score, film: str, name: str, rms: float, fit_pm: float, answers: Answers,
            seconds: float, limit: Target | None) -> None:  # fmt: skip
    truth = answers.truth[:, :2]
    r2 = 1.0 - np.mean(answers.error**2) / np.mean((truth - truth.mean(axis=0)) ** 2)
    covered = coverage(answers.error, answers.sigma, LEVELS)
    table.row(
        film,
        name,
        f"{rms:.2f}",
        score.judge(f"{name} over the fit, {film}", [rms / fit_pm], limit, form="{:.2f}"),
        f"{r2:.3f}",
        f"{np.sqrt(np.mean((answers.error / answers.sigma) ** 2)):.2f}",
        " ".join(f"{100 * share:.0f}" for share in covered.values()),
        len(truth),
        score.judge(f"training time, {name}, {film}", [seconds], Target(high=180.0), form="{:.0f}"),
    )


def _fit_error(cells, film: Simulated, test: np.ndarray):  # type: ignore[no-untyped-def]
    truth = film.truth_cells
    distance, row = cKDTree(cells.positions_px).query(truth.positions_px[test])
    near = distance < 6.0
    error = cells.displacement_px[row[near]] - truth.displacement_px[test][near]
    return error, truth.displacement_px[test][near]


def _published(source: Source, film: Simulated, test: np.ndarray, epochs: int) -> tuple[float, float]:
    """Return RMS error in px of the published network, trained on C windows of the same part, and CPU seconds."""
    pixels = source.seen.pixels[0, 0].numpy()
    cut = centered_patches(Image(data=pixels), source.cells, window_px=80, split=SplitByLine())
    training, _ = sides(cut.patches.block)
    border = 2 / 3 * 0.75 * source.seen.shape[1]  # as our own networks keep a strip to validate with
    x = cut.patches.positions_px[:, 1]
    task = WindowTask(cut.patches, training & (x < border - 40), training & (x >= border + 40))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PublishedDCNN(window_px=80)
    per_epoch = max(len(task.learn) // task.batch_size, 1)
    choices = Training(steps=epochs * per_epoch, learning_rate=3e-4, validate_every=per_epoch, weight_decay=1e-4)
    trained = fit(network, task, choices)
    truth = film.truth_cells
    at = source.seen.to_network(truth.positions_px[test])
    said = predict_windows(trained.network, pixels, at, window_px=80) / source.seen.scale
    error = said - truth.displacement_px[test]
    return float(np.sqrt(np.nanmean(error**2))), trained.cpu_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="finder, dense, regressor, sigma, kill")
    parser.add_argument("--size", type=int, default=1024, help="edge of the films of regressor")
    parser.add_argument("--steps", type=int, default=1500, help="batches for our regressor")
    parser.add_argument("--members", type=int, default=3, help="networks in our ensembles")
    parser.add_argument("--epochs", type=int, default=12, help="epochs for the published network; 0 leaves it out")
    parser.add_argument("--doses", default="high,middle,low", help="films of regressor, with commas between")
    parser.add_argument("--windows", type=int, default=192, help="windows timed through the published network")
    parser.add_argument("--films", type=int, default=40, help="films for sigma")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    announce()
    score = Score()
    work: dict[str, Callable[[], None]] = {
        "finder": lambda: finder(score),
        "dense": lambda: dense_inference(score, windows=chosen.windows),
        "regressor": lambda: regressor(
            score,
            size=chosen.size,
            steps=chosen.steps,
            epochs=chosen.epochs,
            members=chosen.members,
            doses=chosen.doses,
        ),
        "sigma": lambda: sigma(score, count=chosen.films),
        "kill": lambda: kill(score),
    }
    unknown = set(chosen.parts) - set(work)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; parts: {', '.join(work)}")
    for name in chosen.parts or work:
        print(f"## {name}\n")
        work[name]()
        print(flush=True)
    score.close()


if __name__ == "__main__":
    main()
