"""4D-STEM, how fast and in how much memory: maps from file, executors, refits, and py4DSTEM beside.

  map        patterns per second of every classifier, with and without conventional images; what memory and disk allow
  steps      CPU for 1,000 patterns by step, in one thread
  refit      seconds after one more label
  peers      py4DSTEM's disk detection and virtual images, in its own environment (benchmarks/peers/setup.sh makes it)
  executors  the same map from each of them: values identical, and how fast
  memory     peak above the model for files of growing size
  large      a file of 20 GB, plain and compressed: memory, two Dask workers over one, one of them killed on the way

Everything runs on a simulated scan of 512 × 512 px with two workers. "Pass" is reading, centring, counting and
classifying every pattern; "whole call" adds finding beam and lattice before, domains, walls and mean patterns after.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dipolar.io.scans import open_scan
from dipolar.run.scanning import Threads, run_blocks
from dipolar.simulate.scan import SimulatedScan
from harness.machine import announce
from harness.process import cost, run_fresh
from harness.scan_files import KINDS, Tiled, forget, model, remember, simulated, written
from harness.scan_peer import installed, run_py4dstem
from harness.scan_refit import refit_bank, refit_small
from harness.scan_steps import steps_of
from harness.scan_work import Memory, Summed
from harness.table import Score, Table, Target

BANK, SMALL, OVER_PUBLISHED, OVER_PEER = Target(low=15_000), Target(low=12_000), Target(low=50), Target(low=100)
PER_CORE = Target(high=0.125)
EXECUTOR, TWICE = Target(low=0.6), Target(low=1.7)
MEMORY, LARGE_MEMORY = Target(high=512), Target(high=1000)
REFIT = {"bank": Target(high=0.05), "small": Target(high=5.0)}
FAST = {"bank": BANK, "small": SMALL}
WORKERS = 2
OWN = f"threads:{WORKERS}"
PUBLISHED = 1024
"""Patterns that the published network is timed on."""
HELD = 1024
"""Patterns that are read from memory."""


class Bench:
    """A folder with the scan, made when it is first asked for, and models."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        """Take the folder."""
        self.folder, self.options = folder, options
        self.made: SimulatedScan = simulated(options.shape, options.pattern_px)

    def file(self, kind: str = "h5") -> Path:
        """Return a file of the scan."""
        return written(self.made, self.folder, kind)

    def scan(self, kind: str = "h5") -> Path:
        """Return the same, in the system's cache."""
        path = self.file(kind)
        remember(path)
        return path

    def model(self, kind: str) -> Path:
        """Return the file of a model."""
        return model(self.made, self.file(), kind)

    def mapped(self, path: Path, kind: str, *more: str, repeats: int | None = None) -> dict[str, Any]:
        """Return what mapping in a fresh process cost."""
        runs = self.options.repeats if repeats is None else repeats
        return run_fresh("harness.scan_once", [str(path), str(self.model(kind)), "--repeats", str(runs), *more])


def pace(told: dict[str, Any]) -> float:
    """Return patterns per second of the fastest pass: others on the machine make it slower, nothing makes it faster."""
    return float(told["patterns"] / min(told["wall_s"]))


def part_map(bench: Bench, score: Score) -> None:
    """Print patterns per second."""
    limits(bench)
    print(f"\n### map: {WORKERS} threads, best of {bench.options.repeats} passes")
    table = Table("classifier", "file      ", "images", f"patterns/s of the pass ({BANK}; small {SMALL})", "median",
                  "CPU s per 1,000", "whole call s", "of it beam and lattice", "domains", "means")  # fmt: skip
    best: dict[str, float] = {}
    for kind, stored, images in (
        ("bank", "h5", False), ("bank", "h5", True), ("bank", "bitshuffle", False), ("bank", "cold", False),
        ("small", "h5", False), ("small", "h5", True), ("published", "h5", False), ("published", "h5", True),
    ):  # fmt: skip
        path = bench.scan("h5" if stored == "cold" else stored)
        slow = kind == "published"
        chosen = ["--executor", OWN, *(["--images"] if images else []), *(["--cold"] if stored == "cold" else [])]
        chosen += ["--patterns", str(PUBLISHED)] if slow else ["--whole"]
        told = bench.mapped(path, kind, *chosen, repeats=1 if slow else None)
        words = f"{kind}, {stored}{', images' if images else ''}"
        goal = FAST.get(kind) if stored == "h5" else None
        best.setdefault(kind, pace(told))
        steps = told.get("steps_s", {})
        table.row(
            kind, stored, "yes" if images else "no", score.judge(words, [pace(told)], goal, form="{:,.0f}"),
            f"{told['patterns'] / np.median(told['wall_s']):,.0f}",
            f"{1000 * min(told['cpu_s']) / told['patterns']:.3f}",
            f"{told['whole_s']:.2f}" if "whole_s" in told else "-",
            *(f"{steps[name]:.2f}" if name in steps else "-"
              for name in ("finding beam and lattice", "finding domains and walls", "mean patterns")),
        )  # fmt: skip
    ratio = score.judge("bank over the published network", [best["bank"] / best["published"]], OVER_PUBLISHED,
                        form="{:.0f}")  # fmt: skip
    print(f"bank over the published network (target {OVER_PUBLISHED}): {ratio}")


