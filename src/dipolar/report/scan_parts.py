"""What figures of mapped scans are put together from: panels over probe positions, walls, flags, answers, keys."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Colormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from dipolar.core.flags import MEANING, Flag
from dipolar.core.scanning import Labels, ScanMap, ScanWall

from . import colour, style
from .scan_colours import HATCHES, NO_CLASS, class_codes
from .wording import number

MARGIN_MM, TITLE_MM, FOOT_MM, BAR_MM, HEAD_MM = 2.0, 7.0, 3.5, 10.0, 4.0
"""Around everything, above a panel, below it for its scale bar, right of it for its colour bar, above a group."""
TALLEST_MM, LINE_MM, KEY_COLUMNS = 95.0, 3.4, 4
"""The highest panel, a line of the key, and columns of the key below everything."""
SHOWN_FLAGS = (Flag.BLANK, Flag.UNKNOWN_CLASS, Flag.OTHER_DOSE, Flag.NO_BEAM)
"""Flags that are drawn over the map; mixtures are walls, which are drawn themselves."""
WORDS = {
    Flag.BLANK: "empty pattern",
    Flag.UNKNOWN_CLASS: "unlike every class",
    Flag.OTHER_DOSE: "other dose",
    Flag.NO_BEAM: "beam not found",
}
EVERYWHERE = 0.5
"""A flag of more than this share of the positions is written above the map instead of drawn over it."""
WALL_INK = "#101010"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where two groups of panels of one size, and the key, stand: all in mm from the upper-left corner."""

    width: float
    """Of a panel."""
    height: float
    """Of a panel."""
    first: tuple[tuple[float, float], ...]
    """(left, top) of the panels of the first group."""
    second: tuple[tuple[float, float], ...]
    """(left, top) of those of the second one."""
    key: tuple[float, float]
    """(left, top) of the key."""
    key_columns: int
    """Columns of the key."""
    tall: float
    """Height of everything."""


