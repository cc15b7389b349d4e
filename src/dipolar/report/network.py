"""The networks behind a prediction: what they are, how well they did where that is known, how far to trust them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dipolar.core.learning import Card
from dipolar.core.measurement import Measurement

from . import scene
from .comparison import comparison_figure
from .table import Row
from .wording import counted, name_and_unit, number

SHORT = 12
"""Letters of a checksum that tell it from any other."""
MOST_NAMES = 4
"""Training images that are named one by one."""
DOES = {
    "finder": "finds columns",
    "regressor": "tells displacement",
    "published": "tells displacement; the published network",
}


def beside_the_fit(measurement: Measurement) -> Figure | None:
    """Return the prediction beside the image measured by fitting; None where that was not asked for."""
    found = measurement.findings
    if found.comparison is None or found.fitted is None or found.prediction is None:
        return None
    fitted = replace(measurement, columns=found.fitted.columns, cells=found.fitted.cells)
    return comparison_figure(fitted, found.comparison, model=found.prediction.model)


def network_rows(measurement: Measurement) -> Iterator[Row]:
    """Yield what the table says of the networks; nothing where there were none."""
    found, section = measurement.findings, "Networks"
    if found.prediction is None:
        return
    said, unit = found.prediction, scene.unit_of(measurement)
    yield Row(section, "displacement told by", said.model, "not measured by fitting")
    resampled = "the image as it is" if said.scale == 1.0 else "the image was resampled"
    yield Row(section, "network px per image px", number(said.scale, 4), resampled)
    known = np.isfinite(said.cell_unfamiliar)
    if known.any():
        strange = int(np.count_nonzero(said.flagged))
        share = f"{number(strange)} ({number(100 * strange / known.size, 2)} %)"
        yield Row(section, "cells unlike the training images", share, "flagged; in no median and no colour")
        middle = scene.median(said.cell_unfamiliar)
        yield Row(section, "median unfamiliarity", number(middle, 2), "1 is exceeded by 2 % of the cells held out")
    else:
        yield Row(section, "cells unlike the training images", "unknown", "the network cannot tell")
    if found.places is not None:
        yield Row(section, "places to look next", number(len(found.places.reason)), "places.csv")
    for card in found.cards:
        yield from _card_rows(card, scale=unit.scale / said.scale, unit=unit.name)
    if found.comparison is not None:
        rows = (("dy", found.comparison.dy), ("dx", found.comparison.dx))
        for name, part in rows:
            value = f"{number(unit.scale * part.rmse_px, 3)} {unit.name}"
            note = f"mean {number(unit.scale * part.bias_px, 2)} {unit.name}, R² {number(part.r2, 3)}"
            yield Row("Beside the fit", f"RMS difference of {name}", value, note)
        compared = int(np.count_nonzero(found.comparison.counted))
        yield Row("Beside the fit", "cells compared", number(compared))


def _card_rows(card: Card, *, scale: float, unit: str) -> Iterator[Row]:
    """Yield what is written on a network; `scale` is the length of a network px in the unit of the page."""
    section = f"Network that {DOES[card.kind].partition(';')[0]}"
    yield Row(section, "kind", card.kind, f"{DOES[card.kind]}; {counted(card.members, 'member')}")
    yield Row(section, "sha256", card.sha256[:SHORT] or "none", "of the file of its tensors, first letters")
    stand = {"centered": "windows on unit cells", "sliding": "windows anywhere"}[card.windows]
    yield Row(section, "window", f"{card.window_px} network px", f"{stand}; {number(card.cell_px)} px per cell")
    yield Row(section, "trained on", _trained_on(card.training), _listed(card.training))
    held_out = card.metrics.get("rms_network_px")
    if isinstance(held_out, float | int) and math.isfinite(held_out):
        value = f"{number(scale * held_out, 3)} {unit}"
        yield Row(section, "RMS error on what was held out", value, f"{number(held_out, 3)} network px per component")
    rest = [_in_words(name, value) for name, value in card.metrics.items() if name not in ("rms_network_px", "rms_px")]
    if any(rest):
        yield Row(section, "held out", ", ".join(words for words in rest if words))
    yield Row(section, "made", card.created or "unknown", _listed(card.versions))


def _trained_on(training: Mapping[str, Any]) -> str:
    """Return which images or films taught a network."""
    images = training.get("images")
    if isinstance(images, Mapping) and images:
        names = list(map(str, images))
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        return ", ".join(names[:MOST_NAMES]) + more
    return f"{number(training['films'])} films drawn at random" if "films" in training else "unknown"


def _in_words(name: str, value: Any) -> str:
    """Return a mark with its name; nothing where it has no value."""
    if isinstance(value, bool) or not isinstance(value, float | int) or not math.isfinite(value):
        return ""
    if name.startswith("coverage_"):
        return f"intervals of {name.removeprefix('coverage_')} % cover {number(100 * value, 3)} %"
    words = {"r2": "R²", "zscore_width": "width of error / sigma"}.get(name)
    return f"{words or name.replace('_', ' ')} {number(value, 3)}"


def _listed(values: Mapping[str, Any]) -> str:
    """Return the plain values of a mapping in one line."""
    parts = []
    for key, value in values.items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            name, unit = name_and_unit(key)
            parts.append(f"{name} {number(value, 4)}{' ' + unit if unit else ''}")
    return ", ".join(parts)
