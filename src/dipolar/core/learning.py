"""The nouns of learning: what networks see, what they say, and what is written on a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from dipolar.core.nouns import Field

NETWORK_CELL_PX = 24.0
"""Edge of a unit cell in pixels of the image that networks see: what makes weights hold from image to image."""
TAKEN_AS_IT_IS = (21.0, 27.0)
"""Edges of a cell, in px, between which an image is not resampled: networks are trained on all of them."""
TARGETS = ("dy", "dx", "a", "b", "gamma", "area")
"""What a regressor tells, in this order: displacement in network px; lengths of the edges over `NETWORK_CELL_PX`
minus 1; the angle between them minus 90°, in units of 10°; area over `NETWORK_CELL_PX`² minus 1."""

Windows = Literal["centered", "sliding"]
"""Where windows stand: on unit cells (C patches), or anywhere (NC patches)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patches:
    """A stack of windows cut from one image, with what is to be learned from each."""

    images: Float32[np.ndarray, "patch y x"]
    """Intensities, as they are in the image."""
    positions_px: Float[np.ndarray, "patch 2"]
    """Middle (y, x) of each window in the image it was cut from."""
    targets: Float[np.ndarray, "patch target"]
    """What is true of each, in the order of `TARGETS`; nan where nothing is known."""
    sigma: Float[np.ndarray, "patch target"]
    """One standard error of each target; nan where unknown."""
    block: Int32[np.ndarray, " patch"]
    """Which region of the image it belongs to; -1 where its window reaches into another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is written on a model: enough to use it rightly, to judge it, and to make it again."""

    kind: Literal["finder", "regressor", "published", "pattern bank", "pattern small", "pattern published"]
    """Finds columns; tells displacement, ours; tells displacement, the published network. Those of patterns tell the
    class of a diffraction pattern, by virtual detectors, a small network, or the published one."""
    architecture: Mapping[str, Any]
    """Options of the network by name."""
    members: int
    """Number of networks in the ensemble."""
    targets: tuple[str, ...]
    """What it tells; empty for a finder, the classes for patterns."""
    window_px: int
    """Edge of the window that it sees, in network px; of a diffraction pattern in px, 0 where it sees detectors."""
    windows: Windows
    """Where windows stood in training."""
    cell_px: float = NETWORK_CELL_PX
    """Edge of a unit cell in the images that it sees; says nothing of diffraction patterns."""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    """Factor on sigma and quantiles of the standardised error, from regions held out."""
    unfamiliar: Mapping[str, Any] = field(default_factory=dict)
    """Thresholds from which on an image is unlike what the network was trained on."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Data, settings, seeds and duration of the training."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """How well it did on regions held out."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """dipolar, Python, PyTorch."""
    created: str = ""
    """UTC time, ISO 8601."""
    sha256: str = ""
    """Of the file of tensors; empty until it is written."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """What a network says of an image: a value with sigma at every point of a grid, and at every cell."""

    model: str
    """Name of the model."""
    sha256: str
    """Of its tensors."""
    scale: float
    """Network px per image px."""
    grid_px: tuple[float, float, float]
    """y and x of the first grid point in the image, and the spacing, in image px."""
    displacement_px: Float32[np.ndarray, "y x 2"]
    """(dy, dx) at every grid point, in image px, less the offset of the reference where there is one; nan, as all maps,
    where too little was measured."""
    sigma_px: Float32[np.ndarray, "y x 2"]
    """One standard error of each, recalibrated."""
    unfamiliar: Float32[np.ndarray, "y x"]
    """How unlike the training images the neighbourhood is; above 1 the flag is set."""
    columns: Float32[np.ndarray, "class h w"] | None
    """Probability of A, of B and of background at every point of the finder's grid, where a finder ran."""
    columns_grid_px: tuple[float, float, float]
    """The same as `grid_px` for `columns`."""
    cell_unfamiliar: Float[np.ndarray, " cell"]
    """The score at every cell of the table."""
    fields: tuple[Field, ...] = ()
    """Cell parameters at every cell, where the model tells them."""
    against_fit: Mapping[str, float] = field(default_factory=dict)
    """Agreement with the column fit, where both were made."""
    flagged: Bool[np.ndarray, " cell"] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """Cells whose neighbourhood is unfamiliar."""
