"""Places to look next: where they are, and what the image shows there."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from dipolar.core.domains import Anomalies, Maps
from dipolar.core.geometry import cell_edge_px
from dipolar.core.measurement import Measurement

from . import style
from .ground import ground, show_image, stretch
from .panels import panel_size
from .wording import number

MOST_CROPS = 8
CROP_CELLS = 7.0
"""Edge of the cut-outs, in cells."""


@style.styled
def anomalies_figure(measurement: Measurement, maps: Maps) -> Figure:
    """Return the image with numbered places, and the first of them enlarged with their reasons."""
    title, name, found = "Places to look next", measurement.image.name, maps.anomalies
    if not len(found.cell):
        return style.message("no cell stands out from the rest", title=title, name=name)
    height, width = measurement.image.data.shape
    crops = min(len(found.cell), MOST_CROPS)
    below = width > 2.2 * height
    map_width, map_height = panel_size(width / height, widest=style.TWO_COLUMNS_MM - 4 if below else 88.0, tallest=94.0)
    across = 4 if below else 3
    crop, step = (32.0, 45.0) if below else (24.0, 30.0)
    left, top = (2.0, 12 + map_height + 8) if below else (2 + map_width + 5, 12.0)
    rows = -(-crops // across)
    drawn = style.figure(style.TWO_COLUMNS_MM, max(12 + map_height + 8, top + rows * (crop + 15) + 2))
    style.heading(drawn, title, name)
    axes = style.axes_mm(drawn, 2, 12, map_width, map_height)
    show_image(axes, ground(measurement), dim=0.2)
    _number(axes, found, len(found.cell))
    style.bare(axes)
    style.scale_bar(axes, measurement.calibration.pixel_size_pm)
    for place in range(crops):
        at = (left + place % across * step, top + place // across * (crop + 15))
        _draw_crop(style.axes_mm(drawn, *at, crop, crop), measurement, found, place)
    return drawn


def _number(axes: Axes, found: Anomalies, count: int) -> None:
    edge = [withStroke(linewidth=1.6, foreground="white")]
    for place in range(count):
        y, x = found.positions_px[place]
        axes.plot([x], [y], "o", mfc="none", mec=style.COLOUR_A, mew=1.0, ms=7, zorder=5)
        axes.annotate(
            str(place + 1),
            (x, y),
            (4, 4),
            textcoords="offset points",
            size=6.5,
            color=style.COLOUR_A,
            path_effects=edge,
        )


def _draw_crop(axes: Axes, measurement: Measurement, found: Anomalies, place: int) -> None:
    half = 0.5 * CROP_CELLS * cell_edge_px(measurement.cells)
    y, x = found.positions_px[place]
    data = measurement.image.data
    rows = slice(max(0, int(y - half)), min(data.shape[0], int(y + half) + 1))
    cols = slice(max(0, int(x - half)), min(data.shape[1], int(x + half) + 1))
    part = stretch(data[rows, cols].astype(np.float64))
    extent = (cols.start - 0.5, cols.stop - 0.5, rows.stop - 0.5, rows.start - 0.5)
    axes.imshow(part, cmap="gray", vmin=0, vmax=1, extent=extent)
    quad = 0.5 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    cell = int(found.cell[place])
    cells = measurement.cells
    outline = cells.positions_px[cell] + quad[:, :1] * cells.a_px[cell] + quad[:, 1:] * cells.b_px[cell]
    axes.plot(outline[:, 1], outline[:, 0], color=style.COLOUR_A, lw=0.8)
    axes.set(xlim=(x - half, x + half), ylim=(y + half, y - half), facecolor="0.85")
    style.bare(axes)
    where = found.from_centre_nm[place]
    at = f"y {number(where[0], 3)}, x {number(where[1], 3)} nm" if np.isfinite(where).all() else ""
    axes.set_title(f"{place + 1}  {at}", size=6, pad=2)
    axes.text(
        0.0,
        -0.04,
        "\n".join(textwrap.wrap(found.reason[place], 32)[:4]),
        transform=axes.transAxes,
        size=4.8,
        va="top",
        color=style.QUIET,
        linespacing=1.15,
    )
