"""Stacks made by hand, for the tests of unmixing."""

from __future__ import annotations

import numpy as np

from dipolar.core.unmixing import Stack

MEASURED_PX = np.array([[20.0, 0.0], [0.0, 20.0]])


def stack_of(images: np.ndarray, *, normalization: str = "none", channels: tuple[str, ...] = ("image",)) -> Stack:
    """Return a stack of given patches, (patch, y, x) or (patch, channel, y, x), on a square lattice."""
    images = images[:, None] if images.ndim == 3 else images
    count = len(images)
    row, column = np.divmod(np.arange(count), max(int(np.sqrt(count)), 1))
    return Stack(
        images=images.astype(np.float32),
        channels=channels,
        positions_px=20.0 * np.stack([row, column], axis=1) + 30.0,
        site=np.arange(count, dtype=np.int32),
        displacement_px=np.full((count, 2), np.nan),
        displacement_sigma_px=np.full((count, 2), np.nan),
        step_px=1.0,
        lattice_px=MEASURED_PX,
        pixel_size_pm=20.0,
        centred_on="cells",
        normalization=normalization,
    )


def taken(stack: Stack, rows: np.ndarray) -> Stack:
    """Return the stack with these patches, in this order."""
    from dataclasses import replace

    return replace(
        stack,
        images=stack.images[rows],
        positions_px=stack.positions_px[rows],
        site=stack.site[rows],
        displacement_px=stack.displacement_px[rows],
        displacement_sigma_px=stack.displacement_sigma_px[rows],
    )


def blobs(centres: list[tuple[float, float]], edge_px: int = 15, width_px: float = 1.5) -> np.ndarray:
    """Return one picture for each centre (y, x): a Gaussian column."""
    y, x = np.mgrid[:edge_px, :edge_px]
    return np.stack([np.exp(-((y - b) ** 2 + (x - a) ** 2) / (2 * width_px**2)) for b, a in centres])
