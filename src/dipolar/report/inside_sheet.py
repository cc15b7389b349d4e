"""Inside a network: what its layers make of an image, what they look for, and where an output looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style
from .ground import stretch
from .panels import DIVERGING
from .wording import counted

ACROSS = 8
"""Maps of one layer that are shown."""
MAP_MM, GAP_MM = 18.5, 1.2
SECTION_MM = 8.5
"""Height of the line above each part."""
NAMES_MM = 22.0
"""Room for the names of layers on the left."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inside:
    """What was found inside a network, for one image."""

    image: Float[np.ndarray, "y x"]
    """The image that it was shown."""
    maps: Mapping[str, Float[np.ndarray, "_ _ _"]] = field(default_factory=dict)
    """Name of each layer → what it makes of the image, one map per channel, of any size."""
    preferred: Mapping[str, Float[np.ndarray, "_ _ _"]] = field(default_factory=dict)
    """Name of each layer → the input that excites each of its channels most, of any size."""
    saliency: Mapping[str, Float[np.ndarray, "y x"]] = field(default_factory=dict)
    """Name of each output → its slope with respect to every pixel of the image."""


@style.styled
def inside_figure(inside: Inside, *, name: str = "") -> Figure:
    """Return one sheet: feature maps and preferred inputs, a row for each layer, and the slopes of the outputs.

    Of each layer the channels are shown whose maps vary most, in their order; the number above each is the channel's.

    Parameters
    ----------
    inside
        What was found.
    name
        Of the model, for the title.
    """
    rows = [
        *(("maps", layer) for layer in inside.maps),
        *(("preferred", layer) for layer in inside.preferred),
    ]
    parts = [part for part, there in (("maps", inside.maps), ("preferred", inside.preferred)) if there]
    step = MAP_MM + 5.0
    slopes = min(len(inside.saliency), ACROSS - 1)
    tall = 9 + SECTION_MM * len(parts) + step * len(rows) + (step + SECTION_MM if slopes else 0)
    if not rows and not slopes:
        return style.message("nothing was looked at", title="Inside the network", name=name)
    drawn = style.figure(style.TWO_COLUMNS_MM, tall)
    style.heading(drawn, "Inside the network", name)
    top = 9.0
    for part, words, layers in (
        ("a", "what each layer makes of the image", inside.maps),
        ("b", "what each layer looks for: inputs that excite its channels most", inside.preferred),
    ):
        if layers:
            _heading(drawn, top, part, words)
            top += SECTION_MM
            for layer, values in layers.items():
                _draw_layer(drawn, top, layer, values, signed=part == "a")
                top += step
    if slopes:
        _heading(drawn, top, "c", "where each output looks: slope with respect to every pixel (blue −, ochre +)")
        _draw_slopes(drawn, top + SECTION_MM, inside)
    return drawn


def _heading(drawn: Figure, top: float, letter: str, words: str) -> None:
    _text_mm(drawn, (2.0, top), letter, weight="bold", size=8.0)
    _text_mm(drawn, (6.0, top + 0.3), words, size=7.0)


def _draw_layer(
    drawn: Figure, top: float, layer: str, values: Float[np.ndarray, "channel h w"], *, signed: bool
) -> None:
    """Draw the liveliest channels of one layer in a row."""
    _text_mm(drawn, (2.0, top), _folded(layer), size=6.5)
    _text_mm(drawn, (2.0, top + 3 * (1 + _folded(layer).count("\n"))), counted(len(values), "channel"), quiet=True)
    for place, channel in enumerate(liveliest(values, most=ACROSS)):
        axes = style.axes_mm(drawn, NAMES_MM + place * (MAP_MM + GAP_MM), top, MAP_MM, MAP_MM)
        if signed:
            _show_signed(axes, values[channel])
        else:
            axes.imshow(stretch(values[channel]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        style.bare(axes)
        axes.set_title(str(channel), size=5.5, pad=1.2, color=style.QUIET)


def liveliest(values: Float[np.ndarray, "channel h w"], *, most: int) -> list[int]:
    """Return the channels whose maps vary most, in their order."""
    spread = np.nan_to_num(values.std(axis=(1, 2)))
    return sorted(np.argsort(-spread, kind="stable")[:most].tolist())


def _show_signed(axes: Axes, values: Float[np.ndarray, "h w"]) -> None:
    """Show values with white at zero and alike reach on both sides; what never goes below zero in grey instead."""
    reach = float(np.nanpercentile(np.abs(values), 99.5)) or 1.0
    if (values < 0).any():
        axes.imshow(values, cmap=DIVERGING, vmin=-reach, vmax=reach, interpolation="nearest")
    else:
        axes.imshow(values, cmap="gray", vmin=0.0, vmax=reach, interpolation="nearest")


def _draw_slopes(drawn: Figure, top: float, inside: Inside) -> None:
    axes = style.axes_mm(drawn, NAMES_MM, top, MAP_MM, MAP_MM)
    axes.imshow(stretch(inside.image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title("image", size=6.5, pad=1.5)
    style.bare(axes)
    for place, (output, slope) in enumerate(list(inside.saliency.items())[: ACROSS - 1], start=1):
        axes = style.axes_mm(drawn, NAMES_MM + place * (MAP_MM + GAP_MM), top, MAP_MM, MAP_MM)
        reach = float(np.nanpercentile(np.abs(slope), 99.8)) or 1.0
        axes.imshow(slope, cmap=DIVERGING, vmin=-reach, vmax=reach, interpolation="nearest")
        axes.set_title(output, size=6.5, pad=1.5)
        style.bare(axes)


def _folded(layer: str) -> str:
    """Return the name of a layer on lines short enough for the margin."""
    lines = [""]
    for word in style.drawable(layer).replace(".", ".\0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(word) > 14:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def _text_mm(
    drawn: Figure,
    at: tuple[float, float],
    words: str,
    *,
    size: float = 6.0,
    weight: str = "normal",
    quiet: bool = False,
) -> None:
    width, height = (float(inches) / style.MM for inches in drawn.get_size_inches())
    ink = style.QUIET if quiet else style.INK
    drawn.text(at[0] / width, 1 - at[1] / height, words, va="top", size=size, weight=weight, color=ink)
