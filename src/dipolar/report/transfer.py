"""Networks of one film put to another: true displacement, predicted displacement and error, map beside map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from dipolar.core.units import magnitude

from . import colour, style
from .displacement import draw_wheel
from .panels import panel_size
from .study_figures import LONGEST_NAME, short_name
from .wording import number

RASTER = 500
"""Points along the longer side of a map."""
REACH_CELLS = 0.6
"""How far along y or x a point of a map may be from the place whose colour it has, in steps from place to place."""
TOP_MM, LEFT_MM, GAP_MM, BELOW_MM, WHEELS_MM = 14.0, 27.0, 3.0, 3.5, 34.0
"""Room above the first map, beside and between maps, below a row, and for the wheels."""
COLUMNS = ("true", "predicted", "error: predicted − true")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transfer:
    """Predicted and true displacement of one film, by a network trained on another."""

    windows: str
    """C or NC."""
    trained_on: str
    """The film learned from."""
    applied_to: str
    """This one."""
    shape_px: tuple[int, int]
    """Rows and columns of its image."""
    pixel_size_pm: float
    """Edge of its pixels."""
    positions_px: Float[np.ndarray, "place 2"]
    """Where the network was asked, (y, x)."""
    true_pm: Float[np.ndarray, "place 2"]
    """True (dy, dx) there."""
    predicted_pm: Float[np.ndarray, "place 2"]
    """Predicted (dy, dx)."""

    @property
    def error_pm(self) -> Float[np.ndarray, "place 2"]:
        """Predicted minus true (dy, dx)."""
        return self.predicted_pm - self.true_pm

    @property
    def rms_pm(self) -> float:
        """RMS error per component."""
        return float(np.sqrt(np.mean(self.error_pm**2))) if len(self.error_pm) else float("nan")


@style.styled
def transfer_figure(transfers: Sequence[Transfer], *, name: str = "") -> Figure:
    """Return three maps for each transfer: true, predicted and error, in colours that all rows share.

    Parameters
    ----------
    transfers
        A row each.
    name
        Of the study, for the title.
    """
    title = "From film to film"
    if not transfers:
        return style.message("no transfer was made", title=title, name=name)
    radius, of_errors = radii_pm(transfers)
    aspect = max(one.shape_px[1] / one.shape_px[0] for one in transfers)
    room = (style.TWO_COLUMNS_MM - LEFT_MM - 2.0 + GAP_MM) / 3
    wide, tall = panel_size(aspect, widest=room - GAP_MM, tallest=52.0)
    drawn = style.figure(style.TWO_COLUMNS_MM, TOP_MM + len(transfers) * (tall + BELOW_MM) + 4.0 + WHEELS_MM)
    style.heading(drawn, title, name)
    for row, one in enumerate(transfers):
        top = TOP_MM + row * (tall + BELOW_MM)
        _name_row(drawn, top, one)
        for column, (words, vectors, full) in enumerate(
            zip(
                COLUMNS,
                (one.true_pm, one.predicted_pm, one.error_pm),
                (radius, radius, of_errors),
                strict=True,
            )
        ):
            axes = style.axes_mm(drawn, LEFT_MM + column * room, top, wide, tall)
            _draw_map(axes, one, vectors, full_radius=full)
            if row == 0:
                axes.set_title(words)
            if row == len(transfers) - 1 and column == 0:
                style.scale_bar(axes, one.pixel_size_pm, below=True)
    below = TOP_MM + len(transfers) * (tall + BELOW_MM) + 10.0
    for place, full, words in ((0.5, radius, "displacement"), (2.0, of_errors, "error")):
        wheel = style.axes_mm(drawn, LEFT_MM + place * room + wide / 2 - 8.0, below, 16.0, 16.0)
        draw_wheel(wheel, radius=full, unit="pm")
        wheel.set_title(words, loc="center", pad=10)
    return drawn


def radii_pm(transfers: Sequence[Transfer]) -> tuple[float, float]:
    """Return round numbers above the 95th percentile of the true displacements, and of the errors, of all rows."""
    true, errors = (
        np.concatenate([magnitude(part) for part in parts])
        for parts in ([one.true_pm for one in transfers], [one.error_pm for one in transfers])
    )
    full, of_errors = (
        colour.nice_ceiling(float(np.percentile(part[np.isfinite(part)], 95)) if np.isfinite(part).any() else 1.0)
        for part in (true, errors)
    )
    return full, of_errors


def _name_row(drawn: Figure, top: float, one: Transfer) -> None:
    """Write what was put to what beside a row, and how well it did."""
    lines = [
        (one.windows, "bold", 8.0),
        ("trained on", "normal", 6.0),
        (short_name(one.trained_on, LONGEST_NAME), "normal", 7.0),
        ("applied to", "normal", 6.0),
        (short_name(one.applied_to, LONGEST_NAME), "normal", 7.0),
        ("RMS error", "normal", 6.0),
        (f"{number(one.rms_pm, 2)} pm", "normal", 7.0),
    ]
    width, height = (float(inches) / style.MM for inches in drawn.get_size_inches())
    for row, (words, weight, size) in enumerate(lines):
        place = top + (0.0 if row == 0 else 1.5 + 3.4 * row + 1.6 * ((row - 1) // 2))
        ink = style.QUIET if size == 6.0 else style.INK
        drawn.text(2.0 / width, 1 - place / height, words, va="top", size=size, weight=weight, color=ink)


def _draw_map(axes: Axes, one: Transfer, vectors: Float[np.ndarray, "place 2"], *, full_radius: float) -> None:
    """Give each point the colour of the nearest place; points far from all places stay as they are."""
    tall, wide = one.shape_px
    axes.set_facecolor("0.92")
    axes.set_xlim(-0.5, wide - 0.5)
    axes.set_ylim(tall - 0.5, -0.5)
    style.bare(axes)
    if len(one.positions_px) < 2:
        return
    step = max(one.shape_px) / RASTER
    y, x = ((np.arange(max(1, round(size / step))) + 0.5) * step - 0.5 for size in one.shape_px)
    points = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)
    tree = cKDTree(one.positions_px)
    between = float(np.median(tree.query(one.positions_px, k=2)[0][:, 1]))
    _, nearest = tree.query(points)
    away = np.abs(points - one.positions_px[nearest]).max(axis=-1)
    rgba = np.ones((*nearest.shape, 4), dtype=np.float32)
    rgba[..., :3] = colour.displacement_colours(vectors, full_radius=full_radius)[nearest]
    rgba[..., 3] = away <= REACH_CELLS * between
    extent = (-0.5, wide - 0.5, tall - 0.5, -0.5)
    axes.imshow(rgba, extent=extent, interpolation="nearest", rasterized=True)
