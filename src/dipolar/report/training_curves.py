"""How a training went: losses and learning rate against the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style
from .reliability import log_ticks, power_of_ten
from .wording import number

WORDS = {"loss": "held out", "held_out_loss": "held out", "training_loss": "training", "train_loss": "training"}
"""Names of losses in the records → words of the key; others are written as they are."""
LOOKS = {"held out": (style.COLOUR_B, "-"), "training": (style.COLOUR_A, "-")}
OTHER = ("0.35", "--")
MANY = 60
"""Steps above which points are not marked one by one."""


@style.styled
def training_figure(records: Sequence[Mapping[str, float | int | str | None]], *, name: str = "") -> Figure:
    """Return the losses above the learning rate, both against the step.

    Parameters
    ----------
    records
        Lines of ``metrics.jsonl``: each with ``step``, any number of losses, whose names end in ``loss``, and
        ``learning_rate``; with ``member`` where an ensemble was trained, whose members get a line each. What a line
        does not hold is left out.
    name
        Of the model, for the title.
    """
    title = "Training"
    losses = list(dict.fromkeys(key for record in records for key in record if key.endswith("loss")))
    if not losses or not any("step" in record for record in records):
        return style.message("no step was recorded", title=title, name=name)
    drawn = style.figure(style.ONE_COLUMN_MM + 20, 96)
    style.heading(drawn, title, name)
    above = style.axes_mm(drawn, 16, 12, 86, 48)
    below = style.axes_mm(drawn, 16, 65, 86, 18)
    _draw_losses(above, records, losses)
    _draw_rate(below, records)
    last = max(int(record["step"] or 0) for record in records if "step" in record)
    for axes in (above, below):
        axes.set_xlim(0, max(last, 1))
        axes.yaxis.set_label_coords(-0.105, 0.5)  # one below the other
        style.open_frame(axes)
    above.set_xticklabels([])
    below.set_xlabel("step")
    return drawn


def _draw_losses(axes: Axes, records: Sequence[Mapping[str, float | int | str | None]], losses: Sequence[str]) -> None:
    """Draw every loss of every member; the best of those held out is marked."""
    every: list[Float[np.ndarray, " record"]] = []
    for key in losses:
        words = WORDS.get(key, key.replace("_", " "))
        shade, dashes = LOOKS.get(words, OTHER)
        lines = _lines(records, key)
        for place, (steps, values) in enumerate(lines):
            mark = "o" if len(steps) <= MANY else ""
            label = words if place == 0 else "_"
            axes.plot(steps, values, color=shade, ls=dashes, marker=mark, ms=2.2, mew=0, label=label, alpha=0.9)
            every.append(values)
            if words == "held out":
                best = int(np.argmin(values))
                told = f"least: {number(float(values[best]), 3)} at step {number(int(steps[best]))}"
                label = "_" if place else told if len(lines) == 1 else "least of each member"
                axes.plot(
                    steps[best],
                    values[best],
                    "o",
                    mfc="none",
                    mec="0.1",
                    mew=0.8,
                    ms=6,
                    clip_on=False,
                    zorder=5,
                    label=label,
                )
    if every and min(float(values.min()) for values in every) > 0:
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
    axes.set_ylabel("loss")
    axes.legend(loc="upper right", handlelength=1.6)


def _draw_rate(axes: Axes, records: Sequence[Mapping[str, float | int | str | None]]) -> None:
    lines = _lines(records, "learning_rate")
    most = max((float(values.max()) for _, values in lines), default=0.0)
    power = math.floor(math.log10(most)) if most > 0 else 0
    for steps, values in lines:
        axes.plot(steps, values / 10.0**power, color="0.25")
    if not lines:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center", color=style.QUIET)
    axes.set_ylabel("learning rate" if power == 0 else f"learning rate\n({power_of_ten(power)})")
    axes.set_ylim(bottom=0)


def _lines(
    records: Sequence[Mapping[str, float | int | str | None]], key: str
) -> list[tuple[Float[np.ndarray, " record"], Float[np.ndarray, " record"]]]:
    """Return steps and values of one quantity, for every member that has any."""
    found: dict[object, list[tuple[float, float]]] = {}
    for record in records:
        step, value = record.get("step"), record.get(key)
        if isinstance(step, int | float) and isinstance(value, int | float) and np.isfinite(value):
            found.setdefault(record.get("member"), []).append((float(step), float(value)))
    lines = [np.array(sorted(points)) for points in found.values()]
    return [(points[:, 0], points[:, 1]) for points in lines]
