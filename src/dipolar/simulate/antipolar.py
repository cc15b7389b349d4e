"""Films whose columns are displaced in waves: antipolar, zigzag, longer periods."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from dipolar.core.nouns import A, B, Columns, take
from dipolar.simulate.crystal import inside
from dipolar.simulate.detector import count
from dipolar.simulate.film import Simulated, simulate_film
from dipolar.simulate.render import render_columns
from dipolar.simulate.settings import FilmSettings
from dipolar.simulate.truth import mean_steps, truth_cells

MARGIN_CELLS = 4.0
"""How far around the image columns are drawn, for the light that they cast into it."""


def simulate_wave(
    settings: FilmSettings,
    *,
    amplitude_pm: float,
    wavevector: tuple[float, float] = (0.5, 0.0),
    direction_deg: float = 0.0,
    sublattice: Literal["A", "B"] = "B",
    rng: np.random.Generator,
) -> Simulated:
    """Return a film in which the columns of one sublattice are displaced by ``amplitude cos(2π q·n)``.

    Parameters
    ----------
    settings
        The film and the microscope; what it says about displacement and domains comes on top.
    amplitude_pm
        Largest displacement in the wave.
    wavevector
        q: periods per cell along (row, column); (0.5, 0) displaces every other row the other way.
    direction_deg
        Direction of the displacement on the screen, counter-clockwise.
    sublattice
        Whose columns are displaced.
    rng
        Where the randomness comes from.
    """
    cell_px = settings.layers[0].material.in_plane_pm / settings.pixel_size_pm
    margin = int(np.ceil(MARGIN_CELLS * cell_px))
    tall, wide = settings.shape_px
    larger = simulate_film(replace(settings, shape_px=(tall + 2 * margin, wide + 2 * margin)), rng=rng)
    rest = replace(larger.truth_columns, positions_px=larger.truth_columns.positions_px - margin)
    moved = waved(
        rest,
        amplitude_px=amplitude_pm / settings.pixel_size_pm,
        wavevector=wavevector,
        direction_deg=direction_deg,
        sublattice=sublattice,
    )
    shifts = larger.row_shift_px[margin : margin + tall]
    expected = larger.expected[margin : margin + tall, margin : margin + wide].astype(np.float64)
    difference = _drawn(moved, settings.shape_px, shifts) - _drawn(rest, settings.shape_px, shifts)
    counts = np.maximum((expected + difference - settings.detector_offset) / settings.gain, 0.0).astype(np.float32)
    data = count(counts, rng=rng, gain=settings.gain, offset=settings.detector_offset, readout=settings.readout)
    columns = take(moved, inside(moved.positions_px, settings.shape_px))
    columns = replace(columns, steps_px=mean_steps(columns.positions_px, columns.links))
    return Simulated(
        image=replace(larger.image, data=data),
        expected=(counts * settings.gain + settings.detector_offset).astype(np.float32),
        truth_columns=columns,
        truth_cells=truth_cells(columns, pixel_size_pm=settings.pixel_size_pm),
        row_shift_px=shifts,
    )


def waved(
    columns: Columns,
    *,
    amplitude_px: float,
    wavevector: tuple[float, float],
    direction_deg: float = 0.0,
    sublattice: Literal["A", "B"] = "B",
) -> Columns:
    """Return columns of which one sublattice is displaced in a wave; see `simulate_wave`."""
    index = columns.index.astype(np.int64)
    nodes = np.column_stack([(index[:, 0] - index[:, 1]) // 2, (index[:, 0] + index[:, 1]) // 2])
    angle = np.radians(direction_deg)
    size = amplitude_px * np.cos(2.0 * np.pi * (nodes @ np.array(wavevector)))
    size[columns.sublattice != (A if sublattice == "A" else B)] = 0.0
    return replace(
        columns, positions_px=columns.positions_px + size[:, None] * np.array([-np.sin(angle), np.cos(angle)])
    )


def _drawn(
    columns: Columns, shape_px: tuple[int, int], row_shift_px: Float[np.ndarray, "y 2"]
) -> Float[np.ndarray, "y x"]:
    """Return the light of the columns, without background, in units of the image."""
    drawn = render_columns(
        shape_px,
        columns.positions_px,
        columns.amplitude,
        columns.widths_px,
        columns.angle_deg,
        columns.sublattice,
        columns.profile,
        row_shift_px=row_shift_px,
    )
    return drawn.astype(np.float64)
