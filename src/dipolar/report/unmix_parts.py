"""What sheets of unmixing are put together from: sections, maps at lattice sites, pictures, curves, points."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import colorcet
import numpy as np
from jaxtyping import Float, Float32, Int32
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.spatial import cKDTree

from dipolar.core.unmixing import Curve, Unmixed

from . import colour, style
from .ground import backdrop
from .panels import DIVERGING, SEQUENTIAL
from .wording import number

RASTER = 900
"""Points along the longer side of a map."""
HALF_TILE = 0.62
"""A site colours all up to so much of a lattice vector from it: neighbours touch, even where the lattice bends."""
MARGIN_MM, HEADING_MM, SECTION_MM = 2.0, 9.0, 6.5
WIDE = 2.2
"""Images that are wider than so many times their height get maps below each other."""
CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F3C8D")
"""Colours of clusters, the first ones of Okabe and Ito (2008)."""
TITLE_LETTERS = 32
"""Letters in a line above a curve."""
Draw = Callable[[Figure, float], None]
Beside = tuple[float, Callable[[Figure, float, float], None]]
"""Width in mm, and what draws into a figure from so many mm from its left and its upper edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of a sheet, drawn from its top edge down."""

    title: str
    """What is shown; a letter is put before it. Empty: no line above."""
    tall_mm: float
    """Its height, without the line above."""
    draw: Draw
    """Draws into the figure, from so many mm below its upper edge."""


def sheet(sections: Sequence[Section], *, title: str, name: str) -> Figure:
    """Return one figure of sections below each other."""
    heads = [SECTION_MM if section.title else 0.0 for section in sections]
    tall = HEADING_MM + sum(head + section.tall_mm for head, section in zip(heads, sections, strict=True)) + 2.0
    drawn = style.figure(style.TWO_COLUMNS_MM, tall)
    style.heading(drawn, title, name)
    top, letters = HEADING_MM, iter("abcdefgh")
    for head, section in zip(heads, sections, strict=True):
        if section.title:
            text_mm(drawn, (MARGIN_MM, top), next(letters), weight="bold", size=8.0)
            text_mm(drawn, (MARGIN_MM + 4, top + 0.3), section.title, size=7.0)
        section.draw(drawn, top + head)
        top += head + section.tall_mm
    return drawn


def text_mm(
    drawn: Figure,
    at: tuple[float, float],
    words: str,
    *,
    size: float = 6.5,
    weight: str = "normal",
    ink: str = style.INK,
    across: str = "left",
) -> None:
    """Write words at (x, y) in mm from the upper-left corner."""
    width, height = (float(inches) / style.MM for inches in drawn.get_size_inches())
    drawn.text(at[0] / width, 1 - at[1] / height, words, va="top", ha=across, size=size, weight=weight, color=ink,
               linespacing=1.35)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tiles:
    """Which site covers each point of a raster over the image: what all maps of a sheet share."""

    shape: tuple[int, int]
    """Rows and columns of the image."""
    grey: Float[np.ndarray, "y x"]
    """The image in 0..1, averaged in blocks."""
    block: int
    """Edge in px of those blocks."""
    labels: Int32[np.ndarray, "rows cols"]
    """Row of the site, -1 where none is near."""

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.shape[1] / self.shape[0]


def tiles_of(unmixed: Unmixed, *, longest: int = RASTER) -> Tiles:
    """Return the tiles of a lattice: every point belongs to the nearest site, in steps of the lattice."""
    shape = (unmixed.image.data.shape[0], unmixed.image.data.shape[1])
    grey, block = backdrop(unmixed.image, longest=longest)
    step = max(shape) / longest
    rows, cols = (max(1, round(size / step)) for size in shape)
    y, x = np.meshgrid((np.arange(rows) + 0.5) * step - 0.5, (np.arange(cols) + 0.5) * step - 0.5, indexing="ij")
    labels = np.full(rows * cols, -1, dtype=np.int32)
    if len(unmixed.site) and abs(np.linalg.det(unmixed.lattice_px)) > 0:
        to_steps = np.linalg.inv(unmixed.lattice_px)
        tree = cKDTree(unmixed.positions_px @ to_steps)
        points = np.stack([y.ravel(), x.ravel()], axis=1) @ to_steps
        _, near = tree.query(points, p=np.inf, distance_upper_bound=HALF_TILE)
        labels = np.where(near < len(unmixed.site), near, -1).astype(np.int32)
    return Tiles(shape=shape, grey=grey, block=block, labels=labels.reshape(rows, cols))


def draw_map(axes: Axes, tiles: Tiles, colours: Float[np.ndarray, "patch 3"], *, title: str = "") -> None:
    """Fill the tile of every site with its sRGB colour, over the image."""
    grey = 0.35 + 0.65 * tiles.grey
    height, width = tiles.shape
    under = (-0.5, grey.shape[1] * tiles.block - 0.5, grey.shape[0] * tiles.block - 0.5, -0.5)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=under, interpolation="auto", rasterized=True)
    rgba = np.zeros((len(colours) + 1, 4), dtype=np.float32)  # the last one, for no site, is clear
    rgba[:-1, :3], rgba[:-1, 3] = colours, 1.0
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(rgba[tiles.labels], extent=extent, interpolation="nearest", rasterized=True, zorder=1.5)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    style.bare(axes)
    axes.set_title(title, pad=2.5)


def value_colours(
    values: Float[np.ndarray, " patch"], *, diverging: bool
) -> tuple[Float[np.ndarray, "patch 3"], Normalize, Colormap]:
    """Return colours of values, with their norm and map; unknown is grey."""
    known = values[np.isfinite(values)]
    high = float(np.percentile(np.abs(known), 98)) if diverging and len(known) else 1.0
    low = -high
    if not diverging and len(known):
        low, high = (float(part) for part in np.percentile(known, [1, 99]))
        low = min(low, 0.0) if low < 0.2 * high else low
    if not high > low:
        low, high = low - 1.0, high + 1.0
    norm, shades = Normalize(low, high), DIVERGING if diverging else SEQUENTIAL
    there = np.isfinite(values)
    rgb = shades(norm(np.where(there, values, low)))[:, :3]
    return np.where(there[:, None], rgb, np.array(colour.UNKNOWN)), norm, shades


def draw_values(
    drawn: Figure,
    place_mm: tuple[float, float, float, float],
    tiles: Tiles,
    values: Float[np.ndarray, " patch"],
    *,
    title: str,
    diverging: bool = True,
) -> Axes:
    """Draw a map of one value per site at (left, top, width, height) in mm, its colour bar to the right."""
    left, top, width, height = place_mm
    axes = style.axes_mm(drawn, left, top, width, height)
    colours, norm, shades = value_colours(values, diverging=diverging)
    draw_map(axes, tiles, colours, title=title)
    bar_axes = style.axes_mm(drawn, left + width + 0.8, top, 1.4, height)
    bar = drawn.colorbar(ScalarMappable(norm=norm, cmap=shades), cax=bar_axes)
    bar.outline.set_linewidth(0.3)
    bar.ax.yaxis.set_major_locator(MaxNLocator(3 if height < 20 else 4))
    bar.ax.tick_params(pad=1.0, labelsize=6.0, length=1.5)
    return axes


def category_colours(groups: Int32[np.ndarray, " patch"]) -> Float[np.ndarray, "patch 3"]:
    """Return the colour of each patch's group; grey where it has none (-1)."""
    most = int(groups.max(initial=0)) + 1
    palette = np.array([rgb_of(category(place)) for place in range(most)])
    return np.where((groups >= 0)[:, None], palette[np.clip(groups, 0, most - 1)], np.array(colour.UNKNOWN))


