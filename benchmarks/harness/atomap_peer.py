"""Atomap's documented workflow on one of our films, run in its own environment, held against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from dipolar.core.nouns import Cells
from dipolar.simulate import Simulated
from harness.films import on_disk
from harness.process import ROOT, run_fresh
from harness.truth import complete, inside

SEPARATION = 0.8
"""Least distance of A columns that Atomap is given, in cell edges: above A-B (0.71), below A-A."""
PYTHON = ROOT / ".venvs" / "atomap" / "bin" / "python"


def installed() -> bool:
    """Return whether the peer's environment is there."""
    return PYTHON.exists()


def run_atomap(film: Simulated) -> tuple[np.ndarray, dict[str, Any]]:
    """Return cage centres and displacements, rows (y, x, dy, dx) in px, and what they cost."""
    edge = float(np.median(np.linalg.norm(film.truth_cells.a_px, axis=1)))
    with on_disk(film.image.data) as path:
        out = Path(path).with_name("vectors.npy")
        costs = run_fresh(
            "peers.atomap_workflow", [str(path), str(out), "--separation", f"{SEPARATION * edge:.2f}"], python=PYTHON
        )
        x, y, back_x, back_y = np.load(out).T  # Atomap's vector leads from B to the middle of the cage
    return np.stack([y, x, -back_y, -back_x], axis=-1), costs


def displacement_errors(film: Simulated, vectors: np.ndarray) -> dict[str, Any]:
    """Return RMSE per component in pm, gain of dy and dx, and the share of the complete cells that have a vector."""
    return judge(film, vectors[:, :2], vectors[:, 2:])


def dipolar_errors(film: Simulated, cells: Cells) -> dict[str, Any]:
    """Return the same for our own cells."""
    return judge(film, cells.positions_px, cells.displacement_px)


def judge(film: Simulated, middle_px: np.ndarray, displacement_px: np.ndarray) -> dict[str, Any]:
    """Hold displacements at cage centres against those of the nearest true cells whose windows are on the image."""
    truth, scale = film.truth_cells, film.image.pixel_size_pm
    good = np.flatnonzero(complete(truth, inside(film.truth_columns, film.image.data.shape)))
    distance, nearest = cKDTree(middle_px).query(truth.positions_px[good])
    near = distance < 0.25 * float(np.median(np.linalg.norm(truth.a_px, axis=1)))
    true, mine = truth.displacement_px[good[near]], displacement_px[nearest[near]]
    error = mine - true
    length = np.linalg.norm(error, axis=1) * scale
    return {
        "rmse_pm": scale * float(np.sqrt(np.mean(error**2))),
        "median_pm": float(np.median(length)),
        "gain": [float(v) for v in np.sum(mine * true, axis=0) / np.sum(true**2, axis=0)],
        "found_percent": 100.0 * float(near.mean()),
    }
