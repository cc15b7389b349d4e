"""Parts of the sheet of an autoencoder: the circle of angles, decoded pictures, the course of its training."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dipolar.core.circular import histogram
from dipolar.core.unmixing import Angles, Components

from . import colour, style
from .unmix_parts import draw_patch, text_mm
from .wording import UNKNOWN, counted, name_and_unit, number

WRONG = {
    "doubtful": "The angle is doubtful: something speaks against it.",
    "collapsed": "The angle has collapsed: it says nothing about the patches.",
    "leaked": "The angle has leaked: other latents say what it should say.",
    "noise": "The angle is noise: no direction can be told in these patches.",
}
SHORT = {
    "polar_share": "polar",
    "angle_concentration": "angles alike",
    "dipole_concentration": "dipoles alike",
    "dipole_by_angle": "by the angle",
    "dipole_by_rest": "by the rest",
    "mutual_information_bit": "information",
    "dipole_about_angle_deg": "about the angle",
    "dipole_agreement": "agreement",
    "held_against_measured": "held against",
}
"""Figures of the diagnosis as the sheet calls them; the table of the report says what each is."""
SHARES = ("polar_share", "dipole_by_angle", "dipole_by_rest")
"""Those that are shares of a whole."""
PICTURES = 8
"""Decoded pictures around the circle."""
LINE = 110
"""Letters in a line of the notice."""


def notice_lines(found: Angles) -> list[str]:
    """Return what is wrong, and what to do, in lines that fit on the sheet."""
    words = found.remedy or "train again with another seed, or with larger patches"
    words = words if found.mapped else f"What to do: {words}"
    return [WRONG.get(found.verdict, found.verdict), *textwrap.wrap(words, LINE)]


def circle_of(drawn: Figure, at: tuple[float, float], found: Angles) -> None:
    """Draw the histogram of the angles around a circle, with the variants, at (x, y) in mm."""
    axes = _round(drawn, at, 54.0)
    known = found.angle_deg[np.isfinite(found.angle_deg) & found.polar]
    middles, height = histogram(known) if len(known) else (np.zeros(1), np.zeros(1))
    length = 0.42 + 0.58 * height / max(float(height.max()), 1e-300)
    turn = np.radians(np.append(middles, middles[:1]))
    rim = np.append(length, length[:1])
    shades = colour.displacement_colours(np.stack([-np.sin(turn), np.cos(turn)], axis=1), full_radius=1.0)
    for first in range(len(turn) - 1):
        pair, ends = turn[first : first + 2], rim[first : first + 2]
        x = np.concatenate([0.4 * np.cos(pair), (ends * np.cos(pair))[::-1]])
        y = np.concatenate([0.4 * np.sin(pair), (ends * np.sin(pair))[::-1]])
        axes.fill(x, y, color=shades[first], lw=0)
    axes.plot(rim * np.cos(turn), rim * np.sin(turn), color="0.25", lw=0.6)
    axes.plot(0.4 * np.cos(turn), 0.4 * np.sin(turn), color="0.6", lw=0.5)
    placed = found.variant[found.variant >= 0]
    for place, direction in enumerate(found.variant_deg):
        away = np.radians(direction)
        x, y = np.cos(away), np.sin(away)
        axes.plot([0, 1.04 * x], [0, 1.04 * y], color="0.1", lw=0.7, ls=(0, (3, 2)))
        share = 100 * float(np.mean(found.variant == place)) if len(placed) else 0.0
        words = f"{place}: {number(float(direction), 3)}°\n{number(share, 2)} %"
        across = "center" if abs(x) < 0.3 else "left" if x > 0 else "right"
        up = "center" if abs(y) < 0.3 else "bottom" if y > 0 else "top"
        axes.text(1.09 * x, 1.09 * y, words, size=5.5, ha=across, va=up)  # outward from the end of the line
    axes.text(0, 0, counted(len(found.variant_deg), "variant"), ha="center", va="center", size=6.5,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})  # fmt: skip


def _round(drawn: Figure, at: tuple[float, float], edge: float) -> Axes:
    axes = style.axes_mm(drawn, at[0], at[1], edge, edge)
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
    axes.axis("off")
    return axes


def decoded_wheel(drawn: Figure, at: tuple[float, float], found: Angles) -> None:
    """Draw what is decoded for angles once around, each picture where its angle points, at (x, y) in mm."""
    edge, small = 55.0, 11.5
    if not len(found.wheel):
        return
    count = min(len(found.wheel), PICTURES)
    steps = [round(place * len(found.wheel) / count) for place in range(count)]
    low, high = float(np.min(found.wheel)), float(np.max(found.wheel))
    for step in steps:
        turn = 2 * np.pi * step / len(found.wheel)
        y, x = edge / 2 - 21.0 * np.sin(turn), edge / 2 + 21.0 * np.cos(turn)
        axes = style.axes_mm(drawn, at[0] + x - small / 2, at[1] + y - small / 2, small, small)
        draw_patch(axes, found.wheel[step].astype(np.float64), signed=False, low=low, reach=high)
        shade = colour.displacement_colours(np.array([[-np.sin(turn), np.cos(turn)]]), full_radius=1.0)[0]
        for spine in axes.spines.values():
            spine.set(color=shade, linewidth=1.4)
    middle = style.axes_mm(drawn, at[0] + edge / 2 - 8, at[1] + edge / 2 - 8, 16, 16)
    difference = found.wheel.astype(np.float64).std(axis=0)
    draw_patch(middle, difference, signed=False, low=0.0, title="")
    text_mm(drawn, (at[0] + edge / 2, at[1] + edge / 2 + 8.5), "what changes", size=5.5, across="center")


def draw_manifold(drawn: Figure, at: tuple[float, float], found: Angles, *, edge_mm: float) -> None:
    """Draw the grid of pictures over the first two latents, under a line that says so, at (x, y) in mm."""
    grid = found.manifold
    if not grid.size or not found.latent.shape[1]:
        text_mm(drawn, (at[0] + 6, at[1] + 20), "no further latent", ink=style.QUIET)
        return
    down, across = grid.shape[:2]
    shown, count = "latents 1 and 2" if down > 1 else "latent 1", found.latent.shape[1]
    words = shown if count == 1 + (down > 1) else f"{shown} of {count}"
    text_mm(drawn, (at[0] + 5, at[1] - 4), words, size=6.0)
    size = edge_mm / max(down, across)
    low, high = float(grid.min()), float(grid.max())
    for row in range(down):
        for col in range(across):
            axes = style.axes_mm(drawn, at[0] + 5 + col * size, at[1] + row * size, size - 0.5, size - 0.5)
            draw_patch(axes, grid[row, col].astype(np.float64), signed=False, low=low, reach=high)
    below = at[1] + down * size
    text_mm(drawn, (at[0] + 5, below + 0.5), "−2σ", size=6.0)
    text_mm(drawn, (at[0] + 5 + across * size, below + 0.5), "2σ", size=6.0, across="right")
    name = "latent 2" if down > 1 else "latent 1"
    text_mm(drawn, (at[0] + 5 + across * size / 2, below + 0.5), f"{name} →", size=6.0, across="center")
    if down > 1:
        text_mm(drawn, (at[0] - 2, at[1] + 1), "latent\n1 ↓", size=6.0)


def draw_history(above: Axes, below: Axes, found: Angles) -> None:
    """Draw the loss and its reconstruction part, and below them its divergence, against the epoch."""
    epochs = np.array([row["epoch"] for row in found.history], dtype=np.float64)
    for axes, name, shade in (
        (above, "loss", style.COLOUR_B),
        (above, "reconstruction", style.COLOUR_A),
        (below, "divergence", "0.35"),
    ):
        values = np.array([row.get(name, np.nan) for row in found.history], dtype=np.float64)
        if np.isfinite(values).any():
            mark = "o" if len(epochs) < 30 else ""
            axes.plot(epochs, values, color=shade, label=name, marker=mark, ms=2.0, mew=0)
    for axes in (above, below):
        style.open_frame(axes)
        axes.yaxis.set_major_locator(MaxNLocator(4 if axes is above else 2))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_label_coords(-0.15, 0.5)
        if len(epochs):
            axes.legend(loc="best", handlelength=1.4)
    above.set_ylabel("per patch")
    above.set_xticklabels([])
    below.set_xlabel("epoch", labelpad=1.5)
    if not len(epochs):
        above.text(0.5, 0.5, "not recorded", transform=above.transAxes, ha="center", va="center", color=style.QUIET)


def draw_diagnosis(drawn: Figure, at: tuple[float, float], components: Components, found: Angles) -> None:
    """Write the verdict, the figures that it rests on, and what was told to the network, at (x, y) in mm."""
    figures = {"verdict": found.verdict} | {
        SHORT.get(name, name_and_unit(name)[0]): _figure(name, value) for name, value in found.diagnosis.items()
    }
    told = [f"{name.replace('_', ' ')} {number(value, 3)}" for name, value in components.settings.items()]
    for away, words in ((0.0, figures), (27.0, figures.values()), (44.0, ["told to the network", *told])):
        text_mm(drawn, (at[0] + away, at[1]), "\n".join(words), size=6.5, ink=style.INK if away < 40 else style.QUIET)


def _figure(name: str, value: float) -> str:
    """Return a figure of the diagnosis with its unit, a share in percent."""
    if name in SHARES:
        return UNKNOWN if np.isnan(value) else f"{100 * float(value):.0f} %"
    if name == "held_against_measured":
        return "measured" if value else "drawn"
    unit = {"deg": "°", "bit": " bit"}.get(name.rpartition("_")[2], "")
    return f"{number(float(value), 2)}{unit}"
