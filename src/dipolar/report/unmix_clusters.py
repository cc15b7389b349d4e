"""The sheet of clusters: where they are, what their patches look like, and what tells them from the mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dipolar.core.units import magnitude
from dipolar.core.unmixing import Unmixed

from . import colour, style
from .displacement import draw_wheel
from .panels import panel_size
from .unmix_parts import (
    MARGIN_MM,
    WIDE,
    Beside,
    Section,
    Tiles,
    category,
    category_colours,
    curve_section,
    draw_map,
    draw_patch,
    draw_points,
    sheet,
    tiles_of,
)
from .wording import number

MOST = 16
"""Clusters whose means are drawn."""
ROUND_OFF = 1e-4
"""Differences that are no more than this share of the largest value are not drawn."""
ACROSS = 8
NAMES = {"gmm": "Gaussian mixture", "kmeans": "k-means"}


@style.styled
def cluster_sheet(unmixed: Unmixed) -> Figure:
    """Return the map of clusters beside that of the measured displacement, their means, and how many there are."""
    found, tiles = unmixed.components, tiles_of(unmixed)
    sections = [cluster_maps(unmixed, tiles), *mean_sections(unmixed)]
    beside: list[Beside] = []
    if found.scores.shape[1] > 1 and found.cluster is not None:
        beside.append((60.0, points_of(unmixed)))
    if found.curves or beside:
        title = "how many, and how they lie" if found.curves else "how they lie"
        sections.append(curve_section(found.curves[:2], title=title, more=beside))
    return sheet(sections, title=NAMES.get(found.method, "Clusters"), name=unmixed.image.name)


def direction_colours(unmixed: Unmixed) -> tuple[Float[np.ndarray, "patch 3"], float, str]:
    """Return amplitude-phase colours of the displacement measured at each site, and the full radius with its unit."""
    return vector_colours(unmixed, unmixed.displacement_px)


def vector_colours(
    unmixed: Unmixed, vectors_px: Float[np.ndarray, "patch 2"]
) -> tuple[Float[np.ndarray, "patch 3"], float, str]:
    """Return amplitude-phase colours of vectors in px, with the length of the full hue and its unit.

    Displacements that were measured and dipoles that are drawn share one scale, so that their maps can be compared.
    """
    scale, unit = (1.0, "px") if unmixed.pixel_size_pm is None else (unmixed.pixel_size_pm, "pm")
    angles = unmixed.components.angles
    alike = [unmixed.displacement_px]
    if angles is not None and angles.verdict not in ("collapsed", "noise"):  # else dipoles are not drawn
        alike.append(angles.dipole_px)
    sharing = alike if any(vectors_px is one for one in alike) else [vectors_px]
    lengths = [magnitude(one[np.isfinite(one).all(axis=1)]) for one in sharing]
    full = max((float(np.percentile(one, 95)) for one in lengths if len(one)), default=0.0)
    radius = colour.nice_ceiling(scale * full) if full > 0 else 1.0
    return colour.displacement_colours(scale * vectors_px, full_radius=radius), radius, unit


def measured(unmixed: Unmixed) -> bool:
    """Return whether a displacement was measured at any site."""
    return bool(np.isfinite(unmixed.displacement_px).all(axis=1).any())


def cluster_maps(unmixed: Unmixed, tiles: Tiles) -> Section:
    """Return the map of clusters with its key, and that of the measured displacement with its wheel."""
    groups = unmixed.components.cluster
    known = groups is not None and bool((groups >= 0).any())
    colours = [] if groups is None else [("clusters", category_colours(groups))]
    if measured(unmixed):
        colours.append(("measured displacement", direction_colours(unmixed)[0]))
    key_mm = 30.0
    width, height, places = map_places(tiles, len(colours), room=style.TWO_COLUMNS_MM - key_mm)
    tall = max(places[-1][1] + height, 58.0)

    def draw(drawn: Figure, top: float) -> None:
        for (title, shades), (left, down) in zip(colours, places, strict=True):
            axes = style.axes_mm(drawn, left, top + down, width, height)
            draw_map(axes, tiles, shades, title=title)
            if down == places[0][1] and left == places[0][0]:
                style.scale_bar(axes, unmixed.pixel_size_pm)
        if known:
            _key(drawn, (style.TWO_COLUMNS_MM - key_mm + 1, top + 2), unmixed)
        if measured(unmixed):
            wheel(drawn, (style.TWO_COLUMNS_MM - key_mm + 6, top + tall - 26), unmixed)

    return Section(title="where they are", tall_mm=tall + 4, draw=draw)


def displacement_map(unmixed: Unmixed, tiles: Tiles) -> Section:
    """Return a small map of the measured displacement with its wheel, to compare with."""
    width, height = panel_size(tiles.aspect, widest=style.TWO_COLUMNS_MM - 40.0, tallest=44.0)

    def draw(drawn: Figure, top: float) -> None:
        draw_map(style.axes_mm(drawn, MARGIN_MM, top + 1, width, height), tiles, direction_colours(unmixed)[0])
        wheel(drawn, (MARGIN_MM + width + 8, top + 3), unmixed)

    return Section(title="to compare with: measured displacement", tall_mm=max(height, 30.0) + 4, draw=draw)


def map_places(tiles: Tiles, count: int, *, room: float) -> tuple[float, float, list[tuple[float, float]]]:
    """Return width and height of maps, and (left, down) of each: beside each other, or below where they are wide."""
    if tiles.aspect > WIDE:
        width, height = panel_size(tiles.aspect, widest=room - 2 * MARGIN_MM, tallest=60.0)
        return width, height, [(MARGIN_MM, 4 + place * (height + 6)) for place in range(count)]
    width, height = panel_size(tiles.aspect, widest=(room - MARGIN_MM) / count - 3.0, tallest=80.0)
    return width, height, [(MARGIN_MM + place * (width + 3.0), 4.0) for place in range(count)]


def wheel(drawn: Figure, at: tuple[float, float], unmixed: Unmixed, *, radius: float | None = None) -> None:
    """Draw the colour wheel at (x, y) in mm, its full radius that of the measured displacement unless one is given."""
    _, full, unit = direction_colours(unmixed)
    draw_wheel(style.axes_mm(drawn, at[0], at[1], 17, 17), radius=full if radius is None else radius, unit=unit)


def _key(drawn: Figure, at: tuple[float, float], unmixed: Unmixed) -> None:
    """Write the colour and the share of every cluster."""
    groups = unmixed.components.cluster
    assert groups is not None
    count, placed = int(groups.max()) + 1, groups[groups >= 0]
    shares = [number(100 * float(np.mean(placed == place)), 2) for place in range(count)]
    full_width, full_height = (float(inches) / style.MM for inches in drawn.get_size_inches())
    shown = min(count, 12)
    handles = [
        Line2D([], [], marker="s", ls="", ms=4.5, color=category(place), label=f"{place}: {shares[place]} %")
        for place in range(shown)
    ]
    if (groups < 0).any():
        handles.append(Line2D([], [], marker="s", ls="", ms=4.5, color=colour.UNKNOWN, label="none"))
    where = (at[0] / full_width, 1 - at[1] / full_height)
    drawn.legend(handles=handles, loc="upper left", bbox_to_anchor=where, borderaxespad=0.0, handlelength=1.0,
                 labelspacing=0.3)  # fmt: skip


def mean_sections(unmixed: Unmixed) -> list[Section]:
    """Return the mean patch of each cluster, and what is left of it without the mean of all."""
    means = unmixed.components.cluster_means
    if means is None or not len(means):
        return []
    shown = means[:MOST].astype(np.float64)
    overall = unmixed.components.mean
    middle = shown.mean(axis=0) if overall is None else overall.astype(np.float64)
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    reach = float(np.nanmax(np.abs(shown - middle)))
    low_or_none: float | None = low
    rest = [("mean patch of each", shown, False, high, low_or_none)]
    if reach > ROUND_OFF * max(abs(high), abs(low)):  # one cluster alone leaves nothing but round-off
        rest.append(("what is left of it without the mean of all", shown - middle, True, reach, None))
    return [
        _pictures(title, pictures, signed=signed, reach=most, low=least)
        for title, pictures, signed, most, least in rest
    ]


def _pictures(
    title: str, pictures: Float[np.ndarray, "cluster channel y x"], *, signed: bool, reach: float, low: float | None
) -> Section:
    room = (style.TWO_COLUMNS_MM - 2 * MARGIN_MM) / ACROSS
    edge = room - 2.5

    def draw(drawn: Figure, top: float) -> None:
        for place, picture in enumerate(pictures):
            left = MARGIN_MM + place % ACROSS * room
            axes = style.axes_mm(drawn, left, top + 3 + place // ACROSS * (edge + 5), edge, edge)
            draw_patch(axes, picture, signed=signed, title=str(place), reach=reach, low=low)
            for spine in axes.spines.values():
                spine.set(color=category(place), linewidth=1.2)

    return Section(title=title, tall_mm=-(-len(pictures) // ACROSS) * (edge + 5) + 1, draw=draw)


def points_of(unmixed: Unmixed) -> Callable[[Figure, float, float], None]:
    """Return what draws patches as points of their first two scores, coloured by cluster."""
    found = unmixed.components
    labels = [name.replace("_", " ") for name in found.names]

    def draw(drawn: Figure, left: float, top: float) -> None:
        axes = style.axes_mm(drawn, left + 11, top + 7, 38, 34)
        assert found.cluster is not None
        draw_points(axes, found.scores[:, :2], category_colours(found.cluster), title="patches, by cluster")
        axes.set_xlabel(labels[0], labelpad=1.5)
        axes.set_ylabel(labels[1], labelpad=1.5)

    return draw
