"""One picture beside every trained model: how it learned, how it did on the test, whether its sigma is honest."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from dipolar.core.comparison import Reliability

from . import style
from .histogram import COUNTS
from .reliability import reliability_figure
from .training_curves import training_figure
from .wording import counted, number

SIDE_MM, TALL_MM = style.TWO_COLUMNS_MM - (style.ONE_COLUMN_MM + 20), 96.0
"""Room beside the figure of the training, and its height."""
FEW = 400
"""Cells up to which each is drawn as a point."""


@style.styled
def agreement_figure(
    predicted: Float[np.ndarray, "cell 2"], measured: Float[np.ndarray, "cell 2"], *, unit: str = "px", name: str = ""
) -> Figure:
    """Return what a network said of cells that it never saw against what is known of them, for dx and for dy.

    Parameters
    ----------
    predicted
        Displacement (dy, dx) that the network told.
    measured
        The same as it was measured, or as it is.
    unit
        Of both.
    name
        Of the model, for the title.
    """
    title = "On the test"
    if not len(measured):
        return style.message("no cell was tested", title=title, name=name)
    drawn = style.figure(SIDE_MM, TALL_MM)
    style.heading(drawn, title, name)
    both = np.concatenate([predicted, measured])
    reach = 1.05 * max(float(np.percentile(np.abs(both), 99.8)), 1e-9)
    for place, (words, axis) in enumerate((("dx", 1), ("dy", 0))):
        axes = style.axes_mm(drawn, 24, 12 + 42 * place, 33, 33)
        _draw(axes, measured[:, axis], predicted[:, axis], reach)
        rms = number(float(np.sqrt(np.mean((predicted - measured)[:, axis] ** 2))), 3)
        axes.set_title(f"{words} ({unit}): RMS error {rms} {unit}", x=-0.22)
        axes.set_ylabel("predicted", labelpad=1)
        if place == 0:
            axes.set_xticklabels([])
        else:
            axes.set_xlabel(f"measured ({counted(len(measured), 'cell')})", labelpad=2)
    return drawn


def _draw(
    axes: Axes, measured: Float[np.ndarray, " cell"], predicted: Float[np.ndarray, " cell"], reach: float
) -> None:
    axes.plot([-reach, reach], [-reach, reach], color="0.5", lw=0.6, zorder=0)
    if len(measured) <= FEW:
        axes.plot(measured, predicted, "o", ms=1.6, mew=0, color=style.COLOUR_B, alpha=0.6)
    else:
        edges = np.linspace(-reach, reach, int(np.clip(np.sqrt(len(measured)), 25, 81)) + 1)
        counts, _, _ = np.histogram2d(predicted, measured, bins=[edges, edges])
        most = max(float(counts.max()), 2.0)
        norm = LogNorm(1, most) if most > 30 else Normalize(0, most)
        axes.pcolormesh(edges, edges, np.ma.masked_equal(counts, 0), cmap=COUNTS, norm=norm, rasterized=True)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.locator_params(nbins=5)


def training_sheet(
    records: Sequence[Mapping[str, float | int | str | None]],
    *,
    predicted: Float[np.ndarray, "cell 2"] | None = None,
    measured: Float[np.ndarray, "cell 2"] | None = None,
    reliability: Mapping[str, Reliability] | None = None,
    coverage: Mapping[str, Mapping[float, float]] | None = None,
    unit: str = "px",
    name: str = "",
) -> bytes:
    """Return a PNG of everything that is to be known of a training at a glance.

    Parameters
    ----------
    records
        As for `training_figure`.
    predicted, measured
        Displacement (dy, dx) on the test; None leaves their figure out.
    reliability, coverage
        As for `reliability_figure`; None leaves it out.
    unit
        Of displacements and errors.
    name
        Of the model.
    """
    above = [training_figure(records, name=name)]
    if predicted is not None and measured is not None:
        above.append(agreement_figure(predicted, measured, unit=unit))
    rows = [above]
    if reliability is not None and coverage is not None:
        rows.append([reliability_figure(reliability, coverage, unit=unit)])
    return _together(rows)


def _together(rows: Sequence[Sequence[Figure]]) -> bytes:
    """Return rows of figures as one picture, on white."""
    pictures = [[Picture.open(io.BytesIO(style.encode(drawn, "png"))).convert("RGB") for drawn in row] for row in rows]
    wide = max(sum(one.width for one in row) for row in pictures)
    tall = sum(max(one.height for one in row) for row in pictures)
    sheet = Picture.new("RGB", (wide, tall), "white")
    y = 0
    for row in pictures:
        x = 0
        for one in row:
            sheet.paste(one, (x, y))
            x += one.width
        y += max(one.height for one in row)
    stamp, buffer = PngInfo(), io.BytesIO()
    stamp.add_text("Software", "dipolar")
    sheet.save(buffer, format="png", pnginfo=stamp, dpi=(style.DPI, style.DPI), optimize=True)
    return buffer.getvalue()