def category(place: int) -> str:
    """Return the colour of a group as matplotlib writes it."""
    if place < len(CATEGORIES):
        return CATEGORIES[place]
    more: list[str] = colorcet.palette["glasbey_light"]
    return more[(place - len(CATEGORIES)) % len(more)]


def rgb_of(code: str) -> tuple[float, float, float]:
    """Return red, green and blue in 0..1 of #RRGGBB."""
    red, green, blue = (int(code[place : place + 2], 16) / 255.0 for place in (1, 3, 5))
    return red, green, blue


def montage(
    picture: Float32[np.ndarray, "channel y x"] | Float[np.ndarray, "channel y x"],
) -> Float[np.ndarray, "rows cols"]:
    """Return the channels of a patch as one picture: one alone, else two beside each other, row by row; nan between."""
    count, tall, wide = picture.shape
    if count == 1:
        return picture[0].astype(np.float64)
    gap = max(1, tall // 16)
    rows = -(-count // 2)
    whole = np.full((rows * tall + (rows - 1) * gap, 2 * wide + gap), np.nan)
    for place in range(count):
        y, x = place // 2 * (tall + gap), place % 2 * (wide + gap)
        whole[y : y + tall, x : x + wide] = picture[place]
    return whole


def draw_patch(
    axes: Axes,
    picture: Float32[np.ndarray, "channel y x"] | Float[np.ndarray, "channel y x"],
    *,
    signed: bool,
    title: str = "",
    reach: float | None = None,
    low: float | None = None,
) -> None:
    """Draw a patch: signed in two colours, white at zero; else in grey from `low` (its least) to `reach` (its most)."""
    whole = montage(picture)
    axes.set_facecolor("white")
    if signed:
        most = reach if reach is not None else float(np.nanmax(np.abs(whole))) or 1.0
        axes.imshow(whole, cmap=DIVERGING, vmin=-most, vmax=most, interpolation="nearest")
    else:
        least = float(np.nanmin(whole)) if low is None else low
        most = float(np.nanmax(whole)) if reach is None else reach
        axes.imshow(whole, cmap="gray", vmin=least, vmax=most if most > least else least + 1, interpolation="nearest")
    style.bare(axes)
    axes.set_title(title, size=6.5, pad=1.8)


def draw_curve(axes: Axes, curve: Curve) -> None:
    """Draw what was tried against what came out, the choice marked."""
    shades = (style.COLOUR_B, style.COLOUR_A, *CATEGORIES[2:])
    for place, (line, name) in enumerate(zip(curve.y, curve.lines, strict=True)):
        mark = "o" if len(curve.x) <= 30 else ""
        axes.plot(
            curve.x, line, color=shades[place % len(shades)], marker=mark, ms=2.2, mew=0, label=name.replace("_", " ")
        )
    if curve.chosen is not None:
        axes.axvline(curve.chosen, color="0.3", lw=0.7, ls=(0, (3, 2)), label=f"taken: {number(curve.chosen)}")
    axes.set_title("\n".join(textwrap.wrap(curve.title, TITLE_LETTERS)), pad=3, linespacing=1.15)
    axes.set_xlabel(curve.x_label, labelpad=1.5)
    axes.set_ylabel(curve.y_label, labelpad=1.5)
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))
    axes.yaxis.get_offset_text().set_fontsize(6.0)
    axes.locator_params(nbins=5)
    if np.all(curve.x == np.round(curve.x)):
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if len(curve.lines) > 1 or curve.chosen is not None:
        axes.legend(loc="best", handlelength=1.3, labelspacing=0.25, borderaxespad=0.2)
    style.open_frame(axes)


