"""Mean diffraction pattern of each class under the virtual detectors, and what tells it from the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dipolar.core.scanning import Bank, ScanResult, View

from . import style
from .panels import DIVERGING
from .scan_colours import class_codes
from .scan_parts import MARGIN_MM
from .unmix_parts import text_mm
from .wording import number

MOST = 12
"""Classes whose patterns are drawn."""
DRAWN_SITES = 0.98
"""Virtual detectors are drawn up to this share of the way to the edge of the pattern, and on its left half alone: on
the other one, which is alike but for the noise, ghosts are seen as they are."""
MAIN, GHOST = "#56B4E9", "#D55E00"


def mean_patterns_figure(result: ScanResult) -> Figure | None:
    """Return the mean pattern of each class over its difference from the mean of all; None where no means are known."""
    if result.means is None or not np.isfinite(result.means).any():
        return None
    return _figure(result, result.means[:MOST].astype(np.float64))


@style.styled
def _figure(result: ScanResult, means: Float[np.ndarray, "class k_y k_x"]) -> Figure:
    scan_map = result.map
    count = len(means)
    columns = min(count, 4)
    edge = min((style.TWO_COLUMNS_MM - 2 * MARGIN_MM) / columns - 4.0, 54.0)
    tall = edge * means.shape[1] / means.shape[2]
    rows = -(-count // columns)
    group = rows * (tall + 6.5)
    drawn = style.figure(style.TWO_COLUMNS_MM, 12.0 + 2 * (group + 6.0) + 3.0)
    style.heading(drawn, "Mean patterns", scan_map.name)
    low, high = _limits(means)
    norm = LogNorm(low, high)
    rest = means - np.nanmean(means, axis=0)
    relative = rest / np.sqrt(np.maximum(np.nanmean(means, axis=0), 0.5 * low))
    reach = float(np.nanpercentile(np.abs(relative), 99.7)) or 1.0
    codes = class_codes(scan_map.names)
    detectors = _detectors(result, (means.shape[1], means.shape[2]))
    with_rings = "mean, logarithmic; virtual detectors on the left half alone"
    for group_place, (letter, words) in enumerate(
        (("a", with_rings), ("b", "less the mean of all classes, over its root"))
    ):
        top = 12.0 + group_place * (group + 6.0)
        text_mm(drawn, (MARGIN_MM, top - 3.0), letter, weight="bold", size=8.0)
        text_mm(
            drawn, (MARGIN_MM + 4.0, top - 2.7), words if detectors or group_place else "mean, logarithmic", size=7.0
        )
        for place in range(count):
            left = MARGIN_MM + place % columns * (edge + 4.0)
            axes = style.axes_mm(drawn, left, top + 5.0 + place // columns * (tall + 6.5), edge, tall)
            if group_place == 0:
                axes.imshow(np.clip(means[place], low, None), cmap="inferno", norm=norm, interpolation="nearest")
                _draw_detectors(axes, detectors)
            else:
                axes.imshow(relative[place], cmap=DIVERGING, norm=Normalize(-reach, reach), interpolation="nearest")
            style.bare(axes)
            axes.set_title(style.drawable(scan_map.names[place]), size=6.5, pad=2)
            for spine in axes.spines.values():
                spine.set(color=codes[place], linewidth=1.4)
    _key(drawn, detectors, low, high, reach)
    return drawn


def _limits(means: Float[np.ndarray, "class k_y k_x"]) -> tuple[float, float]:
    known = means[np.isfinite(means) & (means > 0)]
    if not known.size:
        return 0.1, 1.0
    low, high = np.percentile(known, [5.0, 99.9])
    low = float(max(low, high / 3e4))
    return low, float(max(high, 1.001 * low))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rings:
    """Virtual detectors of one kind, in px of the mean patterns."""

    at: Float[np.ndarray, "site 2"]
    """Middle (y, x)."""
    radius: float
    """Of each."""
    shade: str
    """Colour of its line."""


def _detectors(result: ScanResult, shape: tuple[int, int]) -> list[_Rings]:
    """Return the detectors on main disks, then those where ghosts can be; none where they are not known."""
    view, bank = result.view, result.bank
    if view is None or bank is None or not np.isfinite(view.lattice_px).all():
        return []
    scale = shape[1] / view.mean.shape[1]  # mean patterns may be binned
    at, beam = _sites(view, bank, scale)
    radius = bank.radius * view.radius_px * scale
    inside = _inside(at, shape) & (at[:, 1] < beam[1] - radius)
    return [
        _Rings(at=at[inside & kind], radius=radius, shade=shade)
        for kind, shade in ((bank.main, MAIN), (~bank.main, GHOST))
    ]


def _sites(view: View, bank: Bank, scale: float) -> tuple[Float[np.ndarray, "site 2"], Float[np.ndarray, " 2"]]:
    """Return where detectors are, and the beam: means have it where the view does."""
    beam = scale * (np.array(view.centre_px) + 0.5) - 0.5
    return beam + 0.5 * scale * bank.sites.astype(np.float64) @ view.lattice_px, beam


def _inside(at: Float[np.ndarray, "site 2"], shape: tuple[int, int]) -> Bool[np.ndarray, " site"]:
    half = 0.5 * np.array(shape)
    inside: Bool[np.ndarray, " site"]
    inside = np.all(np.abs(at - half + 0.5) < DRAWN_SITES * half, axis=1)
    return inside


def _draw_detectors(axes: Axes, detectors: list[_Rings]) -> None:
    for rings in detectors:
        at, shade = rings.at, rings.shade
        size = np.full(len(at), 2.0 * rings.radius)
        drawn = EllipseCollection(
            size, size, np.zeros(len(at)), units="xy", offsets=at[:, ::-1], offset_transform=axes.transData,
            facecolor="none", edgecolor=shade, lw=0.35,
        )  # fmt: skip
        axes.add_collection(drawn)


def _key(drawn: Figure, detectors: list[_Rings], low: float, high: float, reach: float) -> None:
    words = f"a: from {number(low, 2)} to {number(high, 2)} counts per px    b: ±{number(reach, 2)} √counts"
    tall = float(drawn.get_figheight()) / style.MM
    text_mm(drawn, (MARGIN_MM, tall - 5.0), words, ink=style.QUIET, size=6.5)
    if detectors:
        handles = [
            Line2D([], [], ls="", marker="o", mfc="none", mec=rings.shade, ms=4, mew=0.8, label=label)
            for rings, label in zip(detectors, ("disks of the parent lattice", "places of ghosts"), strict=True)
        ]
        drawn.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 0.0), ncols=2, borderaxespad=0.4)
