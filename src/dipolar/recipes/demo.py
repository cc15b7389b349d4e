"""The demo: a film is simulated, measured like any other image, and held against its truth."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Cells
from dipolar.recipes.gain_check import pair, regress
from dipolar.recipes.measure import measure_image
from dipolar.recipes.results import check_out, write_result
from dipolar.recipes.settings import MeasureSettings, SimulateSettings
from dipolar.recipes.simulate import files_of, record_of, simulate_image

FILM = SimulateSettings(layers="SrTiO3:0.25,BiFeO3:0.75", wall="109", row_jitter_px=0.05, seed=1)
MEASURE = MeasureSettings(lattice_pm=390.5, reference="800:1024,0:1024")


def run_demo(out: str | Path, *, progress: Progress = silent) -> tuple[Measurement, dict[str, float]]:
    """Write the result folder of a simulated film, and return its measurement and how near the truth that is.

    Parameters
    ----------
    out
        The folder; the film and its truth are written into it too.
    progress
        Told how far it has come.

    Raises
    ------
    OutputError
        If it cannot be written; nothing is left behind then.
    """
    check_out(out, kind="a demonstration")
    progress("simulating a film", 0.0)
    film = simulate_image(FILM)
    progress("simulating a film", 1.0)
    files = files_of(film, FILM)
    with tempfile.TemporaryDirectory() as folder:  # measured from its file, as a user's image is
        path = Path(folder) / film.image.name
        files[path.name](path)
        measurement = measure_image(path, settings=MEASURE, progress=progress)
    truth = against_truth(measurement.cells, film.truth_cells)
    extra = {"simulated": dict(record_of(FILM).settings), "truth": truth}
    write_result(measurement, out, formats=MEASURE.figure_formats, extra=extra, beside=files, progress=progress)
    return measurement, truth


def against_truth(found: Cells, truth: Cells) -> dict[str, float]:
    """Return error, gain and honesty of sigma of a measurement whose truth is known.

    Parameters
    ----------
    found
        Measured cells, calibrated.
    truth
        True cells of the same image.

    Returns
    -------
    dict
        ``found_share`` of the true cells; ``rmse_pm`` per component and ``sigma_pm``, what sigma says of it;
        ``gain``; ``zscore_width`` and ``within_one_sigma``.
    """
    rows = pair(truth, found)
    scale = found.pixel_size_pm or float("nan")
    error = found.displacement_px[rows[:, 1]] - truth.displacement_px[rows[:, 0]]
    variance = np.einsum("nii->ni", found.covariance_px2)[rows[:, 1]]
    zscore = error / np.sqrt(variance)
    lines = [
        regress(truth.displacement_px[rows[:, 0], axis], found.displacement_px[rows[:, 1], axis], variance[:, axis])
        for axis in (0, 1)
    ]
    return {
        "found_share": len(np.unique(rows[:, 0])) / max(len(truth.flags), 1),
        "rmse_pm": scale * float(np.sqrt(np.mean(error**2))),
        "sigma_pm": scale * float(np.sqrt(np.mean(variance))),
        "gain": float(np.mean([line.slope for line in lines])),
        "zscore_width": float(np.std(zscore)),
        "within_one_sigma": float(np.mean(np.abs(zscore) < 1.0)),
    }
