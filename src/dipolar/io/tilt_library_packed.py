"""Stamps in few numbers: their principal components, and whole numbers for how much of each is in a stamp."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Complex64, Float, Float32, Float64, Int32, Int64

from dipolar.core.errors import SettingsError

SIGMA_PM = 17.0
"""Sigma of the blur under which stamps are kept exactly: a source of 40 pm at half maximum, a very small one."""
ERROR = 2e-4
"""Largest RMS error of an image, over its contrast."""
TRIES = 8
"""How often rank and steps are made finer until the error that is measured is small enough."""
POINTS = 24
"""Points along each edge at which the contrast of an image is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packed:
    """Stamps of A and B in many runs, at all thicknesses and foci."""

    scores: Int32[np.ndarray, "stamp component"]
    """How much of each component is in each stamp, in units of `step`."""
    basis: Int32[np.ndarray, "component part"]
    """Components, in units of `basis_steps`."""
    step: float
    """Unit of all scores."""
    basis_steps: Float64[np.ndarray, " component"]
    """Units of the components."""
    contrast: Float32[np.ndarray, " stamp"]
    """Factor of each stamp: the contrast (largest less smallest value) of its image."""
    error: float
    """Largest RMS error of an image over its contrast, blurred by `SIGMA_PM`, A and B together."""
    sharp_error: float
    """The same without blur, over the same contrast."""


def packed(
    stamps: Complex64[np.ndarray, "stamp 2 term"], orders: Int64[np.ndarray, "term 2"], cell_pm: float
) -> Packed:
    """Return stamps packed so that no image has an RMS error above `ERROR` of its contrast.

    Parameters
    ----------
    stamps
        Of A and of B.
    orders, cell_pm
        As in `TiltLibrary`.

    Raises
    ------
    SettingsError
        If an image has so little contrast on so much ground that its stamps are not known so well.
    """
    weights = _weights(orders, cell_pm)
    contrast = _contrast(stamps, orders, cell_pm)
    wanted = _parts(stamps * weights) / contrast[:, None].astype(np.float64)
    left, values, components = np.linalg.svd(wanted, full_matrices=False)
    scores = left * values
    # what is left of each image when components from there on are left out
    tails = np.sqrt(np.cumsum(np.square(scores)[:, ::-1], axis=1)[:, ::-1].max(axis=0))
    for number in range(TRIES):
        finer = 0.7 * 0.6**number * ERROR
        rank = max(1, int(np.count_nonzero(tails > finer)))
        step = finer * np.sqrt(6.0 / rank)
        largest = np.abs(scores[:, :rank]).max(axis=0)
        basis_steps = finer * np.sqrt(6.0 / (rank * components.shape[1])) / np.maximum(largest, step)
        found = Packed(
            scores=np.rint(scores[:, :rank] / step).astype(np.int32),
            basis=np.rint(components[:rank] / basis_steps[:, None]).astype(np.int32),
            step=float(step), basis_steps=basis_steps, contrast=contrast, error=0.0, sharp_error=0.0,
        )  # fmt: skip
        wrong = unpacked(found, orders, cell_pm) - stamps
        error, sharp = (_largest_rms(wrong * by, contrast) for by in (weights, weights / _blur(orders, cell_pm)))
        if error <= ERROR:
            return replace(found, error=error, sharp_error=sharp)
    raise SettingsError(
        f"images of a library must be known to {ERROR:g} of their contrast.",
        got=f"stamps that are not: {error:.2g}",
        do="leave out thicknesses and foci at which there is next to no contrast",
    )


def unpacked(
    found: Packed, orders: Int64[np.ndarray, "term 2"], cell_pm: float
) -> Complex64[np.ndarray, "stamp 2 term"]:
    """Return the stamps, for each of which `ERROR` holds.

    Parameters
    ----------
    found
        From `packed`.
    orders, cell_pm
        As they were there.
    """
    basis = (found.basis * found.basis_steps[:, None]).astype(np.float32)
    parts = (found.scores * np.float32(found.step)) @ basis * found.contrast[:, None]
    terms = len(orders)
    real, imaginary = np.split(parts.reshape(-1, 2, 2 * terms), 2, axis=-1)
    return (real + 1j * imaginary).astype(np.complex64) / _weights(orders, cell_pm).astype(np.float32)


def _parts(stamps: Complex64[np.ndarray, "stamp 2 term"] | np.ndarray) -> Float64[np.ndarray, "stamp part"]:
    return np.concatenate([stamps.real, stamps.imag], axis=-1).reshape(len(stamps), -1).astype(np.float64)


def _blur(orders: Int64[np.ndarray, "term 2"], cell_pm: float) -> Float[np.ndarray, " term"]:
    """Return what the blur leaves of each term."""
    return np.exp(-2.0 * np.square(np.pi * SIGMA_PM / cell_pm) * np.sum(np.square(orders), axis=1))


def _weights(orders: Int64[np.ndarray, "term 2"], cell_pm: float) -> Float[np.ndarray, " term"]:
    """Return factors of terms with which their squares add up to the mean square of a blurred image."""
    both = np.where(np.any(orders != 0, axis=1), np.sqrt(2.0), 1.0)  # the opposite terms are not written down
    return both * _blur(orders, cell_pm)


def _contrast(
    stamps: Complex64[np.ndarray, "stamp 2 term"], orders: Int64[np.ndarray, "term 2"], cell_pm: float
) -> Float32[np.ndarray, " stamp"]:
    """Return the contrast of the blurred image of each, B in the middle of the cell; one where there is none."""
    half = np.exp(-1j * np.pi * orders.sum(axis=1))
    axis = np.arange(POINTS) / POINTS
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    waves = np.exp(2j * np.pi * (orders @ places.T)) * (_weights(orders, cell_pm) * _doubled(orders))[:, None]
    images = ((stamps[:, 0] + stamps[:, 1] * half) @ waves).real
    found = np.ptp(images, axis=1)
    return np.where(found > 0, found, 1.0).astype(np.float32)


def _doubled(orders: Int64[np.ndarray, "term 2"]) -> Float[np.ndarray, " term"]:
    """Return what is missing in `_weights` to add terms up to an image, and not their squares."""
    return np.where(np.any(orders != 0, axis=1), np.sqrt(2.0), 1.0)


def _largest_rms(parts: np.ndarray, contrast: Float32[np.ndarray, " stamp"]) -> float:
    """Return the largest root of the sum of squares of a stamp's parts, over the contrast."""
    squares = np.square(np.abs(parts.astype(np.complex128))).sum(axis=(1, 2))
    return float(np.sqrt(squares / np.square(contrast.astype(np.float64))).max())
