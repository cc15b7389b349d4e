"""The sheet of linear unmixing: modes, how much of each is at every site, and how the number was chosen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from dipolar.core.unmixing import Unmixed

from . import style
from .panels import panel_size
from .unmix_clusters import cluster_maps, displacement_map, mean_sections, measured
from .unmix_parts import MARGIN_MM, WIDE, Section, Tiles, curve_section, draw_patch, draw_values, sheet, tiles_of
from .wording import number

MOST = 8
"""Components that are drawn; the table holds all."""
NAMES = {
    "pca": "Principal components",
    "nmf": "Non-negative matrix factorisation",
    "ica": "Independent components",
}
ACROSS = 4


@style.styled
def linear_sheet(unmixed: Unmixed) -> Figure:
    """Return the mean patch, each mode above the map of its loadings, the measured displacement, and the scree.

    Signed modes and loadings are blue below zero and ochre above, white at zero; those of NMF are never below it.
    """
    found, tiles = unmixed.components, tiles_of(unmixed)
    sections = _columns(unmixed, tiles) if tiles.aspect <= WIDE else _rows(unmixed, tiles)
    if found.cluster is not None:
        sections += [cluster_maps(unmixed, tiles), *mean_sections(unmixed)]
    elif measured(unmixed):
        sections.append(displacement_map(unmixed, tiles))
    more = [] if found.mean is None else [(34.0, _mean(unmixed))]
    if found.curves or more:
        title = "how many" if found.curves else "the patch that all have in common"
        sections.append(curve_section(found.curves[:2], title=title, more=more))
    return sheet(sections, title=NAMES[found.method], name=unmixed.image.name)


def _titles(unmixed: Unmixed) -> list[str]:
    found = unmixed.components
    share = found.strength
    told = [""] * len(found.names) if share is None else [f", {number(100 * float(part), 3)} %" for part in share]
    return [f"{name.replace('_', ' ')}{words}" for name, words in zip(found.names, told, strict=True)][:MOST]


def _mode(unmixed: Unmixed, place: int) -> Float[np.ndarray, "channel y x"] | None:
    modes = unmixed.components.modes
    return None if modes is None or place >= len(modes) else modes[place].astype(np.float64)


def _columns(unmixed: Unmixed, tiles: Tiles) -> list[Section]:
    """Return rows of four components, each mode above its map."""
    titles, signed = _titles(unmixed), unmixed.components.method != "nmf"
    room = (style.TWO_COLUMNS_MM - 2 * MARGIN_MM) / ACROSS
    width, height = panel_size(tiles.aspect, widest=room - 9.0, tallest=52.0)
    edge, sections = 27.0, []
    for first in range(0, len(titles), ACROSS):
        shown = range(first, min(first + ACROSS, len(titles)))

        def draw(drawn: Figure, top: float, shown: range = shown) -> None:
            for place in shown:
                left = MARGIN_MM + (place % ACROSS) * room
                mode = _mode(unmixed, place)
                if mode is not None:
                    axes = style.axes_mm(drawn, left, top + 3.5, edge, edge)
                    draw_patch(axes, mode, signed=signed, title=titles[place], low=0.0)
                    axes.set_anchor("W")
                where = (left, top + edge + 6.5, width, height)
                _loadings(drawn, where, tiles, unmixed, place)

        title = "modes, and how much of each is at every site" if first == 0 else ""
        sections.append(Section(title=title, tall_mm=edge + height + 9.5, draw=draw))
    return sections


def _rows(unmixed: Unmixed, tiles: Tiles) -> list[Section]:
    """Return one row for each component, the mode beside its map: for images that are wide."""
    titles, signed = _titles(unmixed), unmixed.components.method != "nmf"
    width, height = panel_size(tiles.aspect, widest=style.TWO_COLUMNS_MM - 42.0, tallest=60.0)
    tall = max(height, 22.0)

    def draw(drawn: Figure, top: float) -> None:
        for place, title in enumerate(titles):
            upper = top + 4 + place * (tall + 6.5)
            mode = _mode(unmixed, place)
            if mode is not None:
                axes = style.axes_mm(drawn, MARGIN_MM, upper, 22.0, 22.0)
                draw_patch(axes, mode, signed=signed, title=title, low=0.0)
            where = (MARGIN_MM + 28, upper + (tall - height) / 2, width, height)
            _loadings(drawn, where, tiles, unmixed, place)

    title = "modes, and how much of each is at every site"
    return [Section(title=title, tall_mm=len(titles) * (tall + 6.5) + 3, draw=draw)]


def _loadings(
    drawn: Figure, where: tuple[float, float, float, float], tiles: Tiles, unmixed: Unmixed, place: int
) -> None:
    """Draw the map of one component, the first with a scale bar."""
    values, signed = unmixed.components.scores[:, place], unmixed.components.method != "nmf"
    axes = draw_values(drawn, where, tiles, values, title="", diverging=signed)
    if place == 0:
        style.scale_bar(axes, unmixed.pixel_size_pm)


def _mean(unmixed: Unmixed) -> Callable[[Figure, float, float], None]:
    mean = unmixed.components.mean

    def draw(drawn: Figure, left: float, top: float) -> None:
        if mean is not None:
            draw_patch(style.axes_mm(drawn, left, top + 6, 27, 27), mean, signed=False, title="mean patch")

    return draw
