"""Expected counts → image: what the detector makes of the electrons."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from dipolar.core.errors import SettingsError


def count(
    expected_counts: Float[np.ndarray, "y x"],
    *,
    rng: np.random.Generator,
    gain: float = 1.0,
    offset: float = 0.0,
    readout: float = 0.0,
) -> Float32[np.ndarray, "y x"]:
    """Return one exposure: Poisson counts times gain, plus offset, plus Gaussian readout noise.

    The variance of a pixel is ``gain * (value - offset) + readout²`` about its mean value.

    Parameters
    ----------
    expected_counts
        Mean number of electrons in each pixel, shape (y, x); nan stays nan.
    rng
        Where the randomness comes from.
    gain
        Units of the image per electron.
    offset
        Value of the image without electrons.
    readout
        Standard deviation of the readout noise, in units of the image.

    Raises
    ------
    SettingsError
        Where the expected counts or the readout noise are negative.
    """
    unknown = np.isnan(expected_counts)
    expected = np.where(unknown, 0.0, expected_counts)
    if expected.min(initial=0.0) < 0 or readout < 0:
        raise SettingsError(
            "Expected counts and readout noise cannot be negative.",
            got=f"least count {expected.min(initial=0.0):.4g}, readout {readout:.4g}",
            do="raise the background, or make readout 0 or more",
        )
    image = rng.poisson(expected) * gain + offset
    if readout > 0:
        image += rng.normal(0.0, readout, size=image.shape)
    image[unknown] = np.nan
    return image.astype(np.float32)
