"""What was predicted beside what was measured: three maps in the same colours, and how the components agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from dipolar.core.comparison import Comparison
from dipolar.core.measurement import Measurement
from dipolar.core.units import magnitude

from . import colour, scene, style
from .displacement import draw_wheel
from .ground import Ground, ground, paint, show_image
from .histogram import COUNTS
from .panels import panel_size
from .study_figures import short_name
from .wording import counted, number

TOP_MM, SIDE_MM, BAR_MM = 14.0, 37.0, 6.5
"""Room above the first map, of the strip with wheels and numbers, and below a map for its scale bar."""
GAP_MM, SQUARE_MM = 3.0, 30.0
"""Room between maps, and the edge of a histogram."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Radii:
    """Displacements at which colours reach their full hue, in the unit of the page."""

    displacement: float
    """On the maps of what was measured and of what was predicted."""
    error: float
    """On the map of the error, which is smaller."""


@style.styled
def comparison_figure(measurement: Measurement, comparison: Comparison, *, model: str = "") -> Figure:
    """Return maps of the displacement measured, predicted and of the error, and histograms of both components.

    Parameters
    ----------
    measurement
        What was measured.
    comparison
        What `compare` made of its cells and the predicted ones.
    model
        Name of the network, for the title of its map.
    """
    title, name = "Predicted and measured", measurement.image.name
    if not comparison.counted.any():
        return style.message("no cell was both measured and predicted", title=title, name=name)
    height, width = measurement.image.data.shape
    across = 3 if width <= 2.2 * height else 1
    room = (style.TWO_COLUMNS_MM - 4 + GAP_MM) / across
    map_width, map_height = panel_size(width / height, widest=room - GAP_MM, tallest=80.0)
    step = map_height + BAR_MM + 4
    strip = TOP_MM + (1 if across == 3 else 3) * step + 1
    drawn = style.figure(style.TWO_COLUMNS_MM, strip + SIDE_MM + SQUARE_MM + 18)
    style.heading(drawn, title, name)
    radii, under = _radii(measurement, comparison), ground(measurement)
    said = f"predicted by {short_name(model, 20)}" if model else "predicted"
    panels = (
        ("measured", comparison.measured_px, radii.displacement),
        (said, comparison.predicted_px, radii.displacement),
        ("error: predicted − measured", comparison.error_px, radii.error),
    )
    for place, (words, vectors, radius) in enumerate(panels):
        left, top = (2 + place * room, TOP_MM) if across == 3 else (2.0, TOP_MM + place * step)
        axes = style.axes_mm(drawn, left, top, map_width, map_height)
        _draw_map(axes, measurement, under, comparison, vectors, radius=radius)
        axes.set_title(words)
    unit = scene.unit_of(measurement)
    for left, radius, words in ((8.0, radii.displacement, "displacement"), (56.0, radii.error, "error")):
        wheel = style.axes_mm(drawn, left, strip + 6, 18, 18)
        draw_wheel(wheel, radius=radius, unit=unit.name)
        wheel.set_title(words, loc="center", pad=11)
    _numbers(drawn, (100.0, strip + 1), comparison, unit)
    _histograms(drawn, strip + SIDE_MM + 6, comparison, unit)
    return drawn


def _radii(measurement: Measurement, comparison: Comparison) -> Radii:
    """Return round numbers above the 95th percentile of the counted pairs; errors at least twice the median sigma."""
    scale, use = scene.unit_of(measurement).scale, comparison.counted
    both = np.concatenate([magnitude(comparison.measured_px[use]), magnitude(comparison.predicted_px[use])])
    errors = np.percentile(magnitude(comparison.error_px[use]), 95)
    noise = 2 * scene.median(scene.component_sigma(measurement.cells.covariance_px2[comparison.measured]))
    return Radii(
        displacement=colour.nice_ceiling(scale * float(np.percentile(both, 95))),
        error=colour.nice_ceiling(scale * float(np.nanmax([errors, noise]))),
    )


def _draw_map(
    axes: Axes,
    measurement: Measurement,
    under: Ground,
    comparison: Comparison,
    vectors_px: Float[np.ndarray, "pair 2"],
    *,
    radius: float,
) -> None:
    """Draw one vector per pair in the cells of the measurement; cells without a counted pair are grey."""
    use = comparison.counted
    every = np.full((len(measurement.cells.flags), 2), np.nan)
    every[comparison.measured[use]] = vectors_px[use] * scene.unit_of(measurement).scale
    show_image(axes, under, dim=0.25)
    paint(axes, under, colour.displacement_colours(every, full_radius=radius))
    style.bare(axes)
    style.scale_bar(axes, measurement.calibration.pixel_size_pm, below=True)


