"""The figure of the study of labels: how right classifiers are against the number of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style

MEASURES = {"accuracy": "all positions", "near_walls": "within two steps of a wall", "recall_none": "recall of none"}
"""What is drawn, a row of panels each, with its title."""
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelsCurve:
    """One classifier under one strategy."""

    classifier: str
    """Its name."""
    strategy: str
    """How positions were chosen."""
    labels: Float[np.ndarray, " budget"]
    """Numbers of labels."""
    mean: Mapping[str, Float[np.ndarray, " budget"]]
    """Share that is right, mean over the seeds, by `MEASURES`."""
    spread: Mapping[str, Float[np.ndarray, " budget"]]
    """Standard deviation over the seeds."""


@style.styled
def labels_study_figure(curves: Sequence[LabelsCurve], *, name: str = "") -> Figure:
    """Return a column of panels for each strategy: shares that are right against the number of labels.

    Parameters
    ----------
    curves
        Of all classifiers and strategies.
    name
        Of the study, for the title.
    """
    strategies = list(dict.fromkeys(curve.strategy for curve in curves))
    kinds = list(dict.fromkeys(curve.classifier for curve in curves))
    wide = (style.TWO_COLUMNS_MM - 16 - 4 * (len(strategies) - 1) - 34) / max(len(strategies), 1)
    wide, tall = min(wide, 60.0), 38.0
    drawn = style.figure(style.TWO_COLUMNS_MM, 24 + len(MEASURES) * (tall + 7))
    style.heading(drawn, "Right answers against the number of labels", name)
    for row, (measure, words) in enumerate(MEASURES.items()):
        panels = []
        for column, strategy in enumerate(strategies):
            axes = style.axes_mm(drawn, 14 + column * (wide + 4), 16 + row * (tall + 7), wide, tall)
            mine = [curve for curve in curves if curve.strategy == strategy]
            _draw(axes, mine, measure, kinds)
            last = row == len(MEASURES) - 1
            axes.set_title(f"{strategy}: {words}" if row == 0 else words, size=6.5)
            axes.set(xlabel="labels" if last else "", ylabel="right (%)" if column == 0 else "")
            axes.tick_params(labelbottom=last, labelleft=column == 0)
            style.open_frame(axes)
            panels.append(axes)
        low = min(axes.get_ylim()[0] for axes in panels)
        for axes in panels:
            axes.set_ylim(max(0.0, low), 100.6)
        if row == 0:
            handles, names = panels[-1].get_legend_handles_labels()
            panels[-1].legend(handles, names, loc="upper left", bbox_to_anchor=(1.03, 1.0), handlelength=1.4)
    return drawn


def _draw(axes: Axes, curves: Sequence[LabelsCurve], measure: str, kinds: Sequence[str]) -> None:
    for curve in curves:
        code = COLOURS[kinds.index(curve.classifier) % len(COLOURS)]
        axes.errorbar(
            curve.labels, 100 * curve.mean[measure], yerr=100 * curve.spread[measure], fmt="o-", color=code, ms=3,
            lw=1.0, elinewidth=0.7, capsize=1.5, label=curve.classifier,
        )  # fmt: skip
    every = sorted({float(value) for curve in curves for value in curve.labels})
    axes.set_xscale("log")
    axes.set_xticks(every, [f"{value:g}" for value in every])
    axes.minorticks_off()
