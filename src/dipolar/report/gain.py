"""The gain check: how truly displacements put into a simulation of this very image are found again."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dipolar.core.measurement import Measurement
from dipolar.core.nouns import GainCheck

from . import scene, style
from .wording import counted, number, with_sigma

GOOD = 0.03
"""Half width of the band around 1 that counts as true, for gain; sigma's band is 0.05."""


@style.styled
def gain_figure(measurement: Measurement) -> Figure:
    """Return gain and width of the z-scores of (dy, dx) against 1, with the numbers beside them."""
    check = measurement.gain_check
    title, name = "Gain check", measurement.image.name
    if check is None:
        return style.message("the gain check was not run", title=title, name=name)
    drawn = style.figure(style.TWO_COLUMNS_MM, 46)
    style.heading(drawn, title, name)
    gain_axes = style.axes_mm(drawn, 12, 12, 46, 20)
    _draw(gain_axes, check.gain, check.gain_sigma, band=GOOD)
    gain_axes.set(xlabel="gain: found / put in")
    width_axes = style.axes_mm(drawn, 72, 12, 34, 20)
    _draw(width_axes, check.zscore_width, (0.0, 0.0), band=0.05)
    width_axes.set(xlabel="width of (found − put in) / sigma")
    _numbers(drawn, measurement, check)
    return drawn


def _draw(axes: Axes, values: tuple[float, float], sigma: tuple[float, float], *, band: float) -> None:
    axes.axvspan(1 - band, 1 + band, color="0.92", lw=0)
    axes.axvline(1, color="0.5", lw=0.6)
    bars = [s if s > 0 else 0.0 for s in sigma]
    axes.errorbar(values, [1, 0], xerr=bars, fmt="o", ms=4, color=style.COLOUR_B, capsize=2, elinewidth=0.8)
    reach = max([2.2 * band, *(1.25 * (abs(v - 1) + s) for v, s in zip(values, bars, strict=True) if np.isfinite(v))])
    axes.set(xlim=(1 - reach, 1 + reach), ylim=(-0.6, 1.6), yticks=[1, 0], yticklabels=["dy", "dx"])
    axes.locator_params(axis="x", nbins=5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _numbers(drawn: Figure, measurement: Measurement, check: GainCheck) -> None:
    unit = scene.unit_of(measurement)
    bias = [number(unit.scale * value, 2) for value in check.bias_px]
    lines = [
        ("", "dy", "dx"),
        ("gain", *(with_sigma(g, s) for g, s in zip(check.gain, check.gain_sigma, strict=True))),
        (f"bias ({unit.name})", *bias),
        ("width of z", *(number(width, 3) for width in check.zscore_width)),
    ]
    for row, words in enumerate(lines):
        for left, word in zip((116, 133, 157), words, strict=True):
            colour = style.QUIET if row == 0 or left == 116 else style.INK
            drawn.text(left / style.TWO_COLUMNS_MM, 1 - (13 + 4.6 * row) / 46, word, size=7, color=colour, va="top")
    where = (116 / style.TWO_COLUMNS_MM, 1 - 33 / 46)
    drawn.text(*where, f"{counted(check.cells, 'cell')} compared", size=6.5, color=style.QUIET, va="top")
