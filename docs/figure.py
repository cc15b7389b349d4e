"""Draws docs/figure.png, the figure of the README, from a film that dipolar simulates and measures, and docs/scan.png.

Run it by hand when the looks of the map change: ``.venv/bin/python docs/figure.py``.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

import dipolar
from dipolar.recipes.demo import FILM, MEASURE
from dipolar.report import render_figures
from dipolar.report.scan_page import render_scan_figures
from dipolar.simulate.scan import SimulatedScan


def draw_film() -> bytes:
    """Simulate a film, measure it, draw its map."""
    film = dipolar.simulate_image(FILM)
    measurement = dipolar.measure_image(film.image, settings=MEASURE, gain_check=False)
    return render_figures(measurement)["map"]["png"]


def draw_scan() -> bytes:
    """Simulate a scan, label fifty positions truly, train, map, draw."""
    made = dipolar.simulate_scan(scan_shape="44,60", pattern_px=96, seed=5)
    labels = labelled(made, np.random.default_rng(1).permutation(made.scan.count)[:50])
    trained = dipolar.train_on_scan(made.scan, labels)
    result = dipolar.map_scan(made.scan, trained.classifier, labels=labels)
    return render_scan_figures(result)["map"]["png"]


def labelled(made: SimulatedScan, numbers: np.ndarray) -> dipolar.Labels:
    """Return the true labels of some positions of a scan."""
    scan, truth = made.scan, made.truth
    return dipolar.Labels(
        key=scan.key,
        shape=scan.shape,
        names=truth.names,
        positions=np.stack(np.divmod(numbers, scan.shape[1]), axis=1).astype(np.int32),
        label=truth.label.ravel()[numbers].astype(np.int32),
    )


def write(name: str, content: bytes) -> None:
    """Write a figure beside this file, as small as the page needs it."""
    drawn = Image.open(io.BytesIO(content)).convert("RGB")
    drawn.thumbnail((1000, 1000), Image.Resampling.LANCZOS)
    drawn.save(Path(__file__).with_name(name), optimize=True)


def main() -> None:
    """Draw both."""
    write("figure.png", draw_film())
    write("scan.png", draw_scan())


if __name__ == "__main__":
    main()
