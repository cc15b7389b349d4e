"""What a trained autoencoder says of every patch: angle, latents, offset, and the dipole that it draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dipolar.core.circular import spread_deg, wrap_deg
from dipolar.learn.equivariant import TURNS
from dipolar.learn.rvae_dipole import lattice_turn, read_dipoles
from dipolar.learn.rvae_network import TurningRvae
from dipolar.learn.rvae_patches import Patches
from dipolar.learn.rvae_training import posterior

AT_ONCE = 500
"""Patches that are read together."""
LAGS = 3
"""Distance in px up to which what is left over is correlated."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """Of every patch, in the network's own angle (counter-clockwise, any zero)."""

    angle_deg: Float[np.ndarray, " patch"]
    """Mean direction of the posterior."""
    sigma_deg: Float[np.ndarray, " patch"]
    """Its circular standard deviation."""
    weight: Float[np.ndarray, "patch direction"]
    """Probability of each direction; without columns where the posterior is no sum over directions."""
    direction_deg: Float[np.ndarray, "patch direction"]
    """What each direction is for each patch, the pose within the step included."""
    latent: Float[np.ndarray, "patch latent"]
    """Means of the further latents."""
    latent_sigma: Float[np.ndarray, "patch latent"]
    """Their sigma."""
    offset: Float[np.ndarray, "patch 2"] | None
    """Translation (dy, dx) on the screen, in px of the network."""
    offset_sigma: Float[np.ndarray, "patch 2"] | None
    """Its sigma."""
    dipole: Float[np.ndarray, "patch 2"]
    """Central column against corners on the screen, in px of the network; nan if unreadable."""
    dipole_seen: Float[np.ndarray, "patch 2"]
    """The same in the patch itself, with all of its noise."""
    dipole_spread: float
    """Standard deviation of the dipole, each way, over the posterior of the latents; root of the mean square."""
    redundancy: float
    """By how many times the pixels are more than independent ones."""


