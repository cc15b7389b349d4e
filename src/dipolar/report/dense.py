"""What a network says at every point of the image: displacement, its sigma, and where not to believe it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke

from dipolar.core.learning import Prediction
from dipolar.core.nouns import Image
from dipolar.core.units import magnitude

from . import colour, scene, style
from .displacement import draw_wheel
from .ground import Ground, backdrop, show_image
from .panels import SEQUENTIAL, limits, panel_size
from .study_figures import short_name
from .wording import number

Place = tuple[float, float, float, float]
"""Left, top, width and height in mm from the upper-left corner of the figure."""
LONGEST = 1200
"""Points along the longer side of the image behind."""
COVER = 0.85
"""How much of the image the colours hide: rows of atoms stay visible."""
TOP_MM, GAP_MM, SIDE_MM = 13.0, 4.0, 42.0
"""Room above the maps, between them, and for the wheel and the colour bars."""
OUTLINE: list[AbstractPathEffect] = [withStroke(linewidth=1.9, foreground="white")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where everything stands, in mm; wide images have their maps one below the other, with the keys on the right."""

    stacked: bool
    maps: tuple[Place, Place, Place]
    bars: tuple[Place, Place]
    wheel: tuple[float, float]
    words: tuple[float, float]
    tall: float


@style.styled
def dense_figure(image: Image, prediction: Prediction, *, pixel_size_pm: float | None = None) -> Figure:
    """Return the dense displacement in the colours of the wheel, its sigma, and how unfamiliar the image is.

    Regions that are unlike the training images, with a score above 1, are outlined on all three maps.

    Parameters
    ----------
    image
        The image that the network saw.
    prediction
        What it said.
    pixel_size_pm
        Calibrated pixel size; None leaves lengths in px.
    """
    spacing_px, prediction = prediction.grid_px[2], _thinned(prediction)
    title, known = "Displacement at every point", np.isfinite(prediction.displacement_px).all(axis=-1)
    if not known.any():
        return style.message("the network said nothing", title=title, name=image.name)
    unit = scene.Unit(scale=1.0, name="px") if pixel_size_pm is None else scene.Unit(scale=pixel_size_pm, name="pm")
    under, place = _ground(image), _layout(image.data.shape[1] / image.data.shape[0])
    drawn = style.figure(style.TWO_COLUMNS_MM, place.tall)
    style.heading(drawn, title, image.name)
    radius = dense_radius(prediction, unit.scale)
    vectors = unit.scale * prediction.displacement_px.astype(np.float64)
    shown = colour.displacement_colours(vectors, full_radius=radius)
    first = _draw_map(drawn, place.maps[0], under, prediction, shown, known)
    first.set_title(f"displacement, by {short_name(prediction.model, 22)}")
    style.scale_bar(first, pixel_size_pm, below=True)
    sigma = unit.scale * np.sqrt(np.mean(prediction.sigma_px.astype(np.float64) ** 2, axis=-1))
    score = prediction.unfamiliar.astype(np.float64)
    most = np.percentile(score[np.isfinite(score)], 99.5) if np.isfinite(score).any() else 0.0
    reach = Normalize(0.0, max(1.5, float(most)))
    for values, norm, words, at, bar in (
        (sigma, limits(sigma[np.isfinite(sigma)], centre=None), f"sigma per component ({unit.name})", 1, 0),
        (score, reach, "unfamiliarity (above 1: flagged)", 2, 1),
    ):
        fill = SEQUENTIAL(norm(np.nan_to_num(values)))[..., :3]
        _draw_map(drawn, place.maps[at], under, prediction, fill, np.isfinite(values)).set_title(words)
        if np.isfinite(values).any():
            _draw_bar(drawn, place.bars[bar], norm, upright=place.stacked)
    draw_wheel(style.axes_mm(drawn, *place.wheel, 20, 20), radius=radius, unit=unit.name)
    _draw_words(drawn, place.words, prediction, vectors, sigma, unit.name, spacing_px)
    return drawn


def dense_radius(prediction: Prediction, scale: float) -> float:
    """Return the displacement of the full hue: as `full_radius` of cells, from the familiar points of the grid."""
    familiar = np.isfinite(prediction.displacement_px).all(axis=-1) & ~(prediction.unfamiliar > 1.0)
    use = familiar if familiar.any() else np.isfinite(prediction.displacement_px).all(axis=-1)
    lengths = magnitude(prediction.displacement_px[use].astype(np.float64))
    noise = 4 * scene.median(prediction.sigma_px[use].astype(np.float64).ravel())
    return colour.nice_ceiling(scale * float(np.nanmax([np.percentile(lengths, 95), noise])))


