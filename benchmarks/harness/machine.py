"""The line that says what a figure was measured on."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numba

BUSY = 0.5
"""Load per core above which times are not worth quoting."""


def announce() -> None:
    """Print the command, date, machine, threads and versions; and say loudly where others are using the machine."""
    command = " ".join([f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba"))
    print(f"$ python {command}")
    print(f"{datetime.now(UTC).isoformat(timespec='minutes')}; {cpu_model()}, {os.cpu_count()} cores,", end=" ")
    print(f"{numba.get_num_threads()} numba threads; Python {platform.python_version()}, {versions}")
    load = os.getloadavg()[0]
    if load > BUSY * (os.cpu_count() or 1):
        print(f"LOADED MACHINE (load {load:.1f}): times below are not for quoting")
    print(flush=True)


def cpu_model() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
