"""The map of domains with their walls and vortices, the map of bound charge, and both in words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from dipolar.core.domains import Domains, Maps, Wall
from dipolar.core.geometry import cell_edge_px
from dipolar.core.measurement import Measurement

from . import colour, scene, style
from .displacement import draw_wheel, full_radius
from .ground import ground, paint, show_image
from .panels import draw_panel, panel_size
from .table import Row
from .wording import counted, number, with_sigma

NOT_POLAR = (0.93, 0.93, 0.93)
"""sRGB colour of domains that are not polar."""
WALL_STYLES: dict[str, tuple[str, str]] = {
    "180°": ("#000000", "-"),
    "90°": ("#7B1FA2", "-"),
    "rim": ("0.35", "--"),
    "step": ("0.6", ":"),
    "gradual": ("0.45", ":"),
    "other": ("#8C510A", "-"),
}
"""First word of a wall's kind → colour and line."""
MOST_LABELS, SHOWN, MOST_ROWS = 14, 10, 12
"""Domains numbered on the map, listed below it, and domains, walls and places listed in the table."""


@style.styled
def domains_figure(measurement: Measurement, maps: Maps) -> Figure:
    """Return two maps: domains in the colour of their mean displacement with walls and vortices, and bound charge."""
    title, name = "Domains and walls", measurement.image.name
    if not len(maps.domains.state):
        return style.message("no domains: no cell without flags was found", title=title, name=name)
    height, width = measurement.image.data.shape
    aspect = width / height
    stacked = aspect > 2.2
    widest = style.TWO_COLUMNS_MM - 18 if stacked else (style.TWO_COLUMNS_MM - 26) / 2
    map_width, map_height = panel_size(aspect, widest=widest, tallest=110.0)
    second = (2.0, 12 + map_height + 16) if stacked else (2 + map_width + 8, 12.0)
    under = second[1] + map_height + 10
    drawn = style.figure(style.TWO_COLUMNS_MM, under + 44)
    style.heading(drawn, title, name)
    axes = style.axes_mm(drawn, 2, 12, map_width, map_height)
    _draw_map(axes, measurement, maps)
    percent = not maps.charge.unit
    draw_panel(
        drawn,
        (*second, map_width, map_height),
        measurement,
        ground(measurement),
        maps.charge.values * (100.0 if percent else 1.0),
        title="−∇·u: displacements meet (+) or part (−)" if percent else "bound charge −∇·P",
        unit="%" if percent else maps.charge.unit,
        bar=False,
    )
    _draw_side(drawn, (6.0, under), measurement, maps)
    return drawn


def domain_colours(domains: Domains, *, full_radius_px: float) -> Float[np.ndarray, "cell 3"]:
    """Return the sRGB colour of every cell: that of its domain's mean displacement, light grey where not polar."""
    mean = colour.displacement_colours(domains.mean_px, full_radius=full_radius_px)
    mean = np.where(domains.polar[:, None], mean, np.array(NOT_POLAR))
    return np.concatenate([mean, np.array(colour.UNKNOWN)[None]])[domains.label]


def wall_style(wall: Wall) -> tuple[str, str]:
    """Return the colour and line style of a wall of this kind."""
    return WALL_STYLES.get(wall.kind.split()[0], WALL_STYLES["other"])


def _draw_map(axes: Axes, measurement: Measurement, maps: Maps) -> None:
    unit = scene.unit_of(measurement)
    under = ground(measurement)
    show_image(axes, under, dim=0.35)
    paint(axes, under, domain_colours(maps.domains, full_radius_px=full_radius(measurement) / unit.scale))
    for wall in maps.walls:
        shade, line = wall_style(wall)
        axes.plot(wall.points_px[:, 1], wall.points_px[:, 0], color="white", lw=2.2, zorder=5)
        axes.plot(wall.points_px[:, 1], wall.points_px[:, 0], color=shade, ls=line, lw=1.2, zorder=5.1)
        _draw_charge(axes, wall)
    for (y, x), winding in zip(maps.defects.positions_px, maps.defects.winding, strict=True):
        mark, shade = ("o", style.COLOUR_B) if winding > 0 else ("^", style.COLOUR_A)
        axes.plot([x], [y], mark, mfc="none", mec=shade, mew=1.2, ms=5.5, zorder=6)
    edge = [withStroke(linewidth=1.6, foreground="white")]
    for domain in range(min(len(maps.domains.state), MOST_LABELS)):
        y, x = _inside(measurement, maps.domains, domain)
        axes.text(x, y, str(domain), size=6.5, ha="center", va="center", zorder=7, path_effects=edge)
    style.bare(axes)
    axes.set_title("domains, by the direction of their mean displacement")
    style.scale_bar(axes, measurement.calibration.pixel_size_pm, below=True)


