"""Draws docs/figure.png, the figure of the README, from a film that dipolar simulates and measures.

Run it by hand when the looks of the map change: ``.venv/bin/python docs/figure.py``.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

import dipolar
from dipolar.recipes.demo import FILM, MEASURE
from dipolar.report import render_figures


def main() -> None:
    """Simulate, measure, draw."""
    film = dipolar.simulate_image(FILM)
    measurement = dipolar.measure_image(film.image, settings=MEASURE, gain_check=False)
    drawn = Image.open(io.BytesIO(render_figures(measurement)["map"]["png"])).convert("RGB")
    drawn.thumbnail((1000, 1000), Image.Resampling.LANCZOS)
    drawn.save(Path(__file__).with_name("figure.png"), optimize=True)


if __name__ == "__main__":
    main()