def draw_points(
    axes: Axes, points: Float[np.ndarray, "patch 2"], colours: Float[np.ndarray, "patch 3"], *, title: str
) -> None:
    """Draw patches as points of two coordinates, in an order that hides no group behind another."""
    there = np.flatnonzero(np.isfinite(points).all(axis=1))
    order = there[np.argsort((there * 7919) % 104729, kind="stable")]
    size = float(np.clip(2500.0 / max(len(order), 1), 0.5, 9.0))
    axes.scatter(points[order, 0], points[order, 1], c=colours[order], s=size, linewidths=0, rasterized=True)
    axes.set_title(title, pad=2.5)
    axes.tick_params(labelsize=6.0, pad=1.0, length=1.5)
    axes.locator_params(nbins=4)
    style.open_frame(axes)


def curve_section(curves: Sequence[Curve], *, title: str, more: Sequence[Beside] = ()) -> Section:
    """Return a section of curves beside each other, after them anything else of its own width in mm."""
    wide, tall = 47.0, 34.0

    def draw(drawn: Figure, top: float) -> None:
        left = MARGIN_MM
        for curve in curves:
            draw_curve(style.axes_mm(drawn, left + 11, top + 7, wide - 4, tall), curve)
            left += wide + 13
        for width, one in more:
            one(drawn, left, top)
            left += width

    return Section(title=title, tall_mm=tall + 16, draw=draw)
