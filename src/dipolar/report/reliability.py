"""Whether the sigmas of a network are honest: errors found against sigmas told, and what intervals cover."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from dipolar.core.comparison import Reliability

from . import style
from .wording import counted, number

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LOOKS = ((style.COLOUR_A, "s"), (style.COLOUR_B, "o"), ("0.35", "D"), ("#009E73", "^"))
"""Colour and marker of each series, in order."""


@style.styled
def reliability_figure(
    reliability: Mapping[str, Reliability],
    coverage: Mapping[str, Mapping[float, float]],
    *,
    unit: str = "px",
    name: str = "",
) -> Figure:
    """Return errors against sigmas, with the line on which both agree, beside the coverage of intervals.

    Parameters
    ----------
    reliability
        Of errors that are possible: those against the fit, widened by the sigma that the fit itself has. Name of the
        series, such as "as trained" and "recalibrated" → its bins.
    coverage
        The same names → coverage asked for → share of errors found inside.
    unit
        Of errors and sigmas.
    name
        Of the model or the image, for the title.
    """
    title = "Reliability of sigma"
    if not any(len(bins.sigma) for bins in reliability.values()):
        return style.message("no errors are known", title=title, name=name)
    drawn = style.figure(style.TWO_COLUMNS_MM, 86 + 3.6 * max(len(reliability), len(coverage)))
    style.heading(drawn, title, name)
    _draw_bins(style.axes_mm(drawn, 15, 13, 62, 62), reliability, unit)
    _draw_coverage(style.axes_mm(drawn, 105, 13, 72, 62), coverage)
    return drawn


def _draw_bins(axes: Axes, reliability: Mapping[str, Reliability], unit: str) -> None:
    """Draw both axes logarithmic and alike, so that the line of honesty is the diagonal."""
    every = np.concatenate([np.concatenate([bins.sigma, bins.rms_error]) for bins in reliability.values()])
    seen = every[np.isfinite(every) & (every > 0)]
    low, high = (float(seen.min()) / 1.4, float(seen.max()) * 1.4) if seen.size else (0.1, 1.0)
    axes.plot([low, high], [low, high], color="0.5", lw=0.7, zorder=1)
    for (words, bins), (shade, mark) in zip(reliability.items(), LOOKS, strict=False):
        label = f"{words} ({counted(int(bins.count.sum()), 'value')})"
        axes.errorbar(
            bins.sigma, bins.rms_error, yerr=bins.rms_error_sigma, color=shade, marker=mark, ms=3.5, lw=0.9,
            elinewidth=0.7, capsize=1.5, mec="white", mew=0.3, label=label,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
    log_ticks(axes.xaxis)
    log_ticks(axes.yaxis)
    axes.set(xlabel=f"sigma told ({unit})", ylabel=f"RMS error possible given the fit's sigma ({unit})")
    for x, y, words, across in ((0.03, 0.97, "sigma too small", "left"), (0.97, 0.03, "sigma too large", "right")):
        along = "top" if y > 0.5 else "bottom"
        axes.text(x, y, words, transform=axes.transAxes, ha=across, va=along, size=6.5, color=style.QUIET)
    style.open_frame(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), handlelength=1.6, borderaxespad=0.0)


def log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis, whose limits are set: at 1, 2 and 5 times powers of ten, in plain numbers.

    Over more than two decades and a half only some powers of ten find room, and are written as such; within a factor of
    five there are too few of these numbers, and ticks are those of a linear axis.
    """
    low, high = axis.get_view_interval()
    few = high > 300 * low
    between = MaxNLocator(5, steps=[1, 2, 5, 10]) if high < 5 * low else LogLocator(subs=(1.0, 2.0, 5.0))
    axis.set_major_locator(LogLocator(numticks=7) if few else between)
    axis.set_major_formatter(FuncFormatter(_power if few else _plain))
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(which="minor", size=0)


def power_of_ten(power: int) -> str:
    """Return ten to that power, raised.

    >>> power_of_ten(-3)
    '10⁻³'
    """
    return f"10{str(power).translate(RAISED)}"


def _power(value: float, _: int) -> str:
    return power_of_ten(round(math.log10(value)))


def _plain(value: float, _: int) -> str:
    """Return the value with as many digits as it has, at most four.

    >>> _plain(1.4, 0), _plain(0.0225, 0), _plain(2.0, 0)
    ('1.4', '0.0225', '2')
    """
    digits = next(n for n in range(1, 5) if n == 4 or math.isclose(float(f"{value:.{n}g}"), value, rel_tol=1e-9))
    return number(float(f"{value:.{digits}g}"), digits)


def _draw_coverage(axes: Axes, coverage: Mapping[str, Mapping[float, float]]) -> None:
    """Draw one bar per level and series, with a line at what the level promises."""
    levels = sorted({level for found in coverage.values() for level in found})
    many = max(len(coverage), 1)
    wide = 0.8 / many
    for place, ((words, found), (shade, _)) in enumerate(zip(coverage.items(), LOOKS, strict=False)):
        at = np.arange(len(levels)) - 0.4 + wide * (place + 0.5)
        share = np.array([100 * found.get(level, float("nan")) for level in levels])
        axes.bar(at, np.nan_to_num(share), 0.92 * wide, color=shade, alpha=0.85, lw=0, label=words)
        for x, value in zip(at.tolist(), share.tolist(), strict=True):
            told = "?" if np.isnan(value) else f"{value:.1f}"
            axes.text(x, 2.0, told, ha="center", size=6, color="white" if value > 10 else style.INK)
    for place, level in enumerate(levels):
        axes.plot([place - 0.46, place + 0.46], [100 * level] * 2, color="0.1", lw=0.8, ls=(0, (3, 1.5)))
    axes.set(xticks=np.arange(len(levels)), xticklabels=[f"{100 * level:g} %" for level in levels])
    axes.set(ylim=(0, 108), yticks=[0, 20, 40, 60, 80, 100], xlim=(-0.6, len(levels) - 0.4))
    axes.set(xlabel="interval (dashed: what it promises)", ylabel="errors inside (%)")
    axes.tick_params(axis="x", length=0)
    style.open_frame(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), handlelength=1.2, borderaxespad=0.0)
