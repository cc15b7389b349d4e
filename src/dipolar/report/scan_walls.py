"""Walls of a scan with their numbers: where each is, how wide, and how long."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation

from dipolar.core.scanning import ScanDomains, ScanResult, ScanWall

from . import style
from .scan_colours import class_codes, class_rgb
from .scan_parts import MARGIN_MM, draw_walls, panel, show, step_bar
from .unmix_parts import rgb_of

NUMBERED = 14
"""Walls with a number on the map and a place in the diagrams, the longest."""
PALE = 0.45
"""How much of their colour classes keep on this map."""


@style.styled
def scan_walls_figure(result: ScanResult) -> Figure:
    """Return the classes in pale colours with numbered walls, beside width and length of each with its error."""
    domains, scan_map = result.domains, result.map
    shape = (scan_map.flags.shape[0], scan_map.flags.shape[1])
    if not domains.walls:
        return style.message("no walls: no two classes lie beside each other", title="Walls", name=scan_map.name)
    aspect = shape[1] / shape[0]
    below = aspect > 2.2
    shown = domains.walls[:NUMBERED]
    diagrams = 10.0 + 4.2 * len(shown)
    width = min(style.TWO_COLUMNS_MM - 2 * MARGIN_MM - (0.0 if below else 88.0), 120.0 * aspect)
    height = width / aspect
    top = 14.0
    second = (MARGIN_MM + 18.0, top + height + 10.0) if below else (MARGIN_MM + width + 24.0, top)
    drawn = style.figure(
        style.TWO_COLUMNS_MM, (second[1] + diagrams + 8.0) if below else top + max(height + 7.0, diagrams + 8.0)
    )
    style.heading(drawn, "Walls", scan_map.name)
    axes = panel(drawn, (MARGIN_MM, top), (width, height), shape, title="")
    _draw_map(axes, result, shown)
    step_bar(axes, scan_map.step_nm)
    wide = (style.TWO_COLUMNS_MM - second[0] - 18.0) / 2
    for place, name in enumerate(("width", "length")):
        part = style.axes_mm(drawn, second[0] + place * (wide + 12.0), second[1], wide, diagrams - 8.0)
        _draw_lengths(part, domains, shown, name, numbers=place == 0)
    return drawn


def _draw_map(axes: Axes, result: ScanResult, shown: tuple[ScanWall, ...]) -> None:
    domains = result.domains
    pale = 1.0 - PALE + PALE * class_rgb(domains.names)
    state = np.append(domains.state, -1)[domains.domain]
    show(axes, np.concatenate([pale, np.ones((1, 3))])[state])
    draw_walls(axes, domains.walls)
    halo = [withStroke(linewidth=1.6, foreground="white")]
    for number, wall in enumerate(shown):
        y, x = wall.points[len(wall.points) // 2]
        axes.text(x, y, str(number), size=6.5, weight="bold", ha="center", va="center", path_effects=halo, zorder=7)


def _draw_lengths(axes: Axes, domains: ScanDomains, shown: tuple[ScanWall, ...], name: str, *, numbers: bool) -> None:
    """Draw one value per wall with one standard error; an upper bound is an arrow to the left."""
    scale, unit = (1.0, "probe steps") if domains.step_nm is None else (domains.step_nm, "nm")
    codes = dict(zip(domains.names, class_codes(domains.names), strict=True))
    values = scale * np.array([getattr(wall, name) for wall in shown])
    sigma = scale * np.array([getattr(wall, f"{name}_sigma") for wall in shown])
    reach = float(np.nanmax(values + np.nan_to_num(sigma), initial=0.0)) or 1.0
    for row, (wall, value, one) in enumerate(zip(shown, values.tolist(), sigma.tolist(), strict=True)):
        if np.isfinite(one):
            axes.errorbar(value, row, xerr=one, fmt="o", ms=3.2, color="0.15", elinewidth=0.8, capsize=1.5)
        elif np.isfinite(value):
            arrow = {"arrowstyle": "->", "lw": 0.8, "color": "0.15"}
            axes.annotate("", (value - 0.14 * reach, row), (value, row), arrowprops=arrow)
            axes.plot(value, row, "|", ms=5, color="0.15")
        if numbers:
            _draw_pair(axes, row, codes.get(wall.before, "#FFFFFF"), codes.get(wall.after, "#FFFFFF"))
    words = "width 2ξ" if name == "width" else name
    axes.set(xlim=(0, 1.08 * reach), ylim=(len(shown) - 0.4, -0.6), xlabel=f"{words} ({unit})")
    axes.locator_params(axis="x", nbins=5)
    axes.set_yticks(range(len(shown)), [str(row) for row in range(len(shown))] if numbers else [""] * len(shown))
    axes.tick_params(axis="y", length=0, pad=16 if numbers else 2)
    axes.grid(axis="y", color="0.92", lw=0.5)
    axes.set_axisbelow(True)
    if np.isfinite(values[~np.isfinite(sigma)]).any():
        axes.set_title("arrow: upper bound", size=6.5)
    style.open_frame(axes)


def _draw_pair(axes: Axes, row: int, before: str, after: str) -> None:
    """Draw the colours of the classes before and after a wall to the left of its row."""
    for place, code in enumerate((before, after)):
        shift = ScaledTranslation((2.0 * place - 4.2) * style.MM, 0.0, axes.figure.dpi_scale_trans)
        where = axes.get_yaxis_transform() + shift
        axes.plot(0.0, row, "s", ms=4.5, color=rgb_of(code), mec="0.4", mew=0.3, transform=where, clip_on=False)
