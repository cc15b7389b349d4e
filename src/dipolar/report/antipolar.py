"""Polar, antipolar, modulated or null: the verdict with its figures, and where the wave is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from dipolar.core.findings import Order
from dipolar.core.geometry import cell_edge_px
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Field

from . import scene, style
from .ground import ground, show_image
from .panels import SEQUENTIAL, limits, panel_size
from .table import Row
from .wording import counted, number, with_sigma


@style.styled
def order_figure(measurement: Measurement, order: Order, wave: Field | None = None) -> Figure:
    """Return the local amplitude of the wave, where there is one, beside the polar and antipolar means with sigma.

    Parameters
    ----------
    measurement
        Whose image is drawn on.
    order
        What was found.
    wave
        Local amplitude of its modulation, in px.
    """
    title, name = f"Order: {order.verdict}", measurement.image.name
    if not order.staggered:
        return style.message(order.why, title=title, name=name)
    height, width = measurement.image.data.shape
    map_width, map_height = panel_size(width / height, widest=96.0, tallest=90.0)
    drawn = style.figure(style.TWO_COLUMNS_MM, 24 + max(map_height if wave is not None else 0.0, 58))
    style.heading(drawn, title, name)
    left = 4.0
    if wave is not None:
        _draw_wave(drawn, (2.0, 12.0, map_width, map_height), measurement, wave)
        left = map_width + 22
    axes = style.axes_mm(drawn, left + 24, 19, min(style.TWO_COLUMNS_MM - left - 30, 90.0), 34)
    _draw_means(axes, measurement, order)
    full_width, full_height = (float(inches) / style.MM for inches in drawn.get_size_inches())
    lines = "\n".join(textwrap.wrap(order.why, int((full_width - left - 4) / 1.18)))
    drawn.text(left / full_width, 1 - 65 / full_height, lines, size=6.5, va="top", color=style.QUIET, linespacing=1.35)
    return drawn


def order_rows(measurement: Measurement, order: Order) -> list[Row]:
    """Return what the table says of order."""
    return list(_rows(measurement, order))


def _rows(measurement: Measurement, order: Order) -> Iterator[Row]:
    section, unit = "Order", scene.unit_of(measurement)

    def pair(values: tuple[float, float], sigma: tuple[float, float]) -> str:
        parts = [with_sigma(unit.scale * v, unit.scale * s) for v, s in zip(values, sigma, strict=True)]
        return f"({parts[0]}, {parts[1]}) {unit.name}"

    yield Row(section, "verdict", order.verdict, order.why)
    yield Row(
        section, "mean displacement", pair(order.polar_px, order.polar_sigma_px), f"of {counted(order.cells, 'cell')}"
    )
    yield Row(
        section, "slow variation of it", f"{number(unit.scale * order.polar_spread_px, 3)} {unit.name}", "beyond σ"
    )
    for found in order.staggered:
        name = {"rows": "row to row", "columns": "column to column", "checkerboard": "both ways"}[found.pattern]
        yield Row(section, f"alternating, {name}", pair(found.amplitude_px, found.sigma_px), "(dy, dx)")
    if (wave := order.modulation) is not None:
        where = "B against A" if wave.channel == "displacement" else f"{wave.channel} columns"
        size = with_sigma(unit.scale * wave.amplitude_px, unit.scale * wave.amplitude_sigma_px, unit.name)
        slow = "; slow, as scan distortion makes" if wave.slow else ""
        yield Row(section, "strongest wave", size, f"of {where}, along {number(wave.direction_deg, 3)}°{slow}")
        period = f"{number(unit.scale * wave.period_px, 4)} {unit.name}"
        yield Row(section, "its period", period, f"crests across {number(wave.normal_deg, 3)}°")
        parts = [with_sigma(part, error) for part, error in zip(wave.wavevector, wave.wavevector_sigma, strict=True)]
        yield Row(section, "its wavevector", f"({parts[0]}, {parts[1]})", "periods per cell down and to the right")


def _draw_wave(
    drawn: Figure, place_mm: tuple[float, float, float, float], measurement: Measurement, wave: Field
) -> None:
    left, top, width, height = place_mm
    unit = scene.unit_of(measurement)
    axes = style.axes_mm(drawn, left, top, width, height)
    under = ground(measurement)
    show_image(axes, under, dim=0.35)
    values = unit.scale * wave.values
    upper = max(limits(values[np.isfinite(values)], centre=None).vmax or 1.0, 1e-9)
    edge_mm = cell_edge_px(measurement.cells) * width / under.shape[1]
    dots = axes.scatter(
        wave.positions_px[:, 1],
        wave.positions_px[:, 0],
        c=values,
        s=(0.8 * edge_mm * 72 * style.MM) ** 2,
        cmap=SEQUENTIAL,
        vmin=0.0,
        vmax=upper,
        lw=0,
        rasterized=True,
        zorder=3,
    )
    style.bare(axes)
    axes.set_title("local amplitude of the wave, over five cells")
    style.scale_bar(axes, measurement.calibration.pixel_size_pm, below=True)
    bar = style.axes_mm(drawn, left + width + 1.2, top, 1.8, height)
    colour_bar = drawn.colorbar(ScalarMappable(norm=dots.norm, cmap=SEQUENTIAL), cax=bar)
    colour_bar.outline.set_linewidth(0.4)
    colour_bar.ax.tick_params(pad=1.5)
    colour_bar.ax.set_title(unit.name, loc="left", pad=3, size=6.5)


def _draw_means(axes: Axes, measurement: Measurement, order: Order) -> None:
    """Draw (dy, dx) of the mean and of the three patterns of period 2, with two standard errors."""
    unit = scene.unit_of(measurement)
    rows = [("mean", order.polar_px, order.polar_sigma_px)]
    words = {"rows": "row to row", "columns": "column to\ncolumn", "checkerboard": "both ways"}
    rows += [(words[s.pattern], s.amplitude_px, s.sigma_px) for s in order.staggered]
    places = np.arange(len(rows))[::-1].astype(float)
    for axis, (name, shade, shift) in enumerate((("dy", style.COLOUR_A, 0.14), ("dx", style.COLOUR_B, -0.14))):
        values = [unit.scale * row[1][axis] for row in rows]
        errors = [2.0 * unit.scale * row[2][axis] for row in rows]
        axes.errorbar(
            values, places + shift, xerr=errors, fmt="o", ms=3.5, color=shade, capsize=2, lw=0, elinewidth=0.9
        )
        axes.plot([], [], "o", ms=3.5, color=shade, label=name)
    axes.axvline(0, color="0.6", lw=0.6, zorder=0)
    axes.set(yticks=places, yticklabels=[row[0] for row in rows], ylim=(-0.6, len(rows) - 0.4))
    axes.set_xlabel(f"displacement ({unit.name}), bars 2σ", labelpad=1.5)
    axes.set_title("means, plain and alternating")
    style.open_frame(axes)
    axes.legend(loc="upper right", bbox_to_anchor=(1.0, 1.27), ncols=2, borderaxespad=0.0, handletextpad=0.2)
