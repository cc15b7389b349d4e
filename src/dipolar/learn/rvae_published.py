"""The rotation-invariant autoencoder as it has been published, for comparison: nothing in it keeps the angle from
collapsing.

Encoder of two convolutions of 128 channels, leaky by 0.1; dense decoder of coordinates and latents; noise variance 1;
an angle and a translation that are Gaussian, the angle not wound up. After T. Bepler et al., "Explicitly disentangling
image content from translation and rotation with spatial-VAE", NeurIPS 2019, arXiv:1909.11663, with the encoder and the
priors that M. Ziatdinov, A. Ghosh, C. Y. Wong and S. V. Kalinin, "AtomAI framework for deep learning analysis of image
and spectroscopy data in electron and scanning probe microscopy", Nat. Mach. Intell. 4, 1101 (2022), made common.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dipolar.core.circular import wrap_deg
from dipolar.learn.rvae_dipole import lattice_turn, read_dipoles
from dipolar.learn.rvae_patches import Patches
from dipolar.learn.rvae_reading import AT_ONCE, Reading, turned
from dipolar.learn.rvae_series import grid, turned_back
from dipolar.learn.rvae_settings import Freedom
from dipolar.learn.rvae_training import Loss

WIDTH = 128
"""Channels of the convolutions and units of the dense layers."""
LEAK = 0.1
"""Slope of the encoder's units below zero."""
ANGLE_SIGMA = 0.1
"""Sigma of the angle's prior, in rad."""
SHIFT_SIGMA = 0.1
"""Sigma of the translation's prior, in half sides of the patch."""


class PublishedRvae(nn.Module):
    """Convolutional encoder, coordinate decoder."""

    def __init__(self, *, channels: int, side: int, latents: int, freedom: Freedom) -> None:
        """Make it for patches of `side` px."""
        super().__init__()
        self.channels, self.side, self.latents = channels, side, latents
        self.turns = 0 if freedom == "none" else 1
        self.shifts = 2 if freedom == "rotation+translation" else 0
        self.told = self.turns + self.shifts + latents
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, padding=1),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.LeakyReLU(LEAK),
            nn.Flatten(),
            nn.Linear(WIDTH * side**2, 2 * self.told),
        )
        self.from_place = nn.Linear(2, WIDTH)
        self.from_latent = nn.Linear(latents, WIDTH, bias=False) if latents else None
        self.inner, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, channels)
        self.register_buffer("places", (grid(side) * 2 / side).float(), persistent=False)
        self.places: Tensor

    def forward(
        self, images: Float[Tensor, "patch channel y x"]
    ) -> tuple[Float[Tensor, "patch hidden"], Float[Tensor, "patch hidden"]]:
        """Return means and log sigma: angle (rad), translation (half sides), further latents."""
        mean, log_sigma = self.encoder(images).chunk(2, dim=-1)
        return mean, log_sigma

    def decoded(
        self, places: Float[Tensor, "patch point 2"], latent: Float[Tensor, "patch latent"]
    ) -> Float[Tensor, "patch channel point"]:
        """Return what is drawn at places."""
        inner = self.from_place(places)
        if self.from_latent is not None:
            inner = inner + self.from_latent(latent)[:, None]
        inner = torch.tanh(self.inner(torch.tanh(inner)))
        return self.out(inner).transpose(1, 2)

    def drawn(self, hidden: Float[Tensor, "patch hidden"]) -> Float[Tensor, "patch channel point"]:
        """Return patches for samples of all that the encoder tells."""
        places = self.places.expand(len(hidden), -1, -1)
        if self.shifts:
            places = places - hidden[:, None, self.turns : self.turns + 2]
        if self.turns:
            c, s = torch.cos(hidden[:, :1]), torch.sin(hidden[:, :1])
            dy, dx = places.unbind(-1)
            places = torch.stack([c * dy + s * dx, c * dx - s * dy], dim=-1)
        return self.decoded(places, hidden[:, self.turns + self.shifts :])

    def picture(
        self, latent: Float[Tensor, "patch latent"], angle_rad: float = 0.0, *, side: int | None = None
    ) -> Float[Tensor, "patch channel y x"]:
        """Return what is drawn for latents, turned counter-clockwise, on a square of so many px."""
        side = side or self.side
        places = turned_back(grid(side) * 2 / side, angle_rad).float()
        return torch.unflatten(self.decoded(places.expand(len(latent), -1, -1), latent), -1, (side, side))

    def prior_sigma(self) -> Float[Tensor, " hidden"]:
        """Return sigma of the priors."""
        return torch.tensor([ANGLE_SIGMA] * self.turns + [SHIFT_SIGMA] * self.shifts + [1.0] * self.latents)


