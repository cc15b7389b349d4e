"""The figures of the studies: error against noise and window, and from image to image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dipolar.core.errors import SettingsError

from . import style
from .panels import SEQUENTIAL
from .reliability import log_ticks

PATCHES = {"C": "C patches: centred on cells", "NC": "NC patches: anywhere"}
"""Titles of the panels; other names are written as they are."""
LONGEST_NAME = 22
"""Letters of an image's name that fit beside a matrix."""


@style.styled
def noise_study_figure(
    mse: Mapping[str, Float[np.ndarray, "window noise"]],
    *,
    noise: Sequence[float | int],
    windows_px: Sequence[int],
    noise_name: str = "noise",
    unit: str = "px²",
    name: str = "",
) -> Figure:
    """Return log10 of the mean square error over noise and window, a panel for C and for NC patches.

    Parameters
    ----------
    mse
        "C" and "NC" → mean square error of each window (rows) at each noise (columns); nan where nothing was tried.
    noise
        The noise of each column.
    windows_px
        Edge of the window of each row.
    noise_name
        What the noise is, with its unit, for the axis.
    unit
        Of the error squared.
    name
        Of the study, for the title.

    Raises
    ------
    SettingsError
        A table does not have one row per window and one column per noise.
    """
    _check_shape(mse, (len(windows_px), len(noise)), "one row per window and one column per noise")
    logs = {kind: np.log10(np.where(values > 0, values, np.nan)) for kind, values in mse.items()}
    title = "Error against noise and window"
    every = np.concatenate([values[np.isfinite(values)] for values in logs.values()]) if logs else np.zeros(0)
    if not every.size:
        return style.message("no error is known", title=title, name=name)
    norm = Normalize(float(every.min()), max(float(every.max()), float(every.min()) + 1e-3))
    side = (style.TWO_COLUMNS_MM - 34) / max(2, len(logs))
    tall = float(np.clip(side * len(windows_px) / len(noise), 24.0, 80.0))
    drawn = style.figure(style.TWO_COLUMNS_MM, tall + 26)
    style.heading(drawn, title, name)
    for place, (kind, values) in enumerate(logs.items()):
        axes = style.axes_mm(drawn, 14 + place * (side + 4), 14.0, side, tall)
        _draw_table(drawn, axes, values, SEQUENTIAL, norm, places=2)
        axes.set(title=PATCHES.get(kind, kind), xlabel=noise_name)
        axes.set(xticks=range(len(noise)), xticklabels=[f"{level:g}" for level in noise])
        axes.set(yticks=range(len(windows_px)), yticklabels=[str(edge) for edge in windows_px] if place == 0 else [])
        axes.set_ylabel("edge of the window (px)" if place == 0 else "")
    _bar(drawn, (14 + len(logs) * (side + 4) - 2, 14.0, 1.8, tall), norm, f"log₁₀ mean square error ({unit})")
    return drawn


@style.styled
def cross_study_figure(
    error: Mapping[str, Float[np.ndarray, "trained applied"]],
    *,
    images: Sequence[str],
    error_name: str = "RMS error (px)",
    name: str = "",
) -> Figure:
    """Return the error of networks trained on one image (rows) and applied to another (columns), for C and NC patches.

    Parameters
    ----------
    error
        "C" and "NC" → error of each pair; nan where nothing was tried.
    images
        Name of each image, in the order of rows and columns.
    error_name
        What the error is, with its unit.
    name
        Of the study, for the title.

    Raises
    ------
    SettingsError
        A matrix does not have a row and a column for each image.
    """
    _check_shape(error, (len(images), len(images)), "a row and a column for each image")
    title = "From image to image"
    every = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in error.values()]) if error else np.zeros(0)
    if not every.size:
        return style.message("no error is known", title=title, name=name)
    norm = LogNorm(float(every.min()), max(float(every.max()), 1.001 * float(every.min())))
    places = int(np.clip(1 - np.floor(np.log10(np.median(every))), 0, 3))
    names = [short_name(image, LONGEST_NAME) for image in images]
    room = 4 + 1.15 * max(len(words) for words in names)
    side = (style.TWO_COLUMNS_MM - room - 27) / max(2, len(error))
    drawn = style.figure(style.TWO_COLUMNS_MM, side + room + 22)
    style.heading(drawn, title, name)
    for place, (kind, values) in enumerate(error.items()):
        axes = style.axes_mm(drawn, room + 5 + place * (side + 4), 14, side, side)
        _draw_table(drawn, axes, values, SEQUENTIAL, norm, places=places)
        for at in range(len(images)):
            axes.add_patch(Rectangle((at - 0.5, at - 0.5), 1, 1, fill=False, ec="white", lw=0.9, zorder=3))
        axes.set(title=PATCHES.get(kind, kind), xticks=range(len(names)), yticks=range(len(names)))
        axes.set_xticklabels(names, rotation=90)
        axes.set_yticklabels(names if place == 0 else [])
        axes.set_xlabel("applied to", labelpad=3)
        axes.set_ylabel("trained on" if place == 0 else "", labelpad=3)
    log_ticks(_bar(drawn, (room + 5 + len(error) * (side + 4) - 2, 14.0, 1.8, side), norm, error_name).yaxis)
    return drawn


def _check_shape(tables: Mapping[str, Float[np.ndarray, "row column"]], shape: tuple[int, int], words: str) -> None:
    wrong = [f"{name}: {values.shape}" for name, values in tables.items() if values.shape != shape]
    if wrong:
        raise SettingsError(f"Each table of errors has {words}.", got=", ".join(wrong), do=f"hand over {shape}")


def _draw_table(
    drawn: Figure,
    axes: Axes,
    values: Float[np.ndarray, "row column"],
    colours: Colormap,
    norm: Normalize,
    *,
    places: int,
) -> None:
    """Draw one coloured field per number with the number in it, dark on light and light on dark."""
    axes.set_facecolor("0.9")
    axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, aspect="auto", interpolation="nearest")
    width = 72 * axes.get_position().width * float(drawn.get_figwidth()) / values.shape[1]  # of a field, in points
    words = {
        (row, column): f"{values[row, column]:.{places}f}".replace("-", "−")
        for row, column in np.argwhere(np.isfinite(values)).tolist()
    }
    size = float(np.clip(1.45 * width / max((len(told) for told in words.values()), default=1), 2.5, 6.5))
    for (row, column), told in words.items():
        red, green, blue, _ = colours(norm(float(values[row, column])))
        ink = "0.1" if 0.30 * red + 0.59 * green + 0.11 * blue > 0.55 else "white"
        axes.text(column, row, told, ha="center", va="center", size=size, color=ink)
    axes.tick_params(length=0, pad=2)


def _bar(drawn: Figure, place: tuple[float, float, float, float], norm: Normalize, words: str) -> Axes:
    axes = style.axes_mm(drawn, *place)
    bar = drawn.colorbar(ScalarMappable(norm=norm, cmap=SEQUENTIAL), cax=axes, label=words)
    bar.outline.set_linewidth(0.4)
    return axes


def short_name(name: str, longest: int) -> str:
    """Return a name that the font can draw, cut at its end where it is longer."""
    name = style.drawable(name)
    return name if len(name) <= longest else name[: longest - 1] + "…"
