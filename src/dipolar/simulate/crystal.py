"""A layered perovskite as points: where every A and B column stands in the crystal's own axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int8, Int64

from dipolar.core.nouns import A, B
from dipolar.simulate.materials import Material


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of the stack."""

    material: Material
    """What it is made of."""
    share: float = 1.0
    """Its height, as a share of the heights of all layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dislocation:
    """One edge dislocation with Burgers vector a[100]; the extra half plane lies above the core."""

    place: tuple[float, float] = (0.0, 0.0)
    """Core (y, x) in the crystal's axes, in shares of the image's shorter edge from its middle."""
    poisson_ratio: float = 0.24
    """Of the elastic continuum; 0.24 is that of SrTiO3."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sites:
    """Columns of the undistorted crystal; y points down, the middle of the image is (0, 0)."""

    points_pm: Float[np.ndarray, "site 2"]
    """Ideal positions (y, x), B in the middle of its cell."""
    half_steps: Int64[np.ndarray, "site 2"]
    """Lattice coordinates (down, right) in half cells: even for A, odd for B."""
    sublattice: Int8[np.ndarray, " site"]
    """0 for A, 1 for B."""
    layer: Int64[np.ndarray, " site"]
    """Number of the layer, from the bottom."""


def row_heights(
    layers: tuple[Layer, ...], *, height_pm: float, vacuum: float, reach_pm: float
) -> tuple[Float[np.ndarray, " row"], Int64[np.ndarray, " row"], int]:
    """Return where the rows of A columns lie, the layer of the cell row under each, and the number of the first row.

    The rows go from top to bottom. Layers fill the image from its bottom edge to the vacuum; the lowest goes on below
    it, and without vacuum the topmost goes on above. A single layer without vacuum has row 0 in the middle.

    Parameters
    ----------
    layers
        From bottom to top.
    height_pm
        Height of the image.
    vacuum
        Share of the image above the surface, 0 for none.
    reach_pm
        How far above and below the middle the rows must go.
    """
    shares = np.array([layer.share for layer in layers])
    heights = shares / shares.sum() * (1.0 - vacuum) * height_pm
    spacing = [layer.material.out_of_plane_pm for layer in layers]
    base = 0.0 if len(layers) == 1 and vacuum == 0 else height_pm / 2.0 - heights[0]
    below = np.arange(1, int(np.ceil(max(reach_pm - base, 0.0) / spacing[0])) + 1)
    y_down, layer_down = base + below * spacing[0], np.zeros(len(below), dtype=np.int64)
    y_up, layer_up = [base], [0]
    for number in range(1, len(layers)):
        for _ in range(max(1, round(heights[number] / spacing[number]))):
            y_up.append(y_up[-1] - spacing[number])
            layer_up.append(number)
    while vacuum == 0 and y_up[-1] > -reach_pm:
        y_up.append(y_up[-1] - spacing[-1])
        layer_up.append(len(layers) - 1)
    y = np.concatenate([np.array(y_up)[::-1], y_down])
    return y, np.concatenate([np.array(layer_up, dtype=np.int64)[::-1], layer_down]), 1 - len(y_up)


