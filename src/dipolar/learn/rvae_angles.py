"""From what a network says to angles on the screen: zero and sense, variants, pictures, verdict."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from dipolar.core import units
from dipolar.core.circular import Variants, find_variants, most_probable, register, wrap_deg
from dipolar.core.unmixing import LOCKED_DEG, Angles, Stack
from dipolar.learn.rvae_diagnosis import Told, diagnose
from dipolar.learn.rvae_network import TurningRvae
from dipolar.learn.rvae_patches import Patches
from dipolar.learn.rvae_published import PublishedRvae
from dipolar.learn.rvae_reading import Reading
from dipolar.learn.rvae_sigma import ENOUGH, trust
from dipolar.learn.rvae_start import Start
from dipolar.learn.rvae_training import Course

AGREES = 0.3
"""Least agreement of the angle with directions for its zero to be set by them."""
WHEEL = 16
"""Pictures once around."""
SPAN = 5
"""Pictures along an axis of the manifold, over -2 to 2 sigma."""
SURE_DEG = 45.0
"""Angles less sure than this do not count where peaks of the histogram are looked for."""


def angles_of(
    stack: Stack,
    patches: Patches,
    reading: Reading,
    network: TurningRvae | PublishedRvae,
    *,
    course: Course,
    searches: list[Start],
    told: Told,
) -> Angles:
    """Return angles with all that is known of them.

    A patch is of no variant where the dipole that is drawn is not the one that was measured: between two variants, as
    in a wall, networks draw one of them, and are sure of it.

    Where the angle has locked to the lattice, peaks of its histogram are the lattice's: variants are then those of the
    directions of the dipole that is drawn, if these have any.
    """
    dipole = reading.dipole * patches.scale
    sense, zero, registered = _registered(stack, reading, dipole, sense_known=isinstance(network, TurningRvae))
    angle = wrap_deg(sense * reading.angle_deg + zero)
    rest = [reading.latent] if reading.offset is None else [reading.latent, reading.offset]
    measured, measured_sigma = stack.displacement_px, stack.displacement_sigma_px
    if np.isfinite(measured).all(axis=1).sum() < ENOUGH:  # what is seen in a patch errs more, and by an unknown amount
        measured, measured_sigma = reading.dipole_seen * patches.scale, np.zeros_like(dipole)
    sure = trust(
        angle_deg=angle,
        posterior_deg=reading.sigma_deg,
        dipole=dipole,
        dipole_spread=reading.dipole_spread * patches.scale,
        measured=measured,
        measured_sigma=measured_sigma,
    )
    found = diagnose(
        angle_deg=angle,
        sigma_deg=reading.sigma_deg,
        dipole=dipole,
        told=sure.told,
        measured=stack.displacement_px,
        measured_sigma=stack.displacement_sigma_px,
        rest=np.concatenate(rest, axis=1),
        evidence=searches[0].evidence if searches else math.nan,
        network=told,
    )
    if found.verdict in ("good", "doubtful") and found.figures["dipole_about_angle_deg"] > LOCKED_DEG:
        length = np.linalg.norm(dipole, axis=1)
        error = np.degrees(sure.dipole_sigma[:, 0] / np.where(sure.told, length, np.nan))
        variants = find_variants(np.where(sure.told, units.angle_deg(dipole), np.nan), error)
    else:
        variants = _variants(reading, angle, told=sure.told, sense=sense, zero=zero)
    return Angles(
        angle_deg=angle,
        sigma_deg=sure.angle_sigma_deg,
        variant=np.where(sure.like, variants.variant, np.int32(-1)),
        posterior=variants.posterior,
        variant_deg=variants.direction_deg,
        dipole_px=dipole,
        dipole_sigma_px=sure.dipole_sigma,
        offset_px=None if reading.offset is None else reading.offset * patches.scale,
        offset_sigma_px=None if reading.offset_sigma is None else reading.offset_sigma * patches.scale,
        latent=reading.latent,
        latent_sigma=reading.latent_sigma,
        registered=registered,
        sense=sense,
        zero_deg=zero,
        wheel=_wheel(network, reading, sense=sense, zero=zero, side=stack.images.shape[-1]),
        manifold=_manifold(network, side=stack.images.shape[-1]),
        diagnosis=found.figures,
        verdict=found.verdict,
        remedy=found.remedy,
        history=tuple(course.history),
    )


def _registered(
    stack: Stack, reading: Reading, dipole: Float[np.ndarray, "patch 2"], *, sense_known: bool
) -> tuple[Literal[1, -1], float, bool]:
    """Return sense, zero, and whether measured displacements set them; else the dipole drawn does, if it can be read.

    Both are of the column in the middle against those around it, whichever it is. A network that turns with the patch
    has the sense of the screen by construction.
    """
    own, sure = reading.angle_deg, reading.sigma_deg < SURE_DEG
    sigma = stack.displacement_sigma_px
    measured = register(own, stack.displacement_px, sigma, rows=sure, sense_known=sense_known)
    if measured is not None and measured.agreement > max(AGREES, 3.0 / math.sqrt(measured.count)):
        return measured.sense, measured.zero_deg, True
    drawn = register(own, dipole, rows=sure, sense_known=sense_known)
    if drawn is not None and drawn.agreement > AGREES:
        return drawn.sense, drawn.zero_deg, False
    return 1, 0.0, False


def _variants(
    reading: Reading, angle: Float[np.ndarray, " patch"], *, told: Bool[np.ndarray, " patch"], sense: int, zero: float
) -> Variants:
    """Return peaks of the histogram; where the posterior is a sum over directions, each goes to the nearest peak.

    Patches without a dipole that is told from zero are of no variant.
    """
    angle = np.where(told, angle, np.nan)
    sure = np.where(reading.sigma_deg < SURE_DEG, angle, np.nan)
    fitted = find_variants(sure, reading.sigma_deg)
    peaks = fitted.direction_deg
    if not len(peaks):
        return fitted
    if not reading.weight.shape[1]:
        everywhere = find_variants(angle, reading.sigma_deg)
        return everywhere if len(everywhere.direction_deg) else fitted
    directions = wrap_deg(sense * reading.direction_deg + zero)
    nearest = np.abs(wrap_deg(directions[..., None] - peaks)).argmin(axis=-1)
    posterior = np.stack([np.where(nearest == k, reading.weight, 0.0).sum(axis=1) for k in range(len(peaks))], axis=1)
    posterior = np.where(told[:, None], posterior / posterior.sum(axis=1, keepdims=True), np.nan)
    return Variants(
        direction_deg=peaks,
        spread_deg=fitted.spread_deg,
        share=fitted.share,
        posterior=posterior,
        variant=most_probable(posterior),
    )


def _wheel(
    network: TurningRvae | PublishedRvae, reading: Reading, *, sense: int, zero: float, side: int
) -> Float32[np.ndarray, "step channel y x"]:
    """Return what is drawn for angles 0, 22.5, ... degrees, latents at their means."""
    latent = torch.from_numpy(reading.latent.mean(axis=0, keepdims=True)).float()
    angles = sense * (np.arange(WHEEL) * 360.0 / WHEEL - zero)
    with torch.no_grad():
        pictures = [network.picture(latent, math.radians(float(angle)), side=side) for angle in angles]
    return torch.cat(pictures).numpy()


def _manifold(network: TurningRvae | PublishedRvae, *, side: int) -> Float32[np.ndarray, "row column channel y x"]:
    """Return what is drawn over the first two latents (first down, second right), others 0, angle 0."""
    latents = network.latents
    ticks = torch.linspace(-2.0, 2.0, SPAN)
    down, right = (ticks if latents > 1 else torch.zeros(1)), (ticks if latents else torch.zeros(1))
    latent = torch.zeros(len(down), len(right), latents)
    if latents == 1:
        latent[..., 0] = right
    elif latents:
        latent[..., 0], latent[..., 1] = down[:, None], right
    with torch.no_grad():
        pictures = network.picture(latent.flatten(0, 1), side=side)
    return torch.unflatten(pictures, 0, (len(down), len(right))).numpy()
