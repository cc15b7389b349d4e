"""Maps of quantities that are known at points rather than in cells: planes of atoms, offsets, tilts."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from dipolar.core.measurement import Measurement, Sites
from dipolar.core.motif import Offsets
from dipolar.core.nouns import Field

from . import scene, style
from .colour import nice_ceiling
from .ground import Ground, ground, show_image
from .panels import DIVERGING, PANEL_PATCHES, PANEL_RASTER, limits, panel_size
from .table import Row
from .wording import number, to_place, with_sigma

MOST_ARROWS = 3000
"""Above this many, arrows are drawn for evenly chosen rows only."""


@style.styled
def planes_figure(measurement: Measurement, planes: tuple[Field, ...]) -> Figure:
    """Return maps of the rotation and the curvature of the rows of atoms along a and along b."""
    shown = [field for field in planes if "direction" not in field.name]
    heading, name = "Planes of atoms", measurement.image.name
    if not any(np.isfinite(field.values).any() for field in shown):
        return style.message("no row of columns is long enough", title=heading, name=name)
    drawn, places, under = _sheet(measurement, heading, len(shown))
    for field, place in zip(shown, places, strict=True):
        title = field.name.removesuffix("_deg").replace("_", " ")
        unit = {"deg": "°"}.get(field.unit, field.unit)
        _draw_points(drawn, place, under, field.positions_px, field.values, title=title, unit=unit)
    return drawn


@style.styled
def octahedra_figure(measurement: Measurement, sites: Sites) -> Figure:
    """Return the tilts of the octahedra and, for every kind of offset, a map of arrows."""
    title, name = "Columns on all sites of the unit cell", measurement.image.name
    count = len(sites.offsets) + (sites.octahedra is not None)
    if not count:
        return style.message("the unit cell has one column", title=title, name=name)
    drawn, places, under = _sheet(measurement, title, count)
    places = list(places)
    if sites.octahedra is not None:
        tilts = sites.octahedra
        _draw_points(drawn, places.pop(0), under, tilts.positions_px, tilts.tilt_deg, title="tilt", unit="°")
    for offsets, place in zip(sites.offsets, places, strict=True):
        _draw_arrows(drawn, place, measurement, under, offsets)
    return drawn


def site_rows(measurement: Measurement, sites: Sites) -> list[Row]:
    """Return what the table says of columns on all sites."""
    unit, section = scene.unit_of(measurement), "Sites"
    rows = [Row(section, "unit cell", sites.columns.motif.name, ", ".join(s.name for s in sites.columns.motif.sites))]
    for offsets in sites.offsets:
        good = offsets.flags == 0
        if not good.any():
            continue
        middle = unit.scale * np.median(offsets.offset_px[good], axis=0)
        sigma = unit.scale * scene.median(scene.component_sigma(offsets.covariance_px2[good]))
        value = f"(dy, dx) = ({number(float(middle[0]), 3)}, {number(float(middle[1]), 3)}) {unit.name}"
        rows.append(Row(section, f"{offsets.what}, median", value, f"sigma of one {number(sigma, 2)} {unit.name}"))
    for tilt in sites.tilts:
        along = " and ".join(axis for axis, turns in zip("ab", tilt.alternates, strict=True) if turns)
        words = f"sign alternates along {along}" if along else "sign alike everywhere"
        rows.append(Row(section, "octahedral tilt", with_sigma(tilt.tilt_deg, tilt.tilt_sigma_deg, "°"), words))
    return rows


def _sheet(
    measurement: Measurement, title: str, count: int
) -> tuple[Figure, list[tuple[float, float, float, float]], Ground]:
    """Return a figure with room for `count` panels, their places (left, top, width, height) in mm, and the ground."""
    height, width = measurement.image.data.shape
    across = min(count, 1 if width > 3.5 * height else 2)
    room = style.TWO_COLUMNS_MM / across
    panel_width, panel_height = panel_size(width / height, widest=room - 18, tallest=75.0)
    down = math.ceil(count / across)
    drawn = style.figure(style.TWO_COLUMNS_MM, 9 + down * (panel_height + 13))
    style.heading(drawn, title, measurement.image.name)
    places = [
        (2 + k % across * room, 12 + k // across * (panel_height + 13), panel_width, panel_height) for k in range(count)
    ]
    return drawn, places, ground(measurement, most_patches=PANEL_PATCHES, longest=PANEL_RASTER)


def _draw_points(
    drawn: Figure,
    place: tuple[float, float, float, float],
    under: Ground,
    positions_px: Float[np.ndarray, "point 2"],
    values: Float[np.ndarray, " point"],
    *,
    title: str,
    unit: str,
) -> None:
    known = np.isfinite(values)
    norm = limits(values[known], centre=0.0)
    axes = _panel(drawn, place, under, title)
    height = place[3] * 72 / 25.4  # in points
    spacing = np.sqrt(under.shape[0] * under.shape[1] / max(int(known.sum()), 1)) * height / under.shape[0]
    axes.scatter(
        positions_px[known, 1], positions_px[known, 0], c=values[known], norm=norm, cmap=DIVERGING,
        s=float(np.clip(0.8 * spacing, 0.6, 9.0)) ** 2, marker="s", linewidths=0, rasterized=True, zorder=2,
    )  # fmt: skip
    middle = scene.median(values[known])
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 0.0)
    axes.set_xlabel(
        f"median {to_place(middle, (high - low) / 100)} {unit}", labelpad=2.5, loc="left", color=style.QUIET, size=6.5
    )
    left, top, width, tall = place
    bar = drawn.colorbar(
        ScalarMappable(norm=norm, cmap=DIVERGING), cax=style.axes_mm(drawn, left + width + 1.2, top, 1.8, tall)
    )
    bar.outline.set_linewidth(0.4)
    bar.ax.locator_params(nbins=5)
    bar.ax.set_title(unit, loc="left", pad=3, size=6.5)


def _draw_arrows(
    drawn: Figure, place: tuple[float, float, float, float], measurement: Measurement, under: Ground, offsets: Offsets
) -> None:
    axes = _panel(drawn, place, under, offsets.what)
    unit = scene.unit_of(measurement)
    good = np.flatnonzero((offsets.flags == 0) & np.isfinite(offsets.offset_px).all(axis=1))
    if not len(good):
        return
    shown = good[np.unique(np.linspace(0, len(good) - 1, min(MOST_ARROWS, len(good))).astype(int))]
    vectors = offsets.offset_px[shown]
    longest = float(np.percentile(np.hypot(*vectors.T), 95))
    apart = np.sqrt(under.shape[0] * under.shape[1] / len(shown))
    y, x = offsets.positions_px[shown].T
    axes.quiver(
        x, y, vectors[:, 1], vectors[:, 0], angles="xy", scale_units="xy", scale=longest / (0.9 * apart),
        color=style.COLOUR_B, width=0.004, headwidth=3.5, zorder=2,
    )  # fmt: skip
    middle = unit.scale * np.median(offsets.offset_px[good], axis=0)
    if longest > 0:
        _draw_arrow_key(drawn, place, longest, unit, px_mm=0.9 * apart * place[3] / under.shape[0])
    told = f"median (dy, dx) = ({number(float(middle[0]), 2)}, {number(float(middle[1]), 2)}) {unit.name}"
    axes.set_xlabel(told, labelpad=2.5, loc="left", color=style.QUIET, size=6.5)


def _draw_arrow_key(
    drawn: Figure, place: tuple[float, float, float, float], longest_px: float, unit: scene.Unit, *, px_mm: float
) -> None:
    """Draw an arrow of round length above the right end of a panel, with that length; `px_mm` mm are the longest."""
    full = unit.scale * longest_px
    shown = nice_ceiling(full)
    shown = shown if px_mm * shown / full <= 14 else nice_ceiling(0.4 * full)
    left, top, width, _ = place
    axes = style.axes_mm(drawn, left + width - 30, top - 4.2, 30, 4)
    axes.set(xlim=(0, 30), ylim=(0, 4))
    axes.axis("off")
    axes.quiver(
        [30.0 - px_mm * shown / full], [2.0], [px_mm * shown / full], [0.0], angles="xy", scale_units="xy", scale=1.0,
        color=style.COLOUR_B, units="inches", width=0.32 * style.MM, headwidth=3.5,
    )  # fmt: skip
    axes.text(29.0 - px_mm * shown / full, 2.0, f"{number(shown)} {unit.name}", va="center", ha="right", size=6.5)


def _panel(drawn: Figure, place: tuple[float, float, float, float], under: Ground, title: str) -> Axes:
    axes = style.axes_mm(drawn, *place)
    show_image(axes, under, dim=0.45)
    style.bare(axes)
    axes.set_title(title)
    return axes