def sites(layers: tuple[Layer, ...], *, in_plane_pm: float, height_pm: float, vacuum: float, reach_pm: float) -> Sites:
    """Return all columns of a coherent stack: one lattice along the film, each layer with its own height of cell.

    The surface, where there is one, is a row of A columns.

    Parameters
    ----------
    layers
        From bottom to top.
    in_plane_pm
        Edge of the cell along the film, the same in all layers.
    height_pm, vacuum, reach_pm
        As in `row_heights`; the columns go as far to the sides.
    """
    y, layer, first = row_heights(layers, height_pm=height_pm, vacuum=vacuum, reach_pm=reach_pm)
    across = int(np.ceil(reach_pm / in_plane_pm))
    i = np.arange(-across, across + 1)
    j = np.arange(first, first + len(y))
    rows_a = np.stack(np.meshgrid(2 * j, 2 * i, indexing="ij"), axis=-1).reshape(-1, 2)
    rows_b = np.stack(np.meshgrid(2 * j[:-1] + 1, 2 * i + 1, indexing="ij"), axis=-1).reshape(-1, 2)
    middle = (y[:-1] + y[1:]) / 2.0
    y_all = np.concatenate([np.repeat(y, len(i)), np.repeat(middle, len(i))])
    half_steps = np.concatenate([rows_a, rows_b]).astype(np.int64)
    return Sites(
        points_pm=np.stack([y_all, half_steps[:, 1] * in_plane_pm / 2.0], axis=-1),
        half_steps=half_steps,
        sublattice=np.repeat(np.array([A, B], dtype=np.int8), [len(rows_a), len(rows_b)]),
        # the cell row under A row n is made of what was stacked to reach row n from below
        layer=np.concatenate([np.repeat(layer, len(i)), np.repeat(layer[:-1], len(i))]),
    )


def core_pm(
    dislocation: Dislocation, points_pm: Float[np.ndarray, "site 2"], *, edge_pm: float
) -> Float[np.ndarray, "2"]:
    """Return the core (y, x) of the dislocation, its glide plane moved to half way between two rows of columns."""
    y, x = dislocation.place[0] * edge_pm, dislocation.place[1] * edge_pm
    rows = np.unique(points_pm[:, 0])
    between = (rows[:-1] + rows[1:]) / 2.0
    return np.array([between[np.argmin(np.abs(between - y))], x])


def dislocation_field(
    points_pm: Float[np.ndarray, "point 2"],
    core: Float[np.ndarray, "2"],
    *,
    burgers_pm: float,
    poisson_ratio: float,
    radius_pm: float,
) -> Float[np.ndarray, "point 2"]:
    """Return the displacement (dy, dx) around an edge dislocation in an isotropic elastic continuum, in pm.

    ``u_x = b/2π [θ + xy / (2 (1-ν) r²)]``, ``u_y = -b/2π [(1-2ν)/(4 (1-ν)) ln r² + (x²-y²) / (4 (1-ν) r²)]`` with y
    upwards. Source: J. P. Hirth and J. Lothe, *Theory of Dislocations*, 2nd ed. (1982), eq. 3-45 and 3-46. The cut of θ
    lies in the glide plane to the left of the core, where the crystal above slips by exactly b against that below, so
    that no column is lost or doubled.

    Parameters
    ----------
    points_pm
        Ideal positions (y, x), y down.
    core
        Position of the core.
    burgers_pm
        Length of the Burgers vector, along x.
    poisson_ratio
        Of the continuum.
    radius_pm
        Distance at which the logarithm is zero: it is fixed up to a shift of the whole crystal.
    """
    up, x = core[0] - points_pm[:, 0], points_pm[:, 1] - core[1]
    r2 = np.maximum(up**2 + x**2, (burgers_pm / 4.0) ** 2)  # no column stands in the core itself
    scale = burgers_pm / (2.0 * np.pi)
    stiff = 4.0 * (1.0 - poisson_ratio)
    u_x = scale * (np.arctan2(up, x) + 2.0 * x * up / (stiff * r2))
    u_up = -scale * ((1.0 - 2.0 * poisson_ratio) / stiff * np.log(r2 / radius_pm**2) + (x**2 - up**2) / (stiff * r2))
    return np.stack([-u_up, u_x], axis=-1)


def inside(
    points_px: Float[np.ndarray, "point 2"], shape: tuple[int, int], *, margin_px: float = 0.0
) -> Bool[np.ndarray, " point"]:
    """Return which points lie on the image's pixels, or within a margin outside them (inside, where negative)."""
    y, x = points_px[:, 0], points_px[:, 1]
    low, tall, wide = -0.5 - margin_px, shape[0] - 0.5 + margin_px, shape[1] - 0.5 + margin_px
    return (y >= low) & (y < tall) & (x >= low) & (x < wide)
