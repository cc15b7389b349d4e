"""The true columns of a specimen as a table, for films that are made otherwise than by `simulate_film`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from dipolar.core.nouns import Columns, Noise
from dipolar.simulate.specimen import Specimen
from dipolar.simulate.truth import lattice_index, lattice_links, mean_steps, quarter_turn


def true_columns(film: Specimen, kept: Bool[np.ndarray, " column"]) -> Columns:
    """Return the columns that are kept: recorded positions, amplitude, lattice and links; all else is nan.

    Parameters
    ----------
    film
        The specimen.
    kept
        Which of its columns to take.
    """
    positions, half_steps = film.recorded_px[kept], film.half_steps[kept]
    slipped = None if film.core is None else (film.ideal_pm[kept], film.core)
    links = lattice_links(half_steps, turns=film.turns, slipped=slipped)
    rows = len(positions)
    unknown, pairs = np.full(rows, np.nan), np.full((rows, 2), np.nan)
    return Columns(
        positions_px=positions,
        covariance_px2=np.full((rows, 2, 2), np.nan),
        amplitude=film.amplitude[kept],
        amplitude_sigma=unknown,
        background=unknown,
        widths_px=pairs,
        angle_deg=unknown,
        sublattice=film.sublattice[kept],
        index=lattice_index(quarter_turn(half_steps, film.turns)),
        grain=np.zeros(rows, dtype=np.int32),
        links=links,
        row_reach_px=pairs,
        chi2=unknown,
        flags=np.zeros(rows, dtype=np.uint32),
        noise=Noise(
            gain=np.nan,
            floor=np.nan,
            correlation=(np.nan, np.nan),
            row_jitter_px=(np.nan, np.nan),
            row_jitter_sigma_px=(np.nan, np.nan),
        ),
        steps_px=mean_steps(positions, links),
        profile=np.ones((2, 1, 2)),
    )
