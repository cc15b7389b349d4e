"""Figures of the benchmark of unmixing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dipolar.core.unmixing import Stack
from dipolar.report import style

COLOURS = {"variants": style.COLOUR_A, "layers": style.COLOUR_B, "product": style.QUIET}
LABELS = {"variants": "variants", "layers": "layers", "product": "variants × layers"}
SHADES = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB", "#222222")
"""Hues of P. Tol's bright scheme and a black, told apart by people with any colour vision."""
UNIT: dict[str, Any] = {"ylim": (-0.03, 1.36), "yticks": np.linspace(0.0, 1.0, 6)}
"""Axis of indices, with room for a legend above them."""
Row = Mapping[str, Any]


def mean_of(rows: Sequence[Row], key: str, by: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the values of `by`, and the mean, least and greatest of `key` over the rows of each."""
    values = sorted({row[by] for row in rows})
    groups = [[float(row[key]) for row in rows if row[by] == value] for value in values]
    return np.array(values), *(np.array([function(group) for group in groups]) for function in (np.mean, min, max))


@style.styled
def indices_figure(methods: Sequence[Row], classes: Sequence[Row], windows: Sequence[Row]) -> Figure:
    """Return what every way tells of variants, what more clusters do, and what larger patches do."""
    figure = Figure(figsize=(style.TWO_COLUMNS_MM * style.MM, 58.0 * style.MM), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.25, 1.0, 1.0])
    _bars(left, [row for row in methods if row["film"] == "superlattice"])
    for what, colour in COLOURS.items():
        k, mean, low, high = mean_of([row for row in classes if row["way"] == "k-means"], what, "clusters")
        middle.plot(k, mean, "o-", markersize=2.5, color=colour, label=LABELS[what])
        middle.fill_between(k, low, high, color=colour, alpha=0.15, linewidth=0.0)
    middle.axvline(8, color=style.QUIET, linewidth=0.5, linestyle=":")
    middle.set(xlabel="clusters of k-means", ylabel="adjusted Rand index", xticks=range(2, int(k.max()) + 1, 2), **UNIT)
    middle.set_title("b  raw patches: how many clusters")
    middle.legend(loc="upper right")
    for key, label, colour, line in (
        ("rvae_4", "variants: angle of rVAE", style.COLOUR_A, "-"),
        ("kmeans_8", "variants: 8 of k-means", style.COLOUR_A, ":"),
        ("rvae_rho", "composition: latent of rVAE, |ρ|", style.COLOUR_B, "-"),
        ("rho", "composition: PCA, |ρ|", style.COLOUR_B, ":"),
    ):
        edge, mean, low, high = mean_of(windows, key, "window_px")
        right.plot(edge / 26.0, mean, line, marker="o", markersize=2.5, color=colour, label=label)
        right.fill_between(edge / 26.0, low, high, color=colour, alpha=0.12, linewidth=0.0)
    right.set(xlabel="edge of the patch in cells", ylabel="adjusted Rand index, |ρ|", ylim=(-0.03, 1.03))
    right.set_title("c  size of patches")
    right.legend(loc="lower right")
    return figure


def _bars(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the index of every way with 4 and with 8 clusters, a dot for each film."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    for shift, (key, label, colour) in enumerate(
        (("variants_4", "4 clusters", style.COLOUR_B), ("variants_8", "8 clusters", style.COLOUR_A))
    ):
        place = np.arange(len(ways)) + 0.4 * shift - 0.2
        groups = [[float(row[key]) for row in rows if row["way"] == way] for way in ways]
        axes.bar(place, [np.mean(group) for group in groups], 0.38, color=colour, alpha=0.55, label=label)
        for x, group in zip(place, groups, strict=True):
            axes.plot(np.full(len(group), x), group, ".", markersize=2.0, color=style.INK)
    axes.set_xticks(range(len(ways)), ways, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(ylabel="adjusted Rand index", **UNIT)
    axes.set_title("a  against true variants, superlattice")
    axes.legend(loc="upper right", ncols=2)


@style.styled
def maps_figure(stack: Stack, maps: Mapping[str, np.ndarray], *, columns: int = 5) -> Figure:
    """Return maps of labels and of numbers over a film, each under its title.

    Parameters
    ----------
    stack
        The patches.
    maps
        Title → a whole number (a colour each, -1 grey) or a number (light to dark) for each patch.
    columns
        Maps in a row.
    """
    rows = -(-len(maps) // columns)
    wide = style.TWO_COLUMNS_MM * style.MM
    figure = Figure(figsize=(wide, wide / columns * 1.13 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    y, x = stack.positions_px.T
    for axes, (title, values) in zip(panels, maps.items(), strict=False):
        marks = {"s": 2.6, "marker": "s", "linewidths": 0.0}
        if np.issubdtype(values.dtype, np.integer):
            shades = np.array([*SHADES, "#DDDDDD"])
            axes.scatter(x, y, c=shades[np.where(values < 0, len(SHADES), values % len(SHADES))], **marks)
        else:
            axes.scatter(x, y, c=values, cmap="viridis", **marks)
        axes.set(aspect="equal", xticks=[], yticks=[])
        axes.invert_yaxis()
        axes.set_title(title)
        axes.spines[:].set_visible(False)
    for axes in panels[len(maps) :]:
        axes.remove()
    return figure
