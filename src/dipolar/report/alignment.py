"""The picture of an alignment: the image, its sigma, where the frames lay, and how their rows were moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from dipolar.core.alignment import Alignment
from dipolar.report import style

LONGEST = 1000
"""Most points along an edge of an image in the figure; larger ones are averaged in blocks."""


@style.styled
def alignment_figure(result: Alignment) -> Figure:
    """Return four panels: the aligned image, sigma, the path of the frames, and the offsets of their rows.

    Parameters
    ----------
    result
        What `align_frames` returned.
    """
    drawn = style.figure(style.TWO_COLUMNS_MM, 178)
    style.heading(drawn, "Alignment", result.image.name)
    half = (style.TWO_COLUMNS_MM - 32) / 2
    axes, _ = _picture(drawn, 4.0, half, result.image.data, "aligned image")
    style.scale_bar(axes, result.image.pixel_size_pm)
    axes, shades = _picture(drawn, half + 12.0, half, result.sigma, "one standard error, from the spread of the frames")
    style.scale_bar(axes, result.image.pixel_size_pm)
    if shades is not None:
        box = axes.get_position()
        bar = drawn.add_axes((box.x1 + 1.2 / style.TWO_COLUMNS_MM, box.y0, 1.8 / style.TWO_COLUMNS_MM, box.height))
        colour_bar = drawn.colorbar(shades, cax=bar)
        colour_bar.outline.set_linewidth(0.4)
        colour_bar.ax.locator_params(nbins=5)
        colour_bar.ax.tick_params(pad=1.5)
        bar.set_ylabel("in units of the image")
    low = 14 + half + 20
    _path(style.axes_mm(drawn, 12, low, half - 8, half - 20), result)
    _rows(style.axes_mm(drawn, half + 24, low, half - 12, half - 20), result)
    return drawn


def _picture(
    drawn: Figure, left_mm: float, edge_mm: float, data: np.ndarray, title: str
) -> tuple[Axes, AxesImage | None]:
    """Draw a map into a square, as large as its shape allows; return its shades, None where there is nothing to see."""
    axes = style.axes_mm(drawn, left_mm, 14, edge_mm, edge_mm)
    step = max(1, int(np.ceil(max(data.shape) / LONGEST)))
    tall, wide = (size // step * step for size in data.shape)
    blocks = data[:tall, :wide].reshape(tall // step, step, wide // step, step)
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    grey = np.where(count > 0, np.where(known, blocks, 0).sum(axis=(1, 3)) / np.maximum(count, 1), np.nan)
    seen = grey[np.isfinite(grey)]
    low, high = np.percentile(seen, [0.5, 99.7]) if seen.size else (0.0, 1.0)
    shades = axes.imshow(grey, cmap="gray", vmin=low, vmax=high, extent=(-0.5, wide - 0.5, tall - 0.5, -0.5))
    axes.set_title(title)
    style.bare(axes)
    axes.apply_aspect()
    return axes, shades if seen.size and high > low else None


def _path(axes: Axes, result: Alignment) -> None:
    """Draw where the frames lay, in their order; the numbers are those of the frames."""
    numbers = [n for n, frame in enumerate(result.frames) if not frame.dropped]
    y, x = np.array([result.frames[n].shift_px for n in numbers]).T
    axes.plot(x, y, color=style.COLOUR_B, marker="o", markersize=2.5)
    for n, dy, dx in zip(numbers, y, x, strict=True):
        axes.annotate(str(n), (dx, dy), xytext=(3, 2), textcoords="offset points", size=6, color=style.QUIET)
    axes.set_aspect("equal", adjustable="datalim")
    axes.invert_yaxis()
    dropped = f", {len(result.dropped)} left out" if result.dropped else ""
    axes.set_title(f"where the frames lay{dropped}")
    axes.set_xlabel("dx (px)")
    axes.set_ylabel("dy (px)")
    style.open_frame(axes)


def _rows(axes: Axes, result: Alignment) -> None:
    """Draw the offset of every row of every frame, y and x."""
    for frame in result.kept:
        row = np.arange(len(frame.row_offset_px))
        for axis, ink in ((0, style.COLOUR_A), (1, style.COLOUR_B)):
            axes.plot(frame.row_offset_px[:, axis], row, color=ink, linewidth=0.35, alpha=0.6)
    for name, ink, jitter in zip(("dy", "dx"), (style.COLOUR_A, style.COLOUR_B), result.row_jitter_px, strict=True):
        label = f"{name}, of it jitter {jitter:.2f} px" if np.isfinite(jitter) else name
        axes.plot([], [], color=ink, label=label)
    axes.legend(loc="lower right")
    axes.invert_yaxis()
    axes.set_title("how far rows lay from their place: drift and jitter")
    axes.set_xlabel("offset (px)")
    axes.locator_params(axis="x", nbins=6)
    axes.set_ylabel("row")
    style.open_frame(axes)


def write_alignment_figure(result: Alignment, path: str | Path) -> Path:
    """Write the figure as a PNG file, and return its path.

    Parameters
    ----------
    result
        What `align_frames` returned.
    path
        The file.
    """
    path = Path(path)
    path.write_bytes(style.encode(alignment_figure(result), "png"))
    return path
