"""One scan mapped in a fresh process: patterns per second, CPU and memory, as one JSON object on the last line."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dipolar.core.scanning import Scan
from dipolar.io.scans import open_scan
from dipolar.learn.pattern_store import load_classifier
from dipolar.learn.patterns import AbstractPatternClassifier
from dipolar.locate.beam import look_at
from dipolar.recipes.scan_look import Judge
from dipolar.recipes.scan_map import look_of, map_scan
from dipolar.run.scanning import Here, run_blocks
from harness.process import Cost, cost, peak_memory_mb
from harness.scan_files import forget
from harness.scan_work import Killed, Timed, executor_of

WARM = 64
"""Patterns that are mapped before, so that kernels are loaded."""


def main() -> None:
    """Map, and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--executor", default="threads:2", help="here, threads:N, dask:N, libertem:N")
    parser.add_argument("--images", action="store_true", help="conventional images too")
    parser.add_argument("--repeats", type=int, default=1, help="of the pass over all patterns")
    parser.add_argument("--whole", action="store_true", help="the whole call, with its peak of memory")
    parser.add_argument("--patterns", type=int, help="only so many")
    parser.add_argument("--cold", action="store_true", help="forget the file before each pass")
    parser.add_argument("--kill-at", type=int, help="number of the pattern at which one worker is killed, once")
    options = parser.parse_args()
    scan, classifier = open_scan(options.scan), load_classifier(options.model)
    count = min(options.patterns or scan.count, scan.count)
    told: dict[str, object] = {"patterns": count, "model_mb": resident_mb()}
    if options.whole:
        with cost() as whole:
            result = map_scan(scan, classifier, executor=executor_of(options.executor), virtual=options.images)
        told |= {"whole_s": whole.wall_s, "whole_cpu_s": whole.cpu_s, "peak_mb": peak_memory_mb()}
        told |= {"steps_s": dict(result.record.timings_s)}
    if options.repeats:
        told |= passes(options, scan, classifier, count)
    print(json.dumps(told))


def passes(
    options: argparse.Namespace, scan: Scan, classifier: AbstractPatternClassifier, count: int
) -> dict[str, object]:
    """Return what passes over the patterns cost, and what names their values."""
    view = look_at(scan)
    work = Judge(look=look_of(classifier, view, images=options.images), classifier=classifier)
    run_blocks(Here(), scan.frames, work, min(WARM, count))
    costs: list[Cost] = []
    settled: list[float] = []
    with TemporaryDirectory() as folder:
        doing = work if options.kill_at is None else Killed(work, options.kill_at, Path(folder) / "killed")
        for _ in range(options.repeats):
            if options.cold:
                forget(options.scan)
            executor = Timed(executor_of(options.executor))
            with cost() as spent:
                arrays = run_blocks(executor, scan.frames, doing, count)
            costs.append(spent)
            settled.append(executor.settled_pace)
        killed = (Path(folder) / "killed").exists()
    return {
        "wall_s": [each.wall_s for each in costs],
        "cpu_s": [each.cpu_s for each in costs],
        "settled": settled,
        "killed": killed,
        "digest": digest_of(arrays),
    }


def digest_of(arrays: dict[str, np.ndarray]) -> str:
    """Return what names these values to the last bit."""
    found = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        found.update(f"{name} {values.dtype} {values.shape}".encode())
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()[:16]


def resident_mb() -> float:
    """Return the memory that this process holds now, in MB; that of its peak where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
    return peak_memory_mb()


if __name__ == "__main__":
    main()
