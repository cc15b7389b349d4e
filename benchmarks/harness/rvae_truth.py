"""What a rotation-invariant autoencoder says, held against true directions."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dipolar.core.units import angle_deg, magnitude
from dipolar.core.unmixing import Angles, Components, Stack
from dipolar.learn.rvae import train_rvae
from dipolar.learn.rvae_settings import RvaeSettings
from dipolar.simulate import FOUR_VARIANTS
from harness.labelled import Patched


@dataclass(frozen=True, slots=True, kw_only=True)
class Rvae:
    """The autoencoder as a way among others."""

    settings: RvaeSettings = RvaeSettings()  # noqa: RUF009 (frozen)

    def unmix(self, stack: Stack, *, rng: np.random.Generator) -> Components:
        """Return what it makes of a stack."""
        return train_rvae(stack, self.settings, seed=int(rng.integers(2**31 - 1)))


def off(angle: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the size of the difference of directions in degrees."""
    return np.abs((angle - true + 180.0) % 360.0 - 180.0)


def right(angles: Angles, variant: np.ndarray, directions: np.ndarray) -> float:
    """Return the share of patches whose angle is nearest to the direction of their variant; nan without variants."""
    if not (variant >= 0).any():
        return float("nan")
    nearest = np.argmin(off(angles.angle_deg[:, None], directions[None]), axis=1)
    known = variant >= 0
    return float(np.mean(nearest[known] == variant[known]))


def direction_error(vectors: np.ndarray, true: np.ndarray, *, least: float) -> float:
    """Return the median error in direction of vectors, where the true ones are longer than that."""
    long = magnitude(true) > least
    return float(np.nanmedian(off(angle_deg(vectors[long]), angle_deg(true[long]))))


def figures_of(known: Patched, *, seed: int, least_pm: float = 20.0) -> dict[str, float | str]:
    """Return what one training finds of true directions."""
    start = time.process_time()
    angles = Rvae().unmix(known.stack, rng=np.random.default_rng(seed)).angles
    cpu_s = time.process_time() - start
    assert angles is not None
    least = least_pm / (known.stack.pixel_size_pm or 1.0)
    long = magnitude(known.displacement_px) > least
    true = angle_deg(known.displacement_px)
    return {
        "right": right(angles, known.variant, np.array(FOUR_VARIANTS)),
        "angle": float(np.median(off(angles.angle_deg, true)[long])),
        "dipole": direction_error(angles.dipole_px, known.displacement_px, least=least),
        "cpu_s": cpu_s,
        "verdict": angles.verdict,
    }
