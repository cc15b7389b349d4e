"""Which way the columns stand out: bright, dark (ABF) or signed (iDPC, DPC); inside, columns are always bright.

A dark image is turned upside down before anything else is done, and what was found is turned back at the end:
amplitudes of dark columns are negative, backgrounds and the variance line are those of the image as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

from dipolar.core.errors import ImageError
from dipolar.core.nouns import Noise

Contrast = Literal["auto", "bright", "dark", "signed"]
Slope = Literal["rising", "free", "none"]

LEAST_SKEWNESS = 0.3
SIGNED_SHARE = 0.2
"""Of a signed image, the weaker sign reaches at least this share of the stronger one's 2nd or 98th percentile."""
MOST_SAMPLES = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Polarity:
    """How to look at an image so that its columns are bright."""

    kind: Literal["bright", "dark", "signed"]
    """What the contrast is."""
    sign: float
    """1, or -1 where the image must be turned upside down."""

    @property
    def slope(self) -> Slope:
        """Which slope the variance line may have in the turned image.

        Electrons counted on a dark ground make it rise. Turned upside down, it falls where electrons were counted, and
        rises where somebody stored the negative of a dark-field image: the residuals decide. A signed image is made of
        differences or integrals over the whole detector, whose noise does not know the intensity.
        """
        slopes: dict[str, Slope] = {"bright": "rising", "dark": "free", "signed": "none"}
        return slopes[self.kind]

    def turned(self, data: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
        """Return the image with bright columns; the same array where it has them already."""
        return data if self.sign > 0 else -data

    def noise(self, noise: Noise) -> Noise:
        """Return the noise of the image as it is, from that of the turned one."""
        return replace(noise, gain=self.sign * noise.gain + 0.0)


def find_polarity(
    data: Float32[np.ndarray, "y x"],
    filtered: Float32[np.ndarray, "y x"],
    valid: Bool[np.ndarray, "y x"],
    *,
    contrast: Contrast = "auto",
) -> Polarity:
    """Return how the columns stand out.

    Columns are peaks on a plain, so the intensities at their scale are skewed towards high values where they are bright
    (0.9 to 1.9 in the HAADF and ADF images looked at) and towards low ones where they are dark (-0.5 in ABF). A signed
    image has values on both sides of zero, which no count of electrons has; atoms are bright in it unless it is skewed
    the other way.

    Parameters
    ----------
    data
        The image.
    filtered
        The second of `peaks.column_scales`.
    valid
        Where it was measured.
    contrast
        What the user says; "auto" to find out.

    Raises
    ------
    ImageError
        If the image plainly has another contrast than the one named, or none of them.
    """
    skewness = _skewness(filtered, valid)
    if contrast == "signed" or (contrast == "auto" and both_signs(data, valid)):
        return Polarity(kind="signed", sign=-1.0 if skewness < -LEAST_SKEWNESS else 1.0)
    sign = {"auto": np.sign(skewness), "bright": 1.0, "dark": -1.0}[contrast]
    least = LEAST_SKEWNESS if contrast == "auto" else -LEAST_SKEWNESS
    if not sign * skewness >= least:
        raise _refusal(skewness, contrast)
    return Polarity(kind="bright" if sign > 0 else "dark", sign=float(sign))


def _skewness(filtered: Float32[np.ndarray, "y x"], valid: Bool[np.ndarray, "y x"]) -> float:
    stride = max(1, int(np.sqrt(filtered.size / MOST_SAMPLES)))
    values = filtered[::stride, ::stride][valid[::stride, ::stride]].astype(np.float64)
    values -= values.mean()
    return float(np.mean(values**3) / max(float(np.mean(values**2)), 1e-30) ** 1.5)


def both_signs(data: Float32[np.ndarray, "y x"], valid: Bool[np.ndarray, "y x"]) -> bool:
    """Return whether an image has values on both sides of zero, as no count of electrons has."""
    stride = max(1, int(np.sqrt(data.size / MOST_SAMPLES)))
    values = data[::stride, ::stride][valid[::stride, ::stride]]
    low, high = np.percentile(values, [2.0, 98.0])
    return bool(low < 0 < high and min(-low, high) > SIGNED_SHARE * max(-low, high))


def _refusal(skewness: float, contrast: Contrast) -> ImageError:
    if contrast == "auto":
        return ImageError(
            "columns that stand out were expected: bright (HAADF, ADF), dark (ABF), or in a signed image (iDPC, DPC).",
            got=f"intensities skewed by {skewness:.2f}, neither to the bright nor to the dark side by "
            f"{LEAST_SKEWNESS} or more",
            do='if you know which they are, say so: contrast="bright" or contrast="dark"',
        )
    seen = "dark columns, as in bright field (ABF)" if skewness < 0 else "bright columns, as in dark field (HAADF, ADF)"
    return ImageError(
        f"{contrast} columns were expected.",
        got=f"{seen}: intensities skewed by {skewness:.2f}",
        do='leave contrast="auto", or name the other one',
    )


def saturated_pixels(
    data: Float32[np.ndarray, "y x"], ceiling: float, points_px: Float[np.ndarray, "column 2"], radius_px: float
) -> np.ndarray:
    """Return how many pixels at the detector's ceiling lie in a square of this half width around each point, (column,).

    For dark columns: in the turned image saturated pixels are low, and the fit's own count looks for high ones.
    """
    full = data >= ceiling
    reach = max(1, round(radius_px))
    total = np.zeros((data.shape[0] + 1, data.shape[1] + 1), dtype=np.int64)
    total[1:, 1:] = full.cumsum(axis=0).cumsum(axis=1)
    at = np.rint(points_px).astype(int)
    low = np.clip(at - reach, 0, np.array(data.shape))
    high = np.clip(at + reach + 1, 0, np.array(data.shape))
    return (
        total[high[:, 0], high[:, 1]]
        - total[low[:, 0], high[:, 1]]
        - total[high[:, 0], low[:, 1]]
        + total[low[:, 0], low[:, 1]]
    )
