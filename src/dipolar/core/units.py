"""Angles and lengths as the project writes them: screen angles counter-clockwise, lengths in px or pm."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def angle_deg(vectors: Float[np.ndarray, "*rows 2"]) -> Float[np.ndarray, "*rows"]:
    """Return the counter-clockwise angle, as seen on the screen, of `(dy, dx)` vectors, in degrees (-180, 180].

    y points down on the screen, hence ``arctan2(-dy, dx)``.

    >>> angle_deg(np.array([[-1.0, 0.0]]))  # straight up
    array([90.])
    """
    return np.degrees(np.arctan2(-vectors[..., 0] + 0.0, vectors[..., 1]))


def magnitude(vectors: Float[np.ndarray, "*rows 2"]) -> Float[np.ndarray, "*rows"]:
    """Return the length of `(dy, dx)` vectors, in their own unit."""
    return np.hypot(vectors[..., 0], vectors[..., 1])