def _draw_charge(axes: Axes, wall: Wall) -> None:
    """Tick charged walls on one side: red for head-to-head, blue for tail-to-tail."""
    if wall.charge not in ("head-to-head", "tail-to-tail") or len(wall.points_px) < 2:
        return
    shade = "#CC0000" if wall.charge == "head-to-head" else "#0044CC"
    ahead = np.gradient(wall.points_px, axis=0)
    normal = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1) / np.maximum(np.linalg.norm(ahead, axis=1), 1e-9)[:, None]
    every = max(1, len(wall.points_px) // 30)
    reach = 3.0 * float(np.median(np.linalg.norm(ahead, axis=1)))  # points are a quarter of a cell apart
    starts, ends = wall.points_px[::every], (wall.points_px + reach * normal)[::every]
    axes.add_collection(
        LineCollection(list(np.stack([starts, ends], axis=1)[..., ::-1]), colors=shade, linewidths=0.7, zorder=5.2),
        autolim=False,
    )


def _inside(measurement: Measurement, domains: Domains, domain: int) -> tuple[float, float]:
    """Return the cell of a domain nearest to its middle, as a place for its number."""
    mine = measurement.cells.positions_px[domains.label == domain]
    y, x = mine[np.argmin(np.linalg.norm(mine - domains.centre_px[domain], axis=1))]
    return float(y), float(x)


def _draw_side(drawn: Figure, place: tuple[float, float], measurement: Measurement, maps: Maps) -> None:
    """Draw the wheel, the key and the list of domains below the maps."""
    left, top = place
    full_width, full_height = (float(inches) / style.MM for inches in drawn.get_size_inches())
    draw_wheel(
        style.axes_mm(drawn, left + 6, top + 4, 20, 20),
        radius=full_radius(measurement),
        unit=scene.unit_of(measurement).name,
    )
    drawn.legend(
        handles=_keys(maps),
        loc="upper left",
        bbox_to_anchor=((left + 46) / full_width, 1 - (top + 2) / full_height),
        borderaxespad=0.0,
        handlelength=1.8,
    )
    rows = list(_domain_rows(measurement, maps.domains, most=SHOWN))
    words = [f"{row.name}, {row.note}: {row.value.split(';')[0]}" for row in rows]
    if len(maps.domains.state) > SHOWN:
        words[-1] = f"and {number(len(maps.domains.state) - SHOWN)} more in the table"
    at = (left + 96, top + 2)
    drawn.text(
        at[0] / full_width,
        1 - at[1] / full_height,
        "\n".join(words),
        va="top",
        size=6.0,
        color=style.QUIET,
        linespacing=1.35,
    )


def _keys(maps: Maps) -> list[Patch | Line2D]:
    keys: list[Patch | Line2D] = []
    named = {wall.kind.split()[0]: wall.kind.replace(" (", "\n(") for wall in maps.walls}
    for first, words in named.items():
        if first in WALL_STYLES:
            keys.append(Line2D([], [], color=WALL_STYLES[first][0], ls=WALL_STYLES[first][1], lw=1.2, label=words))
    if set(named) - set(WALL_STYLES):
        keys.append(Line2D([], [], color=WALL_STYLES["other"][0], lw=1.2, label="another turn"))
    for words, shade in (("head-to-head", "#CC0000"), ("tail-to-tail", "#0044CC")):
        if any(wall.charge == words for wall in maps.walls):
            keys.append(Line2D([], [], color=shade, lw=0, marker="|", ms=6, label=words))
    for winding, mark, shade, words in ((1, "o", style.COLOUR_B, "vortex"), (-1, "^", style.COLOUR_A, "antivortex")):
        if (maps.defects.winding == winding).any():
            keys.append(Line2D([], [], lw=0, marker=mark, mfc="none", mec=shade, mew=1.2, ms=5, label=words))
    if not maps.domains.polar.all():
        keys.append(Patch(facecolor=NOT_POLAR, edgecolor="0.5", lw=0.4, label="not polar"))
    return keys


def maps_rows(measurement: Measurement, maps: Maps) -> list[Row]:
    """Return domains, walls, vortices and places to look next as rows of the table."""
    return [
        *_domain_rows(measurement, maps.domains, most=MOST_ROWS),
        *_wall_rows(measurement, maps),
        *_defect_rows(maps),
        *_anomaly_rows(maps),
    ]


def _domain_rows(measurement: Measurement, domains: Domains, *, most: int) -> Iterator[Row]:
    unit = scene.unit_of(measurement)
    square, name = (unit.scale**2 * 1e-6, "nm²") if unit.name == "pm" else (1.0, "px²")
    for domain in range(min(len(domains.state), most)):
        mean = domains.mean_px[domain]
        length = float(np.linalg.norm(mean))
        sigma = float(np.sqrt(max(mean @ domains.mean_covariance_px2[domain] @ mean, 0.0))) / max(length, 1e-300)
        area = with_sigma(domains.area_px2[domain] * square, domains.area_sigma_px2[domain] * square, name)
        size = with_sigma(length * unit.scale, sigma * unit.scale, unit.name)
        angle = f" at {with_sigma(domains.angle_deg[domain], domains.angle_sigma_deg[domain])}°"
        told = f"{size}{angle}" if domains.polar[domain] else f"not polar ({size})"
        cells = counted(int(domains.cells[domain]), "cell")
        yield Row("Domains", f"domain {domain}", f"{told}; {area}", note=cells)
    if len(domains.state) > most:
        rest = int(domains.cells[most:].sum())
        yield Row("Domains", "others", f"{number(len(domains.state) - most)}, {counted(rest, 'cell')} in all")


def _wall_rows(measurement: Measurement, maps: Maps) -> Iterator[Row]:
    unit, edge = scene.unit_of(measurement), cell_edge_px(measurement.cells)
    for place, wall in enumerate(maps.walls[:MOST_ROWS]):
        length = with_sigma(wall.length_px / edge, wall.length_sigma_px / edge, "cells")
        turn = (
            f"turn {with_sigma(wall.turn_deg, wall.turn_sigma_deg)}°" if not wall.kind.startswith(("rim", "s")) else ""
        )
        told = "; ".join(part for part in (wall.kind, turn, length, width_words(wall, unit, edge)) if part)
        charge = with_sigma(wall.charge_px * unit.scale, wall.charge_sigma_px * unit.scale, unit.name)
        note = f"{wall.charge}: −Δu·n = {charge}"
        yield Row("Walls", f"wall {place} ({wall.before}–{wall.after})", told, note=note)
    if len(maps.walls) > MOST_ROWS:
        yield Row("Walls", "others", number(len(maps.walls) - MOST_ROWS))


def width_words(wall: Wall, unit: scene.Unit, edge_px: float) -> str:
    """Return the width 2ξ of a wall with its 68 % interval, in the unit of the page and in cells."""
    low, middle, high = wall.profile.width_px
    if not np.isfinite(middle):
        return "width unknown: too few cells"
    if not wall.profile.resolved:
        return f"width 2ξ below {number(high * unit.scale, 2)} {unit.name} ({number(high / edge_px, 2)} cells)"
    return (
        f"width 2ξ {number(middle * unit.scale, 3)} ({number(low * unit.scale, 3)} to {number(high * unit.scale, 3)}) "
        f"{unit.name}, {number(middle / edge_px, 2)} cells"
    )


def _defect_rows(maps: Maps) -> Iterator[Row]:
    for winding, name in ((1, "vortices"), (-1, "antivortices")):
        found = maps.defects.p_noise[maps.defects.winding == winding]
        told = f"noise made one of them with p up to {number(float(found.max()), 2)}" if len(found) else ""
        yield Row("Vortices", name, number(len(found)), note=told)


def _anomaly_rows(maps: Maps) -> Iterator[Row]:
    for place, reason in enumerate(maps.anomalies.reason[:MOST_ROWS]):
        y, x = maps.anomalies.from_centre_nm[place]
        at = f"{number(y, 4)}, {number(x, 4)} nm from the middle (y, x)" if np.isfinite(y) else ""
        yield Row("Places to look next", f"place {place + 1}", reason, note=at)
