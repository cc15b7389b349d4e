"""The probability of A, of B and of background at every pixel of an image, as a network tells them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import map_coordinates

from dipolar.core.contracts import Progress
from dipolar.core.measurement import Measurement
from dipolar.learn.networks import Finder
from dipolar.learn.predictor import find_columns
from dipolar.recipes.models import open_model
from dipolar.recipes.networks import focus, look
from dipolar.recipes.overview import contrast_of

PROBABILITIES = ("A", "B", "background")
"""Names of the channels, in their order."""


def probability_channels(
    measured: Measurement, finder: str | None, *, progress: Progress
) -> tuple[Float32[np.ndarray, "3 y x"], dict[str, str]]:
    """Return the three probabilities at every pixel, nan where nothing was measured; and sha256 of the network by file.

    The network tells them at every second pixel of an image with about 24 px per cell; between these they are linear.

    Parameters
    ----------
    measured
        The image with its columns.
    finder
        The network; None: the one that dipolar brings along.
    progress
        Told how far it has come.

    Raises
    ------
    ImageError
        If the image is signed, or its cells have a size that networks cannot see.
    """
    network = open_model(finder, "finder")
    view = focus(look(measured.image, contrast=contrast_of(measured)), measured.columns)
    _, fields = find_columns(network, view.seen, progress=progress)
    tall, wide = measured.image.data.shape
    y, x = (
        (view.seen.to_network(np.stack([np.arange(size, dtype=np.float64)] * 2, axis=1))[:, 0] - middle) / Finder.stride
        for size, middle in ((tall, (Finder.stride - 1) / 2.0), (wide, (Finder.stride - 1) / 2.0))
    )
    places = np.meshgrid(y, x, indexing="ij")
    channels = np.stack([map_coordinates(field, places, order=1, mode="nearest") for field in fields])
    channels = np.where(np.isfinite(measured.image.data), channels, np.float32(np.nan)).astype(np.float32)
    return channels, {f"{network.name}.safetensors": network.card.sha256} if network.card.sha256 else {}
