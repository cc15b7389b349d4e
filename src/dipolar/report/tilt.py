"""The tilt over the image, and the displacement before and after what it fakes was taken off."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dipolar.core.findings import TiltCorrection
from dipolar.core.measurement import Measurement

from . import colour, scene, style
from .displacement import ARROW_STYLE, full_radius
from .ground import Ground, ground, paint, show_image
from .panels import panel_size
from .table import Row
from .wording import counted, number, with_sigma

LONGEST = 0.2
"""Length of the arrow of the largest tilt, over the longest edge of the image."""


@style.styled
def tilt_figure(measurement: Measurement, tilt: TiltCorrection) -> Figure:
    """Return the tilt of every region, and the maps with and without the false displacement."""
    removed = measurement.findings.tilt_removed
    height, width = measurement.image.data.shape
    map_width, map_height = panel_size(width / height, widest=(style.TWO_COLUMNS_MM - 10) / 3, tallest=90.0)
    drawn = style.figure(style.TWO_COLUMNS_MM, map_height + 28)
    style.heading(drawn, "Tilt of the crystal", measurement.image.name)
    under = ground(measurement)
    axes = [style.axes_mm(drawn, 2 + k * (map_width + 3), 18, map_width, map_height) for k in range(3)]
    _draw_tilt(axes[0], under, tilt)
    sign = 1.0 if removed else -1.0
    cells = measurement.cells.displacement_px
    other = cells + sign * tilt.cell_false_px
    before, after = (other, cells) if removed else (cells, other)
    for panel, vectors, words in ((axes[1], before, "as it is seen"), (axes[2], after, "without what the tilt fakes")):
        _draw_displacement(panel, measurement, under, vectors)
        panel.set_title(f"displacement {words}")
    style.scale_bar(axes[0], measurement.calibration.pixel_size_pm, below=True)
    told = "taken off" if removed else "told and not taken off"
    lines = (
        f"false displacement {told}: {_mean_words(measurement, tilt)}; colours are full at "
        f"{number(full_radius(measurement), 3)} {scene.unit_of(measurement).name}\n"
        "arrows: where the beam leans; numbers: tilt and its standard error in mrad"
    )
    full = float(drawn.get_size_inches()[1]) / style.MM
    drawn.text(2 / style.TWO_COLUMNS_MM, 1 - 6.2 / full, lines, size=6.5, va="top", color=style.QUIET, linespacing=1.3)
    return drawn


def _draw_tilt(axes: Axes, under: Ground, tilt: TiltCorrection) -> None:
    show_image(axes, under, dim=0.45)
    size = np.linalg.norm(tilt.tilt_mrad, axis=1)
    left, right = axes.get_xlim()
    longest = LONGEST * abs(right - left)
    axes.quiver(
        tilt.positions_px[:, 1], tilt.positions_px[:, 0], tilt.tilt_mrad[:, 1], tilt.tilt_mrad[:, 0],
        scale=max(float(size.max()), 5.0) / longest, **{**ARROW_STYLE, "width": 0.55 * style.MM},
    )  # fmt: skip
    if len(size) <= MOST_NUMBERS:
        errors = np.linalg.norm(tilt.tilt_sigma_mrad, axis=1)
        for (y, x), value, sigma in zip(tilt.positions_px, size, errors, strict=True):
            axes.annotate(
                with_sigma(value, sigma / np.sqrt(2.0)), (x, y), (0, -7), textcoords="offset points", size=5.5,
                ha="center", va="top", zorder=6,
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75},
            )  # fmt: skip
    style.bare(axes)
    axes.set_title("tilt of the beam against the crystal")


MOST_NUMBERS = 20
"""Regions up to which numbers stand beside the arrows."""


def _draw_displacement(
    axes: Axes, measurement: Measurement, under: Ground, vectors_px: Float[np.ndarray, "cell 2"]
) -> None:
    show_image(axes, under, dim=0.25)
    trusted = scene.trusted_cells(measurement.cells)
    vectors = np.where(trusted[:, None], vectors_px, np.nan) * scene.unit_of(measurement).scale
    paint(axes, under, colour.displacement_colours(vectors, full_radius=full_radius(measurement)), hatched=~trusted)
    style.bare(axes)


def _mean_words(measurement: Measurement, tilt: TiltCorrection) -> str:
    """Return the mean false displacement of all cells; its error is shared, so that it is that of one region."""
    unit = scene.unit_of(measurement)
    mean = unit.scale * tilt.cell_false_px.mean(axis=0)
    sigma = unit.scale * np.sqrt(np.diagonal(tilt.cell_covariance_px2.mean(axis=0)))
    parts = [with_sigma(float(value), float(error)) for value, error in zip(mean, sigma, strict=True)]
    return f"(dy, dx) = ({parts[0]}, {parts[1]}) {unit.name} in the mean"


def tilt_rows(measurement: Measurement, tilt: TiltCorrection) -> Iterator[Row]:
    """Yield what the table says of the tilt."""
    section = "Tilt"
    mean, sigma = tilt.tilt_mrad.mean(axis=0), tilt.tilt_sigma_mrad.mean(axis=0)
    parts = [with_sigma(float(value), float(error)) for value, error in zip(mean, sigma, strict=True)]
    yield Row(section, "tilt of the beam (y, x)", f"({parts[0]}, {parts[1]}) mrad",
              f"mean of {counted(len(tilt.cells), 'region')}, compared with {tilt.material}")  # fmt: skip
    yield Row(section, "false displacement", _mean_words(measurement, tilt),
              "taken off" if measurement.findings.tilt_removed else "not taken off")  # fmt: skip
    if np.isfinite(tilt.thickness_nm).any():
        yield Row(section, "thickness that fits", f"{number(float(np.nanmedian(tilt.thickness_nm)), 3)} nm")
        yield Row(section, "focus that fits", f"{number(float(np.nanmedian(tilt.focus_nm)), 2)} nm",
                  "below the entrance surface")  # fmt: skip
        yield Row(section, "misfit", number(float(np.nanmedian(tilt.misfit)), 2),
                  "1 or less: columns look as the library has them")  # fmt: skip
