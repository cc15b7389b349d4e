"""Noise put on an image that has been recorded already, as published studies of noise do."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from dipolar.core.errors import DataError, SettingsError

PUBLISHED_VARIANCES = (0.001, 0.01, 0.02, 0.05, 0.2)
"""Variances of the published study of noise, 10, 100, 200, 500 and 2000 times 10⁻⁴, for images scaled to [0, 1]."""


def with_gaussian_noise(
    data: Float[np.ndarray, "y x"], *, variance: float, rng: np.random.Generator
) -> Float32[np.ndarray, "y x"]:
    """Return the image with white Gaussian noise, as scikit-image's ``random_noise(mode="gaussian")`` adds it.

    With low and high the least and the greatest value of the image, ``s = (data - low) / (high - low)`` lies in [0, 1].
    Noise of mean 0 and that variance is added to s; what leaves [0, 1] is cut to 0 or 1, as is scikit-image's default;
    then ``s (high - low) + low`` brings the image back to its own scale. In the image's units the standard deviation
    of the noise is therefore ``sqrt(variance) (high - low)`` before cutting. Cutting makes it smaller near the least
    and the greatest value and shifts the mean there: at a variance of 0.2 more than a third of the pixels of a
    typical image are cut. One outlying pixel changes the scale, and with it the noise everywhere.

    Parameters
    ----------
    data
        The image; nan stays nan and does not count for the scale.
    variance
        Variance of the noise on the scale of [0, 1]; `PUBLISHED_VARIANCES` are those of the published study.
    rng
        Draws the noise.

    Raises
    ------
    SettingsError
        Where the variance is negative or not a number.
    DataError
        Where the image has no two different values, so that it cannot be scaled.
    """
    from skimage.util import random_noise

    if not variance >= 0:
        raise SettingsError("The variance of noise cannot be negative.", got=str(variance))
    known = np.isfinite(data)
    low, high = (float(np.min(data[known])), float(np.max(data[known]))) if known.any() else (0.0, 0.0)
    if not high > low:
        raise DataError(
            "An image must have at least two different values to be scaled to [0, 1].",
            got=f"{np.count_nonzero(known)} finite pixels from {low:.4g} to {high:.4g}",
        )
    scaled = np.where(known, (data.astype(np.float64) - low) / (high - low), 0.0)
    noisy = random_noise(np.clip(scaled, 0.0, 1.0), mode="gaussian", rng=rng, var=variance)  # type: ignore[no-untyped-call]
    result: Float32[np.ndarray, "y x"] = np.where(known, noisy * (high - low) + low, np.nan).astype(np.float32)
    return result
