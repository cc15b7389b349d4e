"""CPU, wall clock and memory of a piece of work, in this process or in a fresh one. Standard library only."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[1]
ROOT = BENCHMARKS.parent


@dataclass
class Cost:
    """What a piece of work cost; zero until it is done."""

    cpu_s: float = 0.0
    wall_s: float = 0.0


@contextmanager
def cost() -> Iterator[Cost]:
    """Measure CPU (all threads of this process) and wall clock of the block."""
    found = Cost()
    cpu, wall = time.process_time(), time.perf_counter()
    yield found
    found.cpu_s, found.wall_s = time.process_time() - cpu, time.perf_counter() - wall


def peak_memory_mb() -> float:
    """Return the most memory that this process ever held, in MB (1e6 bytes).

    `getrusage` is not asked where Linux tells better: a child inherits there the peak of the parent that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def run_fresh(module: str, arguments: Sequence[str], *, python: Path | None = None) -> dict[str, Any]:
    """Run a module of benchmarks/ in a fresh process and return the JSON object on the last line that it prints.

    With another `python` the search path holds benchmarks/ alone, so that nothing of this environment leaks in.

    Raises
    ------
    RuntimeError
        Where it fails; with what it wrote on standard error.
    """
    environment = dict(os.environ)
    inherited = environment.get("PYTHONPATH", "") if python is None else ""
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(BENCHMARKS), inherited]))
    done = subprocess.run(
        [str(python or sys.executable), "-m", module, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{module} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
