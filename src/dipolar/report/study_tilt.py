"""The figure of the study of tilt: images, line scans through both sublattices, shifts against tilt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style

TILT_COLOURS = ("#000000", "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#56B4E9")
"""Of line scans, from the least tilt on."""
SHOWN = 5
"""Images at most in the row."""
REPEAT_PM = 800.0
"""Edge of what is shown of a periodic image, about."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltShot:
    """One tilt at one thickness."""

    tilt_mrad: float
    """Tilt of the beam."""
    image: Float[np.ndarray, "y x"]
    """One cell."""
    pixel_size_pm: tuple[float, float]
    """Edges (y, x) of its pixels."""
    scans: Sequence[tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]]
    """Through a column of A and through one of B along the tilt: distance from the true column in pm, and intensity."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltCurve:
    """Shifts of both sublattices at one thickness against the tilt."""

    thickness_nm: float
    """Thickness of the specimen."""
    tilts_mrad: Float[np.ndarray, " tilt"]
    """Tilts."""
    shift_pm: Float[np.ndarray, "tilt sublattice 2"]
    """Shifts of A and of B since tilt 0, along the tilt and across it."""
    sigma_pm: Float[np.ndarray, "tilt sublattice 2"]
    """One standard error of each."""
    difference_pm: Float[np.ndarray, "tilt 2"]
    """Shift of B less that of A."""
    difference_sigma_pm: Float[np.ndarray, "tilt 2"]
    """One standard error of it."""


@style.styled
def tilt_study_figure(
    shots: Sequence[TiltShot], curve: TiltCurve, *, names: tuple[str, str], direction: str, name: str = ""
) -> Figure:
    """Return images at each tilt, line scans, and shifts against tilt, of one thickness.

    Parameters
    ----------
    shots
        From the least tilt on.
    curve
        The shifts.
    names
        Of the sublattices: A, B.
    direction
        "x" or "y", into which the beam leans.
    name
        Of the study, for the title.
    """
    across = "y" if direction == "x" else "x"
    shown = shots if len(shots) <= SHOWN else [shots[row] for row in np.linspace(0, len(shots) - 1, SHOWN).astype(int)]
    wide = min((style.TWO_COLUMNS_MM - 8 - 3 * (len(shown) - 1)) / len(shown), 42.0)
    drawn = style.figure(style.TWO_COLUMNS_MM, 14 + wide + 2 * 62)
    style.heading(drawn, f"Tilt of the beam along {direction}, {curve.thickness_nm:.3g} nm", name)
    for number, shot in enumerate(shown):
        axes = style.axes_mm(drawn, 4 + number * (wide + 3), 13, wide, wide)
        _image(axes, shot)
        axes.set_title(f"{shot.tilt_mrad:g} mrad", size=6.5)
    half = (style.TWO_COLUMNS_MM - 14 - 22) / 2
    top = 13 + wide + 11
    for number, column in enumerate(names):
        axes = style.axes_mm(drawn, 14 + number * (half + 14), top, half, 42)
        for shot, code in zip(shown, TILT_COLOURS, strict=False):
            place, value = shot.scans[number]
            axes.plot(place, value / value.max(), color=code, label=f"{shot.tilt_mrad:g} mrad")
        axes.axvline(0.0, color="0.7", lw=0.5, zorder=0)
        axes.set_title(f"through a column of {column}", size=6.5)
        axes.set(xlabel=f"{direction} from the true column (pm)", ylabel="intensity over its maximum")
        style.open_frame(axes)
        if number == 0:
            axes.legend(loc="upper left", handlelength=1.2)
    top += 42 + 15
    for number, (axis, words) in enumerate(((direction, "along the tilt"), (across, "across it"))):
        axes = style.axes_mm(drawn, 14 + number * (half + 14), top, half, 42)
        _shifts(axes, curve, number, names)
        axes.set_title(f"shift along {axis}, {words}", size=6.5)
        axes.set(xlabel="tilt (mrad)", ylabel="shift since tilt 0 (pm)")
        style.open_frame(axes)
        if number == 0:
            axes.legend(loc="best", handlelength=1.4)
    return drawn


def _image(axes: Axes, shot: TiltShot) -> None:
    """Draw a few cells, each image from its own least to its own largest value."""
    edges = [count * pixel for count, pixel in zip(shot.image.shape, shot.pixel_size_pm, strict=True)]
    times = [max(1, round(REPEAT_PM / edge)) for edge in edges]
    tiled = np.tile(shot.image, times)
    high, wide = (edge * count for edge, count in zip(edges, times, strict=True))
    axes.imshow(tiled, cmap="gray", extent=(0.0, wide, high, 0.0), interpolation="nearest")
    axes.set_aspect("equal")
    style.bare(axes)


def _shifts(axes: Axes, curve: TiltCurve, axis: int, names: tuple[str, str]) -> None:
    rows = [
        (curve.shift_pm[:, 0, axis], curve.sigma_pm[:, 0, axis], style.COLOUR_A, names[0], "o-"),
        (curve.shift_pm[:, 1, axis], curve.sigma_pm[:, 1, axis], style.COLOUR_B, names[1], "s-"),
        (
            curve.difference_pm[:, axis], curve.difference_sigma_pm[:, axis], style.INK, f"{names[1]} − {names[0]}",
            "D--",
        ),
    ]  # fmt: skip
    for value, sigma, code, label, form in rows:
        axes.errorbar(
            curve.tilts_mrad, value, yerr=np.nan_to_num(sigma), fmt=form, color=code, ms=3, lw=1.0, elinewidth=0.7,
            capsize=1.5, label=label,
        )  # fmt: skip
    axes.axhline(0.0, color="0.7", lw=0.5, zorder=0)
