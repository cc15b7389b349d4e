"""Everything that is there is found, and nothing else, at all rotations, magnifications and intensities."""

from __future__ import annotations

import numpy as np
import pytest

import films
from dipolar.core.flags import Flag, has
from dipolar.core.nouns import A
from dipolar.locate import locate_columns
from dipolar.measure import build_cells
from dipolar.simulate import benchmark_film

SIZES = {8.0: 280, 23.0: 420, 60.0: 660}
"""Edge of the image for each edge of the cell, in px."""
SAMPLING = 23.0
"""Cells of this edge have the benchmark's counts per pixel; with smaller ones the electrons per cell are kept, since
at 30 counts in a column of 1 px width (B/A 0.2, cells of 8 px) one column in thirty drowns in the noise."""


RATIOS, ROTATIONS = (0.2, 0.6, 1.0, 1.3), (0.0, 17.0, 45.0)
CASES = [(rotation, cell_px, ratio) for rotation in ROTATIONS for cell_px in (8.0, 23.0) for ratio in RATIOS]
CASES += [(0.0, 60.0, 0.2), (17.0, 60.0, 0.6), (45.0, 60.0, 1.0), (17.0, 60.0, 1.3), (45.0, 60.0, 0.2)]


@pytest.mark.parametrize(("rotation", "cell_px", "ratio"), CASES)
def test_all_complete_cells_are_found_and_nothing_else(rotation, cell_px, ratio):
    settings = benchmark_film(
        size_px=SIZES[cell_px],
        cell_px=cell_px,
        rotation_deg=rotation,
        shear=0.03,
        ratio_b_to_a=ratio,
        dose=max(1.0, (SAMPLING / cell_px) ** 2),
    )
    simulated = films.film(settings, seed=1)
    true = simulated.truth_columns
    columns = locate_columns(simulated.image, bright="B" if ratio > 1 else "A")
    distance, row = films.nearest(columns.positions_px, true.positions_px)
    inner = films.off_edge(true, simulated.image)[row]
    spurious = distance > 0.25 * cell_px
    assert spurious.mean() < 0.001
    assert (distance[inner & ~spurious] * settings.pixel_size_pm < 50.0).all()
    found = np.zeros(len(true.flags), dtype=bool)
    found[row[distance * settings.pixel_size_pm < 50.0]] = True
    complete = films.complete_cells(simulated)
    cells = simulated.truth_cells
    whole = found[cells.center] & found[cells.corners].all(axis=1)
    assert complete.sum() > 65
    assert whole[complete].mean() >= 0.999
    swapped = columns.sublattice != true.sublattice[row]
    ambiguous = has(columns.flags, Flag.AMBIGUOUS_SUBLATTICE)
    if ratio == 1.0:
        assert ambiguous.all() and (swapped.all() or not swapped.any())
        return
    assert not swapped.any() and not ambiguous.any()
    measured = build_cells(columns)
    off, _ = films.nearest(cells.positions_px[complete], measured.positions_px)
    assert np.mean(off < 0.1 * cell_px) >= 0.999


def test_bright_says_which_sublattice_is_called_a():
    simulated = films.film(benchmark_film(size_px=300, ratio_b_to_a=0.5), seed=2)
    one, other = (locate_columns(simulated.image, bright=bright) for bright in ("A", "B"))
    assert np.array_equal(one.sublattice, 1 - other.sublattice)
    amplitudes = [np.median(found.amplitude[found.sublattice == A]) for found in (one, other)]
    assert amplitudes[1] == pytest.approx(0.5 * amplitudes[0], rel=0.1)