def _numbers(drawn: Figure, at: tuple[float, float], comparison: Comparison, unit: scene.Unit) -> None:
    """Write the table of agreement, one column per component."""
    parts = (comparison.dy, comparison.dx)
    lines = [
        ("", "dy", "dx"),
        (f"RMS error ({unit.name})", *(number(unit.scale * part.rmse_px, 3) for part in parts)),
        (f"mean error ({unit.name})", *(number(unit.scale * part.bias_px, 2) for part in parts)),
        ("R²", *(number(part.r2, 3) for part in parts)),
        ("correlation", *(number(part.correlation, 3) for part in parts)),
        ("slope", *(number(part.slope, 3) for part in parts)),
        ("width of error / sigma", *(number(part.zscore_width, 3) for part in parts)),
    ]
    for row, words in enumerate(lines):
        for left, word in zip((0.0, 36.0, 56.0), words, strict=True):
            quiet = row == 0 or left == 0
            _text_mm(drawn, (at[0] + left, at[1] + 4.0 * row), word, quiet=quiet)
    flagged = int((~comparison.counted).sum())
    told = f"{counted(int(comparison.counted.sum()), 'cell')} compared"
    told += f"; grey: {number(flagged)} flagged" if flagged else ""
    _text_mm(drawn, (at[0], at[1] + 28.5), told, quiet=True)
    alone = f"{number(comparison.only_measured)} only measured, {number(comparison.only_predicted)} only predicted"
    _text_mm(drawn, (at[0], at[1] + 32.0), alone, quiet=True)


def _text_mm(drawn: Figure, at: tuple[float, float], words: str, *, quiet: bool) -> None:
    width, height = (float(inches) / style.MM for inches in drawn.get_size_inches())
    colour_of_words = style.QUIET if quiet else style.INK
    drawn.text(at[0] / width, 1 - at[1] / height, words, va="top", size=6.5, color=colour_of_words)


def _histograms(drawn: Figure, top: float, comparison: Comparison, unit: scene.Unit) -> None:
    """Draw predicted against measured for each component, then (dx, dy) of each as it points on the screen."""
    edges = comparison.edges_px * unit.scale
    most = max(2, *(int(c.max()) for c in (comparison.dy_counts, comparison.dx_counts, comparison.measured_counts)))
    norm = LogNorm(1, most) if most > 30 else Normalize(0, most)
    places = [(left, top, SQUARE_MM, SQUARE_MM) for left in (12.0, 56.0, 101.0, 137.0)]
    for place, component, counts in ((0, "dx", comparison.dx_counts), (1, "dy", comparison.dy_counts)):
        axes = style.axes_mm(drawn, *places[place])
        _draw_counts(axes, edges, counts.T, norm)
        axes.plot(edges[[0, -1]], edges[[0, -1]], color="0.5", lw=0.6, zorder=0)
        axes.set(xlim=edges[[0, -1]], ylim=edges[[0, -1]], title=f"{component} ({unit.name})")
        axes.set_xlabel("measured", labelpad=2)
        axes.set_ylabel("predicted", labelpad=1)
    for place, words, counts in (
        (2, "measured", comparison.measured_counts),
        (3, "predicted", comparison.predicted_counts),
    ):
        axes = style.axes_mm(drawn, *places[place])
        _draw_counts(axes, edges, counts, norm)
        axes.set(xlim=edges[[0, -1]], ylim=edges[[-1, 0]], title=words)  # up on the page is up on the screen
        axes.set_xlabel(f"dx ({unit.name})", labelpad=2)
        if place == 2:
            axes.set_ylabel(f"dy ({unit.name})", labelpad=1)
        else:
            axes.set_yticklabels([])
    bar = style.axes_mm(drawn, places[3][0] + SQUARE_MM + 2, top, 1.8, SQUARE_MM)
    drawn.colorbar(ScalarMappable(norm=norm, cmap=COUNTS), cax=bar, label="cells per bin", format=ScalarFormatter())


def _draw_counts(
    axes: Axes, edges: Float[np.ndarray, " edge"], counts: Int32[np.ndarray, "row column"], norm: Normalize
) -> None:
    axes.axhline(0, color="0.85", lw=0.5, zorder=0)
    axes.axvline(0, color="0.85", lw=0.5, zorder=0)
    axes.pcolormesh(edges, edges, np.ma.masked_equal(counts, 0), cmap=COUNTS, norm=norm, rasterized=True)
    axes.set_aspect("equal")
    axes.locator_params(nbins=5)
