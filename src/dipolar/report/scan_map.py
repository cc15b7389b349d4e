"""The map of a scan: classes with their walls, how sure they are, and mixtures; beside it what needs no classifier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dipolar.core.scanning import ScanMap, ScanResult

from . import colour, style
from .panels import DIVERGING, SEQUENTIAL, limits
from .scan_colours import label_colours, mixture_colours
from .scan_parts import (
    HEAD_MM,
    MARGIN_MM,
    TITLE_MM,
    WALL_INK,
    beside,
    draw_answers,
    draw_flags,
    draw_walls,
    flags_everywhere,
    key_handles,
    layout_of,
    panel,
    show,
    show_values,
    step_bar,
)
from .unmix_parts import text_mm
from .wording import number

CENTRE = ("centre of mass y", "centre of mass x")
"""Two virtual images that are drawn as one."""
GREYS = colormaps["gray"]
SIGNED = ("difference", "centre of mass", "−")
"""Virtual images whose name holds one of these words have a sign."""
SURE = (0.5, 0.9, 0.99, 0.999)
"""Probabilities that are written at their colours; what is surer than the last one looks alike."""
Draw = tuple[str, Callable[[Axes], None]]
"""Title, and what draws into a panel."""


@style.styled
def scan_figure(result: ScanResult) -> Figure:
    """Return the map: classes and walls, confidence with the labelled positions, mixtures; conventional images below.

    Panels are as large as the page lets them be, all at the same scale.
    """
    scan_map = result.map
    shape = (scan_map.flags.shape[0], scan_map.flags.shape[1])
    if not (scan_map.label >= 0).any():
        words = "no pattern of this scan could be classified"
        return style.message(words, title="Domains", name=scan_map.name)
    learned, virtual = _learned(result), _virtual(scan_map)
    warnings = flags_everywhere(scan_map)
    handles = _handles(result)
    top = 7.5 + 3.6 * len(warnings)
    layout = layout_of(shape, len(learned), len(virtual), top=top, key_lines=len(handles))
    drawn = style.figure(style.TWO_COLUMNS_MM, layout.tall)
    style.heading(drawn, "Domains", scan_map.name)
    for line, words in enumerate(warnings):
        text_mm(drawn, (MARGIN_MM, 7.5 + 3.6 * line), words, ink=style.COLOUR_A)
    size = (layout.width, layout.height)
    for letter, words, maps, places in (
        ("a", "what the classifier says", learned, layout.first),
        ("b", "what needs no classifier", virtual, layout.second),
    ):
        for nth, ((title, draw), place) in enumerate(zip(maps, places, strict=True)):
            if nth == 0:
                text_mm(drawn, (place[0], place[1] - TITLE_MM - HEAD_MM + 1.0), letter, weight="bold", size=8.0)
                text_mm(drawn, (place[0] + 4.0, place[1] - TITLE_MM - HEAD_MM + 1.3), words, size=7.0)
            axes = panel(drawn, place, size, shape, title=title)
            draw(axes)
            if nth == 0 and letter == "a":
                step_bar(axes, scan_map.step_nm)
    wide, tall = (float(inches) / style.MM for inches in drawn.get_size_inches())
    drawn.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(layout.key[0] / wide, 1 - layout.key[1] / tall),
        ncols=layout.key_columns, borderaxespad=0.0, columnspacing=1.6, handlelength=1.8, labelspacing=0.45,
    )  # fmt: skip
    return drawn


def _learned(result: ScanResult) -> list[Draw]:
    scan_map, walls = result.map, result.domains.walls
    state = np.append(result.domains.state, -1)[result.domains.domain].astype(np.int64)

    def classes(axes: Axes) -> None:
        show(axes, label_colours(state, scan_map.names))
        draw_walls(axes, walls)
        draw_flags(axes, scan_map)

    def confidence(axes: Axes) -> None:
        most = scan_map.probability.max(axis=2)
        show_values(axes, most, shades=SEQUENTIAL, norm=doubt_norm(len(scan_map.names)), ticks=SURE)
        if result.labels is not None:
            draw_answers(axes, result.labels, scan_map)

    def mixture(axes: Axes) -> None:
        share = scan_map.probability if scan_map.mixture is None else scan_map.mixture
        show(axes, mixture_colours(share, scan_map.names))
        if len(scan_map.names) == 3:
            _triangle(beside(axes, 8.5, 7.5), scan_map.names)

    answered = result.labels is not None and len(result.labels.label) > 0
    sure = "probability, and labels" if answered else "probability"
    return [("classes and walls", classes), (sure, confidence), ("mixtures", mixture)]


def doubt_norm(classes: int) -> FuncNorm:
    """Return the scale of probabilities of the best class: even in the logarithm of doubt, 1 - p.

    Of most patterns a classifier is sure, and evenly in p nearly all of a map would have one colour.
    """
    least = min(1.0 / max(classes, 2), SURE[0])

    def doubt(p: np.ndarray) -> np.ndarray:
        return -np.log10(1.0 - np.clip(p, 0.0, 1.0 - 1e-6))

    def back(y: np.ndarray) -> np.ndarray:
        return 1.0 - 10.0 ** -np.asarray(y)

    return FuncNorm((doubt, back), vmin=least, vmax=SURE[-1], clip=True)


def _virtual(scan_map: ScanMap) -> list[Draw]:
    """Return what draws each virtual image; both components of a centre of mass are one map of directions."""
    both = all(name in scan_map.virtual for name in CENTRE)
    found: list[Draw] = []
    for name, values in scan_map.virtual.items():
        if name.endswith(" sigma") or (both and name == CENTRE[1]):
            continue
        if both and name == CENTRE[0]:
            found.append(("centre of mass", _centre(scan_map)))
        else:
            found.append((name, _image(name, values)))
    return found


def _image(name: str, values: Float32[np.ndarray, "y x"]) -> Callable[[Axes], None]:
    known = values[np.isfinite(values)].astype(np.float64)
    signed = any(word in name for word in SIGNED)
    norm = limits(known, centre=0.0 if signed else None)
    # of "horizontal − vertical", high values are blue as the class horizontal is
    shades = GREYS if not signed else DIVERGING.reversed() if "−" in name else DIVERGING

    def draw(axes: Axes) -> None:
        show_values(axes, values, shades=shades, norm=norm)

    return draw


def _centre(scan_map: ScanMap) -> Callable[[Axes], None]:
    """Return what draws the centre of mass against its mean as colours, with their wheel."""
    vectors = np.stack([scan_map.virtual[name] for name in CENTRE], axis=2).astype(np.float64)
    known = np.isfinite(vectors).all(axis=2)
    middle = vectors[known].mean(axis=0) if known.any() else np.zeros(2)
    length = np.hypot(*(vectors[known] - middle).T)
    radius = colour.nice_ceiling(float(np.percentile(length, 95)) if length.size else 0.0)

    def draw(axes: Axes) -> None:
        show(axes, colour.displacement_colours(vectors - middle, full_radius=radius))
        wheel = beside(axes, 6.0, 6.0)
        wheel.imshow(colour.wheel(), extent=(-1, 1, -1, 1), interpolation="bilinear")
        wheel.axis("off")
        wheel.text(0, -1.4, f"{number(radius, 2)}\npx", size=5.5, ha="center", va="top")

    return draw


def _handles(result: ScanResult) -> list[Patch | Line2D]:
    """Return what colours, lines and hatches mean, with the share of every class."""
    domains = result.domains
    shares = [
        f"({100 * share:.1f} ± {100 * sigma:.1f} %)" if np.isfinite(share) else ""
        for share, sigma in zip(domains.fraction, domains.fraction_sigma, strict=True)
    ]
    handles = key_handles(result.map, shares)
    if any(np.isfinite(wall.width_sigma) for wall in domains.walls):
        handles.append(Patch(facecolor="0.72", edgecolor=WALL_INK, lw=0.7, label="wall, grey as wide as it is"))
    if any(not np.isfinite(wall.width_sigma) for wall in domains.walls):
        handles.append(Line2D([], [], color=WALL_INK, lw=0.7, ls=(0, (2.2, 1.0)), label="wall, width not resolved"))
    if result.labels is not None and len(result.labels.label):
        handles.append(Line2D([], [], ls="", marker="o", ms=3, mfc="white", mec="black", mew=0.4, label="labelled"))
    return handles


def _triangle(axes: Axes, names: tuple[str, ...]) -> None:
    """Draw the colours of all mixtures of three classes."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    x, y = np.meshgrid(np.linspace(0, 1, 120), np.linspace(0, np.sqrt(0.75), 104))
    to_share = np.linalg.inv(np.vstack([corners.T, np.ones(3)]))
    share = np.einsum("ij,jyx->yxi", to_share, np.stack([x, y, np.ones_like(x)]))
    rgb = mixture_colours(np.clip(share, 0.0, None), names)
    rgba = np.concatenate([rgb, (share.min(axis=2) >= -1e-3)[..., None]], axis=2)
    axes.imshow(rgba, extent=(0, 1, 0, np.sqrt(0.75)), origin="lower", interpolation="bilinear")
    axes.plot(*corners[[0, 1, 2, 0]].T, color="0.4", lw=0.4, clip_on=False)
    axes.axis("off")
