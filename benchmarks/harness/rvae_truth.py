"""What a rotation-invariant autoencoder says, held against true directions."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dipolar.core.units import angle_deg, magnitude
from dipolar.core.unmixing import Angles, Components, Stack
from dipolar.learn.rvae import train_rvae
from dipolar.learn.rvae_settings import RvaeSettings


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


def trained(stack: Stack, settings: RvaeSettings, *, seed: int) -> tuple[Angles, float]:
    """Return the angles that one seed finds, and its CPU seconds."""
    start = time.process_time()
    found = Rvae(settings=settings).unmix(stack, rng=np.random.default_rng(seed))
    assert found.angles is not None
    return found.angles, time.process_time() - start


def direction_error(vectors: np.ndarray, true: np.ndarray, *, least: float) -> float:
    """Return the median error in direction of vectors, where the true ones are longer than that."""
    long = magnitude(true) > least
    return float(np.nanmedian(off(angle_deg(vectors[long]), angle_deg(true[long]))))