def published_loss(network: PublishedRvae, generator: torch.Generator) -> Callable[[Tensor], Loss]:
    """Return minus the evidence lower bound at noise variance 1.

    The angle's divergence leaves its mean free, as in the source: only its width costs.
    """
    prior = network.prior_sigma()
    bound = torch.ones(network.told)
    bound[: network.turns] = 0.0

    def loss_of(images: Tensor) -> Loss:
        mean, log_sigma = network(images)
        hidden = mean + log_sigma.exp() * torch.randn(mean.shape, generator=generator)
        left = network.drawn(hidden) - images.flatten(2)
        reconstruction = 0.5 * (left**2).sum((1, 2)).mean()
        ratio, off = (log_sigma.exp() / prior) ** 2, bound * (mean / prior) ** 2
        divergence = 0.5 * (ratio + off - 1 - 2 * log_sigma + 2 * prior.log()).sum(1).mean()
        return Loss(
            total=reconstruction + divergence,
            reconstruction=float(reconstruction.detach()),
            divergence=float(divergence.detach()),
        )

    return loss_of


def read_published(
    network: PublishedRvae, patches: Patches, *, centre_channel: int = 0, corner_channel: int = 0
) -> Reading:
    """Return what the network says of patches, from the means of their posteriors."""
    with torch.no_grad():
        told = [network(images) for images in torch.split(patches.images, AT_ONCE)]
        mean, sigma = torch.cat([m for m, _ in told]), torch.cat([s for _, s in told]).exp()
        turns, shifts, half = network.turns, network.shifts, network.side / 2
        angle = mean[:, 0] if turns else torch.zeros(len(mean))
        latent = mean[:, turns + shifts :]
        pair = [centre_channel, corner_channel]
        turn = lattice_turn(network.picture(latent.mean(0, keepdim=True))[0, corner_channel], patches.lattice)
        dipole = torch.cat(
            [
                read_dipoles(network.picture(p)[:, pair], patches.lattice, turn_rad=turn)
                for p in torch.split(latent, AT_ONCE)
            ]
        )
        seen = torch.cat([read_dipoles(p[:, pair], patches.lattice) for p in torch.split(patches.images, AT_ONCE)])
        offset = mean[:, turns : turns + 2] * half if shifts else None
        offset_sigma = sigma[:, turns : turns + 2] * half if shifts else None
        none = np.zeros((len(mean), 0))
        return Reading(
            angle_deg=wrap_deg(np.degrees(_numbers(angle))),
            sigma_deg=np.degrees(_numbers(sigma[:, 0])) if turns else np.zeros(len(mean)),
            weight=none,
            direction_deg=none,
            latent=_numbers(latent),
            latent_sigma=_numbers(sigma[:, turns + shifts :]),
            offset=None if offset is None else _numbers(offset),
            offset_sigma=None if offset_sigma is None else _numbers(offset_sigma),
            dipole=_numbers(turned(dipole, angle)),
            dipole_seen=_numbers(seen),
            dipole_spread=0.0,
            redundancy=1.0,
        )


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.numpy().astype(np.float64)