def read(network: TurningRvae, patches: Patches, *, centre_channel: int = 0, corner_channel: int = 0) -> Reading:
    """Return what the network says of patches, from the means of their posteriors."""
    with torch.no_grad():
        redundancy = _redundancy(network, patches.images[:: max(1, len(patches.images) // AT_ONCE)])
        parts = [_read(network, images, redundancy) for images in torch.split(patches.images, AT_ONCE)]
        weight, angle, hidden, sigma = (torch.cat([part[k] for part in parts]) for k in range(4))
        rows, best = torch.arange(len(weight)), weight.argmax(1)
        latents, poses = network.latents, list(network.poses)
        mine, mine_sigma, at = hidden[rows, best], sigma[rows, best], angle[rows, best]
        own_sigma = torch.zeros_like(angle)
        if "turn" in poses:
            own_sigma = sigma[..., latents + poses.index("turn")] * network.pose_sigma[poses.index("turn")]
        moment = (weight * torch.exp(1j * angle - 0.5 * own_sigma**2)).sum(1).numpy()
        latent = mine[:, :latents]
        offset = offset_sigma = None
        if "dy" in poses:
            first, scale = latents + poses.index("dy"), network.pose_sigma[poses.index("dy")]
            offset = patches.moved + turned(mine[:, first : first + 2] * scale, at).numpy().astype(np.float64)
            spread = (mine_sigma[:, first : first + 2] * scale) ** 2
            c, s = torch.cos(at) ** 2, torch.sin(at) ** 2
            offset_sigma = torch.stack(
                [c * spread[:, 0] + s * spread[:, 1], s * spread[:, 0] + c * spread[:, 1]], dim=1
            ).sqrt().numpy().astype(np.float64)  # fmt: skip
        pair = [centre_channel, corner_channel]
        turn = 0.0
        if network.fine > 1:
            turn = lattice_turn(network.picture(latent.mean(0, keepdim=True))[0, corner_channel], patches.lattice)

        def dipoles(latent: Tensor) -> Tensor:
            parts = [network.picture(some)[:, pair] for some in torch.split(latent, AT_ONCE)]
            return torch.cat([read_dipoles(part, patches.lattice, turn_rad=turn) for part in parts])

        dipole = dipoles(latent)
        seen = torch.cat([read_dipoles(p[:, pair], patches.lattice) for p in torch.split(patches.images, AT_ONCE)])
        spread_of_dipole = dipole_spread(dipoles, latent, mine_sigma[:, :latents])
    return Reading(
        angle_deg=wrap_deg(np.degrees(np.angle(moment)).astype(np.float64)),
        sigma_deg=spread_deg(np.abs(moment).astype(np.float64)),
        weight=weight.numpy().astype(np.float64),
        direction_deg=wrap_deg(np.degrees(angle.numpy().astype(np.float64))),
        latent=latent.numpy().astype(np.float64),
        latent_sigma=mine_sigma[:, :latents].numpy().astype(np.float64),
        offset=offset,
        offset_sigma=offset_sigma,
        dipole=turned(dipole, at).numpy().astype(np.float64),
        dipole_seen=seen.numpy().astype(np.float64),
        dipole_spread=spread_of_dipole,
        redundancy=redundancy,
    )


def dipole_spread(
    dipoles: Callable[[Tensor], Tensor], latent: Float[Tensor, "patch latent"], sigma: Float[Tensor, "patch latent"]
) -> float:
    """Return how far dipoles move, each way, where the latents of some patches move by their sigma; 0 if unreadable."""
    some = slice(None, None, max(1, len(latent) // AT_ONCE))
    latent, sigma = latent[some], sigma[some]
    middle, squares = dipoles(latent), torch.zeros(())
    for axis in range(latent.shape[1]):
        step = torch.zeros_like(latent)
        step[:, axis] = sigma[:, axis]
        squares = squares + torch.nanmean((dipoles(latent + step) - middle) ** 2)
    return float(torch.nan_to_num(squares).sqrt())


def _read(
    network: TurningRvae, images: Float[Tensor, "patch channel y x"], redundancy: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return weights, angles, means and sigma, all with one column for each direction."""
    told = network(network.seen(images))
    weight = posterior(told, network.variance, redundancy=redundancy)
    within = torch.tensor(network.angles, dtype=torch.float32)
    angle = (torch.arange(TURNS)[:, None] * (math.pi / 2) + within).expand(weight.shape)
    if "turn" in network.poses:
        at = network.poses.index("turn")
        # the disc of poses is no larger than a step: what lies beyond belongs to the next direction
        angle = angle + told.mean[..., network.latents + at] * network.pose_sigma[at]
    return weight.flatten(1), angle.flatten(1), told.mean.flatten(1, 2), told.log_sigma.exp().flatten(1, 2)


def turned(vectors: Float[Tensor, "patch 2"], angle: Float[Tensor, " patch"]) -> Float[Tensor, "patch 2"]:
    """Return (dy, dx) turned counter-clockwise on the screen."""
    c, s = torch.cos(angle), torch.sin(angle)
    dy, dx = vectors.unbind(-1)
    return torch.stack([c * dy - s * dx, s * dy + c * dx], dim=-1)


def _redundancy(network: TurningRvae, images: Float[Tensor, "patch channel y x"]) -> float:
    """Return the sum of the correlations of what is left over, at least 1.

    Neighbouring pixels that are wrong together do not speak twice for a direction: without this, posteriors would be
    too sure.
    """
    seen = network.seen(images)
    told = network(seen)
    weight = posterior(told, network.variance)
    best = weight.flatten(1).argmax(1)
    turn, fine = best // network.fine, best % network.fine
    rows = torch.arange(len(images))
    mixture = network.mixed(told.mean[rows, turn, fine])
    drawn = torch.einsum("no,nop->np", mixture, network.drawn_terms()[fine])
    left = torch.zeros(len(images), network.channels, network.side**2)
    left[..., network.inside] = torch.unflatten(seen[rows, turn] - drawn, 1, (network.channels, -1))
    left = torch.unflatten(left, -1, (network.side, network.side))
    size = 2 * network.side
    power = (torch.fft.rfft2(left, s=(size, size)).abs() ** 2).mean((0, 1))
    inside = network.inside.float().reshape(network.side, network.side)
    pairs = torch.fft.irfft2(torch.fft.rfft2(inside, s=(size, size)).abs() ** 2, s=(size, size))
    correlation = torch.fft.irfft2(power, s=(size, size)) / pairs.clamp_min(1.0)
    near = torch.roll(correlation, (LAGS, LAGS), (0, 1))[: 2 * LAGS + 1, : 2 * LAGS + 1]
    return max(1.0, float(near.sum() / correlation[0, 0].clamp_min(1e-12)))
