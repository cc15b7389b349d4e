"""Where columns of a random film stand off their ideal places: domains, smooth fields, scatter, waves."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

from dipolar.core.circular import unit_vectors
from dipolar.simulate.random_fields import PERIODS, domain_field, smooth_field, wave_phase
from dipolar.simulate.ranges import FilmRanges, happens, uniform

NOT_POLAR = 0.2
"""Share of domains without a displacement of their own."""


def random_displacement(
    points: Float[np.ndarray, "site 2"],
    half_steps: Int64[np.ndarray, "site 2"],
    *,
    extent: float,
    rng: np.random.Generator,
    ranges: FilmRanges,
) -> Float[np.ndarray, "site 2"]:
    """Return the displacement (dy, dx) of every column in the crystal's axes, in cells.

    B columns: ``L (p₁ domains + p₂ smooth field + p₃ offset) + scatter`` with random shares p whose sum is 1 and each
    part no longer than 1, so that L bounds the sum. Some films have an antipolar wave on A or B on top; some have
    nothing at all.

    Parameters
    ----------
    points
        Ideal positions (y, x) in cells from the middle of the image.
    half_steps
        Lattice coordinates (down, right) in half cells: even for A, odd for B.
    extent
        Longer edge of the image, in cells.
    rng
        Where the randomness comes from.
    ranges
        From where to where things vary.
    """
    shift = np.zeros(points.shape)
    if happens(rng, ranges.zero_share):
        return shift
    b = half_steps[:, 0] % 2 == 1
    length = uniform(rng, ranges.displacement)
    # a small exponent makes films in which one part has nearly everything as likely as films with all three
    share = rng.dirichlet([0.6, 0.4, 0.3])
    offset = unit_vectors(rng.uniform(0.0, 360.0, size=1))[0]
    smooth = smooth_field(points[b], length=uniform(rng, ranges.correlation), rng=rng)
    smooth /= np.sqrt(1.0 + np.sum(smooth**2, axis=1, keepdims=True))
    polar = share[0] * _domains(points[b], extent, rng, ranges) + share[1] * smooth + share[2] * offset
    shift[b] = length * polar + uniform(rng, ranges.scatter) * rng.standard_normal(polar.shape)
    if happens(rng, ranges.wave_share):
        shift += _wave(half_steps, rng, ranges)
    return shift


def _domains(
    points: Float[np.ndarray, "site 2"], extent: float, rng: np.random.Generator, ranges: FilmRanges
) -> Float[np.ndarray, "site 2"]:
    """Return the vector of the domains at every point, in shares of the longest displacement."""
    low, high = ranges.domains
    number = int(rng.integers(low, high + 1))
    size = rng.uniform(0.7, 1.0, size=number) * (rng.random(number) >= NOT_POLAR)
    return domain_field(
        points,
        vectors=size[:, None] * unit_vectors(_directions(number, rng)),
        wall_angle_deg=rng.uniform(0.0, 360.0, size=number - 1),
        wall_place=rng.uniform(-0.4, 0.4, size=number - 1) * extent,
        wall_width=uniform(rng, ranges.wall_width),
    )


def _directions(number: int, rng: np.random.Generator) -> Float[np.ndarray, " direction"]:
    """Return directions in degrees: all along ⟨100⟩, all along ⟨110⟩, or any."""
    kind = rng.integers(3)
    steps = 90.0 * rng.integers(4, size=number)
    return rng.uniform(0.0, 360.0, size=number) if kind == 2 else steps + 45.0 * float(kind)


def _wave(
    half_steps: Int64[np.ndarray, "site 2"], rng: np.random.Generator, ranges: FilmRanges
) -> Float[np.ndarray, "site 2"]:
    """Return an antipolar wave on one sublattice."""
    on_b, wavevector = happens(rng, 0.5), PERIODS[rng.integers(len(PERIODS))]
    moved = (half_steps[:, 0] % 2 == 1) == on_b
    crest = uniform(rng, ranges.wave) * wave_phase(half_steps // 2, wavevector) * moved
    return crest[:, None] * unit_vectors(_directions(1, rng))[0]
