"""The two-dimensional histogram of the displacements, as they point on the screen."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import ScalarFormatter

from dipolar.core.measurement import Measurement
from dipolar.core.units import magnitude

from . import colour, scene, style
from .wording import counted, to_place

COUNTS = ListedColormap(colormaps["Blues"](np.linspace(0.3, 1.0, 256)), name="counts")
"""Light to dark, so that empty bins can stay white."""


@style.styled
def displacement_histogram(measurement: Measurement) -> Figure:
    """Return the number of cells per bin of (dx, dy); up on the page is up on the screen, which is negative dy."""
    title, name = "Displacements", measurement.image.name
    cells, unit = measurement.cells, scene.unit_of(measurement)
    trusted = scene.trusted_cells(cells)
    if not trusted.any():
        words = "no unit cells were found" if not trusted.size else "every cell is flagged or has no displacement"
        return style.message(words, title=title, name=name)
    vectors = unit.scale * cells.displacement_px[trusted]
    reach = _reach(vectors)
    drawn = style.figure(style.ONE_COLUMN_MM, 84)
    axes = style.axes_mm(drawn, 13, 12, 60, 60)
    style.heading(drawn, title, name)
    bins = int(np.clip(2 * np.sqrt(trusted.sum()), 25, 121))
    edges = np.linspace(-reach, reach, bins + 1)
    counts, _, _ = np.histogram2d(vectors[:, 0], vectors[:, 1], bins=[edges, edges])
    most = max(float(counts.max()), 2.0)
    norm = LogNorm(1, most) if most > 30 else Normalize(0, most)
    shown = np.ma.masked_equal(counts, 0)
    axes.axhline(0, color="0.8", lw=0.5, zorder=0)
    axes.axvline(0, color="0.8", lw=0.5, zorder=0)
    axes.pcolormesh(edges, edges, shown, cmap=COUNTS, norm=norm, rasterized=True)
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal")
    axes.set(xlabel=f"dx ({unit.name}), right →", ylabel=f"dy ({unit.name}), ↑ up is negative")
    mean = vectors.mean(axis=0)
    axes.plot(mean[1], mean[0], "+", color=style.COLOUR_A, ms=7, mew=1.2, label="mean")
    _draw_sigma(axes, measurement, reach)
    outside = int((np.abs(vectors) > reach).any(axis=1).sum())
    words = ", ".join(to_place(float(part), reach / 500) for part in mean)
    note = f" · {counted(outside, 'cell')} outside" if outside else ""
    axes.set_title(f"+ mean (dy, dx) = ({words}) {unit.name}{note}", color=style.QUIET, size=6.5)
    bar = style.axes_mm(drawn, 75, 12, 2, 60)
    drawn.colorbar(ScalarMappable(norm=norm, cmap=COUNTS), cax=bar, label="cells per bin", format=ScalarFormatter())
    return drawn


def _reach(vectors: np.ndarray) -> float:
    return colour.nice_ceiling(1.1 * float(np.percentile(magnitude(vectors), 99.5)))


def _draw_sigma(axes: Axes, measurement: Measurement, reach: float) -> None:
    """Draw the 1-sigma ellipse of the median covariance in the lower left corner, for scale."""
    cells, unit = measurement.cells, scene.unit_of(measurement)
    every = cells.covariance_px2[scene.trusted_cells(cells)]
    known = every[np.isfinite(every).all(axis=(1, 2))]
    if not known.size:
        axes.text(0.03, 0.03, "sigma unknown", transform=axes.transAxes, size=6.5, color=style.QUIET)
        return
    variances, directions = np.linalg.eigh(np.median(known, axis=0))
    sizes = 2 * unit.scale * np.sqrt(np.clip(variances, 0, None))
    major = directions[:, 1]
    at = (-reach + max(0.08 * reach, 0.7 * sizes[1]), reach - max(0.08 * reach, 0.7 * sizes[1]))
    # the axes run downwards in y as the image does, so the angle is taken in data coordinates (x, y)
    turn = float(np.degrees(np.arctan2(major[0], major[1])))
    axes.add_patch(Ellipse(at, sizes[1], sizes[0], angle=turn, fc="0.85", ec="0.1", lw=0.7, zorder=3))
    axes.annotate(
        "1σ of one cell (median)",
        (at[0] + sizes[1] / 2, at[1]),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        size=6.5,
    )
