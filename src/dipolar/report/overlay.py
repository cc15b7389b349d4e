"""The columns over the image: an overview, and two places close enough to judge single columns."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from dipolar.core.measurement import Measurement
from dipolar.core.nouns import UNASSIGNED, A, B, Columns

from . import scene, style
from .ground import backdrop, stretch
from .panels import panel_size
from .wording import number

ZOOM_CELLS = 7.0
"""Width of a zoomed place, in cells."""
LEAST_SPACING_MM = 0.9
"""Columns closer than this on paper get no marks in the overview."""
KINDS = (
    (A, "A", style.COLOUR_A, "o"),
    (B, "B", style.COLOUR_B, "s"),
    (UNASSIGNED, "unassigned", "0.75", "D"),
)


@style.styled
def columns_figure(measurement: Measurement) -> Figure:
    """Return the columns over the image, with two zoomed places: the middle and where most columns are flagged."""
    height, width = measurement.image.data.shape
    wide = width > 2.2 * height  # then the zoomed places stand below the overview, otherwise beside it
    map_width, map_height = panel_size(width / height, widest=179.0 if wide else 112.0, tallest=118.0)
    full_height = map_height + 76 if wide else max(map_height + 22, 126)
    full_width = max(map_width + 4 + (0 if wide else 62), style.ONE_COLUMN_MM)
    drawn = style.figure(full_width, full_height)
    style.heading(drawn, "Columns", measurement.image.name)
    axes = style.axes_mm(drawn, 2, 9, map_width, map_height)
    grey, block = backdrop(measurement.image, longest=1200)
    extent = (-0.5, grey.shape[1] * block - 0.5, grey.shape[0] * block - 0.5, -0.5)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="auto", rasterized=True)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    style.bare(axes)
    style.scale_bar(axes, measurement.calibration.pixel_size_pm)
    columns, flagged = measurement.columns, scene.suspect(measurement.columns.flags)
    if not flagged.size:
        axes.set_title("no columns were found")
        return drawn
    spacing_mm = column_spacing_px(columns) * map_width / width
    marked = np.ones(flagged.size, dtype=bool) if spacing_mm >= LEAST_SPACING_MM else flagged
    size = float(np.clip(spacing_mm * 0.9, 0.6, 3.0))
    draw_columns(axes, columns, marked, size=size, ring=size * 1.9)
    boxes = zoom_boxes(measurement)
    for place, (letter, (y0, y1, x0, x1)) in enumerate(zip("ab", boxes, strict=True)):
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="white", lw=1.6))
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="0.05", lw=0.7))
        axes.annotate(letter, (x0, y0), xytext=(2, -8), textcoords="offset points", size=7.5, weight="bold", color="w")
        left, top = (2 + place * 59, map_height + 18) if wide else (2 + map_width + 6, 9 + place * 59)
        zoom = style.axes_mm(drawn, left, top, 54, 54)
        draw_zoom(zoom, measurement, (y0, y1, x0, x1), letter)
    _legend(drawn, axes, columns, flagged, every=bool(marked.all()))
    return drawn


def column_spacing_px(columns: Columns) -> float:
    """Return the shorter of the two mean steps between an A and a B column, in px."""
    return float(np.hypot(*columns.steps_px.T).min())


def zoom_boxes(measurement: Measurement) -> list[tuple[float, float, float, float]]:
    """Return two boxes (y0, y1, x0, x1): around the column nearest the middle, and where most columns are flagged.

    Without flagged columns the second one is around the column furthest from the middle of the image.
    """
    columns, shape = measurement.columns, measurement.image.data.shape
    edge = float(np.sqrt(2)) * column_spacing_px(columns)
    half = min(ZOOM_CELLS * edge / 2, max(shape) / 2)
    half = half if np.isfinite(half) and half > 2 else min(shape) / 4
    positions = columns.positions_px
    middle = (np.array(shape) - 1) / 2
    from_middle = np.hypot(*(positions - middle).T)
    flagged = scene.suspect(columns.flags)
    first = positions[np.nanargmin(from_middle)]
    if flagged.any():
        tile = np.floor(positions[flagged] / (2 * half)).astype(int)
        _, where, counts = np.unique(tile, axis=0, return_inverse=True, return_counts=True)
        second = positions[flagged][where.reshape(-1) == int(np.argmax(counts))].mean(axis=0)
    else:
        second = positions[np.nanargmax(from_middle)]
    boxes = []
    for place in (first, second):
        y, x = np.clip(place, np.minimum(half, middle), np.maximum(np.array(shape) - half, middle)).tolist()
        boxes.append((y - half, y + half, x - half, x + half))
    return boxes


def draw_columns(axes: Axes, columns: Columns, rows: Bool[np.ndarray, " column"], *, size: float, ring: float) -> None:
    """Mark the chosen columns by sublattice, and put a yellow ring around the suspect ones among them."""
    for code, _, colour, shape in KINDS:
        of_kind = rows & (columns.sublattice == code)
        y, x = columns.positions_px[of_kind].T
        axes.plot(x, y, shape, ms=size, mfc=colour, mec="white", mew=min(0.3, size / 6), rasterized=True)
    y, x = columns.positions_px[rows & scene.suspect(columns.flags)].T
    axes.plot(x, y, "o", ms=ring, mfc="none", mec=style.COLOUR_FLAG, mew=0.9, rasterized=True)


def draw_zoom(axes: Axes, measurement: Measurement, box: tuple[float, float, float, float], letter: str) -> None:
    """Draw the pixels of one place with a mark at the centre of every column."""
    y0, y1, x0, x1 = box
    data = measurement.image.data
    rows, cols = slice(max(0, int(y0)), int(y1) + 2), slice(max(0, int(x0)), int(x1) + 2)
    part: Float[np.ndarray, "y x"] = stretch(data[rows, cols])
    extent = (cols.start - 0.5, cols.start + part.shape[1] - 0.5, rows.start + part.shape[0] - 0.5, rows.start - 0.5)
    axes.set_facecolor("0.85")
    axes.imshow(part, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest", rasterized=True)
    y, x = measurement.columns.positions_px.T
    near = (y > y0) & (y < y1) & (x > x0) & (x < x1)
    draw_columns(axes, measurement.columns, near, size=2.7, ring=8.0)
    axes.set(xlim=(x0, x1), ylim=(y1, y0))
    style.bare(axes)
    style.scale_bar(axes, measurement.calibration.pixel_size_pm)
    axes.text(0.02, 0.98, letter, transform=axes.transAxes, va="top", size=8, weight="bold", color="white")


def _legend(drawn: Figure, axes: Axes, columns: Columns, flagged: Bool[np.ndarray, " column"], *, every: bool) -> None:
    handles = []
    for code, name, colour, shape in KINDS:
        count = int((columns.sublattice == code).sum())
        if count or code != UNASSIGNED:
            label = f"{name}: {number(count)}"
            handles.append(Line2D([], [], ls="", marker=shape, ms=4, mfc=colour, mec="white", mew=0.3, label=label))
    label = f"flagged: {number(int(flagged.sum()))}"
    handles.append(Line2D([], [], ls="", marker="o", ms=6, mfc="none", mec="#B8A800", mew=0.9, label=label))
    if not every:
        handles.append(Line2D([], [], ls="", label="(overview: flagged only)"))
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(-0.01, -0.01), ncols=len(handles), columnspacing=1.2,
        handletextpad=0.2, borderaxespad=0.2,
    )  # fmt: skip
