"""Profiles across walls with the posterior of their width, and the width along them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from dipolar.core.domains import Maps, Wall
from dipolar.core.geometry import cell_edge_px
from dipolar.core.measurement import Measurement

from . import scene, style
from .domains import wall_style, width_words
from .wording import with_sigma

MOST_WALLS = 6
"""Walls drawn, the longest."""
ROW_MM = 42.0


@style.styled
def walls_figure(measurement: Measurement, maps: Maps) -> Figure:
    """Return one row per wall: profile with the posterior's band, posterior of the width, width along the wall."""
    title, name = "Walls", measurement.image.name
    # walls between polar domains first: a rim of a film is sharp or not for other reasons
    known = [(place, wall) for place, wall in enumerate(maps.walls) if np.isfinite(wall.profile.width_px[1])]
    known = sorted(known, key=lambda item: (item[1].kind.startswith(("rim", "step")), item[0]))[:MOST_WALLS]
    if not known:
        return style.message("no wall long enough for a profile was found", title=title, name=name)
    drawn = style.figure(style.TWO_COLUMNS_MM, 16 + ROW_MM * len(known))
    style.heading(drawn, title, name)
    unit, edge = scene.unit_of(measurement), cell_edge_px(measurement.cells)
    for row, (place, wall) in enumerate(known):
        top = 14 + row * ROW_MM
        last = row == len(known) - 1
        axes = [style.axes_mm(drawn, left, top + 4, wide, 26) for left, wide in ((14, 66), (96, 32), (146, 33))]
        _draw_profile(
            axes[0], wall, unit, edge, title=f"wall {place}, domains {wall.before} to {wall.after}: {wall.kind}"
        )
        _draw_width(axes[1], wall, unit, edge)
        _draw_along(axes[2], wall, edge)
        for part in axes:
            style.open_frame(part)
            if not last:
                part.set_xlabel("")
    return drawn


def _draw_profile(axes: Axes, wall: Wall, unit: scene.Unit, edge: float, *, title: str) -> None:
    """Draw cells, their means in bins of half a cell, and the median and 68 % band of the posterior."""
    distance, component = wall.distance_px / edge, wall.component_px * unit.scale
    shade, _ = wall_style(wall)
    axes.plot(distance, component, ".", color="0.75", ms=1.2, zorder=1, rasterized=True)
    at, mean, sigma = _binned(distance, component, wall.component_sigma_px * unit.scale)
    axes.errorbar(at, mean, sigma, fmt="o", ms=2.2, color="0.2", elinewidth=0.6, zorder=3)
    reach = float(np.abs(distance).max())
    x = np.linspace(-reach, reach, 201)
    curves = profile_curves(wall, x * edge) * unit.scale
    low, middle, high = np.percentile(curves, [16, 50, 84], axis=0)
    axes.fill_between(x, low, high, color=style.COLOUR_B, alpha=0.35, lw=0, zorder=2)
    axes.plot(x, middle, color=style.COLOUR_B, zorder=4)
    axes.axvline(0.0, color=shade, lw=0.6, ls=":")
    limit = np.percentile(np.abs(component), 99) * 1.15
    axes.set(xlabel="distance from the wall (cells)", ylabel=f"along u₂ − u₁ ({unit.name})", ylim=(-limit, limit))
    axes.set_title(title)
    found = wall.profile
    words = f"d₁ + d₂ = {with_sigma(found.asymmetry_px * unit.scale, found.asymmetry_sigma_px * unit.scale, unit.name)}"
    axes.text(0.02, 0.97, words, transform=axes.transAxes, va="top", size=6, color=style.QUIET)


def profile_curves(wall: Wall, distance_px: Float[np.ndarray, " point"]) -> Float[np.ndarray, "sample point"]:
    """Return the profile of every draw from the posterior, in px."""
    place, width, before, after = wall.samples_px.T[:, :, None]
    share = np.tanh((distance_px - place) / width)
    return 0.5 * (after + before) + 0.5 * (after - before) * share


def _binned(
    distance: Float[np.ndarray, " cell"], values: Float[np.ndarray, " cell"], sigma: Float[np.ndarray, " cell"]
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """Return place, weighted mean and its standard error in bins of half a cell."""
    place = np.floor(distance / 0.5).astype(int)
    place -= place.min()
    weight = 1.0 / sigma**2
    total = np.bincount(place, weights=weight)
    some = total > 0
    at = np.bincount(place, weights=weight * distance)[some] / total[some]
    mean = np.bincount(place, weights=weight * values)[some] / total[some]
    return at, mean, 1.0 / np.sqrt(total[some])


def _draw_width(axes: Axes, wall: Wall, unit: scene.Unit, edge: float) -> None:
    """Draw the density of the width in cells, with the 68 % interval shaded."""
    log_width = np.log(2.0 * wall.samples_px[:, 1] / edge)
    spread = max(float(np.std(log_width)), 1e-3)
    x = np.linspace(log_width.mean() - 4 * spread, log_width.mean() + 4 * spread, 200)
    density = gaussian_kde(log_width)(x) / np.exp(x) if np.ptp(log_width) > 0 else np.zeros(len(x))
    low, middle, high = (np.log(width / edge) for width in wall.profile.width_px)
    inside = (x >= low) & (x <= high)
    axes.fill_between(np.exp(x[inside]), density[inside], color=style.COLOUR_B, alpha=0.35, lw=0)
    axes.plot(np.exp(x), density, color=style.COLOUR_B)
    axes.axvline(np.exp(middle), color="0.2", lw=0.6)
    axes.set(
        xlabel="width 2ξ (cells)", ylim=(0, None), xlim=(0 if not wall.profile.resolved else None, None), yticks=[]
    )
    axes.locator_params(axis="x", nbins=4)
    words = width_words(wall, unit, edge).removeprefix("width ").replace(f" {unit.name},", f" {unit.name}\n")
    axes.set_title(words, size=6)


def _draw_along(axes: Axes, wall: Wall, edge: float) -> None:
    """Draw the width of each piece of the wall, and of the whole as a band."""
    low, _, high = (width / edge for width in wall.profile.width_px)
    axes.axhspan(low, high, color=style.COLOUR_B, alpha=0.25, lw=0)
    known = np.flatnonzero(np.isfinite(wall.segment_width_px[:, 1]))
    step = wall.length_px / edge / max(len(wall.segment_px), 1)
    if len(known):
        low_, middle_, high_ = wall.segment_width_px[known].T / edge
        at = (known + 0.5) * step
        axes.errorbar(at, middle_, (middle_ - low_, high_ - middle_), fmt="o", ms=2.2, color="0.2", elinewidth=0.6)
    else:
        axes.text(0.5, 0.05, "too short to be fitted in pieces", transform=axes.transAxes, ha="center", size=6)
    axes.set(xlabel="along the wall (cells)", ylabel="2ξ (cells)", xlim=(0, wall.length_px / edge), ylim=(0, None))
    axes.locator_params(nbins=4)
