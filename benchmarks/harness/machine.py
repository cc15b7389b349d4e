"""The line that says what a figure was measured on."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numba

BUSY = 0.1
"""Share of the cores in use by others above which times are not worth quoting."""
LOOK_S = 0.5
"""For how long to look."""


def announce() -> None:
    """Print the command, date, machine, threads and versions; and say loudly where others are using the machine."""
    command = " ".join([f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba"))
    print(f"$ python {command}")
    print(f"{datetime.now(UTC).isoformat(timespec='minutes')}; {cpu_model()}, {os.cpu_count()} cores,", end=" ")
    print(f"{numba.get_num_threads()} numba threads; Python {platform.python_version()}, {versions}")
    busy = share_in_use()
    if busy > BUSY:
        print(f"LOADED MACHINE ({busy:.0%} of its cores in use by others): times below are not for quoting")
    print(flush=True)


def share_in_use() -> float:
    """Return the share of all cores that others use while this process sleeps; nan where the system does not say.

    The load average would not do: it remembers the benchmark before.
    """

    def ticks() -> tuple[int, int]:
        values = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return values[3] + values[4], sum(values)  # idle and waiting for disks; all

    try:
        idle, total = ticks()
        time.sleep(LOOK_S)
        idle_after, total_after = ticks()
    except (OSError, ValueError, IndexError):
        return math.nan
    return 1.0 - (idle_after - idle) / max(total_after - total, 1)


def cpu_model() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