def limits(bench: Bench) -> None:
    """Print what reading alone allows."""
    print(f"### limits: every word of every pattern read once, {WORKERS} threads")
    table = Table("from                             ", "patterns/s", "CPU s per 1,000")
    plain, packed = open_scan(bench.scan()), open_scan(bench.scan("bitshuffle"))
    held = Memory(np.array(plain.frames.read(0, min(HELD, plain.count))))
    for words, frames, count, cold in (
        ("memory", held, held.count, None),
        ("mapped file, in the system's cache", plain.frames, plain.count, None),
        ("compressed file, in the cache", packed.frames, packed.count, None),
        ("mapped file, from disk", plain.frames, plain.count, bench.scan()),
        ("compressed file, from disk", packed.frames, packed.count, bench.scan("bitshuffle")),
    ):
        spent = []
        for _ in range(bench.options.repeats if cold is None else 1):
            if cold is not None and not forget(cold):
                break
            with cost() as one:
                run_blocks(Threads(workers=WORKERS), frames, Summed(), count)
            spent.append(one)
        if not spent:
            table.row(words, "SKIPPED: this system does not let go of files", "-")
            continue
        best = min(spent, key=lambda each: each.wall_s)
        table.row(words, f"{count / best.wall_s:,.0f}", f"{1000 * min(each.cpu_s for each in spent) / count:.3f}")


def part_steps(bench: Bench, score: Score) -> None:
    """Print CPU by step."""
    patterns = min(256, bench.made.scan.count)
    print(f"### steps: CPU s for 1,000 patterns, one thread, {patterns} patterns, least of several runs")
    table = Table("step                                       ", f"CPU s (bank from the file {PER_CORE})", "patterns/s")
    for name, seconds in steps_of(bench.scan(), {kind: bench.model(kind) for kind in KINDS}, patterns=patterns):
        goal = PER_CORE if name == "bank: all of it, from the mapped file" else None
        table.row(name, score.judge(name, [seconds], goal, form="{:.4f}"), f"{1000 / seconds:,.0f}")


def part_refit(bench: Bench, score: Score) -> None:
    """Print how long it takes to learn one more label."""
    print("### refit: after one more of 50 labels, the patterns seen before")
    table = Table("classifier", "s", "CPU s")
    path = bench.scan()
    for kind, refit in (("bank", refit_bank), ("small", refit_small)):
        wall, cpu = refit(bench.made, path, repeats=bench.options.repeats)
        table.row(kind, score.judge(f"refit, {kind}", [wall], REFIT[kind]) + f" (target {REFIT[kind]})", f"{cpu:.3f}")


def part_peers(bench: Bench, score: Score) -> None:
    """Print py4DSTEM's pace beside ours."""
    print("### peers: py4DSTEM on the same patterns, single-threaded as it comes")
    if not installed():
        print("SKIPPED: its environment is not there; do: sh benchmarks/peers/setup.sh py4dstem")
        return
    told = run_py4dstem(bench.made, bench.scan(), detected=64, imaged=512)
    ours = pace(bench.mapped(bench.scan(), "bank", "--executor", OWN))
    table = Table("what                                      ", "patterns/s", "CPU s per 1,000")
    for name, step in told["steps"].items():
        table.row(f"py4DSTEM: {name}", f"{step['patterns'] / step['wall_s']:,.0f}",
                  f"{1000 * step['cpu_s'] / step['patterns']:.3f}")  # fmt: skip
    table.row(f"dipolar: bank, {WORKERS} threads", f"{ours:,.0f}", "")
    disks = told["steps"]["disk detection"]
    over = score.judge("bank over py4DSTEM's disk detection", [ours * disks["wall_s"] / disks["patterns"]], OVER_PEER,
                       form="{:.0f}")  # fmt: skip
    print(f"{told['disks']:.0f} disks a pattern were found; the bank has {told['main_sites']:.0f} main sites; "
          f"{told['versions']}")  # fmt: skip
    print(f"bank over its disk detection (target {OVER_PEER}): {over}")


def part_executors(bench: Bench, score: Score) -> None:
    """Print the pace of each executor, and whether they agree."""
    print("### executors: the bank on the plain file")
    table = Table("executor  ", "patterns/s, start of processes included", "once started", f"over ours ({EXECUTOR})",
                  "values")  # fmt: skip
    path = bench.scan()
    runs: dict[str, dict[str, Any]] = {}
    for name in (OWN, "here", f"dask:{WORKERS}", "dask:1", f"libertem:{WORKERS}"):
        told = runs[name] = bench.mapped(path, "bank", "--executor", name, "--images")
        once = pace(told) if name in ("here", OWN) else max(told["settled"])
        goal = EXECUTOR if name.endswith(f":{WORKERS}") and name != OWN else None
        ratio = score.judge(f"{name} over threads", [once / pace(runs[OWN])], goal, form="{:.2f}")
        table.row(name, f"{pace(told):,.0f}", f"{once:,.0f}", ratio, same(score, name, told, runs[OWN]))


