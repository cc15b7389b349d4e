"""A series of scans: what share each class has, and how far walls have moved, against time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dipolar.core.scanning import ScanSeries, WallTrack

from . import style
from .scan_colours import class_codes
from .unmix_parts import category

MOST = 8
"""Walls drawn, those seen longest."""
LINE_MM = 3.8
"""Height of a line of the key."""
DARKER = "#8F8F8F"
"""Line of a class whose colour on maps is too light for one."""


@style.styled
def series_figure(series: ScanSeries, *, name: str = "") -> Figure:
    """Return class fractions beside the distance each wall has moved along its normal, with bands of one σ."""
    shown = [track for track in series.tracks if np.isfinite(track.moved).sum() > 1][:MOST]
    lines = max(-(-len(series.names) // 3), -(-len(shown) // 2))
    drawn = style.figure(style.TWO_COLUMNS_MM, 72.0 + LINE_MM * lines)
    style.heading(drawn, "Domains against time", name)
    label = "scan" if series.unit == "scan" else f"time ({series.unit})"
    axes = style.axes_mm(drawn, 15, 14, 66, 46)
    codes = [DARKER if code == "#D9D9D9" else code for code in class_codes(series.names)]
    for place, (one, code) in enumerate(zip(series.names, codes, strict=True)):
        _band(axes, series.time, 100 * series.fraction[:, place], 100 * series.fraction_sigma[:, place], code, one)
    axes.set(xlabel=label, ylabel="share of the scan (%)", ylim=(0, None))
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.2), ncols=3, handlelength=1.3, borderaxespad=0.0)
    style.open_frame(axes)
    beside = style.axes_mm(drawn, 107, 14, 70, 46)
    _draw_tracks(beside, series, shown, label)
    if series.unit == "scan":
        for panel in (axes, beside):
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn


def _draw_tracks(axes: Axes, series: ScanSeries, shown: list[WallTrack], label: str) -> None:
    scale, unit = (1.0, "probe steps") if series.step_nm is None else (series.step_nm, "nm")
    for place, track in enumerate(shown):
        words = f"{place}: {style.drawable(track.before)}, {style.drawable(track.after)}"
        _band(axes, series.time, scale * track.moved, scale * track.moved_sigma, category(place), words)
    axes.axhline(0.0, color="0.7", lw=0.5, zorder=0)
    axes.set(xlabel=label, ylabel=f"moved towards the second class ({unit})")
    if shown:
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.2), ncols=2, handlelength=1.3, borderaxespad=0.0)
    else:
        axes.text(0.5, 0.5, "no wall was seen twice", transform=axes.transAxes, ha="center", color=style.QUIET)
    style.open_frame(axes)


def _band(axes: Axes, time: np.ndarray, value: np.ndarray, sigma: np.ndarray, shade: str, words: str) -> None:
    axes.fill_between(time, value - sigma, value + sigma, color=shade, alpha=0.25, lw=0)
    axes.plot(time, value, color=shade, marker=".", ms=3, lw=0.9, label=words)
