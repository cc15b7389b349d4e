"""Brightness and contrast of patches, set alike: each by itself, or all of them together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32

NORMALIZATIONS = ("patch", "stack", "range", "none")
"""Ways to normalise, as they are typed."""
FLAT = 1e-6
"""A patch whose standard deviation is below this share of its largest value is flat: rounding leaves that much."""
CHUNK = 1024
"""Patches at a time."""


def channel_groups(channels: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the channels that are normalised together: the image, and all probabilities."""
    image = tuple(n for n, name in enumerate(channels) if name == "image")
    others = tuple(n for n, name in enumerate(channels) if name != "image")
    return tuple(group for group in (image, others) if group)


def flat_patches(
    images: Float32[np.ndarray, "patch channel y x"], groups: tuple[tuple[int, ...], ...]
) -> Bool[np.ndarray, " patch"]:
    """Return which patches are flat in all channels of a group: they show nothing, and have no scale to be set to."""
    flat = np.zeros(len(images), dtype=bool)
    for part, _, values in _parts(images, groups):
        spread = values.std(axis=(2, 3), dtype=np.float64).max(axis=1)
        largest = np.abs(values).max(axis=(1, 2, 3))
        flat[part] |= spread <= FLAT * largest
    return flat


def normalise(
    images: Float32[np.ndarray, "patch channel y x"], groups: tuple[tuple[int, ...], ...], normalization: str
) -> None:
    """Set brightness and contrast in place, of one group of channels at a time.

    Parameters
    ----------
    images
        Patches, at least one, none of them flat.
    groups
        Channels that share a mean and a scale; see `channel_groups`.
    normalization
        ``patch``, ``stack``, ``range`` or ``none``; see `dipolar.unmix.stack.cut_stack`.
    """
    if normalization == "none":
        return
    if normalization == "patch":
        for part, together, values in _parts(images, groups):
            middle = values.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
            spread = values.std(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
            images[part, together] = (values - middle) / np.where(spread > 0, spread, 1.0)
        return
    for group in groups:
        low, scale = _whole(images, group, normalization)
        for channel in group:
            images[:, channel] -= np.float32(low)
            images[:, channel] /= np.float32(scale)


def _whole(
    images: Float32[np.ndarray, "patch channel y x"], group: tuple[int, ...], normalization: str
) -> tuple[float, float]:
    """Return what is taken off all patches, and what they are divided by then."""
    channels = [images[:, channel] for channel in group]
    if normalization == "range":
        low = min(float(channel.min()) for channel in channels)
        return low, (max(float(channel.max()) for channel in channels) - low) or 1.0
    middle = float(np.mean([channel.mean(dtype=np.float64) for channel in channels]))
    square = 0.0
    for _, _, values in _parts(images, (group,)):
        square += float(np.sum((values - np.float32(middle)) ** 2, dtype=np.float64))
    return middle, float(np.sqrt(square / (len(group) * channels[0].size))) or 1.0


def _parts(
    images: Float32[np.ndarray, "patch channel y x"], groups: tuple[tuple[int, ...], ...]
) -> Iterator[tuple[slice, list[int], Float32[np.ndarray, "part group y x"]]]:
    """Yield which patches, which channels, and a copy of them."""
    for group in groups:
        for start in range(0, len(images), CHUNK):
            part = slice(start, start + CHUNK)
            yield part, list(group), images[part][:, list(group)]
