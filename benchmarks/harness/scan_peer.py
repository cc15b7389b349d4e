"""py4DSTEM on patterns of our own scan, in its own environment."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dipolar.io.scans import open_scan
from dipolar.locate.beam import look_at
from dipolar.measure.bank import bank_for
from dipolar.simulate.scan import SimulatedScan
from harness.process import ROOT, run_fresh

PYTHON = ROOT / ".venvs" / "py4dstem" / "bin" / "python"


def installed() -> bool:
    """Return whether the peer's environment is there."""
    return PYTHON.exists()


def run_py4dstem(made: SimulatedScan, path: Path, *, detected: int, imaged: int) -> dict[str, Any]:
    """Return what its steps cost, and how many disks of a pattern it found.

    Parameters
    ----------
    made
        The scan and its truth.
    path
        Its file.
    detected, imaged
        Patterns in which disks are looked for, and of which virtual images are made.
    """
    scan = open_scan(path)
    view = look_at(scan)
    count = min(max(detected, imaged), scan.count)
    width = int(np.sqrt(min(detected, scan.count)))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "patterns.npy"
        np.save(file, np.array(scan.frames.read(0, count)))
        centre = [f"{value:.2f}" for value in view.centre_px]
        told = run_fresh(
            "peers.py4dstem_workflow",
            [str(file), "--centre", *centre, "--radius", f"{view.radius_px:.2f}", "--disks", str(width**2),
             "--images", str(count)],
            python=PYTHON,
        )  # fmt: skip
    return told | {"main_sites": float(bank_for(view).main.sum())}
