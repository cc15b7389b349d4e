"""How every figure looks: sizes in millimetres, small sans-serif type, few lines, and files that come out the same."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib_scalebar.scalebar import ScaleBar

MM = 1 / 25.4
"""Inches per millimetre."""
BAR_MM = 0.6
"""Thickness of scale bars."""
ONE_COLUMN_MM = 89.0
TWO_COLUMNS_MM = 183.0
DPI = 200
FORMATS = ("png", "svg", "pdf")

COLOUR_A = "#D55E00"
COLOUR_B = "#0072B2"
COLOUR_FLAG = "#F0E442"
INK = "0.13"
QUIET = "0.40"
"""Vermillion, blue and yellow of Okabe and Ito (2008), told apart by people with any colour vision; and greys."""

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.titleweight": "normal",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.0,
    "axes.linewidth": 0.5,
    "axes.edgecolor": "0.3",
    "axes.labelcolor": INK,
    "axes.titlepad": 4.0,
    "text.color": INK,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 0.9,
    "hatch.linewidth": 0.4,
    "hatch.color": "0.45",
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "dipolar",
    "pdf.fonttype": 42,
    "axes.unicode_minus": True,
    "text.parse_math": False,  # a file name may hold dollar signs
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Return the figure function `draw`, run with the style above and without touching the caller's."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return drawn


def figure(width_mm: float | int, height_mm: float | int, *, layout: str | None = None) -> Figure:
    """Return an empty figure of that size on the Agg canvas; `layout` is one of matplotlib's layout engines."""
    drawn = Figure(figsize=(width_mm * MM, height_mm * MM), layout=layout)  # type: ignore[arg-type]
    FigureCanvasAgg(drawn)
    return drawn


def axes_mm(drawn: Figure, left: float | int, top: float | int, width: float | int, height: float | int) -> Axes:
    """Return new axes placed in millimetres from the upper-left corner of the figure."""
    full_width, full_height = (float(inches) / MM for inches in drawn.get_size_inches())
    return drawn.add_axes(
        (left / full_width, 1 - (top + height) / full_height, width / full_width, height / full_height)
    )


def heading(drawn: Figure, what: str, name: str) -> None:
    """Write "what · name" along the upper edge, the name cut in its middle where it would not fit."""
    width, height = (float(inches) / MM for inches in drawn.get_size_inches())
    room = max(8, int((width - 4) / 1.75) - len(what) - 3)
    name = drawable(name)
    if len(name) > room:
        name = name[: room // 2] + "…" + name[len(name) - (room - room // 2 - 1) :]
    words = f"{what} · {name}" if name else what
    drawn.text(2 / width, 1 - 2.2 / height, words, size=8.5, va="top")


def drawable(name: str) -> str:
    """Return the name with whatever the figures' font cannot draw replaced by question marks."""
    glyphs = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(letter if letter.isprintable() and ord(letter) in glyphs else "?" for letter in name)


def message(text: str, *, title: str, name: str) -> Figure:
    """Return a figure that holds nothing but its title and one sentence."""
    drawn = figure(ONE_COLUMN_MM, 40)
    heading(drawn, title, name)
    drawn.text(0.5, 0.45, text, size=8, ha="center", va="center", color=QUIET)
    return drawn


def bare(axes: Axes) -> None:
    """Take ticks away and keep a hairline frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
        spine.set_color("0.5")


def open_frame(axes: Axes) -> None:
    """Keep only the left and the lower line of the frame."""
    axes.spines[["top", "right"]].set_visible(False)


def scale_bar(axes: Axes, pixel_size_pm: float | None, *, below: bool = False) -> None:
    """Add a scale bar to axes in image pixels: in nm where the pixel size is known, in px otherwise.

    It stands in the lower left corner, or `below` the axes, where it hides nothing.
    """
    axes.apply_aspect()
    height_mm = axes.get_position().height * axes.figure.get_figheight() / MM  # type: ignore[union-attr]
    options: dict[str, Any] = {
        "location": "lower left",
        "box_color": "white",
        "box_alpha": 0.85,
        "color": "0.1",
        "width_fraction": BAR_MM / max(height_mm, 1.0),
        "border_pad": 0.6,
        "pad": 0.35,
        "sep": 2,
        "font_properties": {"size": 6.5},
    }
    if below:
        options |= {"location": "upper left", "bbox_to_anchor": (0.0, 0.0), "bbox_transform": axes.transAxes}
        options |= {"scale_loc": "right", "border_pad": 0.5, "pad": 0.0, "box_alpha": 0.0}
    left, right = sorted(axes.get_xlim())
    per_px, unit = (1.0, "px") if pixel_size_pm is None else (pixel_size_pm / 1000.0, "nm")
    options |= {"fixed_value": round_length(0.25 * (right - left) * per_px), "fixed_units": unit}
    if pixel_size_pm is None:
        options["dimension"] = "pixel-length"
    axes.add_artist(ScaleBar(per_px, unit, **options))


def round_length(longest: float) -> float | int:
    """Return the longest of 1, 2, 5, 10, ... that fits into `longest`."""
    power = 10.0 ** math.floor(math.log10(longest))
    length = max(step * power for step in (1.0, 2.0, 5.0) if step * power <= longest * (1 + 1e-9))
    return int(length) if length >= 1 else length


def encode(drawn: Figure, file_format: str) -> bytes:
    """Return the figure as the bytes of a PNG, SVG or PDF file, the same bytes every time."""
    stamps: dict[str, dict[str, Any]] = {
        "png": {"Software": "dipolar"},
        "svg": {"Date": None, "Creator": "dipolar"},
        "pdf": {"CreationDate": None, "Creator": "dipolar"},
    }
    buffer = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        drawn.savefig(buffer, format=file_format, dpi=DPI, metadata=stamps[file_format])
    return buffer.getvalue()
