"""Diffraction patterns to look at: one by one and on a sheet, while labels are given; and the mean, to click in."""

from __future__ import annotations

import textwrap

import numpy as np
from jaxtyping import Float, Int32, Shaped
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from dipolar.core.scanning import View

from . import style
from .unmix_parts import text_mm
from .wording import number

SHADES = "inferno"
DRAWN_PX = 256
"""Edge to which larger patterns are binned: single electrons, which most pixels have none of, hide faint disks."""
RANGE = 3e3
"""Brightest over darkest shade at most."""
SHEET_MOST = 200
"""Patterns on one sheet."""
MARGIN_MM, PICTURE_MM, MEAN_MM, TOP_MM, EDGE_MM = 2.0, 110.0, 250.0, 9.0, 11.0
"""Around a sheet; edge of a picture, and of the mean pattern; room for the heading; room for the scale of pixels."""


def binned(patterns: Shaped[np.ndarray, "pattern k_y k_x"]) -> Float[np.ndarray, "pattern y x"]:
    """Return patterns of `DRAWN_PX` at most, each pixel the mean of those it is made of; what is over is left out."""
    count, height, width = patterns.shape
    by = max(1, -(-max(height, width) // DRAWN_PX))
    tall, wide = max(height // by, 1), max(width // by, 1)
    by_y, by_x = min(by, height), min(by, width)
    inner = patterns[:, : tall * by_y, : wide * by_x].astype(np.float64)
    found: Float[np.ndarray, "pattern y x"] = inner.reshape(count, tall, by_y, wide, by_x).mean(axis=(2, 4))
    return found


def norm_for(patterns: Float[np.ndarray, "*shape"]) -> LogNorm:
    """Return the logarithmic scale that serves patterns best; dead and hot pixels have no say in it."""
    known = patterns[np.isfinite(patterns) & (patterns > 0)]
    if not known.size:
        return LogNorm(0.1, 1.0)
    low, high = (float(value) for value in np.percentile(known, [10.0, 99.8]))
    low = max(low, high / RANGE)
    return LogNorm(low, max(high, 1.5 * low))


def place_name(position: tuple[int, int], shape: tuple[int, int]) -> str:
    """Return the name of the picture of a position, so that names sort as the scan runs.

    >>> place_name((3, 120), (34, 206))
    'y03_x120'
    """
    return "_".join(
        f"{axis}{place:0{len(str(edge - 1))}d}" for axis, place, edge in zip("yx", position, shape, strict=True)
    )


@style.styled
def pattern_picture(
    pattern: Float[np.ndarray, "y x"], position: tuple[int, int], *, norm: LogNorm, name: str
) -> Figure:
    """Return one pattern as large as it can be looked at, logarithmic."""
    tall = PICTURE_MM * pattern.shape[0] / pattern.shape[1]
    drawn = style.figure(PICTURE_MM, TOP_MM + tall)
    style.heading(drawn, f"scan_y {position[0]}, scan_x {position[1]}", name)
    _draw(style.axes_mm(drawn, 0.0, TOP_MM, PICTURE_MM, tall), pattern, norm)
    return drawn


@style.styled
def contact_sheet(
    patterns: Float[np.ndarray, "pattern y x"], positions: Int32[np.ndarray, "pattern 2"], *, norm: LogNorm, name: str
) -> Figure:
    """Return patterns side by side in the order of their table, each under its (scan_y, scan_x); the first 200."""
    shown = min(len(patterns), SHEET_MOST)
    columns = int(np.clip(np.ceil(np.sqrt(shown)), 4, 10))
    edge = (style.TWO_COLUMNS_MM - MARGIN_MM) / columns - MARGIN_MM
    tall = edge * patterns.shape[1] / patterns.shape[2]
    row = tall + 6.0
    more = len(patterns) - shown
    drawn = style.figure(style.TWO_COLUMNS_MM, TOP_MM + row * -(-shown // columns) + (4.0 if more else 0.0))
    style.heading(drawn, f"{number(len(patterns))} patterns to label", name)
    for place in range(shown):
        down, right = divmod(place, columns)
        left, top = MARGIN_MM + right * (edge + MARGIN_MM), TOP_MM + down * row
        y, x = positions[place].tolist()
        text_mm(drawn, (left, top), f"{place + 1}:  y {y}, x {x}", size=6.5)
        _draw(style.axes_mm(drawn, left, top + 3.2, edge, tall), patterns[place], norm)
    if more:
        at = (MARGIN_MM, TOP_MM + row * -(-shown // columns))
        text_mm(drawn, at, f"and {number(more)} more, each in a file of its own", ink=style.QUIET)
    return drawn


def _draw(axes: Axes, pattern: Float[np.ndarray, "y x"], norm: LogNorm) -> None:
    low = float(norm.vmin or 0.1)
    axes.imshow(np.clip(np.nan_to_num(pattern, nan=low), low, None), cmap=SHADES, norm=norm, interpolation="nearest")
    style.bare(axes)


@style.styled
def mean_picture(view: View, *, name: str) -> Figure:
    """Return the mean pattern with a scale in px of the detector all around, on which places of ghosts can be read.

    Lines lie at every labelled number, and are faint: disks are to be seen, not the lines.
    """
    height, width = view.mean.shape
    edge = MEAN_MM * min(1.0, width / height)
    tall = edge * height / width
    words = "\n".join(textwrap.wrap(_told(view), int(edge / 1.2)))
    foot = 3.4 * (words.count("\n") + 1) + 2.0
    drawn = style.figure(edge + 2 * EDGE_MM, TOP_MM + tall + 2 * EDGE_MM + foot)
    style.heading(drawn, "Mean pattern", name)
    axes = style.axes_mm(drawn, EDGE_MM, TOP_MM + EDGE_MM, edge, tall)
    mean = np.where(view.defective, np.nan, view.mean.astype(np.float64))
    norm = norm_for(mean)
    axes.imshow(np.ma.masked_invalid(np.clip(mean, norm.vmin, None)), cmap=SHADES, norm=norm, interpolation="nearest")
    axes.set_facecolor("0.5")
    step = _step(max(height, width))
    for axis, size in ((axes.xaxis, width), (axes.yaxis, height)):
        axis.set_ticks(np.arange(0, size, step))
        axis.set_ticks(np.arange(0, size, step / 5), minor=True)
    axes.grid(which="major", color="white", lw=0.35, alpha=0.45)
    axes.tick_params(which="both", top=True, right=True, labeltop=True, labelright=True, direction="out")
    axes.tick_params(axis="x", which="major", labelrotation=90.0)
    axes.tick_params(which="minor", length=1.2, width=0.3)
    axes.set(xlabel="k_x (px)", ylabel="k_y (px)", xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.yaxis.labelpad, axes.xaxis.labelpad = 1.0, 1.0
    text_mm(drawn, (EDGE_MM, TOP_MM + tall + 2 * EDGE_MM), words, ink=style.QUIET, size=7.0)
    return drawn


def _step(size: int) -> int:
    """Return the distance of lines in px: 1, 2 or 5 times a power of ten, some thirty over the pattern."""
    return max(1, int(style.round_length(max(size / 25.0, 1.0))))


def _told(view: View) -> str:
    """Return what was found in the mean pattern, and how to say where ghosts are."""
    centre = np.array(view.centre_px)
    words = f"direct beam at {centre[0]:.1f},{centre[1]:.1f} (k_y,k_x); radius of a disk {number(view.radius_px, 3)} px"
    if not np.isfinite(view.lattice_px).all():
        return f"{words}; no lattice of disks was found."
    half = centre + 0.5 * view.lattice_px
    one, two = (f"{y:.2f},{x:.2f}" for y, x in np.round(view.lattice_px, 2) + 0.0)
    example = ";".join(f"{y:.1f},{x:.1f}" for y, x in half)
    return (
        f"{words}; lattice vectors {one} and {two} px. Half way along both, ghosts are said by "
        f'--ghosts clicks --clicks "{example}".'
    )
