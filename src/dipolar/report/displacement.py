"""The map of polar displacement in amplitude-phase colours, with its wheel, arrows and scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from dipolar.core.geometry import cell_edge_px
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Cells
from dipolar.core.units import magnitude

from . import colour, scene, style
from .ground import ground, paint, show_image
from .wording import basis_words, counted, number, reference_words

ARROW_BLOCK_MM = 4.2
"""Arrows stand no closer than this on paper."""
SIDE_MM = 40.0
"""Width of the panel beside the map, or height of the one below it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrows:
    """Mean displacement of blocks of `step` × `step` cells."""

    positions_px: Float[np.ndarray, "arrow 2"]
    """Mean position (y, x) of the cells of the block."""
    displacement_px: Float[np.ndarray, "arrow 2"]
    """Mean (dy, dx) of its trusted cells."""
    step: int
    """Cells along each side of a block."""


def full_radius(measurement: Measurement) -> float:
    """Return the displacement at which colours reach their full hue, in pm (px without calibration).

    The next round number above the 95th percentile of the trusted cells, and at least four median sigmas per
    component, so that the noise of a crystal without displacement stays pale. 1 without cells.
    """
    cells, unit = measurement.cells, scene.unit_of(measurement)
    trusted = scene.trusted_cells(cells)
    if not trusted.any():
        return 1.0
    lengths = magnitude(cells.displacement_px[trusted])
    noise = 4 * scene.median(scene.component_sigma(cells.covariance_px2[trusted]))
    return colour.nice_ceiling(unit.scale * float(np.nanmax([np.percentile(lengths, 95), noise])))


