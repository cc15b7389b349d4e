"""A coordinate decoder that is a Fourier series: it draws at any point, turned, shifted, and at any resolution.

What is drawn is linear in the coefficients, so that templates have a closed form, and its band limit keeps the noise of
single pixels out. Coordinates are (y, x) in px of the network from the middle of the patch. A decoder that is a
function of coordinates, which turn and shift in place of the image, is that of T. Bepler, E. D. Zhong, K. Kelley,
E. Brignole and B. Berger, "Explicitly disentangling image content from translation and rotation with spatial-VAE",
NeurIPS 2019, arXiv:1909.11663; theirs is a dense network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from jaxtyping import Float
from torch import Tensor

LIMIT = 0.36
"""Highest frequency, in cycles per px: columns of a width of 1.3 px and more are below it."""
PERIOD = 1.25
"""Period over the side of the patch, so that opposite rims need not be alike."""
STEP = 1e-2
"""Step of the numerical derivatives, in px or rad."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tangents:
    """Matrices from coefficients to pixels, and how these change with the pose: turn, shift (y, x)."""

    terms: Float[Tensor, "term fine point frequency"]
    """The matrix itself, then its first and second derivatives, as `monomials` orders them."""


def frequencies(side: int) -> Float[Tensor, "wave 2"]:
    """Return the waves (cycles per px, half of the plane) of a series for patches of this side."""
    period = PERIOD * side
    reach = int(LIMIT * period)
    waves = [
        (v, u)
        for v in range(reach + 1)
        for u in range(-reach, reach + 1)
        if (v > 0 or u > 0) and math.hypot(v, u) <= LIMIT * period
    ]
    return torch.tensor(waves, dtype=torch.float64) / period


def grid(side: int, *, across: int | None = None) -> Float[Tensor, "point 2"]:
    """Return pixel middles of a square, row by row; `across` px of the network wide, as many as pixels unless given."""
    ticks = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) * ((across or side) / side)
    return torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"), dim=-1).reshape(-1, 2)


def turned_back(points: Float[Tensor, "point 2"], angle_rad: float) -> Float[Tensor, "point 2"]:
    """Return where points of the screen lie in what was turned counter-clockwise by this angle (y points down)."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    dy, dx = points.unbind(-1)
    return torch.stack([c * dy + s * dx, c * dx - s * dy], dim=-1)


def matrix(points: Float[Tensor, "point 2"], waves: Float[Tensor, "wave 2"]) -> Float[Tensor, "point frequency"]:
    """Return values of every term of the series at every point; the sum of their squares is about 1."""
    phase = 2 * math.pi * points @ waves.T
    one = torch.ones(len(points), 1, dtype=points.dtype)
    terms = torch.cat([one, math.sqrt(2) * torch.cos(phase), math.sqrt(2) * torch.sin(phase)], dim=1)
    return terms / math.sqrt(terms.shape[1])


def tangents(
    points: Float[Tensor, "point 2"], waves: Float[Tensor, "wave 2"], angles_rad: list[float], *, poses: tuple[str, ...]
) -> Tangents:
    """Return matrices for each angle, with derivatives by the poses: ``turn`` (rad), ``dy``, ``dx`` (px, of what is
    drawn, before it is turned by the angle). One angle after the other, as doubles take much memory."""
    count = 1 + len(poses) + len(poses) * (len(poses) + 1) // 2
    terms = torch.empty(count, len(angles_rad), len(points), 1 + 2 * len(waves))
    for place, angle in enumerate(angles_rad):
        for term, values in enumerate(_derivatives(points, waves, angle, poses)):
            terms[term, place] = values
    return Tangents(terms=terms)


def _derivatives(
    points: Float[Tensor, "point 2"], waves: Float[Tensor, "wave 2"], angle_rad: float, poses: tuple[str, ...]
) -> Iterator[Float[Tensor, "point frequency"]]:
    """Yield the matrix of an angle, its derivatives by the poses, and its second ones."""

    def at(**by: float) -> Float[Tensor, "point frequency"]:
        shift = torch.tensor([by.get("dy", 0.0), by.get("dx", 0.0)], dtype=torch.float64)
        return matrix(turned_back(points, angle_rad + by.get("turn", 0.0)) - shift, waves)

    middle = at()
    yield middle
    plus = {pose: at(**{pose: STEP}) for pose in poses}
    minus = {pose: at(**{pose: -STEP}) for pose in poses}
    for pose in poses:
        yield (plus[pose] - minus[pose]) / (2 * STEP)
    for one, other in combinations_with_replacement(poses, 2):
        if one == other:
            yield (plus[one] + minus[one] - 2 * middle) / STEP**2
        else:
            yield sum(
                (at(**{one: a * STEP, other: b * STEP}) * (a * b) for a in (-1, 1) for b in (-1, 1)),
                start=torch.zeros_like(middle),
            ) / (4 * STEP**2)


def monomials(pose: Float[Tensor, "*batch pose"]) -> Float[Tensor, "*batch term"]:
    """Return by what each of the terms of `tangents` counts, to second order."""
    parts = [torch.ones_like(pose[..., :1]), pose]
    for one, other in combinations_with_replacement(range(pose.shape[-1]), 2):
        product = pose[..., one : one + 1] * pose[..., other : other + 1]
        parts.append(0.5 * product if one == other else product)
    return torch.cat(parts, dim=-1)
