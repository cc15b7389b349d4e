"""How sure the classifier is, and whether it is right as often as it says."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dipolar.core.scanning import ScanMap, ScanResult, ScanValidation

from . import style
from .reliability import log_ticks
from .scan_colours import class_codes
from .wording import counted, number

BINS = 25
FEWEST = 10
"""Positions that one point of the curve of reliability stands for at least, so that its error says something."""


@style.styled
def confidence_figure(result: ScanResult) -> Figure:
    """Return the histogram of confidence by class; beside it shares of right answers against it, where validated."""
    scan_map, known = result.map, result.map.label >= 0
    if not known.any():
        words = "no pattern of this scan could be classified"
        return style.message(words, title="Confidence", name=scan_map.name)
    validated = result.validation if result.validation is not None and result.validation.count.sum() else None
    drawn = style.figure(style.TWO_COLUMNS_MM if validated else style.ONE_COLUMN_MM, 74.0)
    style.heading(drawn, "Confidence", scan_map.name)
    _draw_histogram(style.axes_mm(drawn, 15, 14, 68, 46), scan_map)
    if validated is not None:
        _draw_reliability(style.axes_mm(drawn, 108, 14, 46, 46), validated)
    return drawn


def _draw_histogram(axes: Axes, scan_map: ScanMap) -> None:
    label, most = scan_map.label, scan_map.probability.max(axis=2)
    least = 1.0 / max(len(scan_map.names), 2)
    edges = np.linspace(least, 1.0, BINS + 1)
    found = [np.histogram(np.clip(most[label == place], least, 1.0), edges)[0] for place in range(len(scan_map.names))]
    under = np.zeros(BINS)
    for name, code, counts in zip(scan_map.names, class_codes(scan_map.names), found, strict=True):
        axes.bar(
            edges[:-1], counts, np.diff(edges), bottom=under, align="edge", color=code, lw=0.2, ec="white",
            label=style.drawable(name),
        )  # fmt: skip
        under = under + counts
    sure = 100 * float(np.mean(most[label >= 0] >= 0.9))
    axes.set(xlim=(least, 1.0), yscale="log", ylim=(0.7, None), xlabel="probability of the class")
    log_ticks(axes.yaxis)
    axes.set(ylabel="positions")
    axes.set_title(f"{number(sure, 3)} % of the positions are at least 90 % sure", size=6.5)
    axes.legend(loc="upper left", handlelength=1.0)
    style.open_frame(axes)


def merged(found: ScanValidation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return confidence, share of the right ones and number of positions, bins joined until each holds `FEWEST`.

    What is left over at the end, where the classifier is surest, goes to the last one.
    """
    groups: list[list[int]] = [[]]
    for place in np.flatnonzero(found.count).tolist():
        if found.count[groups[-1]].sum() >= FEWEST:
            groups.append([])
        groups[-1].append(place)
    if len(groups) > 1 and found.count[groups[-1]].sum() < FEWEST:
        last = groups.pop()
        groups[-1] += last
    total = np.array([found.count[group].sum() for group in groups])
    mean = [
        np.array([np.sum(values[group] * found.count[group]) for group in groups]) / np.maximum(total, 1)
        for values in (found.confidence, found.correct)
    ]
    return mean[0], np.clip(mean[1], 0.0, 1.0), total


def _draw_reliability(axes: Axes, found: ScanValidation) -> None:
    """Draw shares of right answers with their binomial error against confidence, and the line of honesty."""
    told, share, total = merged(found)
    # (k + 1) / (n + 2) keeps an error on bins that are all right or all wrong
    middle = (share * total + 1.0) / (total + 2.0)
    sigma = np.sqrt(middle * (1.0 - middle) / (total + 3.0))
    below, above = (np.maximum(way * (np.clip(middle + way * sigma, 0.0, 1.0) - share), 0.0) for way in (-1, 1))
    low = float(np.clip(min(told.min(), (share - below).min()) - 0.06, 0.0, 0.8))
    axes.plot([low, 1], [low, 1], color="0.5", lw=0.7, zorder=1)
    axes.errorbar(
        told, share, yerr=[below, above], fmt="o", ms=3.6, color=style.COLOUR_B, elinewidth=0.8, capsize=1.8, zorder=3,
        clip_on=False,
    )  # fmt: skip
    for x, y, count in zip(told, share, total.tolist(), strict=True):
        axes.annotate(number(count), (x, y), (-4.0, 1.0), textcoords="offset points", ha="right", va="bottom", size=6.0,
                      color=style.QUIET)  # fmt: skip
    axes.set(xlim=(low, 1.0), ylim=(low, 1.0), aspect="equal", ylabel="share that is right")
    error = found.figures.get("expected calibration error", float("nan"))
    words = f", expected calibration error {number(error, 2)}" if np.isfinite(error) else ""
    axes.set_title(f"{counted(int(found.count.sum()), 'position')}{words}", size=6.5, pad=7.0)
    # above the line on its left, below it on its right: no point is ever there
    for x, y, said, across in ((0.03, 0.90, "too modest", "left"), (0.97, 0.03, "too sure", "right")):
        along = "top" if y > 0.5 else "bottom"
        axes.text(x, y, said, transform=axes.transAxes, ha=across, va=along, size=6.5, color=style.QUIET)
    source = f"against {found.source}; " if found.source else ""
    axes.set_xlabel(f"probability told\n({source}beside each point, positions)")
    style.open_frame(axes)