def layout_of(shape: tuple[int, int], first: int, second: int, *, top: float, key_lines: int) -> Layout:
    """Return a layout for maps of `shape`: one row of tall ones, two columns of wide ones, rows of four otherwise.

    The key takes the place of a panel of the first group where it fits, and stands below everything otherwise.
    """
    aspect = shape[1] / shape[0]
    room = style.TWO_COLUMNS_MM - 2 * MARGIN_MM
    strip, wide = aspect < 0.45, aspect > 2.2
    columns = first + second if strip else 2 if wide else max(first + 1, 4)
    width = min(room / columns - BAR_MM, TALLEST_MM * aspect)
    step, down = width + BAR_MM, width / aspect + TITLE_MM + FOOT_MM
    start = top + HEAD_MM
    if strip:
        one, two = [(place, 0.0) for place in range(first)], [(first + place, 0.0) for place in range(second)]
    elif wide:
        one, two = [(0, float(place)) for place in range(first)], [(1, float(place)) for place in range(second)]
    else:
        more = HEAD_MM / down
        one = [(place, 0.0) for place in range(first)]
        two = [(place % columns, 1.0 + more + place // columns) for place in range(second)]
    rows = max(row for _, row in [*one, *two]) + 1.0
    free = (first, 0.0) if not strip and not wide else (0, float(first))
    key_columns = max(1, int(width / 38.0))
    fits = not strip and LINE_MM * -(-key_lines // key_columns) <= width / aspect + 4.0
    rows = max(rows, free[1] + 1.0) if fits else rows
    key = (free[0], free[1]) if fits else (0, rows)
    lines = 0 if fits else -(-key_lines // KEY_COLUMNS)

    def at(cells: list[tuple[int, float]]) -> tuple[tuple[float, float], ...]:
        return tuple((MARGIN_MM + column * step, start + TITLE_MM + row * down) for column, row in cells)

    return Layout(
        width=width,
        height=width / aspect,
        first=at(one),
        second=at(two),
        key=(MARGIN_MM + key[0] * step, start + key[1] * down + (TITLE_MM if fits else 1.0)),
        key_columns=key_columns if fits else KEY_COLUMNS,
        tall=start + rows * down + (LINE_MM * lines + 2.0 if lines else 0.0),
    )


def panel(
    drawn: Figure, place: tuple[float, float], size: tuple[float, float], shape: tuple[int, int], *, title: str
) -> Axes:
    """Return the axes of one panel: probe positions with (0, 0) in the upper left, its title above."""
    axes = style.axes_mm(drawn, *place, *size)
    axes.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
    style.bare(axes)
    axes.set_title("\n".join(textwrap.wrap(title, max(12, int((size[0] + BAR_MM) / 1.2)))), pad=2.5, size=6.5)
    return axes


def show(axes: Axes, rgb: Float[np.ndarray, "y x 3"]) -> None:
    """Fill every position with its colour."""
    height, width = rgb.shape[:2]
    axes.imshow(rgb, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest", rasterized=True)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def show_values(
    axes: Axes,
    values: Float32[np.ndarray, "y x"] | Float[np.ndarray, "y x"],
    *,
    shades: Colormap,
    norm: Normalize,
    unit: str = "",
    ticks: Sequence[float] = (),
) -> None:
    """Fill positions by their value, unknown ones grey, with a colour bar on the right, on which `ticks` may stand."""
    known = np.isfinite(values)
    low = float(norm.vmin or 0.0)
    rgb = np.where(known[..., None], shades(norm(np.where(known, values, low)))[..., :3], np.array(colour.UNKNOWN))
    show(axes, rgb)
    box = axes.get_position()
    drawn = axes.figure
    assert isinstance(drawn, Figure)
    full, tall = (float(inches) / style.MM for inches in drawn.get_size_inches())
    tall *= box.height
    bar_axes = drawn.add_axes((box.x1 + 0.8 / full, box.y0, 1.4 / full, box.height))
    bar = drawn.colorbar(ScalarMappable(norm=norm, cmap=shades), cax=bar_axes)
    bar.outline.set_linewidth(0.3)
    if len(ticks):
        bar.set_ticks(list(ticks), labels=[f"{tick:g}" for tick in ticks])
        bar.ax.minorticks_off()
    else:
        bar.ax.yaxis.set_major_locator(MaxNLocator(max(2, min(5, int(tall / 8)))))
    bar.ax.tick_params(pad=1.0, labelsize=5.5, length=1.5)
    if unit:
        bar.ax.set_title(unit, loc="left", pad=2, size=5.5)


def beside(axes: Axes, width_mm: float, height_mm: float) -> Axes:
    """Return new axes of that size to the right of others, along their upper edge."""
    box, drawn = axes.get_position(), axes.figure
    assert isinstance(drawn, Figure)
    wide, tall = (float(inches) / style.MM for inches in drawn.get_size_inches())
    return drawn.add_axes((box.x1 + 0.8 / wide, box.y1 - height_mm / tall, width_mm / wide, height_mm / tall))


def step_bar(axes: Axes, step_nm: float | None) -> None:
    """Add a scale bar below the axes; in probe steps where their distance is not known."""
    if step_nm is not None:
        style.scale_bar(axes, 1000.0 * step_nm, below=True)
        return
    left, right = axes.get_xlim()
    length = style.round_length(max(0.3 * (right - left), 1.0))
    shift = ScaledTranslation(0.0, -1.6 * style.MM, axes.figure.dpi_scale_trans)
    down, where = axes.get_ylim()[0], axes.transData + shift
    axes.plot([left, left + length], [down, down], color="0.1", lw=1.7, clip_on=False, solid_capstyle="butt",
              transform=where)  # fmt: skip
    words = f" {number(length)} probe step{'' if length == 1 else 's'}"
    axes.text(left + length, down, words, size=6.5, va="center", transform=where)


def draw_walls(axes: Axes, walls: Iterable[ScanWall]) -> None:
    """Draw walls as lines, with a band as wide as the wall where the width is told; dashed where it is a bound."""
    for wall in walls:
        points, told = wall.points, np.isfinite(wall.width_sigma)
        if told and wall.width > 0:
            axes.add_collection(PolyCollection(list(_band(wall)), facecolor=to_rgba(WALL_INK, 0.28), lw=0, zorder=3))
        axes.plot(points[:, 1], points[:, 0], color="white", lw=1.3, alpha=0.8, zorder=3.5, solid_capstyle="butt")
        line = "-" if told else (0, (2.2, 1.0))
        axes.plot(points[:, 1], points[:, 0], color=WALL_INK, lw=0.7, ls=line, zorder=4, solid_capstyle="butt")


def _band(wall: ScanWall) -> Float[np.ndarray, "quad 4 2"]:
    """Return one quadrangle (x, y) per step along the wall, half its width to either side."""
    ahead = np.gradient(wall.points, axis=0)
    if wall.closed and len(wall.points) > 3:
        ahead[0] = ahead[-1] = wall.points[1] - wall.points[-2]
    right = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
    right *= 0.5 * wall.width / np.maximum(np.linalg.norm(right, axis=1), 1e-12)[:, None]
    left, other = (wall.points - right)[:, ::-1], (wall.points + right)[:, ::-1]
    return np.stack([left[:-1], left[1:], other[1:], other[:-1]], axis=1)


def flags_shown(scan_map: ScanMap) -> list[tuple[Flag, Bool[np.ndarray, "y x"], str]]:
    """Return the flags that are met on few enough positions to be drawn over the map, where, and their hatch."""
    found: list[tuple[Flag, Bool[np.ndarray, "y x"], str]] = []
    for flag in SHOWN_FLAGS:
        there = (scan_map.flags & np.uint32(flag)) != 0
        if there.any() and np.mean(there) <= EVERYWHERE:
            found.append((flag, there, HATCHES[len(found) % len(HATCHES)]))
    return found


def flags_everywhere(scan_map: ScanMap) -> list[str]:
    """Return a sentence for every flag that more than half of the positions carry."""
    found = []
    for flag in SHOWN_FLAGS:
        share = float(np.mean((scan_map.flags & np.uint32(flag)) != 0)) if scan_map.flags.size else 0.0
        if share > EVERYWHERE:
            found.append(f"{number(100 * share, 3)} % of the positions: {MEANING[flag]}")
    return found


def draw_flags(axes: Axes, scan_map: ScanMap) -> None:
    """Hatch the positions that carry a flag: runs of positions in a row are one rectangle."""
    for _, there, hatch in flags_shown(scan_map):
        edges = np.diff(np.pad(there, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        (row, start), (_, stop) = np.nonzero(edges == 1), np.nonzero(edges == -1)
        top, left, right = row - 0.5, start - 0.5, stop - 0.5
        quads = np.stack(
            [np.stack([x, y], axis=1) for x, y in ((left, top), (right, top), (right, top + 1), (left, top + 1))],
            axis=1,
        )
        axes.add_collection(
            PolyCollection(list(quads), facecolor="none", edgecolor="0.25", hatch=hatch, lw=0, zorder=2.5)
        )
        axes.add_collection(LineCollection(list(_outline(there)), color="0.25", lw=0.35, zorder=2.6))


def _outline(there: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, "side 2 2"]:
    """Return the sides (x, y) between positions that are there and others."""
    wide = np.pad(there, 1)
    y, x = np.nonzero(wide[1:] != wide[:-1])
    flat = np.stack([np.stack([x - 1.5, y - 0.5], axis=1), np.stack([x - 0.5, y - 0.5], axis=1)], axis=1)
    y, x = np.nonzero(wide[:, 1:] != wide[:, :-1])
    upright = np.stack([np.stack([x - 0.5, y - 1.5], axis=1), np.stack([x - 0.5, y - 0.5], axis=1)], axis=1)
    return np.concatenate([flat, upright])


def draw_answers(axes: Axes, labels: Labels, scan_map: ScanMap) -> None:
    """Mark positions that people labelled, in the colour of their last answer."""
    if not len(labels.label):
        return
    codes = dict(zip(scan_map.names, class_codes(scan_map.names), strict=True))
    last = {tuple(place): answer for place, answer in zip(labels.positions.tolist(), labels.label, strict=True)}
    at = np.array(list(last))
    faces = [codes.get(labels.names[answer], "#FFFFFF") for answer in last.values()]
    size = float(np.clip(900.0 / len(at), 2.5, 9.0))
    axes.scatter(at[:, 1], at[:, 0], c=faces, s=size, edgecolors="black", linewidths=0.35, zorder=6)


def key_handles(scan_map: ScanMap, shares: Iterable[str]) -> list[Patch | Line2D]:
    """Return the key: classes with their shares, then flags."""
    handles: list[Patch | Line2D] = [
        Patch(facecolor=code, edgecolor="0.4", lw=0.4, label=f"{style.drawable(name)} {share}")
        for name, code, share in zip(scan_map.names, class_codes(scan_map.names), shares, strict=True)
    ]
    for flag, there, hatch in flags_shown(scan_map):
        words = f"{WORDS[flag]} ({number(int(there.sum()))})"
        handles.append(Patch(facecolor=NO_CLASS, edgecolor="0.25", hatch=hatch, lw=0.4, label=words))
    return handles