def same(score: Score, name: str, told: dict[str, Any], first: dict[str, Any]) -> str:
    """Return whether two maps are the same to the last bit; it counts as a target."""
    equal = told["digest"] == first["digest"]
    verdict = score.judge(f"{name}: values are the same", [float(equal)], Target(low=1), form="{:.0f}")
    return f"{told['digest']} {verdict[-1]}"


def part_memory(bench: Bench, score: Score) -> None:
    """Print the peak of memory."""
    print(f"### memory: peak of the whole call above that of a process with the model, {OWN}")
    table = Table("classifier", "file      ", "GB", "with the model MB", "peak MB", f"above MB ({MEMORY})")
    small, big = min(bench.options.sizes), max(bench.options.sizes)
    for gigabytes, kind, classifiers in (
        (small, "npy", ("bank", "small")), (big, "npy", ("bank", "small")), (big, "bitshuffle", ("bank",)),
    ):  # fmt: skip
        path = Tiled(gigabytes=gigabytes, kind=kind).write(bench.made, bench.folder)
        for name in classifiers:
            told = bench.mapped(path, name, "--executor", OWN, "--images", "--whole", repeats=0)
            above = told["peak_mb"] - told["model_mb"]
            words = f"memory, {name}, {kind}, {gigabytes:g} GB"
            table.row(name, kind, f"{gigabytes:g}", f"{told['model_mb']:.0f}", f"{told['peak_mb']:.0f}",
                      score.judge(words, [above], MEMORY, form="{:.0f}"))  # fmt: skip
        path.unlink()


def part_large(bench: Bench, score: Score) -> None:
    """Print how a file larger than memory goes."""
    gigabytes = bench.options.gigabytes
    print(f"### large: {gigabytes:g} GB, the bank")
    for kind in ("h5", "bitshuffle"):
        with cost() as spent:
            path = Tiled(gigabytes=gigabytes, kind=kind).write(bench.made, bench.folder)
        patterns = open_scan(path).count
        print(f"{kind}: {patterns:,} patterns, {path.stat().st_size / 1e9:.1f} GB on disk, written in "
              f"{spent.wall_s:.0f} s")  # fmt: skip
        table = Table("executor       ", "patterns/s", "once started", "above the model MB", "values")
        whole = bench.mapped(path, "bank", "--executor", OWN, "--images", "--whole", "--cold", repeats=1)
        above = whole["peak_mb"] - whole["model_mb"]
        table.row(OWN, f"{pace(whole):,.0f}", f"{max(whole['settled']):,.0f}",
                  score.judge(f"large, {kind}: memory (target {LARGE_MEMORY})", [above], LARGE_MEMORY, form="{:.0f}"),
                  whole["digest"])  # fmt: skip
        once: dict[int, float] = {}
        for workers in (1, 2):
            told = bench.mapped(path, "bank", "--executor", f"dask:{workers}", "--images", "--cold", repeats=1)
            once[workers] = max(told["settled"])
            table.row(f"dask:{workers}", f"{pace(told):,.0f}", f"{once[workers]:,.0f}", "",
                      same(score, f"large, {kind}, dask:{workers}", told, whole))  # fmt: skip
        told = bench.mapped(path, "bank", "--executor", "dask:2", "--images", "--cold", "--kill-at", str(patterns // 2),
                            repeats=1)  # fmt: skip
        assert told["killed"], "no worker was killed"
        table.row("dask:2, 1 killed", f"{pace(told):,.0f}", "", "",
                  same(score, f"large, {kind}, one worker killed", told, whole))  # fmt: skip
        ratio = score.judge(f"large, {kind}: two Dask workers over one", [once[2] / once[1]], TWICE, form="{:.2f}")
        print(f"two Dask workers over one (target {TWICE}): {ratio}")
        path.unlink()


PARTS: dict[str, Callable[[Bench, Score], None]] = {
    "map": part_map,
    "steps": part_steps,
    "refit": part_refit,
    "peers": part_peers,
    "executors": part_executors,
    "memory": part_memory,
    "large": part_large,
}


def main() -> None:
    """Run the parts named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them unless named")
    parser.add_argument("--data", type=Path, help="folder for scans and models, kept; a temporary one unless given")
    parser.add_argument("--rows", type=int, default=34, help="of the scan of 206 columns; fewer for a quick look")
    parser.add_argument("--pattern-px", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1.0, 4.0], help="GB of the files of `memory`")
    parser.add_argument("--gigabytes", type=float, default=20.0, help="of the file of `large`")
    options = parser.parse_args()
    options.shape = (options.rows, 206)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    announce()
    score = Score()
    with TemporaryDirectory() as temporary:
        folder = (options.data or Path(temporary)) / f"{options.rows}x206x{options.pattern_px}"
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, options)
        for name in options.parts or PARTS:
            print()
            PARTS[name](bench, score)
    score.close()


if __name__ == "__main__":
    main()
