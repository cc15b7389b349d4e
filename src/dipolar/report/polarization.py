"""The map of polarization of a named material, and the rows that say how it was made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dipolar.core.geometry import cell_edge_px
from dipolar.core.material import Polarization
from dipolar.core.measurement import Measurement
from dipolar.core.units import angle_deg, magnitude

from . import colour, scene, style
from .displacement import (
    ARROW_BLOCK_MM,
    ARROW_STYLE,
    block_arrows,
    draw_arrow_key,
    draw_marks_key,
    draw_reference,
    draw_wheel,
)
from .ground import ground, paint, show_image
from .panels import panel_size
from .table import Row
from .wording import number, reference_words, with_sigma

UNIT = "µC/cm²"


@style.styled
def polarization_figure(measurement: Measurement, polarization: Polarization) -> Figure:
    """Return the map of polarization: the hue is its screen angle, the distance from white its length."""
    title, name = f"Polarization of {polarization.material.name}", measurement.image.name
    if not measurement.cells.flags.size:
        return style.message("no unit cells were found", title=title, name=name)
    height, width = measurement.image.data.shape
    below = width > 2.2 * height
    widest = style.TWO_COLUMNS_MM - (4 if below else 50)
    map_width, map_height = panel_size(width / height, widest=widest, tallest=130.0)
    drawn = style.figure(style.TWO_COLUMNS_MM, 22 + (map_height + 44 if below else max(map_height, 84.0)))
    style.heading(drawn, title, name)
    full = float(drawn.get_size_inches()[1]) / style.MM
    drawn.text(
        2 / style.TWO_COLUMNS_MM, 1 - 6.2 / full, reference_words(measurement), size=6.5, va="top", color=style.QUIET
    )
    axes = style.axes_mm(drawn, 2, 13, map_width, map_height)
    radius = polarization_radius(measurement, polarization)
    step = _draw(axes, measurement, polarization, radius, px_mm=map_width / width)
    left, top = (6.0, 13 + map_height + 10) if below else (map_width + 12, 15.0)
    draw_wheel(style.axes_mm(drawn, left + 4, top + 2, 22, 22), radius=radius, unit=UNIT)
    words = "\n".join([f"{row.name}: {row.value}" for row in polarization_rows(measurement, polarization)[:4]])
    if step:
        key_at = (left + 44, top + 2) if below else (left - 4, top + 42)
        draw_arrow_key(drawn, key_at, radius, UNIT, step, measurement, px_mm=map_width / width)
    draw_marks_key(drawn, (left + 43, top + 15) if below else (left - 5, top + 54), measurement)
    at = (left + 96, top + 2) if below else (left - 4, top + 66)
    drawn.text(
        at[0] / style.TWO_COLUMNS_MM, 1 - at[1] / full, words, size=6.5, va="top", color=style.QUIET, linespacing=1.4
    )
    return drawn


def polarization_radius(measurement: Measurement, polarization: Polarization) -> float:
    """Return the polarization at which colours reach their full hue, in µC/cm²: as `full_radius` of displacements."""
    trusted = scene.trusted_cells(measurement.cells)
    if not trusted.any():
        return 1.0
    lengths = magnitude(polarization.vectors_uc_per_cm2[trusted])
    noise = 4 * scene.median(scene.component_sigma(polarization.covariance_uc2_per_cm4[trusted]))
    return colour.nice_ceiling(float(np.nanmax([np.percentile(lengths, 95), noise])))


def polarization_rows(measurement: Measurement, polarization: Polarization) -> list[Row]:
    """Return what the table says of polarization: its size, its sigmas, the factor and what it takes for granted."""
    return list(_rows(measurement, polarization))


def _rows(measurement: Measurement, polarization: Polarization) -> Iterator[Row]:
    material, section = polarization.material, "Polarization"
    trusted = scene.trusted_cells(measurement.cells)
    vectors = polarization.vectors_uc_per_cm2[trusted]
    length, sigma = magnitude(vectors), scene.component_sigma(polarization.covariance_uc2_per_cm4[trusted])
    mean = vectors.mean(axis=0) if len(vectors) else np.full(2, np.nan)
    towards = "" if not len(vectors) else f"mean points to {number(float(angle_deg(mean[None])[0]), 3)}°"
    yield Row(section, "median length", f"{number(scene.median(length), 3)} {UNIT}", towards)
    yield Row(section, "median σ of a cell", f"{number(scene.median(sigma), 2)} {UNIT}", "per component, of the image")
    fraction = polarization.systematic_fraction
    shared = "unknown" if math.isnan(fraction) else f"{number(100 * fraction, 2)} %"
    yield Row(section, "σ of the factor", shared, "the same for all cells, not in the σ above")
    factor = with_sigma(material.factor_uc_per_cm2_per_pm, material.factor_sigma_uc_per_cm2_per_pm, f"{UNIT} per pm")
    against = "against" if material.factor_uc_per_cm2_per_pm < 0 else "along"
    yield Row(section, "factor", factor, f"points {against} the displacement of B in its A cage; {material.formula}")
    yield Row(section, "taken for granted", material.assumption)
    yield Row(section, "source", material.source)


def _draw(axes: Axes, measurement: Measurement, polarization: Polarization, radius: float, *, px_mm: float) -> int:
    """Draw the map; return over how many cells along each side an arrow is the mean, 0 without arrows."""
    cells = measurement.cells
    trusted = scene.trusted_cells(cells)
    under = ground(measurement)
    show_image(axes, under, dim=0.25)
    vectors = np.where(trusted[:, None], polarization.vectors_uc_per_cm2, np.nan)
    paint(axes, under, colour.displacement_colours(vectors, full_radius=radius), hatched=~trusted)
    edge_px = cell_edge_px(cells)
    step = max(1, int(np.ceil(ARROW_BLOCK_MM / (edge_px * px_mm))))
    arrows = block_arrows(replace(cells, displacement_px=polarization.vectors_uc_per_cm2), step=step)
    if len(arrows.positions_px):
        axes.quiver(
            *arrows.positions_px.T[::-1],
            *arrows.displacement_px.T[::-1],
            scale=radius / (0.9 * step * edge_px),
            **ARROW_STYLE,
        )
    draw_reference(axes, measurement)
    style.bare(axes)
    style.scale_bar(axes, measurement.calibration.pixel_size_pm, below=True)
    return step if len(arrows.positions_px) else 0