def _thinned(prediction: Prediction) -> Prediction:
    """Return the prediction on as many points of its grid as can be seen."""
    every = -(-max(prediction.unfamiliar.shape) // LONGEST)
    y, x, step = prediction.grid_px
    named = {
        name: getattr(prediction, name)[::every, ::every] for name in ("displacement_px", "sigma_px", "unfamiliar")
    }
    return replace(prediction, grid_px=(y, x, every * step), **named)


def _layout(aspect: float) -> _Layout:
    stacked = aspect > 2.2
    room = style.TWO_COLUMNS_MM - 4 - SIDE_MM if stacked else (style.TWO_COLUMNS_MM - 4 - 2 * GAP_MM) / 3
    width, height = panel_size(aspect, widest=room, tallest=90.0)
    if stacked:
        right, second = 2 + width + 5, TOP_MM + max(height + 12, 40.0)
        tops = (TOP_MM, second, second + height + 8)
        one, two, three = ((2.0, top, width, height) for top in tops)
        bars = ((right, tops[1], 1.8, height), (right, tops[2], 1.8, height))
        at = (right + 6, TOP_MM + 4), (2.0, tops[2] + height + 4)
        return _Layout(stacked=True, maps=(one, two, three), bars=bars, wheel=at[0], words=at[1], tall=at[1][1] + 14)
    lefts, low = [2 + k * (room + GAP_MM) for k in range(3)], TOP_MM + height + 3
    one, two, three = ((left, TOP_MM, width, height) for left in lefts)
    bars = ((lefts[1], low, width, 1.8), (lefts[2], low, width, 1.8))
    return _Layout(
        stacked=False,
        maps=(one, two, three),
        bars=bars,
        wheel=(10.0, low + 10),
        words=(lefts[1], low + 12),
        tall=low + 40,
    )


def _ground(image: Image) -> Ground:
    """Return the image alone, without cells, for maps to be drawn on."""
    grey, block = backdrop(image, longest=LONGEST)
    none = np.zeros(0, dtype=np.int32)
    height, width = image.data.shape
    return Ground(shape=(height, width), grey=grey, block=block, quads=np.zeros((0, 4, 2)), single=none, raster=None)


def _draw_map(
    drawn: Figure,
    place: Place,
    under: Ground,
    prediction: Prediction,
    colours: Float[np.ndarray, "y x 3"],
    known: Bool[np.ndarray, "y x"],
) -> Axes:
    """Draw colours of the grid over the image, and lines around what is unlike the training images."""
    axes = style.axes_mm(drawn, *place)
    show_image(axes, under, dim=0.4)
    y, x, step = prediction.grid_px
    rows, columns = known.shape
    extent = (x - 0.5 * step, x + (columns - 0.5) * step, y + (rows - 0.5) * step, y - 0.5 * step)
    rgba = np.dstack([colours, COVER * known])
    axes.imshow(rgba, extent=extent, interpolation="auto", rasterized=True, zorder=1.5)
    axes.set(xlim=(-0.5, under.shape[1] - 0.5), ylim=(under.shape[0] - 0.5, -0.5))
    score = np.ma.masked_invalid(prediction.unfamiliar)
    if min(score.shape) > 1 and score.count() and score.min() < 1.0 < score.max():
        lines = axes.contour(
            x + step * np.arange(columns), y + step * np.arange(rows), score, levels=[1.0], colors="0.05",
            linewidths=0.9, zorder=3,
        )  # fmt: skip
        lines.set_path_effects(OUTLINE)
    style.bare(axes)
    return axes


def _draw_bar(drawn: Figure, place: Place, norm: Normalize, *, upright: bool) -> None:
    bar = drawn.colorbar(
        ScalarMappable(norm=norm, cmap=SEQUENTIAL),
        cax=style.axes_mm(drawn, *place),
        orientation="vertical" if upright else "horizontal",
    )
    bar.outline.set_linewidth(0.4)
    bar.ax.locator_params(nbins=5)


def _draw_words(
    drawn: Figure,
    at: tuple[float, float],
    prediction: Prediction,
    vectors: Float[np.ndarray, "y x 2"],
    sigma: Float[np.ndarray, "y x"],
    unit: str,
    spacing_px: float,
) -> None:
    """Write the medians and the share of the image that is unfamiliar, with the line that surrounds it."""
    known = np.isfinite(vectors).all(axis=-1)
    middle = scene.median(sigma[known])
    of_sigma = f"{number(middle, 2)} {unit} per component" if np.isfinite(middle) else "unknown"
    words = (
        f"median length {number(scene.median(magnitude(vectors[known])), 3)} {unit}, median σ {of_sigma}\n"
        f"one value every {number(spacing_px, 3)} px"
    )
    width, height = (float(inches) / style.MM for inches in drawn.get_size_inches())
    drawn.text(at[0] / width, 1 - at[1] / height, words, va="top", size=6.5, color=style.QUIET, linespacing=1.35)
    score = prediction.unfamiliar[known & np.isfinite(prediction.unfamiliar)]
    flagged = 100 * float(np.mean(score > 1.0)) if score.size else 0.0
    told = f"{number(flagged, 2)} % of the points" if flagged else "nothing" if score.size else "unknown"
    line = Line2D([], [], color="0.05", lw=0.9, label=f"unlike the training images: {told}")
    where = (at[0] / width, 1 - (at[1] + 7.5) / height)
    drawn.legend(
        handles=[line], loc="upper left", bbox_to_anchor=where, borderaxespad=0.0, borderpad=0.0, handlelength=1.6
    )
