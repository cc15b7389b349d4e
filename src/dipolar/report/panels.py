"""Small maps of one quantity: a value per cell, a colour bar with its unit, robust limits."""

from __future__ import annotations

from dataclasses import dataclass

import colorcet
import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure

from dipolar.core.geometry import cell_area_px2, cell_gamma_deg
from dipolar.core.measurement import Measurement
from dipolar.core.units import magnitude

from . import colour, scene, style
from .ground import Ground, ground, paint, show_image
from .wording import to_place

PANEL_PATCHES = 8_000
"""Above this many cells a panel is rasterised: its cells are smaller than a printer's dot."""
PANEL_RASTER = 700
DIVERGING: Colormap = ListedColormap(colorcet.palette["CET_CBD1"], name="CET_CBD1")
"""Kovesi's diverging map for red-green colour blindness."""
SEQUENTIAL: Colormap = colormaps["viridis"]
"""Even in lightness, and without the grey that marks flagged cells."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantity:
    """One value per cell, ready to be drawn."""

    title: str
    """What it is, as the panel's title."""
    unit: str
    """Its unit."""
    values: Float[np.ndarray, " cell"]
    """The values in that unit."""
    centre: float
    """Value drawn in white: 0 for strain, the median for lengths."""


def lattice_quantities(measurement: Measurement) -> list[Quantity]:
    """Return a, b, gamma and area, then every field of the measurement; strain in per cent."""
    cells, unit = measurement.cells, scene.unit_of(measurement)
    calibrated, area = unit.name == "pm", unit.scale**2 * cell_area_px2(cells)
    named = [
        ("a", unit.name, unit.scale * magnitude(cells.a_px)),
        ("b", unit.name, unit.scale * magnitude(cells.b_px)),
        ("gamma", "°", cell_gamma_deg(cells)),
        ("area", "nm²" if calibrated else "px²", area * (1e-6 if calibrated else 1.0)),
    ]
    trusted = scene.trusted_cells(cells)
    found = [
        Quantity(title=title, unit=symbol, values=values, centre=scene.median(values[trusted]))
        for title, symbol, values in named
    ]
    for field in measurement.fields:
        title = field.name.removesuffix("_deg").replace("_", " ")
        percent = field.unit == "" and "strain" in field.name
        symbol = "%" if percent else {"deg": "°"}.get(field.unit, field.unit)
        found.append(Quantity(title=title, unit=symbol, values=field.values * (100 if percent else 1), centre=0.0))
    return found


def panel_size(aspect: float, *, widest: float, tallest: float) -> tuple[float, float]:
    """Return width and height in mm of a panel with width/height `aspect` that fits into the given box."""
    width = min(widest, tallest * aspect)
    return width, width / aspect


@style.styled
def lattice_sheet(measurement: Measurement) -> Figure:
    """Return one sheet of maps: a, b, gamma, area, and strain and rotation where they were measured."""
    title, name = "Lattice and strain", measurement.image.name
    if not measurement.cells.flags.size:
        return style.message("no unit cells were found", title=title, name=name)
    quantities = lattice_quantities(measurement)
    height, width = measurement.image.data.shape
    across = 2 if width > 2.2 * height else 4
    room = style.TWO_COLUMNS_MM / across
    panel_width, panel_height = panel_size(width / height, widest=room - 16, tallest=60.0)
    rows = -(-len(quantities) // across)
    full_height = 8 + rows * (panel_height + 13) + 1
    drawn = style.figure(style.TWO_COLUMNS_MM, full_height)
    style.heading(drawn, title, name)
    under = ground(measurement, most_patches=PANEL_PATCHES, longest=PANEL_RASTER)
    for place, quantity in enumerate(quantities):
        left, top = 2 + place % across * room, 12 + place // across * (panel_height + 13)
        draw_panel(
            drawn,
            (left, top, panel_width, panel_height),
            measurement,
            under,
            quantity.values,
            title=quantity.title,
            unit=quantity.unit,
            centre=quantity.centre,
            bar=place == 0,
        )
    return drawn


def draw_panel(
    drawn: Figure,
    place_mm: tuple[float, float, float, float],
    measurement: Measurement,
    under: Ground,
    values: Float[np.ndarray, " cell"],
    *,
    title: str,
    unit: str,
    diverging: bool = True,
    centre: float = 0.0,
    bar: bool = True,
) -> None:
    """Draw a map of `values` with its colour bar to the right; suspect or unknown cells are grey.

    Parameters
    ----------
    drawn
        The figure to draw into.
    place_mm
        Left, top, width and height of the map in mm from the figure's upper-left corner.
    measurement
        Whose cells are drawn.
    under
        What they are drawn on.
    values
        One per cell.
    title, unit
        What the values are.
    diverging
        Symmetric about `centre`, white there; else from low to high.
    centre
        See `diverging`.
    bar
        Whether to add a scale bar.
    """
    left, top, width, height = place_mm
    axes = style.axes_mm(drawn, left, top, width, height)
    usable = np.isfinite(values) & ~scene.suspect(measurement.cells.flags)
    norm = limits(values[usable], centre=centre if diverging else None)
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 0.0)
    colour_map = DIVERGING if diverging else SEQUENTIAL
    rgb = colour_map(norm(np.where(usable, values, low)))[:, :3]
    rgb = np.where(usable[:, None], rgb, np.array(colour.UNKNOWN))
    show_image(axes, under, dim=0.35)
    paint(axes, under, rgb)
    style.bare(axes)
    axes.set_title(title)
    middle = (
        f"median {to_place(scene.median(values[usable]), (high - low) / 100)} {unit}" if usable.any() else "no value"
    )
    axes.set_xlabel(middle, labelpad=2.5, loc="left", color=style.QUIET, size=6.5)
    if bar:
        style.scale_bar(axes, measurement.calibration.pixel_size_pm)
    bar_axes = style.axes_mm(drawn, left + width + 1.2, top, 1.8, height)
    colour_bar = drawn.colorbar(ScalarMappable(norm=norm, cmap=colour_map), cax=bar_axes)
    colour_bar.outline.set_linewidth(0.4)
    colour_bar.ax.locator_params(nbins=5)
    colour_bar.ax.tick_params(pad=1.5)
    colour_bar.ax.set_title(unit, loc="left", pad=3, size=6.5)


def limits(values: Float[np.ndarray, " row"], *, centre: float | None) -> Normalize:
    """Return robust limits: symmetric about `centre` up to the 98th percentile, or the 1st to the 99th without it."""
    if not values.size:
        return Normalize(-1.0, 1.0)
    if centre is None:
        low, high = np.percentile(values, [1, 99])
    else:
        reach = float(np.percentile(np.abs(values - centre), 98))
        low, high = centre - reach, centre + reach
    if not high - low > 1e-12 * max(abs(low), abs(high)):
        spare = max(1e-3 * abs(low), 1e-6)
        low, high = low - spare, high + spare
    return Normalize(float(low), float(high))
