"""The sheet of manifolds: patches laid out in a plane, and the same colours back at their places in the image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.stats import rankdata

from dipolar.core.unmixing import Unmixed

from . import colour, style
from .unmix_clusters import direction_colours, map_places, mean_sections, measured, wheel
from .unmix_parts import (
    MARGIN_MM,
    Section,
    Tiles,
    category_colours,
    curve_section,
    draw_map,
    draw_points,
    sheet,
    tiles_of,
)

NAMES = {"tsne": "t-SNE", "mds": "Multidimensional scaling", "isomap": "Isomap", "umap": "UMAP"}
CORNERS = np.array([[[0.14, 0.18, 0.42], [0.66, 0.87, 0.95]], [[0.45, 0.20, 0.05], [0.99, 0.86, 0.55]]])
"""Colours of places in the plane, [right][up]: none of those of the displacement, whose hues go around a circle."""
Shades = list[tuple[str, Float[np.ndarray, "patch 3"]]]


def plane_of(unmixed: Unmixed) -> Float[np.ndarray, "patch 2"]:
    """Return two coordinates of every patch; where the method was asked for one, the other is the row in the image."""
    scores = unmixed.components.scores
    if scores.shape[1] > 1:
        return scores[:, :2]
    return np.stack([scores[:, 0], -unmixed.positions_px[:, 0]], axis=1)


def plane_colours(points: Float[np.ndarray, "patch 2"]) -> Float[np.ndarray, "patch 3"]:
    """Return a colour for each place in a plane: blue to brown across, dark to light up, by rank; grey if unknown."""
    known = np.isfinite(points).all(axis=1)
    share = np.zeros(points.shape)
    if known.any():
        share[known] = rankdata(points[known], axis=0) / known.sum()
    weight = np.stack([1.0 - share, share], axis=2)  # patch, axis, side
    mixed = np.einsum("pi,pj,ijc->pc", weight[:, 0], weight[:, 1], CORNERS)
    return np.where(known[:, None], mixed, np.array(colour.UNKNOWN))


@style.styled
def manifold_sheet(unmixed: Unmixed) -> Figure:
    """Return the plane and the image in the same colours: place in the plane, cluster, measured displacement."""
    found, tiles, plane = unmixed.components, tiles_of(unmixed), plane_of(unmixed)
    shades: Shades = [("by place: brown right, light up", plane_colours(plane))]
    if found.cluster is not None and (found.cluster >= 0).any():
        shades.append(("by cluster", category_colours(found.cluster)))
    if measured(unmixed):
        shades.append(("by measured displacement", direction_colours(unmixed)[0]))
    sections = [_planes(unmixed, plane, shades), _maps(unmixed, tiles, shades), *mean_sections(unmixed)]
    if found.curves:
        sections.append(curve_section(found.curves[:2], title="how good it is"))
    return sheet(sections, title=NAMES[found.method], name=unmixed.image.name)


def _planes(unmixed: Unmixed, plane: Float[np.ndarray, "patch 2"], shades: Shades) -> Section:
    names = [name.replace("_", " ") for name in unmixed.components.names]
    labels = names[:2] if len(names) > 1 else [names[0], "row in the image"]
    edge = 39.0

    def draw(drawn: Figure, top: float) -> None:
        for place, (title, colours) in enumerate(shades):
            axes = style.axes_mm(drawn, MARGIN_MM + 8 + place * (edge + 11), top + 4, edge, edge)
            draw_points(axes, plane, colours, title=title)
            axes.set_xlabel(labels[0], labelpad=1.5)
            if place == 0:
                axes.set_ylabel(labels[1], labelpad=1.0)
        if measured(unmixed):
            wheel(drawn, (style.TWO_COLUMNS_MM - 23, top + 8), unmixed)

    return Section(title="patches in the plane: near is alike", tall_mm=edge + 13, draw=draw)


def _maps(unmixed: Unmixed, tiles: Tiles, shades: Shades) -> Section:
    width, height, places = map_places(tiles, len(shades), room=style.TWO_COLUMNS_MM)

    def draw(drawn: Figure, top: float) -> None:
        for (title, colours), (left, down) in zip(shades, places, strict=True):
            axes = style.axes_mm(drawn, left, top + down, width, height)
            draw_map(axes, tiles, colours, title=title)
            if (left, down) == places[0]:
                style.scale_bar(axes, unmixed.pixel_size_pm)

    return Section(title="the same colours at their places", tall_mm=places[-1][1] + height + 3, draw=draw)
