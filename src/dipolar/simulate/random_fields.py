"""Random fields over a crystal: smooth ones, domains with walls any way, and waves."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int64

PERIODS = ((0.5, 0.0), (0.0, 0.5), (0.5, 0.5), (0.25, 0.0), (0.0, 0.25), (0.25, 0.25), (0.25, -0.25))
"""Wavevectors, in periods per cell along (row, column), of antipolar waves: period 2 and, as in PbZrO3, 4."""


def smooth_field(
    points: Float[np.ndarray, "point 2"],
    *,
    length: float,
    rng: np.random.Generator,
    components: int = 2,
    waves: int = 40,
) -> Float[np.ndarray, "point component"]:
    """Return smooth random numbers at points: mean 0, variance 1, correlation ``exp(-d² / 2 length²)``.

    A sum of plane waves whose wavevectors are drawn from the spectrum of that correlation. Source: A. Rahimi and
    B. Recht, *Random features for large-scale kernel machines*, NIPS 20 (2007).

    Parameters
    ----------
    points
        Where.
    length
        Correlation length, in the unit of the points.
    rng
        Draws wavevectors and phases.
    components
        How many independent fields.
    waves
        How many waves make one of them.
    """
    vectors, phases = _waves(components * waves, length=length, rng=rng)
    crests = np.cos(points @ vectors.T + phases).reshape(len(points), components, waves)
    field: Float[np.ndarray, "point component"] = np.sqrt(2.0 / waves) * crests.sum(axis=2)
    return field


def smooth_image(
    shape_px: tuple[int, int], *, length_px: float, rng: np.random.Generator, waves: int = 24
) -> Float32[np.ndarray, "y x"]:
    """Return such a field at every pixel of an image; see `smooth_field`."""
    vectors, phases = _waves(waves, length=length_px, rng=rng)
    # cos(a + b) = cos a cos b - sin a sin b: every wave is a sum of two products of a column and a row
    down = np.arange(shape_px[0])[:, None] * vectors[:, 0] + phases
    right = np.arange(shape_px[1])[:, None] * vectors[:, 1]
    left = np.concatenate([np.cos(down), -np.sin(down)], axis=1).astype(np.float32)
    field: Float32[np.ndarray, "y x"] = (
        left @ np.concatenate([np.cos(right), np.sin(right)], axis=1).astype(np.float32).T
    )
    return field * np.float32(np.sqrt(2.0 / waves))


def _waves(
    count: int, *, length: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "wave 2"], Float[np.ndarray, " wave"]]:
    """Return wavevectors and phases."""
    return rng.normal(scale=1.0 / length, size=(count, 2)), rng.uniform(0.0, 2.0 * np.pi, size=count)


def domain_field(
    points: Float[np.ndarray, "point 2"],
    *,
    vectors: Float[np.ndarray, "domain 2"],
    wall_angle_deg: Float[np.ndarray, " wall"],
    wall_place: Float[np.ndarray, " wall"],
    wall_width: float,
) -> Float[np.ndarray, "point 2"]:
    """Return the vector of the domain at every point, blended through walls by ``(1 + tanh(distance / δ)) / 2``.

    One domain after another covers what lies beyond its wall, so that walls end at walls. No blend is longer than the
    longest vector.

    Parameters
    ----------
    points
        Where, (y, x), in cells from the middle of the image.
    vectors
        (dy, dx) of each domain; one more than there are walls.
    wall_angle_deg
        Direction of each wall, counter-clockwise.
    wall_place
        Its distance from the middle along its normal.
    wall_width
        Width 2δ of all walls; 0 for sharp ones.
    """
    field = np.tile(vectors[0], (len(points), 1))
    for angle, place, vector in zip(np.radians(wall_angle_deg), wall_place, vectors[1:], strict=True):
        distance = points @ np.array([np.cos(angle), np.sin(angle)]) - place
        share = (1.0 + np.tanh(2.0 * distance / max(wall_width, 1e-6))) / 2.0
        field += share[:, None] * (vector - field)
    return field


def wave_phase(nodes: Int64[np.ndarray, "point 2"], wavevector: tuple[float, float]) -> Float[np.ndarray, " point"]:
    """Return ``cos(2π q·n)``, or ++-- where the period is four cells, at cells numbered n = (row, column).

    Parameters
    ----------
    nodes
        Row and column of the cell.
    wavevector
        q: periods per cell along (row, column).
    """
    # a quarter wave sampled between its crests has equal sizes: the pattern ++-- of PbZrO3
    quarter = 0.25 in np.abs(wavevector)
    shift, height = (np.pi / 4.0, np.sqrt(2.0)) if quarter else (0.0, 1.0)
    crest: Float[np.ndarray, " point"] = height * np.cos(2.0 * np.pi * (nodes @ np.array(wavevector)) + shift)
    return crest