def block_arrows(cells: Cells, *, step: int) -> Arrows:
    """Return one arrow per block of `step` × `step` cells of a grain, at least half of whose cells are trusted."""
    rows = np.flatnonzero(scene.trusted_cells(cells))
    blocks = np.column_stack([cells.grain[rows], cells.row[rows] // step, cells.col[rows] // step])
    _, where, count = np.unique(blocks, axis=0, return_inverse=True, return_counts=True)
    where = where.reshape(-1)

    def mean(values: Float[np.ndarray, "cell 2"]) -> Float[np.ndarray, "arrow 2"]:
        sums = [np.bincount(where, weights=values[rows, axis], minlength=count.size) for axis in (0, 1)]
        return np.stack(sums, axis=1) / count[:, None]

    enough = count >= step * step / 2
    return Arrows(
        positions_px=mean(cells.positions_px)[enough], displacement_px=mean(cells.displacement_px)[enough], step=step
    )


@style.styled
def displacement_map(measurement: Measurement, *, radius: float | None = None) -> Figure:
    """Return the map: hue is the screen angle of the displacement, distance from white its length.

    Parameters
    ----------
    measurement
        What was measured.
    radius
        Displacement of the full hue in pm (px without calibration); None takes `full_radius`.
    """
    if not measurement.cells.flags.size:
        return style.message("no unit cells were found", title="Polar displacement", name=measurement.image.name)
    radius = full_radius(measurement) if radius is None else radius
    height, width = measurement.image.data.shape
    drawn, axes, side = _layout(width / height)
    unit = scene.unit_of(measurement)
    _draw_cells(axes, measurement, radius)
    on_paper_mm = axes.get_position().width * float(drawn.get_size_inches()[0]) / style.MM / width
    arrows = _draw_arrows(axes, measurement, radius / unit.scale, px_mm=on_paper_mm)
    draw_reference(axes, measurement)
    style.scale_bar(axes, measurement.calibration.pixel_size_pm, below=True)
    _title(drawn, axes, measurement)
    _draw_side(drawn, side, measurement, radius, arrows, px_mm=on_paper_mm)
    return drawn


def _layout(aspect: float) -> tuple[Figure, Axes, tuple[float, float, bool]]:
    """Return a figure with axes for an image of width/height `aspect`; the place of the side panel in mm.

    Wide images get the panel below, so that they can use the full width of the page.
    """
    top, margin, bar = 13.0, 2.0, 7.0
    below = aspect > 2.2
    full = style.TWO_COLUMNS_MM - 2 * margin - (0.0 if below else SIDE_MM)
    map_width = min(full, 165.0 * aspect)
    map_height = max(map_width / aspect, 8.0)
    width = style.TWO_COLUMNS_MM if below else max(map_width + SIDE_MM + 2 * margin, style.ONE_COLUMN_MM + 20)
    height = top + map_height + bar + (SIDE_MM if below else 0.0)
    height = max(height, 0.0 if below else top + 88.0)
    drawn = style.figure(width, height)
    axes = style.axes_mm(drawn, margin, top, map_width, map_height)
    return drawn, axes, ((margin, top + map_height + bar, True) if below else (margin + map_width + 5, top, False))


def _draw_cells(axes: Axes, measurement: Measurement, radius: float) -> None:
    cells = measurement.cells
    trusted = scene.trusted_cells(cells)
    vectors = np.where(trusted[:, None], cells.displacement_px, np.nan) * scene.unit_of(measurement).scale
    under = ground(measurement)
    show_image(axes, under, dim=0.25)
    paint(axes, under, colour.displacement_colours(vectors, full_radius=radius), hatched=~trusted)
    style.bare(axes)


def _draw_arrows(axes: Axes, measurement: Measurement, radius_px: float, *, px_mm: float) -> Arrows:
    """Draw arrows where there is room; one of the full radius is as long as its block is wide."""
    edge_px = cell_edge_px(measurement.cells)
    if not edge_px > 0:
        return block_arrows(measurement.cells, step=1)
    step = max(1, int(np.ceil(ARROW_BLOCK_MM / (edge_px * px_mm))))
    arrows = block_arrows(measurement.cells, step=step)
    if arrows.displacement_px.size:
        axes.quiver(
            arrows.positions_px[:, 1],
            arrows.positions_px[:, 0],
            arrows.displacement_px[:, 1],
            arrows.displacement_px[:, 0],
            scale=radius_px / (0.9 * step * edge_px),
            **ARROW_STYLE,
        )
    return arrows


ARROW_STYLE: dict[str, Any] = {
    "angles": "xy",
    "scale_units": "xy",
    "pivot": "mid",
    "units": "inches",
    "width": 0.32 * style.MM,
    "headwidth": 3.6,
    "headlength": 4.2,
    "headaxislength": 3.7,
    "minlength": 0.6,
    "color": "0.08",
    "edgecolor": "white",
    "linewidth": 0.25,
    "zorder": 4,
}


def _title(drawn: Figure, axes: Axes, measurement: Measurement) -> None:
    left = axes.get_position().x0
    height = float(drawn.get_size_inches()[1]) / style.MM
    style.heading(drawn, "Polar displacement", measurement.image.name)
    lines = f"{basis_words(measurement.cells.basis)}\n{reference_words(measurement)}"
    drawn.text(left, 1 - 6.2 / height, lines, size=6.5, va="top", color=style.QUIET, linespacing=1.25)


def _draw_side(
    drawn: Figure,
    place: tuple[float, float, bool],
    measurement: Measurement,
    radius: float,
    arrows: Arrows,
    *,
    px_mm: float,
) -> None:
    """Draw the wheel, the arrow key, the key of marks and the numbers, down the side or along the bottom."""
    left, top, below = place
    unit = scene.unit_of(measurement)
    wheel_axes = style.axes_mm(drawn, left + 6, top + 4, 22, 22)
    draw_wheel(wheel_axes, radius=radius, unit=unit.name)
    notes_at = (left + 48, top + 2) if below else (left, top + 42)
    if arrows.displacement_px.size:
        draw_arrow_key(drawn, notes_at, radius, unit.name, arrows.step, measurement, px_mm=px_mm)
    draw_marks_key(drawn, (left + 92, top + 1) if below else (left - 1, top + 54), measurement)
    numbers_at = (left + 134, top + 2) if below else (left, top + 66)
    _text_mm(drawn, numbers_at, _numbers(measurement), color=style.QUIET)


def draw_marks_key(drawn: Figure, at: tuple[float, float], measurement: Measurement) -> None:
    """Draw what hatched cells and the dashed frame are, where the map has them, at (x, y) in mm."""
    trusted, keys = scene.trusted_cells(measurement.cells), []
    if not trusted.all():
        words = f"flagged: {counted(int((~trusted).sum()), 'cell')}"
        keys.append(Patch(facecolor=colour.UNKNOWN, edgecolor="0.45", hatch="///////", lw=0.3, label=words))
    if measurement.reference is not None:
        keys.append(Patch(fill=False, edgecolor="0.05", ls=(0, (3, 1.5)), lw=0.9, label="reference region"))
    if keys:
        full_width, full_height = (float(inches) / style.MM for inches in drawn.get_size_inches())
        where = (at[0] / full_width, 1 - at[1] / full_height)
        drawn.legend(handles=keys, loc="upper left", bbox_to_anchor=where, borderaxespad=0.0, handlelength=1.6)


def draw_reference(axes: Axes, measurement: Measurement) -> None:
    """Draw the frame of the reference region, where there is one."""
    if measurement.reference is not None:
        y0, y1, x0, x1 = measurement.reference.region_px
        frame = Rectangle(
            (x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ls=(0, (4, 2)), lw=0.9, ec="0.05", zorder=5
        )
        axes.add_patch(frame)


def _numbers(measurement: Measurement) -> str:
    cells, unit = measurement.cells, scene.unit_of(measurement)
    trusted = scene.trusted_cells(cells)
    length = unit.scale * scene.median(magnitude(cells.displacement_px[trusted]))
    sigma = unit.scale * scene.median(scene.component_sigma(cells.covariance_px2[trusted]))
    return (
        f"{counted(trusted.size, 'cell')}\nmedian length {number(length, 3)} {unit.name}\n"
        f"median σ {number(sigma, 2)} {unit.name}\nper component"
    )


def _text_mm(drawn: Figure, at: tuple[float, float], words: str, *, color: str) -> None:
    width, height = (float(inches) / style.MM for inches in drawn.get_size_inches())
    drawn.text(at[0] / width, 1 - at[1] / height, words, va="top", size=6.5, color=color, linespacing=1.35)


def draw_arrow_key(
    drawn: Figure,
    at: tuple[float, float],
    radius: float,
    unit: str,
    step: int,
    measurement: Measurement,
    *,
    px_mm: float,
) -> None:
    """Draw an arrow of the full radius or half of it, and what an arrow stands for, at (x, y) in mm."""
    length_mm = 0.9 * step * cell_edge_px(measurement.cells) * px_mm
    shown = 1.0 if length_mm <= 14 else 0.5  # a key as long as a large cell would not fit
    axes = style.axes_mm(drawn, at[0], at[1], 16, 4)
    axes.set(xlim=(0, 16), ylim=(0, 4))
    axes.axis("off")
    key = ARROW_STYLE | {"pivot": "tail", "scale": 1.0}
    axes.quiver([0.2], [2.0], [length_mm * shown], [0.0], **key)
    axes.text(length_mm * shown + 1.6, 2.0, f"{number(radius * shown)} {unit}", va="center", size=6.5)
    words = "one arrow per cell" if step == 1 else f"arrows: means of {step} × {step} cells"
    _text_mm(drawn, (at[0], at[1] + 5), words, color=style.QUIET)


def draw_wheel(axes: Axes, *, radius: float, unit: str) -> None:
    """Draw the colour wheel with its full radius and the counter-clockwise screen angles into `axes`."""
    axes.imshow(colour.wheel(), extent=(-1, 1, -1, 1), interpolation="bilinear")
    axes.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02))
    axes.axis("off")
    for x, y, words, across, along in (
        (1.1, 0, "0°", "left", "center"),
        (0, 1.08, "90°", "center", "bottom"),
        (-1.1, 0, "180°", "right", "center"),
        (0, -1.08, "−90°", "center", "top"),
    ):
        axes.text(x, y, words, size=6.5, color=style.QUIET, ha=across, va=along)
    axes.text(0, -1.5, f"full colour at {number(radius, 2)} {unit}", size=7, ha="center", va="top")
