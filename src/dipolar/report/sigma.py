"""How sure the measurement is: the map of sigma and the histograms of sigma for A, B and the displacement."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dipolar.core.measurement import Measurement
from dipolar.core.nouns import A, B

from . import scene, style
from .ground import ground
from .panels import PANEL_PATCHES, PANEL_RASTER, draw_panel, panel_size
from .wording import number


@style.styled
def sigma_figure(measurement: Measurement) -> Figure:
    """Return the map of sigma of the displacement beside the histograms of sigma of A, B and the displacement."""
    title, name = "Sigma", measurement.image.name
    if not measurement.columns.flags.size:
        return style.message("no columns were found", title=title, name=name)
    height, width = measurement.image.data.shape
    map_width, map_height = panel_size(width / height, widest=96.0, tallest=100.0)
    drawn = style.figure(style.TWO_COLUMNS_MM, max(map_height + 18, 90))
    style.heading(drawn, title, name)
    sigma = scene.component_sigma(measurement.cells.covariance_px2)
    draw_panel(
        drawn,
        (2.0, 12.0, map_width, map_height),
        measurement,
        ground(measurement, most_patches=PANEL_PATCHES, longest=2 * PANEL_RASTER),
        sigma * scene.unit_of(measurement).scale,
        title="displacement",
        unit=scene.unit_of(measurement).name,
        diverging=False,
    )
    left = 2 + map_width + 32
    axes = style.axes_mm(drawn, left, 12, style.TWO_COLUMNS_MM - left - 4, 48)
    draw_sigma_histograms(axes, measurement)
    return drawn


def sigmas(measurement: Measurement) -> dict[str, Float[np.ndarray, " row"]]:
    """Return the finite sigmas per component of A, of B and of the displacement, in pm (px without calibration)."""
    columns, scale = measurement.columns, scene.unit_of(measurement).scale
    of_columns = scene.component_sigma(columns.covariance_px2)
    every = {
        "A columns": of_columns[columns.sublattice == A],
        "B columns": of_columns[columns.sublattice == B],
        "displacement": scene.component_sigma(measurement.cells.covariance_px2),
    }
    return {name: scale * values[np.isfinite(values)] for name, values in every.items()}


def draw_sigma_histograms(axes: Axes, measurement: Measurement) -> None:
    """Draw one outline per kind, as the percentage of its rows per bin, with its median."""
    unit, found = scene.unit_of(measurement).name, sigmas(measurement)
    known = [values for values in found.values() if values.size]
    if not known:
        axes.axis("off")
        axes.text(0.5, 0.5, "no sigma is known", transform=axes.transAxes, ha="center", color=style.QUIET)
        return
    upper = 1.15 * max(float(np.percentile(values, 99)) for values in known)
    bins = np.linspace(0.0, upper if upper > 0 else 1.0, 81)
    looks = {"A columns": (style.COLOUR_A, 0.25), "B columns": (style.COLOUR_B, 0.25), "displacement": ("0.15", 0.0)}
    for name, values in found.items():
        if values.size:
            colour, fill = looks[name]
            share = 100 * np.histogram(values, bins)[0] / values.size
            label = f"{name}: median {number(scene.median(values), 3)} {unit}"
            axes.stairs(share, bins, color=colour, fill=False, lw=1.0, label=label)
            axes.stairs(share, bins, color=colour, fill=True, alpha=fill, lw=0)
    style.open_frame(axes)
    axes.set(xlim=(0, bins[-1]), xlabel=f"sigma per component ({unit})", ylabel="share of rows per bin (%)")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), handlelength=1.2)
