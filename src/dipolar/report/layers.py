"""What changes from layer to layer of a film: c/a, or any other profile, with sigma."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from dipolar.core.findings import Profile, Tetragonality
from dipolar.core.measurement import Measurement

from . import scene, style
from .ground import ground
from .panels import PANEL_PATCHES, PANEL_RASTER, draw_panel, panel_size
from .table import Row
from .wording import with_sigma


@style.styled
def tetragonality_figure(measurement: Measurement, found: Tetragonality, profile: Profile) -> Figure:
    """Return the map of c/a beside its mean in every layer, with a band of one standard error."""
    title, name = "Tetragonality", measurement.image.name
    if not measurement.cells.flags.size or not len(profile.mean):
        return style.message("no unit cells were found", title=title, name=name)
    height, width = measurement.image.data.shape
    map_width, map_height = panel_size(width / height, widest=90.0, tallest=90.0)
    drawn = style.figure(style.TWO_COLUMNS_MM, 22 + max(map_height, 52))
    style.heading(drawn, title, name)
    draw_panel(
        drawn,
        (2.0, 12.0, map_width, map_height),
        measurement,
        ground(measurement, most_patches=PANEL_PATCHES, longest=PANEL_RASTER),
        found.c_over_a.values,
        title=f"c/a, c along {found.axis} ({found.why})",
        unit="",
        centre=1.0,
    )
    unit = scene.unit_of(measurement)
    left = map_width + 32
    axes = style.axes_mm(drawn, left, 12, style.TWO_COLUMNS_MM - left - 4, 44)
    scale, symbol = (unit.scale / 1000.0, "nm") if unit.name == "pm" else (1.0, "px")
    full = profile.cells >= 0.25 * np.max(profile.cells, initial=0)
    at, mean, sigma = (values[full] for values in (scale * profile.position_px, profile.mean, profile.sigma))
    axes.fill_between(at, mean - sigma, mean + sigma, color=style.COLOUR_B, alpha=0.3, lw=0)
    axes.plot(at, mean, color=style.COLOUR_B, marker=".", ms=2.5, lw=0.8)
    axes.axhline(1.0, color="0.6", lw=0.5, zorder=0)
    towards = "downwards" if found.axis == "b" else "to the right"
    axes.set(xlabel=f"distance from the first layer, {towards} ({symbol})", ylabel="c/a, mean ± σ of each layer")
    style.open_frame(axes)
    return drawn


def tetragonality_rows(found: Tetragonality, profile: Profile) -> list[Row]:
    """Return what the table says of c/a."""
    known = found.c_over_a.values[np.isfinite(found.c_over_a.values)]
    if not len(known):
        return [Row("Tetragonality", "c/a", "unknown", "no unit cells")]
    rows = [Row("Tetragonality", "c/a, median", f"{scene.median(known):.4f}", f"c along {found.axis}: {found.why}")]
    if found.norm_sigma > 0:
        value = with_sigma(found.norm, found.norm_sigma)
        rows.append(Row("Tetragonality", "c/a of the reference", value, "every ratio is divided by it"))
    full = profile.cells >= 0.25 * np.max(profile.cells, initial=0)
    if full.any():
        low, high = (int(pick(np.where(full, profile.mean, np.nan))) for pick in (np.nanargmin, np.nanargmax))
        for name, k in (("smallest layer", low), ("largest layer", high)):
            value = with_sigma(float(profile.mean[k]), float(profile.sigma[k]))
            rows.append(Row("Tetragonality", f"c/a, {name}", value, f"layer {int(profile.layer[k])}"))
    return rows
