"""What networks say, in px and pm of the image and in words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Float32

from dipolar.core.comparison import Comparison
from dipolar.core.flags import Flag, has
from dipolar.core.learning import NETWORK_CELL_PX, Prediction
from dipolar.core.nouns import Cells, Field, Reference
from dipolar.learn.networks import Finder, Regressor
from dipolar.learn.predictor import Model, Said, at_points, nearest_to
from dipolar.learn.scale import Seen
from dipolar.learn.targets import GAMMA_UNIT_DEG
from dipolar.recipes.networks import Networks, View, blind

MANY = 0.2
"""Share of unfamiliar cells from which on the whole image is to be doubted."""


def prediction_of(
    model: Model,
    view: View,
    said: Said,
    first: Seen,
    probability: Float32[np.ndarray, "class h w"],
    cells: Cells,
    comparison: Comparison | None,
    reference: Reference | None = None,
) -> Prediction:
    """Return what the networks say, in px of the image, less the offset of a reference, as that of the cells.

    Maps are nan where too little of the image was measured.

    Parameters
    ----------
    model
        The network that told displacement.
    view
        What it saw.
    said
        What it said.
    first
        What the finder saw.
    probability
        What the finder said.
    cells
        The cells, calibrated, with the flags that the network gave them.
    comparison
        Cells fitted beside these, where they were.
    reference
        The region whose mean displacement is zero, where there is one; its uncertainty joins sigma.
    """
    seen, scale = view.seen, np.float32(view.seen.scale)
    points = seen.to_network(cells.positions_px)
    displacement, sigma = said.values[..., :2] / scale, said.sigma / scale
    if reference is not None:
        displacement = displacement - np.array(reference.offset_px, dtype=np.float32)
        sigma = np.hypot(sigma, np.array(reference.offset_sigma_px, dtype=np.float32))
    score = said.unfamiliar if model.familiarity is not None else np.full_like(said.unfamiliar, np.nan)
    nothing = blind(view, window_px=model.card.window_px)
    return Prediction(
        model=model.name,
        sha256=model.card.sha256,
        scale=seen.scale,
        grid_px=field_of(seen, Regressor.stride),
        displacement_px=_within(displacement, seen, nothing),
        sigma_px=_within(sigma, seen, nothing),
        unfamiliar=_within(score, seen, nothing),
        columns=probability,
        columns_grid_px=field_of(first, Finder.stride),
        cell_unfamiliar=nearest_to(score, points),
        fields=cell_fields(at_points(said.values, points), model.card.targets, cells, scale=seen.scale),
        against_fit={} if comparison is None else _agreement(comparison),
        flagged=has(cells.flags, Flag.UNFAMILIAR),
    )


def _within(
    maps: Float32[np.ndarray, "h w *channel"], seen: Seen, nothing: Bool[np.ndarray, "y x"]
) -> Float32[np.ndarray, "y x *channel"]:
    """Return maps without the grid points beyond the image, where it was continued as in a mirror, nan where blind."""
    inside = maps[: -(-seen.shape[0] // Regressor.stride), : -(-seen.shape[1] // Regressor.stride)].copy()
    inside[nothing] = np.nan
    return inside


def _agreement(comparison: Comparison) -> dict[str, float]:
    named = {"dy": comparison.dy, "dx": comparison.dx}
    parts = ("rmse_px", "bias_px", "r2", "slope", "correlation", "zscore_width")
    told = {f"{part}_{name}": float(getattr(one, part)) for name, one in named.items() for part in parts}
    return {"cells": float(np.count_nonzero(comparison.counted)), **told}


def field_of(seen: Seen, stride: int) -> tuple[float, float, float]:
    """Return y and x of the first point of a grid, and its spacing, in image px."""
    y, x = seen.to_image(np.full((1, 2), (stride - 1) / 2.0))[0]
    return float(y), float(x), stride / seen.scale


def cell_fields(
    values: Float[np.ndarray, "cell target"], targets: tuple[str, ...], cells: Cells, *, scale: float
) -> tuple[Field, ...]:
    """Return the cell parameters that a network tells: a, b, gamma, area, in pm where the cells are calibrated.

    Parameters
    ----------
    values
        What it says at every cell, in the units of `dipolar.core.learning.TARGETS`.
    targets
        What each column is.
    cells
        The cells.
    scale
        Network px per image px.
    """
    pm, unit = (1.0, "px") if cells.pixel_size_pm is None else (cells.pixel_size_pm, "pm")
    edge = NETWORK_CELL_PX / scale * pm
    factors = {"a": (edge, 1.0, unit), "b": (edge, 1.0, unit), "area": (edge**2, 1.0, f"{unit}2")}
    factors["gamma"] = (GAMMA_UNIT_DEG, 90.0 / GAMMA_UNIT_DEG, "deg")
    return tuple(
        Field(
            name=f"{target}_{factors[target][2]}",
            unit=factors[target][2],
            positions_px=cells.positions_px,
            values=factors[target][0] * (values[:, column] + factors[target][1]),
            sigma=np.full(len(values), np.nan),
        )
        for column, target in enumerate(targets)
        if target in factors
    )


def network_notes(
    networks: Networks, view: View, prediction: Prediction, *, refined: bool, walls: int = 0
) -> Iterator[str]:
    """Yield the sentences that a reader of a prediction should know.

    Parameters
    ----------
    networks
        The two that found columns and told displacement.
    view
        The image as they saw it.
    prediction
        What the second one said.
    refined
        Whether the columns were fitted.
    walls
        Number of domain walls that were found.
    """
    model, seen = networks.regressor, view.seen
    fitted = ", and fitted" if refined else "; their widths and the noise are not known, and no order is looked for"
    yield (
        f"Displacements were told by a network ({model.name}), not measured by fitting. The columns were found by "
        f"another one ({networks.finder.name}){fitted}."
    )
    if seen.scale != 1.0:
        px = f"from {seen.cell_px:.1f} to {NETWORK_CELL_PX:g} px per unit cell"
        yield f"The image was resampled for the networks, {px}."
    if view.polarity.sign < 0:
        yield "The columns are dark: the image was turned upside down for networks that may know bright columns only."
    if model.card.windows == "sliding":
        yield (
            f"{model.name} learned from windows that slide over images: what it tells at a cell is the mean over the "
            "cells around it, and domain walls come out wider than they are."
        )
    elif walls:
        yield (
            "Widths of walls are upper limits: a network averages over the cells beside each other. To measure widths, "
            "measure the image by fitting: dipolar image measure."
        )
    if model.calibration is None:
        yield f"Sigma is as {model.name} tells it: it was not held against errors in regions held out."
    if model.familiarity is None:
        yield f"{model.name} cannot tell what is unlike its training images: no cell is flagged for that."
    strange, every = int(np.count_nonzero(prediction.flagged)), len(prediction.flagged)
    if strange > MANY * every:
        yield (
            f"{strange} of {every} unit cells are unlike all that {model.name} was trained on: measure this image by "
            "fitting, or train a network on images of its kind."
        )
